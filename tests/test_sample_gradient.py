"""The review's worked example (its section 3.5): against the rules, against its parts, and against its misprint."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from numvae import VAE, Activation, Chain, Dense, FixedStdNormal, Normal, layers
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.errors import CheckError
from numvae.priors import normal_prior
from numvae.sample_gradient import sample_bound
from tests.cases import Sizes, positives, reals

ALPHA, BETA = 0.7, 3.0
NAMES = ("W", "b", "mean", "variance", "x", "noise")
bound_of = partial(sample_bound, alpha=ALPHA, beta=BETA)


def arguments(rng: np.random.Generator) -> list[Array]:
    """W, b, mean, variance, x, noise."""
    takes = (reals("D, Z"), reals("D"), reals("B, Z"), positives("B, Z"), reals("B, D"), reals("B, Z"))
    return [a.draw(rng, Sizes().shape(a.shape), 1.0) for a in takes]


def test_bound_is_its_parts_from_scipy() -> None:
    """(sample_gradient.1), (sample_gradient.2)."""
    W, b, mean, variance, x, noise = arguments(np.random.default_rng(0))
    s = expit((mean + np.sqrt(variance) * noise) @ W.T + b)
    log_likelihood = stats.norm(s, BETA**-0.5).logpdf(x).sum(axis=-1)
    kl = Normal().kl(*normal_pair(mean, variance))[0]
    np.testing.assert_allclose(bound_of(W, b, mean, variance, x, noise)[0], log_likelihood - kl, rtol=1e-12)


def normal_pair(mean: Array, variance: Array) -> tuple[Array, Array]:
    """q and the prior N(0, I/α) as parameters [mean | log_std]."""
    q = np.concatenate([mean, 0.5 * np.log(variance)], axis=-1)
    prior = np.concatenate([np.zeros_like(mean), np.full_like(mean, -0.5 * math.log(ALPHA))], axis=-1)
    return q, prior


def test_all_four_gradients_are_those_of_the_rules() -> None:
    """The same model from a VAE's pieces, its log-std turned into a variance.

    (sample_gradient.3), (sample_gradient.4), (sample_gradient.5), (sample_gradient.6).
    """
    n, rng = Sizes(), np.random.default_rng(1)
    W, b, mean, variance, x, noise = arguments(rng)
    decoder = Chain((Dense(n.Z, n.D), Activation(layers.sigmoid)))
    model = VAE(Dense(n.D, 2 * n.Z), decoder, n.Z, likelihood=FixedStdNormal(BETA**-0.5), prior=normal_prior(ALPHA))
    theta = np.concatenate([np.zeros(model.encoder.layout.size), W.T.ravel(), b])
    q, prior = normal_pair(mean, variance)

    z, sample_pullback = Normal().sample(q, noise[None])
    log_likelihood, likelihood_pullback = model.log_likelihood(theta, z, x)
    kl, kl_pullback = Normal().kl(q, prior)
    bound, pullback = bound_of(W, b, mean, variance, x, noise)
    np.testing.assert_allclose(bound, log_likelihood[0] - kl, rtol=1e-12)

    dbound = rng.standard_normal(n.B)
    dW, db, dmean, dvariance, dx, dnoise = pullback(dbound)
    dtheta, dz, _ = likelihood_pullback(dbound[None])
    dq = sample_pullback(dz)[0] + kl_pullback(-dbound)[0]
    weights = dict(model.layout.leaves(dtheta))
    np.testing.assert_allclose(dW, weights["decoder.1.W"].T, rtol=1e-12)
    np.testing.assert_allclose(db, weights["decoder.1.b"], rtol=1e-12)
    np.testing.assert_allclose(dmean, dq[:, : n.Z], rtol=1e-12)
    np.testing.assert_allclose(dvariance, dq[:, n.Z :] / (2 * variance), rtol=1e-11)
    assert dx is None
    assert dnoise is None


def as_printed(*args: Array) -> tuple[Array, Pullback]:
    """The bound with the ∂σ² the review prints: the data's term over σ² instead of 2σ (erratum 003-1)."""
    bound, pullback = bound_of(*args)
    variance = args[3]

    def printed_pullback(dbound: Array) -> tuple[Any, ...]:
        dW, db, dmean, dvariance, dx, dnoise = pullback(dbound)
        entropy_and_prior = dbound[:, None] * (1 / (2 * variance) - ALPHA / 2)
        data_term = dvariance - entropy_and_prior
        printed = data_term * np.sqrt(variance) / variance + entropy_and_prior
        return dW, db, dmean, printed, dx, dnoise

    return bound, printed_pullback


def test_the_printed_gradient_is_rejected_and_ours_accepted() -> None:
    """(sample_gradient.6)."""
    args = arguments(np.random.default_rng(2))
    check_pullback(bound_of, *args, names=NAMES).assert_ok()
    with pytest.raises(CheckError, match="dvariance"):
        check_pullback(as_printed, *args, names=NAMES).assert_ok()


def test_the_misprint_hides_at_unit_variance() -> None:
    """There σ² = σ: a gradient check at one special point proves little   (sample_gradient.6)."""
    args = arguments(np.random.default_rng(2))
    args[3] = np.ones_like(args[3])
    check_pullback(as_printed, *args, names=NAMES).assert_ok()


def test_many_samples_of_one_datum_are_its_row_repeated() -> None:
    W, b, mean, variance, x, _ = arguments(np.random.default_rng(3))
    noise = np.random.default_rng(4).standard_normal((4, mean.shape[1]))
    repeated = [np.repeat(row[:1], 4, axis=0) for row in (mean, variance, x)]
    together, _ = bound_of(W, b, *repeated, noise)
    singles = [bound_of(W, b, mean[:1], variance[:1], x[:1], one[None])[0][0] for one in noise]
    np.testing.assert_allclose(together, singles, rtol=1e-13)
