"""The stand-in device array refuses what CuPy refuses, counts what costs time, and computes what NumPy computes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from tests import device_array
from tests.device_array import FUNCTIONS, SPECIAL_UFUNCS, UFUNCS_MISSING, DeviceArray, asarray, asnumpy, counting

HOST = np.arange(6.0).reshape(2, 3)


def device() -> Any:
    return asarray(HOST)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "conversion to a host array": np.asarray,
    "a host array of device arrays": lambda x: np.array([x, x]),
    "device plus host": lambda x: x + HOST,
    "host plus device": lambda x: HOST + x,
    "host array updated by a device array": lambda x: np.add(HOST, 1.0, out=HOST.copy()).__iadd__(x),
    "device array updated by a host array": lambda x: x.__iadd__(HOST),
    "device plus a host array of no axes": lambda x: x + np.array(1.0),
    "device plus a list": lambda x: np.add(x, [1.0, 2.0, 3.0]),
    "product with a host array": lambda x: x @ HOST.T,
    "host out": lambda x: np.exp(x, out=HOST.copy()),
    "host out of a function": lambda x: np.sum(x, axis=0, out=np.zeros(3)),
    "join of host and device": lambda x: np.concatenate([x, HOST]),
    "join with a number": lambda x: np.stack([x[0, 0], np.float64(1.0)]),
    "choice between host and device": lambda x: np.where(x > 1, x, HOST),
    "host assigned to device": lambda x: x.__setitem__(0, np.ones(3)),
    "device copied into host": lambda x: np.copyto(HOST.copy(), x),
    "reduction with where": lambda x: np.sum(x, where=x > 1),
    "reduction with initial": lambda x: np.max(x, initial=0.0),
    "ufunc with where": lambda x: np.exp(x, where=x > 1),
    "ufunc CuPy has not": np.spacing,
    "function CuPy has not": lambda x: np.insert(x, 0, 1.0),
    "scipy.special ufunc CuPy has not": lambda x: special.owens_t(x, 1.0),
    "ufunc method CuPy has not": np.hypot.reduce,
    "matrix product in place": lambda x: x.__imatmul__(x),
    "index of a list": lambda x: [1, 2][x[0, 0]],
    "dtype object": lambda x: asarray([x, None]),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED.keys())
def test_what_cupy_refuses_is_refused(call: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        call(device())


COMPUTED: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda x: 2 * x + np.float32(1.5) - True,
    "operators": lambda x: -(x**2) / (1 + x) @ x.T,
    "comparison": lambda x: (x > 2) & ~(x == 4),
    "ufunc": lambda x: np.exp(-x) + np.log1p(x) + np.tanh(x),
    "scipy.special": lambda x: special.gammaln(x + 1) + special.expit(x) + special.digamma(x + 1),
    "sums": lambda x: x.sum() + x.mean(axis=0).max() + np.min(x),
    "kept axes": lambda x: x - x.max(axis=-1, keepdims=True),
    "halves": lambda x: np.split(x, 3, axis=-1)[1],
    "joined": lambda x: np.concatenate([x, 2 * x], axis=-1),
    "stacked": lambda x: np.stack([x, x[:, ::-1]]),
    "chosen": lambda x: np.where(x > 2, x, 0.0),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "indexed": lambda x: x[1, [0, 2]],
    "masked": lambda x: x[x > 2],
    "reshaped": lambda x: x.reshape(3, 2).T.reshape(-1),
    "broadcast": lambda x: np.broadcast_to(x[:, None], (2, 4, 3)),
    "like": lambda x: np.zeros_like(x) + np.full_like(x, 2.0) + np.ones_like(x),
    "norm": np.linalg.norm,
    "clip": lambda x: np.clip(x, 1.0, 4.0),
    "cast": lambda x: x.astype(np.float32),
    "any": lambda x: np.isfinite(x).all() & (x > 3).any(),
    "rows": lambda x: sum(row.sum() for row in x),
    "reduce": lambda x: np.add.reduce(x, axis=0),
    "outer": lambda x: np.multiply.outer(x[0], x[1]),
    "method": lambda x: x.ravel().take(np.argmax(x)),
}


@pytest.mark.parametrize("call", COMPUTED.values(), ids=COMPUTED.keys())
def test_values_and_dtypes_are_those_of_numpy(call: Callable[[Any], Any]) -> None:
    expected, computed = call(HOST), call(device())
    assert isinstance(computed, DeviceArray)
    assert computed.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(asnumpy(computed), expected)


def test_float32_stays_float32_beside_python_numbers() -> None:
    x = asarray(HOST, np.float32)
    assert (2.0 * np.exp(x) + math.log(2)).dtype == np.float32


def test_out_and_in_place_write_the_array_and_return_it() -> None:
    x, y = device(), device()
    assert np.exp(x, out=y) is y
    assert np.clip(y, 0.0, 5.0, out=y) is y
    same = y
    y += x
    y *= 2.0
    assert same is y
    np.testing.assert_array_equal(y.get(), 2 * (np.clip(np.exp(HOST), 0, 5) + HOST))


def test_slices_reshapes_and_splits_write_through() -> None:
    x = device()
    x[0] *= 10.0
    x.reshape(-1)[5:] = 7.0
    np.split(x, 3, axis=1)[1][...] = -1.0
    x[1, 0] += 0.5
    np.testing.assert_array_equal(x.get(), [[0, -1, 20], [3.5, -1, 7]])


def test_copies_do_not_write_through() -> None:
    x = device()
    for other in (x.copy(), copy.deepcopy(x), x.flatten(), x.astype(float), x[[0, 1]], asarray(HOST)):
        other[...] = 9.0
    np.testing.assert_array_equal(x.get(), HOST)


def test_masked_assignment_and_scattered_addition() -> None:
    x = device()
    with counting() as counts:
        x[x > 3] = 0.0
    assert counts.syncs == 0
    np.add.at(x, asarray([1, 1]), 1.0)
    np.testing.assert_array_equal(x.get(), [[0, 1, 2], [5, 2, 2]])
    with pytest.raises(TypeError):  # CuPy takes one array of rows, no tuple
        np.add.at(x, (asarray([0]), asarray([1])), 1.0)


COSTS: dict[str, tuple[Callable[[Any], Any], dict[str, int]]] = {
    "a ufunc is a launch": (np.exp, {"launches": 1}),
    "two operators are two": (lambda x: 2 * x + 1, {"launches": 2}),
    "a sum stays on the device": (lambda x: x.sum(), {"launches": 1}),
    "views are free": (lambda x: (x[0], x.T, x.reshape(-1), np.split(x, 3, 1), x[:, None], x[0, 0]), {}),
    "shape and dtype are free": (lambda x: (x.shape, len(x), x.dtype, np.shape(x), np.ndim(x), np.size(x)), {}),
    "an allocation is free": (np.empty_like, {}),
    "zeros are not": (np.zeros_like, {"launches": 1}),
    "a reshape that copies is a launch": (lambda x: x.T.reshape(-1), {"launches": 1}),
    "writing is a launch": (lambda x: x.__setitem__(slice(None), 0.0), {"launches": 1}),
    "float waits": (lambda x: float(x[0, 0]), {"to_host": 1, "syncs": 1}),
    "bool waits": (lambda x: bool(x[0, 0]), {"to_host": 1, "syncs": 1}),
    "item waits": (lambda x: x[0, 0].item(), {"to_host": 1, "syncs": 1}),
    "math waits": (lambda x: math.exp(x[0, 0]), {"to_host": 1, "syncs": 1}),
    "printing waits": (lambda x: f"{x[0, 0]:.3f}", {"to_host": 1, "syncs": 1}),
    "get waits": (lambda x: x.get(), {"to_host": 1, "syncs": 1}),
    "if waits": (lambda x: 1 if (x > 0).any() else 0, {"launches": 2, "to_host": 1, "syncs": 1}),
    "reading by a mask waits": (lambda x: x[x > 2], {"launches": 2, "to_host": 1, "syncs": 1}),
    "reading by numbers does not": (lambda x: x[asarray([0])], {"launches": 1, "to_device": 1}),
    "reading by a list moves it": (lambda x: x[[0]], {"launches": 1, "to_device": 1}),
    "nonzero waits": (np.nonzero, {"launches": 1, "to_host": 1, "syncs": 1}),
    "moving there": (lambda _: asarray(HOST), {"to_device": 1}),
    "being there already": (asarray, {}),
}


@pytest.mark.parametrize(("call", "expected"), COSTS.values(), ids=COSTS.keys())
def test_costs_are_counted(call: Callable[[Any], Any], expected: dict[str, int]) -> None:
    x = device()
    with counting() as counts:
        call(x)
    assert counts == device_array.Counts(**expected)


def test_counts_nest_and_end() -> None:
    x = device()
    with counting() as outer:
        x + 1
        with counting() as inner:
            x + 1
    x + 1
    assert (outer.launches, inner.launches) == (2, 1)


def test_a_budget_catches_a_float_of_the_loss_in_every_step() -> None:
    def step(theta: Any, watched: bool) -> None:
        loss = (theta * theta).sum()
        theta -= 0.1 * theta
        if watched:
            float(loss)

    for watched in (False, True):
        with counting() as counts:
            step(device(), watched)
        assert (counts.syncs > 0) == watched


def test_overflow_is_silent_as_on_a_device() -> None:
    assert np.isinf(asnumpy(np.exp(asarray([1e4])))).all()


def test_0d_arrays_have_no_length_and_no_rows() -> None:
    number = device().sum()
    for question in (len, iter):
        with pytest.raises(TypeError):
            question(number)


def test_every_name_known_here_is_known_to_cupy() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    cupy_special = pytest.importorskip("cupyx.scipy.special", exc_type=ImportError)
    assert {name for name in FUNCTIONS if not hasattr(cupy, name) and not hasattr(cupy.linalg, name)} == set()
    assert {name for name in SPECIAL_UFUNCS if not hasattr(cupy_special, name)} == set()
    ufuncs = {value.__name__ for value in vars(np).values() if isinstance(value, np.ufunc)}
    assert {name for name in ufuncs - UFUNCS_MISSING if not hasattr(cupy, name)} == set()
