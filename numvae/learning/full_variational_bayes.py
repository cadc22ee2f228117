"""Full variational Bayes: a distribution over the decoder's weights is learnt, not one setting of them.

    λ = [encoder | mean | log_std]        θ ~ q(θ) = N(mean, exp(2 log_std)),  the weights of the decoder

The encoder stays a point estimate, as in the paper: it belongs to q(z|x), which is a tool and no part of the model.
Derivations: ``derivations/full_variational_bayes.md``.  Source: Kingma and Welling, appendix F.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.blocks import blocks
from numvae.datasets.dataset import Dataset
from numvae.distributions.kl_table import kl_divergence
from numvae.distributions.noise import normal_noise
from numvae.distributions.normal import LOG_2PI
from numvae.errors import DivergedError, InputError
from numvae.estimators import log_mean_exp, pathwise, sample_mean
from numvae.estimators.local_reparameterization import local_reparameterization
from numvae.marginal_likelihood.importance import importance_weighted_bounds
from numvae.memory import keep_freed_memory
from numvae.models import VAE
from numvae.networks import Chain, Dense, Network
from numvae.objectives import elbo, elbo_monte_carlo, weight_log_prior
from numvae.optimizers import clip_norm
from numvae.parameters import Initializer, Layout, glorot
from numvae.randomness import generator
from numvae.ranges import require_number
from numvae.training import Recipe, State, start

__all__ = [
    "BayesianVAE",
    "FullBound",
    "Predictive",
    "draw_weights",
    "full_bound",
    "full_bound_local",
    "full_bound_monte_carlo",
    "predictive_log_likelihood",
    "start_full",
    "train_full",
    "weight_kl",
    "with_local_noise",
]

START_STD = 0.02
"""Of every weight before the first step: so small that the signals of a Glorot start get through."""


@dataclass(frozen=True)
class BayesianVAE:
    """θ ~ N(0, I/precision),  then z and x as in ``vae``, whose decoder has the weights θ   (full_variational_bayes.1).

    ``lam`` is one vector, [encoder | mean | log_std], the last two of q(θ); its first part, up to ``log_std``, is the
    vector of ``vae`` at the mean weights.

    >>> from numvae import mlp_vae
    >>> BayesianVAE(mlp_vae(784, latents=10, hidden=(200,))).layout.size
    480588
    """

    vae: VAE
    precision: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.vae, VAE):
            raise InputError(f"BayesianVAE: vae must be a VAE, got a {type(self.vae).__name__}; wrap mlp_vae(...)")
        require_number(self, "precision", "(0, inf)", example=1.0)

    @cached_property
    def layout(self) -> Layout:
        """What lies where in ``lam``."""
        decoder = self.vae.decoder.layout
        return Layout.of({"encoder": self.vae.encoder.layout, "mean": decoder, "log_std": decoder})

    @cached_property
    def local_values(self) -> int:
        """How many numbers of noise a row takes with local reparameterisation: one for each output of a Dense layer."""
        return _local_values(self.vae.decoder)

    def at_mean(self, lam: Array) -> Array:
        """The weights of ``vae`` with the decoder's at their mean: a view of ``lam``."""
        return lam[: self.vae.layout.size]

    def weight_noise(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float64) -> Array:
        """What one draw of the decoder's weights is made of, (P,)."""
        return normal_noise(rng, (self.vae.decoder.layout.size,), dtype)

    def local_noise(self, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike = np.float64) -> Array:
        """What ``full_bound_local`` takes for (S, B) samples, (S, B, local_values)."""
        return normal_noise(rng, (*shape, self.local_values), dtype)


FullBound: TypeAlias = Callable[[BayesianVAE, Array, Array, Array, Array, int], tuple[Array, Pullback]]
"""(model, lam, x, z_noise, weight_noise, dataset_rows) -> bound (B,), pullback -> (dlam, None, None, None)."""


# ---- the weights


def draw_weights(model: BayesianVAE, lam: Array, weight_noise: Array) -> tuple[Array, Pullback]:
    """[encoder | mean + exp(log_std) noise], weights of ``model.vae``   (full_variational_bayes.1).

    Shapes: weight_noise (P,), P weights in the decoder.  Pullback -> (dlam, None).
    """
    size = model.vae.layout.size
    theta = lam[:size].copy()
    scaled_noise = np.exp(lam[size:]) * weight_noise
    decoder = model.vae.layout.views(theta)["decoder"]
    decoder += scaled_noise  # (full_variational_bayes.1)

    def pullback(dtheta: Array) -> tuple[Array, None]:
        ddecoder = model.vae.layout.views(dtheta)["decoder"]
        return np.concatenate([dtheta, ddecoder * scaled_noise]), None  # (full_variational_bayes.1)

    return theta, pullback


