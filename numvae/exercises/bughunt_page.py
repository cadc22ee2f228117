"""A case of the bug hunt as a page with pictures: the curve, digits through both codes, digits of both, and latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from numvae import figures
from numvae.arrays import Array
from numvae.exercises.bughunt import Case, Training, decode, described, encode
from numvae.exercises.hunted import BATCH, LATENTS, SIDE, TRAIN, Outcome
from numvae.exercises.looks import Look
from numvae.page import picture_grid, section, table, write_document

__all__ = ["curves", "digits", "latents", "samples", "write_page"]

SHOWN = 14
THIS, RIGHT = figures.RED, figures.BLUE
ROOM = 0.6  # of the right curve's range, above and below it
FAR, EDGE = 1e12, 3.5
EPOCH = -(-TRAIN // BATCH)
GREY = np.full((SHOWN, SIDE * SIDE), 0.5)


def write_page(folder: Path, case: Case, training: Training, looks: Sequence[Look]) -> Path:
    """Pictures and ``index.html`` in a folder; nothing in it names the bug."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, (title, caption, draw) in PICTURES.items():
        path = folder / f"{name}.png"
        figures.save(draw(training), path)
        found.append((title, caption, path))
    tables = [section(escape(look.question), _table(look)) for look in looks]
    answers = "".join(f"<li><code>{escape(bug)}</code>: {escape(described(bug))}</li>" for bug in case.options)
    how = f"<ol type=a>{answers}</ol><pre>numvae bughunt {escape(case.flags)} --answer ID</pre>"
    page = folder / "index.html"
    write_document(
        page,
        kicker="numvae · bug hunt",
        title=f"Bug hunt, {case.name}",
        notes=["A VAE of drawn digits learns, and one thing in its code is wrong. What?"],
        sections=[section("What it does", picture_grid(found)), *tables, section("What is wrong?", how)],
    )
    return page


def curves(training: Training) -> figures.Picture:
    """The bound of each minibatch as the code gives it, and that of the right code; bold, the mean of an epoch."""
    picture = figures.Picture(figsize=(5.4, 3.0), layout="constrained")
    axes = _plain(picture.subplots())
    _, right = _means(training.right.bounds)
    low, high = float(right.min()), float(right.max())
    room = ROOM * (high - low) or 1.0  # a curve of one point has no height of its own
    for name, outcome, colour, width in (
        ("right code", training.right, RIGHT, 3.5),
        ("this code", training.outcome, THIS, 1.6),
    ):
        steps, means = _means(outcome.bounds)
        axes.plot(_drawable(outcome.bounds), color=colour, alpha=0.15, linewidth=1)
        axes.plot(steps, means, color=colour, linewidth=width, label=name)
        inside = means[(means > right.min() - room) & (means < right.max() + room)]
        low, high = min([low, *inside]), max([high, *inside])
    axes.set(xlabel="step", ylabel="bound as the code gives it (nats)")
    axes.set_ylim(low - 0.2 * room, high + 0.2 * room)
    axes.legend(frameon=False, loc="lower right", ncols=2)
    return picture


def _means(bounds: Array) -> tuple[Array, Array]:
    """Means over the steps of an epoch, and the steps in their middle."""
    window = min(EPOCH, len(bounds))
    with np.errstate(all="ignore"):
        means = np.convolve(bounds, np.full(window, 1 / window), mode="valid")
    return np.arange(len(means)) + (window - 1) / 2, _drawable(means)


def _drawable(bounds: Array) -> Array:
    """NaN where Matplotlib would lose its way."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(bounds) < FAR, bounds, np.nan)


def digits(training: Training) -> figures.Picture:
    """Test digits, and below them what each code makes of them, by way of the mean."""
    x = training.setting.x_test[:SHOWN]
    decoded = [decode(o.p, encode(o.p, x)[0]) if o.finite else GREY for o in (training.outcome, training.right)]
    return _rows({"digits": x, "this code": decoded[0], "right code": decoded[1]})


def samples(training: Training) -> figures.Picture:
    """Digits decoded from the same draws of the prior."""
    z = np.random.default_rng(training.seed).standard_normal((SHOWN, LATENTS))
    decoded = [decode(o.p, z) if o.finite else GREY for o in (training.outcome, training.right)]
    return _rows({"this code": decoded[0], "right code": decoded[1]})


def latents(training: Training) -> figures.Picture:
    """q(z|x) of test digits: an ellipse of one std around each mean, in the colour of its digit."""
    picture = figures.Picture(figsize=(6.4, 3.5), layout="constrained")
    outcomes = {"this code": training.outcome, "right code": training.right}
    for axes, (name, outcome) in zip(picture.subplots(1, 2), outcomes.items(), strict=True):
        _plain(axes).set_title(name, fontsize=10)
        if not (outcome.finite and _ellipses(axes, outcome, training)):
            axes.text(0, 0, "all of them are\nbeyond this window", ha="center", va="center", color=figures.QUIET)
        axes.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return picture


def _rows(rows: Mapping[str, Array]) -> figures.Picture:
    """Rows of images, each with its name on the left."""
    width, left = 6.4, 0.85
    height = len(rows) * (width - left) / SHOWN
    picture = figures.Picture(figsize=(width, height))
    axes = picture.add_axes((left / width, 0.0, 1 - left / width, 1.0))
    figures.image_grid(np.concatenate(list(rows.values())), (SIDE, SIDE), SHOWN, axes)
    for k, name in enumerate(rows):
        middle = 1 - (k + 0.5) / len(rows)
        picture.text(left / width - 0.015, middle, name, ha="right", va="center", fontsize=9.5, color=figures.INK)
    return picture


def _plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _ellipses(axes: Axes, outcome: Outcome, training: Training) -> int:
    """Draw those whose centre is in the window; how many there are."""
    mean, log_std = encode(outcome.p, training.setting.x_test)
    inside = np.all(np.abs(mean) < EDGE, axis=1)
    std = np.exp(np.minimum(log_std, np.log(EDGE)))
    for place, size, label in zip(mean[inside], std[inside], training.setting.labels[inside], strict=True):
        width, height = np.maximum(2 * size, 0.06)  # the smallest that can be seen
        colour = figures.TEN_COLOURS[int(label)]
        axes.add_patch(Ellipse((place[0], place[1]), width, height, color=colour, alpha=0.35, linewidth=0))
    return int(inside.sum())


PICTURES = {
    "curve": (
        "The bound",
        "As the code itself gives it. It may rise more than it should as well as less: a bound that is too good is "
        "none.",
        curves,
    ),
    "digits": (
        "Through the code",
        "Test digits, and what comes out when the mean of q(z|x) is decoded. All grey: the weights are no numbers now.",
        digits,
    ),
    "samples": ("From the prior", "Decoded draws of N(0, I), the same for both.", samples),
    "latents": (
        "Where digits go",
        "q(z|x) of each test digit, one standard deviation wide, in the colour of its label. All together should fill "
        "N(0, I), neither as needles nor as one blot.",
        latents,
    ),
}
"""File -> title, caption, and the function that draws it."""


def _table(look: Look) -> str:
    rows = []
    for fact in look.facts:
        good = "good" if fact.ok else "bad"
        mark = "✓" if fact.ok else "✗"
        cells = "".join(f'<td class="number">{escape(cell)}</td>' for cell in fact.cells)
        rows.append(f'<tr><th scope="row"><span class="{good}">{mark}</span> {escape(fact.what)}</th>{cells}</tr>')
    return table(("", *look.columns), rows)
