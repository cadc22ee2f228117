"""What is run: a parameter file per experiment, an ordinary one of ``numvae train``, and what a profile changes in it.

A file holds the settings at full size.  ``quick.json`` holds what the quick profile replaces, in all experiments and
then in single ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numvae.config import Config, read_config
from numvae.errors import InputError
from numvae.parameter_file import read_object

__all__ = ["PROFILES", "REVIEW", "experiment_names", "one_of", "profile_settings", "read_experiment"]

REVIEW = Path(__file__).parent / "review"
PROFILES = ("quick", "full")
IN_ALL = "all"


def experiment_names(folder: Path = REVIEW) -> list[str]:
    """The experiments there are: a parameter file each.

    >>> experiment_names()[:2]
    ['counts', 'denoising']
    """
    return sorted(path.stem for path in folder.glob("*.json"))


def profile_settings(name: str, profile: str, folder: Path = REVIEW) -> dict[str, Any]:
    """What the profile replaces in an experiment's settings; the full one nothing.

    >>> profile_settings("model_1", "full")
    {}
    """
    if profile == "full":
        return {}
    changes = read_object(folder.with_name(f"{one_of(profile, PROFILES, 'profile')}.json"))
    return {**changes.get(IN_ALL, {}), **changes.get(name, {})}


def read_experiment(name: str, profile: str = "full", folder: Path = REVIEW) -> Config:
    """The settings of an experiment under a profile.

    >>> read_experiment("model_1").hidden
    [256]

    Raises:
        InputError: no such experiment or profile, or settings that are not right.
    """
    name = one_of(name, experiment_names(folder), "experiment")
    return read_config(folder / f"{name}.json", profile_settings(name, profile, folder))


def one_of(name: str, names: Sequence[str], what: str) -> str:
    """The name, if it is one of those.

    Raises:
        InputError: it is none, with the nearest that is.
    """
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise InputError(f"{what} {name} is not known, {hint}")
