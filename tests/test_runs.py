"""A run's folder: made whole or not at all, opened only if it fits together, and gone on with as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from numvae import runs, training
from numvae.config import Config
from numvae.datasets import DATASETS
from numvae.errors import DivergedError, InputError
from numvae.priors import normal_prior
from numvae.runs import Run, claim_folder, create_run, open_run, resume_run
from numvae.training import train
from tests.small_runs import BATCH, DIGITS, SIDE, listing, same_state, write_digits

SETTINGS = {"hidden": [16], "latent": 2, "epochs": 2, "batch": BATCH, "likelihood": "bernoulli"}


@pytest.fixture
def digits(tmp_path):
    """A file of one's own, and the current folder for nothing else."""
    (tmp_path / "own").mkdir()
    return write_digits(tmp_path / "own")


@pytest.fixture
def made(digits, tmp_path):
    """A run that has been created and not yet trained, and its data."""
    return create_run(Config(data=str(digits), **SETTINGS), tmp_path / "run")


@pytest.fixture
def trained(made):
    """A run that has been trained and saved."""
    run, dataset = made
    train(run.model, dataset, run.recipe, run.state)
    run.save()
    return run


def refusal(act, *arguments):
    with pytest.raises(InputError) as caught:
        act(*arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


def change_config(folder, **changes):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | changes))


# ---- made


def test_a_new_run_has_its_config_a_checkpoint_and_an_empty_history(made):
    run, _ = made
    assert sorted(listing(run.folder)) == ["checkpoint.npz", "config.json", "history.jsonl"]
    assert (run.folder / "history.jsonl").read_text() == ""


def test_the_config_saved_is_the_one_in_effect(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(digits.parent)
    run, _ = create_run(Config(data=digits.name, hidden=[3], latent=2), tmp_path / "run")
    saved = json.loads((run.folder / "config.json").read_text())
    assert saved == run.config.model_dump()
    assert (saved["binarize"], saved["likelihood"]) == ("none", "normal")
    assert saved["data"] == str(digits), "a run is opened from anywhere, so the path is absolute"


def test_data_with_a_name_keep_it(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "drawn", lambda seed: DIGITS)
    run, _ = create_run(Config(**SETTINGS), tmp_path / "run")
    assert run.config.data == "drawn"
    assert run.image_shape == (SIDE, SIDE)


def test_a_run_is_never_written_over(made):
    before = listing(made[0].folder)
    assert "already holds a run; continue it with --resume" in refusal(create_run, made[0].config, made[0].folder)
    assert listing(made[0].folder) == before


def test_bad_data_leave_no_folder(tmp_path):
    refusal(create_run, Config(data="nowhere.npy"), tmp_path / "run")
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"kl_weight": 1e30}, "the gradient's length overflows"),
        ({"prior_params": {"mean": 1e30}}, "posterior.kl (Normal) made the first infinity"),
    ],
)
def test_settings_beyond_the_range_of_numbers_leave_no_folder(digits, tmp_path, settings, culprit):
    said = refusal(create_run, Config(data=str(digits), **SETTINGS, **settings), tmp_path / "run")
    assert said.startswith(f"before the first step {culprit}")
    assert not (tmp_path / "run").exists()


