"""Families of distributions: frozen descriptions without arrays, one file each.

The same family serves as posterior, prior or likelihood and offers what it has: ``noise``, ``sample``, ``log_prob``
and ``kl`` as rules, and ``mean``, ``std``, ``entropy``, ``cdf``, ``quantile``.  ``kl_divergence(q, p)`` finds the rule
for a pair.
"""

from numvae.distributions import divergences  # noqa: F401  (fills the table of KL divergences)
from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.beta import Beta
from numvae.distributions.categorical import Categorical
from numvae.distributions.cauchy import Cauchy
from numvae.distributions.chi_squared import ChiSquared
from numvae.distributions.continuous_bernoulli import ContinuousBernoulli
from numvae.distributions.dirichlet import Dirichlet
from numvae.distributions.discretized_logistic import DiscretizedLogistic
from numvae.distributions.erlang import Erlang
from numvae.distributions.exponential import Exponential
from numvae.distributions.fisher_f import FisherF
from numvae.distributions.gamma import Gamma
from numvae.distributions.gompertz import Gompertz
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.kl_table import kl_divergence
from numvae.distributions.kumaraswamy import Kumaraswamy
from numvae.distributions.laplace import Laplace
from numvae.distributions.log_normal import LogNormal
from numvae.distributions.logistic import Logistic
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.distributions.negative_binomial import NegativeBinomial
from numvae.distributions.normal import FixedStdNormal, Normal
from numvae.distributions.pareto import Pareto
from numvae.distributions.poisson import Poisson
from numvae.distributions.rayleigh import Rayleigh
from numvae.distributions.reciprocal import Reciprocal
from numvae.distributions.student_t import StudentT
from numvae.distributions.triangular import Triangular
from numvae.distributions.uniform import Uniform
from numvae.distributions.weibull import Weibull

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Cauchy",
    "ChiSquared",
    "ContinuousBernoulli",
    "Dirichlet",
    "DiscretizedLogistic",
    "Erlang",
    "Exponential",
    "FisherF",
    "FixedStdNormal",
    "Gamma",
    "Gompertz",
    "Gumbel",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Pareto",
    "Poisson",
    "Rayleigh",
    "Reciprocal",
    "StudentT",
    "Triangular",
    "Uniform",
    "Weibull",
    "kl_divergence",
]
