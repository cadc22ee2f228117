"""The aggregate posterior against mixtures by scipy, integrals by quadrature, and normals in closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from numvae import VAE, Dense, Normal, mlp_vae
from numvae.arrays import Array
from numvae.distributions import Gamma
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian, cholesky_params
from numvae.inspection import aggregate, aggregate_log_prob, aggregate_posterior
from numvae.layered import mlp_layered_vae
from tests.oracles import kl_by_quadrature

RNG = np.random.default_rng(6)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_means(means: Array, log_std: float) -> tuple[VAE, Array, Array]:
    """One latent, q(z|x) = N(x, ·) for a datum that is a number."""
    model = mlp_vae(1, latents=1, hidden=())
    model = replace(model, encoder=Dense(1, 2))
    theta = np.zeros(model.layout.size)
    dict(model.layout.leaves(theta))["encoder.W"][0, 0] = 1
    dict(model.layout.leaves(theta))["encoder.b"][1] = log_std
    return model, theta, means[:, None]


MEANS, LOG_STD = np.array([-1.0, 0.2, 0.5, 1.5]), -0.7
MODEL, THETA, X = with_means(MEANS, LOG_STD)


def by_quadrature() -> tuple[float, float]:
    """I(n; z) and KL(q(z) ‖ p(z)) of ``MODEL`` and ``X``, by sums over a fine grid."""
    z = np.linspace(-9, 9, 20_001)
    each = stats.norm(MEANS[:, None], math.exp(LOG_STD)).pdf(z)
    together, step = each.mean(axis=0), z[1] - z[0]
    information = np.sum(each * np.log(each / together)) * step / len(MEANS)
    return float(information), float(np.sum(together * np.log(together / stats.norm.pdf(z))) * step)


@pytest.mark.parametrize("pairs", [64, 300, 1 << 16])
@pytest.mark.parametrize("family", [Normal(), MultivariateNormal(), Gamma()], ids=lambda f: type(f).__name__)
def test_the_density_is_that_of_the_mixture_in_any_chunks(
    monkeypatch: pytest.MonkeyPatch, family: Any, pairs: int
) -> None:
    """(aggregate.1)."""
    monkeypatch.setattr(aggregate, "PAIRS", pairs)
    size = 5 if isinstance(family, MultivariateNormal) else 4
    params, z = RNG.standard_normal((31, size)), np.abs(RNG.standard_normal((17, 2)))
    one_by_one = [logsumexp([family.log_prob(p, point)[0] for p in params]) - math.log(31) for point in z]
    np.testing.assert_allclose(aggregate_log_prob(family, params, z), one_by_one, rtol=1e-12)


def test_information_and_divergence_are_the_integrals() -> None:
    """(aggregate.2), (aggregate.4): within four of the errors that they state."""
    information, divergence = by_quadrature()
    found = aggregate_posterior(MODEL, THETA, X, rng=rng(), samples=4000)
    assert abs(found.information - information) < 4 * found.information_error < 0.05
    assert abs(found.divergence - divergence) < 4 * found.divergence_error < 0.05
    kl = np.mean([kl_by_quadrature(np.array([mean, LOG_STD]), np.zeros(2)) for mean in MEANS])
    assert abs(found.mean_kl - kl) < 4 * found.mean_kl_error
    assert found.mean_kl == pytest.approx(found.information + found.divergence, rel=1e-12)
    assert found.mean_kl - information > 10 * found.mean_kl_error, "the mean KL is not the information"


def test_without_its_own_component_it_is_found_out() -> None:
    """The negative control: the density of the other rows at a sample of this one is too low, and I too large."""
    information, _ = by_quadrature()
    z, _ = Normal().sample(params := MODEL.encode(THETA, X), rng().standard_normal((4000, 4, 1)))
    wrong = []
    for row in range(4):
        others = aggregate_log_prob(Normal(), np.delete(params, row, axis=0), z[:, row])
        wrong.append(Normal().log_prob(params[row], z[:, row])[0] - others)
    assert np.mean(wrong) - information > 20 * np.std(wrong) / math.sqrt(16_000)


def test_rows_far_apart_reach_the_ceiling_and_equal_rows_tell_nothing() -> None:
    """0 ≤ I ≤ log N   (aggregate.3)."""
    apart = aggregate_posterior(*with_means(np.arange(8) * 100.0, 0.0), rng=rng())
    assert apart.information == pytest.approx(math.log(8), rel=1e-12)
    assert apart.information == pytest.approx(apart.ceiling)
    assert apart.mean_ratio == pytest.approx(8)
    same = aggregate_posterior(*with_means(np.zeros(8), 0.0), rng=rng())
    assert same.information == pytest.approx(0, abs=1e-12)
    assert same.divergence == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("samples", "rows"), [(2, None), (3, 2), (2, 3)])
def test_errors_are_those_of_repetitions(samples: int, rows: int | None) -> None:
    """(aggregate.4): of the samples alone where all rows are in, and of the choice of rows where they are not."""
    found = [aggregate_posterior(MODEL, THETA, X, rng=rng(seed), samples=samples, rows=rows) for seed in range(800)]
    for name in ("information", "divergence", "mean_kl"):
        values = np.array([getattr(each, name) for each in found])
        stated = np.mean([getattr(each, f"{name}_error") ** 2 for each in found])
        assert stated == pytest.approx(values.var(), rel=0.2)
    truth = by_quadrature()[0]
    mean = np.mean([each.information for each in found])
    assert abs(mean - truth) < 4 * np.std([each.information for each in found]) / math.sqrt(800)


# ---- all the data, of which the rows are a few

EXACT = LinearGaussian(np.array([[1.5, 0.5], [0.0, 1.0]]), np.array([0.3, -1.0]), alpha=1.0, beta=0.4)


def of_all_data(shift: float) -> tuple[Array, float, float]:
    """Weights whose q misses the posterior by ``shift`` in its means' size; I(x; z) and KL(q(z) ‖ p) over p(x)."""
    theta = EXACT.theta.copy()
    encoder = EXACT.vae().encoder.layout.views(EXACT.vae().layout.views(theta)["encoder"])
    encoder["W"][:, :2] *= shift
    encoder["b"][0] += shift - 1
    to_mean, of_q = encoder["W"][:, :2], np.linalg.inv(EXACT.precision)
    covariance = to_mean.T @ EXACT.covariance @ to_mean + of_q
    information = 0.5 * (np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(of_q)[1])
    mean = EXACT.b @ to_mean + encoder["b"][:2]
    kl, _ = MultivariateNormal().kl(cholesky_params(mean, covariance), np.zeros(5))
    return theta, float(information), float(kl)


