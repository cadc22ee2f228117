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
import scipy.special
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
    """A callable object that makes another for each call, whose method the pullback is."""

    def __call__(self, **arguments: Any) -> tuple[Any, Callable[..., Any]]:
        this = AffineAsAClass()
        this.W, b, this.x = arguments.values()
        return np.einsum("bi,ij->bj", this.x, this.W) + b[None, :], this.pullback

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


# What is right at the draws and not everywhere.


def poisson_by_factorials(log_rate, x):
    rate, logs = np.exp(log_rate), np.log(scipy.special.factorial(x))
    return np.sum(x * log_rate - rate - logs, axis=1), lambda d: (d[:, None] * (x - rate), None)


def one_shift_for_all_rows(values):
    w = np.exp(values - values.max())
    return values.max() + np.log(w.mean(axis=0)), lambda dbound: (dbound * w / w.sum(axis=0),)


def curve_of_float32(steps, value, slope, third, dtype):
    return solution_of("error_curve")(steps, value, slope, third, "float32")


def softplus_cut_off(x):
    y = np.where(x > 10, x, np.log1p(np.exp(np.minimum(x, 10))))
    return y, lambda dy: (dy / (1 + np.exp(-x)),)


def kl_of_a_narrow_prior(mean, log_std, alpha):
    return KL.solution(mean, log_std, max(alpha, 1.0))


def kl_at_least_one_half(mean, log_std, alpha):
    kl, pullback = KL.solution(mean, log_std, alpha)
    return np.maximum(kl, 0.5), pullback


def log_of_a_density(mean, log_std, x):
    _, pullback = solution_of("normal_log_prob")(mean, log_std, x)
    std = np.exp(log_std)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    return np.sum(np.log(density), axis=1), pullback


def weights_not_shifted(log_likelihood, mean, log_std, noise):
    z = mean + np.exp(log_std) * noise
    w = np.exp(log_likelihood + np.sum(log_std + 0.5 * noise**2 - 0.5 * z**2, axis=-1))
    return np.log(np.mean(w, axis=0)), solution_of("importance_weighted")(log_likelihood, mean, log_std, noise)[1]


def log_of_a_sigmoid(z, W4, b4, W5, b5, x):
    _, pullback = solution_of("decoder_gradient")(z, W4, b4, W5, b5, x)
    p = 1 / (1 + np.exp(-(np.tanh(z @ W4 + b4) @ W5 + b5)))
    return np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1), pullback


def vae_by_log_of_a_sigmoid(p, x, noise):
    _, g = solution_of("vae_gradient")(p, x, noise)
    h = np.tanh(x @ p["W1"] + p["b1"])
    mean, log_std = h @ p["W2"] + p["b2"], h @ p["W3"] + p["b3"]
    z = mean + np.exp(log_std) * noise
    log_likelihood, _ = log_of_a_sigmoid(z, p["W4"], p["b4"], p["W5"], p["b5"], x)
    return log_likelihood - 0.5 * np.sum(mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std, axis=1), g


