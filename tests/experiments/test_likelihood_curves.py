"""Figure 3's experiments on tiny data: milestones, three learners, and stopping at any moment without a trace."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae.config import prepare_data
from numvae.errors import DivergedError, InputError
from numvae.experiments import PaperReproduction, likelihood_curves, running
from numvae.experiments.aevb import settings_of
from numvae.experiments.likelihood_curves import (
    EM,
    LIKELIHOOD_CURVES,
    LikelihoodCurve,
    estimate_likelihood,
    milestones,
)
from numvae.experiments.outcomes import Outcome, read_outcome, read_points, write_outcome, write_points
from numvae.experiments.step_size import STEP_SIZES
from numvae.interruption import Interrupted
from numvae.learning.monte_carlo_em import load_em
from numvae.marginal_likelihood import importance_weighted_bounds
from numvae.models import VAE
from numvae.randomness import generator
from numvae.runs import open_run
from tests.experiments.tiny import MANY, without_times

SMALL = {learner: LikelihoodCurve(1000, learner) for learner in ("aevb", "wake_sleep", "monte_carlo_em")}


@pytest.fixture(scope="module")
def outcomes(all_of_aevb: PaperReproduction) -> dict[str, Outcome]:
    return {name: read_outcome(path) or {} for name, path in all_of_aevb.experiments.items()}


def _again(curve: LikelihoodCurve, folder: Path) -> Outcome:
    """The outcome as it is read from its file."""
    write_outcome(folder / "it.json", curve.run(folder / "out", "quick", "this"))
    return without_times(read_outcome(folder / "it.json") or {})


# ---- what is run


@pytest.mark.parametrize("curve", LIKELIHOOD_CURVES, ids=lambda curve: curve.name)
def test_the_settings_at_full_size_are_the_papers(curve: LikelihoodCurve) -> None:
    config = curve.config("full")
    assert (config.hidden, config.latent, config.train_rows) == ([100], 3, curve.rows)
    assert config.test_rows == likelihood_curves.JUDGED_ROWS["full"], "more would be evaluated after every pass"
    assert (config.batch, config.samples, config.optimizer, config.weight_prior) == (100, 1, "adagrad", 1.0)
    assert config.weights in ("small_normal", "wide_normal"), "the paper's N(0, 0.01), one way or the other"
    assert (config.activation, config.likelihood, config.binarize) == ("tanh", "bernoulli", "fixed")
    assert config.objective == ("wake_sleep" if curve.learner == "wake_sleep" else "elbo")
    assert config.epochs is not None
    assert config.epochs * curve.rows >= 1_000_000


def test_the_curves_are_those_of_figure_3() -> None:
    assert {(curve.rows, curve.learner) for curve in LIKELIHOOD_CURVES} == {
        (rows, learner) for rows in (1000, 50_000) for learner in ("aevb", "wake_sleep", "monte_carlo_em")
    }
    assert (EM.leapfrog_steps, EM.acceptance, EM.weight_updates) == (10, 0.9, 5)
    assert (likelihood_curves.DRAWS, likelihood_curves.LEAPFROG_STEPS) == (50, 4)
    assert likelihood_curves.JUDGED_ROWS["full"] == 1000


@pytest.mark.parametrize("rows", [1, 7, 1000, 1565, 50_000, 2_000_000])
@pytest.mark.parametrize("samples", [1, 30_000, 1_000_000, 10_000_001])
def test_milestones_are_whole_passes_up_to_the_first_that_has_seen_all(samples: int, rows: int) -> None:
    found = milestones(samples, rows)
    assert found == sorted(set(found))
    assert all(place % rows == 0 for place in found)
    assert found[-1] - rows < samples <= found[-1]
    assert all(later < 4.8 * earlier for earlier, later in pairwise(found)), "half a decade apart"
    assert len(found) <= 9


def test_there_is_nothing_to_look_at_early() -> None:
    assert milestones(10_000_000, 1000)[0] == 32_000
    assert milestones(15_000, 1000) == [15_000]


@pytest.mark.usefixtures("tiny_aevb")
def test_the_quick_profile_has_no_more_rows_than_it_says() -> None:
    assert LikelihoodCurve(50_000, "aevb").config("quick").train_rows == MANY
    assert LikelihoodCurve(1000, "aevb").config("quick").train_rows == 1000


# ---- what comes out


@pytest.mark.parametrize("learner", SMALL)
def test_an_outcome_has_an_estimate_at_every_milestone(learner: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[SMALL[learner].name]
    assert outcome["samples"] == [2000, 6000]
    for key in ("train", "test", "train_standard_error", "test_standard_error", "seconds"):
        assert len(outcome[key]) == 2
        assert all(np.isfinite(outcome[key]))
    assert outcome["seconds"][0] < outcome["seconds"][1] == outcome["training_seconds"]
    assert (outcome["train_rows"], outcome["learner"], outcome["step_size"]) == (1000, learner, 0.01)


def test_learners_differ(outcomes: dict[str, Outcome]) -> None:
    ends = {outcomes[curve.name]["train"][-1] for curve in LIKELIHOOD_CURVES}
    assert len(ends) == len(LIKELIHOOD_CURVES)


@pytest.mark.usefixtures("tiny_aevb")
def test_the_estimate_is_that_of_importance_sampling_and_its_error_that_of_the_mean_over_points(
    all_of_aevb: PaperReproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log p(x) of the same test points by 2,000 importance samples, which is another road to the same number."""
    monkeypatch.setattr(likelihood_curves, "DRAWS", 60)
    monkeypatch.setattr(likelihood_curves, "BURN_IN", 30)
    run = open_run(all_of_aevb.page.parent / "runs" / SMALL["aevb"].name)
    _, dataset = prepare_data(run.config)
    assert isinstance(run.model, VAE)
    found = estimate_likelihood(run.config, run.model, run.theta, dataset, 25)
    x = run.recipe.binarize(dataset.test[:25], generator(0, "evaluation"), run.theta.dtype)
    other = importance_weighted_bounds(run.model, run.theta, x, rng=generator(0, "noise"), samples=2000).best
    assert found["test"] == pytest.approx(float(other.mean()), abs=0.05)
    error = float(other.std(ddof=1)) / 5
    assert found["test_standard_error"] == pytest.approx(error, rel=0.05)
    assert abs(found["train"] - found["test"]) > 1e-6


