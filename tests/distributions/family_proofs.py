"""What several families' own tests share: rules on the stand-in device, integrals, KL divergences by samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import integrate

from numvae.arrays import Array
from tests import test_pullbacks
from tests.cases import Case
from tests.device_array import asarray, asnumpy


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
