"""Several layers of latents: the pullback by finite differences, the law by a linear chain whose evidence is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from numvae import (
    Bernoulli,
    FixedStdNormal,
    Normal,
    elbo_monte_carlo,
    importance_weighted,
    initial_theta,
    layers,
    log_mean_exp,
    mlp_vae,
    pathwise,
    score_function,
)
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.checks.pullback import PullbackReport
from numvae.errors import InputError
from numvae.exact_models import corner_noise
from numvae.gradcheck import check_model, dparams_estimates
from numvae.layered import LayeredVAE, lowest_integrand, mlp_layered_vae, sample_with_log_prob
from numvae.networks import Network
from numvae.objectives import elbo
from numvae.parameters import Layout
from numvae.path_models import path_bound
from numvae.runs import resume_run
from numvae.starting import start_at_data
from numvae.training import Recipe, start, train
from numvae.watching import first_nonfinite
from tests.oracles import gradient_of, noise_nodes
from tests.small_runs import DIGITS, numvae, write_digits

FEATURES = 4
LATENTS, HIDDEN = (3, 2, 5), ((6,), (4, 7), (3,))
DEPTHS = (1, 2, 3)
LIKELIHOODS: dict[str, Any] = {"bernoulli": Bernoulli(), "normal": Normal()}
SEVERAL = [pytest.param(depth, name, id=f"{depth} {name}") for depth in DEPTHS for name in LIKELIHOODS]


def small(depth: int, likelihood: str = "bernoulli", **more: Any) -> LayeredVAE:
    """So many layers, pairwise of other widths."""
    return mlp_layered_vae(
        FEATURES, latents=LATENTS[:depth], hidden=HIDDEN[:depth], likelihood=LIKELIHOODS[likelihood], **more
    )


def some_point(model: Any, samples: int = 2, rows: int = 3, scale: float = 0.5) -> tuple[Array, Array, Array]:
    """(theta, x, noise)."""
    rng = np.random.default_rng(model.latents)
    theta = scale * rng.standard_normal(model.layout.size)
    return theta, rng.random((rows, FEATURES)).round(2), rng.standard_normal((samples, rows, model.latents))


def log_weight(model: LayeredVAE, theta: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    (log_likelihood, log_ratio), pullback = model.weigh(theta, x, noise)
    return log_likelihood + log_ratio, pullback


def pullback_report(model: LayeredVAE) -> PullbackReport:
    theta, x, noise = some_point(model)
    return check_pullback(
        lambda theta: log_weight(model, theta, x, noise),
        theta,
        names=["theta"],
        parts={"theta": model.layout.leaves},
        coordinates=0,
        directions=3,
    )


def normal_log_prob(params: Array, value: Array) -> Array:
    """By scipy, summed over the last axis."""
    mean, log_std = np.split(params, 2, axis=-1)
    return np.asarray(stats.norm.logpdf(value, mean, np.exp(log_std)).sum(axis=-1))


def log_weight_by_scipy(model: LayeredVAE, theta: Array, x: Array, noise: Array) -> Array:
    """log p(x, z) - log q(z|x), layer by layer, samples drawn and densities taken as in a textbook."""
    below, total = x, np.zeros(noise.shape[:2])
    for level, noise_of_layer in enumerate(np.split(noise, np.cumsum(model.widths)[:-1], axis=-1)):
        params, _ = model.encoders[level](model.weights(theta, "encoder")[level], below)
        mean, log_std = np.split(params, 2, axis=-1)
        z = mean + np.exp(log_std) * noise_of_layer
        decoded, _ = model.decoders[level](model.weights(theta, "decoder")[level], z)
        if level == 0 and isinstance(model.likelihood, Bernoulli):
            p = 1 / (1 + np.exp(-decoded))
            total = total + np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=-1)
        else:
            total = total + normal_log_prob(decoded, below)
        total, below = total - normal_log_prob(params, z), z
    return np.asarray(total + stats.norm.logpdf(below).sum(axis=-1))


# ---- the pullback


@pytest.mark.parametrize(("depth", "likelihood"), SEVERAL)
def test_the_gradient_of_a_path_is_that_of_finite_differences(depth: int, likelihood: str) -> None:
    """(layered.3), (layered.4), (layered.5), (layered.6); float32 stays, nothing is written, linear, twice the same."""
    pullback_report(small(depth, likelihood)).assert_ok()


def test_a_sample_and_its_density_are_one_rule() -> None:
    """(layered.2), (layered.6)."""
    rng = np.random.default_rng(0)
    params, noise = rng.standard_normal((3, 4)), rng.standard_normal((5, 3, 2))

    def rule(params: Array) -> tuple[tuple[Array, Array], Pullback]:
        values, pullback = sample_with_log_prob(Normal(), params, noise)
        return values, lambda dz, dlog_q: pullback(dz, dlog_q)[:1]

    check_pullback(rule, params).assert_ok()
    (z, log_q), pullback = sample_with_log_prob(Normal(), params, noise)
    np.testing.assert_allclose(log_q, normal_log_prob(params, z), rtol=1e-12)
    long_way, sample_pullback = Normal().log_prob(params, z)
    direct, dz = sample_pullback(np.ones_like(long_way))
    through_z, _ = Normal().sample(params, noise)[1](dz)
    np.testing.assert_allclose(pullback(0 * z, np.ones_like(log_q))[0], direct + through_z, atol=1e-12)


@pytest.mark.parametrize(("depth", "likelihood"), SEVERAL)
def test_rows_are_independent_and_single_precision_stays(depth: int, likelihood: str) -> None:
    """(layered.3)."""
    model = small(depth, likelihood)
    theta, x, noise = some_point(model)
    values, pullback = log_weight(model, theta, x, noise)
    dvalues = np.random.default_rng(1).standard_normal(values.shape)
    singles = [log_weight(model, theta, x[[row]], noise[:, [row]]) for row in range(len(x))]
    np.testing.assert_allclose(values, np.concatenate([value for value, _ in singles], axis=1), rtol=1e-12)
    rows = sum(back(dvalues[:, [row]])[0] for row, (_, back) in enumerate(singles))
    np.testing.assert_allclose(pullback(dvalues)[0], rows, atol=1e-12)
    single = [array.astype(np.float32) for array in (theta, x, noise)]
    (log_likelihood, log_ratio), pullback = model.weigh(*single)
    assert {log_likelihood.dtype, log_ratio.dtype, pullback(dvalues.astype(np.float32))[0].dtype} == {np.dtype("f4")}


def test_a_path_is_the_same_on_a_device(elsewhere: Any) -> None:
    """(layered.3)."""
    model = small(3)
    here = some_point(model)
    value, pullback = importance_weighted(model, *here)
    there, device_pullback = importance_weighted(model, *map(elsewhere.asarray, here))
    np.testing.assert_allclose(elsewhere.asnumpy(there), value, rtol=1e-9)
    dtheta = elsewhere.asnumpy(device_pullback(elsewhere.asarray(np.ones(3)))[0])
    np.testing.assert_allclose(dtheta, pullback(np.ones(3))[0], rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Deaf:
    """A network that tells what is below nothing of where it should go."""

    network: Network

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, pullback = self.network(theta, x)

        def deaf(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dtheta, dx = pullback(dy, out=out)
            return dtheta, 0 * dx

        return y, deaf

    of_data = __call__


def without_the_path_through_the_encoder(model: LayeredVAE) -> LayeredVAE:
    return replace(model, encoders=(model.encoders[0], *map(Deaf, model.encoders[1:])))


def test_the_path_through_the_upper_encoder_is_missed() -> None:
    """The negative control of the pullback   (layered.5): z_1 into q(z_2|z_1) dropped, every value right."""
    model = mlp_layered_vae(FEATURES, latents=(2, 1), hidden=((), ()))
    report = pullback_report(without_the_path_through_the_encoder(model))
    assert {row.name for row in report.arguments if not row.ok} == {"theta.encoder.1.1.W", "theta.encoder.1.1.b"}


# ---- values


@pytest.mark.parametrize(("depth", "likelihood"), SEVERAL)
def test_a_weight_is_the_ratio_of_the_two_densities(depth: int, likelihood: str) -> None:
    """Against scipy's densities of samples drawn by hand   (layered.1), (layered.2), (layered.3), (path_models.1)."""
    model = small(depth, likelihood)
    theta, x, noise = some_point(model)
    np.testing.assert_allclose(
        sum(model.log_weights(theta, x, noise)), log_weight_by_scipy(model, theta, x, noise), rtol=1e-11
    )


