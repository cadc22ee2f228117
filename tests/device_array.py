"""A stand-in device array: NumPy underneath, CuPy's refusals on top, and a count of what would cost time on a GPU.

It lets every rule prove on any machine that it would run on CuPy: that it never converts to the host unasked, never
mixes host and device arrays, calls only functions CuPy has, and stays within a budget of launches and waits.

    with counting() as counts:
        value, pullback = rule(*map(asarray, arguments))
    assert counts.syncs == 0

Where CuPy and the stand-in differ, the stand-in is the stricter one: an index out of bounds is an error here and wraps
around there.  Read off CuPy 14.2: `cupy/_core/core.pyx` (`__array_ufunc__`, `__array_function__`, `get`),
`cupy/_core/_routines_indexing.pyx`, and the names and signatures in `cupy` and `cupyx.scipy.special`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


UFUNCS_MISSING = _names("isnat matvec spacing vecdot vecmat")
"""NumPy's ufuncs that CuPy has not."""

SPECIAL_UFUNCS = _names(
    """beta betainc betaincinv betaln binom boxcox cbrt entr erf erfc erfcinv erfcx erfinv exp1 expi expit expn exprel
    gamma gammainc gammaincc gammainccinv gammaincinv gammaln gammasgn huber i0 i0e i1 i1e j0 j1 k0 k0e k1 k1e kl_div
    log_expit log_ndtr loggamma logit ndtr ndtri poch pseudo_huber psi rel_entr rgamma xlog1py xlogy"""
)
"""scipy.special's ufuncs that cupyx.scipy.special has, found by name: what a VAE may want."""

UFUNC_METHODS = {
    "__call__": None,
    "reduce": _names("add multiply maximum minimum"),
    "at": _names("add subtract maximum minimum"),
    "outer": None,
}
"""Which methods CuPy's ufuncs have; None: all of them have it."""

VIEWS = _names(
    """array_split atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to diagonal dsplit expand_dims flip
    fliplr flipud hsplit moveaxis ravel real reshape rollaxis rot90 split squeeze swapaxes transpose vsplit"""
)
"""Functions that launch nothing as long as their result shares the memory of their argument."""

ALLOCATIONS = _names("empty_like")
"""Functions that launch nothing."""

JOINS = _names("column_stack concatenate hstack stack vstack")
"""Functions of a sequence that must hold nothing but device arrays."""

KERNELS = _names(
    """all allclose amax amin any append argmax argmin argsort array_equal around average bincount clip copy copyto
    count_nonzero cov cross cumprod cumsum diag diff digitize dot einsum fill_diagonal full_like histogram inner interp
    isclose kron linspace logspace max mean median min nan_to_num nanmax nanmean nanmin nansum norm ones_like outer pad
    percentile prod ptp quantile repeat roll round searchsorted sort std sum take take_along_axis tensordot tile trace
    tri tril triu vander var vdot where zeros_like"""
)
"""Functions that launch at least one kernel; count them as one."""

SYNCHRONISING = _names("argwhere compress delete extract flatnonzero nonzero unique")
"""Functions whose result's shape depends on values, so that the host has to wait for them."""

QUESTIONS = _names("can_cast iscomplexobj isrealobj may_share_memory ndim result_type shape size")
"""Functions the host answers by itself, with an ordinary Python value."""

FUNCTIONS = VIEWS | ALLOCATIONS | JOINS | KERNELS | SYNCHRONISING | QUESTIONS
KEYWORDS_MISSING = _names("initial like subok where")
"""Keyword arguments of NumPy's functions that CuPy's have not (but copyto has `where`)."""

Scalar = int | float | complex | np.generic


@dataclass
class Counts:
    """What happened on the device, as numbers: kernels launched, arrays moved, and times the host had to wait."""

    launches: int = 0
    to_device: int = 0
    to_host: int = 0
    syncs: int = 0


_counters: list[Counts] = []


