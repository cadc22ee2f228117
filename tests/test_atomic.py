"""A file is there whole, old or new, whatever happens while it is written."""

import os
import stat

import pytest

from numvae import atomic
from numvae.atomic import write_atomically


def test_the_file_holds_what_was_written_and_nothing_lies_beside_it(tmp_path):
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_reader_sees_the_old_content_until_the_new_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file):
        file.write(b"ne")
        file.flush()
        seen.append(path.read_bytes())
        file.write(b"w")

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt, MemoryError])
def test_an_error_while_writing_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half of the n")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_error_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a.bin", lambda file: 1 / 0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_last_moment_leaves_the_old_file_alone(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_bare_name_is_a_file_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("a.bin", lambda file: file.write(b"content"))
    assert (tmp_path / "a.bin").read_bytes() == b"content"


def test_an_error_names_the_file_and_not_the_temporary_one_beside_it(tmp_path, monkeypatch):
    for path in (tmp_path / "no" / "a.bin", tmp_path / ("a" * 300), tmp_path):
        with pytest.raises(OSError, match="a") as caught:
            write_atomically(path, lambda file: file.write(b"content"))
        assert str(caught.value).endswith(f": '{path}'")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.bin'$"):
        write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))


def test_an_error_about_another_file_still_names_that(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "a.bin", lambda file: file.write((tmp_path / "other").read_bytes()))
    assert caught.value.filename == str(tmp_path / "other")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read_the_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode
