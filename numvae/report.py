"""The pictures of a run and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from numvae import figures
from numvae.config import WAKE_SLEEP, Config
from numvae.datasets import Dataset
from numvae.distributions import MultivariateNormal, Normal
from numvae.flows import FlowVAE
from numvae.gradcheck import ModelCheck
from numvae.layered import LayeredVAE
from numvae.models import VAE
from numvae.page import CAPTIONS, write_page
from numvae.priors import STANDARD_NORMAL
from numvae.randomness import generator
from numvae.runs import Run

__all__ = ["draw_figures", "write_report"]

RECONSTRUCTED = 12
SAMPLED = 100
SCATTERED = 5000
FLOW_NAMES = {
    "planar": ", a planar flow behind its normal (steps: {steps})",
    "iaf": ", an inverse autoregressive flow behind its normal (steps: {steps}, units in each: {hidden})",
}
TITLES = {"drawn": "drawn digits", "mnist": "MNIST digits", "frey": "the Frey faces"}


def draw_figures(run: Run, dataset: Dataset, folder: Path, check: ModelCheck | None = None) -> list[Path]:
    """Draw every picture that this run allows into ``folder``; their paths, in the page's order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in _pictures(run, dataset, check).items():
        paths.append(folder / f"{name}.png")
        figures.save(draw(), paths[-1])
    return paths


def write_report(run: Run, dataset: Dataset, check: ModelCheck | None = None) -> tuple[Path, list[Path]]:
    """Draw the pictures and write the run's self-contained page; its path and theirs."""
    paths = draw_figures(run, dataset, run.folder / "figures", check)
    config = run.config
    page = run.folder / "index.html"
    write_page(
        page,
        title=f"{_kind(run)} of {TITLES.get(config.data, Path(config.data).name)}",
        numbers={name: value for name, value in run.numbers().items() if name != "out"},
        configuration=config.model_dump(),
        figures=[(*CAPTIONS[path.stem], path) for path in paths],
        gradient_check=None if check is None else check.to_json(),
        history=run.state.history,
        notes=[
            f"{_networks(run)}, {run.model.layout.size:,} weights in one vector; {config.likelihood} likelihood, "
            f"gradient by {_method(config)}, {config.optimizer}, {config.batch} rows a step. "
            "Every gradient was derived by hand.",
            *_about_the_bound(run),
        ],
    )
    return page, paths


def _kind(run: Run) -> str:
    if isinstance(run.model, LayeredVAE):
        return f"A variational auto-encoder with {len(run.model.widths)} layers of latents"
    if isinstance(run.model, FlowVAE):
        return "A variational auto-encoder with a normalising flow"
    return "A variational auto-encoder" if isinstance(run.model, VAE) else "A sigmoid belief network"


def _networks(run: Run) -> str:
    """What stands between the data and the latents, and between these."""
    config = run.config
    hidden = [str(width) for width in config.hidden]
    if isinstance(run.model, (VAE, FlowVAE)):
        units = "-".join([str(run.features), *hidden, str(config.latent)])
        flow = FLOW_NAMES.get(config.flow, "").format(steps=config.flow_steps, hidden=config.flow_hidden)
        return f"An encoder of {units} units and its mirror image as decoder{flow}"
    if isinstance(run.model, LayeredVAE):
        lower = "-".join([str(run.features), *hidden, str(config.latent)])
        upper = "-".join(map(str, [config.latent, *config.hidden_above, config.latent_above]))
        return f"Encoders of {lower} and, above, {upper} units, and their mirror images as decoders"
    between = f"{'-'.join(hidden)} {config.activation} units" if hidden else "linear maps"
    layers = " and ".join(f"{width} bits" for width in run.model.widths)
    return f"{run.features} data features below {layers}, {between} from layer to layer, both ways"


def _method(config: Config) -> str:
    """How the gradient is taken: by an estimator, or by an objective that has none."""
    return config.objective if config.objective in WAKE_SLEEP else config.settled_estimator()


