"""The first part of the ladder, from a finite difference to a gamma sample: solutions, draws and misconceptions."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import layers
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.erlang import Erlang
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.exercises.contract import Draw, Exercise, Misconception, Observation
from numvae.exercises.diagnosis import diagnose

DERIVATIONS = Path(__file__).parents[2] / "derivations"
NO_RULES = ("finite_difference", "error_curve")
RULES = (
    "affine",
    "tanh",
    "sigmoid",
    "relu",
    "softplus",
    "perceptron",
    "bernoulli_log_prob",
    "normal_log_prob",
    "poisson_log_prob",
    "normal_kl",
    "reparameterize",
    "reparameterize_log_variance",
    "reparameterize_variance",
    "exponential_sample",
    "erlang_sample",
    "gamma_sample",
)
EXERCISES: dict[str, Exercise] = {
    name: importlib.import_module(f"numvae.exercises.ladder.{name}").EXERCISE for name in (*NO_RULES, *RULES)
}
MISTAKES = {m.id: (exercise, m) for exercise in EXERCISES.values() for m in exercise.misconceptions}
RULE_MISTAKES = {id: pair for id, pair in MISTAKES.items() if pair[0].name in RULES}
BATCHES = (3, 5)

every_exercise = pytest.mark.parametrize("name", EXERCISES)
every_rule = pytest.mark.parametrize("name", RULES)
every_mistake = pytest.mark.parametrize("id", MISTAKES)


def draws(exercise: Exercise, seeds: int = 4) -> list[Draw]:
    return [exercise.draw(np.random.default_rng(seed), rows) for seed in range(seeds) for rows in BATCHES]


def seen(exercise: Exercise, function: Callable[..., Any], draw: Draw) -> Observation:
    """What a function gives, undisturbed by its warnings."""
    with np.errstate(all="ignore"):
        return exercise.observe(function, draw)


def same(found: Any, expected: Any, tolerance: float = 1e-9) -> bool:
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or not np.isfinite([found, expected]).all():
        return False
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()))


# Numvae's own rules, put into the letters of the exercises.


def by_numvae(name: str, draw: Draw) -> list[Array]:
    """Value and gradients by the rules of the package, in the order of ``observe``."""
    given, d = draw.arguments, draw.cotangent
    if name in ("affine", "tanh", "sigmoid", "relu", "softplus"):
        value, pullback = getattr(layers, name)(**given)
        return [value, *pullback(d)]
    if name == "perceptron":
        a, first = layers.affine(given["W1"], given["b1"], given["x"])
        h, middle = layers.tanh(a)
        y, second = layers.affine(given["W2"], given["b2"], h)
        dW2, db2, dh = second(d)
        dW1, db1, _ = first(*middle(dh))
        return [y, dW2, db2, dW1, db1]
    if name == "bernoulli_log_prob":
        value, pullback = Bernoulli().log_prob(given["logits"], given["x"])
        return [value, pullback(d)[0]]
    if name == "poisson_log_prob":
        value, pullback = Poisson().log_prob(given["log_rate"], given["x"])
        return [value, pullback(d)[0]]
    if name == "exponential_sample":
        z, pullback = Exponential().sample(given["log_rate"], given["noise"])
        return [z, pullback(d)[0]]
    if name == "erlang_sample":
        order, rows, latents = given["noise"].shape
        side_by_side = given["noise"].transpose(1, 0, 2).reshape(1, rows, order * latents)
        z, pullback = Erlang(order=order).sample(given["log_rate"], side_by_side)
        return [z[0], pullback(d[None])[0]]
    if name == "gamma_sample":
        shape, scale = given["shape"], given["scale"]
        z, pullback = Gamma().sample(np.concatenate([np.log(shape), -np.log(scale)], axis=-1), given["noise"][None])
        dlog_shape, dlog_rate = np.split(pullback(d[None])[0], 2, axis=-1)
        return [z[0], dlog_shape / shape, -dlog_rate / scale]
    return by_the_normal(name, draw)


def by_the_normal(name: str, draw: Draw) -> list[Array]:
    given, d, q = draw.arguments, draw.cotangent, Normal()
    per_log_std: Array | float = 1.0  # d log_std / d the exercise's own parameter
    if name == "reparameterize_log_variance":
        log_std, per_log_std = given["log_variance"] / 2, 0.5
    elif name == "reparameterize_variance":
        log_std, per_log_std = np.log(given["variance"]) / 2, 0.5 / given["variance"]
    else:
        log_std = given["log_std"]
    params = np.concatenate([given["mean"], log_std], axis=-1)
    if name == "normal_log_prob":
        value, pullback = q.log_prob(params, given["x"])
        dparams, *rest = pullback(d)
    elif name == "normal_kl":
        prior = np.full_like(params, -np.log(given["alpha"]) / 2)
        prior[:, : given["mean"].shape[-1]] = 0
        value, pullback = q.kl(params, prior)
        dparams, rest = pullback(d)[0], []
    else:
        z, pullback = q.sample(params, given["noise"][None])
        value, dparams, rest = z[0], pullback(d[None])[0], []
    dmean, dlog_std = np.split(dparams, 2, axis=-1)
    return [value, dmean, per_log_std * dlog_std, *rest]


# Solutions.


@every_rule
def test_the_solution_agrees_with_the_rule_of_the_package(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise):
        found = exercise.observe(exercise.solution, draw)
        for (output, ours), theirs in zip(found.items(), by_numvae(name, draw), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-13, err_msg=output)


@every_rule
def test_the_solution_is_a_right_rule(name: str) -> None:
    for draw in draws(EXERCISES[name], seeds=1):
        check_pullback(EXERCISES[name].solution, *draw.arguments.values()).assert_ok()


def test_the_finite_difference_comes_near_the_gradient_by_hand_like_the_square_of_the_step() -> None:
    exercise = EXERCISES["finite_difference"]
    for draw in draws(exercise):
        f, x, _ = draw.arguments.values()
        errors = [np.abs(exercise.solution(f, x, step) - f.gradient(x)).max() for step in (0.1, 0.01, 0.001)]
        assert errors[0] / errors[1] == pytest.approx(100, rel=1e-3)
        assert errors[2] < 1e-5


def test_the_error_curve_is_least_at_its_best_step() -> None:
    exercise = EXERCISES["error_curve"]
    for draw in draws(exercise):
        _, best = exercise.solution(**draw.arguments)
        around = best * np.array([0.8, 0.99, 1.0, 1.01, 1.25])
        errors, _ = exercise.solution(**draw.arguments | {"steps": around})
        assert errors.argmin() == 2


def test_the_error_curve_foretells_the_errors_of_float32() -> None:
    x, steps = np.float32(0.7), 2.0 ** -np.arange(1, 15)
    value, slope, third = math.exp(0.7), math.exp(0.7), math.exp(0.7)
    foretold, best = EXERCISES["error_curve"].solution(steps, value, slope, third, "float32")
    points = x + np.linspace(-0.01, 0.01, 101, dtype=np.float32)  # rounding is luck: so look at many points
    wide = [
        np.abs((np.exp(points + h) - np.exp(points - h)) / (2 * h) / np.exp(points.astype(float)) - 1)
        for h in steps.astype(np.float32)
    ]
    measured = np.array([np.sqrt(np.mean(errors**2)) for errors in wide])
    assert np.all(measured < 2 * foretold)
    assert np.all(measured > foretold / 20)
    assert steps[measured.argmin()] == pytest.approx(best, rel=2)


# Other right ways to write them.


def difference_in_place(f, x, step):  # type: ignore[no-untyped-def]
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        here = x[place]
        x[place] = here + step
        above = f(x)
        x[place] = here - step
        gradient[place] = (above - f(x)) / step / 2
        x[place] = here
    return gradient


def affine_by_einsum(W, b, x):  # type: ignore[no-untyped-def]
    y = np.einsum("ri,ij->rj", x, W) + b[None]
    return y, lambda dy: (np.einsum("ri,rj->ij", x, dy), np.ones(len(x)) @ dy, (W @ dy.T).T)


def tanh_by_exponentials(x):  # type: ignore[no-untyped-def]
    up, down = np.exp(x), np.exp(-x)
    return (up - down) / (up + down), lambda dy: (dy * 4 / (up + down) ** 2,)


def sigmoid_with_warnings(x):  # type: ignore[no-untyped-def]
    y = 1 / (1 + np.exp(-x))
    return y, lambda dy: (dy * (y - y * y),)


def relu_by_where(x):  # type: ignore[no-untyped-def]
    return np.where(x > 0, x, 0.0), lambda dy: (np.where(x > 0, dy, 0.0),)


def softplus_by_logaddexp(x):  # type: ignore[no-untyped-def]
    y = np.logaddexp(0, x)
    return y, lambda dy: (-dy * np.expm1(-y),)


def bernoulli_by_scipy(logits, x):  # type: ignore[no-untyped-def]
    from scipy.special import expit, log_expit

    terms = x * log_expit(logits) + (1 - x) * log_expit(-logits)
    return terms.sum(axis=1), lambda d: (np.einsum("r,rj->rj", d, x - expit(logits)), None)


def normal_by_scipy(mean, log_std, x):  # type: ignore[no-untyped-def]
    from scipy.stats import norm

    precision, apart = np.exp(-2 * log_std), x - mean
    terms = norm(mean, np.exp(log_std)).logpdf(x)

    def pullback(d):  # type: ignore[no-untyped-def]
        dmean = apart * precision * d[:, np.newaxis]
        return dmean, dmean * apart - d[:, np.newaxis], -dmean

    return terms.sum(axis=1), pullback


def kl_by_differences_of_logs(mean, log_std, alpha):  # type: ignore[no-untyped-def]
    prior = 1 / np.sqrt(alpha)
    kl = np.sum(np.log(prior) - log_std + (np.exp(log_std * 2) + mean * mean) / (2 * prior**2) - 1 / 2, axis=1)
    return kl, lambda d: ((mean.T * d).T * alpha, (np.expm1(2 * log_std + np.log(alpha)).T * d).T, None)


def gamma_in_log_x(shape, scale, noise):  # type: ignore[no-untyped-def]
    from scipy.special import gammaincinv
    from scipy.stats import gamma

    z, h = gamma.ppf(noise, shape, scale=scale), 2e-5
    slope = (gamma.cdf(z, shape + h, scale=scale) - gamma.cdf(z, shape - h, scale=scale)) / (2 * h)
    return z, lambda dz: (-dz * slope / gamma.pdf(z, shape, scale=scale), gammaincinv(shape, noise) * dz, None)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("finite_difference", difference_in_place),
        ("affine", affine_by_einsum),
        ("tanh", tanh_by_exponentials),
        ("sigmoid", sigmoid_with_warnings),
        ("relu", relu_by_where),
        ("softplus", softplus_by_logaddexp),
        ("bernoulli_log_prob", bernoulli_by_scipy),
        ("normal_log_prob", normal_by_scipy),
        ("normal_kl", kl_by_differences_of_logs),
        ("gamma_sample", gamma_in_log_x),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_another_right_solution_is_accepted(name: str, other: Callable[..., Any]) -> None:
    assert diagnose(EXERCISES[name], other).ok


@every_mistake
def test_a_mistake_is_named(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    assert diagnose(exercise, mistake.wrong).verdict == mistake.message


# Draws.


def sizes(draw: Draw) -> list[tuple[int, ...]]:
    return [a.shape for a in draw.arguments.values() if isinstance(a, np.ndarray)]


@every_exercise
def test_sizes_are_pairwise_distinct_and_change_with_the_rows(name: str) -> None:
    small, large = (EXERCISES[name].draw(np.random.default_rng(0), rows) for rows in BATCHES)
    for shape, other in zip(sizes(small), sizes(large), strict=True):
        assert len(set(shape)) == len(shape)
        assert all(a != b for a, b in zip(shape, other, strict=True))
    if name not in NO_RULES:
        assert np.std(np.asarray(small.cotangent)) > 0


@every_exercise
def test_a_draw_repeats_itself(name: str) -> None:
    exercise = EXERCISES[name]
    first, second = (exercise.observe(exercise.solution, exercise.draw(np.random.default_rng(7), 3)) for _ in range(2))
    for output, value in first.items():
        np.testing.assert_array_equal(value, second[output])


# Terms, and what may be said of a mistake.


def summed(term: Any, shape: tuple[int, ...]) -> Array:
    """A term in the shape of its output: a sum over latents, features or samples is taken here."""
    array = np.asarray(term, dtype=np.float64)
    if array.ndim == len(shape):
        return array
    return array.sum(axis=-1) if array.shape[:-1] == shape else array.sum(axis=0)


@every_exercise
def test_outputs_are_the_sums_of_their_terms(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise) if exercise.terms else []:
        found = exercise.observe(exercise.solution, draw)
        for output, terms in exercise.terms(draw).items():
            total = sum(summed(term, found[output].shape) for term in terms.values())
            np.testing.assert_allclose(total, found[output], rtol=1e-9, atol=1e-12, err_msg=output)


def amount(text: str, factors: dict[str, Any]) -> Any:
    """What ``½/std²`` or ``2·std`` is, by the factors' names."""
    numbers = {"½": 0.5}
    above, _, below = text.partition("/")

    def part(word: str) -> Any:
        if word in factors:
            return np.asarray(factors[word])
        if word.endswith("²"):
            return np.asarray(factors[word[:-1]]) ** 2
        return numbers[word] if word in numbers else float(word)

    return math.prod(map(part, above.split("·"))) / (part(below) if below else 1.0)


