"""Finding and fetching published files; the mirrors here are servers on this machine."""

from __future__ import annotations

import hashlib

import pytest

from numvae.datasets import store
from numvae.errors import InputError
from tests.datasets.conftest import QuietHandler

NAME = "values.gz"
CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()

pytestmark = pytest.mark.usefixtures("cache")


class Cutting(QuietHandler):
    """Promises the whole file and sends half of it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def fetch(*mirrors):
    return store.download("set", NAME, mirrors, store.has_sha256(DIGEST))


def test_a_file_is_fetched_into_the_cache_and_found_there(mirror, cache):
    path = fetch(mirror({NAME: CONTENT}))
    assert path.read_bytes() == CONTENT
    assert files_in(cache) == ["set", f"set/{NAME}"]
    assert store.find("set", ("values", NAME)) == path


@pytest.mark.parametrize("first", ["nobody", "no file", "wrong checksum", "another page", "half of it"])
def test_the_second_mirror_is_used_where_the_first_fails(first, nobody, mirror, serve, cache):
    start = {
        "nobody": lambda: nobody,
        "no file": lambda: mirror({}),
        "wrong checksum": lambda: mirror({NAME: CONTENT[:-1]}),
        "another page": lambda: mirror({NAME: b"<html>Sign in</html>"}),
        "half of it": lambda: serve(Cutting),
    }
    assert fetch(start[first](), mirror({NAME: CONTENT})).read_bytes() == CONTENT
    assert files_in(cache) == ["set", f"set/{NAME}"]


def test_where_the_first_mirror_works_the_second_is_not_asked(mirror, serve):
    asked = []

    class Recording(QuietHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    assert fetch(mirror({NAME: CONTENT}), serve(Recording)).read_bytes() == CONTENT
    assert asked == []


def test_a_wrong_checksum_is_refused_and_leaves_nothing(mirror, cache):
    with pytest.raises(InputError, match="wrong checksum"):
        fetch(mirror({NAME: CONTENT + b"!"}))
    assert files_in(cache) == ["set"]


def test_a_failed_download_names_the_mirrors_and_the_way_out(nobody, mirror, serve, cache):
    mirrors = nobody, mirror({}), serve(Cutting)
    with pytest.raises(InputError) as caught:
        fetch(*mirrors)
    text = str(caught.value)
    assert "\n" not in text
    for words in (*mirrors, NAME, "HTTP 404", "ConnectionError", "a folder set/", "set NUMVAE_DATA"):
        assert words in text
    assert files_in(cache) == ["set"]


def test_an_interruption_leaves_nothing(mirror, cache):
    def interrupted(path):
        assert path.read_bytes() == CONTENT
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.download("set", NAME, [mirror({NAME: CONTENT})], interrupted)
    assert files_in(cache) == ["set"]


def test_a_cache_that_cannot_be_written_is_one_line(mirror, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be kept in") as caught:
        fetch(mirror({NAME: CONTENT}))
    assert "\n" not in str(caught.value)


def test_ones_own_folder_goes_before_the_cache(cache, tmp_path, monkeypatch):
    own = tmp_path / "own"
    places = [own / "set", own, cache / "set"]
    for folder in places:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NAME).write_bytes(CONTENT)
    assert store.find("set", (NAME,)) == cache / "set" / NAME
    monkeypatch.setenv(store.VARIABLE, str(own))
    for folder in places:
        assert store.find("set", (NAME,)) == folder / NAME
        (folder / NAME).unlink()
    assert store.find("set", (NAME,)) is None


def test_a_folder_of_ones_own_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setenv(store.VARIABLE, "/no/such/folder")
    with pytest.raises(InputError, match=r"\$NUMVAE_DATA is /no/such/folder, which is no folder"):
        store.find("set", (NAME,))
