"""Drawn digits: 28x28 grey pictures of pen strokes, made on the spot, with their labels and true factors.

Every step is one equation of derivations/drawn-digits.md.  A digit is a spline through a few jittered points, bent,
slanted and turned, written with a pen of changing pressure, and normalised the way MNIST was.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.datasets.pen_strokes import STYLES, Stroke, Style
from numvae.errors import InputError

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
Factors: TypeAlias = dict[str, npt.NDArray[Any]]

SIDE = 28
"""Pixels along each side of a picture."""

BLOCK = 500
"""Digits drawn together, from one generator of their own: this is what makes a longer draw begin with a shorter one."""

FACTORS: dict[str, str] = {
    "style": "index into pen_strokes.STYLES[label]: which way of writing the digit",
    "mess": "multiplies every jitter and the warp: 0 is the template itself, 0.5 common, 1.6 the most untidy",
    "wobble": "standard deviation of a tremor one digit height long, in digit heights",
    "aspect": "stretches the width: 1 leaves it",
    "slant": "how far the top leans to the right, in widths per height (the tangent of the angle)",
    "rotation": "turn of the whole digit, in radians, clockwise as seen",
    "size": "longer side of the written digit, pen included, in pixels",
    "thickness": "width of the pen's line at mean pressure, in pixels",
    "pressure": "how much the line's width waxes and wanes, as a fraction of it",
    "fade": "how much wider the line is at its end than at its start, as a fraction of it",
    "softness": "width of the grey rim from ink to paper, in pixels",
    "shift_x": "where the centre of mass lies, in pixels right of pixel 14 (counted from 0)",
    "shift_y": "where the centre of mass lies, in pixels below pixel 14 (counted from 0)",
}
"""The factors that draw_digits reports, with their meaning and units."""


@dataclass(frozen=True, eq=False)
class DrawnDigits:
    """What draw_digits returns.

    images: uint8 (B, 784), 0 paper, 255 ink, rows of 28 pixels from the top.
    labels: int64 (B,), 0 to 9.
    factors: name → (B,), float32 except the int64 "style"; FACTORS says what each one means.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    factors: Factors


