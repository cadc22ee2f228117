"""The pullback check on rules whose derivatives are known, and on planted bugs, each of which it must name."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numvae.arrays import Array, Pullback
from numvae.checks import PullbackReport, check_pullback
from numvae.distributions import Normal
from numvae.errors import CheckError, InputError

RNG = np.random.default_rng(7)
VECTOR, W, X = RNG.standard_normal(5), RNG.standard_normal((4, 4)), RNG.standard_normal((3, 4))
PARAMS, PRIOR, NOISE = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4)), RNG.standard_normal((5, 3, 2))


def square(x: Array) -> tuple[Array, Pullback]:
    return x**2, lambda dy: (2 * x * dy,)


def matmul(W: Array, x: Array) -> tuple[Array, Pullback]:
    return x @ W, lambda dy: (x.T @ dy, dy @ W.T)


def relu(x: Array) -> tuple[Array, Pullback]:
    return np.maximum(x, 0), lambda dy: (dy * (x > 0),)


def relu_network(W: Array, b: Array, V: Array, x: Array) -> tuple[Array, Pullback]:
    a = x @ W + b
    h = np.maximum(a, 0)

    def pullback(dy: Array) -> tuple[Array, ...]:
        da = (dy @ V.T) * (a > 0)
        return x.T @ da, da.sum(axis=0), h.T @ dy, da @ W.T

    return h @ V, pullback


def elementwise(
    f: Callable[[Array], Array], slope: Callable[[Array], Array]
) -> Callable[[Array], tuple[Array, Pullback]]:
    return lambda x: (f(x), lambda dy: (dy * slope(x),))


def only_line(report: PullbackReport) -> str:
    with pytest.raises(CheckError) as raised:
        report.assert_ok()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Right rules pass, whatever their size and scale.


SMOOTH = {
    "exp": (np.exp, np.exp, 1e2),
    "log": (np.log, lambda x: 1 / x, 1e3),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2, 1e3),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(np.minimum(x, 300)) ** 2, 1e3),
    "sine": (np.sin, np.cos, 1e3),
    "fast sine": (lambda x: np.sin(100 * x), lambda x: 100 * np.cos(100 * x), 1e3),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, 1e3),
    "offset": (lambda x: 1e4 + np.tanh(x), lambda x: 1 / np.cosh(x) ** 2, 1.0),
}


@pytest.mark.parametrize("name", SMOOTH)
@given(size=st.integers(1, 11), seed=st.integers(0, 2**32 - 1), summed=st.booleans())
def test_smooth_functions_pass_at_any_scale(name: str, size: int, seed: int, summed: bool) -> None:
    """(checks.1), (checks.3): steps find their size for arguments from 1e-3 to 1e3 in one array."""
    f, slope, largest = SMOOTH[name]
    rng = np.random.default_rng(seed)
    x = 10 ** rng.uniform(-3, np.log10(largest), size)
    rule = (lambda x: (f(x).sum(), lambda dy: (dy * slope(x),))) if summed else elementwise(f, slope)
    check_pullback(rule, x, rng=rng).assert_ok()


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        (matmul, (W, X)),
        (Normal().sample, (PARAMS, NOISE)),
        (Normal().log_prob, (PARAMS, NOISE)),
        (Normal().kl, (PARAMS, PRIOR)),
    ],
    ids=["matmul", "sample", "log_prob", "kl"],
)
def test_right_rules_agree_to_ten_digits(rule: Callable[..., Any], arguments: tuple[Array, ...]) -> None:
    report = check_pullback(rule, *arguments)
    assert report.ok
    assert report.worst_relative_error < 1e-10


def test_a_gradient_that_vanishes_is_right() -> None:
    """(checks.6): at the prior, value and gradient of the KL are zero, and differences see nothing but rounding."""
    for params in (np.zeros((3, 4)), PARAMS):
        check_pullback(Normal().kl, params, params).assert_ok()


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9])
def test_a_value_that_rounds_by_more_than_its_size_shows_is_no_failure(distance: float) -> None:
    """(checks.3a), (checks.6): near the prior the KL is tiny and its terms are not; all is smooth."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        prior = rng.standard_normal((3, 4))
        report = check_pullback(Normal().kl, prior + distance * rng.standard_normal((3, 4)), prior, rng=rng)
        report.assert_ok()
        assert sum(a.kinks for a in report.arguments) == 0


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5])
def test_a_bug_in_such_a_value_is_found_where_it_is_larger_than_the_rounding(distance: float) -> None:
    def rule(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        kl, pullback = Normal().kl(params, prior_params)
        return kl, lambda dkl: (1.01 * pullback(dkl)[0], None)

    report = check_pullback(rule, PRIOR + distance * PARAMS, PRIOR)
    assert "dparams" in report.failures[0]


@pytest.mark.parametrize("unit", [1e-200, 1e-20, 1e20])
def test_units_do_not_matter(unit: float) -> None:
    """A value that is tiny as a whole is not rounding."""
    check_pullback(lambda x: (unit * x**2, lambda dy: (2 * unit * x * dy,)), VECTOR).assert_ok()
    wrong = check_pullback(lambda x: (unit * x**2, lambda dy: (4 * unit * x * dy,)), VECTOR)
    assert "off by a factor 2, everywhere" in only_line(wrong)


def test_an_error_is_that_over_its_scale() -> None:
    """(checks.4)"""
    for report in (
        check_pullback(matmul, W, X),
        check_pullback(factor_two, VECTOR),
        check_pullback(Normal().kl, PARAMS + 1e-7, PARAMS),
    ):
        for a in report.arguments:
            assert a.relative_error == pytest.approx(abs(a.analytic - a.numeric) / a.scale, rel=1e-9)


def test_a_directional_derivative_that_cancels_is_no_failure() -> None:
    """(checks.4): ⟨da, u⟩ is 1e-9 of its terms here; their rounding, relative to the sum, would be an error of 1e-7."""

    class Cancelling(np.random.Generator):
        """Directions (1, 1 + 1e-9) for the gradient (1, -1)."""

        def uniform(self, *_: Any) -> Array:  # type: ignore[override]
            return np.array([1.0, 1.0 + 1e-9])

        def choice(self, *_: Any) -> Array:  # type: ignore[override]
            return np.ones(2)

    def rule(x: Array) -> tuple[Any, Pullback]:
        return np.sin(x[0]) - np.sin(x[1]), lambda d: (d * np.array([np.cos(x[0]), -np.cos(x[1]) * (1 + 1e-15)]),)

    report = check_pullback(rule, np.array([1.0, 1.0]), coordinates=0, rng=Cancelling(np.random.PCG64(0)))
    assert report.ok
    assert abs(report.arguments[0].analytic) < 1e-8


def test_entries_that_do_not_move_cost_no_digits() -> None:
    """(checks.2): beside a value of 1e9 that depends on another entry, the small one keeps its digits."""
    report = check_pullback(square, np.array([3e4, 1e-3]), directions=0)
    assert report.ok
    assert report.worst_relative_error < 1e-11


def test_a_large_argument_costs_a_few_calls_and_a_wrong_entry_is_found_by_halving() -> None:
    calls = 0
    x = RNG.standard_normal((50, 40))

    def rule(x: Array) -> tuple[Array, Pullback]:
        nonlocal calls
        calls += 1

        def pullback(dy: Array) -> tuple[Array]:
            dx = 2 * x * dy
            dx[33, 7] *= 1.001
            return (dx,)

        return x**2, pullback

    report = check_pullback(rule, x)
    assert report.arguments[0].index == (33, 7)
    assert "at [33, 7]" in only_line(report)
    assert calls < 10_000
    calls = 0
    check_pullback(lambda x: (rule(x)[0], square(x)[1]), x).assert_ok()
    assert calls < 600


def test_several_values_take_one_cotangent_each() -> None:
    def rule(x: Array, k: int) -> tuple[tuple[Array, Any], Pullback]:
        return (x**2, k * x.sum()), lambda dsquare, dsum: (2 * x * dsquare + k * dsum, None)

    report = check_pullback(rule, VECTOR, 3)
    assert report.ok
    assert "no gradient: k" in report.notes


def test_floats_are_arguments_and_functions_pass_through() -> None:
    def rule(f: Callable[[Array], Array], scale: float, x: Array) -> tuple[Array, Pullback]:
        return scale * f(x), lambda dy: (None, float((dy * f(x)).sum()), scale * dy * np.cos(x))

    report = check_pullback(rule, np.sin, 0.3, VECTOR)
    assert report.ok
    assert [a.name for a in report.arguments if a.probes] == ["scale", "x"]


def test_whole_numbers_are_data() -> None:
    def rule(logits: Array, bits: Array) -> tuple[Array, Pullback]:
        return logits * bits, lambda d: (d * bits, None)

    assert check_pullback(rule, VECTOR, np.array([0, 1, 1, 0, 1], dtype=np.uint8)).ok


def test_parts_get_a_line_each_and_only_the_wrong_one_fails() -> None:
    def rule(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        kl, pullback = Normal().kl(params, prior_params)
        return kl, lambda dkl: (pullback(dkl)[0] * [1, 1, 2, 2], None)

    report = check_pullback(rule, PARAMS, PRIOR, parts={"params": lambda p: {"mean": p[:, :2], "log_std": p[:, 2:]}})
    assert [a.name for a in report.arguments if not a.ok] == ["params.log_std"]
    assert [a.shape for a in report.arguments] == [(3, 2), (3, 2), (3, 4)]
    assert "dparams.log_std" in only_line(report)
    assert "off by a factor 2, everywhere" in only_line(report)


def test_the_same_seed_gives_the_same_report() -> None:
    assert check_pullback(matmul, W, X) == check_pullback(matmul, W, X)


# Planted bugs: each is rejected, and the line says what it is.


def factor_two(x: Array) -> tuple[Array, Pullback]:
    return x**2, lambda dy: (4 * x * dy,)


def missing_half(x: Array) -> tuple[Array, Pullback]:
    return 0.5 * x**2, lambda dy: (2 * x * dy,)


def sign(x: Array) -> tuple[Array, Pullback]:
    return -(x**2), lambda dy: (2 * x * dy,)


def zero(x: Array) -> tuple[Array, Pullback]:
    return x**2, lambda dy: (0 * dy,)


def sum_for_mean(x: Array) -> tuple[Array, Pullback]:
    return x.mean(axis=0), lambda dy: (np.broadcast_to(dy, x.shape),)


def transposed_gradient(W: Array, x: Array) -> tuple[Array, Pullback]:
    return x @ W, lambda dy: (dy.T @ x, dy @ W.T)


def transposed_weight(W: Array, x: Array) -> tuple[Array, Pullback]:
    return x @ W, lambda dy: (x.T @ dy, dy @ W)


def unsummed(b: Array, x: Array) -> tuple[Array, Pullback]:
    return x + b, lambda dy: (dy, dy)


def cotangent_ignored(x: Array) -> tuple[Array, Pullback]:
    return x**2, lambda dy: (2 * x,)


def argument_written(x: Array) -> tuple[Array, Pullback]:
    x *= 2
    return x + 0, lambda dy: (2 * dy,)


def cotangent_written(x: Array) -> tuple[Array, Pullback]:
    def pullback(dy: Array) -> tuple[Array]:
        dy *= 2
        return (dy,)

    return 2 * x, pullback


def noise_drawn_inside(x: Array) -> tuple[Array, Pullback]:
    noise = RNG.standard_normal(x.shape)
    return x + noise, lambda dy: (dy,)


def noise_drawn_twice(params: Array, noise: Array) -> tuple[Array, Pullback]:
    z, _ = Normal().sample(params, noise)
    return z, lambda dz: (Normal().sample(params, RNG.standard_normal(noise.shape))[1](dz)[0], None)


class CachesOnItself:
    def __call__(self, x: Array) -> tuple[Array, Pullback]:
        self.x = x
        return x**2, lambda dy: (2 * self.x * dy,)


def cache_used_up(x: Array) -> tuple[Array, Pullback]:
    cache = [x]
    return x**2, lambda dy: (2 * dy * (cache.pop() if cache else 0 * x),)


def nan_in_gradient(x: Array) -> tuple[Array, Pullback]:
    return 1 * x, lambda dy: (np.where(np.arange(x.size) == 1, np.nan, dy),)


def infinite_value(x: Array) -> tuple[Array, Pullback]:
    return np.where(np.arange(x.size) == 2, np.inf, x), lambda dy: (dy,)


def no_tuple(x: Array) -> tuple[Array, Any]:
    return 1 * x, lambda dy: dy


def too_few(W: Array, x: Array) -> tuple[Array, Pullback]:
    return x @ W, lambda dy: (x.T @ dy,)


def nothing(x: Array) -> tuple[Array, Pullback]:
    return 1 * x, lambda dy: (None,)


def single_inside(x: Array) -> tuple[Array, Pullback]:
    return np.float32(x) ** 2, lambda dy: (2 * x * dy,)


PLANTED = [
    (factor_two, (VECTOR,), "ratio 2: off by a factor 2, everywhere"),
    (missing_half, (VECTOR,), "ratio 2: off by a factor 2, everywhere"),
    (sign, (VECTOR,), "ratio -1: the sign is flipped, everywhere"),
    (zero, (VECTOR,), "it is zero, everywhere"),
    (sum_for_mean, (RNG.standard_normal((7, 3)),), "off by 7, the length of an axis: a sum where a mean belongs?"),
    (transposed_gradient, (W, X), "dW at"),
    (transposed_gradient, (W, X), "it is transposed"),
    (transposed_weight, (W, X), "dx at"),
    (unsummed, (VECTOR[:4], X), "db has shape (3, 4), but b has shape (4,): sum it over the axes"),
    (cotangent_ignored, (VECTOR,), "not linear in the cotangent: it is the same for every cotangent"),
    (argument_written, (VECTOR,), "x is changed in place"),
    (cotangent_written, (VECTOR,), "the cotangent is changed in place"),
    (noise_drawn_inside, (VECTOR,), "two calls with the same arguments gave different values"),
    (noise_drawn_twice, (PARAMS, NOISE), "dparams differs when the pullback is called twice"),
    (CachesOnItself(), (VECTOR,), "dx differs after another call of the rule"),
    (cache_used_up, (VECTOR,), "dx differs when the pullback is called twice"),
    (nan_in_gradient, (VECTOR,), "dx is NaN at [1]"),
    (infinite_value, (VECTOR,), "the value is infinite at [2]"),
    (no_tuple, (VECTOR,), "must return a tuple with one gradient per argument (1), got ndarray"),
    (too_few, (W, X), "must return one gradient for each of the 2 arguments, got 1"),
    (nothing, (VECTOR,), "nothing was checked"),
    (single_inside, (VECTOR,), "the value is float32 for float64 arguments"),
]


@pytest.mark.parametrize(("rule", "arguments", "expected"), PLANTED)
def test_planted_bug_is_rejected_and_named(rule: Callable[..., Any], arguments: tuple[Any, ...], expected: str) -> None:
    """(checks.4), (checks.7): one line each, with the numbers."""
    before = [np.array(a) for a in arguments]
    assert expected in only_line(check_pullback(rule, *arguments))
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_minibatch_factor_forgotten_is_named_by_its_size() -> None:
    """N/M = 600/100 in the value and not in the gradient."""

    def rule(rows: Array) -> tuple[Any, Pullback]:
        return 6 * np.sum(rows**2), lambda d: (2 * rows * d,)

    assert "ratio 0.1667: off by the factor 0.16667, everywhere" in only_line(check_pullback(rule, VECTOR))


def test_a_wrong_kl_sign_inside_a_bound_is_rejected() -> None:
    def bound(params: Array, noise: Array, prior_params: Array) -> tuple[Array, Pullback]:
        z, sample_pullback = Normal().sample(params, noise)
        kl, kl_pullback = Normal().kl(params, prior_params)

        def pullback(d: Array) -> tuple[Array, None, None]:
            dz = np.broadcast_to(-2 * z * d[:, None], z.shape)
            return sample_pullback(dz)[0] + kl_pullback(d)[0], None, None  # the KL's minus sign is missing

        return -np.sum(z**2, axis=(0, 2)) - kl, pullback

    assert "dparams at" in only_line(check_pullback(bound, PARAMS, NOISE, PRIOR))


@pytest.mark.parametrize("error", [1e-7, 1e-5, 1e-3, 1e-1])
def test_grades_follow_the_size_of_the_error(error: float) -> None:
    grades = {1e-7: "happy", 1e-5: "fine only with kinks", 1e-3: "uncomfortable", 1e-1: "wrong"}
    report = check_pullback(lambda x: (x**2, lambda dy: ((2 - 1.9 * error) * x * dy,)), VECTOR)
    assert not report.ok
    assert report.arguments[0].relative_error == pytest.approx(0.95 * error, rel=1e-4)
    assert str(report.arguments[0].grade) == grades[error]


# Kinks are noticed, skipped and counted.


def test_a_kink_is_skipped_and_counted() -> None:
    """(checks.5): at 0 the central difference is ½ and the gradient 0; neither is wrong."""
    report = check_pullback(relu, np.array([1.0, 0.0, -2.0, 0.5, 0.3, -0.4]))
    assert report.ok
    assert report.arguments[0].kinks > 0
    assert f"kinks={report.arguments[0].kinks} of {report.arguments[0].probes} directions skipped" in str(report)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-5])
