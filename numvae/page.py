"""The page of a run: one HTML file with everything in it, that opens anywhere and asks the network for nothing."""

from __future__ import annotations

import base64
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from numvae.atomic import write_atomically
from numvae.errors import InputError

__all__ = [
    "CAPTIONS",
    "folded_json",
    "number",
    "picture_grid",
    "section",
    "table",
    "write_document",
    "write_page",
]

CAPTIONS: Mapping[str, tuple[str, str]] = {
    "bound_curves": (
        "The bound",
        "Both curves should rise steeply, then flatten. Test close to training is good; a training curve that still "
        "climbs while the test curve falls means overfitting. The test curve is always the plain bound.",
    ),
    "bound_terms": (
        "Its two terms",
        "Reconstruction should rise as the decoder learns. The KL rises with it while latents take in information; a "
        "KL that stays near zero means that the latents are ignored.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Test data above, and below each the mean image decoded from its latent. Good ones keep the shape and lose "
        "only detail; if all decoded images look alike, the latents carry nothing.",
    ),
    "prior_samples": (
        "Samples",
        "Mean images decoded from latents drawn from the prior: data that never existed. Most should pass for real; "
        "blends between two classes come from parts of the prior that hold no data.",
    ),
    "latent_scatter": (
        "Latent space",
        "The mean of q(z|x), or its median where it has no mean, for each test datum, coloured by its label, which "
        "training never saw. Classes should form groups, and together fill the prior: of a standard normal one, the "
        "rings are 1, 2 and 3 standard deviations.",
    ),
    "manifold": (
        "Manifold",
        "The mean image at each point of a grid that covers the prior evenly. Neighbours should change smoothly into "
        "one another, and most of the area should show clear data.",
    ),
    "gradient_check": (
        "Gradient check",
        "How far the gradient derived by hand is from a numeric derivative, for each group of weights. Every dot "
        "should lie left of the line.",
    ),
}
"""Title and caption for each figure of `numvae.figures`, by the name of the function that draws it."""


class _Quantity(NamedTuple):
    name: str
    unit: str
    style: str
    meaning: str


_QUANTITIES = {
    "test_elbo": _Quantity(
        "Test bound", "nats", ",.2f", "A lower bound on log p(x) of data not trained on: higher is better."
    ),
    "test_reconstruction": _Quantity(
        "Test reconstruction",
        "nats",
        ",.2f",
        "E[log p(x|z)], a term of the bound: how well latents explain their data.",
    ),
    "test_kl": _Quantity(
        "Test KL", "nats", ",.2f", "What the latents say about their data, and what the bound pays for it."
    ),
    "train_elbo": _Quantity(
        "Training bound", "nats", ",.2f", "The mean over the last epoch. Far above the test bound means overfitting."
    ),
    "epochs": _Quantity("Epochs", "", ",.0f", "Passes through the training data."),
    "seconds": _Quantity("Time", "s", ",.1f", "Spent in training."),
    "samples_per_second": _Quantity("Speed", "samples/s", ",.0f", "Training samples processed in a second."),
    "parameters": _Quantity("Parameters", "", ",.0f", "Numbers learnt: all weights of the model."),
}

INCH = 0.0254  # metres
WIDE = 670  # CSS pixels; a wider picture does not fit beside another

_HISTORY = {
    "epoch": ("Epoch", ",.0f"),
    "samples": ("Samples", ",.0f"),
    "seconds": ("Seconds", ",.1f"),
    "train_elbo": ("Training bound", ",.2f"),
    "test_elbo": ("Test bound", ",.2f"),
    "test_reconstruction": ("Reconstruction", ",.2f"),
    "test_kl": ("KL", ",.2f"),
}

