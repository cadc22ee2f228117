"""``numvae learn`` as a learner and as a grader call it: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from numvae.exercises import learn, selfcheck
from numvae.exercises.child import judge
from numvae.exercises.contract import Exercise
from numvae.exercises.diagnosis import diagnose
from numvae.exercises.ladder.normal_kl import EXERCISE as KL
from numvae.exercises.ladder.relu import EXERCISE as RELU
from numvae.exercises.ladder.tanh import EXERCISE as TANH
from numvae.exercises.results import LONGEST_OUTPUT, TRUNCATED, results
from numvae.exercises.sandbox import Limits, Trial, trial_of
from numvae.exercises.solutions import solution_file
from numvae.exercises.workspace import MARKER
from tests.small_runs import numvae

LADDER = {"tanh": TANH, "relu": RELU, "normal_kl": KL}
RESULT_KEYS = ["version", "status", "message", "tests", "score", "diagnosis"]
TEST_KEYS = {"name", "status", "message", "test_code"}


def mistaken(number: int) -> str:
    """A file that makes the KL's misconception of this number, whose hints come one by one."""
    wrong = KL.misconceptions[number].wrong
    return solution_file(replace(KL, solution=wrong)).replace(f"def {wrong.__name__}", "def normal_kl")


def in_this_process(name: str, path: Path, limits: Limits | None = None) -> Trial:
    """As ``sandbox.run``, quicker, for files that only are right or wrong."""
    trial = trial_of(json.dumps(judge(LADDER[name], path)).encode(), "")
    assert trial is not None
    return trial


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's folder of three exercises, in which the learner stands."""
    monkeypatch.setattr(learn, "EXERCISES", LADDER)
    monkeypatch.setattr(learn, "run", in_this_process)
    path = tmp_path / "learn"
    path.mkdir()
    monkeypatch.chdir(path)
    assert numvae("learn", "init", ".").code == 0
    return path


def solve(folder: Path, *names: str) -> None:
    """Write the solutions, and check them."""
    for name in names:
        (folder / f"{name}.py").write_text(solution_file(LADDER[name]), encoding="utf-8")
        assert numvae("learn", "check", name).code == 0


# ---- init, list


def test_init_says_what_it_wrote_and_where_to_start(folder: Path) -> None:
    outcome = numvae("learn", "init", folder / "new" / "one")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "new/one: 3 exercises written",
        "Start with new/one/tanh.py, then run there: numvae learn check",
    ]
    assert {path.name for path in (folder / "new" / "one").iterdir()} == {"tanh.py", "relu.py", "normal_kl.py", MARKER}


def test_init_again_keeps_the_work(folder: Path) -> None:
    (folder / "relu.py").write_text("mine")
    outcome = numvae("learn", "init", folder, "--json")
    assert outcome.json == {"folder": str(folder), "written": [], "next": "tanh"}
    assert (folder / "relu.py").read_text() == "mine"
    assert numvae("learn", "init", folder).out.splitlines()[0] == ".: 0 exercises written, 3 kept as they are"


def test_list_shows_the_ladder_in_its_order(folder: Path) -> None:
    solve(folder, "tanh")
    (folder / "relu.py").write_text("def relu(x): ...")
    lines = numvae("learn", "list").out.splitlines()
    assert lines == [
        f"✓ tanh       {TANH.title}",
        f"… relu       {RELU.title}  (started)",
        f"  normal_kl  {KL.title}",
        "1 of 3 done; next: relu",
    ]
    content = numvae("learn", "list", "--json").json
    assert [(each["name"], each["status"]) for each in content["exercises"]] == [
        ("tanh", "done"),
        ("relu", "started"),
        ("normal_kl", "not started"),
    ]
    assert (content["done"], content["next"]) == (1, "relu")


# ---- check


def test_check_without_a_name_goes_up_the_ladder(folder: Path) -> None:
    outcome = numvae("learn", "check")
    assert outcome.code == 1
    assert outcome.out.startswith("✗ tanh: ")
    assert outcome.out.splitlines()[-1] == "A hint: numvae learn hint tanh"
    for name, following in zip(LADDER, [*list(LADDER)[1:], None], strict=True):
        (folder / f"{name}.py").write_text(solution_file(LADDER[name]), encoding="utf-8")
        outcome = numvae("learn", "check")
        assert outcome.code == 0
        assert outcome.out.startswith(f"✓ {name}: ")
        last = outcome.out.splitlines()[-1]
        assert last == (
            f"Next: {following}, {LADDER[following].title}: {following}.py"
            if following
            else "All 3 exercises are done."
        )
    outcome = numvae("learn", "check")
    assert outcome.code == 0
    assert outcome.out.startswith("All 3 exercises are done.")


