"""The doubly reparameterised gradient (DReG): the score, too, is turned into a derivative through the sample.

Derivations: ``derivations/doubly_reparameterized.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators.contract import Integrand, Reduction, Reparameterized, declares, name_of, require_dz
from numvae.estimators.reductions import log_mean_exp, sample_mean

__all__ = ["doubly_reparameterized", "path_share"]


@declares(
    variables="continuous",
    uses_dz=True,
    reductions=("sample_mean", "log_mean_exp"),
    source="Tucker et al. 2018",
)
def doubly_reparameterized(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """dparams = Σ_s R_s (∂f_s/∂params + score_s) + Σ_s (R_s - R_ss) (∂z_s/∂params)ᵀ ∂f_s/∂z (doubly_reparameterized.2).

    Shapes: params (B, P), noise (S, B, Z), bound (B,).  R_s, R_ss: first and second derivative of the reduction in
    the s-th value.  It follows from E[g ∇ log q] = E[(∂z/∂params)ᵀ ∂g/∂z]   (doubly_reparameterized.1).

    For f = log p(x, z) - log q(z; params), which it is made for, the first sum is zero; what is left under
    ``log_mean_exp`` is Σ w̃² ∂f/∂z ∂z/∂params of Tucker et al., under ``sample_mean`` it is ``sticking_the_landing``.
    For any other f it is unbiased too, but noisier than it need be.

    Two gradients of f with other weights are asked for, R_s for theta and R_s - R_ss for z; since sample s alone
    answers for dz_s, the second is the first times a number, and one call of f's pullback serves both.

    Raises:
        InputError: the reduction's second derivative is not known.
    """
    z, sample_pullback = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    _, log_prob_pullback = q.log_prob(params, z)
    share = path_share(reduce, *reduce_pullback(np.ones_like(bound)))

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        direct, dz, dtheta = f_pullback(dvalues)
        beside_the_score = direct + log_prob_pullback(dvalues)[0]
        path = sample_pullback(share[..., None] * require_dz(dz))[0]
        return beside_the_score + path, dtheta  # (doubly_reparameterized.2)

    return bound, pullback


PATH_SHARES: dict[Any, Callable[[Array], Array]] = {
    sample_mean: np.ones_like,
    log_mean_exp: lambda weights: weights,
}


def path_share(reduce: Reduction, weights: Array) -> Array:
    """(R_s - R_ss) / R_s from the weights R_s: 1 for a linear reduction, w̃_s for ``log_mean_exp``.

    That is (doubly_reparameterized.3).  weights and result: (S, B).

    >>> path_share(log_mean_exp, np.array([[0.25], [0.75]]))
    array([[0.25],
           [0.75]])
    """
    share = PATH_SHARES.get(reduce)
    if share is None:
        raise InputError(f"doubly_reparameterized needs sample_mean or log_mean_exp, got {name_of(reduce)}")
    return share(weights)  # (doubly_reparameterized.3)
