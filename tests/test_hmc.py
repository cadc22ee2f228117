"""Hamiltonian Monte Carlo: what the leapfrog keeps, what its draws follow, and that planted bugs are noticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import special, stats

from numvae import hmc, initial_theta, mlp_vae
from numvae.arrays import Array, Pullback
from numvae.checks import check_calibration, check_pullback, check_unbiased
from numvae.checks.calibration import CalibrationReport
from numvae.errors import InputError
from numvae.exact_models import BetaBernoulli, LinearGaussian
from numvae.hmc import LogDensity, Move, draw_chain, jittered, leapfrog, transition, tuned

# ---- densities whose moments are known, as rules


def rule_of(log_density: Callable[[Array], Array], slope: Callable[[Array], Array]) -> LogDensity:
    """A rule from a function and its derivative, both by hand."""

    def rule(z: Array) -> tuple[Array, Pullback]:
        return log_density(z), lambda dvalue: (dvalue[..., None] * slope(z),)

    return rule


PRECISION = np.linalg.inv(np.array([[1.0, 0.8], [0.8, 1.0]]))
CORRELATED = rule_of(lambda z: -0.5 * np.sum(z @ PRECISION * z, axis=-1), lambda z: -z @ PRECISION)
NU = 8.0
STUDENT = rule_of(
    lambda z: np.sum(-(NU + 1) / 2 * np.log1p(z * z / NU), axis=-1), lambda z: -(NU + 1) * z / (NU + z * z)
)
SHAPE = 3.0
LOG_GAMMA = rule_of(lambda z: np.sum(SHAPE * z - np.exp(z), axis=-1), lambda z: SHAPE - np.exp(z))
SHARE, DISTANCE = 0.3, 1.5
"""A mixture of N(-1.5, 1) and N(1.5, 1), three tenths of the first."""
ODDS = math.log((1 - SHARE) / SHARE)


def of_second(z: Array) -> Array:
    """How probable it is that z comes from the second."""
    return np.asarray(special.expit(2 * DISTANCE * z + ODDS))


MIXTURE = rule_of(
    lambda z: np.sum(-0.5 * (z - DISTANCE) ** 2 - special.log_expit(2 * DISTANCE * z + ODDS), axis=-1),
    lambda z: -z + DISTANCE * (2 * of_second(z) - 1),
)
MIXTURE_MEAN = (1 - 2 * SHARE) * DISTANCE


@dataclass(frozen=True)
class Known:
    """A density of two numbers, and the means of z_1, z_1² and z_1 z_2 under it."""

    name: str
    log_density: LogDensity
    moments: tuple[float, float, float]


KNOWN = [
    Known("correlated normal", CORRELATED, (0.0, 1.0, 0.8)),
    Known("student t", STUDENT, (0.0, NU / (NU - 2), 0.0)),
    Known(
        "log of a gamma",
        LOG_GAMMA,
        (
            special.digamma(SHAPE),
            special.polygamma(1, SHAPE) + special.digamma(SHAPE) ** 2,
            special.digamma(SHAPE) ** 2,
        ),
    ),
    Known("mixture", MIXTURE, (MIXTURE_MEAN, 1 + DISTANCE**2, MIXTURE_MEAN**2)),
]
every_density = pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)


# ---- transitions with a bug planted in each

Transition = Callable[[LogDensity, Array, Array, Array, Array], Move]


def gradient_at(log_density: LogDensity, z: Array) -> tuple[Array, Array]:
    value, pullback = log_density(z)
    return value, pullback(np.ones_like(value))[0]


def leapfrog_without_half_steps(
    log_density: LogDensity, z: Array, momentum: Array, step: float, steps: int
) -> tuple[Array, Array, tuple[Array, Array]]:
    """The planted bug: momentum and z in whole steps only."""
    before, gradient = gradient_at(log_density, z)
    for _ in range(steps):
        momentum = momentum + step * gradient
        z = z + step * momentum
        after, gradient = gradient_at(log_density, z)
    return z, momentum, (before, after)


def without_half_steps(log_density: LogDensity, z: Array, step: Array, momentum: Array, uniforms: Array) -> Move:
    """The whole transition with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hmc, "leapfrog", leapfrog_without_half_steps)
        return transition(log_density, z, step, momentum, uniforms)


