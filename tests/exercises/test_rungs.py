"""What is special to single rungs of the ladder: what they are exact for, on average or in the limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from numvae import Normal, mlp_vae, objectives
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.estimators import sample_mean, score_function
from numvae.exercises.ladder import EXERCISES
from numvae.exercises.ladder.vae_gradient import _vae
from numvae.optimizers import Adam
from tests.exercises.by_the_package import constant
from tests.exercises.ladder import MISTAKES, draws

OF = {name: [m.id for m in exercise.misconceptions] for name, exercise in EXERCISES.items()}
OF_THE_VAE = {m.id: m.wrong for m in EXERCISES["vae_gradient"].misconceptions}
nodes, weights = np.polynomial.hermite_e.hermegauss(20)
weights = weights / weights.sum()
"""Averages over standard normal noise."""


def test_the_finite_difference_comes_near_the_gradient_by_hand_like_the_square_of_the_step() -> None:
    exercise = EXERCISES["finite_difference"]
    for draw in draws(exercise):
        f, x, _ = draw.arguments.values()
        errors = [np.abs(exercise.solution(f, x, step) - f.gradient(x)).max() for step in (0.1, 0.01, 0.001)]
        assert errors[0] / errors[1] == pytest.approx(100, rel=1e-3)
        assert errors[2] < 1e-5


@pytest.mark.parametrize("id", OF["finite_difference"])
def test_a_wrong_difference_does_not_come_near_like_the_square_of_the_step(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    for draw in draws(exercise):
        f, x, _ = draw.arguments.values()
        errors = [np.abs(mistake.wrong(f, x, step) - f.gradient(x)).max() for step in (0.1, 0.01)]
        assert mistake.proof == "pullback"
        assert errors[0] / errors[1] != pytest.approx(100, rel=0.1)


def worst_difference_of_a_cubic(steps: Array, value: float, slope: float, third: float, dtype: str) -> Array:
    """The relative error of a central difference whose two values are off by one epsilon each, in the worst way."""

    def f(t: Array) -> Array:
        return value + slope * t + third * t**3 / 6

    noise = float(np.finfo(dtype).eps) * abs(value) * np.sign(third)
    return np.abs(((f(steps) + noise) - (f(-steps) - noise)) / (2 * steps) - slope) / abs(slope)


def least(curve: Callable[[Any], Any]) -> float:
    found = minimize_scalar(lambda log_h: float(np.log(curve(np.exp(log_h)))), bounds=(-12, 0), method="bounded")
    return math.exp(found.x)


@pytest.mark.parametrize("id", ["", *OF["error_curve"]])
def test_the_error_curve_is_that_of_a_cubic_and_a_wrong_one_is_not(id: str) -> None:
    exercise = EXERCISES["error_curve"]
    function, right = (MISTAKES[id][1].wrong, False) if id else (exercise.solution, True)
    for draw in draws(exercise):
        steps, *numbers = draw.arguments.values()
        errors, best = function(**draw.arguments)
        fits = np.allclose(errors, worst_difference_of_a_cubic(steps, *numbers), rtol=1e-3)
        low = best == pytest.approx(least(lambda h, n=numbers: worst_difference_of_a_cubic(h, *n)), rel=0.01)
        assert bool(fits and low) is right
        assert not id or MISTAKES[id][1].proof == "law"


def test_the_error_curve_is_least_at_its_best_step() -> None:
    exercise = EXERCISES["error_curve"]
    for draw in draws(exercise):
        _, best = exercise.solution(**draw.arguments)
        around = best * np.array([0.8, 0.99, 1.0, 1.01, 1.25])
        errors, _ = exercise.solution(**draw.arguments | {"steps": around})
        assert errors.argmin() == 2


def test_the_error_curve_foretells_the_errors_of_float32() -> None:
    x, steps = np.float32(0.7), 2.0 ** -np.arange(1, 15)
    value, slope, third = math.exp(0.7), math.exp(0.7), math.exp(0.7)
    foretold, best = EXERCISES["error_curve"].solution(steps, value, slope, third, "float32")
    points = x + np.linspace(-0.01, 0.01, 101, dtype=np.float32)  # rounding is luck: so look at many points
    wide = [
        np.abs((np.exp(points + h) - np.exp(points - h)) / (2 * h) / np.exp(points.astype(float)) - 1)
        for h in steps.astype(np.float32)
    ]
    measured = np.array([np.sqrt(np.mean(errors**2)) for errors in wide])
    assert np.all(measured < 2 * foretold)
    assert np.all(measured > foretold / 20)
    assert steps[measured.argmin()] == pytest.approx(best, rel=2)


def test_free_bits_are_those_of_the_package() -> None:
    rng = np.random.default_rng(0)
    params, dcost = rng.standard_normal((5, 6)), rng.uniform(0.5, 2.0, 5)
    per_latent = params.reshape(5, 2, 3).swapaxes(1, 2)
    kl, kl_pullback = Normal().kl(per_latent, np.zeros_like(per_latent))
    divergence = objectives.with_free_bits(mlp_vae(4, latents=3, hidden=[2]), 0.5)
    expected, pullback = divergence(params, np.zeros_like(params))
    cost, cost_pullback = EXERCISES["free_bits"].solution(kl, 0.5)
    dparams = kl_pullback(cost_pullback(dcost)[0])[0].swapaxes(1, 2).reshape(5, 6)
    np.testing.assert_allclose(cost, expected)
    np.testing.assert_allclose(dparams, pullback(dcost)[0])


def test_the_score_function_is_exact_on_average() -> None:
    mean, log_std = np.array([[0.7]]), np.array([[-0.4]])
    z = mean + np.exp(log_std) * nodes[:, None, None]
    one_sample = [
        EXERCISES["score_function"].solution(mean, log_std, z[s : s + 1], z[s : s + 1, :, 0] ** 2) for s in range(20)
    ]
    dmean, dlog_std = (
        np.squeeze(np.tensordot(weights, gradient, axes=1)) for gradient in zip(*one_sample, strict=True)
    )
    assert dmean == pytest.approx(2 * 0.7)  # E[z²] = mean² + exp(2 log_std)
    assert dlog_std == pytest.approx(2 * math.exp(-0.8))


@pytest.mark.parametrize("id", OF["score_function"])
def test_a_wrong_score_function_is_biased(id: str) -> None:
    mean, log_std = np.array([[0.7]]), np.array([[-0.4]])
    z, total = mean + np.exp(log_std) * nodes[:, None, None], np.zeros(2)
    for a, b in product(range(0, 20), repeat=2):
        pair = z[[a, b]]
        found = MISTAKES[id][1].wrong(mean, log_std, pair, pair[..., 0] ** 2)
        total += weights[a] * weights[b] * np.array([np.sum(gradient) for gradient in found])
    assert MISTAKES[id][1].proof == "estimator"
    assert total != pytest.approx([2 * 0.7, 2 * math.exp(-0.8)])


@pytest.mark.parametrize("id", OF["score_surrogate"])
def test_a_wrong_surrogate_is_wrong_on_average(id: str) -> None:
    """In its value, which is the law's to reject, or only in its gradients."""
    mean, c, mistake = 0.7, 3.0, MISTAKES[id][1]
    z = (mean + nodes)[:, None]
    value, pullback = mistake.wrong(c * z**2, -0.5 * nodes[:, None] ** 2)
    df, dlog_q = pullback(weights[:, None])
    in_value = np.sum(weights[:, None] * value) != pytest.approx(c * (mean**2 + 1))
    gradients = [np.sum(df * z**2), np.sum(dlog_q * (z - mean))]
    assert in_value or gradients != pytest.approx([mean**2 + 1, 2 * c * mean])
    assert mistake.proof == ("law" if in_value else "estimator")


