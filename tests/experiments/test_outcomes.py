"""Outcomes as files: what is written is what is read, numbers are short, and what is damaged is refused in a line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from numvae import __version__
from numvae.errors import InputError
from numvae.experiments.outcomes import last, machine, read_outcome, read_points, write_outcome, write_points


def test_numbers_have_six_digits_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "in" / "it.json"
    curve = [1.23456789, np.float32(-2.0), float("nan"), float("inf"), None]
    write_outcome(path, {"curve": curve, "count": np.int64(3), "vector": np.ones(2), "done": True, 5: ("a", 1e7)})
    assert read_outcome(path) == {
        "curve": [1.23457, -2.0, None, None, None],
        "count": 3,
        "vector": [1.0, 1.0],
        "done": True,
        "5": ["a", 1e7],
    }


def test_writing_again_what_was_read_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    write_outcome(path, {"value": 1 / 3, "name": "Kingma’s"})
    before = path.read_bytes()
    write_outcome(path, read_outcome(path) or {})
    assert path.read_bytes() == before


def test_an_outcome_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    write_outcome(path, {"value": 1})
    with pytest.raises(TypeError):
        write_outcome(path, {"value": object()})
    assert os.listdir(tmp_path) == ["it.json"]
    assert read_outcome(path) == {"value": 1}


def test_where_there_is_no_file_there_is_no_outcome(tmp_path: Path) -> None:
    assert read_outcome(tmp_path / "none.json") is None
    assert read_points(tmp_path / "none.json", "quick", "samples") == []


@pytest.mark.parametrize("text", ["", '{"profile": "quick', "[1, 2]", '{"a": 1, "a": 2}', "\x00\xff"])
def test_a_damaged_outcome_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "it.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"it\.json.*; remove it, and it is made anew") as refusal:
        read_outcome(path)
    assert "\n" not in str(refusal.value)


def test_points_come_back_as_they_were(tmp_path: Path) -> None:
    points = [{"samples": 10, "test": -1.5}, {"samples": 20, "test": None}]
    write_points(tmp_path / "looked.json", "full", points)
    assert read_points(tmp_path / "looked.json", "full", "samples") == points


@pytest.mark.parametrize("content", [{}, {"points": 3}, {"points": [1]}, {"points": [{"stages": 1}]}])
def test_damaged_points_are_refused(tmp_path: Path, content: dict[str, object]) -> None:
    (tmp_path / "looked.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"must hold points with their samples; remove {tmp_path}, and it is made"):
        read_points(tmp_path / "looked.json", "quick", "samples")


def test_points_of_another_profile_are_refused(tmp_path: Path) -> None:
    write_points(tmp_path / "looked.json", "quick", [])
    with pytest.raises(InputError, match="is of the quick profile, not of the full one; name another --out"):
        read_points(tmp_path / "looked.json", "full", "samples")


def test_a_curve_without_points_ends_nowhere() -> None:
    assert last({"test": []}, "test") is None
    assert last({"test": [1, 2]}, "test") == 2


def test_the_machine_is_told_without_its_name() -> None:
    assert f"numvae {__version__}, Python 3" in machine()
    assert os.uname().nodename not in machine()
