"""A state on disk: all of it, whole or not at all, never a pickle; and going on from it changes no bit."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest

from numvae import checkpoints, mlp_vae
from numvae.checkpoints import read_checkpoint, save_state
from numvae.errors import InputError
from numvae.optimizers import OPTIMIZERS, AdaGrad, Adam, Momentum
from numvae.schedules import Cosine, Exponential, WarmUp
from numvae.training import HISTORY_KEYS, Recipe, start, train
from tests.small_runs import BATCH, DIGITS, MODEL, SIDE, begin, same_state

RECIPE = Recipe(epochs=3, batch=BATCH)


def save(path, state):
    save_state(path, MODEL, state, features=DIGITS.features, image_shape=(SIDE, SIDE))


def trained(recipe=RECIPE, stop=None, dtype=np.float32):
    return train(MODEL, DIGITS, recipe, begin(recipe, dtype), on_batch=lambda state: state.step == stop)


STATE = trained(stop=10)


@pytest.fixture
def path(tmp_path):
    """A good checkpoint."""
    path = tmp_path / "checkpoint.npz"
    save(path, STATE)
    return path


def refusal(path):
    """The line that says why a checkpoint cannot be used."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(path).state(MODEL)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


# ---- what it holds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_comes_back_bit_for_bit(tmp_path, name, dtype):
    state = trained(replace(RECIPE, optimizer=OPTIMIZERS[name]()), stop=10, dtype=dtype)
    save(tmp_path / "checkpoint.npz", state)
    found = read_checkpoint(tmp_path / "checkpoint.npz").state(MODEL)
    assert same_state(found, state)
    assert found.theta.dtype == dtype
    assert found.seconds == state.seconds
    assert found.history == state.history
    np.testing.assert_array_equal(found.noise_rng.random(5), copy.deepcopy(state.noise_rng).random(5))


def test_it_knows_the_data_that_the_model_was_made_for(path):
    found = read_checkpoint(path)
    assert found.features == DIGITS.features
    assert found.image_shape == (SIDE, SIDE)


def test_it_knows_the_rows_that_the_model_was_trained_on(path):
    assert read_checkpoint(path).fingerprint is None
    save_state(path, MODEL, STATE, features=DIGITS.features, fingerprint=DIGITS.fingerprint)
    assert read_checkpoint(path).fingerprint == DIGITS.fingerprint


def test_rows_that_are_no_images_have_no_shape(tmp_path):
    save_state(tmp_path / "c.npz", MODEL, STATE, features=DIGITS.features)
    assert read_checkpoint(tmp_path / "c.npz").image_shape is None


def test_saving_changes_nothing_of_the_state(tmp_path):
    state = copy.deepcopy(STATE)
    save(tmp_path / "c.npz", state)
    assert same_state(state, STATE)


def test_the_file_is_plain_arrays(path):
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"theta", "moment.first", "moment.second", "about"}
        assert all(file[name].dtype != object for name in file.files)


# ---- going on


@pytest.mark.parametrize("stop", [4, 7, 9, 15], ids=["mid-epoch", "end of an epoch", "next epoch", "last epoch"])
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": Adam(), "schedule": WarmUp(5, Cosine(steps=12))},
        {"optimizer": AdaGrad(), "weight_prior_precision": 1.0},
        {"optimizer": Momentum(), "schedule": Exponential(0.5, steps=6), "samples": 3},
    ],
    ids=["adam", "adagrad", "momentum"],
)
def test_a_run_that_went_through_a_file_ends_bit_for_bit_like_one_that_did_not(tmp_path, changes, stop):
    recipe = replace(RECIPE, **changes)
    save(tmp_path / "c.npz", trained(recipe, stop))
    state = read_checkpoint(tmp_path / "c.npz").state(MODEL)
    assert state.step == stop
    train(MODEL, DIGITS, recipe, state)
    assert same_state(state, trained(recipe))


def test_a_lost_moment_would_be_noticed(tmp_path):
    """The negative control: the same without the optimiser's memory ends elsewhere."""
    save(tmp_path / "c.npz", trained(RECIPE, 10))
    state = read_checkpoint(tmp_path / "c.npz").state(MODEL)
    state.moments = RECIPE.optimizer.start(state.theta)
    train(MODEL, DIGITS, RECIPE, state)
    assert not same_state(state, trained(RECIPE))


# ---- whole or not at all


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_a_crash_while_saving_leaves_the_old_checkpoint(path, monkeypatch, error):
    before = path.read_bytes()

    def crash(file, **arrays):
        file.write(b"PK half a checkpoint")
        raise error

    monkeypatch.setattr(checkpoints.np, "savez", crash)
    with pytest.raises(type(error)):
        save(path, trained())
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


# ---- damaged files


class Payload:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_it_is_refused_and_never_unpickled(path):
    arrays = dict(np.load(path))
    trap = path.parent / "unpickled"
    np.savez(path, **arrays | {"theta": np.array([Payload(trap)], dtype=object)})
    assert "cannot be read" in refusal(path)
    assert not trap.exists()