@pytest.mark.parametrize("objective", [elbo_monte_carlo, importance_weighted])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_layer_is_a_vae(objective: Any, likelihood: str) -> None:
    """The same weights in the same place, the same noise: the same value and the same gradient   (layered.3)."""
    one = small(1, likelihood)
    vae = mlp_vae(FEATURES, latents=LATENTS[0], hidden=HIDDEN[0], likelihood=LIKELIHOODS[likelihood])
    theta, x, noise = some_point(one)
    found, pullback = objective(one, theta, x, noise)
    known, known_pullback = objective(vae, theta, x, noise)
    np.testing.assert_allclose(found, known, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pullback(np.ones(3))[0], known_pullback(np.ones(3))[0], rtol=1e-12, atol=1e-12)


# ---- the law: a linear chain, everything normal


@dataclass(frozen=True)
class LinearChain:
    """z_2 ~ N(0, I),  z_1 = z_2 A + a + std_1 noise,  x = z_1 W + b + std noise, and some data.

    A Aᵀ and Aᵀ A are diagonal, as is W Wᵀ: then the posterior's factors p(z_1|x) and p(z_2|z_1) are diagonal normals,
    which linear encoders are exactly.
    """

    model: LayeredVAE
    theta: Array
    """With which q is the posterior."""
    x: Array

    @classmethod
    def build(cls) -> LinearChain:
        rng, turn = np.random.default_rng(5), 0.7
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        A = np.concatenate([0.8 * rotation, np.zeros((2, 1))], axis=1)
        W = np.array([[1.5], [1.0], [0.7]]) * np.linalg.qr(rng.standard_normal((FEATURES, 3)))[0].T
        a, b, std_1, std = rng.standard_normal(3), rng.standard_normal(FEATURES), np.array([0.6, 0.6, 0.9]), 0.7
        model = mlp_layered_vae(FEATURES, latents=(3, 2), hidden=((), ()), likelihood=FixedStdNormal(std))
        theta = np.zeros(model.layout.size)
        weights = dict(model.layout.leaves(theta))
        weights["decoder.1.1.W"][...], weights["decoder.1.1.b"][...] = W, b
        weights["decoder.2.1.W"][:, :3] = A
        weights["decoder.2.1.b"][...] = np.concatenate([a, np.log(std_1)])
        variance = np.diag(A.T @ A) + std_1**2  # of z_1
        posterior = 1 / (1 / variance + np.diag(W @ W.T) / std**2)  # its variance given x
        to_z = W.T / std**2 * posterior
        weights["encoder.1.1.W"][:, :3] = to_z
        weights["encoder.1.1.b"][...] = np.concatenate([posterior * a / variance - b @ to_z, 0.5 * np.log(posterior)])
        above = 1 / (1 + np.diag((A / std_1**2) @ A.T))  # the variance of z_2 given z_1
        up = (A / std_1**2).T * above
        weights["encoder.2.1.W"][:, :2] = up
        weights["encoder.2.1.b"][...] = np.concatenate([-a @ up, 0.5 * np.log(above)])
        x = rng.standard_normal((3, FEATURES)) + b
        return cls(model, theta, x)

    def off(self) -> Array:
        """Weights with which q is not the posterior, in either layer; log_stds stay constants."""
        theta = self.theta.copy()
        weights = dict(self.model.layout.leaves(theta))
        weights["encoder.1.1.b"][...] += [0.3, -0.2, 0.4, 0.2, -0.1, 0.1]
        weights["encoder.2.1.W"][:, :2] *= 0.5
        weights["encoder.2.1.b"][...] += [-0.3, 0.2, 0.1, 0.3]
        return theta

    def joint(self, theta: Array) -> tuple[Array, Array]:
        """Mean and covariance of [z_1 | z_2 | x] under p."""
        weights = dict(self.model.layout.leaves(theta))
        A, W, b = weights["decoder.2.1.W"][:, :3], weights["decoder.1.1.W"], weights["decoder.1.1.b"]
        a, log_std_1 = np.split(weights["decoder.2.1.b"], 2)
        std = self.model.likelihood.fixed_std
        to_x = [np.diag(np.exp(log_std_1)) @ W, A @ W, std * np.eye(FEATURES)]
        noise_to_all = np.block(
            [
                [np.diag(np.exp(log_std_1)), np.zeros((3, 2)), to_x[0]],
                [A, np.eye(2), to_x[1]],
                [np.zeros((FEATURES, 5)), to_x[2]],
            ]
        )
        return np.concatenate([a, np.zeros(2), a @ W + b]), noise_to_all.T @ noise_to_all

    def evidence(self, theta: Array) -> Array:
        """log p(x), by scipy."""
        mean, covariance = self.joint(theta)
        return np.asarray(stats.multivariate_normal(mean[5:], covariance[5:, 5:]).logpdf(self.x))

    def elbo(self, theta: Array) -> Array:
        """log p(x) - KL(q(z|x) ‖ p(z|x)): two normals over all latents at once, nothing layer by layer."""
        mean, covariance = self.joint(theta)
        to_z = np.linalg.solve(covariance[5:, 5:], covariance[5:, :5])
        posterior_mean = mean[:5] + (self.x - mean[5:]) @ to_z
        posterior = covariance[:5, :5] - covariance[:5, 5:] @ to_z
        weights = dict(self.model.layout.leaves(theta))
        up = weights["encoder.2.1.W"][:, :2]
        z_1 = self.x @ weights["encoder.1.1.W"][:, :3] + weights["encoder.1.1.b"][:3]
        q_mean = np.concatenate([z_1, z_1 @ up + weights["encoder.2.1.b"][:2]], axis=-1)
        std_1, std_2 = np.exp(weights["encoder.1.1.b"][3:]), np.exp(weights["encoder.2.1.b"][2:])
        noise_to_z = np.block([[np.diag(std_1), std_1[:, None] * up], [np.zeros((2, 3)), np.diag(std_2)]])
        q = noise_to_z.T @ noise_to_z
        difference = posterior_mean - q_mean
        distance = np.sum(difference * np.linalg.solve(posterior, difference.T).T, axis=-1)
        log_volumes = np.linalg.slogdet(posterior)[1] - np.linalg.slogdet(q)[1]
        kl = 0.5 * (np.trace(np.linalg.solve(posterior, q)) - 5 + distance + log_volumes)
        return np.asarray(self.evidence(theta) - kl)

    def weights_are_the_evidence(self, model: LayeredVAE) -> bool:
        """Whether every weight is p(x), whatever the noise, where q is the posterior."""
        noise = np.random.default_rng(0).standard_normal((7, 3, 5))
        found = sum(model.log_weights(self.theta, self.x, noise))
        return bool(np.allclose(found, self.evidence(self.theta), rtol=0, atol=1e-10))

    def corner_bound(self, model: LayeredVAE, theta: Array) -> tuple[Array, Array]:
        """The ELBO and its gradient, summed over rows, without Monte Carlo error   (linear_gaussian.7)."""
        bound, pullback = path_bound(model, theta, self.x, corner_noise(5, rows=3))
        return bound, pullback(np.ones(3))[0]

    def has_the_elbo(self, model: LayeredVAE) -> bool:
        """Whether the bound is log p(x) - KL where q is another."""
        return bool(np.allclose(self.corner_bound(model, self.off())[0], self.elbo(self.off()), rtol=0, atol=1e-10))

    def known(self) -> npt.NDArray[np.bool_]:
        """Which weights ``elbo`` reads: all but the maps to log_stds, which are zero."""
        marks = np.ones(self.model.layout.size)
        weights = dict(self.model.layout.leaves(marks))
        for name, means in (("encoder.1.1.W", 3), ("encoder.2.1.W", 2), ("decoder.2.1.W", 3)):
            weights[name][:, means:] = 0
        return np.asarray(marks == 1)


