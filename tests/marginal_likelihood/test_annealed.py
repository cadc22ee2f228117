"""Annealed importance sampling: weights whose mean is p(x), bounds from both sides, and planted bugs noticed."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from numvae import VAE, Dense, initial_theta, mlp_vae
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.distributions import Bernoulli, Gamma, Normal
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.hmc import LogDensity, Move, transition
from numvae.marginal_likelihood import (
    annealed,
    annealed_importance,
    from_encoder,
    from_prior,
    linear_temperatures,
    sandwich,
    sigmoidal_temperatures,
    simulate,
)
from numvae.marginal_likelihood.annealed import Annealed, bridge
from numvae.marginal_likelihood.starts import StartLaw
from numvae.marginal_likelihood.supports import coordinates_of, on_the_reals
from numvae.priors import Prior
from tests.exact_models.test_every_exact_model import EXACT
from tests.marginal_likelihood.exact_cases import Missed, every_missed

MISSED = every_missed()
TEN = linear_temperatures(10)
LINEAR = LinearGaussian(np.array([[1.0, 2.0, 0.5], [0.5, -1.0, 1.0]]), np.zeros(3), alpha=1.0, beta=2.0)
MILD = LinearGaussian(np.array([[0.6, 0.2, 0.0], [0.1, -0.4, 0.5]]), np.zeros(3), alpha=1.0, beta=1.0)
"""Its posterior is so near to the prior that even the weights of a single step back have a variance."""
ONE_LATENT = LinearGaussian(np.eye(1), np.zeros(1), alpha=1.0, beta=3.0)
every_case = pytest.mark.parametrize("case", MISSED, ids=str)


def complaints(case: Missed, start: StartLaw = from_prior, chains: int = 3000) -> list[str]:
    """What speaks against a mean weight of p(x), and against a mean log weight below log p(x)."""
    found = annealed_importance(
        case.model, case.theta, case.x, rng=np.random.default_rng(1), temperatures=TEN, chains=chains, steps=5,
        start=start,
    )  # fmt: skip
    surplus = found.log_weights - case.evidence
    unbiased = check_unbiased(np.exp(surplus), np.ones(1))
    above = surplus.mean() > 4 * surplus.std() / math.sqrt(chains) + 1e-12
    return [*unbiased.failures, *["mean log weight above log p(x)"] * int(above)]


# ---- the mean weight is p(x)


@every_case
def test_mean_weight_from_the_prior_is_the_evidence(case: Missed) -> None:
    """annealed.2, annealed.3, annealed.5: on every exact model, whatever the support of its latents."""
    assert complaints(case) == []


@every_case
def test_mean_weight_from_the_encoder_is_the_evidence(case: Missed) -> None:
    assert complaints(case, from_encoder) == []


@pytest.mark.parametrize("exact", EXACT, ids=lambda exact: exact.id)
def test_from_the_exact_posterior_every_weight_is_the_evidence(exact: Any) -> None:
    """All laws on the path (annealed.1) are then the posterior times p(x)^β."""
    _, x = exact.model.draw(np.random.default_rng(0), 3)
    found = annealed_importance(
        exact.model.vae(), exact.model.theta, x, rng=np.random.default_rng(1), temperatures=TEN, chains=2,
        start=from_encoder,
    )  # fmt: skip
    np.testing.assert_allclose(found.log_weights, np.tile(exact.model.evidence(x), (2, 1)), rtol=1e-8)


def test_a_single_step_is_importance_sampling() -> None:
    """With temperatures 0 and 1 nothing moves: the weight is p(x|z) at a draw of the prior."""
    model, theta, (z, x) = LINEAR.vae(), LINEAR.theta, LINEAR.draw(np.random.default_rng(0), 4)
    start, joint = from_prior(model, theta, x), model.log_joint(theta, x)
    found = annealed.walk(start.log_density, joint, z[None], [0.0, 1.0], [], rng=np.random.default_rng(0))
    np.testing.assert_allclose(found.log_weights, model.log_likelihood(theta, z[None], x)[0], rtol=1e-12)


def test_the_estimate_is_the_evidence_within_its_standard_error() -> None:
    """annealed.3, annealed.4: errors in units of the stated ones have spread 1."""
    _, x = MILD.draw(np.random.default_rng(0), 150)
    found = annealed_importance(
        MILD.vae(), MILD.theta, x, rng=np.random.default_rng(1), temperatures=TEN, chains=30,
        steps=5,
    )  # fmt: skip
    errors = (found.values - MILD.evidence(x)) / found.standard_errors
    assert 0.8 < errors.std() < 1.3
    assert (found.effective_size > 5).all()
    assert (found.effective_size <= 30).all()
    assert 0.4 < found.acceptance < 0.95


def test_worked_weights() -> None:
    """Weights 1 and 3: mean 2, error √2/(2√2) = ½, and 16/10 effective chains   (annealed.3), (annealed.4)."""
    found = Annealed(np.log([[1.0], [3.0]]), 1.0)
    np.testing.assert_allclose(found.values, [math.log(2)])
    np.testing.assert_allclose(found.standard_errors, [0.5])
    np.testing.assert_allclose(found.effective_size, [1.6])
    assert np.isinf(Annealed(np.zeros((1, 2)), 1.0).standard_errors).all()


# ---- planted bugs


def always_accepted(density: LogDensity, z: Array, step: Any, momentum: Array, uniforms: Array, steps: int) -> Move:
    """An unadjusted kernel: the leapfrog's end, whatever its energy."""
    return transition(density, z, step, momentum, np.full_like(uniforms, -1), steps)