@pytest.mark.parametrize("kept", [0, 1, 30, 300, 5000, -5000, -100, -23, -1])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize("place", np.linspace(0, 1, 40, endpoint=False))
def test_a_flipped_bit_is_refused_or_means_nothing(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert same_state(read_checkpoint(path).state(MODEL), STATE)


def write_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def write_pickle(path):
    np.array([Payload(path.parent / "unpickled")], dtype=object).dump(path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(os.urandom(4000)),
        lambda path: path.write_text("{}"),
        write_npy,
        write_pickle,
        lambda path: np.savez(path, theta=STATE.theta),
        lambda path: np.savez(path, about=np.frombuffer(b"{}", np.uint8)),
        lambda path: np.savez(path, theta=STATE.theta, about=np.frombuffer(b"{}", np.uint8)),
        lambda path: np.savez(path, theta=STATE.theta, about=np.frombuffer(b"[1]", np.uint8)),
        lambda path: np.savez(path, theta=STATE.theta, about=np.frombuffer(b"not JSON", np.uint8)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["noise", "text", "npy", "pickle", "no about", "no theta", "empty", "a list", "no JSON", "a folder"],
)
def test_what_is_no_checkpoint_is_refused(path, write):
    write(path)
    line = refusal(path)
    assert "cannot be read" in line or "missing or out of order; restore the file, or train again" in line
    assert not (path.parent / "unpickled").exists()


def rewrite(path, arrays=None, **about):
    """Change what stands in a checkpoint; None takes an array out."""
    found = dict(np.load(path)) | (arrays or {})
    found["about"] = np.frombuffer(json.dumps(json.loads(found["about"].tobytes()) | about).encode(), np.uint8)
    np.savez(path, **{name: array for name, array in found.items() if array is not None})


def test_a_checkpoint_written_anew_as_it_was_is_read(path):
    """The negative control of the two tests below."""
    rewrite(path)
    assert same_state(read_checkpoint(path).state(MODEL), STATE)


ROW = {name: 1.0 for name in HISTORY_KEYS}
NOISE = STATE.noise_rng.bit_generator.state


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("features", wrong) for wrong in ("x", None, -1, 49.0, True, [49], 10**400)),
        *(("image_shape", wrong) for wrong in ("x", [7], [7, "x"], 49, [7, 8])),
        *(("fingerprint", wrong) for wrong in ("x", [200], [200, -1], {})),
        *(("layout", wrong) for wrong in ("x", None)),
        *(("numbers", wrong) for wrong in ("x", None, {"step": "x"}, {"step": None}, {"step": math.nan})),
        *(("epoch", wrong) for wrong in ("x", None, -1, 1.5, math.inf, 2**60)),
        *(("batches", wrong) for wrong in ("x", -1)),
        *(("step", wrong) for wrong in ("x", [1])),
        *(("bound_sum", wrong) for wrong in ("x", None)),
        *(("seconds", wrong) for wrong in ("x", math.nan)),
        *(("history", wrong) for wrong in (None, 3, [3], [{}], [ROW | {"step": "x"}], [ROW | {"seconds": 0}])),
    ],
)
def test_what_is_out_of_order_is_named(path, name, value):
    rewrite(path, **{name: value})
    assert f"is no checkpoint, {name} missing or out of order; restore the file, or train again" in refusal(path)


@pytest.mark.parametrize(
    "state", ["x", None, {}, NOISE | {"bit_generator": "MT19937"}, NOISE | {"state": {"state": "x"}}]
)
def test_a_generator_that_is_none_is_refused(path, state):
    rewrite(path, noise_rng=state)
    line = refusal(path)
    assert "cannot be read" in line
    assert line.endswith("restore the file, or train again")


@pytest.mark.parametrize("name", ["theta", "moment.first"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda vector: np.append(vector, vector[:1]),
        lambda vector: vector[:, None],
        lambda vector: vector.astype(np.float16),
        lambda vector: vector.astype(int),
        lambda vector: np.where(np.arange(vector.size) == 3, np.float32(np.nan), vector),
        lambda vector: np.where(np.arange(vector.size) == 3, np.float32(np.inf), vector),
    ],
    ids=["longer", "a matrix", "float16", "integers", "NaN", "infinity"],
)
def test_vectors_that_are_no_weights_are_refused(path, name, spoil):
    rewrite(path, {name: spoil(np.load(path)[name])})
    assert "missing or out of order" in refusal(path)


def test_the_sum_of_an_epoch_may_have_overflowed(path):
    """Then the end of the epoch says so."""
    rewrite(path, bound_sum=-math.inf)
    assert read_checkpoint(path).state(MODEL).bound_sum == -math.inf


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert "does not exist" in refusal(tmp_path / "checkpoint.npz")


@pytest.mark.parametrize(
    "model",
    [mlp_vae(DIGITS.features, latents=3, hidden=(16,)), mlp_vae(DIGITS.features, latents=2, hidden=(16, 16))],
    ids=["more latents", "more layers"],
)
def test_the_checkpoint_of_another_model_is_refused(path, model):
    with pytest.raises(InputError, match="of another model"):
        read_checkpoint(path).state(model)


def test_another_model_with_as_many_weights_is_refused_too(path):
    one_layer, two_layers = (mlp_vae(DIGITS.features, latents=2, hidden=hidden) for hidden in ((6,), (3, 24)))
    assert one_layer.layout.size == two_layers.layout.size
    state = start(one_layer, DIGITS, RECIPE)
    save_state(path, one_layer, state, features=DIGITS.features)
    with pytest.raises(InputError, match="of another model"):
        read_checkpoint(path).state(two_layers)
