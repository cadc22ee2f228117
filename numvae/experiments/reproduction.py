"""``numvae reproduce review``: train what a figure needs and is not there yet, draw it, and put all on one page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numvae import figures
from numvae.experiments.results import write_results
from numvae.experiments.review import FIGURES, STARTS_FROM, WATCHED, ReviewFigure
from numvae.experiments.review_page import write_review_page
from numvae.experiments.running import Experiment, Trained, estimate_seconds, train_experiment
from numvae.experiments.settings import PROFILES, REVIEW, one_of, read_experiment
from numvae.interruption import Interrupted

__all__ = ["Reproduction", "default_folder", "experiment", "experiments_of", "reproduce"]

RUNS, DRAWN = "runs", "figures"
SHORT = 150
"""Seconds up to which nobody needs a warning of how long it will take."""


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What a reproduction left: the page, its numbers as JSON, the pictures and the runs, by name."""

    page: Path
    results: Path
    pictures: dict[str, Path]
    runs: dict[str, Trained]

    def to_json(self) -> dict[str, Any]:
        """The object that ``numvae reproduce --json`` prints."""
        return {
            "page": str(self.page),
            "results": str(self.results),
            "figures": {name: str(path) for name, path in self.pictures.items()},
            "runs": {
                name: {**trained.run.numbers(), "diverged": trained.diverged} for name, trained in self.runs.items()
            },
        }


def reproduce(
    figure: str | None = None, profile: str = "quick", folder: Path | None = None, settings: Path = REVIEW
) -> Reproduction:
    """Make one figure, or all of them, into ``folder``; runs that are complete there are not trained again.

    The page shows every figure that the folder holds, and results.json beside it the numbers.

    ``settings``: the folder of the experiments' parameter files.

    Raises:
        InputError: no such figure or profile, unusable data, or a folder with runs of other settings.
        Interrupted: SIGINT or SIGTERM came; what is trained is kept, and the message says how to go on.
    """
    names = list(FIGURES) if figure is None else [one_of(figure, list(FIGURES), "figure")]
    folder = default_folder(one_of(profile, PROFILES, "profile")) if folder is None else folder
    wanted = [each for each in FIGURES.values() if each.name in names or _is_there(each, folder)]
    experiments = experiments_of(wanted, profile, settings)
    command = _command(figure, profile, folder)
    try:
        runs = _train(experiments, folder / RUNS, command, announce=profile == "full")
        pictures, words = _draw(wanted, runs, folder / DRAWN)
        page, results = folder / "index.html", folder / "results.json"
        write_results(results, profile, runs, words)
        again = _command(figure if len(wanted) == 1 else None, profile, folder)
        write_review_page(page, wanted, pictures, words, runs, profile, again)
    except KeyboardInterrupt as interruption:
        if isinstance(interruption, Interrupted):
            raise
        raise Interrupted(f"interrupted; go on with: {command}") from None
    return Reproduction(page, results, pictures, runs)


def default_folder(profile: str) -> Path:
    """Where a reproduction goes unless somebody says where.

    >>> default_folder("quick").as_posix()
    'runs/review-quick'
    """
    return Path("runs") / f"review-{profile}"


def experiments_of(wanted: Sequence[ReviewFigure], profile: str, settings: Path = REVIEW) -> list[Experiment]:
    """The experiments that the figures need, each once, and each after the one it starts from.

    >>> [each.name for each in experiments_of([FIGURES["7"]], "quick")]
    ['model_2', 'model_3']
    """
    names = dict.fromkeys(name for figure in wanted for name in figure.runs)
    return [experiment(name, profile, settings) for name in names]


def experiment(name: str, profile: str = "full", settings: Path = REVIEW) -> Experiment:
    """One experiment by its name, as ``train_experiment`` takes it.

    >>> experiment("model_3").starts_from
    'model_2'
    """
    config = read_experiment(name, profile, settings)
    return Experiment(name, config, starts_from=STARTS_FROM.get(name), watched=name in WATCHED)


def _train(experiments: Sequence[Experiment], folder: Path, command: str, announce: bool) -> dict[str, Trained]:
    if announce:
        seconds = estimate_seconds(experiments, folder)
        if seconds > SHORT:
            _tell(f"{_duration(seconds)} of training to do here, Ctrl-C keeps what is done; go on with: {command}")
    trained: dict[str, Trained] = {}
    for number, each in enumerate(experiments, 1):
        result = train_experiment(each, folder / each.name, trained, command)
        trained[each.name] = result
        bound = f"test bound {result.last['test_elbo']:,.1f} nats" if result.last else "no epoch completed"
        note = f"; diverged: {result.diverged}" if result.diverged else ""
        _tell(f"{number}/{len(experiments)} {each.name}: {bound}, {result.run.state.seconds:.1f} s{note}")
    return trained


def _is_there(figure: ReviewFigure, folder: Path) -> bool:
    """Whether the figure was drawn before, so that the page goes on showing it."""
    runs_are_there = all((folder / RUNS / name / "config.json").exists() for name in figure.runs)
    return runs_are_there and (folder / DRAWN / f"{figure.file_name}.png").exists()


def _draw(
    wanted: Sequence[ReviewFigure], runs: dict[str, Trained], folder: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    pictures, words = {}, {}
    for figure in wanted:
        picture, words[figure.name] = figure.draw(runs)
        pictures[figure.name] = folder / f"{figure.file_name}.png"
        figures.save(picture, pictures[figure.name])
    return pictures, words


def _command(figure: str | None, profile: str, folder: Path) -> str:
    """What does the same again."""
    words = ["numvae", "reproduce", "review", *(["--figure", figure] if figure else []), "--profile", profile]
    return shlex.join([*words, "--out", str(folder)])


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60:02} min"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
