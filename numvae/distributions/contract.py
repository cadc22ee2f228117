"""What a family of distributions says of itself, and what it offers.

A family is a frozen dataclass without arrays.  It offers what it has of ``noise``, ``sample``, ``log_prob`` and ``kl``
as rules, ``mean``, ``std``, ``entropy``, ``cdf`` and ``quantile`` as plain functions; the last axis of noise is longer
where a value takes several numbers.  It says of itself

- ``param_names``, the blocks of its parameters in order, and ``params_per_value``, or ``params_size`` as a method;
- ``discrete`` and ``support``, what its values are and where they lie;
- ``support_moves``, where the parameters place the ends of the support: estimators that rest on the score keep away;
- ``noise_kind``, ``"uniform"`` or ``"normal"``, where samples have a path and all of their noise is of that law.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array

__all__ = [
    "Support",
    "centre",
    "greatest_positive",
    "has_independent_values",
    "inside",
    "least_positive",
    "params_size",
]

Support: TypeAlias = Literal["reals", "positive", "unit interval", "simplex", "bits", "counts", "grey levels", "codes"]

WITHIN: dict[Support, tuple[Support, ...]] = {
    "reals": ("reals",),
    "positive": ("positive", "reals"),
    "unit interval": ("unit interval", "positive", "reals"),
    "simplex": ("simplex",),
    "bits": ("bits",),
    "counts": ("counts",),
    "grey levels": ("grey levels",),
    "codes": ("codes",),
}


def params_size(family: Any, values: int) -> int:
    """How many parameters a network puts out for so many values: the length P of the last axis of ``params``.

    >>> from numvae.distributions import Normal
    >>> params_size(Normal(), 20)
    40
    """
    own = getattr(family, "params_size", None)
    return int(family.params_per_value * values if own is None else own(values))


def has_independent_values(family: Any) -> bool:
    """Whether each value has parameters of its own, which stand as far apart as there are values.

    >>> from numvae.distributions import Dirichlet, Gamma, MultivariateNormal
    >>> [has_independent_values(family) for family in (Gamma(), MultivariateNormal(), Dirichlet())]
    [True, False, False]
    """
    return hasattr(family, "params_per_value") and not hasattr(family, "params_size") and family.support != "simplex"


def least_positive(dtype: npt.DTypeLike) -> float:
    """The smallest positive sample: what is smaller is given as this, whose inverse and its multiples are finite.

    >>> least_positive(np.float32) < 2e-35
    True
    """
    return float(np.finfo(dtype).tiny) * 1024


def greatest_positive(dtype: npt.DTypeLike) -> float:
    """The largest sample of a positive law: what is larger is given as this, and a million times this is a number too.

    So there is room for the gradient, which multiplies the sample.

    >>> greatest_positive(np.float32) > 7e28
    True
    """
    return 2.0**-20 / least_positive(dtype)


def centre(family: Any, params: Array, values: int) -> Array:
    """The mean, or the median where there is no mean: what stands for q(z|x) in a picture.  (..., P) -> (..., values).

    >>> from numvae.distributions import Normal
    >>> centre(Normal(), np.array([[2.0, 0.0]]), 1)
    array([[2.]])
    """
    mean = family.mean(params) if hasattr(family, "mean") else np.full((*params.shape[:-1], values), np.nan)
    if np.isfinite(mean).all() or not hasattr(family, "quantile"):
        return np.asarray(mean)
    median = family.quantile(params, np.full_like(mean, 0.5))
    return np.where(np.isfinite(mean), mean, median).astype(params.dtype)


def inside(q: Any, p: Any) -> bool:
    """Whether every value of q has a density under p; otherwise KL(q ‖ p) is infinite.

    >>> from numvae.distributions import Exponential, Normal
    >>> inside(Exponential(), Normal()), inside(Normal(), Exponential())
    (True, False)
    """
    return p.support in WITHIN[q.support]
