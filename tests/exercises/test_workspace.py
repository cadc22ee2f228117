"""A learner's folder: written whole, never over a learner's work, and with a memory of how far they have come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from numvae.errors import InputError
from numvae.exercises.contract import Exercise
from numvae.exercises.ladder.normal_kl import EXERCISE as KL
from numvae.exercises.ladder.tanh import EXERCISE as TANH
from numvae.exercises.workspace import MARKER, Standing, Workspace, create, find

LADDER: dict[str, Exercise] = {"tanh": TANH, "normal_kl": KL}
WORK = b"def tanh(x):\n    return 'my work'\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A new folder of two exercises."""
    return create(tmp_path / "learn", LADDER)[0]


def test_a_new_folder_holds_the_stubs_and_nothing_else_that_shows(tmp_path: Path) -> None:
    workspace, written = create(tmp_path / "deep" / "learn", LADDER)
    assert written == ["tanh", "normal_kl"]
    assert {path.name for path in workspace.folder.iterdir()} == {"tanh.py", "normal_kl.py", MARKER}
    assert workspace.path("tanh").read_text(encoding="utf-8") == TANH.stub
    assert {workspace.standing(name) for name in LADDER} == {Standing.NOT_STARTED}


def test_what_is_there_is_kept_and_what_is_missing_is_written(tmp_path: Path) -> None:
    (tmp_path / "tanh.py").write_bytes(WORK)
    workspace, written = create(tmp_path, LADDER)
    assert written == ["normal_kl"]
    assert workspace.content("tanh") == WORK
    workspace.record("tanh", True, WORK)
    workspace.path("normal_kl").unlink()
    again, written = create(tmp_path, LADDER)
    assert written == ["normal_kl"]
    assert again.standing("tanh") is Standing.DONE


def test_a_stub_is_written_whole_or_not_at_all(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.path("tanh").unlink()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numvae.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        workspace.write_missing()
    assert {path.name for path in workspace.folder.iterdir()} == {"normal_kl.py", MARKER}


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        create(tmp_path / "file", LADDER)


def test_done_means_passed_as_it_stands(workspace: Workspace) -> None:
    path = workspace.path("tanh")
    path.write_bytes(WORK)
    assert workspace.standing("tanh") is Standing.STARTED
    workspace.record("tanh", True, WORK)
    assert workspace.standing("tanh") is Standing.DONE
    path.write_bytes(WORK + b"# and a change")
    assert workspace.standing("tanh") is Standing.STARTED
    path.write_bytes(WORK)
    workspace.record("tanh", False, WORK)
    assert workspace.standing("tanh") is Standing.STARTED
    path.unlink()
    assert workspace.standing("tanh") is Standing.NOT_STARTED


def test_the_next_exercise_is_the_first_that_is_not_done(workspace: Workspace) -> None:
    assert workspace.next() == "tanh"
    assert workspace.after("normal_kl") == "tanh"
    workspace.path("tanh").write_bytes(WORK)
    workspace.record("tanh", True, WORK)
    assert workspace.next() == workspace.after("tanh") == "normal_kl"
    workspace.path("normal_kl").write_bytes(WORK)
    workspace.record("normal_kl", True, WORK)
    assert workspace.next() is workspace.after("tanh") is None


def test_reset_keeps_the_work_every_time(workspace: Workspace) -> None:
    assert workspace.reset("tanh") is None
    backups = []
    for work in (b"first\n", b"second\n"):
        workspace.path("tanh").write_bytes(work)
        backup = workspace.reset("tanh")
        assert backup is not None
        backups.append(backup)
        assert workspace.content("tanh") == TANH.stub.encode()
    assert [backup.read_bytes() for backup in backups] == [b"first\n", b"second\n"]
    assert all(backup.suffix == ".bak" for backup in backups)


def test_reset_forgets_the_progress_and_the_hints_of_that_exercise_alone(workspace: Workspace) -> None:
    for name in LADDER:
        workspace.path(name).write_bytes(WORK)
        workspace.record(name, True, WORK)
        assert [workspace.count_hint(name, "sign") for _ in range(2)] == [0, 1]
    workspace.reset("tanh")
    workspace.path("tanh").write_bytes(WORK)
    assert workspace.standing("tanh") is Standing.STARTED
    assert workspace.standing("normal_kl") is Standing.DONE
    assert workspace.count_hint("tanh", "sign") == 0
    assert workspace.count_hint("normal_kl", "sign") == 2
    assert workspace.count_hint("normal_kl", "factor") == 0


def test_the_folder_is_found_from_inside_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = workspace.folder / "notes" / "today"
    inside.mkdir(parents=True)
    for place in (workspace.folder, inside):
        monkeypatch.chdir(place)
        assert find(None, LADDER).folder == workspace.folder
    monkeypatch.chdir(workspace.folder.parent)
    with pytest.raises(InputError, match="numvae learn init"):
        find(None, LADDER)
    assert find(Path("learn"), LADDER).folder == workspace.folder
    with pytest.raises(InputError, match="missing is no folder"):
        find(Path("missing"), LADDER)


def test_a_folder_of_somebody_else_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tanh.py").write_bytes(WORK)
    workspace = find(tmp_path, LADDER)
    workspace.record("tanh", True, WORK)
    assert workspace.count_hint("tanh", "") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tanh.py"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"done": 1, "hints": {}}', '{"done": {}, "hints": {"a": "b"}}']
)
def test_a_damaged_memory_is_named_and_can_be_made_anew(workspace: Workspace, content: str) -> None:
    (workspace.folder / MARKER).write_text(content)
    workspace.path("tanh").write_bytes(WORK)
    with pytest.raises(InputError, match="damaged; delete it"):
        workspace.next()
    (workspace.folder / MARKER).unlink()
    again, written = create(workspace.folder, LADDER)
    assert written == []
    assert again.content("tanh") == WORK
    assert json.loads((again.folder / MARKER).read_text()) == {"done": {}, "hints": {}}
