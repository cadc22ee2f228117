"""Every setting of a run, validated whole, and turned from names into objects.

Only this file (and the command line on top of it) speaks in names; everything below takes functions and objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import CoreSchema, core_schema

from numvae import layers, objectives
from numvae.adaptation import is_adaptive, start_adaptation
from numvae.belief_networks import mlp_belief_network
from numvae.corruption import CORRUPTIONS, Corruption
from numvae.datasets import BINARIZATIONS, DATASETS, Dataset, binarize_once, load
from numvae.devices import Device
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.catalogue import POSTERIORS, PRIORS, natural_prior
from numvae.distributions.contract import inside
from numvae.distributions.kl_table import kl_divergence
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.estimators.catalogue import ESTIMATORS
from numvae.flows import mlp_flow_vae
from numvae.flows.catalogue import FLOWS
from numvae.layered import mlp_layered_vae
from numvae.learning.wake_sleep import EncoderPhase, ReweightedWakeSleep, reweighted_wake_sleep, wake_sleep
from numvae.likelihoods import SEES, VIEWS, build_likelihood, require_sees
from numvae.models import Model, mlp_vae
from numvae.optimizers import OPTIMIZERS, Optimizer
from numvae.parameter_file import explain, read_object, short
from numvae.parameters import glorot, small_normal, wide_normal
from numvae.priors import Prior, normal_prior
from numvae.schedules import SCHEDULES, Schedule, WarmUp
from numvae.training import Objective, Recipe, State, start

__all__ = ["Config", "OneOf", "prepare_data", "read_config"]

ACTIVATIONS = {
    rule.__name__: rule
    for rule in (
        layers.identity,
        layers.tanh,
        layers.sigmoid,
        layers.softplus,
        layers.relu,
        layers.leaky_relu,
        layers.elu,
    )
}
WAKE_SLEEP: dict[str, Objective] = {rule.__name__: rule for rule in (wake_sleep, reweighted_wake_sleep)}
OBJECTIVES: dict[str, Objective] = {
    rule.__name__: rule for rule in (objectives.elbo, objectives.elbo_monte_carlo, objectives.importance_weighted)
} | WAKE_SLEEP
TRAINING_ESTIMATORS = {
    name: estimator
    for name, estimator in ESTIMATORS.items()
    if any(claims_of(estimator).cover(family) for family in (*POSTERIORS.values(), Bernoulli()))
}
SUITED_TO_TWO_LAYERS: dict[str, tuple[tuple[Any, ...], str]] = {
    "posterior": (("normal",), "both layers of latents are normal"),
    "prior": (("auto", "normal"), "the upper layer of latents is standard normal"),
    "prior_params": (({},), "the upper layer of latents is standard normal"),
    "prior_precision": ((1.0,), "the upper layer of latents is standard normal"),
    "objective": (("elbo", "elbo_monte_carlo", "importance_weighted"), "two layers of latents have no other bound"),
    "kl": (("monte_carlo",), "the KL of two layers of latents has no closed form"),
    "estimator": (("auto", "pathwise"), "two layers of latents have one path from noise to bound"),
}
"""Setting -> what it can be with latent_above, and why no more."""
SUITED_TO_A_FLOW: dict[str, tuple[tuple[Any, ...], str]] = {
    "posterior": (("normal",), "a flow starts from a normal"),
    "prior": (("auto", "normal"), "a flow ends at a normal prior"),
    "objective": (("elbo", "elbo_monte_carlo", "importance_weighted"), "a flow has no other bound"),
    "kl": (("monte_carlo",), "the KL behind a flow has no closed form"),
    "estimator": (("auto", "pathwise"), "a flow has one path from noise to bound"),
}
"""Setting -> what it can be with a flow, and why no more."""
INITIALIZERS = {rule.__name__: rule for rule in (glorot, small_normal, wide_normal)}

DEFAULT_STRENGTH = 0.1
"""Of a corruption."""

MOST_LOG = 14.0
"""Of a prior's scale or shape, which then is a good float32 number, as its square is: a million, or its inverse."""
MOST_WEIGHTS = 500_000_000
"""Adam keeps four float32 vectors of them, and drawing them takes another two in float64: 16 GB."""
MOST_NOISE = 500_000_000
"""Numbers that the samples of one step may hold: 2 GB in float32."""


