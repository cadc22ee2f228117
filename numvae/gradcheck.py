"""The gradient check of a whole model as it stands, and how the estimators compare on it.

Derivations: ``derivations/checks.md``, ``derivations/score_function.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.belief_networks import ChainIntegrand, SigmoidBeliefNetwork, first_layer_integrand
from numvae.checks import ExpectationReport, PullbackReport, check_pullback, check_same_expectation
from numvae.distributions.kl_table import kl_divergence
from numvae.errors import CheckError
from numvae.estimators import Estimator, claims_of, pathwise, sample_mean, score_function
from numvae.estimators.arm import disarm
from numvae.flows import BaseIntegrand, FlowVAE
from numvae.layered import LayeredVAE, lowest_integrand
from numvae.models import VAE, Model
from numvae.networks import Activation, Chain
from numvae.objectives import MonteCarloIntegrand, ReconstructionIntegrand, elbo
from numvae.training import Objective

__all__ = ["ModelCheck", "Verdict", "check_model", "compare_estimators", "dparams_estimates"]

SMOOTH_TOLERANCE = 1e-8
KINK_TOLERANCE = 1e-6
SAMPLES = 2
EPSILON = float(np.finfo(np.float64).eps)
NUMBERS = ("analytic", "numeric", "relative_error", "scale", "error_bar")
SIGNIFICANCE = 1e-6
"""A right model fails once in a million checks; a wrong term is seen all the same."""

Rule: TypeAlias = Callable[[Array], tuple[Array, Pullback]]
Verdict: TypeAlias = Literal["passed", "inconclusive", "failed"]


@dataclass(frozen=True, eq=False)
class ModelCheck:
    """The pullback of a model's objective, and the score-function against another gradient of its ELBO.

    The other is the pathwise one, and DisARM's where latents are bits.

    The verdict on a right model is never "failed".  Where differences cannot judge a group of weights, all at kinks of
    ReLU say, it is "inconclusive"; that is still ``ok`` if the other groups agree, but not if nothing could be judged.
    """

    pullback: PullbackReport
    estimators: ExpectationReport | None
    """None where no score function serves: the support of q moves with its parameters."""

    @property
    def ok(self) -> bool:
        """Whether nothing disagrees, and some group of weights could be judged."""
        judged = any(row.probes and not row.inconclusive for row in self.pullback.arguments)
        return judged and not self.pullback.failures and self.estimators_agree

    @property
    def estimators_agree(self) -> bool:
        """Whether the two estimators' means do, as far as they could be compared."""
        return self.estimators is None or self.estimators.ok

    @property
    def verdict(self) -> Verdict:
        """Failed where something disagrees; inconclusive where some group of weights could not be judged."""
        if self.pullback.failures or not self.estimators_agree:
            return "failed"
        return "passed" if self.pullback.ok else "inconclusive"

    @property
    def variance_ratio(self) -> float:
        """Total variance of the score-function gradient over that of the other one   (checks.13); NaN without them."""
        return math.nan if self.estimators is None else self.estimators.variance_ratio

    def to_json(self) -> dict[str, Any]:
        """What ``numvae gradcheck --json`` prints.

        In each group relative_error = |analytic - numeric| / scale   (checks.4); an inconclusive one has no numbers.
        """
        checked = [row for row in self.pullback.arguments if row.probes]
        groups = [
            {
                "name": row.name.removeprefix("theta."),
                **{key: _known(getattr(row, key)) for key in NUMBERS},
                "ok": row.ok,
                "inconclusive": row.inconclusive,
            }
            for row in checked
        ]
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "worst_relative_error": _known(self.pullback.worst_relative_error),
            "tolerance": self.pullback.tolerance,
            "groups": groups,
            "variance_ratio": _known(self.variance_ratio),
            "estimators": [] if self.estimators is None else list(self.estimators.names),
            "estimators_agree": self.estimators_agree,
            "problems": [*self.pullback.failures, *(self.estimators.failures if self.estimators else ())],
            "doubts": list(self.pullback.doubts),
        }


