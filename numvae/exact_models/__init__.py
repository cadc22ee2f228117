"""Models whose evidence log p(x) is known, and mostly their posterior too: oracles for every bound, and lessons.

Here ELBO ≤ L_k ≤ log p(x) can be seen with its right end in place; q can be the posterior itself, and then every
sample's importance weight is p(x); and what a VAE with linear networks should learn is known beforehand.
"""

from numvae.exact_models.bayesian_logistic_regression import BayesianLogisticRegression
from numvae.exact_models.beta_bernoulli import BetaBernoulli
from numvae.exact_models.cholesky_params import cholesky_params
from numvae.exact_models.contract import ExactModel
from numvae.exact_models.exponential_poisson import ExponentialPoisson
from numvae.exact_models.factor_analysis import em_step, em_steps, factor_analysis
from numvae.exact_models.gamma_poisson import GammaPoisson
from numvae.exact_models.linear_gaussian import LinearGaussian, corner_noise
from numvae.exact_models.mean_field import (
    coordinate_ascent,
    coordinate_update,
    mean_field_bound,
    mean_field_gap,
    mean_field_optimum,
)
from numvae.exact_models.probabilistic_pca import greatest_evidence, probabilistic_pca

__all__ = [
    "BayesianLogisticRegression",
    "BetaBernoulli",
    "ExactModel",
    "ExponentialPoisson",
    "GammaPoisson",
    "LinearGaussian",
    "cholesky_params",
    "coordinate_ascent",
    "coordinate_update",
    "corner_noise",
    "em_step",
    "em_steps",
    "factor_analysis",
    "greatest_evidence",
    "mean_field_bound",
    "mean_field_gap",
    "mean_field_optimum",
    "probabilistic_pca",
]
