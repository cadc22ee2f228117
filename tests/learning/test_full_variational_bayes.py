"""Full variational Bayes: gradients, the bound on an evidence with z and the weights integrated out, and variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import VAE, Bernoulli, Dense, FixedStdNormal, Normal, mlp_vae
from numvae.arrays import Array, Pullback
from numvae.checks import PullbackReport, check_pullback, check_same_expectation, check_unbiased
from numvae.datasets.dataset import Dataset
from numvae.datasets.drawn import draw_digits
from numvae.errors import DivergedError, InputError
from numvae.learning.full_variational_bayes import (
    BayesianVAE,
    draw_weights,
    full_bound,
    full_bound_local,
    full_bound_monte_carlo,
    predictive_log_likelihood,
    start_full,
    train_full,
    weight_kl,
    with_local_noise,
)
from numvae.networks import Chain, LeastLogStd, SharedLogStd, mlp
from numvae.optimizers import SGD, Adam
from numvae.training import Recipe
from tests.oracles import kl_by_quadrature, normal_nodes

BOUNDS = [full_bound_monte_carlo, full_bound, full_bound_local]
EVERY = pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.__name__)
BITS = BayesianVAE(mlp_vae(5, latents=2, hidden=(3,)), precision=2.0)


def step_of(model: BayesianVAE, bound: Any, samples: int = 2, rows: int = 4) -> tuple[Array, Array, Array, Array]:
    """λ, bits, noise of z and of the weights for the bound."""
    rng = np.random.default_rng(0)
    lam = 0.5 * rng.standard_normal(model.layout.size)
    model.layout.views(lam)["log_std"][...] -= 1
    x = (rng.random((rows, 5)) < 0.5).astype(np.float64)
    return lam, x, *noise_of(model, bound, rng, samples, rows)


def noise_of(model: BayesianVAE, bound: Any, rng: np.random.Generator, samples: int, rows: int) -> tuple[Array, Array]:
    z_noise = rng.standard_normal((samples, rows, model.vae.latents))
    local = bound is full_bound_local
    return z_noise, model.local_noise(rng, (samples, rows)) if local else model.weight_noise(rng)


# ---- pullbacks


def checked(model: BayesianVAE, bound: Any, arguments: tuple[Array, ...]) -> PullbackReport:
    lam, *rest = arguments

    def rule(lam: Array) -> tuple[Array, Pullback]:
        value, pullback = bound(model, lam, *rest, 7)
        return value, lambda d: pullback(d)[:1]

    return check_pullback(rule, lam, names=["lam"], parts={"lam": model.layout.leaves}, coordinates=0)


@EVERY
def test_the_pullback_is_the_derivative_in_encoder_mean_and_log_std(bound: Any) -> None:
    """(full_variational_bayes.2), (full_variational_bayes.3), (full_variational_bayes.4)."""
    checked(BITS, bound, step_of(BITS, bound)).assert_ok()


def test_a_likelihood_with_parts_behind_its_decoder_has_its_derivative_too() -> None:
    decoder = Chain((*mlp([2, 3, 10]).parts, LeastLogStd(-2.0)))
    model = BayesianVAE(replace(BITS.vae, decoder=decoder, likelihood=Normal()))
    for bound in BOUNDS:
        checked(model, bound, step_of(model, bound)).assert_ok()


def test_the_entropy_of_the_weights_left_out_of_the_gradient_is_noticed() -> None:
    """The planted bug: log q(θ) taken for a constant   (full_variational_bayes.3)."""

    def without(model: BayesianVAE, lam: Array, *rest: Any) -> tuple[Array, Pullback]:
        value, pullback = full_bound_monte_carlo(model, lam, *rest)

        def wrong(d: Array) -> tuple[Array]:
            dlam = pullback(d)[0].copy()
            model.layout.views(dlam)["log_std"][...] -= d.sum() / rest[-1]
            return (dlam,)

        return value, wrong

    report = checked(BITS, without, step_of(BITS, full_bound_monte_carlo))
    assert {row.name.split(".")[1] for row in report.arguments if not row.ok} == {"log_std"}


def test_the_network_with_local_noise_is_a_rule_of_mean_log_std_and_x() -> None:
    """(full_variational_bayes.6)."""
    network, rng = mlp([2, 3, 4]), np.random.default_rng(0)
    mean, log_std = rng.standard_normal((2, network.layout.size))
    x, noise = rng.standard_normal((2, 5, 2)), rng.standard_normal((2, 5, 7))
    check_pullback(lambda *a: with_local_noise(network, *a), mean, log_std, x, noise).assert_ok()


def test_drawn_weights_and_their_kl_are_rules() -> None:
    """(full_variational_bayes.1), (full_variational_bayes.5)."""
    lam, _, _, weight_noise = step_of(BITS, full_bound)
    check_pullback(lambda lam, noise: draw_weights(BITS, lam, noise), lam, weight_noise).assert_ok()
    check_pullback(lambda m, s: weight_kl(m, s, 3.0), *np.random.default_rng(1).standard_normal((2, 6))).assert_ok()


@EVERY
def test_float32_stays_float32_and_blocks_add_up(bound: Any) -> None:
    lam, x, z_noise, weight_noise = step_of(BITS, bound)
    single = (array.astype(np.float32) for array in (lam, x, z_noise, weight_noise))
    value, pullback = bound(BITS, *single, 7)
    assert {value.dtype, pullback(np.ones(4, np.float32))[0].dtype} == {np.dtype(np.float32)}
    whole, pullback = bound(BITS, lam, x, z_noise, weight_noise, 7)
    total = np.zeros_like(lam)
    for rows in (slice(0, 1), slice(1, 4)):
        of_rows = weight_noise[:, rows] if bound is full_bound_local else weight_noise
        value, part = bound(BITS, lam, x[rows], z_noise[:, rows], of_rows, 7)
        np.testing.assert_allclose(value, whole[rows], rtol=1e-12)
        total += part(np.ones(len(value)))[0]
    np.testing.assert_allclose(pullback(np.ones(4))[0], total, rtol=1e-10, atol=1e-13)


# ---- the KL of the weights


@pytest.mark.parametrize("precision", [1.0, 4.0])
def test_the_kl_of_the_weights_is_scipys_by_quadrature(precision: float) -> None:
    """(full_variational_bayes.4)."""
    mean, log_std = np.array([0.3, -2.0, 1.5]), np.array([-1.0, 0.2, 0.0])
    prior = np.concatenate([np.zeros(3), np.full(3, -0.5 * np.log(precision))])
    params = np.concatenate([mean, log_std])
    np.testing.assert_allclose(weight_kl(mean, log_std, precision)[0], kl_by_quadrature(params, prior), rtol=1e-12)
    wrong = weight_kl(mean, log_std, 1 / precision)[0]  # the planted bug: a variance for a precision
    assert np.isclose(wrong, kl_by_quadrature(params, prior)) == (precision == 1)


def test_the_kl_is_zero_at_the_prior() -> None:
    assert weight_kl(np.zeros(3), np.full(3, -np.log(2)), 4.0)[0] == pytest.approx(0, abs=1e-15)


# ---- the law: z ~ N(0, 1), x ~ N(z w + b, ¼), and normal w and b: the evidence is an integral over two numbers

STD = 0.5
LINEAR = BayesianVAE(
    VAE(encoder=Dense(1, 2), decoder=Dense(1, 1), latents=1, likelihood=FixedStdNormal(STD)), precision=1.5
)
X = np.array([[0.4], [1.9], [-0.3], [1.1]])
ROWS = len(X)
LAMBDAS = [
    np.array([0.5, 0.0, -0.2, -0.7, 0.8, 0.6, -1.2, -1.0]),
    np.array([0.6, 0.1, -0.4, -0.5, -0.3, 1.0, -0.4, -1.5]),
    np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.7, -0.2, -0.9]),
]


def log_evidence() -> float:
    """log ∫ p(w) p(b) Π_i N(x_i | b, w² + STD²), by sums on a fine grid: z by hand, w and b by the trapezoid rule."""
    w, b = np.meshgrid(np.linspace(-8, 8, 801), np.linspace(-6, 6, 601), indexing="ij")
    rows = stats.norm.logpdf(X[:, :, None], b, np.sqrt(w * w + STD * STD)).sum(axis=0)
    prior = stats.norm(0, LINEAR.precision**-0.5)
    values = rows + prior.logpdf(w) + prior.logpdf(b)
    most = values.max()
    return float(most + np.log(np.exp(values - most).sum() * (16 / 800) * (12 / 600)))


def gap(lam: Array) -> float:
    """KL of q(θ) Π q(z_i) from the posterior of all of them, over N   (full_variational_bayes.1b), by quadrature."""
    encoder, mean, log_std = lam[:4], lam[4:6], lam[6:]
    nodes, weights = normal_nodes(2, count=60)
    w, b = (mean + np.exp(log_std) * nodes).T
    params = X @ encoder[None, :2] + encoder[2:]
    precision = 1 + w * w / STD**2
    kl_z = 0.0
    for (m, log_s), (x,) in zip(params, X, strict=True):
        exact = (x - b) * w / STD**2 / precision
        variance = np.exp(2 * log_s)
        kl_z = kl_z + 0.5 * (precision * (variance + (m - exact) ** 2) - 1 - np.log(precision * variance))
    prior = stats.norm(0, LINEAR.precision**-0.5)
    log_q = stats.norm.logpdf(w, mean[0], np.exp(log_std[0])) + stats.norm.logpdf(b, mean[1], np.exp(log_std[1]))
    log_joint = stats.norm.logpdf(X, b, np.sqrt(w * w + STD * STD)).sum(axis=0) + prior.logpdf(w) + prior.logpdf(b)
    return float(weights @ (log_q - (log_joint - log_evidence()) + kl_z)) / ROWS


def mean_bound(bound: Any, lam: Array, dataset_rows: int = ROWS) -> tuple[float, Array]:
    """Expectation of the mean over rows, and of its gradient: exact with every corner of ±1 as noise.

    The bounds are of second degree in each number of noise, and the mean over ±1 is that over a standard normal.
    """
    corners = np.array(list(product((-1.0, 1.0), repeat=2 if bound is full_bound_local else 3)))
    values, gradients = [], []
    for z, *weights in corners:
        weight_noise = np.full((1, ROWS, 1), weights[0]) if bound is full_bound_local else np.array(weights)
        value, pullback = bound(LINEAR, lam, X, np.full((1, ROWS, 1), z), weight_noise, dataset_rows)
        values.append(value.mean())
        gradients.append(pullback(np.full(ROWS, 1 / ROWS))[0])
    return float(np.mean(values)), np.mean(gradients, axis=0)


@dataclass(frozen=True)
class Wrong:
    """The planted bugs, by how often the KL of the weights is counted beside Σ_i of the rows."""

    times: float

    def __call__(self, model: BayesianVAE, lam: Array, x: Array, z: Array, noise: Array, rows: int) -> Any:
        return full_bound(model, lam, x, z, noise, rows / self.times)  # type: ignore[arg-type]


@pytest.mark.parametrize("lam", LAMBDAS, ids=["near", "far", "prior"])
@pytest.mark.parametrize(
    ("bound", "right"),
    [
        *((bound, True) for bound in BOUNDS),
        (Wrong(times=ROWS), False),  # N forgotten before the data term, or the KL once for each row
        (Wrong(times=ROWS / 2), False),  # the KL over the rows of a minibatch of 2
        (Wrong(times=1e-12), False),  # no KL of the weights at all
    ],
    ids=["A", "B", "local", "KL per row", "KL per batch", "no KL"],
)
def test_the_bound_is_the_evidence_less_the_gap(bound: Any, right: bool, lam: Array) -> None:
    """Over z and θ: N times the mean is log p(X) - KL   (full_variational_bayes.2), (full_variational_bayes.4)."""
    evidence, distance = log_evidence() / ROWS, gap(lam)
    assert distance > 0.01
    assert np.isclose(mean_bound(bound, lam)[0], evidence - distance, rtol=1e-7) == right


@pytest.mark.parametrize("bound", BOUNDS, ids=["A", "B", "local"])
def test_it_lies_below_the_evidence_and_without_the_kl_of_the_weights_it_need_not(bound: Any) -> None:
    """At weights fitted to the rows   (full_variational_bayes.2), (full_variational_bayes.4)."""
    fitted = np.array([0, 0, 0, 0, 0, X.mean(), -5, -5])
    evidence = log_evidence() / ROWS
    assert all(mean_bound(bound, lam)[0] < evidence for lam in (*LAMBDAS, fitted))
    assert mean_bound(Wrong(times=1e-12), fitted)[0] > evidence


def test_all_three_have_one_gradient_on_average() -> None:
    """(full_variational_bayes.3), (full_variational_bayes.5), (full_variational_bayes.6)."""
    for lam in LAMBDAS:
        _, truth = mean_bound(full_bound, lam)
        for bound in (full_bound_monte_carlo, full_bound_local):
            np.testing.assert_allclose(mean_bound(bound, lam)[1], truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dataset_rows", "where"), [(ROWS, ROWS / (ROWS + 1)), (1, 1 / 2)])
def test_at_rest_q_is_the_posterior_of_a_mean_and_with_n_forgotten_it_is_shrunk_by_half(
    dataset_rows: int, where: float
) -> None:
    """z is nearly 0, so x ~ N(b, 1) with prior N(0, 1): the posterior N(N x̄ / (N + 1), 1 / (N + 1))."""
    model = BayesianVAE(replace(LINEAR.vae, likelihood=FixedStdNormal(1.0)))
    n = where / (1 - where)
    lam = np.array([0, 0, 0, -20.0, 0, where * X.mean(), 0, -0.5 * np.log(n + 1)])
    gradients = []
    for noise in product((-1.0, 1.0), repeat=2):
        _, pullback = full_bound(model, lam, X, np.zeros((1, ROWS, 1)), np.array(noise), dataset_rows)
        gradients.append(pullback(np.full(ROWS, 1 / ROWS))[0])
    slopes = model.layout.views(np.mean(gradients, axis=0))
    np.testing.assert_allclose([slopes["mean"][1], slopes["log_std"][1]], 0, atol=1e-12)


# ---- the same mean, and less variance

NOISY = BayesianVAE(mlp_vae(6, latents=2, hidden=(4,)))


def gradients_of(bound: Any, count: int, rows: int, seed: int) -> Array:
    """Gradients of the mean over copies of one datum, from ``count`` draws of all noise: (count, size of lam)."""
    rng = np.random.default_rng(seed)
    lam = 0.7 * np.random.default_rng(0).standard_normal(NOISY.layout.size)
    NOISY.layout.views(lam)["log_std"][...] = -0.7
    x = np.repeat(np.array([[1.0, 0, 1, 1, 0, 0]]), rows, axis=0)
    found = []
    for _ in range(count):
        _, pullback = bound(NOISY, lam, x, *noise_of(NOISY, bound, rng, 1, rows), 10)
        found.append(pullback(np.full(rows, 1 / rows))[0])
    return np.array(found)


def total_variance(gradients: Array) -> tuple[float, float]:
    """Σ of the coordinates' variances, and the standard error of that."""
    distances = np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=1) * len(gradients) / (len(gradients) - 1)
    return float(distances.mean()), float(distances.std(ddof=1) / np.sqrt(len(distances)))


