"""What the misprints of errata.md do to training: each is planted into a small VAE and trained beside the right rule.

    python -m derivations.damage                        # every picture into derivations/errata: a minute or two
    python -m derivations.damage --only 001-1 003-1     # some; the others' ends stay as they are
    python -m derivations.damage --steps 50 --seeds 7 --out /tmp/damage

Digits are drawn here, nothing is downloaded.  The runs of a picture share model, data, first weights, noise and number
of steps; they differ in one rule, planted below in a few lines.  What is drawn is the bound (objectives.2) by the right
rules on test rows, and dashed what the misprinted rule takes for it.  ``ends.json``, beside the pictures, holds where
every curve ends for each seed.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator
from PIL import Image

from numvae import VAE, Bernoulli, Normal, elbo, mlp_vae, score_function
from numvae.arrays import Array, Pullback
from numvae.atomic import write_atomically
from numvae.datasets import Dataset, load_drawn
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.erlang import Erlang
from numvae.errors import DivergedError
from numvae.estimators import Integrand, Reduction, Reparameterized
from numvae.evaluation import evaluate
from numvae.figures import BLUE, DPI, INK, ORANGE, QUIET, RED, Picture, _plain
from numvae.models import Model
from numvae.networks import AtMost, Chain, LeastLogStd
from numvae.optimizers import SGD, AdaGrad, Adam, Optimizer, RMSProp
from numvae.parameters import Layout
from numvae.priors import Prior
from numvae.randomness import generator
from numvae.training import Recipe, State, start, train

__all__ = ["DAMAGES", "Damage", "Trace", "draw", "ends", "main", "quoted", "run", "write_small"]

FOLDER = Path(__file__).parent / "errata"
SEEDS = (0, 1, 2)
LOOKS = 40
"""Points of a curve beside its first."""
GREEN = "#009e73"


# ---- what all runs share


@dataclass(frozen=True)
class Trace:
    """One curve: the bound, nats per datum, at numbers of training rows seen."""

    rows: tuple[int, ...]
    bound: tuple[float, ...]
    broke_at: int | None = None
    """The step that made an infinity, if one did."""


Traces: TypeAlias = dict[str, Trace]
Judge: TypeAlias = Callable[[Array], float]


@cache
def digits(rows: int) -> Dataset:
    """So many drawn digits to train on, and always the same 500 to test on."""
    data = load_drawn(train=2000, test=500)
    return replace(data, train=data.train[:rows], train_labels=None)


NORMAL, BERNOULLI = Normal(), Bernoulli()


def vae(posterior: Any = NORMAL, prior: Any = NORMAL, likelihood: Any = BERNOULLI) -> VAE:
    """784-64-8-64-784, tanh; the prior is the standard member of its family."""
    return mlp_vae(784, latents=8, hidden=[64], posterior=posterior, prior=Prior(prior), likelihood=likelihood)


def bound_of(model: VAE) -> Judge:
    """The bound on the test rows by this model's rules, with the same bits and noise for every judge."""
    test = digits(1).test
    return lambda theta: evaluate(model, theta, test, rng=generator(0, "evaluation")).elbo


RECIPE = Recipe(optimizer=Adam(0.003))


def watch(
    model: VAE, recipe: Recipe, steps: int, judges: Mapping[str, Judge], data: Dataset, *, data_start: bool = True
) -> Traces:
    """Train for so many steps, and ask every judge for a number on the way: a curve by name."""
    at = set(np.linspace(0, steps, min(steps, LOOKS) + 1).astype(int).tolist())
    seen: list[tuple[int, list[float]]] = []

    def look(state: State) -> bool:
        if state.step in at:
            seen.append((state.step * recipe.batch, [judge(state.theta) for judge in judges.values()]))
        return state.step >= steps

    epochs = math.ceil(steps * recipe.batch / len(data.train))
    state, broke_at = start(model, data, replace(recipe, epochs=epochs), data_start=data_start), None
    look(state)
    try:
        train(model, data, replace(recipe, epochs=epochs), state, on_batch=look)
    except DivergedError:
        broke_at = state.step + 1
    rows = tuple(rows for rows, _ in seen)
    columns = zip(*(values for _, values in seen), strict=True)
    return {name: Trace(rows, column, broke_at) for name, column in zip(judges, columns, strict=True)}


# ---- 000-3: stability


