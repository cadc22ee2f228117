"""Planted bugs, each of which its proof must reject: a proof that accepts everything proves nothing.

Many are printed in textbooks and blogs or live in public code.  The most instructive ones pass the gradient check: a
consistent backward pass differentiates the wrong mathematics correctly, and only the other two proofs see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from numvae import Normal, elbo, layers, log_mean_exp, sample_mean, score_function
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_sampler, check_unbiased
from numvae.errors import CheckError
from numvae.objectives import minibatch_estimate, weight_log_prior
from tests.cases import Estimation, estimated
from tests.oracles import for_all_rows, kl_by_quadrature, noise_nodes
from tests.test_estimators import PARAMS, TARGET, draws, expected_gradient, truth
from tests.test_objectives import L, assert_minibatches_average_to_the_whole

RNG = np.random.default_rng(7)
Q, PRIOR = RNG.standard_normal((2, 3, 4))
NOISE, SQUARE, X = RNG.standard_normal((5, 3, 2)), RNG.standard_normal((4, 4)), RNG.standard_normal((3, 4))


# Wrong backward passes: the pullback proof rejects them.


def sample_with_noise_drawn_twice(params: Array, noise: Array) -> tuple[Array, Pullback]:
    """Forward with the noise given, backward with noise of its own."""
    z, _ = Normal().sample(params, noise)
    rng = np.random.default_rng()

    def wrong(dz: Array) -> tuple[Array, None]:
        _, pullback = Normal().sample(params, rng.standard_normal(noise.shape))
        return pullback(dz)[0], None

    return z, wrong


def sample_without_the_noise(params: Array, noise: Array) -> tuple[Array, Pullback]:
    """dlog_std = dz std: the factor noise is missing."""
    _, wrong = Normal().sample(params, np.ones_like(noise))
    return Normal().sample(params, noise)[0], wrong


def kl_with_a_missing_half(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """Half the value's gradient."""
    kl, pullback = Normal().kl(params, prior_params)
    return kl, lambda dkl: pullback(0.5 * dkl)


