"""What is wrong with a learner's function: the first thing, by its name where it has one.

Looked for in this order: does it run; is what it returns of the right kind, shape and dtype; does it leave its
arguments alone and give the same twice; are its numbers finite; and then, output by output in the order of
backpropagation, are they right.  All of that once more where arguments are unusual.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from numvae.exercises.almost import almost_right
from numvae.exercises.calling import Account, account, alike, draws_noise, line_of, said_by
from numvae.exercises.comparing import numeric, rounding, same_numbers
from numvae.exercises.contract import Draw, Exercise, Misconception, Observation
from numvae.exercises.counterexamples import counterexample, follows
from numvae.exercises.explaining import Explanation, Sample, explain, opened
from numvae.exercises.findings import OF_NUMBERS, Finding, Kind, Part, Status
from numvae.exercises.forms import described, dtype_problem, inputs, kind_problem, shape_problem, structure_problem
from numvae.exercises.places import when_wrong, where_wrong
from numvae.exercises.properties import unlike_the_right_one
from numvae.exercises.readings import read_one_term_otherwise, read_otherwise, read_the_output_otherwise

__all__ = ["diagnose", "draws_of"]

ROWS = (3, 5, 4, 6)
MORE_ROWS = (3, 5, 4, 6, 7, 8, 3, 5)
FEW = 16


def diagnose(
    exercise: Exercise, function: Callable[..., Any], *, library: Iterable[Misconception] | None = None
) -> Finding:
    """The first thing that is wrong with a function that is to solve an exercise.

    ``library``: the misconceptions that can be named, those of the exercise if not given.  The function may do what it
    likes short of ending the process or running for ever.

    >>> from numvae.exercises.ladder.normal_kl import EXERCISE
    >>> diagnose(EXERCISE, EXERCISE.solution).ok
    True
    """
    known = tuple(exercise.misconceptions if library is None else library)
    case = _Case(exercise, function, known, draws_of(exercise))
    trouble = _first(case)
    if trouble is not None:
        return _finding(case, trouble)
    for said, draws in _corners(exercise):
        corner = _Case(exercise, function, (), draws)
        trouble = _first(corner)
        if trouble is not None:
            told = replace(
                trouble, verdict=f"{said}: {trouble.verdict}", text=(*trouble.text, "Otherwise it is right.")
            )
            return _finding(corner, told)
    return Finding(exercise.name, Kind.RIGHT, "right.", tests=_parts(case, None))


def _first(case: _Case) -> _Trouble | None:
    """What the first of the looks finds that finds anything."""
    looks = (_stopped, _misshapen, _unruly, _not_finite, _wrong)
    return next((trouble for look in looks if (trouble := look(case)) is not None), None)


def _corners(exercise: Exercise) -> Iterator[tuple[str, list[Draw]]]:
    """What may come as well: what the exercise names, and one row."""
    for said, turned in exercise.corners.items():
        yield said, [turned(draw) for draw in draws_of(exercise)]
    yield "For a batch of one row", draws_of(exercise, (1, 1))


def draws_of(exercise: Exercise, rows: Sequence[int] = ROWS, first_seed: int = 0) -> list[Draw]:
    """The draws at which an exercise is checked: different ones, and of different batch sizes."""
    return [exercise.draw(np.random.default_rng(first_seed + k), b) for k, b in enumerate(rows)]


@dataclass(frozen=True)
class _Trouble:
    """The first thing that is wrong."""

    kind: Kind
    verdict: str
    text: tuple[str, ...] = ()
    link: str = ""
    changes: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


class _Case:
    """A function beside the solution, at every draw."""

    def __init__(
        self,
        exercise: Exercise,
        function: Callable[..., Any],
        library: tuple[Misconception, ...],
        draws: list[Draw],
    ) -> None:
        self.exercise, self.function, self.library, self.draws = exercise, function, library, draws
        self.yours = [account(function, exercise.observe, draw) for draw in self.draws]
        self.right = [account(exercise.solution, exercise.observe, draw) for draw in self.draws]
        self.expected = [_whole(a) for a in self.right]
        self.allowed = [
            rounding(lambda d: exercise.observe(exercise.solution, d), draw, expected)
            for draw, expected in zip(self.draws, self.expected, strict=True)
        ]

    @property
    def outputs(self) -> list[str]:
        return list(self.expected[0])

    def look(self, draw: Draw) -> Observation:
        return self.exercise.observe(self.function, draw)

    def form_problem(self, name: str) -> tuple[Kind, str] | None:
        """What is wrong with an output before its numbers are compared, at the first draw where anything is."""
        for mine, expected in zip(self.yours, self.expected, strict=True):
            found = mine.observation or {}
            problem = kind_problem(name, found.get(name), expected[name])
            if problem:
                return Kind.STRUCTURE, problem
            if numeric(expected[name]):
                problem = shape_problem(name, found, expected)
                if problem:
                    return Kind.SHAPE, problem
                problem = dtype_problem(name, found[name], expected[name])
                if problem:
                    return Kind.DTYPE, problem
        return None

    def right_numbers(self, name: str) -> bool:
        """Whether an output of the right form is right at every draw."""
        return all(
            same_numbers(mine.observation[name], expected[name], allowed[name])
            if mine.observation is not None and numeric(expected[name])
            else mine.observation is not None and alike(mine.observation[name], expected[name])
            for mine, expected, allowed in zip(self.yours, self.expected, self.allowed, strict=True)
        )


def _whole(seen: Account) -> Observation:
    if seen.observation is None:
        raise RuntimeError("the solution of the exercise does not run") from seen.error
    return seen.observation


# The looks, in their order.


def _stopped(case: _Case) -> _Trouble | None:
    """It raises, or what it returns cannot be taken apart."""
    for draw, mine, right in zip(case.draws, case.yours, case.right, strict=True):
        if mine.misuse == "yield":
            return _Trouble(Kind.STRUCTURE, "It uses `yield`, which makes it a generator: use `return`.")
        if mine.misuse and mine.misuse != right.misuse:
            return _Trouble(Kind.CALL, _call_problem(case, mine.misuse))
        problem = "" if mine.error is not None and mine.theirs else _structure(case, mine, right)
        if problem:
            return _Trouble(Kind.STRUCTURE, problem)
        misfit = _returned_shape(mine, right)
        if misfit:
            return _Trouble(Kind.SHAPE, misfit, link=case.outputs[0])
        if isinstance(mine.error, NotImplementedError) and mine.theirs:
            return _Trouble(Kind.NOT_STARTED, f"not started: write {case.exercise.name}{case.exercise.signature}.")
        if mine.error is not None:
            where = line_of(case.function, mine.error)
            what = f"{type(mine.error).__name__}{f' in {where}' if where else ''}: {said_by(mine.error)}"
            return _Trouble(Kind.CRASHED, what, (f"It was called with {inputs(draw.arguments)}.",))
    return None


def _returned_shape(mine: Account, right: Account) -> str:
    """What is wrong with the shape of an array that is all a function returns, and that is then taken apart."""
    if mine.error is None or not (mine.returned and numeric(mine.returned[0]) and numeric(right.returned[0])):
        return ""
    found, expected = (np.shape(account.returned[0]) for account in (mine, right))
    return f"What it returns has shape {found} where {expected} is right." if found != expected else ""


def _structure(case: _Case, mine: Account, right: Account) -> str:
    for k, (found, expected) in enumerate(zip(mine.returned, right.returned, strict=False)):
        problem = structure_problem("It" if k == 0 else "The pullback", found, expected)
        if problem:
            return problem
    return ""


def _call_problem(case: _Case, complaint: str) -> str:
    if "pullback" in complaint:
        return f"The pullback cannot be called as it has to be: {complaint.partition(': ')[2]}."
    taken = _names(case.function)
    if taken and len(taken) == len(_names(case.exercise.solution)):
        return f"Its arguments have to have the names {case.exercise.signature}, but have ({', '.join(taken)})."
    return f"It has to take {case.exercise.signature}: {complaint}."


def _names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a built-in without a signature
        return []


def _misshapen(case: _Case) -> _Trouble | None:
    """An output of the wrong kind, shape or dtype; all outputs are looked at before any number is."""
    problems = {name: problem for name in case.outputs if (problem := case.form_problem(name))}
    if not problems:
        return None
    link, (kind, line) = next(iter(problems.items()))
    others = tuple(other for name, (_, other) in problems.items() if name != link)
    return _Trouble(kind, line, others[:3], link=link)


def _unruly(case: _Case) -> _Trouble | None:
    """It writes its arguments, or gives something else when called again."""
    for mine, right in zip(case.yours, case.right, strict=True):
        changed = [name for name in mine.changed if name not in right.changed]
        if changed:
            names = " and ".join(changed)
            copy = "Make a copy first, or write `a = a - b` where you have `a -= b`."
            line = f"It changes its argument {names} in place."
            return _Trouble(Kind.MUTATION, line, (copy,), link=_first_wrong(case, case.outputs))
        unsteady = [name for name in mine.unsteady if name not in right.unsteady]
        if unsteady:
            cause = (
                "Noise is an argument, never drawn inside: then the same noise serves forward, backward and the check."
                if draws_noise(case.function)
                else "Something is remembered from one call to the next."
            )
            line = f"{unsteady[0]} differs between two calls with the same arguments."
            return _Trouble(Kind.UNSTEADY, line, (cause,), link=unsteady[0])
        if mine.pullback_unsteady and not right.pullback_unsteady:
            line = "The pullback gives something else when it is called a second time."
            cause = "It changes, or draws anew, what it computes from."
            return _Trouble(Kind.UNSTEADY, line, (cause,), link=_first_wrong(case, case.outputs[1:] or case.outputs))
    if case.yours[0].overwritten() and not case.right[0].overwritten():
        line = "The pullback gives something else once the function has been called again."
        cause = "It reads what the later call has left, in a global or on an object: each call needs its own."
        return _Trouble(Kind.UNSTEADY, line, (cause,), link=_first_wrong(case, case.outputs[1:] or case.outputs))
    return None


def _first_wrong(case: _Case, names: Sequence[str]) -> str:
    """The first of these outputs that is wrong; if none is, the first."""
    return next((name for name in names if not case.right_numbers(name)), names[0])


def _not_finite(case: _Case) -> _Trouble | None:
    """NaN or infinity where there should be a number."""
    for name in case.outputs:
        for draw, mine, expected in zip(case.draws, case.yours, case.expected, strict=True):
            found = (mine.observation or {})[name]
            if not numeric(found):
                continue
            bad = np.argwhere(~np.isfinite(found) & np.isfinite(expected[name]))
            if len(bad):
                index = tuple(int(i) for i in bad[0])
                value = np.asarray(found)[index]
                what = "NaN" if np.isnan(value) else "infinite" if value > 0 else "minus infinity"
                more = f", and at {len(bad) - 1} more places" if len(bad) > 1 else ""
                place = f"{name}{list(index)}" if index else name
                where = _inputs_at(draw, index, np.shape(found))
                line = f"{place} is {what}{where}{more}."
                right = f"Right is {float(np.asarray(expected[name])[index]):.6g}."
                return _Trouble(Kind.NOT_FINITE, line, (right,), link=name)
    return None


def _inputs_at(draw: Draw, index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The inputs that stand at an entry, or the largest in its row: ``, where logits[1] reaches 812``."""
    told = []
    for name, value in draw.arguments.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
            continue
        if value.shape == shape and index:
            told.append(f"{name} is {value[index]:.4g}")
        elif value.shape[: len(shape)] == shape:
            row = np.ravel(value[index])
            told.append(f"{name}{list(index) if index else ''} reaches {row[np.argmax(np.abs(row))]:.4g}")
    return f", where {' and '.join(told[:3])}" if told else ""


