"""Products of powers of named quantities, and numbers as one would say them: ``σ²·ε``, ``1/B``, ``½``, ``-1``.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, product
from typing import Any

import numpy as np

from numvae.arrays import Array

__all__ = ["Monomial", "fitted", "fitting", "monomials", "said"]

VULGAR = {
    Fraction(1, 2): "½",
    Fraction(1, 3): "⅓",
    Fraction(2, 3): "⅔",
    Fraction(1, 4): "¼",
    Fraction(3, 4): "¾",
}
POWERS = {1.0: "", 2.0: "²", 3.0: "³", 4.0: "⁴"}
ENOUGH = 48
SIMPLE = 1e-7
ZERO = 1e-11


@dataclass(frozen=True)
class Monomial:
    """∏ fᵢ^pᵢ   (diagnosis.5), with the names of the fᵢ and small powers pᵢ, whole or ½; empty for 1."""

    powers: tuple[tuple[str, float], ...] = ()

    def at(self, values: Mapping[str, Any], shape: tuple[int, ...]) -> Array | None:
        """Its value in this shape; None where a factor does not fit into that."""
        result = np.ones(shape)
        for name, power in self.powers:
            factor = fitted(values[name], shape)
            if factor is None:
                return None
            with np.errstate(all="ignore"):
                result = result * factor**power  # (diagnosis.5)
        return result

    def __mul__(self, other: Monomial) -> Monomial:
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, 0) + power
        return Monomial(tuple((name, power) for name, power in powers.items() if power))

    def times(self, coefficient: float) -> str:
        """``½/std``, ``-σ²·ε``, ``1/B``: with a number in front."""
        turned = [(turned_over(name), -power) if power < 0 else (name, power) for name, power in self.powers]
        together = {name: sum(power for other, power in turned if other == name) for name, _ in turned}  # M/N and N/M
        above = [raised(name, power) for name, power in together.items() if power > 0 and name]
        below = [raised(name, -power) for name, power in self.powers if power < 0 and not turned_over(name)]
        sign, number = ("-" if coefficient < 0 else ""), said(abs(coefficient))
        if len(above) == 1 and not below and not sign and number == "1":
            return plain(next((name, power) for name, power in together.items() if power > 0 and name))
        above = above if above and number == "1" else [number, *above]
        divisor = "·".join(below)
        return sign + "·".join(above) + (f"/({divisor})" if len(below) > 1 else f"/{divisor}" if below else "")

    def story(self, coefficient: float, counts: Collection[str] = (), right: Monomial | None = None) -> str:
        """What happened to something that is this times too large: ``lacks the factor σ``, ``has h where k belongs``.

        ``counts``: which of the factors are sizes.  ``right``: the right product, where it is known as one.
        """
        turned = [
            (turned_over(name), -power) if power < 0 and turned_over(name) else (name, power)
            for name, power in self.powers
        ]
        powers = turned if said(coefficient) == "1" else []
        if len(powers) == 1 and abs(powers[0][1]) == 1:
            ((name, power),) = powers
            if name in counts:
                return f"is {'multiplied' if power > 0 else 'divided'} by {name}, and should not be"
            return f"has the factor {name} once too often" if power > 0 else f"lacks the factor {name}"
        if len(powers) == 2 and sum(power for _, power in powers) == 0:
            (there, power), (missing, _) = sorted(powers, key=lambda p: -p[1])
            there_now, due = plain((there, power)), plain((missing, power))
            if right is not None and dict(right.powers).get(there, 0) < 0:
                return f"is divided by {due} where it should be by {there_now}"
            return f"has {there_now} where {due} belongs"
        return f"is off by the factor {self.times(coefficient)}"

    def __str__(self) -> str:
        return self.times(1.0)


def raised(name: str, power: float) -> str:
    """A factor's name with its power, in brackets where it is more than a name."""
    rooted = name.startswith("√(") and name.endswith(")")
    compound = any(sign in name for sign in "+-/·*^²³") or (" " in name and power != 1)
    base = f"({name})" if compound and not rooted else name
    return f"√{base}" if power == 0.5 else base + POWERS.get(power, f"^{power:g}")


def turned_over(name: str) -> str:
    """The inverse of a factor that is a quotient of two names, ``N/M`` of ``M/N``; empty for any other."""
    above, _, below = name.partition("/")
    return f"{below}/{above}" if above.isalnum() and below.isalnum() and above != "1" else ""


def plain(factor: tuple[str, float]) -> str:
    """A factor that stands alone: brackets only where there is a power to bind."""
    name, power = factor
    return name if power == 1 else raised(name, power)


