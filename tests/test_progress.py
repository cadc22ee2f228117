"""What somebody at a terminal sees while a model is trained."""

from __future__ import annotations

import contextlib
import io

import pytest

from numvae import progress
from numvae.config import Config
from numvae.progress import Progress, train_with_progress
from numvae.runs import create_run
from tests.small_runs import BATCH, TRAIN_ROWS, write_digits

SETTINGS = {"hidden": [16], "latent": 2, "epochs": 2, "batch": BATCH, "likelihood": "bernoulli"}


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def made(tmp_path):
    """A run that has been created and not yet trained, and its data."""
    return create_run(Config(data=str(write_digits(tmp_path)), **SETTINGS), tmp_path / "run")


def shown(act, *arguments):
    """What a call writes to a terminal."""
    with contextlib.redirect_stderr(Terminal()) as terminal:
        act(*arguments)
    return terminal.getvalue()


def test_a_terminal_shows_a_bar_with_the_running_bound_and_the_last_terms(made, monkeypatch):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", -1)
    monkeypatch.setenv("COLUMNS", "200")
    bar = shown(train_with_progress, *made)
    first, last = made[0].state.history
    test_terms = f"test {first['test_elbo']:.2f} = {first['test_reconstruction']:.2f} - {first['test_kl']:.2f}"
    assert f"{2 * TRAIN_ROWS}/{2 * TRAIN_ROWS}" in bar
    assert f"samples/s, bound {last['train_elbo']:.2f}, {test_terms}]" in bar
    assert bar.count("epoch ") == 2


def test_the_numbers_wait_for_a_second(made, monkeypatch):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 1000)
    bar = shown(train_with_progress, *made)
    assert "samples/s" in bar
    assert "samples/s, bound" not in bar


def test_where_nobody_watches_only_the_epochs_are_told(made, capsys):
    train_with_progress(*made)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_the_bar_of_a_resumed_run_begins_where_it_stands(made):
    run, _ = made
    run.state.epoch, run.state.batches = 1, 3

    def begin():
        Progress(run, TRAIN_ROWS).bar.close()

    assert f"{TRAIN_ROWS + 3 * BATCH}/{2 * TRAIN_ROWS}" in shown(begin)