def test_a_model_beyond_memory_leaves_no_folder(digits, tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(training, "initial_theta", full)
    with pytest.raises(MemoryError):
        create_run(Config(data=str(digits)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_named(digits, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--out" in refusal(create_run, Config(data=str(digits), **SETTINGS), tmp_path / "file" / "run")


def test_runs_without_a_name_are_numbered_and_none_is_given_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(claim_folder("drawn")) for _ in range(3)] == ["runs/drawn-1", "runs/drawn-2", "runs/drawn-3"]
    (tmp_path / "runs" / "faces-1").mkdir()
    assert str(claim_folder("/data/faces.npy")) == "runs/faces-2"


@pytest.mark.parametrize("part", ["save", "_create_config"])
def test_a_run_that_died_while_it_started_is_none_and_can_be_started_again(digits, tmp_path, monkeypatch, part):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    config, folder = Config(data=str(digits), **SETTINGS), tmp_path / "run"
    with monkeypatch.context() as patch:
        if part == "save":
            patch.setattr(Run, "save", full)
        else:
            patch.setattr(runs.os, "fsync", full)
        assert "cannot be written: No space left on device" in refusal(create_run, config, folder)
    assert "holds no run" in refusal(open_run, folder)
    create_run(config, folder)
    assert same_state(resume_run(folder)[0].state, open_run(folder).state)


def test_of_two_runs_that_start_in_one_folder_at_once_the_second_is_refused(digits, tmp_path, monkeypatch):
    first, second = (Config(data=str(digits), seed=seed, **SETTINGS) for seed in (0, 1))
    folder = tmp_path / "run"
    prepare = runs.prepare_data

    def while_the_other_starts(config):
        monkeypatch.setattr(runs, "prepare_data", prepare)
        create_run(first, folder)
        return prepare(config)

    monkeypatch.setattr(runs, "prepare_data", while_the_other_starts)
    assert "already holds a run" in refusal(create_run, second, folder)
    assert json.loads((folder / "config.json").read_text())["seed"] == 0


# ---- saved and opened


def test_an_opened_run_is_the_one_that_was_saved(trained):
    opened = open_run(trained.folder)
    assert opened.config == trained.config
    assert opened.model == trained.model
    assert same_state(opened.state, trained.state)
    assert (opened.features, opened.image_shape) == (DIGITS.features, (SIDE, SIDE))


def test_history_has_one_json_object_a_line(trained):
    lines = (trained.folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == trained.state.history


def test_the_numbers_are_those_of_the_last_epoch(trained):
    last = trained.state.history[-1]
    numbers = trained.numbers()
    assert list(numbers) == [
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
    assert all(numbers[key] == last[key] for key in ("train_elbo", "test_elbo", "test_reconstruction", "test_kl"))
    assert numbers["epochs"] == 2
    assert numbers["parameters"] == trained.state.theta.size
    assert numbers["samples_per_second"] == pytest.approx(2 * len(DIGITS.train) / last["seconds"], abs=0.1)


def test_a_run_without_an_epoch_has_no_numbers_yet(made):
    numbers = made[0].numbers()
    assert numbers["test_elbo"] is None
    assert numbers["epochs"] == 0


def test_a_moment_that_is_a_number_is_no_vector(made):
    path = made[0].folder / "checkpoint.npz"
    arrays = dict(np.load(path))
    about = json.loads(arrays["about"].tobytes())
    about["numbers"]["first"] = 0.5
    del arrays["moment.first"]
    np.savez(path, **arrays | {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)})
    assert "with another optimizer" in refusal(open_run, made[0].folder)


@pytest.mark.parametrize("missing", ["config.json", "checkpoint.npz"])
def test_a_folder_that_lacks_a_part_is_no_run(made, missing):
    (made[0].folder / missing).unlink()
    assert missing in refusal(open_run, made[0].folder)


def test_a_damaged_config_is_said_to_be(made):
    (made[0].folder / "config.json").write_text("{")
    assert "is not JSON" in refusal(open_run, made[0].folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent": 3}, "of another model than config.json"),
        ({"hidden": [17]}, "of another model than config.json"),
        ({"optimizer": "sgd"}, "with another optimizer, estimator or dtype"),
        ({"optimizer": "rmsprop"}, "with another optimizer, estimator or dtype"),
        ({"dtype": "float64"}, "with another optimizer, estimator or dtype"),
        ({"binarize": "auto"}, "must say which binarize and likelihood"),
        ({"lattent": 3}, "lattent: unknown setting, did you mean latent?"),
    ],
)
def test_a_config_changed_by_hand_is_noticed(made, changes, words):
    change_config(made[0].folder, **changes)
    assert words in refusal(open_run, made[0].folder)


def test_weights_that_are_not_finite_are_never_saved(trained):
    before = listing(trained.folder)
    trained.state.theta[5] = np.inf
    with pytest.raises(DivergedError, match=r"^step 14: Adam\.ascend \(the weights encoder\.1\.W\) made the first inf"):
        trained.save()
    assert listing(trained.folder) == before


def test_moments_that_are_not_finite_are_never_saved(trained):
    before = listing(trained.folder)
    trained.state.moments["second"][5] = np.nan
    with pytest.raises(DivergedError, match=r"^step 14: Adam\.ascend \(the moments second\) made the first NaN"):
        trained.save()
    assert listing(trained.folder) == before


# ---- gone on with


def test_more_epochs_are_saved_with_the_run(trained):
    run, dataset = resume_run(trained.folder, {"epochs": 3})
    assert same_state(run.state, trained.state)
    assert open_run(trained.folder).config.epochs == 3
    np.testing.assert_array_equal(dataset.train, DIGITS.train)


def test_fewer_epochs_than_are_done_are_refused(trained):
    before = listing(trained.folder)
    assert "has 2 epochs done; --epochs must be at least that, got 1" in refusal(
        resume_run, trained.folder, {"epochs": 1}
    )
    assert listing(trained.folder) == before


def test_a_run_whose_data_are_gone_stays_as_it_is(trained, digits):
    before = listing(trained.folder)
    digits.unlink()
    assert "digits.npz" in refusal(resume_run, trained.folder, {"epochs": 5})
    assert listing(trained.folder) == before


def test_data_of_another_width_do_not_fit(trained, digits):
    np.savez(digits, np.random.default_rng(0).random((20, 3)))
    assert "has 3 features per row" in refusal(trained.load_data)
    assert "was trained on 49" in refusal(resume_run, trained.folder)


@pytest.mark.parametrize("change", [lambda rows: rows[:-1], lambda rows: np.roll(rows, 1, axis=0)])
def test_a_run_does_not_go_on_with_other_rows(trained, digits, change):
    before = listing(trained.folder)
    np.savez(digits, train=change(DIGITS.train), test=DIGITS.test)
    assert "training rows" in refusal(resume_run, trained.folder)
    assert listing(trained.folder) == before


def test_other_data_are_for_testing_as_a_whole(trained, tmp_path):
    rows = np.random.default_rng(0).random((20, 49))
    np.save(tmp_path / "other.npy", rows)
    found = trained.load_data(str(tmp_path / "other.npy"))
    np.testing.assert_array_equal(np.sort(found.test, axis=0), np.sort(rows, axis=0))


def test_other_data_with_a_test_part_keep_it(trained, tmp_path):
    rows = np.random.default_rng(0).random((20, 49))
    np.savez(tmp_path / "other.npz", train=rows, test=rows[:3])
    np.testing.assert_array_equal(trained.load_data(str(tmp_path / "other.npz")).test, rows[:3])


def test_the_runs_own_file_keeps_its_split(tmp_path, monkeypatch):
    np.save(tmp_path / "own.npy", np.random.default_rng(0).random((20, 49)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    run, dataset = create_run(Config(data="~/own.npy", hidden=[3], latent=2), tmp_path / "run")
    assert len(dataset.test) == 2
    for name in (None, "own.npy", "~/own.npy", str(tmp_path / "own.npy")):
        np.testing.assert_array_equal(run.load_data(name).test, dataset.test)


def test_other_data_are_binarized_once_where_the_runs_are(digits, tmp_path):
    run, _ = create_run(Config(data=str(digits), binarize="fixed", **SETTINGS), tmp_path / "run")
    np.save(tmp_path / "other.npy", np.random.default_rng(0).random((20, 49)))
    assert set(np.unique(run.load_data(str(tmp_path / "other.npy")).test)) == {0, 255}


# ---- gone on with otherwise


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1e-4},
        {"clip_norm": 1.0},
        {"schedule": "cosine", "schedule_options": {"steps": 20}},
        {"warm_up": 100},
        {"optimizer_options": {"beta1": 0.5}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_how_it_is_trained_can_change_from_here_on(trained, changes):
    """The change is kept, and makes another run of it: the weights end elsewhere."""
    ends = []
    for overrides in ({"epochs": 3}, {"epochs": 3, **changes}):
        run, dataset = resume_run(trained.folder, overrides)
        assert same_state(run.state, trained.state)
        ends.append(train(run.model, dataset, run.recipe, run.state).theta)
    saved = open_run(trained.folder).config.model_dump()
    assert {name: saved[name] for name in changes} == changes
    assert not np.array_equal(*ends)


def test_a_new_schedule_does_not_keep_the_options_of_the_old_one(trained):
    resume_run(trained.folder, {"schedule": "cosine", "schedule_options": {"steps": 20}})
    run, _ = resume_run(trained.folder, {"schedule": "constant"})
    assert run.config.schedule_options == {}


@pytest.mark.parametrize("name", sorted(Config.model_fields.keys() - runs.CHANGEABLE))
def test_what_the_run_is_cannot_change(trained, name):
    before = listing(trained.folder)
    value = getattr(trained.config, name)
    assert f"cannot go on with another {name}; what can change is clip_norm" in refusal(
        resume_run, trained.folder, {name: value}
    )
    assert listing(trained.folder) == before


# ---- drawn from


def test_samples_are_mean_images_and_follow_the_seed(trained):
    first, again, other = trained.draw(5), trained.draw(5), trained.draw(5, seed=1)
    assert first.shape == (5, 49)
    assert (first > 0).all()
    assert (first < 1).all()
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(trained.draw(3), first[:3])


def test_samples_have_the_spread_of_the_prior(trained, monkeypatch):
    monkeypatch.setattr(Run, "decode", lambda run, z: z)
    narrow = replace(trained, model=replace(trained.model, prior=normal_prior(25.0)))
    np.testing.assert_allclose(narrow.draw(10), trained.draw(10) / 5)
    assert abs(trained.draw(4000).std() - 1) < 4 / np.sqrt(2 * 8000)


def test_means_are_those_of_the_encoder(trained):
    means = trained.means(DIGITS.test)
    assert means.shape == (len(DIGITS.test), 2)
    params = trained.model.encode(trained.theta, (DIGITS.test / 255).astype(np.float32))
    assert np.corrcoef(means[:, 0], params[:, 0])[0, 1] > 0.5  # of fresh bits the one, of grey values the other
