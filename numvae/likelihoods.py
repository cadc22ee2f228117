"""Which likelihood goes with which data: what each sees of them, how it is built, and what ``auto`` comes to.

``binarize`` makes of grey values what a likelihood is for; the two are one choice, in two names of the parameter file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numvae.datasets.binarization import EXPOSURE, LEVELS
from numvae.distributions import Bernoulli, Categorical, FixedStdNormal, Normal
from numvae.distributions.catalogue import LIKELIHOODS
from numvae.errors import InputError
from numvae.networks import AtMost, LeastLogStd, Network, SharedLogStd, SigmoidMean, largest_log_shape

__all__ = ["SEES", "VIEWS", "View", "build_likelihood", "require_sees"]


@dataclass(frozen=True)
class View:
    """What ``binarize`` makes of the rows."""

    does: str
    """In words."""
    likelihood: str
    """The one that ``auto`` takes."""
    white: float | None = 1.0
    """The value that a picture shows as white; None where that is the largest there is."""


VIEWS = {
    "none": View("leaves grey values", "normal"),
    "threshold": View("makes bits", "bernoulli"),
    "fixed": View("makes bits", "bernoulli"),
    "fresh": View("makes bits", "bernoulli"),
    "inside": View("makes grey values strictly between 0 and 1", "beta"),
    "codes": View("makes codes", "categorical", white=LEVELS - 1),
    "photons": View("makes counts", "poisson", white=EXPOSURE),
    "counts": View("takes counts", "poisson", white=None),
}
SEES = {
    "bernoulli": ("none", "threshold", "fixed", "fresh"),
    "continuous_bernoulli": ("none",),
    "beta": ("inside",),
    "normal": ("none",),
    "normal_shared_std": ("none",),
    "normal_fixed_std": ("none",),
    "laplace": ("none",),
    "student_t": ("none",),
    "discretized_logistic": ("none",),
    "categorical": ("codes",),
    "poisson": ("photons", "counts"),
    "negative_binomial": ("photons", "counts"),
}
"""Likelihood -> what it can see of the data, as ``binarize`` calls it; the first is what ``auto`` takes."""
IS_FOR = {
    "bernoulli": "bits, and for grey values as their expectation",
    "beta": "values strictly between 0 and 1",
    "categorical": "codes",
    "poisson": "counts",
    "negative_binomial": "counts",
}
"""Those that are not here are for grey values."""
OF_SCALE = ("normal", "laplace", "student_t")
"""Densities with a scale from the network, which must not shrink to zero on a pixel that never changes."""


def require_sees(likelihood: str, binarize: str) -> None:
    """Raise InputError unless the likelihood is one for what ``binarize`` makes; ``auto`` is whatever suits."""
    if "auto" in (likelihood, binarize) or binarize in SEES[likelihood]:
        return
    *others, last = [name for name, seen in SEES.items() if binarize in seen]
    suited = f"{', '.join(others)} or {last}" if others else last
    raise InputError(
        f"{likelihood!r} is for {IS_FOR.get(likelihood, 'grey values')}, but binarize {binarize!r} "
        f"{VIEWS[binarize].does}; use binarize {SEES[likelihood][0]!r}, or likelihood {suited}"
    )


def build_likelihood(
    name: str, features: int, *, sigmoid_mean: bool, least_std: float, fixed_std: float
) -> tuple[Any, tuple[Network, ...]]:
    """The family of p(x|z), and what stands behind the decoder's last affine layer."""
    mean = (SigmoidMean(features),) if sigmoid_mean else ()
    if name == "normal_shared_std":
        return Normal(), (*mean, SharedLogStd())
    if name == "normal_fixed_std":
        return FixedStdNormal(fixed_std), mean
    if name == "categorical":
        return Categorical(LEVELS), ()
    family = LIKELIHOODS.get(name, Bernoulli())  # auto, where no data have settled it
    if name in OF_SCALE:
        return family, (*mean, LeastLogStd(round(math.log(least_std), 6), blocks=family.params_per_value))
    if name == "beta":
        return family, (AtMost(round(largest_log_shape(least_std), 6)),)
    return family, mean if name == "discretized_logistic" else ()