@dataclass(frozen=True)
class BernoulliOfProbabilities(Bernoulli):
    """The likelihood as it is often written: a probability first, its logarithm afterwards."""

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """Σ value log P + (1 - value) log (1 - P), which is log 0 where the probability P rounds to 0 or 1."""
        probability = 1 / (1 + np.exp(-params))
        log_mass = np.sum(value * np.log(probability) + (1 - value) * np.log(1 - probability), axis=-1)

        def pullback(dlog_mass: Array) -> tuple[Array, None]:
            dprobability = dlog_mass[..., None] * (value / probability - (1 - value) / (1 - probability))
            return sum_to_shape(dprobability * probability * (1 - probability), params.shape), None

        return log_mass, pullback


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(0.03),
    "AdaGrad": AdaGrad(0.02),
    "RMSProp": RMSProp(0.003),
    "Adam": Adam(0.003),
}


def stability(steps: int, seed: int) -> Traces:
    """Four optimisers naively and with the recipe; and with SGD and Adam, the recipe without one of its pieces.

    Naive: probabilities, a log-std without bounds, a decoder bias that starts at 0.  With the recipe log-stds stay
    between -4 and 4; the upper bound holds the means as well.
    """
    free = vae()
    bounded = replace(free, encoder=Chain((free.encoder, LeastLogStd(-4.0), AtMost(4.0))))
    of_probabilities = BernoulliOfProbabilities()
    setups: dict[
        str, tuple[VAE, VAE, bool]
    ] = {  # what is trained, what judges it, whether it starts at the data's mean
        "naive": (replace(free, likelihood=of_probabilities), free, False),
        "recipe": (bounded, bounded, True),
        "without logits": (replace(bounded, likelihood=of_probabilities), bounded, True),
        "without bounds": (free, free, True),
        "without the data's mean": (bounded, bounded, False),
    }
    traces: Traces = {}
    for setup, (model, judge, data_start) in setups.items():
        for name, optimizer in OPTIMIZERS.items():
            if setup in ("naive", "recipe") or name in ("SGD", "Adam"):
                recipe, judges = replace(RECIPE, optimizer=optimizer, seed=seed), {f"{setup}: {name}": bound_of(judge)}
                traces |= watch(model, recipe, steps, judges, digits(2000), data_start=data_start)
    return traces


# ---- 001-1: two signs in the KL


@dataclass(frozen=True)
class NormalOfPrintedKL(Normal):
    """The normal with -½ Σ (1 + log σ² + σ² + µ²) for its KL to N(0, I)."""

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """As printed; ``prior_params`` does not enter."""
        mean, log_std = halves(params)
        variance = np.exp(2 * log_std)

        def pullback(dkl: Array) -> tuple[Array, None]:
            return np.concatenate([-mean, -1 - variance], axis=-1) * dkl[..., None], None

        return -0.5 * np.sum(1 + 2 * log_std + variance + mean * mean, axis=-1), pullback


def signs_of_the_kl(steps: int, seed: int) -> Traces:
    """The KL with the printed signs rewards what it should cost."""
    right, printed, recipe = vae(), vae(NormalOfPrintedKL()), replace(RECIPE, seed=seed)
    judges = {"printed, its own claim": bound_of(printed), "printed": bound_of(right)}
    return watch(right, recipe, steps, {"right": bound_of(right)}, digits(2000)) | watch(
        printed, recipe, steps, judges, digits(2000)
    )


# ---- 001-2: f times log q


