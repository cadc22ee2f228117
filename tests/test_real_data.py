"""MNIST and the Frey faces, where they are at hand: what the defaults make of them, on few rows or few epochs."""

from __future__ import annotations

import numpy as np
import pytest

from numvae.datasets import load
from numvae.runs import open_run
from tests.small_runs import numvae

pytestmark = pytest.mark.usefixtures("data_folder")
MNIST = ["--data", "mnist", "--train-rows", 10_000, "--test-rows", 1_000, "--hidden", 100]
FREY = ["--data", "frey", "--latent", 2, "--hidden", 200]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """Two epochs of a sixth of MNIST."""
    folder = tmp_path_factory.mktemp("mnist") / "run"
    outcome = numvae("train", *MNIST, "--latent", 10, "--epochs", 2, "--lr", 0.003, "--out", folder, "--json")
    assert outcome.code == 0, outcome.err
    return folder, outcome.json


@pytest.fixture(scope="module")
def frey(tmp_path_factory):
    """Ten epochs of the Frey faces."""
    folder = tmp_path_factory.mktemp("frey") / "run"
    outcome = numvae("train", *FREY, "--epochs", 10, "--out", folder, "--json")
    assert outcome.code == 0, outcome.err
    return folder, outcome.json


def test_mnist_is_drawn_fresh_as_bits(mnist):
    config = open_run(mnist[0]).config
    assert (config.binarize, config.likelihood) == ("fresh", "bernoulli")


def test_mnist_is_learnt(mnist):
    """The best constant picture reaches -206 nats."""
    folder, numbers = mnist
    assert numbers["test_elbo"] > -150
    assert 5 < numbers["test_kl"] < 40
    history = open_run(folder).state.history
    assert history[1]["test_elbo"] > history[0]["test_elbo"]


def test_latents_of_mnist_tell_digits_apart(mnist):
    """The nearest class mean in latent space is right much more often than one time in ten."""
    run = open_run(mnist[0])
    dataset = run.load_data()
    means = run.means(dataset.train)
    centres = np.stack([means[dataset.train_labels == digit].mean(axis=0) for digit in range(10)])
    distance = np.linalg.norm(run.means(dataset.test)[:, None] - centres, axis=-1)
    assert (distance.argmin(axis=1) == dataset.test_labels).mean() > 0.5


def test_every_gradient_of_the_mnist_model_is_proven(mnist):
    outcome = numvae("gradcheck", mnist[0], "--json")
    assert outcome.code == 0, outcome.json["problems"]
    assert outcome.json["worst_relative_error"] <= 1e-8
    assert outcome.json["variance_ratio"] > 1


def test_the_importance_weighted_bound_of_mnist_is_tighter(mnist):
    numbers = numvae("evaluate", mnist[0], "--samples", 20, "--json").json
    assert numbers["test_importance_weighted"] > numbers["test_elbo"] + 1


def test_a_folder_of_idx_files_is_mnist(data_folder):
    own, named = load(data_folder / "mnist"), load("mnist")
    np.testing.assert_array_equal(own.test, named.test)
    np.testing.assert_array_equal(own.train_labels, named.train_labels)


def test_frey_faces_stay_grey(frey):
    config = open_run(frey[0]).config
    assert (config.binarize, config.likelihood) == ("none", "normal")


def test_frey_faces_are_learnt_steadily(frey):
    bounds = [row["test_elbo"] for row in open_run(frey[0]).state.history]
    assert bounds[-1] > bounds[0] + 50
    assert min(np.diff(bounds)) > -30


def test_every_gradient_of_the_frey_model_is_proven(frey):
    outcome = numvae("gradcheck", frey[0], "--json")
    assert outcome.code == 0, outcome.json["problems"]


def test_decoded_frey_faces_lie_within_what_a_grey_value_can_be(frey):
    faces = open_run(frey[0]).draw(50)
    assert faces.shape == (50, 560)
    assert (faces > 0).all()
    assert (faces < 1).all()
    assert faces.std(axis=0).max() > 0.05
