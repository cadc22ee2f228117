"""How a rule must behave, whatever it computes: the contract of ``value, pullback = rule(*arguments)``, tried out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.errors import InputError

__all__ = ["Observed", "Subject", "gradient_problem", "observe"]

SAME = 1e-12
LINEAR = 1e-10


@dataclass(frozen=True)
class Subject:
    """The rule under test at one point: float64 copies of its arguments, and their names.

    ``guarded``: the rule gets its arguments read-only.  A rule that fails on those gets fresh copies instead.
    """

    rule: Callable[..., Any]
    originals: tuple[Any, ...]
    arguments: tuple[Any, ...]
    names: tuple[str, ...]
    guarded: bool = True

    @classmethod
    def of(cls, rule: Callable[..., Any], arguments: Sequence[Any], names: Sequence[str] | None) -> Subject:
        """Copies the arguments and, without ``names``, takes their names from the rule's signature."""
        if names is not None and len(names) != len(arguments):
            raise InputError(f"names must name each of the {len(arguments)} arguments, got {len(names)}: {list(names)}")
        if not any(_is_floating(a) for a in arguments):
            kinds = ", ".join(str(getattr(a, "dtype", type(a).__name__)) for a in arguments)
            raise InputError(f"an argument must be a float or an array of floats to be differentiated, got {kinds}")
        copies = tuple(np.array(a, dtype=np.float64)[()] if _is_floating(a) else a for a in arguments)
        return cls(rule, tuple(arguments), copies, tuple(names or _argument_names(rule, len(arguments))))

    @property
    def rule_name(self) -> str:
        """The rule's name, without the functions it is defined in."""
        function = getattr(self.rule, "func", self.rule)
        return str(getattr(function, "__qualname__", type(function).__name__)).rpartition("<locals>.")[2]

    @property
    def differentiable(self) -> list[int]:
        """Positions of the arguments that can have a gradient: floating-point arrays and floats."""
        return [position for position, argument in enumerate(self.originals) if _is_floating(argument)]

    def call(self, arguments: Sequence[Any]) -> tuple[tuple[Any, ...], Callable[..., Any]]:
        """The rule's values, always as a tuple, and its pullback."""
        result = self.rule(*(_read_only(a) if self.guarded else _copy(a) for a in arguments))
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise InputError(f"{self.rule_name} must return (value, pullback), got {type(result).__name__}")
        value, pullback = result
        values = value if isinstance(value, tuple) else (value,)
        for part in values:
            if not _is_numeric(part):
                raise InputError(
                    f"the value of {self.rule_name} must be an array of numbers, got {type(part).__name__}"
                )
        return values, pullback

    def moved(self, position: int, argument: Any) -> tuple[Any, ...]:
        """The arguments with one of them replaced."""
        return tuple(argument if k == position else a for k, a in enumerate(self.arguments))


@dataclass(frozen=True)
class Observed:
    """What was seen of a rule at its point.

    ``values`` and ``cotangent`` are flat; ``gradients`` is empty where the problems make measuring pointless.
    """

    subject: Subject
    values: Array
    cotangent: Array
    gradients: tuple[Any, ...]
    problems: tuple[str, ...]


def observe(subject: Subject, rng: np.random.Generator) -> Observed:
    """Calls the rule and its pullback a few times and notes what breaks the contract."""
    values, _ = replace(subject, guarded=False).call(subject.arguments)
    cotangents, others = _like(values, rng), _like(values, rng)
    problems: list[str] = []
    if not _accepts_read_only(subject, cotangents):
        subject = replace(subject, guarded=False)
        problems += _written(subject, cotangents)

    again, pullback = subject.call(subject.arguments)
    problems += _value_problems(values, again)
    found = pullback(*map(_copy, cotangents))
    answer_problem = _answer_problem(found, subject)
    gradients: tuple[Any, ...] = ()
    if answer_problem:
        problems.append(answer_problem)
    elif all(
        np.isfinite(value).all() and _same(value, repeated) for value, repeated in zip(values, again, strict=True)
    ):
        gradients = tuple(None if gradient is None else np.array(gradient) for gradient in found)
        problems += _repetition_problems(subject, pullback, cotangents, gradients)
        problems += _linearity_problems(subject, pullback, cotangents, others, gradients)
        problems += _precision_problems(subject, cotangents)
    return Observed(subject, _flat(values), _flat(cotangents), gradients, tuple(problems))


