"""The pathwise estimator on every exact model, under both reductions."""

from __future__ import annotations

import numpy as np
import pytest

from numvae import Normal, pathwise, sample_mean
from numvae.arena.problems import Problem
from numvae.arrays import Array, Pullback
from numvae.estimators import Integrand, Reduction, Reparameterized
from tests.estimators.rule_proofs import NORMALS, ONE_LATENT, REDUCTIONS, by_name, report_on


@pytest.mark.parametrize("problem", NORMALS, ids=by_name)
def test_the_mean_gradient_is_exact(problem: Problem) -> None:
    """(pathwise.2)."""
    report_on(pathwise, problem).assert_ok()


@pytest.mark.parametrize("reduce", REDUCTIONS, ids=by_name)
@pytest.mark.parametrize("problem", ONE_LATENT, ids=by_name)
def test_the_mean_gradient_of_two_samples_is_exact(problem: Problem, reduce: Reduction) -> None:
    """(pathwise.2)."""
    report_on(pathwise, problem, reduce, samples=2).assert_ok()


def with_noise_drawn_again(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The planted bug: the pullback of other noise than the samples are made of."""
    z, _ = q.sample(params, noise)
    _, sample_pullback = q.sample(params, np.roll(noise, 1, axis=1))
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, dz, dtheta = f_pullback(*reduce_pullback(dbound))
        return dparams + sample_pullback(dz)[0], dtheta

    return bound, pullback


def test_noise_drawn_again_is_noticed() -> None:
    problem = NORMALS[0]
    report = report_on(with_noise_drawn_again, problem, sample_mean)
    assert not report.ok
    assert abs(report.mean[1]) < 0.5 < problem.truth()[1]  # dlog_std is pure noise
    assert isinstance(problem.q, Normal)
