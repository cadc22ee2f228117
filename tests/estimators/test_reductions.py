"""From the values of several samples to one bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from scipy.special import logsumexp, softmax

from numvae import log_mean_exp, sample_mean
from numvae.arrays import Array
from tests.strategies import log_likelihoods


@given(values=log_likelihoods((5, 3)))
def test_log_mean_exp_is_scipys_and_hands_out_softmax_weights(values: Array) -> None:
    """(reductions.3), (reductions.4)."""
    bound, pullback = log_mean_exp(values)
    np.testing.assert_allclose(bound, logsumexp(values, axis=0) - np.log(5), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pullback(np.ones(3))[0], softmax(values, axis=0), rtol=1e-9, atol=1e-300)


@given(values=log_likelihoods((5, 3)))
def test_log_mean_exp_lies_between_the_mean_and_the_largest(values: Array) -> None:
    bound, (mean, _) = log_mean_exp(values)[0], sample_mean(values)
    slack = 1e-11 * (1 + np.abs(values).max())
    assert np.all(mean - slack <= bound)
    assert np.all(bound <= values.max(axis=0) + slack)


@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
@pytest.mark.parametrize("far", [0.0, -1e5, 1e5])
def test_reductions_of_equal_values_are_that_value_and_share_the_gradient(reduce: object, far: float) -> None:
    bound, pullback = reduce(np.full((4, 2), far))  # type: ignore[operator]
    np.testing.assert_allclose(bound, far)
    np.testing.assert_allclose(pullback(np.array([1.0, 8.0]))[0], np.tile([0.25, 2.0], (4, 1)))


@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
def test_one_sample_is_its_own_bound(reduce: object) -> None:
    """(reductions.1), (reductions.2)."""
    values = np.array([[3.0, -7.0]])
    bound, pullback = reduce(values)  # type: ignore[operator]
    np.testing.assert_array_equal(bound, values[0])
    np.testing.assert_array_equal(pullback(np.array([2.0, 5.0]))[0], [[2, 5]])