def right(log_density: LogDensity, z: Array, step: Array, momentum: Array, uniforms: Array) -> Move:
    return transition(log_density, z, step, momentum, uniforms)


def accepting_everything(log_density: LogDensity, z: Array, step: Array, momentum: Array, uniforms: Array) -> Move:
    """The planted bug: no Metropolis test."""
    return transition(log_density, z, step, momentum, np.full_like(uniforms, -1.0))


def with_one_momentum(log_density: LogDensity, z: Array, step: Array, momentum: Array, uniforms: Array) -> Move:
    """The planted bug: momentum is drawn once and used for ever."""
    once = np.random.default_rng(99).standard_normal(momentum.shape)
    return transition(log_density, z, step, once, uniforms)


def states_of(
    kernel: Transition, log_density: LogDensity, z: Array, step: float, draws: int, thin: int = 3, jitter: float = 0.2
) -> tuple[Array, Array]:
    """States of the chains, (draws, ..., Z), and their log densities."""
    rng, kept, burn_in = np.random.default_rng(5), [], 30
    for number in range(1, burn_in + draws * thin + 1):
        levels = rng.random((2, *z.shape[:-1]))
        moved = kernel(log_density, z, jittered(step, levels[0], jitter), rng.standard_normal(z.shape), levels[1])
        z = moved.z
        if number > burn_in and (number - burn_in) % thin == 0:
            kept.append((z, moved.log_density))
    return np.stack([z for z, _ in kept]), np.stack([value for _, value in kept])


def chain_moments(z: Array) -> Array:
    """The mean over draws of z_1, z_1² and z_1 z_2, for each chain by itself: (chains, 3)."""
    return np.stack([z[..., 0], z[..., 0] ** 2, z[..., 0] * z[..., 1]], axis=-1).mean(axis=0)


# ---- what the leapfrog keeps


def start_points(count: int = 200, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 2)), rng.standard_normal((count, 2))


@every_density
def test_the_densities_are_rules(known: Known) -> None:
    check_pullback(known.log_density, start_points(5)[0], names=["z"]).assert_ok()


@every_density
def test_a_trajectory_run_backwards_comes_back(known: Known) -> None:
    """(hmc.3): negate the momentum, integrate again, and be where it began."""
    z, momentum = start_points()
    there, with_momentum, (before, after) = leapfrog(known.log_density, z, momentum, 0.2, 10)
    back, reversed_momentum, (from_there, to_start) = leapfrog(known.log_density, there, -with_momentum, 0.2, 10)
    np.testing.assert_allclose(back, z, atol=1e-12)
    np.testing.assert_allclose(reversed_momentum, -momentum, atol=1e-12)
    np.testing.assert_allclose((from_there, to_start), (after, before), atol=1e-11)


def test_without_half_steps_it_does_not_come_back() -> None:
    z, momentum = start_points()
    there, with_momentum, _ = leapfrog_without_half_steps(MIXTURE, z, momentum, 0.2, 10)
    back, _, _ = leapfrog_without_half_steps(MIXTURE, there, -with_momentum, 0.2, 10)
    assert np.median(np.abs(back - z)) > 0.01


def both_from_the_old_state(
    log_density: LogDensity, z: Array, momentum: Array, step: float, steps: int
) -> tuple[Array, Array, tuple[Array, Array]]:
    """The planted bug: z and momentum moved at once, each by what the other was (Euler's method)."""
    before, gradient = gradient_at(log_density, z)
    for _ in range(steps):
        z, momentum = z + step * momentum, momentum + step * gradient
        after, gradient = gradient_at(log_density, z)
    return z, momentum, (before, after)


