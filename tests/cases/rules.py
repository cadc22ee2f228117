"""The case table of everything but the families: layers, networks, reductions, estimators, objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from numvae import (
    VAE,
    Activation,
    Chain,
    Dense,
    FixedStdNormal,
    Normal,
    elbo,
    elbo_monte_carlo,
    importance_weighted,
    layers,
    log_mean_exp,
    mlp,
    mlp_vae,
    pathwise,
    sample_mean,
    score_function,
)
from numvae.arrays import Array, Pullback
from numvae.networks import AtMost, LeastLogStd, SharedLogStd, SigmoidMean
from numvae.objectives import (
    denoising_elbo,
    elbo_terms,
    minibatch_estimate,
    weight_log_prior,
    weighted_elbo,
    with_free_bits,
)
from numvae.priors import normal_prior
from numvae.sample_gradient import sample_bound
from tests.cases.kit import (
    BITS,
    GREYS,
    LATENTS,
    NOISE,
    OUTPUTS,
    PARAMS,
    Argument,
    Case,
    Estimation,
    Rule,
    Sized,
    Sizes,
    between,
    bits,
    blocks,
    noise,
    positives,
    reals,
    uniforms,
    weights,
)


def log_ratio(target: Array) -> Callable[[Array, Array], tuple[Array, Pullback]]:
    """f(params, z) = log N(z; target) - log N(z; params), on average -KL(q ‖ target).  Params enter it both ways."""

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        log_target, target_pullback = Normal().log_prob(target, z)
        log_q, q_pullback = Normal().log_prob(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, Array]:
            dtarget, dz = target_pullback(dvalues)
            dparams, dz_q = q_pullback(-dvalues)
            return dparams, dz + dz_q, dtarget

        return log_target - log_q, pullback

    return f


def estimated(estimator: Callable[..., Any], reduce: Callable[..., Any]) -> Rule:
    """The rule (params, noise, target) -> bound that an estimator makes of ``log_ratio``."""

    def rule(params: Array, noise: Array, target: Array) -> tuple[Array, Pullback]:
        bound, estimator_pullback = estimator(Normal(), params, noise, log_ratio(target), reduce)

        def pullback(dbound: Array) -> tuple[Array, None, Array]:
            dparams, dtarget = estimator_pullback(dbound)
            return dparams, None, dtarget

        return bound, pullback

    return rule


def reconstruction(model: VAE, theta: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    """The first of the ELBO's two terms alone."""
    (value, kl), pullback = elbo_terms(model, theta, x, noise)
    return value, lambda dvalue: pullback((dvalue, np.zeros_like(kl)))


@dataclass(frozen=True)
class Model:
    """A VAE for any sizes, how many weights it has in letters, and its data."""

    make: Callable[[Sizes], VAE]
    size: str
    data: Argument
    kinks: bool = False


BITS_VAE = Model(
    lambda n: mlp_vae(n.D, latents=n.Z, hidden=(n.H,)),
    "(D+1)*H + (H+1)*2*Z + (Z+1)*H + (H+1)*D",
    BITS,
)
GREYS_VAE = Model(
    lambda n: mlp_vae(
        n.D,
        latents=n.Z,
        hidden=(n.H,),
        likelihood=Normal(),
        likelihood_head=(LeastLogStd(-1.0), SigmoidMean(n.D)),
        prior=normal_prior(2.0),
    ),
    "(D+1)*H + (H+1)*2*Z + (Z+1)*H + (H+1)*2*D",
    GREYS,
)
SHARED_STD_VAE = Model(
    lambda n: mlp_vae(n.D, latents=n.Z, hidden=(n.H,), likelihood=Normal(), likelihood_head=(SharedLogStd(),)),
    "(D+1)*H + (H+1)*2*Z + (Z+1)*H + (H+1)*D + 1",
    GREYS,
)
FIXED_STD_RELU_VAE = Model(
    lambda n: mlp_vae(n.D, latents=n.Z, hidden=(n.H,), likelihood=FixedStdNormal(0.5), activation=layers.relu),
    "(D+1)*H + (H+1)*2*Z + (Z+1)*H + (H+1)*D",
    GREYS,
    kinks=True,
)

