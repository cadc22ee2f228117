"""Wake-sleep: awake the decoder learns from data, asleep the encoder learns from what the model dreams.

Two gradients of two functions, side by side in one vector: objectives beside those of ``numvae.objectives``, which
bring noise of their own and say what they are a derivative of.  Derivations: ``derivations/wake_sleep.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.contract import inside, params_size
from numvae.errors import InputError
from numvae.estimators import log_mean_exp, pathwise, reweighted
from numvae.estimators.contract import name_of
from numvae.models import VAE, Model

__all__ = [
    "EncoderPhase",
    "ReweightedWakeSleep",
    "WakeSleep",
    "dream",
    "reweighted_wake_sleep",
    "sleep_phase",
    "wake_phase",
    "wake_sleep",
]

EncoderPhase: TypeAlias = Literal["wake", "sleep", "both"]


# ---- the phases


def wake_phase(model: VAE, theta: Array, x: Array, z: Array) -> tuple[Array, Pullback]:
    """(1/S) Σ_s log p(x|z_s) + log p(z_s) at samples of q that are held   (wake_sleep.1).

    Shapes: x (B, D), z (S, B, Z), value (B,), nats.  Pullback -> (dtheta, None, None), in the decoder alone; with
    ``out`` it writes into that part of it and leaves the rest.  Source: Hinton et al. 1995.
    """
    log_joint, joint_pullback = _log_joint(model, theta, x, z)

    def pullback(dvalue: Array, out: Array | None = None) -> tuple[Array, None, None]:
        d = np.broadcast_to(dvalue / len(z), log_joint.shape)  # (wake_sleep.1)
        return joint_pullback(d, out)[0], None, None

    return np.mean(log_joint, axis=0), pullback


def _log_joint(model: VAE, theta: Array, x: Array, z: Array) -> tuple[Array, Pullback]:
    """log p(x|z) + log p(z) at z that are held, (S, B); pullback -> (dtheta,), in the decoder alone."""
    params, decoder_pullback = model.decoder.of_data(model.layout.views(theta)["decoder"], z)
    log_likelihood, likelihood_pullback = model.likelihood.log_prob(params, x)
    log_prior, _ = model.prior.family.log_prob(model.prior_params(z), z)

    def pullback(dvalues: Array, out: Array | None = None) -> tuple[Array]:
        dtheta = np.zeros_like(theta) if out is None else out
        decoder_pullback(likelihood_pullback(dvalues)[0], out=model.layout.views(dtheta)["decoder"])
        return (dtheta,)

    return log_likelihood + log_prior, pullback


def dream(model: VAE, theta: Array, prior_noise: Array, likelihood_noise: Array) -> tuple[Array, Array]:
    """z ~ p(z), then x ~ p(x|z)   (wake_sleep.2): (S, B, Z) and (S, B, D), from noise of prior and likelihood.

    No pullback: a dream is data to the encoder, whatever it was made with.
    """
    z = model.draw_from_prior(theta, prior_noise)
    x, _ = model.likelihood.sample(model.decode(theta, z), likelihood_noise)  # (wake_sleep.2)
    return z, x


def sleep_phase(model: VAE, theta: Array, x: Array, z: Array) -> tuple[Array, Pullback]:
    """(1/S) Σ_s log q(z_s|x_s) of dreams that are held   (wake_sleep.3).

    Shapes: x (S, B, D) and z (S, B, Z) as ``dream`` made them, value (B,), nats.  Pullback as in ``wake_phase``, in the
    encoder alone.  Source: Hinton et al. 1995.
    """
    params, encoder_pullback = model.encoder.of_data(model.layout.views(theta)["encoder"], x)
    log_q, log_q_pullback = model.posterior.log_prob(params, z)

    def pullback(dvalue: Array, out: Array | None = None) -> tuple[Array, None, None]:
        dtheta = np.zeros_like(theta) if out is None else out
        d = np.broadcast_to(dvalue / len(z), log_q.shape)
        encoder_pullback(log_q_pullback(d)[0], out=model.layout.views(dtheta)["encoder"])  # (wake_sleep.3)
        return dtheta, None, None

    return np.mean(log_q, axis=0), pullback


# ---- the objectives


@dataclass(frozen=True)
class WakeSleep:
    """Value: the bound of each row, as ``elbo_monte_carlo`` has it.  Pullback: both phases, which is no gradient of it.

    The decoder's part is that of ``wake_phase``, the encoder's that of ``sleep_phase``, with as many dreams as there
    are samples of rows.  Nothing goes through a sample: latents and data may be discrete.
    Shapes: x (B, D), noise (S, B, ·) from ``draw_noise``, value (B,), nats.  Source: Hinton et al. 1995; Kingma and
    Welling, section 5, where it is what the ELBO is compared with.

    Raises:
        InputError: the model is no VAE, its dreams can lie where q has no density, or there is an estimator to choose.
    """

    __name__ = "wake_sleep"

    def __call__(
        self, model: Model, theta: Array, x: Array, noise: Array, estimator: Any = pathwise
    ) -> tuple[Array, Pullback]:
        vae = _dreaming(model, self, estimator)
        noise, *dream_noise = _unpacked(vae, x, noise, self)
        params = vae.encode(theta, x)
        z, _ = vae.posterior.sample(params, noise)
        log_joint, wake_pullback = wake_phase(vae, theta, x, z)
        dreamt_z, dreamt_x = dream(vae, theta, *dream_noise)
        _, sleep_pullback = sleep_phase(vae, theta, dreamt_x, dreamt_z)

        def pullback(dbound: Array) -> tuple[Array, None, None]:
            dtheta = np.empty_like(theta)
            wake_pullback(dbound, out=dtheta)
            return sleep_pullback(dbound, out=dtheta)

        return log_joint - np.mean(vae.posterior.log_prob(params, z)[0], axis=0), pullback

    def draw_noise(
        self,
        model: Model,
        estimator: Any,
        rng: np.random.Generator,
        shape: tuple[int, int],
        dtype: npt.DTypeLike = np.float64,
    ) -> Array:
        """(S, B, ·): [noise of q | of the prior | of the likelihood], so that a row's dreams are cut out with it."""
        return _packed(_dreaming(model, self, estimator), rng, shape, dtype)

    def with_samples_held(self, model: VAE, theta: Array, x: Array, noise: Array) -> Callable[[Array], Array]:
        """What the pullback is the derivative of: weights -> value (B,), all samples and dreams as ``theta`` made them.

        Its derivative in the weights at ``theta`` is the pullback's; ``numvae.gradcheck`` holds it to that.
        """
        noise, *dream_noise = _unpacked(model, x, noise, self)
        z, _ = model.posterior.sample(model.encode(theta, x), noise)
        dreamt_z, dreamt_x = dream(model, theta, *dream_noise)

        def value(weights: Array) -> Array:
            awake, asleep = wake_phase(model, weights, x, z), sleep_phase(model, weights, dreamt_x, dreamt_z)
            return np.asarray(awake[0] + asleep[0])

        return value


