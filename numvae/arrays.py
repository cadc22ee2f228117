"""The two types every rule is written in: an array, and the pullback a rule returns beside its value."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
"""A floating-point array: NumPy's, CuPy's, or the tests' stand-in device array."""

Pullback: TypeAlias = Callable[..., tuple[Any, ...]]
"""Takes the gradient with respect to a rule's value; returns one gradient per argument, None where none exists."""
