"""The ladder: some thirty exercises, from a finite difference to the whole VAE, in the order one climbs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from numvae.exercises.contract import Exercise

__all__ = ["EXERCISES", "ORDER"]

ORDER = (
    # what a derivative is, and layers
    "finite_difference",
    "error_curve",
    "affine",
    "tanh",
    "sigmoid",
    "relu",
    "softplus",
    "perceptron",
    # likelihoods, and the KL divergence
    "bernoulli_log_prob",
    "normal_log_prob",
    "poisson_log_prob",
    "normal_kl",
    # samples with gradients
    "reparameterize",
    "reparameterize_log_variance",
    "reparameterize_variance",
    "exponential_sample",
    "erlang_sample",
    "gamma_sample",
    # other gradient estimators
    "score_function",
    "score_surrogate",
    "leave_one_out",
    # bounds
    "monte_carlo_bound",
    "analytic_bound",
    "minibatch_estimate",
    "log_mean_exp",
    "importance_weighted",
    "free_bits",
    # the whole model
    "two_heads",
    "decoder_gradient",
    "sample_gradient",
    "vae_gradient",
    "adam_step",
    "train_vae",
)


class _Ladder(Mapping[str, Exercise]):
    """Name -> exercise, in the ladder's order; a rung's file is read when somebody stands on it."""

    def __getitem__(self, name: str) -> Exercise:
        if name not in ORDER:
            raise KeyError(name)
        exercise: Exercise = import_module(f"{__name__}.{name}").EXERCISE
        return exercise

    def __iter__(self) -> Iterator[str]:
        return iter(ORDER)

    def __len__(self) -> int:
        return len(ORDER)


EXERCISES: Mapping[str, Exercise] = _Ladder()
