"""Monte Carlo EM: Fisher's identity, the evidence it reaches, and that stopping and going on changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import mlp_vae
from numvae.arrays import Array
from numvae.belief_networks import mlp_belief_network
from numvae.checks import check_pullback, check_unbiased
from numvae.datasets import Dataset, fresh, grey
from numvae.errors import DivergedError, InputError
from numvae.exact_models import LinearGaussian, corner_noise, greatest_evidence, probabilistic_pca
from numvae.hmc import Move, draw_chain, tuned
from numvae.learning import (
    EMState,
    MonteCarloEM,
    complete_gradient,
    load_em,
    monte_carlo_em,
    save_em,
    start_em,
    train_em,
)
from numvae.models import VAE
from numvae.optimizers import OPTIMIZERS, SGD, AdaGrad, Adam
from numvae.priors import Prior
from numvae.schedules import Cosine
from numvae.training import Recipe, generator
from tests.oracles import gradient_of
from tests.small_runs import BATCH, DIGITS, MODEL, TRAIN_ROWS

RECIPE = Recipe(batch=BATCH, optimizer=AdaGrad(0.1), binarize=grey)
EM = MonteCarloEM(leapfrog_steps=3, weight_updates=2)


def learnt(samples: int, recipe: Recipe = RECIPE, em: MonteCarloEM = EM, dtype: Any = np.float32) -> EMState:
    return train_em(MODEL, DIGITS, recipe, em, start_em(MODEL, DIGITS, recipe, em, dtype=dtype), samples=samples)


def same(a: EMState, b: EMState) -> bool:
    """Whether two states are equal bit for bit, all but the time that was spent."""
    vectors_a, vectors_b = ({**state.moments, "theta": state.theta, "z": state.z} for state in (a, b))
    numbers = ("step_size", "epoch", "batches", "step", "samples", "acceptance", "log_joint")
    return (
        vectors_a.keys() == vectors_b.keys()
        and all(np.asarray(vectors_a[key]).tobytes() == np.asarray(vectors_b[key]).tobytes() for key in vectors_a)
        and a.noise_rng.bit_generator.state == b.noise_rng.bit_generator.state
        and all(getattr(a, name) == getattr(b, name) for name in numbers)
    )


# ---- Fisher's identity

LINEAR = LinearGaussian(np.array([[1.0, 0.5, 0.2], [0.3, -1.0, 0.4]]), np.array([0.3, 0.0, -0.2]), alpha=1.5, beta=3.0)
LINEAR_VAE = LINEAR.vae()
WEIGHTS = LINEAR_VAE.layout.views(LINEAR.theta)["decoder"]
_, X = LINEAR.draw(np.random.default_rng(0), 4)


def mean_evidence(weights: Array) -> float:
    """The mean of log p(x) over X, as a function of [W | b | log_std]; checked elsewhere against scipy."""
    W, b, log_std = weights[:6].reshape(2, 3), weights[6:9], weights[9]
    return float(LinearGaussian(W, b, alpha=1.5, beta=float(np.exp(-2 * log_std))).evidence(X).mean())


SCORE = gradient_of(mean_evidence, WEIGHTS)


def at_corners(mean: Array, covariance: Array) -> Array:
    """The mean gradient of log p(x, z) over z ~ N(mean, covariance): exact, since it is a quadratic in z."""
    spread = corner_noise(2, len(X)) @ np.linalg.cholesky(covariance).T
    return np.mean([complete_gradient(LINEAR_VAE, WEIGHTS, mean + z, X)[1] for z in spread], axis=0)


def test_the_mean_gradient_over_the_posterior_is_that_of_the_evidence() -> None:
    """(monte_carlo_em.1): to eight digits, no noise in it."""
    np.testing.assert_allclose(at_corners(LINEAR.posterior_mean(X), np.linalg.inv(LINEAR.precision)), SCORE, atol=1e-8)


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [
        (np.zeros((4, 2)), np.eye(2) / LINEAR.alpha),
        (LINEAR.posterior_mean(X), np.diag(1 / np.diag(LINEAR.precision))),
        (LINEAR.posterior_mean(X) + 0.1, np.linalg.inv(LINEAR.precision)),
    ],
    ids=["the prior", "the mean-field q", "a posterior off by 0.1"],
)
def test_over_anything_else_it_is_not(mean: Array, covariance: Array) -> None:
    """The second is the best q of independent latents: an E step from q climbs a bound, not the evidence."""
    assert np.abs(at_corners(mean, covariance) - SCORE).max() > 0.02


def drawn_gradients(draw: Callable[[np.random.Generator], Array]) -> Array:
    """Gradients at so many draws of z, (R, 4, 2), each for all four rows."""
    return np.stack([complete_gradient(LINEAR_VAE, WEIGHTS, z, X)[1] for z in draw(np.random.default_rng(1))])


def by_chains(rng: np.random.Generator) -> Array:
    log_joint = LINEAR_VAE.log_joint(LINEAR.theta, X)
    return draw_chain(log_joint, rng.standard_normal((1500, 4, 2)), draws=1, rng=rng, burn_in=40, step=0.3).z[0]


def one_short_transition_from_the_prior(rng: np.random.Generator) -> Array:
    """The planted bug: a chain that starts anew at the prior has not arrived."""
    log_joint = LINEAR_VAE.log_joint(LINEAR.theta, X)
    start = rng.standard_normal((1500, 4, 2)) / LINEAR.alpha**0.5
    return draw_chain(log_joint, start, draws=1, rng=rng, burn_in=0, step=0.1, steps=2).z[0]


def test_chains_give_an_unbiased_gradient_of_the_evidence() -> None:
    """(monte_carlo_em.1)."""
    check_unbiased(drawn_gradients(by_chains), SCORE, name="complete_gradient").assert_ok()
    assert not check_unbiased(drawn_gradients(one_short_transition_from_the_prior), SCORE).ok


def test_the_gradient_is_that_of_the_mean_log_likelihood() -> None:
    """(monte_carlo_em.1): against finite differences; a sum over rows for the mean is noticed."""
    z, x = np.random.default_rng(0).standard_normal((5, 2)), DIGITS.train[:5] / 255
    weights = np.random.default_rng(1).standard_normal(MODEL.decoder.layout.size)

    def mean_log_likelihood(factor: float) -> Callable[[Array], tuple[Any, Any]]:
        def rule(weights: Array) -> tuple[Any, Any]:
            values, gradient = complete_gradient(MODEL, weights, z, x)
            return values.mean(), lambda d: (factor * d * gradient,)

        return rule

    check_pullback(mean_log_likelihood(1.0), weights, directions=2, coordinates=0).assert_ok()
    assert not check_pullback(mean_log_likelihood(5.0), weights, directions=2, coordinates=0).ok


# ---- what it learns

AXES = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 2)))[0].T
TRUTH = LinearGaussian(AXES * [[2.0], [1.0]], np.linspace(-1, 1, 6), beta=4.0)
ROWS = TRUTH.draw(np.random.default_rng(4), 300)[1]
PCA_DATA, PCA_MODEL, GREATEST = (
    Dataset("rows", ROWS, ROWS),
    probabilistic_pca(ROWS, 2).vae(),
    greatest_evidence(ROWS, 2),
)


def evidence_missed(optimizer: Any = Adam(0.02), em: MonteCarloEM = MonteCarloEM(), samples: int = 30_000) -> float:  # noqa: B008
    """What the learnt model's mean evidence lacks to the greatest that any weights have.  Nats."""
    recipe = Recipe(batch=100, optimizer=optimizer, binarize=grey, schedule=Cosine(steps=samples // 100))
    state = start_em(PCA_MODEL, PCA_DATA, recipe, em, dtype=np.float64)
    train_em(PCA_MODEL, PCA_DATA, recipe, em, state, samples=samples)
    leaves = dict(PCA_MODEL.layout.leaves(state.theta))
    beta = float(np.exp(-2 * leaves["decoder.2.log_std"][0]))
    found = LinearGaussian(leaves["decoder.1.W"], leaves["decoder.1.b"], beta=beta)
    return GREATEST - float(found.evidence(ROWS).mean())


@pytest.mark.parametrize("optimizer", [AdaGrad(0.1), Adam(0.02)], ids=repr)
def test_it_reaches_the_greatest_evidence(optimizer: Any) -> None:
    """(monte_carlo_em.2): of ten seeds the most that was missed is 0.01 nats; at the start it is 2.6 nats."""
    assert 0 <= evidence_missed(optimizer) < 0.02


ORIGINAL = monte_carlo_em._transition


def from_the_prior(model: VAE, em: MonteCarloEM, state: EMState, picked: Array, x: Array) -> Move:
    """The planted bug: samples that know nothing of the data."""
    moved = ORIGINAL(model, em, state, picked, x)
    return replace(moved, z=state.noise_rng.standard_normal(moved.z.shape))


def started_anew(model: VAE, em: MonteCarloEM, state: EMState, picked: Array, x: Array) -> Move:
    """The planted bug: every visit starts the chain at a draw of the prior."""
    state.z[picked] = state.noise_rng.standard_normal((len(picked), 2))
    return ORIGINAL(model, em, state, picked, x)


@pytest.mark.parametrize("bug", [from_the_prior, started_anew], ids=lambda bug: bug.__name__)
def test_an_e_step_that_is_none_does_not(bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo_em, "_transition", bug)
    assert evidence_missed() > 0.5


# ---- a batch


@dataclass(frozen=True)
class Recording:
    """SGD that notes every gradient and scale."""

    step_size: float = 0.01
    gradients: list[Array] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)

    def start(self, theta: Array) -> dict[str, Any]:
        return {}

    def ascend(self, theta: Array, gradient: Array, state: dict[str, Any], scale: float = 1.0) -> None:
        self.gradients.append(gradient.copy())
        self.scales.append(scale)
        SGD(self.step_size).ascend(theta, gradient, state, scale)


def test_the_weights_climb_at_the_new_samples_so_many_times() -> None:
    """(monte_carlo_em.2): by hand, from the chains that the batch left."""
    recorder = Recording()
    recipe = replace(RECIPE, optimizer=recorder, schedule=Cosine(steps=10))
    before = start_em(MODEL, DIGITS, recipe, EM, dtype=np.float64)
    after = train_em(MODEL, DIGITS, recipe, EM, copy.deepcopy(before), samples=1)
    picked = generator(0, "order", 0).permutation(TRAIN_ROWS)[:BATCH]
    moved, weights = after.z[picked], MODEL.layout.views(before.theta)["decoder"].copy()
    for gradient in recorder.gradients:
        np.testing.assert_allclose(gradient, complete_gradient(MODEL, weights, moved, DIGITS.train[picked] / 255)[1])
        weights += 0.01 * gradient
    np.testing.assert_allclose(MODEL.layout.views(after.theta)["decoder"], weights, rtol=1e-12)
    assert recorder.scales == [1.0, 1.0]
    train_em(MODEL, DIGITS, recipe, EM, after, samples=2 * BATCH)
    assert recorder.scales[2:] == [Cosine(steps=10)(1)] * 2


def test_only_the_chains_of_the_batch_move_and_the_encoder_never_does() -> None:
    before = start_em(MODEL, DIGITS, RECIPE, EM)
    encoder = MODEL.layout.views(before.theta)["encoder"].copy()
    after = train_em(MODEL, DIGITS, RECIPE, EM, copy.deepcopy(before), samples=1)
    picked = generator(0, "order", 0).permutation(TRAIN_ROWS)[:BATCH]
    others = np.setdiff1d(np.arange(TRAIN_ROWS), picked)
    np.testing.assert_array_equal(after.z[others], before.z[others])
    assert np.any(after.z[picked] != before.z[picked], axis=1).mean() > 0.5
    np.testing.assert_array_equal(MODEL.layout.views(after.theta)["encoder"], encoder)
    assert (after.samples, after.step, after.batches, after.epoch) == (BATCH, 1, 1, 0)


def test_an_epoch_visits_every_row_once() -> None:
    state = learnt(TRAIN_ROWS)
    assert (state.samples, state.epoch, state.batches, state.step) == (TRAIN_ROWS, 1, 0, 7)


def test_the_weight_prior_enters_once_per_data_set() -> None:
    """(monte_carlo_em.2), by (objectives.9): -τ θ / N, of the decoder's weights."""
    firsts = []
    for precision in (None, 4.0):
        recorder = Recording()
        recipe = replace(RECIPE, optimizer=recorder, weight_prior_precision=precision)
        weights = MODEL.layout.views(start_em(MODEL, DIGITS, recipe, EM, dtype=np.float64).theta)["decoder"]
        learnt(1, recipe, dtype=np.float64)
        firsts.append(recorder.gradients[0])
    np.testing.assert_allclose(firsts[1] - firsts[0], -4 * weights / TRAIN_ROWS, atol=1e-13)


def test_clipping_shortens_every_gradient() -> None:
    free, clipped = Recording(), Recording()
    learnt(1, replace(RECIPE, optimizer=free), dtype=np.float64)
    learnt(1, replace(RECIPE, optimizer=clipped, clip_norm=0.1), dtype=np.float64)
    assert np.linalg.norm(free.gradients[0]) > 0.5
    np.testing.assert_allclose([np.linalg.norm(gradient) for gradient in clipped.gradients], 0.1)


def test_a_batch_passes_through_the_decoder_sixteen_times() -> None:
    """Ten leapfrog steps and the start of the trajectory, forth and back without weights; five with them."""
    calls = {"at held weights": 0, "for weights": 0}

    @dataclass(frozen=True)
    class Counted:
        network: Any

        @property
        def layout(self) -> Any:
            return self.network.layout

        def __call__(self, theta: Array, x: Array) -> Any:
            calls["at held weights"] += 1
            return self.network(theta, x)

        def of_data(self, theta: Array, x: Array) -> Any:
            calls["for weights"] += 1
            return self.network.of_data(theta, x)

    em, state = MonteCarloEM(), start_em(MODEL, DIGITS, RECIPE)
    train_em(replace(MODEL, decoder=Counted(MODEL.decoder)), DIGITS, RECIPE, em, state, samples=1)
    assert calls == {"at held weights": 11, "for weights": 5}


@pytest.mark.parametrize("target", [0.9, 0.6])
def test_the_step_size_is_tuned_throughout(target: float) -> None:
    """(monte_carlo_em.3): to the acceptance asked for; the hundredth batch and every later one weigh the same."""
    em, shares = MonteCarloEM(acceptance=target), []
    state = learnt(40 * TRAIN_ROWS, em=em)
    assert state.step == 280
    for _ in range(150):
        before = state.step_size
        train_em(MODEL, DIGITS, RECIPE, em, state, samples=state.samples + 1)
        assert state.step_size == tuned(before, state.acceptance, number=100, target=target)
        shares.append(state.acceptance)
    assert np.mean(shares) == pytest.approx(target, abs=0.03)


# ---- going on


@pytest.mark.parametrize("name", ["adagrad", "adam", "momentum", "sgd"])
@pytest.mark.parametrize("binarize", [grey, fresh], ids=lambda f: f.__name__)
def test_a_run_that_stopped_and_went_through_a_file_ends_bit_for_bit_the_same(
    tmp_path: Path, name: str, binarize: Any
) -> None:
    recipe = replace(RECIPE, optimizer=OPTIMIZERS[name](), binarize=binarize, schedule=Cosine(steps=20))
    whole, state = learnt(500, recipe), start_em(MODEL, DIGITS, recipe, EM)
    for milestone in (70, 200, 330, 500):
        train_em(MODEL, DIGITS, recipe, EM, state, samples=milestone)
        save_em(tmp_path / "em.npz", MODEL, state)
        found = load_em(tmp_path / "em.npz", MODEL)
        assert same(found, state)
        assert found.seconds == state.seconds
        state = found
    assert same(state, whole)
    assert not same(learnt(500, replace(recipe, seed=1)), whole)


@pytest.mark.parametrize("lost", ["z", "step_size", "moments", "noise_rng"])
def test_whatever_is_lost_on_the_way_would_be_noticed(lost: str) -> None:
    """The negative control."""
    recipe = replace(RECIPE, optimizer=Adam(0.01))
    state, new = learnt(330, recipe), start_em(MODEL, DIGITS, recipe, EM)
    setattr(state, lost, getattr(new, lost))
    assert not same(train_em(MODEL, DIGITS, recipe, EM, state, samples=500), learnt(500, recipe))


def test_it_can_be_stopped_after_any_batch() -> None:
    state = start_em(MODEL, DIGITS, RECIPE, EM)
    train_em(MODEL, DIGITS, RECIPE, EM, state, samples=10_000, on_batch=lambda state: state.step == 9)
    assert (state.step, state.epoch, state.batches, state.samples) == (9, 1, 2, TRAIN_ROWS + 2 * BATCH)
    train_em(MODEL, DIGITS, RECIPE, EM, state, samples=100)
    assert state.step == 9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_keeps_its_dtype(dtype: Any) -> None:
    state = learnt(100, replace(RECIPE, optimizer=Adam()), dtype=dtype)
    assert {array.dtype for array in (state.theta, state.z, state.moments["first"])} == {np.dtype(dtype)}


# ---- what can go wrong


def test_a_gradient_that_is_not_finite_stops_the_run_and_leaves_the_state_as_it_was() -> None:
    state = learnt(100)
    leaves = dict(MODEL.layout.leaves(state.theta))
    leaves["decoder.3.b"][...] = np.float32(3e38)
    leaves["decoder.3.W"][...] = np.float32(3e38)
    before = copy.deepcopy(state)
    with pytest.raises(DivergedError, match=r"batch 5, weight update 1: .*made the first"):
        train_em(MODEL, DIGITS, RECIPE, EM, state, samples=1000)
    assert same(state, before)


def test_an_optimizer_that_leaves_the_numbers_stops_the_run_and_leaves_the_state_as_it_was() -> None:
    recipe = replace(RECIPE, optimizer=SGD(1e38))
    state = start_em(MODEL, DIGITS, recipe, EM)
    before = copy.deepcopy(state)
    with pytest.raises(DivergedError, match=r"batch 1, weight update \d: "):
        train_em(MODEL, DIGITS, recipe, EM, state, samples=1000)
    assert same(state, before)


@pytest.mark.parametrize(
    ("model", "recipe", "message"),
    [
        (
            mlp_belief_network(DIGITS.features, latents=(4,)),
            RECIPE,
            "learns a VAE's decoder, got a SigmoidBeliefNetwork",
        ),
        (MODEL, replace(RECIPE, kl_weight=2.0), "which has no KL: leave out kl_weight"),
        (MODEL, replace(RECIPE, device="cuda"), "runs on the cpu, got device 'cuda'"),
    ],
    ids=["bits", "a weighted KL", "a device"],
)
def test_what_it_is_not_for_is_refused(model: Any, recipe: Recipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start_em(model, DIGITS, recipe)


def test_a_discrete_prior_is_refused() -> None:
    from numvae import Bernoulli

    with pytest.raises(InputError, match="needs latents with a gradient, Bernoulli has none"):
        start_em(replace(MODEL, prior=Prior(Bernoulli(), (("logit", 0.0),))), DIGITS, RECIPE)


def test_a_state_of_other_data_is_refused() -> None:
    fewer = replace(DIGITS, train=DIGITS.train[:50], train_labels=None)
    with pytest.raises(InputError, match=r"chains \(200, 2\), the data and the model ask for \(50, 2\)"):
        train_em(MODEL, fewer, RECIPE, EM, start_em(MODEL, DIGITS, RECIPE), samples=10)


@pytest.mark.parametrize(
    "words",
    [{"leapfrog_steps": 0}, {"acceptance": 1.0}, {"weight_updates": 0}, {"step_size": 0.0}, {"jitter": 1.0}],
    ids=lambda words: next(iter(words)),
)
def test_settings_out_of_range_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"MonteCarloEM: {next(iter(words))} must be"):
        MonteCarloEM(**words)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("em") / "em.npz"
    save_em(path, MODEL, learnt(100))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": np.full(MODEL.layout.size, np.nan, np.float32)}, "theta missing or out of order"),
        ({"z": np.zeros((200, 3), np.float32)}, "z missing or out of order"),
        ({"moment.squares": np.zeros(3, np.float32)}, "moment.squares missing or out of order"),
        ({"about": np.frombuffer(b"{}", np.uint8)}, "cannot be read"),
        ({"theta": np.array([{}], dtype=object)}, "cannot be read"),
    ],
    ids=["nan", "shape of z", "moments", "about", "a pickle"],
)
def test_a_damaged_file_is_refused(saved: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "em.npz", **dict(np.load(saved)) | change)
    with pytest.raises(InputError, match=message):
        load_em(tmp_path / "em.npz", MODEL)


def test_a_truncated_file_no_file_and_another_models_file_are_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "em.npz").write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        load_em(tmp_path / "em.npz", MODEL)
    with pytest.raises(InputError, match="does not exist"):
        load_em(tmp_path / "none.npz", MODEL)
    with pytest.raises(InputError, match="the weights of another model"):
        load_em(saved, mlp_vae(DIGITS.features, latents=3, hidden=(16,)))


def test_a_crash_while_saving_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def crash(file: Any, **arrays: Any) -> None:
        file.write(b"PK half a state")
        raise KeyboardInterrupt

    monkeypatch.setattr(monte_carlo_em.np, "savez", crash)
    with pytest.raises(KeyboardInterrupt):
        save_em(saved, MODEL, learnt(30))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
