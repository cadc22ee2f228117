"""What a learner reads: every kind of trouble, in one line that says what to mend; and findings as objects."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from numvae.errors import CheckError, InputError
from numvae.exercises import notebook
from numvae.exercises.comparing import rounding, same_numbers
from numvae.exercises.diagnosis import diagnose, draws_of
from numvae.exercises.factors import Monomial, said
from numvae.exercises.findings import ExerciseError, Finding, Kind, Status
from numvae.exercises.ladder import EXERCISES
from numvae.exercises.ladder.affine import EXERCISE as AFFINE
from numvae.exercises.ladder.normal_kl import EXERCISE as KL
from tests.checks.test_reports import Balanced


class Strange:
    """An object that does not want to be an array, or a text."""

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Unspeakable(Exception):
    """An exception that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def returning(change: Callable[..., Any]) -> Callable[..., Any]:
    """The solution of normal_kl with (kl, pullback, mean, log_std, alpha) changed into what is returned."""

    def normal_kl(mean: Any, log_std: Any, alpha: Any) -> Any:
        kl, pullback = KL.solution(mean, log_std, alpha)
        return change(kl, pullback, mean, log_std, alpha)

    return normal_kl


def giving(change: Callable[..., Any]) -> Callable[..., Any]:
    """As ``returning``, for the gradients: ``change(dmean, dlog_std)``."""
    return returning(lambda kl, pullback, *_: (kl, lambda dkl: change(*pullback(dkl)[:2])))


def generator(mean: Any, log_std: Any, alpha: Any) -> Any:
    yield from KL.solution(mean, log_std, alpha)


def too_few(mean: Any, log_std: Any) -> Any:
    return mean


def crashing(mean: Any, log_std: Any, alpha: Any) -> Any:
    return mean @ log_std


def raising(error: BaseException) -> Callable[..., Any]:
    def normal_kl(mean: Any, log_std: Any, alpha: Any) -> Any:
        raise error

    return normal_kl


def writing(mean: Any, log_std: Any, alpha: Any) -> Any:
    result = KL.solution(mean, log_std, alpha)
    mean *= alpha
    return result


def drawing(mean: Any, log_std: Any, alpha: Any) -> Any:
    kl, pullback = KL.solution(mean, log_std, alpha)
    return kl + np.random.default_rng().standard_normal(kl.shape), pullback


def consuming(mean: Any, log_std: Any, alpha: Any) -> Any:
    kl, pullback = KL.solution(mean, log_std, alpha)
    left = [1.0, 2.0]
    return kl, lambda dkl: (*(d * left.pop(0) for d in pullback(dkl)[:2]), None)


def remembering() -> Callable[..., Any]:
    calls: list[int] = []

    def normal_kl(mean: Any, log_std: Any, alpha: Any) -> Any:
        calls.append(1)
        kl, pullback = KL.solution(mean, log_std, alpha)
        return kl * len(calls), pullback

    return normal_kl


HUGE = np.broadcast_to(1.0, (10**5, 10**5))

