"""From the values of S samples to one bound per row: their mean, or the log of the mean of their exponentials.

Derivations: ``derivations/reductions.md``.
"""

from __future__ import annotations

import math

import numpy as np

from numvae.arrays import Array, Pullback

__all__ = ["log_mean_exp", "sample_mean"]


def sample_mean(values: Array) -> tuple[Array, Pullback]:
    """(1/S) Σ_s values_s   (reductions.1).  values: (S, B), bound: (B,).

    >>> sample_mean(np.array([[1.0], [3.0]]))[0]
    array([2.])
    """
    count = len(values)

    def pullback(dbound: Array) -> tuple[Array]:
        return (np.broadcast_to(dbound / count, values.shape),)  # (reductions.2)

    return values.mean(axis=0), pullback  # (reductions.1)


def log_mean_exp(values: Array) -> tuple[Array, Pullback]:
    """log (1/S) Σ_s exp(values_s)   (reductions.3).  values: (S, B), bound: (B,).

    The pullback hands each sample its normalised importance weight.  Source: Burda et al. 2015 (IWAE).

    >>> log_mean_exp(np.log(np.array([[1.0], [3.0]])))[0]  # log 2
    array([0.69314718])
    """
    largest = values.max(axis=0)
    weights = np.exp(values - largest)
    total = weights.sum(axis=0)

    def pullback(dbound: Array) -> tuple[Array]:
        return (dbound * (weights / total),)  # (reductions.4)

    return largest + np.log(total) - math.log(len(values)), pullback  # (reductions.3)