def monomials(names: Sequence[str], most: int = 2, highest: int = 2) -> Iterator[Monomial]:
    """All products of at most so many factors to the powers ±1 to ±highest, and their roots; the plainest first.

    Three factors are to the powers ±1 alone.
    """
    for row in _powers(len(names), most, highest):
        yield _named(names, row)


def fitting(
    names: Sequence[str], factors: Mapping[str, Array], ratio: Array, most: int = 2, highest: int = 2
) -> Iterator[Monomial]:
    """Those of them that a ratio is a constant multiple of, as far as logarithms tell   (diagnosis.6).

    ``factors`` and ``ratio`` are flat and of one length; entries at which the ratio is 0 or not finite say nothing.
    """
    if not names:
        return
    with np.errstate(all="ignore"):
        telling = np.flatnonzero(np.isfinite(ratio) & (ratio != 0))
        telling = telling[:: len(telling) // ENOUGH + 1]  # the fit that follows looks at all of them
        logs = np.stack([np.log(np.abs(factors[name][telling])) for name in names])
        logs[~np.isfinite(logs)] = 1e9  # a factor of 0 cannot be in it
        table = _powers(len(names), most, highest)
        rest = np.log(np.abs(ratio[telling])) - table @ logs  # (diagnosis.6)
    for row in table[np.ptp(rest, axis=1) < 1e-6] if telling.size else ():
        yield _named(names, row)


@lru_cache
def _powers(count: int, most: int, highest: int) -> Array:
    """One row per product, one column per factor: its power.  The plainest rows come first."""
    powers = [p for k in range(1, highest + 1) for p in (k, -k)]
    rows = [
        [dict(zip(chosen, exponents, strict=True)).get(k, 0) for k in range(count)]
        for size in range(1, most + 1)
        for chosen in combinations(range(count), size)
        for exponents in product(powers if size < 3 else (1, -1), repeat=size)
    ]
    roots = [[power if k == root else 0 for k in range(count)] for root in range(count) for power in (0.5, -0.5)]
    table = np.array(rows + roots, dtype=np.float64).reshape(-1, count)
    return table[np.argsort(np.abs(table).sum(axis=1) + 2 * (table % 1 != 0).any(axis=1), kind="stable")]


def _named(names: Sequence[str], row: Array) -> Monomial:
    return Monomial(tuple((name, float(power)) for name, power in zip(names, row, strict=True) if power))


def fitted(factor: Any, shape: tuple[int, ...]) -> Array | None:
    """A factor with axes of length 1 put in, or taken out, so that it broadcasts to a shape; None where none do.

    Which axis is which shows in their lengths, as those are pairwise distinct.

    >>> fitted(np.ones((3, 6)), (3, 4, 6)).shape
    (3, 1, 6)
    """
    value = np.asarray(factor, dtype=np.float64)
    lengths, own = [], [length for length in value.shape if length != 1]
    for length in reversed(shape):
        lengths.append(own.pop() if own and own[-1] == length else 1)
    return None if own else value.reshape(lengths[::-1])


def said(number: float) -> str:
    """A number as a simple fraction, or one times √2, π, log 2 or log 2π, where it is one; else four digits."""
    fraction = simple(number)
    if fraction is not None:
        return spoken(fraction)
    for name, unit in (
        ("√2", math.sqrt(2)),
        ("π", math.pi),
        ("√(2π)", math.sqrt(2 * math.pi)),
        ("log 2", math.log(2)),
        ("log 2π", math.log(2 * math.pi)),
    ):
        for quotient, form in ((number / unit, "{}·{}"), (number * unit, "{}/{}")):
            fraction = simple(quotient)
            if fraction is not None and max(fraction.numerator, fraction.denominator) <= 4:
                return form.format(spoken(fraction), name).replace("1·", "", 1)
    rounded = f"{number:.4g}"
    return rounded if simple(float(rounded)) is None else f"{number:.8g}"


def simple(number: float) -> Fraction | None:
    """The fraction with a denominator up to 12 that a number is, to seven digits; None if it is none."""
    if not math.isfinite(number) or abs(number) > 1e6:
        return None
    fraction = Fraction(number).limit_denominator(12)
    return fraction if abs(number - float(fraction)) <= max(SIMPLE * abs(number), ZERO) else None


def spoken(fraction: Fraction) -> str:
    """``-½``, ``3``, ``5/12``."""
    sign = "-" if fraction < 0 else ""
    return sign + VULGAR.get(abs(fraction), str(abs(fraction)))
