"""Bits with a control variate: z, z given the bit, and the estimator that REBAR and RELAX share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest

from numvae import Bernoulli, Normal, log_mean_exp, sample_mean
from numvae.arena.costs import Cosine, LogRatio, QuadraticForm
from numvae.arena.problems import DISCRETE, Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.errors import InputError
from numvae.estimators import claims_of, draw_noise, relaxation
from numvae.estimators.rebar import AdaptiveRebar, Rebar
from numvae.estimators.relax import Relax
from numvae.estimators.relaxation import Controlled, conditional_sample, logistic_sample
from tests.oracles import for_all_rows

COINS = [problem for problem in DISCRETE if isinstance(problem.q, Bernoulli)]
LOGITS = np.array([[0.6, -2.0, 0.0]])


def relaxed(seed: int = 4) -> Controlled:
    """RELAX for three latents, its weights drawn at random."""
    rng = np.random.default_rng(seed)
    eta = Relax().start(LOGITS, LOGITS, 3, rng=rng)
    return Relax().at(eta + 0.5 * rng.standard_normal(eta.shape))


def uniforms(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape)


# ---- z, and z given the bit


def test_z_is_positive_exactly_where_the_family_draws_a_one() -> None:
    """(relaxation.1)."""
    u = uniforms((5000, 1, 3))
    bits, _ = Bernoulli().sample(LOGITS, u)
    np.testing.assert_array_equal(logistic_sample(LOGITS, u)[0] > 0, bits == 1)


def test_z_drawn_again_has_the_sign_of_its_bit_and_the_law_of_z_there() -> None:
    """(relaxation.2): Kolmogorov-Smirnov against the logistic distribution cut off at 0."""
    u, v = uniforms((2, 20_000, 1, 3))
    bits, _ = Bernoulli().sample(LOGITS, u)
    z, _ = conditional_sample(LOGITS, bits, v)
    np.testing.assert_array_equal(z > 0, bits == 1)
    for j, logit in enumerate(LOGITS[0]):
        below = expit(-logit)  # P(z < 0)
        for bit, low, mass in ((1, below, 1 - below), (0, 0.0, below)):
            drawn = z[..., j][bits[..., j] == bit]
            assert kstest((expit(drawn - logit) - low) / mass, "uniform").pvalue > 1e-3


def test_derivatives_of_both_are_right() -> None:
    """(relaxation.1), (relaxation.3), for logits shared by the samples and for logits of each."""
    rng = np.random.default_rng(1)
    u, bits = rng.random((4, 2, 3)), rng.integers(2, size=(4, 2, 3)).astype(float)
    for shape in ((2, 3), (4, 2, 3)):
        logits = 2 * rng.standard_normal(shape)
        assert check_pullback(logistic_sample, logits, u).ok
        assert check_pullback(conditional_sample, logits, bits, u).ok


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_is_finite_at_the_edges(dtype: Any) -> None:
    """Uniform noise of exactly 0 or as near 1 as it comes, logits of ±40."""
    largest = 1 - np.finfo(dtype).eps / 2
    params = np.array([[40.0, -40.0, 0.0, -17.0]], dtype)
    for u in (0.0, largest):
        for v in (0.0, largest):
            noise = np.full((2, 1, 8), u, dtype)
            noise[..., 4:] = v
            for estimator in (Rebar(), at_start(Relax(), params)):
                bound, pullback = estimator(Bernoulli(), params, noise, Cosine(2.0), sample_mean)
                gradient = pullback(np.ones(1, dtype))[0]
                assert np.isfinite(bound).all()
                assert np.isfinite(gradient).all()
                assert bound.dtype == gradient.dtype == dtype


def at_start(adaptive: Any, params: Array, deta: Array | None = None) -> Any:
    eta = adaptive.start(params, params, params.shape[-1], rng=np.random.default_rng(0))
    return adaptive.at(eta, deta)


# ---- the estimator

ESTIMATORS = [
    pytest.param(Rebar(), id="REBAR"),
    pytest.param(Rebar(temperature=2.0, scale=-0.7), id="REBAR, a bad one"),
    pytest.param(relaxed(), id="RELAX"),
]


def edge_grid(logit: float) -> tuple[Array, Array]:
    """Gauss-Legendre over (u, v), in their logits and split where the bit changes: noise (1, N, 2), weights (N,)."""
    points, weights = np.polynomial.legendre.leggauss(60)

    def pieces(*ends: float) -> tuple[Array, Array]:
        middles, halves = np.convolve(ends, [0.5, 0.5], "valid"), np.diff(ends) / 2
        logits = (middles[:, None] + halves[:, None] * points).ravel()
        return expit(logits), (halves[:, None] * weights).ravel() * expit(logits) * expit(-logits)

    (u, u_weights), (v, v_weights) = pieces(-34.0, logit, 34.0), pieces(-34.0, 0.0, 34.0)
    grid = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(1, -1, 2)
    return grid, np.outer(u_weights, v_weights).ravel()


@pytest.mark.parametrize("estimator", [Rebar(0.7, 0.8), Rebar(1.5, -0.5)], ids=str)
def test_expected_gradient_is_exact_by_quadrature(estimator: Any) -> None:
    """(relaxation.4) with u and v integrated, on a cost with params in it."""
    logit, f = -0.4, LogRatio(Bernoulli(), (0.8,), Cosine(2.0))
    problem = Problem("coin", Bernoulli(), (logit,), f, 1)
    noise, weights = edge_grid(logit)
    _, pullback = estimator(Bernoulli(), problem.at(len(weights)), noise, f, sample_mean)
    np.testing.assert_allclose(pullback(weights)[0].sum(axis=0), problem.truth(), atol=1e-9)


def test_params_of_the_control_variate_may_be_held_or_not() -> None:
    """The total derivative adds a pair of mean zero: what (relaxation.4) leaves out, by quadrature."""
    logit, f, estimator = -0.4, LogRatio(Bernoulli(), (0.8,), Cosine(2.0)), Rebar(0.7, 0.8)
    noise, weights = edge_grid(logit)
    params = for_all_rows(np.array([[logit]]), len(weights))
    bits, _ = Bernoulli().sample(params, noise[..., :1])
    soft = [expit(z / estimator.temperature) for z, _ in drawn(params, bits, noise)]
    direct = [f(params, z)[1](weights[None])[0].sum() for z in soft]
    np.testing.assert_allclose(direct[0], direct[1], atol=1e-9)


def drawn(params: Array, bits: Array, noise: Array) -> Any:
    return logistic_sample(params, noise[..., :1]), conditional_sample(params, bits, noise[..., 1:])


@pytest.mark.parametrize("problem", COINS, ids=lambda p: p.name)
@pytest.mark.parametrize("samples", [1, 3])
def test_no_bias_is_seen_in_many_draws(problem: Problem, samples: int) -> None:
    """(relaxation.4): REBAR, good and bad, and RELAX with weights drawn at random."""
    rng = np.random.default_rng(7)
    relax = Relax()
    eta = relax.start(problem.at(), problem.at(), problem.latents, rng=rng)
    anywhere = relax.at(eta + 0.5 * rng.standard_normal(eta.shape))
    for estimator in (Rebar(), Rebar(2.0, -0.5), anywhere):
        gradients = draw_gradients(estimator, problem, 20_000, rng=rng, samples=samples)
        check_unbiased(gradients, problem.truth(samples=samples)).assert_ok()


def test_a_z_held_fixed_given_the_bit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: RELAX and REBAR with ∂z̃/∂logit dropped."""

    def constant(logits: Array, bits: Array, uniform: Array) -> tuple[Array, Pullback]:
        z, _ = conditional_sample(logits, bits, uniform)
        return z, lambda dz: (np.zeros_like(dz), None, None)

    monkeypatch.setattr(relaxation, "conditional_sample", constant)
    problem = COINS[1]
    for estimator in (Rebar(), relaxed()):
        gradients = draw_gradients(estimator, problem, 20_000, rng=np.random.default_rng(0))
        assert not check_unbiased(gradients, problem.truth()).ok