def _wrong(case: _Case) -> _Trouble | None:
    """The first wrong output, with the plainest explanation of its numbers."""
    wrong = [name for name in case.outputs if not case.right_numbers(name)]
    if not wrong:
        return None
    link, later = wrong[0], tuple(wrong[1:])
    found = [(mine.observation or {})[link] for mine in case.yours]
    expected = [outputs[link] for outputs in case.expected]
    if not numeric(expected[0]):
        return _Trouble(Kind.UNEXPLAINED, f"{link} is {found[0]!r:.60} where {expected[0]!r:.60} is right.", link=link)
    explanation = _explained(case, link)
    shown = counterexample(case.exercise, link, case.look, case.draws, found, expected)
    lines, inherited = _downstream(case, link, later)
    if explanation is None:
        lines = (*_as_known(case, link, found), _advice(case, link), *lines)
        what = "the first output that is wrong" if later else "wrong; everything else is right"
        line = f"{link} is {what if len(case.outputs) > 1 else 'wrong'}."
        explanation = Explanation(Kind.UNEXPLAINED, (line,), ())
    details = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in (dataclasses.asdict(shown) | {"ratio": shown.ratio}).items()
    }
    text = (*explanation.lines[1:], f"{shown}", *lines)
    return _Trouble(explanation.kind, explanation.lines[0], text, link, explanation.changes, inherited, details)