def one_minibatch_too_many(theta, x, orders, noise, batch, gradient, adam_step):
    m, v, t, after = np.zeros_like(theta), np.zeros_like(theta), 0, []
    for order, of_epoch in zip(orders, noise, strict=True):
        for k in range(len(order) // batch + 1):
            rows, t = order[k * batch : (k + 1) * batch], t + 1
            theta, m, v = adam_step(theta, gradient(theta, x[rows], of_epoch[rows]), m, v, t)
        after.append(theta)
    return np.array(after)


def squeezed(W, b, x):
    y, pullback = AFFINE.solution(W, b, x)
    return y.squeeze(), pullback


CORNERS = [
    ("poisson_log_prob", poisson_by_factorials, "Where a count is 200"),
    ("log_mean_exp", one_shift_for_all_rows, "Where rows lie a thousand nats apart"),
    ("error_curve", curve_of_float32, "With dtype float64"),
    ("softplus", softplus_cut_off, "Where x is around 10"),
    ("normal_kl", kl_of_a_narrow_prior, "With alpha below 1"),
    ("normal_kl", kl_at_least_one_half, "Where q is close to the prior"),
    ("normal_log_prob", log_of_a_density, "Where x is 50 standard deviations away"),
    ("importance_weighted", weights_not_shifted, "With log-likelihoods near -800"),
    ("decoder_gradient", log_of_a_sigmoid, "With logits of some hundreds"),
    ("vae_gradient", vae_by_log_of_a_sigmoid, "With logits of some hundreds"),
    ("train_vae", one_minibatch_too_many, "With all rows in one minibatch"),
    ("affine", squeezed, "For a batch of one row"),
]


def solution_of(name: str) -> Callable[..., Any]:
    return next(exercise.solution for exercise in EXERCISES if exercise.name == name)


@pytest.mark.parametrize(("name", "function", "said"), CORNERS, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_right_almost_everywhere_is_wrong_in_a_corner(
    name: str, function: Callable[..., Any], said: str
) -> None:
    finding = diagnose(next(e for e in EXERCISES if e.name == name), function)
    assert finding.verdict.startswith(f"{said}: ")
    assert finding.text[-1] == "Otherwise it is right."
    assert any(part.status is not Status.PASS for part in finding.tests)


def test_every_corner_has_a_function_that_is_wrong_there_alone() -> None:
    named = {(e.name, said) for e in EXERCISES for said in e.corners}
    assert named == {(name, said) for name, _, said in CORNERS} - {("affine", "For a batch of one row")}


@every_exercise
def test_a_corner_differs_from_its_draw(exercise: Exercise) -> None:
    for draw in draws_of(exercise) if exercise.corners else []:
        right = exercise.observe(exercise.solution, draw)
        for turned in exercise.corners.values():
            with np.errstate(over="ignore"):
                there = exercise.observe(exercise.solution, turned(draw))
            assert all(np.isfinite(value).all() for value in there.values())
            assert any(not np.array_equal(there[name], right[name]) for name in right)


# Right to many digits.


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("kl", lambda kl, *_: kl + 1e-7, "kl is almost right: it is off by"),
        ("kl", lambda kl, *_: np.float64(np.float32(kl)), "float32 on the way"),
        (
            "kl",
            lambda kl, mean, alpha: kl + 1e-7 * 0.5 * alpha * np.sum(mean**2, axis=1),
            "“½ α mean²” is 1.0000001 times",
        ),
    ],
    ids=["an epsilon added", "float32 on the way", "a constant of few digits"],
)
def test_numbers_that_are_almost_right_are_called_so(name: str, change: Callable[..., Any], words: str) -> None:
    def almost(mean, log_std, alpha):
        kl, pullback = KL.solution(mean, log_std, alpha)
        return change(kl, mean, alpha), pullback

    finding = diagnose(KL, almost)
    assert (finding.kind, finding.link) == (Kind.ALMOST, name)
    assert words in str(finding)
    assert "epsilon" in finding.hints[1]
    found, right = (f"{finding.details[key]:.12g}" for key in ("found", "expected"))
    assert f"yours {found}, right {right}" in str(finding), "with as many digits as show the difference"


# Numbers that no formula fits.


class AffineThatKeepsItsLastCall(AffineAsAClass):
    """The layer of textbooks, which stands for one place in a network: used twice, it forgets the first time."""

    def __call__(self, **arguments: Any) -> tuple[Any, Callable[..., Any]]:
        self.W, b, self.x = arguments.values()
        return self.x @ self.W + b, self.pullback


def test_a_pullback_outlives_the_next_call() -> None:
    finding = diagnose(AFFINE, AffineThatKeepsItsLastCall())
    assert (finding.kind, finding.link) == (Kind.UNSTEADY, "dW")
    assert finding.verdict == "The pullback gives something else once the function has been called again."
    assert [part.name for part in finding.tests if part.status is Status.FAIL] == ["gives the same again"]


def without_the_last_row(W, b, x):
    y, pullback = AFFINE.solution(W, b, x)
    return y, lambda dy: (pullback(dy)[0] - np.outer(x[-1], dy[-1]), *pullback(dy)[1:])


def kl_of_the_first_latent(mean, log_std, alpha):
    return KL.solution(mean[:, :1], log_std[:, :1], alpha)[0], KL.solution(mean, log_std, alpha)[1]


