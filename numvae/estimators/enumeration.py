"""The exact gradient of an expectation over bits: no estimate, but what every estimate is measured by.

Derivations: ``derivations/enumeration.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.errors import InputError
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares

__all__ = ["enumeration"]

MOST_BITS = 12


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: 2**Z,
    pullback_calls=lambda S, Z: 2**Z,
    source="the definition of an expectation",
)
def enumeration(q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """E_q[f(z)] = Σ_z q(z) f(params, z) over all rows of bits   (enumeration.1); pullback -> (dparams, dtheta).

    Shapes: params (B, Z), bound (B,); the noise is not looked at.  dparams is (enumeration.2), of variance zero.
    Only under ``sample_mean``, whose expectation does not depend on the number of samples.

    Raises:
        InputError: more than 12 latents, another family, another reduction.
    """
    require_applicable(enumeration, q, noise, reduce)
    bits = _all_bits(params)
    log_masses, log_prob_pullback = q.log_prob(params, bits)
    masses = np.exp(log_masses)
    values, f_pullback = f(params, bits)
    bound = np.sum(masses * values, axis=0)  # (enumeration.1)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        weights = dbound * masses
        dparams, _, dtheta = f_pullback(weights)
        # The bound as a baseline changes no sum; it keeps large values from cancelling each other.
        return dparams + log_prob_pullback(weights * (values - bound))[0], dtheta  # (enumeration.2)

    return bound, pullback


def _all_bits(params: Array) -> Array:
    """All rows of Z bits in counting order, for each row of params: (2^Z, B, Z)."""
    latents = params.shape[-1]
    if latents > MOST_BITS:
        raise InputError(f"enumeration takes at most {MOST_BITS} latents, got {latents}; try local_expectation")
    bits = np.zeros_like(params, shape=(2**latents, latents))
    for i in range(latents):
        bits.reshape(2**i, 2, -1, latents)[:, 1, :, i] = 1
    return np.broadcast_to(bits[:, None], (len(bits), *params.shape))