def _explained(case: _Case, link: str) -> Explanation | None:
    """By terms and factors; by other arguments, where those take more than one change to say the same."""
    samples = _samples(case, link)
    almost = almost_right(case.exercise, link, samples)
    if almost is not None:
        return almost
    plain = _swapped(case, link, mutually=True) or explain(case.exercise, link, samples)
    if plain is not None and (len(plain.changes) <= 1 or " × " not in plain.changes[0]):
        return plain
    reading = read_otherwise(case.exercise, link, samples)
    if plain is not None and reading is not None:
        return Explanation(Kind.READING, reading.lines + plain.lines[-1:], reading.changes + plain.changes)
    return (
        plain
        or reading
        or read_one_term_otherwise(case.exercise, link, samples)
        or explain(case.exercise, link, samples, closely=True)
        or read_the_output_otherwise(link, samples)
        or _swapped(case, link, mutually=False)
        or _described(case, link, samples)
    )


def _described(case: _Case, link: str, samples: list[Sample]) -> Explanation | None:
    """What can be said of numbers that no formula fits: what led to them, where they are wrong, and how they behave."""
    found = [
        _inside(case),
        when_wrong(link, samples),
        where_wrong(link, samples),
        unlike_the_right_one(case.exercise, link, case.look, samples),
    ]
    told = [explanation for explanation in found if explanation is not None]
    if not told:
        return None
    lines = tuple(line for explanation in told for line in explanation.lines)
    return Explanation(told[0].kind, lines, tuple(change for explanation in told for change in explanation.changes))


