"""numvae: variational auto-encoders from scratch in NumPy, every gradient derived, written by hand, and proven.

One idea runs through the package: a *rule* computes a value and returns with it the hand-derived *pullback*,
``value, pullback = rule(*arguments)``.  ``ARCHITECTURE.md`` has the plan, ``derivations/`` the mathematics.
"""

from numvae.checks import check_pullback, check_same_expectation, check_sampler, check_unbiased
from numvae.distributions import Bernoulli, FixedStdNormal, Normal
from numvae.estimators import log_mean_exp, pathwise, sample_mean, score_function
from numvae.models import VAE, mlp_vae
from numvae.networks import Activation, Chain, Dense, mlp
from numvae.objectives import elbo, elbo_monte_carlo, elbo_terms, importance_weighted
from numvae.parameters import Layout, initial_theta

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Activation",
    "Bernoulli",
    "Chain",
    "Dense",
    "FixedStdNormal",
    "Layout",
    "Normal",
    "check_pullback",
    "check_same_expectation",
    "check_sampler",
    "check_unbiased",
    "elbo",
    "elbo_monte_carlo",
    "elbo_terms",
    "importance_weighted",
    "initial_theta",
    "log_mean_exp",
    "mlp",
    "mlp_vae",
    "pathwise",
    "sample_mean",
    "score_function",
]
