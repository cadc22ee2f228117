"""Monte Carlo EM: a decoder learnt from posterior samples, without an encoder.

Every row of data has a Markov chain of its own, which goes on from visit to visit.  For each minibatch, one transition
of Hamiltonian Monte Carlo moves its rows' chains (the E step), and a few gradient steps move the decoder's weights
towards making data and samples more probable together (the M step).  No bound is climbed, and nothing is thrown away
at the next datum: the price is one z for every row, and some sixteen passes through the decoder for one.
Derivations: ``derivations/monte_carlo_em.md``.  Source: Kingma and Welling, section 5 and appendix E.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.atomic import write_atomically
from numvae.datasets.dataset import Dataset
from numvae.distributions.noise import normal_noise, uniform_noise
from numvae.errors import DivergedError, InputError
from numvae.hmc import ACCEPTANCE, JITTER, LEAPFROG_STEPS, Move, jittered, transition, tuned
from numvae.memory import keep_freed_memory
from numvae.models import VAE
from numvae.objectives import weight_log_prior
from numvae.optimizers import clip_norm
from numvae.parameters import Initializer, glorot
from numvae.randomness import generator
from numvae.ranges import require_number, require_whole
from numvae.reading import reading
from numvae.training import Recipe, start
from numvae.watching import first_nonfinite

__all__ = ["EMState", "MonteCarloEM", "complete_gradient", "load_em", "save_em", "start_em", "train_em"]

TUNING_MEMORY = 100
"""Batches: the weight of the newest in tuning the step size never falls below 1 / √100, since the weights move on."""

MOMENT = "moment."
COUNTERS = ("epoch", "batches", "step", "samples")


@dataclass(frozen=True)
class MonteCarloEM:
    """How to learn by Monte Carlo EM, beside a ``Recipe``; as they stand, the paper's settings (appendix E).

    >>> MonteCarloEM().weight_updates
    5
    """

    leapfrog_steps: int = LEAPFROG_STEPS
    acceptance: float = ACCEPTANCE
    """The share of proposals that the step size is tuned to, in all of training."""
    weight_updates: int = 5
    """Gradient steps of the weights at each sample."""
    step_size: float = 0.1
    """Of the leapfrog, to begin with."""
    jitter: float = JITTER

    def __post_init__(self) -> None:
        require_whole(self, "leapfrog_steps", least=1, example=LEAPFROG_STEPS)
        require_number(self, "acceptance", "(0, 1)", example=ACCEPTANCE)
        require_whole(self, "weight_updates", least=1, example=5)
        require_number(self, "step_size", "(0, inf)", example=0.1)
        require_number(self, "jitter", "[0, 1)", example=JITTER)


@dataclass
class EMState:
    """Where learning stands; with model, data and settings, all that is needed to go on bit for bit."""

    theta: Array
    """The whole model's; its encoder's part stays as it was drawn."""
    moments: dict[str, Any]
    """The optimiser's, of the decoder's part."""
    z: Array
    """The chains, (N, Z): one for each row of the training data, in its order."""
    step_size: float
    noise_rng: np.random.Generator
    epoch: int = 0
    """Epochs completed."""
    batches: int = 0
    """Batches completed in the current epoch."""
    step: int = 0
    """Batches completed in all: transitions of each of their rows' chains, and as many rounds of weight updates."""
    samples: int = 0
    """Rows visited in all; the horizontal axis of the paper's figures."""
    seconds: float = 0.0
    acceptance: float = 0.0
    """Mean over the last batch's rows of the probability of acceptance."""
    log_joint: float = 0.0
    """Mean over the last batch's rows of log p(x, z) at the new samples, before the weights moved.  Nats."""