@pytest.mark.parametrize(
    ("integrator", "keeps"),
    [(leapfrog, True), (both_from_the_old_state, False)],
    ids=["leapfrog", "both from the old state"],
)
@every_density
def test_volume_is_kept(known: Known, integrator: Callable[..., tuple[Array, Array, object]], keeps: bool) -> None:
    """(hmc.3): the determinant of the map (z, momentum) -> (z, momentum), by central differences, is 1."""
    nudge, size = 1e-5, 4
    for z, momentum in zip(*start_points(5), strict=True):
        nudged = np.concatenate([z, momentum]) + nudge * np.concatenate([np.eye(size), -np.eye(size)])
        ends = np.concatenate(integrator(known.log_density, nudged[:, :2], nudged[:, 2:], 0.2, 10)[:2], axis=-1)
        determinant = np.linalg.det((ends[:size] - ends[size:]) / (2 * nudge))
        assert bool(abs(determinant - 1) < 1e-7) is keeps


Integrator = Callable[..., tuple[Array, Array, tuple[Array, Array]]]


def energy_order(integrator: Integrator, log_density: LogDensity, count: int = 200) -> float:
    """The slope of log(root mean square of ΔH) in log(step), along trajectories of length 1."""
    z, momentum = start_points(count)
    errors = []
    for steps in (10, 20, 40, 80):
        _, last, (before, after) = integrator(log_density, z, momentum, 1 / steps, steps)
        energy = before - after + 0.5 * np.sum(last**2 - momentum**2, axis=-1)
        errors.append(np.sqrt(np.mean(energy**2)))
    return float(np.polyfit(np.log([1 / 10, 1 / 20, 1 / 40, 1 / 80]), np.log(errors), 1)[0])


@every_density
def test_halving_the_step_divides_the_energy_error_by_four(known: Known) -> None:
    """(hmc.2), (hmc.3)."""
    assert energy_order(leapfrog, known.log_density) == pytest.approx(2, abs=0.05)


UNIT = rule_of(lambda z: -0.5 * np.sum(z * z, axis=-1), lambda z: -z)


def test_on_a_standard_normal_the_energy_error_is_known() -> None:
    """By (hmc.3c), whatever the number of steps; the numbers of the first row by hand."""
    z, momentum = start_points()
    z[0], momentum[0] = (0, 0), (1, 0)
    for step, steps in ((0.5, 1), (0.5, 7), (1.3, 10)):
        there, last, _ = leapfrog(UNIT, z, momentum, step, steps)
        energy = 0.5 * np.sum(there**2 + last**2 - z**2 - momentum**2, axis=-1)
        np.testing.assert_allclose(energy, step**2 / 8 * np.sum(there**2 - z**2, axis=-1), atol=1e-12)
        if steps == 1:
            assert energy[0] == 0.0078125


def test_without_the_metropolis_test_a_standard_normal_is_too_wide() -> None:
    """The variance is 1 / (1 - step² / 4), by (hmc.3c), and no trace shows it."""
    z = np.random.default_rng(0).standard_normal((3000, 2))
    found, _ = states_of(accepting_everything, UNIT, z, step=0.8, draws=10, jitter=0.0)
    check_unbiased(chain_moments(found), np.array([0, 1 / (1 - 0.16), 0])).assert_ok()


@every_density
def test_without_half_steps_the_energy_error_only_halves(known: Known) -> None:
    assert energy_order(leapfrog_without_half_steps, known.log_density) == pytest.approx(1, abs=0.1)


# ---- the model's log joint, with and without the gradient of the prior

VAE = mlp_vae(12, latents=2, hidden=(6,))
VAE_THETA = 2 * initial_theta(VAE.layout, rng=np.random.default_rng(3))