@dataclass(frozen=True)
class ReweightedWakeSleep:
    """Value: the importance-weighted bound L_S.  Pullback: its own gradient in the decoder   (wake_sleep.4).

    ``encoder_phase``: what the encoder learns from.  ``wake``: the same samples of q, weighted   (reweighted.1).
    ``sleep``: dreams, (wake_sleep.3).  ``both``: the mean of the two   (wake_sleep.5).
    Shapes as in ``WakeSleep``, S of 2 or more.  Source: Bornschein and Bengio 2015.

    Raises:
        InputError: as ``WakeSleep``; there is one sample; or the parameters of q move the ends of its support.
    """

    encoder_phase: EncoderPhase = "wake"
    __name__ = "reweighted_wake_sleep"

    def __post_init__(self) -> None:
        if self.encoder_phase not in ("wake", "sleep", "both"):
            raise InputError(f"encoder_phase must be wake, sleep or both, got {self.encoder_phase!r}")

    @property
    def awake(self) -> float:
        """The share of the wake phase in what the encoder learns from."""
        return {"wake": 1.0, "sleep": 0.0, "both": 0.5}[self.encoder_phase]

    @property
    def dreams(self) -> bool:
        """Whether the encoder learns from dreams at all."""
        return self.awake < 1

    def __call__(
        self, model: Model, theta: Array, x: Array, noise: Array, estimator: Any = pathwise
    ) -> tuple[Array, Pullback]:
        vae = _dreaming(model, self, estimator) if self.dreams else _plain(model, self, estimator)
        noise, *dream_noise = _unpacked(vae, x, noise, self) if self.dreams else [noise]
        params, encoder_pullback = vae.encoder.of_data(vae.layout.views(theta)["encoder"], x)
        f = _LogWeight(vae, theta, x)
        bound, weighted_pullback = reweighted.reweighted_wake_sleep(vae.posterior, params, noise, f, log_mean_exp)
        if self.dreams:
            dreamt_z, dreamt_x = dream(vae, theta, *dream_noise)
            _, sleep_pullback = sleep_phase(vae, theta, dreamt_x, dreamt_z)

        def pullback(dbound: Array) -> tuple[Array, None, None]:
            dparams, dtheta = weighted_pullback(dbound)  # (wake_sleep.4)
            dencoder = vae.layout.views(dtheta)["encoder"]
            encoder_pullback(self.awake * dparams, out=dencoder)  # (wake_sleep.5)
            if self.dreams:
                asleep, _, _ = sleep_pullback((1 - self.awake) * dbound, out=np.empty_like(theta))
                dencoder += vae.layout.views(asleep)["encoder"]
            return dtheta, None, None

        return bound, pullback

    def draw_noise(
        self,
        model: Model,
        estimator: Any,
        rng: np.random.Generator,
        shape: tuple[int, int],
        dtype: npt.DTypeLike = np.float64,
    ) -> Array:
        """As ``WakeSleep.draw_noise``; without dreams the noise of q alone, (S, B, Z)."""
        if not self.dreams:
            return _plain(model, self, estimator).draw_noise(pathwise, rng, shape, dtype)
        return _packed(_dreaming(model, self, estimator), rng, shape, dtype)

    def with_samples_held(self, model: VAE, theta: Array, x: Array, noise: Array) -> Callable[[Array], Array]:
        """As ``WakeSleep.with_samples_held``: the importance weights are held as well."""
        noise, *dream_noise = _unpacked(model, x, noise, self) if self.dreams else [noise]
        params = model.encode(theta, x)
        z, _ = model.posterior.sample(params, noise)
        log_q, _ = model.posterior.log_prob(params, z)

        def bound(weights: Array) -> tuple[Array, Pullback]:
            return log_mean_exp(_log_joint(model, weights, x, z)[0] - log_q)

        (importance,) = bound(theta)[1](np.ones_like(x[:, 0]))
        dreams = [dream(model, theta, *dream_noise)] if self.dreams else []

        def value(weights: Array) -> Array:
            fitted, _ = model.posterior.log_prob(model.encode(weights, x), z)
            total: Array = bound(weights)[0] + self.awake * np.sum(importance * fitted, axis=0)
            for dreamt_z, dreamt_x in dreams:
                total = total + (1 - self.awake) * sleep_phase(model, weights, dreamt_x, dreamt_z)[0]
            return total

        return value


