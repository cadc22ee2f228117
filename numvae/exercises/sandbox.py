"""A learner's file, tried in a process of its own: with a time limit, a memory cap, and nobody to hurt.

This guards against accidents, not against attacks: the code can still read and write what its user can.  Mark the work
of strangers inside a container.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any

__all__ = ["Limits", "Trial", "run", "trial_of"]

BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from numvae.exercises.child import main; main()"
READY = b"ready\n"
STATUSES = ("pass", "fail", "error")
LONGEST_RESULT = 2**20
KEPT_OUTPUT = 2**16
LINES, COLUMNS = 20, 160


@dataclass(frozen=True)
class Limits:
    """What a check may use: seconds of the learner's code, bytes of memory, and seconds to start Python and NumPy."""

    seconds: float = 10.0
    memory: int = 2 * 2**30
    start: float = 60.0


@dataclass(frozen=True)
class Trial:
    """What came of a learner's file.

    - ``crash``: one line where the code did not run to its end, else "".
    - ``text``: the diagnosis, to be read.  ``kind``: of what was found, a ``findings.Kind``.
    - ``tests``: name, status (pass, fail or error) and message of each part.
    - ``hints``: from a nudge to nearly the answer.  ``misconceptions``: the ids of those that it matches.
    - ``output``: what the code printed, shortened.
    """

    crash: str = ""
    text: str = ""
    kind: str = ""
    tests: tuple[dict[str, str], ...] = ()
    hints: tuple[str, ...] = ()
    misconceptions: tuple[str, ...] = ()
    output: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything is right."""
        return bool(self.tests) and all(test["status"] == "pass" for test in self.tests)

    @property
    def verdict(self) -> str:
        """What came out, in one line."""
        first = self.text.partition("\n")[0]
        return self.crash or first.partition(": ")[2] or first

    @property
    def crashed(self) -> bool:
        """Whether the code failed to run, rather than gave something wrong."""
        return bool(self.crash) or self.kind == "crashed"


def run(name: str, path: Path, limits: Limits | None = None) -> Trial:
    """Try the file on the exercise of this name; Ctrl-C ends it as well.

    Raises:
        OSError: it cannot be read.
    """
    path = path.resolve()
    path.open("rb").close()
    limits = limits or Limits()
    process = _start(name, path, limits)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = _Lines(process.stdout)
        words = _Words(process.stderr)
        if _next_line(process, lines, limits.start) != READY:
            _kill(process)
            raise RuntimeError(f"the check did not start: {words.shortened() or 'no word from it'}")
        line = _next_line(process, lines, limits.seconds)
        code = _exit_code(process) if line == b"" else None
    finally:
        _kill(process)
    output = words.shortened()
    if line is None:
        return Trial(crash=f"{path.name} ran for more than {limits.seconds:g} s; does a loop never end?", output=output)
    if line == b"":
        return Trial(crash=f"{path.name} ended Python before the check was through ({_death(code)})", output=output)
    trial = trial_of(line, output)
    return trial or Trial(crash=f"{path.name} wrote among the results of the check; use print instead", output=output)


# ---- the process


def _start(name: str, path: Path, limits: Limits) -> subprocess.Popen[bytes]:
    places = [os.path.abspath(place) for place in sys.path]
    places = [place for place in places if place != str(path.parent)]  # a learner's json.py is not ours
    words = [json.dumps(places), name, str(path), str(limits.seconds), str(limits.memory)]
    # A thread of OpenBLAS reserves memory of its own; on many cores the cap would be used up by them.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", "-c", BOOT, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=path.parent,
        env=os.environ | threads,
        start_new_session=True,  # a group to be killed as one, which Ctrl-C does not reach
    )


def _next_line(process: subprocess.Popen[bytes], lines: _Lines, seconds: float) -> bytes | None:
    """A line of the results; b"" if the process has ended without one, None if the time is over."""
    end = time.monotonic() + seconds
    while True:
        gone = process.poll() is not None
        with suppress(queue.Empty):
            return lines.queue.get(timeout=0.05)
        if gone:
            return b""  # what it has forked may still hold the pipe open
        if time.monotonic() >= end:
            return None


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    with suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=1)
    return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process, and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):  # gone already
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _death(code: int | None) -> str:
    if code is None:
        return "it closed the pipe of the results"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


# ---- its pipes


class _Lines:
    """The first two lines of a pipe, as they come; b"" at its end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.queue: queue.Queue[bytes] = queue.Queue()
        Thread(target=self._follow, args=(pipe,), daemon=True).start()

    def _follow(self, pipe: IO[bytes]) -> None:
        with pipe:
            for _ in range(2):
                self.queue.put(pipe.readline(LONGEST_RESULT))


class _Words:
    """Reads a pipe to its end, so that no writer waits; keeps the beginning and counts the lines."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._beginning = b""
        self._lines = 0
        self._reader = Thread(target=self._follow, args=(pipe,), daemon=True)
        self._reader.start()

    def _follow(self, pipe: IO[bytes]) -> None:
        with pipe:
            while piece := pipe.read1(KEPT_OUTPUT):  # type: ignore[attr-defined]
                self._beginning += piece[: KEPT_OUTPUT - len(self._beginning)]
                self._lines += piece.count(b"\n")

    def shortened(self) -> str:
        """The first lines, and how many more there were."""
        self._reader.join(timeout=1)  # a process that has left the group may still hold the pipe
        text = self._beginning.decode(errors="replace")
        lines = ["".join(letter for letter in line if letter.isprintable()) for line in text.splitlines()]
        shown = [line if len(line) <= COLUMNS else line[:COLUMNS] + " …" for line in lines[:LINES]]
        more = max(self._lines, len(lines)) - len(shown)
        return "\n".join([*shown, f"… {more:,} more line{'s' * (more != 1)}"] if more > 0 else shown)


# ---- its results


def trial_of(line: bytes, output: str) -> Trial | None:
    """A trial, if the line has its form: nothing else of what the process says is believed."""
    try:
        answer = json.loads(line)
        if "crash" in answer:
            return Trial(crash=_text(answer["crash"]), output=output)
        tests = tuple({key: _text(test[key]) for key in ("name", "status", "message")} for test in answer["tests"])
        hints, misconceptions = (tuple(map(_text, answer[key])) for key in ("hints", "misconceptions"))
        trial = Trial("", _text(answer["text"]), _text(answer["kind"]), tests, hints, misconceptions, output)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return trial if all(test["status"] in STATUSES for test in tests) and trial.ok is answer["ok"] else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, got {type(value).__name__}")
    return value