def test_one_uniform_for_both_is_noticed() -> None:
    """Another: v = u, so that z̃ is not fresh given the bit."""
    problem, u = COINS[1], uniforms((1, 20_000, 3))
    _, pullback = Rebar()(problem.q, problem.at(20_000), np.concatenate([u, u], axis=-1), problem.f, sample_mean)
    assert not check_unbiased(pullback(np.ones(20_000))[0], problem.truth()).ok


def test_samples_are_averaged() -> None:
    """(relaxation.4): the gradient of S samples is the mean of S gradients of one."""
    params, noise, f = for_all_rows(LOGITS, 4), uniforms((3, 4, 6)), QuadraticForm((0.3, 0.8, -0.2))
    together = gradient(relaxed(), params, noise, f)
    alone = [gradient(relaxed(), params, noise[s : s + 1], f) for s in range(3)]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-12)


def gradient(estimator: Any, params: Array, noise: Array, f: Any) -> Array:
    _, pullback = estimator(Bernoulli(), params, noise, f, sample_mean)
    dparams: Array = pullback(np.ones(len(params)))[0]
    return dparams


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_contract_is_kept(estimator: Any) -> None:
    """Linear, the same twice, rows independent, arguments untouched, and f's dtheta that of the bits alone."""
    rng = np.random.default_rng(2)
    params, noise = rng.standard_normal((5, 3)), rng.random((2, 5, 6))
    first, second = rng.standard_normal((2, 5))
    for array in (params, noise, first, second):
        array.flags.writeable = False
    f = WithTheta()
    bound, pullback = estimator(Bernoulli(), params, noise, f, sample_mean)
    one, other, both = pullback(first), pullback(second), pullback(first + 2 * second)
    for a, b, c in zip(one, other, both, strict=True):
        np.testing.assert_allclose(a + 2 * b, c, atol=1e-12)
    for a, again in zip(one, pullback(first), strict=True):
        np.testing.assert_array_equal(a, again)
    bits, _ = Bernoulli().sample(params, noise[..., :3])
    np.testing.assert_allclose(one[1], np.atleast_1d(np.sum(first / 2 * bits.sum(axis=-1))))
    part_bound, part = estimator(Bernoulli(), params[1:3], noise[:, 1:3], f, sample_mean)
    np.testing.assert_allclose(part_bound, bound[1:3])
    np.testing.assert_allclose(part(first[1:3])[0], one[0][1:3], atol=1e-13)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_f_itself_makes_of_params_is_added(estimator: Any) -> None:
    """At the bits alone   (relaxation.4)."""
    rng = np.random.default_rng(2)
    params, noise, dbound = rng.standard_normal((5, 3)), rng.random((2, 5, 6)), rng.standard_normal(5)

    def with_params(params: Array, z: Array) -> tuple[Array, Pullback]:
        values, pullback = WithTheta()(params, z)
        return values, lambda dvalues: (np.sum(dvalues[..., None] * z, axis=0), *pullback(dvalues)[1:])

    without, added = (
        estimator(Bernoulli(), params, noise, f, sample_mean)[1](dbound)[0] for f in (WithTheta(), with_params)
    )
    bits, _ = Bernoulli().sample(params, noise[..., :3])
    np.testing.assert_allclose(added - without, dbound[:, None] * bits.mean(axis=0), atol=1e-14)


