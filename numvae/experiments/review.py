"""The figures of the review of the AEVB paper, of its poster, and of what both left undone: what each needs and shows.

``numvae reproduce review``.  Figures 7 and 8 are known to be model 3 and the mixture; what the review's other figures
show is reconstructed from its text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from numvae import figures
from numvae.datasets.binarization import EXPOSURE
from numvae.distributions import Bernoulli, Normal
from numvae.experiments import pictures
from numvae.experiments.running import Trained, grey
from numvae.experiments.scale_watch import read_scales
from numvae.mixture import fit_mixture
from numvae.priors import STANDARD_NORMAL
from numvae.randomness import generator

__all__ = ["FIGURES", "STARTS_FROM", "WATCHED", "ReviewFigure"]

Runs: TypeAlias = Mapping[str, Trained]

SCATTERED = 5000
SHOWN = 12
CORNER = 10.0

STARTS_FROM = {"model_3": "model_2"}
"""Experiment -> the one whose weights it starts from."""
WATCHED = {
    "model_3_free": "free std",
    "model_3_free_from_data": "free std, started at the data",
    "model_3_floor": "floor 1/255",
    "model_3": "floor 1/10, warm start",
}
"""The trainings of model 3 beside one another, and what they are called in the picture."""
KL_WEIGHTS = {"kl_0": "β = 0", "kl_0.1": "β = 0.1", "model_1": "β = 1", "kl_10": "β = 10"}
KL_OTHERS = {"kl_annealed": "β = 1 annealed", "kl_free_bits": "4 free nats a latent"}
EXPONENTIAL = {
    "exponential_bernoulli": "Bernoulli",
    "exponential_normal": "normal",
    "exponential_poisson": "Poisson",
}


@dataclass(frozen=True)
class ReviewFigure:
    """One figure: what it is called, what it shows, the runs it needs, and how it is drawn."""

    name: str
    title: str
    caption: str
    runs: tuple[str, ...]
    draw: Callable[[Runs], tuple[Axes | Figure, str]]
    """From the runs, the picture and a sentence with the numbers in it."""

    @property
    def file_name(self) -> str:
        """Of its PNG file, without the ending."""
        return f"figure_{self.name}" if self.name[0].isdigit() else self.name


# ---- what each figure shows


def _scatter(name: str, runs: Runs) -> tuple[Axes, str]:
    return _latents(runs[name]), _bound(runs[name])


def _decoded_points(name: str, runs: Runs) -> tuple[Axes, str]:
    return _manifold(runs[name]), ""


def _reconstructed(name: str, runs: Runs) -> tuple[Axes, str]:
    trained = runs[name]
    rows = _spread(trained)
    error = trained.squared_errors(trained.dataset.test).mean()
    return (
        figures.reconstructions(grey(rows), trained.decoded(rows), _shape(trained)),
        f"The mean squared error of a test image is {error:.2f}.",
    )


def _errors(runs: Runs) -> tuple[Figure, str]:
    names = {"model_1": "model 1, Bernoulli", "model_2": "model 2, normal"}
    errors = {label: runs[name].squared_errors(runs[name].dataset.test) for name, label in names.items()}
    first, second = errors.values()
    return pictures.error_histograms(errors), f"Model 2 is closer on {np.mean(second < first):.0%} of the images."


def _model_3(runs: Runs) -> tuple[Figure, str]:
    return _panels(runs["model_3"]), _bound(runs["model_3"])


def _model_3_in_trouble(runs: Runs) -> tuple[Figure, str]:
    rows = _spread(runs["model_3"], 14)
    images = {"original": grey(rows)}
    images |= {label: grey(runs[name].decoded(rows)) for name, label in WATCHED.items()}
    picture = pictures.training_curves(
        {label: runs[name].run.state.history for name, label in WATCHED.items()},
        {label: read_scales(runs[name].run.folder) for name, label in WATCHED.items()},
        images,
        _shape(runs["model_3"]),
    )
    return picture, " ".join(_share_of_black_pixels(label, runs[name]) for name, label in WATCHED.items())


def _mixture(runs: Runs) -> tuple[Figure, str]:
    trained = runs["model_1"]
    dataset, seed = trained.dataset, trained.run.config.seed
    mixture, history = fit_mixture(dataset.train, components=10, rng=generator(seed, "weights"))
    means = Bernoulli().mean(mixture.logits)
    rng = generator(seed, "pictures")
    draws = [Bernoulli().sample(mixture.logits, rng.random(mixture.logits.shape))[0] for _ in range(3)]
    test = float(mixture.log_prob(grey(dataset.test)).mean())
    words = (
        f"EM stopped after {len(history) - 1} iterations, at {test:.1f} nats per test image; the bound of model 1, "
        f"which also reads grey values as expected bits, is {trained.last.get('test_elbo', np.nan):.1f}."
    )
    picture = pictures.mixture_panel(means, np.exp(mixture.log_weights.astype(np.float64)), draws, _shape(trained))
    return picture, words.replace("-", "−")


def _frey(runs: Runs) -> tuple[Figure, str]:
    trained = runs["frey_model_2"]
    means = trained.run.means(trained.dataset.train)
    picture = pictures.latent_panels(
        lambda ax: pictures.film_scatter(means, ax), lambda ax: _manifold(trained, ax, side=13), _shape(trained)
    )
    return picture, _bound(trained)


def _frey_differences(runs: Runs) -> tuple[Figure, str]:
    trained = runs["frey_model_2"]
    places = {"(0, 0)": (0.0, 0.0)}
    places |= {f"({a:+g}, {b:+g})".replace("-", "−"): (a, b) for a in (CORNER, -CORNER) for b in (CORNER, -CORNER)}
    decoded = trained.decode(np.array(list(places.values())))
    farthest = float(np.abs(trained.run.means(trained.dataset.train)).max())
    words = f"The means of the training frames reach as far as {farthest:.1f} along an axis."
    return pictures.differences(dict(zip(places, decoded, strict=True)), "(0, 0)", _shape(trained)), words


def _manifolds(runs: Runs) -> tuple[Figure, str]:
    mnist, frey = runs["model_1"], runs["frey_model_2"]
    picture = pictures.latent_panels(lambda ax: _manifold(mnist, ax), lambda ax: _manifold(frey, ax, 13), _shape(frey))
    return picture, ""


def _two_and_twenty(runs: Runs) -> tuple[Axes, str]:
    rows = _spread(runs["model_1"], 14)
    names = {"model_1": "2 latents", "latents_20": "20 latents"}
    images = {"original": grey(rows)} | {label: runs[name].decoded(rows) for name, label in names.items()}
    errors = [
        f"{runs[name].squared_errors(runs[name].dataset.test).mean():.1f} with {label}" for name, label in names.items()
    ]
    return pictures.image_rows(images, _shape(runs["model_1"])), f"Mean squared error {' and '.join(errors)}."


def _effect_of_kl(runs: Runs) -> tuple[Figure, str]:
    scatters = {}
    for name, label in KL_WEIGHTS.items():
        dataset = runs[name].dataset
        assert dataset.test_labels is not None, "MNIST has labels"
        scatters[label] = (runs[name].run.means(dataset.test[:SCATTERED]), dataset.test_labels[:SCATTERED])
    terms = {
        label: (runs[name].last["test_reconstruction"], runs[name].last["test_kl"])
        for name, label in {**KL_WEIGHTS, **KL_OTHERS}.items()
    }
    words = "; ".join(f"{label}: {r - kl:.1f} = {r:.1f} − {kl:.1f}" for label, (r, kl) in terms.items())
    return pictures.beta_panel(scatters, terms), f"Bound = reconstruction − KL of test images: {words}.".replace(
        "-", "−"
    )


def _denoising(runs: Runs) -> tuple[Axes, str]:
    plain, denoising = runs["latents_20"], runs["denoising"]
    rows = _spread(denoising, 14)
    corrupt = denoising.run.recipe.corruption
    assert corrupt is not None, "the experiment corrupts"
    seen = corrupt(grey(rows), generator(denoising.run.config.seed, "pictures"))
    images = {
        "original": grey(rows),
        "corrupted": seen,
        "plain VAE": plain.decoded(seen),
        "denoising VAE": denoising.decoded(seen),
    }
    test = denoising.dataset.test
    spoilt = corrupt(grey(test), generator(denoising.run.config.seed, "pictures", 1))
    errors = [
        f"{np.mean(np.sum((grey(test) - trained.decoded(spoilt)) ** 2, axis=1)):.1f} {label}"
        for trained, label in ((plain, "by the plain VAE"), (denoising, "by the denoising one"))
    ]
    return pictures.image_rows(images, _shape(denoising)), (
        f"Squared error against the clean test image, decoded from the corrupted one: {', '.join(errors)}."
    )


def _exponential(runs: Runs) -> tuple[Figure, str]:
    chosen = {label: runs[name] for name, label in EXPONENTIAL.items()}
    upper = [partial(_small_latents, trained) for trained in chosen.values()]
    lower = [partial(_draw_manifold, trained) for trained in chosen.values()]
    picture = pictures.pairs_of_panels([f"{label} likelihood" for label in chosen], upper, lower)
    return picture, " ".join(f"{label}: {_bound(trained)}" for label, trained in chosen.items())


def _counts(runs: Runs) -> tuple[Figure, str]:
    trained = runs["counts"]
    rows = _spread(trained, 14)
    counts = trained.run.recipe.binarize(rows, generator(trained.run.config.seed, "pictures"), np.float64)
    below = {"grey values": grey(rows), "counts seen": counts / EXPOSURE, "decoded rates": trained.decoded(rows)}
    return _panels(trained, below), _bound(trained)


# ---- parts of several figures


def _latents(trained: Trained, ax: Axes | None = None) -> Axes:
    labels = trained.dataset.test_labels
    means = trained.run.means(trained.dataset.test[:SCATTERED])
    rings = isinstance(trained.model.prior.family, Normal)
    return figures.latent_scatter(means, None if labels is None else labels[:SCATTERED], ax, rings=rings)


def _small_latents(trained: Trained, ax: Axes) -> None:
    labels = trained.dataset.test_labels
    means = trained.run.means(trained.dataset.test[:SCATTERED])
    pictures.small_scatter(means, None if labels is None else labels[:SCATTERED], ax, rings=False)
    pictures.log_from_zero(ax)


def _manifold(trained: Trained, ax: Axes | None = None, side: int = 20) -> Axes:
    """Decoded points over a grid that covers the prior evenly."""
    prior = trained.model.prior
    quantile = None if prior == STANDARD_NORMAL else prior.quantile
    return figures.manifold(trained.decode, _shape(trained), side, ax, quantile=quantile)


def _draw_manifold(trained: Trained, ax: Axes) -> None:
    _manifold(trained, ax, side=15)


def _panels(trained: Trained, below: Mapping[str, Any] | None = None) -> Figure:
    rows = _spread(trained, 14)
    below = below or {"original": grey(rows), "decoded": trained.decoded(rows)}
    return pictures.latent_panels(partial(_latents, trained), partial(_manifold, trained), _shape(trained), below=below)


def _spread(trained: Trained, count: int = SHOWN) -> Any:
    """Rows evenly over the test data."""
    return trained.dataset.test[np.linspace(0, len(trained.dataset.test) - 1, count).astype(int)]


def _shape(trained: Trained) -> tuple[int, int]:
    assert trained.run.image_shape is not None, "the experiments are on images"
    return trained.run.image_shape


def _bound(trained: Trained) -> str:
    if trained.diverged:
        return f"It diverged: {trained.diverged}."
    last = trained.last
    parts = f"{last['test_elbo']:.1f} = {last['test_reconstruction']:.1f} − {last['test_kl']:.1f}"
    return f"Test bound = reconstruction − KL: {parts} nats.".replace("-", "−")


def _share_of_black_pixels(label: str, trained: Trained) -> str:
    """How much of the bound comes from pixels that are black in every training image: nothing to be learnt."""
    train, test = trained.dataset.train, trained.dataset.test
    black = train.max(axis=0) == 0
    x = grey(test)
    params = trained.model.decode(trained.run.theta, trained.run.means(test)).astype(np.float64)
    mean, std = params[:, : x.shape[1]][:, black], np.exp(params[:, x.shape[1] :][:, black])
    density = -0.5 * np.log(2 * np.pi) - np.log(std) - 0.5 * ((x[:, black] - mean) / std) ** 2
    error = trained.squared_errors(test).mean()
    bound = trained.last.get("test_elbo", np.nan)
    return (
        f"{label[0].upper()}{label[1:]}: bound {bound:,.0f} nats, {density.sum(axis=1).mean():,.0f} of them from the "
        f"{black.sum()} pixels that are black in every training image; squared error {error:.1f}"
        f"{', then it diverged' if trained.diverged else ''}."
    ).replace("-", "−")


# ---- the table

_FROM_TEXT = "The review's caption is reconstructed from its text."

FIGURES = {
    figure.name: figure
    for figure in (
        ReviewFigure(
            "1", "Figure 1. Model 1, latents",
            "The mean latent of each test digit, coloured by its label, which training never saw. The rings are 1, 2 "
            f"and 3 standard deviations of the prior. {_FROM_TEXT}",
            ("model_1",), partial(_scatter, "model_1"),
        ),
        ReviewFigure(
            "2", "Figure 2. Model 1, decoded points",
            f"The decoded mean at each point of a grid that holds the prior's mass in equal cells. {_FROM_TEXT}",
            ("model_1",), partial(_decoded_points, "model_1"),
        ),
        ReviewFigure(
            "3", "Figure 3. Model 1, reconstructions",
            f"Test digits above, what model 1 decodes from their mean latents below. {_FROM_TEXT}",
            ("model_1",), partial(_reconstructed, "model_1"),
        ),
        ReviewFigure(
            "4", "Figure 4. Model 2, latents", f"As figure 1, with one learned standard deviation. {_FROM_TEXT}",
            ("model_2",), partial(_scatter, "model_2"),
        ),
        ReviewFigure(
            "5", "Figure 5. Model 2, decoded points", f"As figure 2. {_FROM_TEXT}",
            ("model_2",), partial(_decoded_points, "model_2"),
        ),
        ReviewFigure(
            "6", "Figure 6. Reconstruction errors of models 1 and 2",
            "Squared error of each test digit, grey values in [0, 1], decoded from its mean latent; both models saw "
            f"the same grey values. {_FROM_TEXT}",
            ("model_1", "model_2"), _errors,
        ),
        ReviewFigure(
            "7", "Figure 7. Model 3",
            "A mean and a standard deviation for every pixel: latents, decoded means and reconstructions. Trained with "
            "no standard deviation below 1/10, from the weights of model 2; figure 7b says why.",
            ("model_2", "model_3"), _model_3,
        ),
        ReviewFigure(
            "7b", "Figure 7b. Why model 3 is hard to train, and what helps",
            "The review found model 3 “much more difficult to train”. A density has no upper bound: on a pixel that "
            "never changes, a free standard deviation shrinks for ever, and with it grow the bound and the gradient of "
            "the mean, residual / std². So a rare white pixel throws the weights back, and one first seen in a test "
            "image can cost millions of nats. Nearly black pixels outweigh the digit: the bound is high, the picture "
            "poor. A floor of one grey level, 1/255, keeps the numbers finite; one of 1/10, and a start from the "
            "weights of model 2, keep its digits too. Bounds under different floors are not comparable, squared errors "
            "are.",
            ("model_2", *WATCHED), _model_3_in_trouble,
        ),
        ReviewFigure(
            "8", "Figure 8. A mixture of ten Bernoullis, by EM",
            "The comparison model: the mean image of each component with its weight, and three draws of each.",
            ("model_1",), _mixture,
        ),
        ReviewFigure(
            "9", "Figure 9. Model 2 on the Frey faces",
            "The mean latents of the training frames in the order of the film, a thin line from frame to frame, beside "
            f"decoded faces over the prior. {_FROM_TEXT}",
            ("frey_model_2",), _frey,
        ),
        ReviewFigure(
            "10", "Figure 10. Far from the prior: faces at (±10, ±10)",
            "Faces decoded ten standard deviations out along both axes, and their differences from the face at the "
            f"origin. {_FROM_TEXT}",
            ("frey_model_2",), _frey_differences,
        ),
        ReviewFigure(
            "manifolds", "Poster. Manifolds of MNIST and Frey",
            "What the two latents of model 1 on MNIST and of model 2 on the Frey faces decode to, over their priors.",
            ("model_1", "frey_model_2"), _manifolds,
        ),
        ReviewFigure(
            "latents", "Poster. Two latents and twenty",
            "The same test digits from models that differ in the number of latents alone.",
            ("model_1", "latents_20"), _two_and_twenty,
        ),
        ReviewFigure(
            "kl", "Poster. The effect of the KL term",
            "Above, latents under a KL weight β from 0 up: without it they leave the prior, with too much of it they "
            "collapse. Below, what each training pays and gets.",
            (*KL_WEIGHTS, *KL_OTHERS), _effect_of_kl,
        ),
        ReviewFigure(
            "denoising", "Poster. The denoising VAE",
            "Corrupted test digits, and what a VAE trained on clean digits and one trained to undo the corruption make "
            "of them.",
            ("latents_20", "denoising"), _denoising,
        ),
        ReviewFigure(
            "exponential", "Future work. Exponential latents",
            "Exponential posterior and prior, with three likelihoods: mean latents above, decoded means over equal "
            "cells of the prior below. The hidden units are tanh here: behind ReLU a Poisson's log-rate grows in "
            "proportion to z, and the mean of exp(w z) is infinite once w exceeds the rate of z, so that training "
            "overflows within some hundred steps. The scatters are logarithmic beyond 1.",
            tuple(EXPONENTIAL), _exponential,
        ),
        ReviewFigure(
            "counts", "Future work. The Poisson–Gaussian model on counts",
            "Photon counts drawn anew from each digit's grey values, ten on average where it is white; normal latents, "
            "Poisson likelihood. Counts and decoded rates are shown in tenths.",
            ("counts",), _counts,
        ),
    )
}  # fmt: skip
"""Every figure by its name, in the page's order."""
