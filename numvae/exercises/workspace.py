"""A learner's folder: one file per exercise, and a small file of ours that remembers how far they have come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from numvae.atomic import write_atomically
from numvae.errors import InputError
from numvae.exercises.contract import Exercise

__all__ = ["MARKER", "Standing", "Workspace", "create", "find"]

MARKER = ".numvae-learn"


class Standing(StrEnum):
    """How far an exercise has come."""

    DONE = "done"
    STARTED = "started"
    NOT_STARTED = "not started"


@dataclass
class _Memory:
    """What a folder remembers: the digest of each file that passed, and how many hints were given about what."""

    done: dict[str, str]
    hints: dict[str, int]


@dataclass(frozen=True)
class Workspace:
    """A folder of exercises, in the order of ``ladder``."""

    folder: Path
    ladder: Mapping[str, Exercise]

    def path(self, name: str) -> Path:
        """The file of an exercise."""
        return self.folder / f"{name}.py"

    def content(self, name: str) -> bytes | None:
        """What stands in the file, None where there is none."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def standing(self, name: str) -> Standing:
        """Done means that the file passed as it is now: a later change has to be checked again."""
        content = self.content(name)
        if content is None or content == self.ladder[name].stub.encode():
            return Standing.NOT_STARTED
        return Standing.DONE if self._memory().done.get(name) == _digest(content) else Standing.STARTED

    def next(self) -> str | None:
        """The first exercise that is not done, None where all are."""
        return next((name for name in self.ladder if self.standing(name) is not Standing.DONE), None)

    def after(self, name: str) -> str | None:
        """The next exercise that is not done behind this one, else the first that is not."""
        names = list(self.ladder)
        place = names.index(name) + 1
        return next((each for each in names[place:] + names[:place] if self.standing(each) is not Standing.DONE), None)

    # ---- what changes it

    def write_missing(self) -> list[str]:
        """Write the stub of every exercise that has no file; the names of those written."""
        missing = [name for name in self.ladder if not self.path(name).exists()]
        for name in missing:
            self._write_stub(name)
        return missing

    def record(self, name: str, passed: bool, content: bytes) -> None:
        """Remember whether the file with this content passed."""
        memory = self._memory()
        before = dict(memory.done)
        memory.done.pop(name, None)
        if passed:
            memory.done[name] = _digest(content)
        if memory.done != before:
            self._keep(memory)

    def count_hint(self, name: str, about: str) -> int:
        """How many hints about this were given before; from now on it is one more."""
        memory = self._memory()
        subject = f"{name}: {about}"
        before = memory.hints.get(subject, 0)
        memory.hints[subject] = before + 1
        self._keep(memory)
        return before

    def reset(self, name: str) -> Path | None:
        """Make the file a stub again; where the learner's work is kept, None where there was none."""
        content = self.content(name)
        backup = None
        if content is not None and content != self.ladder[name].stub.encode():
            backup = self._free_backup(name)
            write_atomically(backup, lambda file: file.write(content))
        self._write_stub(name)
        memory = self._memory()
        memory.done.pop(name, None)
        memory.hints = {subject: count for subject, count in memory.hints.items() if not subject.startswith(f"{name}:")}
        self._keep(memory)
        return backup

    # ---- files

    def _write_stub(self, name: str) -> None:
        stub = self.ladder[name].stub.encode()
        write_atomically(self.path(name), lambda file: file.write(stub))

    def _free_backup(self, name: str) -> Path:
        number = 1
        while (path := self.folder / f"{name}.{number}.bak").exists():
            number += 1
        return path

    def _memory(self) -> _Memory:
        return _read(self.folder / MARKER)

    def _keep(self, memory: _Memory) -> None:
        if (self.folder / MARKER).exists():  # else it is not a folder of ours, only one that is looked at
            with suppress(OSError):  # one that can only be read is served all the same
                _write(self.folder / MARKER, memory)


def create(folder: Path, ladder: Mapping[str, Exercise]) -> tuple[Workspace, list[str]]:
    """Make the folder, or complete one that is there; it, and the exercises whose stubs were written.

    Files that are there are left as they are.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the exercises")
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(folder.resolve(), ladder)
    if not (folder / MARKER).exists():
        _write(folder / MARKER, _Memory({}, {}))
    return workspace, workspace.write_missing()


def find(folder: Path | None, ladder: Mapping[str, Exercise]) -> Workspace:
    """The folder given, or else the one that the current folder is, or is inside of.

    Raises:
        InputError: there is none.
    """
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; make one with: numvae learn init {folder}")
        return Workspace(folder.resolve(), ladder)
    here = Path.cwd()
    for place in (here, *here.parents):
        if (place / MARKER).is_file():
            return Workspace(place, ladder)
    raise InputError(
        f"{here} is not inside a folder of exercises; make one with numvae learn init DIR, or name it with --dir DIR"
    )


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _read(path: Path) -> _Memory:
    try:
        content = json.loads(path.read_bytes())
        done, hints = dict(content["done"]), dict(content["hints"])
        if all(isinstance(count, int) for count in hints.values()):
            return _Memory(done, hints)
    except FileNotFoundError:
        return _Memory({}, {})
    except (ValueError, TypeError, KeyError):
        pass
    raise InputError(
        f"{path} is damaged; delete it, then numvae learn init {path.parent} makes it anew and leaves your files alone"
    )


def _write(path: Path, memory: _Memory) -> None:
    text = json.dumps({"done": memory.done, "hints": memory.hints}, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
