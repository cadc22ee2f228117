"""The maths of the derivation pages renders on GitHub: by rules, and by KaTeX where node and it are there.

GitHub reads Markdown first and maths second: in ``$…$`` it takes a backslash before punctuation away, and may take
``_`` and ``*`` for emphasis.  In ``$`…`$`` and in fences it does neither.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass

import pytest

from tests.traceability import ROOT

DERIVATIONS = ROOT / "derivations"
PAGES = sorted(page.name for page in DERIVATIONS.glob("*.md"))
REFUSED = re.compile(
    r"\\(?:tag|label|eqref|ref|newcommand|renewcommand|def|require|bm|operatorname|mathds|nonumber|includegraphics|href)\b"
)
"""Macros that GitHub refuses, or that need a package it has not."""
RISKY = re.compile(r"\\[^A-Za-z\s]|[}\])]_|\*|<[a-z/!]")
"""What Markdown may change before the maths is read."""


@dataclass(frozen=True)
class Formula:
    """What stands between the signs, whether on lines of its own, and whether Markdown may change it first."""

    formula: str
    display: bool
    exposed: bool = False


def formulas(text: str) -> tuple[list[Formula], str]:
    """All formulas of a page, and what is left of the page without them and without code."""
    found: list[Formula] = []

    def take(pattern: str, text: str, display: bool = False, exposed: bool = False) -> str:
        found.extend(Formula(body, display, exposed) for body in re.findall(pattern, text, re.DOTALL | re.MULTILINE))
        return re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)

    text = take(r"^```math\n(.*?)^```", text, display=True)
    text = re.sub(r"^```.*?^```|````.*?````", "", text, flags=re.DOTALL | re.MULTILINE)
    text = take(r"\$`([^`]+)`\$", text)
    text = re.sub(r"`[^`\n]*`", "", text)
    text = take(r"\$([^$]+)\$", text, exposed=True)
    return found, text


def complaints(text: str) -> list[str]:
    """What the rules say against a page's maths, one line each."""
    found, rest = formulas(text)
    said = ["a $ without its partner: …" + rest[max(rest.index("$") - 30, 0) :][:60]] if "$" in rest else []
    for f in found:
        said += [f"{reason}: {f.formula.strip()}" for reason in reasons(f)]
    return said


def reasons(f: Formula) -> list[str]:
    """Why a formula may not render."""
    bare = re.sub(r"\\[{}\\]", "", f.formula)
    depth = [bare[: place + 1].count("{") - bare[: place + 1].count("}") for place in range(len(bare))]
    pairs = [(r"\\left\b", r"\\right\b"), (r"\\begin\{", r"\\end\{")]
    counts = [[len(re.findall(side, f.formula)) for side in pair] for pair in pairs]
    tests = {
        "braces do not match": min(depth, default=0) < 0 or depth[-1:] not in ([], [0]),
        "\\left or \\begin without its partner": any(opened != closed for opened, closed in counts),
        "GitHub refuses the macro": REFUSED.search(f.formula),
        "Markdown changes it first, write $`…`$": f.exposed and RISKY.search(f.formula),
        "an empty formula": not f.formula.strip(),
    }
    return [reason for reason, holds in tests.items() if holds]


@pytest.mark.parametrize("page", PAGES)
def test_maths_keeps_the_rules(page: str) -> None:
    found = complaints((DERIVATIONS / page).read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$\\frac{1}{2$", "braces"),
        ("```math\na } { b\n```\n", "braces"),
        ("```math\n\\left( x\n```\n", "partner"),
        ("```math\nx \\tag{1}\n```\n", "refuses"),
        ("```math\n\\bm{x}\n```\n", "refuses"),
        ("$a\\,b$", "Markdown"),
        ("$E[x]_q$ and $E[y]_q$", "Markdown"),
        ("it costs $5", "partner"),
    ],
)
def test_broken_maths_is_noticed(text: str, reason: str) -> None:
    assert any(reason in line for line in complaints(text)), complaints(text)


def test_whole_maths_is_not_complained_of() -> None:
    text = "$x$ and $`E_q[x]_i \\,`$\n```math\n\\left\\{ \\frac{a}{b} \\right.\n```\n```python\n>>> '$'\n```\n`a$`\n"
    assert complaints(text) == []
    assert len(formulas(text)[0]) == 3


@pytest.fixture(scope="module")
def node() -> str:
    """Node, where it finds KaTeX: ``npm install katex`` beside the repository, or NODE_PATH."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")
    if subprocess.run([program, "-e", "require('katex')"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("node finds no katex: npm install katex, and NODE_PATH=…/node_modules")
    return program


def by_katex(node: str, found: list[Formula]) -> list[str]:
    """What KaTeX in strict mode says of the formulas it does not accept."""
    script, asked = ROOT / "tests" / "katex_strict.cjs", json.dumps([asdict(f) for f in found])
    run = subprocess.run([node, str(script)], input=asked, capture_output=True, text=True, check=True, encoding="utf-8")
    return [f"{said}: {f.formula.strip()}" for f, said in zip(found, json.loads(run.stdout), strict=True) if said]


def test_maths_renders_by_katex_in_strict_mode(node: str) -> None:
    of_pages = {page: formulas((DERIVATIONS / page).read_text(encoding="utf-8"))[0] for page in PAGES}
    said = by_katex(node, [f for found in of_pages.values() for f in found])
    assert not said, "\n".join(said)


def test_katex_refuses_what_is_no_formula(node: str) -> None:
    assert len(by_katex(node, [Formula("\\frac{1}", True), Formula("x^2", False), Formula("\\nosuch", False)])) == 2
