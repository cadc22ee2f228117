"""``numvae reproduce iwae`` on tiny experiments: its schedule, its looks between stages, Ctrl-C, and its page."""

from __future__ import annotations

import copy
import html
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

from numvae.errors import DivergedError, InputError
from numvae.experiments import PaperReproduction, draw_paper, iwae, reproduce_paper, running
from numvae.experiments.iwae import LAYERS, SAMPLES, SCHEDULE, ImportanceWeighting, look, passes
from numvae.experiments.iwae_page import IWAE, REPORTED, at_stage, common_stage, stage_curves
from numvae.experiments.outcomes import Outcome, read_outcome, read_points, write_outcome, write_points
from numvae.interruption import Interrupted
from numvae.marginal_likelihood import importance_weighted_bounds
from numvae.randomness import generator
from numvae.runs import open_run
from tests.experiments.tiny import shrink_iwae, without_times
from tests.small_runs import listing, numvae

EVERY = (*SAMPLES, *LAYERS)
FIVE = ImportanceWeighting("one_layer", "iwae", 5)


@pytest.fixture(scope="module")
def outcomes(all_of_iwae: PaperReproduction) -> dict[str, Outcome]:
    return {name: read_outcome(path) or {} for name, path in all_of_iwae.experiments.items()}


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as MNIST has."""
    monkeypatch.setattr(iwae, "prepare_data", lambda config: (config, SimpleNamespace(train=range(60_000))))


def _again(folder: Path) -> Outcome:
    """The outcome of ``FIVE`` as it is read from its file."""
    write_outcome(folder / "it.json", FIVE.run(folder / "out", "quick", "this"))
    return without_times(read_outcome(folder / "it.json") or {})


# ---- settings


@pytest.mark.usefixtures("mnist")
@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_the_settings_at_full_size_are_the_papers(each: ImportanceWeighting) -> None:
    config = each.config("full")
    assert (config.data, config.train_rows, config.test_rows, config.binarize) == ("mnist", None, None, "fresh")
    assert (config.batch, config.optimizer, config.lr, config.weights) == (20, "adam", 0.001, "glorot")
    optimizer: Any = config.build_optimizer()
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0.9, 0.999, 1e-4)
    assert (config.activation, config.samples, config.weight_prior) == ("tanh", each.samples, None)
    if each.model == "one_layer":
        assert (config.hidden, config.latent, config.latent_above) == ([200, 200], 50, None)
    else:
        assert (config.hidden, config.latent) == ([200, 200], 100)
        assert (config.hidden_above, config.latent_above) == ([100, 100], 50)
    assert config.objective == ("importance_weighted" if each.objective == "iwae" else "elbo")
    assert config.epochs == each.ends("full")[-1] <= passes(each.stages("full"))
    config.build_recipe()


@pytest.mark.usefixtures("mnist")
def test_the_step_size_falls_after_every_stage_of_3_to_the_i_passes() -> None:
    """(schedules.7): 0.001 · 10^(-i/7) in stage i."""
    schedule = FIVE.config("full").build_schedule()
    pass_steps = 60_000 // 20
    for stage in range(8):
        first, last = passes(stage) * pass_steps, passes(stage + 1) * pass_steps - 1
        assert last + 1 - first == 3**stage * pass_steps
        assert schedule(first) == schedule(last) == pytest.approx(10 ** (-stage / 7))


def test_eight_stages_are_the_papers_3280_passes() -> None:
    assert passes(8) == sum(3**stage for stage in range(8)) == 3280
    assert passes(0) == 0


def test_every_row_has_its_reported_number_and_all_of_table_1_is_of_interest() -> None:
    assert {(each.model, each.objective, each.samples) for each in EVERY} == set(REPORTED)
    assert [each.name for each in SCHEDULE] == ["one_layer_vae_1"]
    for model in ("one_layer", "two_layers"):
        values = [value for (of, _, _), (value, _) in REPORTED.items() if of == model]
        assert values == sorted(values, reverse=True), "more samples are better in the paper"


def test_the_last_stage_may_be_cut_short() -> None:
    assert SCHEDULE[0].ends("full") == [1, 4, 13, 40, 121, 364, 396]
    assert FIVE.ends("full") == FIVE.ends("quick") == [1, 4]


# ---- looks


def test_there_is_a_look_after_every_stage(outcomes: dict[str, Outcome]) -> None:
    for each in EVERY:
        outcome = outcomes[each.name]
        assert outcome["stages"] == [1, 2]
        assert outcome["passes"] == [1, 4]
        assert outcome["seconds"][0] < outcome["seconds"][1] == outcome["training_seconds"]
        assert outcome["rows"] == [20, 20]
        assert outcome["importance_samples"] == [10, 10]
        assert [len(active) for active in outcome["active"]] == [1 + (each.model == "two_layers")] * 2
        assert all(np.isfinite(outcome["nll"]))
        assert (outcome["k"], outcome["objective"], outcome["model"]) == (each.samples, each.objective, each.model)
        assert (outcome["train_rows"], outcome["seed"]) == (80, 0)


def test_a_look_is_the_importance_weighted_bound_of_the_run(
    all_of_iwae: PaperReproduction, outcomes: dict[str, Outcome]
) -> None:
    run = open_run(all_of_iwae.page.parent / "runs" / FIVE.name)
    rows = run.load_data().test[:20]
    found = look(run, rows, 10)
    assert found == look(run, rows, 10), "the same noise every time"
    assert found["nll"] == pytest.approx(outcomes[FIVE.name]["nll"][-1], rel=1e-5)
    x = run.recipe.binarize(rows, generator(0, "evaluation"), run.theta.dtype)
    other = importance_weighted_bounds(run.model, run.theta, x, rng=generator(0, "noise"), samples=500).best
    assert found["nll"] == pytest.approx(-float(other.mean()), abs=4 * found["nll_standard_error"])
    assert found["negative_elbo"] > found["nll"] - 1e-4
    assert found["loss"] >= 0
    assert found["active"] == outcomes[FIVE.name]["active"][-1]


def test_late_stages_are_judged_on_more_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_iwae(monkeypatch, tmp_path)
    monkeypatch.setattr(ImportanceWeighting, "stages", lambda self, profile: 6)
    monkeypatch.setattr(iwae, "passes", lambda stages: stages)
    outcome = FIVE.run(tmp_path / "out", "quick", "")
    assert outcome["rows"] == [20, 20, 20, 20, 20, 25]


# ---- stopping at any moment


@pytest.mark.usefixtures("tiny_iwae")
@pytest.mark.parametrize("step", [2, 4, 7, 16])
def test_training_stopped_anywhere_goes_on_to_the_same_outcome(
    step: int, outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first stage, at its end, which is step 4, in the second, and at the last step."""
    on_batch = running.Progress.on_batch

    def interrupt(self: Any, state: Any) -> None:
        on_batch(self, state)
        if state.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(running.Progress, "on_batch", interrupt)
        with pytest.raises(Interrupted, match=f"interrupted in {FIVE.name}; go on with: this"):
            FIVE.run(tmp_path / "out", "quick", "this")
    assert open_run(tmp_path / "out" / FIVE.name).state.step == step
    assert _again(tmp_path) == without_times(outcomes[FIVE.name])


