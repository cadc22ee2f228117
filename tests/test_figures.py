"""Each picture shows the numbers it was given: what is drawn is read back from the Axes, or from the pixels."""

import io
import os
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.special import ndtri

from numvae import figures
from numvae.errors import InputError

SHAPE = (3, 2)
HISTORY = [
    {"epoch": 1, "step": 10, "samples": 1000, "seconds": 0.5, "train_elbo": -180.0, "test_elbo": -150.0,
     "test_reconstruction": -140.0, "test_kl": 10.0},
    {"epoch": 2, "step": 20, "samples": 2000, "seconds": 1.0, "train_elbo": -130.0, "test_elbo": -120.0,
     "test_reconstruction": -102.5, "test_kl": 17.5},
    {"epoch": 3, "step": 30, "samples": 3000, "seconds": 1.5, "train_elbo": -115.0, "test_elbo": -112.25,
     "test_reconstruction": -92.25, "test_kl": 20.0},
]  # fmt: skip
GROUPS = [
    {"name": "encoder.W", "analytic": -1.5, "numeric": -1.5, "relative_error": 3e-11},
    {"name": "decoder.b", "analytic": 2.0, "numeric": 2.0, "relative_error": 0.0},
    {"name": "decoder.W", "analytic": 2.0, "numeric": 2.1, "relative_error": 0.05},
    {"name": "log_std", "analytic": float("nan"), "numeric": 1.0, "relative_error": float("nan")},
]


def draw_everything(axes=lambda: None):
    """One picture of every kind, drawn on axes() each."""
    rng = np.random.default_rng(0)
    images = rng.random((7, 6))
    return {
        "bound_curves": figures.bound_curves(HISTORY, ax=axes()),
        "bound_terms": figures.bound_terms(HISTORY, ax=axes()),
        "image_grid": figures.image_grid(images, SHAPE, columns=3, ax=axes()),
        "reconstructions": figures.reconstructions(images, images / 2, SHAPE, ax=axes()),
        "prior_samples": figures.prior_samples(images, SHAPE, ax=axes()),
        "latent_scatter": figures.latent_scatter(rng.standard_normal((50, 2)), np.arange(50) % 10, ax=axes()),
        "manifold": figures.manifold(lambda z: np.ones((len(z), 6)), SHAPE, side=4, ax=axes()),
        "gradient_check": figures.gradient_check(GROUPS, ax=axes()),
    }


DRAWN = draw_everything()


def pixels(ax):
    """The picture as it is written to a file: (height, width) grey levels from 0 to 1."""
    return matplotlib.image.imread(io.BytesIO(figures._png(ax.figure)))[..., 0]


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def test_every_public_picture_is_drawn_here():
    assert set(DRAWN) == set(figures.__all__) - {"Picture", "save"}


def test_pictures_are_drawn_on_the_axes_given():
    given = []

    def axes():
        given.append(Figure().add_subplot())
        return given[-1]

    drawn = draw_everything(axes)
    assert all(ax is mine for ax, mine in zip(drawn.values(), given, strict=True))
    for ax in given:
        ax.figure.draw_without_rendering()


@pytest.mark.parametrize("name", DRAWN)
def test_a_notebook_shows_each_picture_at_its_size_in_inches(name):
    picture = DRAWN[name].figure
    png, size = picture._repr_png_()
    dots = matplotlib.image.imread(io.BytesIO(png)).shape
    assert size["width"] / dots[1] == pytest.approx(figures.CSS_DPI / figures.DPI, rel=0.01)
    assert size["height"] / dots[0] == pytest.approx(figures.CSS_DPI / figures.DPI, rel=0.01)


@pytest.mark.parametrize(
    "ax",
    [
        DRAWN["bound_curves"],
        DRAWN["bound_terms"],
        DRAWN["gradient_check"],
        DRAWN["latent_scatter"],
        figures.latent_scatter(np.zeros((1, 2))),
        figures.manifold(lambda z: np.ones((len(z), 560)), (28, 20)),
        figures.reconstructions(np.ones((10, 784)), np.ones((10, 784)), (28, 28)),
    ],
)
def test_no_label_is_cut_off_at_the_edge_of_the_picture(ax):
    needed, (width, height) = ax.figure.get_tightbbox(), ax.figure.get_size_inches()
    rounding = 1e-6
    assert needed.x0 > -rounding
    assert needed.y0 > -rounding
    assert needed.x1 < width + rounding
    assert needed.y1 < height + rounding


