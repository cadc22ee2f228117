"""The parameter file: everything in it is checked at once, and every name in it becomes an object."""

from __future__ import annotations

import json
import os
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from numvae import FixedStdNormal, Normal, config, networks
from numvae.config import Config, OneOf, prepare_data, read_config
from numvae.corruption import CORRUPTIONS
from numvae.datasets import BINARIZATIONS, DATASETS, from_arrays
from numvae.devices import Device
from numvae.errors import InputError
from numvae.layered import LayeredVAE
from numvae.optimizers import OPTIMIZERS, AdamW
from numvae.schedules import SCHEDULES, Cosine, Milestones, WarmUp
from tests.small_runs import DIGITS

OPTIONS = {
    "constant": {},
    "inverse_time": {"rate": 0.1},
    "exponential": {"decay": 0.5, "steps": 10},
    "cosine": {"steps": 10},
    "milestones": {"at": [1, 2]},
    "stages": {"pass_steps": 10},
}


def choices(name):
    field = Config.model_fields[name]
    return {choice for each in field.metadata if isinstance(each, OneOf) for choice in each.names}


def refusal(settings, tmp_path=None):
    """The line that says what is wrong with settings, given as flags or, with a folder, as a file."""
    path = None
    if tmp_path is not None:
        path = tmp_path / "config.json"
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    with pytest.raises(InputError) as caught:
        read_config(path, None if path else settings)
    line = str(caught.value)
    assert "\n" not in line
    return line


# ---- good settings


def test_the_defaults_are_the_paper_on_drawn_digits():
    defaults = read_config()
    assert (defaults.data, defaults.latent, defaults.hidden, defaults.batch) == ("drawn", 20, [500], 100)
    assert defaults.build_model(784).layout.size == 815_824


def test_a_saved_config_reads_back_as_itself(tmp_path):
    written = Config(hidden=[3, 4], optimizer="sgd", lr=0.5, schedule="milestones", schedule_options={"at": [5]})
    (tmp_path / "c.json").write_text(json.dumps(written.model_dump()))
    assert read_config(tmp_path / "c.json") == written


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path):
    (tmp_path / "c.json").write_text('{"latent": 3, "epochs": 4}')
    found = read_config(tmp_path / "c.json", {"epochs": 5})
    assert (found.latent, found.epochs, found.batch) == (3, 5, 100)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("activation", config.ACTIVATIONS),
        ("objective", config.OBJECTIVES),
        ("weights", config.INITIALIZERS),
        ("optimizer", OPTIMIZERS),
    ],
)
def test_the_choices_are_the_names_in_the_tables(name, table):
    assert choices(name) == set(table)


def test_the_choices_of_data_treatment_are_the_names_in_the_tables():
    assert choices("estimator") == {"auto", *config.TRAINING_ESTIMATORS}
    assert choices("binarize") == {"auto", *BINARIZATIONS}
    assert choices("schedule") == set(SCHEDULES) - {"warm_up"}  # that is the setting warm_up
    assert get_args(Config.model_fields["device"].annotation) == get_args(Device)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_its_step_size_from_lr(name):
    assert Config(optimizer=name, lr=0.125).build_optimizer().step_size == 0.125
    assert Config(optimizer=name).build_optimizer() == OPTIMIZERS[name]()


def test_further_hyper_parameters_are_options():
    found = Config(optimizer="adamw", lr=0.1, optimizer_options={"beta1": 0.5, "weight_decay": 0.2})
    assert found.build_optimizer() == AdamW(step_size=0.1, beta1=0.5, weight_decay=0.2)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_schedule_is_built_with_its_options(name):
    built = Config(schedule=name, schedule_options=OPTIONS[name]).build_schedule()
    assert isinstance(built, SCHEDULES[name])


def test_warm_up_stands_before_the_schedule():
    assert Config(warm_up=5, schedule="cosine", schedule_options={"steps": 9, "floor": 0.1}).build_schedule() == WarmUp(
        5, Cosine(9, 0.1)
    )
    assert Config(schedule="milestones", schedule_options={"at": [2, 3]}).build_schedule() == Milestones((2, 3))


