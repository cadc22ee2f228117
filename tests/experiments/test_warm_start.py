"""A standard deviation for every pixel, started from a single one: the same means, and the stds that were asked for."""

import numpy as np
import pytest

from numvae.distributions import Normal
from numvae.errors import InputError
from numvae.experiments.warm_start import residual_std, start_from_shared_std
from numvae.models import VAE, mlp_vae
from numvae.networks import LeastLogStd, SharedLogStd, SigmoidMean

D = 6


def model(*head: object, hidden: int = 5) -> VAE:
    return mlp_vae(D, latents=2, hidden=(hidden,), likelihood=Normal(), likelihood_head=head)


SHARED, FREE = model(SigmoidMean(D), SharedLogStd()), model(SigmoidMean(D), LeastLogStd(np.log(0.01)))


def weights(of: VAE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(of.layout.size)


def test_it_puts_out_the_learnt_means_and_the_stds_asked_for() -> None:
    learnt, theta, std = weights(SHARED), weights(FREE), np.linspace(0.05, 0.5, D)
    start_from_shared_std(FREE, theta, SHARED, learnt, std)
    x, z = np.random.default_rng(1).random((4, D)), np.random.default_rng(2).standard_normal((4, 2))
    assert np.allclose(FREE.encode(theta, x), SHARED.encode(learnt, x))
    assert np.allclose(FREE.decode_mean(theta, z), SHARED.decode_mean(learnt, z))
    assert np.allclose(Normal().std(FREE.decode(theta, z)), std)


def test_a_std_below_the_floor_starts_just_above_it() -> None:
    theta = weights(FREE)
    start_from_shared_std(FREE, theta, SHARED, weights(SHARED), np.full(D, 1e-9))
    std = Normal().std(FREE.decode(theta, np.zeros((1, 2))))
    assert np.all((std > 0.01) & (std < 0.011))


def test_the_residuals_of_what_is_decoded_exactly_are_zero() -> None:
    theta = weights(SHARED)
    rows = np.random.default_rng(1).random((3, D))
    decoded = SHARED.decode_mean(theta, SHARED.posterior.mean(SHARED.encode(theta, rows)))
    expected = np.sqrt(np.mean((rows - decoded) ** 2, axis=0))
    assert np.allclose(residual_std(SHARED, theta, rows), expected)


@pytest.mark.parametrize("other", [FREE, model(SigmoidMean(D), SharedLogStd(), hidden=4), model(SharedLogStd())])
def test_other_models_are_refused(other: VAE) -> None:
    with pytest.raises(InputError, match="a warm start needs two models"):
        start_from_shared_std(FREE, weights(FREE), other, weights(other), np.ones(D))
