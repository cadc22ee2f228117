"""The arena's measurements: against closed forms, on the same noise, with honest errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, mlp_vae, pathwise, score_function
from numvae.arena.closed_form import variance
from numvae.arena.comparison import compare
from numvae.arena.costs import Cosine, Quadratic
from numvae.arena.measuring import Frozen, adapted, bias_report, draw, fits, measure
from numvae.arena.problems import CONTINUOUS, Problem
from numvae.arena.states import COSTS, State, state_of_model, state_of_problem, truth_of
from numvae.belief_networks import mlp_belief_network
from numvae.checks import check_unbiased
from numvae.errors import InputError
from numvae.estimators import Claims, claims_of, log_mean_exp
from numvae.estimators.arm import arm
from numvae.estimators.baselines import MovingAverageBaseline
from numvae.estimators.catalogue import ESTIMATORS
from numvae.estimators.delta_method import delta_method
from numvae.estimators.enumeration import enumeration
from numvae.estimators.relax import Relax
from numvae.parameters import initial_theta

PARABOLA = COSTS["quadratic"](1)
BOTH = {"score_function": score_function, "pathwise": pathwise}


@pytest.fixture(scope="module")
def comparison() -> Any:
    return compare(PARABOLA, BOTH, repeats=20_000)


def test_variances_are_the_divergences_within_their_errors(comparison: Any) -> None:
    """(arena.3), (arena.4)."""
    for m in comparison.estimators:
        exact = variance(m.name, Quadratic(-3.0), np.array([1.0, 0.0]))
        np.testing.assert_array_less(np.abs(m.variance - exact), 4 * m.variance_standard_error)
        assert m.total_variance == pytest.approx(m.variance.sum())


def test_bias_is_within_its_interval_and_a_bias_would_be_outside(comparison: Any) -> None:
    """(arena.1), (arena.2)."""
    for m in comparison.estimators:
        low, high = m.bias_ci.T
        assert np.all((low < 0) & (high > 0))
        np.testing.assert_allclose((low + high) / 2, m.bias)
        assert np.all(high - low < 2 * m.smallest_detectable_bias)
        assert m.certified
        assert not m.problems


def test_intervals_hold_all_coordinates_as_often_as_they_promise() -> None:
    """(arena.2): 95 % of the time."""
    state = COSTS["quadratic"](3)
    truth = truth_of(state, samples=1, repeats=200, draw=lambda *_: np.empty(0))
    held = 0
    for seed in range(200):
        m = measure("pathwise", pathwise, state, truth, samples=1, repeats=400, seed=seed)
        held += bool(np.all((m.bias_ci[:, 0] < 0) & (m.bias_ci[:, 1] > 0)))
    assert held >= 178


def test_intervals_from_few_estimates_are_students() -> None:
    """(arena.2): eight estimates of which the normal's quantile would promise too much."""
    held, state = 0, COSTS["quadratic"](1)
    truth = truth_of(state, samples=1, repeats=8, draw=lambda *_: np.empty(0))
    for seed in range(300):
        estimates = state.exact(1) + np.random.default_rng(seed).standard_normal((8, 2))
        m = replace(
            measure("pathwise", pathwise, state, truth, samples=1, repeats=8, seed=0),
            gradients=estimates,
            report=bias_report(estimates, truth, significance=1e-3, rng=np.random.default_rng(0)),
        )
        held += bool(np.all((m.bias_ci[:, 0] < 0) & (m.bias_ci[:, 1] > 0)))
    assert held == pytest.approx(0.95 * 300, abs=15)  # by the normal's quantile 259


def test_claims_in_json_are_those_for_so_many_latents_and_learning_is_told() -> None:
    names = ("local_expectation", "moving_average")
    comparison = compare(COSTS["coupled-bits"](4), {name: ESTIMATORS[name] for name in names}, repeats=20)
    local, average = comparison.to_json()["estimators"]
    assert local["claims"]["f_calls"] == local["calls"] == 5
    assert (local["learning_steps"], average["learning_steps"]) == (0, 1000)