def test_importing_and_drawing_leave_pyplot_alone():
    program = (
        "import sys; from numvae import figures; import numpy as np; "
        "figures.image_grid(np.zeros((2, 6)), (3, 2), columns=2).figure._repr_png_(); "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_bound_curves_draw_test_bounds_at_the_end_of_epochs_and_train_bounds_at_their_middle():
    train, test = figures.bound_curves(HISTORY).lines
    np.testing.assert_array_equal(train.get_xydata(), [(500, -180), (1500, -130), (2500, -115)])
    np.testing.assert_array_equal(test.get_xydata(), [(1000, -150), (2000, -120), (3000, -112.25)])


def test_bound_curves_name_the_last_values():
    legend = figures.bound_curves(HISTORY).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["train  −115.00", "test  −112.25"]


def test_samples_are_on_a_log_axis_once_they_span_a_decade():
    long = [{**HISTORY[0], "samples": 1000 * (k + 1)} for k in range(40)]
    assert figures.bound_curves(long).get_xscale() == "log"
    assert figures.bound_terms(long).child_axes[1].get_xscale() == "log"
    assert figures.bound_curves(HISTORY).get_xscale() == "linear"


def test_one_epoch_is_enough_for_a_curve_that_can_be_seen():
    (train, test) = figures.bound_curves(HISTORY[:1]).lines
    assert train.get_marker() == test.get_marker() == "o"


def test_bound_terms_show_reconstruction_above_kl():
    upper, lower = figures.bound_terms(HISTORY).child_axes
    np.testing.assert_array_equal(upper.lines[0].get_xydata(), [(1000, -140), (2000, -102.5), (3000, -92.25)])
    np.testing.assert_array_equal(lower.lines[0].get_xydata(), [(1000, 10), (2000, 17.5), (3000, 20)])
    assert upper.get_title(loc="left") == "reconstruction  −92.25 nats"


def test_image_grid_lays_images_out_row_by_row_with_white_lines_between():
    a, b, c = np.full((3, 6), [[0.0], [0.25], [0.5]])
    mosaic = shown(figures.image_grid(np.stack([a, b, c]), SHAPE, columns=2))
    W = 1.0
    expected = [
        [0.0, 0.0, W, 0.25, 0.25],
        [0.0, 0.0, W, 0.25, 0.25],
        [0.0, 0.0, W, 0.25, 0.25],
        [W, W, W, W, W],
        [0.5, 0.5, W, W, W],
        [0.5, 0.5, W, W, W],
        [0.5, 0.5, W, W, W],
    ]
    np.testing.assert_array_equal(mosaic, expected)


def test_images_keep_their_orientation():
    image = np.arange(6) / 6
    np.testing.assert_array_equal(shown(figures.image_grid(image[None], SHAPE, columns=1)), image.reshape(SHAPE))


def test_values_outside_zero_to_one_are_clipped_not_rescaled():
    images = np.array([[-3.0, 0.0, 0.5, 1.0, 7.0, 0.25]])
    np.testing.assert_array_equal(shown(figures.image_grid(images, SHAPE, columns=1)).ravel(), [0, 0, 0.5, 1, 1, 0.25])


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (7, 3), (100, 10), (97, 12)])
def test_every_image_pixel_is_a_whole_block_of_dots(count, columns):
    images = np.random.default_rng(1).integers(0, 2, (count, 6)).astype(float)
    ax = figures.image_grid(images, SHAPE, columns)
    grey, mosaic = pixels(ax), shown(ax)
    dots = grey.shape[0] // mosaic.shape[0]
    np.testing.assert_array_equal(grey, np.kron(mosaic, np.ones((dots, dots))))


