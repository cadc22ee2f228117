"""The arena's pictures: what is in them, read back from the axes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from numvae import initial_theta, log_mean_exp, mlp_vae, pathwise
from numvae.arena import pictures
from numvae.arena.comparison import Comparison, compare
from numvae.arena.curves import Curves, over_dimension
from numvae.arena.path_terms import PathTerms, path_terms
from numvae.arena.pictures import box_plots, draw_all, pareto_front, path_term_stacks, variance_curves
from numvae.arena.states import COSTS
from numvae.errors import InputError
from numvae.estimators import declares
from numvae.estimators.catalogue import ESTIMATORS

NAMES = ("score_function", "pathwise", "antithetic", "vimco", "delta_method", "finite_differences")


@declares(variables="continuous", uses_dz=True)
def doubled(*arguments):
    """An estimator that claims to be unbiased, and is not."""
    bound, pullback = pathwise(*arguments)
    return bound, lambda dbound: pullback(2 * dbound)


def comparison(*more: tuple[str, object]) -> Comparison:
    estimators = {name: ESTIMATORS[name] for name in NAMES} | dict(more)
    return compare(COSTS["quadratic"](1), estimators, repeats=500)


COMPARED = comparison(("doubled", doubled))
CURVES = over_dimension(COSTS["quadratic"], {name: ESTIMATORS[name] for name in NAMES}, (1, 2, 4), repeats=100)


def terms(reduce=None) -> PathTerms:
    model, rng = mlp_vae(6, latents=2, hidden=[4]), np.random.default_rng(0)
    theta = initial_theta(model.layout, rng=rng)
    noise = rng.standard_normal((3, 4000, 2, 2))
    x = (rng.random((2, 6)) < 0.5).astype(float)
    return path_terms(model, theta, x, noise, *([] if reduce is None else [reduce]))


TERMS, TERMS_IWAE = terms(), terms(log_mean_exp)

DRAW: dict[str, Callable[..., Axes]] = {
    "box_plots": lambda **ax: box_plots(COMPARED, **ax),
    "pareto_front": lambda **ax: pareto_front(COMPARED, **ax),
    "pareto_front in seconds": lambda **ax: pareto_front(COMPARED, "seconds", **ax),
    "variance_curves": lambda **ax: variance_curves(CURVES, **ax),
    "path_term_stacks": lambda **ax: path_term_stacks(TERMS, **ax),
    "path_term_stacks of the IWAE": lambda **ax: path_term_stacks(TERMS_IWAE, **ax),
}
every_picture = pytest.mark.parametrize("name", DRAW)


def names_beside(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


@every_picture
def test_no_name_is_cut_off_at_the_edge_of_the_picture(name):
    figure = DRAW[name]().figure
    needed, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert needed.x0 > -1e-6
    assert needed.y0 > -1e-6
    assert needed.x1 < width + 1e-6
    assert needed.y1 < height + 1e-6


@every_picture
def test_pictures_are_drawn_on_the_axes_given(name):
    ax = Figure().add_subplot()
    assert DRAW[name](ax=ax) is ax
    ax.figure.draw_without_rendering()


def test_boxes_stand_in_the_order_of_variance_and_name_in_red_what_is_not_certified():
    ax = box_plots(COMPARED, coordinate=0)
    shown = [label.get_text() for label in ax.get_yticklabels()]
    variance = {m.name: m.variance[0] for m in COMPARED.estimators}
    assert sorted(shown) == sorted(variance)
    assert [variance[name] for name in shown] == sorted(variance.values())
    red = [label.get_text() for label in ax.get_yticklabels() if to_hex(label.get_color()) == pictures.RED]
    assert red == [m.name for m in COMPARED.estimators if not m.certified]
    assert "doubled" in red


def test_boxes_hold_the_middle_half_of_the_errors():
    ax = box_plots(COMPARED, coordinate=1)
    place = [label.get_text() for label in ax.get_yticklabels()].index("score_function")
    (m,) = [m for m in COMPARED.estimators if m.name == "score_function"]
    errors = m.gradients[:, 1] - COMPARED.truth.gradient[1]
    box = ax.patches[place]
    np.testing.assert_allclose([box.get_x(), box.get_x() + box.get_width()], np.quantile(errors, (0.25, 0.75)))


def test_the_front_holds_what_nothing_unbiased_beats_in_both():
    measured = {m.name: m for m in COMPARED.estimators}
    costs = np.array([m.cost for m in measured.values()], dtype=float)
    variances = np.array([m.total_variance for m in measured.values()])
    eligible = [m.claims.unbiased for m in measured.values()]
    xs, ys = pictures._front(costs, variances, eligible)
    on_front = set(zip(xs, ys, strict=True))
    for m in measured.values():
        beaten = any(
            other.cost <= m.cost and other.total_variance < m.total_variance
            for other in measured.values()
            if other.claims.unbiased
        )
        if m.claims.unbiased:
            assert ((m.cost, m.total_variance) in on_front) == (not beaten)
    assert xs == sorted(xs)
    assert ys == sorted(ys, reverse=True)


def test_every_estimator_is_named_beside_the_front_once():
    assert sorted(names_beside(pareto_front(COMPARED))) == sorted(m.name for m in COMPARED.estimators)


def test_names_keep_their_distance_and_stay_inside():
    rng = np.random.default_rng(0)
    for wanted in ([0.5] * 9, [0.0, 0.01, 0.99, 1.0], sorted(rng.random(12)), [0.98, 0.99, 1.0]):
        levels = pictures._spread(wanted, 0.07)
        assert np.diff(levels).min() > 0.07 - 1e-9
        assert min(levels) >= -1e-9
        assert max(levels) <= 1 + 1e-9
    assert pictures._spread([0.1, 0.5, 0.9], 0.07) == [0.1, 0.5, 0.9]


def test_familiar_estimators_look_the_same_in_every_picture():
    one = pictures._styles(["lax", "pathwise", "score_function"])
    other = pictures._styles(["score_function", "arm", "pathwise"])
    assert one["pathwise"] == other["pathwise"]
    assert one["score_function"] == other["score_function"]
    many = pictures._styles([f"estimator {k}" for k in range(60)])
    assert len(set(many.values())) == 60


def test_curves_show_the_numbers_and_mark_those_without_variance():
    ax = variance_curves(CURVES)
    lines = {tuple(line.get_xdata()): line for line in ax.lines if len(line.get_xdata()) == 3}
    assert set(lines) == {(1.0, 2.0, 4.0)}
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn[0], CURVES.variance["score_function"])
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 1  # the delta method is exact on a quadratic
    assert sorted(names_beside(ax)) == sorted(NAMES)


def test_curves_leave_out_what_was_nowhere_measured():
    nothing = np.full(2, np.nan)
    curves = Curves("x", np.array([1.0, 2.0]), {"a": np.ones(2), "b": nothing}, {"a": np.ones(2), "b": nothing})
    assert names_beside(variance_curves(curves)) == ["a"]
    with pytest.raises(InputError, match="no estimator could be measured along the x"):
        variance_curves(Curves("x", np.ones(1), {"b": nothing[:1]}, {"b": nothing[:1]}))


@pytest.mark.parametrize("terms", [TERMS, TERMS_IWAE], ids=["elbo", "iwae"])
def test_stacks_add_up_to_their_diamonds(terms):
    upper, lower = path_term_stacks(terms).child_axes
    gradient = terms.mean_of(next(iter(terms.sums)))
    for place, name in enumerate(terms.sums):
        bars = [bar for bar in lower.patches if abs(bar.get_y() + bar.get_height() / 2 - place) < 1e-9]
        (diamond,) = [line for line in lower.lines if list(line.get_ydata()) == [place]]
        total = float(terms.variance_of(name).sum())
        stacked = sum(bar.get_width() for bar in bars if not bar.get_hatch())
        assert stacked == pytest.approx(1)
        assert sum(bar.get_width() for bar in bars) == pytest.approx(diamond.get_xdata()[0])
        assert pictures._plain_number(total) in [text.get_text() for text in lower.texts]
        drawn = [line for line in upper.lines if list(line.get_ydata()) == [place]]
        if drawn:
            part = float(np.sum(terms.mean_of(name) * gradient) / np.sum(gradient**2))
            assert drawn[0].get_xdata()[0] == pytest.approx(part)


def test_all_pictures_of_a_comparison_are_written(tmp_path: Path):
    paths = draw_all(comparison(), tmp_path / "made")
    assert sorted(path.stem for path in paths) == [
        "basket", "estimates", "over_dimension", "over_distance", "over_samples", "variance_and_calls",
        "variance_and_seconds",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_bits_have_no_distance_to_leave(tmp_path: Path):
    state = COSTS["bernoulli"](1)
    compared = compare(state, {name: ESTIMATORS[name] for name in ("score_function", "disarm", "relax")}, repeats=200)
    stems = [path.stem for path in draw_all(compared, tmp_path)]
    assert "over_distance" not in stems
    assert "over_samples" in stems


def test_the_arena_can_be_imported_without_pyplot():
    program = "import sys, numvae.arena.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
