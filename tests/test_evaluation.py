"""The bound on test rows: the mean that it says it is, its error bar, and the same whatever the blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from numvae import blocks, elbo, elbo_monte_carlo, elbo_terms, evaluation, importance_weighted, initial_theta
from numvae.belief_networks import mlp_belief_network
from numvae.datasets import fresh, grey
from numvae.evaluation import evaluate, evaluate_importance_weighted, evaluate_likelihood
from tests.small_runs import DIGITS, MODEL

THETA = 0.7 * initial_theta(MODEL.layout, rng=np.random.default_rng(0))
ROWS = DIGITS.train


def rng(seed=3):
    return np.random.default_rng(seed)


def test_it_is_the_mean_over_rows_of_the_bound_and_its_terms():
    draw = rng()
    x = fresh(ROWS, draw, np.float64)
    noise = draw.standard_normal((1, len(ROWS), 2))
    bound = elbo(MODEL, THETA, x, noise)[0]
    reconstruction, kl = elbo_terms(MODEL, THETA, x, noise)[0]

    found = evaluate(MODEL, THETA, ROWS, rng=rng())
    expected = (bound.mean(), reconstruction.mean(), kl.mean(), bound.std(ddof=1) / math.sqrt(len(ROWS)))
    np.testing.assert_allclose((found.elbo, found.reconstruction, found.kl, found.standard_error), expected, rtol=1e-12)
    assert found.rows == len(ROWS)


def test_the_bound_is_reconstruction_less_kl():
    found = evaluate(MODEL, THETA, ROWS, rng=rng(), samples=3)
    assert found.elbo == pytest.approx(found.reconstruction - found.kl, rel=1e-12)
    assert found.kl > 0


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_change_nothing_where_the_noise_is_the_same(monkeypatch, block):
    whole = evaluate(MODEL, THETA, ROWS, rng=rng(), binarize=grey)  # grey draws nothing: the noise is one stream
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block)
    parts = evaluate(MODEL, THETA, ROWS, rng=rng(), binarize=grey)
    assert parts.rows == len(ROWS)
    assert parts.elbo == pytest.approx(whole.elbo, rel=1e-12)
    assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-12)


@pytest.mark.parametrize("samples", [1, 3, 100, 300])
def test_no_block_is_larger_than_promised(samples):
    seen = list(evaluation.batches(MODEL, THETA, ROWS, rng(), samples, grey, "cpu"))
    assert sum(len(x) for x, _ in seen) == len(ROWS)
    for x, noise in seen:
        assert noise.shape == (samples, len(x), 2)
        assert len(x) * samples < blocks.BLOCK_ROWS + samples or len(x) == 1


def test_the_same_generator_gives_the_same_numbers_and_another_gives_others():
    assert evaluate(MODEL, THETA, ROWS, rng=rng()) == evaluate(MODEL, THETA, ROWS, rng=rng())
    assert evaluate(MODEL, THETA, ROWS, rng=rng()) != evaluate(MODEL, THETA, ROWS, rng=rng(4))


def test_the_standard_error_is_that_of_the_mean_over_rows():
    """From a data set of 40 rows drawn over and over, the bounds scatter as the error bar of one of them says."""
    draw = rng()
    drawn = [ROWS[draw.integers(0, len(ROWS), 40)] for _ in range(200)]
    found = [evaluate(MODEL, THETA, rows, rng=draw) for rows in drawn]
    scatter = np.std([one.elbo for one in found], ddof=1)
    claimed = math.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert abs(scatter / claimed - 1) < 4 / math.sqrt(2 * 200)


def test_one_row_has_no_error_bar():
    found = evaluate(MODEL, THETA, ROWS[:1], rng=rng())
    assert found.standard_error == math.inf
    assert math.isfinite(found.elbo)


def test_more_samples_keep_the_bound_and_raise_the_importance_weighted_one():
    few, many = (evaluate(MODEL, THETA, ROWS, rng=rng(), samples=samples) for samples in (1, 50))
    assert abs(few.elbo - many.elbo) < 4 * few.standard_error
    bounds = [evaluate_importance_weighted(MODEL, THETA, ROWS, rng=rng(), samples=samples) for samples in (1, 5, 50)]
    assert bounds == sorted(bounds)


def test_the_importance_weighted_bound_is_at_least_the_elbo_of_the_same_samples():
    draw = rng()
    x = grey(ROWS[:50], draw, np.float64)
    noise = draw.standard_normal((5, 50, 2))
    found = evaluate_importance_weighted(MODEL, THETA, ROWS[:50], rng=rng(), samples=5, binarize=grey)
    assert found == pytest.approx(importance_weighted(MODEL, THETA, x, noise)[0].mean(), rel=1e-12)
    assert found > elbo_monte_carlo(MODEL, THETA, x, noise)[0].mean()


def test_with_one_sample_the_importance_weighted_bound_is_the_monte_carlo_elbo():
    found = evaluate_importance_weighted(MODEL, THETA, ROWS[:50], rng=rng(), samples=1, binarize=grey)
    noise = rng().standard_normal((1, 50, 2))
    assert found == pytest.approx(elbo_monte_carlo(MODEL, THETA, ROWS[:50] / 255, noise)[0].mean(), rel=1e-12)


def test_it_writes_neither_weights_nor_rows():
    theta, rows = THETA.copy(), ROWS.copy()
    theta.flags.writeable = rows.flags.writeable = False
    evaluate(MODEL, theta, rows, rng=rng())
    evaluate_importance_weighted(MODEL, theta, rows, rng=rng(), samples=2)


def test_float32_weights_are_evaluated_in_float32_and_averaged_in_float64():
    single = evaluate(MODEL, THETA.astype(np.float32), ROWS, rng=rng(), binarize=grey)
    double = evaluate(MODEL, THETA, ROWS, rng=rng(), binarize=grey)
    assert single.elbo != double.elbo
    assert abs(single.elbo - double.elbo) < 5 * double.standard_error  # other noise, the same weights


def test_an_overflow_shows_in_the_result_and_warns_of_nothing():
    found = evaluate(MODEL, 1e30 * THETA.astype(np.float32), ROWS, rng=rng())
    assert not math.isfinite(found.elbo)


# ---- log p(x) and the ELBO from one stream of samples


def test_one_stream_gives_the_bound_and_the_elbo_of_the_same_samples():
    """The ELBO with its KL in closed form, L_S, and what they are worth, of noise that is known."""
    x = grey(ROWS[:20], rng(), np.float64)
    noise = rng().standard_normal((16, 20, 2))
    found = evaluate_likelihood(MODEL, THETA, ROWS[:20], rng=rng(), samples=16, binarize=grey)
    bound, weighted = elbo(MODEL, THETA, x, noise)[0], importance_weighted(MODEL, THETA, x, noise)[0]
    assert found.elbo.elbo == pytest.approx(bound.mean(), rel=1e-12)
    assert found.elbo == evaluation.Evaluation(
        *(
            pytest.approx(value, rel=1e-12)
            for value in vars(evaluate(MODEL, THETA, ROWS[:20], rng=rng(), samples=16, binarize=grey)).values()
        )
    )
    assert found.importance_weighted == pytest.approx(weighted.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(weighted.std(ddof=1) / math.sqrt(20), rel=1e-12)
    weights = np.exp(sum(MODEL.log_weights(THETA, x, noise)))
    assert found.effective_samples == pytest.approx(np.median(weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)))
    relative = weights.var(axis=0, ddof=1) / weights.mean(axis=0) ** 2
    assert found.loss == pytest.approx(np.mean(relative / 32))
    assert found.monte_carlo_error == pytest.approx(math.sqrt(np.sum(relative / 16)) / 20)


def test_every_row_is_told_of_and_counted():
    counts = []
    found = evaluate_likelihood(MODEL, THETA, ROWS, rng=rng(), samples=3, on_rows=counts.append)
    assert sum(counts) == found.elbo.rows == len(ROWS)


def test_where_no_kl_has_a_closed_form_all_is_by_samples():
    model = mlp_belief_network(DIGITS.features, latents=(5, 3))
    theta = 0.3 * rng().standard_normal(model.layout.size)
    found = evaluate_likelihood(model, theta, ROWS[:30], rng=rng(), samples=10)
    assert found.elbo.elbo == pytest.approx(found.elbo.reconstruction - found.elbo.kl, rel=1e-12)
    assert found.elbo.elbo < found.importance_weighted
    alone = evaluate(model, theta, ROWS[:30], rng=rng(4), samples=10)
    assert abs(found.elbo.elbo - alone.elbo) < 4 * (found.elbo.standard_error + alone.standard_error)


def test_the_stated_error_is_how_far_other_samples_lead():
    """Forty repetitions on the same rows, which scatter by the Monte Carlo error, not by that over rows."""
    found = [evaluate_likelihood(MODEL, THETA, ROWS[:30], rng=rng(s), samples=200, binarize=grey) for s in range(40)]
    scatter = np.std([one.importance_weighted for one in found], ddof=1)
    claimed = math.sqrt(np.mean([one.monte_carlo_error**2 for one in found]))
    assert abs(scatter / claimed - 1) < 4 / math.sqrt(2 * 40)
    assert found[0].standard_error > 2 * claimed
