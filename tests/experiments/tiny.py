"""The experiments on 7x7 drawn digits: their settings, with so few rows and units that a run takes moments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae.experiments import aevb, iwae, likelihood_curves
from numvae.experiments.outcomes import Outcome
from numvae.experiments.settings import REVIEW, experiment_names
from tests.small_runs import DIGITS, SIDE, write_digits

TINY = {"hidden": [8], "epochs": 1, "train_rows": 60, "test_rows": 20, "batch": 20, "lr": 0.001}
MANY = 1200
"""Training rows: more than the thousand of the smaller data set of the AEVB paper's Figure 3."""


def tiny_settings(folder: Path) -> Path:
    """A folder of the review's parameter files beside a quick.json, as the package has them."""
    data, settings = str(write_digits(folder)), folder / "review"
    settings.mkdir()
    for name in experiment_names():
        content = json.loads((REVIEW / f"{name}.json").read_text())
        (settings / f"{name}.json").write_text(json.dumps({**content, **TINY, "data": data}))
    (folder / "quick.json").write_text(json.dumps({"all": {"seed": 1}}))
    return settings


def shrink_aevb(patch: pytest.MonkeyPatch, folder: Path, **quick: Any) -> None:
    """Let ``numvae reproduce aevb`` read settings that make all small; ``quick``: what that profile replaces."""
    table = json.loads(aevb.SETTINGS.read_text())
    for part in ("mnist", "frey"):
        table[part] |= {"data": _many_digits(folder), "hidden": [6]}
    table["likelihood"]["hidden"] = [5]
    for profile in ("quick", "full"):
        table["samples"][profile] = {"bound": 2 * MANY, "likelihood": 5 * MANY, "em": 5 * MANY}
    table["quick"] = {"train_rows": MANY, "test_rows": 30, **quick}
    patch.setattr(aevb, "SETTINGS", _written(folder / "aevb.json", table))
    patch.setattr(likelihood_curves, "FIRST_LOOK", {"quick": 1000, "full": 1000})
    patch.setattr(likelihood_curves, "JUDGED_ROWS", {"quick": 10, "full": 10})
    patch.setattr(likelihood_curves, "DRAWS", 8)
    patch.setattr(likelihood_curves, "BURN_IN", 4)


def shrink_iwae(patch: pytest.MonkeyPatch, folder: Path, **quick: Any) -> None:
    """Let ``numvae reproduce iwae`` read settings that make all small; ``quick``: what that profile replaces."""
    table = json.loads(iwae.SETTINGS.read_text())
    table["all"] |= {"data": _many_digits(folder), "lr": 0.003}
    table["one_layer"] = {"latent": 5, "hidden": [8]}
    table["two_layers"] = {"latent": 4, "hidden": [8], "latent_above": 3, "hidden_above": [6]}
    for profile in ("quick", "full"):
        table["stages"][profile] = dict.fromkeys(table["stages"][profile], 2)
        table["cut_short"][profile] = {}
        table["judged"][profile] = {"rows": 20, "rows_from_stage_6": 25, "samples": 10}
    table["quick"] = {"train_rows": 80, "test_rows": 30, **quick}
    patch.setattr(iwae, "SETTINGS", _written(folder / "iwae.json", table))


def without_times(outcome: Outcome) -> Outcome:
    """As far as an outcome can be repeated."""
    return {key: value for key, value in outcome.items() if key not in ("seconds", "training_seconds", "made_with")}


def _many_digits(folder: Path) -> str:
    path = folder / "many_digits.npz"
    rows = np.tile(DIGITS.train, (MANY // len(DIGITS.train), 1))
    np.savez(path, train=rows.reshape(-1, SIDE, SIDE), test=DIGITS.test.reshape(-1, SIDE, SIDE))
    return str(path)


def _written(path: Path, table: dict[str, Any]) -> Path:
    path.write_text(json.dumps(table))
    return path
