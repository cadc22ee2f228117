"""The experiments of Importance Weighted Autoencoders: one and two layers, k samples, its schedule of step sizes.

Source: Burda, Grosse and Salakhutdinov 2015, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numvae.config import Config, prepare_data, read_config
from numvae.errors import DivergedError, InputError
from numvae.experiments.outcomes import Outcome, machine, read_points, write_points
from numvae.experiments.running import Experiment, estimate_seconds, train_experiment
from numvae.inspection import active_units
from numvae.marginal_likelihood import importance_weighted_bounds
from numvae.parameter_file import read_object
from numvae.randomness import generator
from numvae.runs import Run

__all__ = ["LAYERS", "SAMPLES", "SCHEDULE", "ImportanceWeighting", "passes"]

SETTINGS = Path(__file__).with_name("iwae.json")
OBJECTIVES = {"vae": "elbo", "iwae": "importance_weighted"}
ACTIVITY_ROWS = 1000
LOOKED = "looked.json"
"""What was found after the stages so far, in the folder of the run."""


def passes(stages: int) -> int:
    """Passes through the data in so many stages of the schedule, of which stage i has 3^i.

    >>> [passes(stages) for stages in range(1, 9)]
    [1, 4, 13, 40, 121, 364, 1093, 3280]
    """
    return int(3**stages - 1) // 2


@dataclass(frozen=True)
class ImportanceWeighting:
    """One row of the paper's table: a model, an objective, and k; stopped after every stage to look."""

    model: str
    """``one_layer`` or ``two_layers``."""
    objective: str
    """``vae``: the ELBO, mean over k samples; ``iwae``: L_k."""
    samples: int
    """k."""

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.model}_{self.objective}_{self.samples}"

    def stages(self, profile: str) -> int:
        """How many stages of the schedule are run."""
        return int(read_object(SETTINGS)["stages"][profile][f"{self.model}_{self.samples}"])

    def ends(self, profile: str) -> list[int]:
        """Passes done at the end of each stage; the last may be cut short."""
        whole = [passes(stage) for stage in range(1, self.stages(profile) + 1)]
        cut = read_object(SETTINGS)["cut_short"][profile].get(f"{self.model}_{self.samples}")
        return whole if cut is None else [*whole[:-1], int(cut)]

    def config(self, profile: str) -> Config:
        """Its settings."""
        table = read_object(SETTINGS)
        own = {"objective": OBJECTIVES[self.objective], "samples": self.samples, "epochs": self.ends(profile)[-1]}
        config = read_config(None, {**table["all"], **table[self.model], **table.get(profile, {}), **own})
        steps = -(-len(prepare_data(config)[1].train) // config.batch)
        return config.model_copy(update={"schedule": "stages", "schedule_options": {"pass_steps": steps}})

    def seconds(self, folder: Path, profile: str) -> float:
        """How long training will take here, about; with L_5000 of all test rows it is some minutes more."""
        return estimate_seconds([Experiment(self.name, self.config(profile))], folder)

    def run(self, folder: Path, profile: str, command: str) -> Outcome:
        """Train it in ``folder``/NAME from one stage to the next, and estimate log p(x) of test rows after each.

        Raises:
            DivergedError: it diverged, which the paper's settings should not.
        """
        config, place = self.config(profile), folder / self.name
        judged = read_object(SETTINGS)["judged"][profile]
        points = read_points(place / LOOKED, profile, "stages")
        for stage, end in enumerate(self.ends(profile), 1):
            if any(point["stages"] == stage for point in points):
                continue
            trained = train_experiment(Experiment(self.name, config), place, command=command, until=end)
            if trained.diverged is not None:
                raise DivergedError(f"{self.name}: {trained.diverged}")
            run, rows = trained.run, judged["rows_from_stage_6" if stage >= 6 else "rows"]
            if (run.state.epoch, run.state.batches) > (end, 0):
                raise InputError(f"{place} is past stage {stage}, where nobody looked; remove it, and it is made anew")
            point = {"stages": stage, "passes": run.state.epoch, "seconds": run.state.seconds}
            points.append(point | look(run, trained.dataset.test[:rows], judged["samples"]))
            write_points(place / LOOKED, profile, points)
        return {
            "experiment": self.name,
            "profile": profile,
            "model": self.model,
            "objective": self.objective,
            "k": self.samples,
            "train_rows": len(prepare_data(config)[1].train),
            **{key: [point[key] for point in points] for key in points[0]},
            "training_seconds": points[-1]["seconds"],
            "seed": config.seed,
            "made_with": machine(),
        }


def look(run: Run, rows: Any, samples: int) -> dict[str, Any]:
    """-log p(x) of test rows by L_``samples``, the ELBO from the same samples, and the active units of each layer."""
    rng = generator(run.config.seed, "evaluation", 4)
    x = run.recipe.binarize(rows, rng, run.theta.dtype)
    found = importance_weighted_bounds(run.model, run.theta, x, rng=rng, samples=samples)
    units = active_units(run.model, run.theta, x[:ACTIVITY_ROWS], rng=rng)
    nll = -found.best.astype(np.float64)
    return {
        "nll": float(nll.mean()),
        "nll_standard_error": float(nll.std(ddof=1) / np.sqrt(len(nll))),
        "negative_elbo": -float(found.log_weight_mean.mean()),
        "loss": float(found.loss().mean()),
        "rows": len(x),
        "importance_samples": samples,
        "active": list(units.counts),
    }


def _of(model: str, *pairs: tuple[str, int]) -> tuple[ImportanceWeighting, ...]:
    return tuple(ImportanceWeighting(model, objective, samples) for objective, samples in pairs)


SCHEDULE = _of("one_layer", ("vae", 1))
"""k = 1, where both objectives are one, through the schedule."""
SAMPLES = _of("one_layer", ("vae", 1), ("vae", 5), ("iwae", 5), ("vae", 50), ("iwae", 50))
LAYERS = _of("two_layers", ("vae", 1), ("iwae", 5), ("iwae", 50))
