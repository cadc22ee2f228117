"""Optimisers against hand-worked steps, against the textbook, and against what in-place code gets wrong."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from numvae import optimizers
from numvae.errors import InputError
from numvae.optimizers import (
    OPTIMIZERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSProp,
    clip_norm,
    clip_value,
)
from tests.device_array import asarray, counting

Vector = np.ndarray
Path = list[Vector]

ALL: list[Optimizer] = [
    SGD(0.1),
    Momentum(0.1, 0.8),
    Nesterov(0.1, 0.8),
    AdaGrad(0.1, 1e-3),
    RMSProp(0.1, 0.8, 1e-3),
    Adam(0.1, 0.8, 0.95, 1e-3),
    AdamW(0.1, 0.8, 0.95, 1e-3, 0.3),
]


def path(optimizer: Optimizer, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    """Where the optimiser goes from theta with these gradients, one entry per step."""
    theta = theta.copy()
    state = optimizer.start(theta)
    steps = []
    for gradient, scale in zip(gradients, scales, strict=True):
        optimizer.ascend(theta, gradient, state, scale)
        steps.append(theta.copy())
    return steps


# The textbook, straight from the papers: float64, fresh arrays, nothing folded, s the schedule's factor.


def textbook_sgd(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    steps = []
    for g, s in zip(gradients, scales, strict=True):
        theta = theta + s * o.step_size * g
        steps.append(theta)
    return steps


def textbook_momentum(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    velocity, steps = np.zeros_like(theta), []
    for g, s in zip(gradients, scales, strict=True):
        velocity = o.momentum * velocity + s * o.step_size * g
        theta = theta + velocity
        steps.append(theta)
    return steps


def textbook_nesterov(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    """Sutskever's (3) and (4) at the base point; what the optimiser holds is base + momentum * velocity."""
    base, velocity, steps = theta, np.zeros_like(theta), []
    for g, s in zip(gradients, scales, strict=True):  # g is the gradient at base + momentum * velocity
        velocity = o.momentum * velocity + s * o.step_size * g
        base = base + velocity
        steps.append(base + o.momentum * velocity)
    return steps


