"""What ``numvae learn`` does: each action gives what is to be shown, as text and as JSON, and the exit code."""

from __future__ import annotations

import difflib
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numvae.errors import InputError
from numvae.exercises.contract import Exercise
from numvae.exercises.ladder import EXERCISES
from numvae.exercises.results import results
from numvae.exercises.sandbox import Limits, Trial, run
from numvae.exercises.workspace import Standing, Workspace, create, find

__all__ = ["CRASHED", "Reply", "learn", "saved"]

DONE, FAILED, CRASHED = 0, 1, 3
MARKS = {Standing.DONE: "✓", Standing.STARTED: "…", Standing.NOT_STARTED: " "}
PAUSE = 0.25


@dataclass(frozen=True)
class Reply:
    """Something to be shown; what is only for a person has no JSON."""

    text: str
    json: dict[str, Any] | None
    code: int = DONE


def learn(options: Namespace) -> Iterator[Reply]:
    """The replies to one command: one, or with ``watch`` one for every file that is saved."""
    return ACTIONS[options.action](options)


# ---- the actions


def _init(options: Namespace) -> Iterator[Reply]:
    workspace, written = create(options.folder, EXERCISES)
    kept = len(EXERCISES) - len(written)
    lines = [
        f"{_shown(workspace.folder)}: {len(written)} exercises written" + (f", {kept} kept as they are" * (kept > 0))
    ]
    first = workspace.next()
    if first is not None:
        lines.append(f"Start with {_shown(workspace.path(first))}, then run there: numvae learn check")
    yield Reply("\n".join(lines), {"folder": str(workspace.folder), "written": written, "next": first})


def _list(options: Namespace) -> Iterator[Reply]:
    workspace = find(options.dir, EXERCISES)
    standings = {name: workspace.standing(name) for name in EXERCISES}
    width = max(map(len, EXERCISES))
    lines = [
        f"{MARKS[standing]} {name:<{width}}  {EXERCISES[name].title}"
        + f"  ({standing})" * (standing is Standing.STARTED)
        for name, standing in standings.items()
    ]
    done = sum(standing is Standing.DONE for standing in standings.values())
    following = workspace.next()
    lines.append(f"{done} of {len(standings)} done" + (f"; next: {following}" if following else ""))
    rows = [
        {"name": name, "title": EXERCISES[name].title, "labels": list(EXERCISES[name].labels), "status": standing}
        for name, standing in standings.items()
    ]
    yield Reply("\n".join(lines), {"folder": str(workspace.folder), "exercises": rows, "done": done, "next": following})


def _check(options: Namespace) -> Iterator[Reply]:
    workspace = find(options.dir, EXERCISES)
    if options.all:
        if options.name:
            raise InputError(f"--all checks every exercise; leave out {options.name}")
        yield from _check_all(workspace, _limits(options))
        return
    name = _exercise(options.name).name if options.name else workspace.next()
    if name is None:
        text = f"All {len(EXERCISES)} exercises are done. numvae learn check --all tries them once more."
        yield Reply(text, {"status": "pass", "next": None})
        return
    yield _check_one(workspace, name, _limits(options))


def _watch(options: Namespace) -> Iterator[Reply]:
    workspace = find(options.dir, EXERCISES)
    names = [_exercise(options.name).name] if options.name else list(EXERCISES)
    paths = {workspace.path(name): name for name in names}
    changes = saved(paths)  # from here on: what is saved during the first check counts
    first = names[0] if options.name else workspace.next()
    if first is not None and workspace.path(first).is_file():
        yield _check_one(workspace, first, _limits(options))
    yield Reply(f"\nWatching {_shown(workspace.folder)}: save a file and it is checked. Ctrl-C ends this.\n", None)
    for path in changes:
        if path.is_file():
            reply = _check_one(workspace, paths[path], _limits(options))
            yield replace(reply, text=f"{reply.text}\n")


def _hint(options: Namespace) -> Iterator[Reply]:
    workspace, exercise = find(options.dir, EXERCISES), _exercise(options.name)
    trial = _try(workspace, exercise.name, _limits(options))
    if trial.ok:
        yield Reply(
            f"{exercise.name} is right; there is nothing to hint at.", {"exercise": exercise.name, "hint": None}
        )
        return
    if trial.crashed:
        hint = f"It has to run first: {trial.verdict}"
        yield Reply(hint, {"exercise": exercise.name, "hint": hint, "number": 0, "of": 0})
        return
    hints = trial.hints or _general_hints(exercise)
    about = " ".join(trial.misconceptions) or trial.kind
    number = min(workspace.count_hint(exercise.name, about), len(hints) - 1)
    lines = [f"Hint {number + 1} of {len(hints)}: {hints[number]}"]
    if number == len(hints) - 1:
        lines.append(f"That is the last hint; numvae learn solution {exercise.name} shows the solution.")
    yield Reply(
        "\n".join(lines),
        {"exercise": exercise.name, "hint": hints[number], "number": number + 1, "of": len(hints), "about": about},
    )


def _reset(options: Namespace) -> Iterator[Reply]:
    workspace, exercise = find(options.dir, EXERCISES), _exercise(options.name)
    backup = workspace.reset(exercise.name)
    kept = f"; your work is kept in {_shown(backup)}" if backup else ""
    path = workspace.path(exercise.name)
    yield Reply(
        f"{_shown(path)} is as it was at the beginning{kept}",
        {"file": str(path), "backup": str(backup) if backup else None},
    )


