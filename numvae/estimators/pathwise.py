"""The reparameterisation estimator: move the samples with the parameters and differentiate through them.

Derivations: ``derivations/pathwise.md``.
"""

from __future__ import annotations

from collections.abc import Callable

from numvae.arrays import Array, Pullback
from numvae.estimators.contract import Integrand, Reduction, Reparameterized, declares, require_dz

__all__ = ["pathwise", "through_samples"]


@declares(
    variables="continuous",
    uses_dz=True,
    moving_support=True,
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
    return through_samples(params, z, lambda dz: sample_pullback(dz)[0], f, reduce)


def through_samples(
    params: Array, z: Array, back: Callable[[Array], Array], f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The bound at samples z (S, B, Z) that are said to move with params by ``back``: dz (S, B, Z) -> dparams (B, P).

    All that estimators of this kind differ in is z, and what they take for its derivative.
    """
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)  # (pathwise.1)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        dparams, dz, dtheta = f_pullback(dvalues)
        return dparams + back(require_dz(dz)), dtheta  # (pathwise.2)

    return bound, pullback
