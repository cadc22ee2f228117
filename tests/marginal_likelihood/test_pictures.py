"""The pictures of estimates: what is in them, read back from the axes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.marginal_likelihood import Annealed, Breakdown, Sandwich, linear_temperatures, sandwich
from numvae.marginal_likelihood.pictures import breakdown_by_latents, sandwich_by_temperatures

RECORDS = [
    Breakdown(1, np.linspace(-0.1, 0.1, 101), np.full(101, 0.05), 0.0),
    Breakdown(10, np.linspace(-1.0, 2.0, 101), np.full(101, 0.4), 0.25),
]


def bounds_at(lower: float, upper: float, rows: int = 4) -> Sandwich:
    off = np.linspace(-0.1, 0.1, rows)
    return Sandwich(Annealed((lower + off)[None], 0.7), Annealed(-(upper + off)[None], 0.7))


BOUNDS = {10: bounds_at(-3.0, -1.0), 100: bounds_at(-2.1, -1.9)}


def test_boxes_hold_the_middle_half_and_the_stated_errors_stand_beside() -> None:
    ax = breakdown_by_latents(RECORDS)
    stated, errors = [[box for box in ax.containers if isinstance(box, BarContainer)][kind::2] for kind in (0, 1)]
    for record, grey, blue in zip(RECORDS, stated, errors, strict=True):
        (grey_box,), (blue_box,) = grey.patches, blue.patches
        first, third = np.quantile(record.errors, (0.25, 0.75))
        np.testing.assert_allclose([blue_box.get_y(), blue_box.get_y() + blue_box.get_height()], [first, third])
        reach = 1.645 * record.standard_errors[0]
        np.testing.assert_allclose([grey_box.get_y(), grey_box.get_y() + grey_box.get_height()], [-reach, reach])
        assert grey_box.get_x() > blue_box.get_x() + blue_box.get_width()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1\n0 %", "10\n25 %"]


def test_bounds_are_drawn_at_their_means() -> None:
    for truth, shift in ((None, 0.0), (np.full(4, -2.0), 2.0)):
        ax = sandwich_by_temperatures(BOUNDS, truth=truth)
        upper, lower = (drawn for drawn in ax.containers if isinstance(drawn, ErrorbarContainer))
        np.testing.assert_allclose(np.asarray(upper.lines[0].get_xdata(), dtype=float), [10, 100])
        np.testing.assert_allclose(np.asarray(upper.lines[0].get_ydata(), dtype=float), np.array([-1.0, -1.9]) + shift)
        np.testing.assert_allclose(np.asarray(lower.lines[0].get_ydata(), dtype=float), np.array([-3.0, -2.1]) + shift)
        assert [label.get_text() for label in ax.get_xticklabels()] == ["10", "100"]


def test_a_real_sandwich_of_one_row_can_be_drawn() -> None:
    exact = LinearGaussian(np.eye(1), np.zeros(1), beta=3.0)
    z, x = exact.draw(np.random.default_rng(0), 1)
    found = {
        steps: sandwich(
            exact.vae(), exact.theta, z, x, rng=np.random.default_rng(1), temperatures=linear_temperatures(steps)
        )
        for steps in (1, 4)
    }
    sandwich_by_temperatures(found, truth=exact.evidence(x)).figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("draw", "what"),
    [(breakdown_by_latents, RECORDS), (sandwich_by_temperatures, BOUNDS)],
    ids=["breakdown", "sandwich"],
)
def test_pictures_are_drawn_on_the_axes_given_and_need_something_to_show(draw: object, what: object) -> None:
    ax = Figure().add_subplot()
    assert draw(what, ax=ax) is ax  # type: ignore[operator]
    ax.figure.draw_without_rendering()
    with pytest.raises(InputError, match="needs"):
        draw(type(what)())  # type: ignore[operator]
