"""The negative binomial: against 60 digits up to size 1e6, its limits, counts by chi-squared, and the usual mix-ups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.negative_binomial import NegativeBinomial, stirling_rest
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError

Q = NegativeBinomial()

# (mean, size, count, log P, ∂ log P / ∂ log mean, ∂ log P / ∂ log size).  By mpmath with 60 digits, from the plain
# formula.
TABLE = [
    (0.001, 0.01, 0, -0.0009531017980432486, -0.0009090909090909091, -4.401088895233951e-05),
    (0.001, 0.01, 1, -7.004018560584505, 0.9081818181818182, 0.09086508002013857),
    (0.001, 0.01, 30, -79.90464246956489, 27.271818181818183, -26.2333146587789),
    (0.001, 1000000.0, 0, -0.0009999999995, -0.000999999999, -4.999999993333333e-13),
    (0.001, 1000000.0, 1, -6.908755279981637, 0.998999999001, 9.994999990006667e-10),
    (0.001, 1000000.0, 5, -39.32725814270723, 4.998999995001, -9.994970500105e-06),
    (0.5, 0.3, 0, -0.2942487759035179, -0.1875, -0.10674877590351788),
    (0.5, 0.3, 2, -2.8690117548133793, 0.5625, 0.3740204548657129),
    (0.5, 0.3, 40, -22.775036875573523, 14.8125, -12.950823545213),
    (7.0, 15.9, 0, -5.800603041210729, -4.860262008733624, -0.9403410324771047),
    (7.0, 15.9, 9, -2.4299051117472787, 1.388646288209607, 0.12650010364683045),
    (7.0, 15.9, 60, -41.70982090373177, 36.799126637554586, -17.346212293964815),
    (7.0, 1000000.0, 0, -6.999975500114333, -6.999951000342998, -2.449977133513407e-05),
    (7.0, 1000000.0, 7, -1.9037938176665545, 0.0, 3.4999766668259158e-06),
    (7.0, 1000000.0, 40, -39.483709261948995, 32.99976900161699, -0.0005244811919297949),
    (1000.0, 0.01, 0, -0.11512935464920229, -0.00999990000099999, -0.1051294546482023),
    (1000.0, 0.01, 1, -4.720309540587294, -0.00998990010099899, 0.8948605454517967),
    (1000.0, 0.01, 2000000, -39.07808039697186, 19.98980010199898, -18.954234027134255),
    (1000.0, 1.0, 0, -6.90875477931522, -0.999000999000999, -5.9097537803142215),
    (1000.0, 1.0, 1000, -7.908255112398754, 0.0, 0.5767160812351243),
    (1000.0, 1.0, 25000, -31.89626310640355, 23.976023976023978, -20.18091198672066),
    (1000.0, 1000.0, 600, -54.88688315745074, -200.0, -22.95600053296682),
    (1000.0, 1000.0, 1000, -4.719514762970506, 0.0, 0.2500624999921875),
    (1000.0, 1000.0, 1400, -38.468289758807344, 200.0, -17.386707673646047),
    (1000.0, 1000000.0, 0, -999.5003330835332, -999.000999000999, -0.49933408253416584),
    (1000.0, 1000000.0, 1000, -4.373399256276088, 0.0, 0.000499500665917499),
    (1000.0, 1000000.0, 1300, -45.53330523859027, 299.7002997002997, -0.04425200746943265),
    (1000.0, 0.01, 3000, -12.6709146247558, 0.01999980000199998, 0.9505417421835616),
]
of_60_digits = pytest.mark.parametrize(
    ("mean", "size", "count", "log_p", "of_mean", "of_size"),
    TABLE,
    ids=[f"mean {mean:g} size {size:g} count {count}" for mean, size, count, *_ in TABLE],
)


@of_60_digits
def test_value_and_gradients_are_those_of_60_digits(
    mean: float, size: float, count: int, log_p: float, of_mean: float, of_size: float
) -> None:
    """Sizes from 1e-2 to 1e6, means from 1e-3 to 1e3, counts out to the tails

    (negative_binomial.4), (negative_binomial.5), (negative_binomial.6).
    """
    log_mass, pullback = Q.log_prob(np.log([[mean, size]]), np.array([[float(count)]]))
    assert log_mass[0] == pytest.approx(log_p, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(pullback(np.ones(1))[0][0], [of_mean, of_size], rtol=1e-10, atol=1e-12 * (1 + mean))


@of_60_digits
def test_single_precision_keeps_what_it_can(
    mean: float, size: float, count: int, log_p: float, of_mean: float, of_size: float
) -> None:
    """To seven digits of mean and count, where the plain formula is off by one nat   (negative_binomial.4)."""
    log_mass, pullback = Q.log_prob(np.log([[mean, size]]).astype(np.float32), np.array([[count]], np.float32))
    scale = 1e-6 * (10 + mean + count)
    assert log_mass[0] == pytest.approx(log_p, rel=1e-5, abs=scale)
    np.testing.assert_allclose(pullback(np.ones(1, np.float32))[0][0], [of_mean, of_size], rtol=1e-3, atol=scale)


def test_stirlings_rest_is_what_stirlings_formula_leaves_out() -> None:
    """(negative_binomial.2), (negative_binomial.3), with its slope."""
    x = np.geomspace(1e-3, 30, 200)
    rest, slope = stirling_rest(x)
    stirling = (x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(rest, special.gammaln(x) - stirling, rtol=1e-12, atol=2e-13)
    np.testing.assert_allclose(slope, special.psi(x) - np.log(x) + 0.5 / x, rtol=1e-11, atol=2e-13)
    large = np.geomspace(1e3, 1e8, 20)
    np.testing.assert_allclose(stirling_rest(large)[0], 1 / (12 * large), rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("mean", [0.01, 3.0, 200.0])
def test_large_sizes_are_poisson(mean: float) -> None:
    """To within count² / size   (negative_binomial.4), (negative_binomial.5)."""
    counts = np.arange(0, 3 * mean + 5).reshape(-1, 1)
    log_mass, pullback = Q.log_prob(np.broadcast_to([math.log(mean), 27.0], (len(counts), 2)), counts)
    expected, of_rate = Poisson().log_prob(np.full_like(counts, math.log(mean)), counts)
    np.testing.assert_allclose(log_mass, expected, atol=1e-6)
    np.testing.assert_allclose(pullback(np.ones(len(counts)))[0][:, :1], of_rate(np.ones(len(counts)))[0], atol=1e-6)
    assert np.isfinite(log_mass).all()


def test_size_one_is_geometric() -> None:
    counts = np.arange(40.0)[:, None]
    params = np.array([[math.log(3.0), 0.0]])
    np.testing.assert_allclose(Q.log_prob(params, counts)[0], stats.geom(0.25, loc=-1).logpmf(counts[:, 0]), rtol=1e-13)
    assert Q.std(params)[0, 0] == pytest.approx(math.sqrt(12))  # (negative_binomial.7)


@pytest.mark.parametrize(("mean", "size"), [(0.5, 0.3), (6.0, 2.0), (20.0, 50.0)])
def test_samples_follow_the_probabilities(mean: float, size: float) -> None:
    """Chi-squared over the counts   (negative_binomial.1), (negative_binomial.8)."""
    params = np.log([[mean, size]])
    z, _ = Q.sample(params, Q.noise(np.random.default_rng(0), (40_000, 1, 1)))
    assert np.all(z == np.rint(z))
    last = int(z.max() // 2)
    values = np.arange(last + 1.0)[:, None]
    mass, cdf = np.exp(Q.log_prob(params, values)[0]), Q.cdf(params, values)[:, 0]
    np.testing.assert_allclose(cdf, np.cumsum(mass), rtol=1e-12)
    seen = np.bincount(np.minimum(z.ravel(), last + 1).astype(int), minlength=last + 2)
    assert stats.chisquare(seen, len(z) * np.append(mass, 1 - cdf[-1])).pvalue > 1e-3


def test_cdf_keeps_its_digits_at_any_size_and_between_counts() -> None:
    """(negative_binomial.8)."""
    params = np.array([[math.log(1e-3), math.log(1e6)]])
    found = Q.cdf(params, np.array([[-0.5], [0.0], [0.7], [1.0]])).ravel()
    np.testing.assert_allclose(found[1:3], math.exp(-1e6 * math.log1p(1e-9)), rtol=1e-14)
    assert found[0] == 0
    assert 1 - found[3] == pytest.approx(5e-7, rel=2e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_mean", [-40.0, -7.0, 0.0, 7.0, 14.0])
@pytest.mark.parametrize("log_size", [-40.0, -5.0, 0.0, 14.0, 40.0])
def test_extremes_are_finite(log_mean: float, log_size: float, dtype: Any) -> None:
    """Also counts that the parameters think impossible, as an untrained network does."""
    params = np.array([[log_mean, log_size]], dtype)
    noise = np.array([[0.0, 0.0], [0.0, 0.9], [0.5, 0.5], [1 - np.finfo(dtype).epsneg] * 2], dtype)[:, None]
    z, _ = Q.sample(params, noise)
    counts = np.concatenate([z, np.array([0, 1, 1000], dtype)[:, None, None]])
    log_mass, pullback = Q.log_prob(params, counts)
    gradient = pullback(np.ones_like(log_mass))[0]
    assert z.dtype == log_mass.dtype == gradient.dtype == dtype
    assert np.all(z >= 0)
    assert all(np.isfinite(array).all() for array in (z, log_mass, gradient))


def test_sample_refuses_a_derivative() -> None:
    _, pullback = Q.sample(np.zeros((1, 2)), np.full((1, 1, 2), 0.5))
    with pytest.raises(InputError, match="score_function, not pathwise"):
        pullback(np.ones((1, 1, 1)))


class OnlyPoisson(NegativeBinomial):
    """The bug of a sampler that forgets that the rate is random."""

    def sample(self, params: Array, noise: Array) -> Any:
        return Poisson().sample(np.split(params, 2, axis=-1)[0], np.split(noise, 2, axis=-1)[1])


class DispersionForSize(NegativeBinomial):
    """The bug of 1 / size taken for size: a density of its own, with the gradient to match."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_mean, log_size = np.split(params, 2, axis=-1)
        turned = np.array([1.0] * log_mean.shape[-1] + [-1.0] * log_mean.shape[-1])
        log_mass, pullback = super().log_prob(np.concatenate([log_mean, -log_size], axis=-1), value)
        return log_mass, lambda d: (turned * pullback(d)[0], None)


class WithoutDigammas(NegativeBinomial):
    """The bug of a gradient in which the coefficient does not depend on the size."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_mass, pullback = super().log_prob(params, value)
        size = np.exp(np.split(params, 2, axis=-1)[1])
        digammas = size * (special.psi(size + value) - special.psi(size))
        return log_mass, lambda d: (
            pullback(d)[0] - d[..., None] * np.concatenate([0 * digammas, digammas], axis=-1),
            None,
        )


def test_planted_bugs_are_rejected() -> None:
    """(negative_binomial.1), (negative_binomial.5), (negative_binomial.6)."""
    params = np.log(np.array([[4.0, 0.5, 3.0, 1.5]]))
    assert check_sampler(Q, params).ok
    assert not check_sampler(OnlyPoisson(), params).ok
    swapped = check_sampler(DispersionForSize(), params)
    assert not swapped.ok
    assert check_pullback(DispersionForSize().log_prob, params, np.array([[3.0, 0.0]])).ok  # a right gradient of it
    assert not check_pullback(WithoutDigammas().log_prob, params, np.array([[3.0, 1.0]])).ok
