"""The arena's pictures, in the style of ``numvae.figures``: each takes ``ax=None`` and returns the Axes it drew on.

Estimators differ by mark as well as by colour; the familiar ones look the same in every picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from numvae.adaptation import is_adaptive
from numvae.arena.comparison import Comparison
from numvae.arena.curves import (
    Curves,
    basket,
    optimum_of,
    over_dimension,
    over_distance,
    over_samples,
    path_of_descent,
)
from numvae.arena.measured import Measured
from numvae.arena.path_terms import PathTerms
from numvae.arena.states import COSTS
from numvae.errors import InputError
from numvae.estimators.catalogue import ESTIMATORS
from numvae.figures import (
    BLUE,
    GRID,
    INK,
    QUIET,
    RED,
    _axes_within,
    _plain,
    save,
)

__all__ = ["box_plots", "draw_all", "pareto_front", "path_term_stacks", "variance_curves"]

COLOURS = (BLUE, "#e08700", "#009e73", "#cc79a7", "#7a4fbf", "#8c564b", "#56b4e9", "#b8a000", "#a3b1bf", QUIET)
"""Okabe and Ito (2008) with darker yellow and orange, two more and two greys; marks tell what colours do not."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*")
FAMILIAR = ("score_function", "pathwise", "vimco", "disarm", "rebar")
MOST_CURVES = 8
LOGISTIC_REGRESSION = "logistic-regression"
ROW = 0.3
"""Inches from one line of text to the next, where each estimator has one."""

Numbers: TypeAlias = npt.NDArray[np.floating[Any]]


# ---- one state


def box_plots(comparison: Comparison, coordinate: int | None = None, ax: Axes | None = None) -> Axes:
    """How single estimates scatter around the truth in one coordinate of the gradient, least variance on top.

    Boxes hold the middle half, whiskers nine in ten; a bar marks the median, a dot the mean.  Where widths differ much,
    the axis is logarithmic on both sides of zero.  ``coordinate``: by default the one whose gradient is largest.  What
    is not certified is named in red.
    """
    truth = comparison.truth.gradient
    coordinate = int(np.argmax(np.abs(truth))) if coordinate is None else coordinate
    measured = sorted(comparison.estimators, key=lambda m: (m.variance[coordinate], m.total_variance))
    ax = ax or _axes_for_names([m.name for m in measured], top=0.45)
    _plain(ax)
    errors = [m.gradients[:, coordinate] - truth[coordinate] for m in measured]
    styles = _styles(m.name for m in comparison.estimators)
    for place, (m, error) in enumerate(zip(measured, errors, strict=True)):
        colour, _ = styles[m.name]
        low, first, middle, third, high = np.quantile(error, (0.05, 0.25, 0.5, 0.75, 0.95))
        ax.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        ax.barh(place, third - first, left=first, height=0.56, color=colour, zorder=2.5)
        ax.plot([middle, middle], [place - 0.28, place + 0.28], color=INK, linewidth=1.6, zorder=2.6)
        ax.plot(error.mean(), place, "o", color="white", markeredgecolor=INK, markersize=5, zorder=4)
    ax.axvline(0, color=INK, linewidth=1, zorder=0.9)
    ax.set_ylim(len(measured) - 0.4, -0.6)
    _signed_log_axis(ax, errors)
    _name_rows(ax, measured)
    ax.grid(False, axis="y")
    number = _plain_number(truth[coordinate])
    ax.set_xlabel(f"estimate − truth, coordinate {coordinate} of the gradient, where the truth is {number}")
    ax.set_title(f"{comparison.problem.name}: {comparison.repeats:,} estimates each", **_TITLE)
    return ax


