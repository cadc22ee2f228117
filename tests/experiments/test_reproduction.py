"""``numvae reproduce review`` on tiny experiments: what it trains, keeps, draws and shows, and how it refuses."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from numvae import experiments
from numvae.errors import InputError
from numvae.experiments import reproduce, running
from numvae.experiments.reproduction import experiments_of
from numvae.experiments.results import obtained
from numvae.experiments.review import FIGURES
from numvae.experiments.scale_watch import read_scales
from numvae.interruption import Interrupted
from tests.experiments.tiny import tiny_settings
from tests.small_runs import listing, numvae


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_settings(tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="module")
def all_of_it(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reproduce(None, "quick", tmp_path_factory.mktemp("out") / "review", settings)


def test_every_figure_is_drawn_and_on_the_page(all_of_it: Any) -> None:
    assert set(all_of_it.pictures) == set(FIGURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in all_of_it.pictures.values())
    page = all_of_it.page.read_text()
    assert page.count("data:image/png") == len(FIGURES)
    for heading in ("The review’s figures", "The poster’s figures", "What was left undone", "Obtained beside reported"):
        assert heading in page
    for name in all_of_it.runs:
        assert f"<code>{name}</code>" in page
    assert "://" not in page, "it asks the network for nothing"


def test_the_numbers_of_the_table_are_left_as_json_that_names_no_place(all_of_it: Any) -> None:
    text = all_of_it.results.read_text()
    content = json.loads(text)
    assert [row["experiment"] for row in content["runs"]] == list(all_of_it.runs)
    row = next(row for row in content["runs"] if row["experiment"] == "model_3")
    trained = all_of_it.runs["model_3"]
    assert row["starts_from"] == "model_2"
    assert row["least_std"] == 0.1
    assert (row["train_rows"], row["test_rows"], row["epochs"]) == (60, 20, 1)
    assert row["test_elbo"] == trained.last["test_elbo"]
    assert row["squared_error"] == pytest.approx(trained.squared_errors(trained.dataset.test).mean())
    assert content["profile"] == "quick"
    assert "seed 1" in content["made_with"]
    assert "EM stopped after" in content["figures"]["8"]
    assert str(all_of_it.page.parent) not in text


def test_what_is_not_finite_is_null(all_of_it: Any) -> None:
    trained = all_of_it.runs["model_1"]
    history = [{**trained.last, "test_elbo": float("-inf")}]
    broken = replace(trained, run=replace(trained.run, state=replace(trained.run.state, history=history)))
    assert obtained("model_1", broken)["test_elbo"] is None


def test_every_run_is_an_ordinary_one(all_of_it: Any) -> None:
    outcome = numvae("evaluate", all_of_it.page.parent / "runs" / "model_2", "--json")
    assert outcome.code == 0, outcome.err


def test_model_3_starts_from_model_2_and_its_trainings_are_watched(all_of_it: Any) -> None:
    folders = {name: all_of_it.page.parent / "runs" / name for name in all_of_it.runs}
    watched = {name for name, folder in folders.items() if (folder / "scales.jsonl").exists()}
    assert watched == {"model_3", "model_3_floor", "model_3_free", "model_3_free_from_data"}


def test_what_is_complete_is_not_trained_again(all_of_it: Any, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = all_of_it.page.parent
    before = listing(folder / "runs")
    monkeypatch.setattr(running, "train", lambda *_, **__: pytest.fail("it trains"))
    again = reproduce("6", "quick", folder, settings)
    assert listing(folder / "runs") == before
    assert set(again.pictures) == set(FIGURES), "the page goes on showing what the folder holds"


def test_one_figure_trains_only_what_it_needs(settings: Path, tmp_path: Path) -> None:
    done = reproduce("4", "quick", tmp_path, settings)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["model_2"]
    assert list(done.pictures) == ["4"]


def test_an_interrupted_run_goes_on_where_it_stopped(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reproduce("7", "quick", tmp_path / "whole", settings)
    on_batch = running.Progress.on_batch

    def interrupt(self: Any, state: Any) -> None:
        on_batch(self, state)
        if self.run.folder.name == "model_3" and state.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(running.Progress, "on_batch", interrupt)
        with pytest.raises(Interrupted, match=r"in model_3; go on with: numvae reproduce review --figure 7 --profile"):
            reproduce("7", "quick", tmp_path / "parts", settings)
    assert (tmp_path / "parts" / "runs" / "model_2").exists()
    parts = reproduce("7", "quick", tmp_path / "parts", settings)
    assert (parts.runs["model_3"].run.theta == whole.runs["model_3"].run.theta).all()
    scales = [read_scales(tmp_path / which / "runs" / "model_3") for which in ("whole", "parts")]
    assert scales[0] == scales[1]


def test_a_run_that_diverges_is_a_result(settings: Path, tmp_path: Path) -> None:
    wild = tmp_path / "review"
    wild.mkdir()
    for path in settings.iterdir():
        content = json.loads(path.read_text())
        content |= {"lr": 1e6, "epochs": 3} if path.stem == "model_3_free" else {}
        (wild / path.name).write_text(json.dumps(content))
    (tmp_path / "quick.json").write_text("{}")
    done = reproduce("7b", "quick", tmp_path / "out", wild)
    message = done.runs["model_3_free"].diverged
    assert message is not None
    assert "step" in message
    assert "here it diverged" in done.page.read_text()
    again = reproduce("7b", "quick", tmp_path / "out", wild)
    assert again.runs["model_3_free"].diverged == message


def test_a_folder_with_other_settings_is_refused(settings: Path, tmp_path: Path) -> None:
    reproduce("1", "quick", tmp_path, settings)
    with pytest.raises(InputError, match=r"model_1 was trained with other settings \(.*seed.*\); name another --out"):
        reproduce("1", "full", tmp_path, settings)


def test_the_full_profile_says_beforehand_how_long_it_takes(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = experiments_of([FIGURES["1"]], "full", settings)
    assert 0 < running.estimate_seconds(wanted, tmp_path / "runs") < 60
    monkeypatch.setattr("numvae.experiments.reproduction.estimate_seconds", lambda *_: 4000.0)
    reproduce("1", "full", tmp_path, settings)
    assert "about 1 h 07 min of training to do here" in capsys.readouterr().err
    assert running.estimate_seconds(wanted, tmp_path / "runs") == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["reviw"], "what: invalid choice: 'reviw'"),
        (["review", "--figure", "11"], "figure 11 is not known, did you mean 1"),
        (["review", "--figure", "manifold"], "figure manifold is not known, did you mean manifolds?"),
        (["review", "--profile", "fast"], "profile fast is not known, there are quick, full"),
    ],
)
def test_bad_words_are_refused_in_a_line(words: list[str], complaint: str) -> None:
    outcome = numvae("reproduce", *words)
    assert outcome.code == 2
    assert complaint in outcome.complaint
    assert outcome.out == ""


def test_the_command_prints_where_the_page_is(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "reproduce", lambda *words: reproduce(*words, settings))
    words = ["reproduce", "review", "--figure", "3", "--out", tmp_path]
    assert numvae(*words).out == f"The page: {tmp_path / 'index.html'}\n"
    content = numvae(*words, "--json").json
    assert content["figures"] == {"3": str(tmp_path / "figures" / "figure_3.png")}
    assert content["runs"]["model_1"]["epochs"] == 1
    assert content["runs"]["model_1"]["diverged"] is None


def test_missing_data_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMVAE_DATA", str(tmp_path / "nowhere"))
    outcome = numvae("reproduce", "review", "--figure", "1", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "which is no folder" in outcome.complaint
