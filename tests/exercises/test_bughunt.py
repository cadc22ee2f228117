"""The bug hunt: every bug shows where its kind shows, right code shows nothing, and nobody tells before the answer."""

from __future__ import annotations

import builtins
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae.exercises import hunted
from numvae.exercises.bughunt import GRADES, LETTERS, LEVELS, LOOKS, Case, Training, level_case, random_case
from numvae.exercises.hunted import RIGHT, Code, planted
from numvae.exercises.misconceptions import all_misconceptions
from numvae.exercises.text_plot import text_plot
from tests.small_runs import numvae

ANYTHING = 20.0  # nats that nobody overlooks
SOMETHING = 1.8

HUNTED = [bug for bug, (exercise, _) in all_misconceptions().items() if exercise.name in vars(RIGHT)]
NO_GRADIENT = [bug for bug in HUNTED if all_misconceptions()[bug][0].name != "vae_gradient"]


def look_for(bug: str) -> str:
    """The look that names this bug."""
    _, misconception = all_misconceptions()[bug]
    return "parts" if misconception.proof == "pullback" else misconception.proof


def faults(look: str, code: Code, seed: int = 0) -> tuple[str, ...]:
    return LOOKS[look](code, seed).faults


# ---- the levels


def test_there_are_levels_from_glaring_to_subtle() -> None:
    assert list(GRADES) == ["glaring", "plain", "quiet", "subtle"]
    assert len(LEVELS) == len(set(LEVELS)) >= 20
    assert set(LEVELS) <= set(HUNTED)


@pytest.mark.parametrize("bug", [*LEVELS, *sorted(set(NO_GRADIENT) - set(LEVELS))])
def test_each_bug_shows_in_the_look_for_its_kind(bug: str) -> None:
    code, look, link = planted(bug), look_for(bug), all_misconceptions()[bug][1].link
    found = faults(look, code)
    assert found
    if look == "parts":
        assert found[0] == link, "the first wrong group is where the bug is"
    else:
        assert not faults("parts", code), "its gradient is that of its own bound"


@pytest.mark.parametrize("bug", [bugs[7] for bugs in GRADES.values()])
def test_the_curve_shows_as_much_as_the_grade_says(bug: str, right: Training) -> None:
    training = Training(planted(bug), 0)
    training.__dict__.update(setting=right.setting, right=right.outcome)  # trained once for all
    gap = abs(training.gap)
    grade = next(grade for grade, bugs in GRADES.items() if bug in bugs)
    assert (gap > ANYTHING) is (grade == "glaring")
    assert (gap > SOMETHING) is (grade in ("glaring", "plain"))


@pytest.mark.parametrize("bug", ["vae_bias_averaged", "vae_only_through_the_mean"])
def test_the_gradient_check_agrees_with_the_parts(bug: str) -> None:
    code = planted(bug)
    assert faults("gradient", code) == faults("parts", code)


@pytest.mark.parametrize("bug", GRADES["subtle"][:2])
def test_a_wrong_bound_with_its_gradient_passes_the_gradient_check(bug: str) -> None:
    code = planted(bug)
    assert not faults("gradient", code)
    assert faults("law", code)
    assert any(fact.startswith("mean of d") for fact in faults("estimator", code))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("seed", [0, 153])  # with the widest q of the first 300 cases, where a quadrature errs most
def test_right_code_shows_nothing(look: str, seed: int) -> None:
    assert not faults(look, RIGHT, seed)


@pytest.fixture(scope="module")
def right() -> Training:
    return Training(RIGHT, 0)


def test_right_code_trains_like_right_code(right: Training) -> None:
    assert right.gap == 0
    assert np.mean(right.outcome.bounds[-50:]) > np.mean(right.outcome.bounds[:17]) + 5
    assert all(ours == other for ours, other in right.learned().values())


@pytest.mark.parametrize(
    ("bug", "cells"),
    [
        ("vae_kl_gradient_added", ("-1", "1", "1", "1", "?")),
        ("vae_std_forgotten", ("1", "1", "0.5", "1", "?")),
        ("vae_variance_for_std", ("1", "1", "2", "1", "?")),
        ("vae_log_variance_gradient", ("0.5", "0.5", "0.5", "0.5", "0.5")),
        ("vae_kl_one_added", ("1.67", "1", "1", "1", "?")),
        ("vae_path_dropped", ("1", "0", "0", "0", "?")),
    ],
)
def test_parts_tell_which_factor_is_wrong(bug: str, cells: tuple[str, ...]) -> None:
    wrong = next(fact for fact in LOOKS["parts"](planted(bug), 0).facts if not fact.ok and fact.what != "dW2")
    assert (wrong.what, wrong.cells) == (("db2" if bug == "vae_kl_gradient_added" else "dW3"), cells)


