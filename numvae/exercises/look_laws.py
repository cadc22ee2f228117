"""Does each part of a VAE do what it claims?  Samples, KL, likelihood, rows, Adam and the loop, asked from outside.

A bound can be wrong and its gradient right, so no gradient check sees it; these laws do.  Weights can be chosen: a
VAE whose encoder is constant and whose decoder is a pixel or two is asked one thing at a time.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.exercises.hunted import Code
from numvae.exercises.look_steps import loop_facts
from numvae.exercises.looks import LATENTS, ROWS, Fact, Gradient, Look, small_case

__all__ = ["laws"]

SURE = 40.0
"""A logit at which a pixel is 1, as far as float64 can tell."""


def laws(code: Code, seed: int) -> Look:
    """Samples, KL, likelihood and optimiser against what they claim to be; the loop against its arguments."""
    with np.errstate(all="ignore"):
        facts = [
            *_sample_facts(code.vae_gradient),
            *_kl_facts(code.vae_gradient),
            *_likelihood_facts(code.vae_gradient),
            *_row_facts(code.vae_gradient, seed),
            *_adam_facts(code.adam),
            *loop_facts(code.train_vae, ("weights", "gradient", "t", "averages"), seed),
        ]
    question = "Laws: does each part do what it claims?"
    return Look("law", question, ("it gives", "should be"), tuple(facts))


def _probe(
    gradient: Gradient, mean: float, std: float, noise: Array, x: Array, b5: Any, W5: Any = None, W4: Any = None
) -> Array:
    """The bound of each row where q is N(mean, std²) whatever x, and the decoder what one makes it."""
    (rows, latents), pixels = noise.shape, x.shape[1]
    hidden = latents
    p = {
        "W1": np.zeros((pixels, hidden)), "b1": np.zeros(hidden), "W2": np.zeros((hidden, latents)),
        "b2": np.full(latents, mean), "W3": np.zeros((hidden, latents)), "b3": np.full(latents, math.log(std)),
        "W4": np.zeros((latents, hidden)) if W4 is None else W4, "b4": np.zeros(hidden),
        "W5": np.zeros((hidden, pixels)) if W5 is None else W5, "b5": np.zeros(pixels) + b5,
    }  # fmt: skip
    bound, _ = gradient(p, np.broadcast_to(x, (rows, pixels)), noise)
    return np.asarray(np.zeros(rows) + bound)


def _sample_facts(gradient: Gradient) -> Iterator[Fact]:
    """z, read off a pixel: its logit is z, and a bound is linear in x with the logit as its slope."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    noise, weights = nodes[:, None], weights / weights.sum()
    on, off, tiny = np.ones((1, 1)), np.zeros((1, 1)), 1e-4

    def slope(mean: float, std: float, b5: float, W5: float) -> Array:
        decoder = {"b5": b5, "W5": np.full((1, 1), W5), "W4": np.full((1, 1), tiny)}
        return _probe(gradient, mean, std, noise, on, **decoder) - _probe(gradient, mean, std, noise, off, **decoder)

    logits = np.linspace(-30, 30, 6001)
    readings = np.array([slope(0.0, 1.0, logit, 0.0)[0] for logit in logits[::20]])
    for mean, std in ((1.5, 0.5), (0.5, 2.0)):
        z = np.interp(slope(mean, std, 0.0, 1 / tiny), readings, logits[::20])
        seen = weights @ z
        spread = math.sqrt(weights @ (z - seen) ** 2)
        ok = abs(seen - mean) < 0.01 and abs(spread - std) < 0.01
        yield Fact(
            f"samples of N({mean:g}, {std:g}²)",
            (f"mean {seen:.2f}, std {spread:.2f}", f"mean {mean:.2f}, std {std:.2f}"),
            ok,
        )


def _kl(gradient: Gradient, mean: float, std: float) -> float:
    """What a bound has besides the likelihood: surely right pixels cost nothing; were they to, two cost twice that."""
    one, two = (
        float(_probe(gradient, mean, std, np.zeros((1, LATENTS)), np.ones((1, pixels)), SURE)[0]) for pixels in (1, 2)
    )
    return -(2 * one - two)


def _kl_facts(gradient: Gradient) -> Iterator[Fact]:
    """The KL of two latents against E[log q(z) - log p(z)]; four nodes are exact for this integrand."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    weights = weights / weights.sum()
    for mean, std in ((0.0, 1.0), (1.0, 1.0), (0.0, 2.0), (0.0, 0.5)):
        log_ratio = (mean + std * nodes) ** 2 / 2 - nodes**2 / 2 - math.log(std)  # of q to p
        expected, seen = LATENTS * float(weights @ log_ratio), _kl(gradient, mean, std)
        what = f"KL of two N({mean:g}, {std:g}²) to N(0, 1)"
        yield Fact(what, (f"{seen + 0.0:.3f}", f"{expected + 0.0:.3f}"), abs(seen - expected) < 1e-6)


def _likelihood_facts(gradient: Gradient) -> Iterator[Fact]:
    """Three pixels of known logits: all eight pictures together, and how often the first pixel is on."""
    logits = np.array([2.0, -1.0, 0.5])
    pictures = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    bounds = np.array([_probe(gradient, 0.0, 1.0, np.zeros((1, LATENTS)), x[None], logits)[0] for x in pictures])
    p = np.exp(bounds + _kl(gradient, 0.0, 1.0))
    on, expected = float(p @ pictures[:, 0]), 1 / (1 + math.exp(-2))
    yield Fact("probability of all pictures", (f"{p.sum():.3f}", "1.000"), abs(p.sum() - 1) < 1e-6)
    yield Fact("probability of ink at logit 2", (f"{on:.3f}", f"{expected:.3f}"), abs(on - expected) < 1e-6)


def _row_facts(gradient: Gradient, seed: int) -> Iterator[Fact]:
    """A row's bound does not depend on its neighbours."""
    p, x, noise = small_case(seed)
    together = float(np.broadcast_to(gradient(p, x, noise)[0], ROWS)[0])
    alone = float(np.broadcast_to(gradient(p, x[:1], noise[:1])[0], 1)[0])
    ok = math.isclose(together, alone, rel_tol=1e-9)
    yield Fact(f"bound of a row among {ROWS}", (f"{together:.3f}", f"{alone:.3f}, as alone"), ok)


def _adam_facts(adam: Callable[..., Any]) -> Iterator[Fact]:
    """A constant gradient: both averages are the gradient's, so every step is as long as step_size, upwards."""
    size = adam.keywords["step_size"]  # type: ignore[attr-defined]
    shown = (1, 2, 10, 100)
    for value in (1.0, 1e-4):
        theta, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
        steps = []
        for t in range(1, max(shown) + 1):
            before = theta
            theta, m, v = adam(theta, np.full(1, value), m, v, t)
            steps.append(float((theta - before)[0]) / size)
        seen = [steps[t - 1] for t in shown]
        ok = bool(np.allclose(seen, 1, rtol=1e-3))
        what = f"Adam's steps {', '.join(map(str, shown))} of size, gradient {value:g}"
        yield Fact(what, (" ".join(f"{step:.2f}" for step in seen), "1.00 1.00 1.00 1.00"), ok)
