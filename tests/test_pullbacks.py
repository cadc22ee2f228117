"""The first proof, over the whole case table: the pullback is the derivative, and the rule behaves as a rule must."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numvae.arrays import Array
from numvae.checks import check_pullback
from tests.cases import CASES, Case, Sizes, rows_axis
from tests.conftest import Elsewhere
from tests.device_array import asarray, counting
from tests.strategies import applications

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
every_exact_case = pytest.mark.parametrize("case", [c for c in CASES if not c.on_average], ids=lambda case: case.id)


@every_exact_case
@settings(max_examples=15)
@given(data=st.data())
def test_pullback_is_the_derivative(case: Case, data: Any) -> None:
    a = data.draw(applications(case))
    report = check_pullback(a.rule, *a.arguments, rng=a.rng, directions=2, coordinates=2, tolerance=case.tolerance)
    report.assert_ok()


@every_case
@settings(max_examples=4)
@given(data=st.data())
def test_value_and_gradients_have_the_shapes_of_the_table(case: Case, data: Any) -> None:
    a = data.draw(applications(case))
    value, pullback = a.rule(*a.arguments)
    assert np.shape(value) == a.sizes.shape(case.gives)
    gradients = pullback(a.rng.standard_normal(np.shape(value)))
    assert len(gradients) == len(a.arguments)
    for argument, gradient in zip(a.arguments, gradients, strict=True):
        assert gradient is None or gradient.shape == argument.shape


@every_case
def test_pullback_is_linear_and_gives_the_same_twice(case: Case) -> None:
    rng = np.random.default_rng(0)
    value, pullback = case.at(Sizes())(*read_only(case.arguments(Sizes(), rng)))
    one, other = read_only(rng.standard_normal((2, *np.shape(value))))
    first, second = gradients_of(pullback(one)), gradients_of(pullback(other))
    both = gradients_of(pullback(2 * one - 3 * other))
    for g, h, combined in zip(first, second, both, strict=True):
        np.testing.assert_allclose(combined, 2 * g - 3 * h, rtol=1e-11, atol=1e-11 * size_of(combined))
    for g, again in zip(first, gradients_of(pullback(one)), strict=True):
        np.testing.assert_array_equal(g, again)


@every_case
def test_single_precision_stays_single(case: Case) -> None:
    rng = np.random.default_rng(0)
    arguments = case.arguments(Sizes(), rng)
    value, pullback = case.at(Sizes())(*arguments)
    value32, pullback32 = case.at(Sizes())(*[a.astype(np.float32) for a in arguments])
    assert value32.dtype == np.float32
    np.testing.assert_allclose(value32, value, rtol=1e-4, atol=1e-4 * size_of(value))
    cotangent = rng.standard_normal(np.shape(value))
    gradients = gradients_of(pullback(cotangent))
    gradients32 = gradients_of(pullback32(np.float32(cotangent)))
    for g, g32 in zip(gradients, gradients32, strict=True):
        assert g32.dtype == np.float32
        np.testing.assert_allclose(g32, g, rtol=1e-3, atol=1e-4 * size_of(g))


@pytest.mark.parametrize("case", [c for c in CASES if rows_axis(c.gives) is not None], ids=lambda case: case.id)
@settings(max_examples=3)
@given(data=st.data())
def test_rows_are_independent(case: Case, data: Any) -> None:
    """Permuted rows give permuted values and gradients; a row among strangers keeps its value and its gradients."""
    a = data.draw(applications(case))
    cotangent = a.rng.standard_normal(a.sizes.shape(case.gives))
    here = seen_by_rows(case, a.rule, a.arguments, cotangent)

    order = a.rng.permutation(a.sizes.B)
    permuted = [taken(array, argument.shape, order) for array, argument in zip(a.arguments, case.takes, strict=True)]
    there = seen_by_rows(case, a.rule, permuted, taken(cotangent, case.gives, order))
    for (letters, before), (_, after) in zip(here, there, strict=True):
        np.testing.assert_allclose(after, taken(before, letters, order), rtol=1e-10, atol=1e-11 * size_of(before))

    strangers = [
        argument.draw(a.rng, array.shape, 1.0) if rows_axis(argument.shape) is not None else array
        for array, argument in zip(a.arguments, case.takes, strict=True)
    ]
    mixed = [
        with_row(stranger, argument.shape, array)
        for stranger, array, argument in zip(strangers, a.arguments, case.takes, strict=True)
    ]
    for (letters, before), (_, after) in zip(here, seen_by_rows(case, a.rule, mixed, cotangent), strict=True):
        first_before, first_after = taken(before, letters, [0]), taken(after, letters, [0])
        np.testing.assert_allclose(first_after, first_before, rtol=1e-10, atol=1e-11 * size_of(first_before))


@every_case
def test_runs_on_a_device_with_equal_results(case: Case, elsewhere: Elsewhere) -> None:
    arguments = case.arguments(Sizes(), np.random.default_rng(0))
    value, pullback = case.at(Sizes())(*arguments)
    cotangent = np.random.default_rng(1).standard_normal(np.shape(value))
    gradients = pullback(cotangent)
    value_there, pullback_there = case.at(Sizes())(*map(elsewhere.asarray, arguments))
    gradients_there = pullback_there(elsewhere.asarray(cotangent))
    for here, there in zip((value, *gradients), (value_there, *gradients_there), strict=True):
        if here is None:
            assert there is None
        else:
            np.testing.assert_allclose(elsewhere.asnumpy(there), here, rtol=1e-12, atol=1e-12 * size_of(here))


@every_case
def test_never_waits_for_the_device_nor_moves_arrays(case: Case) -> None:
    """Every wait costs more than a kernel: a rule launches its work and goes on."""
    arguments = [asarray(argument) for argument in case.arguments(Sizes(), np.random.default_rng(0))]
    cotangent = asarray(np.ones(Sizes().shape(case.gives)))
    with counting() as counts:
        _, pullback = case.at(Sizes())(*arguments)
        pullback(cotangent)
    assert (counts.syncs, counts.to_host, counts.to_device) == (0, 0, 0)


def seen_by_rows(case: Case, rule: Any, arguments: list[Array], cotangent: Array) -> list[tuple[str, Array]]:
    """The value, and the gradients of the arguments that have rows, each with its shape in letters."""
    value, pullback = rule(*arguments)
    gradients = zip(case.takes, pullback(cotangent), strict=True)
    return [(case.gives, value)] + [
        (argument.shape, gradient)
        for argument, gradient in gradients
        if gradient is not None and rows_axis(argument.shape) is not None
    ]


def taken(array: Array, letters: str, rows: Any) -> Array:
    """The given rows of an array; the array itself where it has none."""
    axis = rows_axis(letters)
    return array if axis is None else np.take(array, rows, axis=axis)


def with_row(array: Array, letters: str, source: Array) -> Array:
    """The array with its first row taken from ``source``."""
    axis = rows_axis(letters)
    if axis is None:
        return array
    others = np.delete(array, 0, axis=axis)
    return np.concatenate([np.take(source, [0], axis=axis), others], axis=axis)


def gradients_of(gradients: Iterable[Array | None]) -> list[Array]:
    """Copies of those that exist: a pullback may hand out views."""
    return [np.array(gradient) for gradient in gradients if gradient is not None]


def read_only(arrays: Iterable[Array]) -> list[Array]:
    """The arrays, guarded against writing."""
    guarded = [np.array(array) for array in arrays]
    for array in guarded:
        array.flags.writeable = False
    return guarded


def size_of(array: Array) -> float:
    """The largest entry: the scale against which rounding errors count."""
    return float(np.max(np.abs(array), initial=0.0))
