"""Ways to look at the code of a VAE without reading it, and two that look at its gradient.

``gradient_check``: is the gradient that of its own bound?  ``part_by_part``: in which part of it is the mistake?  A
wrong bound with its right gradient passes both, and needs `look_laws` and `look_steps`.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.exercises.ladder.vae_gradient import BACKWARDS, EXERCISE

__all__ = ["Fact", "Gradient", "Look", "gradient_check", "part_by_part", "small_case"]

Gradient: TypeAlias = Callable[..., Any]
"""(p, x, noise) -> (elbo, g), as in the exercise vae_gradient."""

DRAW_ROWS = 3
ROWS, PIXELS, HIDDEN, LATENTS = 4, 6, 5, 2
RIGHT_CELLS = ("1", "–", "")
NOTHING = 1e-9
REMARK = "remark"


@dataclass(frozen=True)
class Fact:
    """One line of a look: what was asked, and what came out, in words for a table."""

    what: str
    cells: tuple[str, ...]
    ok: bool


@dataclass(frozen=True)
class Look:
    """What one way of looking shows.  ``columns`` head the cells of its facts."""

    name: str
    question: str
    columns: tuple[str, ...]
    facts: tuple[Fact, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """What is not as it should be."""
        return tuple(fact.what for fact in self.facts if not fact.ok)

    def __str__(self) -> str:
        rows = [("", *self.columns), *((fact.what, *fact.cells) for fact in self.facts)]
        marks = [" ", *("✓" if fact.ok else "✗" for fact in self.facts)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self.question]
        for mark, (what, *cells) in zip(marks, rows, strict=True):
            padded = [
                f"{cell:>{width}}" if column != REMARK else f" {cell}"
                for column, cell, width in zip(self.columns, cells, widths[1:], strict=True)
            ]
            lines.append("  ".join([f"  {mark} {what:<{widths[0]}}", *padded]).rstrip())
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The table in plain Python types."""
        facts = [
            {"what": fact.what, "ok": bool(fact.ok)} | dict(zip(self.columns, fact.cells, strict=True))
            for fact in self.facts
        ]
        return {"name": self.name, "question": self.question, "facts": facts}


# ---- the gradient check


def gradient_check(gradient: Gradient, seed: int) -> Look:
    """Every group of weights against finite differences of the code's own bound, in the order of backpropagation."""
    given = EXERCISE.draw(np.random.default_rng(seed), DRAW_ROWS).arguments
    p, x, noise = given["p"], given["x"], given["noise"]

    def bound(*weights: Array) -> Any:
        named = dict(zip(BACKWARDS, weights, strict=True))
        value, g = gradient(named, x, noise)
        return np.sum(value), lambda d: tuple(d * g[name] for name in BACKWARDS)

    found = check_pullback(
        bound, *(p[name] for name in BACKWARDS), names=BACKWARDS, directions=2, coordinates=8, tolerance=1e-7
    )
    facts = [
        Fact(
            f"d{a.name}",
            (f"{a.analytic:.6g}", f"{a.numeric:.6g}", f"{a.relative_error:.0e}", a.problem.rpartition(": ")[2]),
            a.ok,
        )
        for a in found.arguments
    ]
    question = "Gradient check: is the gradient that of its own bound?  The worst entry of each group of weights."
    columns = ("analytic", "numeric", "relative error", REMARK)
    return Look("gradient check", question, columns, tuple(facts))


