"""The triangular distribution: by hand, at its corner and its ends, and a score with no variance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.triangular import Triangular, sides
from tests.oracles import level_nodes

Q = Triangular()
PARAMS = np.array([[0.5, 0.7, -0.8]])


def test_sample_and_gradient_by_hand() -> None:
    """On [0, 6], mode 3, at level ¼: x = √⅛, dl = 3 · ½ x   (triangular.1), (triangular.2)."""
    z, pullback = Q.sample(np.array([[0.0, math.log(6), 0.0]]), np.array([[[0.25]]]))
    x = math.sqrt(1 / 8)
    assert z[0, 0, 0] == pytest.approx(6 * x)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[1, 6 * x, 1.5 * x]])


def test_density_by_hand_inside_and_outside() -> None:
    """On [0, 4], mode 1: ½ z, then (4 - z)/6; -inf and no gradient at the ends and beyond   (triangular.3)."""
    params, value = np.array([[0.0, math.log(4), -math.log(3)]]), np.array([[0.5], [3.0], [0.0], [4.0], [-1.0], [5.0]])
    log_density, pullback = Q.log_prob(params, value)
    np.testing.assert_allclose(np.exp(log_density), [0.25, 1 / 6, 0, 0, 0, 0], atol=1e-15)
    dparams, dvalue = pullback(np.array([1.0, 1, 1, 1, 1, 1]))
    np.testing.assert_allclose(dvalue[:, 0], [2, -1, 0, 0, 0, 0], atol=1e-14)
    # (triangular.4): d low = -2 + 1; d log_width = -(1 + 1) - (1 - 3); d mode_logit = (¼ - 1) + ¼.
    np.testing.assert_allclose(dparams, [[-1, 0, -0.5]], atol=1e-14)


def test_log_prob_is_scipys() -> None:
    """(triangular.3)."""
    params, rng = np.random.default_rng(0).uniform(-2, 2, (50, 3)), np.random.default_rng(1)
    law = stats.triang(expit(params[:, 2]), loc=params[:, 0], scale=np.exp(params[:, 1]))
    z = law.rvs(random_state=rng)
    np.testing.assert_allclose(Q.log_prob(params, z[:, None])[0], law.logpdf(z), rtol=1e-11)


def test_both_sides_meet_at_the_mode() -> None:
    """The density, and the path's gradient in the mode, which has no corner   (triangular.2), (triangular.3)."""
    low, width, mode = 0.5, math.exp(0.7), expit(-0.8)
    around = low + width * (mode + np.array([[-1e-9], [1e-9]]))
    np.testing.assert_allclose(Q.log_prob(PARAMS, around)[0], math.log(2 / width), atol=1e-8)
    slopes = [Q.sample(PARAMS, np.array([[[mode + step]]]))[1](np.ones((1, 1, 1)))[0][0, 2] for step in (-1e-9, 1e-9)]
    np.testing.assert_allclose(slopes, 0.5 * width * mode * (1 - mode), rtol=1e-8)


def test_pathwise_gradient_is_that_of_the_moments() -> None:
    """∇E[z] and ∇E[(z - low)²] in closed form, over the levels of the CDF   (triangular.2), (triangular.5)."""
    level, _, weights = level_nodes()
    z, pullback = Q.sample(PARAMS, level[:, None, None])
    width, mode = math.exp(0.7), expit(-0.8)
    spread = mode * (1 - mode)
    np.testing.assert_allclose(
        pullback(weights[:, None, None])[0], [[1, width * (1 + mode) / 3, width * spread / 3]], rtol=1e-4
    )
    # E[x²] = (1 + c + c²) / 6
    square = width**2 * (1 + mode + mode**2) / 6
    np.testing.assert_allclose(
        pullback(2 * (z - 0.5) * weights[:, None, None])[0][0, 1:],
        [2 * square, width**2 * (1 + 2 * mode) / 6 * spread],
        rtol=1e-4,
    )


def test_symmetric_triangle_is_the_sum_of_two_uniforms() -> None:
    """(triangular.1)."""
    rng = np.random.default_rng(0)
    z, _ = Q.sample(np.zeros((1, 3)), Q.noise(rng, (20_000, 1, 1)))
    assert stats.ks_2samp(z.ravel(), rng.random((20_000, 2)).mean(axis=1)).pvalue > 1e-3


