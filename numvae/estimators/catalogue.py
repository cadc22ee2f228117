"""Every estimator of E_q[reduce f(z)] by its name: what the command line, parameter files and the arena choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numvae.distributions import Bernoulli, Normal
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.estimators.arm import arm, disarm
from numvae.estimators.baselines import NVIL, MovingAverageBaseline, OptimalBaseline, reinforce, reinforce_loo, vimco
from numvae.estimators.concrete import Concrete, StraightThroughConcrete
from numvae.estimators.coupled_noise import Antithetic, QuasiMonteCarlo
from numvae.estimators.delta_method import delta_method, first_order_delta_method
from numvae.estimators.doubly_reparameterized import doubly_reparameterized
from numvae.estimators.enumeration import enumeration
from numvae.estimators.implicit import implicit
from numvae.estimators.lax import LAX
from numvae.estimators.local_expectation import local_expectation
from numvae.estimators.measure_valued import MeasureValued
from numvae.estimators.muprop import muprop
from numvae.estimators.pathwise import pathwise
from numvae.estimators.poisson_difference import poisson_difference
from numvae.estimators.rebar import AdaptiveRebar, Rebar
from numvae.estimators.relax import Relax
from numvae.estimators.reweighted import doubly_reparameterized_wake_sleep, reweighted_wake_sleep
from numvae.estimators.score_function import score_function
from numvae.estimators.smoothing import EvolutionStrategies, FiniteDifferences
from numvae.estimators.sticking_the_landing import sticking_the_landing, sticking_the_landing_iwae
from numvae.estimators.straight_through import identity_straight_through, straight_through

__all__ = ["ESTIMATORS"]

ESTIMATORS: Mapping[str, Any] = {
    "score_function": score_function,
    "reinforce": reinforce,
    "reinforce_loo": reinforce_loo,
    "optimal_baseline": OptimalBaseline(),
    "moving_average": MovingAverageBaseline(),
    "nvil": NVIL(),
    "vimco": vimco,
    "delta_method": delta_method,
    "first_order_delta_method": first_order_delta_method,
    "pathwise": pathwise,
    "implicit": implicit,
    "antithetic": Antithetic(pathwise),
    "quasi_monte_carlo": QuasiMonteCarlo(pathwise),
    "sticking_the_landing": sticking_the_landing,
    "sticking_the_landing_iwae": sticking_the_landing_iwae,
    "doubly_reparameterized": doubly_reparameterized,
    "reweighted_wake_sleep": reweighted_wake_sleep,
    "doubly_reparameterized_wake_sleep": doubly_reparameterized_wake_sleep,
    "measure_valued_normal": MeasureValued(Normal()),
    "measure_valued_exponential": MeasureValued(Exponential()),
    "measure_valued_gamma": MeasureValued(Gamma()),
    "measure_valued_bernoulli": MeasureValued(Bernoulli()),
    "measure_valued_poisson": MeasureValued(Poisson()),
    "poisson_difference": poisson_difference,
    "lax": LAX(),
    "finite_differences": FiniteDifferences(),
    "evolution_strategies": EvolutionStrategies(),
    "enumeration": enumeration,
    "local_expectation": local_expectation,
    "arm": arm,
    "disarm": disarm,
    "muprop": muprop,
    "straight_through": straight_through,
    "identity_straight_through": identity_straight_through,
    "concrete": Concrete(),
    "straight_through_concrete": StraightThroughConcrete(),
    "rebar": Rebar(),
    "adaptive_rebar": AdaptiveRebar(),
    "relax": Relax(),
}
"""Name -> an ``Estimator``, or an ``Adaptive`` that learns while it works."""
