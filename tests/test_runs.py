"""A run's folder: made whole or not at all, opened only if it fits together, and gone on with as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from numvae import training
from numvae.config import Config
from numvae.datasets import DATASETS
from numvae.errors import DivergedError, InputError
from numvae.runs import Run, create_run, next_free_folder, open_run, resume_run
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


def test_runs_without_a_name_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(next_free_folder("drawn")) == "runs/drawn-1"
    for number in (1, 2):
        (tmp_path / "runs" / f"faces-{number}").mkdir(parents=True)
    assert str(next_free_folder("/data/faces.npy")) == "runs/faces-3"


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
        ({"optimizer": "sgd"}, "with another optimizer or dtype"),
        ({"dtype": "float64"}, "with another optimizer or dtype"),
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
    with pytest.raises(DivergedError, match=r"took the weights encoder\.1\.W out of range"):
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


def test_other_data_are_prepared_like_the_runs_own(trained, tmp_path):
    np.save(tmp_path / "other.npy", np.random.default_rng(0).random((20, 49)))
    assert len(trained.load_data(str(tmp_path / "other.npy")).test) == 2


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
    narrow = replace(trained, model=replace(trained.model, prior_precision=25.0))
    np.testing.assert_allclose(narrow.draw(10), trained.draw(10) / 5)
    assert abs(trained.draw(4000).std() - 1) < 4 / np.sqrt(2 * 8000)


def test_means_are_those_of_the_encoder(trained):
    means = trained.means(DIGITS.test)
    assert means.shape == (len(DIGITS.test), 2)
    params = trained.model.encode(trained.theta, (DIGITS.test / 255).astype(np.float32))
    assert np.corrcoef(means[:, 0], params[:, 0])[0, 1] > 0.5  # of fresh bits the one, of grey values the other