@contextmanager
def counting() -> Iterator[Counts]:
    """Count what happens inside the `with`; counts nest."""
    counts = Counts()
    _counters.append(counts)
    try:
        yield counts
    finally:
        _counters[:] = [counter for counter in _counters if counter is not counts]


def _count(**events: int) -> None:
    for counts in _counters:
        for name, times in events.items():
            setattr(counts, name, getattr(counts, name) + times)


def asarray(array: Any, dtype: Any = None) -> Any:
    """Copy to the device, as cupy.asarray: a device array is returned as it is."""
    if isinstance(array, DeviceArray):
        return array if dtype is None else array.astype(dtype, copy=False)
    _count(to_device=1)
    return DeviceArray(np.array(array, dtype=dtype))


def asnumpy(array: Any) -> np.ndarray:
    """Copy to the host, as cupy.asnumpy."""
    return array.get() if isinstance(array, DeviceArray) else np.asarray(array)


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """A NumPy array that behaves as if it were on a device.  Views of it write through, as CuPy's do."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {array.dtype}")
        self._array = array

    # What NumPy calls.

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        name = ufunc.__name__
        known = name not in UFUNCS_MISSING if getattr(np, name, None) is ufunc else name in SPECIAL_UFUNCS
        if not known or method not in UFUNC_METHODS or name not in (UFUNC_METHODS[method] or {name}):
            raise TypeError(f"{name}.{method} does not exist on the device")
        for value in inputs:
            _require_operand(value)
        return _run(getattr(ufunc, method), inputs, keywords, launches=1)

    def __array_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        name = function.__name__
        if name not in FUNCTIONS:
            raise TypeError(f"np.{name} is not among the functions known to exist on the device")
        if name in QUESTIONS:
            return function(*_host(arguments), **_host(keywords))
        if name in JOINS and not all(isinstance(piece, DeviceArray) for piece in arguments[0]):
            raise TypeError("Only device arrays can be joined")
        if name in VIEWS:
            return _view(function, arguments, keywords)
        if name == "copyto":  # CuPy's has `where`
            _require_device(arguments[0])
            _count(launches=1)
            return function(*_host(arguments), **_host(keywords))
        if name in SYNCHRONISING:
            _count(to_host=1, syncs=1)
        return _run(function, arguments, keywords, launches=int(name not in ALLOCATIONS))

    # To the host: each of these waits for the device.

    def get(self) -> np.ndarray:
        """Copy to the host."""
        _count(to_host=1, syncs=1)
        return self._array.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, specification: str) -> str:
        return format(self.get(), specification)

    # Layout: known to the host.

    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    dtype = property(lambda self: self._array.dtype)
    nbytes = property(lambda self: self._array.nbytes)
    itemsize = property(lambda self: self._array.itemsize)
    strides = property(lambda self: self._array.strides)
    T = property(lambda self: DeviceArray(self._array.T))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._array)

    def __iter__(self) -> Iterator[DeviceArray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[row] for row in range(len(self)))

    # Indexing: slices and whole numbers make views; an array of numbers a kernel; a mask makes the host wait.

    def __getitem__(self, index: Any) -> DeviceArray:
        parts = _index(index)
        picked = self._array[parts]
        masks = [part for part in parts if isinstance(part, np.ndarray) and part.dtype == bool]
        _count(launches=int(not np.may_share_memory(picked, self._array)), to_host=len(masks), syncs=len(masks))
        return DeviceArray(picked)

    def __setitem__(self, index: Any, value: Any) -> None:
        _require_operand(value)
        _count(launches=1)
        self._array[_index(index)] = _host(value)

    def __imatmul__(self, _: Any) -> DeviceArray:
        raise TypeError("x @= y does not write in place on the device; write x = x @ y")

    def __deepcopy__(self, _: Any) -> DeviceArray:
        return DeviceArray(self._array.copy())

    # Methods.

    def astype(self, dtype: Any, order: Literal["K", "C", "F"] = "K", *, copy: bool = True) -> DeviceArray:
        if not copy and self.dtype == dtype:
            return self
        _count(launches=1)
        return DeviceArray(self._array.astype(dtype, order=order))

    def fill(self, value: Any) -> None:
        self[...] = value

    def reshape(self, *shape: Any) -> Any:
        return _view(np.ndarray.reshape, (self, *shape), {})

    def transpose(self, *axes: Any) -> Any:
        return _view(np.ndarray.transpose, (self, *axes), {})

    def flatten(self) -> Any:
        return np.ravel(np.copy(self))


METHODS = _names(
    """all any argmax argmin argsort clip copy cumprod cumsum diagonal dot max mean min nonzero prod ravel repeat round
    squeeze std sum swapaxes take trace var"""
)
"""Methods that are the function of the same name."""


def _method(name: str) -> Any:
    function = getattr(np, name)

    def method(self: DeviceArray, *arguments: Any, **keywords: Any) -> Any:
        return self.__array_function__(function, None, (self, *arguments), keywords)

    method.__name__ = name
    return method


for _name in METHODS:
    setattr(DeviceArray, _name, _method(_name))


def fake_cupy(gpus: int = 1) -> ModuleType:
    """A module with the few names of cupy that numvae/devices.py calls, to be put into sys.modules."""
    module = ModuleType("cupy")
    vars(module).update(ndarray=DeviceArray, asarray=asarray, asnumpy=asnumpy, is_available=lambda: gpus > 0)
    return module


def _run(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], launches: int) -> Any:
    """Call a function of NumPy on the arrays underneath; floating-point trouble is silent, as on a device."""
    missing = KEYWORDS_MISSING.intersection(keywords)
    if missing:
        raise TypeError(f"the device's {function} has no keyword argument {', '.join(sorted(missing))}")
    out = keywords.get("out")
    if out is not None:
        out = out[0] if isinstance(out, tuple) else out
        _require_device(out)
    _count(launches=launches)
    with np.errstate(all="ignore"):
        result = function(*_host(arguments), **_host(keywords))
    return _device(result) if out is None else out


def _view(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Call a function that makes views; it is a kernel only where it had to copy."""
    result = function(*_host(arguments), **_host(keywords))
    first = result[0] if isinstance(result, list | tuple) else result
    _count(launches=int(not np.may_share_memory(first, _host(arguments[0])) and first.size > 0))
    return _device(result)


