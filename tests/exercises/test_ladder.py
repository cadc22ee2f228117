"""Every rung of the ladder: its solution, its draws, its terms, and what its misconceptions are said to be."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.exercises.contract import Draw, Exercise, Misconception
from numvae.exercises.diagnosis import diagnose
from numvae.exercises.explaining import Sample, opened, quantities, summed
from numvae.exercises.factors import fitted
from numvae.exercises.ladder import ORDER
from tests.exercises.by_the_package import by_the_package
from tests.exercises.ladder import (
    EXERCISES,
    MISCONCEPTIONS,
    MISTAKES,
    NO_RULES,
    RULES,
    draws,
    every_exercise,
    every_mistake,
    every_rule,
    same,
    seen,
)

DERIVATIONS = Path(__file__).parents[2] / "derivations"
ELSEWHERE = NO_RULES - {"score_function", "leave_one_out"} | {"score_surrogate", "free_bits"}
"""Held against the package, or against the truth, among what is special to single rungs."""
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}


def test_the_ladder_has_every_rung_once() -> None:
    assert [exercise.name for exercise in EXERCISES] == list(ORDER)
    assert len(MISTAKES) == len(MISCONCEPTIONS) >= 60


# Solutions.


@pytest.mark.parametrize("name", [name for name in ORDER if name not in ELSEWHERE])
def test_the_solution_agrees_with_the_package(name: str) -> None:
    exercise = BY_NAME[name]
    for draw in draws(exercise):
        found, theirs = exercise.observe(exercise.solution, draw), by_the_package(name, draw)
        assert theirs.keys() & found.keys()
        for output in theirs.keys() & found.keys():
            np.testing.assert_allclose(found[output], theirs[output], rtol=1e-8, atol=1e-12, err_msg=output)


@every_rule
def test_the_solution_is_a_right_rule(exercise: Exercise) -> None:
    (draw, _) = draws(exercise, seeds=1)
    rule, arguments = as_rule(exercise, exercise.solution, draw)
    arguments = [np.where(a == 0, 0.5, a) if isinstance(a, np.ndarray) else a for a in arguments]  # off ReLU's kink
    check_pullback(rule, *arguments, directions=3, coordinates=0, tolerance=1e-6).assert_ok()


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


# Other right ways to write them.


def difference_in_place(f, x, step):
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        here = x[place]
        x[place] = here + step
        above = f(x)
        x[place] = here - step
        gradient[place] = (above - f(x)) / step / 2
        x[place] = here
    return gradient


def affine_by_einsum(W, b, x):
    y = np.einsum("ri,ij->rj", x, W) + b[None]
    return y, lambda dy: (np.einsum("ri,rj->ij", x, dy), np.ones(len(x)) @ dy, (W @ dy.T).T)


def tanh_by_exponentials(x):
    up, down = np.exp(x), np.exp(-x)
    return (up - down) / (up + down), lambda dy: (dy * 4 / (up + down) ** 2,)


def sigmoid_with_warnings(x):
    y = 1 / (1 + np.exp(-x))
    return y, lambda dy: (dy * (y - y * y),)


def relu_by_where(x):
    return np.where(x > 0, x, 0.0), lambda dy: (np.where(x > 0, dy, 0.0),)


def softplus_by_logaddexp(x):
    y = np.logaddexp(0, x)
    return y, lambda dy: (-dy * np.expm1(-y),)


def bernoulli_by_scipy(logits, x):
    from scipy.special import expit, log_expit

    terms = x * log_expit(logits) + (1 - x) * log_expit(-logits)
    return terms.sum(axis=1), lambda d: (np.einsum("r,rj->rj", d, x - expit(logits)), None)


def normal_by_scipy(mean, log_std, x):
    from scipy.stats import norm

    precision, apart = np.exp(-2 * log_std), x - mean
    terms = norm(mean, np.exp(log_std)).logpdf(x)

    def pullback(d):
        dmean = apart * precision * d[:, np.newaxis]
        return dmean, dmean * apart - d[:, np.newaxis], -dmean

    return terms.sum(axis=1), pullback


def kl_by_differences_of_logs(mean, log_std, alpha):
    prior = 1 / np.sqrt(alpha)
    kl = np.sum(np.log(prior) - log_std + (np.exp(log_std * 2) + mean * mean) / (2 * prior**2) - 1 / 2, axis=1)
    return kl, lambda d: ((mean.T * d).T * alpha, (np.expm1(2 * log_std + np.log(alpha)).T * d).T, None)


def gamma_in_log_x(shape, scale, noise):
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
    assert diagnose(BY_NAME[name], other).ok


class Rewritten(ast.NodeTransformer):
    """The same function by other operations in another order, for some of its operations."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        a, b = node.left, node.right
        if self.rng.random() < 0.3:
            return node
        if isinstance(node.op, ast.Add | ast.Mult):
            return ast.BinOp(b, node.op, a)
        if isinstance(node.op, ast.Sub):
            return ast.UnaryOp(ast.USub(), ast.BinOp(b, ast.Sub(), a))
        if isinstance(node.op, ast.Div):
            return ast.BinOp(a, ast.Mult(), ast.BinOp(ast.Constant(1.0), ast.Div(), b))
        if isinstance(node.op, ast.Pow) and isinstance(b, ast.Constant) and b.value == 2:
            return ast.BinOp(a, ast.Mult(), a)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if ast.unparse(node.func) == "np.sum" and self.rng.random() < 0.7:
            return ast.Call(ast.parse("np.add.reduce", mode="eval").body, node.args, node.keywords or [NO_AXIS])
        return node


