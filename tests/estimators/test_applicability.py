"""An estimator used where it makes no promise says so in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, log_mean_exp, sample_mean
from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators import claims_of, declares, draw_noise
from numvae.estimators.applicability import require_applicable
from numvae.estimators.catalogue import ESTIMATORS
from numvae.estimators.concrete import Concrete


@declares(variables="discrete", least_samples=2, reductions=("sample_mean", "log_mean_exp"))
def pairs(*arguments: Any) -> Any:
    """An estimator by its claims alone."""


def largest(values: Array) -> tuple[Array, Any]:
    """A reduction nobody claims."""
    return values.max(axis=0), None


def test_what_is_claimed_passes() -> None:
    require_applicable(pairs, Bernoulli(), np.zeros((2, 1, 1)), log_mean_exp)
    require_applicable(Concrete(), Bernoulli(), np.zeros((1, 1, 1)), sample_mean)


def test_what_is_not_claimed_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="pairs is for discrete latents, got Normal"):
        require_applicable(pairs, Normal(), np.zeros((2, 1, 1)), sample_mean)
    with pytest.raises(InputError, match="pairs needs at least 2 samples, got 1; draw more noise"):
        require_applicable(pairs, Bernoulli(), np.zeros((1, 1, 1)), sample_mean)
    with pytest.raises(InputError, match="pairs estimates under sample_mean or log_mean_exp, got largest"):
        require_applicable(pairs, Bernoulli(), np.zeros((2, 1, 1)), largest)


# ---- what f is asked for

REDUCTIONS = {"sample_mean": sample_mean, "log_mean_exp": log_mean_exp}


@dataclass(frozen=True, eq=False)
class Parabola:
    """f = Σ z², which remembers with what weights something inside it was taught."""

    differentiable: bool = True
    teaches: bool = True
    taught: list[Array] = field(default_factory=list)

    @property
    def held(self) -> Parabola:
        return Parabola(self.differentiable, False, self.taught)

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        def pullback(dvalues: Array) -> tuple[float, Array | None, None]:
            if self.teaches:
                self.taught.append(dvalues)
            return 0.0, 2 * z * dvalues[..., None] if self.differentiable else None, None

        return np.sum(z * z, axis=-1), pullback

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        return 2 * direction


def estimate(name: str, f: Parabola) -> None:
    """There and back once, for two latents."""
    estimator, rng = ESTIMATORS[name], np.random.default_rng(0)
    claims = claims_of(estimator)
    q = next(q for q in (Normal(), Bernoulli()) if claims.cover(q))
    params = np.zeros((1, 2 * q.params_per_value))
    if hasattr(estimator, "start"):
        estimator = estimator.at(estimator.start(params, params, 2, rng=rng)) if hasattr(estimator, "at") else estimator
    noise = draw_noise(estimator, q, rng, (claims.least_samples, 1, 2))
    estimator(q, params, noise, f, REDUCTIONS[claims.reductions[0]])[1](np.ones(1))


@pytest.mark.parametrize("name", [name for name, each in ESTIMATORS.items() if claims_of(each).uses_dz])
def test_an_integrand_without_a_derivative_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match="gives no derivative in z, which this estimator needs; use score_function"):
        estimate(name, Parabola(differentiable=False))


@pytest.mark.parametrize("name", ["muprop", "rebar", "adaptive_rebar", "relax", "delta_method", "pathwise", "concrete"])
def test_estimators_inside_f_learn_from_samples_alone(name: str) -> None:
    """Not from where a control variate looks at f: there f is held."""
    f = Parabola()
    estimate(name, f)
    (weights,) = f.taught
    assert weights.sum() == 1
