"""Normalising flows: posteriors richer than a normal, their log-determinants and gradients by hand."""

from numvae.flows.autoregressive import InverseAutoregressiveFlow, MaskedDense, gate, masked_mlp
from numvae.flows.contract import Flow
from numvae.flows.flow_vae import BaseIntegrand, FlowVAE, mlp_flow_vae
from numvae.flows.planar import PlanarFlow, invertible_direction, planar

__all__ = [
    "BaseIntegrand",
    "Flow",
    "FlowVAE",
    "InverseAutoregressiveFlow",
    "MaskedDense",
    "PlanarFlow",
    "gate",
    "invertible_direction",
    "masked_mlp",
    "mlp_flow_vae",
    "planar",
]
