"""Variances along lines, against their closed forms."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from numvae import elbo, pathwise, score_function
from numvae.arena import closed_form
from numvae.arena.costs import Quadratic
from numvae.arena.curves import (
    Curves,
    basket,
    optimum_of,
    over_dimension,
    over_distance,
    over_samples,
    path_of_descent,
    path_of_training,
)
from numvae.arena.states import COSTS, State
from numvae.errors import InputError
from numvae.estimators.catalogue import ESTIMATORS
from numvae.training import Recipe
from tests.small_runs import BATCH, DIGITS, MODEL, begin

BOTH = {"score_function": score_function, "pathwise": pathwise}
AT = COSTS["quadratic"](1)


def agree(curves: Curves, name: str, expected: list[float]) -> None:
    """Within five standard errors, place by place."""
    off = np.abs(curves.variance[name] - expected) / curves.standard_error[name]
    assert off.max() < 5, (name, curves.variance[name], expected)


def test_over_dimensions_the_divergences_are_met() -> None:
    curves = over_dimension(COSTS["quadratic"], BOTH, (1, 2, 5), repeats=4000)
    for name in BOTH:
        states = [COSTS["quadratic"](dimension) for dimension in (1, 2, 5)]
        expected = [closed_form.variance(name, state.f, state.params[0]).sum() for state in states]
        agree(curves, name, expected)


def test_over_samples_pathwise_variance_falls_as_one_over_k_and_antithetic_needs_two() -> None:
    curves = over_samples(AT, {"pathwise": pathwise, "antithetic": ESTIMATORS["antithetic"]}, (1, 2, 8), repeats=4000)
    agree(curves, "pathwise", [76 / samples for samples in (1, 2, 8)])
    assert np.isnan(curves.variance["antithetic"]).tolist() == [True, False, False]


def test_over_distance_the_score_function_grows_with_the_fourth_power() -> None:
    curves = over_distance(AT, optimum_of(AT), BOTH, (0.5, 4.0, 20.0), repeats=4000)
    for name in BOTH:
        expected = [
            closed_form.variance(name, Quadratic(-3.0), np.array([-3.0 + d, 0.0])).sum() for d in (0.5, 4.0, 20.0)
        ]
        agree(curves, name, expected)


def test_a_basket_sees_the_states_of_the_descent() -> None:
    steps = (0, 10, 60)
    states = dict(path_of_descent(AT, steps=steps))
    assert list(states) == list(steps)
    means = [state.params[0, 0] for state in states.values()]
    np.testing.assert_allclose(means, [-3 + 4 * 0.96**step for step in steps], rtol=1e-12)
    curves = basket(states.items(), BOTH, repeats=4000)
    for name in BOTH:
        agree(curves, name, [closed_form.variance(name, s.f, s.params[0]).sum() for s in states.values()])


def test_a_basket_follows_a_training() -> None:
    recipe = Recipe(batch=BATCH, objective=elbo)
    path = path_of_training(MODEL, DIGITS, recipe, (0, 3, 12))
    assert [step for step, _ in path] == [0, 3, 12]
    first = MODEL.encode(begin(recipe).theta.astype(np.float64), path[0][1].f.context)  # type: ignore[attr-defined]
    np.testing.assert_allclose(path[0][1].params, first)
    assert not np.allclose(path[1][1].params, path[2][1].params)
    curves = basket(path, BOTH, repeats=100)
    assert np.all(curves.variance["score_function"] > curves.variance["pathwise"])


def test_what_is_not_for_a_state_is_not_a_number_there_and_null_in_json() -> None:
    curves = over_dimension(COSTS["bernoulli"], BOTH, (1, 2), repeats=50)
    assert np.isnan(curves.variance["pathwise"]).all()
    told = json.loads(json.dumps(curves.to_json(), allow_nan=False))
    assert told["estimators"][1] == {"name": "pathwise", "variance": [None, None], "standard_error": [None, None]}


def test_optima_are_known_where_the_slope_is_zero() -> None:
    for name in ("quadratic", "cosine"):
        state = COSTS[name](2)
        optimum = optimum_of(state)
        assert optimum is not None
        slope = closed_form.gradient(state.f, np.concatenate([optimum, [-0.3, -0.3]]))
        assert slope is not None
        np.testing.assert_allclose(slope[:2], 0, atol=1e-12)
    assert optimum_of(COSTS["bernoulli"](2)) is None
    assert optimum_of(COSTS["elbo"](1)) is None


def test_costs_without_a_closed_form_are_not_descended() -> None:
    unknown = replace(AT, f=partial(AT.f))
    with pytest.raises(InputError, match="not known in closed form"):
        list(path_of_descent(unknown, steps=(0, 1)))
    with pytest.raises(InputError, match="at least one place"):
        basket(iter(list[tuple[int, State]]()), BOTH)