def test_a_suspicion_that_more_estimates_do_not_confirm_is_no_bias() -> None:
    """Both verdicts in the JSON agree, whatever few estimates with heavy tails say at first."""
    heavy = COSTS["exponential"](1)
    for seed in range(30):
        (m,) = compare(heavy, {"score_function": score_function}, repeats=8, seed=seed).estimators
        assert m.unbiased == m.certified


def test_who_waits_is_told_whose_turn_it_is() -> None:
    turns: list[str] = []
    compare(PARABOLA, BOTH, repeats=20, on_estimator=turns.append)
    assert turns == list(BOTH)


def test_the_error_of_a_variance_is_what_it_scatters_by() -> None:
    """(arena.4)."""
    truth = truth_of(PARABOLA, samples=1, repeats=200, draw=lambda *_: np.empty(0))
    many = [measure("", pathwise, PARABOLA, truth, samples=1, repeats=500, seed=seed) for seed in range(150)]
    scatter = np.std([m.variance for m in many], axis=0)
    np.testing.assert_allclose(np.mean([m.variance_standard_error for m in many], axis=0), scatter, rtol=0.25)


def test_signal_to_noise_and_cost(comparison: Any) -> None:
    """(arena.5), (arena.6)."""
    score, path = comparison.estimators
    assert path.snr == pytest.approx(np.hypot(8, 2) / np.sqrt(path.total_variance))
    assert (path.calls, path.pullback_calls, path.cost) == (1, 1, 2)
    assert path.variance_times_cost == 2 * path.total_variance
    assert path.snr > score.snr


def test_the_same_noise_for_those_that_take_their_familys() -> None:
    """Twice the same estimator, under two names and with another order of evaluation, is the same to the last digit."""

    def again(*arguments: Any) -> Any:
        return pathwise(*arguments)

    again.claims = Claims("continuous", f_calls=lambda S, Z: 40 * S, uses_dz=True)  # taken in smaller parts
    state = COSTS["quadratic"](7)
    one, two = compare(state, {"pathwise": pathwise, "again": again}, repeats=3_000, samples=3).estimators
    np.testing.assert_array_equal(one.gradients, two.gradients)
    assert two.certified  # calls are claimed "at most"


def test_a_seed_repeats_everything_but_the_time() -> None:
    first, again, other = (compare(PARABOLA, BOTH, repeats=100, seed=seed).to_json() for seed in (1, 1, 2))
    for json_object in (first, again, other):
        for estimator in json_object["estimators"]:
            del estimator["seconds"], estimator["variance_times_seconds"]
    assert first == again != other


def test_an_over_claim_is_not_certified() -> None:
    def wrong(q: Any, params: Any, noise: Any, f: Any, reduce: Any) -> Any:
        bound, pullback = pathwise(q, params, noise, f, reduce)
        return bound, lambda dbound: (1.1 * pullback(dbound)[0], pullback(dbound)[1])

    wrong.claims = claims_of(pathwise)
    (m,) = compare(PARABOLA, {"wrong": wrong}).estimators
    assert not m.certified
    assert "claims to be unbiased, but coordinate" in m.problems[0]
    assert np.any((m.bias_ci[:, 0] > 0) | (m.bias_ci[:, 1] < 0))


def test_no_variance_is_zero_variance_not_rounding() -> None:
    (m,) = compare(COSTS["coupled-bits"](3), {"enumeration": enumeration}, repeats=50).estimators
    assert m.total_variance == 0
    assert m.snr == np.inf
    assert m.certified


def test_estimators_take_the_least_samples_they_need() -> None:
    antithetic = ESTIMATORS["antithetic"]
    one, two = compare(PARABOLA, {"pathwise": pathwise, "antithetic": antithetic}, repeats=100).estimators
    assert (one.samples, two.samples) == (1, 2)


def test_an_adaptive_estimator_learns_before_it_is_measured() -> None:
    baseline = MovingAverageBaseline()
    unlearned = adapted(baseline, PARABOLA, samples=1, steps=0, rng=np.random.default_rng(0))
    learned = adapted(baseline, PARABOLA, samples=1, steps=300, rng=np.random.default_rng(0))
    assert unlearned.eta == 0
    assert learned.eta[0] == pytest.approx(17, rel=0.3)  # E f = 16 + 1
    spread = [draw(e, PARABOLA, 5_000, samples=1, rng=np.random.default_rng(1))[0].var(axis=0).sum() for e in (
        unlearned, learned)]  # fmt: skip
    assert spread[1] < 0.6 * spread[0]


