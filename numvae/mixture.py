"""A mixture of Bernoullis fitted by EM: the comparison model of a VAE, with one discrete latent and no network.

Nats.  Derivations: ``derivations/mixture.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.datasets.binarization import grey
from numvae.distributions.bernoulli import Bernoulli
from numvae.errors import InputError

__all__ = ["BernoulliMixture", "expected_counts", "fit_mixture", "log_prior", "most_probable"]

BLOCK = 4096
"""Rows taken from uint8 to floating point at once, which bounds the memory of a fit."""


@dataclass(frozen=True, eq=False)
class BernoulliMixture:
    """A row comes from component k with probability exp(log_weights[k]), its bits then are independent.

    Shapes: log_weights (K,), whose exponentials sum to one; logits (K, D).

    >>> two = BernoulliMixture(np.log([0.5, 0.5]), np.array([[2.0], [-2.0]]))
    >>> two.log_prob(np.array([[1.0]]))  # each bit alone is a fair coin: -log 2
    array([-0.69314718])
    """

    log_weights: Array
    logits: Array

    def joint(self, x: Array) -> Array:
        """log p(x, k), (B, K).  x (B, D): bits, or grey values of [0, 1] for expected bits."""
        all_zeros, _ = Bernoulli().log_prob(self.logits, np.zeros_like(self.logits))
        joint: Array = x @ self.logits.T
        joint += self.log_weights + all_zeros  # (bernoulli.2), the data's part as one matrix product
        return joint

    def log_prob(self, x: Array) -> Array:
        """log p(x) = log Σ_k w_k Π_d p_kd^x_d (1 - p_kd)^(1 - x_d)   (mixture.1).  Nats, (B,)."""
        return _log_sum_exp(self.joint(x))  # (mixture.1)

    def responsibilities(self, x: Array) -> Array:
        """r_k = p(k|x) = exp(log p(x, k) - log p(x))   (mixture.2), (B, K); the sum over k is one."""
        joint = self.joint(x)
        responsibilities: Array = np.exp(joint - _log_sum_exp(joint)[:, None])  # (mixture.2)
        return responsibilities

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """n rows of bits, (n, D): first a component for each, then its bits."""
        weights = np.exp(self.log_weights.astype(np.float64))
        logits = self.logits[rng.choice(len(weights), size=n, p=weights / weights.sum())]
        return Bernoulli().sample(logits, Bernoulli().noise(rng, logits.shape, logits.dtype))[0]


def fit_mixture(
    rows: npt.NDArray[Any],
    components: int = 10,
    *,
    rng: np.random.Generator,
    iterations: int = 200,
    tolerance: float = 1e-4,
    pseudo_count: float = 1.0,
    dtype: npt.DTypeLike = np.float32,
) -> tuple[BernoulliMixture, list[float]]:
    """EM until an iteration gains less than ``tolerance`` nats per row, or so many iterations; -> (mixture, history).

    ``rows``: (N, D), uint8 in 0..255 or floating in [0, 1]; grey values count as expected bits.  ``history``: the
    objective (mixture.6) divided by N, of the start and after each iteration: none lowers it (mixture.7).  It is the
    mean log-likelihood and the log-prior; ``mixture.log_prob(x).mean()`` is the first alone.
    ``pseudo_count``: how many ones, zeros and rows each component is taken to have seen already.
    Source: Dempster, Laird and Rubin 1977; Bishop 2006, section 9.3.3.

    Raises:
        InputError: rows are no (N, D) array of values in [0, 1], there are fewer than components, or the
            pseudo-count is not positive.

    >>> striped = np.array([[1.0, 0.0]] * 50 + [[0.0, 1.0]] * 50)
    >>> mixture, history = fit_mixture(striped, 2, rng=np.random.default_rng(0))
    >>> np.round(np.sort(Bernoulli().mean(mixture.logits[:, 0])), 2)
    array([0.02, 0.98], dtype=float32)
    """
    _require_rows(rows, components, pseudo_count)
    mixture = _start(rows, components, rng, dtype)
    history: list[float] = []
    while True:
        log_likelihood, counts, ones = 0.0, np.zeros(components), np.zeros((components, rows.shape[1]))
        for x in _blocks(rows, dtype):
            of_block = expected_counts(mixture, x)
            log_likelihood, counts, ones = log_likelihood + of_block[0], counts + of_block[1], ones + of_block[2]
        history.append(float(log_likelihood + log_prior(mixture, pseudo_count)) / len(rows))  # (mixture.6)
        if len(history) > iterations or (len(history) > 1 and history[-1] - history[-2] < tolerance):
            return mixture, history
        mixture = most_probable(counts, ones, pseudo_count, dtype)


def expected_counts(mixture: BernoulliMixture, x: Array) -> tuple[float, npt.NDArray[Any], npt.NDArray[Any]]:
    """The E-step: (Σ log p(x), Σ r_k, Σ r_k x)   (mixture.3), with r of (mixture.2); numbers, (K,) and (K, D).

    Blocks of rows add up, in float64 whatever the rows are in.
    """
    joint = mixture.joint(x)
    log_likelihood = _log_sum_exp(joint)
    responsibilities = np.exp(joint - log_likelihood[:, None])  # (mixture.2)
    counts, ones = responsibilities.sum(axis=0, dtype=np.float64), responsibilities.T @ x  # (mixture.3)
    return float(log_likelihood.sum(dtype=np.float64)), counts, ones.astype(np.float64)


def most_probable(
    counts: npt.NDArray[Any], ones: npt.NDArray[Any], pseudo_count: float, dtype: npt.DTypeLike = np.float64
) -> BernoulliMixture:
    """The M-step: the mixture that makes the expected counts, and the prior, most probable   (mixture.4), (mixture.5).

    Shapes: counts (K,), ones (K, D).
    """
    weights = (counts + pseudo_count) / np.sum(counts + pseudo_count)  # (mixture.4)
    zeros = np.maximum(counts[:, None] - ones, 0)  # rounding may leave -1e-16
    logits = np.log(ones + pseudo_count) - np.log(zeros + pseudo_count)  # (mixture.5)
    return BernoulliMixture(np.log(weights).astype(dtype), logits.astype(dtype))


def log_prior(mixture: BernoulliMixture, pseudo_count: float) -> float:
    """c (Σ log w + Σ log p + log(1 - p)), the log-prior but for its constant   (mixture.6)."""
    size = np.abs(mixture.logits.astype(np.float64))
    of_bits = -np.sum(size + 2 * np.log1p(np.exp(-size)))  # log p + log(1 - p), the same for a logit and its negative
    return float(pseudo_count * (mixture.log_weights.sum(dtype=np.float64) + of_bits))


def _start(rows: npt.NDArray[Any], components: int, rng: np.random.Generator, dtype: npt.DTypeLike) -> BernoulliMixture:
    """Equal weights; each component one part a row, one the mean row, one chance, which parts two equal rows."""
    mean = sum(x.sum(axis=0, dtype=np.float64) for x in _blocks(rows, dtype)) / len(rows)
    picked = grey(rows[rng.choice(len(rows), size=components, replace=False)], rng, np.float64)
    ones = picked + mean + rng.random(picked.shape)
    return most_probable(np.full(components, 3.0), ones, pseudo_count=0.1, dtype=dtype)


def _blocks(rows: npt.NDArray[Any], dtype: npt.DTypeLike) -> Iterator[Array]:
    """The rows in floating point, some thousand at a time."""
    draws_nothing = np.random.default_rng(0)
    return (grey(rows[begin : begin + BLOCK], draws_nothing, dtype) for begin in range(0, len(rows), BLOCK))


def _log_sum_exp(joint: Array) -> Array:
    """log Σ_k exp joint_k, (B,): the largest term is taken out first, so that nothing overflows."""
    largest = joint.max(axis=-1, keepdims=True)
    total: Array = largest[:, 0] + np.log(np.sum(np.exp(joint - largest), axis=-1))
    return total


def _require_rows(rows: npt.NDArray[Any], components: int, pseudo_count: float) -> None:
    if rows.ndim != 2 or not (rows.dtype == np.uint8 or np.issubdtype(rows.dtype, np.floating)):
        raise InputError(f"rows must be (N, D), uint8 or floating, got {rows.dtype} of shape {rows.shape}")
    if not 1 <= components <= len(rows):
        raise InputError(f"components must be a number from 1 to the {len(rows)} rows, got {components}; try 10")
    if not 0 < pseudo_count < np.inf:
        raise InputError(f"pseudo_count must be positive, got {pseudo_count}: without it logits grow for ever; try 1")
    if rows.dtype != np.uint8 and not all(((x >= 0) & (x <= 1)).all() for x in _blocks(rows, rows.dtype)):
        raise InputError("rows must be bits or grey values in [0, 1]; divide grey values of 0..255 by 255")
