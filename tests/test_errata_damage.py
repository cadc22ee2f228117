"""What the errata's misprints do to training: each planted one ends worse, and the page quotes what was measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derivations import damage
from derivations.damage import DAMAGES, FOLDER, InTurns, ends, main, quoted, run
from numvae import Bernoulli, Normal, elbo, score_function
from numvae.checks import check_pullback
from numvae.distributions.erlang import Erlang
from numvae.optimizers import SGD

PAGE = (FOLDER.parent / "errata.md").read_text(encoding="utf-8")
SECTIONS = {text.split(":")[0]: text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
MEASURED = json.loads((FOLDER / "ends.json").read_text(encoding="utf-8"))

MARGINS = [
    ("001-1", 5, ("right", "printed"), 1000.0),
    ("001-1", 5, ("printed, its own claim", "right"), 1000.0),
    ("001-2", 40, ("right", "printed"), 20.0),
    ("002-1", 200, ("right", "printed"), 4.0),
    ("003-1", 90, ("right", "printed"), 3.0),
    ("003-3", 60, ("right", "printed"), 4.0),
    ("003-3", 60, ("printed, its own claim", "right"), 4.0),
    ("003-8", 60, ("right", "printed"), 20.0),
    ("003-8", 60, ("right", "minibatches, θ then φ"), 5.0),
]
"""Erratum, steps of its shortest form, which curve then is above which, and by how many nats at least."""


@pytest.fixture(autouse=True)
def _two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test needs the ends of the curves alone."""
    monkeypatch.setattr(damage, "LOOKS", 1)


@pytest.fixture(scope="module")
def short_runs() -> dict[str, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(damage, "LOOKS", 1)
        steps = {number: steps for number, steps, _, _ in MARGINS}
        return {number: ends(run(number, steps[number], seeds=[0])) for number in steps}


@pytest.mark.parametrize(("number", "_steps", "pair", "margin"), MARGINS, ids=str)
def test_the_planted_misprint_shows_within_few_steps(
    short_runs: dict[str, dict[str, Any]], number: str, _steps: int, pair: tuple[str, str], margin: float
) -> None:
    better, worse = (short_runs[number][name]["mean"] for name in pair)
    assert better > worse + margin


def test_the_recipe_is_better_than_the_naive_start_whatever_climbs() -> None:
    told = ends(run("000-3", 30, seeds=[0]))
    for optimizer in damage.OPTIMIZERS:
        naive = told[f"naive: {optimizer}"]["mean"]
        assert naive is None or told[f"recipe: {optimizer}"]["mean"] > naive + 10
    assert told["without bounds: SGD"]["broke_at_step"] != [None]


@pytest.mark.parametrize(
    ("number", "steps", "misprint", "right"),
    [
        ("001-1", 3, "NormalOfPrintedKL", Normal),
        ("001-2", 3, "product_with_log_q", score_function),
        ("002-1", 3, "scaled_by_features", elbo),
        ("003-1", 3, "NormalOfPrintedGradient", Normal),
    ],
)
def test_with_the_right_rule_in_its_place_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, number: str, steps: int, misprint: str, right: Any
) -> None:
    """The negative control: it is the planted rule that does the damage, and nothing else differs."""
    monkeypatch.setattr(damage, misprint, right)
    traces = run(number, steps, seeds=[0])[0]
    assert traces["printed"].bound == traces["right"].bound


# ---- the planted rules are what they are said to be


def test_the_printed_kl_is_the_printed_formula_rightly_differentiated() -> None:
    params = np.array([[0.5, -1.0, 0.3, -0.4]])
    family, prior = damage.NormalOfPrintedKL(), np.zeros((1, 4))
    check_pullback(lambda params: family.kl(params, prior), params)
    mean, variance = params[:, :2], np.exp(2 * params[:, 2:])
    np.testing.assert_allclose(
        family.kl(params, prior)[0], -0.5 * np.sum(1 + np.log(variance) + variance + mean**2, -1), rtol=1e-12
    )


def test_the_printed_gradient_in_the_variance_is_the_printed_one() -> None:
    """By 003-1: dσ² = dz ε / (2 σ²), with ∂σ²/∂log σ = 2 σ²; the mean's is left as it is."""
    params, noise, dz = np.array([[0.5, 0.3]]), np.array([[[0.7]]]), np.array([[[2.0]]])
    variance = np.exp(2 * params[0, 1])
    z, pullback = damage.NormalOfPrintedGradient().sample(params, noise)
    assert z == Normal().sample(params, noise)[0]
    np.testing.assert_allclose(pullback(dz)[0], [[2.0, 2.0 * 0.7 / (2 * variance) * 2 * variance]], rtol=1e-12)