def test_a_mistake_is_named(folder: Path) -> None:
    (folder / "normal_kl.py").write_text(mistaken(1), encoding="utf-8")
    outcome = numvae("learn", "check", "normal_kl.py")
    assert outcome.code == 1
    assert KL.misconceptions[1].message in outcome.out
    content = numvae("learn", "check", "normal_kl", "--json").json
    assert list(content) == RESULT_KEYS
    assert (content["version"], content["status"], content["message"]) == (3, "fail", None)
    assert 0 < content["score"] < 1
    assert all(set(test) == TEST_KEYS for test in content["tests"])
    assert {test["test_code"] for test in content["tests"]} == {"normal_kl(mean, log_std, alpha)"}
    failed = [test for test in content["tests"] if test["status"] == "fail"]
    assert all(test["message"] for test in failed)
    assert content["score"] == pytest.approx(1 - len(failed) / len(content["tests"]))
    assert content["diagnosis"]["misconceptions"] == [KL.misconceptions[1].id]


def test_code_that_crashes_has_an_exit_code_of_its_own(folder: Path) -> None:
    (folder / "tanh.py").write_text("import math\n1 / 0\n")
    outcome = numvae("learn", "check", "tanh")
    assert outcome.code == 3
    assert outcome.out.splitlines()[0] == "✗ tanh: tanh.py, line 2, `1 / 0`: ZeroDivisionError: division by zero"
    content = numvae("learn", "check", "tanh", "--json").json
    assert content["status"] == "error"
    assert content["message"] == "tanh.py, line 2, `1 / 0`: ZeroDivisionError: division by zero"
    assert (content["tests"], content["score"]) == ([], 0)
    (folder / "tanh.py").write_text("def tanh(x):\n    return x.no_such_thing\n")
    outcome = numvae("learn", "check", "tanh")
    assert outcome.code == 3
    assert "AttributeError" in outcome.out


def test_a_right_answer_spoilt_later_is_no_longer_done(folder: Path) -> None:
    solve(folder, "tanh")
    (folder / "tanh.py").write_text(solution_file(TANH).replace("1 -", "2 -"), encoding="utf-8")
    assert numvae("learn", "list", "--json").json["done"] == 0
    assert numvae("learn", "check", "tanh").code == 1


def test_all_are_checked_at_once(folder: Path) -> None:
    solve(folder, "tanh")
    (folder / "relu.py").write_text("1 / 0")
    outcome = numvae("learn", "check", "--all")
    assert outcome.code == 3
    marks = [line[0] for line in outcome.out.splitlines()]
    assert marks == ["✓", "✗", "✗", "1"]
    content = numvae("learn", "check", "--all", "--json").json
    assert content["status"] == "fail"
    assert [each["status"] for each in content["exercises"].values()] == ["pass", "error", "error"]
    assert content["score"] == pytest.approx(1 / 3)
    solve(folder, "relu", "normal_kl")
    outcome = numvae("learn", "check", "--all", "--json")
    assert (outcome.code, outcome.json["status"], outcome.json["score"]) == (0, "pass", 1)


