"""The command as other tools call it: what it prints, what it leaves, how it ends; on good input and on bad."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import numvae as package
from numvae import Bernoulli, Normal, cli, flags, progress
from numvae.config import Config, read_config
from numvae.datasets import BINARIZATIONS, DATASETS
from numvae.errors import CheckError
from numvae.optimizers import OPTIMIZERS
from numvae.runs import create_run, open_run
from numvae.training import train
from tests.small_runs import BATCH, DIGITS, MODEL, TEST_ROWS, TRAIN_ROWS, listing, numvae, same_state, write_digits

TRAIN_KEYS = [
    "train_elbo",
    "test_elbo",
    "test_reconstruction",
    "test_kl",
    "epochs",
    "seconds",
    "samples_per_second",
    "parameters",
    "out",
]
COMMANDS = ["train", "evaluate", "sample", "figures", "gradcheck", "info"]
TINY = ["--hidden", "16", "--latent", "2", "--batch", BATCH, "--likelihood", "bernoulli"]
EPOCHS = 3


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder, and few drawn digits behind the default data."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setitem(DATASETS, "drawn", lambda seed: DIGITS)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A file of digits."""
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A run trained by the command, and what it printed; to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    outcome = numvae("train", "--data", digits, *TINY, "--epochs", EPOCHS, "--lr", 0.01, "--out", folder, "--json")
    assert outcome.code == 0, outcome.err
    return folder, outcome


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run on rows that are no images, with three latents and no labels; to be read only."""
    folder = tmp_path_factory.mktemp("plain")
    np.save(folder / "rows.npy", np.random.default_rng(0).random((60, 5)))
    words = ["--data", folder / "rows.npy", "--hidden", "4", "--latent", "3", "--epochs", "2"]
    outcome = numvae("train", *words, "--out", folder / "run", "--json")
    assert outcome.code == 0, outcome.err
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture
def no_report(monkeypatch):
    """Training without the pictures, which take longer than the training."""
    monkeypatch.setattr(cli, "_report", lambda run, dataset, options: cli._print(options, run.numbers()) or cli.DONE)


# ---- train


def test_train_prints_the_numbers_promised_and_nothing_else(finished):
    folder, outcome = finished
    numbers = outcome.json
    assert list(numbers) == TRAIN_KEYS
    assert numbers["epochs"] == EPOCHS
    assert numbers["parameters"] == MODEL.layout.size
    assert numbers["out"] == str(folder)
    assert numbers["test_elbo"] == pytest.approx(numbers["test_reconstruction"] - numbers["test_kl"], rel=1e-6)
    assert numbers["samples_per_second"] > 0


def test_train_leaves_the_files_promised_and_no_others(finished):
    folder, _ = finished
    pictures = {
        "bound_curves",
        "bound_terms",
        "gradient_check",
        "latent_scatter",
        "manifold",
        "prior_samples",
        "reconstructions",
    }
    assert set(listing(folder)) == {
        "config.json",
        "history.jsonl",
        "checkpoint.npz",
        "index.html",
        "figures",
        *(f"figures/{name}.png" for name in pictures),
    }


def test_the_history_has_a_row_for_every_epoch(finished):
    folder, outcome = finished
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    assert rows[-1]["test_elbo"] == outcome.json["test_elbo"]
    assert rows[-1]["train_elbo"] > rows[0]["train_elbo"]


def test_the_page_holds_everything_and_asks_the_network_for_nothing(finished):
    folder, outcome = finished
    page = (folder / "index.html").read_text(encoding="utf-8")
    for picture in (folder / "figures").glob("*.png"):
        assert base64.b64encode(picture.read_bytes()).decode() in page
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "@import" not in page
    assert f"{outcome.json['test_elbo']:.2f}".lstrip("-") in page


def test_the_page_shows_the_gradient_check_of_this_model(finished):
    page = (finished[0] / "index.html").read_text(encoding="utf-8")
    assert "✓ Passed" in page
    for name, _ in MODEL.layout.leaves(np.zeros(MODEL.layout.size)):
        assert f"{name}</code>" in page


def test_progress_goes_to_stderr_one_line_an_epoch_where_nobody_watches(finished):
    lines = finished[1].err.splitlines()
    assert len(lines) == EPOCHS
    for epoch, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {epoch}/{EPOCHS}: bound -?[\d.]+ train, -?[\d.]+ test = -?[\d.]+ reconstruction - [\d.]+ KL nats; "
            r"[\d,]+ samples/s",
            line,
        )


def test_without_json_a_person_reads_the_numbers_and_where_the_page_is(digits, tmp_path):
    outcome = numvae("train", "--data", digits, *TINY, "--epochs", 1, "--out", tmp_path / "run")
    assert outcome.code == 0
    assert re.search(r"test elbo +-\d", outcome.out)
    assert f"The page: {tmp_path / 'run' / 'index.html'}" in outcome.out


def test_the_file_overrides_defaults_and_flags_override_the_file(digits, tmp_path, no_report):
    settings = {"data": str(digits), "latent": 3, "hidden": [8], "epochs": 1, "batch": 50, "lr": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    outcome = numvae(
        "train", tmp_path / "config.json", "--latent", 4, "--lr", "none", "--out", tmp_path / "r", "--json"
    )
    assert outcome.json["epochs"] == 1
    saved = json.loads((tmp_path / "r" / "config.json").read_text())
    assert (saved["latent"], saved["hidden"], saved["batch"], saved["lr"]) == (4, [8], 50, None)
    assert set(saved) == set(Config.model_fields)
    assert "auto" not in (saved["binarize"], saved["likelihood"])


def test_every_flag_of_the_contract_is_understood(tmp_path, no_report):
    words = (
        "--data drawn --binarize fresh --latent 2 --hidden 16,8 --epochs 1 --likelihood bernoulli --batch 50 "
        "--optimizer adagrad --lr 0.02 --samples 2 --estimator score_function --seed 3 --dtype float64 --json"
    )
    outcome = numvae("train", *words.split(), "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert open_run(tmp_path / "run").theta.dtype == np.float64


def test_runs_without_a_name_go_into_numbered_folders(no_report):
    for number in (1, 2):
        assert numvae("train", *TINY, "--epochs", 1, "--json").json["out"] == f"runs/drawn-{number}"
    assert (Path("runs") / "drawn-2" / "checkpoint.npz").exists()


SETTINGS = [
    "--optimizer sgd",
    "--optimizer momentum",
    "--optimizer nesterov",
    "--optimizer adagrad",
    "--optimizer rmsprop",
    "--optimizer adam --lr 0.002",
    '--optimizer adamw --optimizer-options {"weight_decay":0.1}',
    "--schedule constant --warm-up 4",
    '--schedule inverse_time --schedule-options {"rate":0.1}',
    '--schedule exponential --schedule-options {"decay":0.5,"steps":5}',
    '--schedule cosine --schedule-options {"steps":7}',
    '--schedule milestones --schedule-options {"at":[2,4]}',
    "--activation identity",
    "--activation tanh",
    "--activation sigmoid",
    "--activation softplus",
    "--activation relu",
    "--activation leaky_relu",
    "--activation elu",
    "--likelihood bernoulli",
    "--likelihood normal",
    "--likelihood normal --mean identity --least-std 0.01",
    "--likelihood normal_shared_std",
    "--likelihood normal_fixed_std --fixed-std 0.2",
    "--binarize none",
    "--binarize threshold",
    "--binarize fixed",
    "--binarize fresh",
    "--objective elbo_monte_carlo",
    "--objective importance_weighted --samples 5",
    "--estimator score_function",
    "--estimator score_function --samples 3 --objective elbo_monte_carlo",
    "--estimator score_function --samples 3 --objective importance_weighted",
    "--dtype float64",
    "--weights small_normal",
    "--start-at-data false",
    "--weight-prior 1",
    "--clip-norm 5",
    "--prior-precision 4",
    "--hidden 16,8",
    "--batch 10000",
    "--batch 1",
    "--train-rows 1 --test-rows 1",
    "--seed 123456789012345678901234567890",
]


@pytest.mark.parametrize("words", SETTINGS)
def test_every_setting_trains(words, tmp_path, no_report):
    few = ["--train-rows", TRAIN_ROWS, "--test-rows", TEST_ROWS, "--hidden", 16, "--latent", 2, "--epochs", 1]
    outcome = numvae("train", *few, "--batch", BATCH, *words.split(), "--out", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.err
    assert all(np.isfinite(outcome.json[key]) for key in TRAIN_KEYS[:-1])
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    flag, value = words.split()[:2]
    assert (
        str(saved[flag.removeprefix("--").replace("-", "_")]).strip("[]").replace(" ", "").lower().startswith(value[:2])
    )


def test_the_score_function_learns_too(tmp_path, no_report):
    words = ["--estimator", "score_function", "--samples", 4, "--epochs", 15, "--lr", 0.01]
    assert numvae("train", *TINY, *words, "--out", tmp_path / "run").code == 0
    history = open_run(tmp_path / "run").state.history
    assert history[-1]["test_elbo"] > history[0]["test_elbo"] + 0.3


# ---- resume


def test_a_run_can_be_given_more_epochs_and_ends_as_if_it_had_them_from_the_start(run, digits, tmp_path, no_report):
    outcome = numvae("train", "--resume", run, "--epochs", EPOCHS + 2, "--json")
    assert outcome.json["epochs"] == EPOCHS + 2
    assert len(outcome.err.splitlines()) == 2
    whole = ["--data", digits, *TINY, "--epochs", EPOCHS + 2, "--lr", 0.01, "--out", tmp_path / "whole"]
    assert numvae("train", *whole).code == 0
    assert same_state(open_run(run).state, open_run(tmp_path / "whole").state)


def test_a_finished_run_resumed_only_draws_its_page_anew(run):
    before = listing(run)
    (run / "index.html").unlink()
    assert numvae("train", "--resume", run, "--json").json["epochs"] == EPOCHS
    after = listing(run)
    assert after.keys() == before.keys()
    assert open_run(run).state.step == EPOCHS * -(-TRAIN_ROWS // BATCH)
    assert after["config.json"] == before["config.json"]


def test_what_leaves_the_model_as_it_is_can_change_with_resume(run, no_report):
    words = (
        "--epochs 4 --lr 0.001 --clip-norm 5 --schedule cosine --warm-up 2 --device cpu --json "
        '--schedule-options {"steps":100} --optimizer-options {"beta1":0.5}'
    )
    outcome = numvae("train", "--resume", run, *words.split())
    assert outcome.json["epochs"] == 4, outcome.err
    saved = json.loads((run / "config.json").read_text())
    assert (saved["lr"], saved["clip_norm"], saved["schedule"], saved["warm_up"]) == (0.001, 5, "cosine", 2)
    assert (saved["schedule_options"], saved["optimizer_options"]) == ({"steps": 100}, {"beta1": 0.5})


# ---- evaluate, sample, figures, info


def test_evaluate_finds_the_bound_that_training_found(finished):
    folder, trained = finished
    numbers = numvae("evaluate", folder, "--json").json
    assert list(numbers) == [
        "test_elbo",
        "test_elbo_standard_error",
        "test_reconstruction",
        "test_kl",
        "samples",
        "rows",
    ]
    assert numbers["test_elbo"] == trained.json["test_elbo"]
    assert numbers["rows"] == TEST_ROWS


def test_evaluate_with_samples_adds_the_tighter_bound(finished):
    numbers = numvae("evaluate", finished[0], "--samples", 20, "--json").json
    assert numbers["test_importance_weighted"] > numbers["test_elbo"]
    assert numbers["samples"] == 20


def test_evaluate_takes_other_data_of_the_same_width(finished, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((30, 49)))
    outcome = numvae("evaluate", finished[0], "--data", tmp_path / "other.npy", "--json")
    assert outcome.json["rows"] == 30
    assert outcome.json["test_elbo"] != finished[1].json["test_elbo"]


def test_what_is_not_a_number_is_null(tmp_path, digits, no_report):
    """One row has no standard error."""
    words = ["--data", digits, *TINY, "--epochs", 1, "--test-rows", 1, "--out", tmp_path / "run"]
    assert numvae("train", *words).code == 0
    assert numvae("evaluate", tmp_path / "run", "--json").json["test_elbo_standard_error"] is None
    assert "inf" in numvae("evaluate", tmp_path / "run").out


def test_evaluate_writes_nothing(finished):
    before = listing(finished[0])
    assert numvae("evaluate", finished[0], "--samples", 3).code == 0
    assert listing(finished[0]) == before


@pytest.mark.parametrize("count", [1, 7, 100])
def test_sample_draws_a_png(finished, tmp_path, count):
    outcome = numvae("sample", finished[0], "--n", count, "--out", tmp_path / "s.png", "--json")
    assert outcome.json == {"n": count, "out": str(tmp_path / "s.png")}
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_folders_for_pictures_are_made(finished):
    assert numvae("sample", finished[0], "--n", 4, "--out", "not/there/s.png").code == 0
    assert numvae("figures", finished[0], "--out", "not/here").code == 0
    assert {"not/there/s.png", "not/here/manifold.png"} <= listing(Path()).keys()


def test_a_seed_gives_the_same_picture_and_another_gives_another(finished):
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        assert numvae("sample", finished[0], "--n", 4, "--seed", seed, "--out", name).code == 0
    a, b, c = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b
    assert a != c


def test_figures_draws_the_same_pictures_and_page_anew(run, finished):
    shutil.rmtree(run / "figures")
    (run / "index.html").unlink()
    drawn = numvae("figures", run, "--json").json
    assert drawn["page"] == str(run / "index.html")
    assert len(drawn["figures"]) == 7
    originals = listing(finished[0])
    assert {name: content for name, content in listing(run).items() if name.startswith("figures")} == {
        name: content for name, content in originals.items() if name.startswith("figures")
    }


def test_figures_lists_what_it_drew_and_not_what_lay_there(run):
    (run / "figures" / "old.png").write_bytes(b"")
    drawn = numvae("figures", run, "--json").json["figures"]
    assert len(drawn) == 7
    assert str(run / "figures" / "old.png") not in drawn
    assert all(Path(path).exists() for path in drawn)


def test_figures_elsewhere_are_the_pictures_alone(finished):
    before = listing(finished[0])
    drawn = numvae("figures", finished[0], "--out", "pictures", "--json").json
    assert sorted(drawn) == ["figures"]
    assert sorted(drawn["figures"]) == sorted(f"pictures/{path.name}" for path in Path("pictures").iterdir())
    assert listing(finished[0]) == before


def test_rows_that_are_no_images_have_the_pictures_that_need_none(plain):
    assert {path.stem for path in (plain / "figures").iterdir()} == {"bound_curves", "bound_terms", "gradient_check"}
    assert (plain / "index.html").exists()


def test_rows_that_are_no_images_cannot_be_drawn(plain):
    outcome = numvae("sample", plain, "--n", 3, "--out", "s.png")
    assert outcome.code == 2
    assert "not images" in outcome.complaint
    assert listing(Path()) == {}


def test_info_tells_versions_and_places():
    told = numvae("info", "--json").json
    assert told["numvae"] == package.__version__
    assert {"python", "numpy", "scipy", "blas", "cores", "devices", "NUMVAE_DATA", "cache"} <= told.keys()
    assert "cpu" in told["devices"]
    assert "numpy" in numvae("info").out


def test_info_of_a_run_tells_what_it_is_and_has_reached(finished):
    told = numvae("info", finished[0], "--json").json
    assert told["planned_epochs"] == told["trained_epochs"] == EPOCHS
    assert told["test_elbo"] == finished[1].json["test_elbo"]
    assert "Dense(inputs=49, outputs=16)" in told["model"]


# ---- gradcheck


def test_gradcheck_of_a_run_proves_its_gradients(finished):
    outcome = numvae("gradcheck", finished[0], "--json")
    found = outcome.json
    assert outcome.code == 0
    assert found["ok"] is True
    assert found["worst_relative_error"] <= 1e-8
    assert [group["name"] for group in found["groups"]] == [
        name for name, _ in MODEL.layout.leaves(np.zeros(MODEL.layout.size))
    ]
    assert all({"name", "analytic", "numeric", "relative_error"} <= group.keys() for group in found["groups"])
    assert found["variance_ratio"] > 1
    assert outcome.err == ""


def test_gradcheck_takes_settings_from_a_file_and_flags(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden": [5], "latent": 2, "activation": "relu"}')
    found = numvae("gradcheck", tmp_path / "config.json", "--latent", 3, "--json").json
    assert found["ok"] is True
    assert found["tolerance"] == 1e-6
    assert listing(Path()) == {}


def test_gradcheck_for_a_person_is_a_table_with_a_verdict(finished):
    outcome = numvae("gradcheck", finished[0])
    assert outcome.code == 0
    assert outcome.out.startswith("pullback of elbo: ok")
    assert "expectations agree coordinate by coordinate; variance ratio" in outcome.out


@pytest.mark.parametrize(
    ("family", "rule", "factor"), [(Bernoulli, "log_prob", 2), (Normal, "kl", -1)], ids=["factor two", "KL sign"]
)
def test_gradcheck_fails_on_a_planted_bug(monkeypatch, family, rule, factor):
    right = getattr(family, rule)

    def wrong(self, *arguments):
        value, pullback = right(self, *arguments)
        return value, lambda d: (factor * pullback(d)[0], *pullback(d)[1:])

    monkeypatch.setattr(family, rule, wrong)
    small = ["gradcheck", "--hidden", 3, "--latent", 2]
    outcome = numvae(*small, "--json")
    assert outcome.code == 1
    assert outcome.json["ok"] is False
    assert outcome.json["worst_relative_error"] > 0.1
    outcome = numvae(*small)
    assert outcome.code == 1
    assert "FAILED" in outcome.out


# ---- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_on_stdout(command):
    outcome = numvae(command, "--help")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith(f"usage: numvae {command}")
    assert "--json" in outcome.out


def test_the_help_of_all_lists_the_commands():
    outcome = numvae("--help")
    assert outcome.code == 0
    assert all(command in outcome.out for command in COMMANDS)


def test_train_has_a_flag_for_every_setting_and_shows_the_default():
    shown = " ".join(numvae("train", "--help").out.split())
    for name in Config.model_fields:
        assert f"--{name.replace('_', '-')} " in shown
    assert "(default: drawn)" in shown
    assert "(default: none)" in shown
    assert "; one of identity, tanh, sigmoid, softplus, relu, leaky_relu, elu (default: tanh)" in shown


def test_every_setting_is_described_with_its_type_default_and_choices():
    described = {setting.name: setting for setting in flags.describe_settings()}
    assert list(described) == list(Config.model_fields)
    assert (described["lr"].kind, described["lr"].default, described["lr"].optional) == (float, None, True)
    assert (described["hidden"].kind, described["hidden"].default, described["hidden"].optional) == (list, [500], False)
    assert described["device"].choices == ("cpu", "cuda")
    assert described["optimizer"].choices == tuple(OPTIMIZERS)
    assert described["data"].choices == ()


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("latent", "3", 3),
        ("latent", "3.0", "3.0"),
        ("latent", "none", "none"),
        ("train_rows", "none", None),
        ("lr", ".5", 0.5),
        ("lr", "1e-3", 1e-3),
        ("hidden", "500,200", [500, 200]),
        ("hidden", " 5, 4 ", [5, 4]),
        ("hidden", "5,", "5,"),
        ("data", "5", "5"),
        ("data", "none", "none"),
        ("start_at_data", "False", False),
        ("optimizer_options", '{"beta1": 0.5}', {"beta1": 0.5}),
        ("optimizer_options", "[" * 100_000, "[" * 100_000),
        ("seed", "9" * 5000, "9" * 5000),
    ],
)
def test_a_word_becomes_what_json_would_hold_or_stays(name, word, value):
    (setting,) = (each for each in flags.describe_settings() if each.name == name)
    read = setting.read(word)
    assert type(read) is type(value)
    assert read == value


def test_the_version_is_the_packages():
    assert numvae("--version").out.split() == ["numvae", package.__version__]


# ---- bad input


@pytest.fixture(scope="module")
def places(finished, digits, plain, tmp_path_factory):
    """Names for the bad input below, all that it needs lying ready."""
    folder = tmp_path_factory.mktemp("bad")
    good = digits.read_bytes()
    (folder / "empty").mkdir()
    (folder / "zero.npy").write_bytes(b"")
    (folder / "cut.npz").write_bytes(good[: len(good) // 2])
    (folder / "noise.npy").write_bytes(bytes(range(256)) * 4)
    (folder / "words.txt").write_text("1 2 3")
    (folder / "noise.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    rows = np.random.default_rng(0).random((20, 49))
    np.save(folder / "nan.npy", np.where(rows > 0.999, np.nan, rows) * np.where(rows == rows[3, 4], np.nan, 1))
    np.save(folder / "range.npy", 3 * rows)
    np.save(folder / "one.npy", rows[:1])
    np.save(folder / "vector.npy", rows[0])
    np.save(folder / "words.npy", np.array([["a", "b"], ["c", "d"]]))
    np.save(folder / "objects.npy", np.array([[{}, 1], [2, 3]], dtype=object), allow_pickle=True)
    np.save(folder / "wide.npy", np.random.default_rng(0).random((20, 51)))
    np.save(folder / "bits.npy", (rows > 0.5).astype(np.uint8))
    for name, text in {
        "broken.json": '{"latent": 2',
        "list.json": "[]",
        "twice.json": '{"latent": 2, "latent": 3}',
        "unknown.json": '{"latnt": 2}',
        "digits.json": '{"seed": ' + "9" * 5000 + "}",
    }.items():
        (folder / name).write_text(text)
    (folder / "folder.png").mkdir()
    for name in ("cut", "mixed", "edited"):
        shutil.copytree(finished[0], folder / f"run-{name}")
    (folder / "run-cut" / "checkpoint.npz").write_bytes((finished[0] / "checkpoint.npz").read_bytes()[:1000])
    shutil.copy(plain / "checkpoint.npz", folder / "run-mixed")
    (folder / "run-edited" / "config.json").write_text("{}")
    return {"bad": folder, "run": finished[0], "digits": digits}


BAD = [
    # the words themselves
    ("", "arguments are required: COMMAND"),
    ("trian", "invalid choice: 'trian'"),
    ("--latent 2", "COMMAND"),
    ("train --latnt 2", "did you mean --latent?"),
    ("train --epoch 2", "did you mean --epochs?"),
    ("train --latent", "numvae: --latent: expected one argument (see numvae train --help)"),
    ("train --lr -1e-3", "--lr must be above 0, got -0.001"),
    ("train --out {nothing}", "--out must name a file or folder, got ''"),
    ("train --resume {nothing}", "--resume must name a file or folder, got ''"),
    ("train {nothing}", "CONFIG.json must name a file or folder, got ''"),
    ("info {nothing}", "DIR must name a file or folder, got ''"),
    ("train {digits} extra", "unrecognized arguments: extra"),
    # values
    ("train --latent two", "--latent must be a whole number, got 'two'"),
    ("train --latent 0", "--latent must be at least 1, got 0"),
    ("train --latent -3", "--latent must be at least 1, got -3"),
    ("train --latent 1.5", "--latent must be a whole number, got '1.5'"),
    ("train --latent 99999999999", "--latent must be at most 1,000,000,000, got 99999999999"),
    ("train --hidden {nothing}", "--hidden must be whole numbers like 500 or 500,200, got ''"),
    ("train --hidden 16,,8", "--hidden must be whole numbers like 500 or 500,200, got '16,,8'"),
    ("train --hidden 16,x", "--hidden must be whole numbers like 500 or 500,200"),
    ("train --hidden 0", "--hidden.0 must be at least 1, got 0"),
    ("train --hidden 100000000", "weights, more"),
    ("train --epochs 0", "--epochs must be at least 1, got 0"),
    ("train --batch 0", "--batch must be at least 1, got 0"),
    ("train --samples 0", "--samples must be at least 1, got 0"),
    ("train --samples 1000000000", "--samples must be at most 10,000"),
    ("train --samples 10000 --batch 20000", "random numbers a step, more"),
    ("train --lr 0", "--lr must be above 0, got 0"),
    ("train --lr nan", "--lr must be a finite number, got nan"),
    ("train --lr inf", "--lr must be a finite number, got inf"),
    ("train --lr fast", "--lr must be a number, got 'fast'"),
    ("train --seed -1", "--seed must be at least 0, got -1"),
    ("train --dtype float16", "--dtype must be float32 or float64, got 'float16'"),
    ("train --optimizer adm", "did you mean adam?"),
    ("train --estimator score", "--estimator must be auto, score_function"),
    ("train --binarize maybe", "--binarize must be auto, none, threshold, fixed, fresh"),
    ("train --likelihood gaussian", "--likelihood must be auto, bernoulli, continuous_bernoulli"),
    ("train --device gpu", "--device must be cpu or cuda, got 'gpu'"),
    ("train --optimizer-options {{beta1:3}}", "--optimizer-options must be a JSON object like"),
    ("train --optimizer-options 3", "--optimizer-options must be a JSON object like"),
    ('train --optimizer-options {{"beta9":1}}', "adam has no beta9"),
    ("train --schedule cosine", "cosine needs steps"),
    ("train --likelihood normal --binarize fresh", "use binarize 'none', or likelihood bernoulli"),
    ("train --latent 0 --lr -1 --optimizer adm", "--lr must be above 0, got -1"),
    (
        "train --latent 0 --hidden x --optimizer-options x",
        "--hidden must be whole numbers like 500 or 500,200, got 'x'; --o",
    ),
    ("train --likelihood normal_fixed_std --fixed-std 1e-200", "--fixed-std must be at least 1e-06, got 1e-200"),
    ("train --prior-precision 1e-320", "--prior-precision must be at least 1e-06"),
    ("train --start-at-data maybe", "--start-at-data must be true or false, got 'maybe'"),
    # data
    ("train --data nowhere.npy", "nowhere.npy"),
    ("train --data drwan", "did you mean drawn?"),
    ("train --data {bad}/zero.npy", "zero.npy"),
    ("train --data {bad}/cut.npz", "cut.npz"),
    ("train --data {bad}/noise.npy", "noise.npy"),
    ("train --data {bad}/words.txt", "words.txt"),
    ("train --data {bad}/noise.gz", "noise.gz"),
    ("train --data {bad}/nan.npy", "must be finite, saw nan"),
    ("train --data {bad}/range.npy", "rescale"),
    ("train --data {bad}/one.npy", "needs at least 2"),
    ("train --data {bad}/vector.npy", "must have shape (N, D)"),
    ("train --data {bad}/words.npy", "words.npy"),
    ("train --data {bad}/objects.npy", "objects.npy"),
    ("train --data {bad}/empty", "empty"),
    ("train --data {bad}/bits.npy --likelihood normal", "holds bits"),
    # parameter files
    ("train no.json", "no.json does not exist"),
    ("train {bad}/empty", "is a folder, not a JSON parameter file"),
    ("train {run}", "is a folder, not a JSON parameter file; to go on with the run in it: --resume"),
    ("train /dev/zero", "saw a device or a pipe"),
    ("train {bad}/broken.json", "is not JSON"),
    ("train {bad}/list.json", "must hold a JSON object"),
    ("train {bad}/twice.json", "latent is set more than once"),
    ("train {bad}/unknown.json", "latnt: unknown setting, did you mean latent?"),
    ("train {bad}/digits.json", "is not JSON"),
    # folders
    ("train --data {digits} --out {run}", "already holds a run; continue it with --resume"),
    ("train --data {digits} --out {bad}/words.txt", "--out"),
    ("train --data {digits} --out {bad}/words.txt/run", "--out"),
    ("train --data {digits} --out {long}", "File name too long"),
    ("train --resume nowhere", "holds no run"),
    ("train --resume {bad}/empty", "holds no run"),
    ("train --resume {run} --lr 3 --seed 1 --batch 5", "not --batch, --seed"),
    ("train --resume {run} --out other", "not --out"),
    ("train {bad}/unknown.json --resume {run}", "not CONFIG.json"),
    ("train --resume {run} --epochs 1", "has 3 epochs done"),
    ("train --resume {run} --epochs x", "--epochs must be a whole number, got 'x'"),
    ("train --resume {bad}/run-cut", "checkpoint.npz: cannot be read"),
    ("train --resume {bad}/run-mixed", "of another model"),
    ("train --resume {bad}/run-edited", "config.json must say which binarize"),
    # the other commands
    ("evaluate", "DIR"),
    ("evaluate nowhere", "holds no run"),
    ("evaluate {bad}/run-cut", "checkpoint.npz: cannot be read"),
    ("evaluate {bad}/run-mixed", "were files of two runs mixed?"),
    ("evaluate {run} --samples 0", "--samples must be a whole number from 1 to 10000, got 0"),
    ("evaluate {run} --samples many", "--samples must be a whole number"),
    ("evaluate {run} --samples 1000000", "--samples must be a whole number"),
    ("evaluate {run} --data {bad}/wide.npy", "has 51 features per row"),
    ("evaluate {run} --data nowhere", "nowhere"),
    ("evaluate {run} --latent 3", "unrecognized arguments: --latent"),
    ("sample {run} --n 4", "--out"),
    ("sample {run} --n 0 --out s.png", "--n must be a whole number from 1 to 10000, got 0"),
    ("sample {run} --n 10000000 --out s.png", "--n must be a whole number"),
    ("sample {run} --n x --out s.png", "--n must be a whole number"),
    ("sample {run} --seed -1 --out s.png", "--seed must be a whole number from 0 upwards, got -1"),
    ("sample {run} --seed x --out s.png", "--seed must be a whole number"),
    ("sample {run} --out s.jpg", "--out must name a .png file"),
    ("sample {run} --out {nothing}", "--out must name a .png file, got ''"),
    ("sample {run} --out {bad}/words.txt/s.png", "words.txt: File exists"),
    ("sample {run} --out {bad}/folder.png", "folder.png: Is a directory"),
    ("sample nowhere --out s.png", "holds no run"),
    ("figures nowhere", "holds no run"),
    ("figures {run} --out {nothing}", "--out must name a file or folder"),
    ("figures {run} --out {bad}/words.txt", "words.txt: File exists"),
    ("gradcheck nowhere.json", "does not exist"),
    ("gradcheck {bad}/empty", "holds no run"),
    ("gradcheck {run} --latent 3", "leave out --latent"),
    ("gradcheck --activation sine", "--activation must be identity, tanh"),
    ("info nowhere", "holds no run"),
    ("info {run} extra", "unrecognized arguments: extra"),
]


@pytest.mark.skipif(os.name == "nt", reason="Windows words its errors differently")
@pytest.mark.parametrize(("words", "said"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_gets_one_line_and_exit_code_2_and_leaves_nothing(places, words, said):
    before = {name: listing(Path(folder)) for name, folder in places.items()}
    given = [word.format(**places, long="x" * 300, nothing="") for word in words.split()]
    outcome = numvae(*given)
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("numvae: ")
    assert said in outcome.err
    assert len(outcome.err) < 1500
    assert listing(Path()) == {}, "something was written into the current folder"
    assert before == {name: listing(Path(folder)) for name, folder in places.items()}


@pytest.mark.parametrize(
    "words", ["train --latent 0 --json", "evaluate nowhere --json", "--json", "info --jsno --json"]
)
def test_bad_input_is_told_in_json_too(words):
    outcome = numvae(*words.split())
    assert outcome.code == outcome.json["exit_code"] == 2
    assert outcome.err == f"numvae: {outcome.json['error']}\n"


def test_an_empty_name_of_data_is_no_leave_to_take_other_data(finished):
    for words in (["train", "--data", ""], ["evaluate", finished[0], "--data", ""]):
        outcome = numvae(*words)
        assert outcome.code == 2
        assert "no such data set" in outcome.complaint
    assert listing(Path()) == {}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError("Unable to allocate 3 TiB"), 2, "out of memory (Unable to allocate 3 TiB)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "disk"), 2, "disk: No space left on device"),
        (ZeroDivisionError("float division"), 1, "this is a bug, please report it: ZeroDivisionError: float division"),
    ],
    ids=["memory", "Ctrl-C", "disk", "bug"],
)
def test_what_happens_before_training_leaves_one_line_and_no_folder(monkeypatch, error, code, said):
    def fail(seed):
        raise error

    monkeypatch.setitem(DATASETS, "drawn", fail)
    outcome = numvae("train", *TINY, "--json")
    assert outcome.code == outcome.json["exit_code"] == code
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert listing(Path()) == {}


@pytest.mark.parametrize("wanted", ["", "1"])
def test_a_bug_is_one_line_and_its_place_is_shown_on_demand(monkeypatch, wanted):
    def fail(options):
        raise ZeroDivisionError("float division\nby zero")

    monkeypatch.setenv("NUMVAE_TRACEBACK", wanted)
    monkeypatch.setitem(cli.COMMANDS, "info", fail)
    outcome = numvae("info")
    assert outcome.code == 1
    assert "ZeroDivisionError: float division by zero (NUMVAE_TRACEBACK=1 shows" in outcome.complaint
    assert outcome.err.startswith("Traceback" if wanted else "numvae: this is a bug, please report it")


# ---- divergence


@pytest.mark.parametrize("lr", ["1e6", "1e38"])
def test_a_run_that_diverges_says_where_and_keeps_its_last_good_checkpoint(digits, tmp_path, lr):
    words = ["--data", digits, *TINY, "--optimizer", "sgd", "--lr", lr, "--epochs", 5, "--out", tmp_path / "run"]
    outcome = numvae("train", *words)
    assert outcome.code == 1
    assert outcome.out == ""
    assert re.match(r"numvae: (after )?step \d+: .* made the first (NaN|infinity) \(", outcome.complaint)
    assert "--lr" in outcome.complaint
    assert sum(line.startswith("numvae:") for line in outcome.err.splitlines()) == 1
    state = open_run(tmp_path / "run").state
    assert np.isfinite(state.theta).all()
    assert numvae("evaluate", tmp_path / "run", "--json").json["rows"] == TEST_ROWS


# ---- interrupted and killed


@pytest.mark.parametrize(("seconds", "saved"), [(0, 10), (1000, 7)], ids=["every batch", "every epoch"])
def test_a_checkpoint_is_saved_every_so_many_seconds_and_after_every_epoch(
    digits, tmp_path, monkeypatch, seconds, saved
):
    """A crash in the fourth batch of the second epoch; an epoch has seven."""
    calls = []
    fresh = BINARIZATIONS["fresh"]

    def crash(rows, rng, dtype):
        calls.append(len(rows))
        if len(calls) == 13:  # the row tried beforehand and the test rows of the first epoch were two of them
            raise OSError(5, "Input/output error")
        return fresh(rows, rng, dtype)

    monkeypatch.setattr(progress, "CHECKPOINT_SECONDS", seconds - 0.5)
    monkeypatch.setitem(BINARIZATIONS, "fresh", crash)
    words = ["--data", digits, *TINY, "--binarize", "fresh", "--epochs", 3, "--out", tmp_path / "run"]
    assert numvae("train", *words).code == 2
    assert open_run(tmp_path / "run").state.step == saved


KILLED = {
    "adam": {"optimizer": "adam", "schedule": "cosine", "schedule_options": {"steps": 90}, "warm_up": 5},
    "adagrad": {"optimizer": "adagrad", "weight_prior": 1.0, "samples": 2},
    "momentum": {"optimizer": "momentum", "schedule": "exponential", "schedule_options": {"decay": 0.5, "steps": 50}},
}
SMALL = {"hidden": [16], "latent": 2, "batch": BATCH, "likelihood": "bernoulli"}
signals = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals to a process")


class Process:
    """``numvae train`` without an end, in a process of its own."""

    def __init__(self, settings, folder, seconds=progress.CHECKPOINT_SECONDS):
        (folder / "config.json").write_text(json.dumps(settings))
        code = (
            "import sys; from numvae import cli, progress; "
            f"progress.CHECKPOINT_SECONDS = {seconds}; sys.exit(cli.main(sys.argv[1:]))"
        )
        words = ["train", str(folder / "config.json"), "--epochs", "1000000", "--out", str(folder / "run"), "--json"]
        self.run, self.err, self.out = folder / "run", folder / "err", folder / "out"
        root = str(Path(package.__file__).parents[1])
        with self.err.open("w") as err, self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *words], stdout=out, stderr=err, env={**os.environ, "PYTHONPATH": root}
            )

    def wait_for_an_epoch(self):
        """Until its first epoch is saved."""
        deadline = time.monotonic() + 120
        while not (self.run / "history.jsonl").exists() or not (self.run / "history.jsonl").read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, "no epoch in two minutes"
            time.sleep(0.01)

    def end(self, number):
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


def uninterrupted(settings, epochs, folder):
    """The state of the same run, never stopped."""
    run, dataset = create_run(read_config(None, {**settings, "epochs": epochs}), folder)
    return train(run.model, dataset, run.recipe, run.state)


@signals
@pytest.mark.parametrize("name", KILLED)
def test_a_run_killed_at_any_moment_and_resumed_ends_bit_for_bit_like_one_that_was_not(
    name, digits, tmp_path, no_report
):
    settings = {**SMALL, **KILLED[name], "data": str(digits)}
    process = Process(settings, tmp_path, seconds=0)  # a checkpoint after every batch
    process.wait_for_an_epoch()
    time.sleep(np.random.default_rng(list(name.encode())).uniform(0, 0.2))
    assert process.end(signal.SIGKILL) == -signal.SIGKILL

    epochs = open_run(process.run).state.epoch + 2
    outcome = numvae("train", "--resume", process.run, "--epochs", epochs, "--json")
    assert outcome.json["epochs"] == epochs
    assert same_state(open_run(process.run).state, uninterrupted(settings, epochs, tmp_path / "whole"))


@signals
def test_ctrl_c_ends_with_a_checkpoint_and_the_words_to_go_on(digits, tmp_path, no_report):
    settings = {**SMALL, "data": str(digits)}
    process = Process(settings, tmp_path)
    process.wait_for_an_epoch()
    assert process.end(signal.SIGINT) == 130
    state = open_run(process.run).state
    complaint = process.err.read_text().splitlines()[-1]
    assert complaint == (
        f"numvae: interrupted after step {state.step}; go on with: numvae train --resume {process.run}"
    )
    assert json.loads(process.out.read_text())["exit_code"] == 130
    assert "Traceback" not in process.err.read_text()

    epochs = state.epoch + 2
    words = complaint.partition("go on with: numvae ")[2].split()
    assert numvae(*words, "--epochs", epochs).code == 0
    assert same_state(open_run(process.run).state, uninterrupted(settings, epochs, tmp_path / "whole"))


@signals
def test_a_run_that_is_terminated_ends_like_one_interrupted_with_the_exit_code_of_sigterm(digits, tmp_path):
    process = Process({**SMALL, "data": str(digits)}, tmp_path)
    process.wait_for_an_epoch()
    assert process.end(signal.SIGTERM) == 143
    step = open_run(process.run).state.step
    assert json.loads(process.out.read_text()) == {
        "error": f"interrupted after step {step}; go on with: numvae train --resume {process.run}",
        "exit_code": 143,
    }


@signals
def test_ctrl_c_while_the_last_epoch_is_evaluated_is_heeded_after_it(digits, tmp_path, monkeypatch):
    fresh, calls = BINARIZATIONS["fresh"], []

    def interrupt(rows, rng, dtype):
        calls.append(len(rows))
        if len(calls) == 9:  # one row is tried beforehand, an epoch has seven batches; then come the test rows
            os.kill(os.getpid(), signal.SIGINT)
        return fresh(rows, rng, dtype)

    monkeypatch.setitem(BINARIZATIONS, "fresh", interrupt)
    words = ["--data", digits, *TINY, "--binarize", "fresh", "--epochs", 1, "--out", tmp_path / "a run"]
    outcome = numvae("train", *words, "--json")
    assert outcome.code == outcome.json["exit_code"] == 130
    assert outcome.complaint == (
        "numvae: interrupted after step 7; training is complete, draw its page with: "
        f"numvae figures '{tmp_path / 'a run'}'"
    )
    assert open_run(tmp_path / "a run").state.epoch == 1


@pytest.mark.parametrize("place", ["numvae.runs.Run.check_gradient", "numvae.report.draw_figures"])
def test_ctrl_c_while_the_page_is_drawn_says_that_training_is_complete(digits, tmp_path, monkeypatch, place):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupt)
    outcome = numvae("train", "--data", digits, *TINY, "--epochs", 1, "--out", tmp_path / "run", "--json")
    assert outcome.code == outcome.json["exit_code"] == 130
    assert outcome.json["error"] == (
        f"interrupted; training is complete, draw its page with: numvae figures {tmp_path / 'run'}"
    )
    assert open_run(tmp_path / "run").state.epoch == 1


def test_without_a_gradient_check_the_numbers_and_the_page_are_there_all_the_same(digits, tmp_path, monkeypatch):
    def fail(*arguments):
        raise CheckError("score_function: the gradient is not finite")

    monkeypatch.setattr("numvae.runs.Run.check_gradient", fail)
    outcome = numvae("train", "--data", digits, *TINY, "--epochs", 1, "--out", tmp_path / "run", "--json")
    assert outcome.code == 0
    assert list(outcome.json) == TRAIN_KEYS
    assert outcome.complaint == "numvae: the page has no gradient check: score_function: the gradient is not finite"
    assert (tmp_path / "run" / "index.html").exists()


# ---- as a program


def program(*words, **environment):
    root = str(Path(package.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "numvae", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root, **environment},
        text=True,
    )


def test_the_package_runs_as_a_program_and_ends_with_the_exit_code(finished):
    process = program("evaluate", str(finished[0]), "--samples", "0")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert err == "numvae: --samples must be a whole number from 1 to 10000, got 0\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes of this kind")
def test_a_reader_who_has_gone_is_no_error():
    process = program("info", "--json")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0
    assert err == ""


FEW = [*TINY[:-2], "--train-rows", "60", "--test-rows", "20", "--epochs", "1"]
shells = pytest.mark.skipif(os.name == "nt", reason="Windows has another shell")


@shells
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_takes_nothing_from_the_run(digits, tmp_path, closed):
    words = " ".join(map(str, [*FEW, "--data", digits]))
    command = f"'{sys.executable}' -m numvae train {words} --out '{tmp_path / 'run'}' {closed}"
    root = str(Path(package.__file__).parents[1])
    finished = subprocess.run(
        ["sh", "-c", command], check=False, capture_output=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert finished.returncode == 0, finished.stderr.decode()
    assert (tmp_path / "run" / "index.html").exists()
    assert ("test elbo" in finished.stdout.decode()) == (closed == "2>&-")


@shells
def test_a_reader_of_the_progress_who_has_gone_does_not_stop_the_training(digits, tmp_path):
    process = program("train", *map(str, [*FEW, "--data", digits]), "--out", str(tmp_path / "run"))
    process.stderr.close()
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert "test elbo" in out
    assert (tmp_path / "run" / "index.html").exists()


def test_what_a_terminal_cannot_show_is_escaped(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "läuft")
    process = program("info", str(tmp_path / "läuft"), PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "l\\xe4uft" in out


@shells
def test_where_no_cache_of_fonts_can_be_kept_nobody_hears_of_it(finished, tmp_path):
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null"}
    process = program("sample", str(finished[0]), "--n", "1", "--out", str(tmp_path / "s.png"), "--json", **nowhere)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["n"] == 1
