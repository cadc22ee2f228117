"""Streams: whatever a seed is used for, no two uses see the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from numvae.datasets import Dataset, binarize_once, draw_digits, from_arrays
from numvae.datasets.drawn import BLOCK
from numvae.randomness import USES, generator

KEYS: list[tuple[int, ...]] = [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]


def first_draws(rng: np.random.Generator) -> bytes:
    return rng.bytes(16)


def drawn_block(seed: int, block: int) -> np.random.Generator:
    """As ``draw_digits`` makes it; the test below says that it still does."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))


def streams(seed: int) -> dict[tuple[object, ...], bytes]:
    found: dict[tuple[object, ...], bytes] = {("default_rng",): first_draws(np.random.default_rng(seed))}
    found |= {("drawn", block): first_draws(drawn_block(seed, block)) for block in range(50)}
    found |= {(use, *key): first_draws(generator(seed, use, *key)) for use in USES for key in KEYS}
    return found


def test_no_two_uses_of_a_seed_share_their_first_draws() -> None:
    seeds = [0, 1, 2, 2**32, 2**32 + 1]
    drawn = [draws for seed in seeds for draws in streams(seed).values()]
    assert len(set(drawn)) == len(seeds) * len(streams(0))


def test_keys_of_one_number_would_share_the_streams_of_the_drawn_digits() -> None:
    """The negative control."""
    one_number = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(USES["noise"],)))
    assert first_draws(one_number) in streams(0).values()


def test_drawn_digits_have_the_streams_that_are_kept_clear() -> None:
    labels = draw_digits(2 * BLOCK, seed=3).labels
    for block in range(2):
        expected = drawn_block(3, block).permutation(np.arange(BLOCK) % 10)
        np.testing.assert_array_equal(labels[block * BLOCK : (block + 1) * BLOCK], expected)


def test_the_same_use_of_a_seed_is_the_same_stream() -> None:
    assert first_draws(generator(5, "order", 7)) == first_draws(generator(5, "order", 7))


def test_the_split_and_the_bits_have_streams_of_their_own() -> None:
    rows = np.linspace(0, 1, 200).reshape(100, 2)
    order = generator(4, "split").permutation(100)
    np.testing.assert_array_equal(from_arrays("ramp", rows, seed=4).test, rows[order[90:]])

    grey = Dataset("grey", np.full((1, 8), 0.5), np.full((1, 8), 0.5))
    expected = 255 * (generator(4, "bits").random((1, 8)) < 0.5)
    np.testing.assert_array_equal(binarize_once(grey, seed=4).train, expected)


def test_an_unknown_use_is_an_error() -> None:
    with pytest.raises(KeyError):
        generator(0, "lottery")
