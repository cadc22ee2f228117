"""The noise of the gradient, watched while a model is trained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import pathwise, progress, score_function
from numvae.belief_networks import mlp_belief_network
from numvae.cli import main
from numvae.config import Config
from numvae.corruption import salt_and_pepper
from numvae.errors import DivergedError, InputError
from numvae.optimizers import SGD
from numvae.progress import train_with_progress
from numvae.runs import create_run
from numvae.training import Recipe, State, train
from numvae.variance_watch import VarianceWatch
from tests.small_runs import BATCH, DIGITS, MODEL, begin, same_state, write_digits
from tests.test_progress import SETTINGS, shown

RECIPE = Recipe(epochs=3, batch=BATCH)


def watched(recipe: Recipe, path: Path, until: int = 10**9, state: State | None = None, every: int = 4) -> State:
    """Train with a watch, up to some step."""
    state = begin(recipe) if state is None else state
    watch = VarianceWatch(MODEL, DIGITS, recipe, state, path, every=every)

    def on_batch(state: State) -> bool:
        watch(state)
        return state.step >= until

    return train(MODEL, DIGITS, recipe, state, on_batch=on_batch)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("estimator", [pathwise, score_function], ids=lambda e: e.__name__)
@pytest.mark.parametrize("samples", [1, 3])
def test_weights_are_bit_for_bit_those_of_a_training_nobody_watches(
    tmp_path: Path, estimator: Any, samples: int
) -> None:
    recipe = Recipe(epochs=3, batch=BATCH, samples=samples, estimator=estimator)
    alone = train(MODEL, DIGITS, recipe, begin(recipe))
    path = tmp_path / "variance.jsonl"
    assert same_state(watched(recipe, path), alone)
    told = lines(path)
    assert [line["step"] for line in told] == list(range(0, alone.step + 1, 4))
    assert {line["samples"] for line in told} == {samples}
    assert {line["batch"] for line in told} == {BATCH}


def test_a_reshaped_objective_is_watched_as_it_is_climbed(tmp_path: Path) -> None:
    """The weights are those of nobody watching, and the noise is that of the weighted gradient, corruption and all."""
    plain, reshaped = (
        Recipe(epochs=1, batch=BATCH, **changes)
        for changes in ({}, {"kl_weight": 2.0, "free_bits": 0.1, "corruption": partial(salt_and_pepper, strength=0.2)})
    )
    path = tmp_path / "variance.jsonl"
    assert same_state(watched(reshaped, path), train(MODEL, DIGITS, reshaped, begin(reshaped)))
    first = lines(path)[0]
    watched(plain, tmp_path / "plain.jsonl")
    assert first["minibatch"] != lines(tmp_path / "plain.jsonl")[0]["minibatch"]


def test_score_functions_make_more_noise_by_sampling(tmp_path: Path) -> None:
    noise = {}
    for estimator in (pathwise, score_function):
        path = tmp_path / estimator.__name__
        watched(Recipe(epochs=1, batch=BATCH, estimator=estimator), path)
        noise[estimator] = np.median([line["sampling"] for line in lines(path)])
    assert noise[score_function] > 10 * noise[pathwise]


def test_a_resumed_run_writes_the_lines_that_it_would_have_written(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    watched(RECIPE, whole)
    state = watched(RECIPE, stopped, until=10)
    earlier = watched(RECIPE, tmp_path / "other", until=6)  # what a checkpoint before the stop holds
    with stopped.open("a") as file:
        file.write('{"step": 12, "tot')  # torn by a kill
    assert state.step == 10
    watched(RECIPE, stopped, state=earlier)
    assert stopped.read_text() == whole.read_text()


def test_it_measures_what_a_measurement_of_many_rows_finds(tmp_path: Path) -> None:
    state = begin(RECIPE)
    watch = VarianceWatch(MODEL, DIGITS, RECIPE, state, tmp_path / "few")
    wide = Recipe(epochs=3, batch=len(DIGITS.train))
    reference = VarianceWatch(MODEL, DIGITS, wide, state, tmp_path / "many").noise
    assert watch.noise is not None
    assert reference is not None
    expected, error = reference.minibatch * len(DIGITS.train) / BATCH, watch.noise.minibatch_standard_error
    assert abs(watch.noise.minibatch - expected) < 5 * error


def test_other_models_and_silly_intervals_are_refused(tmp_path: Path) -> None:
    state = begin(RECIPE)
    with pytest.raises(InputError, match="--watch-variance is for a VAE"):
        VarianceWatch(mlp_belief_network(49, latents=(3,)), DIGITS, RECIPE, state, tmp_path / "none")
    with pytest.raises(InputError, match="at least 1, got 0"):
        VarianceWatch(MODEL, DIGITS, RECIPE, state, tmp_path / "none", every=0)
    assert not (tmp_path / "none").exists()


def test_a_training_that_diverges_says_so_though_somebody_watches(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch=BATCH, optimizer=SGD(1e30))
    with pytest.raises(DivergedError, match="try a smaller --lr"):
        watched(recipe, tmp_path / "variance.jsonl", every=1)


def test_the_bar_and_the_epochs_tell_of_the_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REFRESH_SECONDS", -1)
    monkeypatch.setenv("COLUMNS", "250")
    run, dataset = create_run(Config(data=str(write_digits(tmp_path)), **SETTINGS), tmp_path / "run")
    bar = shown(train_with_progress, run, dataset, 3)
    assert "gradient snr" in bar
    assert "of its noise from z" in bar
    assert bar.count("of the gradient's noise comes from sampling z") == SETTINGS["epochs"]
    assert [line["step"] for line in lines(run.folder / "variance.jsonl")] == list(range(0, run.state.step + 1, 3))


def test_the_command_watches_when_it_is_asked_to(tmp_path: Path) -> None:
    quick = ["--latent", "2", "--hidden", "5", "--train-rows", "300", "--test-rows", "20", "--epochs", "1"]
    assert main(["train", *quick, "--watch-variance", "2", "--out", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "variance.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2]


def test_the_command_refuses_to_watch_bits_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--model", "sbn", "--watch-variance", "--out", str(tmp_path / "run")]) == 2
    assert "--watch-variance is for model 'vae', not 'sbn'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
