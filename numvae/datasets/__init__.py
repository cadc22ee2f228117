"""Data sets: digits drawn here, MNIST, Frey faces, and files of your own."""

from numvae.datasets.binarization import BINARIZATIONS, binarize_once, fixed, fresh, grey, threshold
from numvae.datasets.catalogue import DATASETS, load, load_drawn
from numvae.datasets.dataset import Dataset, from_arrays
from numvae.datasets.drawn import DrawnDigits, draw_digits
from numvae.datasets.files import load_file
from numvae.datasets.frey import load_frey
from numvae.datasets.idx import read_idx
from numvae.datasets.mnist import load_mnist

__all__ = [
    "BINARIZATIONS",
    "DATASETS",
    "Dataset",
    "DrawnDigits",
    "binarize_once",
    "draw_digits",
    "fixed",
    "fresh",
    "from_arrays",
    "grey",
    "load",
    "load_drawn",
    "load_file",
    "load_frey",
    "load_mnist",
    "read_idx",
    "threshold",
]