def test_a_folder_that_is_handed_in_is_checked_and_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    handed_in = tmp_path / "handed-in"
    handed_in.mkdir()
    (handed_in / "tanh.py").write_text(solution_file(TANH), encoding="utf-8")
    assert numvae("learn", "check", "tanh", "--dir", handed_in).code == 0
    assert [path.name for path in handed_in.iterdir()] == ["tanh.py"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["check", "normal_lk"], "there is no exercise 'normal_lk', did you mean normal_kl?"),
        (["hint", "zzz"], "there is no exercise 'zzz'; numvae learn list names them all"),
        (["check", "tanh", "--all"], "--all checks every exercise; leave out tanh"),
        (["check", "--dir", "nowhere"], "nowhere is no folder; make one with: numvae learn init nowhere"),
        (["check", "gone"], "gone.py is not there; numvae learn reset gone writes it anew"),
        (["init", "tanh.py"], "tanh.py is a file; name a folder for the exercises"),
        (["check", "--time-limit", "0"], "--time-limit must be a whole number from 1 to 3600, got 0"),
        (["check", "--tim-limit", "3"], "did you mean --time-limit?"),
        (["hint"], "the following arguments are required: NAME"),
        ([], "the following arguments are required: ACTION"),
        (["solve"], "invalid choice: 'solve'"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_bad_usage_ends_with_2_and_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str
) -> None:
    monkeypatch.setattr(learn, "EXERCISES", LADDER | {"gone": replace(TANH, name="gone")})
    outcome = numvae("learn", *words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("numvae: ")
    assert outcome.err.count("\n") == 1
    assert complaint in outcome.err


def test_outside_a_folder_it_says_how_to_make_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    outcome = numvae("learn", "check", "--json")
    assert outcome.code == 2
    assert outcome.json["exit_code"] == 2
    assert "make one with numvae learn init DIR, or name it with --dir DIR" in outcome.complaint
    assert numvae("learn", "list", "--dir", "learn").code == 0


# ---- hint, reset, solution


def test_hints_come_one_by_one_for_the_mistake_that_was_made(folder: Path) -> None:
    for number in (0, 1):
        (folder / "normal_kl.py").write_text(mistaken(number), encoding="utf-8")
        hints = KL.misconceptions[number].hints
        said = [numvae("learn", "hint", "normal_kl").out.splitlines() for _ in range(4)]
        assert [lines[0] for lines in said] == [f"Hint {k} of 3: {hints[k - 1]}" for k in (1, 2, 3, 3)]
        assert [len(lines) for lines in said] == [1, 1, 2, 2]
        assert "numvae learn solution normal_kl" in said[-1][-1]


def test_before_the_first_line_hints_say_where_to_begin(folder: Path) -> None:
    content = [numvae("learn", "hint", "normal_kl", "--json").json for _ in range(3)]
    assert "derivations/normal.md" in content[0]["hint"]
    nudges = {misconception.hints[0] for misconception in KL.misconceptions}
    assert len({each["hint"] for each in content[1:]} & nudges) == 2
    assert [each["number"] for each in content] == [1, 2, 3]


def test_code_that_does_not_run_and_code_that_is_right_need_no_hint(folder: Path) -> None:
    (folder / "tanh.py").write_text("def tanh(:\n")
    assert numvae("learn", "hint", "tanh").out.startswith("It has to run first: tanh.py, line 1")
    (folder / "tanh.py").write_text("def tanh(x):\n    return x.no_such_thing\n")
    outcome = numvae("learn", "hint", "tanh")
    assert outcome.out.startswith("It has to run first: ")
    assert "no_such_thing" in outcome.out
    solve(folder, "tanh")
    assert numvae("learn", "hint", "tanh").out == "tanh is right; there is nothing to hint at.\n"


def test_reset_gives_the_stub_back_and_keeps_the_work(folder: Path) -> None:
    (folder / "tanh.py").write_text("mine")
    outcome = numvae("learn", "reset", "tanh")
    assert outcome.out == "tanh.py is as it was at the beginning; your work is kept in tanh.1.bak\n"
    assert (folder / "tanh.py").read_text(encoding="utf-8") == TANH.stub
    assert (folder / "tanh.1.bak").read_text() == "mine"
    assert numvae("learn", "reset", "tanh", "--json").json == {"file": str(folder / "tanh.py"), "backup": None}


def test_the_solution_is_for_those_who_have_tried_or_say_yes(folder: Path) -> None:
    outcome = numvae("learn", "solution", "tanh")
    assert outcome.code == 2
    assert "try it first" in outcome.complaint
    assert numvae("learn", "solution", "tanh", "--yes").out == solution_file(TANH)
    (folder / "tanh.py").write_text("def tanh(x):\n    return x, lambda dy: dy\n")
    assert numvae("learn", "solution", "tanh").out == solution_file(TANH)


@pytest.mark.parametrize("name", LADDER)
def test_a_solution_shown_is_a_file_that_passes(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(numvae("learn", "solution", name, "--yes").out, encoding="utf-8")
    assert numvae("learn", "check", name).code == 0


# ---- selfcheck


def test_selfcheck_proves_the_ladder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "EXERCISES", {"tanh": TANH, "relu": RELU})
    outcome = numvae("learn", "selfcheck", "--json")
    assert outcome.code == 0
    count = len(TANH.misconceptions) + len(RELU.misconceptions)
    assert outcome.json == {"ok": True, "exercises": 2, "misconceptions": count, "problems": []}


def test_selfcheck_finds_what_is_wrong_with_a_ladder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KL.misconceptions[0]
    monkeypatch.setattr(
        learn, "EXERCISES", {"normal_kl": replace(KL, misconceptions=(replace(known, wrong=KL.solution),))}
    )
    outcome = numvae("learn", "selfcheck")
    assert outcome.code == 1
    assert outcome.out.splitlines() == [
        "1 exercises, 1 misconceptions: FAILED",
        f"  ✗ normal_kl: {known.id} passes",
    ]
    monkeypatch.setattr(selfcheck, "diagnose", lambda exercise, function: diagnose(exercise, function, library=()))
    monkeypatch.setattr(selfcheck, "solution_file", lambda exercise: exercise.stub)
    monkeypatch.setattr(Exercise, "stub", property(solution_file))
    problems = selfcheck.check_ladder([replace(KL, misconceptions=(known,))]).problems
    monkeypatch.undo()
    monkeypatch.setattr(selfcheck, "solution_file", lambda exercise: exercise.stub)
    problems += selfcheck.check_ladder([replace(KL, misconceptions=())]).problems
    starts = ["the stub passes", f"{known.id} is not named, but: ", "the solution does not pass: "]
    assert [problem.startswith(f"normal_kl: {start}") for problem, start in zip(problems, starts, strict=True)] == [
        True
    ] * 3


# ---- watch


def test_only_what_is_saved_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = folder / "tanh.py", folder / "relu.py"

    def save() -> Iterator[Any]:
        yield path.write_text("one")
        yield path.unlink()
        yield "nothing"
        yield path.write_text("two")

    monkeypatch.setattr(learn, "_pause", save().__next__)
    changes = learn.saved([path, other])
    other.write_text("saved before anybody looked")
    assert [next(changes) for _ in range(4)] == [other, path, path, path]


def test_watch_checks_what_is_saved_and_ends_with_control_c(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save() -> Iterator[Any]:
        yield (folder / "relu.py").write_text(solution_file(RELU), encoding="utf-8")
        yield (folder / "relu.py").unlink()
        yield (folder / "tanh.py").write_text("1 / 0")
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "_pause", save().__next__)
    outcome = numvae("learn", "watch")
    assert (outcome.code, outcome.err) == (0, "")
    verdicts = [line for line in outcome.out.splitlines() if line.startswith(("✓", "✗", "Watching"))]
    assert [verdict.split()[1].strip(":") for verdict in verdicts] == ["tanh", ".", "relu", "tanh"]
    assert "ZeroDivisionError" in verdicts[-1]


def test_control_c_in_a_check_is_an_interruption(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: Any) -> Trial:
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "run", interrupted)
    outcome = numvae("learn", "check")
    assert (outcome.code, outcome.complaint) == (130, "numvae: interrupted")