TROUBLES = [
    pytest.param(returning(lambda *a: None), Kind.STRUCTURE, "returns nothing: is its `return` missing?", id="nothing"),
    pytest.param(
        returning(lambda kl, *a: kl), Kind.STRUCTURE, "but returns an array of shape (3,)", id="only the value"
    ),
    pytest.param(returning(lambda kl, *a: (kl,)), Kind.STRUCTURE, "but returns 1 thing, an array", id="a tuple of one"),
    pytest.param(returning(lambda *a: 1.0), Kind.STRUCTURE, "but returns a number", id="a number"),
    pytest.param(returning(lambda *a: Strange()), Kind.STRUCTURE, "an object of type Strange", id="a strange object"),
    pytest.param(
        returning(lambda kl, p, *a: (kl, p(np.ones(len(kl))))), Kind.STRUCTURE, "do not call it", id="pullback called"
    ),
    pytest.param(giving(lambda dm, ds: (dm, ds)), Kind.STRUCTURE, "but returns 2", id="two gradients for three"),
    pytest.param(giving(lambda dm, ds: dm), Kind.STRUCTURE, "but returns an array", id="one gradient for three"),
    pytest.param(generator, Kind.STRUCTURE, "use `return`", id="a generator"),
    pytest.param(giving(lambda dm, ds: (dm, None, None)), Kind.STRUCTURE, "dlog_std is None", id="no gradient"),
    pytest.param(giving(lambda dm, ds: (dm.tolist(), ds, None)), Kind.STRUCTURE, "make it an array", id="a list"),
    pytest.param(giving(lambda dm, ds: (Strange(), ds, None)), Kind.STRUCTURE, "type Strange", id="a strange gradient"),
    pytest.param(giving(lambda dm, ds: ("dm", ds, None)), Kind.STRUCTURE, "a text", id="a text"),
    pytest.param(too_few, Kind.CALL, "It has to take (mean, log_std, alpha)", id="an argument too few"),
    pytest.param(
        returning(lambda kl, p, *a: (kl, lambda: p(kl))), Kind.CALL, "The pullback cannot be called", id="no cotangent"
    ),
    pytest.param(
        lambda mu, sigma, a: mu, Kind.CALL, "have the names (mean, log_std, alpha), but have (mu, sigma, a)", id="names"
    ),
    pytest.param(giving(lambda dm, ds: (dm, ds, "none")), Kind.STRUCTURE, "has to be None, but is a text", id="a none"),
    pytest.param(giving(lambda dm, ds: (dm + 0j, ds, None)), Kind.STRUCTURE, "hold real numbers", id="complex numbers"),
    pytest.param(crashing, Kind.CRASHED, "`return mean @ log_std`", id="an exception"),
    pytest.param(raising(Unspeakable()), Kind.CRASHED, "without a message", id="an exception that cannot be told"),
    pytest.param(raising(SystemExit(3)), Kind.CRASHED, "ends the program", id="an exit"),
    pytest.param(raising(RecursionError("deep")), Kind.CRASHED, "deep", id="too deep"),
    pytest.param(
        giving(lambda dm, ds: (dm.T, ds, None)), Kind.SHAPE, "it is transposed. Its numbers are right", id="transposed"
    ),
    pytest.param(
        giving(lambda dm, ds: (ds, dm, None)), Kind.SWAPPED, "dmean and dlog_std are exchanged", id="exchanged"
    ),
    pytest.param(
        returning(lambda kl, *rest: (kl[:, None], rest[0])), Kind.SHAPE, "an axis of length 1 too many", id="(B, 1)"
    ),
    pytest.param(
        returning(lambda kl, *rest: (kl.mean(), rest[0])),
        Kind.SHAPE,
        "it is averaged over axis 0",
        id="a mean too early",
    ),
    pytest.param(giving(lambda dm, ds: (HUGE, ds, None)), Kind.SHAPE, "(100000, 100000)", id="huge"),
    pytest.param(giving(lambda dm, ds: (0.0, ds, None)), Kind.SHAPE, "it is a single number", id="zero for zeros"),
    pytest.param(giving(lambda dm, ds: (dm.astype(np.float32), ds, None)), Kind.DTYPE, "float32", id="float32"),
    pytest.param(giving(lambda dm, ds: (dm.astype(int), ds, None)), Kind.DTYPE, "cut off", id="integers"),
    pytest.param(giving(lambda dm, ds: (dm > 0, ds, None)), Kind.DTYPE, "yes or no", id="bits"),
    pytest.param(writing, Kind.MUTATION, "changes its argument mean in place", id="an argument written"),
    pytest.param(drawing, Kind.UNSTEADY, "Noise is an argument", id="noise drawn inside"),
    pytest.param(remembering(), Kind.UNSTEADY, "remembered", id="state"),
    pytest.param(consuming, Kind.UNSTEADY, "second time", id="a pullback for one call"),
    pytest.param(
        giving(lambda dm, ds: (np.where(dm == dm.flat[7], np.nan, dm), ds, None)), Kind.NOT_FINITE, "NaN", id="NaN"
    ),
    pytest.param(giving(lambda dm, ds: (2 * dm, ds, None)), Kind.READING, "", id="a factor 2"),
    pytest.param(
        giving(lambda dm, ds: (dm * np.sin(1.0 + np.arange(dm.size)).reshape(dm.shape), ds, None)),
        Kind.UNEXPLAINED,
        "everything else is right",
        id="odd",
    ),
    pytest.param(giving(lambda dm, ds: (np.sin(dm), ds, None)), Kind.PROPERTY, "not linear in dkl", id="not linear"),
]


