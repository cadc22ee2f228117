"""Batches cut into blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator

__all__ = ["blocks"]

BLOCK_ROWS = 334
"""Rows times samples taken through a model at once: few enough for fresh arrays in cache, enough for fast products."""


def blocks(rows: int, samples: int) -> Iterator[slice]:
    """Cut a batch into equal parts of about ``BLOCK_ROWS`` rows times samples, and of one row at least.

    >>> [(part.start, part.stop) for part in blocks(500, 1)]
    [(0, 250), (250, 500)]
    """
    count = math.ceil(rows * samples / BLOCK_ROWS)
    size = math.ceil(rows / count)
    return (slice(begin, min(begin + size, rows)) for begin in range(0, rows, size))