_STYLE = """
:root { color-scheme: light dark; --ink: #27313b; --quiet: #5d6873; --line: #e1e5ea; --page: #fff; --panel: #f5f7f9;
  --good: #0b6b4a; --unsure: #8a5a00; --bad: #b3261e; --link: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7eb; --quiet: #9aa5b0; --line: #333c45; --page: #14181c; --panel: #1c2228;
    --good: #6fd3a8; --unsure: #f0b85a; --bad: #ff8a80; --link: #6cb8e6; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
header, main { max-width: 70rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3rem; }
main { padding-bottom: 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .75rem;
  text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 3rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { max-width: 44rem; margin: 0 0 .75rem; }
.kicker { color: var(--quiet); font-size: .875rem; margin-bottom: .5rem; }
.scroll { overflow-x: auto; margin-bottom: .75rem; }
table { border-collapse: collapse; font-size: .9375rem; }
th, td { text-align: left; padding: .4rem 1.5rem .4rem 0; vertical-align: baseline;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 500; font-size: .875rem; white-space: nowrap; }
tbody th { font-weight: 500; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { color: var(--quiet); font-size: .875rem; }
.leading td, .leading th { font-weight: 700; }
.leading .note { font-weight: 400; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 2.5rem 2rem; }
.wide { grid-column: 1 / -1; }
figure { margin: 0; }
.light { background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; text-align: center; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--quiet); font-size: .875rem; margin-top: .5rem; max-width: 44rem; }
.verdict { font-weight: 600; }
.good { color: var(--good); }
.unsure { color: var(--unsure); }
.bad { color: var(--bad); }
code, pre { font-size: .875em;
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--panel); border-radius: .5rem; padding: .875rem 1rem; overflow-x: auto; }
details { border-top: 1px solid var(--line); padding: .75rem 0; }
details:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; font-weight: 500; }
summary:hover { color: var(--link); }
details[open] > summary { margin-bottom: .75rem; }
@media (max-width: 40rem) {
  .quantity { display: grid; grid-template-columns: 1fr auto 5rem;
    border-bottom: 1px solid var(--line); padding: .4rem 0; }
  .quantity > * { border: 0; padding: 0 .75rem 0 0; }
  .quantity > :last-child { grid-column: 1 / -1; } }
@media print { .light { border: 0; padding: 0; } figure, tr { break-inside: avoid; } }
"""


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    numbers: Mapping[str, Any],
    configuration: Mapping[str, Any],
    figures: Sequence[tuple[str, str, str | os.PathLike[str]]],
    gradient_check: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
    command: str = "numvae train config.json --out again",
) -> None:
    """Write the self-contained ``index.html`` of a run, whole or not at all.

    title: what was trained, on what.  notes: sentences below it, one paragraph each.
    numbers: the JSON object that ``numvae train --json`` prints, nats per datum; quantities not known here are shown
    under their key, in the order given, below those that are.
    figures: (title, caption, PNG file) each; `CAPTIONS` has words for every figure of `numvae.figures`.
    gradient_check: the JSON object that ``numvae gradcheck --json`` prints, None where none was made.
    history: the rows of ``history.jsonl``.  command: repeats the run, from the folder of the page.

    All text is escaped.  The same arguments give the same bytes.  Raises `InputError` for a figure that is not a PNG.
    """
    sections = [
        section("The numbers", _numbers(numbers)),
        section("Pictures", picture_grid(figures)) if figures else "",
        section("The gradient of this model", _gradients(gradient_check)) if gradient_check is not None else "",
        section("To repeat this run", _recipe(configuration, history, command)),
    ]
    write_document(path, kicker="numvae · a training run", title=title, notes=notes, sections=sections)


def write_document(
    path: str | os.PathLike[str], *, kicker: str, title: str, notes: Sequence[str], sections: Sequence[str]
) -> None:
    """Write a self-contained page, whole or not at all: a headline, paragraphs below it, and sections of HTML."""
    paragraphs = "\n".join(f"<p>{escape(note)}</p>" for note in notes)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<p class="kicker">{escape(kicker)}</p>
<h1>{escape(title)}</h1>
{paragraphs}
</header>
<main>
{"".join(sections)}</main>
</body>
</html>
"""
    write_atomically(path, lambda file: file.write(page.encode()))


def section(heading: str, body: str) -> str:
    """A section of a document; the body is HTML already."""
    return f"<section>\n<h2>{heading}</h2>\n{body}\n</section>\n"


def _numbers(numbers: Mapping[str, Any]) -> str:
    known = {key: quantity for key, quantity in _QUANTITIES.items() if key in numbers}
    unknown = {key: _Quantity(key, "", ".6g", "") for key in numbers if key not in known}
    rows = []
    for key, (name, unit, style, meaning) in (known | unknown).items():
        leading = " leading" if key == "test_elbo" else ""
        rows.append(
            f'<tr class="quantity{leading}"><th scope="row">{escape(name)}</th>'
            f'<td class="number">{number(numbers[key], style)}</td>'
            f'<td class="note">{unit}</td><td class="note">{meaning}</td></tr>'
        )
    per_datum = '<p class="note">The bound and its terms are in nats per datum: bound = reconstruction − KL.</p>'
    return table((), rows) + per_datum


def picture_grid(figures: Iterable[tuple[str, str, str | os.PathLike[str]]]) -> str:
    """(title, caption, PNG file) each, embedded.  Raises `InputError` for a figure that is not a PNG."""
    pictures = []
    for title, caption, path in figures:
        png = Path(path).read_bytes()
        if png[:8] != b"\x89PNG\r\n\x1a\n":
            raise InputError(f"{path} is not a PNG file: it starts with {png[:8]!r}; write it with numvae.figures.save")
        width, height = _css_size(png)
        wide = ' class="wide"' if width > WIDE else ""
        pictures.append(
            f"<figure{wide}>\n<h3>{escape(title)}</h3>\n"
            f'<div class="light"><img width="{width}" height="{height}" alt="{escape(title)}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></div>\n'
            f"<figcaption>{escape(caption)}</figcaption>\n</figure>\n"
        )
    return f'<div class="pictures">\n{"".join(pictures)}</div>'


def _css_size(png: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels, 96 to the inch, at the picture's own resolution; a dot each where it has none."""
    width, height = struct.unpack(">II", png[16:24])
    place = png.find(b"pHYs", 0, png.find(b"IDAT"))
    dots_per_metre = struct.unpack(">I", png[place + 4 : place + 8])[0] if place > 0 else 96 / INCH
    return tuple(round(dots * 96 / (dots_per_metre * INCH)) for dots in (width, height))


