"""The review's experiments on 7x7 drawn digits: their settings, with so few rows and units that a run takes moments."""

from __future__ import annotations

import json
from pathlib import Path

from numvae.experiments.settings import REVIEW, experiment_names
from tests.small_runs import write_digits

TINY = {"hidden": [8], "epochs": 1, "train_rows": 60, "test_rows": 20, "batch": 20, "lr": 0.001}


def tiny_settings(folder: Path) -> Path:
    """A folder of parameter files beside a quick.json, as the package has them."""
    data, settings = str(write_digits(folder)), folder / "review"
    settings.mkdir()
    for name in experiment_names():
        content = json.loads((REVIEW / f"{name}.json").read_text())
        (settings / f"{name}.json").write_text(json.dumps({**content, **TINY, "data": data}))
    (folder / "quick.json").write_text(json.dumps({"all": {"seed": 1}}))
    return settings
