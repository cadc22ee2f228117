"""The uniform distribution by hand, and what a moving support does to estimators, for every family that has one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae import pathwise, sample_mean, score_function
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.kumaraswamy import Kumaraswamy
from numvae.distributions.pareto import Pareto
from numvae.distributions.reciprocal import Reciprocal
from numvae.distributions.triangular import Triangular
from numvae.distributions.uniform import Uniform
from numvae.estimators import claims_of
from numvae.estimators.catalogue import ESTIMATORS

Q = Uniform()
UNIT = np.zeros((1, 2))
MOVING = [Uniform(), Triangular(), Reciprocal(), Pareto()]


def test_sample_and_gradient_by_hand() -> None:
    """A quarter of the way from -1 to 3   (uniform.1), (uniform.2)."""
    z, pullback = Q.sample(np.array([[-1.0, math.log(4)]]), np.array([[[0.25]]]))
    assert z[0, 0, 0] == pytest.approx(0)
    np.testing.assert_allclose(pullback(np.full((1, 1, 1), 3.0))[0], [[3, 3]])


def test_density_by_hand_inside_and_outside() -> None:
    """-log 4 on both ends and between, -inf and no gradient beyond   (uniform.3), (uniform.4)."""
    params, value = np.array([[-1.0, math.log(4)]]), np.array([[-1.0], [0.3], [3.0], [-1.001], [3.001], [math.inf]])
    log_density, pullback = Q.log_prob(params, value)
    np.testing.assert_allclose(log_density, [-math.log(4)] * 3 + [-math.inf] * 3)
    dparams, dvalue = pullback(np.ones(6))
    np.testing.assert_array_equal(dparams, [[0, -3]])
    np.testing.assert_array_equal(dvalue, np.zeros((6, 1)))


def test_kl_by_hand_and_infinite_where_q_sticks_out() -> None:
    """(uniform.5), (uniform.6): log 4; infinite one way round, with no gradient from the coordinate that is."""
    wide = np.array([[-1.0, math.log(4)]])
    assert Q.kl(UNIT, wide)[0][0] == pytest.approx(math.log(4))
    kl, pullback = Q.kl(np.array([[0.0, -1.0, 0.0, 1.0]]), np.zeros((1, 4)))
    assert kl[0] == math.inf
    dparams, dprior = pullback(np.ones(1))
    np.testing.assert_array_equal(dparams, [[0, 0, -1, 0]])
    np.testing.assert_array_equal(dprior, [[0, 0, 1, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_sample_rounds_out_of_its_own_interval(dtype: Any) -> None:
    """Widths down to less than the spacing of numbers at low   (uniform.1), (uniform.3)."""
    rng = np.random.default_rng(0)
    params = np.stack([rng.uniform(-1e3, 1e3, 20_000), rng.uniform(-20, 7, 20_000)], axis=-1).astype(dtype)
    for level in (0.0, 0.5, 1 - np.finfo(dtype).epsneg):
        z, _ = Q.sample(params, np.full((1, 20_000, 1), level, dtype))
        assert np.isfinite(Q.log_prob(params, z)[0]).all()


# ---- supports that move


def test_estimators_that_rest_on_the_score_do_not_cover_moving_supports() -> None:
    """Those that do cover them say so; the others take a family with a support that stays   (uniform.10)."""
    covering = {name for name, estimator in ESTIMATORS.items() if claims_of(estimator).cover(Q)}
    assert covering == {name for name, estimator in ESTIMATORS.items() if claims_of(estimator).moving_support}
    assert {"pathwise", "implicit"} <= covering
    for q in MOVING:
        assert claims_of(pathwise).cover(q)
        assert not claims_of(score_function).cover(q)
    assert claims_of(score_function).cover(Kumaraswamy())


def identity(params: Array, z: Array) -> tuple[Array, Pullback]:
    """f = z, whose expectation is the mean."""
    return z[..., 0], lambda d: (0.0, d[..., None], None)


def gradient(estimator: Any, q: Any, params: Array, samples: int = 1) -> tuple[Array, Array]:
    """The mean over 40,000 noises of the gradient of E[z], and its standard error."""
    rows = np.repeat(params, 40_000 // samples, axis=0)
    noise = q.noise(np.random.default_rng(0), (samples, len(rows), 1))
    _, pullback = estimator(q, rows, noise, identity, sample_mean)
    each = pullback(np.ones(len(rows)))[0]
    return each.mean(axis=0), each.std(axis=0) / math.sqrt(len(rows))


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize(
    ("q", "params", "truth", "score"),
    [
        # E[z] = low + width/2; the score is (0, -1): alone -E[z], against a baseline nothing at all.
        (Uniform(), [0.0, 0.0], [1.0, 0.5], {1: [0.0, -0.5], 4: [0.0, 0.0]}),
        # E[z] = a (e^R - 1) / R at a = R = 1, the score (0, -1).
        (Reciprocal(), [0.0, 0.0], [math.e - 1, 1.0], {1: [0.0, 1 - math.e], 4: [0.0, 0.0]}),
        # E[z] = m k / (k - 1) at m = 1, k = 5: the score in log_scale is k, that in log_shape is right.
        (Pareto(), [0.0, math.log(5)], [1.25, -5 / 16], {1: [6.25, -5 / 16], 4: [0.0, -5 / 16]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_score_function_is_wrong_where_the_path_is_right(
    q: Any, params: list[float], truth: list[float], score: dict[int, list[float]], samples: int
) -> None:
    """By as much as the boundary terms say, with and without a baseline   (uniform.10), (pareto.10)."""
    by_path, error = gradient(pathwise, q, np.array([params]), samples)
    np.testing.assert_array_less(np.abs(by_path - truth), 4 * error + 1e-9)
    by_score, error = gradient(score_function, q, np.array([params]), samples)
    np.testing.assert_array_less(np.abs(by_score - score[samples]), 4 * error + 1e-9)
    assert np.any(np.abs(by_score - truth) > 10 * error + 0.1)


def test_boundary_terms_make_the_score_function_whole() -> None:
    """E[f ∂log q] + [q f ∂end] is the derivative of E[f], for f = e^z on [low, low + width]   (uniform.10)."""
    low, width = -0.3, 1.7
    points, weights = np.polynomial.legendre.leggauss(30)
    z = (low + width * (points + 1) / 2)[:, None]
    params = np.repeat([[low, math.log(width)]], 30, axis=0)
    scores = Q.log_prob(params, z)[1](np.exp(z[:, 0]) * weights / 2)[0].sum(axis=0)
    high, q_at_ends = low + width, 1 / width
    boundary = np.array([q_at_ends * (math.exp(high) - math.exp(low)), q_at_ends * math.exp(high) * width])
    mean = (math.exp(high) - math.exp(low)) / width
    np.testing.assert_allclose(scores + boundary, [mean, math.exp(high) - mean], rtol=1e-12)


@pytest.mark.parametrize(
    ("q", "params"),
    [(Uniform(), [0.4, -0.3, 0.2, 1.0]), (Reciprocal(), [0.4, -0.3, 0.2, 1.0]), (Pareto(), [0.4, -0.3, 2.0, 2.5])],
    ids=lambda value: type(value).__name__,
)
def test_all_of_the_sampler_is_right_but_the_mean_of_the_score(q: Any, params: list[float]) -> None:
    """Distribution, moments and independence pass; E[∇ log p] = 0 alone does not   (uniform.10)."""
    report = check_sampler(q, np.array([params]))
    assert {group.name for group in report.groups if not group.ok} == {"score"}
    assert {"distribution", "mean", "std"} <= {group.name for group in report.groups}


# ---- planted bugs


class NoiseForDistance(Uniform):
    """The bug of a gradient that forgets the width."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        return z, lambda dz: (np.concatenate([pullback(dz)[0][:, :1], (dz * noise).sum(axis=0)], axis=-1), None)


class Centred(Uniform):
    """The bug of ``low`` read as the middle: consistent within itself, and wrong."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params, noise - 0.5)


class FiniteOutside(Uniform):
    """The bug of a density that does not end: right at every sample of its own, wrong under any other law."""

    def log_prob(self, params: Array, value: Array) -> Any:
        return super().log_prob(params, params[..., :1] + 0 * value)


def test_planted_bugs_are_rejected() -> None:
    params, noise = np.array([[0.4, -0.5]]), np.array([[[0.3]], [[0.8]]])
    assert check_pullback(Q.sample, params, noise).ok
    assert not check_pullback(NoiseForDistance().sample, params, noise).ok
    assert "samples lie where log_prob is not finite" in check_sampler(Centred(), params).failures[0]
    far = np.array([[5.0]])
    assert Q.log_prob(params, far)[0][0] == -math.inf != FiniteOutside().log_prob(params, far)[0][0]
