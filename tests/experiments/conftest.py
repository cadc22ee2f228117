"""``numvae reproduce aevb`` and ``iwae`` on tiny settings: those settings, and all that they leave, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from numvae.experiments import PAPERS, PaperReproduction, reproduce_paper
from tests.experiments.tiny import shrink_aevb, shrink_iwae


@pytest.fixture
def tiny_aevb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_aevb(monkeypatch, tmp_path)


@pytest.fixture
def tiny_iwae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_iwae(monkeypatch, tmp_path)


@pytest.fixture(scope="session")
def all_of_aevb(tmp_path_factory: pytest.TempPathFactory) -> PaperReproduction:
    """Not to be written to."""
    folder = tmp_path_factory.mktemp("aevb")
    with pytest.MonkeyPatch.context() as patch:
        shrink_aevb(patch, folder)
        return reproduce_paper(PAPERS["aevb"], None, "quick", folder / "out")


@pytest.fixture(scope="session")
def all_of_iwae(tmp_path_factory: pytest.TempPathFactory) -> PaperReproduction:
    """Not to be written to."""
    folder = tmp_path_factory.mktemp("iwae")
    with pytest.MonkeyPatch.context() as patch:
        shrink_iwae(patch, folder)
        return reproduce_paper(PAPERS["iwae"], None, "quick", folder / "out")
