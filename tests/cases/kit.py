"""What the case table is made of: sizes, arguments, and what a case, a family and an estimation are.

A case says what a rule takes and gives in the letters of ``derivations/notation.md``: S samples, B rows, D data
features, Z latents, H hidden units.  ``"S, B, 2*Z"`` is a shape, and the axis called B is the axis of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from numvae.arrays import Array, Pullback

Rule = Callable[..., tuple[Any, Pullback]]


SPREADS = (0.01, 1.0, 20.0)


@dataclass(frozen=True)
class Sizes:
    """How long each axis is; pairwise distinct, so that a transposed matrix cannot pass."""

    S: int = 7
    B: int = 3
    D: int = 5
    Z: int = 2
    H: int = 6

    def shape(self, letters: str) -> tuple[int, ...]:
        """``"B, 2*Z"`` in numbers; ``""`` is the shape of a single number."""
        return tuple(eval(f"({letters},)", {}, asdict(self))) if letters else ()


@dataclass(frozen=True)
class Argument:
    """What a rule takes: its shape in letters, and how values of a given spread are drawn."""

    shape: str
    draw: Callable[[np.random.Generator, tuple[int, ...], float], Array]


def rows_axis(letters: str) -> int | None:
    """Where the axis of rows stands in a shape; None where there is none."""
    axes = [axis.strip() for axis in letters.split(",")]
    return axes.index("B") if "B" in axes else None


def reals(shape: str) -> Argument:
    """Any real numbers, of the spread asked for."""
    return Argument(shape, lambda rng, numbers, spread: spread * rng.standard_normal(numbers))


def noise(shape: str) -> Argument:
    """Standard normal noise."""
    return Argument(shape, lambda rng, numbers, spread: rng.standard_normal(numbers))


def weights(shape: str) -> Argument:
    """The weights of a network, of a size at which its units are not saturated."""
    return Argument(shape, lambda rng, numbers, spread: 0.5 * rng.standard_normal(numbers))


def bits(shape: str) -> Argument:
    """Zeros and ones, as floating-point numbers."""
    return Argument(shape, lambda rng, numbers, spread: rng.integers(2, size=numbers).astype(np.float64))


def positives(shape: str) -> Argument:
    """Positive numbers over two orders of magnitude."""
    return Argument(shape, lambda rng, numbers, spread: np.exp(rng.uniform(-2.3, 2.3, numbers)))


def normal_params(shape: str) -> Argument:
    """[mean | log_std], standard deviations from 0.1 to 10."""

    def draw(rng: np.random.Generator, numbers: tuple[int, ...], spread: float) -> Array:
        half = (*numbers[:-1], numbers[-1] // 2)
        return np.concatenate([spread * rng.standard_normal(half), rng.uniform(-2.3, 2.3, half)], axis=-1)

    return Argument(shape, draw)


@dataclass(frozen=True)
class Sized:
    """A rule that depends on the sizes, as a network does: how to make it."""

    make: Callable[[Sizes], Rule]


@dataclass(frozen=True)
class Case:
    """One rule: what it is called, its labels, what it takes and what it gives.

    ``kinks``: a function with corners, where finite differences are allowed 1e-6 instead of 1e-8.
    ``on_average``: an estimator whose pullback is right only on average; ``test_estimators.py`` proves it.
    """

    name: str
    labels: str
    rule: Rule | Sized
    takes: tuple[Argument, ...]
    gives: str
    kinks: bool = False
    on_average: bool = False

    @property
    def id(self) -> str:
        """What pytest calls it: ``normal.1+normal.2 Normal.sample``."""
        return f"{self.labels.replace(' ', '+')} {self.name}"

    @property
    def tolerance(self) -> float:
        """The relative error that finite differences are allowed."""
        return 1e-6 if self.kinks else 1e-8

    def at(self, sizes: Sizes) -> Rule:
        """The rule for arrays of the given sizes."""
        return self.rule.make(sizes) if isinstance(self.rule, Sized) else self.rule

    def arguments(self, sizes: Sizes, rng: np.random.Generator, spread: float = 1.0) -> list[Array]:
        """One array for every argument."""
        return [argument.draw(rng, sizes.shape(argument.shape), spread) for argument in self.takes]


def uniforms(shape: str) -> Argument:
    """Uniform noise, away from its ends by 2 %, where finite differences would leave the range."""
    return Argument(shape, lambda rng, numbers, spread: rng.uniform(0.02, 0.98, numbers))


def logs(shape: str, least: float = -2.3, most: float = 2.3) -> Argument:
    """Logarithms of positive numbers, by default from 0.1 to 10."""
    return Argument(shape, lambda rng, numbers, spread: rng.uniform(least, most, numbers))


def counts(shape: str) -> Argument:
    """0, 1, 2, … as floating-point numbers."""
    return Argument(shape, lambda rng, numbers, spread: rng.poisson(4.0, numbers).astype(np.float64))


def blocks(shape: str, *parts: Callable[[np.random.Generator, tuple[int, ...]], Array]) -> Argument:
    """Parameters side by side along the last axis, [first | second | …], each drawn by a function of its own."""

    def draw(rng: np.random.Generator, numbers: tuple[int, ...], spread: float) -> Array:
        one = (*numbers[:-1], numbers[-1] // len(parts))
        return np.concatenate([part(rng, one) for part in parts], axis=-1)

    return Argument(shape, draw)


def between(least: float, most: float) -> Callable[[np.random.Generator, tuple[int, ...]], Array]:
    """A part of ``blocks``, uniform between two numbers."""
    return lambda rng, numbers: rng.uniform(least, most, numbers)


@dataclass(frozen=True)
class Family:
    """One family of distributions: what its parameters and values look like, and who knows it without numvae.

    ``oracle``: params -> frozen scipy distributions, one per coordinate.  ``spreads``: how far out the oracle itself
    keeps twelve digits.  ``wide``: parameters over the whole range in which the family is to keep ten digits and stay
    finite, for rows of one coordinate ("B, 2").  ``sampled``: where this is less, those whose law lies within the
    numbers there are, all but a thousandth, so that samples can follow it.  ``gradient``: against what the gradient of
    its samples is proven: ``quantile``, where a sample is a monotone function of one number of noise, else
    ``expectation``; empty where samples have none.
    """

    name: str
    labels: str
    family: Any
    params: Argument
    values: Argument
    oracle: Callable[[Array], Any]
    spreads: tuple[float, ...] = SPREADS
    wide: Argument | None = None
    sampled: Argument | None = None
    gradient: str = ""

    @property
    def id(self) -> str:
        """What pytest calls it."""
        return f"{self.labels.replace(' ', '+')} {self.name}"


@dataclass(frozen=True)
class Divergence:
    """One KL divergence in closed form: between which families, and parameters of one coordinate for both ("B, 2").

    ``q_oracle``, ``p_oracle``: params -> frozen scipy distributions, one per coordinate.
    """

    name: str
    labels: str
    q: Any
    p: Any
    q_params: Argument
    p_params: Argument
    q_oracle: Callable[[Array], Any]
    p_oracle: Callable[[Array], Any]

    @property
    def id(self) -> str:
        """What pytest calls it."""
        return f"{self.labels.replace(' ', '+')} {self.name}"


def scipy_normal(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    mean, log_std = np.split(params, 2, axis=-1)
    return stats.norm(mean, np.exp(log_std))


@dataclass(frozen=True)
class Estimation:
    """One estimator under one reduction."""

    name: str
    labels: str
    estimator: Any
    reduce: Any
    samples: int

    @property
    def id(self) -> str:
        """What pytest calls it."""
        return f"{self.labels.replace(' ', '+')} {self.name} {self.reduce.__name__} of {self.samples}"


PARAMS, NOISE, LATENTS = normal_params("B, 2*Z"), noise("S, B, Z"), reals("S, B, Z")
GREYS, BITS = reals("B, D"), bits("B, D")
GREYS_PARAMS, OUTPUTS = normal_params("S, B, 2*D"), reals("S, B, D")
