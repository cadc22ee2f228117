"""The experiments of the AEVB paper, of its review, and of IWAE: what is run, what is drawn, and the page of each."""

from numvae.experiments.aevb_page import AEVB
from numvae.experiments.iwae_page import IWAE
from numvae.experiments.paper import Paper, PaperReproduction, draw_paper, reproduce_paper
from numvae.experiments.reproduction import Reproduction, experiment, reproduce
from numvae.experiments.review import FIGURES
from numvae.experiments.running import Experiment, Trained, train_experiment
from numvae.experiments.settings import experiment_names, read_experiment

PAPERS = {paper.name: paper for paper in (AEVB, IWAE)}
"""What ``numvae reproduce`` knows beside the review."""

__all__ = [
    "FIGURES",
    "PAPERS",
    "Experiment",
    "Paper",
    "PaperReproduction",
    "Reproduction",
    "Trained",
    "draw_paper",
    "experiment",
    "experiment_names",
    "read_experiment",
    "reproduce",
    "reproduce_paper",
    "train_experiment",
]
