"""Variational auto-encoders with several stochastic layers of normal latents, differentiated through all of them.

Derivations: ``derivations/layered.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import params_size
from numvae.distributions.normal import LOG_2PI
from numvae.errors import InputError
from numvae.networks import Chain, Network, SharedLogStd, mlp
from numvae.parameters import Layout
from numvae.path_models import PathModel
from numvae.priors import STANDARD_NORMAL

__all__ = ["LayeredVAE", "LowestIntegrand", "lowest_integrand", "mlp_layered_vae", "sample_with_log_prob"]


@dataclass(frozen=True)
class LayeredVAE(PathModel):
    """z_L ~ N(0, I),  z_l ~ p(z_l|z_{l+1}),  x ~ p(x|z_1);  q(z|x) = q(z_1|x) q(z_2|z_1) …   (layered.1).

    All but p(x|z_1) are normals, [mean | log_std] from networks.  Its weights ``theta`` are one vector,
    [encoder | decoder]; ``layout`` names the pieces.  Latents and noise of all layers stand side by side in one last
    axis, z_1 first.  Source: Burda et al. 2015, sections 2 and 5.
    """

    encoders: tuple[Network, ...]
    """q(z_1|x), q(z_2|z_1), …."""
    decoders: tuple[Network, ...]
    """p(x|z_1), p(z_1|z_2), …."""
    widths: tuple[int, ...]
    """How many latents z_1, z_2, … have."""
    posterior: Normal = Normal()
    likelihood: Any = Bernoulli()

    @cached_property
    def layout(self) -> Layout:
        """What lies where in ``theta``."""
        return Layout.of({"encoder": _numbered(self.encoders), "decoder": _numbered(self.decoders)})

    @property
    def latents(self) -> int:
        """Latents of all layers together."""
        return sum(self.widths)

    def weights(self, theta: Array, networks: str) -> list[Array]:
        """Views of ``theta``, one for each layer of "encoder" or "decoder"."""
        layout = dict(self.layout.pieces)[networks]
        assert isinstance(layout, Layout), f"{networks} is a layout of layers"
        return list(layout.views(self.layout.views(theta)[networks]).values())

    def split(self, noise: Array) -> list[Array]:
        """Noise or latents of all layers, cut along the last axis."""
        cuts = np.cumsum((0, *self.widths)).tolist()
        return [noise[..., begin:end] for begin, end in pairwise(cuts)]

    def weigh(self, theta: Array, x: Array, noise: Array) -> tuple[tuple[Array, Array], Pullback]:
        """(log p(x|z_1), log p(z) - log q(z|x)), (S, B) each; pullback of their sum -> (dtheta,)   (layered.3).

        Their sum is the log importance weight (path_models.1).  Shapes: x (B, D), noise (S, B, ΣZ).  Nats.
        """
        values, layer_pullback = _layer(self, theta, 0, x, self.split(noise))

        def pullback(dvalues: Array) -> tuple[Array]:
            dtheta = np.empty_like(theta)
            layer_pullback(dvalues, dtheta)
            return (dtheta,)

        return values, pullback

    def encode(self, theta: Array, x: Array) -> Array:
        """Parameters of q(z_1|x).  x: (B, D), params: (B, 2 Z_1)."""
        return self.encoders[0].of_data(self.weights(theta, "encoder")[0], x)[0]

    def decode(self, theta: Array, z: Array) -> Array:
        """Parameters of p(x|z_1).  z: (..., Z_1)."""
        decoder, weights = self.data_decoder(theta)
        return decoder(weights, z)[0]

    def decode_mean(self, theta: Array, z: Array) -> Array:
        """E[x|z_1].  z: (..., Z_1), mean: (..., D)."""
        mean: Array = self.likelihood.mean(self.decode(theta, z))
        return mean

    def data_decoder(self, theta: Array) -> tuple[Network, Array]:
        """The network that puts out the data's parameters, and its weights."""
        return self.decoders[0], self.weights(theta, "decoder")[0]

    def prior_noise(self, rng: np.random.Generator, count: int, dtype: npt.DTypeLike = np.float64) -> Array:
        """What ``draw_from_prior`` makes ``count`` draws of."""
        return self.posterior.noise(rng, (count, self.latents), dtype)

    def draw_from_prior(self, theta: Array, noise: Array) -> Array:
        """z_1 by way of z_L … z_2   (layered.1).  noise: (N, Z_1 + … + Z_L), z_1: (N, Z_1)."""
        *noises, z = self.split(noise)
        decoders = zip(self.decoders[1:], self.weights(theta, "decoder")[1:], strict=True)
        for noise_below, (decoder, weights) in reversed(list(zip(noises, decoders, strict=True))):
            z, _ = self.posterior.sample(decoder(weights, z)[0], noise_below)
        return z

    def layers_at(self, theta: Array, x: Array) -> list[tuple[Array, Array, int]]:
        """For each layer the parameters of q, what q is conditioned on, and its width; below a layer stand means."""
        result, below = [], x
        for network, weights, width in zip(self.encoders, self.weights(theta, "encoder"), self.widths, strict=True):
            params, _ = network.of_data(weights, below)
            result.append((params, below, width))
            below = self.posterior.mean(params)
        return result


