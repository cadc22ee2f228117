"""Where estimators are compared: a family, its parameters and a cost, and the gradient that is right there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arena import closed_form
from numvae.arena.costs import Cosine, Exponential, LogRatio, Quadratic, QuadraticForm
from numvae.arena.logistic_regression import breast_cancer
from numvae.arena.problems import Problem
from numvae.arena.truth import exact_gradient
from numvae.arrays import Array
from numvae.belief_networks import SigmoidBeliefNetwork, first_layer_integrand
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.gamma import Gamma
from numvae.distributions.kl_table import has_closed_form
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from numvae.estimators import Integrand, Reduction, claims_of, log_mean_exp, pathwise, sample_mean, score_function
from numvae.estimators.arm import disarm
from numvae.flows import BaseIntegrand, FlowVAE
from numvae.layered import LayeredVAE, lowest_integrand
from numvae.models import Model
from numvae.objectives import MonteCarloIntegrand, ReconstructionIntegrand

__all__ = ["COSTS", "State", "Truth", "state_of_model", "state_of_problem", "truth_of"]

REFERENCE_FACTOR = 4


@dataclass(frozen=True, eq=False)
class State:
    """E_q[reduce f(z)] at one point.  params: (N, P); the gradient in them, flat, has N P coordinates."""

    name: str
    q: Any
    params: Array
    f: Integrand
    latents: int
    reduce: Reduction = sample_mean
    samples: int = 1
    """How many samples of z an estimate takes here, unless told otherwise."""
    exact: Callable[[int], Array | None] = lambda samples: None
    """The exact gradient (N P,) for so many samples, where it is known."""
    f_of_rows: Callable[[int, npt.DTypeLike], Integrand] | None = None
    """Where f knows the rows: what it is for the N rows so many times over, in a dtype."""

    def at(self, repeats: int) -> Array:
        """The parameters over and over, (repeats N, P)."""
        return np.tile(self.params, (repeats, 1))

    def integrand(self, repeats: int, dtype: npt.DTypeLike = np.float64) -> Integrand:
        """f for ``at(repeats)``."""
        return self.f if self.f_of_rows is None else self.f_of_rows(repeats, dtype)


@dataclass(frozen=True, eq=False)
class Truth:
    """The right gradient (C,): exact, or the mean of a long run of an unbiased estimator, then with an error.

    ``errors`` (R, C): what independent means over parts of that run are off by; zeros (1, C) if the truth is exact.
    """

    gradient: Array
    errors: Array
    source: str

    @property
    def exact(self) -> bool:
        """Whether there is no error."""
        return len(self.errors) == 1

    @property
    def standard_error(self) -> Array:
        """Of the gradient, (C,); zeros if it is exact."""
        if self.exact:
            return np.zeros_like(self.gradient)
        return np.asarray(self.errors.std(axis=0, ddof=1)) / math.sqrt(len(self.errors))


def truth_of(state: State, *, samples: int, repeats: int, draw: Callable[..., Array]) -> Truth:
    """The exact gradient where it is known; elsewhere ``repeats`` means of four estimates each, by ``draw``."""
    exact = state.exact(samples)
    if exact is not None:
        return Truth(exact, np.zeros((1, exact.size)), "exact")
    estimator = next(each for each in (pathwise, disarm, score_function) if claims_of(each).cover(state.q))
    if state.reduce is not sample_mean and estimator is disarm:
        estimator = score_function
    run = draw(estimator, repeats * REFERENCE_FACTOR)
    parts = run.reshape(repeats, REFERENCE_FACTOR, -1).mean(axis=1)
    gradient = parts.mean(axis=0)
    source = f"the mean of {len(run):,} {estimator.__name__} estimates"
    return Truth(gradient, parts - gradient, source)


# ---- states from models


def state_of_problem(problem: Problem, reduce: Reduction = sample_mean, samples: int = 1) -> State:
    """One of the exact models of ``problems.py``."""

    def exact(samples: int) -> Array | None:
        if reduce is sample_mean:
            known = closed_form.gradient(problem.f, problem.at()[0], q=problem.q)
            return _exact_or_none(problem, reduce, 1) if known is None else known
        return _exact_or_none(problem, reduce, samples)

    return State(problem.name, problem.q, problem.at(), problem.f, problem.latents, reduce, samples, exact)


def _exact_or_none(problem: Problem, reduce: Reduction, samples: int) -> Array | None:
    """The exact gradient, or None where it is out of reach."""
    try:
        return exact_gradient(problem.q, problem.at(), problem.f, problem.latents, reduce=reduce, samples=samples)
    except InputError:
        return None


def state_of_model(model: Model, theta: Array, x: Array, name: str = "ELBO") -> State:
    """What an estimator must average for rows x (N, D), and the gradient in the parameters of q it must find.

    Of a VAE whose KL has a closed form, which takes no estimating, it is log p(x|z); of any other, and of a model made
    of layers that has but one, it is the whole log p(x, z) - log q(z|x).

    Raises:
        InputError: a network of several layers, whose lower layers' f holds the estimates of the upper ones.
    """
    theta, x = theta.astype(np.float64), x.astype(np.float64)
    ((params, _, latents), *more) = model.layers_at(theta, x)
    if more:
        raise InputError(
            f"estimators are compared on models of one layer of latents, and this one has {1 + len(more)}; "
            "train one with --layers 1"
        )

    def f_of_rows(repeats: int, dtype: npt.DTypeLike) -> Integrand:
        weights, rows = theta.astype(dtype), np.tile(x, (repeats, 1)).astype(dtype)
        if isinstance(model, SigmoidBeliefNetwork):
            no_noise = np.empty((0, 0, latents))  # nor an estimator: there is no layer above
            return first_layer_integrand(model, weights, rows, no_noise, pathwise)  # one that asks for every derivative
        if isinstance(model, LayeredVAE):
            return lowest_integrand(model, weights, rows, np.empty((0, 0, latents)))
        if isinstance(model, FlowVAE):
            return BaseIntegrand(model, weights, rows)
        closed = has_closed_form(model.posterior, model.prior.family)
        return (ReconstructionIntegrand if closed else MonteCarloIntegrand)(model, weights, rows)

    return State(name, model.posterior, params, f_of_rows(1, np.float64), latents, f_of_rows=f_of_rows)


# ---- the costs the command knows


def _normal(name: str, f: Integrand, mean: float, log_std: float) -> Callable[[int], State]:
    return lambda dimension: state_of_problem(
        Problem(name, Normal(), (mean,) * dimension + (log_std,) * dimension, f, dimension)
    )


def _bits(name: str, f: Integrand, probability: float) -> Callable[[int], State]:
    logit = math.log(probability / (1 - probability))
    return lambda dimension: state_of_problem(Problem(name, Bernoulli(), (logit,) * dimension, f, dimension))


def _counts(dimension: int) -> State:
    return state_of_problem(Problem("poisson", Poisson(), (0.7,) * dimension, Quadratic(1.5), dimension))


def _gamma(dimension: int) -> State:
    params = (0.6,) * dimension + (0.2,) * dimension
    return state_of_problem(Problem("gamma", Gamma(), params, Quadratic(1.5), dimension))


def _alternating(value: float, dimension: int) -> tuple[float, ...]:
    return tuple(value * (-1) ** i for i in range(dimension))


def _coupled(dimension: int) -> State:
    params = _alternating(0.6, dimension) + (-0.5,) * dimension
    f = QuadraticForm(_alternating(1.0, dimension))
    return state_of_problem(Problem("coupled", Normal(), params, f, dimension))


def _coupled_bits(dimension: int) -> State:
    f = QuadraticForm(_alternating(0.4, dimension))
    return state_of_problem(Problem("coupled-bits", Bernoulli(), _alternating(0.8, dimension), f, dimension))


def _log_ratio(name: str, reduce: Reduction, samples: int) -> Callable[[int], State]:
    def build(dimension: int) -> State:
        q, here = Normal(), (0.3,) * dimension + (-0.2,) * dimension
        f = LogRatio(q, (-0.4,) * dimension + (0.3,) * dimension, Cosine(1.0))
        return state_of_problem(Problem(name, q, here, f, dimension), reduce, samples)

    return build


def _logistic_regression(dimension: int) -> State:
    f = breast_cancer()
    weights = f.signed.shape[1]
    params = np.concatenate([np.zeros((1, weights)), np.full((1, weights), -1.0)], axis=1)
    return State("logistic-regression", Normal(), params, f, weights, exact=lambda samples: f.gradient(params[0]))


COSTS: dict[str, Callable[[int], State]] = {
    "quadratic": _normal("quadratic", Quadratic(-3.0), 1.0, 0.0),
    "exponential": _normal("exponential", Exponential(1.0), 1.0, 0.0),
    "cosine": _normal("cosine", Cosine(1.0), 1.0, 0.0),
    "fast-cosine": _normal("fast-cosine", Cosine(5.0), 1.0, 0.0),
    "coupled": _coupled,
    "elbo": _log_ratio("elbo", sample_mean, samples=1),
    "importance-weighted": _log_ratio("importance-weighted", log_mean_exp, samples=2),
    "bernoulli": _bits("bernoulli", Quadratic(0.45), 0.3),
    "coupled-bits": _coupled_bits,
    "poisson": _counts,
    "gamma": _gamma,
    "logistic-regression": _logistic_regression,
}
"""Name -> the state it stands for, in so many dimensions."""