def without_the_priors_gradient(log_density: LogDensity) -> LogDensity:
    """The planted bug: the value has log p(z) = -½|z|², the gradient has not."""

    def rule(z: Array) -> tuple[Array, Pullback]:
        value, pullback = log_density(z)
        return value, lambda dvalue: (pullback(dvalue)[0] + dvalue[..., None] * z,)

    return rule


def without_the_prior(log_density: LogDensity) -> LogDensity:
    """The planted bug: neither value nor gradient has it; the two agree with each other."""

    def rule(z: Array) -> tuple[Array, Pullback]:
        value, pullback = without_the_priors_gradient(log_density)(z)
        return value + 0.5 * np.sum(z * z, axis=-1), pullback

    return rule


def simulated_bits(count: int, seed: int = 0) -> tuple[Array, Array]:
    """z from the prior, (count, 2), and bits from the decoder at each."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, 2))
    return z, (rng.random((count, 12)) < VAE.decode_mean(VAE_THETA, z)).astype(float)


def test_without_the_priors_gradient_energy_is_not_kept_at_any_step() -> None:
    """The order of the error falls from 2 to 0; and the pullback check sees it too."""
    z, x = simulated_bits(80)
    whole, missing = VAE.log_joint(VAE_THETA, x), without_the_priors_gradient(VAE.log_joint(VAE_THETA, x))
    assert energy_order(leapfrog, whole, 80) == pytest.approx(2, abs=0.05)
    assert abs(energy_order(leapfrog, missing, 80)) < 0.1
    assert not check_pullback(missing, z, names=["z"]).ok


def test_a_wrong_gradient_costs_acceptance_and_the_metropolis_test_keeps_the_law() -> None:
    """Any force that depends on z alone is reversible and keeps volume: what fails is the acceptance, not the draws."""
    z = np.random.default_rng(0).standard_normal((2000, 2))
    wrong = rule_of(lambda z: -2 * np.sum(z * z, axis=-1), lambda z: -2.5 * z)
    found, _ = states_of(right, wrong, z, step=0.3, draws=10)
    check_unbiased(chain_moments(found), np.array([0, 0.25, 0]), name="moments").assert_ok()
    noise, uniforms = np.random.default_rng(1).standard_normal(z.shape), np.zeros(len(z))
    good = rule_of(lambda z: -2 * np.sum(z * z, axis=-1), lambda z: -4 * z)
    assert transition(wrong, z / 2, 0.3, noise, uniforms).acceptance.mean() < 0.8
    assert transition(good, z / 2, 0.3, noise, uniforms).acceptance.mean() > 0.9


# ---- what the draws follow


@every_density
def test_moments_are_those_of_the_density(known: Known) -> None:
    """(hmc.4): 2,000 chains from afar, each by itself an estimate."""
    rng = np.random.default_rng(0)
    chain = draw_chain(known.log_density, 2 * rng.standard_normal((2000, 2)), draws=20, rng=rng, burn_in=150)
    check_unbiased(chain_moments(chain.z), np.array(known.moments), name=known.name).assert_ok()
    np.testing.assert_array_equal(chain.log_density, known.log_density(chain.z)[0])


def test_draws_follow_the_distribution_function() -> None:
    """(hmc.4): not the moments alone."""
    rng = np.random.default_rng(0)
    for log_density, cdf in ((STUDENT, stats.t(NU).cdf), (LOG_GAMMA, stats.loggamma(SHAPE).cdf)):
        chain = draw_chain(log_density, rng.standard_normal((3000, 1)), draws=1, rng=rng, burn_in=150)
        assert stats.kstest(chain.z[0, :, 0], cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "kernel", [without_half_steps, accepting_everything, with_one_momentum], ids=lambda kernel: kernel.__name__
)
def test_a_planted_bug_gives_other_moments(kernel: Transition) -> None:
    """At a step size with which the right transition accepts some 85 % and passes."""
    z = np.random.default_rng(0).standard_normal((2000, 2))
    truth = np.array([0.0, 1.0, 0.8])
    found, _ = states_of(right, CORRELATED, z, step=0.5, draws=10)
    check_unbiased(chain_moments(found), truth).assert_ok()
    found, _ = states_of(kernel, CORRELATED, z, step=0.5, draws=10)
    assert not check_unbiased(chain_moments(found), truth).ok


# ---- calibration: simulated truths rank anywhere among the draws

LINEAR = LinearGaussian(np.array([[1.0, 0.5, 0.2], [0.3, -1.0, 0.4]]), np.array([0.3, 0.0, -0.2]), alpha=1.5, beta=3.0)
COIN = BetaBernoulli(features=5, alpha=2.0, beta=1.5)


def coin_log_joint(x: Array) -> LogDensity:
    """log p(x, z) for z = sigmoid(u), a density in u: with dz/du = z (1 - z), each exponent grows by one."""
    ups = COIN.alpha + np.sum(x, axis=-1)
    downs = COIN.beta + COIN.features - np.sum(x, axis=-1)
    return rule_of(
        lambda u: -ups * np.logaddexp(0, -u[..., 0]) - downs * np.logaddexp(0, u[..., 0]),
        lambda u: ups[..., None] * special.expit(-u) - downs[..., None] * special.expit(u),
    )


def simulate(model: str, count: int) -> tuple[Array, LogDensity, Array]:
    """Truths, the log joint of the data simulated from them, and other draws of the prior to start from."""
    rng = np.random.default_rng(7)
    if model == "linear":
        z, x = LINEAR.draw(rng, count)
        return z, LINEAR.vae().log_joint(LINEAR.theta, x), LINEAR.draw(rng, count)[0]
    if model == "coin":
        z, x = COIN.draw(rng, count)
        return special.logit(z), coin_log_joint(x), special.logit(COIN.draw(rng, count)[0])
    z, x = simulated_bits(count)
    return z, VAE.log_joint(VAE_THETA, x), rng.standard_normal(z.shape)


def calibration(
    model: str, kernel: Transition = right, damage: Callable[[LogDensity], LogDensity] = lambda f: f, step: float = 0.3
) -> CalibrationReport:
    """Of z and of log p(x, z), over 1,000 simulated data sets with 19 draws for each."""
    truths, log_joint, z = simulate(model, 1000)
    draws, _ = states_of(kernel, damage(log_joint), z, step, draws=19)
    values = [log_joint(points)[0][..., None] for points in (truths, draws)]
    return check_calibration(
        np.concatenate([truths, values[0]], axis=-1), np.concatenate([draws, values[1]], axis=-1), name=model
    )


@pytest.mark.parametrize(
    ("model", "step"), [("linear", 0.3), ("linear", 0.7), ("coin", 0.3), ("bits", 0.3), ("bits", 0.6)]
)
def test_it_is_calibrated(model: str, step: float) -> None:
    """(hmc.4), (hmc.7), (hmc.8): no exact posterior is asked, only the model's own simulations."""
    calibration(model, step=step).assert_ok()


