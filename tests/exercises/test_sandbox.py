"""A learner's file may do anything: whatever it does, the check ends, in time, with one clear line."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from numvae.exercises import sandbox
from numvae.exercises.child import judge
from numvae.exercises.ladder.normal_kl import EXERCISE
from numvae.exercises.sandbox import Limits, Trial, run, trial_of
from numvae.exercises.solutions import solution_file

DEFINED = "def normal_kl(mean, log_std, alpha):\n    return mean\n"
SHORT = Limits(seconds=0.3)
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the learner's file is."""
    return tmp_path / "normal_kl.py"


def tried(path: Path, text: str, limits: Limits | None = None) -> Trial:
    """What comes of a file, in a process of its own."""
    path.write_text(text, encoding="utf-8")
    return run("normal_kl", path, limits)


def gone(process: int) -> bool:
    """Whether a process has ended, or ends within some seconds; one that nobody has waited for counts as ended."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


# ---- what the code does to itself: told by the child, looked at here


def crash(path: Path, text: str | bytes) -> str:
    """The line about a file that did not run, looked at in this process."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    line: str = judge(EXERCISE, path)["crash"]
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\nexit(0)\n", ", line 2, `exit(0)`: ends the program (SystemExit); a check needs it to go on"),
        ("x = 1\nx / 0\n", ", line 2, `x / 0`: ZeroDivisionError: division by zero"),
        ("import torchh\n", ", line 1, `import torchh`: ModuleNotFoundError: No module named 'torchh'"),
        ("def normal_kl(:\n", ", line 1, `def normal_kl(:`: SyntaxError: invalid syntax"),
        ("", ": there is no function normal_kl in it"),
        ("def normal_lk(): ...\n", ": there is no function normal_kl in it; is it the one called normal_lk?"),
        ("normal_kl = 3\n", ": normal_kl has to be a function, here it is of type int"),
        ("def f():\n    f()\nf()\n", ", line 2, `f()`: calls itself without end (RecursionError)"),
        ("raise KeyboardInterrupt\n", ", line 1, `raise KeyboardInterrupt`: KeyboardInterrupt"),
        ("raise MemoryError\n", ", line 1, `raise MemoryError`: needs more memory than a check has"),
        ("raise ValueError('two\\nlines')\n", ", line 1, `raise ValueError('two\\nlines')`: ValueError: two lines"),
        ("class E(BaseException):\n    def __str__(self): raise self\nraise E\n", ", line 3, `raise E`: E"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_run_gets_one_line(path: Path, text: str, line: str) -> None:
    assert crash(path, text) == f"normal_kl.py{line}"


def test_a_long_message_is_cut(path: Path) -> None:
    line = crash(path, "raise ValueError('x' * 10_000)\n")
    assert len(line) < 500
    assert line.endswith("xxx …")


def test_a_file_in_another_encoding_is_a_syntax_error(path: Path) -> None:
    assert "SyntaxError" in crash(path, b"x = '\xe9'\n" + DEFINED.encode())


def test_a_file_may_hold_a_dataclass(path: Path) -> None:
    path.write_text(f"from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\n{DEFINED}")
    assert "crash" not in judge(EXERCISE, path)


def test_what_the_check_relies_on_must_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math, "pi", math.pi)  # puts it back afterwards
    line = crash(path, f"import math\nmath.pi = 3\n{DEFINED}")
    assert line == "normal_kl.py changes math.pi, which the check itself relies on; leave it as it is"


# ---- what needs a process of its own


def test_the_solution_passes_and_what_it_prints_is_shown(path: Path) -> None:
    trial = tried(path, f"print('hello')\nimport sys\nprint('there', file=sys.stderr)\n{solution_file(EXERCISE)}")
    assert trial.ok
    assert not trial.crashed
    assert sorted(trial.output.splitlines()) == ["hello", "there"]
    assert [test["status"] for test in trial.tests] == ["pass"] * len(trial.tests)


def test_a_known_mistake_is_named_across_the_pipe(path: Path) -> None:
    known = EXERCISE.misconceptions[1]
    text = solution_file(replace(EXERCISE, solution=known.wrong)).replace(known.wrong.__name__, "normal_kl")
    trial = tried(path, text)
    assert not trial.ok
    assert not trial.crashed
    assert trial.misconceptions == (known.id,)
    assert trial.hints == known.hints
    assert known.message in trial.text


