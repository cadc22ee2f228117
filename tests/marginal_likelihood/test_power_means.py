"""Rényi's and the χ bound: exact where they can be, on their side of log p(x), and what their estimates are worth."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from numvae import Normal, log_mean_exp
from numvae.arrays import Array
from numvae.distributions.beta import Beta
from numvae.distributions.gamma import Gamma
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.estimators.power_means import power_mean
from numvae.exact_models import LinearGaussian, mean_field_bound
from numvae.marginal_likelihood import (
    chi_upper_bound,
    importance_weighted_bounds,
    linear_gaussian_power_mean,
    power_mean_bound,
    renyi_bound,
)
from tests.marginal_likelihood.exact_cases import MISSED, Missed, with_q
from tests.oracles import level_nodes, noise_nodes, quantile
from tests.small_runs import DIGITS, MODEL

LINE = LinearGaussian(np.eye(1), np.zeros(1))
X = np.ones((1, 1))
ON_THE_LINE = with_q("line", LINE, LINE.vae(), LINE.theta, np.array([[0.2, 0.1]]), X)
ONE_LATENT = [ON_THE_LINE, *(case for case in MISSED if case.model.latents == 1)]
LINEAR = [ON_THE_LINE, *(case for case in MISSED if isinstance(case.exact, LinearGaussian))]
POWERS = (-0.25, 0.0, 0.3, 0.7, 1.0, 1.3, 1.6, 2.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def law_of(case: Missed) -> Any:
    """q by scipy."""
    first, second = case.params[0]
    match case.model.posterior:
        case Normal():
            return stats.norm(first, math.exp(second))
        case Gamma():
            return stats.gamma(math.exp(first), scale=math.exp(-second))
        case Beta():
            return stats.beta(math.exp(first), math.exp(second))
    raise AssertionError(case.model.posterior)


def by_quadrature(case: Missed, power: float) -> float:
    """M_t, over the levels of q by scipy's quantiles."""
    lower, upper, weights = level_nodes()
    z = np.minimum(
        quantile(law_of(case), lower, upper), 1 - 2**-53 if isinstance(case.model.posterior, Beta) else math.inf
    )
    log_w = case.log_w(z[:, None]) - case.evidence
    return case.evidence + float(math.log(weights @ np.exp(power * log_w)) / power if power else weights @ log_w)


@pytest.mark.parametrize("case", ONE_LATENT, ids=str)
def test_it_grows_with_the_power_through_the_elbo_and_the_evidence(case: Missed) -> None:
    """M_t strictly increasing, M_1 = log p(x), and so the ELBO below it and the χ bound above   (power_means.4)."""
    found = {power: by_quadrature(case, power) for power in POWERS}
    assert all(low < high - 1e-4 for low, high in pairwise(found.values()))
    assert found[1.0] == pytest.approx(case.evidence, abs=1e-9)


@pytest.mark.parametrize("case", ONE_LATENT, ids=str)
@pytest.mark.parametrize("power", [-0.25, 0.0, 0.5, 1.0, 1.3])
def test_the_estimate_meets_the_integral(case: Missed, power: float) -> None:
    """(power_means.1) of many samples: within four of the standard errors it states, and of what it says is missing."""
    found = power_mean_bound(case.model, case.theta, case.rows(10), rng=rng(), samples=4000, power=power)
    error = found.estimate.std(ddof=1) / math.sqrt(10)
    assert abs(found.estimate.mean() - by_quadrature(case, power)) < 4 * error + 2 * abs(found.missing.mean())


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_rising_orders_stand_in_order_on_every_linear_model(case: Missed) -> None:
    """(power_means.6), (power_means.4): the ELBO at 0, log p(x) at 1, in closed form."""
    powers = (-0.1, 0.0, 0.5, 1.0, 1.2, 1.5)
    found = [linear_gaussian_power_mean(case.exact, case.params, case.x, power).item() for power in powers]
    assert all(low < high for low, high in pairwise(found))
    assert found[3] == pytest.approx(case.evidence, abs=1e-10)
    if isinstance(case.model.posterior, Normal):
        assert found[1] == pytest.approx(mean_field_bound(case.exact, case.params, case.x).item(), abs=1e-10)
    nearly = linear_gaussian_power_mean(case.exact, case.params, case.x, 1e-6).item()
    assert found[1] == pytest.approx(nearly, abs=1e-5)


