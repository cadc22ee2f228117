"""Other ways to learn a model than by climbing a bound with an encoder: what the paper compares with."""

from numvae.learning.full_variational_bayes import (
    BayesianVAE,
    Predictive,
    full_bound,
    full_bound_local,
    full_bound_monte_carlo,
    predictive_log_likelihood,
    start_full,
    train_full,
)
from numvae.learning.monte_carlo_em import (
    EMState,
    MonteCarloEM,
    complete_gradient,
    load_em,
    save_em,
    start_em,
    train_em,
)
from numvae.learning.wake_sleep import (
    ReweightedWakeSleep,
    WakeSleep,
    dream,
    reweighted_wake_sleep,
    sleep_phase,
    wake_phase,
    wake_sleep,
)

__all__ = [
    "BayesianVAE",
    "EMState",
    "MonteCarloEM",
    "Predictive",
    "ReweightedWakeSleep",
    "WakeSleep",
    "complete_gradient",
    "dream",
    "full_bound",
    "full_bound_local",
    "full_bound_monte_carlo",
    "load_em",
    "predictive_log_likelihood",
    "reweighted_wake_sleep",
    "save_em",
    "sleep_phase",
    "start_em",
    "start_full",
    "train_em",
    "train_full",
    "wake_phase",
    "wake_sleep",
]