def pareto_front(comparison: Comparison, cost: Literal["calls", "seconds"] = "calls", ax: Axes | None = None) -> Axes:
    """Variance against cost, both logarithmic; no estimator left of the line and below it has been found.

    ``cost``: samples through f and back through its pullback, or microseconds an estimate.  Along the thin lines
    variance × cost is the same: what remains when cheap estimates are averaged.  Hollow marks have no variance at all;
    a ring marks those that do not claim to be unbiased, which the line leaves out.
    """
    measured = sorted(comparison.estimators, key=lambda m: -m.total_variance)
    costs = np.array([m.cost if cost == "calls" else 1e6 * m.seconds for m in measured], dtype=np.float64)
    variances = np.array([m.total_variance for m in measured])
    floor = _floor(variances)
    shown = np.maximum(variances, floor)
    longest = max(len(m.name) for m in measured)
    ax = ax or _axes_within(
        4.0, max(3.0, ROW * 0.72 * len(measured)), left=0.75, right=0.45 + 0.078 * longest, bottom=0.5, top=0.35
    )
    _plain(ax)
    ax.set(xscale="log", yscale="log")
    ax.set_xlim(costs.min() / 1.6, costs.max() * 1.6)
    ax.set_ylim(shown.min() / 2.5, shown.max() * 2.5)
    _equal_products(ax)
    _plain_ticks(ax, np.unique(costs) if cost == "calls" else None)
    front = _front(costs, shown, [m.claims.unbiased for m in measured])
    ax.step(*front, where="post", color=INK, linewidth=1.2, zorder=2)
    styles = _styles(m.name for m in comparison.estimators)
    for m, x, y in zip(measured, costs, shown, strict=True):
        colour, mark = styles[m.name]
        face = "white" if y > m.total_variance else colour
        ax.plot(x, y, mark, color=colour, markerfacecolor=face, markersize=7, markeredgewidth=1.4, zorder=3)
        if not m.claims.unbiased:
            ax.plot(x, y, "o", color=RED, markerfacecolor="none", markersize=13, zorder=2.9)
    _name_at_right(ax, [(m.name, x, y) for m, x, y in zip(measured, costs, shown, strict=True)], styles)
    ax.set_xlabel("calls of f and of its pullback, per row" if cost == "calls" else "microseconds an estimate")
    ax.set_ylabel("total variance")
    ax.set_title(comparison.problem.name, **_TITLE)
    return ax


# ---- a line of states


def variance_curves(curves: Curves, ax: Axes | None = None, *, title: str = "") -> Axes:
    """Total variance of each estimator along a line, or a training, with bands of two standard errors.

    Those without any variance are drawn dotted and hollow, at the lower edge.
    """
    names = [name for name, values in curves.variance.items() if np.isfinite(values).any()]
    if not names:
        raise InputError(f"no estimator could be measured along the {curves.along}")
    longest = max(map(len, names))
    ax = ax or _axes_within(
        4.0, max(3.0, ROW * 0.72 * len(names)), left=0.75, right=0.45 + 0.078 * longest, bottom=0.5, top=0.35
    )
    _plain(ax)
    floor = _floor(np.concatenate([curves.variance[name] for name in names]))
    styles, ends = _styles(names), []
    for name in names:
        colour, mark = styles[name]
        there = np.isfinite(curves.variance[name])
        x, y = curves.x[there], np.maximum(curves.variance[name][there], floor)
        look: dict[str, Any] = {"markerfacecolor": "white", "linestyle": ":"} if np.all(y == floor) else {}
        error = 2 * curves.standard_error[name][there]
        ax.fill_between(x, np.maximum(y - error, floor), y + error, color=colour, alpha=0.18, linewidth=0)
        ax.plot(x, y, color=colour, marker=mark, markersize=4.5, linewidth=1.8, **look)
        ends.append((name, x[-1], y[-1]))
    ax.set_yscale("log")
    if curves.x.min() > 0 and curves.x.max() >= 16 * curves.x.min():
        ax.set_xscale("log")
    _plain_ticks(ax, curves.x)
    ax.set(xlabel=curves.along, ylabel="total variance")
    ax.set_title(title, **_TITLE)
    _name_at_right(ax, ends, styles)
    return ax


# ---- terms of one gradient


