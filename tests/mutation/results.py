"""What became of every mutant, kept beside the tool in results.json, and what is wrong with it as the sources are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
MUTATED = ("numvae/layers.py", "numvae/objectives.py", "numvae/distributions/*.py", "numvae/estimators/*.py")
"""The files whose every gradient line is to be proven by the suite."""
REFRESH = "python -m tests.mutation"

Key: TypeAlias = tuple[str, str, str, str]
"""File, function, line, mutation."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    ``proof``: pullback, law, estimator or other, the kind of the test that killed it; time, where that test never
    ended; survived; or broken, where no mutant could be made.  ``test``: which one, or what was tried.
    """

    proof: str
    test: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether a test failed."""
        return self.proof not in ("survived", "broken")


def read(path: Path = RESULTS) -> dict[Key, Outcome]:
    """All outcomes, by a mutant's key: the file nests file, function, line, mutation."""
    tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        (file, function, line, mutation): Outcome(*outcome)
        for file, functions in tree.items()
        for function, lines in functions.items()
        for line, mutations in lines.items()
        for mutation, outcome in mutations.items()
    }


def write(outcomes: dict[Key, Outcome], path: Path = RESULTS) -> None:
    """One line per mutant, so that a change can be read."""
    unfinished = path.with_suffix(".part")
    rows = sorted((*key, [o.proof, o.test, o.seconds]) for key, o in outcomes.items())
    unfinished.write_text("\n".join(_nested(rows)) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _nested(rows: list[tuple[object, ...]], indent: int = 0) -> Iterator[str]:
    if len(rows[0]) == 1:
        yield json.dumps(rows[0][0], ensure_ascii=False)
        return
    groups = [(name, [row[1:] for row in group]) for name, group in groupby(rows, key=lambda row: row[0])]
    yield "{"
    for number, (name, inner) in enumerate(groups):
        first, *rest = _nested(inner, indent + 1)
        lines = [f"{' ' * (indent + 1)}{json.dumps(name, ensure_ascii=False)}: {first}", *rest]
        lines[-1] += "," if number + 1 < len(groups) else ""
        yield from lines
    yield " " * indent + "}"


def sources(root: Path = ROOT, patterns: tuple[str, ...] = MUTATED) -> dict[str, str]:
    """The text of every file in question, by its path below the root."""
    files = [file for pattern in patterns for file in sorted(root.glob(pattern))]
    return {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in files}


def all_mutants(texts: dict[str, str]) -> list[Mutant]:
    """Those of all files, in their order."""
    return [mutant for file, text in texts.items() for mutant in mutants_of(text, file)]


def disagreements(mutants: list[Mutant], outcomes: dict[Key, Outcome], equivalent: dict[Key, str]) -> list[str]:
    """What the results lack or hold too much of: one line each, with the command that puts it right."""
    keys = {mutant.key: mutant for mutant in mutants}
    complaints = []
    for key, mutant in keys.items():
        outcome, refresh = outcomes.get(key), f"run {REFRESH} --files {mutant.file}"
        if outcome is None:
            complaints.append(f"{mutant}: never run; {refresh}")
        elif outcome.proof == "broken":
            complaints.append(f"{mutant}: {outcome.test}; mend tests/mutation")
        elif not outcome.killed and key not in equivalent:
            complaints.append(f"{mutant}: survived; write the test that is missing and {refresh}")
        elif outcome.killed and key in equivalent:
            complaints.append(f"{mutant}: said to be equivalent, but {outcome.test} tells it; take it off the list")
    for file, function, line, mutation in sorted(set(outcomes) - set(keys)):
        where = f"{file} {function}: {line}   [{mutation}]"
        complaints.append(f"{where}: no longer there; run {REFRESH} --files {file}")
    for file, function, line, mutation in sorted(set(equivalent) - set(keys)):
        complaints.append(f"{file} {function}: {line}   [{mutation}]: listed as equivalent, but no longer there")
    return complaints
