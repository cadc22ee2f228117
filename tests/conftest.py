"""What all tests share: reproducible Hypothesis examples, selection by label, the data folder, and devices."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tests import device_array

settings.register_profile("numvae", derandomize=True, deadline=None, max_examples=20, print_blob=False)
settings.load_profile("numvae")


LABEL = re.compile(r"\(([a-z_]+\.\d+)\)")


def pytest_itemcollected(item: pytest.Item) -> None:
    """``pytest -k normal.3`` also selects the tests whose docstring names that equation in brackets."""
    item.extra_keyword_matches.update(LABEL.findall(getattr(item, "function", None).__doc__ or ""))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with MNIST and Frey faces that ``NUMVAE_DATA`` names."""
    if "NUMVAE_DATA" not in os.environ:
        pytest.skip("NUMVAE_DATA names no folder with MNIST and Frey faces")
    folder = Path(os.environ["NUMVAE_DATA"])
    if not folder.is_dir():
        pytest.skip(f"NUMVAE_DATA={folder} is no folder")
    return folder


@dataclass(frozen=True)
class Elsewhere:
    """A device that is not the host: how arrays get there and back."""

    asarray: Callable[[Any], Any]
    asnumpy: Callable[[Any], np.ndarray]


@pytest.fixture(params=["stand-in", pytest.param("cupy", marks=pytest.mark.gpu)])
def elsewhere(request: pytest.FixtureRequest) -> Elsewhere:
    """The stand-in device, and CuPy where it and a GPU are there."""
    if request.param == "stand-in":
        return Elsewhere(device_array.asarray, device_array.asnumpy)
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("CuPy sees no GPU")
    return Elsewhere(cupy.asarray, cupy.asnumpy)
