"""The page of a reproduction: the figures, what was obtained beside what was reported, and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from numvae.experiments.results import made_with, obtained
from numvae.experiments.review import ReviewFigure
from numvae.experiments.running import Trained
from numvae.page import folded_json, number, picture_grid, section, table, write_document

__all__ = ["write_review_page"]

HEADINGS = ("Experiment", "Trained on", "Likelihood", "Test bound", "KL", "Squared error", "Seconds", "Reported")
NUMBERS = {"test_elbo": ",.1f", "test_kl": ",.1f", "squared_error": ",.2f", "seconds": ",.1f"}
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
            sections.append(section(heading, picture_grid(drawn)))
    configurations = {name: trained.run.config.model_dump() for name, trained in runs.items()}
    seconds = sum(trained.run.state.seconds for trained in runs.values())
    write_document(
        path,
        kicker="numvae · a reproduction",
        title="The review of Auto-Encoding Variational Bayes, run again",
        notes=[_profile_note(profile), f"{made_with(runs)}; {seconds:,.0f} seconds of training."],
        sections=[
            *sections,
            section("Obtained beside reported", _obtained(runs)),
            section(
                "To repeat this",
                f"<pre>{escape(command)}</pre>" + folded_json("The settings of every run", configurations),
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


def _obtained(runs: Mapping[str, Trained]) -> str:
    rows = [_row(obtained(name, trained)) for name, trained in runs.items()]
    about = (
        '<p class="note">Trained on: rows × epochs. Bounds in nats per test datum: bound = reconstruction − KL, '
        "under a weighted KL too. Squared error: grey values in [0, 1], summed over pixels, decoded from the mean "
        "latent of the clean image; of photon counts, their rate over that of white. Bernoulli likelihoods see grey "
        "values as expected bits. A bound under one likelihood cannot be compared with one under another. The sources "
        "give settings (784-256-2 and 560-256-2 with ReLU, Adam, 60,000 and 10,000 digits) and pictures, of which no "
        "number is known for certain: under “reported” stand their words.</p>"
    )
    return table(HEADINGS, rows, numbers_from=len(HEADINGS)) + about


def _row(row: Mapping[str, Any]) -> str:
    seen = f"{row['train_rows']:,} {row['data']} × {row['epochs']}".replace(" ", "\N{NO-BREAK SPACE}")
    start = f", from {row['starts_from']}" if row["starts_from"] else ""
    floor = f", floor {row['least_std']:.1g}" if row["least_std"] else ""
    cells = "".join(f'<td class="number">{number(row[key], style)}</td>' for key, style in NUMBERS.items())
    diverged = f"; here it diverged: {row['diverged']}" if row["diverged"] else ""
    return (
        f'<tr><th scope="row"><code>{escape(row["experiment"])}</code>{escape(start)}</th><td>{escape(seen)}</td>'
        f"<td>{escape(row['likelihood'] + floor)}</td>{cells}<td>{escape(row['reported'] + diverged)}</td></tr>"
    )
