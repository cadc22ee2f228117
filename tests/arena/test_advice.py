"""``advise``: which estimator to use for a model as it stands, within the time given."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from numvae import Normal, mlp_vae, pathwise, score_function
from numvae.arena import closed_form
from numvae.arena.advice import Advice, Probe, advise
from numvae.arena.costs import Cosine
from numvae.arena.truth import nodes
from numvae.arrays import Array
from numvae.belief_networks import mlp_belief_network
from numvae.distributions.cauchy import Cauchy
from numvae.distributions.pareto import Pareto
from numvae.errors import InputError
from numvae.estimators.arm import arm
from numvae.estimators.baselines import NVIL
from numvae.parameters import initial_theta

MODEL = mlp_vae(9, latents=2, hidden=(6,))
THETA = initial_theta(MODEL.layout, rng=np.random.default_rng(0))
X = (np.random.default_rng(1).random((12, 9)) < 0.4).astype(np.float64)


@pytest.fixture(scope="module")
def advice() -> Advice:
    return advise(MODEL, THETA, X, seconds=0.3, estimators={"score_function": score_function, "pathwise": pathwise})


def test_pathwise_is_advised_for_a_smooth_decoder_and_the_reason_given(advice: Advice) -> None:
    """(arena.6)."""
    assert advice.best == "pathwise"
    assert "times less variance than score_function" in advice.why
    assert "nats along its slope" in advice.why
    path, score = advice.probes
    assert path.variance_times_seconds < score.variance_times_seconds
    assert path.variance_times_seconds == path.variance * path.seconds


def test_the_time_is_kept_and_used() -> None:
    begin = time.perf_counter()
    advice = advise(MODEL, THETA, X, seconds=1.0)
    assert time.perf_counter() - begin < 2.5
    assert all(probe.estimates >= 16 for probe in advice.probes)
    assert {"pathwise", "score_function", "nvil", "antithetic"} <= {probe.name for probe in advice.probes}
    assert "finite_differences" not in {probe.name for probe in advice.probes}  # it is biased


class WavyVAE:
    """A model whose log-likelihood is cos(20 z): its slope is large, and says nothing of where it leads."""

    posterior, prior = MODEL.posterior, MODEL.prior
    latents = 2

    def layers_at(self, theta: Array, x: Array) -> Any:
        return [(np.zeros((len(x), 4)), x, 2)]

    def log_likelihood(self, theta: Array, z: Array, x: Array) -> Any:
        def pullback(d: Array) -> tuple[Array, Array, None]:
            return np.zeros_like(theta), -20 * d[..., None] * np.sin(20 * z), None

        return np.cos(20 * z).sum(axis=-1), pullback


def test_the_score_function_is_advised_where_slopes_mislead() -> None:
    """Beyond the crossover   (closed_form.12)."""
    estimators = {"pathwise": pathwise, "score_function": score_function}
    advice = advise(WavyVAE(), THETA, X, seconds=0.3, estimators=estimators)
    assert advice.best == "score_function"
    assert advice.crossover is not None
    assert advice.slope > 5 * advice.crossover * advice.spread


@pytest.mark.parametrize("latents", [1, 3])
def test_the_landmark_is_slope_over_spread_at_the_crossover_of_cosines(latents: int) -> None:
    """(arena.9): by quadrature in one dimension, and the same in more."""
    k = closed_form.crossover(Cosine, np.zeros(2 * latents), 0.1, 50.0)
    z, weights = nodes(Normal(), np.zeros((1, 2)), 1)
    values, pullback = Cosine(k)(z, z)
    squares = pullback(np.ones_like(values))[1][:, 0] ** 2
    expected = np.sqrt(weights @ squares / (weights @ values**2 - (weights @ values) ** 2))
    landmark = 1.4 if latents == 1 else 1.6
    model = mlp_vae(9, latents=latents, hidden=(2,))
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    advice = advise(model, theta, X, seconds=0.05, estimators={"pathwise": pathwise})
    assert advice.crossover == pytest.approx(expected, rel=1e-6)
    assert advice.crossover is not None
    assert advice.crossover > landmark
    assert f"score function wins from {expected:.3g} on" in advice.why


def test_slope_over_spread_is_at_least_that_of_a_line(advice: Advice) -> None:
    """Poincaré's inequality, and a decoder that is nearly a line."""
    assert 0.95 < advice.slope / advice.spread < 1.6


def test_what_learns_is_given_time_to_learn() -> None:
    estimators = {"nvil": NVIL(hidden=(4,)), "score_function": score_function}
    advice = advise(MODEL, THETA, X, seconds=0.6, estimators=estimators)
    assert advice.best == "nvil"


@pytest.mark.parametrize("family", [Cauchy(), Pareto(), Normal()])
def test_where_there_is_no_standard_deviation_the_middle_of_q_stands_for_it(family: Any) -> None:
    model = mlp_vae(9, latents=2, hidden=(6,), posterior=family)
    advice = advise(model, THETA, X, seconds=0.1, estimators={"pathwise": pathwise})
    assert math.isfinite(advice.slope)


def test_bits_are_advised_upon_too() -> None:
    model = mlp_belief_network(9, latents=(4,))
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    advice = advise(model, theta, X, seconds=0.5)
    names = [probe.name for probe in advice.probes]
    assert {"disarm", "relax", "vimco", "local_expectation"} <= set(names)
    assert "pathwise" not in names
    assert advice.crossover is None
    assert names.index("disarm") < names.index("reinforce")


def test_those_as_good_are_named() -> None:
    a, b, c = (Probe(name, 100, variance, 0.05, 1e-3) for name, variance in (("a", 1.0), ("b", 1.1), ("c", 9.0)))
    advice = Advice("VAE", (a, b, c), 1.0, 2.0)
    assert advice.as_good == ("b",)
    assert "b cannot be told apart" in advice.why
    assert [row.cells[-1] for row in advice.rows] == ["best", "as good", "worse"]


def test_it_reads_as_text_html_and_json(advice: Advice) -> None:
    assert "estimator for VAE, pathwise" in str(advice)
    assert advice.why in str(advice)
    assert "pathwise" in advice._repr_html_()
    assert advice.to_json()["probes"][0]["name"] == "pathwise"


@pytest.mark.parametrize(
    ("keywords", "complaint"),
    [
        ({"seconds": 0}, "seconds must be a positive number"),
        ({"x": X[:0]}, "at least one row"),
        ({"estimators": {"arm": arm}}, "no unbiased estimator is for Normal latents"),
    ],
)
def test_bad_input_is_named(keywords: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        advise(**{"model": MODEL, "theta": THETA, "x": X} | keywords)