def gradient_problem(name: str, point: Any, gradient: Any) -> str:
    """What is wrong with a gradient before its numbers are even compared; empty if nothing is."""
    gradient = np.asarray(gradient)
    shape = np.shape(point)
    if gradient.shape != shape:
        line = f"d{name} has shape {gradient.shape}, but {name} has shape {shape}"
        if gradient.shape == shape[::-1]:
            return f"{line}: it is transposed"
        if gradient.ndim > len(shape) or any(n == 1 for n in shape):
            return f"{line}: sum it over the axes along which {name} was broadcast"
        return line
    if gradient.dtype != np.float64:
        return f"d{name} is {gradient.dtype} for float64 arguments"
    return f"d{name} is {_not_finite(gradient)}" if not np.isfinite(gradient).all() else ""


def _is_floating(argument: Any) -> bool:
    return isinstance(argument, float | np.floating) or (
        isinstance(argument, np.ndarray) and np.issubdtype(argument.dtype, np.floating)
    )


def _is_numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # a ragged list
        return False


def _argument_names(rule: Callable[..., Any], count: int) -> Iterator[str]:
    try:
        parameters = list(inspect.signature(rule).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "argument")
    return iter((named + [f"{rest}{k}" for k in range(count)])[:count])


def _read_only(argument: Any) -> Any:
    if not isinstance(argument, np.ndarray):
        return argument
    view = argument.view()
    view.flags.writeable = False
    return view


def _copy(argument: Any) -> Any:
    return np.array(argument) if isinstance(argument, np.ndarray) else argument


def _flat(values: Sequence[Any]) -> Array:
    return np.concatenate([np.ravel(np.asarray(value, dtype=np.float64)) for value in values])


def _like(values: Sequence[Any], rng: np.random.Generator) -> tuple[Any, ...]:
    return tuple(rng.standard_normal(np.shape(value)) for value in values)


def _same(first: Any, second: Any, tolerance: float = SAME) -> bool:
    if first is None or second is None:
        return first is second
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        return False
    return bool(np.allclose(first, second, rtol=tolerance, atol=tolerance * _size(first), equal_nan=True))


def _size(array: Any) -> float:
    array = np.asarray(array, dtype=np.float64)
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def _not_finite(array: Array) -> str:
    where = np.argwhere(~np.isfinite(array))
    first = tuple(int(i) for i in where[0])
    kind = "NaN" if np.isnan(array[first]) else "infinite"
    return f"{kind} at {list(first)}" + (f" and {len(where) - 1} more places" if len(where) > 1 else "")


def _accepts_read_only(subject: Subject, cotangents: Sequence[Any]) -> bool:
    try:
        _, pullback = subject.call(subject.arguments)
        pullback(*map(_read_only, cotangents))
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        return False
    return True


def _written(subject: Subject, cotangents: Sequence[Any]) -> list[str]:
    """Names the arguments and cotangents that the rule or its pullback writes."""
    arguments, seeds = [_copy(a) for a in subject.arguments], [_copy(c) for c in cotangents]
    _, pullback = subject.rule(*arguments)
    pullback(*seeds)
    written = [name for name, a, b in zip(subject.names, arguments, subject.arguments, strict=True) if not _equal(a, b)]
    if any(not _equal(a, b) for a, b in zip(seeds, cotangents, strict=True)):
        written.append("the cotangent")
    return [f"{name} is changed in place: rules write none of their arguments" for name in written]


