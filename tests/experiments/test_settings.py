"""The parameter files of the experiments: each an ordinary one, at full size, with what the quick profile replaces."""

import json
from pathlib import Path

import pytest

from numvae.config import Config, read_config
from numvae.errors import InputError
from numvae.experiments.results import REPORTED
from numvae.experiments.review import FIGURES, STARTS_FROM, WATCHED
from numvae.experiments.settings import PROFILES, REVIEW, experiment_names, profile_settings, read_experiment


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", experiment_names())
def test_every_file_is_a_configuration_under_every_profile(name: str, profile: str) -> None:
    config = read_experiment(name, profile)
    assert config.hidden == [256]
    assert config.optimizer == "adam"
    assert (config.train_rows is None) == (profile == "full")


def test_a_file_by_itself_is_one_for_numvae_train() -> None:
    assert read_config(REVIEW / "model_3.json") == read_experiment("model_3")


def test_the_models_are_the_reviews() -> None:
    likelihoods = {name: read_experiment(name).likelihood for name in ("model_1", "model_2", "model_3")}
    assert likelihoods == {"model_1": "bernoulli", "model_2": "normal_shared_std", "model_3": "normal"}
    for name in (*likelihoods, "frey_model_2"):
        config = read_experiment(name)
        assert (config.latent, config.activation) == (2, "relu")
    assert read_experiment("model_3_free").least_std == 1e-6


def test_the_quick_profile_names_experiments_and_settings_that_exist() -> None:
    quick = json.loads(REVIEW.with_name("quick.json").read_text())
    assert set(quick) - {"all"} <= set(experiment_names())
    assert all(set(changes) <= set(Config.model_fields) for changes in quick.values())


def test_what_is_replaced_in_one_goes_before_what_is_replaced_in_all() -> None:
    ours, of_all = profile_settings("frey_model_2", "quick"), profile_settings("model_2", "quick")
    assert (ours["epochs"], ours["lr"]) == (60, of_all["lr"])
    assert of_all["epochs"] < 60


def test_every_experiment_is_in_a_figure_and_every_name_is_that_of_an_experiment() -> None:
    names = set(experiment_names())
    assert {name for figure in FIGURES.values() for name in figure.runs} == names
    assert set(STARTS_FROM) | set(STARTS_FROM.values()) | set(WATCHED) | set(REPORTED) <= names


def test_all_ten_figures_and_the_posters_are_there() -> None:
    assert {str(number) for number in range(1, 11)} <= set(FIGURES)
    assert {"manifolds", "latents", "kl", "denoising", "exponential", "counts"} <= set(FIGURES)
    for figure in FIGURES.values():
        for name, source in STARTS_FROM.items():
            if name in figure.runs:
                assert figure.runs.index(source) < figure.runs.index(name)


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="experiment model_4 is not known, did you mean model_"):
        read_experiment("model_4")
    with pytest.raises(InputError, match="profile quik is not known, did you mean quick"):
        read_experiment("model_1", "quik")


def test_settings_that_are_wrong_are_named_with_their_file(tmp_path: Path) -> None:
    folder = tmp_path / "review"
    folder.mkdir()
    (folder / "broken.json").write_text('{"latent": 0}')
    with pytest.raises(InputError, match=r"broken\.json.*latent"):
        read_experiment("broken", folder=folder)
