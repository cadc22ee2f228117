"""The diagnosis over the whole ladder: what is right passes, what is wrong is named.

diagnosis.1 diagnosis.2: what is right to rounding; diagnosis.3 diagnosis.4: which term; diagnosis.5 diagnosis.6: which
factor; diagnosis.7: which argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation, Observe
from numvae.exercises.diagnosis import diagnose, draws_of
from numvae.exercises.explaining import summed
from numvae.exercises.findings import Finding, Kind, Status
from numvae.exercises.ladder.affine import EXERCISE as AFFINE
from numvae.exercises.ladder.normal_kl import EXERCISE as KL
from numvae.exercises.ladder.reparameterize import EXERCISE as SAMPLE
from tests.exercises.ladder import EXERCISES, MISCONCEPTIONS

SYMPTOMS = {
    Kind.CRASHED,
    Kind.STRUCTURE,
    Kind.SHAPE,
    Kind.DTYPE,
    Kind.MUTATION,
    Kind.UNSTEADY,
    Kind.NOT_FINITE,
    Kind.SWAPPED,
    Kind.READING,
}

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
every_misconception = pytest.mark.parametrize(
    ("exercise", "misconception"), MISCONCEPTIONS, ids=lambda x: getattr(x, "id", None) or x.name
)


@every_exercise
def test_the_solution_is_right_and_quickly_so(exercise: Exercise) -> None:
    diagnose(exercise, exercise.solution)
    start = time.process_time()
    finding = diagnose(exercise, exercise.solution)
    assert time.process_time() - start < 1
    assert finding.ok, finding
    assert {part.status for part in finding.tests} == {Status.PASS}


@every_exercise
def test_the_stub_is_not_started(exercise: Exercise) -> None:
    def stub(*args: Any, **keywords: Any) -> None:
        raise NotImplementedError

    finding = diagnose(exercise, stub)
    assert finding.kind is Kind.NOT_STARTED
    assert not finding.misconceptions
    assert {part.status for part in finding.tests} == {Status.ERROR}


@every_misconception
def test_a_misconception_is_diagnosed_as_itself(exercise: Exercise, misconception: Misconception) -> None:
    finding = diagnose(exercise, misconception.wrong)
    assert not finding.ok
    assert finding.misconceptions == (misconception.id,)
    assert finding.verdict == misconception.message
    assert finding.hints == misconception.hints
    assert finding.label == misconception.label
    assert finding.link == misconception.link
    assert any(part.status is Status.FAIL for part in finding.tests)


def located(misconception: Misconception, finding: Finding) -> bool:
    """Whether a diagnosis that does not know it is at the right output and says what is wrong with that."""
    if finding.link != misconception.link:
        return False
    if misconception.truth:
        return misconception.truth.replace("1/2", "½") in finding.changes
    return bool(finding.changes) or finding.kind in SYMPTOMS


def test_most_misconceptions_are_located_without_their_entry(record_property: Callable[[str, object], None]) -> None:
    missed, described, misled = [], [], []
    for exercise, misconception in MISCONCEPTIONS:
        start = time.process_time()
        finding = diagnose(exercise, misconception.wrong, library=[])
        if time.process_time() - start > 1:
            misled.append(f"{misconception.id} takes too long")
        if finding.link != misconception.link:
            misled.append(f"{misconception.id} at {finding.link}, not {misconception.link}")
        if misconception.truth:
            described.append(located(misconception, finding))
        if not located(misconception, finding):
            missed.append(f"{misconception.id}: {finding.kind} {finding.changes}, wanted {misconception.truth!r}")
    share = 1 - len(missed) / len(MISCONCEPTIONS)
    record_property("located", share)
    report = f"{share:.0%} of {len(MISCONCEPTIONS)} located; missed:\n" + "\n".join(missed)
    print(report)
    assert not misled, misled
    assert np.mean(described) >= 0.95, report
    assert share >= 0.7, report


@every_exercise
def test_an_output_is_the_sum_of_its_terms(exercise: Exercise) -> None:
    for draw in draws_of(exercise):
        outputs = exercise.observe(exercise.solution, draw)
        for name, parts in (exercise.terms(draw) if exercise.terms else {}).items():
            columns = [summed(part, np.shape(outputs[name])) for part in parts.values()]
            assert all(column is not None for column in columns), (name, list(parts))
            np.testing.assert_allclose(sum(columns), outputs[name], rtol=1e-9, atol=1e-11)  # type: ignore[arg-type]


@every_exercise
def test_one_wrong_sixth_digit_is_never_right(exercise: Exercise) -> None:
    for name, value in exercise.observe(exercise.solution, draws_of(exercise)[0]).items():
        if np.asarray(value).dtype.kind == "f":
            finding = diagnose(replace(exercise, observe=inexact(exercise, name)), lambda **_: 1.0, library=[])
            assert finding.link == name


def inexact(exercise: Exercise, name: str) -> Observe:
    """The solution's outputs; for any other function one of them is wrong in the sixth digit."""

    def observe(function: Callable[..., Any], draw: Draw) -> Observation:
        outputs = exercise.observe(exercise.solution, draw)
        if getattr(function, "function", function) is not exercise.solution:
            outputs[name] = np.asarray(outputs[name]) * (1 + 1e-6)
        return outputs

    return observe


# Solutions that are right and written otherwise.


