"""Data of your own: a .npy, .npz or IDX file, a folder of images, a folder of four IDX files, the Frey faces' .mat."""

from __future__ import annotations

from pathlib import Path

from numvae.datasets.dataset import Dataset, from_arrays
from numvae.datasets.frey import read_frey, split_frames
from numvae.datasets.idx import read_idx, starts_like_idx
from numvae.datasets.images import SUFFIXES, image_files, read_images
from numvae.datasets.mnist import is_mnist_like, load_mnist_like
from numvae.datasets.npy import npz_names, read_npy, read_npz
from numvae.errors import InputError
from numvae.reading import reading

READABLE = ".npy, .npz, IDX (plain or .gz), a folder of images, or a folder of four IDX files named like MNIST's"

NPZ_LAYOUTS = (
    ("train", "test", "train_labels", "test_labels"),
    ("x_train", "x_test", "y_train", "y_test"),
)
"""Names in a .npz of two parts; the labels may be missing."""


def load_file(path: str | Path, *, seed: int = 0, counts: bool = False) -> Dataset:
    """The data set in a file or folder of your own.

    - `.npy`, IDX (plain or gzipped): one array, (N, D) or (N, H, W).
    - `.npz`: one array of any name, or `train` and `test`, or `x_train` and `x_test` (with labels where you have them:
      `train_labels` and `test_labels`, `y_train` and `y_test`).
    - a folder of images of one size (needs Pillow); they become grey.
    - a folder of four IDX files named like MNIST's.
    - `frey_rawface.mat`.

    What holds one array is shuffled from `seed`, and its last tenth, at least one row, becomes the test set.
    `from_arrays` says which values are taken.  With `counts` they are counts, whole numbers from 0; of images, their
    grey values 0..255.

    Raises `InputError`, in one line, for whatever cannot be used.
    """
    path = Path(path)
    with reading(path):
        if path.is_dir():
            return _load_folder(path, seed, counts)
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        if not path.is_file():
            raise InputError(f"{path}: is neither a file nor a folder; numvae reads {READABLE}")
        idx = starts_like_idx(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return from_arrays(path.name, read_npy(path), seed=seed, counts=counts)
    if suffix == ".npz":
        return _load_npz(path, seed, counts)
    if suffix == ".mat" and counts:
        raise InputError(f"{path}: holds grey values of faces, not counts; use binarize 'photons', which makes counts")
    if suffix == ".mat":
        return split_frames(read_frey(path))
    if suffix in SUFFIXES:
        raise InputError(f"{path}: is a single image; give the folder that holds the images")
    if not idx:
        raise InputError(f"{path}: is of a kind that numvae does not read; it reads {READABLE}")
    return from_arrays(path.name, read_idx(path), seed=seed, counts=counts)


def _load_folder(folder: Path, seed: int, counts: bool) -> Dataset:
    if is_mnist_like(folder):
        return load_mnist_like(folder, counts=counts)
    if image_files(folder):
        return from_arrays(folder.name, read_images(folder), seed=seed, counts=counts)
    seen = sorted(entry.name for entry in folder.iterdir())
    raise InputError(
        f"{folder}: holds no images ({', '.join(SUFFIXES)}) and no IDX files named like MNIST's, saw {_listing(seen)}"
    )


def _load_npz(path: Path, seed: int, counts: bool) -> Dataset:
    names = npz_names(path)
    for train, test, train_labels, test_labels in NPZ_LAYOUTS:
        if {train, test} <= set(names) <= {train, test, train_labels, test_labels}:
            arrays = read_npz(path, names)
            return from_arrays(
                path.name,
                arrays[train],
                arrays[test],
                train_labels=arrays.get(train_labels),
                test_labels=arrays.get(test_labels),
                counts=counts,
            )
    if len(names) == 1:
        return from_arrays(path.name, read_npz(path, names)[names[0]], seed=seed, counts=counts)
    layouts = " or ".join(", ".join(layout) for layout in NPZ_LAYOUTS)
    raise InputError(f"{path}: must hold one array, or {layouts} (labels may be missing), saw {_listing(names)}")


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) + more) if names else "nothing"