def part_by_part(gradient: Gradient, seed: int) -> Look:
    """The gradient check with parts of the VAE switched off: analytic / numeric wherever that is one number.

    A silent decoder (W5 = 0) leaves the KL alone.  Its bound taken off that of a loud one leaves the likelihood alone.
    """
    p, x, noise = small_case(seed)
    half = math.atanh(0.5)
    still = {"W3": np.zeros_like(p["W3"])}
    silent = {"W5": np.zeros_like(p["W5"]), "b5": np.zeros_like(p["b5"])}
    at_half = {"W1": 1e-4 * p["W1"], "W4": 1e-4 * p["W4"], "b1": 0 * p["b1"] + half, "b4": 0 * p["b4"] + half}
    std_1, std_2 = p | still | {"b3": np.zeros(LATENTS)}, p | still | {"b3": np.full(LATENTS, math.log(2))}

    def kl_alone(p: Mapping[str, Array]) -> Any:
        bound, g = gradient({**p, **silent}, x, noise)
        return np.sum(bound), g

    def likelihood_alone(p: Mapping[str, Array]) -> Any:
        (bound, g), (without, off) = gradient(p, x, noise), gradient({**p, **silent}, x, noise)
        decoder = ("W5", "b5")
        return np.sum(bound) - np.sum(without), {
            name: g[name] - (off[name] if name not in decoder else 0) for name in g
        }

    encoder = ("W2", "b2", "W3", "b3", "W1", "b1")
    cases = {
        "KL, std 2": _quotients(kl_alone, std_2, encoder),
        "likelihood, std 1": _quotients(likelihood_alone, std_1, BACKWARDS),
        "likelihood, std 2": _quotients(likelihood_alone, std_2, BACKWARDS),
        "likelihood, units ½": _quotients(likelihood_alone, std_1 | at_half, BACKWARDS),
        "bound, W2 = 0": _quotients(lambda p: _summed(gradient(p, x, noise)), p | {"W2": 0 * p["W2"]}, BACKWARDS),
    }
    facts = []
    for name in BACKWARDS:
        cells = tuple(case.get(name, "") for case in cases.values())
        facts.append(Fact(f"d{name}", cells, all(cell in RIGHT_CELLS for cell in cells)))
    question = (
        "Part by part: analytic / numeric with parts switched off; ? where it is not one number, – where both are 0."
    )
    return Look("parts", question, tuple(cases), tuple(facts))


def _summed(bound_and_gradient: Any) -> Any:
    bound, g = bound_and_gradient
    return np.sum(bound), g


def _quotients(
    rule: Callable[[Mapping[str, Array]], Any], p: Mapping[str, Array], names: Sequence[str]
) -> dict[str, str]:
    """By what the gradient in each group is too large; "?" where directions do not agree on it."""
    _, g = rule(p)
    rng, cells = np.random.default_rng(0), {}
    for name in names:
        directions = rng.standard_normal((4, *p[name].shape))
        analytic = np.array([np.sum(g[name] * u) for u in directions])
        numeric = np.array([_slope(rule, p, name, u) for u in directions])
        scale = np.max(np.abs(numeric)) + np.max(np.abs(analytic))
        if scale < NOTHING:
            cells[name] = "–"
        elif np.allclose(analytic, numeric, rtol=0, atol=1e-6 * scale):
            cells[name] = "1"
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                quotients = analytic / numeric
            one_number = np.allclose(quotients, quotients[0], rtol=1e-3)
            cells[name] = f"{quotients[0] + 0.0:.3g}" if one_number else "?"
    return cells


def _slope(rule: Callable[[Mapping[str, Array]], Any], p: Mapping[str, Array], name: str, u: Array) -> float:
    """The derivative of the value along u in one group of weights, from four points."""
    h = 1e-3
    twice_down, down, up, twice_up = (float(rule({**p, name: p[name] + t * h * u})[0]) for t in (-2, -1, 1, 2))
    return (8 * (up - down) - (twice_up - twice_down)) / (12 * h)


def small_case(seed: int) -> tuple[dict[str, Any], Any, Any]:
    """Weights, rows and noise of a VAE of two latents: none of its values is special."""
    rng = np.random.default_rng([seed, 1])
    shapes = {"W1": (PIXELS, HIDDEN), "W2": (HIDDEN, LATENTS), "W3": (HIDDEN, LATENTS), "W4": (LATENTS, HIDDEN)}
    shapes["W5"] = (HIDDEN, PIXELS)
    p = {name: 0.6 * rng.standard_normal(shape) for name, shape in shapes.items()}
    p |= {f"b{name[1]}": 0.5 * rng.standard_normal(shape[1]) for name, shape in shapes.items()}
    p["W3"] *= 0.3
    p["W4"] *= 0.6  # bends so wide that a quadrature over the noise does not miss them
    p["b3"] = rng.uniform(-0.9, -0.3, LATENTS)
    x = rng.integers(2, size=(ROWS, PIXELS)).astype(float)
    return p, x, rng.standard_normal((ROWS, LATENTS))