def draw_digits(count: int, *, seed: int = 0, labels: Sequence[int] | Integers | None = None) -> DrawnDigits:
    """Draw `count` digits in handwriting  (drawn.1 to drawn.11).

    The first 1,000 of 10,000 are exactly draw_digits(1000) with the same seed (and the same labels, if given).
    Different seeds are independent streams: train on seed 0, test on seed 1.
    Without `labels` each five hundred holds every digit fifty times, shuffled.

    Raises InputError when count or seed is not an integer ≥ 0, or labels are not `count` integers from 0 to 9.

    >>> digits = draw_digits(3, seed=0, labels=[4, 2, 4])
    >>> digits.images.shape, digits.images.dtype, digits.labels
    ((3, 784), dtype('uint8'), array([4, 2, 4]))
    >>> bool(np.all(digits.factors["size"] > 16))
    True
    """
    count, seed = _whole_number("count", count), _whole_number("seed", seed)
    wanted = None if labels is None else _checked_labels(labels, count)
    images, drawn_labels = _empty((count, SIDE * SIDE), np.uint8), _empty((count,), np.int64)
    factors = {name: _empty((count,), np.int64 if name == "style" else np.float32) for name in FACTORS}
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        block = _draw_block(seed, start // BLOCK, None if wanted is None else wanted[rows])
        kept = rows.stop - rows.start
        images[rows], drawn_labels[rows] = block.images[:kept], block.labels[:kept]
        for name, values in factors.items():
            values[rows] = block.factors[name][:kept]
    return DrawnDigits(images, drawn_labels, factors)


def _draw_block(seed: int, block: int, wanted: Integers | None) -> DrawnDigits:
    """One whole block, always drawn in full, so that its digits do not depend on how many of them are kept."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
    labels = rng.permutation(np.arange(BLOCK) % 10)
    if wanted is not None:
        labels[: len(wanted)] = wanted
    alphabet = _alphabet()
    factors = _draw_factors(rng, labels, alphabet)
    template = alphabet.first[labels] + factors["style"]
    x, y = _slant_and_turn(*_move_pen(rng, alphabet, template, factors), factors)
    length = np.hypot(np.diff(x), np.diff(y)) * alphabet.pen_down[template]
    factors["thickness"] = _thickness_with_room(x, y, length, factors)
    radius = _press(rng, factors)
    x, y = _normalise(x, y, length, radius, factors)
    images = _ink(x, y, radius, factors["thickness"], factors["softness"])
    return DrawnDigits(images, labels, factors)


# --- the styles, compiled once: where the pen goes is linear in the points it passes through ---

PLACES = 80  # of the pen along every digit: mostly less than a pixel apart
JITTER, END_JITTER, STROKE_JITTER = 0.06, 0.06, 0.03  # standard deviations at mess 1, in digit heights
REACH = 0.3  # how far along the stroke neighbouring points move together, in digit heights
ROUGHNESS = 0.1  # the share of the points' variance in which they do not
WAVELENGTHS = (1.0, 0.45)  # of the tremor, in digit heights


@dataclass(frozen=True, eq=False)
class _Alphabet:
    """All T styles stacked: T templates, S places of the pen, K jitter modes, W waves."""

    first: Integers  # (10,) template of each digit's first style
    cumulative: Array  # (10, most styles) running sum of the styles' probabilities
    path: Array  # (T, S, 2) the pen's path without noise, in digit heights, the middle at 0
    modes: Array  # (T, S, K) how it moves with each standard normal of the jitter
    waves: Array  # (T, S, W) and of the tremor
    pen_down: Array  # (T, S-1) 1 between two places of one stroke, 0 where the pen was lifted


@cache
def _alphabet() -> _Alphabet:
    styles = [style for digit in range(10) for style in STYLES[digit]]
    counts = [len(STYLES[digit]) for digit in range(10)]
    cumulative = np.ones((10, max(counts)))
    for digit, row in enumerate(cumulative):
        weights = np.array([style.weight for style in STYLES[digit]])
        row[: len(weights)] = np.cumsum(weights) / weights.sum()
    path, modes, waves, pen_down = zip(*map(_compile, styles), strict=True)
    most = max(mode.shape[1] for mode in modes)
    padded = [np.pad(mode, ((0, 0), (0, most - mode.shape[1]))) for mode in modes]
    stacked = [np.stack(part).astype(np.float32) for part in (path, padded, waves, pen_down)]
    return _Alphabet(np.cumsum([0, *counts[:-1]]), cumulative.astype(np.float32), *stacked)


def _compile(style: Style) -> tuple[Array, Array, Array, Array]:
    """A style's path (S, 2), jitter modes (S, K), waves (S, W) and pen-down flags (S-1,)."""
    strokes = [Stroke(s.points * [style.width, 1] - [style.width / 2, 0.5], s.corners) for s in style.parse()]
    lengths = [_distance_along(stroke.points) for stroke in strokes]
    ends = np.cumsum([0.0] + [length[-1] for length in lengths])
    shares = np.diff(np.rint(PLACES * ends / ends[-1]).astype(int))  # each stroke gets places by its length

    basis = _block_diagonal([_spline_basis(s, n) for s, n in zip(strokes, shares, strict=True)])
    points = np.concatenate([stroke.points for stroke in strokes])
    modes = basis @ np.linalg.cholesky(_jitter_covariance(lengths))
    along = np.concatenate([np.linspace(0, length[-1], n) for length, n in zip(lengths, shares, strict=True)])
    angles = [2 * math.pi * along / wavelength for wavelength in WAVELENGTHS]
    waves = [w * wave(angle) for w, angle in zip(WAVELENGTHS, angles, strict=True) for wave in (np.sin, np.cos)]
    stroke_of_place = np.repeat(np.arange(len(strokes)), shares)
    return basis @ points, modes, np.stack(waves, axis=1), np.diff(stroke_of_place) == 0


def _distance_along(points: Array) -> Array:
    """Distance from the first point to each, along the straight lines between them."""
    steps = np.diff(points, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def _spline_basis(stroke: Stroke, places: int) -> Array:
    """Catmull-Rom spline through a stroke's K points, as the matrix (places, K) that maps points to places.

    The places are even in chord length.  At a corner and at both ends the spline stops: there the missing neighbour
    is the mirror image of the one on the other side.
    """
    count = len(stroke.points)
    chord = _distance_along(stroke.points)
    position = np.interp(np.linspace(0, chord[-1], places), chord, np.arange(count))
    segment = np.minimum(position.astype(int), count - 2)
    u = (position - segment)[:, None]
    weights = np.hstack([-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2]) / 2
    unit = np.eye(count)
    basis = np.zeros((places, count))
    for row, (i, weight) in enumerate(zip(segment, weights, strict=True)):
        breaks_before, breaks_after = i == 0 or stroke.corners[i], i + 2 == count or stroke.corners[i + 1]
        before = 2 * unit[i] - unit[i + 1] if breaks_before else unit[i - 1]
        after = 2 * unit[i + 1] - unit[i] if breaks_after else unit[i + 2]
        basis[row] = weight @ np.stack([before, unit[i], unit[i + 1], after])  # (drawn.1)
    return basis


def _jitter_covariance(lengths: list[Array]) -> Array:
    """Covariance of a style's points, per coordinate: smooth along each stroke, freer at its ends  (drawn.2)."""
    blocks = []
    for along in lengths:
        same, gap = np.eye(len(along)), along[:, None] - along
        smooth = np.exp(-((gap / REACH) ** 2))
        at_end = np.isin(along, [along[0], along[-1]])
        moved_whole = STROKE_JITTER**2 if len(lengths) > 1 else 0.0
        within = JITTER**2 * (ROUGHNESS * same + (1 - ROUGHNESS) * smooth)
        blocks.append(within + END_JITTER**2 * np.diag(at_end) + moved_whole)  # (drawn.2)
    return _block_diagonal(blocks)


def _block_diagonal(blocks: Sequence[Array]) -> Array:
    matrix = np.zeros(tuple(np.sum([block.shape for block in blocks], axis=0)))
    row = column = 0
    for block in blocks:
        matrix[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return matrix


# --- from noise to ink ---

# By digit: how much of the mess it takes, how much further it leans, how thick the line is in pixels (median).
CALM = np.array([0.8, 0.45, 1, 1, 1, 1, 1, 1, 1, 1], np.float32)
LEAN = np.array([0.1, 0.1, 0, 0, 0, 0, 0.04, 0, 0, 0], np.float32)
THICK = np.array([2.8, 2.8, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6], np.float32)
PRESSURE_LIMITS = 0.5, 1.6  # of the line's width over its mean
ROOM = 0.8  # the most of a digit's box that its line may cover
CENTRE = SIDE // 2  # where MNIST puts the centre of mass: at pixel 14, not between 13 and 14
WARP = 0.2  # standard deviation of each coefficient of the warp, at mess 1


def _draw_factors(rng: np.random.Generator, labels: Integers, alphabet: _Alphabet) -> Factors:
    """The factors of every digit, independent of each other but for what the digit itself asks for."""

    def normal(mean: float | Array, std: float, low: float = -math.inf, high: float = math.inf) -> Array:
        return np.clip(mean + std * rng.standard_normal(len(labels), np.float32), low, high)

    def lognormal(median: float | Array, spread: float, low: float = 0, high: float = math.inf) -> Array:
        drawn: Array = median * np.exp(spread * rng.standard_normal(len(labels), np.float32))
        return np.clip(drawn, low, high)

    chance = rng.random((len(labels), 1), np.float32)
    return {
        "style": np.sum(chance >= alphabet.cumulative[labels], axis=1),
        "mess": CALM[labels] * lognormal(0.55, 0.4, high=1.6),
        "wobble": lognormal(0.006, 0.5, high=0.02),
        "aspect": lognormal(1, 0.24),
        "slant": normal(0.13 + LEAN[labels], 0.24),
        "rotation": normal(0, 0.12),
        "size": normal(19.5, 0.5, 17.5, 21),
        "thickness": lognormal(THICK[labels], 0.28, low=1.6, high=6),
        "pressure": lognormal(0.18, 0.4, high=0.45),
        "fade": normal(0, 0.3, -0.7, 0.7),
        "softness": normal(1.25, 0.15, 0.8, 2),
        "shift_x": rng.random(len(labels), np.float32) - 0.5,
        "shift_y": rng.random(len(labels), np.float32) - 0.5,
    }


def _move_pen(
    rng: np.random.Generator, alphabet: _Alphabet, template: Integers, factors: Factors
) -> tuple[Array, Array]:
    """Where the pen goes, x and y (B, S) in digit heights: jittered, trembling and warped  (drawn.3, drawn.4)."""
    mess, wobble = factors["mess"][:, None, None], factors["wobble"][:, None, None]
    jitter = rng.standard_normal((len(template), alphabet.modes.shape[2], 2), np.float32)
    tremor = rng.standard_normal((len(template), alphabet.waves.shape[2], 2), np.float32)
    modes, waves = alphabet.modes[template], alphabet.waves[template]
    pen = alphabet.path[template] + modes @ (mess * jitter) + waves @ (wobble * tremor)  # (drawn.3)
    x, y = pen[..., 0], pen[..., 1]

    bend = rng.standard_normal((len(template), 2, 6), np.float32)
    bends = np.stack([x * x, x * y, y * y, 2 * x * x * y, 2 * x * y * y, 2 * y * y * y], axis=1)
    dx, dy = np.moveaxis(WARP * mess * bend @ bends, 1, 0)  # (drawn.4)
    return x + dx, y + dy


def _slant_and_turn(x: Array, y: Array, factors: Factors) -> tuple[Array, Array]:
    """Stretch, slant, then rotate the plane  (drawn.5)."""
    aspect, slant, rotation = (factors[name][:, None] for name in ("aspect", "slant", "rotation"))
    x = aspect * x - slant * y
    cos, sin = np.cos(rotation), np.sin(rotation)
    return cos * x - sin * y, sin * x + cos * y  # (drawn.5)


def _press(rng: np.random.Generator, factors: Factors) -> Array:
    """Radius of the pen (B, S) in pixels: a slow wave of pressure, and a trend from start to end  (drawn.6)."""
    thickness, pressure, fade = (factors[name][:, None] for name in ("thickness", "pressure", "fade"))
    cycles, phase = rng.random((2, len(thickness), 1), np.float32)
    t = np.linspace(0, 1, PLACES, dtype=np.float32)
    relative = 1 + fade * (t - 0.5) + pressure * np.sin(2 * math.pi * ((0.5 + 1.5 * cycles) * t + phase))
    radius: Array = thickness / 2 * np.clip(relative, *PRESSURE_LIMITS)  # (drawn.6)
    return radius


def _thickness_with_room(x: Array, y: Array, length: Array, factors: Factors) -> Array:
    """The drawn thickness (B,), smoothly limited so that loops stay open  (drawn.7)."""
    width, height = np.ptp(x, axis=1), np.ptp(y, axis=1)
    longer, shorter = np.maximum(width, height), np.minimum(width, height)
    room: Array = ROOM * factors["size"] * np.maximum(shorter, longer / 2) / length.sum(axis=1)
    thickness: Array = factors["thickness"]
    return thickness / (1 + (thickness / room) ** 4) ** 0.25  # (drawn.7)


def _normalise(x: Array, y: Array, length: Array, radius: Array, factors: Factors) -> tuple[Array, Array]:
    """MNIST's normalisation: fit into the box, then move the ink's centre of mass  (drawn.8, drawn.9)."""
    extent = np.maximum(np.ptp(x, axis=1), np.ptp(y, axis=1))
    pixels = ((factors["size"] - factors["thickness"]) / extent)[:, None]  # (drawn.8)
    mass = radius * (np.pad(length, ((0, 0), (1, 0))) + np.pad(length, ((0, 0), (0, 1))))
    mass /= mass.sum(axis=1, keepdims=True)

    x, y = pixels * x, pixels * y
    x = x - np.sum(mass * x, axis=1, keepdims=True) + CENTRE + factors["shift_x"][:, None]  # (drawn.9)
    y = y - np.sum(mass * y, axis=1, keepdims=True) + CENTRE + factors["shift_y"][:, None]
    return x, y


def _ink(x: Array, y: Array, radius: Array, thickness: Array, softness: Array) -> npt.NDArray[np.uint8]:
    """Pictures (B, 784) of the pen's places x, y (B, S) in pixels  (drawn.10, drawn.11).

    |pixel - pen|² - radius², multiplied out, is one matrix product of pens with pixels: eight pictures of them at a
    time, which stay in the cache.
    """
    row, column = np.divmod(np.arange(SIDE * SIDE, dtype=np.float32), SIDE)
    i, j = column - CENTRE, row - CENTRE  # counted from the centre the squares are small, and their rounding too
    x, y = x - CENTRE, y - CENTRE
    pens = np.stack([x * x + y * y - radius * radius, -2 * x, -2 * y, np.ones_like(x)], axis=2)
    pixels = np.stack([np.ones_like(i), i, j, i * i + j * j])
    nearest = np.concatenate([(pens[k : k + 8] @ pixels).min(axis=1) for k in range(0, len(x), 8)])  # (drawn.10)
    mean_radius = thickness[:, None] / 2
    distance = np.sqrt(np.maximum(nearest + mean_radius**2, 0)) - mean_radius
    return np.rint(255 * np.clip(0.5 - distance / softness[:, None], 0, 1)).astype(np.uint8)  # (drawn.11)


# --- what a person may pass in ---


def _whole_number(name: str, value: object) -> int:
    try:
        number = -1 if isinstance(value, bool | np.bool_) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0:
        raise InputError(f"{name} must be an integer ≥ 0, got {value!r}")
    return number


def _checked_labels(labels: Sequence[int] | Integers, count: int) -> npt.NDArray[np.int64]:
    try:
        array = np.asarray(labels)
    except ValueError:  # ragged
        raise InputError("labels must be a flat list of integers from 0 to 9, got a ragged one") from None
    if array.shape != (count,):
        raise InputError(f"labels must have one entry per digit, shape ({count},), got shape {array.shape}")
    if count and not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"labels must be integers from 0 to 9, got {array.dtype}")
    if count and not 0 <= array.min() <= array.max() <= 9:
        raise InputError(f"labels must be integers from 0 to 9, got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError, OverflowError):
        size = math.prod(shape) / 1e9
        raise InputError(f"count = {shape[0]} needs {size:.3g} GB of memory, more than there is: draw fewer") from None
