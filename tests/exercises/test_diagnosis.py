"""The diagnosis over the whole ladder: what is right passes, what is wrong is named.

diagnosis.1 diagnosis.2: what is right to rounding; diagnosis.3 diagnosis.4: which term; diagnosis.5 diagnosis.6: which
factor; diagnosis.7: which argument; diagnosis.8: where; diagnosis.9: how it behaves.
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
from numvae.exercises.explaining import opened, summed
from numvae.exercises.findings import Finding, Kind, Status
from numvae.exercises.ladder.affine import EXERCISE as AFFINE
from numvae.exercises.ladder.normal_kl import EXERCISE as KL
from numvae.exercises.ladder.relu import EXERCISE as RELU
from numvae.exercises.ladder.reparameterize import EXERCISE as SAMPLE
from numvae.exercises.ladder.train_vae import EXERCISE as TRAINING
from tests.exercises.ladder import EXERCISES, MISCONCEPTIONS, MISTAKES, every_exercise, every_mistake

SYMPTOMS = {Kind.CRASHED, Kind.STRUCTURE, Kind.SHAPE, Kind.DTYPE, Kind.MUTATION, Kind.UNSTEADY, Kind.NOT_FINITE}
"""Kinds of trouble that are told before any number is compared, and say all there is to say."""


@every_exercise
def test_the_solution_is_right_and_quickly_so(exercise: Exercise) -> None:
    """Up to rounding, measured where the formula is ill-conditioned   (diagnosis.1), (diagnosis.2)."""
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


@every_mistake
def test_a_misconception_is_diagnosed_as_itself(id: str) -> None:
    exercise, misconception = MISTAKES[id]
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
    said = misconception.truth in finding.changes if misconception.truth else finding.kind in SYMPTOMS
    return finding.link == misconception.link and said and not finding.misconceptions


def test_misconceptions_are_located_without_their_entry(record_property: Callable[[str, object], None]) -> None:
    """At least 80 % are asked for; by factors, diagnosis.5 and diagnosis.6, and by other arguments, diagnosis.7."""
    missed, misled, described = [], [], []
    for exercise, misconception in MISCONCEPTIONS:
        others = [other for other in exercise.misconceptions if other is not misconception]
        start = time.process_time()
        finding = diagnose(exercise, misconception.wrong, library=others)
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
    assert not misled, misled
    assert share >= 0.9, report
    assert all(described), report


@every_exercise
def test_one_wrong_sixth_digit_is_never_right(exercise: Exercise) -> None:
    for name, value in exercise.observe(exercise.solution, draws_of(exercise)[0]).items():
        if np.asarray(value).dtype.kind == "f":
            inexact = replace(
                exercise, observe=changed(exercise, name, lambda _, right: np.asarray(right) * (1 + 1e-6))
            )
            assert diagnose(inexact, lambda **_: 1.0, library=[]).link == name


# Solutions that are right and written otherwise.


def kl_by_std(mean, log_std, alpha):
    std = np.exp(log_std)
    entries = [
        0.5 * (alpha * m * m + alpha * s * s - 1.0) - np.log(s * alpha**0.5) for m, s in zip(mean, std, strict=True)
    ]
    kl = np.array([sum(row) for row in entries])

    def pullback(dkl):
        return [np.einsum("b,bz->bz", dkl, mean) * alpha, (dkl * (alpha * std.T**2) - dkl).T, np.zeros(())]

    return [kl, pullback]


def kl_by_columns(mean, log_std, alpha):
    kl = -0.5 * np.ones(len(mean)) * mean.shape[1] * (1 + np.log(alpha))
    for j in reversed(range(mean.shape[1])):
        kl = kl + alpha * mean[:, j] ** 2 / 2
        kl = kl + alpha * np.exp(log_std[:, j]) ** 2 / 2 - log_std[:, j]

    def pullback(dkl):
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


def sample_by_columns(mean, log_std, noise):
    std = np.exp(log_std) * np.ones_like(noise)
    z = np.asfortranarray(mean + noise * std)

    def pullback(dz):
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


# Numbers that no formula fits.


def relu_with(slope: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x: (np.maximum(x, 0), lambda dy: (slope(x, dy),))


def kl_with(change: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """The KL with another gradient of the mean, made from (dmean, mean, dkl)."""

    def normal_kl(mean, log_std, alpha):
        kl, pullback = KL.solution(mean, log_std, alpha)
        return kl, lambda dkl: (change(pullback(dkl)[0], mean, dkl), *pullback(dkl)[1:])

    return normal_kl


@pytest.mark.parametrize(
    ("exercise", "function", "change", "words"),
    [
        (RELU, relu_with(lambda x, dy: dy * (x >= 0)), "where x = 0", "There it is dy, and 0 is right"),
        (
            RELU,
            relu_with(lambda x, dy: np.where(x < 0, np.sin(dy), dy * (x > 0))),
            "where x < 0",
            "right everywhere else",
        ),
        (KL, kl_with(lambda d, mean, dkl: np.where(mean < -1, 0, d) + d * (mean > 0)), "", ""),
        (
            KL,
            kl_with(lambda d, mean, dkl: d + (np.arange(len(d)) == 0)[:, None] * d**2),
            "where its first index is 0",
            "",
        ),
        (KL, kl_with(lambda d, mean, dkl: d + d**2), "not linear", "for -2 dkl it should be -2 times what it is"),
        (KL, kl_with(lambda d, mean, dkl: d + d[::-1] / dkl[:, None]), "mixes rows", "the other rows of the batch"),
        (KL, kl_with(lambda d, mean, dkl: 0 * d + np.sum(d)), "the same everywhere", "at every entry"),
        (
            KL,
            kl_with(lambda d, mean, dkl: np.cos(np.arange(d.size).reshape(d.shape))),
            "independent of mean",
            "and should",
        ),
    ],
    ids=[
        "diagnosis.8: at the kink",
        "diagnosis.8: where x is negative",
        "neither",
        "diagnosis.8: in the first row",
        "diagnosis.9: not linear",
        "diagnosis.9: mixed rows",
        "the same everywhere",
        "an argument unused",
    ],
)
def test_numbers_that_no_formula_fits_are_described(
    exercise: Exercise, function: Callable[..., Any], change: str, words: str
) -> None:
    finding = diagnose(exercise, function, library=[])
    assert finding.kind in (Kind.PLACE, Kind.PROPERTY, Kind.UNEXPLAINED)
    assert change in finding.changes or not change
    assert words in str(finding)


def test_a_training_loop_is_watched_step_by_step() -> None:
    def without_keywords(theta, x, orders, noise, batch, gradient, adam_step):
        def late(theta, gradient, m, v, t):
            return adam_step(theta=theta, gradient=gradient, m=m, v=v, t=max(t, 3))

        return TRAINING.solution(theta, x, orders, noise, batch, gradient, late)

    finding = diagnose(TRAINING, without_keywords, library=[])
    assert finding.changes[0] == "t given to adam_step in step 1"
    assert finding.verdict.endswith("it is 3, right is 1.")


# Combinations of terms and perturbations that nobody thought of.


@settings(max_examples=40, deadline=None)
@given(
    coefficients=st.lists(st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.floats(-3, 3)), min_size=9, max_size=9),
    place=st.sampled_from([(e, o) for e in EXERCISES if e.terms for o in e.terms(draws_of(e)[0])]),
    closely=st.booleans(),
)
def test_any_linear_combination_of_terms_is_told(
    coefficients: list[float], place: tuple[Exercise, str], closely: bool
) -> None:
    """By diagnosis.3 where the coefficients are the same at every draw, and else by diagnosis.4."""
    exercise, link = place

    def combined(draw: Draw, right: Any) -> Any:
        assert exercise.terms is not None
        terms = [summed(term, np.shape(right)) for term in opened(exercise.terms(draw), closely)[link].values()]
        return sum(c * term for c, term in zip(coefficients, terms, strict=False))

    finding = diagnose(replace(exercise, observe=changed(exercise, link, combined)), lambda **_: 1.0, library=[])
    assert exercise.terms is not None
    used = coefficients[: len(opened(exercise.terms(draws_of(exercise)[0]), closely)[link])]
    if min(abs(c - 1) for c in used) > 1e-3:
        assert finding.link == link
        assert finding.kind in (Kind.TERMS, Kind.FACTOR, Kind.READING)
    str(finding), finding.to_json(), finding._repr_html_()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), size=st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e300]), exercise=st.sampled_from(EXERCISES)
)
def test_random_perturbations_are_found_and_never_crash_the_checker(seed: int, size: float, exercise: Exercise) -> None:
    """One random number of one output is changed."""
    rng = np.random.default_rng(seed)
    outputs = exercise.observe(exercise.solution, draws_of(exercise)[0])
    link = str(rng.choice(list(outputs)))

    def spoiled(draw: Draw, right: Any) -> Any:
        value, place = np.array(right, dtype=np.float64), np.random.default_rng(seed).integers(np.size(right))
        value.flat[place] += size * (1 + np.abs(value).max())
        return value

    with np.errstate(all="ignore"):
        finding = diagnose(replace(exercise, observe=changed(exercise, link, spoiled)), lambda **_: 1.0, library=[])
    assert finding.link == link
    assert finding.text
    str(finding), finding.to_json(), finding._repr_html_()


def changed(exercise: Exercise, link: str, change: Callable[[Draw, Any], Any]) -> Observe:
    """The solution's outputs; for any other function one of them is changed."""

    def observe(function: Callable[..., Any], draw: Draw) -> Observation:
        outputs = exercise.observe(exercise.solution, draw)
        if getattr(function, "function", function) is not exercise.solution:
            outputs[link] = change(draw, outputs[link])
        return outputs

    return observe
