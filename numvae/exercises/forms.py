"""What is wrong with an output before its numbers matter: how many, of what kind, in which shape and dtype."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from numvae.exercises.comparing import numeric, same_numbers

__all__ = ["described", "dtype_problem", "inputs", "kind_problem", "shape_problem", "structure_problem"]


def described(value: Any) -> str:
    """What a value is, in words: never its numbers, and never by its own ``repr``."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}" if value.ndim else "a number"
    if isinstance(value, bool | np.bool_):
        return "True or False"
    if isinstance(value, int | float | np.number):
        return "a number"
    if type(value) in (tuple, list):
        return f"{'an empty' if not value else 'a'} {type(value).__name__}" + (f" of {len(value)}" if value else "")
    if isinstance(value, str):
        return "a text"
    if type(value) is dict:
        return "a dict"
    return "a function (the pullback)" if callable(value) else f"an object of type {type(value).__name__}"


def inputs(arguments: Mapping[str, Any]) -> str:
    """The arguments as a learner reads them: ``mean (3, 5), log_std (3, 5), alpha 2.1``."""

    def shown(value: Any) -> str:
        if isinstance(value, np.ndarray):
            return str(value.shape)
        if callable(value):
            return "(a function)"
        return f"{value:.4g}" if isinstance(value, int | float | np.number) else f"({described(value)})"

    return ", ".join(f"{name} {shown(value)}" for name, value in arguments.items())


def structure_problem(who: str, found: Any, expected: Any) -> str:
    """How what a function returned differs in kind from what it has to return; empty if it does not.

    ``who`` returned it: "It", or "The pullback".
    """
    if type(expected) is not tuple:
        what = f"What {who[0].lower()}{who[1:]} returns"
        if numeric(expected) and np.ndim(expected) and type(found) is list:
            return f"{what} has to be {described(expected)}, but is {described(found)}: make it one, `np.array(...)`."
        return _part_problem(what, found, expected)
    if found is None:
        return f"{who} returns nothing: is its `return` missing?"
    if type(found) not in (tuple, list):
        comma = "; a comma makes a tuple of one" if len(expected) == 1 else ""
        return f"{who} has to return {_listed(expected)}, but returns {described(found)}{comma}."
    if len(found) != len(expected):
        return f"{who} has to return {_listed(expected)}, but returns {_listed(found)}."
    for k, (part, right) in enumerate(zip(found, expected, strict=True)):
        problem = _part_problem(f"The {_ordinal(k)} that {who[0].lower()}{who[1:]} returns", part, right)
        if problem:
            return problem
    return ""


def _part_problem(what: str, found: Any, expected: Any) -> str:
    if type(expected) is dict:
        missing = [name for name in expected if type(found) is dict and name not in found]
        lacks = f" without {', '.join(map(str, missing))}" if missing else ""
        wrong = bool(missing) or type(found) is not dict
        return f"{what} has to be a dict of {', '.join(map(str, expected))}, but is {described(found)}{lacks}." * wrong
    if type(expected) is tuple and (type(found) not in (tuple, list) or len(found) != len(expected)):
        return f"{what} has to be a tuple of {_listed(expected)}, but is {described(found)}."
    if expected is None and not (found is None or numeric(found)):
        return f"{what} has to be None, but is {described(found)}."
    if expected is None or callable(found) == callable(expected):
        several = numeric(expected) and type(found) is tuple
        return f"{what} has to be {described(expected)}, but is {_listed(found)}." if several else ""
    if callable(found):
        return f"{what} has to be {described(expected)}, but is a function: was it to be called?"
    called = " Give the function itself, do not call it." if type(found) is tuple or numeric(found) else ""
    return f"{what} has to be {described(expected)}, but is {described(found)}.{called}"


def kind_problem(name: str, found: Any, expected: Any) -> str:
    """An output that is no array of numbers at all."""
    if not numeric(expected) or numeric(found):
        return ""
    if found is None:
        return f"{name} is None: it has to be {described(expected)}."
    if type(found) in (list, tuple):
        return f"{name} is a {type(found).__name__}: make it an array, `np.array(...)`."
    if isinstance(found, np.ndarray):
        real = "real " * (found.dtype.kind == "c")
        return f"{name} is an array of dtype {found.dtype}: it has to hold {real}numbers."
    return f"{name} is {described(found)}: it has to be {described(expected)}."


def dtype_problem(name: str, found: Any, expected: Any) -> str:
    """An output that rounds, counts or promotes where it should not; numbers of Python's own have no dtype to keep."""
    if not numeric(expected) or (isinstance(found, float | int) and np.ndim(expected) == 0):
        return ""
    seen, meant = np.asarray(found).dtype, np.asarray(expected).dtype
    if meant.kind != "f" or seen == meant:
        return ""
    why = {
        "f": "it is rounded on the way" if seen.itemsize < meant.itemsize else "a constant of float64 promotes it",
        "b": "it says yes or no where a number is meant",
    }.get(seen.kind, "its decimals are cut off")
    return f"{name} is {seen} where {meant} comes in: {why}."


def shape_problem(name: str, outputs: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What became of the shape of an output: transposed, an axis kept, not summed, or summed too early."""
    found, right = np.asarray(outputs[name]), np.asarray(expected[name])
    if found.shape == right.shape:
        return ""
    line = f"{name} has shape {found.shape} where {right.shape} is right"
    if found.size > 1_000_000:
        return f"{line}."
    for other, value in expected.items():
        if other != name and numeric(value) and same_numbers(found, value):
            return f"{line}: it is {other}. Are the outputs in the right order?"
    if found.shape == right.shape[::-1]:
        true = " Its numbers are right." if same_numbers(found.T, right) else ""
        return f"{line}: it is transposed.{true}"
    if tuple(n for n in found.shape if n != 1) == tuple(n for n in right.shape if n != 1):
        true = " Its numbers are right." if same_numbers(found.reshape(right.shape), right) else ""
        what = "an axis of length 1 too many" if found.ndim > right.ndim else "an axis of length 1 is missing"
        return f"{line}: {what}.{true}"
    return f"{line}{_summed(found, right)}."


def _summed(found: Any, right: Any) -> str:
    """Whether a sum or a mean over some axes leads from one to the other."""
    for large, small, story in (
        (found, right, "it is still to be {past} over axis {axes}"),
        (right, found, "it is {past} over axis {axes}, which should stay"),
    ):
        for count in range(1, large.ndim + 1):
            for axes in combinations(range(large.ndim), count):
                for past, reduced in (("summed", large.sum(axis=axes)), ("averaged", large.mean(axis=axes))):
                    if same_numbers(reduced, small):
                        return ": " + story.format(past=past, axes=" and ".join(map(str, axes)))
    if found.ndim == 0:
        return ": it is a single number"
    return ""


def _listed(parts: tuple[Any, ...] | list[Any]) -> str:
    """``2 things, an array of shape (3,) and a function``."""
    words = [described(part) for part in parts[:6]] + (["…"] if len(parts) > 6 else [])
    if len(words) < 2:
        return f"1 thing, {words[0]}" if words else "an empty tuple"
    return f"{len(parts)} things, {', '.join(words[:-1])} and {words[-1]}"


def _ordinal(position: int) -> str:
    names = ("first thing", "second thing", "third thing", "fourth thing")
    return names[position] if position < len(names) else f"thing number {position + 1}"
