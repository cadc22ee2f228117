"""The case table: one line per rule, over which the proofs are written once.

A case says what a rule takes and gives in the letters of ``derivations/notation.md``: S samples, B rows, D data
features, Z latents, H hidden units.  ``"S, B, 2*Z"`` is a shape, and the axis called B is the axis of rows.  Its labels
become the test's id, so that ``pytest -k normal.3`` runs the proofs of an equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit

from numvae import (
    VAE,
    Activation,
    Bernoulli,
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
from numvae.networks import LeastLogStd, SharedLogStd, SigmoidMean
from numvae.objectives import elbo_terms, minibatch_estimate, weight_log_prior
from numvae.sample_gradient import sample_bound

Rule = Callable[..., tuple[Any, Pullback]]


SPREADS = (0.01, 1.0, 20.0)


@dataclass(frozen=True)
class Sizes:
    """How long each axis is; pairwise distinct, so that a transposed matrix cannot pass."""

    S: int = 7
    B: int = 3
    D: int = 5
    Z: int = 2
    H: int = 6

    def shape(self, letters: str) -> tuple[int, ...]:
        """``"B, 2*Z"`` in numbers; ``""`` is the shape of a single number."""
        return tuple(eval(f"({letters},)", {}, asdict(self))) if letters else ()


@dataclass(frozen=True)
class Argument:
    """What a rule takes: its shape in letters, and how values of a given spread are drawn."""

    shape: str
    draw: Callable[[np.random.Generator, tuple[int, ...], float], Array]


def rows_axis(letters: str) -> int | None:
    """Where the axis of rows stands in a shape; None where there is none."""
    axes = [axis.strip() for axis in letters.split(",")]
    return axes.index("B") if "B" in axes else None


def reals(shape: str) -> Argument:
    """Any real numbers, of the spread asked for."""
    return Argument(shape, lambda rng, numbers, spread: spread * rng.standard_normal(numbers))


def noise(shape: str) -> Argument:
    """Standard normal noise."""
    return Argument(shape, lambda rng, numbers, spread: rng.standard_normal(numbers))


def weights(shape: str) -> Argument:
    """The weights of a network, of a size at which its units are not saturated."""
    return Argument(shape, lambda rng, numbers, spread: 0.5 * rng.standard_normal(numbers))


def bits(shape: str) -> Argument:
    """Zeros and ones, as floating-point numbers."""
    return Argument(shape, lambda rng, numbers, spread: rng.integers(2, size=numbers).astype(np.float64))


def positives(shape: str) -> Argument:
    """Positive numbers over two orders of magnitude."""
    return Argument(shape, lambda rng, numbers, spread: np.exp(rng.uniform(-2.3, 2.3, numbers)))


def normal_params(shape: str) -> Argument:
    """[mean | log_std], standard deviations from 0.1 to 10."""

    def draw(rng: np.random.Generator, numbers: tuple[int, ...], spread: float) -> Array:
        half = (*numbers[:-1], numbers[-1] // 2)
        return np.concatenate([spread * rng.standard_normal(half), rng.uniform(-2.3, 2.3, half)], axis=-1)

    return Argument(shape, draw)


@dataclass(frozen=True)
class Sized:
    """A rule that depends on the sizes, as a network does: how to make it."""

    make: Callable[[Sizes], Rule]


@dataclass(frozen=True)
class Case:
    """One rule: what it is called, its labels, what it takes and what it gives.

    ``kinks``: a function with corners, where finite differences are allowed 1e-6 instead of 1e-8.
    ``on_average``: an estimator whose pullback is right only on average; ``test_estimators.py`` proves it.
    """

    name: str
    labels: str
    rule: Rule | Sized
    takes: tuple[Argument, ...]
    gives: str
    kinks: bool = False
    on_average: bool = False

    @property
    def id(self) -> str:
        """What pytest calls it: ``normal.1+normal.2 Normal.sample``."""
        return f"{self.labels.replace(' ', '+')} {self.name}"

    @property
    def tolerance(self) -> float:
        """The relative error that finite differences are allowed."""
        return 1e-6 if self.kinks else 1e-8

    def at(self, sizes: Sizes) -> Rule:
        """The rule for arrays of the given sizes."""
        return self.rule.make(sizes) if isinstance(self.rule, Sized) else self.rule

    def arguments(self, sizes: Sizes, rng: np.random.Generator, spread: float = 1.0) -> list[Array]:
        """One array for every argument."""
        return [argument.draw(rng, sizes.shape(argument.shape), spread) for argument in self.takes]


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


PARAMS, NOISE, LATENTS = normal_params("B, 2*Z"), noise("S, B, Z"), reals("S, B, Z")
GREYS, BITS = reals("B, D"), bits("B, D")
GREYS_PARAMS, OUTPUTS = normal_params("S, B, 2*D"), reals("S, B, D")

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
        prior_precision=2.0,
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
HEAD = (NO_WEIGHTS, reals("S, B, 2*D"))
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

    Case("Dense", "layers.1 layers.2 layers.3", Sized(lambda n: Dense(n.D, n.H)), DENSE, "S, B, H"),
    Case("Chain", "networks.1", Sized(lambda n: Chain((Dense(n.D, n.H), Activation(layers.tanh)))), DENSE, "S, B, H"),
    Case("mlp", "networks.1", Sized(lambda n: mlp([n.D, n.H, 2 * n.Z])), MLP, "S, B, 2*Z"),
    Case("mlp of relu", "networks.1", Sized(lambda n: mlp([n.D, n.H, 2 * n.Z], layers.relu)), MLP, "S, B, 2*Z", True),
    Case("mlp of_data", "networks.1", Sized(lambda n: mlp([n.D, n.H, 2 * n.Z]).of_data), MLP_OF_DATA, "B, 2*Z"),
    Case("SharedLogStd", "networks.2 networks.3", SharedLogStd(), (reals("1"), reals("S, B, D")), "S, B, 2*D"),
    Case("LeastLogStd", "networks.4 networks.5", LeastLogStd(-2.0), HEAD, "S, B, 2*D"),
    Case("SigmoidMean", "networks.6 networks.7", Sized(lambda n: SigmoidMean(n.D)), HEAD, "S, B, 2*D"),

    Case("Normal.sample", "normal.1 normal.2", Normal().sample, (PARAMS, NOISE), "S, B, Z"),
    Case("Normal.log_prob", "normal.3 normal.4", Normal().log_prob, (PARAMS, LATENTS), "S, B"),
    Case("Normal.log_prob of data", "normal.3 normal.4", Normal().log_prob, (GREYS_PARAMS, GREYS), "S, B"),
    Case("Normal.kl", "normal.5 normal.6", Normal().kl, (PARAMS, PARAMS), "B"),
    Case("Normal.kl to one prior", "normal.5 normal.6", Normal().kl, (PARAMS, normal_params("1, 2*Z")), "B"),
    Case("FixedStdNormal.sample", "normal.1", FixedStdNormal(0.3).sample, (GREYS, noise("S, B, D")), "S, B, D"),
    Case("FixedStdNormal.log_prob", "normal.9 normal.10", FixedStdNormal(0.3).log_prob, (OUTPUTS, GREYS), "S, B"),
    Case("Bernoulli.log_prob", "bernoulli.2 bernoulli.3 bernoulli.4", Bernoulli().log_prob, (OUTPUTS, BITS), "S, B"),
    Case("Bernoulli.relaxed_log_prob", "bernoulli.7", Bernoulli().relaxed_log_prob, (OUTPUTS, BITS), "S, B"),
    Case("Bernoulli.log_prob of one row", "bernoulli.2 bernoulli.4", Bernoulli().log_prob, (reals("1, D"), BITS), "B"),

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
    Case("minibatch_estimate", "objectives.7", partial(minibatch_estimate, dataset_rows=100), (reals("B"),), ""),
    Case("weight_log_prior", "objectives.8 objectives.9", partial(weight_log_prior, precision=3.0), (reals("H"),), ""),

    Case("sample_bound", SAMPLE_GRADIENT, partial(sample_bound, alpha=0.7, beta=3.0), SAMPLE_BOUND, "B"),
]
# fmt: on


@dataclass(frozen=True)
class Family:
    """One family of distributions: what its parameters and values look like, and who knows it without numvae.

    ``spreads``: how far out the oracle itself keeps twelve digits.
    """

    name: str
    labels: str
    family: Any
    params: Argument
    values: Argument
    oracle: Callable[[Array], Any]
    spreads: tuple[float, ...] = SPREADS

    @property
    def id(self) -> str:
        """What pytest calls it."""
        return f"{self.labels.replace(' ', '+')} {self.name}"


def scipy_normal(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    mean, log_std = np.split(params, 2, axis=-1)
    return stats.norm(mean, np.exp(log_std))


FAMILIES = [
    Family("Normal", "normal.1 normal.3 normal.7 normal.8", Normal(), PARAMS, LATENTS, scipy_normal),
    Family(
        "FixedStdNormal",
        "normal.1 normal.7 normal.8 normal.9",
        FixedStdNormal(0.3),
        GREYS,
        GREYS,
        lambda params: stats.norm(params, 0.3),
    ),
    Family(
        "Bernoulli",
        "bernoulli.1 bernoulli.2 bernoulli.5 bernoulli.6",
        Bernoulli(),
        GREYS,
        BITS,
        lambda params: stats.bernoulli(expit(params)),
        spreads=(0.01, 1.0),
    ),
]


@dataclass(frozen=True)
class Estimation:
    """One estimator under one reduction."""

    name: str
    labels: str
    estimator: Any
    reduce: Any
    samples: int

    @property
    def id(self) -> str:
        """What pytest calls it."""
        return f"{self.labels.replace(' ', '+')} {self.name} {self.reduce.__name__} of {self.samples}"


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