def one_noise_for_all_rows(model: BayesianVAE, lam: Array, x: Array, z: Array, noise: Array, rows: int) -> Any:
    """The planted bug: local noise, but every row the same."""
    return full_bound_local(model, lam, x, z, np.broadcast_to(model.local_noise(RNG, (1, 1)), (1, len(x), 10)), rows)


RNG = np.random.default_rng(5)


@pytest.mark.parametrize("other", [full_bound_monte_carlo, full_bound_local], ids=["A", "local"])
def test_estimators_have_the_same_expected_gradient_through_a_network(other: Any) -> None:
    """z-tests: B beside A, B beside B with local reparameterisation   (full_variational_bayes.6)."""
    of_b, of_other = gradients_of(full_bound, 800, 3, seed=1), gradients_of(other, 800, 3, seed=2)
    check_same_expectation(of_b, of_other).assert_ok()
    of_other[:, NOISY.vae.layout.size :] += 1 / 3 - 1 / 10  # the planted bug: the entropy over the rows of the batch
    assert not check_same_expectation(of_b, of_other).ok


def test_with_local_noise_the_variance_falls_with_the_batch_and_with_shared_weights_it_does_not() -> None:
    """The covariance between rows is what is left   (full_variational_bayes.6)."""
    shared = [total_variance(gradients_of(full_bound, 300, rows, seed=3)) for rows in (1, 16)]
    local = [total_variance(gradients_of(full_bound_local, 300, rows, seed=4)) for rows in (1, 16)]
    coupled = total_variance(gradients_of(one_noise_for_all_rows, 300, 16, seed=4))

    def apart(a: tuple[float, float], b: tuple[float, float]) -> float:
        return (a[0] - b[0]) / float(np.hypot(a[1], b[1]))

    assert abs(apart((local[0][0] / 16, local[0][1] / 16), local[1])) < 4, "rows are independent: 1/B"
    assert apart(shared[1], (shared[0][0] / 16, shared[0][1] / 16)) > 8, "shared weights: the covariance stays"
    assert apart(shared[1], local[1]) > 8
    assert apart(coupled, local[1]) > 8