@pytest.mark.parametrize(
    ("likelihood", "family", "heads"),
    [
        ("normal", Normal(), ("SigmoidMean", "LeastLogStd")),
        ("normal_shared_std", Normal(), ("SigmoidMean", "SharedLogStd")),
        ("normal_fixed_std", FixedStdNormal(0.25), ("SigmoidMean",)),
    ],
)
def test_a_normal_likelihood_has_its_head_behind_the_decoder(likelihood, family, heads):
    model = Config(likelihood=likelihood, binarize="none", fixed_std=0.25, hidden=[3]).build_model(6)
    assert model.likelihood == family
    after_last_layer = [type(part).__name__ for part in model.decoder.parts[3:]]
    assert tuple(after_last_layer) == heads


def test_an_identity_mean_leaves_the_sigmoid_out():
    model = Config(likelihood="normal", binarize="none", mean="identity", hidden=[3]).build_model(6)
    assert not any(isinstance(part, networks.SigmoidMean) for part in model.decoder.parts)


@pytest.mark.parametrize("hidden", [[], [3], [5, 4, 3]])
def test_hidden_layers_stand_in_the_encoder_and_mirrored_in_the_decoder(hidden):
    model = Config(hidden=hidden, latent=2).build_model(6)
    widths = [part.outputs for part in model.decoder.parts if isinstance(part, networks.Dense)]
    assert [part.outputs for part in model.encoder.parts if isinstance(part, networks.Dense)] == [*hidden, 4]
    assert widths == [*reversed(hidden), 6]


def test_a_second_layer_of_latents_stands_above_the_first():
    above = Config(latent=5, hidden=[7, 6], latent_above=3, hidden_above=[4])
    model = above.build_model(9)
    assert isinstance(model, LayeredVAE)
    units = [
        [part.outputs for part in network.parts if isinstance(part, networks.Dense)]
        for network in (*model.encoders, *model.decoders)
    ]
    assert units == [[7, 6, 10], [4, 6], [6, 7, 9], [4, 10]]
    assert model.widths == (5, 3)
    assert not isinstance(Config(latent=5).build_model(9), LayeredVAE)


def test_the_bound_of_two_layers_is_by_samples_and_says_so():
    above = Config(latent_above=3)
    assert (above.kl, above.settled_objective(), above.settled_estimator()) == (
        "monte_carlo",
        "elbo_monte_carlo",
        "pathwise",
    )
    assert Config(**above.model_dump()) == above
    assert Config().kl == "analytic"


# ---- bad settings


def test_all_that_is_wrong_is_said_at_once_with_the_path_of_each(tmp_path):
    line = refusal(
        {
            "latents": 3,
            "epochs": 0,
            "hidden": [500, -1, "x"],
            "optimizer": "adm",
            "lr": -1,
            "binarize": "fresh",
            "likelihood": "normal",
            "schedule": "cosine",
            "seed": 1.5,
        },
        tmp_path,
    )
    said = line.removeprefix(f"{tmp_path / 'config.json'}: ").split("; ")
    for words in (
        "latents: unknown setting, did you mean latent?",
        "epochs must be at least 1, got 0",
        "hidden.1 must be at least 1, got -1",
        "hidden.2 must be a whole number, got 'x'",
        "lr must be above 0, got -1",
        "optimizer must be sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw, got 'adm', did you mean adam?",
        "schedule_options: cosine needs steps",
        "seed must be a whole number, got 1.5",
    ):
        assert words in said
    assert "likelihood: 'normal' is for grey values, but binarize 'fresh' makes bits" in line
    assert len(said) == 10