def _inside(case: _Case) -> Explanation | None:
    """The first difference on the way to the outputs, where an exercise can be watched."""
    if case.exercise.trace is None:
        return None
    trace = case.exercise.trace
    yours, right = (account(f, trace, case.draws[0]).observation for f in (case.function, case.exercise.solution))
    if yours is None or right is None:
        return None
    for name, expected in right.items():
        if name not in yours:
            return Explanation(Kind.INSIDE, (f"The {name} is missing: there is no such step.",), (name,))
        if not (numeric(yours[name]) and same_numbers(yours[name], expected)):
            line = f"The {name} is the first that is wrong: it is {_short(yours[name])}, right is {_short(expected)}."
            return Explanation(Kind.INSIDE, (line,), (name,))
    return None


def _short(value: Any) -> str:
    """A number, or the beginning of an array."""
    if not numeric(value):
        return described(value)
    array = np.asarray(value)
    told = ", ".join(f"{number:.4g}" for number in array.flat[:3])
    return told if not array.ndim else f"[{told}{', …' if array.size > 3 else ''}]"


def _swapped(case: _Case, link: str, mutually: bool) -> Explanation | None:
    """An output in the place of another."""

    def is_what_should_be(name: str, other: str) -> bool:
        pairs = [(m.observation or {}, expected) for m, expected in zip(case.yours, case.expected, strict=True)]
        return all(numeric(right[other]) and same_numbers(found[name], right[other]) for found, right in pairs)

    for other in case.outputs:
        if other != link and is_what_should_be(link, other) and (not mutually or is_what_should_be(other, link)):
            line = f"Your {link} is what {other} should be: are the outputs in the right order?"
            if mutually:
                line = f"Your {link} and {other} are exchanged: return them in the right order."
            return Explanation(Kind.SWAPPED, (line,), ())
    return None


