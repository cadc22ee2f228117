"""Gradient estimators of E_q[reduce f(z)], one file each; ``contract.py`` says what they share.

Those in daily use are exported here; ``catalogue.py`` has all of them by name.
"""

from numvae.estimators.contract import (
    Adaptive,
    Claims,
    Estimator,
    Integrand,
    Reduction,
    Reparameterized,
    claims_of,
    context_of,
    declares,
    draw_noise,
    hessian_product,
)
from numvae.estimators.pathwise import pathwise
from numvae.estimators.reductions import log_mean_exp, sample_mean
from numvae.estimators.score_function import leave_one_out, score_function

__all__ = [
    "Adaptive",
    "Claims",
    "Estimator",
    "Integrand",
    "Reduction",
    "Reparameterized",
    "claims_of",
    "context_of",
    "declares",
    "draw_noise",
    "hessian_product",
    "leave_one_out",
    "log_mean_exp",
    "pathwise",
    "sample_mean",
    "score_function",
]
