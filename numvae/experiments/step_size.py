"""The paper's way to a step size: try {0.01, 0.02, 0.1}, and keep what did best in the first few iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from numvae.config import Config, prepare_data
from numvae.errors import DivergedError
from numvae.evaluation import evaluate
from numvae.randomness import generator
from numvae.training import train

__all__ = ["STEP_SIZES", "TRIED_STEPS", "Trial", "try_step_sizes"]

STEP_SIZES = (0.01, 0.02, 0.1)
"""AdaGrad's, in the paper (section 5)."""
TRIED_STEPS, JUDGED_ROWS = 500, 1000


@dataclass(frozen=True)
class Trial:
    """What each step size reached: the bound on training rows; None where it diverged, or was not tried."""

    bounds: dict[float, float | None]

    @property
    def best(self) -> float:
        """The step size with the highest bound; the smallest where all diverged."""
        reached = {size: bound for size, bound in self.bounds.items() if bound is not None}
        return max(reached, key=lambda size: reached[size]) if reached else min(self.bounds)


def try_step_sizes(config: Config, sizes: Sequence[float] = STEP_SIZES, steps: int = TRIED_STEPS) -> Trial:
    """Train with each from the same start for a few steps, and throw the results away.

    Compared is the bound that the weights have then, on the first training rows: a mean over the steps would hold the
    first ones, in which a large step size throws the weights about, whatever it leads to.
    """
    return Trial({size: _reached(config.model_copy(update={"lr": size}), steps) for size in sizes})


def _reached(config: Config, steps: int) -> float | None:
    config, dataset = prepare_data(config.model_copy(update={"epochs": steps}))
    model, recipe = config.build_model(dataset.features), config.build_recipe()
    state = config.build_state(model, dataset)
    try:
        train(model, dataset, recipe, state, on_batch=lambda state: state.step >= steps)
    except DivergedError:
        return None
    rows, rng = dataset.train[:JUDGED_ROWS], generator(config.seed, "evaluation", 5)
    bound = evaluate(model, state.theta, rows, rng=rng, binarize=recipe.binarize).elbo
    return bound if math.isfinite(bound) else None
