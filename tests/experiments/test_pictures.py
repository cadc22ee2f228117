"""Every picture of the experiments draws, and shows what it was given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from numvae import figures
from numvae.experiments import pictures

RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 12))
SHAPE = (4, 3)
POINTS, LABELS = RNG.standard_normal((30, 2)), np.arange(30) % 3


def test_rows_of_images_are_named_and_may_be_drawn_elsewhere() -> None:
    ax = pictures.image_rows({"original": IMAGES, "a much longer name": IMAGES}, SHAPE)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["original", "a much longer name"]
    given = figures.Picture().add_subplot()
    assert pictures.image_rows({"original": IMAGES}, SHAPE, given) is given


def test_latents_beside_decoded_points(tmp_path) -> None:
    picture = pictures.latent_panels(
        lambda ax: figures.latent_scatter(POINTS, LABELS, ax),
        lambda ax: figures.manifold(lambda z: RNG.random((len(z), 12)), SHAPE, 5, ax),
        SHAPE,
        below={"original": IMAGES},
    )
    assert len(picture.axes) == 3
    figures.save(picture, tmp_path / "picture.png")


def test_a_film_is_coloured_by_its_frames() -> None:
    ax = figures.Picture().add_subplot()
    pictures.film_scatter(POINTS, ax)
    (points,) = ax.collections
    assert points.get_array().tolist() == list(range(30))


def test_histograms_say_their_means() -> None:
    picture = pictures.error_histograms({"one": np.array([1.0, 2.0, 3.0]), "two": np.array([2.0, 4.0])})
    texts = [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    assert texts == ["one: mean 2.00", "two: mean 3.00"]


@pytest.mark.parametrize("bound", [100.0, -5e7])
def test_trainings_side_by_side_even_where_one_never_finished_an_epoch(bound: float) -> None:
    line = {"step": 20, "samples": 400, "gradient_norm": 3.0, "least_std": 0.1, "squared_error": 40.0}
    picture = pictures.training_curves(
        {"good": [{"samples": 60, "test_elbo": 1.0}, {"samples": 120, "test_elbo": bound}], "bad": []},
        {"good": [line, {**line, "samples": 800}], "bad": []},
        {"original": IMAGES},
        SHAPE,
    )
    assert picture.axes[0].get_title(loc="left") == "test bound, nats per image"
    assert len(picture.axes[1].lines[0].get_xdata()) == 2


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_the_kl_weights(least: float) -> None:
    terms = {"β = 1": (-100.0, 20.0), "free bits": (-90.0, least)}
    picture = pictures.beta_panel({"β = 1": (POINTS, LABELS)}, terms)
    assert {text.get_text() for text in picture.axes[-1].texts} == set(terms)
    assert picture.axes[-1].get_xscale() == ("log" if least else "linear")


def test_the_mixture_shows_the_heaviest_component_first() -> None:
    picture = pictures.mixture_panel(IMAGES, np.array([0.1, 0.4, 0.2, 0.3]), [IMAGES > 0.5], SHAPE)
    assert [text.get_text() for text in picture.axes[0].texts] == ["40.0%", "30.0%", "20.0%", "10.0%"]


def test_differences_are_those_from_the_origin() -> None:
    faces = {"here": IMAGES[0], "there": IMAGES[1]}
    picture = pictures.differences(faces, "here", SHAPE)
    (shown,) = picture.axes[2].images
    assert np.allclose(shown.get_array(), (IMAGES[1] - IMAGES[0]).reshape(SHAPE))
    assert shown.norm.vmin == -shown.norm.vmax


def test_columns_of_panels() -> None:
    def draw(ax) -> None:
        pictures.small_scatter(POINTS, LABELS, ax, rings=False)

    picture = pictures.pairs_of_panels(["a", "b"], [draw, draw], [draw, draw])
    assert isinstance(picture, Figure)
    assert [ax.get_title(loc="left") for ax in picture.axes[::2]] == ["a", "b"]
