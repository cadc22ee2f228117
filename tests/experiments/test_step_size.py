"""The step size by trial: the right one is preferred, one that diverges is passed over, nothing else is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numvae.config import Config, prepare_data
from numvae.experiments import step_size
from numvae.experiments.step_size import STEP_SIZES, Trial, try_step_sizes
from numvae.training import train
from tests.small_runs import write_digits


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """200 rows in batches of 30: the last of a pass is not full."""
    data = str(write_digits(tmp_path))
    return Config(data=data, latent=2, hidden=[8], batch=30, optimizer="adagrad", binarize="fresh")


def test_they_are_the_papers() -> None:
    assert STEP_SIZES == (0.01, 0.02, 0.1)


def test_the_step_size_that_learns_is_preferred_and_one_that_diverges_survived(config: Config) -> None:
    trial = try_step_sizes(config, (1e-6, 0.05, 1e30), steps=70)
    assert trial.bounds[1e30] is None
    assert trial.bounds[1e-6] is not None
    assert trial.bounds[0.05] is not None
    assert trial.bounds[0.05] > trial.bounds[1e-6]
    assert trial.best == 0.05


def test_the_highest_bound_is_the_best_and_the_smallest_where_all_diverged() -> None:
    assert Trial({0.01: -120.0, 0.02: -110.0, 0.1: -115.0}).best == 0.02
    assert Trial({0.01: None, 0.02: -300.0, 0.1: None}).best == 0.02
    assert Trial({0.02: None, 0.01: None, 0.1: None}).best == 0.01


def test_the_bound_that_is_compared_is_the_mean_over_rows_of_the_last_steps(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 14 steps of two passes: the last seven are those of the second, whose training bound the history holds."""
    monkeypatch.setattr(step_size, "JUDGED_STEPS", 7)
    found = try_step_sizes(config, (0.02,), steps=14).bounds[0.02]
    settled, dataset = prepare_data(config.model_copy(update={"lr": 0.02, "epochs": 2}))
    model = settled.build_model(dataset.features)
    state = train(model, dataset, settled.build_recipe(), settled.build_state(model, dataset))
    assert state.step == 14
    assert found == pytest.approx(state.history[-1]["train_elbo"], rel=1e-5)
    assert found != pytest.approx(state.history[0]["train_elbo"], rel=1e-3), "it is not that of the first pass"


def test_each_starts_from_the_same_weights_and_sees_the_same_rows(config: Config) -> None:
    trial = try_step_sizes(config, (0.02, np.nextafter(0.02, 1)), steps=20)
    first, second = trial.bounds.values()
    assert first == pytest.approx(second, rel=1e-6)


def test_fewer_steps_than_are_judged_are_all_judged(config: Config) -> None:
    assert try_step_sizes(config, (0.01,), steps=3).bounds[0.01] is not None
