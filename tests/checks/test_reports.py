"""How reports read: as text, as HTML, as JSON and as one line."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest

from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_sampler, check_unbiased
from numvae.checks.reports import Grade, grade_of, name_ratio
from numvae.distributions import Normal
from numvae.errors import CheckError

PARAMS = np.random.default_rng(0).standard_normal((2, 4))


def wrong(W: Array, noise: Array) -> tuple[Array, Pullback]:
    return W**2, lambda dy: (W * dy, None)


REPORTS = [
    check_pullback(wrong, PARAMS, PARAMS),
    check_pullback(Normal().kl, PARAMS, -PARAMS),
    check_pullback(wrong, PARAMS, np.ones(2), names=("<script>alert('W')</script>", "a & b")),
    check_sampler(Normal(), PARAMS, samples=1000),
    check_unbiased(2 + np.random.default_rng(0).standard_normal((100, 3)), np.ones(3), name="<b>"),
]
every_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.title)


class Balanced(html.parser.HTMLParser):
    """Notes tags that are not closed in order, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


@every_report
def test_text_is_an_aligned_table(report: object) -> None:
    title, header, *rows = str(report).splitlines()
    assert title.endswith((": ok", ": FAILED"))
    assert repr(report) == str(report)
    table = [header, *rows[: len(report.rows)]]  # type: ignore[attr-defined]
    assert len({len(line) for line in table}) == 1


@every_report
def test_html_is_balanced_escaped_and_needs_nothing_from_outside(report: object) -> None:
    page = Balanced(report._repr_html_())  # type: ignore[attr-defined]
    assert page.open == []
    assert page.seen <= {"div", "p", "strong", "span", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    for row in report.rows:  # type: ignore[attr-defined]
        assert all(cell in page.text for cell in row.cells)
    assert "http" not in report._repr_html_()  # type: ignore[attr-defined]


def test_html_tints_say_the_grade_and_leave_the_text_to_the_page() -> None:
    """Half-transparent tints and inherited text show on light and on dark pages."""
    page = REPORTS[0]._repr_html_()
    assert "248, 81, 73, 0.22" in page
    assert "; color: inherit" in page
    assert "background: #" not in page


def test_assert_ok_raises_one_line_that_counts_the_rest() -> None:
    with pytest.raises(CheckError) as raised:
        REPORTS[4].assert_ok()
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("(and 1 more)")
    REPORTS[1].assert_ok()


@pytest.mark.parametrize(
    ("error", "grade"),
    [
        (0.0, "happy"),
        (1e-7, "happy"),
        (1e-4, "fine only with kinks"),
        (1e-2, "uncomfortable"),
        (1.0, "wrong"),
        (np.nan, "wrong"),
    ],
)
def test_grades_are_those_of_the_notes(error: float, grade: str) -> None:
    assert grade_of(error) is Grade(grade)


def test_ratios_are_named_where_they_mean_something() -> None:
    assert name_ratio(2.0) == "off by a factor 2"
    assert name_ratio(-1.0) == "the sign is flipped"
    assert name_ratio(1 / 7, [7]).startswith("off by 1/7, one over the length of an axis")
    assert name_ratio(1.37) == ""