def mlp_layered_vae(
    features: int,
    *,
    latents: Sequence[int] = (100, 50),
    hidden: Sequence[Sequence[int]] = ((200, 200), (100, 100)),
    activation: Callable[..., tuple[Array, Pullback]] = layers.tanh,
    likelihood: Any = Bernoulli(),
    likelihood_head: Sequence[Any] = (),
) -> LayeredVAE:
    """Layers of ``latents``, the lowest first; from each to the one below and back perceptrons of ``hidden`` units.

    ``hidden`` has one entry per layer, in the encoder's order.  ``likelihood_head`` follows the lowest decoder, as in
    ``mlp_vae``, which this is for one layer.  The defaults are the two-layer model of Burda et al. 2015, section 5.

    Raises:
        InputError: no layer, or not as many entries of ``hidden`` as of ``latents``.

    >>> mlp_layered_vae(784).layout.size
    521084
    """
    if not latents or len(latents) != len(hidden):
        raise InputError(
            f"each layer has its latents and its hidden units, got {len(latents)} and {len(hidden)}; "
            "use one entry for each"
        )
    shares_std = any(isinstance(part, SharedLogStd) for part in likelihood_head)
    outputs = features if shares_std else params_size(likelihood, features)
    below, decoded = (features, *latents[:-1]), (outputs, *(2 * width for width in latents[:-1]))
    encoders = [
        mlp([lower, *units, 2 * width], activation) for lower, units, width in zip(below, hidden, latents, strict=True)
    ]
    to_data, *to_latents = [
        mlp([width, *reversed(units), lower], activation)
        for width, units, lower in zip(latents, hidden, decoded, strict=True)
    ]
    return LayeredVAE(
        encoders=tuple(encoders),
        decoders=(Chain((*to_data.parts, *likelihood_head)), *to_latents),
        widths=tuple(latents),
        likelihood=likelihood,
    )


def _numbered(networks: Sequence[Network]) -> Layout:
    return Layout(tuple((str(number), network.layout) for number, network in enumerate(networks, 1)))


# ---- the log weight of a path, layer upon layer


def sample_with_log_prob(q: Normal, params: Array, noise: Array) -> tuple[tuple[Array, Array], Pullback]:
    """z = mean + exp(log_std) noise, and log q(z) = Σ -½ noise² - log_std - ½ log 2π   (layered.2).

    Pullback (dz, dlog_q) -> (dparams, None).  Of log q at its own sample only log_std is left: where z moves with
    params, (z - mean) / std is the noise and stays.  Shapes: params (..., 2Z), noise and z (S, B, Z), log_q (S, B).
    """
    log_std = halves(params)[1]
    z, sample_pullback = q.sample(params, noise)
    squares, latents = np.sum(noise * noise, axis=-1), noise.shape[-1]
    log_q = -0.5 * squares - np.sum(log_std, axis=-1) - 0.5 * LOG_2PI * latents  # (layered.2)

    def pullback(dz: Array, dlog_q: Array) -> tuple[Array, None]:
        dparams, _ = sample_pullback(dz)
        dparams[..., latents:] -= sum_to_shape(dlog_q, log_std.shape[:-1])[..., None]  # (layered.6)
        return dparams, None

    return (z, log_q), pullback