def test_a_kink_near_by_is_resolved_by_smaller_steps(distance: float) -> None:
    report = check_pullback(relu, np.array([1.0, distance, -distance]), directions=0)
    assert report.ok
    assert report.arguments[0].kinks == 0


def test_a_bug_beside_a_kink_is_still_found() -> None:
    def rule(x: Array) -> tuple[Array, Pullback]:
        return np.maximum(x, 0), lambda dy: (2 * dy * (x > 0),)

    assert "off by a factor 2" in only_line(check_pullback(rule, np.array([1.0, 0.0, 2.0, 3.0])))


def test_nothing_but_kinks_is_inconclusive_and_not_ok() -> None:
    """(checks.6)"""
    report = check_pullback(relu, np.zeros(4))
    assert report.arguments[0].grade == "inconclusive"
    assert not report.ok
    assert report.failures == ()
    assert str(report).startswith("pullback of relu: inconclusive")
    assert "inconclusive" in only_line(report)


def test_a_value_rounded_on_the_way_is_never_ok_and_mostly_inconclusive() -> None:
    """(checks.3), (checks.6): float32 inside makes a staircase, whose differences resolve too little."""

    def rule(x: Array) -> tuple[Array, Pullback]:
        return np.sin(x.astype(np.float32)).astype(np.float64), lambda dy: (dy * np.cos(x),)

    reports = [check_pullback(rule, np.random.default_rng(seed).standard_normal(5)) for seed in range(10)]
    assert not any(report.ok for report in reports)
    assert sum(report.arguments[0].grade == "inconclusive" for report in reports) > 5


