"""The loop: what a step is, what an epoch is, and that stopping anywhere and going on changes nothing."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from numvae import (
    blocks,
    elbo,
    elbo_monte_carlo,
    elbo_terms,
    importance_weighted,
    initial_theta,
    mlp_vae,
    pathwise,
    score_function,
    training,
)
from numvae.checks import check_pullback
from numvae.corruption import normal_noise, salt_and_pepper
from numvae.datasets import fresh, grey
from numvae.errors import DivergedError, InputError
from numvae.evaluation import evaluate
from numvae.optimizers import OPTIMIZERS, SGD, Adam
from numvae.schedules import Cosine, Exponential, WarmUp
from numvae.training import Recipe, bound_and_gradient, generator, train
from tests.device_array import counting, fake_cupy
from tests.small_runs import BATCH, DIGITS, MODEL, TRAIN_ROWS, begin, same_state

RECIPE = Recipe(epochs=2, batch=BATCH)
STEPS_PER_EPOCH = math.ceil(TRAIN_ROWS / BATCH)
THETA = begin(RECIPE, np.float64).theta


def trained(recipe: Recipe, dtype: Any = np.float32, **callbacks: Any) -> training.State:
    return train(MODEL, DIGITS, recipe, begin(recipe, dtype), **callbacks)


def batch_of(rows: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.random((rows, DIGITS.features)) < 0.3).astype(float), rng.standard_normal((samples, rows, 2))


@dataclass(frozen=True)
class Recording:
    """SGD that notes the gradient and the scale of every step."""

    step_size: float = 0.01
    gradients: list[np.ndarray] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)

    def start(self, theta: np.ndarray) -> dict[str, Any]:
        return {}

    def ascend(self, theta: np.ndarray, gradient: np.ndarray, state: dict[str, Any], scale: float = 1.0) -> None:
        self.gradients.append(gradient.copy())
        self.scales.append(scale)
        SGD(self.step_size).ascend(theta, gradient, state, scale)


# ---- the bound of a batch and its gradient


@pytest.mark.parametrize("estimator", [pathwise, score_function])
@pytest.mark.parametrize("objective", [elbo, elbo_monte_carlo, importance_weighted])
@pytest.mark.parametrize(("rows", "samples"), [(700, 1), (90, 10), (3, 400)])
def test_blocks_give_what_all_rows_at_once_give(monkeypatch, objective, estimator, rows, samples):
    x, noise = batch_of(rows, samples)
    in_blocks = bound_and_gradient(MODEL, THETA, x, noise, objective, estimator)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10**9)
    at_once = bound_and_gradient(MODEL, THETA, x, noise, objective, estimator)
    for part, whole in zip(in_blocks, at_once, strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-12, atol=1e-12 * np.abs(whole).max())


def test_the_value_is_the_sum_and_the_gradient_is_the_mean():
    x, noise = batch_of(5, 2)
    total, gradient = bound_and_gradient(MODEL, THETA, x, noise)
    singles = [bound_and_gradient(MODEL, THETA, x[[row]], noise[:, [row]]) for row in range(5)]
    assert total == pytest.approx(sum(bound for bound, _ in singles), rel=1e-12)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in singles], axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("factor", "right"), [(1, True), (500, False)], ids=["mean", "a sum in place of the mean"])
def test_the_gradient_is_that_of_the_mean_bound_and_not_of_the_sum(factor, right):
    model = mlp_vae(4, latents=2, hidden=(3,))
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    x, noise = batch_of(500, 1)

    def mean_bound(theta):
        total, gradient = bound_and_gradient(model, theta, x[:, :4], noise)
        return total / len(x), lambda d: (factor * d * gradient,)

    assert check_pullback(mean_bound, theta, directions=3, coordinates=0).ok is right


# ---- a step


def test_a_step_of_sgd_is_the_step_size_times_the_gradient_of_its_batch():
    recipe = replace(RECIPE, epochs=1, batch=TRAIN_ROWS, binarize=grey, optimizer=SGD(0.1))
    start = begin(recipe, np.float64)
    order = generator(0, "order", 0).permutation(TRAIN_ROWS)
    noise = generator(0, "noise").standard_normal((1, TRAIN_ROWS, 2))
    total, gradient = bound_and_gradient(MODEL, start.theta, DIGITS.train[order] / 255, noise)
    state = train(MODEL, DIGITS, recipe, copy.deepcopy(start))
    np.testing.assert_allclose(state.theta, start.theta + 0.1 * gradient, rtol=1e-12, atol=1e-14)
    assert state.history[0]["train_elbo"] == pytest.approx(total / TRAIN_ROWS, rel=1e-12)


def first_gradient(**changes):
    recorder = Recording()
    trained(replace(RECIPE, epochs=1, batch=TRAIN_ROWS, optimizer=recorder, **changes), np.float64)
    return recorder.gradients[0]


def test_the_weight_prior_enters_once_per_data_set():
    """Its gradient is -precision theta, and the bound is per datum: 1/N of it, or N weight priors would be learnt."""
    theta = begin(RECIPE, np.float64).theta
    found = first_gradient(weight_prior_precision=4.0) - first_gradient()
    np.testing.assert_allclose(found, -4.0 * theta / TRAIN_ROWS, rtol=1e-9, atol=1e-13)
    forgotten = -4.0 * theta
    assert not np.allclose(found, forgotten, rtol=1e-2, atol=1e-13)


def test_the_weight_prior_pulls_weights_towards_zero():
    recipes = [replace(RECIPE, epochs=20, weight_prior_precision=precision) for precision in (None, 100.0)]
    weights = [dict(MODEL.layout.leaves(trained(recipe).theta))["encoder.1.W"] for recipe in recipes]
    assert np.linalg.norm(weights[1]) < 0.8 * np.linalg.norm(weights[0])


def test_clipping_shortens_the_gradient_and_keeps_its_direction():
    free, clipped = first_gradient(), first_gradient(clip_norm=0.5)
    assert np.linalg.norm(free) > 1
    np.testing.assert_allclose(clipped, 0.5 * free / np.linalg.norm(free), rtol=1e-12)


@pytest.mark.parametrize("schedule", [Exponential(0.5, steps=3), Cosine(steps=9), WarmUp(5, Cosine(steps=6))])
def test_the_schedule_scales_step_after_step_through_all_epochs(schedule):
    recorder = Recording(step_size=1e-6)
    trained(replace(RECIPE, optimizer=recorder, schedule=schedule))
    assert recorder.scales == [schedule(step) for step in range(2 * STEPS_PER_EPOCH)]


def test_an_epoch_takes_every_row_once_and_every_epoch_in_another_order():
    """Binarisation sees the rows of each batch: they are numbered in their first pixel."""
    numbered = DIGITS.train.copy()
    numbered[:, 0] = np.arange(TRAIN_ROWS)
    batches = []

    def noting(rows, rng, dtype):
        if len(rows) <= BATCH:  # not the test rows
            batches.append(rows[:, 0])
        return fresh(rows, rng, dtype)

    recipe = replace(RECIPE, binarize=noting)
    train(MODEL, replace(DIGITS, train=numbered), recipe, begin(recipe))
    assert [len(batch) for batch in batches] == ([BATCH] * (STEPS_PER_EPOCH - 1) + [TRAIN_ROWS % BATCH]) * 2
    first, second = (np.concatenate(half) for half in (batches[:STEPS_PER_EPOCH], batches[STEPS_PER_EPOCH:]))
    for epoch in (first, second):
        assert sorted(epoch) == list(range(TRAIN_ROWS))
    assert list(first) != list(second)
    assert list(first) != sorted(first)


def test_noise_and_bits_are_drawn_anew_in_every_epoch():
    recorder = Recording(step_size=1e-30)
    trained(replace(RECIPE, batch=TRAIN_ROWS, optimizer=recorder), np.float64)
    assert not np.allclose(recorder.gradients[0], recorder.gradients[1], rtol=1e-3)


# ---- a run


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_improves_the_bound(name):
    recipe = replace(RECIPE, epochs=5, optimizer=OPTIMIZERS[name]())
    start = evaluate(MODEL, begin(recipe).theta, DIGITS.test, rng=generator(0, "evaluation"))
    history = trained(recipe).history
    assert history[-1]["test_elbo"] > start.elbo
    assert history[-1]["train_elbo"] > history[0]["train_elbo"]


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": elbo_monte_carlo},
        {"objective": importance_weighted, "samples": 5},
        {"estimator": score_function, "samples": 4},
        {"weight_prior_precision": 1.0},
        {"clip_norm": 10.0},
        {"binarize": grey},
    ],
    ids="-".join,
)
def test_every_way_to_train_improves_the_bound(changes):
    """Of eight seeds the least gain was 0.24 nats."""
    history = trained(replace(RECIPE, epochs=40, optimizer=Adam(0.003), **changes)).history
    assert history[-1]["test_elbo"] > history[0]["test_elbo"] + 0.2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_keeps_its_dtype(dtype):
    state = trained(RECIPE, dtype)
    assert state.theta.dtype == dtype
    assert {np.asarray(value).dtype for key, value in state.moments.items() if key != "step"} == {np.dtype(dtype)}


def test_one_seed_gives_one_run_bit_for_bit_and_another_gives_another():
    assert same_state(trained(RECIPE), trained(RECIPE))
    assert not np.array_equal(trained(RECIPE).theta, trained(replace(RECIPE, seed=1)).theta)


def test_float32_and_float64_start_at_the_same_point():
    single, double = begin(RECIPE, np.float32).theta, begin(RECIPE, np.float64).theta
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_a_start_at_the_data_beats_a_start_at_grey():
    at_data, at_grey = (
        evaluate(MODEL, state.theta, DIGITS.test, rng=generator(0, "evaluation")).elbo
        for state in (begin(RECIPE), training.start(MODEL, DIGITS, RECIPE, data_start=False))
    )
    assert at_data > at_grey + 5


def test_history_says_what_each_epoch_reached():
    state = trained(replace(RECIPE, epochs=3))
    keys = {"epoch", "step", "samples", "seconds", "train_elbo", "test_elbo", "test_reconstruction", "test_kl"}
    assert [row.keys() for row in state.history] == [keys] * 3
    assert keys == training.HISTORY_KEYS
    assert [row["epoch"] for row in state.history] == [1, 2, 3]
    assert [row["step"] for row in state.history] == [STEPS_PER_EPOCH * epoch for epoch in (1, 2, 3)]
    assert [row["samples"] for row in state.history] == [TRAIN_ROWS * epoch for epoch in (1, 2, 3)]
    seconds = [row["seconds"] for row in state.history]
    assert 0 < seconds[0] < seconds[1] < seconds[2] == state.seconds
    last = state.history[-1]
    assert last["test_elbo"] == pytest.approx(last["test_reconstruction"] - last["test_kl"], rel=1e-9)
    assert last["test_elbo"] == evaluate(MODEL, state.theta, DIGITS.test, rng=generator(0, "evaluation")).elbo


def test_the_training_bound_is_the_mean_over_the_epoch_as_the_weights_were():
    recipe = replace(RECIPE, epochs=1, optimizer=SGD(1e-30))  # weights that stand still
    row = trained(recipe, np.float64).history[0]
    same = evaluate(MODEL, begin(recipe, np.float64).theta, DIGITS.train, rng=np.random.default_rng(9))
    assert abs(row["train_elbo"] - same.elbo) < 4 * same.standard_error


# ---- stopping and going on


def test_the_callbacks_are_called_after_every_batch_and_every_epoch():
    batches, epochs = [], []
    trained(
        RECIPE,
        on_batch=lambda state: batches.append((state.epoch, state.batches, state.step)),
        on_epoch=lambda state: epochs.append((state.epoch, state.batches, len(state.history))),
    )
    assert batches == [(e, b + 1, e * STEPS_PER_EPOCH + b + 1) for e in range(2) for b in range(STEPS_PER_EPOCH)]
    assert epochs == [(1, 0, 1), (2, 0, 2)]


def test_a_finished_run_is_left_as_it_is():
    state = trained(RECIPE)
    before = copy.deepcopy(state)
    train(MODEL, DIGITS, RECIPE, state)
    assert same_state(state, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("stop", [1, STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 3])
def test_stopping_after_any_batch_and_going_on_changes_no_bit(name, stop):
    recipe = replace(RECIPE, optimizer=OPTIMIZERS[name](), schedule=WarmUp(4, Cosine(steps=8)))
    state = trained(recipe, on_batch=lambda state: state.step == stop)
    assert state.step == stop
    assert len(state.history) == (stop > STEPS_PER_EPOCH)
    train(MODEL, DIGITS, recipe, state)
    assert same_state(state, trained(recipe))


def test_more_epochs_go_on_where_fewer_ended():
    state = trained(replace(RECIPE, epochs=1))
    train(MODEL, DIGITS, RECIPE, state)
    assert same_state(state, trained(RECIPE))


# ---- other objectives than the plain one


RESHAPED = {
    "kl_weight": {"kl_weight": 3.0},
    "no KL": {"kl_weight": 0.0},
    "kl_warm_up": {"kl_warm_up": STEPS_PER_EPOCH + 2},
    "free_bits": {"free_bits": 0.3},
    "corruption": {"corruption": partial(salt_and_pepper, strength=0.2)},
    "all": {
        "kl_weight": 0.5,
        "kl_warm_up": 5,
        "free_bits": 0.1,
        "corruption": partial(normal_noise, strength=0.3),
        "estimator": score_function,
        "samples": 3,
    },
}
every_reshaped = pytest.mark.parametrize("changes", RESHAPED.values(), ids=RESHAPED)


def test_by_default_the_objective_is_the_very_one_named():
    assert RECIPE.objective_at(7) is elbo
    assert replace(RECIPE, objective=importance_weighted).objective_at(0) is importance_weighted


@every_reshaped
def test_a_reshaped_run_is_another_run_and_its_test_bound_the_plain_one(changes):
    recipe = replace(RECIPE, **changes)
    state, plain = trained(recipe), trained(replace(RECIPE, **{k: changes[k] for k in ("samples",) if k in changes}))
    assert not np.array_equal(state.theta, plain.theta)
    same = evaluate(MODEL, state.theta, DIGITS.test, rng=generator(0, "evaluation"))
    row = state.history[-1]
    assert (row["test_elbo"], row["test_reconstruction"], row["test_kl"]) == (same.elbo, same.reconstruction, same.kl)


@every_reshaped
@pytest.mark.parametrize("stop", [1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 3])
def test_a_reshaped_run_goes_on_bit_for_bit(changes, stop):
    """The weight is a function of the step, the corruption drawn from the generator that is saved."""
    recipe = replace(RECIPE, **changes)
    state = trained(recipe, on_batch=lambda state: state.step == stop)
    assert state.step == stop
    assert same_state(train(MODEL, DIGITS, recipe, state), trained(recipe))


@every_reshaped
def test_a_reshaped_objective_goes_through_blocks(monkeypatch, changes):
    recipe, rng = replace(RECIPE, **changes), np.random.default_rng(0)
    x = recipe.draw_rows(DIGITS.train, rng, np.float64)
    noise = rng.standard_normal((recipe.samples, len(x), 2))
    arguments = (MODEL, THETA, x, noise, recipe.objective_at(3), recipe.estimator)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 30)
    in_blocks = bound_and_gradient(*arguments)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 10**9)
    for part, whole in zip(in_blocks, bound_and_gradient(*arguments), strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-12, atol=1e-12 * np.abs(whole).max())


def test_the_first_step_of_a_warm_up_climbs_the_reconstruction_alone_and_the_last_the_whole():
    """(objectives.11)."""
    recipe = replace(RECIPE, kl_weight=2.0, kl_warm_up=4)
    x, noise = batch_of(5, 2)
    reconstruction, kl = elbo_terms(MODEL, THETA, x, noise)[0]
    for step, weight in ((0, 0.0), (1, 0.5), (3, 1.5), (4, 2.0), (9, 2.0)):
        bound, _ = recipe.objective_at(step)(MODEL, THETA, x, noise, pathwise)
        np.testing.assert_allclose(bound, reconstruction - weight * kl, rtol=1e-13)


def test_the_encoder_sees_the_corrupted_rows_beside_the_clean_ones():
    """(objectives.14)."""
    recipe = replace(RECIPE, corruption=partial(salt_and_pepper, strength=0.2))
    x = recipe.draw_rows(DIGITS.train, np.random.default_rng(0), np.float32)
    clean, seen = np.split(x, 2, axis=-1)
    np.testing.assert_array_equal(clean, fresh(DIGITS.train, np.random.default_rng(0), np.float32))
    assert x.dtype == np.float32
    assert 0.05 < (seen != clean).mean() < 0.15


@every_reshaped
def test_what_breaks_under_a_reshaped_objective_is_named(changes):
    infinite = replace(begin(RECIPE, np.float64))
    infinite.theta[-1] = 1e308  # the last logit's bias
    dict(MODEL.layout.leaves(infinite.theta))["decoder.3.W"][...] = 1e308
    with pytest.raises(DivergedError, match=r"^step 1: (the pullback of )?(decoder|likelihood)"):
        train(MODEL, DIGITS, replace(RECIPE, **changes), infinite)


def test_a_heavier_kl_leaves_less_of_it_and_free_bits_leave_more():
    """Of eight seeds: 0.4 to 0.8 nats plain, below 0.005 under β = 4, and 1.5 to 1.7 of the two that then are free."""
    recipe = replace(RECIPE, epochs=60, optimizer=Adam(0.003))
    plain, heavy, free = (
        trained(replace(recipe, **changes)).history[-1]["test_kl"]
        for changes in ({}, {"kl_weight": 4.0}, {"kl_weight": 4.0, "free_bits": 1.0})
    )
    assert heavy < 0.05 * plain
    assert 1.2 < free < 2.2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"kl_weight": -1.0}, r"kl_weight must be a number in \[0, inf\), got -1.0"),
        ({"kl_warm_up": 0.5}, "kl_warm_up must be a whole number >= 0"),
        ({"free_bits": math.inf}, "free_bits must be a number"),
        ({"objective": importance_weighted, "free_bits": 0.1}, "free_bits and corruption are for the objective elbo"),
    ],
)
def test_a_recipe_without_sense_is_refused(changes, complaint):
    with pytest.raises(InputError, match=complaint):
        replace(RECIPE, **changes)


# ---- divergence


@dataclass(frozen=True)
class Spoiling:
    """An optimiser that puts a number into the weights at its third step."""

    value: float

    def start(self, theta: np.ndarray) -> dict[str, Any]:
        return {"step": 0}

    def ascend(self, theta: np.ndarray, gradient: np.ndarray, state: dict[str, Any], scale: float = 1.0) -> None:
        state["step"] += 1
        if state["step"] == 3:
            theta[0] = self.value


SPOILT = r"^step 3: Spoiling\.ascend \(the weights encoder\.1\.W\) made the first %s \(1 of 784 numbers not finite\)"


def test_a_step_that_spoils_the_weights_is_named_and_not_the_one_that_meets_them():
    with pytest.raises(DivergedError, match=SPOILT % "NaN"):
        trained(replace(RECIPE, optimizer=Spoiling(math.nan)))


@pytest.mark.parametrize("optimizer", [Adam(1e300), Adam(epsilon=1e-320, beta2=0.0), SGD(1e300)], ids=repr)
def test_an_optimizer_that_leaves_the_range_of_numbers_is_named(optimizer):
    with pytest.raises(DivergedError, match=rf"^step 1: {type(optimizer).__name__}\.ascend \(the weights "):
        trained(replace(RECIPE, optimizer=optimizer))


def test_the_rule_is_looked_for_in_blocks(monkeypatch):
    """A batch that trains in blocks would not fit into memory at once."""
    seen = []

    def noting(model, theta, x, noise, objective, estimator):
        seen.append(len(x))
        return f"block {len(seen)}" if len(seen) == 3 else None

    monkeypatch.setattr(training, "first_nonfinite", noting)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 30)

    def broken(*arguments):
        bound, pullback = elbo(*arguments)
        return bound + np.inf, pullback

    with pytest.raises(DivergedError, match=r"^step 1: block 3;"):
        trained(replace(RECIPE, batch=TRAIN_ROWS, objective=broken))
    assert max(seen) <= 30


def test_a_nan_of_the_last_step_of_an_epoch_is_named_too():
    recipe = replace(RECIPE, batch=math.ceil(TRAIN_ROWS / 3), optimizer=Spoiling(math.inf))
    with pytest.raises(DivergedError, match=SPOILT % "infinity"):
        trained(recipe)


def test_a_test_row_that_breaks_the_bound_is_named_after_the_step():
    def white_is_out_of_range(rows, rng, dtype):
        x = grey(rows, rng, dtype)
        return np.full_like(x, np.inf) if len(rows) == len(DIGITS.test) else x

    with pytest.raises(DivergedError, match=rf"^after step {STEPS_PER_EPOCH}: the data made the first infinity"):
        trained(replace(RECIPE, binarize=white_is_out_of_range))


# ---- on a device


@dataclass(frozen=True)
class DeviceSpoiling(Spoiling):
    """The same where weights are written in place on a device, at another step."""

    step: int = 1

    def ascend(self, theta: Any, gradient: Any, state: dict[str, Any], scale: float = 1.0) -> None:
        state["step"] += 1
        if state["step"] == self.step:
            theta *= self.value


@pytest.mark.parametrize(("spoilt", "seen"), [(1, 2 * STEPS_PER_EPOCH), (STEPS_PER_EPOCH + 2, 2 * STEPS_PER_EPOCH)])
def test_on_a_device_the_weights_are_looked_at_now_and_then(monkeypatch, spoilt, seen):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    monkeypatch.setattr(training, "DEVICE_CHECK_STEPS", 2 * STEPS_PER_EPOCH)
    monkeypatch.setattr(training, "_history_row", lambda *arguments: {})
    recipe = replace(RECIPE, epochs=4, device="cuda", optimizer=DeviceSpoiling(math.nan, spoilt))
    with pytest.raises(DivergedError, match=rf"^step {seen}: this or an earlier step \(the weights encoder\.1\.W\)"):
        trained(recipe)


@pytest.mark.parametrize("steps_between", [1, 5, 1000])
def test_a_step_on_a_device_waits_for_the_host_only_where_it_looks(monkeypatch, steps_between):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    monkeypatch.setattr(training, "_history_row", lambda *arguments: {})
    monkeypatch.setattr(training, "DEVICE_CHECK_STEPS", steps_between)
    recipe = replace(RECIPE, device="cuda")
    state = begin(recipe)
    with counting() as counts:
        train(MODEL, DIGITS, recipe, state)
    looks = 2 * STEPS_PER_EPOCH // steps_between
    assert (counts.syncs, counts.to_host) == (looks, looks)


def test_divergence_names_a_rule_and_leaves_the_state_before_the_step():
    recipe = replace(RECIPE, optimizer=SGD(1e6))
    state = begin(recipe)
    good = []
    with pytest.raises(DivergedError) as caught:
        train(MODEL, DIGITS, recipe, state, on_batch=lambda state: good.append(copy.deepcopy(state)))
    assert str(caught.value).startswith(f"step {len(good) + 1}: ")
    assert "made the first" in str(caught.value)
    assert "--lr" in str(caught.value)
    assert same_state(state, good[-1])
    assert np.isfinite(state.theta).all()


def test_a_sum_that_overflows_is_said_to_do_so():
    """Each row's gradient is finite in float32, the squared length of their mean is not."""

    def steep(*arguments):
        bound, pullback = elbo(*arguments)
        return bound, lambda dbound: pullback(np.float32(1e25) * dbound)

    with pytest.raises(DivergedError, match=r"^step 1: the sum over rows or the gradient's length overflows"):
        trained(replace(RECIPE, objective=steep))
