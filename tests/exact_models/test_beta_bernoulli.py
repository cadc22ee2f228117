"""Tosses of an unknown coin: against enumeration and scipy's beta-binomial, and q learned row by row."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats

from numvae import sample_mean
from numvae.errors import InputError
from numvae.estimators.sticking_the_landing import sticking_the_landing
from numvae.exact_models import BetaBernoulli, corner_noise
from numvae.objectives import MonteCarloIntegrand
from tests.exact_models.ascent import ascend

TOSSES = (corner_noise(5, 1)[:, 0] + 1) / 2  # every row of five bits


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 3.5), (0.2, 30.0)])
def test_evidences_of_all_data_add_up_to_one(alpha: float, beta: float) -> None:
    """(beta_bernoulli.3), and their heads are beta-binomial."""
    evidence = np.exp(BetaBernoulli(5, alpha, beta).evidence(TOSSES))
    assert evidence.sum() == pytest.approx(1, rel=1e-12)
    for heads in range(6):
        one_order = evidence[TOSSES.sum(axis=1) == heads]
        assert len(one_order) == comb(5, heads)
        assert one_order.sum() == pytest.approx(stats.betabinom(5, alpha, beta).pmf(heads), rel=1e-10)


def test_the_rule_of_succession() -> None:
    """Laplace: after h heads in n tosses, a uniform prior expects (h + 1) / (n + 2)   (beta_bernoulli.2)."""
    model = BetaBernoulli(5)
    mean = model.posterior.mean(model.posterior_params(TOSSES))[:, 0]
    np.testing.assert_allclose(mean, (TOSSES.sum(axis=1) + 1) / 7)


def test_posterior_is_proportional_to_the_joint() -> None:
    """(beta_bernoulli.1), (beta_bernoulli.2): joint over posterior is the evidence at every z."""
    model, x = BetaBernoulli(5, 2.0, 3.5), TOSSES[[11]]
    z = np.array([[0.01], [0.5], [0.9]])
    log_joint = stats.beta(2.0, 3.5).logpdf(z[:, 0]) + stats.bernoulli(z).logpmf(x).sum(axis=-1)
    log_posterior, _ = model.posterior.log_prob(model.posterior_params(x), z)
    np.testing.assert_allclose(log_joint - log_posterior, model.evidence(x).item(), rtol=1e-12)


def test_q_learned_row_by_row_is_the_posterior() -> None:
    """Free parameters for each number of heads, from the prior   (beta_bernoulli.2), (beta_bernoulli.4)."""
    exact = BetaBernoulli(5, alpha=2.0, beta=1.5)
    x = np.tri(6, 5, -1)
    f, rng = MonteCarloIntegrand(exact.vae(), exact.theta, x), np.random.default_rng(1)

    def bound(params: np.ndarray) -> object:
        noise = exact.posterior.noise(rng, (2, 6, 1))
        return sticking_the_landing(exact.posterior, params, noise, f, sample_mean)

    start = np.log(np.tile([2.0, 1.5], (6, 1)))
    params = ascend(bound, start, steps=1000, step_size=0.2)  # type: ignore[arg-type]
    np.testing.assert_allclose(params, exact.posterior_params(x), atol=1e-6)
    np.testing.assert_allclose(bound(params)[0], exact.evidence(x), rtol=1e-6)  # type: ignore[index]


@pytest.mark.parametrize("numbers", [(0, 1.0, 1.0), (3, 0.0, 1.0), (3, 1.0, -1.0)], ids=["features", "alpha", "beta"])
def test_what_is_not_positive_is_refused(numbers: tuple[int, float, float]) -> None:
    with pytest.raises(InputError, match="must be positive"):
        BetaBernoulli(*numbers)