CHAIN = LinearChain.build()


def test_the_exact_posterior_makes_every_weight_the_evidence() -> None:
    """Whatever the noise   (layered.1), (layered.3), (path_models.1)."""
    assert CHAIN.weights_are_the_evidence(CHAIN.model)
    np.testing.assert_allclose(CHAIN.elbo(CHAIN.theta), CHAIN.evidence(CHAIN.theta), atol=1e-12)


def test_the_bound_is_the_evidence_less_the_divergence_of_all_latents() -> None:
    """log p(x) - KL(q(z_1, z_2|x) ‖ p(z_1, z_2|x)) in closed form   (layered.3), (path_models.2)."""
    assert CHAIN.has_the_elbo(CHAIN.model)
    assert np.all(CHAIN.evidence(CHAIN.off()) - CHAIN.elbo(CHAIN.off()) > 0.1)


def test_the_mean_gradient_is_that_of_the_closed_form() -> None:
    """The expectation's own, by finite differences of its formula   (layered.4), (layered.5), (layered.6)."""
    theta = CHAIN.off()
    known = CHAIN.known()

    def closed_form(some: Array) -> float:
        whole = theta.copy()
        whole[known] = some
        return float(CHAIN.elbo(whole).sum())

    truth = gradient_of(closed_form, theta[known])
    np.testing.assert_allclose(CHAIN.corner_bound(CHAIN.model, theta)[1][known], truth, atol=1e-7)
    deaf = CHAIN.corner_bound(without_the_path_through_the_encoder(CHAIN.model), theta)[1][known]
    assert np.abs(deaf - truth).max() > 0.1  # the negative control: a step another way, on average as well


