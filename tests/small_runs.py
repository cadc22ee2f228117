"""Data and models so small that an epoch takes milliseconds: what the tests of training, runs and the command share."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numvae import cli, mlp_vae
from numvae.datasets import Dataset, draw_digits
from numvae.training import Recipe, State, start

TRAIN_ROWS, TEST_ROWS, SIDE, BATCH = 200, 50, 7, 30


def small_digits() -> Dataset:
    """Drawn digits of 7x7 pixels: every fourth pixel of every fourth row."""
    digits = draw_digits(TRAIN_ROWS + TEST_ROWS, seed=0)
    rows = digits.images.reshape(-1, 28, 28)[:, 2::4, 2::4].reshape(-1, SIDE * SIDE)
    train, test = slice(TRAIN_ROWS), slice(TRAIN_ROWS, None)
    return Dataset("small", rows[train], rows[test], digits.labels[train], digits.labels[test], (SIDE, SIDE))


DIGITS = small_digits()
MODEL = mlp_vae(DIGITS.features, latents=2, hidden=(16,))


def begin(recipe: Recipe, dtype: Any = np.float32) -> State:
    """A fresh state of the small model."""
    return start(MODEL, DIGITS, recipe, dtype=dtype)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """A history as far as it can be repeated."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def same_state(a: State, b: State) -> bool:
    """Whether two states are equal bit for bit, all but the time that was spent."""
    vectors_a, vectors_b = ({**state.moments, "theta": state.theta} for state in (a, b))
    return (
        vectors_a.keys() == vectors_b.keys()
        and all(np.asarray(vectors_a[key]).tobytes() == np.asarray(vectors_b[key]).tobytes() for key in vectors_a)
        and a.noise_rng.bit_generator.state == b.noise_rng.bit_generator.state
        and (a.epoch, a.batches, a.step, float(a.bound_sum)) == (b.epoch, b.batches, b.step, float(b.bound_sum))
        and without_seconds(a.history) == without_seconds(b.history)
    )


def write_digits(folder: Path) -> Path:
    """The small digits as a file of one's own."""
    path = folder / "digits.npz"
    images = {"train": DIGITS.train, "test": DIGITS.test}
    labels = {"train_labels": DIGITS.train_labels, "test_labels": DIGITS.test_labels}
    np.savez(path, **{name: rows.reshape(-1, SIDE, SIDE) for name, rows in images.items()}, **labels)
    return path


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout: it stands there alone, and has no NaN in it."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        assert self.out.count("\n") == 1
        assert self.out.endswith("\n")
        return json.loads(self.out, parse_constant=refuse)

    @property
    def complaint(self) -> str:
        """The last line on stderr."""
        return self.err.splitlines()[-1]


def numvae(*words: object) -> Outcome:
    """The command with these words, run here."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as stop:  # --help and --version
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and the folders themselves, with their contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"a folder"
        for path in sorted(folder.rglob("*"))
    }
