"""The experiments of the review of the AEVB paper: what is run, what is drawn, and the page that shows it."""

from numvae.experiments.reproduction import Reproduction, experiment, reproduce
from numvae.experiments.review import FIGURES
from numvae.experiments.running import Experiment, Trained, train_experiment
from numvae.experiments.settings import experiment_names, read_experiment

__all__ = [
    "FIGURES",
    "Experiment",
    "Reproduction",
    "Trained",
    "experiment",
    "experiment_names",
    "read_experiment",
    "reproduce",
    "train_experiment",
]
