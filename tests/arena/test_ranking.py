"""The order of estimators: who is better, and who cannot be told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numvae.arena.ranking import rank
from numvae.arrays import Array


@dataclass(frozen=True)
class Measured:
    """As much of a measurement as a ranking looks at."""

    name: str
    gradients: Array
    cost: int = 2

    @property
    def total_variance(self) -> float:
        return float(self.gradients.var(axis=0).sum())

    @property
    def variance_times_cost(self) -> float:
        return self.total_variance * self.cost


def normal(name: str, std: float, seed: int, repeats: int = 2_000, cost: int = 2) -> Measured:
    return Measured(name, std * np.random.default_rng(seed).standard_normal((repeats, 3)), cost)


def test_those_that_differ_have_places_of_their_own() -> None:
    """(arena.7), (arena.8)."""
    places = rank([normal("wide", 3, 0), normal("narrow", 1, 1), normal("middle", 2, 2)])
    assert [(place.place, place.name) for place in places] == [(1, "narrow"), (2, "middle"), (3, "wide")]
    assert not any(place.tied_with for place in places)


def test_those_that_cannot_be_told_apart_share_a_place_and_say_so() -> None:
    places = rank([normal("a", 1, 0), normal("b", 1, 1), normal("c", 5, 2)])
    assert [place.place for place in places] == [1, 1, 3]
    assert {place.name: place.tied_with for place in places} == {"a": ("b",), "b": ("a",), "c": ()}


def test_shared_noise_tells_apart_what_independent_noise_does_not() -> None:
    """Two per cent of difference, on two thousand estimates."""
    shared = [normal("a", 1, 0), normal("b", 1.01, 0)]
    assert [place.place for place in rank(shared)] == [1, 2]
    independent = [normal("a", 1, 0), normal("b", 1.01, 1)]
    assert [place.place for place in rank(independent)] == [1, 1]


def test_equal_estimators_are_wrongly_told_apart_as_rarely_as_promised() -> None:
    """(arena.8): at most 5 % of the time, all pairs together; heavy tails included."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        three = [Measured(str(k), rng.standard_t(10, (1_000, 2))) for k in range(3)]
        wrong += any(len(place.tied_with) < 2 for place in rank(three))
    assert wrong <= 20


def test_cost_can_turn_the_order() -> None:
    dear, cheap = normal("dear", 1, 0, cost=10), normal("cheap", 2, 1, cost=1)
    assert rank([dear, cheap])[0].name == "dear"
    assert rank([dear, cheap], by_cost=True)[0].name == "cheap"


def test_the_standard_error_is_that_of_the_value() -> None:
    """For normal estimates of one coordinate se(V) = V √(2 / R)   (arena.7)."""
    one = Measured("one", np.random.default_rng(0).standard_normal((20_000, 1)))
    place = rank([one])[0]
    assert place.standard_error / place.value == np.float64(place.standard_error / place.value)
    np.testing.assert_allclose(place.standard_error / place.value, np.sqrt(2 / 20_000), rtol=0.05)


def test_no_variance_at_all_comes_first_and_ties_with_its_like() -> None:
    constant = [Measured(name, np.ones((100, 2))) for name in ("exact", "enumerated")]
    places = rank([normal("noisy", 1, 0, repeats=100), *constant])
    assert [place.place for place in places] == [1, 1, 3]
    assert places[0].value == 0