@pytest.mark.parametrize("model", ["linear", "bits"])
@pytest.mark.parametrize(
    ("kernel", "damage"),
    [
        (without_half_steps, lambda f: f),
        (accepting_everything, lambda f: f),
        (with_one_momentum, lambda f: f),
        (right, without_the_prior),
    ],
    ids=["no half steps", "every proposal accepted", "one momentum", "no prior"],
)
def test_a_planted_bug_is_not_calibrated(
    model: str, kernel: Transition, damage: Callable[[LogDensity], LogDensity]
) -> None:
    """At step sizes at which the right transition is."""
    assert not calibration(model, kernel, damage, step=0.7 if model == "linear" else 0.6).ok


# ---- acceptance and tuning


def test_acceptance_is_the_ratio_of_densities_times_momenta() -> None:
    """(hmc.4): min(1, p(z') N(p') / p(z) N(p)), by scipy's densities."""
    z, momentum = start_points()
    law, unit = stats.multivariate_normal(cov=np.linalg.inv(PRECISION)), stats.multivariate_normal(cov=np.eye(2))
    there, last, _ = leapfrog(CORRELATED, z, momentum, 0.6, 10)
    ratio = law.pdf(there) * unit.pdf(last) / (law.pdf(z) * unit.pdf(momentum))
    moved = transition(CORRELATED, z, 0.6, momentum, np.full(len(z), 0.7))
    np.testing.assert_allclose(moved.acceptance, np.minimum(1, ratio), rtol=1e-9)
    np.testing.assert_array_equal(moved.accepted, ratio > 0.7)
    np.testing.assert_array_equal(moved.z, np.where(moved.accepted[:, None], there, z))
    assert 0 < moved.accepted.mean() < 1


