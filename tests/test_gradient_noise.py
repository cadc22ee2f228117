"""The noise of the training gradient: rows' gradients from factors, and the two parts of the noise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from numvae import Normal, elbo, elbo_monte_carlo, importance_weighted, initial_theta, mlp_vae, pathwise, score_function
from numvae.arrays import Array, Pullback
from numvae.belief_networks import mlp_belief_network
from numvae.checks import check_unbiased
from numvae.errors import InputError
from numvae.estimators.catalogue import ESTIMATORS
from numvae.gradient_noise import GradientNoise, RowGradients, gradient_noise, pooled, row_gradients
from numvae.layers import tanh
from numvae.models import VAE
from numvae.networks import Chain, Dense, SharedLogStd, SigmoidMean

ROWS = 5
BITS = mlp_vae(6, latents=2, hidden=(4, 3))
GREYS = mlp_vae(6, latents=2, hidden=(5,), likelihood=Normal(), likelihood_head=(SigmoidMean(6), SharedLogStd()))


def setting(model: VAE, rows: int = ROWS, seed: int = 0) -> tuple[Array, Array, np.random.Generator]:
    """Weights, data, and a generator to go on with."""
    rng = np.random.default_rng(seed)
    theta = initial_theta(model.layout, rng=rng)
    theta += 0.1 * rng.standard_normal(theta.shape)
    return theta, (rng.random((rows, 6)) < 0.4).astype(float), rng


def row_by_row(model: VAE, theta: Array, x: Array, noise: Array, objective: Any, estimator: Any) -> Array:
    """Each row's gradient by a pass of its own, (B, P)."""
    each = range(len(x))
    passes = (objective(model, theta, x[i : i + 1], noise[:, i : i + 1], estimator)[1] for i in each)
    return np.stack([pullback(np.ones(1))[0] for pullback in passes])


# ---- gradients of rows


@pytest.mark.parametrize("estimator", [pathwise, score_function], ids=lambda e: e.__name__)
@pytest.mark.parametrize("objective", [elbo, elbo_monte_carlo, importance_weighted], ids=lambda o: o.__name__)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("model", [BITS, GREYS], ids=["bits", "greys"])
def test_factors_say_what_a_loop_over_rows_says(model: VAE, samples: int, objective: Any, estimator: Any) -> None:
    """(gradient_noise.1), (gradient_noise.2), (gradient_noise.3)."""
    theta, x, rng = setting(model)
    noises = rng.standard_normal((2, samples, ROWS, 2))
    g, h = (row_by_row(model, theta, x, noise, objective, estimator) for noise in noises)
    first, second = (row_gradients(model, theta, x, noise, objective, estimator) for noise in noises)
    pairs = {
        "norms": (first.squared_norms(), np.sum(g * g, axis=1)),
        "products row by row": (first.dots(second), np.sum(g * h, axis=1)),
        "products of all pairs": (first.gram(second), g @ h.T),
        "sum": (first.sum(), g.sum(axis=0)),
        "squares per weight": (first.sums_of_products(first), np.sum(g * g, axis=0)),
        "products per weight": (first.sums_of_products(second), np.sum(g * h, axis=0)),
    }
    for name, (ours, looped) in pairs.items():
        np.testing.assert_allclose(ours, looped, rtol=1e-12, atol=1e-12 * np.abs(looped).max(), err_msg=name)


@pytest.mark.parametrize(
    "name", ["antithetic", "doubly_reparameterized", "sticking_the_landing", "delta_method", "evolution_strategies"]
)
def test_estimators_that_call_f_in_their_own_ways_are_followed(name: str) -> None:
    theta, x, rng = setting(BITS)
    estimator, objective = ESTIMATORS[name], elbo if name == "delta_method" else elbo_monte_carlo
    noise = BITS.draw_noise(estimator, rng, (2, ROWS))
    expected = row_by_row(BITS, theta, x, noise, objective, estimator)
    ours = row_gradients(BITS, theta, x, noise, objective, estimator)
    np.testing.assert_allclose(ours.squared_norms(), np.sum(expected**2, axis=1), rtol=1e-11)


