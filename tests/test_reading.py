"""What every reader leans on."""

from __future__ import annotations

import io

import pytest

from numvae.errors import InputError
from numvae.reading import LIMIT, check_promise, read_at_most, reading


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("first line\n  second   line"), "cannot be read (first line second line)"),
        (EOFError(), "cannot be read (EOFError)"),
        (RuntimeError("long " * 1000), "cannot be read (long"),
        (MemoryError(), "does not fit into memory"),
        (InputError("said already"), "said already"),
    ],
)
def test_whatever_a_parser_raises_becomes_one_short_line(error, words):
    with pytest.raises(InputError) as caught, reading("values.npz"):
        raise error
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert len(text) < 400


def test_an_interruption_is_no_broken_file():
    with pytest.raises(KeyboardInterrupt), reading("values.npz"):
        raise KeyboardInterrupt


def test_promises_are_kept_within_what_can_be():
    check_promise("values", LIMIT)
    check_promise("values", 103_200, packed=100)
    for promised, packed in ((LIMIT + 1, None), (103_201, 100), (2**200, None)):
        with pytest.raises(InputError, match=f"promises {promised} bytes"):
            check_promise("values", promised, packed)


def test_a_stream_that_ends_early_gives_what_it_has():
    assert read_at_most(io.BytesIO(b"abc"), 2) == b"ab"
    assert read_at_most(io.BytesIO(b"abc"), 2**60) == b"abc"