@dataclass(frozen=True)
class _LogWeight:
    """f(params, z) = log p(x, z) - log q(z; params) to an estimator that asks for its gradient in the decoder alone."""

    model: VAE
    theta: Array
    x: Array

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        log_joint, joint_pullback = _log_joint(self.model, self.theta, self.x, z)

        def pullback(dvalues: Array) -> tuple[float, None, Array]:
            return 0.0, None, joint_pullback(dvalues)[0]

        return log_joint - self.model.posterior.log_prob(params, z)[0], pullback


wake_sleep = WakeSleep()
reweighted_wake_sleep = ReweightedWakeSleep()


# ---- which models can dream


def _plain(model: Model, objective: Any, estimator: Any) -> VAE:
    if not isinstance(model, VAE):
        raise InputError(f"{name_of(objective)} is for a VAE, got a {type(model).__name__}; use elbo")
    if estimator is not pathwise:
        raise InputError(f"{name_of(objective)} is no estimate of one gradient; leave {name_of(estimator)} out")
    return model


def _dreaming(model: Model, objective: Any, estimator: Any) -> VAE:
    vae = _plain(model, objective, estimator)
    q, p, likelihood = vae.posterior, vae.prior.family, vae.likelihood
    if getattr(q, "support_moves", False):
        raise InputError(
            f"dreams can lie outside the support of a {type(q).__name__} posterior, which moves, and log q is then "
            "minus infinity; use elbo"
        )
    if not inside(p, q):
        raise InputError(
            f"the prior's dreams (over: {p.support}) can lie where a {type(q).__name__} posterior (over: {q.support}) "
            "has no density; give the prior the posterior's support, or use elbo"
        )
    if not (hasattr(likelihood, "sample") and hasattr(likelihood, "noise")):
        raise InputError(f"a {type(likelihood).__name__} likelihood cannot be sampled, so it has no dreams; use elbo")
    return vae


# ---- noise of three kinds in one array


def _packed(model: VAE, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike) -> Array:
    parts = (
        (model.posterior, model.latents),
        (model.prior.family, model.latents),
        (model.likelihood, _features(model)),
    )
    return np.concatenate([family.noise(rng, (*shape, values), dtype) for family, values in parts], axis=-1)


def _unpacked(model: VAE, x: Array, noise: Array, objective: Any) -> list[Array]:
    """Noise of q, of the prior and of the likelihood, each (S, B, ·)."""
    of_q, of_prior = (_noise_size(family, model.latents) for family in (model.posterior, model.prior.family))
    size = of_q + of_prior + _noise_size(model.likelihood, x.shape[-1])
    if noise.ndim != 3 or noise.shape[-1] != size:
        raise InputError(
            f"{name_of(objective)} takes noise of q, prior and likelihood side by side, (S, {len(x)}, {size}), got "
            f"{noise.shape}; draw it with its draw_noise"
        )
    return np.split(noise, [of_q, of_q + of_prior], axis=-1)


@lru_cache(maxsize=64)
def _noise_size(family: Any, values: int) -> int:
    """Length of the last axis of noise for so many values: longer than they are where a value takes several numbers."""
    return int(family.noise(np.random.default_rng(0), (1, values)).shape[-1])


@lru_cache(maxsize=8)
def _features(model: VAE) -> int:
    """D, by what the decoder puts out."""
    params = model.decode(np.zeros(model.layout.size), np.zeros((1, model.latents)))
    return int(params.shape[-1]) // params_size(model.likelihood, 1)
