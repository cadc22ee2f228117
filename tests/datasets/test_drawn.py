"""Drawn digits: each equation of derivations/drawn-digits.md, the stream, the pictures, and real MNIST as the judge."""

from __future__ import annotations

import math
import os
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from numvae.datasets import draw_digits, load_mnist
from numvae.datasets import drawn as d
from numvae.datasets.pen_strokes import STYLES, Stroke, Style
from numvae.errors import InputError

POINTS = np.array([[0.0, 0.1], [0.4, 0.0], [0.9, 0.3], [0.5, 0.8], [0.1, 1.0]])


@pytest.fixture(scope="module")
def digits():
    return draw_digits(4000, seed=5)


def same(one, other):
    """Whether two draws are equal in every byte of pictures, labels and factors."""
    return (
        np.array_equal(one.images, other.images)
        and np.array_equal(one.labels, other.labels)
        and all(np.array_equal(one.factors[name], other.factors[name]) for name in d.FACTORS)
    )


def first_rows(digits, count):
    factors = {name: values[:count] for name, values in digits.factors.items()}
    return d.DrawnDigits(digits.images[:count], digits.labels[:count], factors)


def made_up_factors(count=1, **values):
    plain = dict.fromkeys(d.FACTORS, 0.0) | {"aspect": 1.0, "size": 20.0, "thickness": 2.0, "softness": 1.0}
    return {name: np.full(count, value, np.float32) for name, value in (plain | values).items()}


# --- the equations ---


def hermite(points, position):
    """A Catmull-Rom spline by its definition: a cubic Hermite spline whose tangents are central differences."""
    tangents = np.gradient(points, axis=0)  # which at the ends are one-sided, as mirrored neighbours make them
    return CubicHermiteSpline(np.arange(len(points)), points, tangents)(position)


def positions(points, places):
    chord = d._distance_along(points)
    return np.interp(np.linspace(0, chord[-1], places), chord, np.arange(len(points)))


def test_the_spline_is_catmull_roms():
    """(drawn.1)"""
    basis = d._spline_basis(Stroke(POINTS, np.zeros(5, bool)), 33)
    np.testing.assert_allclose(basis @ POINTS, hermite(POINTS, positions(POINTS, 33)), atol=1e-14)


def test_at_a_corner_two_splines_meet():
    """(drawn.1)"""
    basis = d._spline_basis(Stroke(POINTS, np.arange(5) == 2), 33)
    position = positions(POINTS, 33)
    before, after = position < 2, position >= 2
    np.testing.assert_allclose((basis @ POINTS)[before], hermite(POINTS[:3], position[before]), atol=1e-14)
    np.testing.assert_allclose((basis @ POINTS)[after], hermite(POINTS[2:], position[after] - 2), atol=1e-14)


def test_points_of_a_stroke_move_together_when_they_are_near():
    """(drawn.2)"""
    along = [np.array([0.0, 0.3, 0.9]), np.array([0.0, 0.6])]
    covariance = d._jitter_covariance(along)
    end, lift, neighbours = 0.06**2, 0.03**2, 0.06**2 * 0.9 * math.exp(-1)
    np.testing.assert_allclose(covariance[0, 0], 0.06**2 + end + lift)
    np.testing.assert_allclose(covariance[1, 1], 0.06**2 + lift)
    np.testing.assert_allclose(covariance[0, 1], neighbours + lift)
    np.testing.assert_allclose(covariance[:3, 3:], 0)
    np.testing.assert_allclose(d._jitter_covariance(along[:1])[0, 1], neighbours)


def displacement(count, monkeypatch, modes=1.0, waves=1.0, warp=0.0, **values):
    """How the pen's places move off the path of a 2, (count, S, 2), with only the noise that is asked for."""
    monkeypatch.setattr(d, "WARP", warp)
    alphabet = d._alphabet()
    alphabet = replace(alphabet, modes=alphabet.modes * np.float32(modes), waves=alphabet.waves * np.float32(waves))
    template = np.full(count, alphabet.first[2])
    x, y = d._move_pen(np.random.default_rng(1), alphabet, template, made_up_factors(count, **values))
    return np.stack([x, y], axis=2) - alphabet.path[template], alphabet.path[template[0]]


def worst_variance_error(sample, variance):
    """Largest distance of a sample variance (around the known mean 0) from the normal law's, in standard errors."""
    measured = np.mean(np.square(sample, dtype=np.float64), axis=0)
    return np.max(np.abs(measured - variance) / (variance * math.sqrt(2 / len(sample))))


def test_a_calm_steady_pen_follows_the_template(monkeypatch):
    """(drawn.3)"""
    moved, _ = displacement(2, monkeypatch, warp=0.2, mess=0, wobble=0)
    np.testing.assert_array_equal(moved, 0)