def check_model(
    model: Model, theta: Array, x: Array, *, rng: np.random.Generator, objective: Objective = elbo, directions: int = 3
) -> ModelCheck:
    """Check the gradient of ``objective`` at ``theta`` on a few rows x (B, D), group of weights by group, in float64.

    Of a sigmoid belief network, whose bound is a step function of its noise, it is log p(x, z) - log q(z|x) that is
    checked, with the bits held.  An objective whose pullback is no derivative of its value, as wake-sleep's, says what
    it is the derivative of by ``with_samples_held``, and that is what differences are taken of.  The tolerance is 1e-8
    relative, or 1e-6 where the network has kinks (ReLU).
    """
    theta, x = theta.astype(np.float64), x.astype(np.float64)
    noise = model.posterior.noise(rng, (SAMPLES, len(x), model.latents))
    if isinstance(model, SigmoidBeliefNetwork):
        rule = _with_bits_held(model, theta, x, noise)
    elif hasattr(objective, "with_samples_held"):
        rule = _with_samples_held(model, theta, x, objective, rng)
    else:
        rule = _with_noise_held(model, x, noise, objective)
    report = check_pullback(
        rule,
        theta,
        names=["theta"],
        parts={"theta": model.layout.leaves},
        rng=rng,
        directions=directions,
        coordinates=0,
        tolerance=KINK_TOLERANCE if _has_kinks(model) else SMOOTH_TOLERANCE,
    )
    comparable = claims_of(score_function).cover(model.posterior)
    return ModelCheck(report, compare_estimators(model, theta, x[:2], rng=rng) if comparable else None)


def _with_noise_held(model: Model, x: Array, noise: Array, objective: Objective) -> Rule:
    def rule(theta: Array) -> tuple[Array, Pullback]:
        bound, pullback = objective(model, theta, x, noise, pathwise)
        return bound, lambda dbound: pullback(dbound)[:1]

    rule.__qualname__ = getattr(objective, "__name__", "objective")
    return rule


def _with_samples_held(model: Model, theta: Array, x: Array, objective: Any, rng: np.random.Generator) -> Rule:
    """The objective's own pullback, beside the value that it is the derivative of at ``theta``."""
    noise = objective.draw_noise(model, pathwise, rng, (SAMPLES, len(x)))
    value_at = objective.with_samples_held(model, theta, x, noise)

    def rule(theta: Array) -> tuple[Array, Pullback]:
        _, pullback = objective(model, theta, x, noise, pathwise)
        return value_at(theta), lambda dvalue: pullback(dvalue)[:1]

    rule.__qualname__ = f"{objective.__name__}, its samples held"
    return rule


def _with_bits_held(model: SigmoidBeliefNetwork, theta: Array, x: Array, noise: Array) -> Rule:
    z, _ = model.posterior_of(theta, x).sample(theta, noise)

    def log_weights(theta: Array) -> tuple[Array, Pullback]:
        values, pullback = ChainIntegrand(model, model.posterior_of(theta, x), x)(theta, z)
        return values, lambda dvalues: pullback(dvalues)[:1]

    return log_weights


def compare_estimators(
    model: Model, theta: Array, x: Array, *, rng: np.random.Generator, repeats: int = 1500
) -> ExpectationReport:
    """Do the score-function gradient of one ELBO and another agree, coordinate by coordinate; and their variances.

    The other is the pathwise one, for bits DisARM's.  The gradients are those with respect to the parameters of q(z|x),
    of several layers the lowest, of each row of x (B, D): all that an encoder ever sees.

    Raises:
        CheckError: one of them is not finite.
    """
    other: Any = disarm if isinstance(model, SigmoidBeliefNetwork) else pathwise
    estimates = {
        estimator: np.concatenate(
            [dparams_estimates(model, theta, row[None], estimator, rng=rng, repeats=repeats) for row in x], axis=1
        )
        for estimator in (score_function, other)
    }
    for estimator, values in estimates.items():
        if not np.isfinite(values).all():
            raise CheckError(f"{estimator.__name__}: the gradient in the parameters of q(z|x) is not finite")
    return check_same_expectation(
        estimates[score_function],
        estimates[other],
        significance=SIGNIFICANCE,
        rounding=np.concatenate([_score_rounding(model, theta, row[None]) for row in x]),
        names=("score_function", other.__name__),
    )


