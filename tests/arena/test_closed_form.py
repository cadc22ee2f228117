"""Variances as formulas: against quadrature over the estimators' own code, draws from it, and golden numbers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, pathwise, sample_mean, score_function
from numvae.arena.closed_form import VARIANCES, crossover, gradient, variance
from numvae.arena.costs import Cosine, Exponential, LogRatio, Quadratic, QuadraticForm
from numvae.arena.problems import CONTINUOUS, DISCRETE, Problem, draw_gradients
from numvae.arena.truth import nodes
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators.arm import arm, disarm
from numvae.estimators.baselines import OptimalBaseline, reinforce
from numvae.estimators.catalogue import ESTIMATORS
from tests.oracles import noise_nodes

COSTS = (Quadratic(-0.7), Exponential(0.6), Cosine(1.3))
NORMALS = ((0.7, -0.3), (0.5, -0.8, -0.4, 0.1))
LOGITS = ((0.7,), (0.5, -1.0, 0.3))
each_cost = pytest.mark.parametrize("cost", COSTS, ids=lambda cost: type(cost).__name__)


def moments_by_quadrature(estimator: Any, cost: Any, params: tuple[float, ...], samples: int) -> tuple[Array, Array]:
    """Mean and variance of the gradient, over nodes in the place of noise."""
    latents = len(params) // 2
    noise, weights = noise_nodes(samples, latents, count=110)
    rows = np.tile(params, (len(weights), 1))
    gradients = estimator(Normal(), rows, noise, cost, sample_mean)[1](np.ones(len(weights)))[0]
    mean = weights @ gradients
    return mean, weights @ (gradients - mean) ** 2


@each_cost
@pytest.mark.parametrize("params", NORMALS, ids=["1-D", "2-D"])
@pytest.mark.parametrize("name", ["pathwise", "score_function", "reinforce"])
def test_normal_variances_are_those_of_the_code_by_quadrature(name: str, params: Any, cost: Any) -> None:
    """(closed_form.1), (closed_form.2) and what is made of them, (closed_form.5), (closed_form.6): to nine digits."""
    mean, exact = moments_by_quadrature(ESTIMATORS[name], cost, params, samples=1)
    np.testing.assert_allclose(variance(name, cost, np.array(params)), exact, rtol=1e-9)
    np.testing.assert_allclose(gradient(cost, np.array(params)), mean, atol=1e-9)


@each_cost
@pytest.mark.parametrize(("name", "samples"), [("score_function", 2), ("pathwise", 2), ("reinforce", 2)])
def test_variances_of_two_samples_by_quadrature(name: str, samples: int, cost: Any) -> None:
    """(closed_form.5), (closed_form.6), (closed_form.8)."""
    _, exact = moments_by_quadrature(ESTIMATORS[name], cost, NORMALS[0], samples)
    found = variance(name, cost, np.array(NORMALS[0]), samples=samples)
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@each_cost
@pytest.mark.parametrize("params", NORMALS, ids=["1-D", "2-D"])
def test_optimal_constant_by_quadrature(params: Any, cost: Any) -> None:
    """(closed_form.7): no other constant has less variance, and this one's is what the formula says."""
    latents = len(params) // 2
    noise, weights = noise_nodes(1, latents, count=110)
    rows = np.tile(params, (len(weights), 1))
    z = Normal().sample(rows, noise)[0]
    f = cost(rows, z)[0][0][:, None]
    score = Normal().log_prob(rows, z)[1](np.ones((1, len(weights))))[0]
    best = weights @ (f * score**2) / (weights @ score**2)
    found = variance("optimal_baseline", cost, np.array(params))
    for shift in (-0.1, 0.0, 0.1):
        estimates = (f - best - shift) * score
        exact = weights @ estimates**2 - (weights @ estimates) ** 2
        np.testing.assert_allclose(exact, found + shift**2 * (weights @ score**2), rtol=1e-9)
    learned = OptimalBaseline().at(best)
    gradients = learned(Normal(), rows, noise, cost, sample_mean)[1](np.ones(len(weights)))[0]
    np.testing.assert_allclose(weights @ (gradients - weights @ gradients) ** 2, found, rtol=1e-9)


@each_cost
@pytest.mark.parametrize("logits", LOGITS, ids=["1-D", "3-D"])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_score_function_variances_on_bits_by_enumeration(samples: int, logits: Any, cost: Any) -> None:
    """(closed_form.3), (closed_form.4), (closed_form.6), (closed_form.8)."""
    bits, weights = nodes(Bernoulli(), np.array([logits]), len(logits))
    chosen = np.array(list(product(range(len(bits)), repeat=samples))).T
    weights = np.prod(weights[chosen], axis=0)
    noise = 0.5 + 0.499999999 * (1 - 2 * bits[chosen])  # below the probability for a one, above it for a zero
    rows = np.tile(logits, (len(weights), 1))
    gradients = score_function(Bernoulli(), rows, noise, cost, sample_mean)[1](np.ones(len(weights)))[0]
    mean = weights @ gradients
    found = variance("score_function", cost, np.array(logits), q=Bernoulli(), samples=samples)
    np.testing.assert_allclose(found, weights @ (gradients - mean) ** 2, rtol=1e-9)
    np.testing.assert_allclose(gradient(cost, np.array(logits), q=Bernoulli()), mean, atol=1e-12)


MEASURED = [
    *[
        (name, cost, params, Normal())
        for name in ("score_function", "pathwise")
        for cost in COSTS
        for params in NORMALS
    ],
    *[("measure_valued_normal", Quadratic(-0.7), params, Normal()) for params in NORMALS],
    *[
        (name, cost, logits, Bernoulli())
        for name in ("arm", "disarm", "reinforce")
        for cost in COSTS
        for logits in LOGITS
    ],
]