def weight_noise_expected(lam: Array, x: Array, z_noise: Array, noise: Array, wrong: bool = False) -> Array:
    """E[ζ | all outputs] of one row's pass: x_i s_ij ε_j / sqrt(ω_j) in every layer, given what it put out."""
    vae, layers = NOISY.vae, []
    rows = vae.posterior.sample(vae.encode(NOISY.at_mean(lam), x), z_noise)[0][0]
    begin = 0
    weights = NOISY.layout.views(lam)
    mean, log_std = (vae.decoder.layout.views(weights[name]) for name in ("mean", "log_std"))
    for name in ("1", "3"):
        rows = np.append(rows, [[1.0]], axis=1)
        M, std = mean[name].reshape(rows.size, -1), np.exp(log_std[name]).reshape(rows.size, -1)
        spread, epsilon = np.sqrt(rows**2 @ std**2), noise[0, :, begin : begin + M.shape[1]]
        layers.append((rows.T * (1 if wrong else std) * epsilon / spread).ravel())
        rows = np.tanh(rows @ M + spread * epsilon)
        begin += M.shape[1]
    return np.concatenate(layers)


def test_of_one_row_the_local_gradient_is_that_of_drawn_weights_averaged_given_all_outputs() -> None:
    """Weights at their regression on the outputs put out the same, and send back the same   (full_variational_bayes.6).

    The gradient of drawn weights is linear in each layer's noise, given the outputs: so this is its conditional mean.
    """
    rng = np.random.default_rng(7)
    lam = 0.7 * rng.standard_normal(NOISY.layout.size)
    x = np.array([[1.0, 0, 1, 1, 0, 0]])
    z_noise, noise = noise_of(NOISY, full_bound_local, rng, 1, 1)
    value, pullback = full_bound_local(NOISY, lam, x, z_noise, noise, 10)
    for wrong in (False, True):
        drawn = full_bound(NOISY, lam, x, z_noise, weight_noise_expected(lam, x, z_noise, noise, wrong), 10)
        assert np.allclose(drawn[0], value, rtol=1e-12) != wrong
        assert np.allclose(drawn[1](np.ones(1))[0], pullback(np.ones(1))[0], rtol=1e-9, atol=1e-12) != wrong


