"""The second part of the ladder, from the score function to a trained VAE: solutions, draws and misconceptions."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, layers, mlp_vae, objectives, one_page
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.estimators import baselines, log_mean_exp, pathwise, sample_mean, score_function
from numvae.exercises.contract import Draw, Exercise, Misconception
from numvae.exercises.ladder.vae_gradient import _vae
from numvae.optimizers import Adam
from numvae.sample_gradient import sample_bound
from tests.exercises.test_ladder_parts import draws, same, seen, summed

DERIVATIONS = Path(__file__).parents[2] / "derivations"
RULES = (
    "sample_gradient",
    "monte_carlo_bound",
    "analytic_bound",
    "minibatch_estimate",
    "log_mean_exp",
    "importance_weighted",
    "two_heads",
    "decoder_gradient",
    "free_bits",
    "vae_gradient",
)
"""Those whose gradients are the derivatives of their values."""
OTHERS = ("score_function", "score_surrogate", "leave_one_out", "adam_step", "train_vae")
EXERCISES: dict[str, Exercise] = {
    name: importlib.import_module(f"numvae.exercises.ladder.{name}").EXERCISE for name in (*RULES, *OTHERS)
}
MISTAKES = {m.id: (exercise, m) for exercise in EXERCISES.values() for m in exercise.misconceptions}
OF_RULES = [id for id, (exercise, _) in MISTAKES.items() if exercise.name in RULES and id != "log_mean_exp_over_rows"]
"""All but the one whose value has another shape, and so asks for other cotangents."""
OF_THE_VAE = {m.id: m.wrong for m in EXERCISES["vae_gradient"].misconceptions}

every_exercise = pytest.mark.parametrize("name", EXERCISES)
every_mistake = pytest.mark.parametrize("id", MISTAKES)
nodes, weights = np.polynomial.hermite_e.hermegauss(20)
weights = weights / weights.sum()
"""Averages over standard normal noise."""


# Numvae's own rules, estimators and objectives, put into the letters of the exercises.


def constant(values: Array) -> Callable[..., Any]:
    """An integrand whose values are given, and whose derivatives are not to be had."""
    return lambda params, z: (values, lambda dvalues: (0.0, np.zeros_like(z), None))


def log_weights(log_likelihood: Array) -> Callable[..., Any]:
    """The integrand log p(x|z) + log p(z) - log q(z), the first being given."""

    def f(params: Array, z: Array) -> tuple[Array, Callable[..., Any]]:
        prior, prior_pullback = Normal().log_prob(np.zeros_like(params), z)
        q, q_pullback = Normal().log_prob(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, None]:
            dparams, dz = q_pullback(-dvalues)
            return dparams, dz + prior_pullback(dvalues)[1], None

        return log_likelihood + prior - q, pullback

    return f


def params_of(given: Any) -> Array:
    return np.concatenate([given["mean"], given["log_std"]], axis=-1)


def by_numvae(name: str, draw: Draw) -> dict[str, Any]:
    """What the package gives for the outputs of an exercise."""
    given, d = draw.arguments, draw.cotangent
    if name == "vae_gradient":
        elbo, g = one_page.elbo_and_gradient(given["p"], given["x"], given["noise"])
        return {"elbo": elbo} | {f"d{weight}": gradient for weight, gradient in g.items()}
    if name == "sample_gradient":
        bound, pullback = sample_bound(**given)
        return dict(zip(("bound", "dW", "db", "dmean", "dvariance"), (bound, *pullback(d)), strict=False))
    if name in ("monte_carlo_bound", "importance_weighted"):
        reduce = sample_mean if name == "monte_carlo_bound" else log_mean_exp
        values = log_weights(given["log_likelihood"])
        bound, pullback = pathwise(Normal(), params_of(given), given["noise"], values, reduce)
        dmean, dlog_std = np.split(pullback(d)[0], 2, axis=-1)
        return {"bound": bound, "dmean": dmean, "dlog_std": dlog_std}
    if name == "analytic_bound":
        reconstruction, mean_pullback = sample_mean(given["log_likelihood"])
        kl, kl_pullback = Normal().kl(params_of(given), np.zeros_like(params_of(given)))
        dmean, dlog_std = np.split(kl_pullback(-d)[0], 2, axis=-1)
        value = {"bound": reconstruction - kl, "dlog_likelihood": mean_pullback(d)[0]}
        return value | {"dmean": dmean, "dlog_std": dlog_std}
    if name == "minibatch_estimate":
        rows = given["log_likelihood"].sum(axis=1)
        estimate, pullback = objectives.minibatch_estimate(rows, given["dataset_rows"])
        log_prior, prior_pullback = objectives.weight_log_prior(given["theta"], given["precision"])
        dlog_likelihood = np.broadcast_to(pullback(d)[0][:, None], given["log_likelihood"].shape)
        value = {"estimate": estimate + log_prior, "dlog_likelihood": dlog_likelihood}
        return value | {"dtheta": prior_pullback(d)[0]}
    if name == "log_mean_exp":
        bound, pullback = log_mean_exp(given["values"])
        return {"bound": bound, "dvalues": pullback(d)[0]}
    if name == "score_function":
        noise = (given["z"] - given["mean"]) / np.exp(given["log_std"])
        f = constant(given["values"])
        _, pullback = baselines.reinforce(Normal(), params_of(given), noise, f, sample_mean)
        dmean, dlog_std = np.split(pullback(np.ones(draw.rows))[0], 2, axis=-1)
        return {"dmean": dmean, "dlog_std": dlog_std}
    if name == "leave_one_out":
        return {"baseline": baselines.mean_of_others(given["values"])}
    return by_layers(name, draw)


def by_layers(name: str, draw: Draw) -> dict[str, Any]:
    given, d = draw.arguments, draw.cotangent
    if name == "two_heads":
        mean, first = layers.affine(given["W_mean"], given["b_mean"], given["h"])
        log_std, second = layers.affine(given["W_log_std"], given["b_log_std"], given["h"])
        (dW_mean, db_mean, dh), (dW_log_std, db_log_std, more) = first(d[0]), second(d[1])
        outputs = {"mean": mean, "log_std": log_std, "dW_mean": dW_mean, "db_mean": db_mean}
        return outputs | {"dW_log_std": dW_log_std, "db_log_std": db_log_std, "dh": dh + more}
    if name == "decoder_gradient":
        a, first = layers.affine(given["W4"], given["b4"], given["z"])
        k, middle = layers.tanh(a)
        logits, second = layers.affine(given["W5"], given["b5"], k)
        log_likelihood, pullback = Bernoulli().log_prob(logits, given["x"])
        dW5, db5, dk = second(pullback(d)[0])
        dW4, db4, dz = first(*middle(dk))
        outputs = {"log_likelihood": log_likelihood, "dW5": dW5, "db5": db5}
        return outputs | {"dW4": dW4, "db4": db4, "dz": dz}
    return {}


# Solutions.


@pytest.mark.parametrize("name", [*(name for name in RULES if name != "free_bits"), "score_function", "leave_one_out"])
def test_the_solution_agrees_with_the_package(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise):
        found = exercise.observe(exercise.solution, draw)
        for output, theirs in by_numvae(name, draw).items():
            np.testing.assert_allclose(found[output], theirs, rtol=1e-9, atol=1e-12, err_msg=output)


def as_rule(exercise: Exercise, function: Callable[..., Any], draw: Draw) -> tuple[Callable[..., Any], list[Any]]:
    """A function of an exercise, and its arguments, as ``check_pullback`` takes them: one gradient for each."""
    given = draw.arguments
    if exercise.name == "vae_gradient":
        names = list(given["p"])

        def summed_over_rows(*weights: Array) -> tuple[Any, Callable[..., Any]]:
            elbo, g = function(dict(zip(names, weights, strict=True)), given["x"], given["noise"])
            return np.sum(elbo), lambda d: tuple(d * g[name] for name in names)

        return summed_over_rows, list(given["p"].values())
    if exercise.name == "sample_gradient":

        def of_four(W: Array, b: Array, mean: Array, variance: Array) -> Any:
            return function(W, b, mean, variance, *(given[name] for name in ("x", "noise", "alpha", "beta")))

        return of_four, [given[name] for name in ("W", "b", "mean", "variance")]
    return function, list(given.values())


@pytest.mark.parametrize("name", RULES)
def test_the_solution_is_a_right_rule(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise, seeds=1):
        rule, arguments = as_rule(exercise, exercise.solution, draw)
        check_pullback(rule, *arguments, directions=3, coordinates=0, tolerance=1e-6).assert_ok()


def test_free_bits_are_those_of_the_package() -> None:
    rng = np.random.default_rng(0)
    params, dcost = rng.standard_normal((5, 6)), rng.uniform(0.5, 2.0, 5)
    per_latent = params.reshape(5, 2, 3).swapaxes(1, 2)
    kl, kl_pullback = Normal().kl(per_latent, np.zeros_like(per_latent))
    divergence = objectives.with_free_bits(mlp_vae(4, latents=3, hidden=[2]), 0.5)
    expected, pullback = divergence(params, np.zeros_like(params))
    cost, cost_pullback = EXERCISES["free_bits"].solution(kl, 0.5)
    dparams = kl_pullback(cost_pullback(dcost)[0])[0].swapaxes(1, 2).reshape(5, 6)
    np.testing.assert_allclose(cost, expected)
    np.testing.assert_allclose(dparams, pullback(dcost)[0])


def test_the_score_function_is_exact_on_average() -> None:
    mean, log_std = np.array([[0.7]]), np.array([[-0.4]])
    z = mean + np.exp(log_std) * nodes[:, None, None]
    one_sample = [
        EXERCISES["score_function"].solution(mean, log_std, z[s : s + 1], z[s : s + 1, :, 0] ** 2) for s in range(20)
    ]
    dmean, dlog_std = (
        np.squeeze(np.tensordot(weights, gradient, axes=1)) for gradient in zip(*one_sample, strict=True)
    )
    assert dmean == pytest.approx(2 * 0.7)  # E[z²] = mean² + exp(2 log_std)
    assert dlog_std == pytest.approx(2 * math.exp(-0.8))


def test_the_surrogate_has_the_right_value_and_both_gradients_on_average() -> None:
    """(errata.1b), for f = c z² under N(mean, 1), whose expectation is c (mean² + 1)."""
    mean, c = 0.7, 3.0
    z = (mean + nodes)[:, None]
    f, log_q = c * z**2, -0.5 * nodes[:, None] ** 2
    value, pullback = EXERCISES["score_surrogate"].solution(f, log_q)
    df, dlog_q = pullback(weights[:, None])
    assert np.sum(weights[:, None] * value) == pytest.approx(c * (mean**2 + 1))
    assert np.sum(df * z**2) == pytest.approx(mean**2 + 1)  # in c
    assert np.sum(dlog_q * (z - mean)) == pytest.approx(2 * c * mean)  # in mean


def average_over_bits(estimate: Callable[..., Any], samples: int) -> float:
    """The mean gradient in the logit of one bit with f(0) = 1 and f(1) = 4, over all that S samples can be."""
    p, f = 0.3, np.array([1.0, 4.0])
    total = 0.0
    for bits in product((0, 1), repeat=samples):
        z = np.array(bits)[:, None]
        _, dlogit = estimate(f[z], (z - p)[..., None])
        total += np.prod(np.where(z, p, 1 - p)) * float(dlogit[0, 0])
    return total


@pytest.mark.parametrize("samples", [2, 4])
def test_leaving_one_out_is_exact_on_average_and_leaving_none_out_is_not(samples: int) -> None:
    exercise, truth = EXERCISES["leave_one_out"], 0.3 * 0.7 * (4.0 - 1.0)
    assert average_over_bits(exercise.solution, samples) == pytest.approx(truth)
    of_all = MISTAKES["baseline_mean_of_all"][1].wrong
    assert average_over_bits(of_all, samples) == pytest.approx(truth * (samples - 1) / samples)


def test_leaving_one_out_is_the_estimator_of_the_package() -> None:
    rng = np.random.default_rng(0)
    params, noise, values = rng.standard_normal((3, 4)), rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3))
    _, pullback = score_function(Normal(), params, noise, constant(values), sample_mean)
    log_std = params[:, 2:]
    scores = np.concatenate([noise / np.exp(log_std), noise**2 - 1], axis=-1)
    _, dparams = EXERCISES["leave_one_out"].solution(values, scores)
    np.testing.assert_allclose(dparams, pullback(np.ones(3))[0])


def test_a_minibatch_is_the_data_set_on_average() -> None:
    rng = np.random.default_rng(0)
    log_likelihood, theta, estimate = (
        rng.standard_normal((6, 3)),
        rng.standard_normal(4),
        EXERCISES["minibatch_estimate"],
    )
    batches = [log_likelihood[list(rows)] for rows in combinations(range(6), 4)]
    mean = np.mean([estimate.solution(batch, theta, 6, 2.0)[0] for batch in batches])
    assert mean == pytest.approx(estimate.solution(log_likelihood, theta, 6, 2.0)[0])


def test_adam_is_that_of_the_package() -> None:
    rng = np.random.default_rng(0)
    numbers = {"step_size": 0.3, "beta1": 0.7, "beta2": 0.9, "epsilon": 0.1}
    theta, optimizer = rng.standard_normal(5), Adam(**numbers)
    ours, m, v, state = theta.copy(), np.zeros(5), np.zeros(5), optimizer.start(theta)
    for t in range(1, 5):
        gradient = rng.standard_normal(5)
        optimizer.ascend(theta, gradient, state)
        ours, m, v = EXERCISES["adam_step"].solution(ours, gradient, m, v, t, **numbers)
        np.testing.assert_allclose(ours, theta, rtol=1e-12)
    np.testing.assert_allclose(m, 0.3 * state["first"])
    np.testing.assert_allclose(v, 0.1 * state["second"])


def test_training_is_a_loop_around_the_packages_adam() -> None:
    for draw in draws(EXERCISES["train_vae"], seeds=1):
        theta, x, orders, noise, batch, gradient, _ = draw.arguments.values()
        theta, optimizer = theta.copy(), Adam(step_size=0.05, beta1=0.7, beta2=0.9, epsilon=0.1)
        state = optimizer.start(theta)
        for order, of_epoch in zip(orders, noise, strict=True):
            for rows in np.split(order, range(batch, len(order), batch)):
                optimizer.ascend(theta, gradient(theta, x[rows], of_epoch[rows]), state)
        np.testing.assert_allclose(EXERCISES["train_vae"].solution(**draw.arguments)[-1], theta, rtol=1e-10)


def test_the_gradient_given_for_training_is_that_of_its_bound() -> None:
    (draw,) = draws(EXERCISES["train_vae"], seeds=1)[:1]
    theta, x, _, noise, _, gradient, _ = draw.arguments.values()

    def bound(theta: Array) -> tuple[Any, Callable[..., Any]]:
        a, c = np.split(theta, 2)
        residual = x - np.outer(x @ a + noise[0], c)
        value = np.mean(-0.5 * np.sum(residual**2, axis=1) - 0.5 * (x @ a) ** 2)
        return value, lambda d: (d * gradient(theta, x, noise[0]),)

    check_pullback(bound, theta).assert_ok()


# Draws.


def shapes(value: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(value, dict):
        for part in value.values():
            yield from shapes(part)
    elif isinstance(value, np.ndarray):
        yield value.shape


@every_exercise
def test_sizes_are_pairwise_distinct_and_change_with_the_rows(name: str) -> None:
    small, large = (EXERCISES[name].draw(np.random.default_rng(0), rows) for rows in (3, 5))
    for shape, other in zip(shapes(dict(small.arguments)), shapes(dict(large.arguments)), strict=True):
        assert len(set(shape)) == len(shape)
        assert all(a != b for a, b in zip(shape, other, strict=True) if a != 2)  # two epochs


@every_exercise
def test_a_draw_repeats_itself(name: str) -> None:
    exercise = EXERCISES[name]
    first, second = (exercise.observe(exercise.solution, exercise.draw(np.random.default_rng(7), 3)) for _ in range(2))
    for output, value in first.items():
        np.testing.assert_array_equal(value, second[output])


# Terms, and what may be said of a mistake.


@every_exercise
def test_outputs_are_the_sums_of_their_terms(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise) if exercise.terms else []:
        found = exercise.observe(exercise.solution, draw)
        for output, terms in exercise.terms(draw).items():
            total = sum(summed(term, np.shape(found[output])) for term in terms.values())
            np.testing.assert_allclose(total, found[output], rtol=1e-9, atol=1e-12, err_msg=output)


def amount(text: str, factors: dict[str, Any]) -> Any:
    """What ``1/(weight·S)`` or ``-1`` is, by the factors' names."""
    if text in factors:
        return np.asarray(factors[text])
    if text.startswith("(") and text.endswith(")"):
        return amount(text[1:-1], factors)
    if "/" in text:
        above, _, below = text.partition("/")
        return amount(above, factors) / amount(below, factors)
    if "·" in text:
        return math.prod(amount(part, factors) for part in text.split("·"))
    if text.endswith("²"):
        return amount(text[:-1], factors) ** 2
    return 0.5 if text == "½" else float(text)


