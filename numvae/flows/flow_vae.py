"""A VAE whose posterior is a normal sent through a flow: richer than a normal, and its density still known.

Derivations: ``derivations/flows.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions import Normal
from numvae.distributions.contract import params_size
from numvae.errors import InputError
from numvae.flows.contract import Flow
from numvae.models import VAE, mlp_vae
from numvae.networks import Network, mlp
from numvae.parameters import Layout
from numvae.path_models import PathModel
from numvae.priors import Prior

__all__ = ["BaseIntegrand", "FlowVAE", "mlp_flow_vae"]


@dataclass(frozen=True)
class FlowVAE(PathModel):
    """z_0 ~ posterior(encoder(x)),  z = f_K(… f_1(z_0));  z ~ prior,  x ~ likelihood(decoder(z))   (flows.2).

    ``vae``: all but the flow; its encoder puts out [params of q(z_0|x) | context of the flow].  The weights ``theta``
    are one vector, [encoder | decoder | flow]; ``layout`` names the pieces.
    Source: Rezende and Mohamed 2015, section 4; Kingma et al. 2016, section 3.

    Raises ``InputError`` where posterior or prior are not normal, or where latents disagree.
    """

    vae: VAE
    flow: Flow

    def __post_init__(self) -> None:
        for name, family in (("posterior", self.vae.posterior), ("prior", self.vae.prior.family)):
            if not isinstance(family, Normal):
                raise InputError(
                    f"a flow goes from a normal over all of space to a normal prior, but the {name} is a "
                    f"{type(family).__name__}; use Normal()"
                )
        if self.flow.latents != self.vae.latents:
            raise InputError(
                f"the flow is of {self.flow.latents} latents, the model of {self.vae.latents}; give both the same"
            )

    @cached_property
    def layout(self) -> Layout:
        """What lies where in ``theta``."""
        return Layout((*self.vae.layout.pieces, ("flow", self.flow.layout)))

    def weigh(self, theta: Array, x: Array, noise: Array) -> tuple[tuple[Array, Array], Pullback]:
        """(log p(x|z), log p(z) - log q_0(z_0|x) + Σ log|det|)   (flows.2), a rule; see ``PathModel``."""
        encoder, weights = self.vae.encoder, self.layout.views(theta)["encoder"]
        params, encoder_pullback = encoder.of_data(weights, x)
        base, context = self._split(params)
        z_0, sample_pullback = self.posterior.sample(base, noise)
        values, pullback_from_base = self.weigh_at(theta, x, base, context, z_0)

        def pullback(dvalues: Array) -> tuple[Array]:
            dtheta = np.empty_like(theta)
            dbase, dcontext, dz_0 = pullback_from_base(dvalues, dtheta)
            dbase = dbase + sample_pullback(dz_0)[0]  # (flows.4)
            dparams = np.concatenate([dbase, dcontext], axis=-1)
            encoder_pullback(dparams, out=self.layout.views(dtheta)["encoder"])
            return (dtheta,)

        return values, pullback

    def weigh_at(
        self, theta: Array, x: Array, base: Array, context: Array, z_0: Array
    ) -> tuple[tuple[Array, Array], Pullback]:
        """The weight at z_0; pullback (dvalues, dtheta) -> (dbase, dcontext, dz_0), the rest into ``dtheta``."""
        vae, weights = self.vae, self.layout.views(theta)
        log_base, base_pullback = vae.posterior.log_prob(base, z_0)
        (z, log_det), flow_pullback = self.flow(weights["flow"], context, z_0)
        decoded, decoder_pullback = vae.decoder(weights["decoder"], z)
        log_likelihood, likelihood_pullback = vae.likelihood.log_prob(decoded, x)
        log_prior, prior_pullback = vae.prior.family.log_prob(vae.prior_params(base), z)

        def pullback(dvalues: Array, dtheta: Array) -> tuple[Array, Array, Array]:
            gradients = self.layout.views(dtheta)
            _, dz = decoder_pullback(likelihood_pullback(dvalues)[0], out=gradients["decoder"])
            dz = dz + prior_pullback(dvalues)[1]  # (flows.3)
            _, dcontext, dz_0 = flow_pullback(dz, dvalues, out=gradients["flow"])
            dbase, dz_0_of_base = base_pullback(-dvalues)
            return dbase, dcontext, dz_0 + dz_0_of_base  # (flows.4)

        return (log_likelihood, log_prior - log_base + log_det), pullback  # (flows.2)

    def _split(self, params: Array) -> tuple[Array, Array]:
        """What the encoder puts out, as params of q(z_0|x) and the flow's context."""
        base = params.shape[-1] - self.flow.context
        return params[..., :base], params[..., base:]

    def encode(self, theta: Array, x: Array) -> Array:
        """Parameters of the base q(z_0|x), before the flow.  x: (B, D), params: (B, 2Z)."""
        return self._split(self.vae.encode(self._of_vae(theta), x))[0]

    def context(self, theta: Array, x: Array) -> Array:
        """What the encoder tells the flow, (B, C)."""
        return self._split(self.vae.encode(self._of_vae(theta), x))[1]

    def transform(self, theta: Array, x: Array, z: Array) -> tuple[Array, Array]:
        """Where the flow takes z_0, with Σ log|det|.  x: (B, D), z: (S, B, Z)."""
        (z, log_det), _ = self.flow(self.layout.views(theta)["flow"], self.context(theta, x), z)
        return z, log_det

    def latent_centre(self, theta: Array, x: Array) -> Array:
        """Where the flow takes the base's mean, (B, Z): the point that stands for q(z|x) in pictures; not its mean."""
        mean = self.vae.posterior.mean(self.encode(theta, x))
        z, _ = self.transform(theta, x, mean[None])
        centre: Array = z[0]
        return centre

    def _of_vae(self, theta: Array) -> Array:
        return theta[: self.vae.layout.size]

    # What the flow has no part in is the VAE's.

    @property
    def latents(self) -> int:
        """Z."""
        return self.vae.latents

    @property
    def posterior(self) -> Any:
        """The family of the base, q(z_0|x)."""
        return self.vae.posterior

    @property
    def likelihood(self) -> Any:
        """The family of p(x|z)."""
        return self.vae.likelihood

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.vae.prior

    def decode(self, theta: Array, z: Array) -> Array:
        """Parameters of p(x|z).  z: (..., Z)."""
        return self.vae.decode(self._of_vae(theta), z)

    def decode_mean(self, theta: Array, z: Array) -> Array:
        """E[x|z], what a picture of a decoded point shows.  z: (..., Z), mean: (..., D)."""
        return self.vae.decode_mean(self._of_vae(theta), z)

    def data_decoder(self, theta: Array) -> tuple[Network, Array]:
        """The network that puts out the data's parameters, and its weights."""
        return self.vae.data_decoder(self._of_vae(theta))

    def prior_noise(self, rng: np.random.Generator, count: int, dtype: npt.DTypeLike = np.float64) -> Array:
        """What ``draw_from_prior`` makes ``count`` draws of."""
        return self.vae.prior_noise(rng, count, dtype)

    def draw_from_prior(self, theta: Array, noise: Array) -> Array:
        """z ~ p(z), (N, Z), from ``prior_noise``: the flow is the posterior's alone."""
        return self.vae.draw_from_prior(self._of_vae(theta), noise)

    def log_joint(self, theta: Array, x: Array) -> Callable[[Array], tuple[Array, Pullback]]:
        """z -> log p(x|z) + log p(z), a rule of z alone, as ``VAE.log_joint``."""
        return self.vae.log_joint(self._of_vae(theta), x)

    def layers_at(self, theta: Array, x: Array) -> list[tuple[Array, Array, int]]:
        """For the one layer of latents the parameters of the base, what it is conditioned on, and its width."""
        return [(self.encode(theta, x), x, self.latents)]


