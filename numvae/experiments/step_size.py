"""The paper's way to a step size: try {0.01, 0.02, 0.1}, and keep what did best in the first few iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from numvae.config import Config, prepare_data
from numvae.devices import to_host
from numvae.errors import DivergedError
from numvae.training import State, train

__all__ = ["JUDGED_STEPS", "STEP_SIZES", "TRIED_STEPS", "Trial", "try_step_sizes"]

STEP_SIZES = (0.01, 0.02, 0.1)
"""AdaGrad's, in the paper (section 5)."""
TRIED_STEPS, JUDGED_STEPS = 500, 100


@dataclass(frozen=True)
class Trial:
    """What each step size reached: the mean training bound of its last steps; None where it diverged, or untried."""

    bounds: dict[float, float | None]

    @property
    def best(self) -> float:
        """The step size with the highest bound; the smallest where all diverged."""
        reached = {size: bound for size, bound in self.bounds.items() if bound is not None}
        return max(reached, key=lambda size: reached[size]) if reached else min(self.bounds)


def try_step_sizes(config: Config, sizes: Sequence[float] = STEP_SIZES, steps: int = TRIED_STEPS) -> Trial:
    """Train with each from the same start for a few steps, and throw the results away.

    The bound that is compared is the mean over the last hundred: the first ones, in which a large step size
    throws the weights about, say little of where it leads.
    """
    return Trial({size: _reached(config.model_copy(update={"lr": size}), steps) for size in sizes})


def _reached(config: Config, steps: int) -> float | None:
    config, dataset = prepare_data(config.model_copy(update={"epochs": steps}))
    model, recipe = config.build_model(dataset.features), config.build_recipe()
    state = config.build_state(model, dataset)
    sums: list[float] = []
    rows: list[int] = []
    before = [0.0]

    def on_batch(state: State) -> bool:
        total = float(to_host(state.bound_sum))  # of the pass so far
        sums.append(total - (before[0] if state.batches > 1 else 0.0))
        rows.append(min(recipe.batch, len(dataset.train) - (state.batches - 1) * recipe.batch))
        before[0] = total
        return state.step >= steps

    try:
        train(model, dataset, recipe, state, on_batch=on_batch)
    except DivergedError:
        return None
    bound = sum(sums[-JUDGED_STEPS:]) / sum(rows[-JUDGED_STEPS:])
    return bound if math.isfinite(bound) else None