@pytest.mark.parametrize(("name", "cost", "params", "q"), MEASURED)
@pytest.mark.parametrize("samples", [1, 3])
def test_measured_variances_are_the_formulas(name: str, cost: Any, params: Any, q: Any, samples: int) -> None:
    """(closed_form.9), (closed_form.10), (closed_form.11), and all the others: within five standard errors."""
    problem = Problem("", q, params, cost, len(params) // q.params_per_value)
    draws = draw_gradients(ESTIMATORS[name], problem, 20_000, rng=np.random.default_rng(3), samples=samples)
    squares = (draws - draws.mean(axis=0)) ** 2
    error = squares.std(axis=0) / np.sqrt(len(draws))
    exact = variance(name, cost, np.array(params), q=q, samples=samples)
    np.testing.assert_array_less(np.abs(squares.mean(axis=0) - exact), 5 * error + 1e-12)


def test_a_wrong_formula_is_noticed() -> None:
    """The negative control: the variance in std, quoted for log_std."""
    params = np.array([0.7, -0.3])
    _, exact = moments_by_quadrature(pathwise, COSTS[0], (0.7, -0.3), samples=1)
    in_std = variance("pathwise", COSTS[0], params) * [1, np.exp(0.6)]
    assert abs(in_std[1] / exact[1] - 1) > 0.5


@pytest.mark.parametrize(
    ("name", "dmean", "dlog_std"),
    [
        ("score_function", 495, 1546),
        ("optimal_baseline", 134, 664),
        ("pathwise", 4, 72),
        ("measure_valued_normal", 17.4873, 68),
    ],
)
def test_golden_table_of_the_parabola(name: str, dmean: float, dlog_std: float) -> None:
    """At mean = std = 1 and k = -3."""
    found = variance(name, Quadratic(-3.0), np.array([1.0, 0.0]))
    np.testing.assert_allclose(found, [dmean, dlog_std], rtol=1e-5)


@pytest.mark.parametrize(
    ("theta", "target", "numbers"),
    [
        (0.5, 0.45, (0.01594, 6.25e-4, 2.08e-4, 0)),
        (0.3, 0.45, (0.01559, 6.09e-4, 3.39e-4, 2.94e-4)),
        (0.3, 0.499, (0.01317, 2.44e-7, 1.36e-7, 1.18e-7)),
    ],
)
def test_golden_table_of_the_coin(theta: float, target: float, numbers: tuple[float, ...]) -> None:
    logit = np.log([theta / (1 - theta)])
    columns = (("score_function", 1), ("score_function", 2), ("arm", 1), ("disarm", 1))
    found = [variance(name, Quadratic(target), logit, q=Bernoulli(), samples=s).item() for name, s in columns]
    np.testing.assert_allclose(found, numbers, rtol=4e-3, atol=1e-18)


def test_an_estimator_serves_as_its_name() -> None:
    params = np.array([0.5, 0.1])
    for estimator, name in ((pathwise, "pathwise"), (reinforce, "reinforce"), (OptimalBaseline(), "optimal_baseline")):
        np.testing.assert_array_equal(variance(estimator, COSTS[0], params), variance(name, COSTS[0], params))
    for estimator in (arm, disarm):
        np.testing.assert_array_equal(
            variance(estimator, COSTS[0], params, q=Bernoulli()),
            variance(estimator.__name__, COSTS[0], params, q=Bernoulli()),
        )
    assert {name for _, name in VARIANCES} <= set(ESTIMATORS)


@pytest.mark.parametrize("name", ["local_expectation", "enumeration"])
def test_what_sums_its_own_bit_out_has_no_variance(name: str) -> None:
    assert not variance(name, Quadratic(0.3), np.array([0.4, -1.1]), q=Bernoulli()).any()


@pytest.mark.parametrize("problem", [*CONTINUOUS, *DISCRETE], ids=lambda problem: problem.name)
def test_gradients_are_exact(problem: Problem) -> None:
    """(closed_form.4), (closed_form.13), (closed_form.14)."""
    found = gradient(problem.f, problem.at()[0], q=problem.q)
    if found is None:
        assert isinstance(problem.f, LogRatio)
        assert isinstance(problem.q, Bernoulli)
    else:
        np.testing.assert_allclose(found, problem.truth(), atol=1e-9)


@pytest.mark.parametrize("start", [0.0, 0.4])
def test_at_the_crossover_both_have_one_variance(start: float) -> None:
    """(closed_form.12): below it pathwise wins, above it the score function."""
    params = np.array([start, 0.0])
    k = crossover(Cosine, params, 0.1, 10.0)

    def ratio(k: float) -> float:
        names = ("score_function", "pathwise")
        score, path = (variance(name, Cosine(k), params).sum() for name in names)
        return score / path

    assert ratio(k) == pytest.approx(1, abs=1e-9)
    assert ratio(0.9 * k) > 1 > ratio(1.1 * k)


def test_no_crossover_is_said_so() -> None:
    with pytest.raises(InputError, match="widen the range"):
        crossover(Cosine, np.array([0.0, 0.0]), 0.1, 0.2)


@pytest.mark.parametrize(
    ("name", "cost", "complaint"),
    [
        ("pathwise", QuadraticForm((0.3, 0.4)), "no closed form for pathwise and QuadraticForm under Normal"),
        ("disarm", Quadratic(), "no closed form for disarm and Quadratic under Normal"),
        ("measure_valued_normal", Cosine(), "for the quadratic cost only"),
    ],
)
def test_what_has_no_formula_is_refused(name: str, cost: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        variance(name, cost, np.array([0.1, 0.2]))