def test_the_surrogate_has_the_right_value_and_both_gradients_on_average() -> None:
    """(errata.1b), for f = c z² under N(mean, 1), whose expectation is c (mean² + 1)."""
    mean, c = 0.7, 3.0
    z = (mean + nodes)[:, None]
    f, log_q = c * z**2, -0.5 * nodes[:, None] ** 2
    value, pullback = EXERCISES["score_surrogate"].solution(f, log_q)
    df, dlog_q = pullback(weights[:, None])
    assert np.sum(weights[:, None] * value) == pytest.approx(c * (mean**2 + 1))
    assert np.sum(df * z**2) == pytest.approx(mean**2 + 1)  # in c
    assert np.sum(dlog_q * (z - mean)) == pytest.approx(2 * c * mean)  # in mean


def average_over_bits(estimate: Callable[..., Any], samples: int) -> float:
    """The mean gradient in the logit of one bit with f(0) = 1 and f(1) = 4, over all that S samples can be."""
    p, f = 0.3, np.array([1.0, 4.0])
    total = 0.0
    for bits in product((0, 1), repeat=samples):
        z = np.array(bits)[:, None]
        _, dlogit = estimate(f[z], (z - p)[..., None])
        total += np.prod(np.where(z, p, 1 - p)) * float(dlogit[0, 0])
    return total


@pytest.mark.parametrize("samples", [2, 4])
def test_leaving_one_out_is_exact_on_average_and_leaving_none_out_is_not(samples: int) -> None:
    exercise, truth = EXERCISES["leave_one_out"], 0.3 * 0.7 * (4.0 - 1.0)
    assert average_over_bits(exercise.solution, samples) == pytest.approx(truth)
    of_all = MISTAKES["baseline_mean_of_all"][1].wrong
    assert average_over_bits(of_all, samples) == pytest.approx(truth * (samples - 1) / samples)


@pytest.mark.parametrize("id", OF["leave_one_out"])
def test_a_wrong_baseline_is_biased_or_no_mean_of_the_others(id: str) -> None:
    mistake, truth = MISTAKES[id][1], 0.3 * 0.7 * (4.0 - 1.0)
    biased = average_over_bits(mistake.wrong, 3) != pytest.approx(truth)
    assert mistake.proof == ("estimator" if biased else "law")