@pytest.mark.usefixtures("tiny_iwae")
@pytest.mark.parametrize("which", [1, 2])
def test_an_interrupted_look_is_made_again_and_what_was_found_is_kept(
    which: int, outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def fails(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        if len(calls) == which:
            raise KeyboardInterrupt
        return look(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(iwae, "look", fails)
        with pytest.raises(KeyboardInterrupt):
            FIVE.run(tmp_path / "out", "quick", "this")
    looked = read_points(tmp_path / "out" / FIVE.name / "looked.json", "quick", "stages")
    assert [point["stages"] for point in looked] == list(range(1, which))
    assert _again(tmp_path) == without_times(outcomes[FIVE.name])


@pytest.mark.usefixtures("tiny_iwae")
def test_what_a_stage_reaches_does_not_depend_on_how_many_follow(
    outcomes: dict[str, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImportanceWeighting, "stages", lambda self, profile: 3)
    outcome = FIVE.run(tmp_path / "out", "quick", "")
    assert outcome["passes"] == [1, 4, 13]
    assert outcome["nll"][:2] == pytest.approx(outcomes[FIVE.name]["nll"], rel=1e-5)


# ---- what can go wrong


@pytest.mark.usefixtures("tiny_iwae")
def test_what_another_profile_left_is_refused_even_with_all_its_looks(tmp_path: Path) -> None:
    FIVE.run(tmp_path, "quick", "")
    with pytest.raises(InputError, match="is of the quick profile, not of the full one; name another --out"):
        FIVE.run(tmp_path, "full", "")


@pytest.mark.usefixtures("tiny_iwae")
def test_weights_that_are_past_a_stage_where_nobody_looked_are_refused(tmp_path: Path) -> None:
    FIVE.run(tmp_path, "quick", "")
    write_points(tmp_path / FIVE.name / "looked.json", "quick", [])
    with pytest.raises(InputError, match="is past stage 1, where nobody looked; remove it, and it is made anew"):
        FIVE.run(tmp_path, "quick", "")


def test_a_model_that_diverges_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_iwae(monkeypatch, tmp_path, lr=1e38)
    for _ in range(2):
        with pytest.raises(DivergedError, match=f"{FIVE.name}: (after )?step"):
            FIVE.run(tmp_path / "out", "quick", "")


@pytest.mark.usefixtures("tiny_iwae")
def test_how_long_it_takes_is_told_beforehand_and_nothing_when_it_is_done(
    all_of_iwae: PaperReproduction, tmp_path: Path
) -> None:
    assert 0 < FIVE.seconds(tmp_path, "quick") < 60
    assert FIVE.seconds(all_of_iwae.page.parent / "runs", "quick") == 0


# ---- the page


def test_every_figure_is_drawn_and_on_the_page(all_of_iwae: PaperReproduction) -> None:
    assert list(all_of_iwae.pictures) == ["schedule", "samples", "layers"]
    page = all_of_iwae.page.read_text()
    assert page.count("data:image/png") == 3
    for figure in IWAE.figures.values():
        assert figure.title in page
    assert "Obtained beside reported" in page
    assert "://" not in page, "it asks the network for nothing"


def test_the_tables_numbers_are_the_outcomes(all_of_iwae: PaperReproduction, outcomes: dict[str, Outcome]) -> None:
    rows = _rows(all_of_iwae.page.read_text())
    assert len(rows) == len(EVERY)
    outcome = outcomes["two_layers_iwae_50"]
    active = "+".join(map(str, outcome["active"][-1]))
    obtained = f"{outcome['nll'][-1]:.2f} ± {outcome['nll_standard_error'][-1]:.2f}"
    assert rows["two layers, IWAE, k = 50"] == ["4 of 3,280", obtained, active, "20", "82.90", "26+7"]
    assert rows["one layer, VAE, k = 1"][-2:] == ["86.76", "19"]


def _rows(page: str) -> dict[str, list[str]]:
    """The table's cells by the name of their row."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    return {name: [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", cells)] for name, cells in rows}


@pytest.mark.usefixtures("tiny_iwae")
def test_a_second_call_trains_nothing(all_of_iwae: PaperReproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = all_of_iwae.page.parent
    before = listing(folder)
    monkeypatch.setattr(running, "train", lambda *_, **__: pytest.fail("it trains"))
    again = reproduce_paper(IWAE, None, "quick", folder)
    assert again.to_json() == all_of_iwae.to_json()
    assert listing(folder) == before


def test_the_page_is_drawn_from_the_data_files_alone(all_of_iwae: PaperReproduction, tmp_path: Path) -> None:
    shutil.copytree(all_of_iwae.page.parent / "experiments", tmp_path / "experiments")
    drawn = draw_paper(IWAE, "quick", tmp_path)
    assert list(drawn.pictures) == ["schedule", "samples", "layers"]
    for name, path in drawn.pictures.items():
        assert path.read_bytes() == all_of_iwae.pictures[name].read_bytes()


def test_the_command_makes_one_figure_and_prints_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_iwae(monkeypatch, tmp_path)
    content = numvae("reproduce", "iwae", "--figure", "schedule", "--out", tmp_path / "out", "--json").json
    assert content["experiments"] == {SCHEDULE[0].name: str(tmp_path / "out/experiments/one_layer_vae_1.json")}
    assert content["figures"] == {"schedule": str(tmp_path / "out/figures/figure-schedule.png")}


# ---- words


def test_the_order_is_judged_after_the_last_stage_that_all_have_completed(outcomes: dict[str, Outcome]) -> None:
    made_up = copy.deepcopy(outcomes)
    made_up["one_layer_vae_1"] |= {"stages": [1, 2, 3], "passes": [1, 4, 13], "nll": [120.0, 100.0, 50.0]}
    made_up["one_layer_iwae_5"]["nll"] = [130.0, 99.0]
    made_up["one_layer_iwae_50"]["nll"] = [140.0, 98.5]
    says = IWAE.figures["samples"].says
    assert says(made_up) == (
        "After 4 passes −log p(x) is 100.00 (k = 1), 99.00 (5), 98.50 (50): the order that the paper reports."
    )
    made_up["one_layer_iwae_5"]["nll"][1] = 98.0
    assert says(made_up).endswith(": not the order that the paper reports.")
    made_up["one_layer_iwae_50"]["nll"][1] = None
    assert says(made_up).endswith("nan (50): not the order that the paper reports.")


def test_values_are_found_by_their_stage(outcomes: dict[str, Outcome]) -> None:
    outcome: Outcome = {"stages": [1, 2, 3], "passes": [1, 4, 13], "nll": [9.0, None, 7.0]}
    assert at_stage(outcome, "nll", 3) == 7
    assert at_stage(outcome, "passes", 2) == 4
    assert math.isnan(at_stage(outcome, "nll", 2))
    assert common_stage([outcome, outcomes["one_layer_vae_1"]]) == 2


def test_the_legend_compares_at_equal_passes(outcomes: dict[str, Outcome]) -> None:
    longer = {**outcomes["one_layer_vae_1"], "stages": [1, 2, 3], "passes": [1, 4, 13], "nll": [30.0, 20.0, 10.0]}
    shorter = {**outcomes[FIVE.name], "nll": [25.0, None]}
    legend = stage_curves({"longer": longer, "shorter": shorter}, "one layer").axes[0].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "after 4 passes"
    assert [text.get_text() for text in legend.get_texts()] == ["k = 1  20.00", "IWAE, k = 5  nan"]