def outputs(local: bool, count: int, x: Array) -> Array:
    """(count, rows, 2) outputs of an affine layer with random weights."""
    network, rng = Dense(2, 2), np.random.default_rng(6)
    mean, log_std = np.arange(6.0) / 3 - 1, np.linspace(-1, 0.3, 6)
    if local:
        noise = rng.standard_normal((count, len(x), 2))
        return with_local_noise(network, mean, log_std, np.broadcast_to(x, (count, *x.shape)), noise)[0]
    weights = mean + np.exp(log_std) * rng.standard_normal((count, 6))
    return np.stack([network(theta, x)[0] for theta in weights])


def test_of_each_row_local_noise_has_the_law_of_drawn_weights_bias_and_all() -> None:
    """Mean and variance by formula, for both ways; covariance between rows x_b x_c V + V_bias, and 0."""
    x = np.array([[1.0, -2.0], [0.5, 1.0]])
    inputs = np.concatenate([x, np.ones((2, 1))], axis=1)
    mean, variance = (np.arange(6.0) / 3 - 1).reshape(3, 2), np.exp(2 * np.linspace(-1, 0.3, 6)).reshape(3, 2)
    for local in (True, False):
        y = outputs(local, 8000, x)
        check_unbiased(y, inputs @ mean).assert_ok()
        check_unbiased((y - inputs @ mean) ** 2, inputs**2 @ variance).assert_ok()
        covariance = np.prod(y - inputs @ mean, axis=1)
        shared = (inputs[0] * inputs[1]) @ variance
        assert check_unbiased(covariance, 0 * shared).ok == local
        assert check_unbiased(covariance, shared).ok != local
        without_bias = check_unbiased((y - inputs @ mean) ** 2, inputs[:, :2] ** 2 @ variance[:2])
        assert not without_bias.ok, "the planted bug: a bias without spread"


