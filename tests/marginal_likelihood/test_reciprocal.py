"""The reciprocal estimate: right where its variance is finite, with the error it states; and where it breaks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import VAE, Dense, initial_theta, log_mean_exp, mlp_vae
from numvae.arrays import Array
from numvae.checks import check_unbiased
from numvae.distributions import Bernoulli
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.hmc import Chain, draw_chain
from numvae.marginal_likelihood import (
    KernelFit,
    NormalFit,
    Reciprocal,
    reciprocal,
    reciprocal_breakdown,
    reciprocal_estimate,
    share_of_infinite_variance,
    simulate,
)
from numvae.marginal_likelihood.supports import coordinates_of
from numvae.priors import Prior
from tests.marginal_likelihood.exact_cases import Missed, every_missed

MISSED = every_missed()
ROWS = 300
LINEAR = LinearGaussian(np.array([[1.0, 2.0, 0.5], [0.5, -1.0, 1.0]]), np.zeros(3), alpha=1.0, beta=2.0)
every_case = pytest.mark.parametrize("case", MISSED, ids=str)


def named(name: str) -> Missed:
    return next(case for case in MISSED if case.name == name)


def estimated(case: Missed, **settings: Any) -> Reciprocal:
    """Many chains for one and the same row, each a row of its own, from a q that misses the posterior."""
    settings = {"draws": 60, "burn_in": 60} | settings
    return reciprocal_estimate(case.model, case.theta, case.rows(ROWS), rng=np.random.default_rng(1), **settings)


# ---- the estimate against the exact evidence


def assert_mean_ratio_is_right(case: Missed, fit: Any) -> None:
    check_unbiased(np.exp(case.evidence - estimated(case, fit=fit).values), 1.0).assert_ok()


@every_case
def test_mean_ratio_is_the_reciprocal_evidence(case: Missed) -> None:
    """reciprocal_importance.3: R̂ p(x) has mean 1 on every exact model, whatever the support of its latents."""
    assert_mean_ratio_is_right(case, NormalFit())


@pytest.mark.parametrize("fit", [NormalFit(0.8), KernelFit()], ids=repr)
@pytest.mark.parametrize("name", ["correlated latents", "counts", "coins", "logistic regression"])
def test_so_it_is_with_any_fit(name: str, fit: Any) -> None:
    assert_mean_ratio_is_right(named(name), fit)


@every_case
def test_values_are_the_evidence_within_their_stated_error_and_bias(case: Missed) -> None:
    """reciprocal_importance.4: errors in units of the stated ones have spread 1 and a little more, for few batches."""
    found = estimated(case, draws=120)
    errors = found.values - case.evidence
    scaled = (errors - found.bias) / found.standard_errors
    inner = np.quantile(np.abs(scaled), 0.68)
    assert 0.75 < inner < 1.5
    assert abs(np.mean(errors - found.bias)) < 4 * errors.std() / math.sqrt(ROWS)
    assert 0.7 < found.acceptance < 0.99


def test_several_chains_a_row_are_one_estimate() -> None:
    _, x = LINEAR.draw(np.random.default_rng(0), 200)
    found = reciprocal_estimate(LINEAR.vae(), LINEAR.theta, x, rng=np.random.default_rng(1), chains=4)
    assert found.log_ratios.shape == (50, 4, 200)
    check_unbiased(np.exp(LINEAR.evidence(x) - found.values), 1.0).assert_ok()
    alone = reciprocal_estimate(LINEAR.vae(), LINEAR.theta, x, rng=np.random.default_rng(1), chains=1)
    assert np.median(found.standard_errors) < 0.6 * np.median(alone.standard_errors)


# ---- planted bugs


def test_the_ratio_upside_down_is_noticed() -> None:
    """The mean of p/q over posterior draws is more than p(x)."""
    for case in MISSED[:4]:
        found = estimated(case)
        upside_down = log_mean_exp(-found.log_ratios[:, 0])[0] - case.evidence
        assert not check_unbiased(upside_down, 0.0).ok
        assert upside_down.mean() > 0.05 > abs(np.mean(found.values - found.bias - case.evidence))


def the_same_draws_twice(*arguments: Any, **settings: Any) -> Chain:
    """The draws of the fit stand in for the fresh ones."""
    chain, half = draw_chain(*arguments, **settings), (settings["draws"] - 20) // 2
    again = [np.concatenate([values[:-half], values[:half]]) for values in (chain.z, chain.log_density)]
    return replace(chain, z=again[0], log_density=again[1])


@pytest.mark.parametrize("fit", [NormalFit(), KernelFit()], ids=repr)
def test_the_same_draws_for_fit_and_mean_are_noticed(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """q is high just where it is averaged: 1/p(x) comes out too large, log p(x) too small."""
    case = named("correlated latents")
    monkeypatch.setattr(reciprocal, "draw_chain", the_same_draws_twice)
    ratios = np.exp(case.evidence - estimated(case, fit=fit).values)
    assert not check_unbiased(ratios, 1.0).ok
    assert ratios.mean() > 1.02


def test_a_forgotten_volume_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = named("counts")
    monkeypatch.setattr(reciprocal, "on_the_reals", lambda coordinates, rule: without_volume(coordinates.value, rule))
    assert not check_unbiased(np.exp(case.evidence - estimated(case).values), 1.0).ok


def without_volume(value: Callable[..., Any], log_density: Callable[..., Any]) -> Callable[..., Any]:
    def rule(u: Array) -> Any:
        z, value_pullback = value(u)
        values, pullback = log_density(z)
        return values, lambda dvalue: value_pullback(*pullback(dvalue))

    return rule


def test_too_narrow_an_error_is_noticed() -> None:
    """std/√L, as if the draws of a chain did not depend on each other, is not the error   (reciprocal_importance.4)."""
    ratios, spread = correlated_ratios()
    naive = np.exp(ratios).reshape(-1, ratios.shape[-1]).std(axis=0) / math.sqrt(len(ratios))
    assert naive.mean() < 0.6 * spread


# ---- the parts


def correlated_ratios() -> tuple[Array, float]:
    """Log ratios whose exponentials are 1 plus a little of a chain with memory, and the std of their mean over L."""
    memory, length, rows = 0.8, 900, 400
    noise = np.random.default_rng(0).standard_normal((length, 1, rows))
    states = [noise[0] / math.sqrt(1 - memory**2)]
    for innovation in noise[1:]:
        states.append(memory * states[-1] + innovation)
    return np.log1p(0.01 * np.array(states)), 0.01 / (1 - memory) / math.sqrt(length)


def test_stated_errors_know_how_draws_depend_on_each_other() -> None:
    """The mean of L states of an autoregression has std 1/((1 - memory) √L) (reciprocal_importance.4)."""
    ratios, spread = correlated_ratios()
    found = Reciprocal(ratios, 1.0)
    assert 0.85 * spread < found.standard_errors.mean() < 1.05 * spread
    assert abs(found.values.std() / spread - 1) < 0.15
    independent = 900 * (1 - 0.8) / (1 + 0.8)
    assert 0.9 * independent < np.median(found.effective_size) < 1.4 * independent
    np.testing.assert_allclose(found.bias, found.standard_errors**2 / 2)


def test_worked_ratios() -> None:
    """Ratios 1, 1, 3, 3 in one chain: p(x) = ½, two batches of means 1 and 3, an error of ½."""
    found = Reciprocal(np.log([1.0, 1.0, 3.0, 3.0])[:, None, None], 1.0)
    np.testing.assert_allclose(found.values, [-math.log(2)])
    np.testing.assert_allclose(found.standard_errors, [0.5])
    np.testing.assert_allclose(found.bias, [0.125])


def test_a_fitted_normal_has_the_moments_of_the_draws() -> None:
    """reciprocal_importance.5, against SciPy."""
    draws, z = np.random.default_rng(0).standard_normal((2, 30, 4, 3))
    for spread in (1.0, 0.6):
        ours = NormalFit(spread)(draws)(z)
        for row in range(4):
            theirs = stats.multivariate_normal(draws[:, row].mean(axis=0), spread**2 * np.cov(draws[:, row].T))
            np.testing.assert_allclose(ours[:, row], theirs.logpdf(z[:, row]))


def test_fitted_kernels_are_those_of_a_kernel_density() -> None:
    """reciprocal_importance.6, against SciPy, with Scott's width and one of our own; chains keep their axis."""
    draws, z = np.random.default_rng(0).standard_normal((2, 30, 4, 3))
    for width, theirs_width in ((None, "scott"), (0.3, 0.3)):
        ours = KernelFit(width)(draws)(z)
        with_chains = KernelFit(width)(draws)(z[:, None])
        np.testing.assert_allclose(with_chains[:, 0], ours)
        for row in range(4):
            theirs = stats.gaussian_kde(draws[:, row].T, bw_method=theirs_width)
            np.testing.assert_allclose(ours[:, row], theirs.logpdf(z[:, row].T))