def test_the_bounds_are_in_order_and_the_weights_right_on_average() -> None:
    """ELBO ≤ L_5 ≤ L_50 ≤ log p(x), and E[w] = p(x), each in standard errors   (path_models.1), (path_models.2)."""
    repeats, theta = 4000, CHAIN.off()
    noise = np.random.default_rng(0).standard_normal((50, repeats, 5))
    log_w, _ = log_weight(CHAIN.model, theta, np.repeat(CHAIN.x[:1], repeats, axis=0), noise)
    evidence = CHAIN.evidence(theta)[0]
    bounds = [log_w.mean(axis=0), log_mean_exp(log_w[:5])[0], log_mean_exp(log_w)[0], np.full(repeats, evidence)]
    for lower, upper in pairwise(bounds):
        gain = upper - lower
        assert gain.mean() > 4 * gain.std() / repeats**0.5
    ratio = np.exp(log_w - evidence).mean(axis=0)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / repeats**0.5


class Unjudged(Normal):
    """The normal whose log-density is left out, with a gradient to match."""

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        log_density, pullback = super().log_prob(params, value)
        return 0 * log_density, lambda dlog_density: pullback(0 * dlog_density)


class SharesNoise(LayeredVAE):
    """z_1's noise once more for z_2."""

    def split(self, noise: Array) -> list[Array]:
        return [noise[..., : self.widths[0]], noise[..., : self.widths[1]]]


