"""``numvae reproduce aevb`` on tiny experiments: its settings, its curves, what goes on after Ctrl-C, and its page."""

from __future__ import annotations

import copy
import html
import json
import math
import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from numvae.errors import InputError
from numvae.experiments import PaperReproduction, aevb, draw_paper, reproduce_paper, running
from numvae.experiments.aevb import (
    BOUND_CURVES,
    LEARNERS,
    SAMPLED,
    TWO_LATENTS,
    BoundCurve,
    chosen_step_size,
    curve_of,
    samples_of,
    settings_of,
)
from numvae.experiments.aevb_page import AEVB, at, pairs
from numvae.experiments.aevb_pictures import bound_panels, likelihood_panels
from numvae.experiments.outcomes import Outcome, read_outcome, write_outcome
from numvae.experiments.step_size import STEP_SIZES, Trial
from numvae.interruption import Interrupted
from numvae.runs import open_run
from tests.experiments.tiny import MANY, shrink_aevb, without_times
from tests.small_runs import listing, numvae

CURVE = BoundCurve("mnist", 3, "aevb")


@pytest.fixture(scope="module")
def outcomes(all_of_aevb: PaperReproduction) -> dict[str, Outcome]:
    return {name: read_outcome(path) or {} for name, path in all_of_aevb.experiments.items()}


@pytest.fixture
def own_copy(all_of_aevb: PaperReproduction, tmp_path: Path) -> Path:
    """A folder with all outcomes and pictures, to be changed; without the runs."""
    left_out = shutil.ignore_patterns("runs")
    return Path(shutil.copytree(all_of_aevb.page.parent, tmp_path / "copy", ignore=left_out))


# ---- settings


@pytest.mark.parametrize("curve", [*BOUND_CURVES, *TWO_LATENTS, *SAMPLED], ids=lambda curve: curve.name)
def test_the_settings_at_full_size_are_the_papers(curve: BoundCurve) -> None:
    config = settings_of("full", curve.data, latent=curve.latents, objective=LEARNERS[curve.learner])
    assert (config.batch, config.samples, config.optimizer, config.weight_prior) == (100, 1, "adagrad", 1.0)
    assert config.weights in ("small_normal", "wide_normal"), "the paper's N(0, 0.01), one way or the other"
    assert (config.hidden, config.activation) == ([500] if curve.data == "mnist" else [200], "tanh")
    assert (config.latent, config.train_rows, config.test_rows) == (curve.latents, None, None)
    assert config.likelihood == ("bernoulli" if curve.data == "mnist" else "normal")
    assert config.mean == "sigmoid"
    assert config.objective == {"aevb": "elbo", "wake_sleep": "wake_sleep"}[curve.learner]
    assert config.build_recipe().weight_prior_precision == 1


def test_both_learners_differ_in_their_objective_alone() -> None:
    ours, rival = (settings_of("full", "mnist", latent=3, objective=objective) for objective in LEARNERS.values())
    assert {name for name, value in ours if getattr(rival, name) != value} == {"objective"}


def test_the_curves_are_those_of_figure_2() -> None:
    numbers = {data: {curve.latents for curve in BOUND_CURVES if curve.data == data} for data in ("mnist", "frey")}
    assert numbers == {"mnist": {3, 5, 10, 20, 200}, "frey": {2, 5, 10, 20}}
    assert {curve.learner for curve in BOUND_CURVES} == {"aevb", "wake_sleep"}
    assert len(set(BOUND_CURVES)) == 18


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_passes_are_the_first_that_see_all_samples(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aevb, "prepare_data", lambda config: (config, SimpleNamespace(train=range(60_000))))
    for curve in (*BOUND_CURVES, *TWO_LATENTS):
        epochs = curve.config(profile).epochs or 0
        samples = samples_of(profile, f"{curve.data}_{curve.latents}", "bound")
        assert epochs * 60_000 >= samples > (epochs - 1) * 60_000


