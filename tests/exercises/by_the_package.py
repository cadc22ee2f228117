"""The outputs of the ladder's exercises as the package's own rules, estimators and objectives give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numvae import Bernoulli, Normal, layers, objectives, one_page
from numvae.arrays import Array
from numvae.distributions.erlang import Erlang
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.estimators import baselines, log_mean_exp, pathwise, sample_mean
from numvae.exercises.contract import Draw
from numvae.sample_gradient import sample_bound

__all__ = ["by_the_package", "constant"]


def by_the_package(name: str, draw: Draw) -> dict[str, Any]:
    """What the package gives for the outputs of an exercise, by their names; empty where it has no such rule."""
    for part in (_of_layers, _of_likelihoods, _of_samples, _of_bounds, _of_estimators, _of_networks):
        found = part(name, draw)
        if found:
            return found
    return {}


def _named(names: str, values: Any) -> dict[str, Any]:
    return dict(zip(names.split(), values, strict=False))


def _of_layers(name: str, draw: Draw) -> dict[str, Any]:
    given, d = draw.arguments, draw.cotangent
    if name in ("affine", "tanh", "sigmoid", "relu", "softplus"):
        value, pullback = getattr(layers, name)(**given)
        return _named("y dW db dx" if name == "affine" else "y dx", [value, *pullback(d)])
    if name == "perceptron":
        a, first = layers.affine(given["W1"], given["b1"], given["x"])
        h, middle = layers.tanh(a)
        y, second = layers.affine(given["W2"], given["b2"], h)
        dW2, db2, dh = second(d)
        return _named("y dW2 db2 dW1 db1", [y, dW2, db2, *first(*middle(dh))])
    if name == "two_heads":
        mean, first = layers.affine(given["W_mean"], given["b_mean"], given["h"])
        log_std, second = layers.affine(given["W_log_std"], given["b_log_std"], given["h"])
        (dW_mean, db_mean, dh), (dW_log_std, db_log_std, more) = first(d[0]), second(d[1])
        outputs = {"mean": mean, "log_std": log_std, "dW_mean": dW_mean, "db_mean": db_mean}
        return outputs | {"dW_log_std": dW_log_std, "db_log_std": db_log_std, "dh": dh + more}
    return {}


def _of_likelihoods(name: str, draw: Draw) -> dict[str, Any]:
    given, d, q = draw.arguments, draw.cotangent, Normal()
    if name == "bernoulli_log_prob":
        value, pullback = Bernoulli().log_prob(given["logits"], given["x"])
        return _named("log_prob dlogits", [value, pullback(d)[0]])
    if name == "poisson_log_prob":
        value, pullback = Poisson().log_prob(given["log_rate"], given["x"])
        return _named("log_prob dlog_rate", [value, pullback(d)[0]])
    if name == "normal_log_prob":
        value, pullback = q.log_prob(_params(given), given["x"])
        dparams, dx = pullback(d)
        return _named("log_prob dmean dlog_std dx", [value, *np.split(dparams, 2, axis=-1), dx])
    if name == "normal_kl":
        prior = np.full_like(_params(given), -np.log(given["alpha"]) / 2)
        prior[:, : given["mean"].shape[-1]] = 0
        value, pullback = q.kl(_params(given), prior)
        return _named("kl dmean dlog_std", [value, *np.split(pullback(d)[0], 2, axis=-1)])
    return {}


def _of_samples(name: str, draw: Draw) -> dict[str, Any]:
    given, d = draw.arguments, draw.cotangent
    if name.startswith("reparameterize"):
        log_std, per_log_std = _log_std(given)
        params = np.concatenate([given["mean"], log_std], axis=-1)
        z, pullback = Normal().sample(params, given["noise"][None])
        dmean, dlog_std = np.split(pullback(d[None])[0], 2, axis=-1)
        of_spread = f"d{name.partition('_')[2] or 'log_std'}"
        return {"z": z[0], "dmean": dmean, of_spread: per_log_std * dlog_std}
    if name == "exponential_sample":
        z, pullback = Exponential().sample(given["log_rate"], given["noise"])
        return _named("z dlog_rate", [z, pullback(d)[0]])
    if name == "erlang_sample":
        order, rows, latents = given["noise"].shape
        side_by_side = given["noise"].transpose(1, 0, 2).reshape(1, rows, order * latents)
        z, pullback = Erlang(order=order).sample(given["log_rate"], side_by_side)
        return _named("z dlog_rate", [z[0], pullback(d[None])[0]])
    if name == "gamma_sample":
        shape, scale = given["shape"], given["scale"]
        z, pullback = Gamma().sample(np.concatenate([np.log(shape), -np.log(scale)], axis=-1), given["noise"][None])
        dlog_shape, dlog_rate = np.split(pullback(d[None])[0], 2, axis=-1)
        return _named("z dshape dscale", [z[0], dlog_shape / shape, -dlog_rate / scale])
    return {}


def _of_bounds(name: str, draw: Draw) -> dict[str, Any]:
    given, d = draw.arguments, draw.cotangent
    if name == "sample_gradient":
        bound, pullback = sample_bound(**given)
        return _named("bound dW db dmean dvariance", [bound, *pullback(d)])
    if name in ("monte_carlo_bound", "importance_weighted"):
        reduce = sample_mean if name == "monte_carlo_bound" else log_mean_exp
        values = _log_weights(given["log_likelihood"])
        bound, pullback = pathwise(Normal(), _params(given), given["noise"], values, reduce)
        return _named("bound dmean dlog_std", [bound, *np.split(pullback(d)[0], 2, axis=-1)])
    if name == "analytic_bound":
        reconstruction, mean_pullback = sample_mean(given["log_likelihood"])
        kl, kl_pullback = Normal().kl(_params(given), np.zeros_like(_params(given)))
        value = {"bound": reconstruction - kl, "dlog_likelihood": mean_pullback(d)[0]}
        return value | _named("dmean dlog_std", np.split(kl_pullback(-d)[0], 2, axis=-1))
    if name == "minibatch_estimate":
        rows = given["log_likelihood"].sum(axis=1)
        estimate, pullback = objectives.minibatch_estimate(rows, given["dataset_rows"])
        log_prior, prior_pullback = objectives.weight_log_prior(given["theta"], given["precision"])
        dlog_likelihood = np.broadcast_to(pullback(d)[0][:, None], given["log_likelihood"].shape)
        value = {"estimate": estimate + log_prior, "dlog_likelihood": dlog_likelihood}
        return value | {"dtheta": prior_pullback(d)[0]}
    if name == "log_mean_exp":
        bound, pullback = log_mean_exp(given["values"])
        return _named("bound dvalues", [bound, pullback(d)[0]])
    return {}


def _of_estimators(name: str, draw: Draw) -> dict[str, Any]:
    given = draw.arguments
    if name == "score_function":
        noise = (given["z"] - given["mean"]) / np.exp(given["log_std"])
        _, pullback = baselines.reinforce(Normal(), _params(given), noise, constant(given["values"]), sample_mean)
        return _named("dmean dlog_std", np.split(pullback(np.ones(draw.rows))[0], 2, axis=-1))
    if name == "leave_one_out":
        return {"baseline": baselines.mean_of_others(given["values"])}
    return {}


def _of_networks(name: str, draw: Draw) -> dict[str, Any]:
    given, d = draw.arguments, draw.cotangent
    if name == "vae_gradient":
        elbo, g = one_page.elbo_and_gradient(given["p"], given["x"], given["noise"])
        return {"elbo": elbo} | {f"d{weight}": gradient for weight, gradient in g.items()}
    if name == "decoder_gradient":
        a, first = layers.affine(given["W4"], given["b4"], given["z"])
        k, middle = layers.tanh(a)
        logits, second = layers.affine(given["W5"], given["b5"], k)
        log_likelihood, pullback = Bernoulli().log_prob(logits, given["x"])
        dW5, db5, dk = second(pullback(d)[0])
        outputs = _named("log_likelihood dW5 db5", [log_likelihood, dW5, db5])
        return outputs | _named("dW4 db4 dz", first(*middle(dk)))
    return {}


def constant(values: Array) -> Callable[..., Any]:
    """An integrand whose values are given, and whose derivatives are not to be had."""
    return lambda params, z: (values, lambda dvalues: (0.0, np.zeros_like(z), None))


def _log_weights(log_likelihood: Array) -> Callable[..., Any]:
    """The integrand log p(x|z) + log p(z) - log q(z), the first being given."""

    def f(params: Array, z: Array) -> tuple[Array, Callable[..., Any]]:
        prior, prior_pullback = Normal().log_prob(np.zeros_like(params), z)
        q, q_pullback = Normal().log_prob(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, None]:
            dparams, dz = q_pullback(-dvalues)
            return dparams, dz + prior_pullback(dvalues)[1], None

        return log_likelihood + prior - q, pullback

    return f


def _params(given: Any) -> Array:
    return np.concatenate([given["mean"], given["log_std"]], axis=-1)


def _log_std(given: Any) -> tuple[Array, Array | float]:
    """The log_std that an exercise's own parameter stands for, and its derivative in that."""
    if "log_variance" in given:
        return given["log_variance"] / 2, 0.5
    if "variance" in given:
        return np.log(given["variance"]) / 2, 0.5 / given["variance"]
    return given["log_std"], 1.0