# ---- predictions


def test_the_predictive_is_the_evidence_under_q_and_more_than_that_of_one_draw() -> None:
    """Beside log ∫ q(w, b) N(x | b, w² + STD²) by quadrature   (full_variational_bayes.7)."""
    lam = LAMBDAS[0]
    nodes, weights = normal_nodes(2, count=60)
    w, b = (lam[4:6] + np.exp(lam[6:]) * nodes).T
    density = stats.norm.pdf(X, b, np.sqrt(w * w + STD * STD))
    truth, typical = np.log(density @ weights), np.log(density) @ weights
    found = predictive_log_likelihood(LINEAR, lam, X, rng=np.random.default_rng(0), weight_draws=600, samples=20)
    draws = np.exp(found.of_draws)
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) / draws.mean(axis=0)
    np.testing.assert_array_less(np.abs(found.log_likelihood - truth), 4 * error + 1e-3)
    assert (np.abs(found.of_one_draw - truth) > 4 * error).any(), "the planted bug: a mean of logs"
    assert (found.log_likelihood >= found.of_one_draw).all()
    assert (truth >= typical).all()


# ---- learning

PICTURES = draw_digits(60).images.reshape(60, -1)
DIGITS = Dataset("digits", PICTURES, PICTURES[:10])
MODEL = BayesianVAE(mlp_vae(DIGITS.train.shape[1], latents=2, hidden=(8,)))
RECIPE = Recipe(batch=25, optimizer=Adam(0.01))


