"""Where the published data sets lie: in $NUMVAE_DATA, else in the user's cache, else on mirrors, tried in order."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from numvae.errors import InputError
from numvae.reading import one_line

VARIABLE = "NUMVAE_DATA"
TIMEOUT = 30.0
"""Seconds without an answer after which a mirror is given up."""


def data_folder() -> Path | None:
    """The folder that $NUMVAE_DATA names, None where it is unset.  Raises `InputError` where it is no folder."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise InputError(f"${VARIABLE} is {value}, which is no folder; correct it or unset it")
    return folder


def cache_folder() -> Path:
    """The user's cache for numvae, such as ~/.cache/numvae; downloads go there."""
    import pooch

    return Path(pooch.os_cache("numvae"))


def find(folder: str, names: Sequence[str]) -> Path | None:
    """The first of `names` in $NUMVAE_DATA/`folder`, then in $NUMVAE_DATA itself, then in the cache's `folder`."""
    own = data_folder()
    for place in [*([own / folder, own] if own else []), cache_folder() / folder]:
        for name in names:
            if (place / name).is_file():
                return place / name
    return None


def download(folder: str, name: str, mirrors: Sequence[str], check: Callable[[Path], None]) -> Path:
    """Fetch `name` from the first mirror whose file passes `check`, into the cache's `folder`; return its path.

    A mirror is the URL of a folder, ending in a slash.  `check` raises for a file that is not the wanted one.  The file
    is fetched aside and moved into place only when it passed, so that neither a broken download nor an interruption
    leaves a partial file.

    Raises `InputError` where every mirror failed: it names each with its reason, and where to put the file by hand.
    """
    import pooch

    target = cache_folder() / folder / name
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=TIMEOUT)
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
            aside = Path(scratch) / name
            for mirror in mirrors:
                try:
                    fetch(mirror + name, str(aside), None)
                    check(aside)
                except (OSError, ValueError) as error:  # requests' errors are OSErrors, InputError is a ValueError
                    failures.append(f"{mirror} ({_reason(error).removeprefix(f'{aside}: ')})")
                else:
                    os.replace(aside, target)
                    return target
    except OSError as error:
        raise InputError(
            f"{name}: cannot be kept in {target.parent} ({one_line(error)}); free it, or make it writable"
        ) from error
    raise InputError(
        f"{name}: could not be downloaded from {', nor from '.join(failures)}; "
        f"fetch it by hand, put it into a folder {folder}/ and set {VARIABLE} to the folder that holds {folder}/"
    )


def _reason(error: OSError | ValueError) -> str:
    """Why a mirror failed, in a few words: requests' own messages run over several lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    if isinstance(error, InputError) or getattr(error, "errno", None) is not None:
        return one_line(error)
    return type(error).__name__


def has_sha256(wanted: str) -> Callable[[Path], None]:
    """A check for `download`: the file's SHA-256 must be `wanted`."""

    def check(path: Path) -> None:
        import pooch

        found = pooch.file_hash(str(path), alg="sha256")
        if found != wanted:
            raise InputError(f"wrong checksum: SHA-256 {found}, not {wanted}")

    return check