def kl_by_std(mean, log_std, alpha):  # type: ignore[no-untyped-def]
    std = np.exp(log_std)
    entries = [
        0.5 * (alpha * m * m + alpha * s * s - 1.0) - np.log(s * alpha**0.5) for m, s in zip(mean, std, strict=True)
    ]
    kl = np.array([sum(row) for row in entries])

    def pullback(dkl):  # type: ignore[no-untyped-def]
        return [np.einsum("b,bz->bz", dkl, mean) * alpha, (dkl * (alpha * std.T**2) - dkl).T, np.zeros(())]

    return [kl, pullback]


def kl_by_columns(mean, log_std, alpha):  # type: ignore[no-untyped-def]
    kl = -0.5 * np.ones(len(mean)) * mean.shape[1] * (1 + np.log(alpha))
    for j in reversed(range(mean.shape[1])):
        kl = kl + alpha * mean[:, j] ** 2 / 2
        kl = kl + alpha * np.exp(log_std[:, j]) ** 2 / 2 - log_std[:, j]

    def pullback(dkl):  # type: ignore[no-untyped-def]
        dmean, dlog_std = np.zeros_like(mean), np.zeros_like(mean)
        for b in range(len(mean)):
            dmean[b] = dkl[b] * alpha * mean[b]
            dlog_std[b] = dkl[b] * np.expm1(2 * log_std[b] + np.log(alpha))
        return dmean, dlog_std, None

    return kl, pullback


class AffineAsAClass:
    """A callable object whose pullback is a method."""

    def __call__(self, **arguments: Any) -> tuple[Any, Callable[..., Any]]:
        self.W, b, self.x = arguments.values()
        return np.einsum("bi,ij->bj", self.x, self.W) + b[None, :], self.pullback

    def pullback(self, dy: Any) -> tuple[Any, ...]:
        dW = sum(np.outer(x, d) for x, d in zip(self.x, dy, strict=True))
        return dW, np.ones(len(dy)) @ dy, (self.W @ dy.T).T


def sample_by_columns(mean, log_std, noise):  # type: ignore[no-untyped-def]
    std = np.exp(log_std) * np.ones_like(noise)
    z = np.asfortranarray(mean + noise * std)

    def pullback(dz):  # type: ignore[no-untyped-def]
        return 1.0 * dz, dz * (z - mean), None

    return z, pullback


@pytest.mark.parametrize(
    ("exercise", "function"),
    [
        pytest.param(KL, kl_by_std, id="diagnosis.1: sums in Python, lists for tuples, an unasked gradient"),
        pytest.param(KL, kl_by_columns, id="diagnosis.2: column by column, expm1"),
        pytest.param(AFFINE, AffineAsAClass(), id="an object that is called"),
        pytest.param(SAMPLE, sample_by_columns, id="other memory order, z - mean for the noise"),
    ],
)
def test_a_solution_written_otherwise_is_right(exercise: Exercise, function: Callable[..., Any]) -> None:
    finding = diagnose(exercise, function)
    assert finding.ok, finding


# Combinations of terms and perturbations that nobody thought of.


@settings(max_examples=30, deadline=None)
@given(
    coefficients=st.lists(st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.floats(-3, 3)), min_size=5, max_size=5),
    place=st.sampled_from(["kl", "dlog_std"]),
)
def test_any_linear_combination_of_terms_is_told_by_its_coefficients(coefficients: list[float], place: str) -> None:
    def combined(mean: Any, log_std: Any, alpha: Any) -> tuple[Any, Callable[..., Any]]:
        kl, pullback = KL.solution(mean, log_std, alpha)
        assert KL.terms is not None

        def mixed(name: str, dkl: Any) -> Any:
            draw = Draw({"mean": mean, "log_std": log_std, "alpha": alpha}, dkl, len(mean))
            parts = [
                summed(part, np.shape(kl) if name == "kl" else mean.shape) for part in KL.terms(draw)[name].values()
            ]
            return sum(c * part for c, part in zip(coefficients, parts, strict=False))

        value = mixed("kl", np.ones(len(mean))) if place == "kl" else kl
        if place == "kl":
            return value, pullback
        return value, lambda dkl: (pullback(dkl)[0], mixed("dlog_std", dkl), None)

    finding = diagnose(KL, combined, library=[])
    used = coefficients[: 5 if place == "kl" else 2]
    if max(abs(c - 1) for c in used) > 1e-3:
        assert finding.link == place
        assert finding.kind in (Kind.TERMS, Kind.FACTOR, Kind.READING)
    str(finding), finding.to_json(), finding._repr_html_()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), size=st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e300]), exercise=st.sampled_from(EXERCISES)
)
def test_random_perturbations_never_crash_the_checker(seed: int, size: float, exercise: Exercise) -> None:
    """One random number of what is returned, at the top or by the pullback, is changed."""

    def spoiled(value: Any) -> Any:
        rng = np.random.default_rng(seed)
        if isinstance(value, np.ndarray) and value.size and value.dtype.kind == "f":
            value = value.copy()
            value.flat[rng.integers(value.size)] += size * (1 + np.abs(value).max())
        return value

    def function(*args: Any, **keywords: Any) -> Any:
        found = exercise.solution(*args, **keywords)
        if not isinstance(found, tuple):
            return spoiled(found)
        return tuple((lambda *a, f=part: tuple(map(spoiled, f(*a)))) if callable(part) else part for part in found)

    with np.errstate(all="ignore"):
        finding = diagnose(exercise, function)
    str(finding), finding.to_json(), finding._repr_html_()