# ---- the whole command, in processes of its own


def command(*words: object) -> list[str]:
    """``numvae learn`` with these words."""
    return [sys.executable, "-m", "numvae", "learn", *map(str, words)]


def test_a_check_from_outside(folder: Path) -> None:
    (folder / "tanh.py").write_text(f"print('hello')\n{solution_file(TANH)}", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command("check", "tanh", "--json"), capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(done.stdout)
    assert content["status"] == "pass"
    assert content["tests"][0]["output"] == "hello"


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_watch_from_outside(folder: Path) -> None:
    (folder / "tanh.py").write_text("1 / 0")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUTF8": "1"}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, the child would ignore it too
    with subprocess.Popen(
        command("watch", "tanh"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        late = threading.Timer(60, process.kill)  # rather than to wait for ever
        late.start()
        lines = iter(process.stdout)
        assert next(line for line in lines if line.startswith("✗ tanh: "))
        assert next(line for line in lines if line.startswith("Watching "))
        (folder / "tanh.py").write_text(solution_file(TANH), encoding="utf-8")
        assert next(line for line in lines if line.startswith("✓ tanh: "))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""
        late.cancel()


# ---- the form of the results


def test_output_stands_at_the_first_test_to_look_at_and_is_cut() -> None:
    tests = tuple({"name": name, "status": status, "message": ""} for name, status in (("y", "pass"), ("dx", "fail")))
    content = results(TANH, Trial(text="wrong", tests=tests, output="x" * 1000))
    assert "output" not in content["tests"][0]
    output = content["tests"][1]["output"]
    assert len(output) == LONGEST_OUTPUT
    assert output.endswith(TRUNCATED)
    assert content["score"] == 0.5


def test_where_nothing_ran_the_status_is_error() -> None:
    tests = tuple({"name": name, "status": "error", "message": ""} for name in ("runs", "y"))
    content = results(TANH, Trial(text="✗ tanh: it crashed", kind="crashed", tests=tests))
    assert (content["status"], content["message"], content["score"]) == ("error", "✗ tanh: it crashed", 0)
