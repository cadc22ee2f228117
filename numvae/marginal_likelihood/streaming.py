"""Log importance weights in chunks of bounded memory, and what can be kept of them while they pass.

Derivations: ``derivations/importance.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.devices import Device, to_device, to_host
from numvae.estimators import pathwise

__all__ = ["EffectiveSamples", "GroupedMean", "RunningLogSumExp", "RunningMoments", "Weighed", "log_weight_chunks"]

LOWEST = -float(np.finfo(np.float64).max)
"""Stands for the maximum of nothing: from a true -inf nothing can be taken away."""


class Weighed(Protocol):
    """What is asked of a model: log importance weights at samples of its q.  VAEs, belief networks, path models."""

    def log_weights(self, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        """log p(x|z) and log p(z) - log q(z|x) at samples of q, (S, B) each."""

    def draw_noise(
        self, estimator: Any, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike = ...
    ) -> Array:
        """What makes (S, B) samples."""


def log_weight_chunks(
    model: Weighed, theta: Array, x: Array, samples: int, *, rng: np.random.Generator, device: Device = "cpu"
) -> Iterator[tuple[Array, Array]]:
    """``samples`` samples for each row of x (B, D), chunk by chunk: (log p(x|z), log p(z) - log q(z|x)), (C, B) each.

    In float64 on the host whatever the model computes in, so that sums of thousands of weights lose nothing.
    A chunk has about as many samples times rows as a block of training: the size at which fresh arrays stay in
    cache, 334, is the fastest here too, and the encoder, run once a chunk, costs next to nothing.
    """
    x = to_device(x, device)
    for part in blocks(samples, len(x)):
        noise = model.draw_noise(pathwise, rng, (part.stop - part.start, len(x)), theta.dtype)
        log_likelihood, log_ratio = model.log_weights(theta, x, to_device(noise, device))
        yield to_host(log_likelihood).astype(np.float64), to_host(log_ratio).astype(np.float64)


class RunningLogSumExp:
    """log Σ_s exp(values_s) of values that come in chunks, to rounding that of all at once   (importance.2).

    Weights of zero, log weights of -inf, count as zero.

    >>> total = RunningLogSumExp((1,))
    >>> for chunk in ([[-1000.0], [-1001.0]], [[-999.0]]):
    ...     total.add(np.array(chunk))
    >>> total.value - np.logaddexp.reduce([-1000.0, -1001.0, -999.0])
    array([0.])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.largest = np.full(shape, LOWEST)
        self.total = np.zeros(shape)

    def add(self, values: Array) -> None:
        """values: (C, *shape)."""
        largest = np.maximum(self.largest, values.max(axis=0))
        self.total *= np.exp(self.largest - largest)
        self.total += np.exp(values - largest).sum(axis=0)  # (importance.2)
        self.largest = largest

    @property
    def value(self) -> Array:
        result: Array = self.largest + np.log(self.total)
        return result


class GroupedMean:
    """(1/G) Σ_g (1/t) log (1/k) Σ_{s in g} exp(t v_s) over disjoint groups of k values   (importance.1).

    ``size`` is k and ``power`` t, 0 for the plain mean.  Values come in chunks (C, B) that need not end where groups
    do; those of a last group that stays incomplete are left out.
    """

    def __init__(self, rows: int, size: int, power: float = 1.0) -> None:
        self.size, self.power = size, power
        self.sum, self.groups = np.zeros(rows), 0
        self.filled, self.group = 0, RunningLogSumExp((rows,))

    def add(self, values: Array) -> None:
        """values: (C, B), the logarithms of weights."""
        if self.power == 0 or self.size == 1:
            self.sum += values.sum(axis=0)
            self.groups += len(values)
            return
        values = self.power * values
        if self.filled:
            values = self._fill(values)
        whole, rest = divmod(len(values), self.size)
        if whole:
            groups = RunningLogSumExp((whole, values.shape[1]))
            groups.add(values[: whole * self.size].reshape(whole, self.size, -1).swapaxes(0, 1))
            self._close(groups.value)
        if rest:
            self._fill(values[-rest:])

    def _fill(self, values: Array) -> Array:
        """Put what is missing into the group that is open, and return what is left."""
        missing = self.size - self.filled
        self.group.add(values[:missing])
        self.filled += min(missing, len(values))
        if self.filled == self.size:
            self._close(self.group.value[None])
            self.filled, self.group = 0, RunningLogSumExp(self.sum.shape)
        return values[missing:]

    def _close(self, log_sums: Array) -> None:
        self.sum += (log_sums.sum(axis=0) - len(log_sums) * math.log(self.size)) / self.power
        self.groups += len(log_sums)

    @property
    def mean(self) -> Array:
        """(B,)."""
        result: Array = self.sum / self.groups  # (importance.1)
        return result


class RunningMoments:
    """Mean and standard deviation, (B,), of values (C, B) that come in chunks   (importance.3)."""

    def __init__(self, rows: int) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(rows), np.zeros(rows)

    def add(self, values: Array) -> None:
        """values: (C, B)."""
        mean = values.mean(axis=0)
        count, shift = self.count + len(values), mean - self.mean
        residual = values - mean
        self.squares += np.sum(residual * residual, axis=0) + shift * shift * (self.count * len(values) / count)
        self.mean = self.mean + shift * (len(values) / count)  # (importance.3)
        self.count = count

    @property
    def std(self) -> Array:
        """Of the values, (B,); 0 for a single one."""
        std: Array = np.sqrt(self.squares / max(self.count - 1, 1))
        return std


class EffectiveSamples:
    """(Σ w)² / Σ w² of weights w = exp(t v), (B,)   (importance.4); ``power`` is t."""

    def __init__(self, rows: int, power: float = 1.0) -> None:
        self.power, self.largest = power, np.full(rows, LOWEST)
        self.first, self.second = np.zeros(rows), np.zeros(rows)

    def add(self, values: Array) -> None:
        """values: (C, B), the logarithms of weights."""
        values = self.power * values
        largest = np.maximum(self.largest, values.max(axis=0))
        shrunk, weights = np.exp(self.largest - largest), np.exp(values - largest)
        self.first = shrunk * self.first + weights.sum(axis=0)  # (importance.2)
        self.second = shrunk * shrunk * self.second + np.sum(weights * weights, axis=0)
        self.largest = largest

    @property
    def value(self) -> Array:
        """From 1 to as many as there were; NaN where no weight was positive."""
        result: Array = self.first * self.first / self.second  # (importance.4)
        return result
