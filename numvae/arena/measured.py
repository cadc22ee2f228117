"""What was measured of one estimator at one state, and what follows from it.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arena.states import Truth
from numvae.arrays import Array
from numvae.checks import UnbiasedReport
from numvae.estimators import Claims

__all__ = ["Measured"]


@dataclass(frozen=True, eq=False)
class Measured:
    """One estimator at one state.  Arrays are per coordinate of the gradient, (C,)."""

    name: str
    samples: int
    """Samples of z in an estimate."""
    latents: int
    gradients: Array
    """The estimates themselves, (R, C)."""
    truth: Truth
    report: UnbiasedReport
    calls: int
    pullback_calls: int
    seconds: float
    """Per estimate, where many are made at once."""
    claims: Claims
    unbiased: bool
    """Whether no bias was seen; of one that claims to have none, no bias that ten times as many estimates confirm."""
    problems: tuple[str, ...]
    """What it claims and does not hold, one line each."""
    learning_steps: int
    """Taken before it was measured; none by one that does not learn."""

    @property
    def certified(self) -> bool:
        """Whether it holds at this state what it claims, absence of bias among it."""
        return not self.problems

    @property
    def bias(self) -> Array:
        """Mean of the estimates minus the truth   (arena.1)."""
        return np.asarray(self.gradients.mean(axis=0) - self.truth.gradient)  # (arena.1)

    @property
    def bias_ci(self) -> Array:
        """Intervals (C, 2) that hold all biases at once with probability 95 %   (arena.2)."""
        from scipy.special import stdtrit

        quantile = -float(stdtrit(len(self.gradients) - 1, 0.025 / self.bias.size))
        width = quantile * self.report.standard_error  # (arena.2)
        return np.stack([self.bias - width, self.bias + width], axis=1)

    @property
    def variance(self) -> Array:
        """Of one estimate   (arena.3); zero where it is no more than rounding."""
        variance = self.gradients.var(axis=0, ddof=1)  # (arena.3)
        return np.where(self.report.standard_error > 0, variance, 0.0)

    @property
    def variance_standard_error(self) -> Array:
        """Of the variance: √((m₄ - m₂²) / R)   (arena.4)."""
        squares = (self.gradients - self.gradients.mean(axis=0)) ** 2
        return np.asarray(squares.std(axis=0) / math.sqrt(len(squares)))  # (arena.4)

    @property
    def total_variance(self) -> float:
        """The sum over coordinates: E‖g - E g‖²   (arena.3)."""
        return float(self.variance.sum())

    @property
    def snr(self) -> float:
        """‖gradient‖ / √(total variance)   (arena.5); infinite without variance."""
        length = float(np.linalg.norm(self.truth.gradient))
        return length / math.sqrt(self.total_variance) if self.total_variance else math.inf  # (arena.5)

    @property
    def cost(self) -> int:
        """Samples per row put through f and back through its pullback."""
        return self.calls + self.pullback_calls

    @property
    def variance_times_cost(self) -> float:
        """What remains the same when samples are bought: twice the cost, half the variance   (arena.6)."""
        return self.total_variance * self.cost  # (arena.6)

    @property
    def smallest_detectable_bias(self) -> Array:
        """Per coordinate, noticed four times out of five   (checks.11); infinite for a bit that hardly ever flips."""
        return self.report.detectable_bias

    def to_json(self) -> dict[str, Any]:
        """In plain Python types."""
        return {
            "name": self.name,
            "samples": self.samples,
            "learning_steps": self.learning_steps,
            "bias": self.bias.tolist(),
            "bias_ci": self.bias_ci.tolist(),
            "bias_standard_error": self.report.standard_error.tolist(),
            "smallest_detectable_bias": self.smallest_detectable_bias.tolist(),
            "projections": [float(z) for group in self.report.groups[1:] for z in group.statistics],
            "bias_p_value": min(group.p_value for group in self.report.groups),
            "unbiased": self.unbiased,
            "variance": self.variance.tolist(),
            "variance_standard_error": self.variance_standard_error.tolist(),
            "total_variance": self.total_variance,
            "snr": self.snr,
            "calls": self.calls,
            "pullback_calls": self.pullback_calls,
            "seconds": self.seconds,
            "variance_times_cost": self.variance_times_cost,
            "variance_times_seconds": self.total_variance * self.seconds,
            "certified": self.certified,
            "problems": list(self.problems),
            "claims": claims_as_json(self.claims, self.samples, self.latents),
        }


def claims_as_json(claims: Claims, samples: int, latents: int) -> dict[str, Any]:
    """What an estimator promises, in plain Python types."""
    return {
        "variables": claims.variables,
        "unbiased": claims.unbiased,
        "bias": claims.bias,
        "f_calls": claims.f_calls(samples, latents),
        "pullback_calls": claims.pullback_calls(samples, latents),
        "uses_dz": claims.uses_dz,
        "uses_hessian": claims.uses_hessian,
        "least_samples": claims.least_samples,
        "reductions": list(claims.reductions),
        "source": claims.source,
    }
