"""The normal with any covariance: scipy's law, the diagonal special case, KL divergences, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.contract import params_size
from numvae.distributions.multivariate_normal import (
    MultivariateNormal,
    kl_to_diagonal,
    mean_and_factor,
    solve_lower,
    solve_transposed,
)
from numvae.distributions.normal import Normal
from numvae.errors import InputError
from numvae.priors import Prior

Q = MultivariateNormal()
ROW = np.array([[0.4, -1.0, 0.3, -0.5, 0.2, -0.1, 0.8, -0.6, 0.3]])  # three values
OTHER = np.array([[0.1, -0.4, 0.6, 0.3, -0.2, 0.4, -0.3, 0.5, 0.7]])
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, rows: int = 4, values: int = 3, log_scale: float = 1.0) -> Array:
    """Coordinates that depend on each other in any way, of sizes e^±log_scale."""
    rng = np.random.default_rng(seed)
    mean, log_diagonal = rng.standard_normal((rows, values)), rng.uniform(-log_scale, log_scale, (rows, values))
    row_of_entry = np.repeat(np.arange(values), np.arange(values))
    below = rng.standard_normal((rows, len(row_of_entry))) * np.exp(log_diagonal[:, row_of_entry])
    return np.concatenate([mean, log_diagonal, below], axis=-1)


def scipy_law(row: Array) -> Any:
    """The law of one row of parameters, its factor filled in by hand."""
    values = (math.isqrt(9 + 8 * len(row)) - 3) // 2
    factor = np.zeros((values, values))
    factor[np.tril_indices(values, -1)] = row[2 * values :]
    factor[np.diag_indices(values)] = np.exp(row[values : 2 * values])
    return stats.multivariate_normal(row[:values], factor @ factor.T)


@given(seed=seeds, values=st.integers(1, 6))
def test_log_prob_and_entropy_are_scipys(seed: int, values: int) -> None:
    """(multivariate_normal.4), (multivariate_normal.8), (multivariate_normal.9)."""
    params = drawn(seed, values=values)
    z = np.random.default_rng(seed).standard_normal((2, 4, values))
    laws = [scipy_law(row) for row in params]
    expected = np.stack([law.logpdf(z[:, row]) for row, law in enumerate(laws)], axis=-1)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], expected.reshape(2, 4), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(Q.entropy(params), [law.entropy() for law in laws], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(Q.covariance(params), [law.cov for law in laws], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(Q.std(params) ** 2, [np.diag(law.cov) for law in laws], rtol=1e-13)


@given(seed=seeds)
def test_log_prob_keeps_ten_digits_out_to_the_tails(seed: int) -> None:
    """Standard deviations from 1e-3 to 1e3, 8 of them out: value = L w gives w back

    (multivariate_normal.1), (multivariate_normal.4).
    """
    params = drawn(seed, log_scale=6.9)
    params[:, :3] = 0
    w = np.random.default_rng(seed).uniform(-8, 8, (4, 3))
    z, _ = Q.sample(params, w)
    expected = stats.norm.logpdf(w).sum(axis=-1) - params[:, 3:6].sum(axis=-1)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], expected, rtol=1e-10)


def test_samples_follow_the_density() -> None:
    """Marginals, scores, moments, and how coordinates depend   (multivariate_normal.1), (multivariate_normal.10)."""
    report = check_sampler(Q, drawn(3), rng=np.random.default_rng(0))
    report.assert_ok()
    assert {"distribution", "score", "dependence of features"} <= {group.name for group in report.groups}


def test_samples_have_the_covariance() -> None:
    """(multivariate_normal.1), (multivariate_normal.8)."""
    z, _ = Q.sample(ROW, Q.noise(np.random.default_rng(0), (200_000, 1, 3)))
    covariance = Q.covariance(ROW)[0]
    variances = np.diag(covariance)
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / 200_000)
    np.testing.assert_array_less(np.abs(np.cov(z[:, 0].T) - covariance), 4 * error)
    np.testing.assert_array_less(np.abs(z[:, 0].mean(axis=0) - Q.mean(ROW)[0]), 4 * np.sqrt(variances / 200_000))


def test_expected_score_is_zero() -> None:
    """By quadrature, exact   (multivariate_normal.5)."""
    points, weights = np.polynomial.hermite_e.hermegauss(4)
    nodes = np.stack(np.meshgrid(points, points, points, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    products = np.stack(np.meshgrid(weights, weights, weights, indexing="ij")).reshape(3, -1).prod(axis=0)
    z, _ = Q.sample(ROW, nodes)
    _, pullback = Q.log_prob(ROW, z)
    dparams, dvalue = pullback(products[:, None])
    np.testing.assert_allclose(dparams, 0, atol=1e-12)
    np.testing.assert_allclose(dvalue.sum(axis=0), 0, atol=1e-12)


def test_a_diagonal_factor_is_the_diagonal_normal() -> None:
    """(multivariate_normal.1), (multivariate_normal.4), (multivariate_normal.6), (multivariate_normal.11)."""
    rng = np.random.default_rng(0)
    normal, prior = rng.standard_normal((2, 4, 6))
    params, full_prior = (np.concatenate([p, np.zeros((4, 3))], axis=-1) for p in (normal, prior))
    noise = rng.standard_normal((5, 4, 3))
    (z, pullback), (expected, normal_pullback) = Q.sample(params, noise), Normal().sample(normal, noise)
    np.testing.assert_allclose(z, expected, rtol=1e-14)
    np.testing.assert_allclose(pullback(noise)[0][:, :6], normal_pullback(noise)[0], rtol=1e-13)
    for name in ("mean", "std", "entropy"):
        np.testing.assert_allclose(getattr(Q, name)(params), getattr(Normal(), name)(normal), rtol=1e-14)
    np.testing.assert_allclose(Q.cdf(params, z), Normal().cdf(normal, z), rtol=1e-12)
    found, log_prob_pullback = Q.log_prob(params, z)
    expected, normal_pullback = Normal().log_prob(normal, z)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    for g, h in zip(log_prob_pullback(found), normal_pullback(found), strict=True):
        np.testing.assert_allclose(g[..., : h.shape[-1]], h, rtol=1e-11, atol=1e-11)
    expected, normal_pullback = Normal().kl(normal, prior)
    for rule, p in ((Q.kl, full_prior), (kl_to_diagonal, prior)):
        kl, kl_pullback = rule(params, p)
        np.testing.assert_allclose(kl, expected, rtol=1e-13)
        for g, h in zip(kl_pullback(kl), normal_pullback(kl), strict=True):
            np.testing.assert_allclose(g[..., :6], h, rtol=1e-11)


@given(seed=seeds)
def test_kl_is_the_textbooks(seed: int) -> None:
    """½ (tr Σp⁻¹Σ + dᵀ Σp⁻¹ d - Z + log |Σp| - log |Σ|) by numpy.linalg; never negative   (multivariate_normal.6)."""
    params, prior = drawn(seed), drawn(seed + 1)
    sigma, sigma_p = Q.covariance(params), Q.covariance(prior)
    d = (params - prior)[:, :3, None]
    trace = np.trace(np.linalg.solve(sigma_p, sigma), axis1=1, axis2=2)
    distance = (np.swapaxes(d, 1, 2) @ np.linalg.solve(sigma_p, d))[:, 0, 0]
    log_ratio = np.linalg.slogdet(sigma_p)[1] - np.linalg.slogdet(sigma)[1]
    kl, _ = Q.kl(params, prior)
    np.testing.assert_allclose(kl, 0.5 * (trace + distance - 3 + log_ratio), rtol=1e-8)
    assert (kl >= 0).all()


@pytest.mark.parametrize("diagonal", [False, True])
def test_kl_is_its_mean_over_samples(diagonal: bool) -> None:
    """Within four standard errors   (multivariate_normal.6), (multivariate_normal.11)."""
    z, _ = Q.sample(ROW, Q.noise(np.random.default_rng(1), (100_000, 1, 3)))
    prior = OTHER[:, :6] if diagonal else OTHER
    log_p, _ = Normal().log_prob(prior, z) if diagonal else Q.log_prob(prior, z)
    ratio = Q.log_prob(ROW, z)[0] - log_p
    kl, _ = kl_to_diagonal(ROW, prior) if diagonal else Q.kl(ROW, prior)
    assert abs(ratio.mean() - kl[0]) < 4 * ratio.std() / math.sqrt(ratio.size)


def test_kl_is_zero_at_equality_with_zero_gradient() -> None:
    """(multivariate_normal.6), (multivariate_normal.7)."""
    params = drawn(7)
    kl, pullback = Q.kl(params, params.copy())
    np.testing.assert_allclose(kl, 0, atol=1e-12)
    for gradient in pullback(np.ones(4)):
        np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_dependence_costs_against_a_diagonal_prior() -> None:
    """With given standard deviations the KL is least without dependence   (multivariate_normal.11)."""
    std = Q.std(ROW)
    prior = OTHER[:, :6]
    independent = Normal().kl(np.concatenate([ROW[:, :3], np.log(std)], axis=-1), prior)[0]
    assert kl_to_diagonal(ROW, prior)[0] > independent


def test_sample_and_log_prob_of_two_values_by_hand() -> None:
    """L = [[1, 0], [½, 1]]   (multivariate_normal.2), (multivariate_normal.3), (multivariate_normal.5)."""
    params = np.array([[0.0, 0.0, 0.0, 0.0, 0.5]])
    z, pullback = Q.sample(params, np.array([[[1.0, 2.0]]]))
    np.testing.assert_allclose(z, [[[1, 2.5]]])
    np.testing.assert_allclose(pullback(np.array([[[10.0, 100.0]]]))[0], [[10, 100, 10, 200, 100]])
    dparams, dvalue = Q.log_prob(params, np.array([[1.0, 0.0]]))[1](np.ones(1))
    np.testing.assert_allclose(dparams, [[1.25, -0.5, 0.25, -0.75, -0.5]])
    np.testing.assert_allclose(dvalue, [[-1.25, 0.5]])


def test_kl_by_hand() -> None:
    """From L = [[1, 0], [½, 1]] to N(0, I): ½ (1 + 1.25 - 2)   (multivariate_normal.6), (multivariate_normal.12)."""
    params = np.array([[0.0, 0.0, 0.0, 0.0, 0.5]])
    kl, pullback = kl_to_diagonal(params, np.zeros((1, 4)))
    assert kl[0] == Q.kl(params, np.zeros((1, 5)))[0][0] == 0.125
    dparams, dprior = pullback(np.ones(1))
    np.testing.assert_allclose(dparams, [[0, 0, 0, 0, 0.5]])
    np.testing.assert_allclose(dprior, [[0, 0, 0, -0.25]])


def test_entries_below_the_diagonal_stand_row_by_row() -> None:
    mean, log_diagonal, factor = mean_and_factor(np.array([1.0, 2, 3, 0, 0, 0, 4, 5, 6]))
    np.testing.assert_array_equal(mean, [1, 2, 3])
    np.testing.assert_array_equal(log_diagonal, 0)
    np.testing.assert_array_equal(factor, [[1, 0, 0], [4, 1, 0], [5, 6, 1]])


@given(seed=seeds, values=st.integers(1, 6))
def test_both_substitutions_solve(seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.standard_normal((2, values, values)), -1) + 2 * np.eye(values)
    right = rng.standard_normal((5, 2, values))
    np.testing.assert_allclose((factor @ solve_lower(factor, right)[..., None])[..., 0], right, rtol=1e-9, atol=1e-9)
    transposed = np.swapaxes(factor, -1, -2)
    np.testing.assert_allclose(
        (transposed @ solve_transposed(factor, right)[..., None])[..., 0], right, rtol=1e-9, atol=1e-9
    )


def test_number_of_parameters_goes_both_ways() -> None:
    for values in range(1, 40):
        size = params_size(Q, values)
        assert Q.mean(np.zeros((1, size))).shape == (1, values)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 6, 8, 10])
def test_a_number_of_parameters_that_fits_no_z_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=rf"must have Z \(Z \+ 3\) / 2 entries .* got {size}"):
        Q.mean(np.zeros((1, size)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_finite(dtype: Any) -> None:
    """Standard deviations from 1e-3 to 1e3, noise 8 standard deviations out."""
    params = drawn(0, rows=50, log_scale=6.9).astype(dtype)
    for size in (-8, 8):
        z, pullback = Q.sample(params, np.full((2, 50, 3), size, dtype))
        log_density, log_prob_pullback = Q.log_prob(params, z)
        found = (z, pullback(np.ones_like(z))[0], log_density, *log_prob_pullback(np.ones_like(log_density)))
        for array in found:
            assert array.dtype == dtype
            assert np.isfinite(array).all()


class Transposed(MultivariateNormal):
    """The bug of Lᵀε for Lε: the determinant is right, and so is the KL to N(0, I)."""

    def sample(self, params: Array, noise: Array) -> Any:
        mean, _, factor = mean_and_factor(params)
        return mean + np.einsum("...ji,...j->...i", factor, noise), lambda dz: (np.zeros_like(params), None)


class WithoutDeterminant(MultivariateNormal):
    """The bug of a gradient that forgets log |L|."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = super().log_prob(params, value)
        values = value.shape[-1]

        def forgetful(d: Array) -> Any:
            dparams, dvalue = pullback(d)
            dparams[..., values : 2 * values] += d.sum(axis=tuple(range(d.ndim - 1)))[..., None]
            return dparams, dvalue

        return log_density, forgetful


def test_planted_bugs_are_rejected() -> None:
    z = np.array([[[0.3, -0.2, 1.1]], [[2.0, 0.4, -0.7]]])
    assert check_pullback(Q.log_prob, ROW, z).ok
    assert not check_pullback(WithoutDeterminant().log_prob, ROW, z).ok
    assert check_sampler(Q, ROW).ok
    assert not check_sampler(Transposed(), ROW).ok


def test_a_prior_fills_all_that_is_below_the_diagonal() -> None:
    """With four latents that block has six entries, not four."""
    params = Prior.of(Q, {"below": 0.5}).params(np.zeros((1, 1)), latents=4)
    np.testing.assert_array_equal(params[0], [0] * 8 + [0.5] * 6)