def test_a_frozen_estimator_has_its_own_noise_and_claims() -> None:
    relax = Relax()
    state = COSTS["bernoulli"](2)
    frozen = adapted(relax, state, samples=1, steps=0, rng=np.random.default_rng(0))
    assert isinstance(frozen, Frozen)
    assert frozen.claims is relax.claims
    assert frozen.noise(state.q, np.random.default_rng(0), (1, 3, 2)).shape == (1, 3, 4)


def only_slopes(params: Any, z: Any) -> Any:
    """A cost that does not offer second derivatives."""
    return Quadratic(0.5)(params, z)


@pytest.mark.parametrize(
    ("estimator", "state", "reason"),
    [
        (arm, PARABOLA, "is for Bernoulli latents, got Normal"),
        (arm, COSTS["importance-weighted"](1), "is for Bernoulli latents"),
        (delta_method, COSTS["importance-weighted"](1), "estimates under sample_mean"),
        (
            delta_method,
            State("plain", Normal(), np.array([[0.1, 0.2]]), only_slopes, 1),
            "needs second derivatives of f",
        ),
    ],
)
def test_what_does_not_fit_is_said_and_refused(estimator: Any, state: State, reason: str) -> None:
    assert reason in fits(estimator, state)
    with pytest.raises(InputError, match="mine"):
        compare(state, {"mine": estimator})


def test_nothing_to_compare_and_too_much_of_it() -> None:
    with pytest.raises(InputError, match="no estimator"):
        compare(PARABOLA, {})
    with pytest.raises(InputError, match="too many to hold"):
        compare(PARABOLA, BOTH, repeats=10**9)


@pytest.mark.parametrize("name", [name for name in COSTS if name != "logistic-regression"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_every_cost_has_an_exact_truth_that_its_estimators_meet(name: str, dimension: int) -> None:
    state = COSTS[name](dimension)
    estimators = {"score_function": score_function} | ({} if fits(pathwise, state) else {"pathwise": pathwise})
    comparison = compare(state, estimators, repeats=2_000)
    assert comparison.truth.exact or (name, dimension) == ("importance-weighted", 2)
    assert all(m.certified for m in comparison.estimators)


def test_logistic_regression_in_31_dimensions() -> None:
    pytest.importorskip("sklearn")
    comparison = compare(COSTS["logistic-regression"](1), BOTH, repeats=200)
    assert comparison.truth.exact
    assert comparison.truth.gradient.shape == (62,)
    assert all(m.certified for m in comparison.estimators)
    assert comparison.ranking[0].name == "pathwise"


def test_where_no_truth_is_known_a_long_run_stands_for_it_with_its_error() -> None:
    """The state without its truth, beside the same state with it."""
    skewed = state_of_problem(CONTINUOUS[-1])
    unknown = State("unknown", skewed.q, skewed.params, skewed.f, skewed.latents)
    comparison = compare(unknown, BOTH, repeats=4_000)
    assert not comparison.truth.exact
    assert "16,000 pathwise estimates" in comparison.truth.source
    error = np.abs(comparison.truth.gradient - skewed.exact(1))
    assert np.all(error < 4 * comparison.truth.standard_error)
    assert all(m.certified for m in comparison.estimators)
    plain = measure("", pathwise, skewed, compare(skewed, BOTH, repeats=10).truth, samples=1, repeats=4_000, seed=0)
    with_error = comparison.estimators[1].report.standard_error
    np.testing.assert_allclose(with_error / plain.report.standard_error, np.sqrt(1 + 1 / 4), rtol=0.1)


def tiny_vae() -> State:
    model = mlp_vae(4, latents=2, hidden=(3,))
    theta = 0.3 * initial_theta(model.layout, rng=np.random.default_rng(0))
    x = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    return state_of_model(model, theta, x)


def test_a_model_is_compared_per_latent_coordinate_of_each_row() -> None:
    state = tiny_vae()
    assert state.params.shape == (3, 4)
    comparison = compare(state, BOTH | {"antithetic": ESTIMATORS["antithetic"]}, repeats=1_000)
    assert comparison.truth.gradient.shape == (12,)
    assert all(m.certified for m in comparison.estimators)


def test_a_belief_network_of_one_layer_is_compared_like_a_vae() -> None:
    """Its exact gradient by enumeration is what every estimator must find."""
    model = mlp_belief_network(4, latents=(3,))
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    state = state_of_model(model, theta, np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]]))
    names = ("enumeration", "disarm", "rebar", "relax", "muprop", "nvil", "vimco")
    comparison = compare(state, {name: ESTIMATORS[name] for name in names}, repeats=2_000)
    assert all(m.certified for m in comparison.estimators), [m.problems for m in comparison.estimators]
    assert "disarm" in comparison.truth.source
    exact = comparison.estimators[0]
    assert exact.gradients.std(axis=0).max() < 1e-12
    error = np.abs(comparison.truth.gradient - exact.gradients.mean(axis=0))
    assert np.all(error < 4.5 * comparison.truth.standard_error)