@pytest.mark.parametrize("family", ["Gamma", "Beta", "Normal"])
def test_coordinates_lead_there_and_back_with_their_volume(family: str) -> None:
    """reciprocal_importance.1: the volume is the derivative, and extreme u stay inside the support."""
    from numvae import distributions

    coordinates = coordinates_of(getattr(distributions, family)())
    u, h = np.random.default_rng(0).standard_normal((5, 1)) * 3, 1e-6
    np.testing.assert_allclose(coordinates.inverse(coordinates.value(u)[0]), u, rtol=1e-9)
    slope = (coordinates.value(u + h)[0] - coordinates.value(u - h)[0]) / (2 * h)
    np.testing.assert_allclose(coordinates.log_volume(u)[0], np.log(slope[:, 0]), rtol=1e-6, atol=1e-8)
    for dtype in (np.float32, np.float64):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            z = coordinates.value(np.array([[-1e4], [1e4]], dtype))[0]
        assert z.dtype == dtype
        assert np.isfinite(coordinates.inverse(z)).all()


# ---- where it breaks


@pytest.mark.parametrize(("variance", "shift"), [(0.8, -0.5), (1.5, 0.3), (0.3, 1.0)])
def test_variance_of_the_ratio_of_two_normals(variance: float, shift: float) -> None:
    """reciprocal_importance.7: ∫ q²/p by quadrature against 1/√(λ(2 - λ)) e^(δ²/(2 - λ)), infinite from λ = 2 on."""
    z = np.linspace(-60, 60, 200_001)
    squares = 2 * stats.norm.logpdf(z, shift, math.sqrt(variance)) - stats.norm.logpdf(z)
    by_hand = math.exp(shift**2 / (2 - variance)) / math.sqrt(variance * (2 - variance))
    np.testing.assert_allclose(np.trapezoid(np.exp(squares), z), by_hand, rtol=1e-8)
    beyond = 2 * stats.norm.logpdf(z, shift, math.sqrt(2.0)) - stats.norm.logpdf(z)
    assert beyond.max() == beyond[[0, -1]].max()