def _require_operand(value: Any) -> None:
    if not isinstance(value, DeviceArray | Scalar):
        raise TypeError(f"Unsupported type {type(value)}: with device arrays go device arrays and single numbers")


def _require_device(value: Any) -> None:
    if not isinstance(value, DeviceArray):
        raise TypeError(f"Unsupported type {type(value)}: the result is on the device, `out` must be there too")


def _host(value: Any) -> Any:
    """The arrays underneath, with every array that is not on the device refused."""
    if isinstance(value, DeviceArray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: a host array among device arrays")
    if isinstance(value, tuple | list):
        return type(value)(_host(item) for item in value)
    if isinstance(value, dict):
        return {key: _host(item) for key, item in value.items()}
    return value


def _device(value: Any) -> Any:
    """Results are device arrays, numbers too: a sum is a 0-d array, not a float."""
    if isinstance(value, tuple | list):
        return type(value)(_device(item) for item in value)
    if isinstance(value, np.ndarray | np.generic | bool):
        return DeviceArray(np.asarray(value))
    return value


def _index(index: Any) -> tuple[Any, ...]:
    """An index for the array underneath.  CuPy moves host arrays and lists in an index to the device by itself."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for place, part in enumerate(parts):
        if isinstance(part, np.ndarray | list):
            _count(to_device=1)
            parts[place] = np.asarray(part) if len(part) else np.zeros(0, int)
        elif isinstance(part, DeviceArray):
            parts[place] = part._array
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)  # then even x[0, 0] is a view
    return tuple(parts)
