"""The reparameterisation estimator: move the samples with the parameters and differentiate through them.

Derivations: ``derivations/pathwise.md``.
"""

from __future__ import annotations

from numvae.arrays import Array, Pullback
from numvae.estimators.contract import Integrand, Reduction, Reparameterized, declares, require_dz

__all__ = ["pathwise"]


@declares(
    variables="continuous",
    uses_dz=True,
    reductions=("sample_mean", "log_mean_exp"),
    source="Kingma and Welling 2013, section 2.4",
)
def pathwise(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """E_q[reduce f(z)] ≈ reduce f(params, z),  z = sample(params, noise)   (pathwise.1); pullback -> (dparams, dtheta).

    Shapes: params (B, P), noise (S, B, Z), bound (B,).  The pullback is the total derivative, through f and through z
    (pathwise.2); it is unbiased where z is differentiable in params and f in z.
    Source: Kingma and Welling, section 2.4; Rezende et al. 2014.
    """
    z, sample_pullback = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)  # (pathwise.1)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        dparams, dz, dtheta = f_pullback(dvalues)
        return dparams + sample_pullback(require_dz(dz))[0], dtheta  # (pathwise.2)

    return bound, pullback