def start_em(
    model: VAE,
    dataset: Dataset,
    recipe: Recipe,
    em: MonteCarloEM | None = None,
    *,
    dtype: npt.DTypeLike = np.float32,
    weights: Initializer = glorot,
    data_start: bool = True,
) -> EMState:
    """A state before the first batch: weights as ``training.start`` draws them, every chain at a draw of the prior.

    Raises:
        InputError: a model or a recipe that Monte Carlo EM is not for.
    """
    _require_fit(model, recipe)
    theta = start(model, dataset, recipe, dtype=dtype, weights=weights, data_start=data_start).theta
    noise_rng = generator(recipe.seed, "noise")
    z = model.draw_from_prior(theta, model.prior_noise(noise_rng, len(dataset.train), theta.dtype))
    moments = recipe.optimizer.start(model.layout.views(theta)["decoder"])
    return EMState(theta, moments, np.ascontiguousarray(z), (em or MonteCarloEM()).step_size, noise_rng)


def complete_gradient(model: VAE, weights: Array, z: Array, x: Array, out: Array | None = None) -> tuple[Array, Array]:
    """log p(x|z) of every row, and the gradient of their mean in the decoder's ``weights``.

    As p(z) has no weights, it is that of log p(x, z); at z ~ p(z|x) its mean is the gradient of log p(x)
    (monte_carlo_em.1).  Shapes: weights (P,), z (B, Z), x (B, D), value (B,), gradient (P,), written into ``out`` if
    that is given.
    """
    params, decoder_pullback = model.decoder.of_data(weights, z)
    log_likelihood, likelihood_pullback = model.likelihood.log_prob(params, x)
    mean = np.full_like(log_likelihood, 1 / len(x))
    gradient, _ = decoder_pullback(likelihood_pullback(mean)[0], out=np.empty_like(weights) if out is None else out)
    return log_likelihood, gradient  # (monte_carlo_em.1)


def train_em(
    model: VAE,
    dataset: Dataset,
    recipe: Recipe,
    em: MonteCarloEM,
    state: EMState,
    *,
    samples: int,
    on_batch: Callable[[EMState], bool | None] | None = None,
) -> EMState:
    """Learn until ``samples`` rows were visited in all, writing into ``state``; continues wherever the state stands.

    It stops after the batch that reaches the number, so one may stop at milestones, measure, and go on: the run ends
    bit for bit as without stopping.  ``on_batch(state)`` may return True to stop after that batch.

    Of the recipe it uses batch, optimizer, schedule (which counts batches), clip_norm, weight_prior_precision, binarize
    and seed.  A chain is at home in the posterior of one datum, so the datum had better look the same at every visit:
    take bits that were drawn once (``binarize_once``), a threshold, or the grey values.  With ``fresh`` bits the chain
    meets a posterior that has moved a little; each visit then starts off target, and one transition makes up for most
    of it, not all.

    Raises:
        InputError: a model or a recipe that Monte Carlo EM is not for, or a state of other data.
        DivergedError: a NaN or an infinity appeared; the state is as it was before that batch.
    """
    _require_fit(model, recipe)
    rows = len(dataset.train)
    if state.z.shape != (rows, model.latents):
        raise InputError(
            f"the state has chains {state.z.shape}, the data and the model ask for {(rows, model.latents)}; start anew"
        )
    keep_freed_memory()
    while state.samples < samples:
        order = generator(recipe.seed, "order", state.epoch).permutation(rows)
        for begin in range(state.batches * recipe.batch, rows, recipe.batch):
            clock = time.perf_counter()
            _batch(model, dataset, recipe, em, state, order[begin : begin + recipe.batch])
            state.seconds += time.perf_counter() - clock
            if begin + recipe.batch >= rows:
                state.epoch, state.batches = state.epoch + 1, 0
            if (on_batch is not None and on_batch(state)) or state.samples >= samples:
                return state
    return state


