"""The training loop: minibatches, noise, one gradient step after another.  What it has reached is a ``State``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.adaptation import Adaptation, adapt, estimators_at, is_adaptive, start_adaptation
from numvae.arrays import Array, Pullback
from numvae.belief_networks import SigmoidBeliefNetwork
from numvae.blocks import blocks
from numvae.corruption import Corruption
from numvae.datasets.binarization import Binarization, codes, counts, fresh, photons
from numvae.datasets.dataset import Dataset
from numvae.devices import Device, to_device, to_host
from numvae.errors import DivergedError, InputError
from numvae.estimators import Adaptive, Estimator, pathwise, score_function
from numvae.evaluation import batches, evaluate
from numvae.memory import keep_freed_memory
from numvae.models import Model
from numvae.objectives import denoising_elbo, elbo, kl_weight_at, weight_log_prior, weighted_elbo
from numvae.optimizers import Adam, Optimizer, clip_norm
from numvae.parameters import Initializer, glorot, initial_theta
from numvae.randomness import generator
from numvae.ranges import require_number, require_whole
from numvae.schedules import Constant, Schedule
from numvae.starting import start_at_data
from numvae.watching import first_nonfinite, require_finite

__all__ = [
    "Objective",
    "Recipe",
    "State",
    "bound_and_gradient",
    "generator",
    "require_finite_state",
    "start",
    "train",
    "try_gradient",
]

Objective: TypeAlias = Callable[[Model, Array, Array, Array, Any], tuple[Array, Pullback]]

DATA_START_ROWS = 10_000
OF_ANOTHER_MEAN: tuple[Binarization, ...] = (codes, counts, photons)
"""What the model sees is of another scale than the grey values."""

HISTORY_KEYS = {"epoch", "step", "samples", "seconds", "train_elbo", "test_elbo", "test_reconstruction", "test_kl"}

DEVICE_CHECK_STEPS = 100
"""On a device, where looking means waiting, so many steps pass between two looks at the weights."""


@dataclass(frozen=True)
class Recipe:
    """How to train: everything but the model and the data.

    ``kl_weight``, ``free_bits`` and ``corruption`` change what a VAE's ``elbo`` asks for, ``kl_warm_up`` is the number
    of steps over which the weight grows from 0 (objectives.10 to objectives.17).  The test bound stays the plain one.

    >>> Recipe(epochs=3).batch
    100
    """

    epochs: int = 10
    batch: int = 100
    samples: int = 1
    objective: Objective = elbo
    estimator: Estimator | Adaptive = pathwise
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Constant)
    clip_norm: float | None = None
    weight_prior_precision: float | None = None
    binarize: Binarization = fresh
    kl_weight: float = 1.0
    kl_warm_up: int = 0
    free_bits: float = 0.0
    corruption: Corruption | None = None
    seed: int = 0
    device: Device = "cpu"

    def __post_init__(self) -> None:
        require_number(self, "kl_weight", "[0, inf)", example=1.0)
        require_whole(self, "kl_warm_up", least=0, example=1000)
        require_number(self, "free_bits", "[0, inf)", example=0.1)
        if self.is_reshaped and self.objective is not elbo:
            raise InputError(
                "kl_weight, kl_warm_up, free_bits and corruption are for the objective elbo; leave them out"
            )

    @property
    def is_reshaped(self) -> bool:
        """Whether training climbs something else than the plain objective."""
        return (self.kl_weight, self.kl_warm_up, self.free_bits, self.corruption) != (1, 0, 0, None)

    def draw_rows(self, rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """x of rows of data, (B, D), for ``objective_at``; with a corruption [x | x̃], (B, 2D)."""
        x = self.binarize(rows, rng, dtype)
        return x if self.corruption is None else np.concatenate([x, self.corruption(x, rng)], axis=-1)

    def draw_noise(
        self, model: Model, estimator: Any, rng: np.random.Generator, rows: int, dtype: npt.DTypeLike
    ) -> Array:
        """What one step on so many rows takes, (S, B, ·): by the objective, if it wants more than its estimator."""
        draw: Callable[..., Array] = getattr(self.objective, "draw_noise", type(model).draw_noise)
        return draw(model, estimator, rng, (self.samples, rows), dtype)

    def objective_at(self, step: int) -> Objective:
        """What a step climbs, the first of which is 0."""
        if not self.is_reshaped:
            return self.objective
        kl_weight = kl_weight_at(step, self.kl_weight, self.kl_warm_up)  # (objectives.11)
        rule = weighted_elbo if self.corruption is None else denoising_elbo
        return partial(rule, kl_weight=kl_weight, free_bits=self.free_bits)


@dataclass
class State:
    """Where training stands; with the recipe, all that is needed to go on bit for bit."""

    theta: Array
    moments: dict[str, Any]
    noise_rng: np.random.Generator
    adaptation: Adaptation | None = None
    """What an estimator that learns has learnt; None for others."""
    epoch: int = 0
    """Epochs completed."""
    batches: int = 0
    """Batches completed in the current epoch."""
    step: int = 0
    bound_sum: Any = 0.0
    """Sum of the bound over the current epoch's rows so far, nats."""
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def start(
    model: Model,
    dataset: Dataset,
    recipe: Recipe,
    *,
    dtype: npt.DTypeLike = np.float32,
    weights: Initializer = glorot,
    data_start: bool = True,
) -> State:
    """A state before the first step.  ``data_start``: the decoder starts by putting out the data's mean and std."""
    theta = initial_theta(model.layout, rng=generator(recipe.seed, "weights"), dtype=dtype, weights=weights)
    if data_start:
        start_at_data(model, theta, *_moments(dataset, recipe))
    adaptation = None
    if is_adaptive(recipe.estimator):
        rng = generator(recipe.seed, "estimator")
        x = recipe.binarize(dataset.train[: recipe.batch], rng, theta.dtype)
        adaptation = start_adaptation(recipe.estimator, model, theta, x, rng=rng, device=recipe.device)
    theta = to_device(theta, recipe.device)
    return State(theta, recipe.optimizer.start(theta), generator(recipe.seed, "noise"), adaptation)