def test_jitter_has_the_variance_that_its_points_give_it(monkeypatch):
    """(drawn.3)"""
    moved, _ = displacement(4000, monkeypatch, mess=2)
    style = STYLES[2][0]
    (stroke,) = style.parse()
    points = stroke.points * [style.width, 1]
    basis = d._spline_basis(Stroke(points, stroke.corners), d.PLACES)
    variance = 4 * np.diag(basis @ d._jitter_covariance([d._distance_along(points)]) @ basis.T)[:, None]
    assert worst_variance_error(moved, variance) < 5
    assert worst_variance_error(moved, variance / 4) > 5, "negative control: mess forgotten"


def test_wobble_is_the_standard_deviation_of_the_long_wave(monkeypatch):
    """(drawn.3)"""
    moved, _ = displacement(4000, monkeypatch, wobble=0.01)
    variance = 0.01**2 * (1 + 0.45**2)
    assert worst_variance_error(moved, variance) < 5
    assert worst_variance_error(moved, variance / 2) > 5, "negative control: sine without cosine"


def test_the_warp_is_a_random_polynomial_of_the_place(monkeypatch):
    """(drawn.4)"""
    moved, path = displacement(4000, monkeypatch, modes=0, warp=0.2, mess=1)
    x, y = path.astype(np.float64).T
    terms = [x**2, x * y, y**2, 2 * x**2 * y, 2 * x * y**2, 2 * y**3]
    variance = 0.2**2 * sum(term**2 for term in terms)[:, None]
    assert worst_variance_error(moved, variance) < 5
    assert worst_variance_error(moved, 2 * variance) > 5, "negative control"


@pytest.mark.parametrize(
    ("factors", "x", "y"),
    [
        ({}, 0.3, -0.5),
        ({"aspect": 2}, 0.6, -0.5),
        ({"slant": 0.4}, 0.5, -0.5),  # the top, y < 0, leans to the right
        ({"rotation": math.pi / 2}, 0.5, 0.3),  # clockwise as seen: the top comes to the right
        ({"aspect": 2, "slant": 0.4, "rotation": math.pi / 2}, 0.5, 0.8),
    ],
)
def test_stretch_then_slant_then_turn(factors, x, y):
    """(drawn.5)"""
    turned = d._slant_and_turn(np.float32([[0.3]]), np.float32([[-0.5]]), made_up_factors(**factors))
    np.testing.assert_allclose(np.ravel(turned), [x, y], atol=1e-6)


def test_pressure_waves_and_fades_within_its_limits():
    """(drawn.6)"""
    rng = np.random.default_rng(0)
    faded = d._press(rng, made_up_factors(fade=0.4, thickness=3))[0]
    np.testing.assert_allclose(faded, np.linspace(1.2, 1.8, d.PLACES), rtol=1e-6)
    waved = d._press(rng, made_up_factors(200, pressure=0.3)) - 1
    assert 0.29 < waved.max() <= 0.3001
    assert -0.3001 <= waved.min() < -0.29
    pressed = d._press(rng, made_up_factors(200, pressure=5))
    np.testing.assert_allclose([pressed.min(), pressed.max()], [0.5, 1.6], rtol=1e-6)


def test_the_line_leaves_room():
    """(drawn.7)"""
    x, y = np.float32([[0, 1, 1, 0]]), np.float32([[0, 0, 2, 2]])  # a box of 10 by 20 pixels, a path of 40
    length = np.hypot(np.diff(x), np.diff(y))
    room = 0.8 * 10 * 20 / 40
    for thickness, expected in [(0.5, 0.5), (room, room / 2**0.25), (100, room)]:
        limited = d._thickness_with_room(x, y, length, made_up_factors(thickness=thickness))
        np.testing.assert_allclose(limited, expected, rtol=1e-3)


def test_a_line_is_fitted_to_its_size_and_centred_by_its_mass():
    """(drawn.8, drawn.9)"""
    x, y = np.zeros((1, 5), np.float32), np.float32([[0, 1, 2, 3, 4]])
    length, radius = np.ones((1, 4), np.float32), np.ones((1, 5), np.float32)
    factors = made_up_factors(shift_x=0.25, shift_y=-0.5)
    px, py = d._normalise(x, y, length, radius, factors)
    np.testing.assert_allclose(px, 14.25)
    np.testing.assert_allclose(py, [np.linspace(4.5, 22.5, 5)], rtol=1e-6)  # 18 long: 20 less the pen's 2
    heavy_end = np.where(y == 4, 3, 1).astype(np.float32)  # masses 1, 2, 2, 2, 3: their mean lies 0.4 steps lower
    _, py = d._normalise(x, y, length, heavy_end, factors)
    np.testing.assert_allclose(py.mean(), 13.5 - 0.4 * 4.5, rtol=1e-6)


