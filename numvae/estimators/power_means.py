"""From the values of S samples to the logarithm of their power mean: all bounds between the lowest and the highest.

Derivations: ``derivations/power_means.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators.contract import Reduction
from numvae.estimators.reductions import log_mean_exp, sample_mean

__all__ = ["PowerMean", "power_mean"]


def power_mean(power: float) -> Reduction:
    """The reduction (1/t) log (1/S) Σ_s exp(t values_s), t = ``power``   (power_means.1).

    It grows with t   (power_means.4).  At t = 0 it is ``sample_mean``, its limit, and at t = 1 ``log_mean_exp``.
    Of log importance weights it is Rényi's bound of order α = 1 - t (Li and Turner 2016), below log p(x) for t ≤ 1;
    above 1 the χ bound of order t (Dieng et al. 2017), an upper bound *for endless samples* and for few none:
    see ``numvae.marginal_likelihood.chi_upper_bound``.

    >>> values = np.log(np.array([[1.0], [3.0]]))
    >>> [float(np.exp(power_mean(power)(values)[0][0]).round(4)) for power in (-1, 0, 1, 2)]  # √5 is the last
    [1.5, 1.7321, 2.0, 2.2361]

    Raises:
        InputError: the power is not finite.
    """
    if power == 0:
        return sample_mean
    return log_mean_exp if power == 1 else PowerMean(power)


@dataclass(frozen=True)
class PowerMean:
    """(1/t) log (1/S) Σ_s exp(t values_s) for t other than 0   (power_means.1).  values: (S, B), bound: (B,).

    The pullback hands each sample its share of Σ w^t   (power_means.2).  Use ``power_mean``, which knows the limit.
    """

    power: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.power) or self.power == 0:
            raise InputError(f"power must be finite and not 0, got {self.power}; use sample_mean for 0")

    def __call__(self, values: Array) -> tuple[Array, Pullback]:
        largest = values.max(axis=0) if self.power > 0 else values.min(axis=0)
        below_one = np.expm1(self.power * (values - largest))  # keeps its digits where the power is small
        powers = below_one + 1
        total = powers.sum(axis=0)

        def pullback(dbound: Array) -> tuple[Array]:
            return (dbound * (powers / total),)  # (power_means.2)

        return largest + np.log1p(below_one.mean(axis=0)) / self.power, pullback  # (power_means.1)