def starting_afresh() -> Callable[..., Move]:
    """Each temperature's transition begins where the first one did."""
    first: dict[tuple[int, ...], Array] = {}

    def moved(density: LogDensity, z: Array, *rest: Any) -> Move:
        return transition(density, first.setdefault(z.shape, z), *rest)

    return moved


def one_temperature_ahead(start: LogDensity, joint: LogDensity, beta: float) -> LogDensity:
    """So each state is weighed after the transition that should come next."""
    return bridge(start, joint, beta + 0.1)


RISE = annealed._rise
BUGS: dict[str, tuple[str, Callable[[], Any]]] = {
    "wrong sign": ("_rise", lambda: lambda *arguments: -RISE(*arguments)),
    "started afresh": ("transition", starting_afresh),
    "unadjusted kernel": ("transition", lambda: always_accepted),
    "weighed at the wrong state": ("bridge", lambda: one_temperature_ahead),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in MISSED if case.name == "correlated latents")
    assert complaints(case) == []
    name, planted = BUGS[bug]
    monkeypatch.setattr(annealed, name, planted())
    assert complaints(case)


# ---- from both sides


def test_simulated_pairs_follow_the_model() -> None:
    """The first two moments of (z, x), exact for linear models   (linear_gaussian.5)."""
    model, theta = LINEAR.vae(), LINEAR.theta
    z, x = simulate(model, theta, rng=np.random.default_rng(0), count=40_000)
    check_unbiased(x[:, :, None] * x[:, None], LINEAR.covariance).assert_ok()
    check_unbiased(z[:, :, None] * x[:, None], LINEAR.W).assert_ok()


@pytest.mark.parametrize("start", [from_prior, from_encoder], ids=["prior", "encoder"])
def test_mean_weight_of_the_way_back_is_the_reciprocal_evidence(start: StartLaw) -> None:
    """annealed.6: over rows of the model's own data, each with its own draw of the posterior."""
    model, theta = MILD.vae(), MILD.theta.copy()
    model.layout.views(theta)["encoder"][-5:-3] += 0.3
    z, x = simulate(model, theta, rng=np.random.default_rng(0), count=1500)
    bounds = sandwich(
        model, theta, z, x, rng=np.random.default_rng(1), temperatures=TEN, chains=1, steps=5, start=start
    )
    evidence = MILD.evidence(x)
    for direction, log_weights in (
        ("up", bounds.forward.log_weights - evidence),
        ("back", bounds.backward.log_weights + evidence),
    ):
        check_unbiased(np.exp(log_weights[0]), 1.0, name=direction).assert_ok()


def test_a_way_back_that_starts_at_the_prior_is_noticed() -> None:
    z, x = MILD.draw(np.random.default_rng(0), 1500)
    elsewhere = np.random.default_rng(2).standard_normal(z.shape)
    bounds = sandwich(
        MILD.vae(), MILD.theta, elsewhere, x, rng=np.random.default_rng(1), temperatures=TEN, chains=1, steps=5
    )
    assert not check_unbiased(np.exp(bounds.backward.log_weights[0] + MILD.evidence(x)), 1.0).ok