@posix
def test_a_loop_without_end_is_stopped_with_its_children(path: Path) -> None:
    pids = path.with_name("pids")
    text = "import os, signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0)\n"
    text += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    text += f"child = os.fork()\nif child:\n    open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
    trial = tried(path, f"{text}while True: time.sleep(0.01)\n", Limits(seconds=1.5))
    assert trial.crash == "normal_kl.py ran for more than 1.5 s; does a loop never end?"
    assert trial.crashed
    assert not trial.ok
    if sys.platform == "linux":
        assert [gone(int(pid)) for pid in pids.read_text().split()] == [True, True]


@posix
def test_a_fork_neither_answers_nor_outlives_the_check(path: Path) -> None:
    pids = path.with_name("pids")
    text = "import os, time\nchild = os.fork()\nif not child: time.sleep(100)\n"
    text += f"open({str(pids)!r}, 'w').write(str(child))\n"
    trial = tried(path, text + DEFINED)
    assert not trial.crash
    assert not trial.ok
    if sys.platform == "linux":
        assert gone(int(pids.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="the cap is kept on Linux alone")
def test_memory_is_capped(path: Path) -> None:
    trial = tried(path, f"import numpy as np\nx = np.ones(10**11)\n{DEFINED}", Limits(memory=2**30))
    assert trial.crash.startswith("normal_kl.py, line 2, `x = np.ones(10**11)`: needs more memory than a check has")


def test_many_lines_are_shortened(path: Path) -> None:
    trial = tried(path, f"for i in range(10**5): print(i)\n{DEFINED}")
    lines = trial.output.splitlines()
    assert lines[:3] == ["0", "1", "2"]
    assert lines[-1] == f"… {10**5 - len(lines) + 1:,} more lines"
    assert len(lines) < 30


def test_a_long_line_is_cut_and_shows_no_control_characters(path: Path) -> None:
    trial = tried(path, f"print('\\x1b[31m' + 'é' * 10_000)\nprint('end', end='')\n{DEFINED}")
    first, last = trial.output.splitlines()
    assert first.startswith("[31mééé")
    assert len(first) < 200
    assert last == "end"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import os\nos._exit(7)\n", "normal_kl.py ended Python before the check was through (exit code 7)"),
        pytest.param(
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
            "normal_kl.py ended Python before the check was through (SIGSEGV)",
            marks=posix,
        ),
        (
            "import os\nfor fd in range(3, 50):\n    try: os.write(fd, b'{}\\n')\n    except OSError: pass\n",
            "normal_kl.py wrote among the results of the check; use print instead",
        ),
    ],
    ids=["exit", "signal", "results"],
)
def test_a_process_that_ends_or_answers_in_its_own_way(path: Path, text: str, line: str) -> None:
    assert tried(path, text).crash == line


def test_interrupted_it_leaves_nothing_running(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    start, wait = sandbox._start, sandbox._next_line

    def remembered(*words: Any) -> Any:
        started.append(start(*words))
        return started[0]

    def interrupted(process: Any, lines: Any, seconds: float) -> bytes | None:
        if seconds == SHORT.seconds:
            raise KeyboardInterrupt
        return wait(process, lines, seconds)

    monkeypatch.setattr(sandbox, "_start", remembered)
    monkeypatch.setattr(sandbox, "_next_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tried(path, "import time\ntime.sleep(100)\n", SHORT)
    assert started[0].poll() is not None


def test_a_learners_module_hides_none_of_ours(path: Path) -> None:
    for name in ("json", "numpy", "random"):
        path.with_name(f"{name}.py").write_text("raise SystemExit('hidden')\n")
    assert tried(path, solution_file(EXERCISE)).ok
    assert not path.with_name("__pycache__").exists()


def test_a_missing_file_is_an_error_of_the_system(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run("normal_kl", path)


# ---- the form of the results


def answer(**changes: Any) -> bytes:
    """What the child writes about a right function, with changes."""
    right = {"ok": True, "kind": "right", "text": "fine", "hints": [], "misconceptions": []}
    tests = [{"name": "kl", "status": "pass", "message": ""}]
    return json.dumps(right | {"tests": tests} | changes).encode()


def test_the_form_is_read() -> None:
    trial = trial_of(answer(), "said")
    assert trial == Trial(
        text="fine", kind="right", tests=({"name": "kl", "status": "pass", "message": ""},), output="said"
    )
    assert trial_of(b'{"crash": "it broke"}', "") == Trial(crash="it broke")


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\xff", b"[]", b"3", b"null", b"{}", b'"crash"', b'{"crash": 3}', b"[" * 100_000,
        answer(ok=False), answer(tests=[]), answer(tests=[{"name": "kl"}]), answer(hints=[1]), answer(text=None),
        answer(tests=[{"name": "kl", "status": "great", "message": ""}]),
    ],
    ids=range(15),
)  # fmt: skip
def test_anything_else_is_refused(line: bytes) -> None:
    assert trial_of(line, "") is None