def test_sides_keep_their_digits() -> None:
    """(triangular.9): 1 - sigmoid(40) is 4e-18, not 0; beyond the smallest number it is that number."""
    below, above = sides(np.array([40.0, -40.0, 0.0, 800.0]))
    np.testing.assert_allclose(above, [math.exp(-40), 1, 0.5, 2.3e-305], rtol=1e-2)
    np.testing.assert_allclose(below, [1, math.exp(-40), 0.5, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode_logit", [-1000.0, -40.0, 0.0, 40.0, 1000.0])
def test_no_sample_is_an_end(mode_logit: float, dtype: Any) -> None:
    """Whatever the noise, the ends and the mode: finite samples, log-densities and gradients

    (triangular.1), (triangular.3).
    """
    rng = np.random.default_rng(0)
    low = np.concatenate([rng.uniform(-1e3, 1e3, 2000), np.zeros(500), 10 ** rng.uniform(-8, 3, 500)])
    log_width = rng.uniform(-6.9, 6.9, 3000)
    low[-200:] = -np.exp(log_width[-200:])  # the upper end at 0
    params = np.stack([low, log_width, np.full(3000, mode_logit)], axis=-1).astype(dtype)
    noise = np.array([0.0, 1e-30, 0.3, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise * np.ones((1, 3000, 1), dtype))
    log_density, density_pullback = Q.log_prob(params, z)
    for array in (z, pullback(np.ones_like(z))[0], log_density, *density_pullback(np.ones_like(log_density))):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


def score(levels: Array) -> Array:
    """∇ log p at the samples of these levels, one row each."""
    z, _ = Q.sample(PARAMS, levels[:, None, None])
    return np.asarray(Q.log_prob(np.repeat(PARAMS, len(levels), axis=0), z[:, 0])[1](np.ones(len(levels)))[0])


def test_score_has_mean_zero_and_no_variance() -> None:
    """Each hundredfold of levels adds the same to the second moment in low   (triangular.10)."""
    counts = (100, 10_000, 1_000_000)
    scores = [score((np.arange(count) + 0.5) / count) for count in counts]
    np.testing.assert_allclose(scores[-1].mean(axis=0), 0, atol=2e-3)
    moments = np.array([(s**2).mean(axis=0) for s in scores])
    mode, width = expit(-0.8), math.exp(0.7)
    growth = 2 / width**2 * (1 / mode + 1 / (1 - mode)) * math.log(10)
    np.testing.assert_allclose(np.diff(moments[:, 0]), growth, rtol=2e-2)
    assert np.ptp(moments[:, 2]) < 1e-2  # in mode_logit it is bounded


def test_sampler_agrees_with_density_and_moments() -> None:
    """(triangular.1), (triangular.5), (triangular.6), (triangular.8)."""
    report = check_sampler(Q, np.array([[0.5, -2.0, 0.7, 0.1, -0.8, 3.0]]))
    assert {group.name for group in report.groups if not group.ok} <= {"score"}


# ---- planted bugs


class WrongSide(Triangular):
    """The bug of one side's slope used on both: right below the mode."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        low, mode_logit = params[:, :1], params[:, 2:]
        slope = 0.5 * (1 - expit(mode_logit)) * (z - low)
        return z, lambda dz: (np.concatenate([pullback(dz)[0][:, :2], (dz * slope).sum(axis=0)], axis=-1), None)


class ModeFromTheOtherEnd(Triangular):
    """The bug of c and 1 - c exchanged in the sampler alone: consistent within itself, and wrong."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params * np.repeat([1.0, 1.0, -1.0], params.shape[-1] // 3), noise)


def test_planted_bugs_are_rejected() -> None:
    noise = np.array([[[0.1]], [[0.8]]])
    assert check_pullback(Q.sample, PARAMS, noise).ok
    assert not check_pullback(WrongSide().sample, PARAMS, noise).ok
    failed = {group.name for group in check_sampler(ModeFromTheOtherEnd(), PARAMS).groups if not group.ok}
    assert {"distribution", "mean"} <= failed