@pytest.mark.parametrize("seed", range(8))
def test_relu_networks_pass_within_a_millionth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = ((9, 17), (17,), (17, 5), (12, 9))
    report = check_pullback(relu_network, *(rng.standard_normal(shape) for shape in shapes), rng=rng)
    assert report.ok
    assert report.worst_relative_error < 1e-6


# Bounds of the domain, dtypes, input.


def test_steps_out_of_the_domain_are_not_taken_for_errors() -> None:
    def rule(x: Array) -> tuple[Array, Pullback]:
        if (x <= 0).any():
            raise InputError("x must be positive")
        return np.log(x), lambda dy: (dy / x,)

    assert check_pullback(rule, np.array([1.0, 1e-3])).ok
    assert check_pullback(elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x)), np.array([1e-6, 1.0])).ok


def test_single_precision_arguments_are_checked_in_double_and_must_stay_single() -> None:
    x = VECTOR.astype(np.float32)
    assert check_pullback(square, x).ok
    assert check_pullback(square, x).worst_relative_error < 1e-11

    def promoting(x: Array) -> tuple[Array, Pullback]:
        return x * np.float64(2), lambda dy: (dy * np.float64(2),)

    assert "the value is float64, dx is float64 for float32 arguments" in only_line(check_pullback(promoting, x))