@pytest.mark.parametrize(
    ("known", "start"),
    [(KNOWN[1], 0.3), (KNOWN[1], 2.0), (KNOWN[2], 0.3)],
    ids=["student", "from afar", "log of a gamma"],
)
def test_step_size_is_tuned_to_the_acceptance_asked_for(known: Known, start: float) -> None:
    """(hmc.5): nine in ten within standard errors, over eight runs, whether the first step is too short or too long."""
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((60, 2))
        shares.append(draw_chain(known.log_density, z, draws=40, rng=rng, burn_in=250, step=start).acceptance)
    assert abs(np.mean(shares) - 0.9) < 4 * np.std(shares, ddof=1) / math.sqrt(8)
    assert np.std(shares) < 0.01


def test_tuning_the_wrong_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: longer where less is accepted."""
    monkeypatch.setattr(
        hmc, "tuned", lambda step, share, number, target: step * math.exp((target - share) / number**0.5)
    )
    rng = np.random.default_rng(0)
    chain = draw_chain(STUDENT, rng.standard_normal((60, 2)), draws=60, rng=rng, burn_in=300, step=0.5)
    assert abs(chain.acceptance - 0.9) > 0.05


def test_tuning_by_hand() -> None:
    """(hmc.5): a tenth too much accepted, at the fourth transition: log step grows by 0.05."""
    assert tuned(0.2, acceptance=1.0, number=4) == pytest.approx(0.2 * math.exp(0.05))
    assert tuned(0.2, acceptance=0.4, number=1, target=0.5) == pytest.approx(0.2 * math.exp(-0.1))


def test_a_trajectory_of_half_a_turn_mirrors_every_point_and_jitter_breaks_the_mirror() -> None:
    """(hmc.6): on a standard normal the leapfrog turns by 2 asin(step / 2) each step; ten turn by π at this one."""
    step = 2 * math.sin(math.pi / 20)
    z, momentum = start_points(500)
    mirrored = transition(UNIT, z, step, momentum, np.zeros(500)).z
    np.testing.assert_allclose(mirrored, -z, atol=1e-12)
    levels = np.random.default_rng(0).random(500)
    steps = jittered(step, levels)
    assert steps.shape == (500, 1)
    np.testing.assert_allclose(steps[:, 0], step * (0.8 + 0.4 * levels))
    moved = transition(UNIT, z, steps, momentum, np.zeros(500)).z
    assert np.std(moved + z) > 0.2
    far = 3 * np.ones((500, 2))
    stuck, freed = (
        draw_chain(UNIT, far, draws=1, burn_in=0, thin=50, step=step, jitter=jitter, rng=np.random.default_rng(0))
        for jitter in (0.0, 0.2)
    )
    assert np.mean(stuck.z**2) > 8
    assert np.mean(freed.z**2) < 1.2


def test_a_chain_keeps_its_step_once_it_draws() -> None:
    """Tuning while drawing would make the next step depend on the past."""
    z = np.zeros((4, 2))
    chains = [draw_chain(CORRELATED, z, draws=n, rng=np.random.default_rng(0), burn_in=20) for n in (1, 50)]
    assert chains[0].step == chains[1].step
    np.testing.assert_array_equal(chains[0].z[0], chains[1].z[0])
    thinned = draw_chain(CORRELATED, z, draws=10, thin=5, rng=np.random.default_rng(0), burn_in=20)
    np.testing.assert_array_equal(thinned.z, chains[1].z[4::5])
    assert 0 < thinned.acceptance <= 1


# ---- the house's contract


def test_chains_do_not_touch_each_other() -> None:
    """A chain alone goes where it goes among others, and any leading axes do."""
    z, momentum = start_points(6)
    uniforms = np.random.default_rng(1).random(6)
    among = transition(MIXTURE, z, 0.5, momentum, uniforms)
    for row in range(6):
        alone = transition(MIXTURE, z[row : row + 1], 0.5, momentum[row : row + 1], uniforms[row : row + 1])
        np.testing.assert_array_equal(alone.z[0], among.z[row])
    folded = transition(MIXTURE, z.reshape(2, 3, 2), 0.5, momentum.reshape(2, 3, 2), uniforms.reshape(2, 3))
    np.testing.assert_array_equal(folded.z.reshape(6, 2), among.z)
    steps = np.array([[0.1], [0.5], [0.9], [0.1], [0.5], [0.9]])
    own = transition(MIXTURE, z, steps, momentum, uniforms)
    np.testing.assert_array_equal(own.z[[1, 4]], among.z[[1, 4]])


def test_single_precision_stays_single() -> None:
    log_joint = VAE.log_joint(VAE_THETA.astype(np.float32), simulated_bits(5)[1].astype(np.float32))
    chain = draw_chain(log_joint, np.zeros((5, 2), np.float32), draws=3, rng=np.random.default_rng(0))
    assert chain.z.dtype == chain.log_density.dtype == np.float32


def test_nothing_is_written_and_the_same_noise_gives_the_same() -> None:
    z, momentum = start_points(4)
    uniforms = np.random.default_rng(1).random(4)
    for array in (z, momentum, uniforms):
        array.setflags(write=False)
    once, again = (transition(MIXTURE, z, 0.5, momentum, uniforms) for _ in range(2))
    np.testing.assert_array_equal(once.z, again.z)


def test_a_trajectory_that_leaves_the_numbers_is_not_accepted() -> None:
    steep = rule_of(lambda z: -np.sum(z**4, axis=-1), lambda z: -4 * z**3)
    z = np.full((3, 1), 2.0)
    with np.errstate(all="raise", over="ignore", invalid="ignore", under="ignore"):
        moved = transition(steep, z, 10.0, np.ones((3, 1)), np.zeros(3))
    np.testing.assert_array_equal(moved.z, z)
    np.testing.assert_array_equal(moved.acceptance, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"draws": 0}, "draws must be 1 or more, got 0"),
        ({"burn_in": -1}, "burn_in must be 0 or more, got -1"),
        ({"thin": 0}, "thin must be 1 or more"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"step": 0.0}, "step must be a positive number, got 0.0"),
        ({"step": math.inf}, "step must be a positive number"),
        ({"jitter": 1.0}, r"jitter must be a number in \[0, 1\), got 1.0"),
    ],
)
def test_bad_numbers_are_refused(words: dict[str, float], message: str) -> None:
    settings = {"draws": 1, "rng": np.random.default_rng(0)} | words
    with pytest.raises(InputError, match=message):
        draw_chain(CORRELATED, np.zeros((2, 2)), **settings)  # type: ignore[arg-type]


def test_a_start_without_a_density_is_refused() -> None:
    log = rule_of(lambda z: np.sum(np.log(z), axis=-1), lambda z: 1 / z)
    with (
        np.errstate(all="ignore"),
        pytest.raises(InputError, match="the chains start where the log density is not finite"),
    ):
        draw_chain(log, np.array([[-1.0]]), draws=1, rng=np.random.default_rng(0))
