"""Where the labels of equations stand: on derivation pages, in the code, in the tests, in the exercises.

A label is a page's name and a number, in brackets.  With a letter behind the number it is a step on paper, which code
and tests may leave out.  All is found by searching text, as a reader would with grep.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LADDER = "numvae/exercises/ladder"
GENERATED = ("derivations/INDEX.md", "derivations/PROOFS.md")
"""Pages of ``derivations/`` that a command writes from the others."""

DEFINITION = re.compile(r"^\*\*\((?P<label>[a-z_]+\.\d+[a-z]?)\)\*\*$")
REFERENCE = re.compile(r"\(([a-z_]+\.\d+[a-z]?)\)")
MENTION = re.compile(r"(?<![\w.])([a-z_]+\.\d+)(?![\da-z])")
STEP = re.compile(r'^@step\("([a-z_]+\.\d+[a-z])"')
QUOTED = re.compile(r'"([a-z_]+\.\d+[a-z]?)"')

Places = dict[str, list[str]]


def find(pattern: re.Pattern[str], root: Path, folder: str, suffix: str, but: Sequence[str] = ()) -> Places:
    """Label -> the places, as ``file:line`` below the root, where a pattern is found in a folder; ``but`` not there."""
    places: Places = defaultdict(list)
    for file in sorted((root / folder).rglob(f"*{suffix}")):
        name = file.relative_to(root).as_posix()
        if name.startswith(tuple(but)):
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            for label in pattern.findall(line):
                places[label].append(f"{name}:{number}")
    return dict(places)


def in_pages(root: Path, pattern: re.Pattern[str] = REFERENCE) -> Places:
    """Where pages written by hand refer to an equation or, by ``DEFINITION``, derive it."""
    return find(pattern, root, "derivations", ".md", but=GENERATED)


def in_code(root: Path) -> Places:
    """Where an equation stands in the package, at its line or in a docstring; where exercises ask for it is no such."""
    return find(REFERENCE, root, "numvae", ".py", but=[LADDER])


def in_tests(root: Path) -> Places:
    """Where a test names an equation, so that ``pytest -k`` finds it."""
    return find(MENTION, root, "tests", ".py")


def checked_steps(root: Path) -> Places:
    """Where a lettered step has its check."""
    return find(STEP, root, "tests/steps", ".py")


def in_exercises(root: Path) -> Places:
    """Where an exercise, or a mistake it knows, says which equation it is about."""
    return find(QUOTED, root, LADDER, ".py")


def is_step(label: str) -> bool:
    return label[-1].isalpha()


def prefix(label: str) -> str:
    return label.partition(".")[0]


def in_order(label: str) -> tuple[str, int, str]:
    """A key to sort labels by: normal.2 before normal.10, and normal.1a behind normal.1."""
    page, _, number = label.partition(".")
    return page, int(number.rstrip("abcdefghijklmnopqrstuvwxyz")), number.lstrip("0123456789")


def disagreements(root: Path) -> list[str]:
    """One readable line for each label that is missing, doubled, out of order or in the wrong place."""
    defined, referred = in_pages(root, DEFINITION), in_pages(root)
    code, tests, exercises = in_code(root), in_tests(root), in_exercises(root)
    topics = {prefix(label) for label in defined | code}
    return sorted(
        [
            *(
                f"({label}) is defined more than once: {', '.join(places)}"
                for label, places in defined.items()
                if len(places) > 1
            ),
            *(
                f"({label}) is used at {places[0]}, but no page in derivations/ defines it"
                for label, places in (code | referred).items()
                if label not in defined and prefix(label) in topics
            ),
            *(
                f"({label}) is derived at {places[0]}, but stands at no line in numvae/ (steps take a letter)"
                for label, places in defined.items()
                if label not in code and not is_step(label)
            ),
            *(
                f"({label}) stands at {places[0]}, but no test names it: put it into its case in tests/cases"
                for label, places in code.items()
                if label not in tests and not is_step(label)
            ),
            *(
                f"({label}) is named at {places[0]}, but no page in derivations/ defines it"
                for label, places in tests.items()
                if label not in defined and label not in code and prefix(label) in topics
            ),
            *(
                f"({label}) is asked for at {places[0]}, but no page in derivations/ defines it"
                for label, places in exercises.items()
                if label not in defined
            ),
            *misplaced(root / "derivations"),
        ]
    )


def misplaced(derivations: Path) -> list[str]:
    """Definitions on another topic's page, out of order, or without an equation below."""
    complaints = []
    for page in sorted(derivations.glob("*.md")):
        lines = page.read_text(encoding="utf-8").splitlines()
        expected = 1
        for number, line in enumerate(lines):
            found = DEFINITION.match(line)
            if not found:
                continue
            label, where = found["label"], f"derivations/{page.name}:{number + 1}"
            if prefix(label) != page.stem.partition("-")[0]:
                complaints.append(f"({label}) is defined at {where}, a page of another name")
            if next((text for text in lines[number + 1 :] if text.strip()), "") != "```math":
                complaints.append(f"({label}) at {where} has no equation directly below it")
            if not is_step(label):
                if label != f"{prefix(label)}.{expected}":
                    complaints.append(f"({label}) at {where} is out of order: ({prefix(label)}.{expected}) comes next")
                expected = int(label.split(".")[1]) + 1
    return complaints
