"""Where an estimator is stated, certified and compared: costs, exact truth beside every estimate, and the arena."""

from numvae.arena.advice import Advice, Probe, advise
from numvae.arena.certification import Certificate, Trial, certify
from numvae.arena.comparison import Comparison, compare
from numvae.arena.measured import Measured
from numvae.arena.ranking import Place, rank
from numvae.arena.states import COSTS, State, Truth, state_of_model, state_of_problem

__all__ = [
    "COSTS",
    "Advice",
    "Certificate",
    "Comparison",
    "Measured",
    "Place",
    "Probe",
    "State",
    "Trial",
    "Truth",
    "advise",
    "certify",
    "compare",
    "rank",
    "state_of_model",
    "state_of_problem",
]