def _about_the_bound(run: Run) -> list[str]:
    """What the bound is of, where that is not the probability of bits, and what was climbed, where that is another."""
    family, config = run.model.likelihood, run.config
    said = []
    if not family.discrete:
        said.append(
            "The bound is on the log-density of grey values in [0, 1]: it may well be positive, and compares with no "
            "bound on bits, counts or codes."
        )
    elif family.support != "bits":
        said.append(f"The bound is on the log-probability of {family.support}, and compares with no bound on others.")
    if _climbs_another(run):
        said.append(f"Training climbed {_climbed(config)}; the numbers and curves called training are of that.")
    if config.objective in WAKE_SLEEP:
        said.append(_about_the_phases(config))
    return said


def _about_the_phases(config: Config) -> str:
    """What decoder and encoder learn from in wake-sleep, in a sentence."""
    weighted = config.objective == "reweighted_wake_sleep"
    decoder = "from data" if not weighted else "from data, by importance weights"
    dreams = "what the model itself dreams"
    encoder = {"wake": "the same weighted samples", "sleep": dreams, "both": f"the same weighted samples and {dreams}"}
    learns_from = encoder[config.encoder_phase] if weighted else dreams
    return f"The decoder learnt {decoder}, the encoder from {learns_from}: it climbed no bound on the data."


def _climbs_another(run: Run) -> bool:
    return run.recipe.is_reshaped or run.config.objective in ("importance_weighted", "reweighted_wake_sleep")


def _climbed(config: Config) -> str:
    """What training climbs where it is not the bound, in words."""
    if config.objective in ("importance_weighted", "reweighted_wake_sleep"):
        return f"the importance-weighted bound of {config.samples} samples"
    weight = "" if config.kl_weight == 1 else f"{config.kl_weight:g} "
    extras = [
        f"its weight growing from 0 over {config.kl_warm_up:,} steps" if config.kl_warm_up else "",
        f"{config.free_bits:g} nats of each latent free" if config.free_bits else "",
        f"the encoder seeing {config.corruption.replace('_', ' ')}" if config.corruption != "none" else "",
    ]
    return ", ".join([f"reconstruction − {weight}KL", *filter(None, extras)])


def _pictures(run: Run, dataset: Dataset, check: ModelCheck | None) -> dict[str, Callable[[], Axes]]:
    """Name -> what draws it, for every picture that this run allows."""
    pictures: dict[str, Callable[[], Axes]] = {}
    history = run.state.history
    if history:
        climbed = "climbed in training" if _climbs_another(run) else "train"
        pictures["bound_curves"] = lambda: figures.bound_curves(history, climbed=climbed)
        pictures["bound_terms"] = lambda: figures.bound_terms(history)
    shape = run.image_shape
    if shape is not None:
        spread = np.linspace(0, len(dataset.test) - 1, RECONSTRUCTED).astype(int)
        rows = dataset.test[np.unique(spread)]
        seen = run.recipe.binarize(rows, generator(run.config.seed, "pictures"), run.theta.dtype)
        white = run.white(seen)
        decoded, drawn = run.decode(run.means(rows)) / white, run.draw(SAMPLED) / white
        pictures["reconstructions"] = lambda: figures.reconstructions(seen / white, decoded, shape)
        pictures["prior_samples"] = lambda: figures.prior_samples(drawn, shape)
    if isinstance(run.model, (VAE, FlowVAE)) and run.model.latents == 2 and run.model.posterior.support != "simplex":
        model = run.model
        labels = None if dataset.test_labels is None else dataset.test_labels[:SCATTERED]
        means = run.means(dataset.test[:SCATTERED])
        rings = isinstance(model.prior.family, (Normal, MultivariateNormal)) and not model.prior.values
        pictures["latent_scatter"] = lambda: figures.latent_scatter(means, labels, rings=rings)
        if shape is not None and hasattr(model.prior.family, "quantile"):
            quantile = None if model.prior == STANDARD_NORMAL else model.prior.quantile
            pictures["manifold"] = lambda: figures.manifold(lambda z: run.decode(z) / white, shape, quantile=quantile)
    groups = [] if check is None else [g for g in check.to_json()["groups"] if not g["inconclusive"]]
    if check is not None and groups:
        pictures["gradient_check"] = lambda: figures.gradient_check(groups, tolerance=check.pullback.tolerance)
    return pictures
