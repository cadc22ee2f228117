"""The page of a reproduction: the figures, what was obtained beside what was reported, and how to repeat it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from numvae import __version__
from numvae.experiments.review import STARTS_FROM, ReviewFigure
from numvae.experiments.running import Trained
from numvae.page import _json, _number, _pictures, _section, _table, write_document

__all__ = ["REPORTED", "write_review_page"]

NOT_REPORTED = "not reported"
REPORTED: Mapping[str, str] = {
    "model_3": "“much more difficult to train”",
    "exponential_bernoulli": "left as future work",
    "exponential_normal": "left as future work",
    "exponential_poisson": "left as future work",
    "counts": "left as future work",
    "denoising": "proposed on the poster",
}
"""What the sources say of an experiment's outcome.  Of none of them is a number known for certain."""

HEADINGS = ("Experiment", "Trained on", "Likelihood", "Test bound", "KL", "Squared error", "Seconds", "Reported")
SECTIONS = {"Figure": "The review’s figures", "Poster": "The poster’s figures", "Future": "What was left undone"}


def write_review_page(
    path: Path,
    wanted: Sequence[ReviewFigure],
    pictures: Mapping[str, Path],
    words: Mapping[str, str],
    runs: Mapping[str, Trained],
    profile: str,
    command: str,
) -> None:
    """Write the self-contained page, whole or not at all.  ``words``: a sentence with numbers for each figure."""
    sections = []
    for beginning, heading in SECTIONS.items():
        shown = [figure for figure in wanted if figure.title.startswith(beginning)]
        if shown:
            drawn = [(f.title, f"{f.caption} {words[f.name]}".strip(), pictures[f.name]) for f in shown]
            sections.append(_section(heading, _pictures(drawn)))
    configurations = {name: trained.run.config.model_dump() for name, trained in runs.items()}
    seconds = sum(trained.run.state.seconds for trained in runs.values())
    machine = (
        f"numvae {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.system()} on {platform.machine()} with {os.cpu_count()} cores; "
        f"{seconds:,.0f} seconds of training, {_seeds(runs)}."
    )
    write_document(
        path,
        kicker="numvae · a reproduction",
        title="The review of Auto-Encoding Variational Bayes, run again",
        notes=[_profile_note(profile), machine],
        sections=[
            *sections,
            _section("Obtained beside reported", _obtained(runs)),
            _section(
                "To repeat this",
                f"<pre>{escape(command)}</pre>" + _json("The settings of every run", configurations),
            ),
        ],
    )


def _profile_note(profile: str) -> str:
    if profile == "quick":
        return (
            "The quick profile: fewer rows and epochs, for a first look in about two minutes. The full profile trains "
            "on all 60,000 digits, as the review did: numvae reproduce review --profile full."
        )
    return "The full profile: 60,000 training digits and 10,000 test digits, as in the review."


def _seeds(runs: Mapping[str, Trained]) -> str:
    seeds = sorted({trained.run.config.seed for trained in runs.values()})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _obtained(runs: Mapping[str, Trained]) -> str:
    rows = [_row(name, trained) for name, trained in runs.items()]
    about = (
        '<p class="note">Trained on: rows × epochs. Bounds in nats per test datum: bound = reconstruction − KL, '
        "under a weighted KL too. Squared error: grey values in [0, 1], summed over pixels, decoded from the mean "
        "latent of the clean image; of photon counts, their rate over that of white. Bernoulli likelihoods see grey "
        "values as expected bits. A bound under one likelihood cannot be compared with one under another. The sources "
        "give settings (784-256-2 and 560-256-2 with ReLU, Adam, 60,000 and 10,000 digits) and pictures, of which no "
        "number is known for certain: under “reported” stand their words.</p>"
    )
    return _table(HEADINGS, rows, numbers_from=len(HEADINGS)) + about


def _row(name: str, trained: Trained) -> str:
    config, last = trained.run.config, trained.last
    error = float(trained.squared_errors(trained.dataset.test).mean())
    seen = f"{len(trained.dataset.train):,} {config.data} × {trained.run.state.epoch}".replace(
        " ", "\N{NO-BREAK SPACE}"
    )
    start = f", from {STARTS_FROM[name]}" if name in STARTS_FROM else ""
    floor = f", floor {config.least_std:.1g}" if config.likelihood == "normal" else ""
    numbers: list[tuple[Any, str]] = [
        (last.get("test_elbo"), ",.1f"),
        (last.get("test_kl"), ",.1f"),
        (error, ",.2f"),
        (trained.run.state.seconds, ",.1f"),
    ]
    cells = "".join(f'<td class="number">{_number(value, style)}</td>' for value, style in numbers)
    reported = REPORTED.get(name, NOT_REPORTED)
    diverged = f"; here it diverged: {trained.diverged}" if trained.diverged else ""
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code>{escape(start)}</th><td>{escape(seen)}</td>'
        f"<td>{escape(config.likelihood + floor)}</td>{cells}<td>{escape(reported + diverged)}</td></tr>"
    )