def _samples(case: _Case, link: str) -> list[Sample]:
    """An output at every draw; at more of them where it has few entries."""
    samples = [
        Sample(draw, (mine.observation or {})[link], expected[link], expected, allowed[link], mine.observation or {})
        for draw, mine, expected, allowed in zip(case.draws, case.yours, case.expected, case.allowed, strict=True)
    ]
    if sum(np.size(s.expected) for s in samples) < FEW:
        for draw in draws_of(case.exercise, MORE_ROWS, first_seed=len(ROWS)):
            found = account(case.function, case.exercise.observe, draw).observation
            expected = _whole(account(case.exercise.solution, case.exercise.observe, draw))
            if found is not None and numeric(found[link]) and np.shape(found[link]) == np.shape(expected[link]):
                samples.append(Sample(draw, found[link], expected[link], expected))
    return samples


def _advice(case: _Case, link: str) -> str:
    """What to do about an output that nothing explains."""
    terms = opened(case.exercise.terms(case.draws[0])).get(link, {}) if case.exercise.terms else {}
    more = "No single term, factor or argument explains it, so more than one thing may be wrong"
    if len(terms) < 2:
        return f"{more}: print what it is made of, step by step, for the smallest batch."
    return f"{more}. It should be the sum of {_and([f'“{name}”' for name in terms])}: look at each by itself."


