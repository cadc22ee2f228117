"""Where a decoder starts: at the best constant picture, which is the data's own mean and standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array
from numvae.belief_networks import OfSigns, SigmoidBeliefNetwork
from numvae.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    FixedStdNormal,
    Laplace,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)
from numvae.models import Model
from numvae.networks import Chain, Dense, Network, SharedLogStd

__all__ = ["start_at_data"]

LEAST_STD = 0.001

Moments: TypeAlias = Callable[[Any, Array, Array], Array]
"""(family, mean, std) -> parameters of the member with that mean and standard deviation."""


def start_at_data(model: Model, theta: Array, mean: Array, std: Array) -> None:
    """Write into ``theta`` a last decoder bias that makes an untrained model put out the data's own mean and std.

    Learning then starts from the best constant picture instead of from grey noise.  mean, std: (D,), of what the
    likelihood sees.  What stands behind the decoder's last ``Dense`` must have an ``inverse``; a decoder without either
    keeps the bias it has.
    """
    if isinstance(model, SigmoidBeliefNetwork):
        model.centre_at(theta, mean)
    std = np.maximum(std, LEAST_STD)
    matched = next((match for kind, match in BY_MOMENTS.items() if isinstance(model.likelihood, kind)), None)
    if matched is None:
        return
    wanted = matched(model.likelihood, mean, std)
    for part, weights in _last_to_first(*model.data_decoder(theta)):
        if isinstance(part, Dense):
            part.layout.views(weights)["b"][...] = wanted
            return
        if not hasattr(part, "inverse"):
            return
        if isinstance(part, SharedLogStd):
            weights[...] = 0.5 * np.log(np.mean(std**2))  # the most likely: dead pixels weigh as little as they vary
        wanted = part.inverse(wanted)


def _within_one(mean: Array) -> Array:
    return np.clip(mean, LEAST_STD, 1 - LEAST_STD)


def _bernoulli(family: Any, mean: Array, std: Array) -> Array:
    mean = _within_one(mean)
    return np.log(mean / (1 - mean))


def _continuous_bernoulli(family: Any, mean: Array, std: Array) -> Array:
    """The logit with this mean, by bisection: the mean grows with the logit."""
    mean = _within_one(mean)
    low, high = np.full_like(mean, -1 / LEAST_STD), np.full_like(mean, 1 / LEAST_STD)
    for _ in range(60):
        middle = (low + high) / 2
        above = family.mean(middle) > mean
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    result: Array = (low + high) / 2
    return result


def _normal(family: Any, mean: Array, std: Array) -> Array:
    return np.concatenate([_within_one(mean), np.log(std)])


def _fixed_std_normal(family: Any, mean: Array, std: Array) -> Array:
    return _within_one(mean)


def _laplace(family: Any, mean: Array, std: Array) -> Array:
    return np.concatenate([_within_one(mean), np.log(std / np.sqrt(2))])


def _student_t(family: Any, mean: Array, std: Array) -> Array:
    """With five degrees of freedom, under which the variance is 5/3 of the squared scale."""
    return np.concatenate([_within_one(mean), np.log(std * np.sqrt(3 / 5)), np.full_like(mean, np.log(5.0))])


def _discretized_logistic(family: Any, mean: Array, std: Array) -> Array:
    return np.concatenate([_within_one(mean), np.log(std * np.sqrt(3) / np.pi)])


def _beta(family: Any, mean: Array, std: Array) -> Array:
    mean = _within_one(mean)
    total = np.maximum(mean * (1 - mean) / std**2 - 1, LEAST_STD)
    return np.concatenate([np.log(mean * total), np.log((1 - mean) * total)])


def _poisson(family: Any, mean: Array, std: Array) -> Array:
    return np.log(np.maximum(mean, LEAST_STD))


def _negative_binomial(family: Any, mean: Array, std: Array) -> Array:
    """Variance = mean + mean² / size, where the data have more variance than a Poisson; else a large size."""
    mean = np.maximum(mean, LEAST_STD)
    size = mean**2 / np.maximum(std**2 - mean, LEAST_STD * mean**2)
    return np.concatenate([np.log(mean), np.log(np.maximum(size, LEAST_STD))])


def _categorical(family: Any, mean: Array, std: Array) -> Array:
    """Codes by a normal of their mean and standard deviation, at least half a code wide."""
    codes = np.arange(family.categories)[:, None]
    logits: Array = -0.5 * ((codes - mean) / np.maximum(std, 0.5)) ** 2
    return logits.reshape(-1)


BY_MOMENTS: dict[type, Moments] = {
    Bernoulli: _bernoulli,
    Beta: _beta,
    Categorical: _categorical,
    ContinuousBernoulli: _continuous_bernoulli,
    DiscretizedLogistic: _discretized_logistic,
    FixedStdNormal: _fixed_std_normal,
    Laplace: _laplace,
    NegativeBinomial: _negative_binomial,
    Normal: _normal,
    Poisson: _poisson,
    StudentT: _student_t,
}


def _last_to_first(network: Network, theta: Array) -> Iterator[tuple[Any, Array]]:
    """The parts of a chain, and of chains within it, with their weights; any other network is its own only part."""
    if isinstance(network, OfSigns):
        network = network.network
    if not isinstance(network, Chain):
        yield network, theta
        return
    for part, weights in zip(reversed(network.parts), reversed(network.layout.views(theta).values()), strict=True):
        yield from _last_to_first(part, weights)
