"""Figure 3 of the paper: the estimated marginal likelihood while three learners train, stopped now and then to look.

Source: Kingma and Welling, section 5 and appendices D and E.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numvae.arrays import Array
from numvae.config import INITIALIZERS, Config, prepare_data
from numvae.datasets import Dataset
from numvae.errors import DivergedError, InputError
from numvae.experiments.aevb import LEARNERS, chosen_step_size, samples_of, settings_of
from numvae.experiments.outcomes import Outcome, machine, read_points, write_points
from numvae.experiments.running import Experiment, estimate_seconds, train_experiment
from numvae.experiments.step_size import STEP_SIZES, TRIED_STEPS, Trial, try_step_sizes
from numvae.interruption import Interrupted, Interruption
from numvae.learning.monte_carlo_em import EMState, MonteCarloEM, load_em, save_em, start_em, train_em
from numvae.marginal_likelihood import from_likely_draws, reciprocal_estimate
from numvae.models import VAE
from numvae.randomness import generator

__all__ = ["LIKELIHOOD_CURVES", "LikelihoodCurve", "estimate_likelihood", "milestones"]

MONTE_CARLO_EM, EM = "monte_carlo_em", MonteCarloEM()
JUDGED_BATCHES = 20
"""Of a trial of Monte Carlo EM: the last so many say what its step size reached."""
LOOKED = "looked.json"
"""What was found at the milestones so far, in the folder of the run."""
JUDGED_ROWS = {"full": 1000, "quick": 100}
"""The likelihood is estimated on the first so many training and test points, in the paper 1000."""
FIRST_LOOK = {"full": 20_000, "quick": 5_000}
"""Samples; before, there is nothing to see."""
DRAWS, LEAPFROG_STEPS, BURN_IN = 50, 4, 60
"""The paper's 50 samples by HMC with four leapfrog steps; how long the chains run before, it does not say."""