def test_ink_is_the_distance_to_the_nearest_disk():
    """(drawn.10, drawn.11)"""
    x, y, radius = np.float32([[9.3, 12.1]]), np.float32([[14.0, 11.7]]), np.float32([[2.0, 1.2]])
    column, row = np.meshgrid(np.arange(28.0), np.arange(28.0))
    power = [(column - a) ** 2 + (row - b) ** 2 - r**2 for a, b, r in zip(x[0], y[0], radius[0], strict=True)]
    distance = np.sqrt(np.maximum(np.minimum(*power) + 1.6**2, 0)) - 1.6
    expected = 255 * np.clip(0.5 - distance / 1.25, 0, 1)
    seen = d._ink(x, y, radius, np.float32([3.2]), np.float32([1.25])).reshape(28, 28)
    assert np.max(np.abs(seen - expected)) < 0.51
    assert seen[14, 9] == 255
    assert seen[0, 0] == 0


def test_where_pressure_is_even_the_distance_is_exact():
    """(drawn.10, drawn.11)"""
    seen = d._ink(*(np.float32([[v]]) for v in (14, 14, 3)), np.float32([6]), np.float32([2])).reshape(28, 28)
    assert [*seen[14, 14:20]] == [255, 255, 255, 128, 0, 0]  # 3 pixels out lies the rim, half inked


# --- the data of the strokes ---


def test_a_style_is_parsed_into_points_and_corners():
    one, two = Style(1, 0.5, "0,100 50,7! 100,0 / 5,5 10,10").parse()
    np.testing.assert_array_equal(one.points, [[0, 1], [0.5, 0.07], [1, 0]])
    np.testing.assert_array_equal(one.corners, [False, True, False])
    np.testing.assert_array_equal(two.points, [[0.05, 0.05], [0.1, 0.1]])


def test_every_digit_has_styles_that_fill_their_box():
    assert list(STYLES) == list(range(10))
    for style in (style for styles in STYLES.values() for style in styles):
        points = np.concatenate([stroke.points for stroke in style.parse()])
        assert points.min() >= 0
        assert points.max() <= 1
        assert np.ptp(points[:, 1]) > 0.85
        assert style.weight > 0


# --- the stream ---


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000])
def test_a_longer_draw_begins_with_a_shorter_one(count, digits):
    assert same(draw_digits(count, seed=5), first_rows(digits, count))


def test_a_longer_draw_begins_with_a_shorter_one_when_labels_are_given():
    labels = np.random.default_rng(0).integers(0, 10, 700)
    longer, shorter = draw_digits(700, seed=3, labels=labels), draw_digits(7, seed=3, labels=labels[:7].tolist())
    assert same(shorter, first_rows(longer, 7))
    np.testing.assert_array_equal(longer.labels, labels)


def test_seeds_and_blocks_are_different_streams(digits):
    assert not same(draw_digits(500, seed=6), first_rows(digits, 500))
    assert len(np.unique(digits.images, axis=0)) == len(digits.images)
    assert len(np.unique(digits.factors["slant"])) > 0.99 * len(digits.images)


def test_every_digit_is_as_common_as_the_others(digits):
    np.testing.assert_array_equal(np.bincount(digits.labels), 400)
    assert not np.array_equal(digits.labels[:500], digits.labels[500:1000])


def test_styles_are_as_common_as_their_weights():
    styles = draw_digits(5000, seed=1, labels=np.full(5000, 8)).factors["style"]
    weights = np.array([style.weight for style in STYLES[8]])
    probability = weights / weights.sum()
    error = np.sqrt(probability * (1 - probability) / 5000)
    assert np.max(np.abs(np.bincount(styles) / 5000 - probability) / error) < 4.5


def test_shapes_and_types_are_as_promised(digits):
    assert (digits.images.shape, digits.images.dtype) == ((4000, 784), np.uint8)
    assert (digits.labels.shape, digits.labels.dtype) == ((4000,), np.int64)
    assert list(digits.factors) == list(d.FACTORS)
    for name, values in digits.factors.items():
        assert (values.shape, values.dtype) == ((4000,), np.int64 if name == "style" else np.float32)
        assert np.isfinite(values).all()


def test_memory_beyond_the_result_is_bounded():
    def beyond(count):
        tracemalloc.start()
        draw_digits(count)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - count * (784 + 8 + 8 + 4 * (len(d.FACTORS) - 1))

    draw_digits(1)  # compiles the styles
    assert beyond(5000) < 1.2 * beyond(1000) < 50e6


def test_ten_thousand_take_under_two_seconds():
    def seconds():
        start = time.perf_counter()
        draw_digits(10_000)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(2)) < 2