def bound_and_gradient(
    model: Model, theta: Array, x: Array, noise: Array, objective: Objective = elbo, estimator: Any = pathwise
) -> tuple[Array, Array]:
    """Sum over rows of the bound, and the gradient of its mean.  x: (B, D), noise: (S, B, Z).

    This is the one place where the mean over rows is taken.  It is (objectives.7) divided by N: the M rows of a batch
    estimate the data set's bound per datum.  Large batches go through in blocks whose gradients add up.
    """
    rows = len(x)
    bound_sum: Any = 0.0
    gradient: Array | None = None
    for block in blocks(rows, len(noise)):
        bound, pullback = objective(model, theta, x[block], noise[:, block], estimator)
        dtheta, _, _ = pullback(np.full_like(bound, 1 / rows))
        bound_sum = bound_sum + np.sum(bound)
        gradient = dtheta if gradient is None else np.add(gradient, dtheta, out=gradient)
    assert gradient is not None, "a batch has at least one row"
    return bound_sum, gradient


@np.errstate(all="ignore")
def try_gradient(model: Model, dataset: Dataset, recipe: Recipe, state: State) -> None:
    """The gradient on one row, thrown away: what cannot be learnt from is refused here, before a run starts.

    Raises:
        InputError: an estimator refuses the model, or the bound or its gradient is not finite.
    """
    rng, dtype = generator(recipe.seed, "estimator", 1), state.theta.dtype
    x = recipe.draw_rows(dataset.train[:1], rng, dtype)
    estimator, objective = estimators_at(recipe.estimator, state.adaptation), recipe.objective_at(state.step)
    noise = recipe.draw_noise(model, estimator, rng, 1, dtype)
    x, noise = to_device(x, recipe.device), to_device(noise, recipe.device)
    bound, gradient = bound_and_gradient(model, state.theta, x, noise, objective, estimator)
    if not math.isfinite(float(to_host(bound)) + float(to_host(np.dot(gradient, gradient)))):
        culprit = _culprit(model, state, [(x, noise)], objective, estimator) or "the gradient's length overflows"
        raise InputError(f"before the first step {culprit}; bring these settings closer to their defaults")