def test_one_step_bounds_are_off_by_the_two_divergences() -> None:
    """KL(prior ‖ posterior) = 2.307 and KL(posterior ‖ prior) = 0.693 on average, by hand   (annealed.7)."""
    z, x = ONE_LATENT.draw(np.random.default_rng(0), 20_000)
    bounds = sandwich(
        ONE_LATENT.vae(), ONE_LATENT.theta, z, x, rng=np.random.default_rng(1), temperatures=(0.0, 1.0), chains=1
    )
    truth = ONE_LATENT.evidence(x)
    below, above = truth - bounds.lower, bounds.upper - truth
    check_unbiased(below, math.log(0.5) + 3.0).assert_ok()
    check_unbiased(above, math.log(2)).assert_ok()
    check_unbiased(bounds.gap, 3.0).assert_ok()


def test_the_truth_lies_between_the_bounds_and_temperatures_close_the_gap() -> None:
    """annealed.5, annealed.6, annealed.7: in means over rows, each error at most the gap."""
    z, x = LINEAR.draw(np.random.default_rng(0), 200)
    truth, gaps = LINEAR.evidence(x), []
    for steps in (3, 12, 48):
        bounds = sandwich(
            LINEAR.vae(), LINEAR.theta, z, x, rng=np.random.default_rng(steps), temperatures=linear_temperatures(steps),
            chains=2, steps=5,
        )  # fmt: skip
        for error in (truth - bounds.lower, bounds.upper - truth):
            assert error.mean() > -3 * error.std() / math.sqrt(len(x))
            assert error.mean() < bounds.gap.mean() + 3 * error.std() / math.sqrt(len(x))
        np.testing.assert_allclose(bounds.gap, bounds.upper - bounds.lower)
        gaps.append(bounds.gap.mean())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def test_every_chain_back_may_have_its_own_draw() -> None:
    _, x = MILD.draw(np.random.default_rng(0), 5)
    root = np.linalg.cholesky(np.linalg.inv(MILD.precision))
    own = MILD.posterior_mean(x) + np.random.default_rng(2).standard_normal((500, 5, 2)) @ root.T
    bounds = sandwich(
        MILD.vae(), MILD.theta, own, x, rng=np.random.default_rng(1), temperatures=TEN, chains=500, steps=5
    )
    check_unbiased(np.exp(bounds.backward.log_weights + MILD.evidence(x)), np.ones(5)).assert_ok()


# ---- the parts


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_temperatures_rise_from_0_to_1(steps: int) -> None:
    for temperatures in (linear_temperatures(steps), sigmoidal_temperatures(steps)):
        assert len(temperatures) == steps + 1
        assert temperatures[0] == 0
        assert temperatures[-1] == 1
        assert all(after > before for before, after in pairwise(temperatures))


def test_sigmoidal_temperatures_are_a_stretched_sigmoid() -> None:
    """annealed.8, as it stands in sigmoids: dense at both ends, and symmetric."""
    t = np.linspace(-1, 1, 51)
    sigmoid = 1 / (1 + np.exp(-4 * t))
    stretched = (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])
    ours = np.array(sigmoidal_temperatures(50))
    np.testing.assert_allclose(ours, stretched, atol=1e-12)
    np.testing.assert_allclose(ours + ours[::-1], 1, atol=1e-12)
    assert np.diff(ours)[0] < 0.2 * np.diff(ours)[25]


def rule_of(case: Missed, beta: float) -> Callable[[Array], tuple[Array, Pullback]]:
    coordinates = coordinates_of(case.model.prior.family)
    ends = (from_encoder(case.model, case.theta, case.x).log_density, case.model.log_joint(case.theta, case.x))
    return bridge(*(on_the_reals(coordinates, end) for end in ends), beta)


@every_case
def test_the_path_is_a_rule(case: Missed) -> None:
    """annealed.1, and under it reciprocal_importance.1 and reciprocal_importance.2."""
    u = np.random.default_rng(0).standard_normal((4, 1, case.model.latents))
    check_pullback(rule_of(case, 0.3), u, names=["u"]).assert_ok()
    ends = [rule_of(case, beta)(u)[0] for beta in (0.0, 1.0)]
    np.testing.assert_allclose(rule_of(case, 0.3)(u)[0], 0.7 * ends[0] + 0.3 * ends[1])


