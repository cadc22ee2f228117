"""The results in the repository: they are what their pages show, and the papers' claims can be read from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from numvae.experiments import PAPERS
from numvae.experiments.aevb import BOUND_CURVES
from numvae.experiments.aevb_page import pairs
from numvae.experiments.iwae import LAYERS, SAMPLES
from numvae.experiments.iwae_page import REPORTED
from numvae.experiments.likelihood_curves import LIKELIHOOD_CURVES
from numvae.experiments.outcomes import Outcome, last, read_outcome

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = {"aevb": ("aevb", "full"), "iwae": ("iwae", "full"), "iwae-quick": ("iwae", "quick")}


def read(folder: str) -> dict[str, Outcome]:
    files = sorted((RESULTS / folder / "experiments").glob("*.json"))
    return {file.stem: read_outcome(file) or {} for file in files}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_shows_the_data_files_numbers(folder: str) -> None:
    name, profile = FOLDERS[folder]
    outcomes, page = read(folder), (RESULTS / folder / "index.html").read_text()
    assert {outcome["profile"] for outcome in outcomes.values()} == {profile}
    for table in PAPERS[name].tables(outcomes):
        for row in table.rows:
            assert all(cell in page for cell in row), row
    assert f"numvae reproduce {name}" in page
    assert f"--profile {profile} --out results/{folder}" in page
    assert "/tmp/" not in page


def test_figure_2_was_run_at_the_sizes_it_claims() -> None:
    outcomes = read("aevb")
    for curve in BOUND_CURVES:
        least = 10_000_000 if curve.name.startswith("mnist_20_") else 1_000_000
        assert outcomes[curve.name]["samples"][-1] >= least, curve.name


def test_aevb_ends_above_wake_sleep_everywhere() -> None:
    both = pairs(read("aevb"))
    assert len(both) == len(BOUND_CURVES) / 2
    for aevb, wake_sleep in both:
        assert last(aevb, "test") > last(wake_sleep, "test"), aevb["experiment"]
        assert last(aevb, "train") > last(wake_sleep, "train"), aevb["experiment"]


def test_all_of_figure_3_is_there() -> None:
    outcomes = read("aevb")
    for curve in LIKELIHOOD_CURVES:
        assert outcomes[curve.name]["samples"][-1] >= 1_000_000, curve.name


def test_iwae_with_one_sample_is_within_a_nat_of_what_is_reported_after_nine_times_as_many_passes() -> None:
    outcome: Mapping[str, Outcome] = read("iwae")
    one = outcome["one_layer_vae_1"]
    assert one["passes"][-1] >= 364
    assert (one["rows"][-1], one["importance_samples"][-1]) == (10_000, 5000)
    assert abs(last(one, "nll") - REPORTED["one_layer", "vae", 1][0]) < 1


@pytest.mark.parametrize("model", ["one_layer", "two_layers"])
def test_more_samples_are_better_in_quick_form(model: str) -> None:
    outcomes = read("iwae-quick")
    assert set(outcomes) == {each.name for each in (*SAMPLES, *LAYERS)}
    one, five, fifty = (last(outcomes[f"{model}_{each}"], "nll") for each in ("vae_1", "iwae_5", "iwae_50"))
    assert one > five > fifty