def twice(in_place: bool) -> Any:
    """An estimator that pulls f back twice and adds what it gets for theta."""

    def estimator(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
        z, sample_pullback = q.sample(params, noise)
        values, f_pullback = f(params, z)
        bound, reduce_pullback = reduce(values)

        def pullback(dbound: Array) -> tuple[Array, Array]:
            (dvalues,) = reduce_pullback(0.5 * dbound)
            _, dz, dtheta = f_pullback(dvalues)
            _, other_dz, other_dtheta = f_pullback(dvalues)
            total = np.add(dtheta, other_dtheta, out=dtheta) if in_place else dtheta + other_dtheta
            return sample_pullback(dz + other_dz)[0], total

        return bound, pullback

    return estimator


@pytest.mark.parametrize("in_place", [False, True])
def test_gradients_mixed_beyond_telling_rows_apart_are_refused(in_place: bool) -> None:
    theta, x, rng = setting(BITS)
    with pytest.raises(InputError, match="mixes several gradients in theta"):
        row_gradients(BITS, theta, x, rng.standard_normal((1, ROWS, 2)), elbo, twice(in_place))


def test_networks_with_unknown_weights_and_other_models_are_refused() -> None:
    class Gain:
        layout = SharedLogStd().layout

    theta, x, rng = setting(BITS)
    noise = rng.standard_normal((1, ROWS, 2))
    model = VAE(BITS.encoder, Chain((Dense(2, 6), Gain())), latents=2)
    with pytest.raises(InputError, match=r"not known for decoder\.2"):
        row_gradients(model, theta, x, noise)
    with pytest.raises(InputError, match="a VAE alone, got SigmoidBeliefNetwork"):
        row_gradients(mlp_belief_network(6, latents=(2,)), theta, x, noise)  # type: ignore[arg-type]


def test_a_network_of_one_layer_needs_no_chain() -> None:
    model = VAE(Dense(6, 4), Dense(2, 6), latents=2)
    theta, x, rng = setting(model)
    noise = rng.standard_normal((1, ROWS, 2))
    expected = row_by_row(model, theta, x, noise, elbo, pathwise)
    np.testing.assert_allclose(row_gradients(model, theta, x, noise).sum(), expected.sum(axis=0), rtol=1e-12)


def test_no_product_is_taken_for_the_gradient_in_the_weights() -> None:
    """Of a step's eleven products the four of dW are left out, and norms take none   (gradient_noise.2)."""

    class Counting(np.ndarray):
        products = 0

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **keywords: Any) -> Any:
            Counting.products += ufunc is np.matmul and inputs[0].ndim == 2  # of matrices, not of a row with itself
            if out:
                keywords["out"] = tuple(np.asarray(array) for array in out)
            return np.asarray(getattr(ufunc, method)(*map(np.asarray, inputs), **keywords)).view(Counting)

    model = mlp_vae(6, latents=2, hidden=(4,))
    theta, x, rng = setting(model)
    gradients = row_gradients(model, theta.view(Counting), x, rng.standard_normal((1, ROWS, 2)))
    gradients.squared_norms()
    assert Counting.products == 7


# ---- the parts of the noise


def formed(gradients: RowGradients) -> Array:
    """The rows' gradients, (B, P)."""
    rows = next(iter(gradients.layers.values())).d.shape[1]
    theta = np.zeros((rows, gradients.layout.size))
    for name, places in gradients.layout.leaves(np.arange(gradients.layout.size)):
        layer, _, piece = name.rpartition(".")
        x, d = gradients.layers[layer].x, gradients.layers[layer].d
        of_rows = np.einsum("tbm,tbn->bmn", x, d) if piece == "W" and x is not None else d.sum(axis=0)
        theta[:, places.ravel()] = of_rows.reshape(rows, -1)
    return theta


SMALL = mlp_vae(6, latents=2, hidden=(3,))
POPULATION = 8


def population() -> tuple[Array, Array, np.random.Generator]:
    """A model whose z matters much, and rows that differ little: neither part hides behind the other."""
    theta, x, rng = setting(SMALL, POPULATION)
    SMALL.layout.views(theta)["decoder"][...] *= 3
    x[:, :4] = x[0, :4]
    return theta, x, rng


