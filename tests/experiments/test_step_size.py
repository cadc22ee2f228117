"""The step size by trial: the right one is preferred, one that diverges is passed over, nothing else is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.config import Config, prepare_data
from numvae.evaluation import evaluate
from numvae.experiments import step_size
from numvae.experiments.step_size import STEP_SIZES, Trial, try_step_sizes
from numvae.randomness import generator
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


def test_what_is_compared_is_the_bound_on_training_rows_after_the_steps(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 30 does not divide the 200 rows: the third pass is left in its middle."""
    monkeypatch.setattr(step_size, "JUDGED_ROWS", 150)
    found = try_step_sizes(config, (0.05,), steps=17).bounds[0.05]
    settled, dataset = prepare_data(config.model_copy(update={"lr": 0.05, "epochs": 3}))
    model, recipe = settled.build_model(dataset.features), settled.build_recipe()
    state = train(model, dataset, recipe, settled.build_state(model, dataset), on_batch=lambda state: state.step == 17)
    start = settled.build_state(model, dataset)

    def bound(theta: Array, rows: int) -> float:
        """With the noise of the trial."""
        rng = generator(settled.seed, "evaluation", 5)
        return evaluate(model, theta, dataset.train[:rows], rng=rng, binarize=recipe.binarize).elbo

    assert found == bound(state.theta, 150)
    assert found > bound(start.theta, 150), "it is not the start that is judged"
    assert found != bound(state.theta, 200)


def test_each_starts_from_the_same_weights_and_sees_the_same_rows(config: Config) -> None:
    trial = try_step_sizes(config, (0.02, np.nextafter(0.02, 1)), steps=20)
    first, second = trial.bounds.values()
    assert first == pytest.approx(second, rel=1e-6)
