"""Reading files that may lie: a promise is checked in Python integers before a byte of it is allocated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from numvae.errors import InputError

LIMIT = 2 * 2**30
"""Bytes that one file may hold once unpacked: 2 GiB, 2.7 million MNIST images."""

DEFLATE_RATIO = 1032
"""Deflate (gzip, zip) shrinks at most 1032 to 1 (zlib's technical notes), so a larger promise is a lie."""

CHUNK = 2**20


class Stream(Protocol):
    """Anything with ``read(size) -> bytes``: a file, a gzip file, a member of a zip file."""

    def read(self, size: int, /) -> bytes: ...


@contextmanager
def reading(source: str | Path, remedy: str = "check the file, or save it anew") -> Iterator[None]:
    """Turn whatever a parser throws at a broken file into one line that names the file.

    Parsers of zip, gzip, MATLAB and image files raise a dozen different exceptions on hostile bytes, hence `Exception`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parser's warning is either followed by its error, or harmless
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{source}: does not fit into memory; save fewer rows, or save them as uint8") from error
    except Exception as error:
        raise InputError(f"{source}: cannot be read ({one_line(error)}); {remedy}") from error


def one_line(error: BaseException) -> str:
    """The error's message on one line of at most 200 characters, or its type where it has none."""
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__


def check_promise(source: str | Path, promised: int, packed: int | None = None) -> None:
    """Refuse a header that promises more bytes than `LIMIT`, or than `packed` deflated bytes can possibly hold."""
    if promised > LIMIT:
        raise InputError(
            f"{source}: its header promises {promised} bytes, more than the {LIMIT} that numvae reads from one file; "
            "save fewer rows, or save them as uint8"
        )
    if packed is not None and promised > DEFLATE_RATIO * packed:
        raise InputError(
            f"{source}: its header promises {promised} bytes, which {packed} compressed bytes cannot hold; "
            "the file is truncated or damaged, fetch or save it anew"
        )


def check_present(source: str | Path, promised: int, present: int) -> None:
    """Refuse a header whose promise is not what is there."""
    if promised != present:
        raise InputError(
            f"{source}: its header promises {promised} bytes of values, but {present} are there; "
            "the file is truncated or damaged, fetch or save it anew"
        )


def read_at_most(stream: Stream, size: int) -> bytearray:
    """The stream's next `size` bytes, or fewer where it ends; memory grows with what arrives, never with `size`."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK, size - len(data)))):
        data += piece
    return data
