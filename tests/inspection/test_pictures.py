"""The pictures of trained models: what is in them, read back from the axes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from numvae import Normal
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.inspection import Gap, InferenceGaps, exact_posterior
from numvae.inspection.pictures import _levels, gap_bars, posterior_contours

EXACT = LinearGaussian(np.eye(2), np.zeros(2), beta=3.0)
_, X = EXACT.draw(np.random.default_rng(0), 4)
GRIDS = exact_posterior(EXACT.vae(), EXACT.theta, X, points=65)
FITTED = {"encoder": EXACT.posterior_params(X), "refined": EXACT.posterior_params(X) + 0.1}


def gaps(approximation: float, amortisation: float) -> InferenceGaps:
    off, zero = np.linspace(-0.1, 0.1, 5), np.zeros(5)
    return InferenceGaps(Gap(approximation + off, zero), Gap(amortisation + off, zero), zero, zero, zero)


def test_contours_hold_the_mass_they_say() -> None:
    """Of a normal in the plane: the density falls to 5 % of its top around 95 % of the mass."""
    z = np.linspace(-5, 5, 401)
    levels = _levels(np.exp(-0.5 * (z[:, None] ** 2 + z**2)))
    np.testing.assert_allclose(levels, [0.05, 0.5], rtol=0.01)


def test_each_datum_has_its_panel_and_its_posterior_within() -> None:
    images = np.zeros((4, 9))
    ax = posterior_contours(GRIDS, Normal(), FITTED, images=images, image_shape=(3, 3))
    assert len(ax.child_axes) == 4
    for panel, mean in zip(ax.child_axes, EXACT.posterior_mean(X), strict=True):
        assert panel.get_xlim()[0] < mean[0] - 1 < mean[0] + 1 < panel.get_xlim()[1]
        assert panel.get_ylim()[0] < mean[1] - 1 < mean[1] + 1 < panel.get_ylim()[1]
        assert np.ptp(panel.get_xlim()) == pytest.approx(np.ptp(panel.get_ylim()))
        assert len(panel.child_axes) == 1
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["exact p(z|x)", "encoder", "refined"]


def test_bars_are_as_high_as_the_gaps() -> None:
    ax = gap_bars({"train": gaps(0.5, 1.0), "test": gaps(0.6, 2.0)})
    heights = [bar.patches[0].get_height() for bar in ax.containers if isinstance(bar, BarContainer)]
    np.testing.assert_allclose(heights, [0.5, 0.6, 1.0, 2.0])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["train", "test"]


def test_pictures_are_drawn_on_the_axes_given_and_need_something_to_show() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert gap_bars({"test": gaps(0.5, 1.0)}, left) is left
    assert posterior_contours(GRIDS, Normal(), FITTED, right) is right
    figure.draw_without_rendering()
    with pytest.raises(InputError, match="needs at least one record"):
        gap_bars({})
    with pytest.raises(InputError, match="one or two q"):
        posterior_contours(GRIDS, Normal(), {})
    with pytest.raises(InputError, match="one row of params"):
        posterior_contours(GRIDS[:2], Normal(), FITTED)
