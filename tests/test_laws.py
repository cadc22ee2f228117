"""The second proof: values, samples and bounds against oracles that know nothing of numvae."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from numvae import Bernoulli, Normal, layers
from numvae.arrays import Array
from tests.cases import SPREADS, normal_params
from tests.oracles import kl_by_quadrature, normal_nodes
from tests.strategies import any_reals, sizes


def assert_close(actual: Array, expected: Array, tolerance: float = 1e-12) -> None:
    """Equal up to rounding, measured against the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * float(np.max(np.abs(expected))))


@given(data=st.data(), spread=st.sampled_from(SPREADS))
@settings(max_examples=10)
def test_kl_is_its_integral_by_quadrature(data: Any, spread: float) -> None:
    """KL = E_q[log q - log p], a quadratic under a normal: exact with a few nodes   (normal.5)."""
    n, rng = data.draw(sizes()), np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    params, prior = (normal_params("B, 2*Z").draw(rng, n.shape("B, 2*Z"), spread) for _ in range(2))
    assert_close(Normal().kl(params, prior)[0], kl_by_quadrature(params, prior), tolerance=1e-11)


def test_kl_is_its_integral_by_monte_carlo() -> None:
    """(normal.5)."""
    rng = np.random.default_rng(0)
    params, prior = np.array([[0.4, -1.0, 0.3, -0.7]]), np.array([[0.0, 0.5, -0.2, 0.1]])
    z, _ = Normal().sample(params, rng.standard_normal((200_000, 1, 2)))
    log_ratio = Normal().log_prob(params, z)[0] - Normal().log_prob(prior, z)[0]
    standard_error = log_ratio.std() / np.sqrt(log_ratio.size)
    assert abs(log_ratio.mean() - Normal().kl(params, prior)[0][0]) < 4 * standard_error


def test_expected_score_is_zero_for_the_normal() -> None:
    """E[∇ log q(z)] = 0: what makes baselines free.  By quadrature, exact   (normal.4)."""
    params = np.array([[0.7, -1.3, 0.4, -0.8]])
    nodes, weights = normal_nodes(2, count=6)
    z, _ = Normal().sample(params, nodes[:, None])
    _, pullback = Normal().log_prob(params, z)
    score, _ = pullback(weights[:, None])
    np.testing.assert_allclose(score, 0, atol=1e-13)


ACTIVATIONS = [
    ("layers.5 tanh", layers.tanh, np.tanh),
    ("layers.7 sigmoid", layers.sigmoid, special.expit),
    ("layers.9 softplus", layers.softplus, lambda x: np.logaddexp(0, x)),
    ("layers.11 relu", layers.relu, lambda x: np.where(x > 0, x, 0.0)),
    ("layers.13 leaky_relu", layers.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    ("layers.15 elu", layers.elu, lambda x: np.where(x > 0, x, special.expm1(np.minimum(x, 0)))),
]


@pytest.mark.parametrize(("rule", "oracle"), [case[1:] for case in ACTIVATIONS], ids=[case[0] for case in ACTIVATIONS])
@given(x=any_reals((4,)))
def test_activation_is_its_textbook_form_and_never_overflows(rule: Any, oracle: Any, x: Array) -> None:
    y, pullback = rule(x)
    np.testing.assert_allclose(y, oracle(x), rtol=1e-12, atol=1e-15)
    (dx,) = pullback(np.ones_like(x))
    assert np.isfinite(dx).all()


@given(logits=any_reals((4,)))
def test_bernoulli_never_overflows(logits: Array) -> None:
    """(bernoulli.3)."""
    for value in (np.zeros(4), np.ones(4)):
        log_mass, pullback = Bernoulli().log_prob(logits, value)
        expected = special.log_expit(np.where(value == 1, logits, -logits)).sum()
        np.testing.assert_allclose(log_mass, expected, rtol=1e-12, atol=1e-15 * (10 + np.abs(logits).max()))
        assert np.isfinite(pullback(np.float64(1.0))[0]).all()
