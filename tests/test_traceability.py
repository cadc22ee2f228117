"""Equation, line, test: a label on a derivation page stands at a line of code and in a test, and the other way round.

A label is a page's name and a number, in brackets.  With a letter behind the number it is a step on paper, which code
and tests may leave out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

DEFINITION = re.compile(r"^\*\*\((?P<label>[a-z_]+\.\d+[a-z]?)\)\*\*$")
REFERENCE = re.compile(r"\(([a-z_]+\.\d+[a-z]?)\)")
MENTION = re.compile(r"(?<![\w.])([a-z_]+\.\d+)(?![\da-z])")

Places = dict[str, list[str]]


def find(pattern: re.Pattern[str], folder: Path, suffix: str) -> Places:
    """Label -> the places, as ``file:line`` below the root, where ``pattern`` finds it."""
    places: Places = defaultdict(list)
    for file in sorted(folder.rglob(f"*{suffix}")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            for label in pattern.findall(line):
                places[label].append(f"{file.relative_to(folder.parent)}:{number}")
    return dict(places)


def is_step(label: str) -> bool:
    return label[-1].isalpha()


def prefix(label: str) -> str:
    return label.partition(".")[0]


def disagreements(root: Path) -> list[str]:
    """One readable line for each label that is missing, doubled, out of order or in the wrong place."""
    defined = find(DEFINITION, root / "derivations", ".md")
    in_pages = find(REFERENCE, root / "derivations", ".md")
    in_code = find(REFERENCE, root / "numvae", ".py")
    in_tests = find(MENTION, root / "tests", ".py")
    topics = {prefix(label) for label in defined | in_code}
    return sorted(
        [
            *(
                f"({label}) is defined more than once: {', '.join(places)}"
                for label, places in defined.items()
                if len(places) > 1
            ),
            *(
                f"({label}) is used at {places[0]}, but no page in derivations/ defines it"
                for label, places in (in_code | in_pages).items()
                if label not in defined and prefix(label) in topics
            ),
            *(
                f"({label}) is derived at {places[0]}, but stands at no line in numvae/ (steps take a letter)"
                for label, places in defined.items()
                if label not in in_code and not is_step(label)
            ),
            *(
                f"({label}) stands at {places[0]}, but no test names it: put it into its case in tests/cases"
                for label, places in in_code.items()
                if label not in in_tests and not is_step(label)
            ),
            *(
                f"({label}) is named at {places[0]}, but no page in derivations/ defines it"
                for label, places in in_tests.items()
                if label not in defined and label not in in_code and prefix(label) in topics
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


def test_every_equation_has_its_line_and_its_test() -> None:
    found = disagreements(ROOT)
    assert not found, "\n" + "\n".join(found)


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
