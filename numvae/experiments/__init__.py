"""The experiments of the review of the AEVB paper: what is run, what is drawn, and the page that shows it."""

from numvae.experiments.reproduction import Reproduction, reproduce
from numvae.experiments.review import FIGURES
from numvae.experiments.settings import experiment_names, read_experiment

__all__ = ["FIGURES", "Reproduction", "experiment_names", "read_experiment", "reproduce"]