def test_the_manifold_too_is_drawn_in_whole_blocks_of_dots():
    bits = np.random.default_rng(2).integers(0, 2, (400, 28 * 28)).astype(float)
    grey = pixels(figures.manifold(lambda z: bits, (28, 28)))
    left, dots = round(0.7 * figures.DPI), 2
    picture = grey[: dots * 560, left : left + dots * 560]
    expected = np.kron(bits.reshape(20, 20, 28, 28).swapaxes(1, 2).reshape(560, 560), np.ones((dots, dots)))
    edge = 8  # ticks and labels touch the outermost dots
    np.testing.assert_array_equal(picture[edge:-edge, edge:-edge], expected[edge:-edge, edge:-edge])


def test_prior_samples_fill_a_mosaic_about_as_wide_as_high():
    assert shown(figures.prior_samples(np.zeros((100, 784)), (28, 28))).shape == (289, 289)
    height, width = shown(figures.prior_samples(np.zeros((100, 560)), (28, 20))).shape
    assert 0.6 < width / height < 1.6


def test_reconstructions_put_each_decoded_image_below_its_original():
    originals = np.array([[0.1], [0.2], [0.3]]) * np.ones(6)
    ax = figures.reconstructions(originals, originals + 0.5, SHAPE)
    mosaic = shown(ax)
    np.testing.assert_allclose(mosaic[[0, 4]][:, [0, 3, 6]], [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["original", "decoded"]


def test_latent_scatter_shows_every_mean_in_the_colour_of_its_class():
    means = np.array([[0.0, 1.0], [2.0, 3.0], [-4.0, 5.0], [0.5, 0.5]])
    ax = figures.latent_scatter(means, np.array([7, 3, 7, 5]))
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), means)
    colours = [to_hex(colour) for colour in dots.get_facecolors()]
    assert colours[0] == colours[2]
    assert len(set(colours)) == 3
    legend = ax.get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    drawn = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert dict(zip(names, drawn, strict=True)) == {"3": colours[1], "5": colours[3], "7": colours[0]}


def test_latent_scatter_names_each_class_at_its_median():
    means = np.array([[0.0, 1.0], [1.0, 2.0], [8.0, 9.0], [-1.0, -1.0]])
    ax = figures.latent_scatter(means, np.array(["a", "a", "a", "b"]))
    assert {text.get_text(): text.get_position() for text in ax.texts} == {"a": (1.0, 2.0), "b": (-1.0, -1.0)}


def test_more_than_ten_classes_are_named_but_not_by_colour():
    ax = figures.latent_scatter(np.random.default_rng(3).standard_normal((60, 2)), np.arange(60) % 12)
    assert len(ax.texts) == 12
    assert ax.get_legend() is None


def test_latent_scatter_reaches_every_point_with_equal_scales():
    ax = figures.latent_scatter(np.array([[0.0, -11.0], [1.0, 2.0]]))
    assert ax.get_ylim()[0] < -11
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_aspect() == 1


def test_the_ten_colours_differ():
    assert len(set(figures.TEN_COLOURS)) == 10


def test_manifold_decodes_the_inverse_cdf_grid_with_z1_to_the_right_and_z2_upward():
    points = []

    def decode(z):
        points.append(z)
        return np.repeat((z - z.min()) / np.ptp(z), 3, axis=1)  # the pixels of a row are z1, z1, z1, z2, z2, z2

    mosaic = shown(figures.manifold(decode, (1, 6), side=4))
    (z,) = points
    axis = ndtri([1 / 8, 3 / 8, 5 / 8, 7 / 8])
    np.testing.assert_allclose(np.unique(z[:, 0].round(12)), axis, atol=1e-12)
    z1, z2 = mosaic[:, 0::6], mosaic[:, 3::6]
    assert np.all(np.diff(z1, axis=1) > 0)
    np.testing.assert_allclose(np.diff(z1, axis=0), 0, atol=1e-12)
    assert np.all(np.diff(z2, axis=0) < 0)  # rows of the mosaic run downward
    np.testing.assert_allclose(np.diff(z2, axis=1), 0, atol=1e-12)


