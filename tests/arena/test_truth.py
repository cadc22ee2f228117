"""The exact gradient: against finite differences of the exact value, and both against answers known otherwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, FixedStdNormal, Normal, log_mean_exp, sample_mean
from numvae.arena.costs import Cosine, LogRatio, Quadratic
from numvae.arena.problems import CONTINUOUS, COUNTS, DISCRETE, POSITIVE, Problem
from numvae.arena.truth import NODES, exact_gradient, exact_value, nodes
from numvae.arrays import Array
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from tests.oracles import gradient_of

PROBLEMS = CONTINUOUS + POSITIVE + DISCRETE + COUNTS


def value_at(problem: Problem, reduce: Any = sample_mean, samples: int = 1) -> Any:
    def value(params: Array) -> float:
        return exact_value(problem.q, params[None], problem.f, problem.latents, reduce=reduce, samples=samples)

    return value


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.latents < 3], ids=lambda p: p.name)
def test_exact_gradient_is_the_derivative_of_the_exact_value(problem: Problem) -> None:
    """(truth.1), (truth.2)."""
    expected = gradient_of(value_at(problem), np.array(problem.params))
    np.testing.assert_allclose(problem.truth(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.latents == 1 and "ELBO" in p.name], ids=lambda p: p.name)
def test_also_under_a_nonlinear_bound_of_two_samples(problem: Problem) -> None:
    """(truth.1), (truth.2)."""
    expected = gradient_of(value_at(problem, log_mean_exp, 2), np.array(problem.params))
    np.testing.assert_allclose(problem.truth(log_mean_exp, 2), expected, rtol=1e-6, atol=1e-7)


MOMENTS = [
    (Normal(), (0.7, -0.3)),
    (Exponential(), (-2.0,)),
    (Exponential(), (3.0,)),
    (Gamma(), (-2.5, 0.3)),
    (Gamma(), (0.0, -1.0)),
    (Gamma(), (3.5, 2.0)),
    (Bernoulli(), (1.3,)),
    (Poisson(), (-6.0,)),
    (Poisson(), (0.4,)),
    (Poisson(), (6.0,)),
]


@pytest.mark.parametrize(("q", "params"), MOMENTS)
def test_nodes_have_the_familys_moments(q: Any, params: tuple[float, ...]) -> None:
    """Σ w = 1, the mean, the standard deviation, and E[∇ log q] = 0   (truth.3), (truth.4)."""
    point = np.array([params])
    z, weights = nodes(q, point, 1)
    assert weights.sum() == pytest.approx(1, abs=1e-13)
    mean = weights @ z[:, 0]
    assert mean == pytest.approx(q.mean(point)[0, 0], rel=1e-12)
    assert math.sqrt(weights @ (z[:, 0] - mean) ** 2) == pytest.approx(q.std(point)[0, 0], rel=1e-11)
    score = q.log_prob(np.repeat(point, len(z), axis=0), z)[1](weights)[0].sum(axis=0)
    np.testing.assert_allclose(score, 0, atol=1e-10)


def test_gammas_nodes_bear_a_logarithm() -> None:
    """E[log z] = ψ(shape) - log rate, though log z has no end at zero   (truth.3)."""
    from scipy.special import psi

    for shape in (0.05, 0.3, 1.0, 30.0):
        z, weights = nodes(Gamma(), np.array([[math.log(shape), 0.4]]), 1)
        assert weights @ np.log(z[:, 0]) == pytest.approx(psi(shape) - 0.4, abs=1e-11)


def test_answers_in_closed_form() -> None:
    """E cos(k z) from the characteristic function, and the KL, minus the mean of a log-ratio   (truth.1), (truth.2)."""
    k, rate, shape = 1.5, 2.0, 1.7
    cosine = exact_value(Gamma(), np.log([[shape, rate]]), Cosine(k), 1)
    assert cosine == pytest.approx((1 - 1j * k / rate).__pow__(-shape).real, abs=1e-12)
    counts = exact_value(Poisson(), np.log([[rate]]), Cosine(k), 1)
    assert counts == pytest.approx(np.exp(rate * (np.exp(1j * k) - 1)).real, abs=1e-13)
    for q, params, target in [
        (Exponential(), (0.3, -0.5), (0.1, 0.2)),
        (Gamma(), (0.3, -0.5, 0.2, 0.1), (0.1, 0.2, -0.3, 0.4)),
        (Poisson(), (0.3, -0.5), (0.1, 0.2)),
    ]:
        ratio = exact_value(q, np.array([params]), LogRatio(q, target), 2)
        assert -ratio == pytest.approx(q.kl(np.array([params]), np.array([target]))[0][0], abs=1e-11)
        gradient = exact_gradient(q, np.array([params]), LogRatio(q, target), 2)
        _, pullback = q.kl(np.array([params]), np.array([target]))
        np.testing.assert_allclose(-gradient, pullback(np.ones(1))[0][0], atol=1e-9)


def test_latents_may_differ() -> None:
    """Each latent has nodes of its own: E of a sum is the sum."""
    for q, params, parts in [
        (Gamma(), (-0.5, 1.0, 0.2, -0.4), [(-0.5, 0.2), (1.0, -0.4)]),
        (Poisson(), (-1.0, 2.0), [(-1.0,), (2.0,)]),
    ]:
        together = exact_value(q, np.array([params]), Quadratic(0.7), 2)
        apart = sum(exact_value(q, np.array([part]), Quadratic(0.7), 1) for part in parts)
        assert together == pytest.approx(apart, rel=1e-11)


def test_what_is_out_of_reach_is_named() -> None:
    with pytest.raises(InputError, match="no exact expectation under FixedStdNormal; known are Normal, Exponential"):
        nodes(FixedStdNormal(), np.zeros((1, 1)), 1)
    with pytest.raises(InputError, match="6 latents make 2,985,984 nodes"):
        nodes(Normal(), np.zeros((1, 12)), 6)
    with pytest.raises(InputError, match=r"2\^13 rows of bits"):
        nodes(Bernoulli(), np.zeros((1, 13)), 13)
    with pytest.raises(InputError, match=r"shapes from 0\.05 on"):
        nodes(Gamma(), np.array([[-4.0, 0.0]]), 1)
    with pytest.raises(InputError, match="combinations"):
        exact_value(Exponential(), np.zeros((1, 1)), Quadratic(), 1, samples=4)


def test_the_table_grows_by_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NODES, FixedStdNormal, lambda q, params, latents: (params, np.ones(1)))
    assert exact_value(FixedStdNormal(), np.array([[2.0]]), Quadratic(), 1) == 4
