"""The score-function estimator with its leave-one-out baseline, against the formulas of its sources."""

from __future__ import annotations

import tracemalloc

import numpy as np

from numvae import Bernoulli, Normal, log_mean_exp, sample_mean, score_function
from numvae.arrays import Array, Pullback
from numvae.estimators import leave_one_out
from tests.cases import log_ratio
from tests.oracles import all_bits


def test_leave_one_out_does_not_see_its_own_sample() -> None:
    """(score_function.3)."""
    values = np.random.default_rng(0).standard_normal((4, 3))
    for reduce in (sample_mean, log_mean_exp):
        before = leave_one_out(values, reduce)
        for s in range(4):
            changed = values.copy()
            changed[s] += 10
            after = leave_one_out(changed, reduce)
            np.testing.assert_array_equal(after[s], before[s])
            assert np.all(np.delete(after, s, axis=0) != np.delete(before, s, axis=0))


def test_leave_one_out_holds_one_set_of_others_at_a_time() -> None:
    values = np.random.default_rng(0).standard_normal((300, 50))
    tracemalloc.start()
    leave_one_out(values, sample_mean)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * values.nbytes


def test_two_samples_give_half_the_difference_times_the_difference_of_scores() -> None:
    """½ (f₁ - f₂) (∇log q₁ - ∇log q₂), REINFORCE-LOO of Kool et al. 2019 for two samples   (score_function.2)."""
    rng = np.random.default_rng(0)
    params, noise, target = rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 2)), rng.standard_normal((3, 4))
    z, _ = Normal().sample(params, noise)
    values = log_ratio(target)(params, z)[0]
    scores = np.stack([Normal().log_prob(params, z[s])[1](np.ones(3))[0] for s in range(2)])
    direct = log_ratio(target)(params, z)[1](np.full((2, 3), 0.5))[0]
    expected = direct + 0.5 * (values[0] - values[1])[:, None] * (scores[0] - scores[1])
    _, pullback = score_function(Normal(), params, noise, log_ratio(target), sample_mean)
    np.testing.assert_allclose(pullback(np.ones(3))[0], expected, rtol=1e-12)


def test_discrete_latents_need_no_derivative_of_f_by_enumeration() -> None:
    """On two samples of two bits, all sixteen outcomes weighted: exactly the gradient of E[f]   (score_function.2)."""
    logits, f_of = np.array([[0.4, -1.2]]), np.array([0.3, -1.0, 2.0, 5.0])

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        return f_of[(z[..., 0] + 2 * z[..., 1]).astype(int)], lambda dvalues: (0.0, None, None)

    bits, p = all_bits(2), Bernoulli().mean(logits)
    masses = np.exp(Bernoulli().log_prob(logits, bits)[0])
    expected = np.array([[0.0, 0.0]])
    for mass, x, value in zip(masses, bits, f_of, strict=True):
        expected += mass * value * (x - p)

    pairs = np.array([(bits[i], bits[j]) for i in range(4) for j in range(4)])
    noise = np.moveaxis(np.where(pairs == 1, 0.0, 0.999), 1, 0)  # below, or above, every probability here
    weights = np.outer(masses, masses).ravel()
    _, pullback = score_function(Bernoulli(), np.repeat(logits, 16, axis=0), noise, f, sample_mean)
    np.testing.assert_allclose(pullback(weights)[0].sum(axis=0, keepdims=True), expected, rtol=1e-13)