# ---- stopping at any moment


@pytest.mark.usefixtures("tiny_aevb")
@pytest.mark.parametrize("learner", ["aevb", "wake_sleep"])
@pytest.mark.parametrize("step", [5, 20, 33, 60])
def test_training_stopped_anywhere_goes_on_to_the_same_outcome(
    learner: str, step: int, outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first milestone, which is step 20, at it, after it, and at the last step."""
    on_batch, curve = running.Progress.on_batch, SMALL[learner]

    def interrupt(self: Any, state: Any) -> None:
        on_batch(self, state)
        if state.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(running.Progress, "on_batch", interrupt)
        with pytest.raises(Interrupted, match=f"interrupted in {curve.name}; go on with: this"):
            curve.run(tmp_path / "out", "quick", "this")
    assert open_run(tmp_path / "out" / curve.name).state.step == step
    assert _again(curve, tmp_path) == without_times(outcomes[curve.name])


@pytest.mark.usefixtures("tiny_aevb")
@pytest.mark.parametrize("step", [5, 20, 33, 60])
def test_monte_carlo_em_stopped_anywhere_goes_on_to_the_same_outcome(
    step: int, outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_em, curve = likelihood_curves.train_em, SMALL["monte_carlo_em"]

    def interrupted(*arguments: Any, on_batch: Any, **keywords: Any) -> Any:
        def interrupt(state: Any) -> Any:
            if state.step == step:
                os.kill(os.getpid(), signal.SIGINT)
            return on_batch(state)

        return train_em(*arguments, on_batch=interrupt, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(likelihood_curves, "train_em", interrupted)
        with pytest.raises(Interrupted, match=f"interrupted in {curve.name}; go on with: this"):
            curve.run(tmp_path / "out", "quick", "this")
    settled, dataset = prepare_data(curve.config("quick"))
    model = settled.build_model(dataset.features)
    assert isinstance(model, VAE)
    assert load_em(tmp_path / "out" / curve.name / "em.npz", model).step == step
    assert _again(curve, tmp_path) == without_times(outcomes[curve.name])


@pytest.mark.usefixtures("tiny_aevb")
@pytest.mark.parametrize("learner", ["aevb", "monte_carlo_em"])
def test_an_interrupted_estimate_is_made_again_and_what_was_found_is_kept(
    learner: str, outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve, calls = SMALL[learner], []

    def second_fails(*arguments: Any) -> dict[str, float]:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return estimate_likelihood(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(likelihood_curves, "estimate_likelihood", second_fails)
        with pytest.raises(KeyboardInterrupt):
            curve.run(tmp_path / "out", "quick", "this")
    looked = tmp_path / "out" / curve.name / "looked.json"
    assert [point["samples"] for point in read_points(looked, "quick", "samples")] == [2000]
    monkeypatch.setattr(running, "train", lambda *_, **__: pytest.fail("it trains"))
    assert _again(curve, tmp_path) == without_times(outcomes[curve.name])


# ---- what can go wrong


@pytest.mark.usefixtures("tiny_aevb")
@pytest.mark.parametrize("learner", SMALL)
def test_what_another_profile_left_is_refused(learner: str, tmp_path: Path) -> None:
    """Also where no weights tell: Monte Carlo EM has no config.json."""
    SMALL[learner].run(tmp_path, "quick", "")
    with pytest.raises(InputError, match="is not of the full profile; name another --out, or remove"):
        SMALL[learner].run(tmp_path, "full", "")


@pytest.mark.usefixtures("tiny_aevb")
@pytest.mark.parametrize("learner", ["aevb", "monte_carlo_em"])
def test_weights_that_are_past_a_milestone_where_nobody_looked_are_refused(learner: str, tmp_path: Path) -> None:
    SMALL[learner].run(tmp_path, "quick", "")
    looked = tmp_path / SMALL[learner].name / "looked.json"
    write_points(looked, "quick", read_points(looked, "quick", "samples")[1:])
    with pytest.raises(InputError, match="is past 2 passes, where nobody looked; remove it, and it is made anew"):
        SMALL[learner].run(tmp_path, "quick", "")


@pytest.mark.usefixtures("tiny_aevb")
def test_damaged_points_and_chains_are_one_line(tmp_path: Path) -> None:
    place = tmp_path / SMALL["monte_carlo_em"].name
    SMALL["monte_carlo_em"].run(tmp_path, "quick", "")
    looked = place / "looked.json"
    kept = looked.read_bytes()
    looked.write_bytes(kept[:-20])
    with pytest.raises(InputError, match=rf"looked\.json is not JSON .*; remove {place}, and it is made anew"):
        SMALL["monte_carlo_em"].run(tmp_path, "quick", "")
    looked.unlink()
    (place / "em.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"em\.npz"):
        SMALL["monte_carlo_em"].run(tmp_path, "quick", "")


@pytest.mark.usefixtures("tiny_aevb")
@pytest.mark.parametrize("learner", SMALL)
def test_a_learner_that_diverges_says_so(learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numvae.experiments.aevb.STEP_SIZES", (1e38,))
    for _ in range(2):
        with pytest.raises(DivergedError, match=r"(step|batch) [12]"):
            SMALL[learner].run(tmp_path, "quick", "")


@pytest.mark.usefixtures("tiny_aevb")
def test_monte_carlo_em_finds_its_step_size_by_trial_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood_curves, "TRIED_STEPS", 100)
    monkeypatch.setattr(likelihood_curves, "STEP_SIZES", (1e-6, 0.05, 1e38))
    config = settings_of("quick", "mnist", "likelihood", train_rows=1000)
    trial = likelihood_curves._try_em(config)
    assert trial.bounds[1e38] is None
    assert trial.best == 0.05
    assert trial.bounds[0.05] is not None


@pytest.mark.usefixtures("tiny_aevb")
def test_the_full_profile_tries_step_sizes_with_the_learner_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood_curves, "TRIED_STEPS", 10)
    outcome = LikelihoodCurve(1000, "monte_carlo_em").run(tmp_path, "full", "")
    assert outcome["step_sizes_tried"].keys() == {f"{size:g}" for size in STEP_SIZES}
    assert outcome["step_size"] in STEP_SIZES


@pytest.mark.usefixtures("tiny_aevb")
def test_how_long_it_takes_is_told_beforehand(tmp_path: Path) -> None:
    assert 0 < SMALL["aevb"].seconds(tmp_path, "quick") < 60
    assert 0 < SMALL["monte_carlo_em"].seconds(tmp_path, "quick") < 400