def _layer(
    model: LayeredVAE, theta: Array, level: int, below: Array, noises: Sequence[Array]
) -> tuple[tuple[Array, Array], Callable[[Array, Array], Array | None]]:
    """R_l(v) at v = ``below``, as the pair (log p(v|z_l), the rest)   (layered.3); levels count from 0.

    The pullback takes the gradient of the pair's sum and memory for the gradient of all weights, in which it writes
    those of this layer and of the ones above; it returns dv, None for data.
    """
    encoder, weights = model.encoders[level], model.weights(theta, "encoder")[level]
    params, encoder_pullback = (encoder.of_data if level == 0 else encoder)(weights, below)
    (z, log_q), sample_pullback = sample_with_log_prob(model.posterior, params, noises[level])
    (log_p, above), given_z_pullback = _given_sample(model, theta, level, below, z, noises)

    def pullback(dvalues: Array, dtheta: Array) -> Array | None:
        dbelow, dz = given_z_pullback(dvalues, dtheta)
        dparams, _ = sample_pullback(dz, -dvalues)
        _, dbelow_by_encoder = encoder_pullback(dparams, out=model.weights(dtheta, "encoder")[level])
        return None if level == 0 else dbelow + dbelow_by_encoder  # (layered.5)

    return (log_p, above - log_q), pullback  # (layered.3)


def _given_sample(
    model: LayeredVAE, theta: Array, level: int, below: Array, z: Array, noises: Sequence[Array]
) -> tuple[tuple[Array, Array], Callable[[Array, Array], tuple[Array, Array]]]:
    """(log p(v|z_l), R_{l+1}(z_l)) with the sample of this layer given; the pullback writes as that of ``_layer``.

    It returns (dv, dz), dv by log p(v|z_l) alone.
    """
    decoder, weights = model.decoders[level], model.weights(theta, "decoder")[level]
    decoded, decoder_pullback = decoder(weights, z)
    log_p, log_p_pullback = (model.likelihood if level == 0 else model.posterior).log_prob(decoded, below)
    above, above_pullback = _above(model, theta, level + 1, z, noises)

    def pullback(dvalues: Array, dtheta: Array) -> tuple[Array, Array]:
        ddecoded, dbelow = log_p_pullback(dvalues)
        _, dz = decoder_pullback(ddecoded, out=model.weights(dtheta, "decoder")[level])
        return dbelow, dz + above_pullback(dvalues, dtheta)  # (layered.4)

    return (log_p, above), pullback


def _above(
    model: LayeredVAE, theta: Array, level: int, z: Array, noises: Sequence[Array]
) -> tuple[Array, Callable[[Array, Array], Array]]:
    """R_l(z) of the layers from ``level`` upward: log N(z; 0, I) where there are none   (layered.3)."""
    if level == len(model.widths):
        prior = STANDARD_NORMAL
        log_prior, log_prior_pullback = prior.family.log_prob(prior.params(z, z.shape[-1]), z)
        return log_prior, lambda dvalues, dtheta: log_prior_pullback(dvalues)[1]
    (log_p, rest), layer_pullback = _layer(model, theta, level, z, noises)

    def pullback(dvalues: Array, dtheta: Array) -> Array:
        dz = layer_pullback(dvalues, dtheta)
        assert dz is not None, "only data have no gradient"
        return dz

    return log_p + rest, pullback


# ---- what an estimator of the lowest layer is given


def lowest_integrand(model: LayeredVAE, theta: Array, x: Array, noise: Array) -> LowestIntegrand:
    """For q(z_1|x) and ``model.split(noise)[0]``, the noise of the layers above being held."""
    return LowestIntegrand(model, theta, x, tuple(model.split(noise)))


@dataclass(frozen=True, eq=False)
class LowestIntegrand:
    """f(params, z_1) = log p(x|z_1) + R_2(z_1) - log q(z_1; params)   (layered.3), its upper layers by one sample each.

    Any estimator for normals can be asked for its gradient in the parameters of q(z_1|x), as for a VAE's.
    """

    model: LayeredVAE
    theta: Array
    context: Array
    """x, (B, D): what q was conditioned on."""
    noises: tuple[Array, ...]

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        (log_p, above), given_z_pullback = _given_sample(self.model, self.theta, 0, self.context, z, self.noises)
        log_q, log_q_pullback = self.model.posterior.log_prob(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, Array]:
            dtheta = np.zeros_like(self.theta)
            _, dz = given_z_pullback(dvalues, dtheta)
            dparams, dz_by_q = log_q_pullback(-dvalues)
            return dparams, dz + dz_by_q, dtheta

        return log_p + above - log_q, pullback
