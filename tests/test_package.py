"""What the package promises as a whole: a light import, types, and public names that exist and explain themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import pytest

import numvae

HEAVY = ["cupy", "matplotlib.pyplot", "pydantic", "scipy.stats"]


def test_import_loads_nothing_heavy() -> None:
    """In a fresh interpreter, for this one has loaded it all."""
    program = "import json, sys, numvae; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(run.stdout)
    assert "numvae" in loaded
    assert not set(HEAVY) & set(loaded)


def test_the_package_is_typed() -> None:
    assert resources.files(numvae).joinpath("py.typed").is_file()


def test_public_names_are_listed_once() -> None:
    assert len(set(numvae.__all__)) == len(numvae.__all__)


@pytest.mark.parametrize("name", numvae.__all__)
def test_every_public_name_exists_and_explains_itself(name: str) -> None:
    assert getattr(numvae, name).__doc__, name


def test_version_is_three_numbers() -> None:
    assert [part.isdigit() for part in numvae.__version__.split(".")] == [True] * 3
