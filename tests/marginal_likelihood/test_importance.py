"""log p(x) from importance weights: between the ELBO and the truth on every exact model, and the same in any chunks."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from numvae import Normal, blocks, elbo_monte_carlo, initial_theta, log_mean_exp, pathwise
from numvae.arrays import Array, Pullback
from numvae.belief_networks import mlp_belief_network
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.marginal_likelihood import chi_upper_bound, importance_weighted_bounds, linear_gaussian_power_mean
from numvae.marginal_likelihood.streaming import EffectiveSamples, GroupedMean, RunningLogSumExp, RunningMoments
from numvae.path_models import PathModel
from tests.marginal_likelihood.exact_cases import MISSED, Missed
from tests.oracles import all_bits
from tests.small_runs import DIGITS, MODEL

ROWS, LADDER = 1000, (1, 2, 5, 50)
THETA = 0.7 * initial_theta(MODEL.layout, rng=np.random.default_rng(0))
every_model = pytest.mark.parametrize("case", MISSED, ids=str)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- ELBO ≤ L_k ≤ L_{k+1} ≤ log p(x) ≤ upper bound


@dataclass(frozen=True)
class Wrong:
    """A model with a slip in its log weights."""

    model: Any
    slip: Callable[[Array, Array, Array], tuple[Array, Array]]
    """(log p(x|z), log p(z) - log q(z), log p(z)) -> what stands in the place of the first two."""

    def draw_noise(
        self, estimator: Any, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        noise: Array = self.model.draw_noise(estimator, rng, shape, dtype)
        return noise

    def log_weights(self, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        z, _ = self.model.posterior.sample(params := self.model.encode(theta, x), noise)
        log_prior, _ = self.model.prior.family.log_prob(self.model.prior_params(params), z)
        log_likelihood, log_ratio = self.model.log_weights(theta, x, noise)
        return self.slip(log_likelihood, log_ratio, log_prior)


def with_the_wrong_sign(log_likelihood: Array, log_ratio: Array, log_prior: Array) -> tuple[Array, Array]:
    return log_likelihood, -log_ratio


def without_prior(log_likelihood: Array, log_ratio: Array, log_prior: Array) -> tuple[Array, Array]:
    return log_likelihood, log_ratio - log_prior


def out_of_order(bounds: dict[int, Array], evidence: float, above: Array | None = None) -> list[str]:
    """Where the ladder fails by more than four standard errors of the difference, row by row from the same samples.

    Also where 50 samples do not close six sevenths of the gap, which the mean of logarithms would not.
    """
    steps: list[tuple[str, Array]] = [(f"L_{k} and L_{more}", bounds[more] - bounds[k]) for k, more in pairwise(bounds)]
    steps.append(("L_50 and log p(x)", evidence - bounds[50]))
    steps.append(
        ("L_50 beside six sevenths of the way", bounds[50] - bounds[1] - (evidence - bounds[1].mean()) * 6 / 7)
    )
    if above is not None:
        steps.append(("log p(x) and the upper bound", above - evidence))
    return [
        f"{name}: {step.mean():.4f}"
        for name, step in steps
        if not step.mean() > -4 * step.std(ddof=1) / math.sqrt(len(step))
    ]


@cache
def ladder(case: Missed) -> dict[int, Array]:
    found = importance_weighted_bounds(case.model, case.theta, case.rows(ROWS), rng=rng(), samples=LADDER)
    return found.bounds


@cache
def upper(case: Missed) -> Array:
    return chi_upper_bound(case.model, case.theta, case.rows(20), rng=rng(1), samples=3000).estimate


@every_model
def test_the_truth_lies_between_its_bounds(case: Missed) -> None:
    """(importance.1)."""
    assert out_of_order(ladder(case), case.evidence, upper(case)) == []


@every_model
def test_each_step_of_the_ladder_is_seen(case: Missed) -> None:
    """And not only not contradicted: L_1 < L_2 < L_5 < L_50, log p(x) < χ bound, all by four standard errors."""
    for step in (*(high - low for low, high in pairwise(ladder(case).values())), upper(case) - case.evidence):
        assert step.mean() > 4 * step.std(ddof=1) / math.sqrt(len(step))


SLIPS = [(case, with_the_wrong_sign) for case in MISSED]
SLIPS += [(case, without_prior) for case in MISSED if case.name != "one coin"]  # whose prior has the density 1


@pytest.mark.parametrize(("case", "slip"), SLIPS, ids=lambda part: getattr(part, "__name__", str(part)))
def test_wrong_weights_are_noticed(case: Missed, slip: Any) -> None:
    bounds = importance_weighted_bounds(
        Wrong(case.model, slip), case.theta, case.rows(100), rng=rng(), samples=LADDER
    ).bounds
    assert out_of_order(bounds, case.evidence)


@every_model
def test_a_wrong_mean_is_noticed(case: Missed) -> None:
    """The mean of log w in the place of the log of the mean; and the sum in the place of the mean."""
    bounds = ladder(case)
    assert out_of_order(dict.fromkeys(LADDER, bounds[1]), case.evidence)
    assert out_of_order({k: bound + math.log(k) for k, bound in bounds.items()}, case.evidence)


# ---- the same as all at once


@given(data=st.data())
@settings(max_examples=40)
def test_groups_do_not_depend_on_how_values_come(data: Any) -> None:
    """(importance.1), (importance.2), (importance.3), (importance.4): whatever the chunks, powers and groups."""
    cuts = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    size = data.draw(st.integers(1, sum(cuts)))
    power = data.draw(st.sampled_from([1.0, 0.0, 2.0, -0.5]))
    values = np.random.default_rng(sum(cuts)).normal(-500, 10, (sum(cuts), 3))
    keepers = GroupedMean(3, size, power), EffectiveSamples(3, power), RunningMoments(3), RunningLogSumExp((3,))
    for chunk in np.split(values, np.cumsum(cuts)[:-1]):
        for keeper in keepers:
            keeper.add(chunk)
    groups, effective, moments, total = keepers
    whole = values[: len(values) // size * size].reshape(-1, size, 3)
    mean = values if power == 0 else (logsumexp(power * whole, axis=1) - math.log(size)) / power
    np.testing.assert_allclose(groups.mean, mean.mean(axis=0), rtol=1e-13)
    weights = np.exp(power * (values - values.max(axis=0)))
    np.testing.assert_allclose(effective.value, weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.std, values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(3), atol=1e-9)
    np.testing.assert_allclose(total.value, logsumexp(values, axis=0), rtol=1e-13)


@pytest.mark.parametrize("block", [1, 7, 334, 100_000])
def test_in_chunks_it_is_what_it_is_at_once(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """To 1e-12, with the same noise: one row, whose samples are one stream however they are cut."""
    x = DIGITS.test[:1] / 255
    noise = rng().standard_normal((1003, 1, 2))
    log_w = np.add(*MODEL.log_weights(THETA, x, noise))
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block)
    found = importance_weighted_bounds(MODEL, THETA, x, rng=rng(), samples=[1, 10, 1003])
    np.testing.assert_allclose(found.best, log_mean_exp(log_w)[0], rtol=1e-12)
    tens = log_w[:1000].reshape(100, 10, 1).swapaxes(0, 1)
    np.testing.assert_allclose(found.bounds[10], log_mean_exp(tens)[0].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.bounds[1], log_w.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.log_weight_mean, found.bounds[1], rtol=1e-12)
    np.testing.assert_allclose(found.log_weight_std, log_w.std(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(found.log_likelihood, MODEL.log_weights(THETA, x, noise)[0].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 50, 200])
def test_every_row_has_its_own_samples_and_all_of_them(rows: int) -> None:
    x = DIGITS.train[:rows] / 255
    found = importance_weighted_bounds(MODEL, THETA, x, rng=rng(), samples=5)
    assert found.best.shape == found.effective_samples.shape == (rows,)
    far = importance_weighted_bounds(MODEL, THETA, x, rng=rng(7), samples=5)
    assert np.all(np.abs(found.best - far.best) < 8 * (found.log_weight_std + far.log_weight_std))
    assert not np.any(found.best == far.best)


def test_memory_does_not_grow_with_the_samples() -> None:
    """Nor with the rows, but for what is returned: 50,000 samples of 49 pixels at once would be 20 MB an array."""

    def peak(samples: int, rows: int) -> int:
        x = (DIGITS.test[:rows] / 255).astype(np.float32)
        tracemalloc.start()
        importance_weighted_bounds(MODEL, THETA.astype(np.float32), x, rng=rng(), samples=[1, samples])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    usual = peak(5000, 1)
    assert usual < 2_000_000
    assert peak(50_000, 1) < 1.1 * usual
    assert peak(5000, 10) < 1.1 * usual


# ---- numbers at the ends of their range


def test_single_precision_weights_are_added_up_in_double() -> None:
    """5000 equal weights in float32 lose nothing; the model computes in float32 all the same."""
    single = THETA.astype(np.float32)
    x = (DIGITS.test[:2] / 255).astype(np.float32)
    found = importance_weighted_bounds(MODEL, single, x, rng=rng(), samples=5000)
    assert found.best.dtype == np.float64

    equal = np.full((5000, 1), np.float32(-97.3), np.float32)
    mean = GroupedMean(1, 5000)
    mean.add(equal.astype(np.float64))
    assert abs(mean.mean.item() - float(equal[0, 0])) < 1e-11


@pytest.mark.parametrize("far", [-1e6, -1e3, 0.0, 1e5])
def test_weights_of_any_size_and_of_zero_are_averaged(far: float) -> None:
    """(importance.2): a weight of zero lowers the mean, and is no reason to stop."""
    values = np.array([[far], [-np.inf], [far]])
    for order in ([0, 1, 2], [1, 0, 2], [1, 2, 0]):
        mean = GroupedMean(1, 3)
        for place in order:
            mean.add(values[place][None])
        assert mean.mean.item() == pytest.approx(far + math.log(2 / 3), abs=1e-9)


def test_weights_that_are_all_zero_are_minus_infinity() -> None:
    mean = GroupedMean(1, 2)
    with np.errstate(divide="ignore"):
        mean.add(np.full((2, 1), -np.inf))
    assert mean.mean.item() == -np.inf


def test_what_overflows_shows_and_warns_of_nothing() -> None:
    found = importance_weighted_bounds(MODEL, 1e300 * THETA, DIGITS.test[:2] / 255, rng=rng(), samples=3)
    assert not np.isfinite(found.best).any()


@pytest.mark.parametrize("samples", [0, [], [5, 0], -3])
def test_no_samples_are_refused(samples: Any) -> None:
    with pytest.raises(InputError, match="samples must be a number of at least 1"):
        importance_weighted_bounds(MODEL, THETA, DIGITS.test[:2] / 255, rng=rng(), samples=samples)


# ---- what it says of itself

LINE = LinearGaussian(np.eye(1), np.zeros(1))
PARAMS = np.array([[0.2, 0.1]])


def line() -> tuple[Any, Array, Array, float]:
    """A model of one latent with q = N(0.2, e^0.2), and E[(w / p(x))²] - 1 in closed form."""
    model, theta, x = LINE.vae(), LINE.theta.copy(), np.ones((1, 1))
    encoder = model.encoder.layout.views(model.layout.views(theta)["encoder"])
    encoder["W"][...], encoder["b"][...] = 0, PARAMS[0]
    above = linear_gaussian_power_mean(LINE, PARAMS, x, 2.0) - LINE.evidence(x)
    return model, theta, x, math.expm1(2 * above.item())


def test_loss_and_error_are_those_of_many_repetitions() -> None:
    """(importance.5), (importance.6): against L_100 of 4000 repetitions, and the variance of w in closed form."""
    model, theta, x, variance = line()
    found = importance_weighted_bounds(model, theta, np.repeat(x, 4000, axis=0), rng=rng(), samples=[50, 100])
    gap = LINE.evidence(x).item() - found.best
    assert found.loss().mean() == pytest.approx(variance / 200, rel=0.05)
    assert found.loss(50).mean() == pytest.approx(variance / 100, rel=0.05)
    assert abs(gap.mean() - variance / 200) < 4 * gap.std() / math.sqrt(4000)
    assert found.monte_carlo_error.mean() == pytest.approx(found.best.std(), rel=0.05)
    assert (100 / found.effective_samples - 1).mean() == pytest.approx(variance, rel=0.05)


def test_an_estimate_from_groups_has_less_noise_and_the_same_mean() -> None:
    """L_5 from twenty groups of five beside L_5 from one   (importance.1)."""
    model, theta, x, _ = line()
    rows = np.repeat(x, 2000, axis=0)
    many = importance_weighted_bounds(model, theta, rows, rng=rng(), samples=[5, 100]).bounds[5]
    one = importance_weighted_bounds(model, theta, rows, rng=rng(1), samples=5).best
    assert abs(many.mean() - one.mean()) < 4 * one.std() / math.sqrt(2000)
    assert one.var() / many.var() == pytest.approx(20, rel=0.2)


def test_at_the_posterior_every_sample_counts() -> None:
    model, theta, x = LINE.vae(), LINE.theta, np.array([[1.0], [-2.0]])
    found = importance_weighted_bounds(model, theta, x, rng=rng(), samples=100)
    np.testing.assert_allclose(found.best, LINE.evidence(x), rtol=1e-12)
    np.testing.assert_allclose(found.effective_samples, 100)
    for zero in (found.loss(), found.monte_carlo_error, found.log_weight_std):
        np.testing.assert_allclose(zero, 0, atol=1e-6)


def test_a_q_far_off_has_hardly_an_effective_sample() -> None:
    model, theta, x, _ = line()
    model.encoder.layout.views(model.layout.views(theta)["encoder"])["b"][...] = 6.0, -1.0
    found = importance_weighted_bounds(model, theta, x, rng=rng(), samples=1000)
    assert 1 <= found.effective_samples.item() < 3
    assert found.best.item() < LINE.evidence(x).item() - 5 * found.loss().item()  # a first order says too little there


# ---- models of other kinds


def test_a_belief_network_of_two_layers_is_bracketed() -> None:
    """Its evidence by summing over all bits."""
    model = mlp_belief_network(4, latents=(3, 2))
    theta = 0.5 * rng().standard_normal(model.layout.size)
    x = np.array([[1.0, 0.0, 1.0, 1.0]])
    (log_likelihood, log_prior), _ = model.log_joint(theta, all_bits(5)[:, None], x)
    evidence = logsumexp(log_likelihood + log_prior)
    found = importance_weighted_bounds(model, theta, np.repeat(x, ROWS, axis=0), rng=rng(), samples=(1, 2, 5, 50))
    steps = [high - low for low, high in pairwise(found.bounds.values())]
    assert all(step.mean() > 4 * step.std() / math.sqrt(ROWS) for step in steps)
    assert out_of_order(found.bounds, evidence) == []


@dataclass(frozen=True)
class PathOfALine(PathModel):
    """``LINE`` with a fixed q, as one path from noise to weight."""

    @cached_property
    def latents(self) -> int:
        return 1

    def weigh(self, theta: Array, x: Array, noise: Array) -> tuple[tuple[Array, Array], Pullback]:
        mean, log_std = theta
        z = mean + np.exp(log_std) * noise
        standard = np.zeros((1, 2))
        log_likelihood, _ = Normal().log_prob(np.concatenate([z, np.zeros_like(z)], axis=-1), x)
        log_ratio = Normal().log_prob(standard, z)[0] - Normal().log_prob(theta[None], z)[0]
        return (log_likelihood, log_ratio), lambda dvalues: (np.zeros_like(theta),)


def test_a_path_model_is_weighed_as_any_other() -> None:
    model, theta, x, _ = line()
    path = importance_weighted_bounds(PathOfALine(), PARAMS[0], x, rng=rng(), samples=100)
    vae = importance_weighted_bounds(model, theta, x, rng=rng(), samples=100)
    np.testing.assert_allclose(path.best, vae.best, rtol=1e-12)


def test_one_sample_is_the_elbo_by_samples() -> None:
    x = DIGITS.test[:20] / 255
    noise: npt.NDArray[Any] = MODEL.draw_noise(pathwise, rng(), (1, 20))
    found = importance_weighted_bounds(MODEL, THETA, x, rng=rng(), samples=1)
    np.testing.assert_allclose(found.best, elbo_monte_carlo(MODEL, THETA, x, noise)[0], rtol=1e-12)
    np.testing.assert_array_equal(found.effective_samples, 1)