def path_term_stacks(terms: PathTerms, estimators: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Estimators as sums of the same terms: above their means, below their variances, a diamond at the sum.

    Above, each term's part in the gradient, along the first estimator's mean and in units of its length; where the sum
    is not known to half of that, it is not drawn.  Below, the terms' variances side by side, in units of their total,
    and hatched the sum of all covariances: where terms cancel, it leads far back to the left.  On the right stands the
    estimator's variance itself, summed over rows and parameters.  The two panels are ``ax.child_axes``.
    """
    chosen = list(terms.sums) if estimators is None else list(estimators)
    used = [term for k, term in enumerate(terms.terms) if any(terms.coefficients(name)[k] for name in chosen)]
    if ax is None:
        left, legend = 0.25 + 0.078 * max(map(len, chosen)), 0.2 + 0.2 * math.ceil(len(used) / 3)
        ax = _axes_within(4.3, 2 * ROW * len(chosen) + 1.1, left=left, right=0.75, bottom=0.5, top=legend)
    ax.set_axis_off()
    upper, lower = ax.inset_axes((0.0, 0.6, 1.0, 0.4)), ax.inset_axes((0.0, 0.0, 1.0, 0.4))
    colours = {term: COLOURS[number % len(COLOURS)] for number, term in enumerate(used)}
    for place, name in enumerate(chosen):
        _draw_means(upper, place, terms, name, terms.mean_of(chosen[0]), colours)
        _draw_variances(lower, place, terms, name, colours)
    for panel, what in ((upper, "part in the mean gradient"), (lower, "part in the terms' variances")):
        _plain(panel)
        panel.grid(False, axis="y")
        panel.axvline(0, color=INK, linewidth=1, zorder=0.9)
        panel.set_yticks(range(len(chosen)), chosen)
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(len(chosen) - 0.4, -0.6)
        panel.xaxis.set_major_locator(MaxNLocator(6))
        panel.set_xlabel(what)
    lower.text(1.03, 1.0, "variance", transform=lower.transAxes, ha="left", va="bottom", fontsize=8.5, color=QUIET)
    _legend_of_terms(upper, colours)
    return ax


def _draw_means(
    ax: Axes, place: int, terms: PathTerms, name: str, gradient: Numbers, colours: Mapping[str, str]
) -> None:
    direction = gradient / np.sum(gradient**2)
    error = 2 * math.sqrt(float(np.sum(direction**2 * terms.variance_of(name))) / terms.draws)
    if error > 0.5:
        ax.text(0.0, place, f"  known to ±{error:.2g} only: take more draws", va="center", fontsize=8.5, color=QUIET)
        return
    coefficients = dict(zip(terms.terms, terms.coefficients(name), strict=True))
    parts = {t: coefficients[t] * float(np.sum(terms.mean[terms.terms.index(t)] * direction)) for t in colours}
    _stack(ax, place, parts, colours)
    total = sum(parts.values())
    ax.plot([total - error, total + error], [place, place], color=INK, linewidth=1.4, zorder=3)
    _diamond(ax, place, total)


def _draw_variances(ax: Axes, place: int, terms: PathTerms, name: str, colours: Mapping[str, str]) -> None:
    coefficients = dict(zip(terms.terms, terms.coefficients(name), strict=True))
    parts = {t: coefficients[t] ** 2 * float(terms.variance[terms.terms.index(t)].sum()) for t in colours}
    stacked, total = sum(parts.values()), float(terms.variance_of(name).sum())
    _stack(ax, place, {term: part / stacked for term, part in parts.items()}, colours)
    ax.barh(
        place, total / stacked - 1, left=1.0, height=0.26, facecolor="none", edgecolor=INK, hatch="/////", linewidth=0.6
    )
    _diamond(ax, place, total / stacked)
    ax.text(1.03, place, _plain_number(total), transform=ax.get_yaxis_transform(), va="center", fontsize=9, color=INK)


def _diamond(ax: Axes, place: int, x: float) -> None:
    ax.plot(
        x, place, "D", color="white", markeredgecolor=INK, markersize=6, markeredgewidth=1.4, zorder=4, clip_on=False
    )


def _stack(ax: Axes, place: int, parts: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Bars end to end, positive ones to the right of zero, negative ones to the left."""
    ends = {True: 0.0, False: 0.0}
    for term, width in parts.items():
        ax.barh(place, width, left=ends[width > 0], height=0.62, color=colours[term], edgecolor="white", linewidth=0.6)
        ends[width > 0] += width


def _legend_of_terms(ax: Axes, colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=term) for term, colour in colours.items()]
    ax.legend(
        handles=handles, ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=8.5,
        labelcolor=INK, handlelength=1.0, columnspacing=1.2, borderaxespad=0.3,
    )  # fmt: skip