def test_fits_lose_their_variance_where_the_greatest_eigenvalue_passes_two() -> None:
    """(1 + √(Z/L))² = 2 at Z = 0.17 L, for many draws and latents   (reciprocal_importance.7)."""
    rng = np.random.default_rng(0)
    shares = [share_of_infinite_variance(latents, 600, rng=rng, repeats=30) for latents in (80, 125)]
    assert shares == [0.0, 1.0]
    assert share_of_infinite_variance(1, 600, rng=rng) == 0


def test_it_is_right_below_five_latents_and_breaks_beyond() -> None:
    """With the paper's 50 draws and 4 leapfrog steps, on models whose evidence is known."""
    records = {record.latents: record for record in reciprocal_breakdown(rows=200)}
    for latents in (1, 2, 3):
        record = records[latents]
        assert abs(np.median(record.errors)) < 0.05
        assert np.quantile(np.abs(record.errors), 0.9) < 0.5
        assert np.mean(np.abs(record.errors) < 3 * record.standard_errors) > 0.85
        assert record.infinite_variance < 0.02
    assert np.median(records[20].errors) > 0.3
    assert np.quantile(np.abs(records[20].errors), 0.9) > 1.0
    assert records[20].infinite_variance > 0.9
    spread = [np.subtract(*np.quantile(record.errors, (0.9, 0.1))) for record in records.values()]
    assert spread[-1] > 2 * spread[-2] > 2 * spread[2]


# ---- precision, bad input


def test_single_precision_stays_single() -> None:
    model = mlp_vae(6, latents=2, hidden=[4])
    theta = initial_theta(model.layout, rng=np.random.default_rng(0)).astype(np.float32)
    _, x = simulate(model, theta, rng=np.random.default_rng(0), count=3)
    for fit in (NormalFit(), KernelFit()):
        found = reciprocal_estimate(model, theta, x, rng=np.random.default_rng(1), draws=20, burn_in=10, fit=fit)
        arrays = (found.values, found.standard_errors, found.bias, found.effective_size)
        assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"draws": 3}, "draws must be 4 or more, got 3"),
        ({"chains": 0}, "chains must be 1 or more, got 0"),
        ({"between": -1}, "between must be 0 or more, got -1"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
    ],
)
def test_bad_numbers_are_explained(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reciprocal_estimate(LINEAR.vae(), LINEAR.theta, np.zeros((2, 3)), rng=np.random.default_rng(0), **wrong)
    with pytest.raises(InputError, match="rows of x must be 1 or more, got 0"):
        reciprocal_estimate(LINEAR.vae(), LINEAR.theta, np.zeros((0, 3)), rng=np.random.default_rng(0))


def test_draws_that_span_too_few_dimensions_are_explained() -> None:
    for draws in (np.zeros((10, 2, 3)), np.random.default_rng(0).standard_normal((1, 2, 3))):
        with pytest.raises(InputError, match="no covariance of full rank in some row; ask for more draws"):
            NormalFit()(draws)


def test_discrete_latents_are_refused() -> None:
    bits = VAE(Dense(3, 2), Dense(2, 3), 2, posterior=Bernoulli(), prior=Prior(Bernoulli()))
    with pytest.raises(InputError, match="got Bernoulli; estimate log p"):
        reciprocal_estimate(bits, np.zeros(bits.layout.size), np.zeros((2, 3)), rng=np.random.default_rng(0))