# --- the pictures ---


def test_hardly_a_picture_is_faint_a_blob_or_cut_off(digits):
    images = digits.images.reshape(-1, 28, 28)
    inked = np.mean(digits.images > 127, axis=1)
    assert inked.min() > 0.02
    assert inked.max() < 0.35  # MNIST's test digits ink 0.024 to 0.33 of their pixels
    rim = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert np.mean(rim.max(axis=1) > 127) < 0.04  # long tails of 7 and 9; in MNIST it is 0.01


def test_pictures_lie_where_their_factors_say(digits):
    images = digits.images.reshape(-1, 28, 28).astype(np.float32)
    mass = images.sum(axis=(1, 2))
    x = images.sum(axis=1) @ np.arange(28) / mass - 14 - digits.factors["shift_x"]
    y = images.sum(axis=2) @ np.arange(28) / mass - 14 - digits.factors["shift_y"]
    assert np.sqrt(np.mean(x**2 + y**2)) < 0.6  # not 0: where strokes overlap, their ink is counted once
    box = np.maximum((images > 127).any(axis=1).sum(axis=1), (images > 127).any(axis=2).sum(axis=1))
    assert np.mean(np.abs(box - digits.factors["size"]) < 1.5) > 0.95


def test_factors_are_seen_in_the_pictures():
    labels, expected = np.full(1000, 1), {"thickness": 0.7, "slant": 0.7}
    ones = draw_digits(1000, seed=2, labels=labels)
    images = ones.images.reshape(-1, 28, 28).astype(np.float64) / 255
    row, column = np.mgrid[:28, :28] - 14.0

    def mean(values):
        return (images * values).sum(axis=(1, 2)) / images.sum(axis=(1, 2))

    lean = (mean(column) * mean(row) - mean(row * column)) / (mean(row**2) - mean(row) ** 2)
    measured = {"thickness": images.sum(axis=(1, 2)), "slant": lean}
    for name, bound in expected.items():
        assert np.corrcoef(measured[name], ones.factors[name])[0, 1] > bound, name


# --- bad input ---


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (-1, {}, "count must be an integer ≥ 0, got -1"),
        (2.5, {}, "count must be an integer ≥ 0, got 2.5"),
        (True, {}, "count must be an integer ≥ 0, got True"),
        ("7", {}, "count must be an integer ≥ 0, got '7'"),
        (10**18, {}, "draw fewer"),
        (10**30, {}, "draw fewer"),
        (3, {"seed": -1}, "seed must be an integer ≥ 0, got -1"),
        (3, {"seed": None}, "seed must be an integer ≥ 0, got None"),
        (3, {"labels": [1, 2]}, r"shape \(3,\), got shape \(2,\)"),
        (1, {"labels": 5}, r"shape \(1,\), got shape \(\)"),
        (3, {"labels": [1, 2, 10]}, "integers from 0 to 9, got 1 to 10"),
        (3, {"labels": [1, -2, 3]}, "integers from 0 to 9, got -2 to 3"),
        (3, {"labels": [1, 2, 3.5]}, "integers from 0 to 9, got float64"),
        (2, {"labels": ["a", "b"]}, "integers from 0 to 9, got <U1"),
        (2, {"labels": [[1], [2, 3]]}, "flat list"),
    ],
)
def test_bad_input_gets_one_clear_line(count, options, words):
    with pytest.raises(InputError, match=words) as caught:
        draw_digits(count, **options)
    assert "\n" not in str(caught.value)


# --- the judge ---


def read_by_nearest_neighbour(train, labels, test):
    """Label each test row as its nearest training row, in the 40 main directions of the training rows."""
    train, test = train / np.float32(255), test / np.float32(255)
    mean = train.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov(train[:5000].T))
    train, test = ((rows - mean) @ directions[:, -40:].astype(np.float32) for rows in (train, test))
    return labels[np.argmin(np.sum(train**2, axis=1) - 2 * test @ train.T, axis=1)]


@pytest.mark.skipif(not os.environ.get("NUMVAE_DATA"), reason="real MNIST is needed: set NUMVAE_DATA to its folder")
def test_a_classifier_of_drawn_digits_reads_real_ones():
    real = load_mnist()
    images, labels = real.test[::5], real.test_labels[::5]
    drawn = draw_digits(20_000, seed=0)
    assert np.mean(read_by_nearest_neighbour(drawn.images, drawn.labels, images) == labels) >= 0.9
    mirrored = drawn.images.reshape(-1, 28, 28)[:, :, ::-1].reshape(-1, 784)
    control = read_by_nearest_neighbour(mirrored[:5000], drawn.labels[:5000], images)
    assert np.mean(control == labels) < 0.8, "negative control: mirror writing"
