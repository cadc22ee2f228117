"""Writes ``derivations/INDEX.md``: each equation with its function, tests and exercises, and the other way round.

    python -m tests.index

Functions and tests are named, not numbered by line, so that the page changes only where a label does.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from numvae.exercises.ladder import EXERCISES
from tests.traceability import (
    DEFINITION,
    LADDER,
    ROOT,
    Places,
    checked_steps,
    in_code,
    in_exercises,
    in_order,
    in_pages,
    in_tests,
    is_step,
    prefix,
)

PAGE = ROOT / "derivations" / "INDEX.md"
COMMAND = "python -m tests.index"
MAP = ROOT / "derivations" / "aevb.toml"
BAR = "\\|"
"""Within a table."""

HEAD = f"""# Index of equations

Made by `{COMMAND}`; not to be edited. For each equation: the functions where it stands, the tests that name it,
and the exercises that ask for it. `grep -rn "normal\\.3\\b" derivations numvae tests` leads to the lines themselves,
and `pytest -k normal.3` runs the tests. A label with a letter is a step on paper: its two sides are computed in
different ways by `tests/steps/`; it need not stand in the code.
"""


@dataclass(frozen=True)
class Named:
    """A function or method, or else a value, such as a line of the case table: what it is called, and its file."""

    name: str
    file: str
    is_function: bool = False

    @property
    def link(self) -> str:
        return f"[`{self.name}`](../{self.file})"


@cache
def named_lines(file: str) -> dict[int, Named]:
    """Line -> what it belongs to; lines that belong to nothing that has a name are left out."""
    found: dict[int, Named] = {}

    def claim(node: Any, name: str, is_function: bool = False) -> None:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        found.update(dict.fromkeys(range(first, node.end_lineno + 1), Named(name, file, is_function)))

    def visit(statements: list[ast.stmt], owner: str) -> None:
        above = ""
        for statement in statements:
            if isinstance(statement, ast.Expr) and above:  # the docstring of a value
                claim(statement, above)
            above = ""
            if isinstance(statement, ast.FunctionDef):
                claim(statement, owner + statement.name, is_function=True)
            elif isinstance(statement, ast.ClassDef):
                claim(statement, owner + statement.name)
                visit(statement.body, f"{owner}{statement.name}.")
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
                above = owner + ast.unparse(target)
                claim(statement, above)
                for node in ast.walk(statement):  # a table: what is made in it is called by its first argument
                    match node:
                        case ast.Call(func=ast.Name(), args=[ast.Constant(value=str(name)), *_]):
                            claim(node, name)

    visit(ast.parse((ROOT / file).read_text(encoding="utf-8")).body, "")
    return found


def named(places: Iterable[str]) -> list[Named]:
    """What stands at each ``file:line``, each once, in the order of the places."""
    cut = [place.rpartition(":") for place in places]
    found = [named_lines(file).get(int(line)) for file, _, line in cut]
    return list(dict.fromkeys(name for name in found if name))


def functions(label: str, code: Places) -> list[Named]:
    """Where in the package an equation stands; the page's own module before those that only refer to it."""
    return sorted(named(code.get(label, ())), key=lambda n: Path(n.file).stem != prefix(label))


def tests(label: str, mentions: Places) -> list[Named]:
    """What runs for ``pytest -k label``: tests, and lines of tables they run over; a step has a check of its own."""
    if is_step(label):
        return [Named("both sides", place.rpartition(":")[0]) for place in mentions.get(label, ())]
    return [n for n in named(mentions.get(label, ())) if n.name.startswith("test_") or not n.is_function]


def exercises(label: str, asked: Places) -> list[Named]:
    """The exercises about an equation, in the ladder's order."""
    files = {place.rpartition(":")[0] for place in asked.get(label, ())}
    return [Named(name, f"{LADDER}/{name}.py") for name in EXERCISES if f"{LADDER}/{name}.py" in files]


def index() -> str:
    """The whole page."""
    defined, code, asked = in_pages(ROOT, DEFINITION), in_code(ROOT), in_exercises(ROOT)
    mentions = in_tests(ROOT) | checked_steps(ROOT)
    rows = {
        label: (functions(label, code), tests(label, mentions), exercises(label, asked))
        for label in sorted(defined, key=in_order)
    }
    sections: dict[str, list[str]] = {}
    for label, cells in rows.items():
        if not is_step(label) or any(cells):
            page = defined[label][0].rpartition(":")[0].removeprefix("derivations/")
            sections.setdefault(page, []).append(
                f"| ({label}) | " + " | ".join(" ".join(n.link for n in cell) for cell in cells) + " |"
            )
    text = [HEAD, "## From an exercise to its equations\n", *from_exercises(), "", *from_the_paper(), ""]
    for page, lines in sections.items():
        text += [f"## [{page.removesuffix('.md')}]({page})\n", "| equation | code | tests | exercises |"]
        text += ["|---|---|---|---|", *lines, ""]
    return "\n".join(text)


def from_exercises() -> list[str]:
    """The inverse: each exercise, the equations it is about, and those that its mistakes break."""
    lines = ["| exercise | equations | equations its mistakes break |", "|---|---|---|"]
    for name, exercise in EXERCISES.items():
        broken = sorted({m.label for m in exercise.misconceptions}, key=in_order)
        cells = (", ".join(f"({label})" for label in labels) for labels in (exercise.labels, broken))
        lines.append(f"| [`{name}`](../{LADDER}/{name}.py) | {' | '.join(cells)} |")
    return lines


def from_the_paper() -> list[str]:
    """The reader's map from the AEVB paper's numbers to ours."""
    lines = [
        "## From the AEVB paper's equations to ours\n",
        "Numbers of arXiv 1312.6114 v11. Those with ? are not cited anywhere else here and have not been checked.\n",
        "| paper | what it is | ours |",
        "|---|---|---|",
    ]
    for equation in tomllib.loads(MAP.read_text(encoding="utf-8"))["equation"]:
        doubt = "" if "quoted" in equation else " ?"
        labels = ", ".join(f"({label})" for label in equation["ours"])
        lines.append(f"| {equation['number']}{doubt} | {equation['says'].replace('|', BAR)} | {labels} |")
    return lines


if __name__ == "__main__":
    PAGE.write_text(index(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
