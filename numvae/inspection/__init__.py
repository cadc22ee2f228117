"""Looking into a trained model: which latents it uses, what they say about the data, and where its bound is lost."""

from numvae.inspection.active_units import ActiveUnits, active_units
from numvae.inspection.aggregate import AggregatePosterior, aggregate_log_prob, aggregate_posterior
from numvae.inspection.exact_posterior import GridPosterior, exact_posterior
from numvae.inspection.inference_gap import Gap, InferenceGaps, inference_gaps
from numvae.inspection.pruning import Held, Picked, without_inactive
from numvae.inspection.refinement import OwnPosterior, fresh_noises, local_bound, refine

__all__ = [
    "ActiveUnits",
    "AggregatePosterior",
    "Gap",
    "GridPosterior",
    "Held",
    "InferenceGaps",
    "OwnPosterior",
    "Picked",
    "active_units",
    "aggregate_log_prob",
    "aggregate_posterior",
    "exact_posterior",
    "fresh_noises",
    "inference_gaps",
    "local_bound",
    "refine",
    "without_inactive",
]