def weight_kl(mean: Array, log_std: Array, precision: float = 1.0) -> tuple[Any, Pullback]:
    """KL(q(θ) ‖ p(θ)) = Σ ½ (τ (mean² + std²) - 1 - log τ) - log_std   (full_variational_bayes.4).

    τ = ``precision`` of the prior N(0, I/τ).  Shapes (P,) or any; value a number, of the whole data set, nats.
    Pullback -> (dmean, dlog_std)   (full_variational_bayes.5).  Source: Kingma and Welling, appendices B and F.

    >>> weight_kl(np.array([1.0]), np.array([0.0]))[0]
    np.float64(0.5)
    """
    scaled_variance = precision * np.exp(2 * log_std)
    squares = precision * (mean * mean) + scaled_variance
    constant = 0.5 * mean.size * (1 + math.log(precision))
    kl = 0.5 * np.sum(squares) - np.sum(log_std) - constant  # (full_variational_bayes.4)

    def pullback(dkl: Any) -> tuple[Array, Array]:
        return (precision * dkl) * mean, dkl * (scaled_variance - 1)  # (full_variational_bayes.5)

    return kl, pullback


# ---- the bounds


def full_bound_monte_carlo(
    model: BayesianVAE, lam: Array, x: Array, z_noise: Array, weight_noise: Array, dataset_rows: int
) -> tuple[Array, Pullback]:
    """L^A_i = mean_s [log p_θ(x|z) + log p(z) - log q(z|x)] + (log p(θ) - log q(θ)) / N   (full_variational_bayes.2).

    Estimator A, everything by samples, with one draw of θ for all rows.  On average Σ_i over the N rows of the data set
    is at most log p(X), the evidence with z and θ integrated out.
    Shapes: x (B, D), z_noise (S, B, Z), weight_noise (P,), value (B,), nats per datum.  N = ``dataset_rows``, of the
    data set and not of the batch.  Pullback -> (dlam, None, None, None).  Source: Kingma and Welling, appendix F.
    """
    _require_shared(model, weight_noise)
    theta, theta_pullback = draw_weights(model, lam, weight_noise)
    bound, bound_pullback = elbo_monte_carlo(model.vae, theta, x, z_noise)
    drawn, log_std = model.vae.layout.views(theta)["decoder"], model.layout.views(lam)["log_std"]
    log_prior, prior_pullback = weight_log_prior(drawn, model.precision)
    log_q = -np.sum(log_std) - 0.5 * np.sum(weight_noise * weight_noise) - 0.5 * LOG_2PI * drawn.size

    def pullback(dbound: Array) -> tuple[Array, None, None, None]:
        once = float(np.sum(dbound)) / dataset_rows
        dtheta, _, _ = bound_pullback(dbound)
        ddrawn = model.vae.layout.views(dtheta)["decoder"]
        ddrawn += prior_pullback(once)[0]
        dlam, _ = theta_pullback(dtheta)
        dlog_std = model.layout.views(dlam)["log_std"]
        dlog_std += once  # (full_variational_bayes.3)
        return dlam, None, None, None

    return bound + (log_prior - log_q) / dataset_rows, pullback  # (full_variational_bayes.2)


def full_bound(
    model: BayesianVAE, lam: Array, x: Array, z_noise: Array, weight_noise: Array, dataset_rows: int
) -> tuple[Array, Pullback]:
    """L^B_i = mean_s log p_θ(x|z) - KL(q(z|x) ‖ p(z)) - KL(q(θ) ‖ p(θ)) / N   (full_variational_bayes.4).

    Estimator B, both divergences in closed form.  Shapes, mean and the rest as in ``full_bound_monte_carlo``.
    Source: Kingma and Welling, appendix F.1.

    Raises:
        InputError: KL(q(z|x) ‖ p(z)) has no closed form; ``full_bound_monte_carlo`` needs none.
    """
    _require_shared(model, weight_noise)
    theta, theta_pullback = draw_weights(model, lam, weight_noise)
    bound, bound_pullback = elbo(model.vae, theta, x, z_noise)

    def to_lam(dbound: Array) -> Array:
        dlam: Array = theta_pullback(bound_pullback(dbound)[0])[0]
        return dlam

    return _less_weight_kl(model, lam, bound, to_lam, dataset_rows)


