"""Entropies and expectations: against integrals over scipy's quantiles, and their pullbacks against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.distributions import Beta, Gamma, Laplace, LogNormal, Normal, kl_divergence
from numvae.distributions.divergences import log_complement
from numvae.distributions.expectations import LOG_MOMENTS, MEAN_AND_LOG, MOMENTS
from tests.cases.divergences import OF
from tests.oracles import level_nodes, quantile

TABLES = {"moments": MOMENTS, "mean_and_log": MEAN_AND_LOG, "log_moments": LOG_MOMENTS}
ROWS = [(table, kind) for table, rules in TABLES.items() for kind in rules if kind is not Beta]
every_rule = pytest.mark.parametrize(("table", "kind"), ROWS, ids=lambda value: getattr(value, "__name__", value))


def params_of(kind: type) -> Array:
    """Three rows of parameters of one coordinate."""
    letters = OF[kind][1]
    return letters.draw(np.random.default_rng(3), (3, int(letters.shape.split(",")[1])), 1.0)


@every_rule
def test_expectations_are_integrals_over_the_levels(table: str, kind: type) -> None:
    """(expectations.1) to (expectations.23)."""
    params = params_of(kind)
    law = OF[kind][2](params)
    corner = getattr(law, "corner_level", np.full((3, 1), 0.5))

    def mean_of(function: Any) -> Array:
        lower, upper, weights = level_nodes(step=1 / 64, reach=3.6)
        below = quantile(law, corner * lower, 1 - corner + corner * upper)
        above = quantile(law, corner + (1 - corner) * lower, (1 - corner) * upper)
        value: Array = corner[:, 0] * (function(below) @ weights) + (1 - corner[:, 0]) * (function(above) @ weights)
        return value

    known = {"entropy": -mean_of(law.logpdf), "mean": mean_of(lambda z: z)}
    known["variance"] = mean_of(lambda z: (z - known["mean"][:, None]) ** 2)
    if table != "moments":
        known["log"] = mean_of(np.log)
        known["log variance"] = mean_of(lambda z: (np.log(z) - known["log"][:, None]) ** 2)
    names = {"moments": ("mean", "variance"), "mean_and_log": ("mean", "log"), "log_moments": ("log", "log variance")}
    found, _ = TABLES[table][kind](params)
    for name, value in zip(("entropy", *names[table]), found, strict=True):
        np.testing.assert_allclose(value[:, 0], known[name], rtol=1e-8, atol=1e-9, err_msg=name)


@every_rule
def test_pullback_is_the_derivative(table: str, kind: type) -> None:
    def rule(params: Array) -> tuple[Any, Any]:
        values, pullback = TABLES[table][kind](params)
        return values, lambda *gradients: (pullback(*gradients),)

    check_pullback(rule, params_of(kind), names=["params"]).assert_ok()


def test_beta_expectations_are_scipys() -> None:
    """(expectations.17)."""
    params = params_of(Beta)
    law = stats.beta(np.exp(params[:, :1]), np.exp(params[:, 1:]))
    entropy, mean, log = MEAN_AND_LOG[Beta](params)[0]
    np.testing.assert_allclose(entropy, law.entropy(), rtol=1e-12)
    np.testing.assert_allclose(mean, law.mean(), rtol=1e-12)
    alpha, step = np.exp(params), 1e-5
    slope = [np.log(special.beta(alpha[:, :1] + k * step, alpha[:, 1:])) for k in (-1, 1)]
    np.testing.assert_allclose(log, (slope[1] - slope[0]) / (2 * step), rtol=1e-6)


def test_the_best_normal_has_the_moments_of_q() -> None:
    """(divergences.2): no gradient in the prior where mean and variance are those of q."""
    params = np.array([[0.7, -0.4]])
    (_, mean, variance), _ = MOMENTS[Laplace](params)
    prior = np.concatenate([mean, 0.5 * np.log(variance)], axis=-1)
    _, pullback = kl_divergence(Laplace(), Normal())(params, prior)
    np.testing.assert_allclose(pullback(np.ones(1))[1], 0, atol=1e-15)


def test_a_log_normal_has_the_divergence_of_its_logarithm() -> None:
    """(divergences.7), (expectations.22), with q a log-normal: that of the normals."""
    from numvae.distributions.divergences import to_log_normal

    params, prior = np.array([[0.7, -0.4]]), np.array([[-0.3, 0.2]])
    found, _ = to_log_normal(LOG_MOMENTS[LogNormal])(params, prior)
    np.testing.assert_allclose(found, Normal().kl(params, prior)[0], rtol=1e-13)


def test_mean_of_the_log_complement_where_it_is_closed() -> None:
    """-1 / b for a = 1, where a slowly fading tail leads far out; -(ψ(a + 1) + γ) for b = 1   (divergences.15)."""
    shapes = np.geomspace(1e-2, 1e3, 30)
    mean, _, of_log_b = log_complement(np.ones(30), shapes)
    np.testing.assert_allclose(mean, -1 / shapes, rtol=1e-10)
    np.testing.assert_allclose(of_log_b, 1 / shapes, rtol=1e-9)
    mean, of_log_a, _ = log_complement(shapes, np.ones(30))
    np.testing.assert_allclose(mean, -special.psi(shapes + 1) - np.euler_gamma, rtol=1e-10)
    np.testing.assert_allclose(of_log_a, -shapes * special.polygamma(1, shapes + 1), rtol=1e-10)


def test_planted_bugs_are_rejected() -> None:
    """log E[z] for E[log z]; the two arguments exchanged."""
    params, prior = np.array([[0.4, 0.2]]), np.array([[0.1, -0.3]])
    (_, mean, log), _ = MEAN_AND_LOG[Gamma](params)
    assert abs(np.log(mean) - log) > 0.1
    there = kl_divergence(Laplace(), Normal())(params, prior)[0]
    back = kl_divergence(Normal(), Laplace())(prior, params)[0]
    assert abs(there - back) > 0.01
