"""The experiments of Auto-Encoding Variational Bayes, its Figures 2 to 5: what is trained, and what each leaves.

Source: Kingma and Welling, section 5, and appendices D and E.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numvae.config import Config, prepare_data, read_config
from numvae.errors import InputError
from numvae.experiments.outcomes import Outcome, machine, read_outcome, write_outcome
from numvae.experiments.running import Experiment, Trained, estimate_seconds, train_experiment
from numvae.experiments.step_size import STEP_SIZES, Trial, try_step_sizes
from numvae.parameter_file import read_object

__all__ = [
    "BOUND_CURVES",
    "LEARNERS",
    "SAMPLED",
    "TWO_LATENTS",
    "BoundCurve",
    "chosen_step_size",
    "samples_of",
    "settings_of",
]

SETTINGS = Path(__file__).with_name("aevb.json")
LEARNERS = {"aevb": "elbo", "wake_sleep": "wake_sleep"}
"""The objective that each learner climbs."""
MOST_POINTS = 100
"""Of a curve; more is not seen."""


def settings_of(profile: str, *parts: str, **own: Any) -> Config:
    """The settings of one experiment: those of all, then of each part in turn, then its own.

    >>> settings_of("full", "frey", latent=2).hidden
    [200]
    """
    table = read_object(SETTINGS)
    profiled = table["quick"] if profile == "quick" else {}
    merged: dict[str, Any] = {}
    for part in ("all", *parts):
        merged |= table[part]
    return read_config(None, {**merged, **own, **profiled})


def samples_of(profile: str, *names: str) -> int:
    """How many training samples an experiment sees: the first of the names that the profile knows."""
    known = read_object(SETTINGS)["samples"][profile]
    return int(next(known[name] for name in names if name in known))


@dataclass(frozen=True)
class BoundCurve:
    """One curve pair of Figure 2: the bound on training and test data against the number of training samples."""

    data: str
    latents: int
    learner: str
    """``aevb`` or ``wake_sleep``."""

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.data}_{self.latents}_{self.learner}"

    def config(self, profile: str) -> Config:
        """Its settings; the step size is still to be chosen."""
        config = settings_of(profile, self.data, latent=self.latents, objective=LEARNERS[self.learner])
        rows = len(prepare_data(config)[1].train)
        samples = samples_of(profile, f"{self.data}_{self.latents}", "bound")
        return config.model_copy(update={"epochs": -(-samples // rows)})

    def seconds(self, folder: Path, profile: str) -> float:
        """How long it will take here, timed on a few steps."""
        experiment = Experiment(self.name, self.config(profile).model_copy(update={"lr": STEP_SIZES[0]}))
        return estimate_seconds([experiment], folder)

    def run(self, folder: Path, profile: str, command: str) -> Outcome:
        """Train it in ``folder``/NAME, or go on there, and say what came out."""
        config, place = self.config(profile), folder / self.name
        trial = chosen_step_size(config, place, profile)
        experiment = Experiment(self.name, config.model_copy(update={"lr": trial.best}))
        trained = train_experiment(experiment, place, command=command)
        return {
            "experiment": self.name,
            "profile": profile,
            "data": self.data,
            "latents": self.latents,
            "learner": self.learner,
            "step_size": trial.best,
            "step_sizes_tried": {f"{size:g}": bound for size, bound in trial.bounds.items()},
            "train_rows": len(trained.dataset.train),
            "test_rows": len(trained.dataset.test),
            **curve_of(trained),
            "diverged": trained.diverged,
            "training_seconds": trained.run.state.seconds,
            "seed": config.seed,
            "made_with": machine(),
        }


def curve_of(trained: Trained) -> dict[str, list[float]]:
    """Samples seen, and the bound on training and test data there, at most ``MOST_POINTS`` points evenly in the log.

    ``train`` is the mean over the pass that ends at ``samples``, while the weights were moving: it lags a little.
    """
    history = trained.run.state.history
    places = sorted({round(len(history) ** (k / (MOST_POINTS - 1))) - 1 for k in range(MOST_POINTS)}) if history else []
    return {
        "samples": [history[place]["samples"] for place in places],
        "train": [history[place]["train_elbo"] for place in places],
        "test": [history[place]["test_elbo"] for place in places],
    }


def chosen_step_size(
    config: Config, place: Path, profile: str, try_sizes: Callable[[Config], Trial] = try_step_sizes
) -> Trial:
    """What was chosen when the run began; else by trial, or without one in the quick profile; kept in the folder.

    Raises:
        InputError: the folder was begun under another profile, or what is kept there is damaged.
    """
    path, tries = place / "step_sizes.json", profile != "quick"
    sizes = {f"{size:g}": size for size in (STEP_SIZES if tries else STEP_SIZES[:1])}
    kept = read_outcome(path, str(place))
    if kept is None:
        trial = try_sizes(config) if tries else Trial(dict.fromkeys(sizes.values()))
        write_outcome(path, {f"{size:g}": bound for size, bound in trial.bounds.items()})
        return trial
    if kept.keys() != sizes.keys():
        raise InputError(f"{path} is not of the {profile} profile; name another --out, or remove {place}")
    return Trial({size: kept[name] for name, size in sizes.items()})


def _curves(data: str, latents: Sequence[int]) -> list[BoundCurve]:
    return [BoundCurve(data, number, learner) for number in latents for learner in LEARNERS]


TWO_LATENTS = (BoundCurve("mnist", 2, "aevb"), BoundCurve("frey", 2, "aevb"))
"""Figure 4: manifolds."""
SAMPLED = tuple(BoundCurve("mnist", number, "aevb") for number in (2, 5, 10, 20))
"""Figure 5."""
BOUND_CURVES = (*_curves("mnist", (3, 5, 10, 20, 200)), *_curves("frey", (2, 5, 10, 20)))
"""All of Figure 2."""