def test_leaving_one_out_is_the_estimator_of_the_package() -> None:
    rng = np.random.default_rng(0)
    params, noise, values = rng.standard_normal((3, 4)), rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3))
    _, pullback = score_function(Normal(), params, noise, constant(values), sample_mean)
    log_std = params[:, 2:]
    scores = np.concatenate([noise / np.exp(log_std), noise**2 - 1], axis=-1)
    _, dparams = EXERCISES["leave_one_out"].solution(values, scores)
    np.testing.assert_allclose(dparams, pullback(np.ones(3))[0])


def test_a_minibatch_is_the_data_set_on_average() -> None:
    rng = np.random.default_rng(0)
    log_likelihood, theta, estimate = (
        rng.standard_normal((6, 3)),
        rng.standard_normal(4),
        EXERCISES["minibatch_estimate"],
    )
    batches = [log_likelihood[list(rows)] for rows in combinations(range(6), 4)]
    mean = np.mean([estimate.solution(batch, theta, 6, 2.0)[0] for batch in batches])
    assert mean == pytest.approx(estimate.solution(log_likelihood, theta, 6, 2.0)[0])


def test_adam_is_that_of_the_package() -> None:
    rng = np.random.default_rng(0)
    numbers = {"step_size": 0.3, "beta1": 0.7, "beta2": 0.9, "epsilon": 0.1}
    theta, optimizer = rng.standard_normal(5), Adam(**numbers)
    ours, m, v, state = theta.copy(), np.zeros(5), np.zeros(5), optimizer.start(theta)
    for t in range(1, 5):
        gradient = rng.standard_normal(5)
        optimizer.ascend(theta, gradient, state)
        ours, m, v = EXERCISES["adam_step"].solution(ours, gradient, m, v, t, **numbers)
        np.testing.assert_allclose(ours, theta, rtol=1e-12)
    np.testing.assert_allclose(m, 0.3 * state["first"])
    np.testing.assert_allclose(v, 0.1 * state["second"])


def test_training_is_a_loop_around_the_packages_adam() -> None:
    for draw in draws(EXERCISES["train_vae"], seeds=1):
        theta, x, orders, noise, batch, gradient, _ = draw.arguments.values()
        theta, optimizer = theta.copy(), Adam(step_size=0.05, beta1=0.7, beta2=0.9, epsilon=0.1)
        state = optimizer.start(theta)
        for order, of_epoch in zip(orders, noise, strict=True):
            for rows in np.split(order, range(batch, len(order), batch)):
                optimizer.ascend(theta, gradient(theta, x[rows], of_epoch[rows]), state)
        np.testing.assert_allclose(EXERCISES["train_vae"].solution(**draw.arguments)[-1], theta, rtol=1e-10)


def test_the_gradient_given_for_training_is_that_of_its_bound() -> None:
    (draw,) = draws(EXERCISES["train_vae"], seeds=1)[:1]
    theta, x, _, noise, _, gradient, _ = draw.arguments.values()

    def bound(theta: Array) -> tuple[Any, Callable[..., Any]]:
        a, c = np.split(theta, 2)
        residual = x - np.outer(x @ a + noise[0], c)
        value = np.mean(-0.5 * np.sum(residual**2, axis=1) - 0.5 * (x @ a) ** 2)
        return value, lambda d: (d * gradient(theta, x, noise[0]),)

    check_pullback(bound, theta).assert_ok()


def test_the_lines_of_the_vae_are_those_of_its_solution() -> None:
    """Only then does a misconception differ from it in what it replaces alone."""
    exercise = EXERCISES["vae_gradient"]
    for draw in draws(exercise):
        ours, theirs = exercise.observe(exercise.solution, draw), exercise.observe(_vae, draw)
        for output in ours:
            np.testing.assert_allclose(theirs[output], ours[output], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("id", OF_THE_VAE)
def test_a_vae_with_a_mistake_still_runs(id: str) -> None:
    """Hundreds of steps, without a warning or a number that is none: there one has to find it."""
    rng = np.random.default_rng(0)
    D, H, Z = 9, 6, 3
    x = (rng.random((20, D)) < rng.uniform(0.1, 0.9, D)).astype(float)
    shapes = {"W1": (D, H), "b1": H, "W2": (H, Z), "b2": Z, "W3": (H, Z), "b3": Z}
    p = {name: 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    p |= {
        name: 0.3 * rng.standard_normal(shape) for name, shape in {"W4": (Z, H), "b4": H, "W5": (H, D), "b5": D}.items()
    }
    optimizer = Adam(step_size=0.01)
    states = {name: optimizer.start(weights) for name, weights in p.items()}
    for _ in range(200):
        elbo, g = OF_THE_VAE[id](p, x, rng.standard_normal((20, Z)))
        for name, weights in p.items():
            optimizer.ascend(weights, g[name], states[name])
    assert np.isfinite(elbo).all()
    assert all(np.isfinite(weights).all() for weights in p.values())
