"""Samples that are not independent of each other: antithetic pairs, and quasi-Monte Carlo points.

Each sample by itself has the law it should have; together they cover it more evenly.  Only the noise changes.
Derivations: ``derivations/coupled_noise.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators.applicability import require_reduction
from numvae.estimators.contract import Claims, Estimator, Integrand, Reduction, claims_of, name_of
from numvae.estimators.implicit import implicit
from numvae.estimators.pathwise import pathwise
from numvae.estimators.sticking_the_landing import sticking_the_landing

__all__ = ["NOISE_LAWS", "NORMAL_NOISE", "UNIFORM_NOISE", "Antithetic", "NoiseLaw", "QuasiMonteCarlo"]


@dataclass(frozen=True)
class NoiseLaw:
    """What a family draws: a mirror that keeps the law, and the inverse CDF that makes it of uniform numbers."""

    mirror: Callable[[Array], Array]
    quantile: Callable[[Array], Array]


def _below_one(uniform: Array) -> Array:
    """1 is not in [0, 1): the largest number below it instead."""
    one = uniform.dtype.type(1)
    return np.minimum(uniform, np.nextafter(one, one * 0))


def _normal_quantile(uniform: Array) -> Array:
    from scipy.special import ndtri

    return np.asarray(ndtri(np.maximum(uniform, 2.0**-54)))


NORMAL_NOISE = NoiseLaw(mirror=np.negative, quantile=_normal_quantile)
UNIFORM_NOISE = NoiseLaw(mirror=lambda uniform: _below_one(1 - uniform), quantile=lambda uniform: uniform)

NOISE_LAWS: dict[str, NoiseLaw] = {"normal": NORMAL_NOISE, "uniform": UNIFORM_NOISE}
"""What a family's attribute ``noise_kind`` calls the law of its noise."""

SAMPLE_BY_SAMPLE: tuple[Estimator, ...] = (pathwise, implicit, sticking_the_landing)
"""Estimators that let no sample look at the others: the only ones that may be given coupled samples."""


@dataclass(frozen=True)
class Antithetic:
    """A pathwise estimator with noise in pairs ε, -ε (uniform: u, 1 - u)   (coupled_noise.1); an odd one stays alone.

    For ``sample_mean``.  Under ``log_mean_exp`` the gradient is that of another bound, of samples in pairs.
    Source: Hammersley and Morton 1956.

    >>> from numvae import Normal
    >>> noise = Antithetic(pathwise).noise(Normal(), np.random.default_rng(0), (2, 1, 1))
    >>> float(noise.sum())
    0.0
    """

    estimator: Estimator

    def __post_init__(self) -> None:
        _refuse_coupling(self)

    @property
    def claims(self) -> Claims:
        """Those of the estimator, for two samples or more and their mean."""
        claims = replace(claims_of(self.estimator), least_samples=2, reductions=("sample_mean",))
        return replace(claims, source=f"Hammersley and Morton 1956; {claims.source}")

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """Half of the samples drawn, the other half their mirror images: (S, B, ·)."""
        samples, *rest = shape
        drawn: Array = q.noise(rng, ((samples + 1) // 2, *rest), dtype)
        mirrored = _noise_law(q).mirror(drawn[: samples // 2])
        return np.concatenate([drawn, mirrored])  # (coupled_noise.1)

    def __call__(self, q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
        """The estimator itself, under the mean alone: coupled samples have another importance-weighted bound."""
        require_reduction(self, reduce)
        return self.estimator(q, params, noise, f, reduce)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({name_of(self.estimator)})"


@dataclass(frozen=True)
class QuasiMonteCarlo:
    """A pathwise estimator with the S samples of a row spread evenly, by Sobol's points   (coupled_noise.2).

    Each row shifts the points by random bits of its own, so rows are independent, and each single sample has exactly
    the family's law.  For ``sample_mean``; best when S is a power of two.  Source: Sobol 1967; Buchholz et al. 2018.

    >>> from numvae import Normal
    >>> noise = QuasiMonteCarlo(pathwise).noise(Normal(), np.random.default_rng(0), (4, 1, 1))
    >>> int((noise > 0).sum())  # of four samples two are above the median, always
    2
    """

    estimator: Estimator

    def __post_init__(self) -> None:
        _refuse_coupling(self)

    @property
    def claims(self) -> Claims:
        """Those of the estimator, for the samples' mean."""
        claims = replace(claims_of(self.estimator), reductions=("sample_mean",))
        return replace(claims, source=f"Sobol 1967; Buchholz, Wenzel and Mandt 2018; {claims.source}")

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """u = (cell XOR shift + place in the cell) / 2^m, then the family's inverse CDF: (S, B, ·)."""
        law = _noise_law(q)
        numbers = q.noise(np.random.default_rng(0), (1, 1, shape[-1])).shape[-1]  # of a family with several per latent
        shape = (*shape[:-1], numbers)
        cells, count = _sobol_cells(shape[0], shape[-1])
        shift = rng.integers(count, size=shape[1:])
        uniform = ((cells[:, None] ^ shift) + rng.random(shape)) / count  # (coupled_noise.2)
        noise = law.quantile(_below_one(uniform)).astype(dtype)
        return _below_one(noise) if law is UNIFORM_NOISE else noise

    def __call__(self, q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
        """The estimator itself, under the mean alone: coupled samples have another importance-weighted bound."""
        require_reduction(self, reduce)
        return self.estimator(q, params, noise, f, reduce)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({name_of(self.estimator)})"


def _sobol_cells(samples: int, dimensions: int) -> tuple[npt.NDArray[np.int64], int]:
    """In which of 2^m equal cells of [0, 1) each of the first S points lies, per axis: (S, dimensions); and 2^m."""
    from scipy.stats import qmc

    if dimensions > qmc.Sobol.MAXDIM:
        raise InputError(
            f"Sobol's points are known for {qmc.Sobol.MAXDIM:,} latents at most, got {dimensions:,}; use antithetic"
        )
    levels = math.ceil(math.log2(samples))
    points = qmc.Sobol(dimensions, scramble=False).random_base2(levels)[:samples]
    return (points * 2**levels).astype(np.int64), 2**levels


def _noise_law(q: Any) -> NoiseLaw:
    law = NOISE_LAWS.get(getattr(q, "noise_kind", ""))
    if law is None:
        raise InputError(
            f"{type(q).__name__} says no law of its noise; give the family a noise_kind, {' or '.join(NOISE_LAWS)}"
        )
    return law


def _refuse_coupling(wrapper: Antithetic | QuasiMonteCarlo) -> None:
    if wrapper.estimator not in SAMPLE_BY_SAMPLE:
        allowed = ", ".join(map(name_of, SAMPLE_BY_SAMPLE))
        raise InputError(
            f"{type(wrapper).__name__} needs an estimator that treats samples one by one ({allowed}), got "
            f"{name_of(wrapper.estimator)}: a leave-one-out baseline, or a weight, would know its own sample from the "
            "coupled ones, and be biased"
        )