def test_manifold_ticks_stand_where_their_z_is():
    side = 20
    ax = figures.manifold(lambda z: np.zeros((len(z), 6)), SHAPE, side=side)
    cells = (np.arange(side) + 0.5) / side
    for place, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True):
        z = float(label.get_text().replace("−", "-"))
        assert np.interp(place, cells, ndtri(cells)) == pytest.approx(max(min(z, 1.96), -1.96), abs=0.02)


def test_gradient_check_marks_what_passes_what_fails_what_is_zero_and_what_is_not_finite():
    ax = figures.gradient_check(GROUPS)
    passed, zero, failed, broken = ax.lines[:4]
    assert passed.get_xdata()[0] == 3e-11
    assert failed.get_xdata()[0] == 0.05
    assert passed.get_color() == zero.get_color() != failed.get_color() == broken.get_color()
    assert (zero.get_xdata()[0], zero.get_markerfacecolor()) == (ax.get_xlim()[0], "white")
    assert (broken.get_xdata()[0], broken.get_marker()) == (ax.get_xlim()[1], "X")
    assert ax.lines[4].get_xdata()[0] == 1e-8
    assert [label.get_text() for label in ax.get_yticklabels()] == [group["name"] for group in GROUPS]
    assert ax.yaxis_inverted()  # in reading order: the first group on top


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_picture_is_saved_as_the_same_bytes_with_no_date_inside(name, tmp_path):
    path = tmp_path / "picture.png"
    contents = set()
    for ax in (DRAWN[name], DRAWN[name], draw_everything()[name]):  # drawn again, and drawn anew
        figures.save(ax, path)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert b"tEXt" not in contents.pop()
    assert list(tmp_path.iterdir()) == [path]


def test_save_takes_a_figure_as_well_as_its_axes(tmp_path):
    ax = figures.bound_curves(HISTORY)
    figures.save(ax, tmp_path / "axes.png")
    figures.save(ax.figure, tmp_path / "figure.png")
    assert (tmp_path / "axes.png").read_bytes() == (tmp_path / "figure.png").read_bytes()


def test_axes_in_a_subfigure_save_the_whole_figure(tmp_path):
    figure = Figure()
    left, right = figure.subfigures(1, 2)
    figures.bound_curves(HISTORY, ax=left.add_subplot())
    ax = figures.bound_terms(HISTORY, ax=right.add_subplot())
    figures.save(ax, tmp_path / "axes.png")
    figures.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "axes.png").read_bytes() == (tmp_path / "figure.png").read_bytes()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")

    def refuse(source, destination):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk is full"):
        figures.save(figures.bound_curves(HISTORY), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.image_grid(np.zeros((4, 5)), SHAPE, 2), r"\(N, 6\) to be shown as 3×2 pixels, got \(4, 5\)"),
        (lambda: figures.image_grid(np.zeros((0, 6)), SHAPE, 2), r"got \(0, 6\)"),
        (lambda: figures.image_grid(np.zeros((4, 6)), SHAPE, 0), "columns must be at least 1, got 0"),
        (lambda: figures.prior_samples(np.zeros((0, 6)), SHAPE), r"got \(0, 6\)"),
        (lambda: figures.reconstructions(np.zeros((4, 6)), np.zeros((3, 6)), SHAPE), r"one shape, got \(4, 6\) and"),
        (lambda: figures.latent_scatter(np.zeros((4, 20))), r"\(N, 2\), got \(4, 20\).*means\[:, :2\]"),
        (lambda: figures.latent_scatter(np.zeros((4, 2)), np.zeros(3)), r"labels must have shape \(4,\).*got \(3,\)"),
        (lambda: figures.manifold(lambda z: np.zeros((4, 6)), SHAPE, side=0), "side must be at least 1, got 0"),
        (lambda: figures.bound_curves([]), "history is empty"),
        (lambda: figures.bound_terms([]), "history is empty"),
        (lambda: figures.gradient_check([]), "at least one group"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_readable_line(draw, message):
    with pytest.raises(InputError, match=message) as caught:
        draw()
    assert "\n" not in str(caught.value)
