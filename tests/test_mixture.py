"""The mixture of Bernoullis: its law against enumeration and scipy, and EM, which never goes down."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from numvae.arrays import Array
from numvae.errors import InputError
from numvae.mixture import BernoulliMixture, expected_counts, fit_mixture, log_prior, most_probable


def mixture_of(components: int, features: int, seed: int = 0, spread: float = 2.0) -> BernoulliMixture:
    rng = np.random.default_rng(seed)
    return BernoulliMixture(
        np.log(rng.dirichlet(np.full(components, 3.0))), spread * rng.standard_normal((components, features))
    )


def all_rows(features: int) -> Array:
    """Every row of bits there is."""
    return np.array(list(product([0.0, 1.0], repeat=features)))


def joint_by_scipy(mixture: BernoulliMixture, x: Array) -> Array:
    """p(x, k) as a product of probabilities, (B, K)."""
    columns = [stats.bernoulli(expit(logits)).pmf(x).prod(axis=1) for logits in mixture.logits]
    return np.exp(mixture.log_weights) * np.stack(columns, axis=1)


def test_log_prob_is_that_of_enumeration_and_sums_to_one() -> None:
    """(mixture.1)."""
    mixture, x = mixture_of(3, 6), all_rows(6)
    log_prob = mixture.log_prob(x)
    np.testing.assert_allclose(log_prob, np.log(joint_by_scipy(mixture, x).sum(axis=1)), rtol=1e-12)
    assert np.exp(log_prob).sum() == pytest.approx(1, rel=1e-13)


def test_responsibilities_are_bayes_rule() -> None:
    """(mixture.2)."""
    mixture, x = mixture_of(4, 5), all_rows(5)
    joint = joint_by_scipy(mixture, x)
    responsibilities = mixture.responsibilities(x)
    np.testing.assert_allclose(responsibilities, joint / joint.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1, rtol=1e-13)


def test_a_thousand_confident_pixels_neither_overflow_nor_vanish() -> None:
    """(mixture.1), (mixture.2)."""
    mixture = BernoulliMixture(np.log([0.5, 0.5]), np.array([[50.0] * 1000, [-50.0] * 1000]))
    x = np.stack([np.ones(1000), np.zeros(1000), np.arange(1000) % 2])
    np.testing.assert_allclose(mixture.log_prob(x)[:2], np.log(0.5), rtol=1e-10)
    assert mixture.log_prob(x)[2] == pytest.approx(-25_000, rel=1e-12)
    np.testing.assert_allclose(mixture.responsibilities(x), [[1, 0], [0, 1], [0.5, 0.5]])


def test_draws_follow_the_law() -> None:
    """Every one of the eight rows is drawn as often as its probability says."""
    mixture, x = mixture_of(2, 3), all_rows(3)
    drawn = mixture.draw(np.random.default_rng(1), 20_000)
    seen = np.bincount((drawn @ [4, 2, 1]).astype(int), minlength=8)
    assert stats.chisquare(seen, 20_000 * np.exp(mixture.log_prob(x))).pvalue > 1e-3


def test_expected_counts_are_sums_over_rows_and_add_up_over_blocks() -> None:
    """(mixture.3)."""
    mixture, x = mixture_of(3, 4), np.random.default_rng(0).random((10, 4))
    log_likelihood, counts, ones = expected_counts(mixture, x)
    r = mixture.responsibilities(x)
    np.testing.assert_allclose(ones, [[sum(r[:, k] * x[:, d]) for d in range(4)] for k in range(3)], rtol=1e-12)
    np.testing.assert_allclose(counts, r.sum(axis=0), rtol=1e-12)
    assert log_likelihood == pytest.approx(mixture.log_prob(x).sum(), rel=1e-12)
    for whole, first, second in zip(
        (log_likelihood, counts, ones), expected_counts(mixture, x[:3]), expected_counts(mixture, x[3:]), strict=True
    ):
        np.testing.assert_allclose(np.add(first, second), whole, rtol=1e-12)


@pytest.mark.parametrize("pseudo_count", [0.1, 1.0, 5.0])
def test_no_neighbour_of_the_m_step_is_more_probable(pseudo_count: float) -> None:
    """(mixture.4), (mixture.5): the expected log-joint of (mixture.3) with the prior, at and around the maximum."""
    rng = np.random.default_rng(0)
    counts = rng.uniform(0.5, 20, 3)
    ones = counts[:, None] * rng.random((3, 4))

    def surrogate(mixture: BernoulliMixture) -> float:
        p = expit(mixture.logits)
        data = counts @ mixture.log_weights + np.sum(ones * np.log(p) + (counts[:, None] - ones) * np.log1p(-p))
        return float(data + log_prior(mixture, pseudo_count))

    best = most_probable(counts, ones, pseudo_count)
    assert np.exp(best.log_weights).sum() == pytest.approx(1)
    for _ in range(20):
        weights = np.exp(best.log_weights + 0.01 * rng.standard_normal(3))
        moved = BernoulliMixture(np.log(weights / weights.sum()), best.logits + 0.01 * rng.standard_normal((3, 4)))
        assert surrogate(moved) < surrogate(best)


def test_the_log_prior_is_dirichlet_and_beta_but_for_its_constant() -> None:
    """(mixture.6)."""
    c, one, other = 1.5, mixture_of(3, 4, seed=1), mixture_of(3, 4, seed=2)

    def by_scipy(mixture: BernoulliMixture) -> float:
        weights, p = np.exp(mixture.log_weights), expit(mixture.logits)
        of_weights = stats.dirichlet(np.full(3, 1 + c)).logpdf(weights / weights.sum())
        return float(of_weights + stats.beta(1 + c, 1 + c).logpdf(p).sum())

    assert log_prior(one, c) - log_prior(other, c) == pytest.approx(by_scipy(one) - by_scipy(other), rel=1e-12)


def climbs(
    rows: Array,
    mixture: BernoulliMixture,
    expect: Callable[..., Any] = expected_counts,
    maximise: Callable[..., BernoulliMixture] = most_probable,
    steps: int = 25,
) -> bool:
    """Whether EM with these two steps never lowers (mixture.6), by more than rounding."""
    objective = []
    for _ in range(steps):
        objective.append(mixture.log_prob(rows).sum() + log_prior(mixture, 1.0))
        mixture = maximise(*expect(mixture, rows)[1:], 1.0)
    return bool(np.all(np.diff(objective) > -1e-9 * np.abs(objective[:-1])))


@settings(max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 12)),
    components=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    grey=st.booleans(),
)
def test_no_iteration_lowers_the_objective(sizes: tuple[int, int], components: int, seed: int, grey: bool) -> None:
    """(mixture.7), from any start, on bits and on grey values."""
    x, features = np.random.default_rng(seed).random(sizes), sizes[1]
    assert climbs(x if grey else np.round(x), mixture_of(components, features, seed))


@pytest.mark.parametrize("seed", range(5))
def test_the_history_never_falls_and_ends_with_the_mixture_returned(seed: int) -> None:
    """(mixture.6), (mixture.7)."""
    rows = mixture_of(3, 8, seed).draw(np.random.default_rng(seed), 200)
    mixture, history = fit_mixture(rows, 4, rng=np.random.default_rng(seed), dtype=np.float64, tolerance=0)
    assert len(history) > 10
    assert np.all(np.diff(history) > -1e-13)
    final = mixture.log_prob(rows).mean() + log_prior(mixture, 1.0) / len(rows)
    assert history[-1] == pytest.approx(final, rel=1e-12)


def without_the_weights(mixture: BernoulliMixture, x: Array) -> tuple[float, Array, Array]:
    """Planted: r_k from p(x|k) alone."""
    return expected_counts(BernoulliMixture(np.zeros_like(mixture.log_weights), mixture.logits), x)


def without_the_responsibilities_sum(counts: Array, ones: Array, pseudo_count: float) -> BernoulliMixture:
    """Planted: divided by N, the number of rows, where N_k belongs."""
    right, everyone = most_probable(counts, ones, pseudo_count), np.full_like(counts, counts.sum())
    return BernoulliMixture(right.log_weights, most_probable(everyone, ones, pseudo_count).logits)


@pytest.mark.parametrize(
    "planted",
    [{"expect": without_the_weights}, {"maximise": without_the_responsibilities_sum}],
    ids=["without the weights", "divided by N"],
)
def test_a_wrong_step_breaks_the_climb(planted: dict[str, Any]) -> None:
    """The negative control of (mixture.7)."""
    truth = BernoulliMixture(np.log([0.8, 0.2]), np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 2.0]]))
    rows = truth.draw(np.random.default_rng(0), 1000)
    assert climbs(rows, truth)
    assert not climbs(rows, truth, **planted)


def test_one_component_is_the_mean_image() -> None:
    """With the pseudo-counts among the rows   (mixture.5)."""
    rows = np.random.default_rng(0).integers(256, size=(30, 6)).astype(np.uint8)
    mixture, _ = fit_mixture(rows, 1, rng=np.random.default_rng(0), dtype=np.float64)
    np.testing.assert_allclose(expit(mixture.logits[0]), (rows.sum(axis=0) / 255 + 1) / (30 + 2), rtol=1e-12)
    np.testing.assert_allclose(mixture.log_weights, 0, atol=1e-15)


def test_recovers_a_known_mixture() -> None:
    """Weights and probabilities to five standard errors, whatever the order of the components."""
    rng = np.random.default_rng(3)
    weights, p = np.array([0.5, 0.3, 0.2]), np.stack([rng.permutation([0.1] * 8 + [0.9] * 8) for _ in range(3)])
    rows = BernoulliMixture(np.log(weights), np.log(p / (1 - p))).draw(rng, 5000)
    fitted, _ = fit_mixture(rows, 3, rng=np.random.default_rng(0))
    found = expit(fitted.logits)
    order = list(min(permutations(range(3)), key=lambda order: float(np.abs(found[list(order)] - p).max())))
    assert np.all(np.abs(found[order] - p) < 5 * np.sqrt(0.09 / (5000 * weights[:, None])))
    assert np.all(np.abs(np.exp(fitted.log_weights[order]) - weights) < 5 * np.sqrt(weights * (1 - weights) / 5000))


def test_grey_rows_are_a_bound_on_fresh_bits() -> None:
    """log p(x) at expected bits is at most the mean of log p over the bits themselves   (mixture.1)."""
    mixture, bits = mixture_of(3, 5), all_rows(5)
    for grey in np.random.default_rng(0).random((10, 5)):
        chance = np.prod(np.where(bits == 1, grey, 1 - grey), axis=1)
        assert mixture.log_prob(grey[None])[0] < chance @ mixture.log_prob(bits)


def test_blocks_of_bytes_in_single_precision_are_the_whole_in_double() -> None:
    """5,000 rows go through in two blocks   (mixture.3)."""
    bits = mixture_of(3, 5).draw(np.random.default_rng(0), 5000)
    rng = np.random.default_rng
    whole, _ = fit_mixture(bits, 3, rng=rng(0), iterations=5, dtype=np.float64)
    mixture, history = fit_mixture((255 * bits).astype(np.uint8), 3, rng=rng(0), iterations=5)
    assert (mixture.logits.dtype, mixture.log_prob(np.float32(bits)).dtype, len(history)) == (np.float32, np.float32, 6)
    np.testing.assert_allclose(mixture.logits, whole.logits, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "options", "complaint"),
    [
        (np.zeros((5, 3)), {"components": 6}, "a number from 1 to the 5 rows, got 6"),
        (np.zeros(5), {}, r"rows must be \(N, D\)"),
        (np.zeros((20, 3), int), {}, "uint8 or floating, got int64"),
        (np.full((20, 3), 255.0), {}, "divide grey values of 0..255 by 255"),
        (np.full((20, 3), np.nan), {}, r"in \[0, 1\]"),
        (np.zeros((20, 3)), {"pseudo_count": 0.0}, "pseudo_count must be positive, got 0.0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(rows: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        fit_mixture(rows, rng=np.random.default_rng(0), **options)