def test_a_density_left_out_is_seen_by_the_law_alone() -> None:
    """The negative control   (layered.1): without p(z_1|z_2) no weight is p(x), and the bound is none."""
    model = replace(CHAIN.model, posterior=Unjudged())
    assert pullback_report(replace(small(2), posterior=Unjudged())).ok
    assert not CHAIN.weights_are_the_evidence(model)
    assert np.any(CHAIN.corner_bound(model, CHAIN.theta)[0] > CHAIN.evidence(CHAIN.theta) + 0.1)


def test_noise_used_twice_is_seen_where_q_is_not_the_posterior() -> None:
    """The negative control   (layered.2): the gradient is right, and so is every weight of the exact posterior."""
    model, two = (
        SharesNoise(each.encoders, each.decoders, each.widths, likelihood=each.likelihood)
        for each in (CHAIN.model, small(2))
    )
    assert pullback_report(two).ok
    assert CHAIN.weights_are_the_evidence(model)
    assert not CHAIN.has_the_elbo(model)


def test_latents_of_the_prior_come_down_the_chain() -> None:
    """Mean and covariance of z_1, by corner noise without error   (layered.1)."""
    mean, covariance = CHAIN.joint(CHAIN.theta)
    z = CHAIN.model.draw_from_prior(CHAIN.theta, corner_noise(5, rows=1)[:, 0])
    np.testing.assert_allclose(z.mean(axis=0), mean[:3], atol=1e-12)
    np.testing.assert_allclose(np.cov(z.T, bias=True), covariance[:3, :3], atol=1e-12)
    assert CHAIN.model.prior_noise(np.random.default_rng(0), 4).shape == (4, 5)


# ---- the estimator: nonlinear, log_stds that move with what is below


TANH = mlp_layered_vae(2, latents=(1, 1), hidden=((2,), (2,)))
TANH_THETA = 0.4 * np.random.default_rng(2).standard_normal(TANH.layout.size)
TANH_X = np.array([[1.0, 0.0]])