def kl_with_the_sign_of_the_bound(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """The gradient of -KL beside the value of KL."""
    kl, pullback = Normal().kl(params, prior_params)
    return kl, lambda dkl: pullback(-dkl)


def log_prob_with_log_var(params: Array, value: Array) -> tuple[Array, Pullback]:
    """The gradient for log variance: half of that for log_std."""
    log_density, pullback = Normal().log_prob(params, value)

    def wrong(d: Array) -> tuple[Array, Array]:
        dparams, dvalue = pullback(d)
        dmean, dlog_std = np.split(dparams, 2, axis=-1)
        return np.concatenate([dmean, 0.5 * dlog_std], axis=-1), dvalue

    return log_density, wrong


def affine_with_a_transposed_weight_behind(W: Array, b: Array, x: Array) -> tuple[Array, Pullback]:
    """dx = dy W, where a square W lets it pass."""
    y, pullback = layers.affine(W, b, x)
    return y, lambda dy: (*pullback(dy)[:2], dy @ W)


def affine_with_a_transposed_gradient(W: Array, b: Array, x: Array) -> tuple[Array, Pullback]:
    """dW = (xᵀ dy)ᵀ."""
    y, pullback = layers.affine(W, b, x)

    def wrong(dy: Array) -> tuple[Array, Array, Array]:
        dW, db, dx = pullback(dy)
        return dW.T, db, dx

    return y, wrong


def mean_with_the_gradient_of_a_sum(values: Array) -> tuple[Array, Pullback]:
    """Each sample gets the whole gradient."""
    return values.mean(axis=0), lambda d: (np.broadcast_to(d, values.shape),)


def relu_that_forgets_its_kink(x: Array) -> tuple[Array, Pullback]:
    """The gradient passes below zero as well."""
    return np.maximum(x, 0), lambda dy: (dy,)


def softplus_with_the_gradient_of_tanh(x: Array) -> tuple[Array, Pullback]:
    """The neighbour's slope."""
    return layers.softplus(x)[0], layers.tanh(x)[1]


def tanh_that_writes_its_cotangent(x: Array) -> tuple[Array, Pullback]:
    """Right the first time, for it overwrites what it was given."""
    y = np.tanh(x)

    def wrong(dy: Array) -> tuple[Array]:
        dy *= 1 - y * y
        return (dy,)

    return y, wrong


class CachingTanh:
    """A layer that keeps its last output on itself: used twice in one step, the first backward pass is wrong."""

    def __call__(self, x: Array) -> tuple[Array, Pullback]:
        self.y = np.tanh(x)
        return self.y, lambda dy: (dy * (1 - self.y**2),)


def pathwise_without_the_path(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """Only f's own dependence on params: the samples stand still."""
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, _, dtheta = f_pullback(reduce_pullback(dbound)[0])
        return dparams, dtheta

    return bound, pullback


def pathwise_without_the_direct_term(
    q: Any, params: Array, noise: Array, f: Any, reduce: Any
) -> tuple[Array, Pullback]:
    """Only the path: f's own dependence on params is dropped."""
    z, sample_pullback = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        _, dz, dtheta = f_pullback(reduce_pullback(dbound)[0])
        return sample_pullback(dz)[0], dtheta

    return bound, pullback


WRONG_BACKWARD: list[tuple[str, Callable[..., Any], tuple[Array, ...]]] = [
    ("normal.2 noise drawn twice", sample_with_noise_drawn_twice, (Q, NOISE)),
    ("normal.2 no noise", sample_without_the_noise, (Q, NOISE)),
    ("normal.6 missing half", kl_with_a_missing_half, (Q, PRIOR)),
    ("normal.6 sign", kl_with_the_sign_of_the_bound, (Q, PRIOR)),
    ("normal.4 log_var", log_prob_with_log_var, (Q, NOISE)),
    ("layers.3 transposed weight", affine_with_a_transposed_weight_behind, (SQUARE, X[0], X)),
    ("layers.2 transposed gradient", affine_with_a_transposed_gradient, (SQUARE, X[0], X)),
    ("reductions.2 sum for mean", mean_with_the_gradient_of_a_sum, (NOISE[..., 0],)),
    ("layers.12 no kink", relu_that_forgets_its_kink, (X,)),
    ("layers.10 wrong slope", softplus_with_the_gradient_of_tanh, (X,)),
    ("layers.6 writes its cotangent", tanh_that_writes_its_cotangent, (X,)),
    ("layers.6 cache", CachingTanh(), (X,)),
    ("pathwise.2 no path", estimated(pathwise_without_the_path, sample_mean), (Q, NOISE, PRIOR)),
    ("pathwise.2 no direct term", estimated(pathwise_without_the_direct_term, log_mean_exp), (Q, NOISE, PRIOR)),
]


@pytest.mark.parametrize(("rule", "arguments"), [c[1:] for c in WRONG_BACKWARD], ids=[c[0] for c in WRONG_BACKWARD])
def test_pullback_proof_rejects(rule: Callable[..., Any], arguments: tuple[Array, ...]) -> None:
    with pytest.raises(CheckError):
        check_pullback(rule, *arguments).assert_ok()


# Wrong mathematics, differentiated correctly: the pullback proof accepts it, the law rejects it.


class VarianceForStd(Normal):
    """exp(2 log_std) as the standard deviation, with a consistent backward pass."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        mean, log_std = np.split(params, 2, axis=-1)
        z, pullback = Normal().sample(np.concatenate([mean, 2 * log_std], axis=-1), noise)

        def consistent(dz: Array) -> tuple[Array, None]:
            dmean, dlog_std = np.split(pullback(dz)[0], 2, axis=-1)
            return np.concatenate([dmean, 2 * dlog_std], axis=-1), None

        return z, consistent


def test_samples_reject_the_variance_for_the_std_that_the_gradient_check_accepts() -> None:
    """(normal.1)."""
    check_pullback(VarianceForStd().sample, Q, NOISE).assert_ok()
    with pytest.raises(CheckError, match="the samples spread by the variance"):
        check_sampler(VarianceForStd(), Q).assert_ok()


def kl_of_erratum_001_1(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """-½ Σ (1 + log σ² + σ² + μ²), as printed: the signs of σ² and μ² are flipped."""
    mean, log_std = np.split(params, 2, axis=-1)
    variance = np.exp(2 * log_std)
    kl = -0.5 * np.sum(1 + 2 * log_std + variance + mean * mean, axis=-1)
    return kl, lambda dkl: (dkl[:, None] * np.concatenate([-mean, -1 - variance], axis=-1), np.zeros_like(prior_params))


def kl_without_the_half(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """Twice the KL, and twice its gradient."""
    kl, pullback = Normal().kl(params, prior_params)
    return 2 * kl, lambda dkl: pullback(2 * dkl)


def negative_kl(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """-KL where KL is promised."""
    kl, pullback = Normal().kl(params, prior_params)
    return -kl, lambda dkl: pullback(-dkl)


def kl_the_other_way_round(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """KL(p ‖ q): a divergence is not symmetric (erratum 000-2)."""
    kl, pullback = Normal().kl(prior_params, params)
    return kl, lambda dkl: pullback(dkl)[::-1]


@pytest.mark.parametrize("wrong_kl", [kl_of_erratum_001_1, kl_without_the_half, negative_kl, kl_the_other_way_round])
def test_quadrature_rejects_a_wrong_kl_that_the_gradient_check_accepts(wrong_kl: Callable[..., Any]) -> None:
    """(normal.5)."""
    standard_normal = np.zeros_like(PRIOR)
    check_pullback(wrong_kl, Q, standard_normal).assert_ok()
    np.testing.assert_allclose(Normal().kl(Q, standard_normal)[0], kl_by_quadrature(Q, standard_normal), rtol=1e-11)
    assert np.all(np.abs(wrong_kl(Q, standard_normal)[0] - kl_by_quadrature(Q, standard_normal)) > 0.1)


def test_the_printed_kl_of_the_worked_example_is_negative() -> None:
    """Erratum 001-1 at mean 0.5, variance 0.3: -0.1730 where 0.3770 is right   (normal.5)."""
    params, standard_normal = np.array([[0.5, 0.5 * np.log(0.3)]]), np.zeros((1, 2))
    assert kl_of_erratum_001_1(params, standard_normal)[0][0] == pytest.approx(-0.1730, abs=5e-5)
    assert kl_by_quadrature(params, standard_normal)[0] == pytest.approx(0.3770, abs=5e-5)


def sum_for_mean(values: Array) -> tuple[Array, Pullback]:
    """The sum over samples, correctly differentiated."""
    return values.sum(axis=0), lambda d: (np.broadcast_to(d, values.shape),)


def log_sum_exp(values: Array) -> tuple[Array, Pullback]:
    """log Σ exp without the log S, correctly differentiated."""
    bound, pullback = log_mean_exp(values)
    return bound + np.log(len(values)), pullback


@pytest.mark.parametrize("wrong", [sum_for_mean, log_sum_exp])
def test_equal_values_reject_a_reduction_that_is_no_mean(wrong: Callable[..., Any]) -> None:
    """(reductions.1), (reductions.3)."""
    check_pullback(wrong, NOISE[..., 0]).assert_ok()
    assert np.all(wrong(np.full((4, 2), 3.0))[0] != 3)
    np.testing.assert_allclose(log_mean_exp(NOISE[..., 0])[0], logsumexp(NOISE[..., 0], axis=0) - np.log(5))


def test_distinct_sizes_reject_a_transposed_weight_that_a_square_one_hides() -> None:
    """The table's sizes are pairwise distinct for this reason   (layers.1)."""

    def transposed(W: Array, b: Array, x: Array) -> tuple[Array, Pullback]:
        y, pullback = layers.affine(W.T, b, x)

        def consistent(dy: Array) -> tuple[Array, Array, Array]:
            dW, db, dx = pullback(dy)
            return dW.T, db, dx

        return y, consistent

    check_pullback(transposed, SQUARE, X[0], X).assert_ok()
    with pytest.raises(ValueError, match="matmul"):
        transposed(RNG.standard_normal((4, 3)), np.zeros(3), X)


def without_its_factor(theta: Array, x: Array, noise: Array, dataset_rows: int) -> tuple[Any, Array]:
    """Σ elbo + log p(theta): N/M forgotten, so that the prior counts as if the minibatch were all the data."""
    bound, bound_pullback = elbo(L.model, theta, x, noise)
    log_prior, prior_pullback = weight_log_prior(theta, precision=2.0)
    return bound.sum() + log_prior, bound_pullback(np.ones_like(bound))[0] + prior_pullback(1.0)[0]


def with_the_factor_on_the_prior_too(theta: Array, x: Array, noise: Array, dataset_rows: int) -> tuple[Any, Array]:
    """(N/M) (Σ elbo + log p(theta))."""
    value, gradient = without_its_factor(theta, x, noise, dataset_rows)
    return value * dataset_rows / len(x), gradient * dataset_rows / len(x)


def with_a_mean_over_rows(theta: Array, x: Array, noise: Array, dataset_rows: int) -> tuple[Any, Array]:
    """(N/M) · mean: divided by M twice."""
    bound, bound_pullback = elbo(L.model, theta, x, noise)
    estimate, estimate_pullback = minibatch_estimate(bound, dataset_rows)
    log_prior, prior_pullback = weight_log_prior(theta, precision=2.0)
    dbound = estimate_pullback(1.0)[0] / len(x)
    return estimate / len(x) + log_prior, bound_pullback(dbound)[0] + prior_pullback(1.0)[0]


@pytest.mark.parametrize("wrong", [without_its_factor, with_the_factor_on_the_prior_too, with_a_mean_over_rows])
def test_minibatches_reject_a_wrong_weight_of_data_and_prior(wrong: Callable[..., Any]) -> None:
    """(objectives.7)."""
    with pytest.raises(AssertionError):
        assert_minibatches_average_to_the_whole(wrong)


# Wrong estimators: the gradient of nothing in particular on any one draw, and of the wrong thing on average.


def baseline_with_its_own_sample(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """The plain mean of all values as everybody's baseline: each sample's own value is in it, which biases."""
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    _, log_prob_pullback = q.log_prob(params, z)
    signal = (values - values.mean(axis=0)) / len(values)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, _, dtheta = f_pullback(reduce_pullback(dbound)[0])
        return dparams + log_prob_pullback(dbound * signal)[0], dtheta

    return bound, pullback


def times_log_q(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """The "first usual approach" of erratum 001-2: f(z) log q(z) taken as the objective and differentiated."""
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    log_q, log_prob_pullback = q.log_prob(params, z)
    bound, reduce_pullback = reduce(values * log_q)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dproduct,) = reduce_pullback(dbound)
        dparams, _, dtheta = f_pullback(dproduct * log_q)
        return dparams + log_prob_pullback(dproduct * values)[0], dtheta

    return bound, pullback


def score_function_without_the_direct_term(
    q: Any, params: Array, noise: Array, f: Any, reduce: Any
) -> tuple[Array, Pullback]:
    """f's own dependence on params is dropped."""
    return score_function(q, params, noise, lambda _, z: holding_params(f, params, z), reduce)


def holding_params(f: Any, params: Array, z: Array) -> tuple[Array, Pullback]:
    """f with a pullback that knows nothing of params."""
    values, f_pullback = f(params, z)
    return values, lambda dvalues: (0.0, *f_pullback(dvalues)[1:])


def score_of_other_samples(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """Noise drawn twice: the values of some samples beside the scores of others, here their mirror images."""
    values, f_pullback = f(params, q.sample(params, noise)[0])
    bound, reduce_pullback = reduce(values)
    _, log_prob_pullback = q.log_prob(params, q.sample(params, -noise)[0])

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, _, dtheta = f_pullback(reduce_pullback(dbound)[0])
        return dparams + log_prob_pullback(dbound * np.broadcast_to(bound, values.shape))[0], dtheta

    return bound, pullback


WRONG_ON_AVERAGE = [
    Estimation("baseline with its own sample", "score_function.3", baseline_with_its_own_sample, sample_mean, 3),
    Estimation("times log q", "score_function.2", times_log_q, sample_mean, 1),
    Estimation("no direct term", "score_function.2", score_function_without_the_direct_term, log_mean_exp, 3),
    Estimation("noise drawn twice", "score_function.2", score_of_other_samples, sample_mean, 1),
    Estimation("no path", "pathwise.2", pathwise_without_the_path, sample_mean, 1),
    Estimation("no direct term", "pathwise.2", pathwise_without_the_direct_term, log_mean_exp, 3),
]


@pytest.mark.parametrize("wrong", WRONG_ON_AVERAGE, ids=lambda e: e.id)
def test_quadrature_rejects_a_biased_estimator(wrong: Estimation) -> None:
    bias = expected_gradient(wrong.estimator, wrong.reduce, wrong.samples) - truth(wrong)
    assert np.max(np.abs(bias)) > 1e-3


@pytest.mark.parametrize("wrong", WRONG_ON_AVERAGE, ids=lambda e: e.id)
def test_many_draws_reject_a_biased_estimator(wrong: Estimation) -> None:
    with pytest.raises(CheckError):
        check_unbiased(draws(wrong, np.random.default_rng(0)), truth(wrong), name=wrong.name).assert_ok()


@pytest.mark.parametrize("estimator", [score_function_without_the_direct_term, pathwise_without_the_direct_term])
def test_under_a_plain_mean_the_direct_term_of_log_q_may_be_dropped(estimator: Any) -> None:
    """E[∇ log q] = 0: there it is no bug but a variance reduction (erratum 001-5).  Under a log-mean-exp it is one."""
    right = Estimation("", "", estimator, sample_mean, 1)
    np.testing.assert_allclose(expected_gradient(estimator, sample_mean, 1), truth(right), atol=2e-7)


def test_times_log_q_has_not_even_the_right_value() -> None:
    """E[f log q] is not E[f] (erratum 001-2)."""
    noise, weights = noise_nodes(1, 1)
    params, target = for_all_rows(PARAMS, len(weights)), for_all_rows(TARGET, len(weights))
    values = {
        estimator: weights @ estimated(estimator, sample_mean)(params, noise, target)[0]
        for estimator in (score_function, times_log_q)
    }
    kl, _ = Normal().kl(PARAMS, TARGET)
    assert values[score_function] == pytest.approx(-kl[0], rel=1e-12)
    assert abs(values[times_log_q] + kl[0]) > 0.05
