"""Antithetic and quasi-Monte Carlo noise: each sample has its law, together they cover it, and nothing looks aside."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import Bernoulli, FixedStdNormal, Normal, log_mean_exp, pathwise, sample_mean, score_function
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array
from numvae.checks import check_unbiased
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.errors import InputError
from numvae.estimators import claims_of, draw_noise
from numvae.estimators.coupled_noise import UNIFORM_NOISE, Antithetic, QuasiMonteCarlo
from numvae.estimators.doubly_reparameterized import doubly_reparameterized
from numvae.estimators.implicit import implicit
from numvae.estimators.sticking_the_landing import sticking_the_landing
from tests.cases import Case, estimate
from tests.estimators.rule_proofs import NORMALS, by_name, every_proof, report_on

WRAPPERS = pytest.mark.parametrize("wrapper", [Antithetic, QuasiMonteCarlo], ids=["coupled_noise.1", "coupled_noise.2"])
CASES = [
    estimate("Antithetic", "coupled_noise.1", Antithetic(pathwise), sample_mean, True),
    estimate("QuasiMonteCarlo", "coupled_noise.2", QuasiMonteCarlo(pathwise), sample_mean, True),
]


@every_proof
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_it_is_a_rule(case: Case, proof: object) -> None:
    proof(case)  # type: ignore[operator]


@WRAPPERS
@pytest.mark.parametrize("estimator", [pathwise, implicit, sticking_the_landing], ids=by_name)
@pytest.mark.parametrize("problem", NORMALS, ids=by_name)
def test_the_mean_gradient_is_exact(wrapper: Any, estimator: Any, problem: Problem) -> None:
    report_on(wrapper(estimator), problem, samples=4, repeats=5000).assert_ok()


@WRAPPERS
@pytest.mark.parametrize("q", [Normal(), FixedStdNormal(), Exponential(), Gamma()], ids=by_name)
@pytest.mark.parametrize("samples", [1, 2, 3, 8])
def test_each_sample_has_the_law_of_the_familys_noise(wrapper: Any, q: Any, samples: int) -> None:
    """By Kolmogorov and Smirnov, sample by sample and axis by axis; rows are independent of each other."""
    noise = wrapper(pathwise).noise(q, np.random.default_rng(0), (samples, 4000, 2))
    assert noise.shape == (samples, 4000, 2)
    law = stats.norm if isinstance(q, (Normal, FixedStdNormal)) else stats.uniform
    for s in range(samples):
        for axis in range(2):
            assert stats.kstest(noise[s, :, axis], law.cdf).pvalue > 1e-4
    assert abs(np.corrcoef(noise[0, :-1, 0], noise[-1, 1:, 0])[0, 1]) < 0.07


@WRAPPERS
def test_noise_is_of_the_dtype_asked_for_and_stays_in_range(wrapper: Any) -> None:
    for dtype in (np.float32, np.float64):
        for q in (Normal(), Exponential()):
            noise = draw_noise(wrapper(pathwise), q, np.random.default_rng(0), (4, 3000, 2), dtype)
            assert noise.dtype == dtype
            assert np.isfinite(noise).all()
            assert isinstance(q, Normal) or (noise.min() >= 0 and noise.max() < 1)
    zero = np.zeros(1, np.float32)
    assert 0 < UNIFORM_NOISE.mirror(zero)[0] < 1


def test_antithetic_samples_are_mirror_images() -> None:
    """ε beside -ε, u beside 1 - u; an odd one stays alone   (coupled_noise.1)."""
    rng = np.random.default_rng(0)
    normal = Antithetic(pathwise).noise(Normal(), rng, (5, 3, 2))
    np.testing.assert_array_equal(normal[3:], -normal[:2])
    uniform = Antithetic(pathwise).noise(Exponential(), rng, (4, 3, 2))
    np.testing.assert_allclose(uniform[2:], 1 - uniform[:2])


@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (0.0, 2.0)])
def test_a_pair_has_the_variance_of_the_even_part(a: float, std: float) -> None:
    """dmean is odd in ε and becomes exact; dstd keeps 2 σ ε²: 8 σ², a gain far off, a loss near   (coupled_noise.1)."""
    problem = Problem("quadratic", Normal(), (a, np.log(std)), Quadratic(0.0), 1)
    rng, repeats = np.random.default_rng(0), 40_000
    pairs = draw_gradients(Antithetic(pathwise), problem, repeats, rng=rng, samples=2)
    np.testing.assert_allclose(pairs[:, 0], 2 * a, atol=1e-12)
    variance, independent = pairs[:, 1].var() / std**2, 2 * a**2 + 4 * std**2
    np.testing.assert_allclose(variance, 8 * std**2, rtol=0.1)
    assert (variance < independent) == (a**2 > 2 * std**2)


@pytest.mark.parametrize("samples", [2, 4, 16])
def test_sobol_points_make_the_mean_of_a_line_the_mean_of_strata(samples: int) -> None:
    """In one dimension each of 2^m equally likely strata gets one sample: the variance is the mean within them."""
    problem = Problem("line", Normal(), (0.5, 0.0), Quadratic(0.0), 1)
    gradients = draw_gradients(
        QuasiMonteCarlo(pathwise), problem, 20_000, rng=np.random.default_rng(0), samples=samples
    )
    edges = stats.norm.ppf(np.arange(samples + 1) / samples)
    density = stats.norm.pdf(edges)
    times_edge = np.zeros_like(density)
    times_edge[1:-1] = edges[1:-1] * density[1:-1]
    within = 1 + samples * (times_edge[:-1] - times_edge[1:]) - (samples * (density[:-1] - density[1:])) ** 2
    np.testing.assert_allclose(gradients[:, 0].var(), 4 * within.mean() / samples, rtol=0.05)


def test_every_cell_of_a_net_holds_one_sample() -> None:
    """Sixteen points in two dimensions: one in each of the 16 × 1, 4 × 4 and 1 × 16 boxes   (coupled_noise.2)."""
    uniform = QuasiMonteCarlo(pathwise).noise(Exponential(), np.random.default_rng(0), (16, 5, 2))
    for row in range(5):
        for first, second in ((16, 1), (8, 2), (4, 4), (2, 8), (1, 16)):
            boxes = np.floor(uniform[:, row] * [first, second]).astype(int)
            assert len({tuple(box) for box in boxes}) == 16


def test_more_points_help_more_than_independent_ones() -> None:
    problem = NORMALS[1]
    rng = np.random.default_rng(0)
    plain, sobol = (
        draw_gradients(e, problem, 2000, rng=rng, samples=64).var(axis=0) for e in (pathwise, QuasiMonteCarlo(pathwise))
    )
    assert np.all(sobol < plain / 5)


def test_it_is_fast_for_many_rows() -> None:
    QuasiMonteCarlo(pathwise).noise(Normal(), np.random.default_rng(0), (16, 2, 10))
    start = time.perf_counter()
    QuasiMonteCarlo(pathwise).noise(Normal(), np.random.default_rng(0), (16, 20_000, 10))
    assert time.perf_counter() - start < 3


@WRAPPERS
@pytest.mark.parametrize("estimator", [score_function, doubly_reparameterized], ids=by_name)
def test_an_estimator_that_looks_at_the_other_samples_is_refused(wrapper: Any, estimator: Any) -> None:
    with pytest.raises(InputError, match=f"treats samples one by one .*, got {estimator.__name__}"):
        wrapper(estimator)


@WRAPPERS
def test_another_reduction_is_refused(wrapper: Any) -> None:
    """Coupled samples have another importance-weighted bound."""
    with pytest.raises(InputError, match="estimates under sample_mean, got log_mean_exp"):
        wrapper(pathwise)(Normal(), np.zeros((1, 2)), np.zeros((2, 1, 1)), Quadratic(), log_mean_exp)


def test_a_baseline_of_mirrored_samples_would_be_biased() -> None:
    """Why it is refused: leave one out, and its mirror image still tells of it."""
    problem = NORMALS[0]
    noise = Antithetic(pathwise).noise(problem.q, np.random.default_rng(0), (2, 20_000, 1))
    _, pullback = score_function(problem.q, problem.at(20_000), noise, problem.f, sample_mean)
    gradients: Array = pullback(np.ones(20_000))[0]
    assert not check_unbiased(gradients, problem.truth()).ok


def test_a_shift_of_the_samples_together_is_noticed() -> None:
    """The negative control: Sobol's points unshifted have an origin, and the mean gradient a bias."""
    problem = NORMALS[0]

    class Unshifted(np.random.Generator):
        def integers(self, high: int, size: Any = None, **more: Any) -> Any:  # type: ignore[override]
            return np.zeros(size, np.int64)

    rng = Unshifted(np.random.PCG64(0))
    noise = QuasiMonteCarlo(pathwise).noise(problem.q, rng, (3, 20_000, 1))
    _, pullback = pathwise(problem.q, problem.at(20_000), noise, problem.f, sample_mean)
    assert not check_unbiased(pullback(np.ones(20_000))[0], problem.truth()).ok


@WRAPPERS
def test_an_unknown_law_of_noise_is_refused(wrapper: Any) -> None:
    with pytest.raises(InputError, match="Bernoulli says no law of its noise"):
        wrapper(pathwise).noise(Bernoulli(), np.random.default_rng(0), (2, 3, 1))


def test_claims_are_those_of_the_estimator_for_the_mean_of_samples() -> None:
    for wrapped, least in ((Antithetic(pathwise), 2), (QuasiMonteCarlo(pathwise), 1)):
        claims = claims_of(wrapped)
        assert (claims.least_samples, claims.reductions) == (least, ("sample_mean",))
        assert claims.unbiased
        assert claims.uses_dz
        assert repr(wrapped) == f"{type(wrapped).__name__}(pathwise)"
        assert log_mean_exp.__name__ in claims_of(pathwise).reductions


def test_more_latents_than_sobol_knows_are_refused() -> None:
    with pytest.raises(InputError, match="known for 21,201 latents at most, got 21,202"):
        QuasiMonteCarlo(pathwise).noise(Normal(), np.random.default_rng(0), (1, 1, 21_202))