def _equal(a: Any, b: Any) -> bool:
    return not isinstance(a, np.ndarray) or bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _value_problems(values: Sequence[Any], again: Sequence[Any]) -> list[str]:
    problems = []
    for value, repeated in zip(map(np.asarray, values), again, strict=True):
        if not np.isfinite(value).all():
            problems.append(f"the value is {_not_finite(value)}")
        elif not _same(value, repeated):
            problems.append(
                "two calls with the same arguments gave different values: noise is an argument, never drawn inside"
            )
        if value.dtype != np.float64:
            problems.append(f"the value is {value.dtype} for float64 arguments")
    return problems


def _answer_problem(found: Any, subject: Subject) -> str:
    count = len(subject.arguments)
    if not isinstance(found, tuple):
        return f"the pullback must return a tuple with one gradient per argument ({count}), got {type(found).__name__}"
    if len(found) != count:
        return f"the pullback must return one gradient for each of the {count} arguments, got {len(found)}"
    for name, gradient in zip(subject.names, found, strict=True):
        if gradient is not None and not _is_numeric(gradient):
            return f"d{name} must be an array of numbers, got {type(gradient).__name__}"
    return ""


def _repetition_problems(
    subject: Subject, pullback: Callable[..., Any], cotangents: Sequence[Any], gradients: Sequence[Any]
) -> list[str]:
    repeated = pullback(*map(_copy, cotangents))
    changed = [name for name, a, b in zip(subject.names, gradients, repeated, strict=True) if not _same(a, b)]
    if changed:
        return [f"d{changed[0]} differs when the pullback is called twice: it changes, or draws, what it computes from"]
    try:
        with np.errstate(all="ignore"):
            subject.call([0.9 * a if k in subject.differentiable else a for k, a in enumerate(subject.arguments)])
    except (ValueError, ArithmeticError):  # that point is out of the rule's domain
        return []
    repeated = pullback(*map(_copy, cotangents))
    changed = [name for name, a, b in zip(subject.names, gradients, repeated, strict=True) if not _same(a, b)]
    return [
        f"d{name} differs after another call of the rule, which overwrites what its pullback reads" for name in changed
    ]


def _linearity_problems(
    subject: Subject,
    pullback: Callable[..., Any],
    cotangents: Sequence[Any],
    others: Sequence[Any],
    gradients: Sequence[Any],
) -> list[str]:
    """p(c' - 1½ c) = p(c') - 1½ p(c)   (checks.7), for every gradient."""
    mixed = pullback(*(other - 1.5 * c for c, other in zip(cotangents, others, strict=True)))
    rest = pullback(*map(_copy, others))
    problems = []
    for name, first, second, both in zip(subject.names, gradients, rest, mixed, strict=True):
        if first is None or np.shape(first) != np.shape(second) or not np.isfinite(first).all():
            continue
        error = _size(both - (second - 1.5 * first))  # (checks.7)
        if error > LINEAR * (_size(first) + _size(second)):
            ignored = "it is the same for every cotangent" if _same(first, second) else f"off by {error:.2g}"
            problems.append(f"d{name} is not linear in the cotangent: {ignored}")
    return problems


def _precision_problems(subject: Subject, cotangents: Sequence[Any]) -> list[str]:
    """A rule returns the dtype it was given; asked where all its floating-point arrays share one below float64."""
    arrays = [a for a in subject.originals if isinstance(a, np.ndarray) and _is_floating(a)]
    dtypes = {a.dtype for a in arrays}
    if len(dtypes) != 1 or dtypes == {np.dtype(np.float64)}:
        return []
    (dtype,) = dtypes
    with np.errstate(all="ignore"):
        values, pullback = subject.call(subject.originals)
        found = pullback(*(np.array(c, dtype=dtype)[()] for c in cotangents))
    results = [("the value", value) for value in values]
    results += [(f"d{name}", gradient) for name, gradient in zip(subject.names, found, strict=True)]
    wrong = [
        f"{name} is {np.asarray(a).dtype}" for name, a in results if a is not None and np.asarray(a).dtype != dtype
    ]
    return [f"{', '.join(wrong)} for {dtype} arguments: a float64 constant promotes it"] if wrong else []
