"""The toy on which importance-weighted gradients are told apart: one observation, one posterior missed by a little.

z ~ N(0, I), x ~ N(z, I), so that p(z|x) = N(x/2, I/2); and q = N(x/2 + b, 2/3 I) with a small b.
Derivations: ``derivations/dreg_toy.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from numvae.arena.costs import LogRatio
from numvae.arrays import Array
from numvae.distributions import Normal
from numvae.estimators import Estimator, log_mean_exp, pathwise
from numvae.estimators.doubly_reparameterized import doubly_reparameterized
from numvae.estimators.sticking_the_landing import sticking_the_landing_iwae

__all__ = ["ToyRow", "dreg_toy"]

MOST_NUMBERS = 1 << 18
"""How many latent values are handled at once."""

ESTIMATORS: dict[str, Estimator] = {
    "pathwise": pathwise,
    "sticking_the_landing_iwae": sticking_the_landing_iwae,
    "doubly_reparameterized": doubly_reparameterized,
}


@dataclass(frozen=True)
class ToyRow:
    """One estimator at one number of samples; each figure with its standard error.

    ``variance``: of one estimate of the gradient in q's mean, averaged over its coordinates.  ``slope``: the mean
    gradient is slope times b, by symmetry.  ``bias``: its slope minus that of ``doubly_reparameterized`` on the same
    noise.  ``signal_to_noise``: size of the right mean gradient over standard deviation, of a coordinate.
    """

    estimator: str
    samples: int
    variance: float
    variance_error: float
    slope: float
    slope_error: float
    bias: float
    bias_error: float
    signal_to_noise: float

    def to_json(self) -> dict[str, Any]:
        """In plain Python types."""
        return asdict(self)


def dreg_toy(
    samples: Sequence[int] = (1, 4, 16, 64),
    repeats: int = 4000,
    *,
    features: int = 20,
    miss: float = 0.01,
    rng: np.random.Generator,
) -> list[ToyRow]:
    """For every number of samples K a row per estimator of the importance-weighted bound's gradient.

    b has ``features`` coordinates of standard deviation ``miss``.  Source: Rainforth et al. 2018;
    Tucker et al. 2018.
    """
    b = miss * rng.standard_normal(features)
    return [row for count in samples for row in _rows(count, _gradients(b, count, repeats, rng), b)]


def _gradients(b: Array, samples: int, repeats: int, rng: np.random.Generator) -> dict[str, Array]:
    """Each estimator's gradients in q's mean, (repeats, D), all from the same noise."""
    at_once = max(1, MOST_NUMBERS // (samples * b.size))
    found: dict[str, list[Array]] = {name: [] for name in ESTIMATORS}
    for rows in _portions(repeats, at_once):
        noise = rng.standard_normal((samples, rows, b.size))
        for name, estimator in ESTIMATORS.items():
            found[name].append(_gradient(estimator, b, noise))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def _gradient(estimator: Estimator, b: Array, noise: Array) -> Array:
    """Of log (1/K) Σ p(z|x) / q(z), which is log p(x) short of the bound; origin at x/2, where nothing depends on x."""
    q, rows = Normal(), noise.shape[1]
    params = np.concatenate([b, np.full(b.size, 0.5 * math.log(2 / 3))])
    posterior = (0.0,) * b.size + (0.5 * math.log(1 / 2),) * b.size
    f = LogRatio(q, posterior)  # (dreg_toy.1)
    _, pullback = estimator(q, np.tile(params, (rows, 1)), noise, f, log_mean_exp)
    dparams: Array = pullback(np.ones(rows))[0]
    return dparams[:, : b.size]


def _rows(samples: int, gradients: dict[str, Array], b: Array) -> list[ToyRow]:
    unbiased = gradients["doubly_reparameterized"]
    right_size = float(np.mean(unbiased @ b)) / math.sqrt(b @ b * b.size)
    rows = []
    for name, gradient in gradients.items():
        squares = np.mean((gradient - gradient.mean(axis=0)) ** 2, axis=1)
        variance, variance_error = _mean_and_error(squares)
        slope, slope_error = _mean_and_error(gradient @ b / (b @ b))  # (dreg_toy.2)
        bias, bias_error = _mean_and_error((gradient - unbiased) @ b / (b @ b))
        signal_to_noise = abs(right_size) / math.sqrt(variance)
        row = ToyRow(name, samples, variance, variance_error, slope, slope_error, bias, bias_error, signal_to_noise)
        rows.append(row)
    return rows


def _mean_and_error(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _portions(total: int, size: int) -> Iterable[int]:
    """How many rows each block has."""
    return (min(size, total - start) for start in range(0, total, size))