@pytest.mark.parametrize(("function", "kind", "words"), TROUBLES)
def test_each_trouble_has_its_kind_and_its_words(function: Callable[..., Any], kind: Kind, words: str) -> None:
    finding = diagnose(KL, function, library=[])
    assert words in str(finding)
    assert finding.kind is kind or words == ""
    assert not finding.ok
    assert any(part.status is not Status.PASS for part in finding.tests)
    assert "\n" not in finding.verdict
    assert json.loads(json.dumps(finding.to_json()))["kind"] == finding.kind
    seen = Balanced(finding._repr_html_()).seen
    assert {"div", "p", "strong"} <= seen
    assert ("table" in seen) == any(part.status is not Status.ERROR for part in finding.tests)


@pytest.mark.parametrize(
    ("name", "change", "kind", "words"),
    [
        (
            "two_heads",
            lambda given: (np.hstack(given[0]), given[1]),
            Kind.STRUCTURE,
            "has to be a tuple of 2 things, an array of shape (3, 4) and an array of shape (3, 4), but is an array of",
        ),
        ("two_heads", lambda given: ([*given[0]], given[1]), Kind.RIGHT, ""),
        ("vae_gradient", lambda given: (given[0], [*given[1].values()]), Kind.STRUCTURE, "but is a list of 10."),
        (
            "vae_gradient",
            lambda given: (given[0], {name: g for name, g in given[1].items() if name != "b3"}),
            Kind.STRUCTURE,
            "but is a dict without b3.",
        ),
        ("train_vae", lambda given: given[-1], Kind.SHAPE, "has shape (10,) where (2, 10) is right"),
        ("train_vae", lambda given: np.vstack([given[:1], given]), Kind.SHAPE, "(3, 10) where (2, 10) is right"),
        ("train_vae", list, Kind.STRUCTURE, "but is a list of 2: make it one, `np.array(...)`"),
    ],
    ids=[
        "joined heads",
        "a list of heads",
        "a list",
        "one missing",
        "the last epoch",
        "an epoch more",
        "epochs listed",
    ],
)
def test_what_is_returned_in_another_form_is_told_and_no_crash(
    name: str, change: Callable[..., Any], kind: Kind, words: str
) -> None:
    finding = diagnose(EXERCISES[name], lambda *a, **k: change(EXERCISES[name].solution(*a, **k)))
    assert finding.kind is kind, finding
    assert words in finding.verdict


def test_a_crash_names_what_it_was_called_with() -> None:
    finding = diagnose(EXERCISES["train_vae"], raising(ValueError("no")))
    assert finding.kind is Kind.CALL
    finding = diagnose(EXERCISES["train_vae"], lambda **arguments: 1 / 0)
    assert "batch 3, gradient (a function), adam_step (a function)" in finding.text[0]


def test_shapes_come_before_values_and_every_output_is_named() -> None:
    finding = diagnose(KL, giving(lambda dm, ds: (dm.T, 2 * ds, None)))
    assert finding.kind is Kind.SHAPE
    statuses = {part.name: part.status for part in finding.tests}
    assert statuses == {
        "runs": "pass",
        "kl": "pass",
        "dmean": "fail",
        "dlog_std": "fail",
        "leaves its arguments alone": "pass",
        "gives the same again": "pass",
    }


def test_what_lies_behind_the_first_wrong_output_is_inherited() -> None:
    finding = diagnose(AFFINE, lambda W, b, x: (AFFINE.solution(W, b, x)[0], doubled(AFFINE.solution(W, b, x)[1])))
    inherited = [part.name for part in finding.tests if part.inherited]
    assert finding.link == "dW"
    assert inherited == ["db", "dx"]
    assert "look again when dW is right" in str(finding)


def doubled(pullback: Callable[..., Any]) -> Callable[..., Any]:
    return lambda dy: tuple(2 * d for d in pullback(dy))


def test_a_right_gradient_of_a_wrong_value_is_not_blamed() -> None:
    wrong = next(m.wrong for m in KL.misconceptions if m.id == "kl_log_std_as_log_variance")
    finding = diagnose(KL, wrong, library=[])
    assert "are the derivatives of your kl: it is kl that has to change" in str(finding)