def _gradients(check: Mapping[str, Any]) -> str:
    verdict = _verdict(check)
    why = (
        "<p>Analytic is the derivative of the objective as derived on paper; numeric is what finite differences of the "
        "objective give along the same direction. The digits should agree until rounding takes over.</p>"
    )
    rows = [
        f'<tr><th scope="row"><code>{escape(str(group["name"]))}</code></th>'
        f'<td class="number">{number(group["analytic"], ".10e")}</td>'
        f'<td class="number">{number(group["numeric"], ".10e")}</td>'
        f'<td class="number">{number(group["relative_error"], ".1e")}</td></tr>'
        for group in check["groups"]
    ]
    shown = ("ok", "verdict", "worst_relative_error", "groups")
    more = {key: value for key, value in check.items() if key not in shown}
    extra = folded_json("More from this check", more) if more else ""
    return verdict + why + table(("Weights", "Analytic", "Numeric", "Relative error"), rows) + extra


def _verdict(check: Mapping[str, Any]) -> str:
    worst = f"the worst relative error is {number(check['worst_relative_error'], '.1e')}"
    if check["verdict"] == "passed":
        return f'<p class="verdict good">✓ Passed: {worst}.</p>'
    if check["verdict"] == "failed":
        problems = "".join(f"<p><code>{escape(str(problem))}</code></p>" for problem in check["problems"])
        return f'<p class="verdict bad">✗ Failed; do not trust this run.</p>{problems}'
    groups = check["groups"]
    count = sum(bool(group["inconclusive"]) for group in groups)
    if count == len(groups):
        return '<p class="verdict unsure">? Inconclusive: differences could judge none of the weights here.</p>'
    return (
        f'<p class="verdict unsure">? Inconclusive for {count} of {len(groups)} groups of weights, which differences '
        f"cannot judge here. In the others {worst}.</p>"
    )


def _recipe(configuration: Mapping[str, Any], history: Sequence[Mapping[str, Any]], command: str) -> str:
    columns = {key: column for key, column in _HISTORY.items() if any(key in row for row in history)}
    rows = [
        "<tr>"
        + "".join(f'<td class="number">{number(row.get(key), style)}</td>' for key, (_, style) in columns.items())
        + "</tr>"
        for row in history
    ]
    numbers = table([name for name, _ in columns.values()], rows, numbers_from=0)
    recipe = f"<p>In the folder of this page, which holds <code>config.json</code>:</p><pre>{escape(command)}</pre>"
    epochs = f"<details><summary>The numbers behind the curves</summary>{numbers}</details>" if rows else ""
    return recipe + folded_json("The whole configuration", configuration) + epochs


def folded_json(summary: str, content: Mapping[str, Any]) -> str:
    """A line that opens to show the content as JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    return f"<details><summary>{summary}</summary><pre>{escape(text)}</pre></details>"


def table(headings: Sequence[str], rows: Sequence[str], numbers_from: int = 1) -> str:
    """A table of rows that are HTML already; headings from the given column on stand above numbers."""
    cells = "".join(
        f'<th scope="col"{" class=number" if place >= numbers_from else ""}>{escape(heading)}</th>'
        for place, heading in enumerate(headings)
    )
    head = f"<thead><tr>{cells}</tr></thead>" if headings else ""
    body = "\n".join(rows)
    return f'<div class="scroll"><table>{head}<tbody>\n{body}\n</tbody></table></div>\n'


def number(value: Any, style: str) -> str:
    """A number for a person: a true minus sign, a dash where there is none; anything else as escaped text."""
    if value is None:
        return "–"
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return escape(str(value))
    if not math.isfinite(value):
        return str(float(value)).replace("-", "−")
    return f"{value:{style}}".replace("-", "−")