def test_the_quick_profile_sees_fewer_rows_and_samples() -> None:
    config = settings_of("quick", "mnist", latent=3)
    assert config.train_rows is not None
    assert samples_of("quick", "mnist_20", "bound") < samples_of("full", "mnist_20", "bound")
    assert samples_of("full", "mnist_3", "bound") == samples_of("full", "bound")


# ---- step sizes


def test_the_full_profile_tries_step_sizes_once_and_keeps_what_they_reached(tmp_path: Path) -> None:
    trial = Trial(dict(zip(STEP_SIZES, (-120.5, -110.25, None), strict=True)))
    config, place = settings_of("full", "mnist"), tmp_path / "run"
    assert chosen_step_size(config, place, "full", lambda _: trial).best == 0.02
    kept = chosen_step_size(config, place, "full", lambda _: pytest.fail("it tries again"))
    assert kept == trial


def test_the_quick_profile_tries_none(tmp_path: Path) -> None:
    for _ in range(2):
        trial = chosen_step_size(settings_of("quick", "mnist"), tmp_path, "quick", lambda _: pytest.fail("it tries"))
        assert (trial.best, trial.bounds) == (0.01, {0.01: None})


def test_step_sizes_of_another_profile_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    config = settings_of("quick", "mnist")
    chosen_step_size(config, tmp_path, "quick")
    with pytest.raises(InputError, match=r"step_sizes\.json is not of the full profile; name another --out, or remove"):
        chosen_step_size(config, tmp_path, "full", lambda _: pytest.fail("it tries"))
    (tmp_path / "step_sizes.json").write_text("{}")
    with pytest.raises(InputError, match="is not of the quick profile"):
        chosen_step_size(config, tmp_path, "quick")
    (tmp_path / "step_sizes.json").write_text('{"0.01"')
    with pytest.raises(InputError, match=r"step_sizes\.json is not JSON .*; remove .*, and it is made anew"):
        chosen_step_size(config, tmp_path, "quick")


# ---- curves


def test_an_outcome_holds_the_history_of_its_run(all_of_aevb: PaperReproduction, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["mnist_20_wake_sleep"]
    run = open_run(all_of_aevb.page.parent / "runs" / "mnist_20_wake_sleep")
    assert (run.config.objective, run.config.latent, run.config.lr) == ("wake_sleep", 20, 0.01)
    assert outcome["samples"] == [MANY, 2 * MANY]
    assert outcome["train"] == pytest.approx([row["train_elbo"] for row in run.state.history], rel=1e-5)
    assert outcome["test"] == pytest.approx([row["test_elbo"] for row in run.state.history], rel=1e-5)
    assert (outcome["train_rows"], outcome["test_rows"], outcome["seed"]) == (MANY, 30, 0)
    assert (outcome["step_size"], outcome["diverged"]) == (0.01, None)


def test_a_long_curve_has_a_hundred_points_evenly_in_the_log() -> None:
    history = [{"samples": epoch, "train_elbo": -epoch, "test_elbo": 2 * epoch} for epoch in range(1, 5001)]
    curve = curve_of(_trained(history))
    assert (curve["samples"][0], curve["samples"][-1]) == (1, 5000)
    assert len(curve["samples"]) <= 100
    ratios = np.diff(np.log(curve["samples"][-40:]))
    assert ratios.max() < 1.2 * ratios.min()
    assert curve["test"] == [2 * epoch for epoch in curve["samples"]]
    assert curve["train"] == [-epoch for epoch in curve["samples"]]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 17])
def test_a_short_curve_has_every_point_that_the_log_can_tell_apart(length: int) -> None:
    history = [{"samples": epoch, "train_elbo": 0.0, "test_elbo": 0.0} for epoch in range(1, length + 1)]
    assert curve_of(_trained(history))["samples"] == list(range(1, length + 1))