def population_noise(estimator: Any, samples: int, draws: int = 20_000) -> Array:
    """(signal, minibatch, sampling) of one row picked from the population: the rows' means and variances outright."""
    theta, x, rng = population()
    means, variances = [], []
    for row in x:
        noise = rng.standard_normal((samples, draws, 2))
        gradients = formed(row_gradients(SMALL, theta, np.tile(row, (draws, 1)), noise, elbo, estimator))
        means.append(gradients.mean(axis=0))
        variances.append(gradients.var(axis=0, ddof=1).sum())
    mean, sampling = np.mean(means, axis=0), np.mean(variances)
    squares = np.mean([m @ m for m in means])
    return np.array([mean @ mean, squares - mean @ mean - (1 - 1 / POPULATION) * sampling / draws, sampling])


def measurements(estimator: Any, samples: int, repeats: int = 400, rows: int = 12) -> list[GradientNoise]:
    """Many measurements on rows picked at random from the population."""
    theta, x, rng = population()
    result = []
    for _ in range(repeats):
        picked = x[rng.integers(POPULATION, size=rows)]
        noises = rng.standard_normal((2, samples, rows, 2))
        result.append(gradient_noise(SMALL, theta, picked, *noises, elbo, estimator, batch=1))
    return result


def parts(measured: list[GradientNoise]) -> Array:
    return np.array([[noise.signal, noise.minibatch, noise.sampling] for noise in measured])


@pytest.mark.parametrize(
    ("estimator", "samples"), [(pathwise, 1), (pathwise, 2), (score_function, 2)], ids=["pathwise", "two", "score"]
)
def test_both_parts_are_unbiased_and_the_naive_ones_are_not(estimator: Any, samples: int) -> None:
    """(gradient_noise.4), (gradient_noise.5).  Rows' variance taken for the minibatch part is caught."""
    truth = population_noise(estimator, samples)
    estimates = parts(measurements(estimator, samples))
    assert check_unbiased(estimates, truth).ok
    naive = estimates.copy()
    naive[:, 1] += naive[:, 2]  # the variance over rows of gradients that each have their own z
    assert not check_unbiased(naive, truth).ok


def test_one_draw_used_twice_hides_the_sampling() -> None:
    theta, x, rng = setting(SMALL, POPULATION)
    noise = rng.standard_normal((1, POPULATION, 2))
    assert abs(gradient_noise(SMALL, theta, x, noise, noise).sampling) < 1e-9


def test_standard_errors_are_those_of_repeated_measurements() -> None:
    """(gradient_noise.6)."""
    measured = measurements(pathwise, 1, rows=40)
    for name in ("signal", "minibatch", "sampling", "total"):
        spread = np.std([getattr(noise, name) for noise in measured])
        said = np.mean([getattr(noise, f"{name}_standard_error") for noise in measured])
        assert said == pytest.approx(spread, rel=0.25), name


def test_with_samples_the_sampling_part_alone_falls() -> None:
    one, four = (pooled(measurements(pathwise, samples)) for samples in (1, 4))
    assert four.sampling == pytest.approx(one.sampling / 4, rel=0.1)
    assert abs(four.minibatch - one.minibatch) < 4 * (one.minibatch_standard_error + four.minibatch_standard_error)


def test_a_larger_batch_divides_both_parts() -> None:
    theta, x, rng = setting(SMALL, POPULATION)
    noises = rng.standard_normal((2, 1, POPULATION, 2))
    one, hundred = (gradient_noise(SMALL, theta, x, *noises, batch=batch) for batch in (1, 100))
    assert hundred.total == pytest.approx(one.total / 100)
    assert hundred.signal == one.signal
    assert hundred.snr == pytest.approx(10 * one.snr)


def noise_of(minibatch: float, sampling: float, samples: int = 1, cost_ratio: float = 1.0) -> GradientNoise:
    return GradientNoise(100, 100, samples, 4.0, minibatch, sampling, 0.1, 0.1, 0.1, 0.1, cost_ratio)


