"""Schedules: hand-worked values, the shape of each curve, and one readable line for each mistake."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numvae.errors import InputError
from numvae.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    Milestones,
    Schedule,
    Stages,
    WarmUp,
)

HALF_COSINE = 0.5 * (1 + math.cos(math.pi / 4))
STAGE = 10 ** (-1 / 7)

WORKED: list[Any] = [
    pytest.param(Constant(), [(0, 1.0), (10**9, 1.0)], id="schedules.1 constant"),
    pytest.param(InverseTime(0.5), [(0, 1.0), (2, 0.5), (6, 0.25)], id="schedules.2 inverse time"),
    pytest.param(InverseTime(3.0, power=0.5), [(1, 0.5), (5, 0.25)], id="schedules.2 inverse square root"),
    pytest.param(
        Exponential(0.5, steps=100), [(0, 1.0), (100, 0.5), (50, math.sqrt(0.5))], id="schedules.3 exponential"
    ),
    pytest.param(Cosine(steps=8), [(0, 1.0), (2, HALF_COSINE), (4, 0.5), (8, 0.0), (99, 0.0)], id="schedules.4 cosine"),
    pytest.param(Cosine(steps=8, floor=0.2), [(0, 1.0), (4, 0.6), (8, 0.2)], id="schedules.4 cosine with floor"),
    pytest.param(WarmUp(steps=4), [(0, 0.25), (2, 0.75), (3, 1.0), (4, 1.0)], id="schedules.5 warm-up"),
    pytest.param(WarmUp(2, then=InverseTime(1.0)), [(0, 0.5), (2, 1.0), (3, 0.5)], id="schedules.5 warm-up, then"),
    pytest.param(Milestones((3, 5), drop=0.5), [(2, 1.0), (3, 0.5), (4, 0.5), (5, 0.25)], id="schedules.6 milestones"),
    pytest.param(Milestones(()), [(0, 1.0), (9, 1.0)], id="schedules.6 no milestones"),
    pytest.param(
        Stages(10),
        [(9, 1.0), (10, STAGE), (39, STAGE), (40, STAGE**2), (10929, STAGE**6), (10930, 0.1), (10**9, 0.1)],
        id="schedules.7 stages",
    ),
    pytest.param(
        Stages(2, stages=3, growth=1, last=0.25), [(1, 1.0), (2, 0.5), (3, 0.5), (4, 0.25)], id="schedules.7 even"
    ),
]


@pytest.mark.parametrize(("schedule", "points"), WORKED)
def test_hand_worked_factors(schedule: Schedule, points: list[tuple[int, float]]) -> None:
    for step, factor in points:
        assert schedule(step) == pytest.approx(factor, abs=1e-15)


FALLING: list[Schedule] = [
    InverseTime(0.01),
    Exponential(0.5, 100),
    Cosine(300, 0.1),
    Milestones((20, 200), 0.3),
    Stages(5),
]


@pytest.mark.parametrize("schedule", FALLING, ids=repr)
@given(step=st.integers(0, 1000))
def test_factors_start_at_one_never_rise_and_never_turn_negative(schedule: Schedule, step: int) -> None:
    assert schedule(0) == 1.0
    assert 0.0 <= schedule(step + 1) <= schedule(step)


def test_a_warm_up_joins_the_next_schedule_without_a_jump() -> None:
    schedule = WarmUp(10, then=Cosine(100))
    assert schedule(9) == schedule(10) == 1.0


@pytest.mark.parametrize(
    ("power", "sum_grows", "squares_grow"), [(1.0, True, False), (0.4, True, True), (2.0, False, False)]
)
def test_robbins_and_monro_hold_for_powers_above_a_half_up_to_one(
    power: float, sum_grows: bool, squares_grow: bool
) -> None:
    # Between 10^k and 10^(k+1) a divergent series adds as much or more each time, a convergent one ever less.
    schedule = InverseTime(1.0, power)

    def added(exponent: int, decade: int) -> float:
        return sum(schedule(step) ** exponent for step in range(10**decade, 10 ** (decade + 1)))

    assert (added(1, 4) > 0.9 * added(1, 3)) == sum_grows
    assert (added(2, 4) > 0.9 * added(2, 3)) == squares_grow


@pytest.mark.parametrize("schedule", [parameter.values[0] for parameter in WORKED], ids=repr)
def test_repr_round_trips_and_factors_are_python_floats(schedule: Schedule) -> None:
    names = {kind.__name__: kind for kind in (Constant, InverseTime, Exponential, Cosine, WarmUp, Milestones, Stages)}
    assert eval(repr(schedule), names) == schedule
    assert type(schedule(1)) is float


def test_the_stages_of_the_importance_weighted_auto_encoder_make_3280_passes() -> None:
    """Every pass counted by its factor   (schedules.7)."""
    schedule, factors = Stages(pass_steps=2), [10 ** (-i / 7) for i in range(8)]
    met = [schedule(2 * number) for number in range(3280)]
    assert [sum(abs(factor - each) < 1e-12 for each in met) for factor in factors] == [3**i for i in range(8)]


def test_lists_from_json_become_milestones() -> None:
    assert Milestones([3, 5]) == Milestones((3, 5))  # type: ignore[arg-type]


MISTAKES: list[tuple[Callable[[], Schedule], str]] = [
    (lambda: InverseTime(-1.0), r"InverseTime: rate must be a number in \[0, inf\), got -1.0; try 0.001"),
    (lambda: InverseTime(1.0, power=0.0), r"InverseTime: power must be a number in \(0, inf\), got 0.0; try 1.0"),
    (lambda: Exponential(1.5, 10), r"Exponential: decay must be a number in \(0, 1\], got 1.5; try 0.5"),
    (lambda: Exponential(0.5, 0), "Exponential: steps must be a whole number >= 1, got 0; try 1000"),
    (lambda: Cosine(10.0), "Cosine: steps must be a whole number >= 1, got 10.0; try 10000"),  # type: ignore[arg-type]
    (lambda: Cosine(10, floor=2), r"Cosine: floor must be a number in \[0, 1\], got 2; try 0.0"),
    (lambda: WarmUp(True), "WarmUp: steps must be a whole number >= 1, got True; try 500"),
    (lambda: Milestones((5, -1)), r"Milestones: at must be whole numbers >= 0, got \(5, -1\); try \(1000, 2000\)"),
    (lambda: Milestones((5,), drop=0.0), r"Milestones: drop must be a number in \(0, 1\], got 0.0; try 0.1"),
    (lambda: Stages(0), "Stages: pass_steps must be a whole number >= 1, got 0; try 3000"),
    (lambda: Stages(9, stages=1), "Stages: stages must be a whole number >= 2, got 1; try 8"),
    (lambda: Stages(9, growth=0), "Stages: growth must be a whole number >= 1, got 0; try 3"),
    (lambda: Stages(9, last=2.0), r"Stages: last must be a number in \(0, 1\], got 2.0; try 0.1"),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES)
def test_mistakes_get_one_line_that_says_what_to_do(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        make()


def test_every_schedule_has_a_name_for_the_border() -> None:
    assert set(SCHEDULES) == {"constant", "inverse_time", "exponential", "cosine", "warm_up", "milestones", "stages"}
    assert SCHEDULES["cosine"](steps=4)(2) == pytest.approx(0.5)
