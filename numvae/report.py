"""The pictures of a run and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from numvae import figures
from numvae.datasets import Dataset
from numvae.distributions import Normal
from numvae.gradcheck import ModelCheck
from numvae.models import VAE
from numvae.page import CAPTIONS, write_page
from numvae.priors import STANDARD_NORMAL
from numvae.randomness import generator
from numvae.runs import Run

__all__ = ["draw_figures", "write_report"]

RECONSTRUCTED = 12
SAMPLED = 100
SCATTERED = 5000
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
            f"gradient by {config.settled_estimator()}, {config.optimizer}, {config.batch} rows a step. "
            "Every gradient was derived by hand."
        ],
    )
    return page, paths


def _kind(run: Run) -> str:
    return "A variational auto-encoder" if isinstance(run.model, VAE) else "A sigmoid belief network"


def _networks(run: Run) -> str:
    """What stands between the data and the latents, and between these."""
    config = run.config
    hidden = [str(width) for width in config.hidden]
    if isinstance(run.model, VAE):
        units = "-".join([str(run.features), *hidden, str(config.latent)])
        return f"An encoder of {units} units and its mirror image as decoder"
    between = f"{'-'.join(hidden)} {config.activation} units" if hidden else "linear maps"
    layers = " and ".join(f"{width} bits" for width in run.model.widths)
    return f"{run.features} data features below {layers}, {between} from layer to layer, both ways"


def _quantile(model: VAE) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None:
    """That of one latent under the prior; None for the standard normal."""
    if model.prior == STANDARD_NORMAL:
        return None
    family, params = model.prior.family, model.prior.params(np.zeros((1, 1)), latents=1)
    return lambda levels: np.asarray(family.quantile(params, levels[:, None])[:, 0])


def _pictures(run: Run, dataset: Dataset, check: ModelCheck | None) -> dict[str, Callable[[], Axes]]:
    """Name -> what draws it, for every picture that this run allows."""
    pictures: dict[str, Callable[[], Axes]] = {}
    history = run.state.history
    if history:
        pictures["bound_curves"] = lambda: figures.bound_curves(history)
        pictures["bound_terms"] = lambda: figures.bound_terms(history)
    shape = run.image_shape
    if shape is not None:
        spread = np.linspace(0, len(dataset.test) - 1, RECONSTRUCTED).astype(int)
        rows = dataset.test[np.unique(spread)]
        seen = run.recipe.binarize(rows, generator(run.config.seed, "pictures"), run.theta.dtype)
        pictures["reconstructions"] = lambda: figures.reconstructions(seen, run.decode(run.means(rows)), shape)
        pictures["prior_samples"] = lambda: figures.prior_samples(run.draw(SAMPLED), shape)
    if isinstance(run.model, VAE) and run.model.latents == 2:
        model = run.model
        labels = None if dataset.test_labels is None else dataset.test_labels[:SCATTERED]
        means = run.means(dataset.test[:SCATTERED])
        rings = isinstance(model.prior.family, Normal)
        pictures["latent_scatter"] = lambda: figures.latent_scatter(means, labels, rings=rings)
        if shape is not None and hasattr(model.prior.family, "quantile"):
            pictures["manifold"] = lambda: figures.manifold(run.decode, shape, quantile=_quantile(model))
    groups = [] if check is None else [g for g in check.to_json()["groups"] if not g["inconclusive"]]
    if check is not None and groups:
        pictures["gradient_check"] = lambda: figures.gradient_check(groups, tolerance=check.pullback.tolerance)
    return pictures