def test_the_best_number_of_samples_has_the_least_noise_for_its_cost() -> None:
    """(gradient_noise.7), against a search over L."""
    noise = noise_of(minibatch=0.3, sampling=2.0, samples=2, cost_ratio=1.7)
    L = np.linspace(1, 20, 100_001)
    noise_times_cost = (1.7 + L) * (0.3 + 2 * 2.0 / L)
    assert noise.best_samples == pytest.approx(L[np.argmin(noise_times_cost)], abs=1e-3)
    whole = np.arange(1, 20)
    falls = np.diff((1.7 + whole) * (0.3 + 2 * 2.0 / whole)) < 0
    assert falls.tolist() == (0.3 * (whole * (whole + 1))[:-1] < 1.7 * 2 * 2.0).tolist()


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (noise_of(0.5, 2.0), "80% of the gradient's noise comes from sampling z: more samples per row pay (about L"),
        (noise_of(1.0, 1.0), "50% of the gradient's noise comes from sampling z: a larger batch helps, more samples"),
        (noise_of(1.0, 0.1, samples=10), "fewer samples per row would do (about L = 1), in a larger batch"),
        (noise_of(-0.1, 2.0), "100% of the gradient's noise comes from sampling z: more samples per row pay (many"),
        (noise_of(-0.1, -0.1), "0% of the gradient's noise comes from sampling z: a larger batch helps, more samples"),
        (noise_of(0.0, 0.0), "0% of the gradient's noise comes from sampling z: a larger batch helps, more samples"),
    ],
)
def test_the_advice_is_one_line(noise: GradientNoise, words: str) -> None:
    assert words in noise.advice
    assert "\n" not in noise.advice


def test_importance_weighted_bounds_are_given_no_best_number_of_samples() -> None:
    theta, x, rng = setting(BITS)
    noises = rng.standard_normal((2, 10, ROWS, 2))
    assert gradient_noise(BITS, theta, x, *noises).mean_over_samples
    noise = gradient_noise(BITS, theta, x, *noises, importance_weighted)
    assert noise.advice.endswith("a larger batch helps; other samples per row would be another bound")
    assert noise.to_json()["best_samples"] is None


def test_a_gradient_that_is_not_finite_is_no_mixture() -> None:
    theta, x, rng = setting(BITS)
    theta[:] = np.nan
    noise = gradient_noise(BITS, theta, x, *rng.standard_normal((2, 1, ROWS, 2)))
    assert json.loads(json.dumps(noise.to_json(), allow_nan=False))["total"] is None


def test_json_holds_numbers_alone_even_where_there_is_no_noise() -> None:
    told = json.loads(json.dumps(noise_of(0.0, 0.0).to_json(), allow_nan=False))
    assert told["snr"] is None
    assert told["total"] == 0
    told = json.loads(json.dumps(noise_of(0.5, 2.0).to_json(), allow_nan=False))
    assert (told["sampling_share"], told["snr"]) == (0.8, pytest.approx((4 / 2.5) ** 0.5))


def test_pooled_measurements_are_their_mean() -> None:
    both = pooled([noise_of(0.5, 2.0), noise_of(1.5, 4.0)])
    assert (both.rows, both.minibatch, both.sampling) == (200, 1.0, 3.0)
    assert both.total_standard_error == pytest.approx(0.1 / 2**0.5)


def test_float32_stays_float32_and_one_row_is_refused() -> None:
    theta, x, rng = setting(BITS)
    narrow = (theta.astype(np.float32), x.astype(np.float32), rng.standard_normal((1, ROWS, 2), dtype=np.float32))
    gradients = row_gradients(BITS, *narrow)
    for result in (gradients.squared_norms(), gradients.gram(gradients), gradients.sum()):
        assert result.dtype == np.float32
    with pytest.raises(InputError, match="at least 2"):
        gradient_noise(BITS, theta, x[:1], *rng.standard_normal((2, 1, 1, 2)))


def test_the_same_on_a_device(elsewhere: Any) -> None:
    theta, x, rng = setting(mlp_vae(6, latents=2, hidden=(4,), activation=tanh))
    noises = rng.standard_normal((2, 1, ROWS, 2))
    model = mlp_vae(6, latents=2, hidden=(4,), activation=tanh)
    here = gradient_noise(model, theta, x, *noises)
    there = gradient_noise(model, *map(elsewhere.asarray, (theta, x, *noises)))
    assert there.to_json() == pytest.approx(here.to_json())
