"""The proofs every rule has in ``test_pullbacks.py``, for estimators that have their cases beside their own tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from numvae import Normal, log_mean_exp, sample_mean
from numvae.arena.costs import LogRatio
from numvae.arena.problems import CONTINUOUS, Problem, draw_gradients
from numvae.arrays import Array
from numvae.checks import check_unbiased
from numvae.checks.unbiased import UnbiasedReport
from numvae.estimators import Estimator, Reduction
from tests import test_pullbacks
from tests.cases import Case, log_ratio
from tests.oracles import for_all_rows, noise_nodes

PROOFS_OF_MANY_SAMPLES: tuple[Callable[[Case], None], ...] = (
    test_pullbacks.test_pullback_is_linear_and_gives_the_same_twice,
    test_pullbacks.test_single_precision_stays_single,
    test_pullbacks.test_never_waits_for_the_device_nor_moves_arrays,
)
PROOFS = (
    *PROOFS_OF_MANY_SAMPLES,
    test_pullbacks.test_value_and_gradients_have_the_shapes_of_the_table,  # these two try a single sample too
    test_pullbacks.test_rows_are_independent,
)


def proof_name(proof: Callable[[Case], None]) -> str:
    """What pytest calls a proof."""
    return proof.__name__.removeprefix("test_")


every_proof = pytest.mark.parametrize("proof", PROOFS, ids=proof_name)
every_proof_of_many_samples = pytest.mark.parametrize("proof", PROOFS_OF_MANY_SAMPLES, ids=proof_name)

NORMALS = tuple(problem for problem in CONTINUOUS if isinstance(problem.q, Normal))
ONE_LATENT = tuple(problem for problem in NORMALS if problem.latents == 1)
LOG_RATIOS = tuple(problem for problem in ONE_LATENT if "ELBO" in problem.name)
NEAR_THE_POSTERIOR = Problem("near", Normal(), (-0.38, 0.27), LogRatio(Normal(), (-0.4, 0.3)), 1)
REDUCTIONS = (sample_mean, log_mean_exp)


def by_name(thing: Any) -> str:
    """What pytest calls a parameter."""
    return str(getattr(thing, "name", getattr(thing, "__name__", type(thing).__name__)))


def report_on(
    estimator: Any,
    problem: Problem,
    reduce: Reduction = sample_mean,
    samples: int = 1,
    repeats: int = 20_000,
) -> UnbiasedReport:
    """Many estimates against the exact gradient; under ``sample_mean`` it is the same for any number of samples."""
    gradients = draw_gradients(
        estimator, problem, repeats, rng=np.random.default_rng(7), samples=samples, reduce=reduce
    )
    truth = problem.truth(reduce, 1 if reduce is sample_mean else samples)
    exact = np.ptp(gradients, axis=0) < 1e-10  # no variance is left, and quadrature itself is not finer
    np.testing.assert_allclose(gradients[:, exact], np.broadcast_to(truth[exact], gradients[:, exact].shape), rtol=1e-8)
    return check_unbiased(gradients[:, ~exact], truth[~exact], name=by_name(estimator))


PARAMS = np.array([[0.3, -0.2]])
TARGET = np.array([[-0.4, 0.3]])


def expected_gradients(estimator: Estimator, reduce: Reduction, samples: int, count: int = 40) -> tuple[Array, Array]:
    """(dparams, dtarget) of ``log_ratio`` on average, exactly: nodes of a quadrature stand where noise does."""
    noise, weights = noise_nodes(samples, 1, count)
    params, target = for_all_rows(PARAMS, len(weights)), for_all_rows(TARGET, len(weights))
    _, pullback = estimator(Normal(), params, noise, log_ratio(target), reduce)
    dparams, dtarget = pullback(weights)
    return dparams.sum(axis=0), dtarget.sum(axis=0)


def variance_by_quadrature(estimator: Estimator, problem: Problem, reduce: Reduction, samples: int = 1) -> Array:
    """Of one estimate per parameter, for a problem of one latent."""
    noise, weights = noise_nodes(samples, 1, 40)
    _, pullback = estimator(problem.q, problem.at(len(weights)), noise, problem.f, reduce)
    gradients = pullback(np.ones(len(weights)))[0]
    variance: Array = weights @ (gradients - weights @ gradients) ** 2
    return variance
