"""The second proof for every family of the table: values, samples and their gradients against scipy and quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_sampler
from numvae.distributions.contract import least_positive
from tests.cases import FAMILIES, Family, Sizes
from tests.oracles import level_nodes, quantile
from tests.strategies import sizes

WIDE = [family for family in FAMILIES if family.wide is not None]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
every_continuous_family = pytest.mark.parametrize(
    "family", [family for family in WIDE if not family.family.discrete], ids=lambda family: family.id
)
every_reparameterized_family = pytest.mark.parametrize(
    "family", [family for family in WIDE if family.gradient], ids=lambda family: family.id
)
seeds = st.integers(0, 2**32 - 1)

LEVELS = (1e-12, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99)


def assert_close(actual: Array, expected: Array, tolerance: float = 1e-12) -> None:
    """Equal up to rounding, measured against the largest finite entry; infinite where infinite is expected."""
    largest = np.max(np.abs(expected), where=np.isfinite(expected), initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * largest)


def drawn(family: Family, data: Any) -> tuple[Array, Array]:
    """Parameters and values of any sizes and any spread."""
    n: Sizes = data.draw(sizes())
    rng = np.random.default_rng(data.draw(seeds))
    spread = data.draw(st.sampled_from(family.spreads))
    params, values = (
        argument.draw(rng, n.shape(argument.shape), spread) for argument in (family.params, family.values)
    )
    return params, values


def wide_params(family: Family, seed: int, rows: int = 5, to_sample: bool = False) -> Array:
    """Rows of parameters of one coordinate, from the whole range, or from that part of it that can be sampled."""
    argument = family.sampled if to_sample and family.sampled else family.wide
    assert argument is not None
    _, size = Sizes().shape(argument.shape)
    return argument.draw(np.random.default_rng(seed), (rows, size), 1.0)


@every_family
@given(data=st.data())
def test_log_prob_is_scipys(family: Family, data: Any) -> None:
    params, values = drawn(family, data)
    oracle = family.oracle(params)
    log_prob = oracle.logpmf if family.family.discrete else oracle.logpdf
    assert_close(family.family.log_prob(params, values)[0], log_prob(values).sum(axis=-1))


@every_family
@given(data=st.data())
def test_mean_std_and_entropy_are_scipys(family: Family, data: Any) -> None:
    params, _ = drawn(family, data)
    oracle = family.oracle(params)
    for name in ("mean", "std"):
        if hasattr(family.family, name):
            assert_close(getattr(family.family, name)(params), getattr(oracle, name)())
    if hasattr(family.family, "entropy"):
        assert_close(family.family.entropy(params), np.sum(oracle.entropy(), axis=-1))


@pytest.mark.parametrize("family", [f for f in FAMILIES if hasattr(f.family, "cdf")], ids=lambda family: family.id)
@given(data=st.data())
def test_cdf_is_scipys(family: Family, data: Any) -> None:
    params, values = drawn(family, data)
    np.testing.assert_allclose(family.family.cdf(params, values), family.oracle(params).cdf(values), rtol=1e-11)


@pytest.mark.parametrize("family", [f for f in WIDE if hasattr(f.family, "quantile")], ids=lambda family: family.id)
@settings(max_examples=5)
@given(seed=seeds)
def test_quantile_is_scipys(family: Family, seed: int) -> None:
    params = wide_params(family, seed)
    for level in LEVELS:
        expected = family.oracle(params).ppf(level)
        np.testing.assert_allclose(
            family.family.quantile(params, np.full(expected.shape, level)), expected, rtol=1e-9, atol=1e-290
        )


@every_family
def test_samples_follow_the_density(family: Family) -> None:
    """Distribution, E[∇ log p] = 0, moments and independence, for three rows of parameters."""
    if not hasattr(family.family, "sample") or getattr(family.family, "support_moves", False):
        pytest.skip("nothing to sample, or no density whose gradient averages to zero")
    rng = np.random.default_rng(0)
    params = family.params.draw(rng, Sizes().shape(family.params.shape), 1.0)
    shape = Sizes().shape(family.values.shape)[-2:]  # said, since not every law has a mean to read it off
    check_sampler(family.family, params, shape=shape, rng=rng).assert_ok()


# ---- over the whole range: scales from 1e-3 to 1e3, shapes from 1e-2 to 1e3, tails to 1e-12


@pytest.mark.parametrize("family", WIDE, ids=lambda family: family.id)
@settings(max_examples=10)
@given(seed=seeds)
def test_log_prob_keeps_ten_digits_out_to_the_tails(family: Family, seed: int) -> None:
    params = wide_params(family, seed)
    oracle = family.oracle(params)
    log_prob = oracle.logpmf if family.family.discrete else oracle.logpdf
    for level in LEVELS:
        for value in (oracle.ppf(level), oracle.isf(level)):
            expected = log_prob(value)[:, 0]
            possible = np.isfinite(value[:, 0]) & np.isfinite(expected) & (np.abs(value[:, 0]) > 1e-290)
            if not family.family.discrete and family.family.support == "unit interval":
                possible &= value[:, 0] < 1
            found = family.family.log_prob(params[possible], value[possible])[0]
            np.testing.assert_allclose(found, expected[possible], rtol=1e-10, atol=1e-10)


@every_continuous_family
def test_samples_are_scipys_by_kolmogorov_and_smirnov(family: Family) -> None:
    """A hundred thousand draws for each of four rows of parameters from the whole range."""
    if not hasattr(family.family, "sample"):
        pytest.skip("a likelihood alone")
    params = wide_params(family, seed=1, rows=4, to_sample=True)
    noise = family.family.noise(np.random.default_rng(2), (100_000, 4, 1))
    z, _ = family.family.sample(params, noise)
    for row in range(4):
        law = family.oracle(params[row])
        assert stats.kstest(z[:, row, 0], lambda value, law=law: law.cdf(value)).pvalue > 1e-3, params[row]


@every_reparameterized_family
@settings(max_examples=5)
@given(seed=seeds)
def test_gradient_of_a_sample_is_that_of_the_quantile(family: Family, seed: int) -> None:
    """With the level held: ∂z/∂params = ∂F⁻¹(u; params)/∂params, by differences of scipy's quantile function."""
    if family.gradient != "quantile":
        pytest.skip("a sample is made of several numbers: its gradient is right on average")
    params = wide_params(family, seed, to_sample=True)
    noise = family.family.noise(np.random.default_rng(seed), (1, len(params), 1))
    z, pullback = family.family.sample(params, noise)
    found, _ = pullback(np.ones_like(z))
    law = family.oracle(params)
    lower, upper = law.cdf(z[0]), law.sf(z[0])
    for column in range(params.shape[1]):
        value = np.abs(z[0, :, 0])
        held = z[0, :, 0] == least_positive(np.float64)  # a sample below all numbers has the slope of its own, not this
        length = 1e-3 / (1 + np.abs(found[:, column]) / value)
        step = np.zeros_like(params)
        step[:, column] = length
        points = [quantile(family.oracle(params + k * step), lower, upper)[:, 0] for k in (-2, -1, 1, 2)]
        expected = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * length)
        size = value + np.abs(expected)
        np.testing.assert_allclose((found[:, column] / size)[~held], (expected / size)[~held], atol=1e-6)