def kl_doubled_for_five_rows(mean, log_std, alpha):
    kl, pullback = KL.solution(mean, log_std, alpha)
    return kl * (2 if len(kl) == 5 else 1), pullback


def density(mean, log_std, x):
    log_prob, pullback = solution_of("normal_log_prob")(mean, log_std, x)
    return np.exp(log_prob), pullback


def log_with_an_epsilon(logits, x):
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    log_prob = np.sum(x * np.log(p + 1e-8) + (1 - x) * np.log(1 - p + 1e-8), axis=1)
    return log_prob, solution_of("bernoulli_log_prob")(logits, x)[1]


def score_with_the_mean_of_all(mean, log_std, z, values):
    return solution_of("score_function")(mean, log_std, z, values - values.mean(axis=0))


def scale_upside_down(log_likelihood, theta, dataset_rows, precision):
    M, (estimate, pullback) = (
        len(log_likelihood),
        solution_of("minibatch_estimate")(log_likelihood, theta, dataset_rows, precision),
    )
    return estimate + (M / dataset_rows - dataset_rows / M) * np.sum(log_likelihood), pullback


def constants_left_in(log_likelihood, mean, log_std, noise):
    bound, pullback = solution_of("importance_weighted")(log_likelihood, mean, log_std, noise)
    return bound - 0.5 * mean.shape[1] * np.log(2 * np.pi), pullback


def weights_before_the_epoch(theta, *arguments, **keywords):
    after = solution_of("train_vae")(theta, *arguments, **keywords)
    return np.stack([theta, after[0]])


@pytest.mark.parametrize(
    ("name", "function", "change", "words"),
    [
        ("affine", without_the_last_row, "independent of x[-1]", "dW does not depend on x[-1], and should."),
        ("normal_kl", kl_of_the_first_latent, "independent of mean[:, -1]", "kl does not depend on mean[:, -1]"),
        ("normal_kl", kl_doubled_for_five_rows, "where B is 5", "right for batches of 3, 4 or 6 rows, and wrong for 5"),
        ("normal_log_prob", density, "exp(log_prob) for log_prob", "Your log_prob is exp(log_prob)"),
        ("bernoulli_log_prob", log_with_an_epsilon, "where logits gets large", "and almost right everywhere else"),
        (
            "score_function",
            score_with_the_mean_of_all,
            "values less its mean over its first axis for values",
            "Your dmean would be right",
        ),
        ("minibatch_estimate", scale_upside_down, "N/M Σ log-likelihood × (M/N)²", "off by the factor (M/N)²"),
        ("importance_weighted", constants_left_in, "-½·log 2π·Z added", "a term too much: -½·log 2π·Z"),
        ("train_vae", weights_before_the_epoch, "step 1 × 0", "“step 1”, “step 2”, “step 3” and “step 4” are missing"),
        ("normal_kl", lambda **a: KL.solution(**a | {"alpha": a["alpha"] ** -2}), "1/alpha² for alpha", "Your kl"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_mistakes_without_a_name_are_told(name: str, function: Callable[..., Any], change: str, words: str) -> None:
    finding = diagnose(next(e for e in EXERCISES if e.name == name), function)
    assert change in finding.changes, finding.changes
    assert words in str(finding)
    assert not finding.misconceptions


def test_a_sign_that_changes_with_the_draw_is_no_factor_of_size() -> None:
    def without_absolute_values(steps, value, slope, third, dtype):
        epsilon = float(np.finfo(dtype).eps)
        return (steps**2 * third / 6 + epsilon * value / steps) / slope, np.cbrt(3 * epsilon * value / third)

    finding = diagnose(next(e for e in EXERCISES if e.name == "error_curve"), without_absolute_values)
    assert finding.changes == ("rounding × 1 or -1 …",)


def test_an_epsilon_of_float32_is_right() -> None:
    """As the statement has it, `np.finfo(dtype).eps`, which is a number of that dtype."""

    def plainly(steps, value, slope, third, dtype):
        epsilon = np.finfo(dtype).eps
        errors = (steps**2 * abs(third) / 6 + epsilon * abs(value) / steps) / abs(slope)
        return errors, (3 * epsilon * abs(value) / abs(third)) ** (1 / 3)

    assert diagnose(next(e for e in EXERCISES if e.name == "error_curve"), plainly).ok


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
