"""Where arrays live: the only file that knows CuPy.

Formulas say `np.` and create by prototype, so they run wherever their arguments are; moving the arguments is all there
is to training on a GPU.  Importing this module does not import CuPy, which takes seconds: that waits until a GPU is
asked for.

Noise is always drawn on the host, by a numpy.random.Generator, and moved: the same seed then gives the same noise on
every device, runs can be compared number by number, and a checkpoint holds one generator.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from numvae.errors import InputError

Device: TypeAlias = Literal["cpu", "cuda"]
"""Where arrays can live: in the computer's own memory, or in that of an NVIDIA GPU by way of CuPy."""


def available() -> tuple[Device, ...]:
    """The devices this machine can compute on.

    >>> "cpu" in available()
    True
    """
    try:
        _cupy()
    except InputError:
        return ("cpu",)
    return ("cpu", "cuda")


def to_device(array: Any, device: Device) -> Any:
    """The same numbers on `device`, with the same shape and dtype; an array that is there already is returned as it is.

    Raises InputError for a device that is unknown, or not to be had here.

    >>> to_device(np.ones(2), "cpu")
    array([1., 1.])
    """
    if device == "cpu":
        return to_host(array)
    if device == "cuda":
        return _cupy().asarray(array)
    raise InputError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")


def to_host(array: Any) -> Any:
    """The same numbers as a NumPy array: a NumPy array is returned as it is, anything with a `get` method is fetched.

    Fetching waits for the device.  Once per report is right, once per step is slow.

    >>> to_host(np.ones(2))
    array([1., 1.])
    """
    return array.get() if hasattr(array, "get") else np.asarray(array)


def _cupy() -> ModuleType:
    """CuPy, once it is known to work."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as problem:
        raise InputError(
            f'device "cuda" needs CuPy, which cannot be imported ({problem}); install the one for your CUDA version: '
            "pip install numvae[gpu-cuda13] or pip install numvae[gpu-cuda12]"
        ) from problem
    if not cupy.is_available():
        raise InputError(
            'device "cuda" needs an NVIDIA GPU, and CuPy sees none; look at nvidia-smi, choose the CuPy for its CUDA '
            'version (numvae[gpu-cuda13] or numvae[gpu-cuda12]), or use device "cpu"'
        )
    return cupy
