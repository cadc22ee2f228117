"""The exact models: enough of each kind, each told by its repr, and right estimators pass on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import pathwise, score_function
from numvae.arena import problems
from numvae.arena.problems import CONTINUOUS, COUNTS, DISCRETE, POSITIVE, Problem, draw_gradients
from numvae.checks import check_unbiased

ALL = CONTINUOUS + POSITIVE + DISCRETE + COUNTS
every_problem = pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.name)


def test_names_are_distinct() -> None:
    assert len({problem.name for problem in ALL}) == len(ALL)


@pytest.mark.parametrize("family", sorted({type(p.q).__name__ for p in ALL}))
def test_each_family_has_five_models_one_with_params_in_f_and_one_of_several_latents(family: str) -> None:
    own = [problem for problem in ALL if type(problem.q).__name__ == family]
    assert len(own) >= 5
    assert any("ELBO" in problem.name for problem in own)
    assert any(problem.latents > 1 for problem in own)


@every_problem
def test_params_have_the_length_of_the_latents(problem: Problem) -> None:
    assert problem.at(3).shape == (3, problem.q.params_per_value * problem.latents)
    assert problem.truth().shape == (len(problem.params),)


FITTING = [(e, p) for p in ALL for e in (pathwise, score_function) if not (e is pathwise and p.q.discrete)]


@pytest.mark.parametrize(("estimator", "problem"), FITTING, ids=lambda case: getattr(case, "name", None))
def test_estimators_of_the_first_issue_are_unbiased(estimator: Any, problem: Problem) -> None:
    """Also pathwise gradients through the quantile of a gamma   (truth.1), (gamma.2), (exponential.2)."""
    gradients = draw_gradients(estimator, problem, 20_000, rng=np.random.default_rng(11))
    check_unbiased(gradients, problem.truth(), name=problem.name).assert_ok()


def test_a_gradient_too_small_by_a_tenth_is_noticed() -> None:
    for problem in (problems.POSITIVE[3], problems.COUNTS[0]):
        gradients = 0.9 * draw_gradients(score_function, problem, 60_000, rng=np.random.default_rng(0))
        assert not check_unbiased(gradients, problem.truth()).ok