def test_what_the_file_and_what_the_flags_got_wrong_is_told_apart(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden": [0], "epochs": 0, "latnt": 2, "batch": 0}')
    with pytest.raises(InputError) as caught:
        read_config(tmp_path / "config.json", {"batch": 5, "epochs": "x", "train_rows": 0})
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'}: hidden.0 must be at least 1, got 0; "
        "latnt: unknown setting, did you mean latent?; "
        "--train-rows must be at least 1, got 0; --epochs must be a whole number, got 'x'"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batchsize": 3}, "--batchsize: unknown setting, did you mean batch?"),
        ({"xyzzy": 3}, "xyzzy: unknown setting"),
        ({"hidden": 500}, "--hidden must be whole numbers like 500 or 500,200, got 500"),
        ({"data": 5}, "--data must be text, got 5"),
        ({"latent": None}, "--latent must be a whole number, got null"),
        ({"latent": 10**10}, "--latent must be at most 1,000,000,000, got 10000000000"),
        ({"activation": "Relu"}, "did you mean relu?"),
        ({"estimator": "score"}, "--estimator must be auto, score_function"),
        ({"estimator": "disarm"}, "--estimator: disarm is for Bernoulli latents, got Normal; use pathwise"),
        ({"model": "sbn", "estimator": "pathwise"}, "--estimator: pathwise is for continuous latents"),
        (
            {"model": "sbn", "objective": "importance_weighted", "estimator": "rebar"},
            "--estimator: rebar cannot estimate importance_weighted, which reduces by log_mean_exp",
        ),
        (
            {"model": "sbn", "layers": 2, "objective": "importance_weighted", "estimator": "nvil"},
            "--estimator: nvil cannot take several layers as one, as importance_weighted does",
        ),
        ({"estimator": "vimco"}, "--samples: vimco needs at least 2 samples, got 1"),
        ({"objective": "reweighted_wake_sleep"}, "--samples: reweighted_wake_sleep needs at least 2 samples, got 1"),
        ({"objective": "wake_sleep", "estimator": "lax"}, "--estimator: wake_sleep is no estimate of one gradient"),
        ({"objective": "wake_sleep", "model": "sbn"}, "--objective: wake_sleep is for a vae here, not for an sbn"),
        ({"objective": "wake_sleep", "encoder_phase": "sleep"}, "--encoder-phase: encoder_phase is for the objective"),
        ({"objective": "wake_sleep", "latent_above": 3}, "--objective: two layers of latents have no other bound"),
        ({"layers": 2}, "--layers: a vae has one layer of latents, not 2; use model 'sbn'"),
        ({"model": "sbn", "prior_precision": 2.0}, "--prior-precision: an sbn learns its prior"),
        ({"latent_above": 0}, "--latent-above must be at least 1, got 0"),
        ({"model": "sbn", "latent_above": 3}, "--latent-above: layers of bits are counted by layers"),
        ({"model": "sbn", "hidden_above": [3]}, "--hidden-above: layers of bits are counted by layers"),
        ({"hidden_above": [3]}, "--hidden-above: there are no latents above to reach; set latent_above"),
        ({"latent_above": 3, "posterior": "laplace"}, "--posterior: both layers of latents are normal, so posterior"),
        ({"latent_above": 3, "prior": "laplace"}, "--prior: the upper layer of latents is standard normal, so prior"),
        ({"latent_above": 3, "prior_params": {"log_std": 1.0}}, "--prior-params: the upper layer of latents is"),
        ({"latent_above": 3, "prior_precision": 2.0}, "--prior-precision: the upper layer of latents is"),
        ({"latent_above": 3, "kl": "analytic"}, "--kl: the KL of two layers of latents has no closed form, so kl cann"),
        ({"latent_above": 3, "estimator": "score_function"}, "--estimator: two layers of latents have one path from"),
        ({"latent_above": 3, "objective": "wake_sleep"}, "--objective: two layers of latents have no other bound"),
        (
            {"latent_above": 10_000, "batch": 10_000, "samples": 10},
            "--batch: 10000 rows with 10 samples of 10020 latents each are 1,002,000,000",
        ),
        ({"flow": "radial"}, "--flow must be none, planar or iaf, got 'radial'"),
        ({"flow": "iaf", "model": "sbn"}, "--flow: a flow moves real numbers, not bits; flow is a vae's"),
        ({"flow": "iaf", "latent_above": 3}, "--flow: a flow is for one layer of latents"),
        ({"flow_steps": 3}, "--flow-steps: flow_steps is of a flow, and there is no such; set flow to one"),
        ({"flow": "planar", "flow_hidden": 5}, "--flow-hidden: flow_hidden is of a flow, and there is no such; set fl"),
        ({"flow": "iaf", "flow_steps": 0}, "--flow-steps must be at least 1, got 0"),
        ({"flow": "iaf", "posterior": "laplace"}, "--posterior: a flow starts from a normal, so posterior cannot be"),
        ({"flow": "iaf", "prior": "laplace"}, "--prior: a flow ends at a normal prior, so prior cannot be 'laplace'"),
        ({"flow": "iaf", "kl": "analytic"}, "--kl: the KL behind a flow has no closed form, so kl cannot be 'analyt"),
        ({"flow": "iaf", "kl_weight": 2.0}, "--kl-weight: the elbo behind a flow has no KL in closed form"),
        ({"flow": "iaf", "objective": "wake_sleep"}, "--objective: a flow has no other bound, so objective cannot"),
        ({"flow": "iaf", "estimator": "score_function"}, "--estimator: a flow has one path from noise to bound"),
        ({"lr": float("nan")}, "--lr must be a finite number, got nan"),
        ({"clip_norm": float("inf")}, "--clip-norm must be a finite number, got inf"),
        ({"optimizer_options": {"beta3": 1}}, "--optimizer-options: adam has no beta3, it has beta1, beta2, epsilon"),
        ({"optimizer_options": {"beta1": 2}}, "--optimizer-options: Adam: beta1 must be a number in [0, 1), got 2.0"),
        ({"optimizer_options": {"step_size": 1}}, "the step size is the setting lr"),
        ({"optimizer_options": {"beta1": "x"}}, "--optimizer-options.beta1 must be a number, got 'x'"),
        ({"optimizer_options": 3}, '--optimizer-options must be a JSON object like {"beta1": 0.95}, got 3'),
        ({"optimizer": "sgd", "optimizer_options": {"momentum": 1}}, "sgd has no momentum, it has no options"),
        ({"schedule": "exponential", "schedule_options": {"steps": 3}}, "--schedule-options: exponential needs decay"),
        ({"schedule": "milestones", "schedule_options": {"at": 5}}, "--schedule-options: milestones cannot use"),
        ({"schedule": "cosine", "schedule_options": {"steps": "x"}}, "steps must be a whole number >= 1, got 'x'"),
        ({"schedule": "warm_up"}, "--schedule must be constant, inverse_time"),
        ({"schedule_options": {"steps": 3}}, "--schedule-options: constant has no steps"),
        ({"warm_up": -1}, "--warm-up must be at least 0, got -1"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"likelihood": "normal_fixed_std", "binarize": "threshold"}, "use binarize 'none', or likelihood bernoulli"),
        ({"fixed_std": 1e-200}, "--fixed-std must be at least 1e-06, got 1e-200"),
        ({"least_std": 1e-320}, "--least-std must be at least 1e-06"),
        ({"prior_precision": 1e-320}, "--prior-precision must be at least 1e-06"),
        ({"prior_precision": 1e300}, "--prior-precision must be at most 1,000,000, got 1e+300"),
        ({"weight_prior": float("nan")}, "--weight-prior must be a finite number, got nan"),
        ({"schedule_options": []}, '--schedule-options must be a JSON object like {"steps": 1000}, got []'),
        (
            {"batch": 20_000, "samples": 10_000},
            "--batch: 20000 rows with 10000 samples of 20 latents each are 4,000,000,000",
        ),
        ({"start_at_data": "yes"}, "--start-at-data must be true or false, got 'yes'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_bad_setting_gets_one_line_that_says_what_was_seen(settings, words):
    assert words in refusal(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ('{"latent": 3,}', "is not JSON"),
        ('{\n"latent": 3\n"epochs": 4}', "line 3 column 1"),
        ("[1, 2]", "must hold a JSON object of settings, saw list"),
        ("3", "must hold a JSON object of settings, saw int"),
        ('{"latent": 2, "latent": 3}', "latent is set more than once"),
        ('{"seed": ' + "1" * 5000 + "}", "is not JSON"),
        ('{"hidden": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"lr": NaN}', "lr must be a finite number, got nan"),
        ('{"seed": 1e999}', "seed must be a whole number, got inf"),
    ],
    ids=["empty", "comma", "no comma", "list", "number", "twice", "huge number", "deep", "NaN", "infinity"],
)
def test_a_bad_file_gets_one_line_that_names_it(tmp_path, text, words):
    line = refusal(text, tmp_path)
    assert words in line
    assert line.startswith(str(tmp_path / "config.json"))
    assert len(line) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"epochs": true}', "epochs must be a whole number, got true"),
        ('{"latent": "3"}', "latent must be a whole number, got '3'"),
        ('{"latent": 3.0}', "latent must be a whole number, got 3.0"),
        ('{"lr": false}', "lr must be a number, got false"),
        ('{"hidden": [true]}', "hidden.0 must be a whole number, got true"),
        ('{"optimizer_options": {"beta1": true}}', "optimizer_options.beta1 must be a number, got true"),
        ('{"start_at_data": 1}', "start_at_data must be true or false, got 1"),
    ],
)
def test_a_value_of_another_type_is_not_taken_for_one_of_the_right_type(tmp_path, text, words):
    assert refusal(text, tmp_path) == f"{tmp_path / 'config.json'}: {words}"


