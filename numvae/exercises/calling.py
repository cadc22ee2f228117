"""Calls a learner's function without trusting it, and writes down how it behaves."""

from __future__ import annotations

import inspect
import linecache
import traceback
import types
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from numvae.exercises.comparing import numeric, same_numbers
from numvae.exercises.contract import Draw, Observation, Observe

__all__ = ["Account", "account", "alike", "draws_noise", "line_of", "said_by"]

LARGE = 10_000_000


@dataclass
class Account:
    """What a function did at one draw.

    ``observation``: its outputs, None where none came; then ``error`` says why, and ``theirs`` whether it was raised
    inside the function.  ``returned``: what each call gave, in order.  ``changed``: arguments that it wrote.
    ``unsteady``: outputs that a second call changes.  ``pullback_unsteady``: whether a second call of what it returned
    gives something else.  ``pullbacks``: those calls, to be made again, and what they gave.
    """

    observation: Observation | None = None
    error: Exception | None = None
    theirs: bool = False
    misuse: str = ""
    returned: list[Any] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    pullback_unsteady: bool = False
    pullbacks: list[tuple[Callable[[], Any], Any]] = field(default_factory=list)

    def overwritten(self) -> bool:
        """Whether what it returned gives something else by now, after calls of the function at other draws."""
        return not all(_steady(again, first) for again, first in self.pullbacks)


def account(function: Callable[..., Any], observe: Observe, draw: Draw) -> Account:
    """Watches one observation, and then a second one at the same draw."""
    seen = Account()
    seen.observation = _attempt(function, observe, draw, seen)
    if seen.observation is not None:
        again = _attempt(function, observe, draw, Account())
        seen.unsteady = [
            name for name, value in seen.observation.items() if again is None or not alike(value, again.get(name))
        ]
    return seen


def line_of(function: Callable[..., Any], error: BaseException) -> str:
    """Where in the learner's file it was raised: ``line 7, `y = x @ W.T` ``; empty where that cannot be told."""
    frames = traceback.extract_tb(error.__traceback__)
    code = _code(function)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not own:
        return ""
    text = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f"line {own[-1].lineno}" + (f", `{text}`" if text else "")


def said_by(error: BaseException | None) -> str:
    """An exception's message in one line, whatever it does when asked for it."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = ""
    return message[:200] or "without a message"


def draws_noise(function: Callable[..., Any]) -> bool:
    """Whether its code speaks of random numbers."""
    speaks = {"random", "default_rng", "randn", "rand", "standard_normal", "normal", "uniform"}

    def names(code: types.CodeType) -> set[str]:
        return set(code.co_names).union(*(names(c) for c in code.co_consts if isinstance(c, types.CodeType)))

    code = _code(function)
    return code is not None and bool(speaks & names(code))


def _code(function: Callable[..., Any]) -> types.CodeType | None:
    plain = inspect.unwrap(getattr(function, "func", function))
    return getattr(plain, "__code__", None) or getattr(vars(type(plain)).get("__call__"), "__code__", None)


def _attempt(function: Callable[..., Any], observe: Observe, draw: Draw, seen: Account) -> Observation | None:
    watched = _Watched(function, seen)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = observe(watched, _fresh(draw))
            return {name: _kept(value) for name, value in found.items()}
    except (Exception, SystemExit) as error:
        cause = (
            error
            if isinstance(error, Exception)
            else RuntimeError("it ends the program, and the check needs it to go on")
        )
        seen.error, seen.theirs = cause, error is watched.raised
        return None


class _Watched:
    """A function that passes its calls on, and notes what comes back and which arguments are written.

    ``outer``: for a pullback, the arguments of the call that made it, by name, which it must not write either.
    """

    def __init__(self, function: Callable[..., Any], seen: Account, outer: Mapping[str, Any] | None = None) -> None:
        self.function, self.seen, self.outer = function, seen, outer
        self.raised: BaseException | None = None

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        named = self._named(args, keywords)
        around = {**(self.outer or {}), **named}
        before = {name: _kept(value) for name, value in around.items()}
        again = partial(self._again, _fresh((args, keywords)))
        try:
            found = self.function(*args, **keywords)
            if inspect.isgenerator(found):
                self.seen.misuse = self.seen.misuse or "yield"
        except (Exception, SystemExit) as error:
            self.raised = error
            raise
        self.seen.changed += [
            name for name in around if name not in self.seen.changed and not alike(before[name], around[name])
        ]
        kept = _kept(found)
        self.seen.returned.append(kept)
        if self.outer is not None:
            self.seen.pullbacks.append((again, kept))
            self.seen.pullback_unsteady = self.seen.pullback_unsteady or not _steady(again, kept)
        return self._passed_on(found, named)

    def _named(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        """The arguments by their names; notes where the signature does not take them."""
        try:
            bound = inspect.signature(self.function).bind(*args, **keywords)
        except TypeError as error:
            where = "the pullback: " if self.outer is not None else ""
            self.seen.misuse = self.seen.misuse or f"{where}{error}"
            raise
        except ValueError:  # a built-in without a signature
            return {f"argument {k}": value for k, value in enumerate(args)} | keywords
        return dict(bound.arguments)

    def _again(self, given: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, keywords = _fresh(given)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _kept(self.function(*args, **keywords))

    def _passed_on(self, found: Any, named: Mapping[str, Any]) -> Any:
        """What the observer gets: arrays as copies, which a later call cannot change, and functions watched."""
        if isinstance(found, tuple) and type(found) is tuple:
            return tuple(self._passed_on(part, named) for part in found)
        if callable(found) and not isinstance(found, type):
            return _Inner(found, self, {**(self.outer or {}), **named})
        return _kept(found)


class _Inner(_Watched):
    """A function that the learner's function returned."""

    def __init__(self, function: Callable[..., Any], parent: _Watched, outer: Mapping[str, Any]) -> None:
        super().__init__(function, parent.seen, outer)
        self.parent = parent

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        try:
            return super().__call__(*args, **keywords)
        except (Exception, SystemExit):
            self.parent.raised = self.parent.raised or self.raised
            raise


def _steady(again: Callable[[], Any], first: Any) -> bool:
    try:
        return alike(first, again())
    except Exception:
        return False


def _fresh(value: Any) -> Any:
    """A deep copy, of what can be copied."""
    try:
        return deepcopy(value)
    except (TypeError, NotImplementedError):
        return value


def _kept(value: Any) -> Any:
    """The value as it is now: arrays are copied, also inside tuples, lists and dictionaries."""
    if isinstance(value, np.ndarray):
        return value.copy() if value.nbytes < LARGE else value
    if type(value) in (tuple, list):
        return type(value)(_kept(part) for part in value)
    if type(value) is dict:
        return {key: _kept(part) for key, part in value.items()}
    return value


def alike(first: Any, second: Any) -> bool:
    """Whether two values are the same, as far as they are made of numbers."""
    if numeric(first) and numeric(second):
        return np.shape(first) == np.shape(second) and (np.size(first) > LARGE or same_numbers(second, first))
    if type(first) is not type(second):
        return False
    if type(first) in (tuple, list):
        return len(first) == len(second) and all(map(alike, first, second))
    if type(first) is dict:
        return first.keys() == second.keys() and all(alike(part, second[key]) for key, part in first.items())
    return True
