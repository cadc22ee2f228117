"""No slip in a gradient line goes unnoticed: the tool that tries them all, and the result it has left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import is_gradient, mutants_of
from tests.mutation.results import ROOT, Outcome, all_mutants, disagreements, read, sources, write

MADE_UP = '''
def rule(a, b, rows):
    """A value and its pullback."""
    value = a - rows @ b  # (made_up.1)

    def pullback(dvalue):
        da = dvalue * (1 + a / 2)
        return da, -(rows.T @ dvalue), None

    return value, pullback
'''


def mutations(source: str, function: str = "rule.<locals>.pullback") -> list[str]:
    return [mutant.mutation for mutant in mutants_of(source, "made_up.py") if mutant.function == function]


def test_every_slip_is_made_in_the_lines_of_a_gradient() -> None:
    assert mutations(MADE_UP) == [
        "sign: dvalue * (1 + a / 2)",
        "factor 2: dvalue * (1 + a / 2)",
        "dropped term: 1 + a / 2 → 1",
        "dropped term: 1 + a / 2 → a / 2",
        "swapped: a / 2",
        "dropped path: da",
        "sign: -(rows.T @ dvalue)",
        "factor 2: -(rows.T @ dvalue)",
        "dropped path: -(rows.T @ dvalue)",
        "swapped: rows.T @ dvalue",
        "transposed: dvalue",
        "transposed: rows.T",
    ]


def test_every_slip_is_made_in_a_value_that_has_a_label() -> None:
    assert mutations(MADE_UP, "rule") == [
        "sign: a - rows @ b",
        "factor 2: a - rows @ b",
        "dropped term: a - rows @ b → a",
        "dropped term: a - rows @ b → -(rows @ b)",
        "swapped: rows @ b",
        "transposed: rows",
        "transposed: b",
    ]
    assert mutations(MADE_UP.replace("# (made_up.1)", "# no label"), "rule") == []


def test_lambdas_are_pullbacks_too() -> None:
    source = "def log(x):\n    return np.log(x), lambda dy: (dy / x,)\n"
    assert mutations(source, "log.<locals>.<lambda>") == [
        "sign: dy / x",
        "factor 2: dy / x",
        "dropped path: dy / x",
        "swapped: dy / x",
    ]


def test_a_mutant_is_the_source_with_one_expression_changed() -> None:
    before = set(MADE_UP.splitlines())
    changed = [set(mutant.applied(MADE_UP).splitlines()) - before for mutant in mutants_of(MADE_UP, "")]
    assert {line.strip() for lines in changed for line in lines} >= {
        "value = (-(a - rows @ b))  # (made_up.1)",
        "value = (a, rows @ b)[0]  # (made_up.1)",
        "return da, (0 * (-(rows.T @ dvalue))), None",
        "return da, -((rows) @ dvalue), None",
    }
    assert all(len(lines) == 1 for lines in changed)


def test_a_gradient_is_known_by_its_name() -> None:
    assert all(map(is_gradient, ("d", "dy", "dW", "dlog_std", "dparams")))
    assert not any(map(is_gradient, ("data", "dtype", "direction", "difference", "mean", "decoder")))


RULE = """
def square(x):
    y = x * x  # (tiny.1)

    def pullback(dy):
        return (2 * x * dy,)

    return y, pullback


imported_at_once = square
"""
WEAK = "\n\ndef test_gradient_grows():\n    assert imported_at_once(3.0)[1](1.0)[0] > 1\n"
STRONG = "\n\ndef test_gradient():\n    assert imported_at_once(3.0)[1](1.0)[0] == 6\n"
VALUE = "from rules import imported_at_once\n\n\ndef test_value():\n    assert imported_at_once(3.0)[0] == 9\n"


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the tool forks, which this system cannot")


def mutated(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The tool on one rule and its tests."""
    (folder / "rules.py").write_text(RULE, encoding="utf-8")
    (folder / "test_rules.py").write_text(tests, encoding="utf-8")
    command = [sys.executable, "-m", "tests.mutation", f"--root={folder}", "--files=rules.py", "--tests=test_rules.py"]
    paths = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.run(
        [*command, f"--out={folder / 'out.json'}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@forks
def test_a_weak_test_leaves_a_survivor_and_a_strong_one_kills_it(tmp_path: Path) -> None:
    """And only the survivor is run again."""
    weak = mutated(tmp_path, VALUE + WEAK)
    assert weak.returncode == 1, weak.stderr
    assert "5 mutants in 1 files, 5 of them to be run" in weak.stdout
    survivors = [key[-1] for key, outcome in read(tmp_path / "out.json").items() if not outcome.killed]
    assert survivors == ["factor 2: 2 * x * dy"]
    strong = mutated(tmp_path, VALUE + STRONG)
    assert strong.returncode == 0, strong.stderr
    assert "5 mutants in 1 files, 1 of them to be run" in strong.stdout
    by = {key[-1]: outcome.test for key, outcome in read(tmp_path / "out.json").items()}
    assert by["factor 2: 2 * x * dy"] == "test_rules.py::test_gradient"
    assert by["sign: x * x"] == "test_rules.py::test_value"


@forks
def test_a_test_that_fails_without_a_mutant_proves_nothing(tmp_path: Path) -> None:
    failing = mutated(tmp_path, VALUE + "\n\ndef test_fails():\n    assert imported_at_once(3.0)[1](1.0)[0] == 5\n")
    assert failing.returncode == 1
    assert "left out, for it fails without a mutant: test_rules.py::test_fails" in failing.stderr
    assert sum(not outcome.killed for outcome in read(tmp_path / "out.json").values()) == 3


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    outcomes = {
        ("a.py", "f", "dx = 'ö' + y[0]", "sign: y"): Outcome("pullback", "t.py::test_a[case]", 0.25),
        ("a.py", "f", "dx = 'ö' + y[0]", "factor 2: y"): Outcome("survived", "3 tests", 1.0),
        ("b.py", "g", "return dx", "dropped path: dx"): Outcome("law", "t.py::test_b", 2.0),
    }
    write(outcomes, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == outcomes


def test_what_is_missing_outdated_or_alive_is_named_with_the_command_that_mends_it() -> None:
    mutants = mutants_of(MADE_UP, "made_up.py")
    outcomes = {mutant.key: Outcome("pullback", "test_it", 0.1) for mutant in mutants}
    assert disagreements(mutants, outcomes, {}) == []
    first, second, third = (mutant.key for mutant in mutants[:3])
    del outcomes[first]
    outcomes[second] = Outcome("survived", "9 tests", 3.0)
    outcomes["made_up.py", "rule", "value = a", "sign: a"] = Outcome("law", "test_it", 0.1)
    found = disagreements(mutants, outcomes, {third: "for a reason"})
    place, command = "made_up.py:4 rule: value = a - rows @ b", "run python -m tests.mutation --files made_up.py"
    whole = "a - rows @ b"
    assert found == [
        f"{place}   [sign: {whole}]: never run; {command}",
        f"{place}   [factor 2: {whole}]: survived; write the test that is missing and {command}",
        f"{place}   [dropped term: {whole} → a]: said to be equivalent, but test_it tells it; take it off the list",
        f"made_up.py rule: value = a   [sign: a]: no longer there; {command}",
    ]


def test_no_mutant_of_the_package_has_survived() -> None:
    """The result beside the tool is that of the sources as they are: every gradient line, every slip."""
    found = disagreements(all_mutants(sources()), read(), EQUIVALENT)
    if found:
        pytest.fail(f"{len(found)} in all\n" + "\n".join(found[:40]), pytrace=False)