NO_AXIS = ast.keyword("axis", ast.Constant(None))


@every_exercise
@pytest.mark.parametrize("seed", range(2))
def test_the_solution_rewritten_is_accepted(exercise: Exercise, seed: int) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(exercise.solution)))
    rewritten = ast.fix_missing_locations(Rewritten(np.random.default_rng(seed)).visit(tree))
    space: dict[str, Any] = {"np": np}
    exec(compile(rewritten, f"{exercise.name}.py", "exec"), space)
    finding = diagnose(exercise, space[exercise.solution.__name__])
    assert finding.ok, f"{finding}\n{ast.unparse(rewritten)}"


# Draws.


def shapes(value: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(value, dict):
        for part in value.values():
            yield from shapes(part)
    elif isinstance(value, np.ndarray):
        yield value.shape


@every_exercise
def test_sizes_are_pairwise_distinct_and_change_with_the_rows(exercise: Exercise) -> None:
    small, large = (exercise.draw(np.random.default_rng(0), rows) for rows in (3, 5))
    for shape, other in zip(shapes(dict(small.arguments)), shapes(dict(large.arguments)), strict=True):
        assert len(set(shape)) == len(shape)
        assert all(a != b for a, b in zip(shape, other, strict=True) if a != 2)  # two epochs
    if isinstance(small.cotangent, np.ndarray):
        assert np.std(small.cotangent) > 0


@every_exercise
def test_a_draw_repeats_itself(exercise: Exercise) -> None:
    first, second = (exercise.observe(exercise.solution, exercise.draw(np.random.default_rng(7), 3)) for _ in range(2))
    for output, value in first.items():
        np.testing.assert_array_equal(value, second[output])


# Terms, and what may be said of a mistake.


@every_exercise
@pytest.mark.parametrize("closely", [False, True], ids=["whole", "taken apart"])
def test_outputs_are_the_sums_of_their_terms(exercise: Exercise, closely: bool) -> None:
    for draw in draws(exercise) if exercise.terms else []:
        found = exercise.observe(exercise.solution, draw)
        for output, terms in opened(exercise.terms(draw), closely).items():
            columns = [summed(term, np.shape(found[output])) for term in terms.values()]
            assert all(column is not None for column in columns), (output, list(terms))
            np.testing.assert_allclose(sum(columns), found[output], rtol=1e-9, atol=1e-11, err_msg=output)


@every_exercise
def test_readings_name_what_stands_for_what_and_change_the_outputs(exercise: Exercise) -> None:
    (draw, _) = draws(exercise, seeds=1)
    right = exercise.observe(exercise.solution, draw)
    for said, turned in exercise.readings.items():
        assert re.fullmatch(r".+ for .+", said)
        read = exercise.observe(exercise.solution, turned(draw))
        assert not all(same(read[output], right[output]) for output in right)


def amount(text: str, factors: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """What ``½/std²`` or ``x (1 - x)/y`` is in this shape, by the factors' names, the longest first."""
    names = sorted(factors, key=len, reverse=True)
    words = "|".join(rf"(?<![A-Za-z_]){re.escape(name)}(?![A-Za-z_0-9])" for name in names)
    numbered = re.sub(words, lambda found: f" f[{names.index(found.group())}] ", text)
    for sign, python in (("·", "*"), ("²", "**2"), ("½", "0.5"), ("√", "np.sqrt")):
        numbered = numbered.replace(sign, python)
    numbered = re.sub(r"np\.sqrt *(f\[\d+\])", r"np.sqrt(\1)", numbered)
    return eval(numbered, {"np": np, "f": [fitted(factors[name], shape) for name in names]})


def of_formulas(exercise: Exercise, mistake: Misconception) -> bool:
    """Whether a truth is one in terms and factors, and not in words or other arguments."""
    *_, after = mistake.truth.rpartition(" for ")
    words = ("where ", "independent of ", "mixes rows", "the same everywhere")
    if not mistake.truth or mistake.truth.startswith(words) or " given to " in mistake.truth:
        return False
    return " for " not in mistake.truth or after in (mistake.link, *terms_of(exercise, mistake, draws(exercise)[0]))


def terms_of(exercise: Exercise, mistake: Misconception, draw: Draw) -> dict[str, Any]:
    """The terms of the wrong output, taken apart where the truth speaks of a part."""
    terms = exercise.terms(draw) if exercise.terms else {}
    whole, apart = (opened(terms, closely).get(mistake.link, {}) for closely in (False, True))
    spoken = re.split(" × | for ", mistake.truth)
    return apart if any(word in apart and word not in whole for word in spoken) else whole


def columns_of(truth: str, exercise: Exercise, mistake: Misconception, draw: Draw) -> list[Any]:
    """What the wrong output is by a truth, and then the terms that it does not speak of, in any amount."""
    outputs = exercise.observe(exercise.solution, draw)
    right, terms = outputs[mistake.link], terms_of(exercise, mistake, draw)
    factors = quantities(exercise, mistake.link, Sample(draw, right, right, outputs))

    def times(term: Any, text: str) -> Any:
        term = np.asarray(term, dtype=np.float64)
        if term.ndim < np.ndim(right):
            term = summed(term, np.shape(right))
        return summed(term * amount(text, factors, term.shape), np.shape(right))

    if truth.endswith(" added"):
        return [right + amount(truth.removesuffix(" added"), factors, np.shape(right))]
    if " for " in truth:
        product, name = truth.split(" for ")
        rest = sum(summed(term, np.shape(right)) for other, term in terms.items() if other != name)
        return [amount(product, factors, np.shape(right)) + (rest if name in terms else 0.0)]
    if " × " in truth:
        name, text = truth.split(" × ")
        scaled = times(terms.pop(name), text)
        return [scaled, *(summed(term, np.shape(right)) for term in terms.values())]
    return [sum(times(term, truth) for term in (terms or {"": right}).values())]


def explains(truth: str, exercise: Exercise, mistake: Misconception) -> bool:
    """Whether the wrong output is what the truth says of it, every other term times some number for each batch size."""
    for rows in (3, 5):
        columns, wrong = [], []
        for draw in (exercise.draw(np.random.default_rng(seed), rows) for seed in range(4)):
            found = np.asarray(seen(exercise, mistake.wrong, draw)[mistake.link])
            parts = columns_of(truth, exercise, mistake, draw)
            columns.append(np.stack([np.broadcast_to(part, found.shape).ravel() for part in parts], axis=1))
            wrong.append(found.ravel())
        matrix, y = np.concatenate(columns), np.concatenate(wrong)
        rest, *_ = np.linalg.lstsq(matrix[:, 1:], y - matrix[:, 0], rcond=None)
        if not np.allclose(matrix[:, 0] + matrix[:, 1:] @ rest, y, rtol=1e-8, atol=1e-9):
            return False
    return True


@pytest.mark.parametrize("id", [m.id for exercise, m in MISCONCEPTIONS if of_formulas(exercise, m)])
def test_the_truth_of_a_mistake_is_what_is_wrong(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    assert explains(mistake.truth, exercise, mistake)


@pytest.mark.parametrize(
    ("id", "truth"),
    [
        ("kl_without_log_alpha", "½ α std² × 0"),
        ("kl_without_log_alpha", "2"),
        ("variance_of_003", "likelihood × 1/noise"),
        ("variance_of_003", "prior × 0"),
        ("variance_of_003", "entropy × -1"),
        ("variance_of_003", "½"),
        ("adam_no_correction", "step_size·m_t/(√v_hat + epsilon) for step"),
        ("perceptron_before_tanh", "h dy × h/a"),
    ],
)
def test_a_false_truth_explains_nothing(id: str, truth: str) -> None:
    assert not explains(truth, *MISTAKES[id])


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
    gradients = [
        np.zeros(np.shape(a)) if g is None else g for a, g in zip(arguments, pullback(*cotangents), strict=True)
    ]
    fixed = [g is None for g in pullback(*cotangents)]
    if any(np.shape(g) != np.shape(a) for a, g in zip(arguments, gradients, strict=True)):
        return False
    changes = [  # at a kink, which is at 0, there is no difference to take
        0.0 if still else rng.standard_normal(np.shape(a)) * (np.asarray(a) != 0)
        for a, still in zip(arguments, fixed, strict=True)
    ]

    def at(distance: float) -> float:
        moved, _ = rule(*(a + distance * change for a, change in zip(arguments, changes, strict=True)))
        moved = moved if isinstance(moved, tuple) else (moved,)
        return sum(float(np.sum(c * value)) for c, value in zip(cotangents, moved, strict=True))

    analytic = sum(float(np.sum(g * change)) for g, change in zip(gradients, changes, strict=True))
    return bool(np.isclose((at(step) - at(-step)) / (2 * step), analytic, rtol=1e-5))


@pytest.mark.parametrize(
    "id", [m.id for exercise, m in MISCONCEPTIONS if exercise in RULES and m.id != "log_mean_exp_over_rows"]
)
def test_the_named_proof_rejects_a_mistake(id: str) -> None:
    """One of the law has the right gradient of a wrong value; a check of the pullback alone lets it pass."""
    exercise, mistake = MISTAKES[id]
    draw = exercise.draw(np.random.default_rng(0), 3)
    with np.errstate(all="ignore"):
        assert mistake.proof == ("law" if pullback_is_right(exercise, mistake.wrong, draw) else "pullback")


def test_every_mistake_says_which_proof_rejects_it() -> None:
    """Those of the other exercises are held to it in test_rungs.py, those of Adam and the loop in test_bughunt.py."""
    assert {mistake.proof for _, mistake in MISCONCEPTIONS} == {"pullback", "law", "estimator"}


@pytest.mark.parametrize(
    "id", [m.id for e, m in MISCONCEPTIONS if m.proof == "law" and e.name not in ELSEWHERE | {"leave_one_out"}]
)
def test_the_law_rejects_a_wrong_value(id: str) -> None:
    exercise, mistake = MISTAKES[id]
    for draw in draws(exercise):
        theirs, found = by_the_package(exercise.name, draw), seen(exercise, mistake.wrong, draw)
        assert not same(found[mistake.link], theirs[mistake.link], tolerance=1e-6)


@every_exercise
def test_no_two_mistakes_of_an_exercise_are_the_same(exercise: Exercise) -> None:
    for draw in draws(exercise, seeds=1):
        found = [seen(exercise, m.wrong, draw) for m in exercise.misconceptions]
        for first, second in combinations(found, 2):
            assert not all(same(first[output], second[output]) for output in first)


# What teaches.


@every_exercise
def test_an_exercise_has_misconceptions_with_all_that_teaches(exercise: Exercise) -> None:
    assert len(exercise.misconceptions) >= 3
    for mistake in exercise.misconceptions:
        assert mistake.wrong.__doc__
        assert mistake.message.endswith(".")
        assert len(set(mistake.hints)) == 3


@every_exercise
def test_labels_stand_in_the_derivations(exercise: Exercise) -> None:
    for label in {*exercise.labels, *(m.label for m in exercise.misconceptions)}:
        page = (DERIVATIONS / f"{label.split('.')[0]}.md").read_text(encoding="utf-8")
        assert re.search(rf"^\*\*\({re.escape(label)}\)\*\*$", page, re.MULTILINE), label


@every_exercise
def test_the_stub_runs_up_to_what_is_to_be_written(exercise: Exercise) -> None:
    space: dict[str, Any] = {}
    exec(compile(exercise.stub, f"{exercise.name}.py", "exec"), space)
    draw = exercise.draw(np.random.default_rng(0), 3)
    with pytest.raises(NotImplementedError, match=f"write {exercise.name} here"):
        space[exercise.name](**draw.arguments)
