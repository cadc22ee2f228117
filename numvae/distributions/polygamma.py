"""The second and third derivatives of log Γ, which SciPy has as Python functions, that a device does not know.

Derivations: ``derivations/gamma.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array

__all__ = ["tetragamma", "trigamma"]

TERMS = 12  # from 12 on the asymptotic series has all digits


def trigamma(x: Array) -> Array:
    """ψ'(x) = Σ_k<TERMS (x + k)^-2 + ψ'(x + TERMS), the last by its asymptotic series   (gamma.13).

    >>> trigamma(np.array([1.0])) * 6 / np.pi**2
    array([1.])
    """
    total = np.zeros_like(x)
    for _ in range(TERMS):
        total += 1 / (x * x)
        x = x + 1
    inverse = 1 / x
    square = inverse * inverse
    tail = 1 / 6 - square * (1 / 30 - square * (1 / 42 - square * (1 / 30 - square * 5 / 66)))
    total += inverse + square / 2 + square * inverse * tail  # (gamma.13)
    return total


def tetragamma(x: Array) -> Array:
    """ψ''(x), (gamma.13) differentiated term by term.

    >>> tetragamma(np.array([1.0])).round(6)  # -2 ζ(3)
    array([-2.404114])
    """
    total = np.zeros_like(x)
    for _ in range(TERMS):
        total -= 2 / (x * x * x)
        x = x + 1
    inverse = 1 / x
    square = inverse * inverse
    tail = 1 / 2 - square * (1 / 6 - square * (1 / 6 - square * (3 / 10 - square * 5 / 6)))
    total -= square * (1 + inverse + square * tail)
    return total
