"""The JSON parameter file: every setting of a run, validated whole, and turned from names into objects.

Only this file (and the command line on top of it) speaks in names; everything below takes functions and objects.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from numvae import layers, objectives
from numvae.datasets import BINARIZATIONS, Dataset, binarize_once, load
from numvae.distributions import Bernoulli, FixedStdNormal, Normal
from numvae.errors import InputError
from numvae.estimators import pathwise, score_function
from numvae.models import VAE, mlp_vae
from numvae.networks import LeastLogStd, Network, SharedLogStd, SigmoidMean
from numvae.optimizers import OPTIMIZERS, Optimizer
from numvae.parameters import glorot, small_normal
from numvae.schedules import SCHEDULES, Schedule, WarmUp
from numvae.training import Recipe, State, start

__all__ = ["Config", "describe_settings", "prepare_data", "read_config"]

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
OBJECTIVES = {
    rule.__name__: rule for rule in (objectives.elbo, objectives.elbo_monte_carlo, objectives.importance_weighted)
}
ESTIMATORS = {rule.__name__: rule for rule in (pathwise, score_function)}
INITIALIZERS = {rule.__name__: rule for rule in (glorot, small_normal)}

MOST_WEIGHTS = 500_000_000
"""Adam keeps four float32 vectors of them, and drawing them takes another two in float64: 16 GB."""

Count = Annotated[int, Field(ge=1, le=10**9)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(BaseModel):
    """Every setting of a run.  Names are those of the flags, ``-`` for ``_``."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    data: str = Field("drawn", description="drawn, mnist, frey, or the path of a file or folder of your own")
    train_rows: Count | None = Field(None, description="use only the first N training rows")
    test_rows: Count | None = Field(None, description="use only the first N test rows")
    binarize: Literal["auto", "none", "threshold", "fixed", "fresh"] = Field(
        "auto",
        description="grey values into bits: fresh draws them anew every time a row is used; auto follows the data",
    )
    likelihood: Literal["auto", "bernoulli", "normal", "normal_shared_std", "normal_fixed_std"] = Field(
        "auto", description="p(x|z); normal: mean and log-std from the network; shared: one learned; fixed: fixed_std"
    )
    fixed_std: Positive = Field(0.1, description="the standard deviation of normal_fixed_std, in grey values of [0, 1]")
    least_std: Positive = Field(1 / 255, description="the smallest standard deviation that normal can reach")
    mean: Literal["sigmoid", "identity"] = Field(
        "sigmoid", description="of a normal likelihood: sigmoid keeps it in (0, 1), as the paper does for Frey faces"
    )
    latent: Count = Field(20, description="number of latents")
    hidden: list[Count] = Field([500], description="widths of the hidden layers, encoder's order")
    activation: Literal["identity", "tanh", "sigmoid", "softplus", "relu", "leaky_relu", "elu"] = Field(
        "tanh", description="between layers"
    )
    prior_precision: Positive = Field(1.0, description="alpha of the prior z ~ N(0, I/alpha)")
    weight_prior: Positive | None = Field(
        None, description="precision of a N(0, I/precision) prior on the weights: MAP, as in the paper with 1"
    )
    objective: Literal["elbo", "elbo_monte_carlo", "importance_weighted"] = Field(
        "elbo", description="elbo: analytic KL (the paper's B); elbo_monte_carlo: all Monte Carlo (its A)"
    )
    estimator: Literal["pathwise", "score_function"] = Field("pathwise", description="of the gradient")
    samples: int = Field(1, ge=1, le=10_000, description="L, samples of z per row")
    epochs: Count = Field(10, description="passes through the training rows")
    batch: Count = Field(100, description="rows per step, the paper's M")
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = Field("adam")
    lr: Positive | None = Field(None, description="step size; each optimizer has a default of its own")
    optimizer_options: dict[str, float] = Field({}, description='further hyper-parameters, as {"beta1": 0.95}')
    schedule: Literal["constant", "inverse_time", "exponential", "cosine", "milestones"] = Field("constant")
    schedule_options: dict[str, Any] = Field({}, description='as {"steps": 10000} for cosine')
    warm_up: int = Field(0, ge=0, description="steps over which the step size grows to its full size")
    clip_norm: Positive | None = Field(None, description="longest gradient; longer ones are shortened to it")
    weights: Literal["glorot", "small_normal"] = Field("glorot", description="how weights start")
    start_at_data: bool = Field(True, description="start the decoder at the data's mean and standard deviation")
    seed: int = Field(0, ge=0, description="of everything random")
    dtype: Literal["float32", "float64"] = Field("float32")
    device: Literal["cpu", "cuda"] = Field("cpu", description="cuda needs CuPy")

    @field_validator("likelihood")
    @classmethod
    def _suits_the_binarization(cls, likelihood: str, info: ValidationInfo) -> str:
        binarize = info.data.get("binarize")
        if likelihood.startswith("normal") and binarize in ("threshold", "fixed", "fresh"):
            raise InputError(
                f"{likelihood!r} is a density of grey values, but binarize {binarize!r} makes bits, on which it grows "
                "without bound; use likelihood 'bernoulli' or binarize 'none'"
            )
        return likelihood

    @field_validator("optimizer_options")
    @classmethod
    def _suit_the_optimizer(cls, options: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if "optimizer" in info.data:
            _check_options(OPTIMIZERS[info.data["optimizer"]], info.data["optimizer"], options)
        return options

    @field_validator("schedule_options")
    @classmethod
    def _suit_the_schedule(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "schedule" in info.data:
            _check_options(SCHEDULES[info.data["schedule"]], info.data["schedule"], options)
        return options

    def build_model(self, features: int) -> VAE:
        """The model for data of so many features.

        Raises:
            InputError: it would have more weights than fit into memory.
        """
        likelihood, head = self._likelihood(features)
        model = mlp_vae(
            features,
            latents=self.latent,
            hidden=self.hidden,
            activation=ACTIVATIONS[self.activation],
            likelihood=likelihood,
            likelihood_head=head,
            prior_precision=self.prior_precision,
        )
        if model.layout.size > MOST_WEIGHTS:
            raise InputError(
                f"hidden {self.hidden} and latent {self.latent} make a model of {model.layout.size:,} weights, more "
                f"than the {MOST_WEIGHTS:,} that fit into memory; use fewer"
            )
        return model

    def _likelihood(self, features: int) -> tuple[Bernoulli | Normal | FixedStdNormal, tuple[Network, ...]]:
        """The family, and what stands behind the decoder's last affine layer."""
        mean = (SigmoidMean(features),) if self.mean == "sigmoid" else ()
        if self.likelihood == "normal":
            return Normal(), (*mean, LeastLogStd(round(math.log(self.least_std), 6)))
        if self.likelihood == "normal_shared_std":
            return Normal(), (*mean, SharedLogStd())
        if self.likelihood == "normal_fixed_std":
            return FixedStdNormal(self.fixed_std), mean
        return Bernoulli(), ()

    def build_optimizer(self) -> Optimizer:
        """The optimiser with its hyper-parameters."""
        step_size = {} if self.lr is None else {"step_size": self.lr}
        return OPTIMIZERS[self.optimizer](**step_size, **self.optimizer_options)

    def build_schedule(self) -> Schedule:
        """The schedule, behind its warm-up if there is one."""
        schedule = SCHEDULES[self.schedule](**self.schedule_options)
        return WarmUp(self.warm_up, schedule) if self.warm_up else schedule

    def build_recipe(self) -> Recipe:
        """How to train."""
        return Recipe(
            epochs=self.epochs,
            batch=self.batch,
            samples=self.samples,
            objective=OBJECTIVES[self.objective],
            estimator=ESTIMATORS[self.estimator],
            optimizer=self.build_optimizer(),
            schedule=self.build_schedule(),
            clip_norm=self.clip_norm,
            weight_prior_precision=self.weight_prior,
            binarize=BINARIZATIONS[self.binarize],
            seed=self.seed,
            device=self.device,
        )

    def build_state(self, model: VAE, dataset: Dataset) -> State:
        """A state before the first step."""
        return start(
            model,
            dataset,
            self.build_recipe(),
            dtype=np.dtype(self.dtype),
            weights=INITIALIZERS[self.weights],
            data_start=self.start_at_data,
        )


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
        raise InputError(f"{name} cannot use {_short(dict(options))} ({error})") from None


def read_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The settings in a JSON file with ``overrides`` on top, or the defaults without one.

    Raises:
        InputError: all that is wrong, one line, each with its path and, for an unknown key, the nearest known one.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        settings = _read_object(Path(path))
    source = f"{path}: " if path is not None else ""
    try:
        return Config.model_validate({**settings, **(overrides or {})})
    except ValidationError as error:
        raise InputError(source + "; ".join(_describe(problem) for problem in error.errors())) from None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; name a JSON parameter file, or leave it out for the defaults"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    try:
        settings = json.loads(text, object_pairs_hook=partial(_unique_keys, path))
    except InputError:
        raise
    except ValueError as error:  # a JSONDecodeError, or a number of thousands of digits
        raise InputError(f"{path} is not JSON ({error})") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply; settings are one flat object") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} must hold a JSON object of settings, saw {type(settings).__name__}")
    return settings


def _unique_keys(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    settings = dict(pairs)
    if len(settings) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise InputError(f"{path}: {', '.join(repeated)} is set more than once; keep one")
    return settings


def _describe(problem: Any) -> str:
    where = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where.lower(), Config.model_fields, n=1)
        return f"{where}: unknown setting" + (f", did you mean {near[0]}?" if near else "")
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{where}: {message}" if where else message
    message = problem["msg"][0].lower() + problem["msg"][1:]
    suggestion = ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        choices = str(problem["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(problem["input"].lower(), choices, n=1)
        suggestion = f", did you mean {near[0]}?" if near else ""
    return f"{where}: {message}, got {_short(problem['input'])}{suggestion}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def prepare_data(config: Config) -> tuple[Config, Dataset]:
    """The data, and the config with ``auto`` settled by it.

    Drawn digits and MNIST are drawn fresh as bits under a Bernoulli likelihood, Frey faces stay grey under a normal
    one; of your own data, bits get a Bernoulli likelihood and grey values a normal one.  A likelihood or binarisation
    that you set decides the other.
    """
    dataset = load(config.data, seed=config.seed)
    train = dataset.train[: config.train_rows]
    test = dataset.test[: config.test_rows]
    dataset = Dataset(
        dataset.name,
        train,
        test,
        None if dataset.train_labels is None else dataset.train_labels[: len(train)],
        None if dataset.test_labels is None else dataset.test_labels[: len(test)],
        dataset.image_shape,
    )
    binarize, likelihood = config.binarize, config.likelihood
    of_bits = _holds_bits(dataset.train)
    if likelihood == "auto":
        if binarize == "auto":
            likelihood = "bernoulli" if config.data in ("drawn", "mnist") or of_bits else "normal"
        else:
            likelihood = "normal" if binarize == "none" and not of_bits else "bernoulli"
    if binarize == "auto":
        binarize = "none" if likelihood != "bernoulli" or of_bits else "fresh"
    if likelihood.startswith("normal") and of_bits:
        raise InputError(
            f"{config.data} holds bits (only 0 and 1), on which a {likelihood} density grows without bound; "
            "use --likelihood bernoulli"
        )
    settled = config.model_copy(update={"binarize": binarize, "likelihood": likelihood})
    return settled, binarize_once(dataset, seed=config.seed) if binarize == "fixed" else dataset


def _holds_bits(rows: npt.NDArray[Any]) -> bool:
    """Whether every value is black or white."""
    white = 255 if rows.dtype == np.uint8 else 1
    blocks = (rows[begin : begin + 1000] for begin in range(0, len(rows), 1000))
    return not any(((block > 0) & (block < white)).any() for block in blocks)


def describe_settings() -> list[tuple[str, str, str]]:
    """(name, default, description) of every setting, for ``--help``."""
    return [
        (name, json.dumps(field.get_default()), field.description or "") for name, field in Config.model_fields.items()
    ]
