"""The generative models: what is drawn from what.  A model is a frozen description, its weights a vector beside it.

The VAE is here, those with several layers of latents in ``layered.py`` and ``belief_networks.py``, those with a richer
posterior in ``flows/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.belief_networks import SigmoidBeliefNetwork
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.contract import params_size
from numvae.distributions.kl_table import has_closed_form
from numvae.estimators import draw_noise
from numvae.layered import LayeredVAE
from numvae.networks import Chain, Network, SharedLogStd, mlp, with_frozen_weights
from numvae.parameters import Layout
from numvae.priors import STANDARD_NORMAL, Prior

if TYPE_CHECKING:
    from numvae.flows.flow_vae import FlowVAE  # which is made of a VAE

__all__ = ["VAE", "Model", "mlp_vae"]


@dataclass(frozen=True)
class VAE:
    """z ~ prior,  x ~ likelihood(decoder(z)),  q(z|x) = posterior(encoder(x))   (objectives.1).

    Its weights ``theta`` are one vector, [encoder | decoder]; ``layout`` names the pieces.
    Source: Kingma and Welling, section 3.
    """

    encoder: Network
    decoder: Network
    latents: int
    posterior: Any = Normal()
    likelihood: Any = Bernoulli()
    prior: Prior = STANDARD_NORMAL

    @cached_property
    def layout(self) -> Layout:
        """What lies where in ``theta``."""
        return Layout.of({"encoder": self.encoder.layout, "decoder": self.decoder.layout})

    def encode(self, theta: Array, x: Array) -> Array:
        """Parameters of q(z|x).  x: (B, D), params: (B, 2Z)."""
        return self.encoder.of_data(self.layout.views(theta)["encoder"], x)[0]

    def decode(self, theta: Array, z: Array) -> Array:
        """Parameters of p(x|z).  z: (..., Z)."""
        return self.decoder(self.layout.views(theta)["decoder"], z)[0]

    def decode_mean(self, theta: Array, z: Array) -> Array:
        """E[x|z], what a picture of a decoded point shows.  z: (..., Z), mean: (..., D)."""
        mean: Array = self.likelihood.mean(self.decode(theta, z))
        return mean

    def prior_params(self, like: Array) -> Array:
        """The prior as parameters of its family, (1, P), where ``like`` lives."""
        return self.prior.params(like, self.latents)

    @property
    def knows_kl(self) -> bool:
        """Whether KL(posterior ‖ prior) has a closed form here; otherwise it is estimated from samples."""
        return has_closed_form(self.posterior, self.prior.family)

    def log_likelihood(self, theta: Array, z: Array, x: Array) -> tuple[Array, Pullback]:
        """log p(x|z), a rule: pullback -> (dtheta, dz, None).  z: (S, B, Z), x: (B, D), value: (S, B).

        ``dtheta`` has the model's whole length; the encoder's part, on which log p(x|z) does not depend, is zero.
        """
        params, decoder_pullback = self.decoder(self.layout.views(theta)["decoder"], z)
        log_likelihood, likelihood_pullback = self.likelihood.log_prob(params, x)

        def pullback(dlog_likelihood: Array) -> tuple[Array, Array, None]:
            dtheta = np.empty_like(theta)
            gradients = self.layout.views(dtheta)
            gradients["encoder"][...] = 0
            _, dz = decoder_pullback(likelihood_pullback(dlog_likelihood)[0], out=gradients["decoder"])
            return dtheta, dz, None

        return log_likelihood, pullback

    def log_joint(self, theta: Array, x: Array) -> Callable[[Array], tuple[Array, Pullback]]:
        """z -> log p(x|z) + log p(z), a rule of z alone: pullback -> (dz,).

        Shapes: x (B, D), z (..., B, Z), value (..., B).
        The log of p(z|x) but for a constant, which is what ``numvae.hmc`` draws from; ``theta`` is held.
        """
        weights = self.layout.views(theta)["decoder"]

        def rule(z: Array) -> tuple[Array, Pullback]:
            params, decoder_pullback = with_frozen_weights(self.decoder, weights, z)
            log_likelihood, likelihood_pullback = self.likelihood.log_prob(params, x)
            log_prior, prior_pullback = self.prior.family.log_prob(self.prior_params(z), z)

            def pullback(dvalue: Array) -> tuple[Array]:
                (dz,) = decoder_pullback(likelihood_pullback(dvalue)[0])
                return (dz + prior_pullback(dvalue)[1],)  # (hmc.1)

            return log_likelihood + log_prior, pullback  # (hmc.1)

        return rule

    def log_weights(self, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        """log p(x|z) and log p(z) - log q(z|x) at samples of q, (S, B) each: their sum is the log importance weight."""
        params = self.encode(theta, x)
        z, _ = self.posterior.sample(params, noise)
        log_prior, _ = self.prior.family.log_prob(self.prior_params(params), z)
        log_likelihood, _ = self.likelihood.log_prob(self.decode(theta, z), x)
        return log_likelihood, log_prior - self.posterior.log_prob(params, z)[0]

    def data_decoder(self, theta: Array) -> tuple[Network, Array]:
        """The network that puts out the data's parameters, and its weights."""
        return self.decoder, self.layout.views(theta)["decoder"]

    def prior_noise(self, rng: np.random.Generator, count: int, dtype: npt.DTypeLike = np.float64) -> Array:
        """What ``draw_from_prior`` makes ``count`` draws of."""
        noise: Array = self.prior.family.noise(rng, (count, self.latents), dtype)
        return noise

    def draw_from_prior(self, theta: Array, noise: Array) -> Array:
        """z ~ p(z), (N, Z), from ``prior_noise``."""
        z: Array = self.prior.family.sample(self.prior_params(noise), noise)[0]
        return z

    def layers_at(self, theta: Array, x: Array) -> list[tuple[Array, Array, int]]:
        """For each layer of latents, here one, the parameters of q, what q is conditioned on, and its width."""
        return [(self.encode(theta, x), x, self.latents)]

    def draw_noise(
        self, estimator: Any, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """What the estimator wants for (S, B) samples."""
        return draw_noise(estimator, self.posterior, rng, (*shape, self.latents), dtype)


Model: TypeAlias = "VAE | SigmoidBeliefNetwork | LayeredVAE | FlowVAE"


def mlp_vae(
    features: int,
    *,
    latents: int = 20,
    hidden: Sequence[int] = (500,),
    activation: Callable[..., tuple[Array, Pullback]] = layers.tanh,
    posterior: Any = Normal(),
    likelihood: Any = Bernoulli(),
    likelihood_head: Sequence[Any] = (),
    prior: Prior = STANDARD_NORMAL,
) -> VAE:
    """The paper's layout: an encoder features-hidden-params of q, and its mirror image as decoder (appendix C).

    ``likelihood_head`` follows the decoder's last affine layer: ``SigmoidMean(features)`` keeps means in (0, 1),
    ``LeastLogStd(-5.5)`` the standard deviation above exp(-5.5); with ``SharedLogStd()`` the decoder puts out means
    only, and one learned log_std is shared by all features.

    >>> mlp_vae(784).layout.size
    815824
    """
    shares_std = any(isinstance(part, SharedLogStd) for part in likelihood_head)
    outputs = features if shares_std else params_size(likelihood, features)
    decoder = mlp([latents, *reversed(hidden), outputs], activation)
    return VAE(
        encoder=mlp([features, *hidden, params_size(posterior, latents)], activation),
        decoder=Chain((*decoder.parts, *likelihood_head)),
        latents=latents,
        posterior=posterior,
        likelihood=likelihood,
        prior=prior,
    )
