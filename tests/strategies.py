"""Hypothesis strategies, named by shape: small, with pairwise distinct sizes, and values over a wide range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from numvae.arrays import Array
from tests.cases import SPREADS, Case, Rule, Sizes


def sizes() -> st.SearchStrategy[Sizes]:
    """Lengths of the five axes, pairwise distinct and none of them twice Z: a transposed matrix then is an error."""
    distinct = st.permutations(range(1, 8)).map(lambda lengths: Sizes(*lengths[:5]))
    return distinct.filter(lambda n: 2 * n.Z not in (n.S, n.B, n.D, n.H))


@dataclass(frozen=True)
class Application:
    """A rule and arguments to apply it to."""

    rule: Rule
    arguments: list[Array]
    sizes: Sizes
    rng: np.random.Generator


@st.composite
def applications(draw: Any, case: Case) -> Application:
    """A case's rule with arguments of any sizes and any spread."""
    n, rng = draw(sizes()), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Application(case.at(n), case.arguments(n, rng, draw(st.sampled_from(SPREADS))), n, rng)


def any_reals(shape: tuple[int, ...], largest: float = 1e300) -> st.SearchStrategy[Array]:
    """Arrays of finite numbers up to ``largest``, zeros of both signs and subnormals among them."""
    return arrays.arrays(np.float64, shape, elements=st.floats(-largest, largest))


def log_likelihoods(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Log-likelihoods of images: down to minus ten thousand nats."""
    return any_reals(shape, largest=1e4)
