"""The committed proof table has a number for every entry of the case table, and no proof on it failed."""

from __future__ import annotations

import re

import numpy as np

from numvae.arrays import Array, Pullback
from tests import proof_table
from tests.cases import CASES, DIVERGENCES, ESTIMATIONS, FAMILIES, Case, reals
from tests.proof_table import Finding, cells_of, distance, score
from tests.steps import STEPS
from tests.traceability import DEFINITION, ROOT, in_pages, is_step

TEXT = proof_table.PAGE.read_text(encoding="utf-8")
AGAIN = f"derivations/PROOFS.md is not up to date; write it anew, it takes some minutes: {proof_table.COMMAND}"


def test_every_equation_has_its_row() -> None:
    assert set(cells_of(TEXT)) == {label for label in in_pages(ROOT, DEFINITION) if not is_step(label)}, AGAIN


def test_every_entry_of_the_case_table_has_its_number() -> None:
    wanted = {
        "pullback": [case for case in CASES if not case.on_average],
        "law": [*FAMILIES, *DIVERGENCES],
        "estimator": ESTIMATIONS,
    }
    cells = cells_of(TEXT)
    missing = [
        f"{entry.name}: {proof} of ({label})"
        for proof, entries in wanted.items()
        for entry in entries
        for label in entry.labels.split()
        if not cells.get(label, {}).get(proof)
    ]
    assert not missing, f"{AGAIN}\n" + "\n".join(missing)


def test_every_step_that_is_tried_has_its_row() -> None:
    assert set(re.findall(r"^\| \(([a-z_]+\.\d+[a-z])\) \|", TEXT, flags=re.MULTILINE)) == set(STEPS), AGAIN


def test_no_proof_on_the_page_failed() -> None:
    assert "✗ |" not in TEXT
    assert TEXT.count("✓") > 500


def test_a_wrong_pullback_is_shown_as_such() -> None:
    """The negative control: twice the gradient."""

    def double(x: Array) -> tuple[Array, Pullback]:
        return x * x, lambda dy: (4 * dy * x,)

    finding = proof_table.pullback(Case("double", "", double, (reals("S, B"),), "S, B"))
    assert not finding.ok
    assert finding.worst > 0.1


def test_distances_and_scores_by_hand() -> None:
    assert distance(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.5 / 4
    assert distance(np.array([0.5]), np.array([0.0])) == 0.5
    assert distance(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])) == 0
    assert distance(np.array([np.inf]), np.array([1.0])) == np.inf
    assert score(np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array([0.1, 0.25]), floor=0.0) == 2
    assert str(Finding(2e-12, 12, True)) == "2.0e-12 (12) ✓"
    assert str(Finding(3.26, 20_000, False, in_errors=True)) == "3.3 σ (20 000) ✗"
    biased = Finding(np.nan, 1, True, in_errors=True)
    assert str(biased) == "biased, as it says (1) ✓"
    assert biased.and_also(Finding(0.5, 2, False, in_errors=True)) == Finding(0.5, 3, False, in_errors=True)