def full_bound_local(
    model: BayesianVAE, lam: Array, x: Array, z_noise: Array, weight_noise: Array, dataset_rows: int
) -> tuple[Array, Pullback]:
    """L^B_i as in ``full_bound``, every sample of every row with weights of its own   (full_variational_bayes.6).

    In every affine layer of the decoder the outputs are drawn in the place of the weights.  The mean is that of
    ``full_bound``; the variance is less, for rows no longer share a draw.
    Shapes as there, but weight_noise (S, B, ``model.local_values``).  Source: Kingma, Salimans and Welling 2015.

    Raises:
        InputError: as ``full_bound``; or the decoder has weights outside of Dense layers.
    """
    if weight_noise.shape != (*z_noise.shape[:2], model.local_values):
        raise InputError(
            f"weight_noise must be (S, B, {model.local_values}) = {(*z_noise.shape[:2], model.local_values)}, got "
            f"{weight_noise.shape}; draw it with local_noise"
        )
    vae, weights = model.vae, model.layout.views(lam)
    params, encoder_pullback = vae.encoder.of_data(weights["encoder"], x)

    def log_likelihood(params: Array, z: Array) -> tuple[Array, Pullback]:
        outputs, decoder_pullback = with_local_noise(vae.decoder, weights["mean"], weights["log_std"], z, weight_noise)
        values, likelihood_pullback = vae.likelihood.log_prob(outputs, x)

        def pullback(dvalues: Array) -> tuple[float, Array, tuple[Array, Array]]:
            dmean, dlog_std, dz, _ = decoder_pullback(likelihood_pullback(dvalues)[0])
            return 0.0, dz, (dmean, dlog_std)

        return values, pullback

    reconstruction, expectation_pullback = pathwise(vae.posterior, params, z_noise, log_likelihood, sample_mean)
    kl, kl_pullback = kl_divergence(vae.posterior, vae.prior.family)(params, vae.prior_params(params))

    def to_lam(dbound: Array) -> Array:
        dparams, (dmean, dlog_std) = expectation_pullback(dbound)
        dencoder, _ = encoder_pullback(dparams + kl_pullback(-dbound)[0])
        return np.concatenate([dencoder, dmean, dlog_std])

    return _less_weight_kl(model, lam, reconstruction - kl, to_lam, dataset_rows)


def _less_weight_kl(
    model: BayesianVAE, lam: Array, bound: Array, to_lam: Callable[[Array], Array], dataset_rows: int
) -> tuple[Array, Pullback]:
    """bound - KL(q(θ) ‖ p(θ)) / N; ``to_lam`` is the pullback of ``bound``."""
    weights = model.layout.views(lam)
    kl, kl_pullback = weight_kl(weights["mean"], weights["log_std"], model.precision)

    def pullback(dbound: Array) -> tuple[Array, None, None, None]:
        dlam = to_lam(dbound)
        gradients = model.layout.views(dlam)
        dmean, dlog_std = kl_pullback(-float(np.sum(dbound)) / dataset_rows)
        gradients["mean"] += dmean
        gradients["log_std"] += dlog_std
        return dlam, None, None, None

    return bound - kl / dataset_rows, pullback  # (full_variational_bayes.4)


def _require_shared(model: BayesianVAE, weight_noise: Array) -> None:
    size = model.vae.decoder.layout.size
    if weight_noise.shape != (size,):
        raise InputError(
            f"weight_noise must be one draw of the decoder's weights, ({size},), got {weight_noise.shape}; draw it "
            "with model.weight_noise"
        )


# ---- local reparameterisation of a network


