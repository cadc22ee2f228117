"""log p(x) of a trained model, one file per way of estimating it: all bounds, and on which side each is."""

from numvae.marginal_likelihood.annealed import (
    Annealed,
    Sandwich,
    annealed_importance,
    linear_temperatures,
    sandwich,
    sigmoidal_temperatures,
    simulate,
)
from numvae.marginal_likelihood.breakdown import Breakdown, reciprocal_breakdown, share_of_infinite_variance
from numvae.marginal_likelihood.importance import ImportanceWeightedBounds, importance_weighted_bounds
from numvae.marginal_likelihood.power_means import (
    PowerMeanBound,
    chi_upper_bound,
    linear_gaussian_power_mean,
    power_mean_bound,
    renyi_bound,
)
from numvae.marginal_likelihood.reciprocal import KernelFit, NormalFit, Reciprocal, reciprocal_estimate
from numvae.marginal_likelihood.starts import from_encoder, from_likely_draws, from_prior

__all__ = [
    "Annealed",
    "Breakdown",
    "ImportanceWeightedBounds",
    "KernelFit",
    "NormalFit",
    "PowerMeanBound",
    "Reciprocal",
    "Sandwich",
    "annealed_importance",
    "chi_upper_bound",
    "from_encoder",
    "from_likely_draws",
    "from_prior",
    "importance_weighted_bounds",
    "linear_gaussian_power_mean",
    "linear_temperatures",
    "power_mean_bound",
    "reciprocal_breakdown",
    "reciprocal_estimate",
    "renyi_bound",
    "sandwich",
    "share_of_infinite_variance",
    "sigmoidal_temperatures",
    "simulate",
]
