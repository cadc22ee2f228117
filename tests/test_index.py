"""The index of equations is what its generator makes, and every way through it leads somewhere."""

from __future__ import annotations

import tomllib

import pytest

from tests import index
from tests.traceability import DEFINITION, ROOT, in_code, in_order, in_pages, in_tests, is_step

PAPER = tomllib.loads(index.MAP.read_text(encoding="utf-8"))["equation"]


def test_the_committed_page_is_what_the_generator_makes() -> None:
    current = index.PAGE.read_text(encoding="utf-8") == index.index()
    assert current, f"derivations/INDEX.md is not up to date; write it anew: {index.COMMAND}"


def test_every_equation_has_a_function_and_a_test_in_the_index() -> None:
    """By name: a label in a module's docstring or in a helper alone is no line and no test."""
    code, mentions = in_code(ROOT), in_tests(ROOT)
    for label in in_pages(ROOT, DEFINITION):
        if not is_step(label):
            assert index.functions(label, code), f"({label}) stands in no function"
            assert index.tests(label, mentions), f"({label}) is named by no test, only by helpers"


@pytest.mark.parametrize("equation", PAPER, ids=lambda equation: equation["number"].replace(" ", "_"))
def test_the_papers_equations_lead_to_ours(equation: dict[str, object]) -> None:
    defined = in_pages(ROOT, DEFINITION)
    assert equation["ours"]
    assert set(equation["ours"]) <= set(defined)


@pytest.mark.parametrize("equation", [e for e in PAPER if "quoted" in e], ids=lambda e: e["number"].replace(" ", "_"))
def test_a_number_said_to_be_quoted_is_quoted(equation: dict[str, str]) -> None:
    """In the file it names, beside the paper's authors or title."""
    text = (ROOT / equation["quoted"]).read_text(encoding="utf-8")
    number = equation["number"].removesuffix(", unnumbered")
    assert (number if "appendix" in number else f"equation {number}") in text


def test_lines_are_named_for_what_they_belong_to() -> None:
    names = {line: n.name for line, n in index.named_lines("numvae/distributions/normal.py").items()}
    source = (ROOT / "numvae/distributions/normal.py").read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(source, 1) if text.endswith("# (normal.5)"))
    assert names[line] == "Normal.kl"
    cases = {n.name for n in index.named_lines("tests/cases/rules.py").values() if not n.is_function}
    assert {"affine", "elbo of bits", "pathwise of sample_mean"} <= cases


def test_labels_are_sorted_as_they_are_read() -> None:
    assert sorted(["b.1", "a.10", "a.2b", "a.2"], key=in_order) == ["a.2", "a.2b", "a.10", "b.1"]