def test_a_whole_number_is_a_number(tmp_path):
    (tmp_path / "c.json").write_text('{"lr": 1, "optimizer_options": {"beta1": 0}}')
    found = read_config(tmp_path / "c.json")
    assert (found.lr, found.optimizer_options) == (1.0, {"beta1": 0.0})


def test_a_byte_order_mark_is_no_error(tmp_path):
    (tmp_path / "c.json").write_bytes(b'\xef\xbb\xbf{"latent": 3}')
    assert read_config(tmp_path / "c.json").latent == 3


def test_a_file_larger_than_settings_can_be_is_not_read(tmp_path):
    line = refusal('{"latent": 3' + " " * 2**20 + "}", tmp_path)
    assert "must be a JSON parameter file of at most 1,048,576 bytes, saw one of 1,048,589 bytes" in line


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_device_or_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(InputError, match="saw a device or a pipe"):
            read_config(path)


def test_a_step_may_hold_as_much_noise_as_fits_into_memory():
    assert Config(batch=2_500, samples=10_000).batch == 2_500
    assert Config(batch=10**6).batch == 10**6


def test_the_folder_of_a_run_is_no_parameter_file_but_can_be_resumed(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is a folder, not a JSON parameter file; to go on with the run in it: --res"):
        read_config(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for path, words in (
        ("bytes.json", "cannot be read as text"),
        (".", "is a folder, not a JSON parameter file$"),
        ("no.json", "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            read_config(tmp_path / path)


# ---- what the data decides


def grey_rows():
    return from_arrays("grey", np.linspace(0, 1, 60).reshape(20, 3))


def bits():
    return from_arrays("bits", np.arange(60).reshape(20, 3) % 2)


@pytest.fixture
def prepare(monkeypatch):
    """Settle settings on data that are called so."""
    for name, make in {"drawn": lambda seed: DIGITS, "mnist": lambda seed: DIGITS, "frey": lambda seed: DIGITS}.items():
        monkeypatch.setitem(DATASETS, name, make)
    own = {"grey.npy": grey_rows(), "bits.npy": bits()}
    load = config.load
    monkeypatch.setattr(config, "load", lambda name, **more: own[name] if name in own else load(name, **more))
    return lambda **settings: prepare_data(Config(**settings))


@pytest.mark.parametrize(
    ("data", "binarize", "likelihood", "settled"),
    [
        ("drawn", "auto", "auto", ("fresh", "bernoulli")),
        ("mnist", "auto", "auto", ("fresh", "bernoulli")),
        ("frey", "auto", "auto", ("none", "normal")),
        ("grey.npy", "auto", "auto", ("none", "normal")),
        ("bits.npy", "auto", "auto", ("none", "bernoulli")),
        ("drawn", "auto", "normal", ("none", "normal")),
        ("drawn", "none", "auto", ("none", "normal")),
        ("drawn", "threshold", "auto", ("threshold", "bernoulli")),
        ("frey", "fresh", "auto", ("fresh", "bernoulli")),
        ("frey", "auto", "bernoulli", ("fresh", "bernoulli")),
        ("frey", "auto", "normal_shared_std", ("none", "normal_shared_std")),
        ("drawn", "none", "bernoulli", ("none", "bernoulli")),
        ("bits.npy", "none", "auto", ("none", "bernoulli")),
        ("mnist", "auto", "poisson", ("photons", "poisson")),
        ("mnist", "photons", "auto", ("photons", "poisson")),
        ("mnist", "auto", "categorical", ("codes", "categorical")),
        ("mnist", "auto", "beta", ("inside", "beta")),
        ("frey", "inside", "auto", ("inside", "beta")),
    ],
)
def test_what_is_left_open_follows_the_data_and_what_is_set(prepare, data, binarize, likelihood, settled):
    found, _ = prepare(data=data, binarize=binarize, likelihood=likelihood)
    assert (found.binarize, found.likelihood) == settled


def test_a_density_on_bits_is_refused(prepare):
    with pytest.raises(InputError, match="holds bits"):
        prepare(data="bits.npy", likelihood="normal")


def test_fixed_bits_are_drawn_once_from_the_seed(prepare):
    first, again, other = (prepare(binarize="fixed", seed=seed)[1] for seed in (0, 0, 1))
    assert set(np.unique(first.train)) == {0, 255}
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def test_fewer_rows_are_the_first_ones_with_their_labels(prepare):
    _, found = prepare(train_rows=7, test_rows=3)
    np.testing.assert_array_equal(found.train, DIGITS.train[:7])
    np.testing.assert_array_equal(found.test_labels, DIGITS.test_labels[:3])
    assert prepare(train_rows=10**6)[1].train.shape == DIGITS.train.shape


@given(
    st.one_of(
        arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 254, 255])),
        arrays(np.float32, (3, 4), elements=st.sampled_from([0.0, 0.5, 1.0])),
        arrays(np.uint8, (2500, 1), elements=st.just(255), fill=st.just(0)),
    )
)
def test_bits_are_black_and_white_and_nothing_between(rows):
    assert config._holds_bits(rows) == set(np.unique(rows)).issubset({0, 255 if rows.dtype == np.uint8 else 1})


# ---- wake-sleep


@pytest.mark.parametrize("phase", ["wake", "sleep", "both"])
def test_what_the_encoder_learns_from_reaches_the_recipe(phase):
    settings = {"objective": "reweighted_wake_sleep", "samples": 2, "encoder_phase": phase, "binarize": "none"}
    saved = Config(**settings).model_copy(update={"estimator": Config(**settings).settled_estimator()})
    recipe = read_config(None, saved.model_dump()).build_recipe()
    assert recipe.objective.encoder_phase == phase


# ---- the weight of the KL, free bits, corruption


def test_what_reshapes_the_objective_reaches_the_recipe():
    grey = Config(binarize="none")
    settings = {"kl_weight": 4.0, "kl_warm_up": 100, "free_bits": 0.5, "corruption": "normal_noise", "corrupt": 2.0}
    recipe = grey.model_copy(update=settings).build_recipe()
    assert (recipe.kl_weight, recipe.kl_warm_up, recipe.free_bits) == (4.0, 100, 0.5)
    assert (recipe.corruption.func, recipe.corruption.keywords) == (CORRUPTIONS["normal_noise"], {"strength": 2.0})
    assert Config(corruption="blank_pixels").build_corruption().keywords == {"strength": 0.1}
    assert not grey.build_recipe().is_reshaped
    assert choices("corruption") == {"none", *CORRUPTIONS}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kl_weight": -1.0}, "--kl-weight must be at least 0, got -1"),
        ({"kl_warm_up": -1}, "--kl-warm-up must be at least 0, got -1"),
        ({"free_bits": float("nan")}, "--free-bits must be a finite number, got nan"),
        ({"model": "sbn", "kl_weight": 0.0}, "--kl-weight: the elbo of an sbn has no KL as a term of its own"),
        ({"model": "sbn", "corruption": "blank_pixels"}, "--corruption: the elbo of an sbn"),
        ({"latent_above": 3, "kl_weight": 2.0}, "--kl-weight: the elbo of two layers of latents has no KL in closed"),
        ({"latent_above": 3, "corruption": "blank_pixels"}, "--corruption: the elbo of two layers of latents"),
        (
            {"objective": "elbo_monte_carlo", "free_bits": 0.1},
            "free_bits is for objective elbo with its analytic kl alone",
        ),
        ({"objective": "importance_weighted", "kl_warm_up": 9}, "kl_warm_up is for objective elbo"),
        ({"objective": "wake_sleep", "kl_weight": 2.0}, "kl_weight is for objective elbo"),
        ({"kl": "monte_carlo", "kl_weight": 2.0}, "kl_weight is for objective elbo with its analytic kl alone"),
        ({"corruption": "pepper"}, "--corruption must be none, salt_and_pepper, normal_noise or blank_pixels"),
        ({"corrupt": 0.1}, "--corrupt: a strength needs its corruption; say which: salt_and_pepper, "),
        (
            {"corruption": "blank_pixels", "corrupt": 1.5},
            "--corrupt: of blank_pixels it is a probability, at most 1, got 1.5",
        ),
        ({"corruption": "normal_noise", "corrupt": 0.0}, "--corrupt must be above 0, got 0"),
        (
            {"corruption": "normal_noise", "likelihood": "poisson"},
            "for bits and grey values, but binarize 'photons' makes",
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_cannot_reshape_the_objective_is_refused_in_one_line(settings, words):
    assert words in refusal(settings)