def explains(truth: str, exercise: Exercise, mistake: Misconception) -> bool:
    """Whether the wrong output is what the truth says of it, with every other term times some number."""
    columns, wrong = [], []
    for draw in draws(exercise):
        found = np.asarray(seen(exercise, mistake.wrong, draw)[mistake.link])
        first = next(iter(exercise.observe(exercise.solution, draw)))
        known = dict(exercise.factors(draw)) if exercise.factors else {}
        factors = {**draw.arguments, f"d{first}": draw.cotangent, **known}
        if " × " in truth:
            name, text = truth.split(" × ")
            terms = dict(exercise.terms(draw)[mistake.link])
            scaled = amount(text, factors) * np.asarray(terms.pop(name))
            parts = [scaled, *terms.values()]
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
    exercise, mistake = MISTAKES["kl_without_log_alpha"]
    assert explains("-½ log α × 0", exercise, mistake)
    assert not explains("½ α std² × 0", exercise, mistake)
    assert not explains("2", exercise, mistake)


# Misconceptions.


@every_mistake
def test_a_mistake_shows_at_its_link_first(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    for draw in draws(exercise):
        right, wrong = seen(exercise, exercise.solution, draw), seen(exercise, mistake.wrong, draw)
        assert list(wrong) == list(right)
        first = next(name for name in right if not same(wrong[name], right[name], tolerance=1e-6))
        assert first == mistake.link


@pytest.mark.parametrize("id", RULE_MISTAKES)
def test_the_named_proof_rejects_a_mistake(id: str) -> None:
    """One of the law has the right gradient of a wrong value; a check of the pullback alone lets it pass."""
    exercise, mistake = MISTAKES[id]
    draw = exercise.draw(np.random.default_rng(0), 3)
    with np.errstate(all="ignore"):
        ok = check_pullback(mistake.wrong, *draw.arguments.values()).ok
    assert mistake.proof == ("law" if ok else "pullback")


@pytest.mark.parametrize("name", EXERCISES)
def test_no_two_mistakes_of_an_exercise_are_the_same(name: str) -> None:
    exercise = EXERCISES[name]
    for draw in draws(exercise, seeds=1):
        found = [seen(exercise, m.wrong, draw) for m in exercise.misconceptions]
        for k, first in enumerate(found):
            for second in found[:k]:
                assert not all(same(first[output], second[output]) for output in first)


@every_exercise
def test_an_exercise_has_misconceptions_with_all_that_teaches(name: str) -> None:
    mistakes = EXERCISES[name].misconceptions
    assert len(mistakes) >= 3
    for mistake in mistakes:
        assert mistake.wrong.__doc__
        assert mistake.message.endswith(".")
        assert len(mistake.hints) == 3
        assert "return" not in " ".join(mistake.hints)


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
