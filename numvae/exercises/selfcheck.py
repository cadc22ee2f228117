"""The ladder, proven: every stub fails, every solution passes, every misconception is rejected and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from numvae.exercises.contract import Exercise
from numvae.exercises.diagnosis import diagnose
from numvae.exercises.solutions import solution_file

__all__ = ["SelfCheck", "check_ladder"]


@dataclass(frozen=True)
class SelfCheck:
    """How many of what were tried, and what was wrong with them, one line each."""

    exercises: int
    misconceptions: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The same in plain types."""
        counts = {"exercises": self.exercises, "misconceptions": self.misconceptions}
        return {"ok": self.ok, **counts, "problems": list(self.problems)}

    def __str__(self) -> str:
        counts = f"{self.exercises} exercises, {self.misconceptions} misconceptions"
        verdict = "every stub fails, every solution passes, every misconception is rejected and named"
        return "\n".join([f"{counts}: {verdict if self.ok else 'FAILED'}", *(f"  ✗ {line}" for line in self.problems)])


def check_ladder(exercises: Iterable[Exercise]) -> SelfCheck:
    """Try everything that an exercise promises; stubs and solutions as the files that a learner has."""
    count = misconceptions = 0
    problems: list[str] = []
    for exercise in exercises:
        count += 1
        misconceptions += len(exercise.misconceptions)
        problems += _problems(exercise)
    return SelfCheck(count, misconceptions, tuple(problems))


def _problems(exercise: Exercise) -> list[str]:
    found = []
    if diagnose(exercise, _from_file(exercise, exercise.stub)).ok:
        found.append(f"{exercise.name}: the stub passes")
    solved = diagnose(exercise, _from_file(exercise, solution_file(exercise)))
    if not solved.ok:
        found.append(f"{exercise.name}: the solution does not pass: {solved.verdict}")
    for misconception in exercise.misconceptions:
        finding = diagnose(exercise, misconception.wrong)
        if finding.ok:
            found.append(f"{exercise.name}: {misconception.id} passes")
        elif misconception.id not in finding.misconceptions:
            found.append(f"{exercise.name}: {misconception.id} is not named, but: {finding.verdict}")
    return found


def _from_file(exercise: Exercise, text: str) -> Callable[..., Any]:
    names: dict[str, Any] = {}
    exec(compile(text, f"<{exercise.name}>", "exec", dont_inherit=True), names)
    return names[exercise.name]  # type: ignore[no-any-return]