IDLE_OR_NOT = blocks(
    "B, 2*Z", lambda rng, one: 3.0 * rng.integers(2, size=one) + rng.uniform(-0.1, 0.1, one), between(-0.1, 0.1)
)
"""Latents that cost some hundredths of a nat or some four nats, neither near the corner at 0.7."""
FREE = replace(BITS_VAE, kinks=True)
SEEN_BITS_VAE = replace(BITS_VAE, data=bits("B, 2*D"))


def elementwise(name: str, labels: str, rule: Rule, kinks: bool = False) -> Case:
    """A function of every element."""
    return Case(name, labels, rule, (reals("S, B, D"),), "S, B, D", kinks)


def bound(name: str, labels: str, objective: Callable[..., Any], model: Model, on_average: bool = False) -> Case:
    """An objective of a model: (theta, x, noise) -> one number per row."""
    rule = Sized(lambda n: partial(objective, model.make(n)))
    return Case(name, labels, rule, (weights(model.size), model.data, NOISE), "B", model.kinks, on_average)


def estimate(name: str, labels: str, estimator: Any, reduce: Any, on_average: bool = False) -> Case:
    """An estimator under a reduction: (params, noise, target) -> one number per row."""
    return Case(name, labels, estimated(estimator, reduce), (PARAMS, NOISE, PARAMS), "B", on_average=on_average)


AFFINE = (reals("D, H"), reals("H"), reals("S, B, D"))
AFFINE_OF_DATA = (reals("D, H"), reals("H"), reals("B, D"))
DENSE = (weights("(D+1)*H"), reals("S, B, D"))
MLP = (weights("(D+1)*H + (H+1)*2*Z"), reals("S, B, D"))
MLP_OF_DATA = (weights("(D+1)*H + (H+1)*2*Z"), reals("B, D"))
NO_WEIGHTS = reals("0")
HEAD, THREE = (NO_WEIGHTS, reals("S, B, 2*D")), (NO_WEIGHTS, reals("S, B, 3*D"))
SAMPLE_BOUND = (reals("D, Z"), reals("D"), reals("B, Z"), positives("B, Z"), GREYS, noise("B, Z"))
SAMPLE_GRADIENT = " ".join(f"sample_gradient.{number}" for number in range(1, 7))

