"""A folder of images as one array, read by Pillow where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.errors import InputError
from numvae.reading import check_promise, reading

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 2**24
"""Pixels in one image; more is a slip, or a decompression bomb."""


def image_files(folder: str | Path) -> list[Path]:
    """The images in a folder, by their suffix, sorted by name; other files and sub-folders are left alone."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def read_images(folder: str | Path) -> npt.NDArray[np.uint8]:
    """All images of a folder in grey, uint8 of shape (N, height, width), sorted by file name.

    Colours become grey by Pillow's ITU-R 601 weights, transparency is dropped, and an animation gives its first frame.

    Raises `InputError` where Pillow is missing, a file is broken or deeper than 8 bits, or the sizes differ.
    """
    try:
        from PIL import Image
    except ImportError:
        raise InputError(f"{folder}: reading images needs Pillow; install it by: pip install pillow") from None

    paths = image_files(folder)
    images: npt.NDArray[np.uint8] = np.empty((0, 0, 0), np.uint8)
    for index, path in enumerate(paths):
        with reading(path), Image.open(path) as image:
            if index == 0:
                images = _space_for(path, len(paths), image.height, image.width)
            images[index] = _grey(path, image, images.shape[1:], paths[0])
    return images


def _space_for(path: Path, count: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    if height * width > MAX_PIXELS:
        raise InputError(f"{path}: has {width}x{height} pixels, at most {MAX_PIXELS} can be read; shrink the images")
    check_promise(path.parent, count * height * width)
    return np.empty((count, height, width), np.uint8)


def _grey(path: Path, image: Any, shape: tuple[int, ...], first: Path) -> npt.NDArray[np.uint8]:
    if (image.height, image.width) != shape:
        raise InputError(
            f"{path}: has {image.width}x{image.height} pixels, but {first.name} has {shape[1]}x{shape[0]}; "
            "all images must have the same size"
        )
    if image.mode.startswith(("I", "F")):  # Pillow would clip these at 255, not scale them
        raise InputError(f"{path}: has more than 8 bits per pixel (mode {image.mode}); save it with 8 bits")
    return np.asarray(image.convert("L"))