@dataclass(frozen=True, eq=False)
class BaseIntegrand:
    """f(params, z_0) = the log weight (flows.2) with the flow's context held: for estimators that ask for q_0 alone."""

    model: FlowVAE
    theta: Array
    x: Array
    """(B, D)."""

    def __call__(self, params: Array, z_0: Array) -> tuple[Array, Pullback]:
        model, theta = self.model, self.theta
        context = model.context(theta, self.x)
        (log_likelihood, log_ratio), pullback_from_base = model.weigh_at(theta, self.x, params, context, z_0)

        def pullback(dvalues: Array) -> tuple[Array, Array, Array]:
            dtheta = np.zeros_like(theta)
            dparams, _, dz_0 = pullback_from_base(dvalues, dtheta)
            return dparams, dz_0, dtheta

        return log_likelihood + log_ratio, pullback


def mlp_flow_vae(
    features: int,
    flow: Flow,
    *,
    hidden: Sequence[int] = (500,),
    activation: Callable[..., tuple[Array, Pullback]] = layers.tanh,
    **networks: Any,
) -> FlowVAE:
    """The layout of ``mlp_vae`` with the flow's context as further outputs of the encoder; ``networks`` as there.

    >>> from numvae.flows import PlanarFlow
    >>> mlp_flow_vae(784, PlanarFlow(latents=20, steps=8)).vae.encoder.parts[-1]
    Dense(inputs=500, outputs=368)
    """
    vae = mlp_vae(features, latents=flow.latents, hidden=hidden, activation=activation, **networks)
    outputs = params_size(vae.posterior, flow.latents) + flow.context
    return FlowVAE(replace(vae, encoder=mlp([features, *hidden, outputs], activation)), flow)
