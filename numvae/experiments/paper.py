"""A paper's experiments: run those a figure needs and that are not there yet, draw it, and put all on one page.

Each experiment leaves experiments/NAME.json, from which figures and tables are made: the page can be drawn again from
these files alone.  Weights and histories of unfinished and finished training lie in runs/NAME.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from numvae import figures
from numvae.errors import InputError
from numvae.experiments.outcomes import Outcome, Outcomes, read_outcome, write_outcome
from numvae.experiments.settings import PROFILES, one_of
from numvae.interruption import Interrupted
from numvae.page import folded_json, picture_grid, section, table, write_document

__all__ = ["Experiment", "Paper", "PaperFigure", "PaperReproduction", "Table", "draw_paper", "reproduce_paper", "those"]

RUNS, OUTCOMES, DRAWN = "runs", "experiments", "figures"
SHORT = 300
"""Seconds up to which nobody needs a warning of how long it will take."""


class Experiment(Protocol):
    """What is run: it leaves an outcome."""

    @property
    def name(self) -> str:
        """The stem of its file."""

    def seconds(self, folder: Path, profile: str) -> float:
        """How long ``run`` will take here, about."""

    def run(self, folder: Path, profile: str, command: str) -> Outcome:
        """Run it, with what it needs in ``folder``/NAME, or go on there.  ``command``: what goes on after Ctrl-C."""


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper: what it needs, and what draws it."""

    name: str
    title: str
    caption: str
    experiments: tuple[Experiment, ...]
    draw: Callable[[Outcomes, Path], Figure]
    """From the outcomes, and the folder of the runs for what only weights can show."""
    needs_runs: bool = False
    """Whether it is drawn from the runs, which the data files do not hold."""
    says: Callable[[Outcomes], str] = lambda outcomes: ""
    """A sentence with the numbers in it."""


@dataclass(frozen=True)
class Table:
    """Obtained beside reported: headings, rows of cells as text, the first column naming the row, and a note.

    One without rows is left out of the page.
    """

    heading: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    note: str


@dataclass(frozen=True)
class Paper:
    """All that ``numvae reproduce NAME`` needs to know of a paper."""

    name: str
    title: str
    notes: Mapping[str, str]
    """A paragraph for each profile."""
    figures: Mapping[str, PaperFigure]
    tables: Callable[[Outcomes], Sequence[Table]]


@dataclass(frozen=True, eq=False)
class PaperReproduction:
    """What a reproduction left: the page, and each experiment's and each figure's file by name."""

    page: Path
    experiments: dict[str, Path]
    pictures: dict[str, Path]

    def to_json(self) -> dict[str, Any]:
        """The object that ``numvae reproduce --json`` prints."""
        return {
            "page": str(self.page),
            "experiments": {name: str(path) for name, path in self.experiments.items()},
            "figures": {name: str(path) for name, path in self.pictures.items()},
        }


def those(outcomes: Outcomes, experiments: Sequence[Experiment]) -> dict[str, Outcome]:
    """The outcomes of these experiments that are there, in their order."""
    return {each.name: outcomes[each.name] for each in experiments if each.name in outcomes}


def reproduce_paper(
    paper: Paper, figure: str | None = None, profile: str = "quick", folder: Path | None = None
) -> PaperReproduction:
    """Make one figure, or all of them, into ``folder`` (by default runs/NAME-PROFILE); what is there is not run again.

    The page shows every figure that the folder holds.

    Raises:
        InputError: no such figure or profile, unusable data, or a folder with outcomes of another profile.
        Interrupted: SIGINT or SIGTERM came; what is done is kept, and the message says how to go on.
    """
    names = list(paper.figures) if figure is None else [one_of(figure, list(paper.figures), "figure")]
    folder = Path("runs") / f"{paper.name}-{one_of(profile, PROFILES, 'profile')}" if folder is None else folder
    command = _command(paper, figure, one_of(profile, PROFILES, "profile"), folder)
    try:
        for experiment in _left_to_run(paper, names, profile, folder, command):
            outcome = experiment.run(folder / RUNS, profile, command)
            write_outcome(_path(folder, experiment), outcome)
        return draw_paper(paper, profile, folder, names)
    except KeyboardInterrupt as interruption:
        if isinstance(interruption, Interrupted):
            raise
        raise Interrupted(f"interrupted; go on with: {command}") from None