class WithTheta:
    """f = Σ z + cos Σ z: one weight, of value 1, stands at the first sum.  It counts what goes through it."""

    def __init__(self) -> None:
        self.calls = self.pullback_calls = 0

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        total = z.sum(axis=-1)
        self.calls += len(z)

        def pullback(dvalues: Array) -> tuple[float, Array, Array]:
            self.pullback_calls += len(dvalues)
            dz = (dvalues * (1 - np.sin(total)))[..., None] * np.ones_like(z)
            return 0.0, dz, np.atleast_1d(np.sum(dvalues * total))

        return total + np.cos(total), pullback


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_calls_are_as_claimed(estimator: Any) -> None:
    f, samples = WithTheta(), 4
    _, pullback = estimator(Bernoulli(), LOGITS, uniforms((samples, 1, 6)), f, sample_mean)
    pullback(np.ones(1))
    claims = claims_of(estimator)
    assert (f.calls, f.pullback_calls) == (claims.f_calls(samples, 3), claims.pullback_calls(samples, 3))


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    noise = uniforms((1, 1, 6))
    with pytest.raises(InputError, match="Rebar is for Bernoulli latents, got Normal"):
        Rebar()(Normal(), LOGITS, noise, Cosine(), sample_mean)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Rebar estimates under sample_mean, got log_mean_exp"):
        Rebar()(Bernoulli(), LOGITS, noise, Cosine(), log_mean_exp)
    with pytest.raises(InputError, match=r"\(S, B, 2Z\) = \(\*, 1, 6\), got \(1, 1, 3\)"):
        Rebar()(Bernoulli(), LOGITS, noise[..., :3], Cosine(), sample_mean)
    with pytest.raises(InputError, match="gives no derivative in z"):
        Rebar()(
            Bernoulli(), LOGITS, noise, lambda params, z: (z.sum(axis=-1), lambda d: (0.0, None, None)), sample_mean
        )