def train(
    model: Model,
    dataset: Dataset,
    recipe: Recipe,
    state: State,
    *,
    on_batch: Callable[[State], bool | None] | None = None,
    on_epoch: Callable[[State], object] | None = None,
) -> State:
    """Train until ``recipe.epochs`` are complete, writing into ``state``; continues wherever the state stands.

    ``on_batch(state)`` may return True to stop after that batch; ``on_epoch(state)`` is called after each epoch, when
    its row stands at the end of ``state.history``.

    Raises:
        DivergedError: a NaN or an infinity appeared; the message names the step and the rule that made it.  A step
            whose bound or gradient is not finite leaves the state as it was before.  Where it is the optimiser that
            left the range of numbers, the state is spoilt, and that shows in the step after, or before a checkpoint is
            written.  On a device the weights are looked at every ``DEVICE_CHECK_STEPS`` steps and at the end of an
            epoch, so that no step waits for the host: the step is then known to within so many, the rule not at all,
            and the state is spoilt.
    """
    keep_freed_memory()
    rows = len(dataset.train)
    while state.epoch < recipe.epochs:
        order = generator(recipe.seed, "order", state.epoch).permutation(rows)
        for begin in range(state.batches * recipe.batch, rows, recipe.batch):
            clock = time.perf_counter()
            _step(model, dataset, recipe, state, order[begin : begin + recipe.batch])
            state.seconds += time.perf_counter() - clock
            if on_batch is not None and on_batch(state):
                return state
        state.history.append(_history_row(model, dataset, recipe, state))
        state.epoch, state.batches, state.bound_sum = state.epoch + 1, 0, 0.0
        if on_epoch is not None:
            on_epoch(state)
    return state


@np.errstate(all="ignore")  # a NaN or an infinity is looked for, not warned of
def _step(model: Model, dataset: Dataset, recipe: Recipe, state: State, picked: npt.NDArray[np.int64]) -> None:
    """One minibatch: draw bits, corruption and noise, take the gradient, move the weights (the paper's Algorithm 1)."""
    dtype, on_host = state.theta.dtype, recipe.device == "cpu"
    noise_state = state.noise_rng.bit_generator.state
    x, objective = recipe.draw_rows(dataset.train[picked], state.noise_rng, dtype), recipe.objective_at(state.step)
    adaptation = state.adaptation
    deta = None if adaptation is None else np.zeros_like(adaptation.eta)
    estimator = estimators_at(recipe.estimator, adaptation, deta)
    noise = recipe.draw_noise(model, estimator, state.noise_rng, len(picked), dtype)
    x, noise = to_device(x, recipe.device), to_device(noise, recipe.device)
    bound_sum, gradient = bound_and_gradient(model, state.theta, x, noise, objective, estimator)
    if recipe.weight_prior_precision is not None:
        _, prior_pullback = weight_log_prior(state.theta, recipe.weight_prior_precision)
        gradient += prior_pullback(1 / len(dataset.train))[0]
    lengths = [float(np.dot(vector, vector)) for vector in (gradient, deta) if vector is not None and on_host]
    if on_host and not math.isfinite(float(bound_sum) + sum(lengths)):
        state.noise_rng.bit_generator.state = noise_state
        require_finite_state(model, recipe, state)
        parts = ((x[block], noise[:, block]) for block in blocks(len(x), len(noise)))
        culprit = _culprit(model, state, parts, objective, estimators_at(recipe.estimator, adaptation))
        culprit = culprit or "the sum over rows or the gradient's length overflows"
        raise _diverged(f"step {state.step + 1}", culprit)
    if recipe.clip_norm is not None:
        clip_norm(gradient, recipe.clip_norm)
    recipe.optimizer.ascend(state.theta, gradient, state.moments, scale=recipe.schedule(state.step))
    if adaptation is not None and deta is not None:
        adapt(recipe.estimator, adaptation, deta)
    state.step += 1
    state.batches += 1
    state.bound_sum = state.bound_sum + bound_sum
    looks = not on_host and state.step % DEVICE_CHECK_STEPS == 0
    if looks and not math.isfinite(float(to_host(np.dot(state.theta, state.theta)))):
        require_finite_state(model, recipe, state)