def product_with_log_q(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The score function where f has become f log q: right in φ, and in θ the gradient is multiplied by log q."""

    def times_log_q(params: Array, z: Array) -> tuple[Array, Pullback]:
        values, f_pullback = f(params, z)
        log_q, _ = q.log_prob(params, z)
        return values, lambda dvalues: f_pullback(dvalues * log_q)

    return score_function(q, params, noise, times_log_q, reduce)


def times_log_q(steps: int, seed: int) -> Traces:
    """Both climb by the score function with four samples and leave-one-out baseline."""
    recipe = replace(RECIPE, samples=4, seed=seed)
    right = replace(recipe, estimator=score_function)
    printed = replace(recipe, estimator=product_with_log_q)
    return watch(vae(), right, steps, {"right": bound_of(vae())}, digits(2000)) | watch(
        vae(), printed, steps, {"printed": bound_of(vae())}, digits(2000)
    )


# ---- 002-1: N/M with features in M's place


def scaled_by_features(model: Model, theta: Array, x: Array, noise: Array, estimator: Any) -> tuple[Array, Pullback]:
    """(N/D) Σ bound in the place of (N/M) Σ bound: beside a weight prior, every row counts M/D times."""
    bound, pullback = elbo(model, theta, x, noise, estimator)
    scale = len(x) / x.shape[-1]
    return bound * scale, lambda dbound: pullback(dbound * scale)


def features_for_rows(steps: int, seed: int) -> Traces:
    """MAP with p(θ) = N(0, I) and N = 500 rows in minibatches of M = 20."""
    recipe = replace(RECIPE, batch=20, weight_prior_precision=1.0, seed=seed)
    printed = replace(recipe, objective=scaled_by_features)
    return watch(vae(), recipe, steps, {"right": bound_of(vae())}, digits(500)) | watch(
        vae(), printed, steps, {"printed": bound_of(vae())}, digits(500)
    )


# ---- 003-1: the gradient in σ²


@dataclass(frozen=True)
class NormalOfPrintedGradient(Normal):
    """The normal whose sample takes ε / (2 σ²) for its derivative in σ², and so ε for the one in log σ."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """The right sample with the printed derivative: ∂z/∂σ² times ∂σ²/∂log σ = 2 σ²."""
        z, _ = super().sample(params, noise)

        def pullback(dz: Array) -> tuple[Array, None]:
            mean, log_std = halves(params)
            return np.concatenate(
                [sum_to_shape(dz, mean.shape), sum_to_shape(dz * noise, log_std.shape)], axis=-1
            ), None

        return z, pullback


def gradient_in_the_variance(steps: int, seed: int) -> Traces:
    """The encoder's log-std follows a reconstruction that pulls 1/σ times too hard."""
    right, printed, recipe = vae(), vae(NormalOfPrintedGradient()), replace(RECIPE, seed=seed)
    return watch(right, recipe, steps, {"right": bound_of(right)}, digits(2000)) | watch(
        printed, recipe, steps, {"printed": bound_of(right)}, digits(2000)
    )


# ---- 003-3: a gamma with a rate too many


@dataclass(frozen=True)
class ErlangScaledTwice(Erlang):
    """Sums of waiting times times θ/λ with λ = 1/θ: of the scale θ², while density and KL say θ."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """The right sample at twice the log-rate."""
        z, pullback = super().sample(2 * params, noise)
        return z, lambda dz: (2 * pullback(dz)[0], None)


def rate_too_many(steps: int, seed: int) -> Traces:
    """Latents with Erlang posteriors of order 4; the printed one is judged as the law its samples do have."""
    right, printed, recipe = vae(Erlang(4), Erlang(4)), vae(ErlangScaledTwice(4), Erlang(4)), replace(RECIPE, seed=seed)

    def as_it_samples(theta: Array) -> float:
        theta = theta.copy()
        encoder = right.layout.views(theta)["encoder"]
        last: Array = list(right.encoder.layout.views(encoder).values())[-1]
        last *= 2  # the encoder's log-rates become those of its samples
        return bound_of(right)(theta)

    judges = {"printed, its own claim": bound_of(printed), "printed": as_it_samples}
    return watch(right, recipe, steps, {"right": bound_of(right)}, digits(2000)) | watch(
        printed, recipe, steps, judges, digits(2000)
    )


# ---- 003-8: no minibatch, and first θ, then φ


@dataclass(frozen=True)
class InTurns:
    """An optimiser that moves the decoder at one step and the encoder at the next, each by a gradient of its own."""

    optimizer: Optimizer
    layout: Layout

    def start(self, theta: Array) -> dict[str, Any]:
        """Both at rest; the decoder's θ moves first."""
        parts = self.layout.views(theta)
        return {name: self.optimizer.start(part) for name, part in parts.items()} | {"next": "decoder"}

    def ascend(self, theta: Array, gradient: Array, state: dict[str, Any], scale: float = 1.0) -> None:
        """Write one step of the part whose turn it is, in place."""
        name = state["next"]
        weights, slope = self.layout.views(theta)[name], self.layout.views(gradient)[name]
        self.optimizer.ascend(weights, slope, state[name], scale)
        state["next"] = "encoder" if name == "decoder" else "decoder"


def loop_as_printed(steps: int, seed: int) -> Traces:
    """As many rows for each: ``steps`` minibatches of 100, or whole sets of 2,000."""
    model, data, recipe = vae(), digits(2000), replace(RECIPE, seed=seed)
    in_turns = replace(recipe, optimizer=InTurns(recipe.optimizer, model.layout))
    whole, sweeps = replace(in_turns, batch=len(data.train)), math.ceil(steps * recipe.batch / len(data.train))
    return (
        watch(model, recipe, steps, {"right": bound_of(model)}, data)
        | watch(model, in_turns, steps, {"minibatches, θ then φ": bound_of(model)}, data)
        | watch(model, whole, sweeps, {"printed": bound_of(model)}, data)
    )


# ---- all of them


@dataclass(frozen=True)
class Style:
    """How a curve looks, and in which panel."""

    colour: str
    dashed: bool = False
    panel: int = 0


RIGHT, PRINTED, CLAIMED = Style(BLUE), Style(RED), Style(RED, dashed=True)
COLOURS = dict(zip(OPTIMIZERS, (QUIET, ORANGE, GREEN, BLUE), strict=True))


@dataclass(frozen=True)
class Damage:
    """A misprint to train with: its runs for a number of steps and a seed, and how the picture shows them."""

    run: Callable[[int, int], Traces]
    steps: int
    styles: Mapping[str, Style] = field(default_factory=lambda: {"right": RIGHT, "printed": PRINTED})
    panels: tuple[str, ...] = ("",)
    range: tuple[float, float] | None = None
    """Of the bound, where it is not that of the curves."""
    logarithmic: bool = False
    """Whether the bound runs away, so that its axis is logarithmic on both sides of zero."""


DAMAGES: dict[str, Damage] = {
    "000-3": Damage(
        stability,
        400,
        {f"naive: {name}": Style(colour) for name, colour in COLOURS.items()}
        | {f"recipe: {name}": Style(colour, panel=1) for name, colour in COLOURS.items()},
        panels=("naive", "recipe"),
        range=(-400, -125),
    ),
    "001-1": Damage(
        signs_of_the_kl,
        20,
        {"right": RIGHT, "printed, its own claim": CLAIMED, "printed": PRINTED},
        range=(-1e11, 1e17),
        logarithmic=True,
    ),
    "001-2": Damage(times_log_q, 400),
    "002-1": Damage(features_for_rows, 1500),
    "003-1": Damage(gradient_in_the_variance, 400),
    "003-3": Damage(rate_too_many, 400, {"right": RIGHT, "printed, its own claim": CLAIMED, "printed": PRINTED}),
    "003-8": Damage(
        loop_as_printed,
        400,
        {"right": RIGHT, "minibatches, θ then φ": Style(ORANGE), "printed": PRINTED},
        range=(-248, -132),
    ),
}
"""Number of the erratum -> what it does."""


def run(number: str, steps: int | None = None, seeds: Sequence[int] = SEEDS) -> list[Traces]:
    """The curves of an erratum, once for each seed."""
    damage = DAMAGES[number]
    return [damage.run(steps or damage.steps, seed) for seed in seeds]


def ends(runs: Sequence[Traces]) -> dict[str, dict[str, Any]]:
    """By name of the curve: where each seed's ends, their mean, and the steps at which runs broke, where any did.

    A run that broke has no end, and the mean is over the others.
    """
    told: dict[str, dict[str, Any]] = {}
    for name in runs[0]:
        traces = [traces[name] for traces in runs]
        last = [None if trace.broke_at else float(f"{trace.bound[-1]:.6g}") for trace in traces]
        finite = [value for value in last if value is not None]
        told[name] = {"ends": last, "mean": float(f"{np.mean(finite):.6g}") if finite else None}
        if len(finite) < len(last):
            told[name]["broke_at_step"] = [trace.broke_at for trace in traces]
    return told


def quoted(value: float) -> str:
    """A number as errata.md quotes it: to a tenth of a nat, or where that is no use as a power of ten.

    >>> quoted(-138.04), quoted(2.44e10)
    ('-138.0', '2 \\\\cdot 10^{10}')
    """
    if abs(value) < 1e5:
        return f"{value:.1f}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa} \\cdot 10^{{{int(exponent)}}}"


def draw(number: str, runs: Sequence[Traces]) -> Picture:
    """The curves of all seeds, one colour to a rule, and in the legend the mean of where they end."""
    damage, told = DAMAGES[number], ends(runs)
    picture, panels = _panels(damage.panels)
    for name, style in damage.styles.items():
        look: dict[str, Any] = {"color": style.colour, "linewidth": 1.3, "linestyle": "--" if style.dashed else "-"}
        for place, trace in enumerate(traces[name] for traces in runs):
            label = _legend(name, told[name]) if place == 0 else None
            panels[style.panel].plot(trace.rows, trace.bound, label=label, **look)
            if trace.broke_at is not None:
                height = max(trace.bound[-1], damage.range[0]) if damage.range else trace.bound[-1]
                panels[style.panel].plot(trace.rows[-1], height, "X", color=style.colour, clip_on=False, zorder=4)
    for ax in panels:
        ax.set_xlabel("training rows seen")
        ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
        ax.set_xlim(left=0)
        if damage.logarithmic:
            ax.set_yscale("symlog", linthresh=100)
            ax.yaxis.set_major_locator(FixedLocator([-1e8, -1e5, 0, 1e5, 1e8, 1e11, 1e14]))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.axhline(0, color=INK, linewidth=1)
        if damage.range:
            ax.set_ylim(damage.range)
        look = {"frameon": False, "fontsize": 8.5, "labelcolor": INK, "handlelength": 1.6}
        ax.legend(loc="upper left" if damage.logarithmic else "lower right", **look)
    panels[0].set_ylabel("bound (nats per datum)")
    return picture


def _panels(titles: Sequence[str]) -> tuple[Picture, list[Axes]]:
    """A picture with panels side by side, of one size and one scale."""
    count = len(titles)
    wide, high, left, right, bottom, gap = (4.5 if count == 1 else 2.7), 2.5, 0.8, 0.1, 0.5, 0.25
    top = 0.3 if any(titles) else 0.1
    across, up = left + count * wide + (count - 1) * gap + right, bottom + high + top
    picture, panels = Picture(figsize=(across, up)), list[Axes]()
    for place, title in enumerate(titles):
        box = ((left + place * (wide + gap)) / across, bottom / up, wide / across, high / up)
        ax = picture.add_axes(box, sharey=panels[0] if panels else None)
        _plain(ax)
        ax.set_title(title, loc="left", fontsize=9.5, color=INK)
        ax.tick_params(labelleft=place == 0)
        panels.append(ax)
    return picture, panels


def _legend(name: str, told: Mapping[str, Any]) -> str:
    """The curve's name, without that of its panel, and where it ends."""
    broke = sum(step is not None for step in told.get("broke_at_step", []))
    of_all = f"{broke} of {len(told['ends'])} broke" if broke else ""
    mean = "" if told["mean"] is None else f"${quoted(told['mean'])}$"
    return "  ".join(part for part in (name.rpartition(": ")[2], mean, of_all) if part)


def write_small(picture: Picture, path: Path) -> None:
    """A PNG of a few tens of kilobytes: lines and letters need no more than 64 colours."""
    with io.BytesIO() as whole, io.BytesIO() as small:
        picture.savefig(whole, dpi=DPI, facecolor="white", metadata={"Software": None})
        Image.open(whole).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        write_atomically(path, lambda file: file.write(small.getvalue()))


def write_ends(told: Mapping[str, Any], path: Path) -> None:
    """What ``ends`` told of each erratum, as JSON."""
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, draw, and write down where it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DAMAGES, default=list(DAMAGES), help="errata, by number")
    parser.add_argument("--steps", type=int, help="steps of every run, instead of each erratum's own")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="one run for each")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures and ends.json")
    asked = parser.parse_args(arguments)
    for option, value, least in (("--steps", asked.steps, 1), ("--seeds", min(asked.seeds), 0)):
        if value is not None and value < least:
            parser.error(f"{option} must be at least {least}, got {value}")
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "ends.json"
    told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for number in asked.only:
        runs = run(number, asked.steps, asked.seeds)
        write_small(draw(number, runs), asked.out / f"{number}.png")
        told[number] = {
            "unit": "nats per datum",
            "steps": asked.steps or DAMAGES[number].steps,
            "seeds": list(asked.seeds),
            "curves": ends(runs),
        }
        write_ends(told, file)
        for name, end in told[number]["curves"].items():
            print(f"{number}  {name}: {end}")


if __name__ == "__main__":
    main()
