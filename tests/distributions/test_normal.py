"""The normal distribution: hand-worked values, and what only it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from numvae import FixedStdNormal, Normal
from numvae.distributions.broadcasting import sum_to_shape
from numvae.errors import InputError
from tests.oracles import normal_nodes


def test_kl_is_zero_at_the_prior_and_half_a_nat_one_std_away() -> None:
    """(normal.5)."""
    prior = np.zeros((1, 2))
    assert Normal().kl(prior, prior)[0] == 0
    assert Normal().kl(np.array([[1.0, 0.0]]), prior)[0] == 0.5


def test_kl_is_minimal_at_the_prior() -> None:
    """(normal.6)."""
    prior = np.array([[0.3, -0.5]])
    _, pullback = Normal().kl(prior, prior)
    np.testing.assert_allclose(pullback(np.ones(1))[0], 0, atol=1e-15)


def test_kl_is_the_paper_appendix_b_and_the_reviews_with_alpha() -> None:
    """½ Σ (α (mean² + variance) - 1 - log variance - log α), erratum 003-11: printed correctly   (normal.5)."""
    mean, log_std, alpha = np.array([[0.5, -1.0]]), np.array([[-0.6, 0.2]]), 2.5
    params = np.concatenate([mean, log_std], axis=-1)
    prior = np.array([[0.0, 0.0, -0.5 * math.log(alpha), -0.5 * math.log(alpha)]])
    variance = np.exp(2 * log_std)
    review = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - np.log(variance) - math.log(alpha), axis=-1)
    np.testing.assert_allclose(Normal().kl(params, prior)[0], review, rtol=1e-13)
    paper = -0.5 * np.sum(1 + np.log(variance) - mean**2 - variance, axis=-1)
    np.testing.assert_allclose(Normal().kl(params, np.zeros((1, 4)))[0], paper, rtol=1e-13)


def test_kl_of_the_worked_example() -> None:
    """Mean 0.5, variance 0.3: 0.3770 nats, where erratum 001-1 prints a formula that gives -0.1730   (normal.5)."""
    kl, _ = Normal().kl(np.array([[0.5, 0.5 * math.log(0.3)]]), np.zeros((1, 2)))
    assert kl[0] == pytest.approx(0.3770, abs=5e-5)


def test_density_at_the_mean() -> None:
    """(normal.3)."""
    log_density, _ = Normal().log_prob(np.array([[2.0, math.log(3.0)]]), np.array([[2.0]]))
    assert log_density[0] == pytest.approx(-math.log(3 * math.sqrt(2 * math.pi)))


def test_sample_by_hand() -> None:
    """(normal.1), (normal.2)."""
    z, pullback = Normal().sample(np.array([[1.0, math.log(2.0)]]), np.array([[[3.0]], [[-1.0]]]))
    np.testing.assert_allclose(z[:, 0, 0], [7, -1])
    dparams, dnoise = pullback(np.array([[[1.0]], [[10.0]]]))
    np.testing.assert_allclose(dparams, [[11, 6 - 20]])
    assert dnoise is None


def test_entropy_is_minus_the_expected_log_density() -> None:
    """(normal.7)."""
    params = np.array([[0.3, -0.4, 0.2, -1.1]])
    nodes, weights = normal_nodes(2, count=4)
    z, _ = Normal().sample(params, nodes[:, None])
    log_density, _ = Normal().log_prob(params, z)
    np.testing.assert_allclose(Normal().entropy(params), -(weights @ log_density), rtol=1e-13)


def test_cdf_is_a_half_at_the_mean() -> None:
    """(normal.8)."""
    assert Normal().cdf(np.array([[2.0, 5.0]]), np.array([[2.0]])) == 0.5
    assert FixedStdNormal(3.0).cdf(np.array([[2.0]]), np.array([[2.0]])) == 0.5


def test_fixed_std_is_the_normal_with_that_std() -> None:
    """(normal.9), (normal.10)."""
    rng = np.random.default_rng(0)
    mean, x, noise = rng.standard_normal((4, 3, 5)), rng.standard_normal((3, 5)), rng.standard_normal((4, 3, 5))
    fixed, params = FixedStdNormal(0.3), np.concatenate([mean, np.full_like(mean, math.log(0.3))], axis=-1)
    log_density, pullback = fixed.log_prob(mean, x)
    expected, normal_pullback = Normal().log_prob(params, x)
    np.testing.assert_allclose(log_density, expected, rtol=1e-12)
    dmean, dx = pullback(np.ones((4, 3)))
    dparams, dx_expected = normal_pullback(np.ones((4, 3)))
    np.testing.assert_allclose(dmean, dparams[..., :5], rtol=1e-12)
    np.testing.assert_allclose(dx, dx_expected, rtol=1e-12)
    np.testing.assert_allclose(fixed.sample(mean, noise)[0], Normal().sample(params, noise)[0], rtol=1e-12)
    np.testing.assert_allclose(fixed.entropy(mean), Normal().entropy(params), rtol=1e-12)


@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, math.nan])
def test_a_fixed_std_must_be_a_positive_number(std: float) -> None:
    with pytest.raises(InputError, match="fixed_std must be a positive number"):
        FixedStdNormal(std)


def test_noise_comes_from_the_generator_in_the_dtype_asked_for() -> None:
    for family in (Normal(), FixedStdNormal()):
        first, again = (family.noise(np.random.default_rng(5), (2, 3), np.float32) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.dtype == np.float32


def test_repr_round_trips() -> None:
    for family in (Normal(), FixedStdNormal(0.25)):
        assert eval(repr(family), {"Normal": Normal, "FixedStdNormal": FixedStdNormal}) == family


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 2), (1, 2), (3, 1), (1, 1), (4, 1, 2), (4, 3, 2)])
def test_sum_to_shape_is_the_adjoint_of_broadcasting(shape: tuple[int, ...]) -> None:
    """⟨broadcast(a), g⟩ = ⟨a, sum_to_shape(g)⟩ for every a."""
    rng = np.random.default_rng(0)
    a, g = rng.standard_normal(shape), rng.standard_normal((4, 3, 2))
    gathered = sum_to_shape(g, shape)
    assert gathered.shape == shape
    np.testing.assert_allclose(np.sum(np.broadcast_to(a, g.shape) * g), np.sum(a * gathered), rtol=1e-12)


def test_an_odd_number_of_parameters_is_refused_not_broadcast() -> None:
    with pytest.raises(ValueError, match="reshape"):
        Normal().mean(np.zeros((4, 3)))
