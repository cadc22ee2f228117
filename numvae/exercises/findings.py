"""What a diagnosis hands back: one finding, in a few lines that say what to mend, as text, as HTML and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from typing import Any

from numvae.checks.reports import Grade, Report, Row, badge, table
from numvae.errors import CheckError

__all__ = ["ExerciseError", "Finding", "Kind", "Part", "Status"]


class Kind(StrEnum):
    """What sort of thing was found, in the order in which it is looked for."""

    RIGHT = "right"
    NOT_STARTED = "not started"
    CRASHED = "crashed"
    CALL = "call"
    STRUCTURE = "structure"
    SHAPE = "shape"
    DTYPE = "dtype"
    MUTATION = "mutation"
    UNSTEADY = "unsteady"
    NOT_FINITE = "not finite"
    ALMOST = "almost"
    SWAPPED = "swapped"
    TERMS = "terms"
    FACTOR = "factor"
    READING = "reading"
    INSIDE = "inside"
    PLACE = "place"
    PROPERTY = "property"
    UNEXPLAINED = "unexplained"


OF_NUMBERS = {
    Kind.ALMOST,
    Kind.SWAPPED,
    Kind.TERMS,
    Kind.FACTOR,
    Kind.READING,
    Kind.INSIDE,
    Kind.PLACE,
    Kind.PROPERTY,
    Kind.UNEXPLAINED,
}
ABOUT_EQUATIONS = {Kind.SHAPE, Kind.NOT_FINITE} | OF_NUMBERS


class Status(StrEnum):
    """How one part of an exercise came out, in the words of Exercism's ``results.json``."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"


GRADES = {Status.PASS: Grade.HAPPY, Status.FAIL: Grade.WRONG, Status.ERROR: Grade.NONE}
VERDICTS = {Status.PASS: "right", Status.FAIL: "wrong", Status.ERROR: "not reached"}
SPACED = 'style="margin: 0.3em 0"'


@dataclass(frozen=True)
class Part:
    """One thing that earns credit: an output, or a habit such as leaving the inputs alone.

    ``inherited``: wrong as well, but behind the first wrong output, and perhaps right once that one is.
    """

    name: str
    status: Status
    message: str = ""
    inherited: bool = False


class ExerciseError(CheckError):
    """An exercise is not solved yet.  A notebook shows it as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True, repr=False)
class Finding(Report):
    """What ``diagnose`` found: the first thing to mend, and nothing that would be right once it is mended.

    - ``verdict``: that thing in one line; ``text``: the lines that explain it.
    - ``link``: the first wrong output; "" where none was reached.
    - ``misconceptions``: the ids of those whose outcome is exactly this one.
    - ``changes``: what differs, as ``"KL × -1"`` for a term, ``"std"`` for a factor; each alone is a full description
      of what happened to its term.
    - ``hints``: from a nudge to nearly the answer.  They are for showing one at a time, on request.
    - ``label``, ``page``: the equation, and where it is derived.
    - ``tests``: what earns credit, part by part.
    - ``details``: the numbers behind it, in plain Python types.
    """

    exercise: str
    kind: Kind
    verdict: str
    text: tuple[str, ...] = ()
    link: str = ""
    misconceptions: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    label: str = ""
    page: str = ""
    tests: tuple[Part, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the exercise is solved."""
        return self.kind is Kind.RIGHT

    @property
    def title(self) -> str:
        """The exercise's name."""
        return self.exercise

    @property
    def failures(self) -> tuple[str, ...]:
        """The one thing to mend."""
        return () if self.ok else (self.verdict,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What explains it, and where to read on."""
        return (*self.text, self.reading) if self.reading else self.text

    @property
    def reading(self) -> str:
        """Where the equation is derived; empty where nothing is wrong with an equation."""
        told = bool(self.misconceptions) or self.kind in ABOUT_EQUATIONS
        return f"Derivation: {self.page} ({self.label})" if self.page and told else ""

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("part", "verdict")

    @property
    def rows(self) -> tuple[Row, ...]:
        """One line per part, if any was reached."""
        if all(part.status is Status.ERROR for part in self.tests):
            return ()
        return tuple(
            Row((part.name, "inherited?"), Grade.INCONCLUSIVE)
            if part.inherited
            else Row((part.name, VERDICTS[part.status]), GRADES[part.status])
            for part in self.tests
        )

    def assert_ok(self) -> None:
        """Raises ``ExerciseError`` with one readable line if the exercise is not solved."""
        __tracebackhide__ = True
        if not self.ok:
            verdict = self.verdict if self.verdict.endswith((".", "?", "!")) else f"{self.verdict}."
            raise ExerciseError(" ".join([f"{self.exercise}: {verdict}", *self.text[:1]])) from None

    def __str__(self) -> str:
        mark = "✓" if self.ok else "✗"
        lines = [f"{mark} {self.exercise}: {self.verdict}", *(f"  {line}" for line in self.notes)]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What to mend and what explains it, each hint folded away until it is asked for, and below the parts."""
        started = self.kind is not Kind.NOT_STARTED
        grade = Grade.HAPPY if self.ok else Grade.WRONG if started else Grade.NONE
        verdict = "right" if self.ok else "not right yet" if started else "not started"
        lines = [] if self.ok else [f"<p {SPACED}>{escape(self.verdict)}</p>"]
        lines += [f'<p style="margin: 0; opacity: 0.75">{escape(note)}</p>' for note in self.notes]
        lines += [
            f"<details {SPACED}><summary>Hint {number}</summary>{escape(hint)}</details>"
            for number, hint in enumerate(self.hints, 1)
            if not self.ok
        ]
        return (
            '<div style="font: 13px/1.5 system-ui, sans-serif; overflow-x: auto">'
            f"<p {SPACED}><strong>{escape(self.title)}</strong> {badge(verdict, grade)}</p>"
            f"{''.join(lines)}{table(self.header, self.rows)}</div>"
        )
