"""For Poisson latents: the derivative in the rate is a difference in the count.

Derivations: ``derivations/poisson_difference.md``.
"""

from __future__ import annotations

from numvae.arrays import Array, Pullback
from numvae.distributions.poisson import Poisson
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares
from numvae.estimators.measure_valued import MeasureValued

__all__ = ["poisson_difference"]


@declares(
    variables="Poisson",
    f_calls=lambda S, Z: S * (1 + Z),
    pullback_calls=lambda S, Z: S,
    reductions=("sample_mean", "log_mean_exp"),
    source="Chen 1975 (the identity E[z f(z)] = rate E[f(z + 1)])",
)
def poisson_difference(
    q: Poisson, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """∂E[f] / ∂log_rate = rate E[f(z + 1) - f(z)]   (poisson_difference.1), one latent at a time.

    Shapes: params (B, Z), noise (S, B, Z), bound (B,); pullback -> (dparams, dtheta).  The score function with the
    sample's z averaged out; also what measure-valued gradients are for this family, so that it is one of them, with the
    family's own noise.  Any f: no derivative in z is used.
    """
    require_applicable(poisson_difference, q, noise, reduce)
    return MeasureValued(Poisson())(q, params, noise, f, reduce)  # (poisson_difference.1)