def explains(truth: str, exercise: Exercise, mistake: Misconception) -> bool:
    """Whether the wrong output is what the truth says of it, every other term times some number for each batch size."""
    return all(_explains(truth, exercise, mistake, rows) for rows in (3, 5))


def _explains(truth: str, exercise: Exercise, mistake: Misconception, rows: int) -> bool:
    columns, wrong = [], []
    for draw in (exercise.draw(np.random.default_rng(seed), rows) for seed in range(4)):
        found = np.asarray(seen(exercise, mistake.wrong, draw)[mistake.link])
        factors = dict(exercise.factors(draw)) if exercise.factors else {}
        name, times, text = truth.partition(" × ")
        if times:
            terms = dict(exercise.terms(draw)[mistake.link])
            parts = [amount(text, factors) * np.asarray(terms.pop(name)), *terms.values()]
        else:
            parts = [amount(truth, factors) * exercise.observe(exercise.solution, draw)[mistake.link]]
        columns.append(np.stack([summed(part, found.shape).ravel() for part in parts], axis=1))
        wrong.append(found.ravel())
    matrix, y = np.concatenate(columns), np.concatenate(wrong)
    rest, *_ = np.linalg.lstsq(matrix[:, 1:], y - matrix[:, 0], rcond=None)
    return np.allclose(matrix[:, 0] + matrix[:, 1:] @ rest, y, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("id", [id for id, (_, m) in MISTAKES.items() if m.truth])
def test_the_truth_of_a_mistake_is_what_is_wrong(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    assert explains(mistake.truth, exercise, mistake)


def test_a_false_truth_explains_nothing() -> None:
    exercise, mistake = MISTAKES["variance_of_003"]
    for false in ("likelihood × 1/noise", "prior × 0", "entropy × -1", "½"):
        assert not explains(false, exercise, mistake)


# Misconceptions.


@every_mistake
def test_a_mistake_shows_at_its_link_first(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    for draw in draws(exercise):
        right, wrong = seen(exercise, exercise.solution, draw), seen(exercise, mistake.wrong, draw)
        assert list(wrong) == list(right)
        first = next(name for name in right if not same(wrong[name], right[name], tolerance=1e-6))
        assert first == mistake.link


def pullback_is_right(exercise: Exercise, function: Callable[..., Any], draw: Draw, step: float = 1e-5) -> bool:
    """One finite difference, of all arguments at once; ``check_pullback`` would go on to find where it is wrong."""
    rule, arguments = as_rule(exercise, function, draw)
    rng = np.random.default_rng(0)
    values, pullback = rule(*arguments)
    values = values if isinstance(values, tuple) else (values,)
    cotangents = [rng.standard_normal(np.shape(value)) for value in values]
    gradients = [0.0 if g is None else g for g in pullback(*cotangents)]
    changes = [
        0.0 * a if np.ndim(g) == 0 else rng.standard_normal(a.shape) for a, g in zip(arguments, gradients, strict=True)
    ]
    if any(np.ndim(g) and np.shape(g) != np.shape(a) for a, g in zip(arguments, gradients, strict=True)):
        return False

    def at(distance: float) -> float:
        moved, _ = rule(*(a + distance * change for a, change in zip(arguments, changes, strict=True)))
        moved = moved if isinstance(moved, tuple) else (moved,)
        return sum(float(np.sum(c * value)) for c, value in zip(cotangents, moved, strict=True))

    analytic = sum(float(np.sum(g * change)) for g, change in zip(gradients, changes, strict=True))
    return bool(np.isclose((at(step) - at(-step)) / (2 * step), analytic, rtol=1e-5))


@pytest.mark.parametrize("id", OF_RULES)
def test_the_named_proof_rejects_a_mistake(id: str) -> None:
    """One of the law has the right gradient of a wrong value; a check of the pullback alone lets it pass."""
    exercise, mistake = MISTAKES[id]
    draw = exercise.draw(np.random.default_rng(0), 3)
    with np.errstate(all="ignore"):
        assert mistake.proof == ("law" if pullback_is_right(exercise, mistake.wrong, draw) else "pullback")


@every_exercise
def test_no_two_mistakes_of_an_exercise_are_the_same(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise, seeds=1):
        found = [seen(exercise, m.wrong, draw) for m in exercise.misconceptions]
        for first, second in combinations(found, 2):
            assert not all(same(first[output], second[output]) for output in first)


def test_the_lines_of_the_vae_are_those_of_its_solution() -> None:
    """Only then does a misconception differ from it in what it replaces alone."""
    exercise = EXERCISES["vae_gradient"]
    for draw in draws(exercise):
        ours, theirs = exercise.observe(exercise.solution, draw), exercise.observe(_vae, draw)
        for output in ours:
            np.testing.assert_allclose(theirs[output], ours[output], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("id", OF_THE_VAE)
def test_a_vae_with_a_mistake_still_runs(id: str) -> None:
    """Hundreds of steps, without a warning or a number that is none: there one has to find it."""
    rng = np.random.default_rng(0)
    D, H, Z = 9, 6, 3
    x = (rng.random((20, D)) < rng.uniform(0.1, 0.9, D)).astype(float)
    shapes = {"W1": (D, H), "b1": H, "W2": (H, Z), "b2": Z, "W3": (H, Z), "b3": Z}
    p = {name: 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    p |= {
        name: 0.3 * rng.standard_normal(shape) for name, shape in {"W4": (Z, H), "b4": H, "W5": (H, D), "b5": D}.items()
    }
    optimizer = Adam(step_size=0.01)
    states = {name: optimizer.start(weights) for name, weights in p.items()}
    for _ in range(200):
        elbo, g = OF_THE_VAE[id](p, x, rng.standard_normal((20, Z)))
        for name, weights in p.items():
            optimizer.ascend(weights, g[name], states[name])
    assert np.isfinite(elbo).all()
    assert all(np.isfinite(weights).all() for weights in p.values())


# What teaches.


@every_exercise
def test_an_exercise_has_misconceptions_with_all_that_teaches(name: str) -> None:
    mistakes = EXERCISES[name].misconceptions
    assert len(mistakes) >= 3
    for mistake in mistakes:
        assert mistake.wrong.__doc__
        assert mistake.message.startswith(("You", "The", "Each", "All", "A "))
        assert mistake.message.endswith(".")
        assert len(set(mistake.hints)) == 3
        assert mistake.source


def test_ids_are_unique() -> None:
    assert len(MISTAKES) == sum(len(exercise.misconceptions) for exercise in EXERCISES.values())


@every_exercise
def test_labels_stand_in_the_derivations(name: str) -> None:
    exercise = EXERCISES[name]
    for label in {*exercise.labels, *(m.label for m in exercise.misconceptions)}:
        page = (DERIVATIONS / f"{label.split('.')[0]}.md").read_text(encoding="utf-8")
        assert re.search(rf"^\*\*\({re.escape(label)}\)\*\*$", page, re.MULTILINE), label


@every_exercise
def test_the_stub_runs_up_to_what_is_to_be_written(name: str) -> None:
    exercise = EXERCISES[name]
    space: dict[str, Any] = {}
    exec(compile(exercise.stub, f"{name}.py", "exec"), space)
    draw = exercise.draw(np.random.default_rng(0), 3)
    with pytest.raises(NotImplementedError, match=f"write {name} here"):
        space[name](**draw.arguments)