def _trained(history: list[dict[str, float]]) -> Any:
    return SimpleNamespace(run=SimpleNamespace(state=SimpleNamespace(history=history)))


@pytest.mark.usefixtures("tiny_aevb")
def test_an_interrupted_curve_goes_on_where_it_stopped(
    outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_batch, folder = running.Progress.on_batch, tmp_path / "out"

    def interrupt(self: Any, state: Any) -> None:
        on_batch(self, state)
        if state.step == 17:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(running.Progress, "on_batch", interrupt)
        with pytest.raises(Interrupted, match="interrupted in mnist_3_aevb; go on with: this"):
            CURVE.run(folder, "quick", "this")
    run = open_run(folder / CURVE.name)
    assert (run.state.epoch, run.state.step) == (1, 17)
    write_outcome(tmp_path / "it.json", CURVE.run(folder, "quick", "this"))
    assert without_times(read_outcome(tmp_path / "it.json") or {}) == without_times(outcomes[CURVE.name])


def test_a_curve_that_diverges_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first step: there is no point of the curve.  Wild weights, since the quick profile's step size is set."""
    shrink_aevb(monkeypatch, tmp_path, optimizer_options={"epsilon": 1e-30})
    monkeypatch.setattr(aevb, "STEP_SIZES", (1e38,))
    outcome = CURVE.run(tmp_path / "out", "quick", "")
    assert "step" in outcome["diverged"]
    assert (outcome["samples"], outcome["train"], outcome["test"]) == ([], [], [])
    write_outcome(tmp_path / "it.json", outcome)
    again = CURVE.run(tmp_path / "out", "quick", "")
    assert again["diverged"] == outcome["diverged"]


@pytest.mark.usefixtures("tiny_aevb")
def test_a_run_of_the_other_profile_in_the_folder_is_refused(tmp_path: Path) -> None:
    CURVE.run(tmp_path / "out", "quick", "")
    with pytest.raises(InputError, match="is not of the full profile; name another --out"):
        CURVE.run(tmp_path / "out", "full", "")


@pytest.mark.usefixtures("tiny_aevb")
def test_how_long_it_takes_is_told_beforehand_and_nothing_when_it_is_done(
    all_of_aevb: PaperReproduction, tmp_path: Path
) -> None:
    assert 0 < CURVE.seconds(tmp_path, "quick") < 60
    assert CURVE.seconds(all_of_aevb.page.parent / "runs", "quick") == 0


# ---- the page


def test_every_figure_is_drawn_and_on_the_page(all_of_aevb: PaperReproduction) -> None:
    assert list(all_of_aevb.pictures) == ["2", "3", "4", "5"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in all_of_aevb.pictures.values())
    page = all_of_aevb.page.read_text()
    assert page.count("data:image/png") == 4
    for figure in AEVB.figures.values():
        assert figure.title in page
    assert "Figure 2: obtained beside reported" in page
    assert "Figure 3: obtained beside reported" in page
    assert "://" not in page, "it asks the network for nothing"


def test_the_tables_numbers_are_the_outcomes(all_of_aevb: PaperReproduction, outcomes: dict[str, Outcome]) -> None:
    rows = _rows(all_of_aevb.page.read_text())
    ours, rival = outcomes["frey_5_aevb"], outcomes["frey_5_wake_sleep"]
    row = rows["Frey face, 5 latents"]
    assert row[0] == f"{2 * MANY:,}"
    numbers = [float(cell.replace("−", "-")) for cell in row[1:5]]
    assert numbers == [round(each[key][-1], 1) for each in (ours, rival) for key in ("train", "test")]
    assert row[5] == "0.01, 0.01"
    assert float(row[6].replace(",", "")) == pytest.approx(ours["training_seconds"] / (2 * MANY) * 1e6, abs=1)
    assert row[7] == "none; axis 0 to 1600"
    assert len([name for name in rows if "latents" in name]) == 9

    em = outcomes["likelihood_1000_monte_carlo_em"]
    row = rows["1,000 points, Monte Carlo EM"]
    assert row[0] == "6,000"
    for cell, key in zip(row[1:3], ("train", "test"), strict=True):
        value, error = (float(number) for number in cell.replace("−", "-").split(" ± "))
        assert value == round(em[key][-1], 1)
        assert error == round(em[f"{key}_standard_error"][-1], 1)
    assert row[-1] == "none; axis −160 to −100"
    assert rows["1,200 points, AEVB"][-1] == "none"
    assert len([name for name in rows if "points" in name]) == 6


def _rows(page: str) -> dict[str, list[str]]:
    """The tables' cells by the name of their row."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    return {name: [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", cells)] for name, cells in rows}


def test_every_number_stands_on_the_page_as_json(all_of_aevb: PaperReproduction, outcomes: dict[str, Outcome]) -> None:
    text = re.search(r"<summary>Every number</summary><pre>(.*?)</pre>", all_of_aevb.page.read_text(), re.DOTALL)
    assert text is not None
    assert json.loads(html.unescape(text[1])) == outcomes
    for name, path in all_of_aevb.experiments.items():
        assert str(all_of_aevb.page.parent) not in path.read_text(), f"{name} names no place"


@pytest.mark.usefixtures("tiny_aevb")
def test_a_second_call_trains_nothing(all_of_aevb: PaperReproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = all_of_aevb.page.parent
    before = listing(folder)
    for name in ("numvae.experiments.running.train", "numvae.experiments.likelihood_curves.train_em"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("it trains"))
    again = reproduce_paper(AEVB, "2", "quick", folder)
    assert again.to_json() == all_of_aevb.to_json()
    after = listing(folder)
    assert {name for name in before if after[name] != before[name]} <= {"index.html"}


def test_the_page_is_drawn_from_the_data_files_with_the_images_kept(own_copy: Path) -> None:
    before = listing(own_copy)
    drawn = draw_paper(AEVB, "quick", own_copy)
    assert list(drawn.pictures) == ["2", "3", "4", "5"]
    after = listing(own_copy)
    assert after["figures/figure-4.png"] == before["figures/figure-4.png"]
    assert after["figures/figure-2.png"] == before["figures/figure-2.png"], "the same numbers, the same picture"
    assert drawn.page.read_text().count("data:image/png") == 4


def test_curves_without_points_and_numbers_that_are_not_finite_are_drawn_as_far_as_they_go(own_copy: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        "mnist_5_aevb": {"samples": [], "train": [], "test": [], "diverged": "step 1: it did"},
        "frey_10_wake_sleep": {"test": [None, None]},
        "likelihood_50000_aevb": {"test": [None, -3.0], "train_standard_error": [0.1, None]},
    }
    for name, change in changes.items():
        path = own_copy / "experiments" / f"{name}.json"
        write_outcome(path, {**(read_outcome(path) or {}), **change})
    rows = _rows(draw_paper(AEVB, "quick", own_copy).page.read_text())
    assert rows["MNIST, 5 latents, AEVB diverged"][:3] == ["–", "–", "–"]
    assert rows["Frey face, 10 latents"][4] == "–"
    assert rows["1,200 points, AEVB"][1].endswith(" ± –")


def test_panels_survive_a_row_in_which_nothing_was_learnt(outcomes: dict[str, Outcome]) -> None:
    empty = {"samples": [], "train": [], "test": []}
    bound_panels({name: {**outcomes[name], **empty} for name in ("mnist_3_aevb", "mnist_3_wake_sleep")})
    likelihood_panels({"likelihood_1000_aevb": {**outcomes["likelihood_1000_aevb"], **empty}})


def test_a_training_bound_stands_at_the_middle_of_its_pass(outcomes: dict[str, Outcome]) -> None:
    """An estimate at a milestone of Figure 3 stands at the milestone."""
    lines = bound_panels({"mnist_3_aevb": outcomes["mnist_3_aevb"]}).axes[0].lines
    assert [list(np.asarray(line.get_xdata())) for line in lines] == [[MANY, 2 * MANY], [0.5 * MANY, 1.5 * MANY]]
    lines = likelihood_panels({"likelihood_1000_aevb": outcomes["likelihood_1000_aevb"]}).axes[0].lines
    assert list(np.asarray(lines[0].get_xdata())) == list(np.asarray(lines[1].get_xdata()))


# ---- words


def test_pairs_are_of_the_same_data_and_latents_and_only_whole_ones(outcomes: dict[str, Outcome]) -> None:
    both = pairs(outcomes)
    assert len(both) == 9
    for ours, rival in both:
        assert (ours["data"], ours["latents"]) == (rival["data"], rival["latents"])
        assert (ours["learner"], rival["learner"]) == ("aevb", "wake_sleep")
    half = {name: outcome for name, outcome in outcomes.items() if name != "mnist_3_wake_sleep"}
    assert len(pairs(half)) == 8


def test_a_curves_value_is_that_of_the_last_point_seen() -> None:
    outcome: Outcome = {"samples": [10, 20, 30], "test": [-3.0, None, -1.0]}
    assert at(outcome, 10) == at(outcome, 19) == -3
    assert at(outcome, 30) == at(outcome, math.inf) == -1
    assert math.isnan(at(outcome, 9))
    assert math.isnan(at(outcome, 20))
    assert math.isnan(at({"samples": [], "test": []}, 10))


def test_the_sentence_counts_who_is_ahead(outcomes: dict[str, Outcome]) -> None:
    made_up = copy.deepcopy(outcomes)
    for curve in BOUND_CURVES:
        made_up[curve.name]["test"] = [-20.0, -10.0] if curve.learner == "aevb" else [-21.0, -11.0]
    says = AEVB.figures["2"].says
    assert says(made_up) == (
        "AEVB ends above wake-sleep in 9 of 9 panels, and is above it at every measured point in 9."
    )
    made_up["mnist_3_wake_sleep"]["test"] = [-19.0, -11.0]
    made_up["mnist_5_wake_sleep"]["test"] = [-21.0, -9.0]
    for key in ("samples", "train", "test"):
        made_up["frey_2_aevb"][key] = []
    made_up["frey_5_wake_sleep"]["test"] = [-21.0, None]
    assert says(made_up).startswith("AEVB ends above wake-sleep in 6 of 9 panels, and is above it at every measured")
    assert says(made_up).endswith("point in 5.")


def test_the_cost_of_monte_carlo_em_is_per_sample(outcomes: dict[str, Outcome]) -> None:
    made_up = copy.deepcopy(outcomes)
    made_up["likelihood_50000_monte_carlo_em"] |= {"training_seconds": 30.0, "samples": [1000]}
    made_up["likelihood_50000_aevb"] |= {"training_seconds": 20.0, "samples": [500, 4000]}
    assert AEVB.figures["3"].says(made_up) == "A sample costs Monte Carlo EM 6 times what it costs AEVB here."


# ---- the command


@pytest.mark.usefixtures("tiny_aevb")
def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    words = ["reproduce", "aevb", "--figure", "4", "--out", tmp_path / "out"]
    content = numvae(*words, "--json").json
    assert content == {
        "page": str(tmp_path / "out" / "index.html"),
        "experiments": {
            name: str(tmp_path / f"out/experiments/{name}.json") for name in ("mnist_2_aevb", "frey_2_aevb")
        },
        "figures": {"4": str(tmp_path / "out" / "figures" / "figure-4.png")},
    }
    assert numvae(*words).out == f"The page: {tmp_path / 'out' / 'index.html'}\n"
    assert "obtained beside reported" not in (tmp_path / "out" / "index.html").read_text(), "no table without rows"