@pytest.mark.parametrize(("samples", "nodes"), [(1, 20), (2, 8)], ids=["elbo", "two samples"])
def test_the_gradient_is_unbiased(samples: int, nodes: int) -> None:
    """Against finite differences of the expectation by quadrature over scipy's densities   (path_models.2)."""
    noise, weights = noise_nodes(samples, 2, nodes)
    rows = np.repeat(TANH_X, noise.shape[1], axis=0)

    def expectation(theta: Array) -> float:
        return float(weights @ log_mean_exp(log_weight_by_scipy(TANH, theta, rows, noise))[0])

    def estimates(model: LayeredVAE) -> Array:
        rng, found, many = np.random.default_rng(0), [], np.repeat(TANH_X, 25, axis=0)
        for _ in range(800):
            drawn = model.draw_noise(pathwise, rng, (samples, len(many)))
            _, pullback = path_bound(model, TANH_THETA, many, drawn, reduce=log_mean_exp)
            found.append(pullback(np.full(len(many), 1 / len(many)))[0])
        return np.stack(found)

    truth = central_differences(expectation, TANH_THETA)
    check_unbiased(estimates(TANH), truth).assert_ok()
    assert not check_unbiased(estimates(without_the_path_through_the_encoder(TANH)), truth).ok


def central_differences(g: Any, point: Array, step: float = 1e-4) -> Array:
    """∇g to some eight digits, which is far below any standard error here."""
    units = step * np.eye(len(point))
    return np.array([(g(point + unit) - g(point - unit)) / (2 * step) for unit in units])


def test_the_lowest_layer_is_an_integrand_for_any_estimator() -> None:
    """In params and in z_1, the layers above going with it   (layered.3), (layered.4)."""
    model = small(3)
    theta, x, noise = some_point(model)
    f = lowest_integrand(model, theta, x, noise)
    params, rng = model.encode(theta, x), np.random.default_rng(0)

    def rule(params: Array, z: Array) -> tuple[Array, Pullback]:
        values, pullback = f(params, z)
        return values, lambda dvalues: pullback(dvalues)[:2]

    check_pullback(rule, params, rng.standard_normal((2, 3, 3)), names=["params", "z"]).assert_ok()
    z, _ = model.posterior.sample(params, noise[..., :3])
    np.testing.assert_allclose(f(params, z)[0], log_weight(model, theta, x, noise)[0], rtol=1e-12)
    repeats = 400
    for estimator in (score_function, pathwise):
        found = dparams_estimates(model, theta, x[:1], estimator, rng=rng, repeats=repeats)
        assert found.shape == (repeats, 6)


# ---- as a model of the package


def test_every_query_of_a_model_is_answered() -> None:
    model = small(2, likelihood_head=())
    theta, x, noise = some_point(model)
    assert model.latents == noise.shape[-1] == 5
    assert model.encode(theta, x).shape == (3, 6)
    z = noise[..., :3]
    np.testing.assert_array_equal(model.decode_mean(theta, z), model.likelihood.mean(model.decode(theta, z)))
    (params, below, width), (above_params, means, above_width) = model.layers_at(theta, x)
    np.testing.assert_array_equal(params, model.encode(theta, x))
    np.testing.assert_array_equal(below, x)
    np.testing.assert_array_equal(means, params[:, :3])
    assert (width, above_width, above_params.shape) == (3, 2, (3, 4))
    names = [name for name, _ in model.layout.leaves(theta)]
    assert names[0] == "encoder.1.1.W"
    assert names[-1] == "decoder.2.5.b"


def test_the_default_is_the_two_layer_model_of_the_paper() -> None:
    model = mlp_layered_vae(784)
    networks: Any = (*model.encoders, *model.decoders)
    units = [[part.outputs for part in network.parts if hasattr(part, "outputs")] for network in networks]
    assert units == [[200, 200, 200], [100, 100, 100], [200, 200, 784], [100, 100, 200]]


@pytest.mark.parametrize(("latents", "hidden"), [((), ()), ((3, 2), ((4,),))])
def test_layers_that_do_not_fit_together_are_refused(latents: Any, hidden: Any) -> None:
    with pytest.raises(InputError, match="use one entry for each"):
        mlp_layered_vae(FEATURES, latents=latents, hidden=hidden)


def test_a_decoder_starts_at_the_data() -> None:
    model = small(2)
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    mean = np.array([0.2, 0.5, 0.9, 0.1])
    start_at_data(model, theta, mean, np.full(4, 0.3))
    np.testing.assert_allclose(dict(model.layout.leaves(theta))["decoder.1.3.b"], np.log(mean / (1 - mean)))