def over_draws(theta: Array, rows: int, draws: int) -> tuple[Array, Array, Array]:
    """I, KL and their stated loss for several sets of rows drawn from the model."""
    found = []
    for seed in range(draws):
        _, x = EXACT.draw(generator := rng(seed), rows)
        found.append(aggregate_posterior(EXACT.vae(), theta, x, rng=generator, samples=2))
    columns = zip(*((each.information, each.divergence, each.loss) for each in found), strict=True)
    information, divergence, loss = (np.array(column) for column in columns)
    return information, divergence, loss


@pytest.mark.parametrize("shift", [1.0, 0.6])
def test_of_many_rows_it_is_what_it_is_of_normals(shift: float) -> None:
    """I(x; z) and KL(q(z) ‖ p(z)) of the linear model in closed form; where q is the posterior the KL is zero.

    (aggregate.2), less the loss (aggregate.5), which no number of samples would take away.
    """
    theta, truth, kl = of_all_data(shift)
    information, divergence, loss = over_draws(theta, rows=200, draws=100)
    errors = [values.std(ddof=1) / 10 for values in (information, divergence)]
    assert abs(information.mean() + loss.mean() - truth) < 4 * errors[0]
    assert abs(divergence.mean() - loss.mean() - kl) < 4 * errors[1]
    if shift == 1:
        assert kl == pytest.approx(0, abs=1e-12)
        assert divergence.mean() > 4 * errors[1], "of 200 rows it is not yet zero"


def test_more_rows_know_more() -> None:
    """E I_M grows with M and stays below I(x; z)   (aggregate.5): 30 rows beside the 120 that they are among."""
    exact = replace(EXACT, beta=3.0)
    truth = 0.5 * np.linalg.slogdet(exact.precision)[1]
    found = []
    for seed in range(60):
        _, x = exact.draw(generator := rng(seed), 120)
        found.append([aggregate_posterior(exact.vae(), exact.theta, rows, rng=generator) for rows in (x[:30], x)])
    few, all_of_them = np.array([[each.information for each in pair] for pair in found]).T
    for low, high in ((few, all_of_them), (all_of_them, truth)):
        assert np.mean(high - low) > 4 * np.std(high - low) / math.sqrt(60)


def test_single_precision_and_a_single_sample_will_do() -> None:
    single = aggregate_posterior(MODEL, THETA.astype(np.float32), X.astype(np.float32), rng=rng(), samples=1)
    assert single.information_error > 0
    assert math.isinf(aggregate_posterior(MODEL, THETA, X, rng=rng(), samples=1, rows=1).information_error)


def test_what_cannot_be_done_is_said() -> None:
    layered = mlp_layered_vae(3, latents=(2, 1), hidden=((), ()))
    with pytest.raises(InputError, match="known for a VAE, got a LayeredVAE"):
        aggregate_posterior(layered, THETA, X, rng=rng())
    with pytest.raises(InputError, match="a row and a sample"):
        aggregate_posterior(MODEL, THETA, X, rng=rng(), samples=0)