def draw_paper(paper: Paper, profile: str, folder: Path, names: Sequence[str] = ()) -> PaperReproduction:
    """Figures and page from the outcomes that the folder holds; a figure that needs weights stays as it was drawn.

    ``names``: figures to draw again even so, if the weights are there.

    Raises:
        InputError: the folder holds no outcome of this paper, or some of another profile.
    """
    outcomes = _outcomes(paper, profile, folder)
    if not outcomes:
        raise InputError(f"{folder} holds no outcome to draw; make some with {_command(paper, None, profile, folder)}")
    pictures: dict[str, Path] = {}
    for name, figure in paper.figures.items():
        if not all(experiment.name in outcomes for experiment in figure.experiments):
            continue
        path = _picture(folder, name)
        can_draw = not figure.needs_runs or all(_has_run(folder, each) for each in figure.experiments)
        if can_draw and (name in names or not figure.needs_runs or not path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            figures.save(figure.draw(outcomes, folder / RUNS), path)
        if path.exists():
            pictures[name] = path
    page = folder / "index.html"
    command = _command(paper, next(iter(pictures)) if len(pictures) == 1 else None, profile, folder)
    _write_page(page, paper, profile, outcomes, pictures, command)
    files = {name: folder / OUTCOMES / f"{name}.json" for name in outcomes}
    return PaperReproduction(page, files, pictures)


def _left_to_run(paper: Paper, names: Sequence[str], profile: str, folder: Path, command: str) -> Iterator[Experiment]:
    """What the figures need and the folder has not, one after the other, with a line on each."""
    there = _outcomes(paper, profile, folder)
    wanted: dict[str, Experiment] = {}
    for name in names:
        figure = paper.figures[name]
        weights = figure.needs_runs and not _picture(folder, name).exists()
        for each in figure.experiments:
            if each.name not in there or (weights and not _has_run(folder, each)):
                wanted[each.name] = each
    if profile == "full" and wanted:
        seconds = sum(experiment.seconds(folder / RUNS, profile) for experiment in wanted.values())
        if seconds > SHORT:
            _tell(f"about {seconds / 60:,.0f} min to run here; Ctrl-C keeps what is done, go on with: {command}")
    for number, experiment in enumerate(wanted.values(), 1):
        _tell(f"{number}/{len(wanted)} {experiment.name}")
        yield experiment


def _outcomes(paper: Paper, profile: str, folder: Path) -> dict[str, Outcome]:
    """All that is there.

    Raises:
        InputError: it is damaged, or of another profile.
    """
    outcomes = {}
    for experiment in {each.name: each for figure in paper.figures.values() for each in figure.experiments}.values():
        path = _path(folder, experiment)
        outcome = read_outcome(path)
        if outcome is None:
            continue
        if outcome.get("experiment") != experiment.name:
            raise InputError(f"{path} is no outcome of {experiment.name}; remove it, and it is made anew")
        of = outcome.get("profile")
        if of != profile:
            raise InputError(f"{path} is of the {of} profile, not of the {profile} one; name another --out")
        outcomes[experiment.name] = outcome
    return outcomes


def _path(folder: Path, experiment: Experiment) -> Path:
    return folder / OUTCOMES / f"{experiment.name}.json"


def _picture(folder: Path, figure: str) -> Path:
    return folder / DRAWN / f"figure-{figure}.png"


def _has_run(folder: Path, experiment: Experiment) -> bool:
    return (folder / RUNS / experiment.name / "config.json").exists()


def _write_page(
    path: Path, paper: Paper, profile: str, outcomes: Outcomes, pictures: Mapping[str, Path], command: str
) -> None:
    drawn = []
    for name, picture in pictures.items():
        figure = paper.figures[name]
        drawn.append((figure.title, f"{figure.caption} {figure.says(outcomes)}".strip(), picture))
    made_with = sorted({str(outcome["made_with"]) for outcome in outcomes.values()})
    seeds = sorted({int(outcome["seed"]) for outcome in outcomes.values()})
    seconds = sum(float(outcome["training_seconds"]) for outcome in outcomes.values())
    about = (
        f"{'; '.join(made_with)}. Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}; "
        f"{seconds / 60:,.0f} min of training."
    )
    write_document(
        path,
        kicker="numvae · a reproduction",
        title=paper.title,
        notes=[paper.notes[profile], about],
        sections=[
            section("Figures", picture_grid(drawn)) if drawn else "",
            *(section(escape(each.heading), _as_html(each)) for each in paper.tables(outcomes) if each.rows),
            section(
                "To repeat this",
                f"<pre>{escape(command)}</pre>" + folded_json("Every number", outcomes),
            ),
        ],
    )


def _as_html(content: Table) -> str:
    rows = []
    for first, *others in content.rows:
        cells = "".join(f'<td class="number">{escape(cell)}</td>' for cell in others)
        rows.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return table(content.columns, rows) + f'<p class="note">{escape(content.note)}</p>'


def _command(paper: Paper, figure: str | None, profile: str, folder: Path) -> str:
    words = ["numvae", "reproduce", paper.name, *(["--figure", figure] if figure else []), "--profile", profile]
    return shlex.join([*words, "--out", str(folder)])


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
