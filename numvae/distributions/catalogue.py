"""Every family by name, as posterior, as prior and as likelihood: what the parameter file and the flags choose from."""

from __future__ import annotations

from typing import Any

from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.beta import Beta
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
from numvae.distributions.kumaraswamy import Kumaraswamy
from numvae.distributions.laplace import Laplace
from numvae.distributions.log_normal import LogNormal
from numvae.distributions.logistic import Logistic
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.distributions.negative_binomial import NegativeBinomial
from numvae.distributions.normal import Normal
from numvae.distributions.pareto import Pareto
from numvae.distributions.poisson import Poisson
from numvae.distributions.rayleigh import Rayleigh
from numvae.distributions.reciprocal import Reciprocal
from numvae.distributions.student_t import StudentT
from numvae.distributions.triangular import Triangular
from numvae.distributions.uniform import Uniform
from numvae.distributions.weibull import Weibull

__all__ = ["LIKELIHOODS", "POSTERIORS", "PRIORS", "natural_prior"]

POSTERIORS: dict[str, Any] = {
    "normal": Normal(),
    "multivariate_normal": MultivariateNormal(),
    "laplace": Laplace(),
    "student_t": StudentT(),
    "logistic": Logistic(),
    "cauchy": Cauchy(),
    "gumbel": Gumbel(),
    "uniform": Uniform(),
    "triangular": Triangular(),
    "exponential": Exponential(),
    "erlang": Erlang(),
    "gamma": Gamma(),
    "chi_squared": ChiSquared(),
    "f": FisherF(),
    "weibull": Weibull(),
    "rayleigh": Rayleigh(),
    "gompertz": Gompertz(),
    "log_normal": LogNormal(),
    "pareto": Pareto(),
    "reciprocal": Reciprocal(),
    "beta": Beta(),
    "kumaraswamy": Kumaraswamy(),
    "dirichlet": Dirichlet(),
}
"""Families with a path from parameters to samples."""

PRIORS: dict[str, Any] = {
    name: family for name, family in POSTERIORS.items() if not getattr(family, "support_moves", False)
}
"""Families whose density ends nowhere inside the range of a posterior."""

LIKELIHOODS: dict[str, Any] = {
    "bernoulli": Bernoulli(),
    "continuous_bernoulli": ContinuousBernoulli(),
    "beta": Beta(),
    "normal": Normal(),
    "laplace": Laplace(),
    "student_t": StudentT(),
    "discretized_logistic": DiscretizedLogistic(),
    "poisson": Poisson(),
    "negative_binomial": NegativeBinomial(),
}
"""Of data; ``Categorical`` is one more, of as many categories as the data have."""

OTHER_PRIORS = {
    "uniform": "normal",
    "triangular": "normal",
    "multivariate_normal": "normal",
    "weibull": "gamma",
    "pareto": "log_normal",
    "reciprocal": "log_normal",
    "kumaraswamy": "beta",
}
"""Of a posterior whose own family makes no good prior: the prior that suits it, with the KL in closed form."""


def natural_prior(posterior: str) -> str:
    """The prior that goes with a posterior where none is asked for: its own family, or the nearest that fits.

    >>> natural_prior("exponential"), natural_prior("kumaraswamy")
    ('exponential', 'beta')
    """
    return OTHER_PRIORS.get(posterior, posterior)
