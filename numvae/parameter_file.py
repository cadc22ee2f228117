"""The JSON parameter file, read with suspicion, and what is wrong with settings in words for a person."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from numvae.errors import InputError

__all__ = ["explain", "flag", "read_object", "short"]

MOST_BYTES = 2**20
"""All settings together are a kilobyte."""

MUST_BE = {
    "bool_type": "true or false",
    "dict_type": "a JSON object like {example}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "above {gt:,.10g}",
    "greater_than_equal": "at least {ge:,.10g}",
    "int_type": "a whole number",
    "less_than": "below {lt:,.10g}",
    "less_than_equal": "at most {le:,.10g}",
    "list_type": "a list of whole numbers like [500] or [500, 200]",
    "literal_error": "{expected}",
    "string_type": "text",
}
"""What each of pydantic's types of errors asks for."""
EXAMPLES = {
    "optimizer_options": '{"beta1": 0.95}',
    "prior_params": '{"log_std": 0.5}',
    "schedule_options": '{"steps": 1000}',
}
LONG = 100
"""Characters of names, beyond which the nearest says more than all of them."""


def read_object(path: Path) -> dict[str, Any]:
    """The settings in a JSON file.

    Raises:
        InputError: it is no readable file of one JSON object, or sets a key twice.
    """
    try:
        text = _read_text(path)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; name a JSON parameter file, or leave it out for the defaults"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {getattr(error, 'strerror', None) or error}") from None
    try:
        settings = json.loads(text, object_pairs_hook=partial(_unique_keys, path))
    except InputError:
        raise
    except ValueError as error:  # a JSONDecodeError, or a number of thousands of digits
        raise InputError(f"{path} is not JSON ({error})") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply; settings are one flat object") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} must hold a JSON object of settings, saw {type(settings).__name__}")
    return settings


def _read_text(path: Path) -> str:
    """The text of an ordinary file of ordinary size: a device or a pipe could go on for ever."""
    if path.is_dir():
        hint = f"; to go on with the run in it: --resume {path}" if (path / "config.json").exists() else ""
        raise InputError(f"{path} is a folder, not a JSON parameter file{hint}")
    size = path.stat().st_size
    if not path.is_file() or size > MOST_BYTES:
        seen = f"one of {size:,} bytes" if path.is_file() else "a device or a pipe"
        raise InputError(f"{path} must be a JSON parameter file of at most {MOST_BYTES:,} bytes, saw {seen}")
    return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte-order mark


def _unique_keys(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    settings = dict(pairs)
    if len(settings) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise InputError(f"{path}: {', '.join(repeated)} is set more than once; keep one")
    return settings


def flag(name: str) -> str:
    """The flag of a setting.

    >>> flag("clip_norm")
    '--clip-norm'
    """
    return "--" + name.replace("_", "-")


def explain(error: ValidationError, path: str | Path | None, flags: Collection[str], known: Iterable[str]) -> str:
    """All that is wrong, one line: what stands in the file under its path, what was given as a flag under that."""
    in_file, given = [], []
    for problem in error.errors():
        if path is None or problem["loc"][0] in flags:
            given.append(_describe(problem, known, as_flag=True))
        else:
            in_file.append(_describe(problem, known, as_flag=False))
    return "; ".join(([f"{path}: {'; '.join(in_file)}"] if in_file else []) + given)


def _describe(problem: Any, known: Iterable[str], *, as_flag: bool) -> str:
    """One problem: where it is, what must stand there, what does."""
    kind, seen, context = problem["type"], problem["input"], problem.get("ctx", {})
    name, *inner = map(str, problem["loc"])
    where = ".".join([flag(name) if as_flag else name, *inner])
    if kind == "extra_forbidden":
        return f"{where}: unknown setting{_nearest(name, known)}"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    if kind not in MUST_BE:
        return f"{where}: {problem['msg']}, got {short(seen)}"
    must_be = MUST_BE[kind].format(**context, example=EXAMPLES.get(name, "{}"))
    if kind == "list_type" and as_flag:
        must_be = "whole numbers like 500 or 500,200"
    if kind == "literal_error":
        must_be = must_be.replace("'", "")
        near = _nearest(seen, must_be.replace(" or ", ", ").split(", "))
        if near and len(must_be) > LONG:
            return f"{where}: {short(seen)} is not known{near}"
        return f"{where} must be {must_be}, got {short(seen)}{near}"
    return f"{where} must be {must_be}, got {short(seen)}"


def _nearest(word: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.65) if isinstance(word, str) else []
    return f", did you mean {near[0]}?" if near else ""


def short(value: object) -> str:
    """A value as it is shown to a person, of at most 60 characters; null, true and false as JSON has them."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