def _downstream(case: _Case, link: str, later: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to say of the outputs behind the first wrong one, and which of them have inherited its error."""
    if link != case.outputs[0] or not case.exercise.differences:
        are = "is" if len(later) == 1 else "are"
        return ((f"{_and(later)} {are} wrong too: look again when {link} is right.",) if later else ()), later
    known = follows(case.exercise, case.look, case.draws[0], case.yours[0].observation or {})
    fit = [name for name, right in known.items() if right]
    unfit = [name for name, right in known.items() if not right]
    lines = []
    if fit:
        are = "is the derivative" if len(fit) == 1 else "are the derivatives"
        lines.append(f"Your {_and(fit)} {are} of your {link}: it is {link} that has to change.")
    if unfit:
        are = "is not the derivative" if len(unfit) == 1 else "are not the derivatives"
        lines.append(f"Your {_and(unfit)} {are} of your {link}{'' if set(unfit) & set(later) else ', but right'}.")
    return tuple(lines), tuple(name for name in later if name not in unfit)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _as_known(case: _Case, link: str, found: list[Any]) -> tuple[str, ...]:
    """Misconceptions that give just this output, though not all the others."""
    for misconception in case.library:
        if misconception.link == link:
            same = (
                (seen := account(misconception.wrong, case.exercise.observe, draw)).observation is not None
                and same_numbers(value, seen.observation[link])
                for draw, value in zip(case.draws, found, strict=True)
            )
            if all(same):
                return (f"{link} comes out so when one makes this mistake: {misconception.message}",)
    return ()


# What is made of it.


def _finding(case: _Case, trouble: _Trouble) -> Finding:
    named = () if trouble.kind is Kind.NOT_STARTED else tuple(m for m in case.library if _is(case, m))
    label = named[0].label if named else case.exercise.labels[0]
    verdict, text = trouble.verdict, trouble.text
    if named:
        verdict = named[0].message
        text = (*(f"Or: {m.message}" for m in named[1:]), trouble.verdict, *text)
    return Finding(
        exercise=case.exercise.name,
        kind=trouble.kind,
        verdict=verdict,
        text=text,
        link=trouble.link or (named[0].link if named else ""),
        misconceptions=tuple(m.id for m in named),
        changes=trouble.changes,
        hints=tuple(hint for m in named for hint in m.hints) or _hints(case, trouble),
        label=label,
        page=f"derivations/{label.partition('.')[0]}.md",
        tests=_parts(case, trouble),
        details=trouble.details,
    )


def _is(case: _Case, misconception: Misconception) -> bool:
    """Whether a misconception behaves just like this function, at every draw and in every output."""
    return all(
        _alike(mine, account(misconception.wrong, case.exercise.observe, draw), allowed)
        for mine, draw, allowed in zip(case.yours, case.draws, case.allowed, strict=True)
    )


def _alike(mine: Account, known: Account, allowed: dict[str, Any]) -> bool:
    if mine.observation is None or known.observation is None:
        return mine.observation is known.observation and (
            (type(mine.error), said_by(mine.error), [*map(described, mine.returned)])
            == (type(known.error), said_by(known.error), [*map(described, known.returned)])
        )
    habits = (set(mine.changed), set(mine.unsteady), mine.pullback_unsteady)
    if habits != (set(known.changed), set(known.unsteady), known.pullback_unsteady):
        return False
    return all(
        name in mine.unsteady or _same_output(value, known.observation[name], allowed.get(name, 0.0))
        for name, value in mine.observation.items()
    )


def _same_output(found: Any, known: Any, allowed: Any) -> bool:
    if numeric(found) and numeric(known) and np.shape(found) == np.shape(known):
        fits = np.shape(allowed) == np.shape(known)
        return np.result_type(found) == np.result_type(known) and same_numbers(found, known, allowed if fits else 0.0)
    return not (numeric(found) or numeric(known)) and alike(found, known)


def _hints(case: _Case, trouble: _Trouble) -> tuple[str, ...]:
    """Hints for a mistake without a name of its own."""
    if trouble.kind is Kind.ALMOST:
        return (
            "The formula is right. What stands in your code that does not stand in the formula?",
            "Look for an epsilon such as 1e-8, for a constant typed in, and for float32.",
            "Where an epsilon guards a logarithm or a quotient, find a form without; math.pi has all digits.",
        )
    if trouble.kind in OF_NUMBERS:
        page = case.exercise.labels[0].partition(".")[0]
        return (
            f"Look at {trouble.link} alone: everything before it is right.",
            f"Write {trouble.link} down for one row and one entry, without arrays, and put in numbers.",
            f"Follow derivations/{page}.md line by line, and hold each line against yours.",
        )
    return ()


def _parts(case: _Case, trouble: _Trouble | None) -> tuple[Part, ...]:
    """What earns credit: that it runs, every output, and two habits."""
    ran = all(mine.observation is not None for mine in case.yours) and (
        trouble is None or trouble.kind not in (Kind.NOT_STARTED, Kind.CRASHED, Kind.CALL)
    )
    if not ran:
        why = trouble.verdict if trouble is not None else ""
        names = ("runs", *case.outputs, "leaves its arguments alone", "gives the same again")
        return tuple(Part(name, Status.ERROR, why if name == "runs" else "") for name in names)
    return (
        _habit("runs", trouble if trouble is None or not trouble.link else None, Kind.STRUCTURE),
        *(_output_part(case, name, trouble) for name in case.outputs),
        _habit("leaves its arguments alone", trouble, Kind.MUTATION),
        _habit("gives the same again", trouble, Kind.UNSTEADY),
    )


def _output_part(case: _Case, name: str, trouble: _Trouble | None) -> Part:
    problem = case.form_problem(name)
    if problem is None and case.right_numbers(name):
        return Part(name, Status.PASS)
    if trouble is not None and name == trouble.link:
        return Part(name, Status.FAIL, trouble.verdict)
    if trouble is not None and name in trouble.inherited:
        return Part(name, Status.FAIL, f"wrong, perhaps only because {trouble.link} is", inherited=True)
    return Part(name, Status.FAIL, problem[1] if problem else f"{name} is wrong.")


def _habit(name: str, trouble: _Trouble | None, kind: Kind) -> Part:
    if trouble is not None and trouble.kind is kind:
        return Part(name, Status.FAIL, trouble.verdict)
    return Part(name, Status.PASS)