def test_training_raises_the_bound() -> None:
    model = mlp_layered_vae(DIGITS.features, latents=(4, 2), hidden=((12,), (5,)))
    recipe = Recipe(epochs=8, batch=20, samples=3, objective=importance_weighted)
    state = train(model, DIGITS, recipe, start(model, DIGITS, recipe))
    assert state.history[-1]["test_elbo"] > state.history[0]["test_elbo"] + 1


def test_the_rule_that_overflows_is_named() -> None:
    model = small(2)
    theta, x, noise = some_point(model)
    assert first_nonfinite(model, theta, x, noise, elbo, pathwise) is None
    dict(model.layout.leaves(theta))["encoder.2.5.b"][-1] = 1000.0
    with np.errstate(all="ignore"):
        assert "posterior.sample (Normal)" in str(first_nonfinite(model, theta, x, noise, elbo, pathwise))


def verdict(model: LayeredVAE) -> str:
    theta, x, _ = some_point(model, rows=2, scale=0.3)
    rng = np.random.default_rng(0)
    return check_model(model, theta, x, rng=rng, objective=importance_weighted, directions=1).verdict


def test_the_gradient_check_of_a_model_knows_layers() -> None:
    """Right with tanh, right to six digits beside the kinks of ReLU, and wrong where a path is missing."""
    model, kinked = (
        mlp_layered_vae(FEATURES, latents=(3, 2), hidden=((4,), ()), activation=activation)
        for activation in (layers.tanh, layers.relu)
    )
    assert (verdict(model), verdict(kinked)) == ("passed", "passed")
    assert verdict(without_the_path_through_the_encoder(model)) == "failed"


def test_estimators_are_compared_on_one_layer_as_on_a_vae() -> None:
    from numvae.arena.states import state_of_model

    one, two = small(1), small(2)
    theta, x, noise = some_point(one)
    state = state_of_model(one, theta, x)
    np.testing.assert_allclose(
        state.f(state.params, one.posterior.sample(state.params, noise)[0])[0], log_weight(one, theta, x, noise)[0]
    )
    with pytest.raises(InputError, match="one layer of latents, and this one has 2"):
        state_of_model(two, some_point(two)[0], x)


# ---- the command


def small_settings(folder: Path) -> list[object]:
    return [
        *("--data", write_digits(folder), "--likelihood", "bernoulli", "--epochs", 2, "--batch", 50),
        *("--latent", 4, "--hidden", "8", "--latent-above", 2, "--hidden-above", "5,3"),
        *("--objective", "importance_weighted", "--samples", 3),
    ]


def test_the_command_trains_a_second_layer_and_reads_its_run(tmp_path: Path) -> None:
    """train, evaluate, sample, figures, gradcheck and info."""
    run, picture = tmp_path / "run", tmp_path / "drawn.png"
    trained = numvae("train", *small_settings(tmp_path), "--out", run, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["parameters"] == 1089
    evaluated = numvae("evaluate", run, "--samples", 20, "--json").json
    assert evaluated["test_elbo"] < evaluated["test_importance_weighted"] < 0
    assert numvae("sample", run, "--n", 4, "--out", picture).code == 0
    assert picture.exists()
    checked = numvae("gradcheck", run, "--json")
    assert checked.code == 0
    groups = {group["name"] for group in checked.json["groups"]}
    assert {"encoder.2.1.W", "decoder.2.5.b"} <= groups
    assert checked.json["estimators"] == ["score_function", "pathwise"]
    assert "LayeredVAE" in numvae("info", run).out
    page = (run / "index.html").read_text()
    assert "2 layers of latents" in page
    assert "Encoders of 49-8-4 and, above, 4-5-3-2 units" in page
    again, _ = resume_run(run, {"epochs": 3})
    assert (again.state.epoch, again.config.latent_above) == (2, 2)


def test_a_gradient_check_needs_no_run(tmp_path: Path) -> None:
    assert numvae("gradcheck", *small_settings(tmp_path), "--json").json["verdict"] == "passed"


def test_what_is_not_for_two_layers_is_refused_before_a_run_starts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    watched = numvae("train", *small_settings(tmp_path), "--watch-variance", "--out", run)
    assert watched.code == 2
    assert "--watch-variance is for a vae with one layer of latents" in watched.complaint
    assert numvae("train", *small_settings(tmp_path), "--kl", "analytic", "--out", run).code == 2
    assert not run.exists()
