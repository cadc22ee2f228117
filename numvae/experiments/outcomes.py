"""What an experiment obtained, as one JSON file: settings, numbers and curves, all that its pictures are drawn from."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from numvae import __version__
from numvae.atomic import write_atomically
from numvae.errors import InputError
from numvae.parameter_file import read_object

__all__ = [
    "Outcome",
    "Outcomes",
    "Point",
    "last",
    "machine",
    "read_outcome",
    "read_points",
    "write_outcome",
    "write_points",
]

Outcome: TypeAlias = dict[str, Any]
Outcomes: TypeAlias = Mapping[str, Outcome]
"""By the names of their experiments."""
Point: TypeAlias = dict[str, Any]
"""What was found when training stopped to look, once."""


def machine() -> str:
    """Versions and machine: what times hold for."""
    return (
        f"numvae {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.system()} on {platform.machine()} with {os.cpu_count()} cores"
    )


def last(outcome: Outcome, key: str) -> Any:
    """Where a curve ends; None where it has no points, as where training diverged before the first.

    >>> last({"test": [-120.5, -110.2]}, "test")
    -110.2
    """
    return outcome[key][-1] if outcome[key] else None


def write_outcome(path: Path, outcome: Mapping[str, Any]) -> None:
    """Write it whole or not at all; floats with six digits, what is not finite as null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(outcome), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_outcome(path: Path, what: str = "it") -> Outcome | None:
    """What a file holds; None where there is none.  ``what`` is to be removed if it is damaged.

    Raises:
        InputError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        return read_object(path)
    except InputError as error:
        raise InputError(f"{error}; remove {what}, and it is made anew") from None


def write_points(path: Path, profile: str, points: Sequence[Point]) -> None:
    """What was found so far, while an experiment is under way."""
    write_outcome(path, {"profile": profile, "points": points})


def read_points(path: Path, profile: str, key: str) -> list[Point]:
    """What was found so far, none where there is no file; each point has its place in training under ``key``.

    Raises:
        InputError: it is damaged, or of another profile.
    """
    kept = read_outcome(path, str(path.parent))
    if kept is None:
        return []
    points = kept.get("points")
    if not isinstance(points, list) or not all(isinstance(point, dict) and key in point for point in points):
        raise InputError(f"{path} must hold points with their {key}; remove {path.parent}, and it is made anew")
    of = kept.get("profile", profile)
    if of != profile:
        raise InputError(f"{path.parent} is of the {of} profile, not of the {profile} one; name another --out")
    return points


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_rounded(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
