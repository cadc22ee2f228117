"""The derivation pages: their worked numbers are run, their form is kept, and nothing they point at is missing."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

DERIVATIONS = Path(__file__).parents[1] / "derivations"
PAGES = sorted(page.name for page in DERIVATIONS.glob("*.md"))
CORE_PAGES = [
    "bernoulli.md",
    "layers.md",
    "networks.md",
    "normal.md",
    "objectives.md",
    "one_page.md",
    "parameters.md",
    "pathwise.md",
    "reductions.md",
    "sample_gradient.md",
    "score_function.md",
]
ERRATA = [
    "000-1",
    "000-2",
    "000-3",
    "001-1",
    "001-2",
    "001-3",
    "001-4",
    "001-5",
    "002-1",
    "002-2",
    "002-3",
    "002-4",
    "003-1",
    "003-2",
    "003-3",
    "003-4",
    "003-5",
    "003-6",
    "003-7",
    "003-8",
    "003-9",
    "003-10",
    "003-11",
    "004-1",
    "004-2",
    "004-3",
    "AEVB-1",
    "AEVB-2",
    "AEVB-3",
    "RELAX-1",
]


def read(page: str) -> str:
    return (DERIVATIONS / page).read_text(encoding="utf-8")


def only_python(text: str) -> str:
    """The ```python blocks of a page, every other line blanked, so that line numbers in a failure are the page's."""
    kept, inside = [], False
    for line in text.splitlines():
        fence = line.startswith("```")
        kept.append(line if inside and not fence else "")
        if fence:
            inside = not inside and line.strip() == "```python"
    return "\n".join(kept) + "\n"


def failing_examples(text: str, name: str) -> str:
    """What the page's examples print that they should not; empty when all is well."""
    report: list[str] = []
    examples = doctest.DocTestParser().get_doctest(only_python(text), {}, name, name, 0)
    doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    return "".join(report)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_worked_numbers_are_what_the_code_gives(page: str) -> None:
    failures = failing_examples(read(page), page)
    assert not failures, failures


def test_a_wrong_worked_number_is_noticed() -> None:
    right = "Two and two:\n\n```python\n>>> 2 + 2\n4\n```\n"
    assert not failing_examples(right, "right.md")
    assert "Expected:\n    5" in failing_examples(right.replace("\n4\n", "\n5\n"), "wrong.md")


@pytest.mark.parametrize("page", PAGES)
def test_examples_stand_where_they_are_run(page: str) -> None:
    assert read(page).count("\n>>> ") == only_python(read(page)).count("\n>>> ")


@pytest.mark.parametrize("page", PAGES)
def test_fences_are_closed_and_the_title_comes_first(page: str) -> None:
    lines = read(page).splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("```") for line in lines) % 2 == 0


@pytest.mark.parametrize("page", CORE_PAGES)
def test_a_core_page_states_its_claim_and_its_common_mistakes(page: str) -> None:
    text = read(page)
    claim, number = text.find("**Claim.**"), text.find("\n>>> ")
    mistakes = re.search(r"^## Common mistakes?$", text, flags=re.MULTILINE)
    assert 0 < claim < number, "a page opens with its claim, and has a worked number"
    assert mistakes
    assert mistakes.start() > claim


@pytest.mark.parametrize("page", [page for page in PAGES if "\n```math" in read(page)])
def test_a_page_of_formulas_has_a_worked_number_and_names_a_mistake(page: str) -> None:
    assert "\n>>> " in read(page)
    assert "mistake" in read(page).lower() or page == "errata.md"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", without_code(read(page)))
    missing = [link for link in links if "://" not in link and not (DERIVATIONS / link).exists()]
    assert not missing, f"{page} links to {', '.join(missing)}"


def test_the_index_lists_every_page_once() -> None:
    linked = re.findall(r"^\| \[[^\]]*\]\(([^)]+\.md)\)", read("README.md"), flags=re.MULTILINE)
    assert sorted(linked) == [page for page in PAGES if page != "README.md"]


def test_each_erratum_says_what_is_printed_what_is_right_and_shows_it() -> None:
    sections = re.split(r"^## ", read("errata.md"), flags=re.MULTILINE)[1:]
    assert [section.split(":")[0] for section in sections] == ERRATA
    for section in sections:
        assert "*Printed" in section, section
        assert "*Right:*" in section, section
        assert "*Why" in section or "confirmed" in section, section
        assert "\n>>> " in section, section
