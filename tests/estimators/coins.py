"""What every estimator for bits is put through: exact expectations over its uniform noise, and the contract.

An estimate is piecewise polynomial in the uniforms, with breaks at the probabilities of 1 and of 0.  Gauss-Legendre
nodes in each piece, in the place of noise, make its mean and its variance exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from numvae.arena.problems import DISCRETE, Problem
from numvae.arena.truth import exact_gradient, exact_value
from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators import claims_of, sample_mean
from numvae.estimators.enumeration import enumeration
from tests.device_array import asarray, asnumpy
from tests.device_array import counting as counting_on_device
from tests.oracles import gradient_of

COIN = Bernoulli()
PROBLEMS = [problem for problem in DISCRETE if isinstance(problem.q, Bernoulli)]
LOGITS, WEIGHTS = (0.5, -0.9, 1.4), np.array([0.8, -1.3, 0.4])


# ---- exact expectations


def uniform_nodes(logits: Array, samples: int, order: int = 2) -> tuple[Array, Array]:
    """Nodes (S, N, Z) and weights (N,) with Σ w g(node) = E[g(u)]: g of degree < 2 order in each piece of each u."""
    points, masses = np.polynomial.legendre.leggauss(order)
    axes, axis_weights = [], []
    for p in np.tile(COIN.mean(logits), samples):
        edges = np.array([0.0, min(p, 1 - p), max(p, 1 - p), 1.0])
        widths = np.diff(edges)[:, None]
        axes.append((edges[:-1, None] + widths * (points + 1) / 2).ravel())
        axis_weights.append((widths * masses / 2).ravel())
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, samples, len(logits))
    products = np.stack(np.meshgrid(*axis_weights, indexing="ij"), axis=-1).reshape(len(grid), -1)
    return np.moveaxis(grid, 1, 0), np.prod(products, axis=-1)


def moments(estimator: Any, problem: Problem, samples: int = 1, reduce: Any = sample_mean) -> tuple[Array, Array]:
    """Mean and variance of dparams, exact to rounding."""
    noise, weights = uniform_nodes(problem.at()[0], samples)
    _, pullback = estimator(problem.q, problem.at(len(weights)), noise, problem.f, reduce)
    dparams, _ = pullback(np.ones(len(weights)))
    mean = weights @ dparams
    return mean, weights @ (dparams - mean) ** 2


def assert_exact_on_average(estimator: Any, problem: Problem, samples: int = 1, reduce: Any = sample_mean) -> None:
    """The mean of value and dparams is that of the bits."""
    mean, _ = moments(estimator, problem, samples, reduce)
    np.testing.assert_allclose(mean, problem.truth(reduce, samples), rtol=1e-11, atol=1e-13)
    noise, weights = uniform_nodes(problem.at()[0], samples)
    value, _ = estimator(problem.q, problem.at(len(weights)), noise, problem.f, reduce)
    exact = exact_value(problem.q, problem.at(), problem.f, problem.latents, reduce=reduce, samples=samples)
    np.testing.assert_allclose(weights @ value, exact, rtol=1e-11)


# ---- an integrand that knows weights and parameters, and one with another layer of bits in it


def weighted(theta: Array, derivative: bool = True) -> Callable[[Array, Array], tuple[Array, Pullback]]:
    """f(params, z) = tanh(z · theta) + 0.3 z · params."""

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        hidden = np.tanh(z @ theta)

        def pullback(dvalues: Array) -> tuple[Array, Array | None, Array]:
            inner = (dvalues * (1 - hidden * hidden))[..., None]
            dz = inner * theta + 0.3 * dvalues[..., None] * params if derivative else None
            return 0.3 * np.sum(dvalues[..., None] * z, axis=0), dz, np.sum(inner * z, axis=(0, 1))

        return hidden + 0.3 * np.sum(z * params, axis=-1), pullback

    return f


def two_layers(W: Array) -> Callable[[Array, Array], tuple[Array, Pullback]]:
    """f(params, z) = E[(Σ bits - 0.7)³] over further bits with logits zW: an estimator inside an integrand."""

    def cubic(params: Array, bits: Array) -> tuple[Array, Pullback]:
        total = np.sum(bits, axis=-1) - 0.7
        return total**3, lambda dvalues: (0.0, None, None)

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        logits = (z @ W).reshape(-1, W.shape[1])
        values, upper_pullback = enumeration(COIN, logits, np.zeros((1, *logits.shape)), cubic, sample_mean)

        def pullback(dvalues: Array) -> tuple[float, Array, None]:
            dlogits, _ = upper_pullback(dvalues.reshape(-1))
            return 0.0, (dlogits @ W.T).reshape(z.shape), None

        return values.reshape(z.shape[:-1]), pullback

    return f


def assert_exact_with_weights(estimator: Any, samples: int = 1, reduce: Any = sample_mean) -> None:
    """dparams and dtheta of an f that contains both, where the claims allow without its derivative in z."""
    params = np.array([LOGITS])
    noise, weights = uniform_nodes(params[0], samples, order=1 if samples > 1 else 2)
    f = weighted(WEIGHTS, derivative=claims_of(estimator).uses_dz)
    _, pullback = estimator(COIN, np.repeat(params, len(weights), axis=0), noise, f, reduce)
    dparams, dtheta = pullback(weights)
    truth = exact_gradient(COIN, params, f, 3, reduce=reduce, samples=samples)
    np.testing.assert_allclose(dparams.sum(axis=0), truth, rtol=1e-10, atol=1e-13)

    def exact(theta: Array) -> float:
        return exact_value(COIN, params, weighted(theta), 3, reduce=reduce, samples=samples)

    np.testing.assert_allclose(dtheta, gradient_of(exact, WEIGHTS), atol=1e-9)


def assert_exact_with_a_second_layer(estimator: Any) -> None:
    W = np.array([[0.7, -1.1], [0.4, 0.9], [-1.6, 0.3]])
    assert_exact_on_average(estimator, Problem("two layers", COIN, LOGITS, two_layers(W), 3))


# ---- the contract


def assert_contract(estimator: Any, reduce: Any = sample_mean, samples: int = 3) -> None:
    """Linear, the same twice, rows independent, arguments untouched, single precision kept, calls as claimed."""
    rng = np.random.default_rng(0)
    params, noise = 2 * rng.standard_normal((5, 3)), rng.random((samples, 5, 3))
    f = weighted(WEIGHTS, derivative=claims_of(estimator).uses_dz)
    params.flags.writeable = noise.flags.writeable = False
    value, pullback = estimator(COIN, params, noise, f, reduce)
    one, other = rng.standard_normal((2, 5))
    first, second, both = pullback(one), pullback(other), pullback(2 * one - 3 * other)
    assert value.shape == (5,)
    assert first[0].shape == params.shape
    for g, h, combined, again in zip(first, second, both, pullback(one), strict=True):
        np.testing.assert_allclose(combined, 2 * g - 3 * h, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(g, again)

    some = [3, 0]
    value_of_some, pullback_of_some = estimator(COIN, params[some], noise[:, some], f, reduce)
    np.testing.assert_allclose(value_of_some, value[some], rtol=1e-13)
    np.testing.assert_allclose(pullback_of_some(one[some])[0], first[0][some], rtol=1e-12, atol=1e-14)

    assert_calls(estimator, reduce, samples)
    for noise32 in (noise.astype(np.float32), noise):
        _, pullback32 = estimator(
            COIN, params.astype(np.float32), noise32, weighted(WEIGHTS.astype(np.float32)), reduce
        )
        dparams32, dtheta32 = pullback32(np.float32(one))
        assert (dparams32.dtype, dtheta32.dtype) == (np.float32, np.float32)
        np.testing.assert_allclose(dparams32, first[0], rtol=1e-4, atol=1e-5)

    assert_wide(estimator, reduce, samples)
    assert_the_same_on_a_device(estimator, reduce, samples)
    assert estimator(COIN, params, noise, constant, reduce)[1](one)[1] is None


def assert_calls(estimator: Any, reduce: Any, samples: int) -> None:
    """As many samples through f and back as claimed."""
    counted, calls = counting(weighted(WEIGHTS))
    _, pullback = estimator(COIN, np.array([LOGITS]), np.full((samples, 1, 3), 0.4), counted, reduce)
    pullback(np.ones(1))
    claims = claims_of(estimator)
    assert calls == {"f": claims.f_calls(samples, 3), "pullback": claims.pullback_calls(samples, 3)}


def assert_wide(estimator: Any, reduce: Any, samples: int) -> None:
    """Logits of ±40 and ±1000, and noise of exactly 0, give finite numbers and no warning, in both precisions."""
    for dtype in (np.float64, np.float32):
        params = np.array([[40.0, -40.0, 0.0], [-1000.0, 1000.0, 0.1]], dtype)
        for level in (0.0, 0.5, 1 - float(np.finfo(dtype).epsneg)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                noise = np.full((samples, 2, 3), level, dtype)
                value, pullback = estimator(COIN, params, noise, weighted(WEIGHTS.astype(dtype)), reduce)
                gradients = pullback(np.ones(2, dtype))
            for array in (value, *gradients):
                assert np.isfinite(array).all()
                assert array.dtype == dtype


def assert_the_same_on_a_device(estimator: Any, reduce: Any, samples: int) -> None:
    """On the stand-in device array, with never a wait nor a move."""
    rng = np.random.default_rng(1)
    arrays = rng.standard_normal((4, 3)), rng.random((samples, 4, 3)), WEIGHTS, rng.standard_normal(4)

    def results(params: Any, noise: Any, theta: Any, dbound: Any) -> tuple[Any, ...]:
        value, pullback = estimator(COIN, params, noise, weighted(theta), reduce)
        return value, *pullback(dbound)

    there = [asarray(array) for array in arrays]
    with counting_on_device() as counts:
        found = results(*there)
    assert (counts.syncs, counts.to_host, counts.to_device) == (0, 0, 0)
    for result, expected in zip(found, results(*arrays), strict=True):
        np.testing.assert_allclose(asnumpy(result), expected, rtol=1e-12, atol=1e-13)


def constant(params: Array, z: Array) -> tuple[Array, Pullback]:
    """f = 1, of no weights."""
    values = np.ones_like(z[..., 0])
    return values, lambda dvalues: (0.0, np.zeros_like(z), None)


def counting(f: Any) -> tuple[Any, dict[str, int]]:
    """f, and how many samples of a row went through it and back."""
    calls = {"f": 0, "pullback": 0}

    def counted(params: Array, z: Array) -> tuple[Array, Pullback]:
        calls["f"] += len(z)
        values, f_pullback = f(params, z)

        def pullback(dvalues: Array) -> tuple[Any, ...]:
            calls["pullback"] += len(dvalues)
            gradients: tuple[Any, ...] = f_pullback(dvalues)
            return gradients

        return values, pullback

    return counted, calls
