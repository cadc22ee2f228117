"""The Dirichlet distribution: its laws on the simplex, which the proofs for families of separate values leave out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.beta import Beta
from numvae.distributions.contract import least_positive
from numvae.distributions.dirichlet import Dirichlet
from numvae.distributions.kl_table import kl_divergence

Q = Dirichlet()
PARAMS = np.log([[0.6, 1.5, 3.0, 2.2]])
seeds = st.integers(0, 2**32 - 1)


def wide(seed: int, rows: int = 5, values: int = 4) -> Array:
    """Concentrations from 1e-2 to 1e3."""
    return np.random.default_rng(seed).uniform(math.log(1e-2), math.log(1e3), (rows, values))


def drawn(params: Array, count: int, seed: int = 0) -> Array:
    """Samples (count, B, Z)."""
    return Q.sample(params, Q.noise(np.random.default_rng(seed), (count, *params.shape)))[0]


def test_uniform_on_a_triangle_by_hand() -> None:
    """Area ½: log-density log 2, entropy -log 2; waits of 1, 2 and 5 have the shares ⅛, ¼ and ⅝

    (dirichlet.1), (dirichlet.3), (dirichlet.10).
    """
    uniform = np.zeros((1, 3))
    z, _ = Q.sample(uniform, -np.expm1(-np.array([[[1.0, 2.0, 5.0]]])))
    np.testing.assert_allclose(z, [[[1 / 8, 2 / 8, 5 / 8]]], rtol=1e-12)
    assert Q.log_prob(uniform, z)[0][0, 0] == pytest.approx(math.log(2))
    assert Q.entropy(uniform)[0] == pytest.approx(-math.log(2))


@given(seed=seeds)
def test_density_and_moments_are_scipys(seed: int) -> None:
    """(dirichlet.3), (dirichlet.8), (dirichlet.9), (dirichlet.10)."""
    rng = np.random.default_rng(seed)
    params = rng.uniform(-2.3, 3, (1, 4))
    law = stats.dirichlet(np.exp(params[0]))
    z = rng.dirichlet(np.ones(4), 3)
    z /= z.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], law.logpdf(z.T), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(Q.mean(params)[0], law.mean(), rtol=1e-13)
    np.testing.assert_allclose(Q.std(params)[0] ** 2, law.var(), rtol=1e-12)
    np.testing.assert_allclose(Q.entropy(params)[0], law.entropy(), rtol=1e-11, atol=1e-11)


@settings(max_examples=10)
@given(seed=seeds)
def test_density_keeps_ten_digits_over_the_whole_range(seed: int) -> None:
    """Concentrations from 1e-2 to 1e3, shares out to 1e-12: by beta densities, stick after stick   (dirichlet.3)."""
    params, rng = wide(seed), np.random.default_rng(seed)
    log_share = rng.uniform(math.log(1e-12), 0, params.shape)
    z = np.exp(log_share) / np.exp(log_share).sum(axis=-1, keepdims=True)
    a, expected = np.exp(params), np.zeros(len(params))
    for k in range(3):  # z_k is a beta share of what is left, whose volume shrinks with it
        left, others = z[:, k:].sum(axis=-1), a[:, k + 1 :].sum(axis=-1)
        rest = z[:, k + 1 :].sum(axis=-1)
        kernel = (a[:, k] - 1) * np.log(z[:, k] / left) + (others - 1) * np.log(rest / left)
        expected += kernel - special.betaln(a[:, k], others) - np.log(left)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], expected, rtol=1e-10, atol=1e-10)


def test_marginals_are_beta_by_kolmogorov_and_smirnov() -> None:
    """A hundred thousand draws for each of three rows, where numbers can show the law   (dirichlet.11)."""
    params = np.maximum(wide(seed=1, rows=3, values=3), math.log(0.3))
    params[0, 0] = math.log(0.01)
    z, a = drawn(params, 100_000), np.exp(params)
    for row, column in np.ndindex(3, 3):
        law = stats.beta(a[row, column], a[row].sum() - a[row, column])
        assert stats.kstest(z[:, row, column], law.cdf).pvalue > 1e-4, (row, column)
    np.testing.assert_allclose(
        Q.cdf(params, z[0]), stats.beta(a, a.sum(axis=-1, keepdims=True) - a).cdf(z[0]), rtol=1e-9
    )


def test_shares_sum_to_one_and_vary_against_each_other() -> None:
    """Cov(z_j, z_k) = -a_j a_k / (A² (A + 1))   (dirichlet.1), (dirichlet.11a)."""
    count = 100_000
    for seed in range(3):
        np.testing.assert_allclose(drawn(wide(seed), 100, seed).sum(axis=-1), 1, rtol=1e-14)
    z, a = drawn(PARAMS, count)[:, 0], np.exp(PARAMS[0])
    covariance = np.diag(a) / a.sum() - np.outer(a, a) / a.sum() ** 2
    products = (z[:, :, None] - a[:, None] / a.sum()) * (z[:, None, :] - a / a.sum())
    error = products.std(axis=0) / math.sqrt(count)
    np.testing.assert_array_less(np.abs(products.mean(axis=0) - covariance / (a.sum() + 1)), 4 * error)


def test_density_on_the_simplex_is_the_samples_by_a_second_route() -> None:
    """Sticks: z_1, z_2 / (1 - z_1), … are independent betas   (dirichlet.1)."""
    z, a = drawn(PARAMS, 50_000)[:, 0], np.exp(PARAMS[0])
    sticks = [z[:, k] / z[:, k:].sum(axis=-1) for k in range(3)]
    for k, stick in enumerate(sticks):
        assert stats.kstest(stick, stats.beta(a[k], a[k + 1 :].sum()).cdf).pvalue > 1e-3
    correlations = np.corrcoef(sticks)[np.triu_indices(3, 1)]
    np.testing.assert_array_less(np.abs(correlations), 4 / math.sqrt(50_000))


def test_expected_score_is_zero() -> None:
    """(dirichlet.4)."""
    count = 50_000
    z = drawn(PARAMS, count)[:, 0]
    _, pullback = Q.log_prob(np.repeat(PARAMS, count, axis=0), z)
    score, _ = pullback(np.ones(count))
    np.testing.assert_array_less(np.abs(score.mean(axis=0)), 4 * score.std(axis=0) / math.sqrt(count))


@pytest.mark.parametrize("log_concentrations", [PARAMS, np.log([[0.01, 0.03, 0.02, 0.01]])])
def test_pathwise_gradients_are_those_of_closed_moments(log_concentrations: Array) -> None:
    """Of E[z_0 z_1] = a_0 a_1 / (A (A + 1)), E[z_2²], E[log z_3] = ψ(a_3) - ψ(A), to four standard errors

    (dirichlet.2).
    """
    count = 40_000
    params = np.repeat(log_concentrations, count, axis=0)
    z, pullback = Q.sample(params, Q.noise(np.random.default_rng(1), (1, count, 4)))

    def moments(params: Array) -> list[float]:
        a = np.exp(params)
        total = a.sum()
        square = a[2] * (a[2] + 1) / (total * (total + 1))
        return [a[0] * a[1] / (total * (total + 1)), square, special.psi(a[3]) - special.psi(total)]

    cotangents = np.zeros((3, *z.shape))
    cotangents[0, ..., 0], cotangents[0, ..., 1] = z[..., 1], z[..., 0]
    cotangents[1, ..., 2] = 2 * z[..., 2]
    cotangents[2, ..., 3] = 1 / z[..., 3]
    for column, step in enumerate(1e-4 * np.eye(4)):
        up, down = moments(log_concentrations[0] + step), moments(log_concentrations[0] - step)
        for which in range(3):
            found = pullback(cotangents[which])[0][:, column]
            expected = (up[which] - down[which]) / 2e-4
            assert found.mean() == pytest.approx(expected, abs=4 * found.std() / math.sqrt(count) + 1e-8)


def test_two_shares_are_a_beta() -> None:
    """(dirichlet.1), (dirichlet.2), (dirichlet.3), (dirichlet.5), (dirichlet.8), (dirichlet.9), (dirichlet.10)."""
    params, prior, noise = np.log([[0.4, 2.5]]), np.log([[1.2, 0.7]]), np.random.default_rng(0).random((6, 1, 2))
    (z, pullback), (share, beta_pullback) = Q.sample(params, noise), Beta().sample(params, noise)
    np.testing.assert_allclose(z[..., :1], share, rtol=1e-12)
    dz = np.array([1.0, 0.0]) * np.ones_like(z)
    np.testing.assert_allclose(pullback(dz)[0], beta_pullback(dz[..., :1])[0], rtol=1e-10)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], Beta().log_prob(params, share)[0], rtol=1e-11)
    (kl, kl_pullback), (expected, beta_kl_pullback) = Q.kl(params, prior), Beta().kl(params, prior)
    np.testing.assert_allclose(kl, expected, rtol=1e-12)
    for found, wanted in zip(kl_pullback(np.ones(1)), beta_kl_pullback(np.ones(1)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
    for name in ("mean", "std"):
        np.testing.assert_allclose(getattr(Q, name)(params)[:, :1], getattr(Beta(), name)(params), rtol=1e-13)
    np.testing.assert_allclose(Q.entropy(params), Beta().entropy(params), rtol=1e-12)


@settings(max_examples=8)
@given(seed=seeds)
def test_kl_is_a_chain_of_beta_divergences(seed: int) -> None:
    """Stick after stick, each by scipy's quadrature of beta densities: to 1e-8, and never negative   (dirichlet.5)."""
    rng = np.random.default_rng(seed)
    params, prior = rng.uniform(-0.5, 1.5, (2, 1, 3))
    found, _ = kl_divergence(Q, Q)(params, prior)
    a, b = np.exp(params[0]), np.exp(prior[0])
    expected = 0.0
    for k in range(2):
        shapes, prior_shapes = (a[k], a[k + 1 :].sum()), (b[k], b[k + 1 :].sum())
        expected += beta_divergence(shapes, prior_shapes)
    assert found[0] == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert found[0] > -1e-12