def test_bad_calls_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="must name each of the 1 arguments, got 2"):
        check_pullback(square, VECTOR, names=["x", "y"])
    with pytest.raises(InputError, match="parts names 'y', which is none of the arguments x"):
        check_pullback(square, VECTOR, parts={"y": lambda y: {"all": y}})
    with pytest.raises(InputError, match=r"must return \(value, pullback\), got ndarray"):
        check_pullback(np.sin, VECTOR)
    for data in (np.array([1, 2]), [1.0, 2.0]):
        with pytest.raises(InputError, match=r"must be a float or an array of floats .*, got (int64|list)"):
            check_pullback(square, data)
    with pytest.raises(InputError, match=r"the value of .* must be an array of numbers, got NoneType"):
        check_pullback(lambda x: (None, lambda dy: (dy,)), VECTOR)
    with pytest.raises(CheckError, match="dx must be an array of numbers, got str"):
        check_pullback(lambda x: (x + 0, lambda dy: ("dy",)), VECTOR).assert_ok()
    with pytest.raises(InputError, match="nothing to check along"):
        check_pullback(square, VECTOR, directions=0, coordinates=0)


def test_an_error_inside_the_rule_is_the_rules_own() -> None:
    with pytest.raises(ValueError, match="matmul"):
        check_pullback(matmul, W, X.T)


def test_names_come_from_the_signature() -> None:
    def rule(first: Array, *rest: Array) -> tuple[Array, Pullback]:
        return first + sum(rest), lambda dy: (dy,) * (1 + len(rest))

    assert [a.name for a in check_pullback(rule, X, X, X).arguments] == ["first", "rest0", "rest1"]
    assert check_pullback(partial(rule, X), X).rule.endswith("rule")


def test_report_has_a_row_for_each_gradient_and_strict_json() -> None:
    report = check_pullback(Normal().sample, PARAMS, NOISE)
    assert [row.cells[0] for row in report.rows] == ["dparams"]
    found = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert found["ok"] is True
    assert found["worst_relative_error"] < 1e-11
    assert [a["name"] for a in found["arguments"]] == ["params", "noise"]
    assert found["arguments"][1]["analytic"] is None