def dparams_estimates(
    model: Model, theta: Array, x: Array, estimator: Estimator, *, rng: np.random.Generator, repeats: int
) -> npt.NDArray[np.float64]:
    """Independent estimates of ∂ELBO/∂params for one row x (1, D), each from two samples: (repeats, P)."""
    params = np.repeat(model.encode(theta, x), repeats, axis=0)
    noise = model.draw_noise(estimator, rng, (SAMPLES, repeats), theta.dtype)
    ones = np.ones_like(params[:, 0])
    if isinstance(model, SigmoidBeliefNetwork):
        f = first_layer_integrand(model, theta, x, noise, estimator)
        _, pullback = estimator(model.posterior, params, model.split(noise)[0], f, sample_mean)
        return np.asarray(pullback(ones)[0])
    if isinstance(model, LayeredVAE):
        lowest = lowest_integrand(model, theta, x, noise)
        _, pullback = estimator(model.posterior, params, model.split(noise)[0], lowest, sample_mean)
        return np.asarray(pullback(ones)[0])
    if isinstance(model, FlowVAE):
        _, pullback = estimator(model.posterior, params, noise, BaseIntegrand(model, theta, x), sample_mean)
        return np.asarray(pullback(ones)[0])
    if not model.knows_kl:
        _, pullback = estimator(model.posterior, params, noise, MonteCarloIntegrand(model, theta, x), sample_mean)
        estimates: npt.NDArray[np.float64] = pullback(ones)[0]
        return estimates
    _, pullback = estimator(model.posterior, params, noise, ReconstructionIntegrand(model, theta, x), sample_mean)
    _, kl_pullback = kl_divergence(model.posterior, model.prior.family)(params, model.prior_params(params))
    dparams: npt.NDArray[np.float64] = pullback(ones)[0] + kl_pullback(-ones)[0]
    return dparams


def _score_rounding(model: Model, theta: Array, x: Array) -> Array:
    """ε |f| |∇ log q|, two standard deviations out: what the rounding of f does to an estimate for one row, (P,)."""
    params = model.encode(theta, x)
    if isinstance(model, SigmoidBeliefNetwork):
        noise = np.full((1, 1, model.latents), 0.5)
        z, _ = model.posterior.sample(params, model.split(noise)[0])
        f, _ = first_layer_integrand(model, theta, x, noise, score_function)(params, z)
    elif isinstance(model, LayeredVAE):
        noise = np.full((1, 1, model.latents), 2.0)
        z, _ = model.posterior.sample(params, model.split(noise)[0])
        f, _ = lowest_integrand(model, theta, x, noise)(params, z)
    else:
        noise = model.posterior.noise(np.random.default_rng(0), (1, 1, model.latents))
        far = 2.0 if getattr(model.posterior, "noise_kind", "") == "normal" else 0.977
        z, _ = model.posterior.sample(params, np.full_like(noise, far))
        f, _ = (
            BaseIntegrand(model, theta, x)(params, z)
            if isinstance(model, FlowVAE)
            else model.log_likelihood(theta, z, x)
        )
    _, pullback = model.posterior.log_prob(params, z)
    score, _ = pullback(np.ones_like(f))
    rounding: Array = EPSILON * np.abs(f[0] * score[0])
    return rounding


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def _has_kinks(model: Model) -> bool:
    kinked = (layers.relu, layers.leaky_relu)
    if isinstance(model, FlowVAE):
        return _has_kinks(model.vae) or getattr(model.flow, "activation", None) in kinked
    if isinstance(model, VAE):
        networks: tuple[Any, ...] = (model.encoder, model.decoder)
    else:
        networks = tuple(getattr(each, "network", each) for each in (*model.encoders, *model.decoders))
    parts = [part for network in networks if isinstance(network, Chain) for part in network.parts]
    return any(isinstance(part, Activation) and part.function in kinked for part in parts)
