"""The gradient as named terms: every estimator is the sum it is said to be, draw by draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from numvae import Normal, elbo, elbo_monte_carlo, log_mean_exp, mlp_vae, pathwise, sample_mean, score_function
from numvae.arena.path_terms import SUMS, PathTerms, path_terms, term_draws
from numvae.arrays import Array, Pullback
from numvae.distributions.catalogue import POSTERIORS, PRIORS, natural_prior
from numvae.distributions.contract import params_size
from numvae.distributions.kl_table import has_closed_form
from numvae.errors import InputError
from numvae.estimators import Estimator, Reduction
from numvae.estimators.doubly_reparameterized import doubly_reparameterized
from numvae.estimators.reweighted import doubly_reparameterized_wake_sleep, reweighted_wake_sleep
from numvae.estimators.sticking_the_landing import sticking_the_landing, sticking_the_landing_iwae
from numvae.models import VAE
from numvae.priors import Prior, normal_prior
from tests.linear_gaussian import linear_gaussian

ESTIMATORS: dict[str, Estimator] = {
    "pathwise": pathwise,
    "score_function": score_function,
    "sticking_the_landing": sticking_the_landing,
    "sticking_the_landing_iwae": sticking_the_landing_iwae,
    "doubly_reparameterized": doubly_reparameterized,
    "reweighted_wake_sleep": reweighted_wake_sleep,
    "doubly_reparameterized_wake_sleep": doubly_reparameterized_wake_sleep,
}
REDUCTIONS: dict[str, Reduction] = {"sample_mean": sample_mean, "log_mean_exp": log_mean_exp}
EVERY_SUM = [(reduction, name) for reduction, sums in SUMS.items() for name in sums]


def small(samples: int = 3, repeats: int = 4) -> tuple[VAE, Array, Array, Array]:
    """A VAE with two latents off its optimum, two images of five bits, and noise (S, R, B, Z)."""
    rng = np.random.default_rng(3)
    model = mlp_vae(5, latents=2, hidden=(4,), prior=normal_prior(1.7))
    theta = 0.5 * rng.standard_normal(model.layout.size)
    x = rng.integers(2, size=(2, 5)).astype(np.float64)
    return model, theta, x, rng.standard_normal((samples, repeats, 2, 2))


def dparams_in(objective: Callable[..., Any], estimator: Estimator, repeats: int) -> Array:
    """What an objective hands its encoder: the estimator's dparams, and the KL's where it is analytic; (R, B, P)."""
    model, theta, x, noise = small(repeats=repeats)
    seen: list[Array] = []

    def watched(q: Any, params: Array, *rest: Any) -> tuple[Array, Pullback]:
        bound, pullback = estimator(q, params, *rest)

        def watched_pullback(dbound: Array) -> tuple[Array, Array]:
            dparams, dtheta = pullback(dbound)
            seen.append(np.array(dparams))
            if objective is elbo:
                seen[-1] += q.kl(params, model.prior_params(params))[1](-dbound)[0]
            return dparams, dtheta

        return bound, watched_pullback

    rows = np.tile(x, (repeats, 1))
    _, pullback = objective(model, theta, rows, noise.reshape(len(noise), -1, 2), watched)
    pullback(np.ones(len(rows)))
    return seen[0].reshape(repeats, len(x), -1)


@pytest.mark.parametrize(("reduction", "name"), EVERY_SUM)
def test_every_estimator_is_the_sum_of_its_terms(reduction: str, name: str) -> None:
    """Draw by draw, to rounding   (path_terms.1) (path_terms.2) (path_terms.3)."""
    repeats = 4
    model, theta, x, noise = small(repeats=repeats)
    terms = term_draws(model, theta, x, noise, REDUCTIONS[reduction])
    total = sum(coefficient * terms[term] for term, coefficient in SUMS[reduction][name].items())
    estimator = ESTIMATORS[name.removesuffix(", analytic KL")]

    def objective(*arguments: Any) -> Any:
        return elbo_monte_carlo(*arguments, reduce=REDUCTIONS[reduction])

    theirs = dparams_in(elbo if name.endswith("analytic KL") else objective, estimator, repeats)
    np.testing.assert_allclose(total, theirs, rtol=1e-12, atol=1e-12 * np.abs(theirs).max())


def test_terms_that_stand_for_each_other_have_one_mean() -> None:
    """Direct and direct through z; path and score of each part; the KL and its three terms, in many draws."""
    model, theta, x, _ = small()
    noise = np.random.default_rng(0).standard_normal((3, 20_000, 2, 2))
    by_importance = term_draws(model, theta, x, noise, log_mean_exp)
    evenly = term_draws(model, theta, x, noise)
    kl = evenly["prior"] + evenly["log q"] + evenly["direct"]
    pairs = [
        (by_importance["direct"], by_importance["direct through z"]),
        (evenly["decoder"], evenly["score of decoder"]),
        (evenly["prior"], evenly["score of prior"]),
        (evenly["log q"], evenly["score of log q"]),
        (kl, evenly["analytic KL"]),
    ]
    for one, other in pairs:
        difference = one - other
        error = difference.std(axis=0) / np.sqrt(len(difference))
        np.testing.assert_array_less(np.abs(difference.mean(axis=0)), 5 * error)
        assert np.abs(one - other).max() > 1e-3


def summary(reduce: Reduction = sample_mean) -> tuple[PathTerms, dict[str, Array]]:
    model, theta, x, noise = small(repeats=50)
    return path_terms(model, theta, x, noise, reduce), term_draws(model, theta, x, noise, reduce)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_variances_of_sums_come_from_the_covariances_of_terms(reduction: str) -> None:
    """(path_terms.4), against the variance of the sum itself."""
    found, draws = summary(REDUCTIONS[reduction])
    for name, terms in found.sums.items():
        total = sum(coefficient * draws[term] for term, coefficient in terms.items())
        np.testing.assert_allclose(found.mean_of(name), total.mean(axis=0), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(found.variance_of(name), total.var(axis=0, ddof=1), rtol=1e-9, atol=1e-13)
    for index, term in enumerate(found.terms):
        np.testing.assert_allclose(found.variance[index], draws[term].var(axis=0, ddof=1), rtol=1e-10, atol=1e-14)


def test_an_analytic_term_has_no_variance() -> None:
    found, _ = summary()
    np.testing.assert_allclose(found.variance[found.terms.index("analytic KL")], 0, atol=1e-25)


def test_at_the_posterior_the_paths_cancel_and_the_direct_term_is_all_the_noise() -> None:
    """Decoder, prior and log q each vary; their sum, sticking the landing, does not."""
    truth = linear_gaussian()
    noise = np.random.default_rng(0).standard_normal((1, 40, 3, 1))
    found = path_terms(truth.model, truth.exact_theta, truth.x, noise)
    np.testing.assert_allclose(found.variance_of("sticking_the_landing"), 0, atol=1e-13)
    direct = found.variance[found.terms.index("direct")]
    np.testing.assert_allclose(found.variance_of("pathwise"), direct, rtol=1e-9)
    assert found.variance[found.terms.index("decoder")].min() > 0.01


@pytest.mark.parametrize("name", POSTERIORS)
def test_every_latent_has_its_sums_and_they_have_one_mean(name: str) -> None:
    """Of a support that moves, the pathwise ones alone; without a closed form, those without it."""
    q, p = POSTERIORS[name], PRIORS[natural_prior(name)]
    model = mlp_vae(5, latents=2, hidden=(4,), posterior=q, prior=Prior(p))
    rng = np.random.default_rng(3)
    theta = 0.3 * rng.standard_normal(model.layout.size)
    x = rng.integers(2, size=(2, 5)).astype(np.float64)
    terms = path_terms(model, theta, x, q.noise(rng, (1, 1000, 2, 2)))
    assert len(terms.coordinates) == params_size(q, 2)
    assert ("score_function" in terms.sums) != getattr(q, "support_moves", False)
    assert ("pathwise, analytic KL" in terms.sums) == has_closed_form(q, p)
    for sum_ in terms.sums:
        difference = terms.mean_of(sum_) - terms.mean_of("pathwise")
        error = np.sqrt((terms.variance_of(sum_) + terms.variance_of("pathwise")) / terms.draws)
        assert np.all(np.abs(difference) <= 5 * error + 1e-12), sum_


def test_it_is_plain_data() -> None:
    found, _ = summary()
    plain = json.loads(json.dumps(found.to_json()))
    terms, coordinates, rows = len(found.terms), 4, 2
    assert plain["coordinates"] == ["mean 0", "mean 1", "log_std 0", "log_std 1"]
    assert np.shape(plain["mean"]) == (terms, rows, coordinates)
    assert np.shape(plain["variance"]) == (terms, coordinates)
    assert np.shape(plain["covariance"]) == (terms, terms, coordinates)
    assert plain["draws"] == 50
    pathwise_there = plain["estimators"]["pathwise"]
    assert set(pathwise_there["terms"]) == {"decoder", "prior", "log q", "direct"}
    np.testing.assert_allclose(pathwise_there["variance"], found.variance_of("pathwise").mean(axis=0))


def test_many_draws_go_through_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model, theta, x, noise = small(repeats=7)
    whole = term_draws(model, theta, x, noise)
    monkeypatch.setattr("numvae.arena.path_terms.MOST_DECODED", 12)
    for name, blockwise in term_draws(model, theta, x, noise).items():
        np.testing.assert_allclose(blockwise, whole[name], rtol=1e-12, atol=1e-14)


def test_what_cannot_be_said_is_refused() -> None:
    model, theta, x, noise = small()

    def median(values: Array) -> tuple[Array, Pullback]:
        return np.median(values, axis=0), lambda dbound: (dbound,)

    with pytest.raises(InputError, match=r"noise must have shape \(S, R, B, Z\) = \(\*, \*, 2, 2\), got \(3, 2, 2\)"):
        path_terms(model, theta, x, noise[:, 0])
    with pytest.raises(InputError, match="R of 2 or more"):
        path_terms(model, theta, x, noise[:, :1])
    with pytest.raises(InputError, match="not under median"):
        path_terms(model, theta, x, noise, median)
    with pytest.raises(InputError, match="'arm' is no sum of these terms; there are pathwise, "):
        path_terms(model, theta, x, noise).mean_of("arm")
    assert isinstance(model.posterior, Normal)


def test_a_forgotten_term_is_noticed() -> None:
    """The negative control: pathwise without its direct term is not the pathwise estimator."""
    model, theta, x, noise = small()
    terms = term_draws(model, theta, x, noise)
    without = sum(terms[term] for term in SUMS["sample_mean"]["sticking_the_landing"])
    assert np.abs(without - dparams_in(elbo_monte_carlo, pathwise, 4)).max() > 0.01