def textbook_adagrad(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    steps = []
    for t, (g, s) in enumerate(zip(gradients, scales, strict=True)):
        diagonal = np.sqrt(sum(past**2 for past in gradients[: t + 1]))
        theta = theta + s * o.step_size * g / (o.epsilon + diagonal)
        steps.append(theta)
    return steps


def textbook_rmsprop(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    v, steps = np.zeros_like(theta), []
    for g, s in zip(gradients, scales, strict=True):
        v = o.decay * v + (1 - o.decay) * g**2
        theta = theta + s * o.step_size * g / (np.sqrt(v) + o.epsilon)
        steps.append(theta)
    return steps


def textbook_adam(
    o: Any, theta: Vector, gradients: Path, scales: list[float], *, corrected: bool = True, decay: float = 0.0
) -> Path:
    m, v, steps = np.zeros_like(theta), np.zeros_like(theta), []
    for t, (g, s) in enumerate(zip(gradients, scales, strict=True), start=1):
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        m_hat = m / (1 - o.beta1**t) if corrected else m
        v_hat = v / (1 - o.beta2**t) if corrected else v
        theta = theta + s * o.step_size * (m_hat / (np.sqrt(v_hat) + o.epsilon) - decay * theta)
        steps.append(theta)
    return steps


def textbook_adamw(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    return textbook_adam(o, theta, gradients, scales, decay=o.weight_decay)


TEXTBOOK: list[Any] = [
    pytest.param(ALL[0], textbook_sgd, id="optimizers.1 sgd"),
    pytest.param(ALL[1], textbook_momentum, id="optimizers.2 momentum"),
    pytest.param(ALL[2], textbook_nesterov, id="optimizers.3 nesterov"),
    pytest.param(ALL[3], textbook_adagrad, id="optimizers.4 adagrad"),
    pytest.param(ALL[4], textbook_rmsprop, id="optimizers.5 optimizers.6 rmsprop"),
    pytest.param(ALL[5], textbook_adam, id="optimizers.7 optimizers.8 adam"),
    pytest.param(Adam(0.1, 0.0, 0.0, 1e-3), textbook_adam, id="optimizers.7 adam without memory"),
    pytest.param(ALL[6], textbook_adamw, id="optimizers.9 adamw"),
]


def distance(one: Path, other: Path) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def walk(seed: int, steps: int = 30, size: int = 7) -> tuple[Vector, Path, list[float]]:
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-4, 1, size)  # weights whose gradients differ by five orders of magnitude
    gradients = [sizes * rng.standard_normal(size) for _ in range(steps)]
    return rng.standard_normal(size), gradients, list(rng.uniform(0.1, 1, steps))


@pytest.mark.parametrize(("optimizer", "textbook"), TEXTBOOK)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_step_is_the_textbook_step(optimizer: Optimizer, textbook: Callable[..., Path], seed: int) -> None:
    theta, gradients, scales = walk(seed)
    expected = textbook(optimizer, theta, gradients, scales)
    assert distance(path(optimizer, theta, gradients, scales), expected) <= 1e-14 * max(1, np.abs(expected).max())


def forgot_the_bias_correction(o: Any, *walked: Any) -> Path:
    return textbook_adam(o, *walked, corrected=False)


def descends(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    return textbook_adam(o, theta, [-g for g in gradients], scales)


def epsilon_inside_the_constant_order(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    """The faster order of Kingma and Ba's section 2 with epsilon unchanged: uncorrected sqrt(v) + epsilon."""
    m, v, steps = np.zeros_like(theta), np.zeros_like(theta), []
    for t, (g, s) in enumerate(zip(gradients, scales, strict=True), start=1):
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        rate = o.step_size * math.sqrt(1 - o.beta2**t) / (1 - o.beta1**t)
        theta = theta + s * rate * m / (np.sqrt(v) + o.epsilon)
        steps.append(theta)
    return steps


def forgot_the_schedule(o: Any, theta: Vector, gradients: Path, scales: list[float]) -> Path:
    return textbook_adam(o, theta, gradients, [1.0] * len(scales))


def betas_swapped(o: Any, *walked: Any) -> Path:
    return textbook_adam(replace(o, beta1=o.beta2, beta2=o.beta1), *walked)


@pytest.mark.parametrize(
    "planted",
    [forgot_the_bias_correction, descends, epsilon_inside_the_constant_order, forgot_the_schedule, betas_swapped],
)
def test_the_comparison_with_the_textbook_rejects_planted_bugs(planted: Callable[..., Path]) -> None:
    walked = walk(seed=1)
    assert distance(path(ALL[5], *walked), planted(ALL[5], *walked)) > 1e-4


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD(0.5), [2.0, 1.5]),  # 1 + .5*2; 2 - .5*1
        (Momentum(0.5, 0.5), [2.0, 2.0]),  # velocity 1; .5 - .5 = 0
        (Nesterov(0.5, 0.5), [2.5, 2.0]),  # 1 + 1 + .5*1; 2.5 - .5 + .5*0
        (AdaGrad(0.5, 1.0), [1 + 1 / 3, 1 + 1 / 3 - 0.5 / (1 + math.sqrt(5))]),  # .5*2/(2+1); sqrt(4+1)
        (RMSProp(0.5, 0.75, 1.0), [1.5, 1.5 - 0.5 / 2]),  # v = 1; v = .75 + .25 = 1
        (Adam(0.5, 0.5, 0.5, 1.0), [1 + 1 / 3, 1 + 1 / 3]),  # m = 1, m_hat = 2, v_hat = 4; m = .5*1 - .5*1 = 0
        (AdamW(0.5, 0.5, 0.5, 1.0, 0.5), [0.75 + 1 / 3, 0.75 * (0.75 + 1 / 3)]),  # each step shrinks by 1 - .25
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_two_steps_by_hand(optimizer: Optimizer, expected: list[float]) -> None:
    walked = path(optimizer, np.array([1.0]), [np.array([2.0]), np.array([-1.0])], [1.0, 1.0])
    np.testing.assert_allclose(np.concatenate(walked), expected, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("optimizer", [Adam(0.1), AdaGrad(0.1), RMSProp(0.1, decay=0.0)], ids=repr)
@given(gradient=arrays(np.float64, 5, elements=st.floats(0.01, 1e6) | st.floats(-1e6, -0.01)))
def test_the_first_normalised_step_is_the_step_size_whatever_the_gradient(
    optimizer: Optimizer, gradient: Vector
) -> None:
    theta = np.zeros(5)
    optimizer.ascend(theta, gradient, optimizer.start(theta))
    np.testing.assert_allclose(theta, 0.1 * np.sign(gradient), rtol=2e-6)


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_a_zero_gradient_moves_nothing_but_adamw_and_makes_no_nan(optimizer: Optimizer) -> None:
    (theta,) = path(optimizer, np.ones(3), [np.zeros(3)], [1.0])
    np.testing.assert_array_equal(theta, 1 - 0.1 * 0.3 if isinstance(optimizer, AdamW) else 1.0)


CLIMBERS = [
    (SGD(0.1), 800),
    (Momentum(0.02, 0.9), 500),
    (Nesterov(0.02, 0.9), 500),
    (AdaGrad(0.5), 800),
    (RMSProp(0.02), 3000),
    (Adam(0.1), 1500),
    (AdamW(0.1, weight_decay=0.0), 1500),
]


@pytest.mark.parametrize(("optimizer", "steps"), CLIMBERS, ids=repr)
def test_a_concave_quadratic_is_climbed_to_its_top(optimizer: Optimizer, steps: int) -> None:
    top, curvature = np.array([1.0, -2.0, 0.5]), np.array([0.3, 1.0, 3.0])
    theta = np.zeros(3)
    state = optimizer.start(theta)
    for step in range(steps):
        optimizer.ascend(theta, curvature * (top - theta), state, scale=1 - step / steps)
    np.testing.assert_allclose(theta, top, atol=1e-3)


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 50])
def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch, optimizer: Optimizer, size: int) -> None:
    walked = walk(seed=2, steps=3, size=size)
    whole = path(optimizer, *walked)
    monkeypatch.setattr(optimizers, "BLOCK", 16)
    for one, other in zip(path(optimizer, *walked), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_real_block_size_is_crossed_without_a_seam() -> None:
    size = optimizers.BLOCK + 3
    gradient = np.full(size, 2.0, np.float32)
    theta = path(Adam(0.1), np.zeros(size, np.float32), [gradient, -gradient, gradient], [1.0] * 3)[-1]
    assert (theta == theta[0]).all()


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_a_run_resumed_from_a_saved_state_continues_bit_for_bit(optimizer: Optimizer) -> None:
    theta, gradients, scales = walk(seed=3)
    whole = path(optimizer, theta, gradients, scales)

    resumed = theta.copy()
    state = optimizer.start(resumed)
    for gradient, scale in zip(gradients[:10], scales[:10], strict=True):
        optimizer.ascend(resumed, gradient, state, scale)
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as saved:
        state = dict(saved)
    for gradient, scale in zip(gradients[10:], scales[10:], strict=True):
        optimizer.ascend(resumed, gradient, state, scale)
    np.testing.assert_array_equal(resumed, whole[-1])


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_theta_and_state_are_written_and_the_dtype_stays(optimizer: Optimizer, dtype: Any) -> None:
    theta = np.ones(5, dtype)
    same, state = theta, optimizer.start(theta)
    gradient = np.arange(5).astype(dtype)
    gradient.flags.writeable = False
    moments = {name: value for name, value in state.items() if name != "step"}
    for _ in range(2):
        optimizer.ascend(theta, gradient, state, scale=0.5)
    assert same is theta
    assert all(state[name] is value for name, value in moments.items())
    assert {value.dtype for value in moments.values()} <= {np.dtype(dtype)}
    assert not np.array_equal(theta, np.ones(5))


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_float32_follows_float64(optimizer: Optimizer) -> None:
    theta, gradients, scales = walk(seed=4)
    single = path(optimizer, theta.astype(np.float32), [g.astype(np.float32) for g in gradients], scales)
    assert single[-1].dtype == np.float32
    np.testing.assert_allclose(single[-1], path(optimizer, theta, gradients, scales)[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_on_a_device_nothing_waits_and_blocks_are_not_needed(
    monkeypatch: pytest.MonkeyPatch, optimizer: Optimizer
) -> None:
    monkeypatch.setattr(optimizers, "BLOCK", 2)
    theta, gradients, scales = walk(seed=5)
    there = asarray(theta)
    state = optimizer.start(there)
    moved = [asarray(gradient) for gradient in gradients]
    with counting() as counts:
        for gradient, scale in zip(moved, scales, strict=True):
            optimizer.ascend(there, gradient, state, scale)
    assert counts.syncs == counts.to_device == counts.to_host == 0
    assert counts.launches <= 11 * len(scales)
    np.testing.assert_array_equal(there.get(), path(optimizer, theta, gradients, scales)[-1])


def test_weight_decay_is_the_gradient_of_a_normal_prior_for_sgd_only() -> None:  # (optimizers.10)
    theta, rows, decay, step_size = np.array([2.0, -1.0]), 50, 1 / 50, 0.1
    gradient = np.array([10.0, 0.01])
    decayed = (1 - step_size * decay) * theta + step_size * gradient
    with_prior = gradient - theta / rows
    (sgd,) = path(SGD(step_size), theta, [with_prior], [1.0])
    np.testing.assert_allclose(sgd, decayed, rtol=1e-15)
    (adam,) = path(Adam(step_size), theta, [with_prior], [1.0])
    (adamw,) = path(AdamW(step_size, weight_decay=decay), theta, [gradient], [1.0])
    assert abs(adam - adamw)[0] > 1e-3  # the prior of a weight with a large gradient is all but lost in Adam


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_repr_round_trips(optimizer: Optimizer) -> None:
    assert eval(repr(optimizer), {kind.__name__: kind for kind in OPTIMIZERS.values()}) == optimizer


def test_every_optimizer_has_a_name_for_the_border_and_defaults_that_work() -> None:
    assert set(OPTIMIZERS) == {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"}
    for make in OPTIMIZERS.values():
        (theta,) = path(make(), np.zeros(2), [np.ones(2)], [1.0])
        assert (theta > 0).all()  # it ascends


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), r"SGD: step_size must be a number in \(0, inf\), got -0.1; try 0.01"),
        (lambda: SGD(math.nan), r"SGD: step_size must be a number in \(0, inf\), got nan; try 0.01"),
        (lambda: SGD(math.inf), r"SGD: step_size must be a number in \(0, inf\), got inf; try 0.01"),
        (lambda: SGD("0.1"), r"SGD: step_size must be a number in \(0, inf\), got '0.1'; try 0.01"),  # type: ignore[arg-type]
        (lambda: Nesterov(momentum=1), r"Nesterov: momentum must be a number in \[0, 1\), got 1; try 0.9"),
        (lambda: AdaGrad(epsilon=0), r"AdaGrad: epsilon must be a number in \(0, inf\), got 0; try 1e-08"),
        (lambda: RMSProp(decay=1.0), r"RMSProp: decay must be a number in \[0, 1\), got 1.0; try 0.9"),
        (lambda: Adam(beta1=-0.1), r"Adam: beta1 must be a number in \[0, 1\), got -0.1; try 0.9"),
        (lambda: Adam(beta2=True), r"Adam: beta2 must be a number in \[0, 1\), got True; try 0.999"),
        (lambda: AdamW(weight_decay=-1), r"AdamW: weight_decay must be a number in \[0, inf\), got -1; try 0.01"),
        (lambda: AdamW(step_size=0), r"AdamW: step_size must be a number in \(0, inf\), got 0; try 0.001"),
    ],
)
def test_mistakes_get_one_line_that_says_what_to_do(make: Callable[[], Optimizer], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        make()


@given(
    gradient=arrays(np.float64, 6, elements=st.floats(-1e3, 1e3, allow_subnormal=False)),
    maximum=st.floats(1e-3, 1e4),
)
def test_clipping_the_norm_keeps_the_direction_and_short_gradients(gradient: Vector, maximum: float) -> None:
    clipped = gradient.copy()
    norm = clip_norm(clipped, maximum)  # (optimizers.11)
    assert norm == pytest.approx(math.sqrt(math.fsum(gradient**2)), rel=1e-12)
    if norm <= maximum:
        np.testing.assert_array_equal(clipped, gradient)
    else:
        np.testing.assert_allclose(clipped, gradient * (maximum / norm), rtol=1e-12)
        assert np.linalg.norm(clipped) == pytest.approx(maximum, rel=1e-12)


def test_a_norm_beyond_the_dtype_leaves_the_step_out() -> None:
    gradient = np.full(4, 1e30, np.float32)
    with np.errstate(over="ignore"):
        norm = clip_norm(gradient, 1.0)
    assert np.isinf(norm)
    np.testing.assert_array_equal(gradient, np.zeros(4, np.float32), strict=True)


def test_clipping_values_stops_each_at_the_maximum() -> None:
    gradient = np.array([-7.0, -1.0, 0.25, 1.0, 3.0], np.float32)
    clip_value(gradient, 1.0)  # (optimizers.12)
    np.testing.assert_array_equal(gradient, np.array([-1, -1, 0.25, 1, 1], np.float32), strict=True)


def test_clipping_waits_for_nothing_on_a_device() -> None:
    gradient = asarray(np.array([3.0, 4.0], np.float32))
    with counting() as counts:
        norm = clip_norm(gradient, 1.0)
        clip_value(gradient, 0.7)
    assert counts.syncs == counts.to_host == 0
    assert norm.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(gradient.get(), [0.6, 0.7], rtol=1e-6)
