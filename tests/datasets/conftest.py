"""Mirrors that are servers on this machine, and an empty cache."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest

from numvae.datasets import store


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Call it with a request handler to get the URL at which that answers."""
    servers = []

    def start(handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mirror(serve, tmp_path_factory):
    """Call it with a dict of file names and contents to get the URL of a mirror that has these files."""

    def start(files):
        folder = tmp_path_factory.mktemp("mirror")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return serve(functools.partial(QuietHandler, directory=str(folder)))

    return start


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, no folder of one's own, and no proxy before this machine."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(store, "cache_folder", lambda: folder)
    monkeypatch.delenv(store.VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def nobody():
    """The URL of a mirror where nothing answers: the discard port."""
    return "http://127.0.0.1:9/"