@pytest.mark.parametrize("power", POWERS)
def test_the_closed_form_is_the_integral(power: float) -> None:
    """(power_means.6) by quadrature."""
    exact = linear_gaussian_power_mean(LINE, ON_THE_LINE.params, X, power).item()
    assert exact == pytest.approx(by_quadrature(ON_THE_LINE, power), abs=1e-9)


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_the_closed_form_is_what_samples_give(case: Missed) -> None:
    for power in (0.5, 1.2):
        exact = linear_gaussian_power_mean(case.exact, case.params, case.x, power).item()
        found = power_mean_bound(case.model, case.theta, case.rows(10), rng=rng(), samples=4000, power=power)
        error = found.estimate.std(ddof=1) / math.sqrt(10)
        assert abs(found.estimate.mean() - exact) < 4 * error + 2 * found.missing.mean()


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.5])
def test_what_is_lost_is_the_divergence_of_renyi(alpha: float) -> None:
    """log p(x) - M_{1-α} = D_α(q ‖ p(z|x)), integrated   (power_means.3); and not that of the swapped arguments."""
    q, p = law_of(ON_THE_LINE), stats.norm(0.5, math.sqrt(0.5))

    def divergence(first: Any, second: Any) -> float:
        def term(z: float) -> float:
            return math.exp(alpha * first.logpdf(z) + (1 - alpha) * second.logpdf(z))

        return math.log(integrate.quad(term, -30, 30, epsabs=1e-13, limit=200)[0]) / (alpha - 1)

    lost = ON_THE_LINE.evidence - linear_gaussian_power_mean(LINE, ON_THE_LINE.params, X, 1 - alpha).item()
    assert lost == pytest.approx(divergence(q, p), abs=1e-9)
    assert abs(lost - divergence(p, q)) > 1e-3


def test_a_q_too_narrow_has_no_chi_bound_and_one_too_wide_no_negative_power() -> None:
    """At half the posterior's variance, E[w²] is infinite; every estimate of it is finite all the same."""
    for variance, finite in ((0.26, True), (0.25, False), (0.2, False)):
        params = np.array([[0.5, math.log(variance) / 2]])
        assert np.isfinite(linear_gaussian_power_mean(LINE, params, X, 2.0)).item() == finite
        if not finite:
            assert linear_gaussian_power_mean(LINE, params, X, 2.0).item() == math.inf
            case = with_q("narrow", LINE, LINE.vae(), LINE.theta, params, X)
            found = chi_upper_bound(case.model, case.theta, X, rng=rng(), samples=1000)
            assert np.isfinite(found.estimate).all()
    wide = np.array([[0.5, math.log(1.1) / 2]])
    assert linear_gaussian_power_mean(LINE, wide, X, -1.0).item() == -math.inf


# ---- the estimate of an upper bound


def expected_estimate(power: float, samples: int) -> float:
    """E of (1/t) log (1/S) Σ w^t on the line, by quadrature over all samples."""
    noise, weights = noise_nodes(samples, 1, 24)
    z, _ = Normal().sample(ON_THE_LINE.params, noise)
    log_w = ON_THE_LINE.log_w(z.reshape(-1, 1)).reshape(samples, -1)
    return float(weights @ power_mean(power)(log_w)[0])


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_estimates_rise_with_the_samples_from_the_elbo_towards_what_they_estimate(power: float) -> None:
    """Too low on average, for every positive power   (power_means.5)."""
    found = [expected_estimate(power, samples) for samples in (1, 2, 3)]
    limit = linear_gaussian_power_mean(LINE, ON_THE_LINE.params, X, power).item()
    assert all(low < high for low, high in pairwise([*found, limit]))
    assert found[0] == pytest.approx(by_quadrature(ON_THE_LINE, 0.0), abs=1e-6)


def test_estimates_of_negative_powers_fall_with_the_samples() -> None:
    found = [expected_estimate(-0.25, samples) for samples in (1, 2, 3)]
    limit = linear_gaussian_power_mean(LINE, ON_THE_LINE.params, X, -0.25).item()
    assert all(high > low for high, low in pairwise([*found, limit]))


def test_a_chi_estimate_of_few_samples_is_below_the_evidence() -> None:
    """The upper bound that is none: one sample gives the ELBO; and its exponential form has no such bias."""
    case, rows = ON_THE_LINE, ON_THE_LINE.rows(20_000)
    one = chi_upper_bound(case.model, case.theta, rows, rng=rng(), samples=1)
    elbo = importance_weighted_bounds(case.model, case.theta, rows, rng=rng(), samples=1)
    np.testing.assert_allclose(one.estimate, elbo.best, rtol=1e-12)
    assert one.estimate.mean() < case.evidence - 4 * one.estimate.std() / math.sqrt(20_000)

    limit = linear_gaussian_power_mean(LINE, case.params, X, 2.0).item()
    assert limit > case.evidence
    squares = np.exp(2 * (one.estimate - limit))
    assert abs(squares.mean() - 1) < 4 * squares.std() / math.sqrt(20_000)