def _solution(options: Namespace) -> Iterator[Reply]:
    from numvae.exercises.solutions import solution_file

    exercise = _exercise(options.name)
    if not options.yes and find(options.dir, EXERCISES).standing(exercise.name) is Standing.NOT_STARTED:
        raise InputError(
            f"{exercise.name} is still as it was given; try it first, numvae learn hint {exercise.name} helps, "
            "or add --yes to see the solution all the same"
        )
    solution = solution_file(exercise)
    yield Reply(solution.rstrip("\n"), {"exercise": exercise.name, "solution": solution})


def _notebooks(options: Namespace) -> Iterator[Reply]:
    from numvae.exercises.notebooks import write_notebooks

    written, kept = write_notebooks(options.folder, options.instructor, options.overwrite)
    text = f"{_shown(options.folder)}: {len(written)} notebooks written"
    if kept:
        text += f", {len(kept)} kept as they are; --overwrite writes them anew"
    names = {"written": [path.name for path in written], "kept": [path.name for path in kept]}
    yield Reply(text, {"folder": str(options.folder)} | names)


def _selfcheck(options: Namespace) -> Iterator[Reply]:
    from tqdm import tqdm

    from numvae.exercises.selfcheck import check_ladder

    outcome = check_ladder(tqdm(EXERCISES.values(), disable=None, leave=False))
    yield Reply(str(outcome), outcome.to_json(), DONE if outcome.ok else FAILED)


ACTIONS: dict[str, Callable[[Namespace], Iterator[Reply]]] = {
    "init": _init,
    "list": _list,
    "check": _check,
    "watch": _watch,
    "hint": _hint,
    "reset": _reset,
    "solution": _solution,
    "notebooks": _notebooks,
    "selfcheck": _selfcheck,
}


# ---- checking


def _try(workspace: Workspace, name: str, limits: Limits) -> Trial:
    """Try a file and remember how it came out."""
    path, content = workspace.path(name), workspace.content(name)
    if content is None:
        raise InputError(f"{_shown(path)} is not there; numvae learn reset {name} writes it anew")
    trial = run(name, path, limits)
    workspace.record(name, trial.ok, content)
    return trial


def _check_one(workspace: Workspace, name: str, limits: Limits) -> Reply:
    trial = _try(workspace, name, limits)
    lines = [trial.text or f"✗ {name}: {trial.crash}"]
    if trial.output:
        lines += ["", "It printed:", *(f"  │ {line}" for line in trial.output.splitlines())]
    if trial.ok:
        following = workspace.after(name)
        lines += ["", f"All {len(EXERCISES)} exercises are done." if following is None else _next(workspace, following)]
    elif not trial.crashed:
        lines += ["", f"A hint: numvae learn hint {name}"]
    return Reply("\n".join(lines), results(EXERCISES[name], trial), _code(trial))


def _next(workspace: Workspace, name: str) -> str:
    return f"Next: {name}, {EXERCISES[name].title}: {_shown(workspace.path(name))}"


def _check_all(workspace: Workspace, limits: Limits) -> Iterator[Reply]:
    """A line for each exercise as it comes; those not started are not run."""
    width = max(map(len, EXERCISES))
    found, codes = {}, []
    for name, exercise in EXERCISES.items():
        started = workspace.standing(name) is not Standing.NOT_STARTED
        trial = _try(workspace, name, limits) if started else Trial(text=f"✗ {name}: not started")
        found[name] = results(exercise, trial)
        codes.append(_code(trial))
        yield Reply(f"{'✓' if trial.ok else '✗'} {name:<{width}}  {trial.verdict}", None)
    passed = codes.count(DONE)
    score = sum(each["score"] for each in found.values()) / len(found)
    status = "pass" if passed == len(codes) else "fail"
    text = f"{passed} of {len(codes)} are right"
    yield Reply(text, {"status": status, "exercises": found, "score": score}, max(codes))


def saved(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that are written from this call on, as they are; it looks at their times, and never ends."""
    return _changes({path: _stamp(path) for path in paths})


def _changes(seen: dict[Path, Any]) -> Iterator[Path]:
    while True:
        for path, before in list(seen.items()):
            stamp = _stamp(path)
            if stamp != before:
                seen[path] = stamp
                yield path
        _pause()


def _pause() -> None:
    time.sleep(PAUSE)


def _stamp(path: Path) -> Any:
    try:
        status = path.stat()
    except OSError:  # an editor may remove a file before it writes it anew
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _code(trial: Trial) -> int:
    return DONE if trial.ok else CRASHED if trial.crashed else FAILED


# ---- words


def _exercise(word: str) -> Exercise:
    """The exercise of this name; the name of its file does as well."""
    name = Path(word).name.removesuffix(".py")
    if name not in EXERCISES:
        near = difflib.get_close_matches(name, EXERCISES, n=1)
        guess = f", did you mean {near[0]}?" if near else "; numvae learn list names them all"
        raise InputError(f"there is no exercise {word!r}{guess}")
    return EXERCISES[name]


def _general_hints(exercise: Exercise) -> tuple[str, ...]:
    """For a mistake that nobody has described: where to read, and what others get wrong here."""
    page = exercise.labels[0].split(".")[0]
    reading = f"Read derivations/{page}.md up to ({exercise.labels[0]})."
    return (reading, *dict.fromkeys(misconception.hints[0] for misconception in exercise.misconceptions))[:3]


def _limits(options: Namespace) -> Limits:
    return replace(Limits(), seconds=options.time_limit)


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