def require_finite_state(model: Model, recipe: Recipe, state: State) -> None:
    """Look at every weight, and at every number that the optimiser remembers.

    Raises:
        DivergedError: one is not finite: the last step's ``ascend`` made it (on a device, where nobody looked at the
            gradient, the last step or one before).
    """
    maker = f"{type(recipe.optimizer).__name__}.ascend" if recipe.device == "cpu" else "this or an earlier step"
    try:
        for name, piece in model.layout.leaves(state.theta):
            require_finite([piece], f"{maker} (the weights {name})")
        for name, value in state.moments.items():
            require_finite([value], f"{maker} (the moments {name})")
        if state.adaptation is not None:
            learned = {"eta": state.adaptation.eta, **state.adaptation.moments}
            for name, value in learned.items():
                require_finite([value], f"the estimator's own optimizer ({name})")
    except DivergedError as first:
        raise _diverged(f"step {state.step}", str(first)) from None


def _culprit(
    model: Model, state: State, parts: Iterable[tuple[Array, Array]], objective: Objective, estimator: Any
) -> str | None:
    """The rule that made the first NaN or infinity on one of the parts (x, noise), if any did."""
    for x, noise in parts:
        culprit = first_nonfinite(model, state.theta, x, noise, objective, estimator)
        if culprit is not None:
            return culprit
    return None


def _history_row(model: Model, dataset: Dataset, recipe: Recipe, state: State) -> dict[str, float]:
    """What an epoch reached: the running mean of what was climbed, and the plain bound and its terms on test rows."""
    rows, rng = len(dataset.train), generator(recipe.seed, "evaluation")
    test = evaluate(model, state.theta, dataset.test, rng=rng, binarize=recipe.binarize, device=recipe.device)
    row = {
        "epoch": state.epoch + 1,
        "step": state.step,
        "samples": (state.epoch + 1) * rows,
        "seconds": state.seconds,
        "train_elbo": float(to_host(state.bound_sum)) / rows,
        "test_elbo": test.elbo,
        "test_reconstruction": test.reconstruction,
        "test_kl": test.kl,
    }
    if not all(math.isfinite(value) for value in row.values()):
        require_finite_state(model, recipe, state)
        rng = generator(recipe.seed, "evaluation")
        parts = batches(model, state.theta, dataset.test, rng, 1, recipe.binarize, recipe.device)
        estimator = score_function if isinstance(model, SigmoidBeliefNetwork) else pathwise
        culprit = (
            _culprit(
                model, state, parts, elbo if hasattr(recipe.objective, "draw_noise") else recipe.objective, estimator
            )
            or "the sum of the bound over the epoch's rows overflows"
        )
        raise _diverged(f"after step {state.step}", culprit)
    return row


def _diverged(when: str, culprit: str) -> DivergedError:
    return DivergedError(f"{when}: {culprit}; try a smaller --lr or --clip-norm 100")


def _moments(dataset: Dataset, recipe: Recipe) -> tuple[Array, Array]:
    """Mean and standard deviation of every feature of what the model sees; of bits, those of their grey values."""
    rows = dataset.train[:DATA_START_ROWS]
    if recipe.binarize not in OF_ANOTHER_MEAN:
        scale = 255 if rows.dtype == np.uint8 else 1
        return rows.mean(axis=0) / scale, rows.std(axis=0) / scale
    x = recipe.binarize(rows, generator(recipe.seed, "start"), np.float64)
    return x.mean(axis=0), x.std(axis=0)
