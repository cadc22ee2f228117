"""What ``numvae info`` tells: versions, the matrix library, devices, where data is looked for; or about one run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from numvae import __version__, devices
from numvae.datasets import store
from numvae.runs import open_run

__all__ = ["gather"]

BLAS_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def gather(run_folder: Path | None = None) -> dict[str, Any]:
    """About this installation, or about the run in a folder."""
    if run_folder is not None:
        run = open_run(run_folder)
        return {
            "model": f"{run.model!r}",
            "trained_epochs": run.state.epoch,
            "planned_epochs": run.config.epochs,
            "steps": run.state.step,
            **run.numbers(),
        }
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    folder = store.data_folder()
    return {
        "numvae": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "blas_settings": {name: os.environ[name] for name in BLAS_VARIABLES if name in os.environ},
        "cores": os.cpu_count(),
        "devices": list(devices.available()),
        "NUMVAE_DATA": None if folder is None else str(folder),
        "cache": str(store.cache_folder()),
    }