def test_the_erlang_scaled_twice_has_the_square_of_the_scale_and_its_gradient() -> None:
    params, noise = np.log([[0.5]]), np.array([[[0.1, 0.4, 0.6, 0.9]]])
    family = damage.ErlangScaledTwice(4)
    np.testing.assert_allclose(family.sample(params, noise)[0], 2 * Erlang(4).sample(params, noise)[0], rtol=1e-12)
    check_pullback(lambda params: family.sample(params, noise), params)


def test_probabilities_are_the_logits_until_they_round() -> None:
    family, bits = damage.BernoulliOfProbabilities(), np.array([[1.0, 0.0]])
    logits = np.array([[0.3, -2.0]])
    (value, pullback), (wanted, wanted_pullback) = family.log_prob(logits, bits), Bernoulli().log_prob(logits, bits)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(pullback(np.ones(1))[0], wanted_pullback(np.ones(1))[0], rtol=1e-12)
    with np.errstate(all="ignore"):
        assert family.log_prob(np.array([[40.0]]), np.zeros((1, 1)))[0] == -np.inf


def test_in_turns_moves_the_decoder_then_the_encoder() -> None:
    layout = damage.vae().layout
    optimizer, theta = InTurns(SGD(1.0), layout), np.zeros(layout.size)
    state = optimizer.start(theta)
    for moved, still in (("decoder", "encoder"), ("encoder", "decoder")):
        before = theta.copy()
        optimizer.ascend(theta, np.ones(layout.size), state)
        steps = layout.views(theta - before)
        assert np.all(steps[moved] == 1)
        assert not steps[still].any()


def test_a_run_that_breaks_says_at_which_step() -> None:
    recipe = replace(damage.RECIPE, optimizer=SGD(1.0))
    model = damage.vae()
    trace = damage.watch(model, recipe, 50, {"it": damage.bound_of(model)}, damage.digits(2000))["it"]
    assert trace.broke_at is not None
    told = ends([{"it": trace}])["it"]
    assert told == {"ends": [None], "mean": None, "broke_at_step": [trace.broke_at]}


# ---- the page and the pictures


def test_the_page_shows_every_picture_and_quotes_where_each_curve_ends() -> None:
    assert set(MEASURED) == set(DAMAGES)
    for number, measured in MEASURED.items():
        section = SECTIONS[number]
        assert f"](errata/{number}.png)" in section
        assert (measured["seeds"], measured["steps"]) == ([0, 1, 2], DAMAGES[number].steps)
        for name, told in measured["curves"].items():
            if told["mean"] is not None:
                assert f"${quoted(told['mean'])}$" in section, (number, name)
            broke = sum(step is not None for step in told.get("broke_at_step", []))
            assert not broke or f"{broke} of 3" in section, (number, name)


def test_in_what_was_measured_every_seed_is_apart_from_every_other() -> None:
    """Also after training for longer: the worst run of the one above the best of the other."""
    for number, _, (better, worse), _ in MARGINS:
        curves = MEASURED[number]["curves"]
        assert min(curves[better]["ends"]) > max(curves[worse]["ends"]) + 4


@pytest.mark.parametrize("number", DAMAGES)
def test_the_picture_is_small(number: str) -> None:
    picture = (FOLDER / f"{number}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000


def test_the_tool_writes_pictures_and_ends_and_keeps_those_of_the_others(tmp_path: Path) -> None:
    for number in ("001-1", "003-1"):
        main(["--only", number, "--steps", "2", "--seeds", "5", "--out", str(tmp_path)])
    told = json.loads((tmp_path / "ends.json").read_text(encoding="utf-8"))
    assert {number: (one["steps"], one["seeds"]) for number, one in told.items()} == {
        "001-1": (2, [5]),
        "003-1": (2, [5]),
    }
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["001-1.png", "003-1.png"]


def test_the_same_seed_gives_the_same_curves() -> None:
    first, again = (run("003-1", 2, seeds=[3]) for _ in range(2))
    assert first == again
    assert first != run("003-1", 2, seeds=[4])


def test_every_drawn_curve_was_measured() -> None:
    for number, drawn in DAMAGES.items():
        assert set(drawn.styles) <= set(MEASURED[number]["curves"]), number


@pytest.mark.parametrize("asked", [["--steps", "0"], ["--seeds", "-1"], ["--only", "001-9"]])
def test_what_cannot_be_asked_is_refused(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(asked)
    assert asked[0] in capsys.readouterr().err
