"""What every check hands back: a report that reads as text, as HTML and as JSON, and that can be asserted."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import Any

import numpy as np

from numvae.errors import CheckError

__all__ = ["Grade", "Index", "Report", "Row", "at", "badge", "grade_of", "name_ratio", "number", "table"]

Index = tuple[int, ...]


class Grade(StrEnum):
    """How good a relative error is, in the words of the CS231n notes on gradient checks."""

    HAPPY = "happy"
    KINKS = "fine only with kinks"
    UNCOMFORTABLE = "uncomfortable"
    WRONG = "wrong"
    INCONCLUSIVE = "inconclusive"
    NONE = "not checked"


TINTS = {
    Grade.HAPPY: "46, 160, 67",
    Grade.KINKS: "191, 161, 0",
    Grade.UNCOMFORTABLE: "219, 109, 40",
    Grade.WRONG: "248, 81, 73",
    Grade.INCONCLUSIVE: "137, 87, 229",
    Grade.NONE: "128, 128, 128",
}


def grade_of(relative_error: float) -> Grade:
    """At most 1e-7: happy; 1e-4: fine only with kinks; 1e-2: uncomfortable; more, or NaN: wrong."""
    for bound, grade in ((1e-7, Grade.HAPPY), (1e-4, Grade.KINKS), (1e-2, Grade.UNCOMFORTABLE)):
        if relative_error <= bound:
            return grade
    return Grade.WRONG


@dataclass(frozen=True)
class Row:
    """One line of a report's table."""

    cells: tuple[str, ...]
    grade: Grade


class Report(ABC):
    """The outcome of a check: ``ok``, a table for people, a dictionary for programs, and ``assert_ok``.

    A check that is not ok has *failures*, or only *doubts*: then it is inconclusive.
    """

    @property
    @abstractmethod
    def ok(self) -> bool:
        """Whether the check passed."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What was checked."""

    @property
    @abstractmethod
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""

    @property
    @abstractmethod
    def rows(self) -> tuple[Row, ...]:
        """The table."""

    @property
    @abstractmethod
    def failures(self) -> tuple[str, ...]:
        """What is wrong, one readable line each, the most telling first."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be judged, one readable line each."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What else a reader should know."""
        return ()

    def assert_ok(self) -> None:
        """Raises ``CheckError`` with one readable line if the check did not pass."""
        if not self.ok:
            first, *more = self.failures + self.doubts
            raise CheckError(f"{self.title}: {first}" + (f" (and {len(more)} more)" if more else ""))

    def to_json(self) -> dict[str, Any]:
        """The report in plain Python types; numbers that are not finite become None."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"ok": self.ok, "failures": list(self.failures), "doubts": list(self.doubts)} | {
            name: _plain(value) for name, value in content.items()
        }

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED" if self.failures else "inconclusive"
        lines = [f"{self.title}: {verdict}", *_aligned(self.header, self.rows)]
        lines += [f"  ✗ {failure}" for failure in self.failures]
        lines += [f"  ? {doubt}" for doubt in self.doubts]
        lines += [f"  · {note}" for note in self.notes]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same as a page fragment without outside resources; tints show on light and on dark pages."""
        grade = Grade.HAPPY if self.ok else Grade.WRONG if self.failures else Grade.INCONCLUSIVE
        verdict = {Grade.HAPPY: "ok", Grade.WRONG: "failed"}.get(grade, str(grade))
        marked = [f"✗ {failure}" for failure in self.failures] + [f"? {doubt}" for doubt in self.doubts]
        lines = [f"<li>{escape(line)}</li>" for line in marked]
        lines += [f'<li style="opacity: 0.75">{escape(note)}</li>' for note in self.notes]
        below = f'<ul style="margin: 0.5em 0; padding: 0; list-style: none">{"".join(lines)}</ul>' if lines else ""
        return (
            '<div style="font: 13px/1.5 system-ui, sans-serif; overflow-x: auto">'
            f'<p style="margin: 0.3em 0"><strong>{escape(self.title)}</strong> {badge(verdict, grade)}</p>'
            f"{table(self.header, self.rows)}{below}</div>"
        )


def at(name: str, index: Index | None) -> str:
    """``name[1, 2]``, or the bare name where there is no index."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def number(value: float, digits: int = 4) -> str:
    """A number for a table's cell."""
    return "–" if math.isnan(value) else f"{value:.{digits}g}"


def name_ratio(ratio: float, lengths: Iterable[int] = (), tolerance: float = 1e-5) -> str:
    """What a factor between a wrong number and the right one usually means; empty if it means nothing in particular."""
    usual = {
        0.0: "it is zero",
        -1.0: "the sign is flipped",
        2.0: "off by a factor 2",
        0.5: "off by a factor ½",
        -2.0: "off by a factor -2",
        -0.5: "off by a factor -½",
    }
    for length in sorted({length for length in lengths if length > 2}):
        usual[float(length)] = f"off by {length}, the length of an axis: a sum where a mean belongs?"
        usual[1 / length] = f"off by 1/{length}, one over the length of an axis: a mean where a sum belongs?"
    return next((text for value, text in usual.items() if abs(ratio - value) <= tolerance * max(abs(value), 0.1)), "")


def _aligned(header: Sequence[str], rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    table = [tuple(header), *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    return [
        "  " + "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in columns)
        for columns in (list(enumerate(zip(line, widths, strict=True))) for line in table)
    ]


def table(header: Sequence[str], rows: Sequence[Row]) -> str:
    """A table as HTML, with the last cell of each row as a badge; nothing where there are no rows."""
    if not rows:
        return ""
    cell = "padding: 2px 10px; white-space: nowrap; border: 0; border-bottom: 1px solid rgba(128, 128, 128, 0.3)"

    def line(tag: str, cells: Sequence[str], style: str = "") -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        columns = (
            f'<{tag} style="{cell}; text-align: {side}">{text}</{tag}>' for side, text in zip(sides, cells, strict=True)
        )
        return f'<tr style="background: transparent{style}">{"".join(columns)}</tr>'

    body = (line("td", [*(escape(text) for text in row.cells[:-1]), badge(row.cells[-1], row.grade)]) for row in rows)
    head = line("th", [escape(text) for text in header])
    return (
        '<table style="font: inherit; font-variant-numeric: tabular-nums; color: inherit; border-collapse: collapse">'
        f"<thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
    )


def badge(text: str, grade: Grade) -> str:
    """A few words on the tint of their grade, as HTML."""
    tint = TINTS[grade]
    style = f"background: rgba({tint}, 0.22); box-shadow: inset 0 0 0 1px rgba({tint}, 0.6)"
    return f'<span style="{style}; border-radius: 4px; padding: 0 6px">{escape(text)}</span>'


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return str(value) if isinstance(value, StrEnum) else value
