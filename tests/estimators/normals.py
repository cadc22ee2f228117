"""What estimators for any or for normal latents are put through: exact expectations, draws, and the contract."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from numvae import Normal, sample_mean
from numvae.arena.problems import CONTINUOUS, DISCRETE, Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.distributions import Bernoulli
from numvae.errors import CheckError
from numvae.estimators import claims_of, context_of, draw_noise
from tests.device_array import asarray, asnumpy
from tests.oracles import gradient_of, noise_nodes

PROBLEMS = [*CONTINUOUS, *(problem for problem in DISCRETE if isinstance(problem.q, Bernoulli))]
BY_NAME = {problem.name: problem for problem in PROBLEMS}
QUADRATIC, SKEWED, COINS = BY_NAME["quadratic"], BY_NAME["skewed ELBO"], BY_NAME["three coins"]


def fitting(estimator: Any) -> list[Problem]:
    """The exact models an estimator claims to be one for."""
    claims = claims_of(estimator)
    return [
        problem
        for problem in PROBLEMS
        if claims.cover(problem.q) and (hasattr(problem.f, "hessian_product") or not claims.uses_hessian)
    ]


@cache
def truth(problem: Problem, reduce: Any = sample_mean, samples: int = 1) -> Array:
    """The exact gradient; under a plain mean it does not depend on the number of samples."""
    return problem.truth(reduce, 1 if reduce is sample_mean else samples)


# ---- what is learned


def somewhere(adaptive: Any, problem: Problem, spread: float = 0.3, seed: int = 0) -> Array:
    """Weights ``eta`` away from the start, where nothing is zero by design."""
    rng = np.random.default_rng(seed)
    params = problem.at(3)
    eta = adaptive.start(params, context_of(problem.f, params), problem.latents, rng=rng)
    return np.asarray(eta + spread * rng.standard_normal(eta.shape))


def adapted(adaptive: Any, problem: Problem, steps: int, rows: int = 100) -> Array:
    """``eta`` after so many steps of learning."""
    rng = np.random.default_rng(0)
    params = problem.at(rows)
    eta = adaptive.start(params, context_of(problem.f, params), problem.latents, rng=rng)
    memory = adaptive.optimizer.start(eta)
    for _ in range(steps):
        noise = draw_noise(adaptive, problem.q, rng, (1, rows, problem.latents))
        deta = np.zeros_like(eta)
        adaptive.at(eta, deta)(problem.q, params, noise, problem.f, sample_mean)[1](np.full(rows, 1 / rows))
        adaptive.optimizer.ascend(eta, deta, memory)
    return np.asarray(eta)


def assert_climbs_down_the_variance(adaptive: Any, problem: Problem, samples: int = 1) -> None:
    """deta, averaged by quadrature, is minus the gradient of E|dparams|² in eta, by finite differences of it."""
    eta = somewhere(adaptive, problem)
    noise, weights = noise_nodes(samples, problem.latents, 24)
    params = problem.at(len(weights))

    def minus_second_moment(point: Array) -> float:
        _, pullback = adaptive.at(point)(problem.q, params, noise, problem.f, sample_mean)
        return -float(weights @ np.sum(pullback(np.ones(len(weights)))[0] ** 2, axis=-1))

    deta = np.zeros_like(eta)
    adaptive.at(eta, deta)(problem.q, params, noise, problem.f, sample_mean)[1](weights)
    np.testing.assert_allclose(deta, gradient_of(minus_second_moment, eta), rtol=1e-7, atol=1e-7)


# ---- exact expectations


def moments(
    estimator: Any, problem: Problem, samples: int = 1, reduce: Any = sample_mean, count: int = 40
) -> tuple[Array, Array]:
    """Mean and variance of dparams under normal latents, by quadrature over the noise."""
    noise, weights = noise_nodes(samples, problem.latents, count)
    _, pullback = estimator(problem.q, problem.at(len(weights)), noise, problem.f, reduce)
    dparams, _ = pullback(np.ones(len(weights)))
    mean = weights @ dparams
    return mean, weights @ (dparams - mean) ** 2


def weighted(theta: Array) -> Callable[[Array, Array], tuple[Array, Pullback]]:
    """f(params, z) = sin(z · theta) + 0.3 z · params[:Z]: it has weights of its own, and contains params."""

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        latents = z.shape[-1]
        angle, beside = z @ theta, params[:, :latents]

        def pullback(dvalues: Array) -> tuple[Array, Array, Array]:
            inner = (dvalues * np.cos(angle))[..., None]
            dparams = np.zeros_like(params)
            dparams[:, :latents] = 0.3 * np.sum(dvalues[..., None] * z, axis=0)
            return dparams, inner * theta + 0.3 * dvalues[..., None] * beside, np.sum(inner * z, axis=(0, 1))

        return np.sin(angle) + 0.3 * np.sum(z * beside, axis=-1), pullback

    def hessian_product(params: Array, z: Array, direction: Array) -> Array:
        product: Array = -np.sin(z @ theta)[..., None] * (direction @ theta)[..., None] * theta
        return product

    f.hessian_product = hessian_product  # type: ignore[attr-defined]
    return f


THETA, PARAMS = np.array([0.8, -0.5]), np.array([[0.3, -0.6, 0.1, -0.4]])


def assert_exact_with_weights(
    estimator: Any,
    samples: int = 1,
    reduce: Any = sample_mean,
    smooth: Any = None,
    tolerance: float | None = None,
) -> None:
    """dparams and dtheta are the gradients of the expected bound, by quadrature and finite differences.

    ``smooth(bound_of, params)``: in the place of the gradient in params, what a biased estimator says it estimates.
    """
    count = {1: 32, 2: 12}[samples]
    noise, weights = noise_nodes(samples, 2, count)
    many = np.repeat(PARAMS, len(weights), axis=0)

    def expected_bound(params: Array, theta: Array) -> float:
        z, _ = Normal().sample(np.repeat(params, len(weights), axis=0), noise)
        return float(weights @ reduce(weighted(theta)(np.repeat(params, len(weights), axis=0), z)[0])[0])

    dparams, dtheta = estimator(Normal(), many, noise, weighted(THETA), reduce)[1](weights)
    gradient = gradient_of if smooth is None else smooth
    expected = gradient(lambda point: expected_bound(point[None], THETA), PARAMS[0])
    if tolerance is None:
        tolerance = 1e-8 if samples == 1 else 1e-4  # few nodes per sample, which sines feel
    np.testing.assert_allclose(dparams.sum(axis=0), expected, atol=tolerance)
    np.testing.assert_allclose(dtheta, gradient_of(lambda theta: expected_bound(PARAMS, theta), THETA), atol=1e-8)


# ---- draws


def assert_no_bias_is_seen(estimator: Any, problem: Problem, samples: int = 1, reduce: Any = sample_mean) -> None:
    rng = np.random.default_rng(1)
    estimates = draw_gradients(estimator, problem, 20_000, rng=rng, samples=samples, reduce=reduce)
    check_unbiased(estimates, truth(problem, reduce, samples)).assert_ok()


def assert_bias_is_seen(estimator: Any, problem: Problem, samples: int = 1, reduce: Any = sample_mean) -> None:
    with pytest.raises(CheckError):
        assert_no_bias_is_seen(estimator, problem, samples, reduce)


# ---- the contract


def assert_contract(
    estimator: Any, claims: Any, samples: int = 3, reduce: Any = sample_mean, single: float = 2e-4
) -> None:
    """Linear, the same twice, rows independent, arguments untouched, single precision kept, calls as claimed.

    ``estimator(convert)`` makes it, its weights passed through ``convert``.  It runs on the stand-in device too.
    """
    rng = np.random.default_rng(0)
    right = estimator(np.asarray)
    params = 0.5 * rng.standard_normal((5, 4))
    noise = draw_noise(right, Normal(), rng, (samples, 5, 2))
    params.flags.writeable = noise.flags.writeable = False
    calls = {"f": 0, "pullback": 0}
    value, pullback = right(Normal(), params, noise, counting(weighted(THETA), calls), reduce)
    one, other = rng.standard_normal((2, 5))
    one.flags.writeable = False
    first = pullback(one)
    assert (calls["f"], calls["pullback"]) == (claims.f_calls(samples, 2), claims.pullback_calls(samples, 2))
    second, both = pullback(other), pullback(2 * one - 3 * other)
    assert (value.shape, first[0].shape) == ((5,), params.shape)
    for g, h, combined, again in zip(first, second, both, pullback(one), strict=True):
        np.testing.assert_allclose(combined, 2 * g - 3 * h, rtol=1e-11, atol=1e-12)
        np.testing.assert_array_equal(g, again)

    some = [3, 0]
    value_of_some, pullback_of_some = right(Normal(), params[some], noise[:, some], weighted(THETA), reduce)
    np.testing.assert_allclose(value_of_some, value[some], rtol=1e-13)
    np.testing.assert_allclose(pullback_of_some(one[some])[0], first[0][some], rtol=1e-11, atol=1e-13)

    small = [array.astype(np.float32) for array in (params, noise, one, THETA)]
    value32, pullback32 = estimator(np.float32)(Normal(), small[0], small[1], weighted(small[3]), reduce)
    gradients32 = pullback32(small[2])
    assert {array.dtype for array in (value32, *gradients32)} == {np.dtype(np.float32)}
    for g, g32 in zip(first, gradients32, strict=True):
        np.testing.assert_allclose(g32, g, rtol=single, atol=single)

    there = [asarray(array) for array in (params, noise, one, THETA)]
    value_there, pullback_there = estimator(asarray)(Normal(), there[0], there[1], weighted(there[3]), reduce)
    for here, moved in zip((value, *first), (value_there, *pullback_there(there[2])), strict=True):
        np.testing.assert_allclose(asnumpy(moved), here, rtol=1e-11, atol=1e-12)
    assert_wide(estimator, samples, reduce)


def assert_wide(estimator: Any, samples: int, reduce: Any) -> None:
    """Standard deviations from e^-10 to e^10 give finite numbers and no warning, and f's dtheta may be None."""

    def plain(params: Array, z: Array) -> tuple[Array, Pullback]:
        return np.sum(z, axis=-1), lambda dvalues: (0.0, np.broadcast_to(dvalues[..., None], z.shape), None)

    plain.hessian_product = lambda params, z, direction: np.zeros_like(z)  # type: ignore[attr-defined]
    for dtype in (np.float64, np.float32):
        params = np.array([[40.0, -40.0, 10.0, -10.0], [0.0, 3.0, -10.0, 10.0]], dtype)
        made = estimator(dtype)
        noise = draw_noise(made, Normal(), np.random.default_rng(0), (samples, 2, 2), dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value, pullback = made(Normal(), params, noise, plain, reduce)
            dparams, dtheta = pullback(np.ones(2, dtype))
        assert dtheta is None
        assert np.isfinite(value).all()
        assert np.isfinite(dparams).all()
        assert dparams.dtype == dtype


def counting(f: Any, calls: dict[str, int]) -> Any:
    """f, which counts how many samples of a row went through it and back."""

    def counted(params: Array, z: Array) -> tuple[Array, Pullback]:
        calls["f"] += len(z)
        values, f_pullback = f(params, z)

        def pullback(dvalues: Array) -> Any:
            calls["pullback"] += len(dvalues)
            return f_pullback(dvalues)

        return values, pullback

    counted.hessian_product = f.hessian_product  # type: ignore[attr-defined]
    return counted