@EVERY
def test_it_learns_and_a_run_stopped_and_gone_on_with_is_the_same_bit_for_bit(bound: Any) -> None:
    whole, parted = start_full(MODEL, DIGITS, RECIPE), start_full(MODEL, DIGITS, RECIPE)
    bounds: list[float] = []
    train_full(MODEL, DIGITS, RECIPE, whole, samples=1500, bound=bound, on_batch=lambda s: bounds.append(s.bound_sum))
    train_full(MODEL, DIGITS, RECIPE, parted, samples=1500, bound=bound, on_batch=lambda state: state.step == 17)
    assert parted.step == 17
    train_full(MODEL, DIGITS, RECIPE, parted, samples=1500, bound=bound)
    np.testing.assert_array_equal(parted.theta, whole.theta)
    assert whole.theta.dtype == np.float32
    assert bounds[-2] > bounds[1] + 100


def test_a_step_too_long_stops_the_run_with_the_state_as_it_was() -> None:
    recipe = replace(RECIPE, optimizer=SGD(1e30))
    state = start_full(MODEL, DIGITS, recipe)
    with pytest.raises(DivergedError, match="step 2: the bound or its gradient is not finite"):
        train_full(MODEL, DIGITS, recipe, state, samples=500)
    assert (state.step, state.batches) == (1, 1)


# ---- what it refuses


def refusals() -> list[tuple[Callable[[], object], str]]:
    lam, x, z, noise = step_of(BITS, full_bound)
    _, _, _, local = step_of(BITS, full_bound_local)
    shared_std = BayesianVAE(
        replace(BITS.vae, decoder=Chain((*mlp([2, 3, 5]).parts, SharedLogStd())), likelihood=Normal())
    )
    return [
        (lambda: BayesianVAE(Bernoulli()), "vae must be a VAE, got a Bernoulli"),  # type: ignore[arg-type]
        (lambda: BayesianVAE(BITS.vae, precision=0.0), "precision must be a number in (0, inf), got 0.0"),
        (lambda: full_bound(BITS, lam, x, z, local, 7), "one draw of the decoder's weights, (29,), got (2, 4, 8)"),
        (lambda: full_bound_local(BITS, lam, x, z, noise, 7), "weight_noise must be (S, B, 8) = (2, 4, 8), got (29,)"),
        (lambda: shared_std.local_values, "SharedLogStd() has weights too; use full_bound"),
        (lambda: start_full(MODEL, DIGITS, replace(RECIPE, kl_warm_up=3)), "leave kl_weight, kl_warm_up"),
        (lambda: start_full(MODEL, DIGITS, replace(RECIPE, weight_prior_precision=1.0)), "weight_prior_precision out"),
    ]


@pytest.mark.parametrize("number", range(7))
def test_what_does_not_fit_is_refused_in_one_line(number: int) -> None:
    asked, words = refusals()[number]
    with pytest.raises(InputError) as caught:
        asked()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
