"""Sigmoid belief networks: layers of bits, each drawn given the layer above, and networks that guess them from below.

Derivations: ``derivations/belief_networks.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.curvature import log_likelihood_hessian_product
from numvae.distributions import Bernoulli, FixedStdNormal, Normal
from numvae.distributions.contract import params_size
from numvae.errors import InputError
from numvae.estimators import Estimator, Reduction, draw_noise, sample_mean
from numvae.estimators.contract import held
from numvae.networks import Chain, Network, SharedLogStd, mlp
from numvae.parameters import Layout

__all__ = [
    "CentredDense",
    "ChainIntegrand",
    "ChainPosterior",
    "LayerIntegrand",
    "OfSigns",
    "SigmoidBeliefNetwork",
    "chain_bound",
    "first_layer_integrand",
    "layered_bound",
    "mlp_belief_network",
]

LayerEstimators: TypeAlias = Estimator | tuple[Estimator, ...]
"""One estimator for all layers, or one for each, the lowest first."""


# ---- inputs around zero


@dataclass(frozen=True)
class CentredDense:
    """y = (x - centre) W + b   (belief_networks.2): an affine map of data, seen around a point that starts at its mean.

    What it can say is what ``Dense`` can; it says it sooner, since b and W no longer have to learn together.
    """

    inputs: int
    outputs: int

    @cached_property
    def layout(self) -> Layout:
        return Layout.of({"centre": (self.inputs,), "W": (self.inputs, self.outputs), "b": (self.outputs,)})

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(layers.affine, theta, x)

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(layers.affine_of_data, theta, x)

    def _run(self, rule: Callable[..., tuple[Array, Pullback]], theta: Array, x: Array) -> tuple[Array, Pullback]:
        centre, W, b = self.layout.views(theta).values()
        y, affine_pullback = rule(W, b, x - centre)  # (belief_networks.2)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array | None]:
            dtheta = np.empty_like(theta) if out is None else out
            gradients = self.layout.views(dtheta)
            _, db, dx = affine_pullback(dy, gradients["W"], gradients["b"])
            np.negative(W @ db, out=gradients["centre"])  # (belief_networks.3)
            return dtheta, dx

        return y, pullback


@dataclass(frozen=True)
class OfSigns:
    """y = network(2x - 1)   (belief_networks.4): bits as -1 and 1, so that the network sees them around zero."""

    network: Network

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, network_pullback = self.network(theta, 2 * x - 1)  # (belief_networks.4)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dtheta, dsigns = network_pullback(dy, out=out)
            return dtheta, 2 * dsigns

        return y, pullback

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self.network.of_data(theta, 2 * x - 1)


# ---- the model


@dataclass(frozen=True)
class SigmoidBeliefNetwork:
    """z_L ~ prior,  z_l ~ p(z_l|z_{l+1}),  x ~ p(x|z_1);  q(z|x) = q(z_1|x) q(z_2|z_1) …   (belief_networks.1).

    All z are bits.  Its weights ``theta`` are one vector, [encoder | decoder | prior]; ``layout`` names the pieces.
    Latents of all layers stand side by side in one last axis, z_1 first.  Source: Mnih and Gregor 2014 (NVIL).
    """

    encoders: tuple[Network, ...]
    """q(z_1|x), q(z_2|z_1), …: each puts out logits."""
    decoders: tuple[Network, ...]
    """p(x|z_1), p(z_1|z_2), …."""
    widths: tuple[int, ...]
    """How many bits z_1, z_2, … have."""
    posterior: Bernoulli = Bernoulli()
    likelihood: Bernoulli | Normal | FixedStdNormal = Bernoulli()

    @cached_property
    def layout(self) -> Layout:
        """What lies where in ``theta``."""
        return Layout.of(
            {
                "encoder": _numbered(self.encoders),
                "decoder": _numbered(self.decoders),
                "prior": Layout.of({"logits": (self.widths[-1],)}),
            }
        )

    @property
    def latents(self) -> int:
        """Bits in all layers together."""
        return sum(self.widths)

    def weights(self, theta: Array, networks: str) -> list[Array]:
        """Views of ``theta``, one for each layer of "encoder" or "decoder"."""
        layout = dict(self.layout.pieces)[networks]
        assert isinstance(layout, Layout), f"{networks} is a layout of layers"
        return list(layout.views(self.layout.views(theta)[networks]).values())

    def encode(self, theta: Array, x: Array) -> Array:
        """Parameters of q(z_1|x).  x: (B, D), params: (B, Z_1)."""
        return self.encoders[0].of_data(self.weights(theta, "encoder")[0], x)[0]

    def decode_mean(self, theta: Array, z: Array) -> Array:
        """E[x|z_1].  z: (..., Z_1), mean: (..., D)."""
        return self.likelihood.mean(self.decoders[0](self.weights(theta, "decoder")[0], z)[0])

    def data_decoder(self, theta: Array) -> tuple[Network, Array]:
        """The network that puts out the data's parameters, and its weights."""
        return self.decoders[0], self.weights(theta, "decoder")[0]

    def centre_at(self, theta: Array, mean: Array) -> None:
        """Write the data's mean into ``theta`` where the lowest encoder has a centre.  mean: (D,)."""
        encoder = self.encoders[0]
        if isinstance(encoder, Chain) and isinstance(encoder.parts[0], CentredDense):
            weights = next(iter(encoder.layout.views(self.weights(theta, "encoder")[0]).values()))
            encoder.parts[0].layout.views(weights)["centre"][...] = mean

    def prior_noise(self, rng: np.random.Generator, count: int, dtype: npt.DTypeLike = np.float64) -> Array:
        """What ``draw_from_prior`` makes ``count`` draws of."""
        return self.posterior.noise(rng, (count, self.latents), dtype)

    def draw_from_prior(self, theta: Array, noise: Array) -> Array:
        """z_1 by way of z_L … z_2   (belief_networks.1).  noise: (N, Z_1 + … + Z_L), z_1: (N, Z_1)."""
        noises, decoders = self.split(noise), self.weights(theta, "decoder")
        params = self.layout.views(theta)["prior"]
        for level in reversed(range(1, len(self.widths))):
            z, _ = self.posterior.sample(params, noises[level])
            params = self.decoders[level](decoders[level], z)[0]
        return self.posterior.sample(params, noises[0])[0]

    def layers_at(self, theta: Array, x: Array) -> list[tuple[Array, Array, int]]:
        """For each layer the parameters of q, what q is conditioned on, and its width; means stand for lower bits."""
        result, below = [], x
        for network, weights, width in zip(self.encoders, self.weights(theta, "encoder"), self.widths, strict=True):
            params, _ = network.of_data(weights, below)
            result.append((params, below, width))
            below = self.posterior.mean(params)
        return result

    def draw_noise(
        self,
        estimator: LayerEstimators,
        rng: np.random.Generator,
        shape: tuple[int, int],
        dtype: npt.DTypeLike = np.float64,
    ) -> Array:
        """What the estimator wants for (S, B) samples, the layers' side by side.

        Raises:
            InputError: it wants something that cannot be cut into layers again.
        """
        drawn = [
            draw_noise(each, self.posterior, rng, (*shape, width), dtype)
            for each, width in zip(_for_each_layer(self, estimator), self.widths, strict=True)
        ]
        noise = drawn[0] if len(drawn) == 1 else np.concatenate(drawn, axis=-1)
        if [part.shape[-1] for part in drawn] != [part.shape[-1] for part in self.split(noise)]:
            raise InputError(
                f"layers of {self.widths} bits need noise in proportion, but the estimator draws "
                f"{[part.shape[-1] for part in drawn]}; make all layers equally wide"
            )
        return noise

    def split(self, noise: Array) -> list[Array]:
        """Noise or latents of all layers, cut along the last axis in proportion to the layers' widths."""
        per_bit, cuts = noise.shape[-1] // self.latents, np.cumsum((0, *self.widths))
        return [noise[..., begin * per_bit : end * per_bit] for begin, end in pairwise(cuts.tolist())]

    def log_joint(self, theta: Array, z: Array, x: Array) -> tuple[tuple[Array, Array], Pullback]:
        """(log p(x|z_1), log p(z_1 … z_L)) of bits; pullback of their sum -> (dtheta, None, None).  z: (S, B, ΣZ).

        ``dtheta`` has the model's whole length, zero in the encoder's part.
        """
        bits, pullbacks = self.split(z), []
        log_prior, prior_pullback = self.posterior.log_prob(self.layout.views(theta)["prior"], bits[-1])
        families = (self.likelihood, *[self.posterior] * (len(bits) - 1))
        values = []
        for family, network, weights, below, above in zip(
            families, self.decoders, self.weights(theta, "decoder"), (x, *bits), bits, strict=False
        ):
            params, network_pullback = network.of_data(weights, above)
            value, log_prob_pullback = family.log_prob(params, below)
            values.append(value)
            pullbacks.append((network_pullback, log_prob_pullback))

        def pullback(dvalues: Array) -> tuple[Array, None, None]:
            dtheta = np.zeros_like(theta)
            self.layout.views(dtheta)["prior"][...] = prior_pullback(dvalues)[0]
            for (network_pullback, log_prob_pullback), dweights in zip(
                pullbacks, self.weights(dtheta, "decoder"), strict=True
            ):
                network_pullback(log_prob_pullback(dvalues)[0], out=dweights)
            return dtheta, None, None

        return (values[0], sum(values[1:], log_prior)), pullback

    def log_weights(self, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        """(log p(x|z_1), log p(z) - log q(z|x)) at chains drawn from q, each (S, B).  noise: (S, B, ΣZ)."""
        q = self.posterior_of(theta, x)
        z, _ = q.sample(theta, noise)
        (log_likelihood, log_prior), _ = self.log_joint(theta, z, x)
        return log_likelihood, log_prior - q.log_prob(theta, z)[0]

    def posterior_of(self, theta: Array, x: Array) -> ChainPosterior:
        """q(z_1 … z_L|x) as one family."""
        return ChainPosterior(self, x, self.encoders[0].of_data(self.weights(theta, "encoder")[0], x))


def _numbered(networks: Sequence[Network]) -> Layout:
    return Layout(tuple((str(number), network.layout) for number, network in enumerate(networks, 1)))


def mlp_belief_network(
    features: int,
    *,
    latents: Sequence[int] = (200,),
    hidden: Sequence[int] = (),
    activation: Callable[..., tuple[Array, Pullback]] = layers.tanh,
    likelihood: Bernoulli | Normal | FixedStdNormal = Bernoulli(),
    likelihood_head: Sequence[Any] = (),
) -> SigmoidBeliefNetwork:
    """Layers of ``latents`` bits, the lowest first, between them affine maps, or perceptrons with ``hidden`` units.

    ``likelihood_head`` follows the lowest decoder, as in ``mlp_vae``.

    >>> mlp_belief_network(784, latents=(200, 200)).layout.size  # as SBN 200-200 of the NVIL paper
    395968
    """
    shares_std = any(isinstance(part, SharedLogStd) for part in likelihood_head)
    outputs = features if shares_std else params_size(likelihood, features)
    below, decoded = (features, *latents[:-1]), (outputs, *latents[:-1])
    of_data, *of_bits = [mlp([lower, *hidden, bits], activation) for lower, bits in zip(below, latents, strict=True)]
    to_data, *to_bits = [
        mlp([bits, *hidden[::-1], lower], activation) for bits, lower in zip(latents, decoded, strict=True)
    ]
    first = of_data.parts[0]
    return SigmoidBeliefNetwork(
        encoders=(Chain((CentredDense(first.inputs, first.outputs), *of_data.parts[1:])), *map(OfSigns, of_bits)),
        decoders=(OfSigns(Chain((*to_data.parts, *likelihood_head))), *map(OfSigns, to_bits)),
        widths=tuple(latents),
        likelihood=likelihood,
    )


# ---- layer by layer: each has a learning signal of its own


def layered_bound(
    model: SigmoidBeliefNetwork,
    theta: Array,
    x: Array,
    noise: Array,
    estimator: LayerEstimators,
    reduce: Reduction = sample_mean,
) -> tuple[Array, Pullback]:
    """B_1(x), where B_l(v) = E_q(z|v)[log p(v|z) - log q(z|v) + B_{l+1}(z)], B_{L+1} = log p   (belief_networks.5).

    Shapes: x (B, D), noise (S, B, ·) of ``model.draw_noise``, bound (B,).  An estimator within an estimator: to that of
    layer l the layers above are part of f, and S samples of z_l are each given the same S noises of z_{l+1}.  Under
    another ``reduce`` than ``sample_mean`` this is right for one layer only; for more there is ``chain_bound``.
    """
    bound, pullback = _layer(model, theta, x, 0, model.split(noise), _for_each_layer(model, estimator), reduce)
    return bound, lambda dbound: (pullback(dbound)[0], None, None)


def _layer(
    model: SigmoidBeliefNetwork,
    theta: Array,
    below: Array,
    level: int,
    noises: Sequence[Array],
    estimators: Sequence[Estimator],
    reduce: Reduction,
) -> tuple[Array, Pullback]:
    """B_l at ``below`` (R, ·), estimated: pullback -> (dtheta, dbelow)   (belief_networks.5), (belief_networks.6).

    dbelow is None for data, and where no estimator asks for derivatives in z.
    """
    encoder, weights = model.encoders[level], model.weights(theta, "encoder")[level]
    f = layer_integrand(model, theta, below, level, noises, estimators)
    params, encoder_pullback = (encoder if f.moves else encoder.of_data)(weights, below)
    bound, expectation_pullback = estimators[level](model.posterior, params, noises[level], f, reduce)

    def pullback(dbound: Array) -> tuple[Array, Array | None]:
        dparams, (dtheta, dbelow) = expectation_pullback(dbound)
        dencoder = model.weights(dtheta, "encoder")[level]
        _, dbelow_by_encoder = encoder_pullback(dparams, out=dencoder)  # (belief_networks.6)
        return dtheta, dbelow + dbelow_by_encoder if f.moves else None

    return bound, pullback


def layer_integrand(
    model: SigmoidBeliefNetwork,
    theta: Array,
    below: Array,
    level: int,
    noises: Sequence[Array],
    estimators: Sequence[Estimator],
) -> LayerIntegrand:
    """What the estimator of a layer, counted from 0, averages: with the layers above, and their estimators, inside."""
    moves, differentiable = level > 0 and _asks_for_dz(estimators[level - 1]), _asks_for_dz(estimators[level])
    if level + 1 == len(model.widths):
        return TopIntegrand(model, theta, level, below, moves, differentiable, partial(_log_prior, model, theta))

    def layers_above(estimators: Sequence[Estimator], z: Array) -> tuple[Array, Pullback]:
        tiled = [np.tile(noise, (1, len(z), 1)) if above > level else noise for above, noise in enumerate(noises)]
        bound, pullback = _layer(model, theta, z.reshape(-1, z.shape[-1]), level + 1, tiled, estimators, sample_mean)

        def pullback_in_shape(dbound: Array) -> tuple[Array, Array | None]:
            dtheta, dz = pullback(dbound.reshape(-1))
            return dtheta, None if dz is None else dz.reshape(z.shape)

        return bound.reshape(z.shape[:-1]), pullback_in_shape

    above, held_above = partial(layers_above, estimators), partial(layers_above, [held(each) for each in estimators])
    return LayerIntegrand(model, theta, level, below, moves, differentiable, above, held_above)


def first_layer_integrand(
    model: SigmoidBeliefNetwork, theta: Array, x: Array, noise: Array, estimator: LayerEstimators
) -> LayerIntegrand:
    """What the lowest layer's estimator averages in ``layered_bound``, for q(z_1|x) and ``model.split(noise)[0]``."""
    return layer_integrand(model, theta, x, 0, model.split(noise), _for_each_layer(model, estimator))


def _asks_for_dz(estimator: Estimator) -> bool:
    """Whether it claims to need the derivative of f in z; one that claims nothing is given it."""
    claims = getattr(estimator, "claims", None)
    return claims is None or claims.uses_dz


def _for_each_layer(model: SigmoidBeliefNetwork, estimator: LayerEstimators) -> tuple[Estimator, ...]:
    return estimator if isinstance(estimator, tuple) else (estimator,) * len(model.widths)


@dataclass(frozen=True, eq=False)
class LayerIntegrand:
    """f(params, z) = log p(v|z) - log q(z; params) + B_{l+1}(z), what a layer's estimator is given.

    The gradient in everything else that f depends on, theta and v, goes where an estimator expects dtheta and hands it
    on: as the pair (dtheta, dv).
    """

    model: SigmoidBeliefNetwork
    theta: Array
    level: int
    context: Array
    """v: the data, or the bits of the layer below; (B, ·)."""
    moves: bool
    """Whether dv is wanted."""
    differentiable: bool
    """Whether dz is wanted; if so z may lie anywhere in [0, 1]."""
    layers_above: Callable[[Array], tuple[Array, Pullback]]
    held_layers_above: Callable[[Array], tuple[Array, Pullback]] | None = None

    @property
    def held(self) -> LayerIntegrand:
        """The same, whose layers above learn nothing: for a look at f where no sample lies."""
        return self if self.held_layers_above is None else replace(self, layers_above=self.held_layers_above)

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        model, level = self.model, self.level
        decoder, weights = model.decoders[level], model.weights(self.theta, "decoder")[level]
        decoded, decoder_pullback = (decoder if self.differentiable else decoder.of_data)(weights, z)
        q = model.posterior
        log_prob_below = q.relaxed_log_prob if self.moves else (model.likelihood if level == 0 else q).log_prob
        log_p, p_pullback = log_prob_below(decoded, self.context)
        log_q, q_pullback = (q.relaxed_log_prob if self.differentiable else q.log_prob)(params, z)
        above, above_pullback = self.layers_above(z)

        def pullback(dvalues: Array) -> tuple[Array, Array | None, tuple[Array, Array | None]]:
            dtheta, dz = above_pullback(dvalues)
            ddecoded, dbelow = p_pullback(dvalues)
            _, dz_by_decoder = decoder_pullback(ddecoded, out=model.weights(dtheta, "decoder")[level])
            dparams, dz_by_q = q_pullback(-dvalues)
            if self.differentiable:
                dz = dz + dz_by_decoder + dz_by_q  # (belief_networks.7)
            return dparams, dz, (dtheta, dbelow if self.moves else None)

        return log_p - log_q + above, pullback  # (belief_networks.5)


@dataclass(frozen=True, eq=False)
class TopIntegrand(LayerIntegrand):
    """That of the highest layer, above which nothing is estimated: its second derivatives are known as well."""

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """∂²f/∂z² times ``direction``, that of log p(v|z) alone: the rest is linear in z   (belief_networks.8)."""
        decoder, weights = self.model.decoders[self.level], self.model.weights(self.theta, "decoder")[self.level]
        family = self.model.likelihood if self.level == 0 else self.model.posterior
        if isinstance(decoder, OfSigns):
            signs = 2 * z - 1
            curved = log_likelihood_hessian_product(
                decoder.network, family, weights, signs, self.context, 2 * direction
            )
            return 2 * curved  # (belief_networks.8)
        return log_likelihood_hessian_product(decoder, family, weights, z, self.context, direction)


def _log_prior(model: SigmoidBeliefNetwork, theta: Array, z: Array) -> tuple[Array, Pullback]:
    """log p(z_L), a rule: pullback -> (dtheta, dz).

    dtheta is memory for the whole gradient, in which only the prior's part is written: every network above
    and below writes its own.
    """
    log_prior, log_prior_pullback = model.posterior.relaxed_log_prob(model.layout.views(theta)["prior"], z)

    def pullback(dvalues: Array) -> tuple[Array, Array]:
        dtheta = np.empty_like(theta)
        model.layout.views(dtheta)["prior"][...], dz = log_prior_pullback(dvalues)
        return dtheta, dz

    return log_prior, pullback


# ---- all layers as one sample


@dataclass(frozen=True, eq=False)
class ChainPosterior:
    """q(z_1 … z_L|x) as one family, whose parameters are the weights theta themselves   (belief_networks.9)."""

    model: SigmoidBeliefNetwork
    x: Array
    first_layer: tuple[Array, Pullback]
    """The logits of q(z_1|x) and their pullback, which every sample shares."""
    discrete = True

    def sample(self, theta: Array, noise: Array) -> tuple[Array, Pullback]:
        """Bits of all layers, (S, B, ΣZ); the pullback refuses."""
        model, encoders = self.model, self.model.weights(theta, "encoder")
        params = self.first_layer[0]
        bits: list[Array] = []
        for level, noise_of_layer in enumerate(model.split(noise)):
            if level > 0:
                params, _ = model.encoders[level].of_data(encoders[level], bits[-1])
            bits.append(model.posterior.sample(params, noise_of_layer)[0])

        def pullback(dbits: Array) -> tuple[Array, None]:
            raise InputError("bits have no derivative: use score_function, not pathwise")

        return np.concatenate(bits, axis=-1), pullback

    def log_prob(self, theta: Array, z: Array) -> tuple[Array, Pullback]:
        """Σ_l log q(z_l|z_{l-1}), (S, B)   (belief_networks.9); pullback -> (dtheta, None)."""
        model, encoders = self.model, self.model.weights(theta, "encoder")
        bits, terms, pullbacks = model.split(z), [], []
        for level, bits_of_layer in enumerate(bits):
            params, network_pullback = (
                self.first_layer if level == 0 else model.encoders[level].of_data(encoders[level], bits[level - 1])
            )
            log_q, log_q_pullback = model.posterior.log_prob(params, bits_of_layer)
            terms.append(log_q)
            pullbacks.append((network_pullback, log_q_pullback))

        def pullback(dlog_q: Array) -> tuple[Array, None]:
            dtheta = np.zeros_like(theta)
            dencoders = model.weights(dtheta, "encoder")
            for (network_pullback, log_q_pullback), dweights in zip(pullbacks, dencoders, strict=True):
                network_pullback(log_q_pullback(dlog_q)[0], out=dweights)
            return dtheta, None

        return sum(terms[1:], terms[0]), pullback  # (belief_networks.9)


def chain_bound(
    model: SigmoidBeliefNetwork,
    theta: Array,
    x: Array,
    noise: Array,
    estimator: LayerEstimators,
    reduce: Reduction = sample_mean,
) -> tuple[Array, Pullback]:
    """E[reduce log p(x, z) - log q(z|x)] over chains z = (z_1 … z_L), S of them a row   (belief_networks.10).

    Shapes as in ``layered_bound``.  One learning signal for all layers, the bound itself; right for every ``reduce``.
    One layer is left to ``layered_bound``, where every estimator works; several need one that never asks for dz.
    """
    if len(model.widths) == 1:
        return layered_bound(model, theta, x, noise, estimator, reduce)
    if isinstance(estimator, tuple):
        raise InputError(f"a chain of layers has one estimator, got {len(estimator)}; use the objective elbo")
    if _asks_for_dz(estimator):
        raise InputError("a chain of bits has no derivative: use score_function or vimco, or the objective elbo")
    q = model.posterior_of(theta, x)
    bound, expectation_pullback = estimator(
        q, theta, noise, ChainIntegrand(model, q, x), reduce
    )  # (belief_networks.10)
    return bound, lambda dbound: (expectation_pullback(dbound)[0], None, None)


@dataclass(frozen=True, eq=False)
class ChainIntegrand:
    """f(theta, z) = log p(x, z) - log q(z|x) of chains of bits   (belief_networks.10)."""

    model: SigmoidBeliefNetwork
    q: ChainPosterior
    context: Array

    def __call__(self, theta: Array, z: Array) -> tuple[Array, Pullback]:
        (log_likelihood, log_prior), joint_pullback = self.model.log_joint(theta, z, self.context)
        log_q, log_q_pullback = self.q.log_prob(theta, z)

        def pullback(dvalues: Array) -> tuple[Array, None, None]:
            return joint_pullback(dvalues)[0] + log_q_pullback(-dvalues)[0], None, None

        return log_likelihood + log_prior - log_q, pullback