def gradients_of_an_expectation(family: Family) -> tuple[Array, Array, Array]:
    """∇ E[g(z)], g a tanh between the quartiles: the mean over samples, its error, and the truth by quadrature."""
    params = wide_params(family, seed=3, rows=4, to_sample=True)
    law, samples = family.oracle(params), 40_000
    middle, width = law.ppf(0.5), law.ppf(0.75) - law.ppf(0.25)
    repeated = np.repeat(params, samples, axis=0)
    noise = family.family.noise(np.random.default_rng(4), (1, len(repeated), 1))
    z, pullback = family.family.sample(repeated, noise)
    standardized = (z[0, :, 0] - np.repeat(middle[:, 0], samples)) / np.repeat(width[:, 0], samples)
    slope = (1 - np.tanh(standardized) ** 2) / np.repeat(width[:, 0], samples)
    each = pullback(slope[None, :, None])[0].reshape(len(params), samples, -1)
    found, error = each.mean(axis=1), each.std(axis=1) / np.sqrt(samples)
    lower, upper, weights = level_nodes(step=1 / 512)  # between two nodes of 1 / 32 a heavy tail runs through decades

    def expectation(at: Array) -> Array:
        z = quantile(family.oracle(at), lower, upper)
        value: Array = np.tanh((z - middle) / width) @ weights
        return value

    truth = np.empty_like(found)
    for column in range(params.shape[1]):
        step = np.zeros_like(params)
        length = 1e-3 / (1 + np.abs(found[:, column]))  # E[g] is at most 1: it turns within 1 / slope
        step[:, column] = length
        truth[:, column] = (expectation(params + step) - expectation(params - step)) / (2 * length)
    return found, error, truth


@every_reparameterized_family
def test_gradient_of_samples_is_that_of_the_expectation(family: Family) -> None:
    found, error, truth = gradients_of_an_expectation(family)
    np.testing.assert_array_less(np.abs(found - truth), 4.5 * error + 1e-6)


class Extreme:
    """A generator that draws nothing but one level: of uniform numbers, and of normal ones 8 standard deviations."""

    def __init__(self, level: float) -> None:
        self.level = level

    def random(self, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        """Uniform numbers on [0, 1), all the smallest or all the largest."""
        return np.full(shape, 0.0 if self.level == 0 else 1 - np.finfo(dtype).epsneg * self.level, dtype)

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        """Normal numbers, all far out on one side."""
        return np.full(shape, 8.0 if self.level else -8.0, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_continuous_family
def test_whatever_the_noise_all_is_finite(family: Family, dtype: Any) -> None:
    if not hasattr(family.family, "sample"):
        pytest.skip("a likelihood alone")
    params = wide_params(family, seed=5, rows=200).astype(dtype)
    rngs: list[Any] = [Extreme(0), Extreme(1), np.random.default_rng(6)]
    for rng in rngs:
        z, sample_pullback = family.family.sample(params, family.family.noise(rng, (2, len(params), 1), dtype))
        assert z.dtype == dtype
        log_prob, log_prob_pullback = family.family.log_prob(params, z)
        found = (z, sample_pullback(np.ones_like(z))[0], log_prob, *log_prob_pullback(np.ones_like(log_prob)))
        for array in found:
            assert np.isfinite(array).all()
