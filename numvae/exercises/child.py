"""What runs in the process of its own in which ``sandbox.run`` tries a learner's file.

Its stdout is the pipe of the results: first a line that says it is ready, then one of JSON.  What the learner's code
prints goes to stderr, all of it.
"""

from __future__ import annotations

import difflib
import json
import linecache
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from numvae.errors import InputError
from numvae.exercises.contract import Exercise
from numvae.exercises.diagnosis import diagnose
from numvae.exercises.ladder import EXERCISES
from numvae.exercises.sandbox import READY
from numvae.exercises.tampering import first_change, snapshot

try:
    import resource
except ImportError:  # Windows knows no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["explain", "judge", "load", "main"]

LONGEST_MESSAGE = 300


def main() -> None:
    """Try the file that the command line names, and write what came of it."""
    name, path, seconds, memory = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    process = os.getpid()
    results = os.dup(1)
    os.dup2(2, 1)
    sys.dont_write_bytecode = True
    sys.path.append(str(path.parent))  # last: a learner's random.py is no one else's
    exercise = EXERCISES[name]
    _write(results, READY)
    _limit(seconds, memory)
    answer = judge(exercise, path)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or be something else by now
            stream.flush()
    if os.getpid() == process:  # and not what the learner's code has forked
        _write(results, json.dumps(answer).encode() + b"\n")
    os._exit(0)  # at once, whatever threads and exit handlers there are


def judge(exercise: Exercise, path: Path) -> dict[str, Any]:
    """What ``sandbox`` reads: ``{"crash": one line}``, or as much of the diagnosis as a person is told."""
    before = snapshot()
    answer: dict[str, Any]
    try:
        finding = diagnose(exercise, load(exercise.name, path))
        answer = {
            "ok": finding.ok,
            "kind": finding.kind,
            "text": str(finding),
            "tests": [{"name": part.name, "status": part.status, "message": part.message} for part in finding.tests],
            "hints": finding.hints,
            "misconceptions": finding.misconceptions,
        }
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: the check goes on to its end
        answer = {"crash": explain(error, path)}
    changed = first_change(before)
    if changed:
        answer = {"crash": f"{path.name} changes {changed}, which the check itself relies on; leave it as it is"}
    return answer


def load(name: str, path: Path) -> Callable[..., Any]:
    """The function of this name that the file defines.

    Raises:
        InputError: it defines none.
    """
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    module = ModuleType(f"exercise_{name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look
    exec(code, vars(module))
    if name not in vars(module):
        defined = [key for key, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(name, defined, n=1)
        raise InputError(f"there is no function {name} in it" + (f"; is it the one called {near[0]}?" if near else ""))
    function = vars(module)[name]
    if not callable(function):
        raise InputError(f"{name} has to be a function, here it is of type {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def explain(error: BaseException, path: Path) -> str:
    """One line: where in the learner's file, and what.

    >>> try:
    ...     exec(compile("x = 1\\nx / 0", "mine.py", "exec"))
    ... except ZeroDivisionError as error:
    ...     explain(error, Path("mine.py"))
    'mine.py, line 2: ZeroDivisionError: division by zero'
    """
    line = _line(error, path)
    code = linecache.getline(str(path), line).strip() if line else ""
    where = f", line {line}" + (f", `{code}`" if code else "") if line else ""
    return f"{path.name}{where}: {_what(error)}"


def _line(error: BaseException, path: Path) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [
        number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)
    ]
    return lines[-1] if lines else None


def _what(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    except BaseException:  # an exception of the learner's own can do anything
        message = ""
    if isinstance(error, InputError):
        return message
    if isinstance(error, SystemExit):
        return "ends the program (SystemExit); a check needs it to go on"
    if isinstance(error, MemoryError):
        return f"needs more memory than a check has{f': {message}' if message else ''}"
    if isinstance(error, RecursionError):
        return "calls itself without end (RecursionError)"
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + " …"
    return f"{kind}: {message}" if message else kind


def _limit(seconds: float, memory: int) -> None:
    """No more memory than this; and an end, should the process that waits for this one be gone."""
    if resource is not None:
        with suppress(ValueError, OSError):  # macOS refuses what it cannot keep
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds + 5)


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]