@np.errstate(all="ignore")  # a NaN or an infinity is looked for, not warned of
def _batch(
    model: VAE, dataset: Dataset, recipe: Recipe, em: MonteCarloEM, state: EMState, picked: npt.NDArray[np.int64]
) -> None:
    """One transition of the picked rows' chains, then the weight updates; the state changes at the end, or not."""
    noise_state = state.noise_rng.bit_generator.state
    try:
        x = recipe.binarize(dataset.train[picked], state.noise_rng, state.theta.dtype)
        moved = _transition(model, em, state, picked, x)
        weights = model.layout.views(state.theta)["decoder"].copy()
        moments = {name: np.copy(value) if np.ndim(value) else value for name, value in state.moments.items()}
        _climb(model, recipe, em, state, (weights, moments), moved.z, x, len(dataset.train))
    except BaseException:
        state.noise_rng.bit_generator.state = noise_state
        raise
    model.layout.views(state.theta)["decoder"][...] = weights
    state.moments, state.z[picked] = moments, moved.z
    state.acceptance = float(moved.acceptance.mean())
    state.log_joint = float(moved.log_density.mean())
    state.step += 1
    state.batches += 1
    state.samples += len(picked)
    number = min(state.step, TUNING_MEMORY)
    state.step_size = tuned(state.step_size, state.acceptance, number, em.acceptance)  # (monte_carlo_em.3)


def _transition(model: VAE, em: MonteCarloEM, state: EMState, picked: npt.NDArray[np.int64], x: Array) -> Move:
    """The E step: each chain moves once, and leaves the posterior of its own datum as it is."""
    z = state.z[picked]
    momentum = normal_noise(state.noise_rng, z.shape, z.dtype)
    levels = uniform_noise(state.noise_rng, (2, len(z)), z.dtype)
    steps = jittered(state.step_size, levels[0], em.jitter)
    return transition(model.log_joint(state.theta, x), z, steps, momentum, levels[1], em.leapfrog_steps)


def _climb(
    model: VAE,
    recipe: Recipe,
    em: MonteCarloEM,
    state: EMState,
    climber: tuple[Array, dict[str, Any]],
    z: Array,
    x: Array,
    rows: int,
) -> None:
    """Part of the M step: gradient steps on the decoder's weights, in place, at samples that stay   (monte_carlo_em.2).

    Raises:
        DivergedError: log p(x|z), its gradient or the weights are not finite.
    """
    weights, moments = climber
    memory = np.empty_like(weights)
    for update in range(1, em.weight_updates + 1):
        log_likelihood, gradient = complete_gradient(model, weights, z, x, out=memory)
        if recipe.weight_prior_precision is not None:
            _, prior_pullback = weight_log_prior(weights, recipe.weight_prior_precision)
            gradient += prior_pullback(1 / rows)[0]  # (monte_carlo_em.2)
        if not math.isfinite(float(np.sum(log_likelihood)) + float(np.dot(gradient, gradient))):
            raise _diverged(state, update, _culprit(model, state, weights, z, x))
        if recipe.clip_norm is not None:
            clip_norm(gradient, recipe.clip_norm)
        recipe.optimizer.ascend(weights, gradient, moments, scale=recipe.schedule(state.step))
        if not math.isfinite(float(np.dot(weights, weights))):
            raise _diverged(state, update, f"{type(recipe.optimizer).__name__}.ascend left the range of numbers")


def _require_fit(model: Any, recipe: Recipe) -> None:
    if not isinstance(model, VAE):
        raise InputError(
            f"Monte Carlo EM learns a VAE's decoder, got a {type(model).__name__}; its latents must have a "
            "density with a gradient"
        )
    if getattr(model.prior.family, "discrete", False):
        raise InputError(
            f"Hamiltonian Monte Carlo needs latents with a gradient, {type(model.prior.family).__name__} "
            "has none; take a continuous prior"
        )
    if recipe.is_reshaped:
        raise InputError(
            "Monte Carlo EM climbs log p(x, z), which has no KL: leave out kl_weight, kl_warm_up, free_bits "
            "and corruption"
        )
    if recipe.device != "cpu":
        raise InputError(f"Monte Carlo EM runs on the cpu, got device {recipe.device!r}")