@pytest.mark.parametrize(("power", "params", "samples"), [(0.5, [0.2, 0.1], 20), (2.0, [0.4, -0.2], 10)])
def test_what_is_missing_is_stated_to_first_order(power: float, params: list[float], samples: int) -> None:
    """(power_means.5), for a q under which w^t has a variance: over many repetitions, and not with the wrong sign."""
    case = with_q("near", LINE, LINE.vae(), LINE.theta, np.array([params]), X)
    limit = linear_gaussian_power_mean(LINE, case.params, X, power).item()
    found = power_mean_bound(case.model, case.theta, case.rows(20_000), rng=rng(), samples=samples, power=power)
    gap = limit - found.estimate
    error = gap.std() / math.sqrt(len(gap))
    assert abs((gap - found.missing).mean()) < 4 * error + 0.15 * found.missing.mean()
    assert abs((gap + found.missing).mean()) > 8 * error
    assert found.monte_carlo_error.mean() == pytest.approx(gap.std(), rel=0.06)


def test_in_ten_dimensions_the_estimate_has_not_arrived_and_its_effective_samples_say_so() -> None:
    """Six nats above log p(x) is the χ bound of this q; a thousand samples show less than two."""
    exact = LinearGaussian(np.eye(10), np.zeros(10))
    x = np.ones((1, 10))
    params = exact.posterior_params(x)
    params[:, :10] += 0.3
    params[:, 10:] = math.log(0.3) / 2
    case = with_q("ten", exact, exact.vae(), exact.theta, params, x)
    limit = linear_gaussian_power_mean(exact, params, x, 2.0).item() - case.evidence
    found = chi_upper_bound(case.model, case.theta, case.rows(50), rng=rng(), samples=1000)
    assert limit == pytest.approx(5.969, abs=1e-3)
    assert (found.estimate - case.evidence).mean() < 2
    assert np.median(found.effective_samples) < 10


# ---- as evaluations


def test_names_and_orders() -> None:
    x = DIGITS.test[:3] / 255
    theta = 0.1 * rng().standard_normal(MODEL.layout.size)
    noise = MODEL.posterior.noise(rng(), (50, 3, 2))
    log_w: Array = np.add(*MODEL.log_weights(theta, x, noise))
    for alpha, power in ((0.5, 0.5), (0.0, 1.0), (1.0, 0.0), (2.0, -1.0)):
        found = renyi_bound(MODEL, theta, x, rng=rng(), samples=50, alpha=alpha)
        assert found.power == power
        np.testing.assert_allclose(found.estimate, power_mean(power)(log_w)[0], rtol=1e-12)
    upper = chi_upper_bound(MODEL, theta, x, rng=rng(), samples=50)
    np.testing.assert_allclose(upper.estimate, log_mean_exp(2 * log_w)[0] / 2, rtol=1e-12)
    assert np.all(upper.estimate >= log_mean_exp(log_w)[0])


@pytest.mark.parametrize("order", [0.99, 0.0, -1.0, math.nan])
def test_an_order_below_one_is_no_upper_bound(order: float) -> None:
    with pytest.raises(InputError, match="order must be at least 1 for an upper bound"):
        chi_upper_bound(LINE.vae(), LINE.theta, X, rng=rng(), samples=5, order=order)


@pytest.mark.parametrize(("samples", "alpha"), [(0, 0.5), (5, math.inf), (5, math.nan)])
def test_what_has_no_value_is_refused(samples: int, alpha: float) -> None:
    with pytest.raises(InputError, match="samples must be at least 1 and the order finite"):
        renyi_bound(LINE.vae(), LINE.theta, X, rng=rng(), samples=samples, alpha=alpha)


def test_a_full_covariance_is_told_from_a_diagonal_one_by_its_params() -> None:
    """With nothing below the diagonal both are the same."""
    exact = LinearGaussian(rng().standard_normal((2, 3)), np.zeros(3))
    x = np.ones((1, 3))
    diagonal = np.array([[0.1, -0.3, -0.5, -0.4]])
    full = np.concatenate([diagonal, np.zeros((1, 1))], axis=-1)
    assert MultivariateNormal().params_size(2) == full.shape[-1]
    for power in (0.0, 0.5, 1.5):
        values = [linear_gaussian_power_mean(exact, params, x, power) for params in (diagonal, full)]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-12)