def beta_divergence(shapes: tuple[float, float], prior_shapes: tuple[float, float]) -> float:
    """∫ q (log q - log p) over the log-odds, by the trapezoid rule, which is as good as exact there."""
    log_odds = np.linspace(-200, 200, 8001)

    def log_density(a: float, b: float) -> Array:
        density: Array = a * special.log_expit(log_odds) + b * special.log_expit(-log_odds) - special.betaln(a, b)
        return density

    q, p = log_density(*shapes), log_density(*prior_shapes)
    return float(np.sum(np.exp(q) * (q - p)) * (log_odds[1] - log_odds[0]))


def test_kl_is_its_mean_over_samples_and_zero_at_equality() -> None:
    """(dirichlet.5), (dirichlet.6), (dirichlet.7)."""
    prior, z = np.zeros((1, 4)), drawn(PARAMS, 50_000)
    ratio = (Q.log_prob(PARAMS, z)[0] - Q.log_prob(prior, z)[0])[:, 0]
    found, _ = Q.kl(PARAMS, prior)
    assert ratio.mean() == pytest.approx(found[0], abs=4 * ratio.std() / math.sqrt(len(ratio)))
    kl, pullback = Q.kl(PARAMS, PARAMS.copy())
    assert kl[0] == pytest.approx(0, abs=1e-13)
    for gradient in pullback(np.ones(1)):
        np.testing.assert_allclose(gradient, 0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", ["random", "least", "most"])
def test_whatever_the_noise_all_is_finite(level: str, dtype: Any) -> None:
    """Concentrations from 1e-3 to 1e3, with samples below any number   (dirichlet.1), (dirichlet.2), (dirichlet.4)."""
    params = np.random.default_rng(0).uniform(math.log(1e-3), math.log(1e3), (200, 3)).astype(dtype)
    noise = Q.noise(np.random.default_rng(1), (2, 200, 3), dtype)
    if level != "random":
        noise = np.full_like(noise, 0 if level == "least" else 1 - np.finfo(dtype).epsneg)
    z, pullback = Q.sample(params, noise)
    value, density_pullback = Q.log_prob(params, z)
    assert z.dtype == value.dtype == dtype
    assert z.min() >= np.asarray(least_positive(dtype), dtype)
    for array in (z, value, pullback(np.ones_like(z))[0], pullback(1 / z)[0], *density_pullback(np.ones_like(value))):
        assert np.isfinite(array).all()


class Diagonal(Dirichlet):
    """The bug of a softmax's pullback with its diagonal alone."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)

        def diagonal(dz: Array) -> Any:
            each = [pullback(np.where(np.arange(z.shape[-1]) == k, dz, 0))[0][..., k] for k in range(z.shape[-1])]
            return np.stack(each, axis=-1), None

        return z, diagonal


class NotNormalized(Dirichlet):
    """The bug of gammas over their expected sum: the right means, and no simplex."""

    def sample(self, params: Array, noise: Array) -> Any:
        a = np.exp(params)
        return special.gammaincinv(a, noise) / a.sum(axis=-1, keepdims=True), None


def test_planted_bugs_are_rejected() -> None:
    noise = np.random.default_rng(0).random((3, 1, 4))
    assert not check_pullback(Diagonal().sample, PARAMS, noise).ok
    assert not check_sampler(NotNormalized(), PARAMS).ok
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(NotNormalized().sample(PARAMS, noise)[0].sum(axis=-1), 1, rtol=1e-14)
