"""Which pictures a run allows, how they are scaled, and what its page says of the bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import figures, report
from numvae.config import Config, prepare_data
from numvae.datasets import Dataset
from numvae.runs import Run
from tests.small_runs import DIGITS

POINT = {"samples": 200, "train_elbo": -9.0, "test_elbo": -10.0, "test_reconstruction": -8.0, "test_kl": 2.0}
SMALL = {"latent": 2, "hidden": [4], "dtype": "float64"}


def run_on_digits(**settings: Any) -> Run:
    """An untrained run on small digits, with one line of history."""
    config = Config(**{"likelihood": "bernoulli", "binarize": "fresh", **SMALL, **settings})
    model = config.build_model(DIGITS.features)
    state = config.build_state(model, DIGITS)
    state.history.append(POINT)
    return Run(Path(), config, model, state, DIGITS.features, DIGITS.image_shape)


@pytest.mark.parametrize(("likelihood", "binarize"), [("poisson", "photons"), ("categorical", "codes")])
def test_counts_and_codes_are_shown_as_grey_values(
    likelihood: str, binarize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, Any] = {}
    monkeypatch.setattr(figures, "reconstructions", lambda seen, decoded, shape: shown.update(seen=seen, out=decoded))
    run = run_on_digits(likelihood=likelihood, binarize=binarize)
    report._pictures(run, DIGITS, None)["reconstructions"]()
    grey = DIGITS.test.mean() / 255
    assert shown["seen"].mean() == pytest.approx(grey, abs=0.08)
    assert shown["out"].mean() == pytest.approx(grey, abs=0.08)


def test_white_is_the_largest_count_of_ones_own(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).poisson(300.0, (30, 4))
    np.save(tmp_path / "counts.npy", rows)
    config, dataset = prepare_data(Config(data=str(tmp_path / "counts.npy"), likelihood="poisson", **SMALL))
    model = config.build_model(4)
    run = Run(Path(), config, model, config.build_state(model, dataset), 4, (2, 2))
    assert run.white(rows) == rows.max()
    assert run.white(np.zeros((1, 4))) == 1


@pytest.mark.parametrize("posterior", ["exponential", "beta", "laplace"])
def test_latents_of_any_support_have_a_scatter_and_a_manifold(posterior: str) -> None:
    pictures = report._pictures(run_on_digits(posterior=posterior), DIGITS, None)
    assert {"latent_scatter", "manifold"} <= set(pictures)
    assert not pictures["latent_scatter"]().patches, "rings are those of a standard normal prior"


def test_two_latents_that_add_up_to_one_lie_on_a_line_and_are_not_drawn() -> None:
    pictures = report._pictures(run_on_digits(posterior="dirichlet"), DIGITS, None)
    assert not {"latent_scatter", "manifold"} & set(pictures)


@pytest.mark.parametrize(
    ("settings", "rings"), [({}, 3), ({"posterior": "multivariate_normal"}, 3), ({"prior_precision": 4.0}, 0)]
)
def test_rings_are_those_of_a_standard_normal_prior(settings: dict[str, Any], rings: int) -> None:
    ax = report._pictures(run_on_digits(**settings), DIGITS, None)["latent_scatter"]()
    assert len(ax.patches) == rings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"likelihood": "normal", "binarize": "none"}, "log-density of grey values in [0, 1]: it may well be positive"),
        ({"likelihood": "poisson", "binarize": "photons"}, "log-probability of counts"),
        ({"kl_weight": 4.0}, "Training climbed reconstruction − 4 KL; the numbers"),
        (
            {"kl_warm_up": 1000, "free_bits": 0.1, "corruption": "blank_pixels"},
            "reconstruction − KL, its weight growing from 0 over 1,000 steps, 0.1 nats of each latent free, "
            "the encoder seeing blank pixels;",
        ),
        ({"objective": "importance_weighted", "samples": 5}, "the importance-weighted bound of 5 samples"),
    ],
)
def test_the_page_says_what_the_bound_is_of_and_what_was_climbed(settings: dict[str, Any], said: str) -> None:
    assert said in " ".join(report._about_the_bound(run_on_digits(**settings)))


def test_of_bits_and_the_plain_bound_there_is_nothing_to_say() -> None:
    assert report._about_the_bound(run_on_digits()) == []


@pytest.mark.parametrize(("settings", "name"), [({}, "train "), ({"kl_weight": 2.0}, "climbed in training ")])
def test_the_legend_tells_the_bound_from_what_was_climbed(settings: dict[str, Any], name: str) -> None:
    legend = report._pictures(run_on_digits(**settings), DIGITS, None)["bound_curves"]().get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text().startswith(name)


def test_rows_that_are_not_images_have_curves_alone() -> None:
    run = run_on_digits()
    flat = Run(run.folder, run.config, run.model, run.state, run.features, None)
    plain = Dataset("plain", DIGITS.train, DIGITS.test)
    assert set(report._pictures(flat, plain, None)) == {"bound_curves", "bound_terms", "latent_scatter"}