# fmt: off
CASES = [
    Case("affine", "layers.1 layers.2 layers.3", layers.affine, AFFINE, "S, B, H"),
    Case("affine_of_data", "layers.1 layers.2", layers.affine_of_data, AFFINE_OF_DATA, "B, H"),
    elementwise("identity", "layers.4", layers.identity),
    elementwise("tanh", "layers.5 layers.6", layers.tanh),
    elementwise("sigmoid", "layers.7 layers.8", layers.sigmoid),
    elementwise("softplus", "layers.9 layers.10", layers.softplus),
    elementwise("relu", "layers.11 layers.12", layers.relu, kinks=True),
    elementwise("leaky_relu", "layers.13 layers.14", layers.leaky_relu, kinks=True),
    elementwise("elu", "layers.15 layers.16", layers.elu, kinks=True),
    elementwise("elu of alpha 0.6", "layers.15 layers.16", partial(layers.elu, alpha=0.6), kinks=True),
    Case("log", "layers.17 layers.18", layers.log, (positives("S, B, D"),), "S, B, D"),
    Case("logit", "layers.19 layers.20", layers.logit, (uniforms("S, B, D"),), "S, B, D"),

    Case("Dense", "layers.1 layers.2 layers.3", Sized(lambda n: Dense(n.D, n.H)), DENSE, "S, B, H"),
    Case("Chain", "networks.1", Sized(lambda n: Chain((Dense(n.D, n.H), Activation(layers.tanh)))), DENSE, "S, B, H"),
    Case("mlp", "networks.1", Sized(lambda n: mlp([n.D, n.H, 2 * n.Z])), MLP, "S, B, 2*Z"),
    Case("mlp of relu", "networks.1", Sized(lambda n: mlp([n.D, n.H, 2 * n.Z], layers.relu)), MLP, "S, B, 2*Z", True),
    Case("mlp of_data", "networks.1", Sized(lambda n: mlp([n.D, n.H, 2 * n.Z]).of_data), MLP_OF_DATA, "B, 2*Z"),
    Case("SharedLogStd", "networks.2 networks.3", SharedLogStd(), (reals("1"), reals("S, B, D")), "S, B, 2*D"),
    Case("LeastLogStd", "networks.4 networks.5", LeastLogStd(-2.0), HEAD, "S, B, 2*D"),
    Case("LeastLogStd of three blocks", "networks.4 networks.5", LeastLogStd(-2.0, blocks=3), THREE, "S, B, 3*D"),
    Case("AtMost", "networks.8 networks.9", AtMost(1.0), (NO_WEIGHTS, OUTPUTS), "S, B, D"),
    Case("SigmoidMean", "networks.6 networks.7", Sized(lambda n: SigmoidMean(n.D)), HEAD, "S, B, 2*D"),


    Case("sample_mean", "reductions.1 reductions.2", sample_mean, (reals("S, B"),), "B"),
    Case("log_mean_exp", "reductions.3 reductions.4", log_mean_exp, (reals("S, B"),), "B"),
    estimate("pathwise of sample_mean", "pathwise.1 pathwise.2", pathwise, sample_mean),
    estimate("pathwise of log_mean_exp", "pathwise.1 pathwise.2", pathwise, log_mean_exp),
    estimate("score_function of sample_mean", "score_function.1 score_function.2", score_function, sample_mean, True),
    estimate("score_function of log_mean_exp", "score_function.2 score_function.3", score_function, log_mean_exp, True),

    Case("VAE.log_likelihood", "objectives.1", Sized(lambda n: partial(VAE.log_likelihood, GREYS_VAE.make(n))),
         (weights(GREYS_VAE.size), LATENTS, GREYS), "S, B"),
    bound("elbo of bits", "objectives.2 objectives.3", elbo, BITS_VAE),
    bound("elbo of greys", "objectives.2 objectives.3", elbo, GREYS_VAE),
    bound("elbo with a shared std", "objectives.2 objectives.3", elbo, SHARED_STD_VAE),
    bound("elbo with a fixed std", "objectives.2 objectives.3", elbo, FIXED_STD_RELU_VAE),
    bound("elbo by score_function", "objectives.2", partial(elbo, estimator=score_function), BITS_VAE, on_average=True),
    bound("elbo's reconstruction", "objectives.2 objectives.3", reconstruction, BITS_VAE),
    bound("elbo_monte_carlo", "objectives.4 objectives.5", elbo_monte_carlo, GREYS_VAE),
    bound("importance_weighted", "objectives.6", importance_weighted, BITS_VAE),
    bound("weighted_elbo", "objectives.10", partial(weighted_elbo, kl_weight=0.3), GREYS_VAE),
    bound("weighted_elbo with free bits", "objectives.12 objectives.13", partial(weighted_elbo, free_bits=0.3), FREE),
    bound("denoising_elbo", "objectives.14", partial(denoising_elbo, kl_weight=2.0), SEEN_BITS_VAE),
    Case("with_free_bits", "objectives.12 objectives.13", Sized(lambda n: with_free_bits(GREYS_VAE.make(n), 0.7)),
         (IDLE_OR_NOT, blocks("B, 2*Z", between(-0.1, 0.1), between(-0.1, 0.1))), "B"),
    Case("minibatch_estimate", "objectives.7", partial(minibatch_estimate, dataset_rows=100), (reals("B"),), ""),
    Case("weight_log_prior", "objectives.8 objectives.9", partial(weight_log_prior, precision=3.0), (reals("H"),), ""),

    Case("sample_bound", SAMPLE_GRADIENT, partial(sample_bound, alpha=0.7, beta=3.0), SAMPLE_BOUND, "B"),
]
# fmt: on


ESTIMATIONS = [
    Estimation("pathwise", "pathwise.2 reductions.2", pathwise, sample_mean, 1),
    Estimation("pathwise", "pathwise.2 reductions.2", pathwise, sample_mean, 3),
    Estimation("pathwise", "pathwise.2 reductions.4", pathwise, log_mean_exp, 2),
    Estimation("pathwise", "pathwise.2 reductions.4", pathwise, log_mean_exp, 3),
    Estimation("score_function", "score_function.2 reductions.2", score_function, sample_mean, 1),
    Estimation("score_function", "score_function.2 score_function.3 reductions.2", score_function, sample_mean, 3),
    Estimation("score_function", "score_function.2 score_function.3 reductions.4", score_function, log_mean_exp, 2),
    Estimation("score_function", "score_function.2 score_function.3 reductions.4", score_function, log_mean_exp, 3),
]