def test_the_counterexample_holds_the_difference_of_the_learners_own_value() -> None:
    finding = diagnose(KL, giving(lambda dm, ds: (dm, ds + 0.1 * dm**2, None)), library=[])
    details = finding.details
    assert finding.link == "dlog_std"
    assert details["found"] != pytest.approx(details["expected"])
    assert details["numeric"] == pytest.approx(details["expected"], abs=10 * details["error_bar"] + 1e-12)
    assert details["ratio"] == pytest.approx(details["found"] / details["expected"])
    assert 0 < details["step"] < 1
    assert f"finite difference of your kl gives {details['numeric']:.6g}" in str(finding)


def test_several_misconceptions_with_one_outcome_are_all_named() -> None:
    first = KL.misconceptions[0]
    twin = replace(first, id="twin", message="You have a twin.")
    finding = diagnose(KL, first.wrong, library=[first, twin])
    assert finding.misconceptions == (first.id, "twin")
    assert "Or: You have a twin." in str(finding)


def test_assert_ok_fails_with_one_line() -> None:
    diagnose(KL, KL.solution).assert_ok()
    finding = diagnose(KL, giving(lambda dm, ds: (dm, -ds, None)), library=[])
    with pytest.raises(CheckError, match=r"^normal_kl: dlog_std has the wrong sign, everywhere\.") as caught:
        finding.assert_ok()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ExerciseError)
    assert caught.value._render_traceback_() == [str(caught.value)]


def test_hints_are_folded_away_and_escaped() -> None:
    finding = Finding("f", Kind.FACTOR, "<b> & more", ("a < b",), hints=("look <here>",), label="normal.5", page="p.md")
    shown = Balanced(finding._repr_html_())
    assert "<here>" in shown.text
    assert "here" not in shown.seen
    assert "b" not in shown.seen
    assert "details" in shown.seen
    assert "look <here>" not in str(finding)
    assert "http" not in finding._repr_html_()


def test_check_finds_an_exercise_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "EXERCISES", {"normal_kl": KL, "affine": AFFINE})
    assert notebook.check("normal_kl", KL.solution).ok
    with pytest.raises(InputError, match="no exercise is called 'normal_lk'; is it 'normal_kl'"):
        notebook.check("normal_lk", KL.solution)
    with pytest.raises(InputError, match="there are normal_kl, affine"):
        notebook.check("zebra", KL.solution)
    with pytest.raises(InputError, match="takes the function itself"):
        notebook.check("normal_kl", KL.solution(np.zeros((1, 2)), np.zeros((1, 2)), 1.0))


# The small parts.


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.5, "½"),
        (-1.0, "-1"),
        (1 / 3, "⅓"),
        (7 / 12, "7/12"),
        (0.0, "0"),
        (math.sqrt(2), "√2"),
        (2 * math.pi, "2·π"),
        (1 + 1e-6, "1.000001"),
        (0.1234567, "0.1235"),
        (1.86e-9, "1.86e-09"),
    ],
)
def test_numbers_are_said_as_people_say_them(number: float, text: str) -> None:
    assert said(number) == text


@pytest.mark.parametrize(
    ("powers", "number", "text"),
    [
        ((("std", 1.0),), 1.0, "std"),
        ((("std", -2.0),), 0.5, "½/std²"),
        ((("std", 2.0), ("ε", 1.0)), -1.0, "-std²·ε"),
        ((("B", -1.0),), 1.0, "1/B"),
        ((("1 - y²", 1.0),), 1.0, "1 - y²"),
        ((("1 - y²", 1.0), ("B", -1.0)), 2.0, "2·(1 - y²)/B"),
        ((("M/N", -1.0),), 1.0, "N/M"),
        ((("std", 0.5),), 1.0, "√std"),
    ],
)
def test_products_are_said_as_people_write_them(powers: Any, number: float, text: str) -> None:
    assert Monomial(powers).times(number) == text


def test_rounding_is_allowed_where_terms_cancel_and_nowhere_else() -> None:
    draw = draws_of(KL)[0]

    def observe(at: Any) -> dict[str, Any]:
        mean = at.arguments["mean"]
        return {"plain": mean, "cancelling": (1e4 + mean) - 1e4}

    expected = observe(draw)
    allowed = rounding(observe, draw, expected)
    assert same_numbers(draw.arguments["mean"], expected["cancelling"], 1e-7 + allowed["cancelling"])
    assert np.max(allowed["plain"]) < 1e-11
    assert not same_numbers(expected["plain"] * (1 + 1e-6), expected["plain"], allowed["plain"])
