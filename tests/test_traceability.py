"""Equation, line, test, exercise: a label on a derivation page stands in all of them, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from numvae.exercises.ladder import EXERCISES
from tests.traceability import (
    DEFINITION,
    LADDER,
    ROOT,
    checked_steps,
    disagreements,
    in_code,
    in_exercises,
    in_pages,
    in_tests,
    is_step,
)


def test_every_equation_has_its_line_and_its_test() -> None:
    found = disagreements(ROOT)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_and_its_equations_are_found_from_each_other_by_search(name: str) -> None:
    """From the exercise to every page, line and test; and from the equation back to the exercise's file."""
    exercise, file = EXERCISES[name], f"{LADDER}/{name}.py"
    named = {*exercise.labels, *(misconception.label for misconception in exercise.misconceptions)}
    searched = {label for label, places in in_exercises(ROOT).items() if any(file in place for place in places)}
    assert searched == named, "a search for the label in quotes finds the file, and nothing else in it"
    pages, code, tests = in_pages(ROOT, DEFINITION), in_code(ROOT), in_tests(ROOT) | checked_steps(ROOT)
    for label in named:
        assert label in pages
        assert label in tests
        assert label in code or is_step(label)


# A small tree of the same form, whole, and then broken in each way the checker is there for.

PAGE = """# Made
**(made.1)**
```math
y = x
```
**(made.1a)**
```math
a = b
```
By (made.1a):

**(made.2)**
```math
z = y
```
"""
WHOLE = {
    "derivations/made.md": PAGE,
    "numvae/made.py": '"""y = x  (made.1)."""\nz = y  # (made.2), by (made.1a)\n',
    "tests/cases.py": 'CASES = ["made.1 made.2", "other.7"]\n',
    "numvae/exercises/ladder/make.py": 'EXERCISE = Exercise(labels=("made.1", "made.1a"))\n',
}


def grow(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def replaced(file: str, old: str, new: str) -> Callable[[], dict[str, str]]:
    assert old in WHOLE[file]
    return lambda: WHOLE | {file: WHOLE[file].replace(old, new)}


def test_a_whole_tree_has_no_disagreements(tmp_path: Path) -> None:
    assert disagreements(grow(tmp_path, WHOLE)) == []


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        pytest.param(
            replaced("derivations/made.md", "**(made.2)**", "**(made.2b)**"),
            "(made.2) is used at numvae/made.py:2, but no page",
            id="code without derivation",
        ),
        pytest.param(
            replaced("numvae/made.py", "(made.2)", ""),
            "(made.2) is derived at derivations/made.md:12, but stands at no line",
            id="derivation without code",
        ),
        pytest.param(
            replaced("tests/cases.py", "made.2", "made.20"),
            "(made.2) stands at numvae/made.py:2, but no test names it",
            id="code without test, though a longer label is there",
        ),
        pytest.param(
            replaced("tests/cases.py", "made.2", "made.2a"),
            "(made.2) stands at numvae/made.py:2, but no test names it",
            id="code without test, though a step is there",
        ),
        pytest.param(
            replaced("tests/cases.py", "made.2", "made.2 made.9"),
            "(made.9) is named at tests/cases.py:1, but no page",
            id="test of nothing",
        ),
        pytest.param(
            replaced("derivations/made.md", "**(made.2)**", "**(made.1)**"),
            "(made.1) is defined more than once: derivations/made.md:2, derivations/made.md:12",
            id="defined twice on one page",
        ),
        pytest.param(
            lambda: WHOLE | {"derivations/other.md": "**(made.2)**\n```math\ny = x\n```\n"},
            "(made.2) is defined more than once: derivations/made.md:12, derivations/other.md:1",
            id="defined on two pages",
        ),
        pytest.param(
            lambda: WHOLE | {"derivations/other.md": "**(made.3a)**\n```math\ny = x\n```\n"},
            "(made.3a) is defined at derivations/other.md:1, a page of another name",
            id="on the wrong page",
        ),
        pytest.param(
            replaced("derivations/made.md", "By (made.1a)", "By (made.1c)"),
            "(made.1c) is used at derivations/made.md:10, but no page",
            id="a page refers to nothing",
        ),
        pytest.param(
            replaced("numvae/made.py", "(made.1a)", "(made.1c)"),
            "(made.1c) is used at numvae/made.py:2, but no page",
            id="code refers to no step",
        ),
        pytest.param(
            replaced("numvae/exercises/ladder/make.py", "made.1a", "made.1c"),
            "(made.1c) is asked for at numvae/exercises/ladder/make.py:1, but no page",
            id="an exercise about nothing",
        ),
        pytest.param(
            lambda: WHOLE | {"numvae/made.py": "", "numvae/exercises/ladder/make.py": "(made.2)"},
            "(made.2) is derived at derivations/made.md:12, but stands at no line",
            id="a line in an exercise alone",
        ),
        pytest.param(
            replaced("derivations/made.md", "**(made.2)**", "**(made.3)**"),
            "(made.3) at derivations/made.md:12 is out of order: (made.2) comes next",
            id="a number skipped",
        ),
        pytest.param(
            replaced("derivations/made.md", "**(made.2)**", "**(made.2)**\nsome words"),
            "(made.2) at derivations/made.md:12 has no equation directly below it",
            id="a label without an equation",
        ),
    ],
)
def test_a_broken_tree_is_named_for_what_it_lacks(
    tmp_path: Path, broken: Callable[[], dict[str, str]], complaint: str
) -> None:
    found = disagreements(grow(tmp_path, broken()))
    assert any(line.startswith(complaint) for line in found), found