def test_step_sizes_do_not_come_from_the_chains_that_are_weighed() -> None:
    """The tuning's acceptance is what was asked for, and the weighed run changes no step."""
    model, theta, (_, x) = LINEAR.vae(), LINEAR.theta, LINEAR.draw(np.random.default_rng(0), 50)
    start, joint, rng = from_prior(model, theta, x), model.log_joint(theta, x), np.random.default_rng(1)
    steps = annealed.tuned_steps(start.log_density, joint, start.draw(rng, 4), TEN, rng=rng, steps=5)
    assert len(steps) == len(TEN) - 2
    before = list(steps)
    found = annealed.walk(start.log_density, joint, start.draw(rng, 10), TEN, steps, rng=rng, steps=5)
    assert steps == before
    assert abs(found.acceptance - annealed.ACCEPTANCE) < 0.1


def test_single_precision_stays_single() -> None:
    model = mlp_vae(6, latents=2, hidden=[4])
    theta = initial_theta(model.layout, rng=np.random.default_rng(0)).astype(np.float32)
    z, x = simulate(model, theta, rng=np.random.default_rng(0), count=3)
    bounds = sandwich(model, theta, z, x, rng=np.random.default_rng(1), temperatures=linear_temperatures(3), chains=2)
    found = (
        z,
        x,
        bounds.lower,
        bounds.upper,
        bounds.gap,
        bounds.forward.standard_errors,
        bounds.forward.effective_size,
    )
    assert {array.dtype for array in found} == {np.dtype(np.float32)}


def test_memory_does_not_grow_with_the_rows() -> None:
    """But for the weights themselves: rows are taken in blocks."""
    model = mlp_vae(200, latents=2, hidden=[10])
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))

    def most(rows: int) -> int:
        x = np.zeros((rows, 200))
        tracemalloc.start()
        annealed_importance(
            model, theta, x, rng=np.random.default_rng(0), temperatures=linear_temperatures(2), chains=4, steps=1
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert most(640) < 1.2 * most(160)


# ---- what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperatures": (0.0, 0.5)}, "must rise from 0 to 1"),
        ({"temperatures": (0.0, 0.7, 0.3, 1.0)}, "must rise from 0 to 1"),
        ({"temperatures": (1.0,)}, "must rise from 0 to 1"),
        ({"chains": 0}, "chains must be 1 or more, got 0"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"x": np.zeros((0, 3))}, "rows of x must be 1 or more, got 0"),
    ],
)
def test_bad_input_is_explained(wrong: dict[str, Any], message: str) -> None:
    arguments = {"x": np.zeros((2, 3)), "rng": np.random.default_rng(0)} | wrong
    with pytest.raises(InputError, match=message):
        annealed_importance(LINEAR.vae(), LINEAR.theta, arguments.pop("x"), **arguments)


def test_a_draw_that_does_not_fit_the_rows_is_explained() -> None:
    for z in (np.zeros((3, 2)), np.zeros((5, 2, 2))):
        with pytest.raises(InputError, match=r"z must be \(B, Z\) = \(2, 2\), or with 16 chains in front"):
            sandwich(LINEAR.vae(), LINEAR.theta, z, np.zeros((2, 3)), rng=np.random.default_rng(0))


def test_latents_without_a_gradient_or_with_another_support_are_refused() -> None:
    bits = VAE(Dense(3, 2), Dense(2, 3), 2, posterior=Bernoulli(), prior=Prior(Bernoulli()))
    positive = VAE(Dense(3, 4), Dense(2, 3), 2, posterior=Gamma(), prior=Prior(Normal()))
    x, rng = np.zeros((2, 3)), np.random.default_rng(0)
    with pytest.raises(InputError, match=r"Hamiltonian chains need latents on the reals.*got Bernoulli"):
        annealed_importance(bits, np.zeros(bits.layout.size), x, rng=rng)
    with pytest.raises(InputError, match=r"q.*positive, the prior over reals; start from_prior"):
        annealed_importance(positive, np.zeros(positive.layout.size), x, rng=rng, start=from_encoder)