# ---- the question


def test_the_bug_is_among_six_near_ones_in_any_place() -> None:
    places: Counter[int] = Counter()
    for seed in range(3):
        for level in range(1, len(LEVELS) + 1):
            case = level_case(level, seed)
            assert len(set(case.options)) == len(LETTERS)
            places[case.options.index(case.bug)] += 1
    assert set(places) == set(range(len(LETTERS)))
    assert max(places.values()) < 2 * min(places.values())


def test_random_cases_come_from_everywhere_and_again_from_their_seed() -> None:
    assert random_case(5) == random_case(5)
    assert len({random_case(seed).bug for seed in range(100)}) > len(LEVELS) / 2


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of a moment, for what does not depend on where it ends."""
    monkeypatch.setattr(hunted, "TRAIN", 100)
    monkeypatch.setattr(hunted, "EPOCHS", 2)
    monkeypatch.setattr(hunted, "TEST", 20)


def tells(text: str, case: Case) -> bool:
    """Whether a text says more than that it is one of six."""
    others = [bug for bug in HUNTED if bug not in case.options and re.search(rf"\b{bug}\b", text)]
    singled_out = [text.count(bug) for bug in case.options] != [1] * len(LETTERS)
    words = (case.misconception.message, *case.misconception.hints)
    return bool(others) or singled_out or any(word in text for word in words)


@pytest.mark.usefixtures("quick")
def test_nothing_gives_the_bug_away(tmp_path: Path) -> None:
    case = level_case(8, 0)
    outcome = numvae("bughunt", "--level", 8, "--parts", "--law", "--estimator", "--out", tmp_path)
    assert outcome.code == 0
    assert not tells(outcome.out, case)
    assert not tells((tmp_path / "index.html").read_text(encoding="utf-8"), case)
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"curve.png", "digits.png", "samples.png", "latents.png"}


@pytest.mark.usefixtures("quick")
def test_a_random_case_does_not_even_tell_its_level() -> None:
    outcome = numvae("bughunt", "--random", "--seed", 5)
    assert outcome.out.startswith("Bug hunt, random case 5\n")
    assert "--random --seed 5 --answer ID" in outcome.out
    assert not tells(outcome.out, random_case(5))
    assert not tells(json.dumps(numvae("bughunt", "--random", "--seed", 5, "--json").json), random_case(5))


@pytest.mark.usefixtures("quick")
def test_a_case_is_the_same_again() -> None:
    first, second = (numvae("bughunt", "--level", 32, "--seed", 3, "--json").out for _ in range(2))
    assert first == second
    assert numvae("bughunt", "--level", 32, "--seed", 4, "--json").out != first


@pytest.mark.usefixtures("quick")
def test_without_a_terminal_it_shows_the_case_and_how_to_answer() -> None:
    outcome = numvae("bughunt")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Bug hunt, level 1 of {len(LEVELS)}, glaring\n")
    assert "numvae bughunt --level 1 --answer ID" in outcome.out


# ---- the answer


def test_the_right_answer_is_explained() -> None:
    case = level_case(11, 0)
    outcome = numvae("bughunt", "--level", 11, "--answer", case.bug)
    assert outcome.code == 0
    assert outcome.out.startswith(f"✓ Right, it is {case.bug}.")
    assert case.misconception.message in outcome.out
    page = case.misconception.label.split(".")[0]
    assert f"derivations/{page}.md ({case.misconception.label})" in outcome.out
    content = numvae("bughunt", "--level", 11, "--answer", case.bug, "--json").json
    assert (content["right"], content["bug"], content["message"]) == (True, case.bug, case.misconception.message)


def test_every_other_answer_is_wrong_and_tells_nothing() -> None:
    case = level_case(25, 7)
    for letter, bug in zip(LETTERS, case.options, strict=True):
        for word in (bug, letter):
            outcome = numvae("bughunt", "--level", 25, "--seed", 7, "--answer", word)
            assert outcome.code == (0 if bug == case.bug else 1)
            assert (case.bug in outcome.out) is (bug == case.bug)
            assert case.misconception.message not in outcome.out or bug == case.bug


def test_hints_come_one_by_one_and_reveal_tells_all() -> None:
    case = level_case(5, 0)
    assert numvae("bughunt", "--level", 5, "--hint").out == f"Hint 1 of 3: {case.misconception.hints[0]}\n"
    assert len(numvae("bughunt", "--level", 5, "--hint", 3).out.splitlines()) == 3
    assert case.bug in numvae("bughunt", "--level", 5, "--reveal").out


def test_levels_are_listed_without_their_bugs() -> None:
    outcome = numvae("bughunt", "--list")
    assert outcome.code == 0
    assert not [bug for bug in HUNTED if bug in outcome.out]
    assert [row["level"] for row in numvae("bughunt", "--list", "--json").json["levels"]] == list(
        range(1, len(LEVELS) + 1)
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--level", 99), "from 1 to 36, got 99"),
        (("--level", 0), "must be a whole number from 1"),
        (("--level", 2, "--random"), "not allowed with"),
        (("--answer", "kl"), "is none of the answers"),
        (("--random", "--answer", "a"), "say which with --seed"),
        (("--answer", "a", "--reveal"), "not allowed with"),
        (("--answer", "a", "--law"), "leave it out"),
        (("--hint", 4), "from 1 to 3"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(words: tuple[Any, ...], part: str) -> None:
    outcome = numvae("bughunt", *words)
    assert outcome.code == 2
    assert not outcome.out
    assert part in outcome.err
    assert len(outcome.err.splitlines()) == 1


# ---- on a terminal


@pytest.mark.usefixtures("quick")
def test_on_a_terminal_it_asks_until_the_answer_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    case = level_case(1, 0)
    wrong = next(bug for bug in case.options if bug != case.bug)
    words = iter(["hint", "law", "nonsense", wrong, case.bug])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(builtins, "input", lambda prompt: next(words))
    outcome = numvae("bughunt", "--level", 1)
    assert outcome.code == 0
    order = ["Bug hunt", "Hint 1 of 3", "Laws:", "none of the answers", f"✗ No, it is not {wrong}", "✓ Right"]
    places = [outcome.out.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("words", "code"), [([""], 0), (["wrong", ""], 1), (["reveal"], 0)], ids=str)
def test_one_may_leave(monkeypatch: pytest.MonkeyPatch, words: list[str], code: int) -> None:
    case = level_case(1, 0)
    answers = iter([next(bug for bug in case.options if bug != case.bug) if w == "wrong" else w for w in words])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(builtins, "input", lambda prompt: next(answers))
    assert numvae("bughunt", "--level", 1).code == code


# ---- the score


def test_the_score_is_kept_where_asked(tmp_path: Path) -> None:
    path, case = tmp_path / "score.json", level_case(4, 0)
    wrong = next(bug for bug in case.options if bug != case.bug)
    assert numvae("bughunt", "--list", "--score", path).code == 0
    assert not path.exists()
    for answer in (wrong, case.bug):
        numvae("bughunt", "--level", 4, "--answer", answer, "--score", path)
    numvae("bughunt", "--level", 6, "--reveal", "--score", path)
    numvae("bughunt", "--level", 6, "--answer", level_case(6, 0).bug, "--score", path)
    assert json.loads(path.read_text()) == {
        "--level 4": {"solved": True, "tries": 2, "hints": 0, "revealed": False},
        "--level 6": {"solved": False, "tries": 1, "hints": 0, "revealed": True},
    }
    rows = numvae("bughunt", "--list", "--score", path, "--json").json["levels"]
    assert [row["level"] for row in rows if row["solved"]] == [4]


def test_another_file_is_not_taken_for_a_score(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a score")
    outcome = numvae("bughunt", "--level", 4, "--answer", "a", "--score", path)
    assert (outcome.code, path.read_text()) == (2, "not a score")
    assert "is no score of bug hunts" in outcome.err


# ---- the plot


def test_the_plot_points_at_what_leaves_it() -> None:
    steps = np.arange(64.0)
    text = text_plot(np.where(steps > 30, np.nan, -1e6), steps)
    assert text.count("▼") == 31
    assert text.count("·") > 50
    assert "●" not in text