def with_local_noise(network: Network, mean: Array, log_std: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    """The network with weights N(mean, exp(2 log_std)) drawn anew for every row   (full_variational_bayes.6).

    Of an affine layer [W; b] is one matrix, b belonging to an input that is always 1:
    y = [x, 1] M + sqrt([x, 1]² V) noise.  Layers without weights stay as they are.
    Shapes: mean and log_std (P,), x (..., m), noise (..., one for each output of every Dense layer).
    Pullback -> (dmean, dlog_std, dx, None).

    Raises:
        InputError: a part other than Dense has weights.
    """
    if isinstance(network, Chain):
        return _chain_with_local_noise(network, mean, log_std, x, noise)
    if isinstance(network, Dense):
        shape = (network.inputs + 1, network.outputs)
        rows = x.reshape(-1, network.inputs)
        rows = np.concatenate([rows, np.ones_like(rows[:, :1])], axis=1)
        y, local_pullback = local_reparameterization(
            mean.reshape(shape), log_std.reshape(shape), rows, noise.reshape(-1, network.outputs)
        )  # (full_variational_bayes.6)

        def dense_pullback(dy: Array) -> tuple[Array, Array, Array, None]:
            dmean, dlog_std, drows, _ = local_pullback(dy.reshape(-1, network.outputs))
            return dmean.ravel(), dlog_std.ravel(), drows[:, :-1].reshape(x.shape), None

        return y.reshape(*x.shape[:-1], network.outputs), dense_pullback
    _local_values(network)
    y, pullback = network(mean, x)
    return y, lambda dy: (np.empty_like(mean), np.empty_like(log_std), pullback(dy)[1], None)


def _chain_with_local_noise(
    network: Chain, mean: Array, log_std: Array, x: Array, noise: Array
) -> tuple[Array, Pullback]:
    pullbacks, begin = [], 0
    views = (network.layout.views(vector).values() for vector in (mean, log_std))
    for part, part_mean, part_log_std in zip(network.parts, *views, strict=True):
        end = begin + _local_values(part)
        x, part_pullback = with_local_noise(part, part_mean, part_log_std, x, noise[..., begin:end])
        pullbacks.append(part_pullback)
        begin = end

    def pullback(dy: Array) -> tuple[Array, Array, Array, None]:
        dmeans: list[Array] = []
        dlog_stds: list[Array] = []
        for part_pullback in reversed(pullbacks):
            dmean, dlog_std, dy, _ = part_pullback(dy)
            dmeans.insert(0, dmean)
            dlog_stds.insert(0, dlog_std)
        return np.concatenate(dmeans), np.concatenate(dlog_stds), dy, None

    return x, pullback


def _local_values(network: Network) -> int:
    if isinstance(network, Chain):
        return sum(_local_values(part) for part in network.parts)
    if isinstance(network, Dense):
        return network.outputs
    if network.layout.size:
        raise InputError(
            f"local reparameterisation is of affine layers, but {network!r} has weights too; use full_bound"
        )
    return 0


# ---- what the model predicts


@dataclass(frozen=True, eq=False)
class Predictive:
    """log p(x) of new rows with the weights averaged over q(θ).  Nats."""

    of_draws: Array
    """(K, B): L_S of each row at each of K draws of the weights."""

    @property
    def log_likelihood(self) -> Array:
        """log (1/K) Σ_k exp L_S(θ_k), (B,)   (full_variational_bayes.7): on average too low, never too high."""
        value: Array = log_mean_exp(self.of_draws)[0]  # (full_variational_bayes.7)
        return value

    @property
    def of_one_draw(self) -> Array:
        """The mean of L_S over draws, (B,): what one draw of the weights is worth."""
        value: Array = np.mean(self.of_draws, axis=0)
        return value


def predictive_log_likelihood(
    model: BayesianVAE, lam: Array, x: Array, *, rng: np.random.Generator, weight_draws: int, samples: int
) -> Predictive:
    """log E_q(θ)[p_θ(x)] of each row by itself, from K ``weight_draws`` and S ``samples`` of z for each of them.

    (full_variational_bayes.7).  x: (B, D).  All rows meet the same draws.
    """
    draws = []
    for _ in range(weight_draws):
        theta, _ = draw_weights(model, lam, model.weight_noise(rng, lam.dtype))
        draws.append(importance_weighted_bounds(model.vae, theta, x, rng=rng, samples=samples).best)
    return Predictive(np.stack(draws))


# ---- learning


def start_full(
    model: BayesianVAE,
    dataset: Dataset,
    recipe: Recipe,
    *,
    weight_std: float = START_STD,
    dtype: npt.DTypeLike = np.float32,
    weights: Initializer = glorot,
    data_start: bool = True,
) -> State:
    """A state before the first step: encoder and mean weights as ``training.start`` draws them, every std the same.

    Raises:
        InputError: a recipe that full variational Bayes is not for.
    """
    _require_fit(recipe)
    state = start(model.vae, dataset, recipe, dtype=dtype, weights=weights, data_start=data_start)
    log_std = np.full_like(model.vae.layout.views(state.theta)["decoder"], math.log(weight_std))
    lam = np.concatenate([state.theta, log_std])
    return replace(state, theta=lam, moments=recipe.optimizer.start(lam))


def train_full(
    model: BayesianVAE,
    dataset: Dataset,
    recipe: Recipe,
    state: State,
    *,
    samples: int,
    bound: FullBound = full_bound_local,
    on_batch: Callable[[State], bool | None] | None = None,
) -> State:
    """Learn until ``samples`` rows were visited in all, writing into ``state``; ``state.theta`` is λ.

    A loop of its own, beside ``training.train``: one draw of the weights belongs to all blocks of a batch, where the
    noise of that loop belongs to rows.  N of the bounds is ``len(dataset.train)``.  A run stopped at a batch and gone
    on with ends bit for bit as without.  Of the recipe it uses batch, samples, optimizer, schedule, clip_norm, binarize
    and seed.  ``on_batch(state)`` may return True to stop after that batch.

    Raises:
        InputError: a recipe that full variational Bayes is not for.
        DivergedError: the bound or its gradient is not finite; the state is as it was before that batch.
    """
    _require_fit(recipe)
    keep_freed_memory()
    rows = len(dataset.train)
    while state.epoch * rows + state.batches * recipe.batch < samples:
        order = generator(recipe.seed, "order", state.epoch).permutation(rows)
        begin = state.batches * recipe.batch
        clock = time.perf_counter()
        _step(model, dataset, recipe, state, order[begin : begin + recipe.batch], bound)
        state.seconds += time.perf_counter() - clock
        if begin + recipe.batch >= rows:
            state.epoch, state.batches, state.bound_sum = state.epoch + 1, 0, 0.0
        if on_batch is not None and on_batch(state):
            break
    return state


@np.errstate(all="ignore")  # a NaN or an infinity is looked for, not warned of
def _step(
    model: BayesianVAE,
    dataset: Dataset,
    recipe: Recipe,
    state: State,
    picked: npt.NDArray[np.int64],
    bound: FullBound,
) -> None:
    """One minibatch: bits, noise, the gradient of the mean over rows, one step of the optimiser."""
    rng, lam, rows = state.noise_rng, state.theta, len(picked)
    noise_state = rng.bit_generator.state
    x = recipe.binarize(dataset.train[picked], rng, lam.dtype)
    shape = (recipe.samples, rows)
    z_noise = model.vae.draw_noise(pathwise, rng, shape, lam.dtype)
    local = bound is full_bound_local
    weight_noise = model.local_noise(rng, shape, lam.dtype) if local else model.weight_noise(rng, lam.dtype)
    bound_sum, gradient = 0.0, np.zeros_like(lam)
    for block in blocks(rows, recipe.samples):
        of_block = weight_noise[:, block] if local else weight_noise
        value, pullback = bound(model, lam, x[block], z_noise[:, block], of_block, len(dataset.train))
        gradient += pullback(np.full_like(value, 1 / rows))[0]
        bound_sum += float(np.sum(value))
    if not math.isfinite(bound_sum + float(np.dot(gradient, gradient))):
        rng.bit_generator.state = noise_state
        raise DivergedError(
            f"step {state.step + 1}: the bound or its gradient is not finite; try a smaller step size or clip_norm=100"
        )
    if recipe.clip_norm is not None:
        clip_norm(gradient, recipe.clip_norm)
    recipe.optimizer.ascend(lam, gradient, state.moments, scale=recipe.schedule(state.step))
    state.step += 1
    state.batches += 1
    state.bound_sum += bound_sum


def _require_fit(recipe: Recipe) -> None:
    unused = {
        "objective": recipe.objective is not elbo,
        "estimator": recipe.estimator is not pathwise,
        "weight_prior_precision": recipe.weight_prior_precision is not None,
        "kl_weight, kl_warm_up, free_bits or corruption": recipe.is_reshaped,
        "device": recipe.device != "cpu",
    }
    for name, asked in unused.items():
        if asked:
            raise InputError(f"full variational Bayes has a bound and a weight prior of its own; leave {name} out")