# ---- all of them


def draw_all(comparison: Comparison, folder: Path, terms: PathTerms | None = None) -> list[Path]:
    """Every picture that a comparison allows, and one of the ``terms``, as PNG files in the folder; their paths.

    Its estimators are followed along lines too, those that learn left out, since they would have to learn anew at each
    place; of many, ``MOST_CURVES``.
    """
    pictures = {
        "estimates": box_plots(comparison),
        "variance_and_calls": pareto_front(comparison),
        "variance_and_seconds": pareto_front(comparison, "seconds"),
        **_drawn_curves(comparison),
    }
    if terms is not None:
        pictures["path_terms"] = path_term_stacks(terms)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        save(picture, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in pictures]


def _drawn_curves(comparison: Comparison) -> dict[str, Axes]:
    """Over samples always; over dimensions, distance and descent for the costs that have them."""
    state, estimators = comparison.problem, _worth_following(comparison)
    repeats = max(20, min(1000, comparison.repeats // 5))
    if not estimators:
        return {}
    curves = {"over_samples": over_samples(state, estimators, repeats=repeats)}
    state_of, optimum = COSTS.get(state.name), optimum_of(state)
    if state_of is not None and state.name != LOGISTIC_REGRESSION:
        curves["over_dimension"] = over_dimension(state_of, estimators, repeats=repeats)
    if optimum is not None:
        curves["over_distance"] = over_distance(state, optimum, estimators, repeats=repeats)
        curves["basket"] = basket(path_of_descent(state, steps=range(0, 101, 10)), estimators, repeats=repeats)
    return {name: variance_curves(curve, title=state.name) for name, curve in curves.items()}


def _worth_following(comparison: Comparison) -> dict[str, Any]:
    """The best known first, then by rank."""
    names = [place.name for place in comparison.ranking if place.name in ESTIMATORS]
    names = [name for name in names if not is_adaptive(ESTIMATORS[name])]
    names.sort(key=lambda name: name not in FAMILIAR)
    return {name: ESTIMATORS[name] for name in names[:MOST_CURVES]}


# ---- how they look

_TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9.5, "color": INK}


def _styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a mark for each estimator: the familiar ones have their own, the others what is left, in order."""
    styles: dict[str, tuple[str, str]] = {}
    rest = itertools.count(len(FAMILIAR))
    for name in names:
        number = FAMILIAR.index(name) if name in FAMILIAR else next(rest)
        styles[name] = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    return styles


def _axes_for_names(names: Sequence[str], *, top: float) -> Axes:
    left = 0.3 + 0.078 * max(map(len, names))
    return _axes_within(4.6, ROW * len(names) + 0.2, left=left, right=0.2, bottom=0.5, top=top)


def _name_rows(ax: Axes, measured: Sequence[Measured]) -> None:
    ax.set_yticks(range(len(measured)), [m.name for m in measured])
    ax.tick_params(axis="y", length=0)
    for label, m in zip(ax.get_yticklabels(), measured, strict=True):
        label.set_color(INK if m.certified else RED)


def _signed_log_axis(ax: Axes, errors: Sequence[Numbers]) -> None:
    """Linear around zero as far as the narrowest box that has a width, logarithmic beyond, if widths differ much."""
    ends = [np.abs(np.quantile(error, (0.05, 0.95))).max() for error in errors]
    widest = max(ends)
    narrow = min((end for end in ends if end > 1e-6 * widest), default=1.0)
    if widest > 20 * narrow:
        linear = 10.0 ** math.ceil(math.log10(narrow))
        ax.set_xscale("symlog", linthresh=linear, linscale=1.0)
        decades = [linear * 10.0**k for k in range(math.ceil(math.log10(widest / linear)) + 1)]
        decades = decades[:: max(1, math.ceil(len(decades) / 4))]
        ticks = [*(-d for d in reversed(decades)), 0.0, *decades]
        ax.set_xticks(ticks, [_plain_number(tick) for tick in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(-1.15 * widest, 1.15 * widest)


def _plain_number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _floor(variances: Numbers) -> float:
    """What is drawn for no variance: a decade below the least of the others."""
    positive = variances[np.isfinite(variances) & (variances > 1e-20 * np.nanmax(variances, initial=0.0))]
    return float(positive.min() / 10) if len(positive) else 1.0


def _front(costs: Numbers, variances: Numbers, eligible: Sequence[bool]) -> tuple[list[float], list[float]]:
    """Those unbiased ones that no other has both less cost and less variance than, from cheap to dear."""
    front: list[tuple[float, float]] = []
    for cost, variance, unbiased in sorted(zip(costs.tolist(), variances.tolist(), eligible, strict=True)):
        if unbiased and (not front or variance < front[-1][1]):
            front.append((cost, variance))
    return [cost for cost, _ in front], [variance for _, variance in front]


def _equal_products(ax: Axes) -> None:
    """Lines of equal variance × cost."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for exponent in range(math.floor(math.log10(left * low)), math.ceil(math.log10(right * high)) + 1):
        ax.plot([left, right], [10.0**exponent / left, 10.0**exponent / right], color=GRID, linewidth=0.8, zorder=1)
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.grid(False)


def _plain_ticks(ax: Axes, x: Numbers | None = None) -> None:
    """No ticks between decades; below plain numbers where the axis spans few, at the places measured if few."""
    ax.yaxis.set_minor_locator(NullLocator())
    if ax.get_xscale() != "log":
        return
    left, right = ax.get_xlim()
    if x is not None and len(x) <= 8:
        ax.set_xticks(x, [f"{value:g}" for value in x])
    elif right < 300 * left:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_locator(NullLocator())


def _name_at_right(ax: Axes, points: Sequence[tuple[str, float, float]], styles: Mapping[str, tuple[str, str]]) -> None:
    """Each name beside the picture, level with its point as far as names may stand, and a thin line between them."""
    low, high = np.log(ax.get_ylim())  # variances are on a log axis
    ordered = sorted(points, key=lambda point: point[2])
    wanted = [(math.log(y) - low) / (high - low) for _, _, y in ordered]
    height = ax.get_position().height * ax.figure.get_size_inches()[1]  # type: ignore[union-attr]
    for (name, x, y), level in zip(ordered, _spread(wanted, 0.17 / height), strict=True):
        colour, mark = styles[name]
        ax.annotate(
            "", (x, y), xytext=(1.05, level), textcoords="axes fraction", annotation_clip=False, zorder=1.5,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.7, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        ax.plot(1.06, level, mark, color=colour, markersize=5, transform=ax.transAxes, clip_on=False)
        ax.text(1.085, level, name, transform=ax.transAxes, ha="left", va="center", fontsize=9, color=INK)


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending levels in [0, 1], moved apart to at least ``gap``: a cluster spreads around its mean."""
    clusters: list[list[float]] = []
    for level in wanted:
        clusters.append([level])
        while len(clusters) > 1 and _bottom(clusters[-1], gap) < _bottom(clusters[-2], gap) + gap * len(clusters[-2]):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    return [_bottom(cluster, gap) + gap * k for cluster in clusters for k in range(len(cluster))]


def _bottom(cluster: Sequence[float], gap: float) -> float:
    """Where the lowest level of a cluster comes to stand."""
    height = gap * (len(cluster) - 1)
    return max(min(sum(cluster) / len(cluster) - height / 2, 1 - height), 0.0)
