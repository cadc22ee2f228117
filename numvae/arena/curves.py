"""Variances followed along a line: over dimensions, samples, the distance from an optimum, or a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.adaptation import is_adaptive
from numvae.arena import closed_form
from numvae.arena.costs import Cosine, Quadratic
from numvae.arena.measuring import adapted, draw, works
from numvae.arena.states import State, state_of_model
from numvae.arrays import Array
from numvae.datasets.dataset import Dataset
from numvae.devices import to_host
from numvae.distributions import Normal
from numvae.distributions.broadcasting import halves
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.models import Model
from numvae.randomness import generator
from numvae.training import Recipe, start, train

__all__ = [
    "Curves",
    "basket",
    "optimum_of",
    "over_dimension",
    "over_distance",
    "over_samples",
    "path_of_descent",
    "path_of_training",
]

LEARNING_STEPS = 300


@dataclass(frozen=True, eq=False)
class Curves:
    """Total variances at N places of a line: estimator -> (N,), NaN where it cannot be used."""

    along: str
    """What x is, in words."""
    x: Array
    variance: Mapping[str, Array]
    standard_error: Mapping[str, Array]

    def to_json(self) -> dict[str, Any]:
        """In plain Python types; None for NaN."""

        def plain(array: Array) -> list[float | None]:
            return [None if math.isnan(number) else number for number in array.tolist()]

        estimators = [
            {"name": name, "variance": plain(values), "standard_error": plain(self.standard_error[name])}
            for name, values in self.variance.items()
        ]
        return {"along": self.along, "x": self.x.tolist(), "estimators": estimators}


def over_dimension(
    state_of: Callable[[int], State],
    estimators: Mapping[str, Any],
    dimensions: Sequence[int] = (1, 2, 4, 8, 16, 32),
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Curves:
    """Z grows: ``state_of(Z)`` is a state, ``COSTS["quadratic"]`` say.  The variance is summed over coordinates.

    >>> from numvae.arena.states import COSTS
    >>> from numvae.estimators import pathwise, score_function
    >>> curves = over_dimension(COSTS["quadratic"], {"sf": score_function, "pathwise": pathwise}, (1, 8))
    >>> growth = {name: values[1] / values[0] for name, values in curves.variance.items()}
    >>> bool(growth["sf"] > 2 * growth["pathwise"])
    True
    """
    states = ((float(dimension), state_of(dimension)) for dimension in dimensions)
    return _follow("dimensions of z", states, estimators, repeats=repeats, seed=seed)


def over_samples(
    state: State,
    estimators: Mapping[str, Any],
    samples: Sequence[int] = (1, 2, 4, 8, 16, 32),
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Curves:
    """K, the samples of z in an estimate, grows."""
    states = ((float(count), replace(state, samples=count)) for count in samples)
    return _follow("samples K in an estimate", states, estimators, repeats=repeats, seed=seed, exactly=True)


def over_distance(
    state: State,
    optimum: npt.ArrayLike,
    estimators: Mapping[str, Any],
    distances: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Curves:
    """The mean of q leaves the optimum (Z,) by so much in every coordinate, its standard deviation staying."""

    def away(distance: float) -> State:
        _, log_std = halves(state.params)
        mean = np.broadcast_to(np.asarray(optimum) + distance, log_std.shape)
        return replace(state, params=np.concatenate([mean, log_std], axis=-1))

    states = ((distance, away(distance)) for distance in distances)
    return _follow("distance of the mean from the optimum", states, estimators, repeats=repeats, seed=seed)


def basket(
    path: Iterable[tuple[int, State]], estimators: Mapping[str, Any], *, repeats: int = 500, seed: int = 0
) -> Curves:
    """Several estimators followed along one trajectory, which none of them steers: all see the same states."""
    states = ((float(step), state) for step, state in path)
    return _follow("step", states, estimators, repeats=repeats, seed=seed)


# ---- trajectories


def optimum_of(state: State) -> Array | None:
    """The mean of q, (Z,), at which a cost of ``costs.py`` under a normal is least; None where it is not known."""
    if not isinstance(state.q, Normal):
        return None
    if isinstance(state.f, Quadratic):
        return np.full(state.latents, state.f.k)
    return np.full(state.latents, math.pi / state.f.k) if isinstance(state.f, Cosine) else None


def path_of_descent(state: State, *, steps: Sequence[int], rate: float = 0.02) -> Iterator[tuple[int, State]]:
    """What plain gradient descent passes through at these steps, along the exact gradient of a separable cost.

    Raises:
        InputError: the cost has no exact gradient in closed form.
    """
    params = state.params
    for step in range(max(steps) + 1):
        if step in steps:
            yield step, replace(state, params=params)
        gradient = closed_form.gradient(state.f, params[0], q=state.q)
        if gradient is None:
            raise InputError(
                f"the exact gradient of {state.name} is not known in closed form; follow a training instead"
            )
        params = params - rate * gradient


def path_of_training(
    model: Model, dataset: Dataset, recipe: Recipe, steps: Sequence[int], *, rows: int = 2
) -> list[tuple[int, State]]:
    """What a model's training passes through at these steps, looked at on the first test rows.

    The recipe's epochs are as many as it takes.
    """
    recipe = replace(recipe, epochs=1 + max(steps) * recipe.batch // len(dataset.train))
    training = start(model, dataset, recipe)
    x = recipe.binarize(dataset.test[:rows], generator(recipe.seed, "evaluation", 3), np.float64)
    path = []

    def look(step: int) -> bool:
        if step in steps:
            path.append((step, state_of_model(model, to_host(training.theta).copy(), x)))
        return step >= max(steps)

    if not look(0):
        train(model, dataset, recipe, training, on_batch=lambda now: look(now.step))
    return path


# ---- how they are measured


def _follow(
    along: str,
    states: Iterable[tuple[float, State]],
    estimators: Mapping[str, Any],
    *,
    repeats: int,
    seed: int,
    exactly: bool = False,
) -> Curves:
    """``exactly``: an estimator that needs more samples than a state has is left out there, instead of given more."""
    x: list[float] = []
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in estimators}
    for place, state in states:
        x.append(place)
        for name, estimator in estimators.items():
            measured[name].append(_variance(estimator, state, repeats, seed, exactly))
    if not x:
        raise InputError("there is no state to measure at; pass at least one place")
    columns = {name: np.array(pairs).T for name, pairs in measured.items()}
    variance = {name: column[0] for name, column in columns.items()}
    return Curves(along, np.array(x), variance, {name: column[1] for name, column in columns.items()})


def _variance(estimator: Any, state: State, repeats: int, seed: int, exactly: bool) -> tuple[float, float]:
    """The total variance of an estimate, and its standard error; NaN where the estimator is not for the state."""
    least = claims_of(estimator).least_samples
    samples = max(state.samples, least)
    if (exactly and state.samples < least) or not works(estimator, state, samples):
        return math.nan, math.nan
    if is_adaptive(estimator):
        rng = np.random.default_rng([seed, 1])
        estimator = adapted(estimator, state, samples=samples, steps=LEARNING_STEPS, rng=rng)
    gradients, _, _ = draw(estimator, state, repeats, samples=samples, rng=np.random.default_rng([seed, 0]))
    distances = np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=1)
    return float(distances.sum() / (repeats - 1)), float(distances.std() / math.sqrt(repeats))