# ---- learning


class Tilted:
    """f = (z - t)ᵀ A (z - t) + Σ params² z: params enter it, and it has a Hessian."""

    form = QuadraticForm((0.3, 0.8, -0.2))
    hessian_product = form.hessian_product

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        values, form_pullback = self.form(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, None]:
            d = dvalues[..., None]
            return 2 * params * np.sum(d * z, axis=0), form_pullback(dvalues)[1] + d * params**2, None

        return values + np.sum(params**2 * z, axis=-1), pullback


@pytest.mark.parametrize("adaptive", [AdaptiveRebar(), Relax()], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("samples", [1, 3])
def test_weights_follow_the_gradient_of_the_squared_length(adaptive: Any, samples: int) -> None:
    """(relaxation.5): a rule eta -> -‖dparams‖² of each row whose pullback is what lands in deta."""
    rng = np.random.default_rng(5)
    params, noise = rng.standard_normal((4, 3)), rng.random((samples, 4, 6))
    eta = adaptive.start(params, params, 3, rng=rng)
    eta = eta + 0.3 * rng.standard_normal(eta.shape)

    def squared_length(eta: Array) -> tuple[Array, Pullback]:
        gradients = gradient(adaptive.at(eta), params, noise, Tilted())

        def pullback(drows: Array) -> tuple[Array]:
            deta = np.zeros_like(eta)
            _, estimator_pullback = adaptive.at(eta, deta)(Bernoulli(), params, noise, Tilted(), sample_mean)
            estimator_pullback(drows)
            return (deta,)

        return -np.sum(gradients * gradients, axis=-1), pullback

    check_pullback(squared_length, eta, directions=8).assert_ok()


@pytest.mark.parametrize("adaptive", [AdaptiveRebar(), Relax()], ids=lambda a: type(a).__name__)
def test_deta_is_added_to_and_of_single_precision_too(adaptive: Any) -> None:
    params = LOGITS.astype(np.float32)
    eta = adaptive.start(params, params, 3, rng=np.random.default_rng(0))
    deta = np.ones_like(eta)
    estimator = adaptive.at(eta, deta)
    noise = draw_noise(estimator, Bernoulli(), np.random.default_rng(0), (2, 1, 3), np.float32)
    dparams, _ = estimator(Bernoulli(), params, noise, Cosine(2.0), sample_mean)[1](np.ones(1, np.float32))
    once = deta - 1
    estimator(Bernoulli(), params, noise, Cosine(2.0), sample_mean)[1](np.ones(1, np.float32))
    np.testing.assert_allclose(deta - 1, 2 * once, rtol=1e-4, atol=1e-5)
    assert dparams.dtype == eta.dtype == np.float32
    assert np.abs(once).max() > 0
