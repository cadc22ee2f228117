"""Training with estimators that learn while they work, and of sigmoid belief networks: loop, runs and command."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import elbo, elbo_monte_carlo, importance_weighted, score_function
from numvae.adaptation import estimators_at, start_adaptation
from numvae.belief_networks import mlp_belief_network
from numvae.checkpoints import read_checkpoint, save_state
from numvae.config import Config
from numvae.datasets import threshold
from numvae.errors import DivergedError, InputError
from numvae.estimators.arm import disarm
from numvae.estimators.baselines import NVIL, MovingAverageBaseline
from numvae.estimators.rebar import AdaptiveRebar
from numvae.estimators.relax import Relax
from numvae.evaluation import evaluate, evaluate_importance_weighted
from numvae.gradcheck import check_model
from numvae.optimizers import Adam
from numvae.report import write_report
from numvae.runs import create_run, open_run
from numvae.training import Recipe, State, bound_and_gradient, start, train
from tests.small_runs import BATCH, DIGITS, MODEL, numvae, same_state, write_digits

SBN = mlp_belief_network(DIGITS.features, latents=(6, 4))
RECIPE = Recipe(epochs=2, batch=BATCH, optimizer=Adam(0.01))
ADAPTIVE: dict[str, tuple[Any, Any]] = {
    "vae, nvil": (MODEL, NVIL(hidden=(5,))),
    "vae, moving average": (MODEL, MovingAverageBaseline()),
    "sbn, nvil": (SBN, NVIL(hidden=(5,))),
    "sbn, rebar": (SBN, AdaptiveRebar()),
    "sbn, relax": (SBN, Relax()),
}
every_adaptive = pytest.mark.parametrize("case", ADAPTIVE)


def begin(model: Any, recipe: Recipe) -> State:
    return start(model, DIGITS, recipe)


def same(a: State, b: State) -> bool:
    """Bit for bit, with what the estimator has learnt."""
    if (a.adaptation is None) != (b.adaptation is None):
        return False
    if a.adaptation is not None and b.adaptation is not None:
        vectors = [{"eta": each.eta, **each.moments} for each in (a.adaptation, b.adaptation)]
        if any(np.asarray(vectors[0][key]).tobytes() != np.asarray(vectors[1][key]).tobytes() for key in vectors[0]):
            return False
    return same_state(a, b)


@pytest.mark.parametrize("estimator", [AdaptiveRebar(), Relax()], ids=["rebar", "relax"])
def test_a_look_at_the_bound_alone_teaches_nothing(estimator: Any) -> None:
    """Below, the relaxation takes slopes of what lies above while the value is made: the layers above are held then."""
    state = begin(SBN, replace(RECIPE, estimator=estimator))
    assert state.adaptation is not None
    deta = np.zeros_like(state.adaptation.eta)
    learning = estimators_at(estimator, state.adaptation, deta)
    x = threshold(DIGITS.train[:5], np.random.default_rng(0), np.float32)
    noise = SBN.draw_noise(learning, np.random.default_rng(1), (1, 5), np.float32)
    _, pullback = elbo(SBN, state.theta, x, noise, learning)
    assert not deta.any()
    pullback(np.full(5, 0.2, np.float32))
    assert all(part.any() for part in state.adaptation.split(deta))


# ---- what an estimator learns


@every_adaptive
def test_it_learns_and_stopping_anywhere_changes_nothing(case: str, tmp_path: Path) -> None:
    model, estimator = ADAPTIVE[case]
    recipe = replace(RECIPE, estimator=estimator)
    whole = train(model, DIGITS, recipe, begin(model, recipe))
    fresh = begin(model, recipe)
    assert whole.adaptation is not None
    assert fresh.adaptation is not None
    assert not np.array_equal(whole.adaptation.eta, fresh.adaptation.eta)
    assert whole.adaptation.eta.dtype == np.float32

    state = train(model, DIGITS, recipe, fresh, on_batch=lambda state: state.step == 9)
    assert state.step == 9
    save_state(tmp_path / "checkpoint.npz", model, state, features=DIGITS.features)
    again = read_checkpoint(tmp_path / "checkpoint.npz").state(model)
    assert same(again, state)
    assert same(train(model, DIGITS, recipe, again), whole)


def test_each_layer_has_weights_of_its_own() -> None:
    theta, x = begin(SBN, RECIPE).theta, (DIGITS.train[:5] > 127).astype(np.float32)
    adaptation = start_adaptation(NVIL(hidden=(3,)), SBN, theta, x, rng=np.random.default_rng(0))
    assert adaptation is not None
    assert adaptation.sizes == (2 + (49 + 1) * 3 + 4, 2 + (6 + 1) * 3 + 4)  # the second looks at six bits
    assert sum(adaptation.sizes) == len(adaptation.eta)
    assert len(estimators_at(NVIL(hidden=(3,)), adaptation)) == 2
    assert start_adaptation(score_function, SBN, theta, x, rng=np.random.default_rng(0)) is None


@pytest.mark.parametrize("rows", [400, 30])
def test_the_direction_is_that_of_the_mean_over_rows(rows: int) -> None:
    """Blocks or not: a moving average with rate 1 becomes the mean of f."""
    rng = np.random.default_rng(0)
    theta, x = begin(MODEL, RECIPE).theta.astype(np.float64), (rng.random((rows, 49)) < 0.3).astype(float)
    noise, deta = rng.standard_normal((1, rows, 2)), np.zeros(1)
    estimator = MovingAverageBaseline().at(np.zeros(1), deta)
    bound_and_gradient(MODEL, theta, x, noise, elbo_monte_carlo, estimator)
    bound_sum, _ = bound_and_gradient(MODEL, theta, x, noise, elbo_monte_carlo)
    assert deta[0] == pytest.approx(bound_sum / rows, rel=1e-12)


def test_an_estimator_that_leaves_the_range_of_numbers_is_named() -> None:
    recipe = replace(RECIPE, estimator=MovingAverageBaseline())
    state = begin(MODEL, recipe)
    assert state.adaptation is not None
    state.adaptation.eta[...] = np.nan
    with pytest.raises(DivergedError, match=r"the estimator's own optimizer \(eta\) made the first NaN"):
        train(MODEL, DIGITS, recipe, state)


# ---- belief networks in the loop


@pytest.mark.parametrize(
    ("objective", "estimator", "samples"),
    [
        (elbo, disarm, 1),
        (elbo, score_function, 2),
        (elbo_monte_carlo, score_function, 3),
        (importance_weighted, score_function, 5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_belief_network_learns(objective: Any, estimator: Any, samples: int) -> None:
    recipe = replace(RECIPE, epochs=12, objective=objective, estimator=estimator, samples=samples)
    history = train(SBN, DIGITS, recipe, begin(SBN, recipe)).history
    assert history[-1]["train_elbo"] > history[0]["train_elbo"] + 0.5
    last = history[-1]
    assert last["test_elbo"] == pytest.approx(last["test_reconstruction"] - last["test_kl"], rel=1e-6)


def test_its_bounds_are_in_order() -> None:
    """ELBO below the importance-weighted bound, which grows with the samples, on the same trained model and bits."""
    recipe = replace(RECIPE, epochs=5, estimator=disarm)
    theta = train(SBN, DIGITS, recipe, begin(SBN, recipe)).theta

    def bound(evaluation: Any, samples: int) -> Any:
        return evaluation(SBN, theta, DIGITS.test, rng=np.random.default_rng(0), samples=samples, binarize=threshold)

    elbo_at_test = bound(evaluate, 200)
    tighter = [bound(evaluate_importance_weighted, samples) for samples in (2, 50)]
    assert elbo_at_test.elbo < tighter[0] < tighter[1]
    x = threshold(DIGITS.test, np.random.default_rng(0), theta.dtype)
    noise = np.random.default_rng(1).random((200, len(x), SBN.latents), np.float32)
    assert elbo_at_test.elbo == pytest.approx(
        elbo_monte_carlo(SBN, theta, x, noise, score_function)[0].mean(), abs=0.02
    )


def test_a_rule_that_makes_a_nan_is_named_in_every_layer() -> None:
    for leaf, words in (
        ("encoder.2.1.W", r"encoder\.2\.1 \(Dense"),
        ("decoder.1.1.W", r"decoder\.1\.1 \(Dense"),
        ("encoder.1.1.centre", r"encoder\.1\.1 \(CentredDense"),
    ):
        recipe = replace(RECIPE, estimator=disarm)
        state = copy.deepcopy(begin(SBN, recipe))
        dict(SBN.layout.leaves(state.theta))[leaf][...] = 3e38
        with pytest.raises(DivergedError, match=words):
            train(SBN, DIGITS, recipe, state)


@pytest.mark.parametrize("latents", [(4,), (4, 3)])
def test_the_gradient_check_of_a_belief_network(latents: tuple[int, ...]) -> None:
    """Bits held, every group of weights; and DisARM against the score function."""
    model = mlp_belief_network(DIGITS.features, latents=latents, hidden=(5,))
    theta = start(model, DIGITS, RECIPE, dtype=np.float64).theta
    found = check_model(model, theta, (DIGITS.test[:3] > 127).astype(float), rng=np.random.default_rng(0))
    assert found.ok, found.to_json()["problems"]
    assert found.to_json()["estimators"] == ["score_function", "disarm"]
    assert {group["name"] for group in found.to_json()["groups"]} == {name for name, _ in model.layout.leaves(theta)}
    assert found.variance_ratio > 1


# ---- runs and the command


def settings(tmp_path: Path, **changes: Any) -> Config:
    small = {"data": str(write_digits(tmp_path)), "model": "sbn", "hidden": [], "latent": 5, "epochs": 2}
    return Config.model_validate(small | changes)


@pytest.mark.parametrize("changes", [{}, {"layers": 2, "hidden": [6]}, {"layers": 3, "estimator": "nvil"}], ids=str)
def test_a_run_of_bits_has_its_page(tmp_path: Path, changes: dict[str, Any]) -> None:
    run, dataset = create_run(settings(tmp_path, **changes), tmp_path / "run")
    train(run.model, dataset, run.recipe, run.state)
    run.save()
    run = open_run(tmp_path / "run")
    page, pictures = write_report(run, dataset, run.check_gradient(dataset))
    text = page.read_text()
    assert "A sigmoid belief network of" in text
    assert {path.stem for path in pictures} >= {"reconstructions", "prior_samples", "bound_curves", "gradient_check"}
    assert run.draw(3).shape == (3, 49)
    assert np.array_equal(run.draw(3), run.draw(3))


def test_another_estimator_in_the_config_is_noticed(tmp_path: Path) -> None:
    create_run(settings(tmp_path, estimator="nvil"), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"nvil"', '"relax"'))
    with pytest.raises(InputError, match="with another optimizer, estimator or dtype"):
        open_run(tmp_path / "run")


def test_the_command_trains_resumes_and_evaluates_a_belief_network(tmp_path: Path) -> None:
    words = ["--model", "sbn", "--layers", 2, "--hidden", "none", "--latent", 5, "--estimator", "relax", "--epochs", 1]
    made = numvae("train", "--data", write_digits(tmp_path), *words, "--out", tmp_path / "run", "--json")
    assert made.code == 0, made.err
    resumed = numvae("train", "--resume", tmp_path / "run", "--epochs", 2, "--json")
    assert resumed.json["epochs"] == 2
    found = numvae("evaluate", tmp_path / "run", "--samples", 20, "--json").json
    assert found["test_importance_weighted"] > found["test_elbo"]
    assert math.isfinite(found["test_kl"])
    assert numvae("sample", tmp_path / "run", "--out", tmp_path / "drawn.png").code == 0
    assert numvae("gradcheck", tmp_path / "run", "--json").json["ok"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--model", "sbn", "--estimator", "enumeration", "--latent", 13], "enumeration takes at most 12 latents"),
        (["--estimator", "delta_method", "--likelihood", "normal", "--binarize", "none"], "no second derivatives"),
    ],
)
def test_an_estimator_that_refuses_the_model_leaves_no_folder(words: list[Any], complaint: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    outcome = numvae("train", "--data", write_digits(tmp_path), "--hidden", 8, *words, "--out", folder)
    assert outcome.code == 2
    assert complaint in outcome.complaint
    assert not folder.exists()


def test_what_suits_model_and_objective_is_chosen() -> None:
    chosen = [
        Config.model_validate(settings).settled_estimator()
        for settings in (
            {},
            {"model": "sbn"},
            {"model": "sbn", "layers": 3},
            {"model": "sbn", "objective": "importance_weighted"},
            {"model": "sbn", "layers": 2, "objective": "elbo_monte_carlo"},
        )
    ]
    assert chosen == ["pathwise", "disarm", "disarm", "score_function", "score_function"]