def milestones(samples: int, rows: int, first: int = 20_000) -> list[int]:
    """Whole passes through the rows, about two to a decade from ``first`` on, up to all ``samples``.

    >>> milestones(10_000_000, 50_000)
    [50000, 100000, 300000, 1000000, 3150000, 10000000]
    """
    last = -(-samples // rows) * rows
    steps = (last / 10 ** (k / 2) for k in range(1, 20))
    return sorted({max(rows, round(step / rows) * rows) for step in steps if step >= first} | {last})


@dataclass(frozen=True)
class LikelihoodCurve:
    """One curve pair of Figure 3: log p(x) on training and test data against the number of training samples."""

    rows: int
    learner: str
    """``aevb``, ``wake_sleep`` or ``monte_carlo_em``."""

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"likelihood_{self.rows}_{self.learner}"

    def config(self, profile: str) -> Config:
        """Its settings; Monte Carlo EM has no encoder, and takes those of the decoder from here."""
        objective = LEARNERS.get(self.learner, "elbo")
        config = settings_of(profile, "mnist", "likelihood", objective=objective)
        names = ("em",) if self.learner == MONTE_CARLO_EM else (f"likelihood_{self.rows}", "likelihood")
        samples = samples_of(profile, *names)
        rows = min(self.rows, config.train_rows or self.rows)
        return config.model_copy(update={"train_rows": rows, "epochs": -(-samples // rows)})

    def seconds(self, folder: Path, profile: str) -> float:
        """How long it will take here, about: of Monte Carlo EM a step is worth seven of the others'."""
        config = self.config(profile).model_copy(update={"lr": STEP_SIZES[0]})
        factor = 7 if self.learner == MONTE_CARLO_EM else 1
        return factor * estimate_seconds([Experiment(self.name, config)], folder)

    def run(self, folder: Path, profile: str, command: str) -> Outcome:
        """Train it in ``folder``/NAME from one milestone to the next, and estimate the likelihood at each.

        Raises:
            DivergedError: it diverged, with the step size that did best in the trial.
        """
        config, place = self.config(profile), folder / self.name
        by_em = self.learner == MONTE_CARLO_EM
        trial = chosen_step_size(config, place, profile, _try_em if by_em else try_step_sizes)
        config = config.model_copy(update={"lr": trial.best})
        reach = _reach_by_em if by_em else _reach_by_gradient
        rows = config.train_rows or self.rows
        points = read_points(place / LOOKED, profile, "samples")
        for samples in milestones((config.epochs or 1) * rows, rows, FIRST_LOOK[profile]):
            if any(point["samples"] == samples for point in points):
                continue
            model, theta, dataset, seconds = reach(config, place, samples // rows, command)
            estimate = estimate_likelihood(config, model, theta, dataset, JUDGED_ROWS[profile])
            points.append({"samples": samples, "seconds": seconds, **estimate})
            write_points(place / LOOKED, profile, points)
        return {
            "experiment": self.name,
            "profile": profile,
            "train_rows": rows,
            "learner": self.learner,
            "step_size": trial.best,
            "step_sizes_tried": {f"{size:g}": bound for size, bound in trial.bounds.items()},
            **{key: [point[key] for point in points] for key in points[0]},
            "training_seconds": points[-1]["seconds"],
            "seed": config.seed,
            "made_with": machine(),
        }


def estimate_likelihood(
    config: Config, model: VAE, theta: Array, dataset: Dataset, judged: int = 1000
) -> dict[str, float]:
    """log p(x) by the paper's appendix D, on the first ``judged`` training and test points: means, standard errors."""
    result: dict[str, float] = {}
    for number, (name, rows) in enumerate((("train", dataset.train), ("test", dataset.test))):
        rng = generator(config.seed, "evaluation", 3, number)
        x = config.build_recipe().binarize(rows[:judged], rng, theta.dtype)
        estimate = reciprocal_estimate(
            model, theta, x, rng=rng, draws=DRAWS, steps=LEAPFROG_STEPS, burn_in=BURN_IN, start=from_likely_draws
        )
        values = estimate.values.astype(np.float64)
        result[name] = float(values.mean())
        result[f"{name}_standard_error"] = float(values.std(ddof=1) / np.sqrt(len(values)))
    return result


Reached = tuple[VAE, Array, Dataset, float]


def _reach_by_gradient(config: Config, place: Path, epochs: int, command: str) -> Reached:
    trained = train_experiment(Experiment(place.name, config), place, command=command, until=epochs)
    state = trained.run.state
    if trained.diverged is not None:
        raise DivergedError(f"{place.name}: {trained.diverged}")
    _require_not_past(place, state.epoch, state.batches, epochs)
    return trained.model, trained.run.theta, trained.dataset, state.seconds


def _reach_by_em(config: Config, place: Path, epochs: int, command: str) -> Reached:
    """Go on from the state in the folder, or begin; stop after so many passes."""
    settled, dataset = prepare_data(config)
    model, recipe, path = _vae(settled, dataset), settled.build_recipe(), place / "em.npz"
    state = load_em(path, model) if path.exists() else _start_em(settled, model, dataset)
    samples = epochs * len(dataset.train)
    with Interruption() as interruption:
        train_em(model, dataset, recipe, EM, state, samples=samples, on_batch=lambda state: interruption.requested)
        place.mkdir(parents=True, exist_ok=True)
        save_em(path, model, state)
    _require_not_past(place, state.epoch, state.batches, epochs)
    if interruption.signal is not None:
        raise Interrupted(f"interrupted in {place.name}; go on with: {command}", interruption.signal)
    return model, state.theta, dataset, state.seconds


def _require_not_past(place: Path, epoch: int, batches: int, wanted: int) -> None:
    if (epoch, batches) > (wanted, 0):
        raise InputError(f"{place} is past {wanted} passes, where nobody looked; remove it, and it is made anew")


def _try_em(config: Config) -> Trial:
    """``try_step_sizes`` for Monte Carlo EM: by log p(x, z) at the chains' samples, over as many weight updates."""
    config, dataset = prepare_data(config)
    model = _vae(config, dataset)
    bounds: dict[float, float | None] = {}
    batches = TRIED_STEPS // EM.weight_updates
    for size in STEP_SIZES:
        sized = config.model_copy(update={"lr": size})
        recipe, state, reached = sized.build_recipe(), _start_em(sized, model, dataset), list[float]()
        try:
            for number in range(1, batches + 1):
                train_em(model, dataset, recipe, EM, state, samples=number * recipe.batch)
                reached.append(state.log_joint)
        except DivergedError:
            bounds[size] = None
            continue
        bound = float(np.mean(reached[-JUDGED_BATCHES:]))
        bounds[size] = bound if math.isfinite(bound) else None
    return Trial(bounds)


def _start_em(config: Config, model: VAE, dataset: Dataset) -> EMState:
    weights = INITIALIZERS[config.weights]
    return start_em(model, dataset, config.build_recipe(), EM, weights=weights, data_start=config.start_at_data)


def _vae(config: Config, dataset: Dataset) -> VAE:
    model = config.build_model(dataset.features)
    assert isinstance(model, VAE), "the settings are a VAE's"
    return model


LIKELIHOOD_CURVES = tuple(
    LikelihoodCurve(rows, learner) for rows in (1000, 50_000) for learner in (*LEARNERS, MONTE_CARLO_EM)
)
"""All of Figure 3."""