LEAST_EPOCHS, MOST_EPOCHS, ENOUGH_STEPS = 10, 200, 3000


class OneOf:
    """One of the names, in the place of a ``Literal`` that would list a table's names a second time."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


Count = Annotated[int, Field(ge=1, le=10**9)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
"""A standard deviation or a precision: its square, its inverse and their logarithms are good float32 numbers."""
LeastStd = Annotated[float, Field(ge=1e-6, lt=0.5, allow_inf_nan=False)]
"""Of grey values, which are half black and half white at a standard deviation of 0.5."""


class Config(BaseModel):
    """Every setting of a run.  Names are those of the flags, ``-`` for ``_``; values are of JSON's types."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True)

    data: str = Field("drawn", description="drawn, mnist, frey, or the path of a file or folder of your own")
    train_rows: Count | None = Field(None, description="use only the first N training rows")
    test_rows: Count | None = Field(None, description="use only the first N test rows")
    binarize: Annotated[str, OneOf("auto", *BINARIZATIONS)] = Field(
        "auto",
        description="what the likelihood sees: grey values (none; inside: never 0 or 1), bits (threshold; fixed; fresh "
        "draws them anew every time a row is used), codes, photons, or your own counts; auto follows the data",
    )
    likelihood: Annotated[str, OneOf("auto", *SEES)] = Field(
        "auto", description="p(x|z); normal: mean and log-std from the network; shared: one learned; fixed: fixed_std"
    )
    fixed_std: Scale = Field(0.1, description="the standard deviation of normal_fixed_std, in grey values of [0, 1]")
    least_std: LeastStd = Field(
        1 / 255, description="the smallest standard deviation (scale) that normal, laplace, student_t, beta can reach"
    )
    mean: Literal["sigmoid", "identity"] = Field(
        "sigmoid",
        description="of a normal, laplace, student_t or discretized_logistic likelihood: sigmoid keeps it in (0, 1), "
        "as the paper does for Frey faces",
    )
    model: Literal["vae", "sbn"] = Field("vae", description="sbn: a sigmoid belief network, whose latents are bits")
    layers: int = Field(1, ge=1, le=3, description="of bits, one above the other, in an sbn")
    latent: Count = Field(20, description="number of latents, in each layer")
    hidden: list[Count] = Field([500], description="widths of the hidden layers, encoder's order; none: linear maps")
    latent_above: Count | None = Field(
        None, description="number of latents in a second layer above those of a vae, whose KL then is by samples"
    )
    hidden_above: list[Count] = Field([100], description="the same as hidden, between a vae's two layers of latents")
    flow: Annotated[str, OneOf("none", *FLOWS)] = Field(
        "none", description="behind the normal posterior of a vae, for a richer one; iaf: inverse autoregressive"
    )
    flow_steps: int = Field(8, ge=1, le=100, description="of the flow, one after the other")
    flow_hidden: Count = Field(200, description="units in the masked network of each step of an iaf")
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = Field("tanh", description="between layers")
    posterior: Annotated[str, OneOf(*POSTERIORS)] = Field(
        "normal", description="q(z|x) of a vae; its parameters come from the encoder"
    )
    prior: Annotated[str, OneOf("auto", *PRIORS)] = Field(
        "auto", description="p(z) of a vae; auto: the posterior's own family, or the nearest that has all its values"
    )
    prior_params: dict[str, float] = Field(
        {}, description='parameters of the prior, as {"log_std": 0.5}; those not given are 0, the standard member'
    )
    prior_precision: Scale = Field(1.0, description="alpha of the prior z ~ N(0, I/alpha)")
    weight_prior: Scale | None = Field(
        None, description="precision of a N(0, I/precision) prior on the weights: MAP, as in the paper with 1"
    )
    objective: Annotated[str, OneOf(*OBJECTIVES)] = Field(
        "elbo",
        description="elbo: analytic KL (the paper's B), of an sbn layer by layer; elbo_monte_carlo: all Monte Carlo "
        "(its A), of an sbn all layers as one; wake_sleep: the decoder learns from data, the encoder from dreams; "
        "reweighted_wake_sleep: the same with importance weights",
    )
    encoder_phase: EncoderPhase = Field(
        "wake", description="what the encoder learns from in reweighted_wake_sleep: weighted samples, dreams, or both"
    )
    kl: Literal["analytic", "monte_carlo"] = Field(
        "analytic", description="of the elbo: monte_carlo needs no closed form, and makes elbo elbo_monte_carlo"
    )
    kl_weight: NotNegative = Field(1.0, description="beta of the elbo, which is reconstruction - beta KL")
    kl_warm_up: int = Field(0, ge=0, description="steps over which the weight of the KL grows from 0 to kl_weight")
    free_bits: NotNegative = Field(0.0, description="nats of KL that each latent has free, on each row")
    corruption: Annotated[str, OneOf("none", *CORRUPTIONS)] = Field(
        "none", description="of what the encoder sees in training: the denoising criterion"
    )
    corrupt: Positive | None = Field(
        None, description="strength of the corruption: a probability, or the noise's standard deviation; not set: 0.1"
    )
    estimator: Annotated[str, OneOf("auto", *TRAINING_ESTIMATORS)] = Field(
        "auto", description="of the gradient; auto: pathwise, for an sbn disarm, or score_function where that cannot be"
    )
    samples: int = Field(1, ge=1, le=10_000, description="L, samples of z per row")
    epochs: Count | None = Field(
        None, description="passes through the training rows; not set: 10, and more where rows are few"
    )
    batch: Count = Field(100, description="rows per step, the paper's M")
    optimizer: Annotated[str, OneOf(*OPTIMIZERS)] = Field("adam", description="moves the weights up the gradient")
    lr: Positive | None = Field(None, description="step size; each optimizer has a default of its own")
    optimizer_options: dict[str, float] = Field({}, description='further hyper-parameters, as {"beta1": 0.95}')
    schedule: Annotated[str, OneOf(*(name for name in SCHEDULES if name != "warm_up"))] = Field(
        "constant", description="of the step size; warm_up goes before any"
    )
    schedule_options: dict[str, Any] = Field({}, description='as {"steps": 10000} for cosine')
    warm_up: int = Field(0, ge=0, description="steps over which the step size grows to its full size")
    clip_norm: Positive | None = Field(None, description="longest gradient; longer ones are shortened to it")
    weights: Annotated[str, OneOf(*INITIALIZERS)] = Field("glorot", description="how weights start")
    start_at_data: bool = Field(True, description="start the decoder at the data's mean and standard deviation")
    seed: int = Field(0, ge=0, description="of everything random")
    dtype: Literal["float32", "float64"] = Field("float32", description="of the weights and all arithmetic")
    device: Device = Field("cpu", description="cuda needs CuPy")

    @field_validator("likelihood")
    @classmethod
    def _suits_the_binarization(cls, likelihood: str, info: ValidationInfo) -> str:
        require_sees(likelihood, info.data.get("binarize", "auto"))
        return likelihood

    @model_validator(mode="before")
    @classmethod
    def _settle_the_kl(cls, settings: Any) -> Any:
        of_vae = isinstance(settings, Mapping) and settings.get("model", "vae") == "vae"
        if of_vae and (settings.get("latent_above") is not None or settings.get("flow", "none") != "none"):
            return {"kl": "monte_carlo", **settings}
        return settings

    @field_validator("latent_above", "hidden_above")
    @classmethod
    def _is_a_second_layer(cls, value: Any, info: ValidationInfo) -> Any:
        if value == cls.model_fields[str(info.field_name)].default:
            return value
        if info.data.get("model") == "sbn":
            raise InputError(f"layers of bits are counted by layers, {info.field_name} is a vae's; leave it out")
        if info.field_name == "hidden_above" and "latent_above" in info.data and info.data["latent_above"] is None:
            raise InputError("there are no latents above to reach; set latent_above, or leave it out")
        return value

    @field_validator("posterior", "prior", "prior_params", "prior_precision", "kl", "objective", "estimator")
    @classmethod
    def _suit_two_layers(cls, value: Any, info: ValidationInfo) -> Any:
        suited, why = SUITED_TO_TWO_LAYERS[str(info.field_name)]
        if info.data.get("latent_above") is None or value in suited:
            return value
        raise InputError(f"{why}, so {info.field_name} cannot be {short(value)}; leave it or latent_above out")

    @field_validator("flow", "flow_steps", "flow_hidden")
    @classmethod
    def _is_of_a_flow(cls, value: Any, info: ValidationInfo) -> Any:
        name, flow = str(info.field_name), info.data.get("flow")
        if value == cls.model_fields[name].default:
            return value
        if info.data.get("model") == "sbn":
            raise InputError(f"a flow moves real numbers, not bits; {name} is a vae's, leave it out")
        if name == "flow" and info.data.get("latent_above") is not None:
            raise InputError("a flow is for one layer of latents; leave it or latent_above out")
        if flow == "none" or (name, flow) == ("flow_hidden", "planar"):
            needed = "iaf" if name == "flow_hidden" else "one"
            raise InputError(f"{name} is of a flow, and there is no such; set flow to {needed}, or leave it out")
        return value

    @field_validator("posterior", "prior", "kl", "objective", "estimator")
    @classmethod
    def _suit_a_flow(cls, value: Any, info: ValidationInfo) -> Any:
        suited, why = SUITED_TO_A_FLOW[str(info.field_name)]
        if info.data.get("flow", "none") == "none" or value in suited:
            return value
        raise InputError(f"{why}, so {info.field_name} cannot be {short(value)}; leave it or flow out")

    @field_validator("posterior")
    @classmethod
    def _has_something_to_say(cls, posterior: str, info: ValidationInfo) -> str:
        if POSTERIORS[posterior].support == "simplex" and info.data.get("latent") == 1:
            raise InputError(f"the latents of a {posterior} add up to 1, so a single one is always 1; use 2 or more")
        return posterior

    @field_validator("posterior", "prior", "prior_params", "kl")
    @classmethod
    def _are_a_vaes(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("model") == "sbn" and value not in ("normal", "auto", "analytic", {}):
            raise InputError(f"an sbn has bits as latents and learns their prior, {info.field_name} is a vae's")
        return value

    @field_validator("prior")
    @classmethod
    def _has_a_density_at_every_latent(cls, name: str, info: ValidationInfo) -> str:
        posterior = info.data.get("posterior")
        if posterior is None or name == "auto" or inside(POSTERIORS[posterior], PRIORS[name]):
            return name
        raise InputError(
            f"{name!r} (over: {PRIORS[name].support}) has no density at every value of posterior {posterior!r} (over: "
            f"{POSTERIORS[posterior].support}); leave it out, which makes it {natural_prior(posterior)!r}"
        )

    @field_validator("prior_params")
    @classmethod
    def _are_the_priors(cls, values: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if None not in (info.data.get("posterior"), info.data.get("prior")):
            Prior.of(cls._prior_family(info.data), values)
        for name, value in values.items():
            if name.startswith("log_") and abs(value) > MOST_LOG:
                raise InputError(f"{name} must be from {-MOST_LOG} to {MOST_LOG}, got {value:g}: it is a logarithm")
        return values

    @field_validator("objective", "encoder_phase")
    @classmethod
    def _is_a_phase_of_a_vae(cls, value: str, info: ValidationInfo) -> str:
        if value in WAKE_SLEEP and info.data.get("model") == "sbn":
            raise InputError(f"{value} is for a vae here, not for an sbn; use elbo")
        changed = info.field_name == "encoder_phase" and value != "wake"
        if changed and info.data.get("objective", "reweighted_wake_sleep") != "reweighted_wake_sleep":
            raise InputError("encoder_phase is for the objective reweighted_wake_sleep; leave it out")
        return value

    @field_validator("kl")
    @classmethod
    def _is_known(cls, kl: str, info: ValidationInfo) -> str:
        needed = kl == "analytic" and info.data.get("objective") == "elbo" and info.data.get("model") == "vae"
        if needed and {"posterior", "prior"} <= set(info.data):
            kl_divergence(POSTERIORS[info.data["posterior"]], cls._prior_family(info.data))
        return kl

    @staticmethod
    def _prior_family(settings: Mapping[str, Any]) -> Any:
        name = settings["prior"]
        return PRIORS[natural_prior(settings["posterior"]) if name == "auto" else name]

    @field_validator("layers", "prior_precision")
    @classmethod
    def _suits_the_model(cls, value: float, info: ValidationInfo) -> float:
        model = info.data.get("model")
        if info.field_name == "layers" and model == "vae" and value > 1:
            raise InputError(f"a vae has one layer of latents, not {value}; use model 'sbn', or latent_above")
        if info.field_name == "prior_precision" and model == "sbn" and value != 1:
            raise InputError("an sbn learns its prior, prior_precision is a vae's; leave it out")
        if info.field_name == "prior_precision" and value != 1 and info.data.get("prior") is not None:
            family = cls._prior_family(info.data)
            if not isinstance(family, Normal) or info.data.get("prior_params"):
                raise InputError("prior_precision is that of a normal prior, and says its log_std; use prior_params")
        return value

    @field_validator("kl_weight", "kl_warm_up", "free_bits", "corruption")
    @classmethod
    def _suits_the_objective(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if value == cls.model_fields[name].default:
            return value
        if info.data.get("model") == "sbn":
            raise InputError(f"the elbo of an sbn has no KL as a term of its own; leave {name} out")
        if info.data.get("latent_above") is not None:
            raise InputError(f"the elbo of two layers of latents has no KL in closed form; leave {name} out")
        if info.data.get("flow", "none") != "none":
            raise InputError(f"the elbo behind a flow has no KL in closed form; leave {name} out")
        if info.data.get("objective", "elbo") != "elbo" or info.data.get("kl") == "monte_carlo":
            raise InputError(f"{name} is for objective elbo with its analytic kl alone; use these or leave it out")
        return value

    @field_validator("corruption")
    @classmethod
    def _suits_the_data(cls, corruption: str, info: ValidationInfo) -> str:
        seen = info.data.get("binarize", "auto")
        if seen == "auto":
            seen = SEES.get(info.data.get("likelihood", "auto"), ("none",))[0]
        if corruption != "none" and seen in ("photons", "counts", "codes"):
            raise InputError(
                f"{corruption} is for bits and grey values, but binarize {seen!r} {VIEWS[seen].does}; leave it out"
            )
        return corruption

    @field_validator("corrupt")
    @classmethod
    def _is_a_strength(cls, strength: float | None, info: ValidationInfo) -> float | None:
        corruption = info.data.get("corruption")
        if strength is not None and corruption == "none":
            raise InputError(f"a strength needs its corruption; say which: {', '.join(CORRUPTIONS)}")
        if strength is not None and strength > 1 and corruption in ("salt_and_pepper", "blank_pixels"):
            raise InputError(f"of {corruption} it is a probability, at most 1, got {strength:g}")
        return strength

    @field_validator("estimator")
    @classmethod
    def _can_estimate(cls, name: str, info: ValidationInfo) -> str:
        model, objective, layers_of_bits = (info.data.get(key) for key in ("model", "objective", "layers"))
        if name == "auto" or model is None or objective is None or layers_of_bits is None:
            return name
        if objective in WAKE_SLEEP:
            if name == "pathwise":  # what auto is saved as
                return name
            raise InputError(f"{objective} is no estimate of one gradient; leave the estimator {name} out")
        claims, in_one = claims_of(ESTIMATORS[name]), layers_of_bits > 1 and objective != "elbo"
        family = POSTERIORS.get(info.data.get("posterior", ""), Normal()) if model == "vae" else Bernoulli()
        reduction = "log_mean_exp" if objective == "importance_weighted" else "sample_mean"
        refusal = claims.refusal(family)
        if refusal is not None:
            of_bits = "vimco or score_function" if reduction == "log_mean_exp" else "disarm or rebar"
            better = "pathwise" if model == "vae" else of_bits
            raise InputError(f"{name} {refusal}; use {better}")
        if reduction not in claims.reductions:
            raise InputError(f"{name} cannot estimate {objective}, which reduces by {reduction}; use score_function")
        if in_one and (claims.uses_dz or claims.variables not in ("any", "discrete") or is_adaptive(ESTIMATORS[name])):
            raise InputError(f"{name} cannot take several layers as one, as {objective} does; use score_function")
        return name

    @field_validator("samples")
    @classmethod
    def _are_enough(cls, samples: int, info: ValidationInfo) -> int:
        estimator = info.data.get("estimator", "auto")
        least = 1 if estimator == "auto" else claims_of(ESTIMATORS[estimator]).least_samples
        if info.data.get("objective") == "reweighted_wake_sleep":
            estimator, least = "reweighted_wake_sleep", 2
        if samples < least:
            raise InputError(f"{estimator} needs at least {least} samples, got {samples}")
        return samples

    @field_validator("batch")
    @classmethod
    def _fits_into_memory(cls, batch: int, info: ValidationInfo) -> int:
        samples, latent = info.data.get("samples", 1), info.data.get("latent", 1) * info.data.get("layers", 1)
        latent += info.data.get("latent_above") or 0
        if batch * samples * latent > MOST_NOISE:
            raise InputError(
                f"{batch} rows with {samples} samples of {latent} latents each are {batch * samples * latent:,} random "
                f"numbers a step, more than the {MOST_NOISE:,} that fit into memory; use a smaller batch"
            )
        return batch

    @field_validator("optimizer_options", "schedule_options")
    @classmethod
    def _suit_their_owner(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get(str(info.field_name).removesuffix("_options"))  # None where that name is itself wrong
        table: Mapping[str, Any] = OPTIMIZERS if info.field_name == "optimizer_options" else SCHEDULES
        if name is not None:
            _check_options(table[name], name, options)
        return options

    def build_model(self, features: int) -> Model:
        """The model for data of so many features.

        Raises:
            InputError: it would have more weights than fit into memory.
        """
        likelihood, head = build_likelihood(
            self.likelihood,
            features,
            sigmoid_mean=self.mean == "sigmoid",
            least_std=self.least_std,
            fixed_std=self.fixed_std,
        )
        networks: dict[str, Any] = {
            "hidden": self.hidden,
            "activation": ACTIVATIONS[self.activation],
            "likelihood": likelihood,
            "likelihood_head": head,
        }
        model: Model
        if self.model == "sbn":
            model = mlp_belief_network(features, latents=(self.latent,) * self.layers, **networks)
        elif self.latent_above is not None:
            networks["hidden"] = (self.hidden, self.hidden_above)
            model = mlp_layered_vae(features, latents=(self.latent, self.latent_above), **networks)
        elif self.flow != "none":
            flow = FLOWS[self.flow](self.latent, self.flow_steps, self.flow_hidden, networks["activation"])
            model = mlp_flow_vae(features, flow, prior=self.build_prior(), **networks)
        else:
            posterior = POSTERIORS[self.posterior]
            model = mlp_vae(features, latents=self.latent, posterior=posterior, prior=self.build_prior(), **networks)
        if model.layout.size > MOST_WEIGHTS:
            raise InputError(
                f"hidden {self.hidden} and latent {self.latent} make a model of {model.layout.size:,} weights, more "
                f"than the {MOST_WEIGHTS:,} that fit into memory; use fewer"
            )
        return model

    def build_prior(self) -> Prior:
        """The prior of a VAE's latents."""
        if self.prior_precision != 1:
            return normal_prior(self.prior_precision)
        return Prior.of(self._prior_family({"posterior": self.posterior, "prior": self.prior}), self.prior_params)

    def settled_estimator(self) -> str:
        """The estimator's name, ``auto`` settled: whatever suits model and objective."""
        if self.estimator != "auto":
            return self.estimator
        if self.model == "vae":
            return "pathwise"
        as_one = self.layers > 1 and self.objective != "elbo"
        return "score_function" if as_one or self.objective == "importance_weighted" else "disarm"

    def settled_objective(self) -> str:
        """The objective's name, with the KL by Monte Carlo where that is asked for."""
        return "elbo_monte_carlo" if self.objective == "elbo" and self.kl == "monte_carlo" else self.objective

    def build_objective(self) -> Objective:
        """What is climbed."""
        if self.objective == "reweighted_wake_sleep":
            return ReweightedWakeSleep(self.encoder_phase)
        return OBJECTIVES[self.settled_objective()]

    def build_optimizer(self) -> Optimizer:
        """The optimiser with its hyper-parameters."""
        step_size = {} if self.lr is None else {"step_size": self.lr}
        return OPTIMIZERS[self.optimizer](**step_size, **self.optimizer_options)

    def build_schedule(self) -> Schedule:
        """The schedule, behind its warm-up if there is one."""
        schedule = SCHEDULES[self.schedule](**self.schedule_options)
        return WarmUp(self.warm_up, schedule) if self.warm_up else schedule

    def build_corruption(self) -> Corruption | None:
        """What is done to the rows that the encoder sees in training."""
        if self.corruption == "none":
            return None
        return partial(
            CORRUPTIONS[self.corruption], strength=DEFAULT_STRENGTH if self.corrupt is None else self.corrupt
        )

    def build_recipe(self) -> Recipe:
        """How to train."""
        return Recipe(
            epochs=self.epochs or LEAST_EPOCHS,
            batch=self.batch,
            samples=self.samples,
            objective=self.build_objective(),
            estimator=ESTIMATORS[self.settled_estimator()],
            optimizer=self.build_optimizer(),
            schedule=self.build_schedule(),
            clip_norm=self.clip_norm,
            weight_prior_precision=self.weight_prior,
            binarize=BINARIZATIONS[self.binarize],
            kl_weight=self.kl_weight,
            kl_warm_up=self.kl_warm_up,
            free_bits=self.free_bits,
            corruption=self.build_corruption(),
            seed=self.seed,
            device=self.device,
        )

    def build_state(self, model: Model, dataset: Dataset) -> State:
        """A state before the first step."""
        return start(
            model,
            dataset,
            self.build_recipe(),
            dtype=np.dtype(self.dtype),
            weights=INITIALIZERS[self.weights],
            data_start=self.start_at_data,
        )

    def build_empty_state(self, model: Model, features: int) -> State:
        """A state of zeros, with all that one of this run's holds."""
        recipe = self.build_recipe()
        theta, x = (np.zeros(shape, np.dtype(self.dtype)) for shape in (model.layout.size, (1, features)))
        rng = np.random.default_rng()
        adaptation = start_adaptation(recipe.estimator, model, theta, x, rng=rng)
        return State(theta, recipe.optimizer.start(theta), rng, adaptation)


def _check_options(factory: Any, name: str, options: Mapping[str, Any]) -> None:
    """Raise InputError unless the options are some that the optimiser or schedule has, and all that it needs.

    Not ``step_size``: that is the setting ``lr``.
    """
    known = {field.name: field for field in fields(factory) if field.name != "step_size"}
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = ", ".join(known) or "no options"
        more = "; the step size is the setting lr" if "step_size" in unknown else ""
        raise InputError(f"{name} has no {', '.join(unknown)}, it has {has}{more}")
    missing = [option for option, field in known.items() if field.default is MISSING and option not in options]
    if missing:
        raise InputError(f"{name} needs {', '.join(missing)}")
    try:
        factory(**options)
    except TypeError as error:
        raise InputError(f"{name} cannot use {short(dict(options))} ({error})") from None


def read_config(path: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> Config:
    """The settings in a JSON file with those given as flags on top, or the defaults without either.

    Raises:
        InputError: all that is wrong, one line, each with its flag or its path in the file, and for an unknown key the
            nearest known one.
    """
    in_file = {} if path is None else read_object(Path(path))
    flags = flags or {}
    try:
        return Config.model_validate({**in_file, **flags})
    except ValidationError as error:
        raise InputError(explain(error, path, flags, known=Config.model_fields)) from None


def prepare_data(config: Config) -> tuple[Config, Dataset]:
    """The data, and the config with ``auto`` and the number of epochs settled by it.

    Drawn digits and MNIST are drawn fresh as bits under a Bernoulli likelihood, Frey faces stay grey under a normal
    one; of your own data, bits get a Bernoulli likelihood and grey values a normal one.  A likelihood or binarisation
    that you set decides the other.
    """
    dataset = load(config.data, seed=config.seed, counts=_takes_counts(config))
    train = dataset.train[: config.train_rows]
    test = dataset.test[: config.test_rows]
    dataset = replace(
        dataset,
        train=train,
        test=test,
        train_labels=None if dataset.train_labels is None else dataset.train_labels[: len(train)],
        test_labels=None if dataset.test_labels is None else dataset.test_labels[: len(test)],
    )
    binarize, likelihood = config.binarize, config.likelihood
    of_bits = not dataset.counts and _holds_bits(dataset.train)
    if likelihood == "auto":
        if binarize == "auto":
            likelihood = "bernoulli" if config.data in ("drawn", "mnist") or of_bits else "normal"
        else:
            likelihood = "bernoulli" if of_bits and binarize == "none" else VIEWS[binarize].likelihood
    if binarize == "auto":
        binarize = _seen_by(likelihood, dataset, of_bits)
    if of_bits and likelihood != "bernoulli":
        raise InputError(
            f"{config.data} holds bits (only 0 and 1), which a {likelihood} likelihood is not for; "
            "use --likelihood bernoulli"
        )
    if likelihood == "discretized_logistic" and dataset.train.dtype != np.uint8:
        raise InputError(
            f"{config.data} holds values between the 256 grey levels that discretized_logistic is for; save uint8, or "
            "use --likelihood normal"
        )
    epochs = config.epochs or _enough_epochs(len(train), config.batch)
    settled = config.model_copy(
        update={
            "binarize": binarize,
            "likelihood": likelihood,
            "epochs": epochs,
            "estimator": config.settled_estimator(),
        }
    )
    return settled, binarize_once(dataset, seed=config.seed) if binarize == "fixed" else dataset


def _takes_counts(config: Config) -> bool:
    """Whether the numbers in a file of one's own are counts, and not grey values."""
    of_counts = "counts" in SEES.get(config.likelihood, ())
    return config.binarize == "counts" or (of_counts and config.binarize == "auto" and config.data not in DATASETS)


def _seen_by(likelihood: str, dataset: Dataset, of_bits: bool) -> str:
    """What ``binarize: auto`` comes to."""
    if dataset.counts:
        return "counts"
    if likelihood == "bernoulli":
        return "none" if of_bits else "fresh"
    return SEES[likelihood][0]


def _enough_epochs(rows: int, batch: int) -> int:
    """Ten, or as many as make ``ENOUGH_STEPS`` steps where the rows are few, but no more than ``MOST_EPOCHS``."""
    return max(LEAST_EPOCHS, min(MOST_EPOCHS, math.ceil(ENOUGH_STEPS * batch / rows)))


def _holds_bits(rows: npt.NDArray[Any]) -> bool:
    """Whether every value is black or white."""
    white = 255 if rows.dtype == np.uint8 else 1
    blocks = (rows[begin : begin + 1000] for begin in range(0, len(rows), 1000))
    return not any(((block > 0) & (block < white)).any() for block in blocks)
