"""``numvae variance`` as other tools call it: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae.arena import closed_form
from numvae.arena.costs import Cosine, Quadratic
from numvae.arena.states import COSTS
from numvae.estimators.catalogue import ESTIMATORS
from tests.small_runs import BATCH, numvae, write_digits

KEYS = {"name", "bias", "bias_ci", "variance", "snr", "calls", "seconds", "certified", "claims"}
BOTH = "score_function,pathwise"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained model."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--hidden", "8", "--latent", "2", "--batch", BATCH, "--likelihood", "bernoulli", "--epochs", "1"]
    outcome = numvae("train", "--data", write_digits(folder), *words, "--out", folder / "run", "--json")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def test_json_is_the_contract() -> None:
    outcome = numvae("variance", "--estimators", BOTH, "--json")
    assert outcome.code == 0
    content = outcome.json
    assert content["truth"] == [8, 2]
    assert [each["name"] for each in content["estimators"]] == BOTH.split(",")
    for each in content["estimators"]:
        assert set(each) >= KEYS
        assert len(each["bias"]) == len(each["bias_ci"]) == len(each["variance"]) == 2
        assert each["certified"] is True
        exact = closed_form.variance(each["name"], Quadratic(-3.0), np.array([1.0, 0.0]))
        error = np.array(each["variance_standard_error"])
        np.testing.assert_array_less(np.abs(np.array(each["variance"]) - exact), 4 * error)
    assert [place["name"] for place in content["ranking"]] == ["pathwise", "score_function"]


def test_a_person_gets_a_table_best_first() -> None:
    outcome = numvae("variance", "--cost", "cosine", "--dimension", 3, "--samples", 500, "--estimators", BOTH)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "cosine: 6 coordinates, 500 estimates each, truth exact"
    assert [line.split()[1] for line in lines[2:4]] == ["pathwise", "score_function"]


@pytest.mark.parametrize("cost", [cost for cost in COSTS if cost != "logistic-regression"])
def test_without_names_all_that_are_for_the_cost_are_compared(cost: str) -> None:
    content = numvae("variance", "--cost", cost, "--samples", 200, "--json").json
    names = {each["name"] for each in content["estimators"]}
    assert "score_function" in names
    assert len(names) >= 7
    bits = cost in ("bernoulli", "coupled-bits")
    assert ("disarm" in names) == bits
    assert all(each["certified"] for each in content["estimators"]), [
        each["problems"] for each in content["estimators"]
    ]


def test_every_name_is_one_word() -> None:
    assert all(name.isidentifier() for name in ESTIMATORS)


def test_more_samples_of_z_and_a_seed() -> None:
    words = ["--cost", "quadratic", "--samples", 4_000, "--estimators", "pathwise", "--json"]
    one, four = (numvae("variance", *words, "--latent-samples", count).json for count in (1, 4))
    ratio = one["estimators"][0]["total_variance"] / four["estimators"][0]["total_variance"]
    assert ratio == pytest.approx(4, rel=0.2)
    assert four["estimators"][0]["calls"] == 4
    again, other = (numvae("variance", *words, "--seed", seed).json for seed in (0, 1))
    assert again["estimators"][0]["bias"] == one["estimators"][0]["bias"] != other["estimators"][0]["bias"]


@pytest.mark.parametrize(("cost", "winner"), [("cosine", "pathwise"), ("fast-cosine", "score_function")])
def test_the_score_function_wins_beyond_the_crossover(cost: str, winner: str) -> None:
    """(closed_form.12): between the frequencies of the two costs."""
    content = numvae("variance", "--cost", cost, "--estimators", BOTH, "--json").json
    assert 1 < closed_form.crossover(Cosine, np.array([1.0, 0.0]), 0.1, 10.0) < 5
    assert content["ranking"][0]["name"] == winner


def test_a_trained_model_is_compared_on_its_elbo(run: Path) -> None:
    outcome = numvae("variance", "--run", run, "--estimators", BOTH, "--samples", 300, "--json")
    assert outcome.code == 0, outcome.err
    content = outcome.json
    assert len(content["truth"]) == 4 * 4  # rows, and mean and log_std of two latents
    assert min(content["truth_standard_error"]) > 0
    assert "1,200 pathwise estimates" in content["truth_source"]
    assert all(each["certified"] for each in content["estimators"])
    assert content["ranking"][0]["name"] == "pathwise"


def test_out_keeps_the_json_and_pictures(tmp_path: Path) -> None:
    outcome = numvae("variance", "--estimators", BOTH, "--samples", 100, "--out", tmp_path / "new" / "folder", "--json")
    assert outcome.code == 0, outcome.err
    kept: Any = json.loads((tmp_path / "new" / "folder" / "variance.json").read_text())
    assert kept["estimators"] == outcome.json["estimators"]
    assert {path.suffix for path in (tmp_path / "new" / "folder").iterdir()} == {".json", ".png"}


def test_out_of_a_trained_vae_shows_its_gradient_as_a_sum_of_terms(run: Path, tmp_path: Path) -> None:
    outcome = numvae("variance", "--run", run, "--estimators", BOTH, "--samples", 50, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "path_terms.png").exists()


def test_infinite_ratios_are_null() -> None:
    words = ["--cost", "bernoulli", "--estimators", "enumeration", "--samples", 50, "--json"]
    assert numvae("variance", *words).json["estimators"][0]["snr"] is None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--estimators", "pathwize"], "estimator pathwize is not known, did you mean pathwise?"),
        (["--estimators", "pathwise,"], "--estimators must be names with commas between them"),
        (["--estimators", "arm"], "arm is for Bernoulli latents, got Normal"),
        (["--cost", "quadratik"], "--cost quadratik is not known, did you mean quadratic?"),
        (["--cost", "logistic-regression", "--dimension", "3"], "31 weights"),
        (["--samples", "7"], "--samples must be a whole number from 8 to 1000000, got 7"),
        (["--dimension", "0"], "--dimension must be a whole number from 1 to 100, got 0"),
        (["--run", "nowhere"], "nowhere holds no run"),
        (["--run", "nowhere", "--dimension", "2"], "--dimension is that of a cost"),
        (["--run", "nowhere", "--cost", "cosine"], "not allowed with argument"),
    ],
)
def test_bad_words_are_refused_in_a_line(words: list[str], complaint: str) -> None:
    outcome = numvae("variance", *words)
    assert outcome.code == 2
    assert complaint in outcome.complaint
    assert not outcome.out
