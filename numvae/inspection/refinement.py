"""q(z|x) of each datum by itself: its bound as a rule of its own parameters, and the climb to the best of them.

Derivations: ``derivations/inference_gap.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators import Estimator, pathwise, sample_mean
from numvae.flows import FlowVAE
from numvae.models import VAE
from numvae.optimizers import Adam, Optimizer
from numvae.schedules import Cosine

__all__ = ["LocalRule", "OwnPosterior", "fresh_noises", "local_bound", "refine"]

LocalRule: TypeAlias = Callable[[Array, Array], tuple[Array, Pullback]]
"""(params (B, P), noise (S, B, Z)) -> bound (B,); pullback -> (dparams, None)."""


def local_bound(model: VAE | FlowVAE, theta: Array, x: Array, estimator: Estimator = pathwise) -> LocalRule:
    """(params, noise) -> (1/S) Σ_s log p(x, z_s) - log q(z_s; params), a rule   (inference_gap.2); ``theta`` is held.

    Shapes: x (B, D), params (B, P) what the encoder would put out, noise (S, B, Z), bound (B,), nats.
    Of a ``FlowVAE`` the params are those of the base and the flow's context side by side; ``estimator`` is for a VAE.

    Raises:
        InputError: a model of another kind, whose q has parts that no single row owns.
    """
    if isinstance(model, FlowVAE):
        return _flow_bound(model, theta, x)
    if not isinstance(model, VAE):
        raise InputError(f"q(z|x) of a {type(model).__name__} is no list of parameters for each row; use a VAE")
    integrand = _LogRatio(model, model.log_joint(theta, x))

    def rule(params: Array, noise: Array) -> tuple[Array, Pullback]:
        bound, estimator_pullback = estimator(model.posterior, params, noise, integrand, sample_mean)
        return bound, lambda dbound: (estimator_pullback(dbound)[0], None)  # (inference_gap.2)

    return rule


@dataclass(frozen=True, eq=False)
class _LogRatio:
    """f(params, z) = log p(x, z) - log q(z; params), whose pullback has nothing for weights."""

    model: VAE
    log_joint: Callable[[Array], tuple[Array, Pullback]]

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        log_joint, joint_pullback = self.log_joint(z)
        log_q, q_pullback = self.model.posterior.log_prob(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, float]:
            dparams, dz = q_pullback(-dvalues)
            return dparams, joint_pullback(dvalues)[0] + dz, 0.0  # (inference_gap.2)

        return log_joint - log_q, pullback


def _flow_bound(model: FlowVAE, theta: Array, x: Array) -> LocalRule:
    unused = np.empty_like(theta)

    def rule(params: Array, noise: Array) -> tuple[Array, Pullback]:
        base, context = _base_and_context(model, params)
        z_0, sample_pullback = model.posterior.sample(base, noise)
        (log_likelihood, log_ratio), weigh_pullback = model.weigh_at(theta, x, base, context, z_0)
        bound, mean_pullback = sample_mean(log_likelihood + log_ratio)

        def pullback(dbound: Array) -> tuple[Array, None]:
            dbase, dcontext, dz_0 = weigh_pullback(mean_pullback(dbound)[0], unused)
            dbase = dbase + sample_pullback(dz_0)[0]
            return np.concatenate([dbase, dcontext], axis=-1), None  # (inference_gap.2)

        return bound, pullback

    return rule


def _base_and_context(model: FlowVAE, params: Array) -> tuple[Array, Array]:
    base = params.shape[-1] - model.flow.context
    return params[..., :base], params[..., base:]


def encoded(model: VAE | FlowVAE, theta: Array, x: Array) -> Array:
    """All that the encoder puts out, (B, P): where refinement starts."""
    if isinstance(model, FlowVAE):
        return np.concatenate([model.encode(theta, x), model.context(theta, x)], axis=-1)
    return model.encode(theta, x)


def fresh_noises(
    model: VAE | FlowVAE,
    rng: np.random.Generator,
    steps: int,
    shape: tuple[int, int],
    dtype: npt.DTypeLike = np.float64,
) -> Iterator[Array]:
    """New noise for each of ``steps`` steps, (S, B, Z).  Common noise is ``itertools.repeat(noise, steps)``."""
    return (model.draw_noise(pathwise, rng, shape, dtype) for _ in range(steps))


def refine(
    model: VAE | FlowVAE,
    theta: Array,
    x: Array,
    noises: Iterable[Array],
    *,
    steps: int,
    start: Array | None = None,
    optimizer: Optimizer | None = None,
) -> Array:
    """The params (B, P) that gradient ascent on each row's own bound reaches   (inference_gap.3).

    x (B, D); ``noises``: one (S, B, Z) for each of ``steps`` steps; ``start``: (B, P), by default what the encoder
    says.  The step size falls to 0 by half a cosine.  Rows do not see each other: with Adam, the default, a row alone
    ends where it ends among others.  In a wider family start there: ``replace(model, posterior=MultivariateNormal())``.

    Judge the result with noise of its own: of that which it was fitted to, it says too much.
    Source: Cremer et al. 2018.

    >>> from itertools import repeat
    >>> from numvae.exact_models import LinearGaussian, corner_noise
    >>> exact, x = LinearGaussian(np.eye(1), np.zeros(1)), np.array([[1.0]])
    >>> away = np.array([[2.0, 1.0]])
    >>> refine(exact.vae(), exact.theta, x, repeat(corner_noise(1, 1)), steps=1000, start=away).round(3)
    array([[ 0.5  , -0.347]])
    """
    optimizer = optimizer or Adam(step_size=0.03)
    rule, schedule = local_bound(model, theta, x), Cosine(max(steps, 1))
    params = np.array(encoded(model, theta, x) if start is None else start, order="C")
    flat = params.reshape(-1)
    state, ones = optimizer.start(flat), np.ones(len(x), dtype=params.dtype)
    for step, noise in zip(range(steps), noises, strict=False):
        _, pullback = rule(params, noise)
        optimizer.ascend(flat, pullback(ones)[0].reshape(-1), state, scale=schedule(step))  # (inference_gap.3)
    return params


@dataclass(frozen=True)
class OwnPosterior:
    """A model whose q(z|x) stands beside each datum: for ``importance_weighted_bounds`` on rows [x | params].

    ``features``: D, where x ends.
    """

    model: VAE | FlowVAE
    features: int

    def log_weights(self, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        """log p(x|z) and log p(z) - log q(z; params), (S, B) each.  x: (B, D + P)."""
        model, data, params = self.model, x[:, : self.features], x[:, self.features :]
        if isinstance(model, FlowVAE):
            base, context = _base_and_context(model, params)
            z_0, _ = model.posterior.sample(base, noise)
            return model.weigh_at(theta, data, base, context, z_0)[0]
        z, _ = model.posterior.sample(params, noise)
        log_likelihood, _ = model.likelihood.log_prob(model.decode(theta, z), data)
        log_prior, _ = model.prior.family.log_prob(model.prior_params(params), z)
        return log_likelihood, log_prior - model.posterior.log_prob(params, z)[0]

    def draw_noise(
        self, estimator: Any, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """That of the model."""
        return self.model.draw_noise(estimator, rng, shape, dtype)
