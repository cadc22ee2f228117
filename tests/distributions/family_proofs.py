"""The proofs of ``test_pullbacks.py`` and ``test_laws.py``, for families with their cases beside their own tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from numvae.arrays import Array
from tests import test_laws, test_pullbacks
from tests.cases import Argument, Case, Family
from tests.device_array import asarray, asnumpy

RULE_PROOFS: tuple[Callable[[Case], None], ...] = (
    test_pullbacks.test_pullback_is_the_derivative,
    test_pullbacks.test_value_and_gradients_have_the_shapes_of_the_table,
    test_pullbacks.test_pullback_is_linear_and_gives_the_same_twice,
    test_pullbacks.test_single_precision_stays_single,
    test_pullbacks.test_rows_are_independent,
    test_pullbacks.test_never_waits_for_the_device_nor_moves_arrays,
)
LAWS: tuple[Callable[[Family], None], ...] = (
    test_laws.test_log_prob_is_scipys,
    test_laws.test_cdf_is_scipys,
    test_laws.test_samples_follow_the_density,
)

every_rule_proof = pytest.mark.parametrize("proof", RULE_PROOFS, ids=lambda p: p.__name__.removeprefix("test_"))
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda p: p.__name__.removeprefix("test_"))


def uniforms(shape: str) -> Argument:
    """Uniform noise on [0, 1)."""
    return Argument(shape, lambda rng, numbers, spread: rng.random(numbers))


def logs(shape: str, least: float = -2.3, most: float = 2.3) -> Argument:
    """Logarithms of positive numbers, by default from 0.1 to 10."""
    return Argument(shape, lambda rng, numbers, spread: rng.uniform(least, most, numbers))


def counts(shape: str) -> Argument:
    """0, 1, 2, … as floating-point numbers."""
    return Argument(shape, lambda rng, numbers, spread: rng.poisson(4.0, numbers).astype(np.float64))


def runs_elsewhere(case: Case) -> None:
    """The same on the stand-in device."""
    elsewhere: Any = type("Elsewhere", (), {"asarray": staticmethod(asarray), "asnumpy": staticmethod(asnumpy)})
    test_pullbacks.test_runs_on_a_device_with_equal_results(case, elsewhere)


def integral(function: Callable[[float], float], low: float = 0.0, high: float = np.inf) -> float:
    """Adaptive quadrature, to some twelve digits."""
    value, _ = integrate.quad(function, low, high, epsabs=1e-13, epsrel=1e-12, limit=400)
    return float(value)


def monte_carlo_kl_score(q: Any, params: Array, prior: Array, rng: np.random.Generator) -> float:
    """How many standard errors the closed KL lies from the mean of log q - log p over samples."""
    z, _ = q.sample(params, q.noise(rng, (100_000, 1, params.shape[-1] // q.params_per_value)))
    ratio = q.log_prob(params, z)[0] - q.log_prob(prior, z)[0]
    return float((ratio.mean() - q.kl(params, prior)[0][0]) / (ratio.std() / np.sqrt(ratio.size)))
