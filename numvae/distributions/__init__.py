"""Families of distributions: frozen descriptions without arrays, one file each.

The same family serves as posterior, prior or likelihood and offers what it has: ``noise``, ``sample``, ``log_prob``
and ``kl`` as rules, and ``mean``, ``std``, ``entropy``, ``cdf``.
"""

from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.normal import FixedStdNormal, Normal
from numvae.distributions.poisson import Poisson

__all__ = ["Bernoulli", "Exponential", "FixedStdNormal", "Gamma", "Normal", "Poisson"]