def test_a_truth_that_is_mostly_noise_makes_nobody_biased() -> None:
    """200 coordinates without a gradient: along the reference lies its own error, which must not be found again."""
    known = state_of_problem(Problem("fast", Normal(), (0.1,) * 100 + (0.0,) * 100, Cosine(5.0), 100))
    unknown = State("unknown", known.q, known.params, known.f, known.latents)
    for seed in range(3):
        comparison = compare(unknown, {"pathwise": pathwise}, repeats=100, seed=seed)
        (m,) = comparison.estimators
        assert m.certified, m.problems
        assert not check_unbiased(m.gradients - comparison.truth.errors, comparison.truth.gradient).ok


def test_several_layers_are_refused() -> None:
    model = mlp_belief_network(4, latents=(3, 2))
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="one layer of latents, and this one has 2"):
        state_of_model(model, theta, np.zeros((1, 4)))


def test_json_is_the_contract(comparison: Any) -> None:
    content = json.loads(json.dumps(comparison.to_json()))
    assert content["truth"] == [8, 2]
    assert len(content["estimators"]) == 2
    for measured in content["estimators"]:
        assert {"name", "bias", "bias_ci", "variance", "snr", "calls", "seconds", "certified", "claims"} <= set(
            measured
        )
        assert len(measured["bias"]) == len(measured["variance"]) == len(measured["bias_ci"]) == 2
        assert measured["certified"] is True
        assert measured["claims"]["unbiased"] is True
    assert [place["name"] for place in content["ranking"]] == ["pathwise", "score_function"]


def test_the_table_has_a_line_per_estimator(comparison: Any) -> None:
    lines = str(comparison).splitlines()
    assert len(lines) == 4
    assert lines[2].split()[:2] == ["1", "pathwise"]
    assert lines[3].split()[:2] == ["2", "score_function"]


def test_importance_weights_have_another_truth_for_every_number_of_samples() -> None:
    problem = CONTINUOUS[-1]
    state = state_of_problem(problem, log_mean_exp)
    one, two = state.exact(1), state.exact(2)
    assert one is not None
    assert two is not None
    assert not np.allclose(one, two, rtol=1e-2)


def test_a_bit_that_hardly_ever_flips_is_not_judged() -> None:
    """Where no flip was drawn the score function looks biased for sure; it is not, and nobody can tell."""
    problem = Problem("one stuck", Bernoulli(), (0.5, 14.0), Quadratic(0.3), 2)
    state = replace(state_of_problem(problem), exact=lambda samples: None)
    comparison = compare(state, {"reinforce": ESTIMATORS["reinforce"], "disarm": ESTIMATORS["disarm"]}, repeats=1000)
    assert all(m.certified for m in comparison.estimators)
    assert [np.isinf(m.smallest_detectable_bias).tolist() for m in comparison.estimators] == [[False, True]] * 2
    assert "1 coordinates belong to bits that hardly ever flip" in str(comparison)
    gradients, truth = comparison.estimators[0].gradients, comparison.truth
    unguarded = bias_report(gradients, truth, significance=1e-3, rng=np.random.default_rng(0))
    assert not unguarded.ok, "the guard is what keeps a right estimator from being accused"
