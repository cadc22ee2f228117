"""Names to states and estimators: what ``numvae variance`` is given in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numvae.arena.measuring import fits, works
from numvae.arena.path_terms import PathTerms, path_terms
from numvae.arena.states import COSTS, State, state_of_model
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.estimators.catalogue import ESTIMATORS
from numvae.models import VAE

__all__ = ["chosen_estimators", "chosen_state", "path_terms_of_run", "state_of_run", "usual_estimates"]

TEST_ROWS = 4
TERM_DRAWS = 1000
FEW_COORDINATES = 20
MOST_NUMBERS = 1 << 17
"""Put through f for one estimate, of an estimator nobody asked for by name."""
LOGISTIC = "logistic-regression"
COUPLED = ("coupled", "coupled-bits")


def chosen_state(cost: str | None, run_folder: Path | None, dimension: int | None) -> State:
    """The state that a cost's name or a run's folder stands for.

    Raises:
        InputError: an unknown cost, no run, or a dimension where there is nothing to choose.
    """
    if run_folder is not None:
        if dimension is not None:
            raise InputError(f"--dimension is that of a cost; {run_folder} has its own, leave it out")
        return state_of_run(run_folder)
    cost = "quadratic" if cost is None else cost
    if cost not in COSTS:
        raise InputError(f"--cost {cost} is not known{_did_you_mean(cost, COSTS)}; known are {', '.join(COSTS)}")
    if cost == LOGISTIC and dimension is not None:
        raise InputError(f"--dimension has nothing to choose for {LOGISTIC}: its 31 weights come with the data")
    return COSTS[cost](dimension or (2 if cost in COUPLED else 1))


def state_of_run(folder: Path) -> State:
    """A trained model on the first rows of its test data.

    Raises:
        InputError: no run, or one of a model with several layers of latents.
    """
    run, x = _run_and_rows(folder)
    return state_of_model(run.model, run.theta, x, name=f"ELBO of {folder}")


def path_terms_of_run(folder: Path, seed: int) -> PathTerms | None:
    """The terms of the gradient of a trained VAE on the same rows; None for another model.

    Raises:
        InputError: no run.
    """
    run, x = _run_and_rows(folder)
    if not isinstance(run.model, VAE):
        return None
    noise = run.model.posterior.noise(np.random.default_rng(seed), (1, TERM_DRAWS, len(x), run.model.latents))
    return path_terms(run.model, run.theta.astype(np.float64), x, noise)


def _run_and_rows(folder: Path) -> tuple[Any, Array]:
    from numvae.randomness import generator
    from numvae.runs import open_run

    run = open_run(folder)
    rows = run.load_data().test[:TEST_ROWS]
    return run, run.recipe.binarize(rows, generator(run.config.seed, "evaluation", 2), np.float64)


def chosen_estimators(names: Sequence[str] | None, state: State) -> dict[str, Any]:
    """The estimators named, or without names all that are for the state.

    Raises:
        InputError: an unknown name, or an estimator that is not for the state.
    """
    if names is None:
        return {name: estimator for name, estimator in ESTIMATORS.items() if _usual(estimator, state)}
    for name in names:
        if name not in ESTIMATORS:
            known = ", ".join(ESTIMATORS)
            raise InputError(f"estimator {name} is not known{_did_you_mean(name, ESTIMATORS)}; known are {known}")
        reason = fits(ESTIMATORS[name], state)
        if reason:
            raise InputError(f"{name} {reason}; leave it out of --estimators")
    return {name: ESTIMATORS[name] for name in names}


def _usual(estimator: Any, state: State) -> bool:
    """Whether an estimator is for the state, and neither too dear nor refused there."""
    claims = claims_of(estimator)
    samples = max(state.samples, claims.least_samples)
    numbers = claims.f_calls(samples, state.latents) * state.params.size
    dear = numbers > MOST_NUMBERS or (claims.uses_hessian and state.f_of_rows is not None)
    return not dear and works(estimator, state, samples)


def usual_estimates(state: State) -> int:
    """How many estimates to draw of each, if nobody says: fewer where each costs more."""
    if state.f_of_rows is not None:
        return 200
    few = state.params.size <= FEW_COORDINATES and state.exact(state.samples) is not None
    return 10_000 if few else 1_000


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""
