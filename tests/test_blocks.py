"""Blocks: all rows, in order, in near-equal parts of bounded size."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from numvae.blocks import BLOCK_ROWS, blocks


@given(rows=st.integers(1, 3000), samples=st.integers(1, 700))
def test_blocks_cut_a_batch_into_near_equal_parts_of_bounded_size(rows: int, samples: int) -> None:
    parts = list(blocks(rows, samples))
    covered = [row for part in parts for row in range(rows)[part]]
    assert covered == list(range(rows))
    sizes = [len(range(rows)[part]) for part in parts]
    assert max(sizes) * samples <= BLOCK_ROWS + samples - 1 or max(sizes) == 1
    assert len(parts) <= math.ceil(rows * samples / BLOCK_ROWS)
