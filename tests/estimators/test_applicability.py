"""An estimator used where it makes no promise says so in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, log_mean_exp, sample_mean
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators import declares
from numvae.estimators.applicability import require_applicable
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