def _culprit(model: VAE, state: EMState, weights: Array, z: Array, x: Array) -> str:
    """The rule that made the first NaN or infinity."""

    def complete(model: VAE, theta: Array, x: Array, z: Array, estimator: None) -> tuple[Array, Pullback]:
        return model.log_likelihood(theta, z, x)

    theta = state.theta.copy()
    model.layout.views(theta)["decoder"][...] = weights
    return first_nonfinite(model, theta, x, z, complete, None) or "a sum over rows or the gradient's length overflows"


def _diverged(state: EMState, update: int, culprit: str) -> DivergedError:
    when = f"batch {state.step + 1}, weight update {update}"
    return DivergedError(f"{when}: {culprit}; try a smaller step size of the optimizer, or clip_norm=100")


# ---- on disk


def save_em(path: Path, model: VAE, state: EMState) -> None:
    """Save all of the state to one ``.npz`` without pickles, whole or not at all: ``train_em`` goes on bit for bit."""
    vectors = {name: value for name, value in state.moments.items() if np.ndim(value)}
    about = {
        "layout": _names_and_shapes(model),
        "numbers": {name: value for name, value in state.moments.items() if name not in vectors},
        "noise_rng": state.noise_rng.bit_generator.state,
        "step_size": state.step_size,
        "seconds": state.seconds,
        "acceptance": state.acceptance,
        "log_joint": state.log_joint,
        **{name: getattr(state, name) for name in COUNTERS},
    }
    arrays = {"theta": state.theta, "z": state.z, **{MOMENT + name: vector for name, vector in vectors.items()}}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_atomically(path, lambda file: np.savez(file, **arrays))


def load_em(path: Path, model: VAE) -> EMState:
    """The state that ``save_em`` saved, for the model that made it; nothing in the file is unpickled.

    Raises:
        InputError: no file there, a damaged one, or another model's.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; save a state there with save_em")
    with reading(path, "restore the file, or learn again"):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as zipped:
            arrays = {name: zipped[name] for name in zipped.files}
        about = json.loads(arrays.pop("about").tobytes())
        if about["layout"] != _names_and_shapes(model):
            raise InputError(f"{path} holds the weights of another model; load it with the model that was learnt")
        noise_rng = np.random.default_rng()
        noise_rng.bit_generator.state = about["noise_rng"]
        wrong = _out_of_order(arrays, about, model)
        if wrong:
            raise InputError(f"{path}: {', '.join(wrong)} missing or out of order; restore the file, or learn again")
        vectors = {name.removeprefix(MOMENT): value for name, value in arrays.items() if name.startswith(MOMENT)}
        numbers = {name: about[name] for name in (*COUNTERS, "seconds", "acceptance", "log_joint")}
        return EMState(
            arrays["theta"], {**vectors, **about["numbers"]}, arrays["z"], about["step_size"], noise_rng, **numbers
        )


def _out_of_order(arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any], model: VAE) -> list[str]:
    """What in a file is not of the type, shape or range that it must have."""
    theta, z = arrays["theta"], arrays["z"]
    decoder = model.layout.views(np.empty(model.layout.size))["decoder"].size
    shapes: dict[str, tuple[int, ...]] = {name: (decoder,) for name in arrays if name.startswith(MOMENT)}
    shapes |= {"theta": (model.layout.size,), "z": (len(z), model.latents)}
    wrong = [
        name
        for name, shape in shapes.items()
        if arrays[name].shape != shape
        or arrays[name].dtype != theta.dtype
        or theta.dtype not in (np.float32, np.float64)
        or not np.isfinite(arrays[name]).all()
    ]
    wrong += [name for name in COUNTERS if type(about[name]) is not int or about[name] < 0]
    numbers = {name: about[name] for name in ("step_size", "seconds", "acceptance", "log_joint")} | about["numbers"]
    wrong += [name for name, value in numbers.items() if not math.isfinite(value)]
    return wrong + ["step_size"] * (not about["step_size"] > 0)


def _names_and_shapes(model: VAE) -> list[list[Any]]:
    weights = np.empty(model.layout.size, np.float32)
    return [[name, list(piece.shape)] for name, piece in model.layout.leaves(weights)]
