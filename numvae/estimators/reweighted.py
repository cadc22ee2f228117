"""Reweighted wake-sleep: q learns to look like the posterior, in two forms of the same expectation.

Derivations: ``derivations/reweighted.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, Reparameterized, declares, require_dz

__all__ = ["doubly_reparameterized_wake_sleep", "reweighted_wake_sleep"]

OTHER_OBJECTIVE = (
    "dparams ascends E_p[log q] under the posterior p(z|x), that is -KL(p ‖ q), not the bound; and it falls short of "
    "that by O(1/S), as its weights are normalised by their own sum.  dtheta is the importance-weighted bound's"
)


@declares(
    unbiased=False,
    bias=OTHER_OBJECTIVE,
    least_samples=2,
    reductions=("log_mean_exp",),
    source="Bornschein and Bengio 2015, the wake phase of q",
)
def reweighted_wake_sleep(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """For f = log p(x, z) - log q(z; params): dparams = Σ_s w̃_s ∇ log q(z_s)   (reweighted.1).

    Shapes: params (B, P), noise (S, B, Z) with S of 2 or more, bound (B,).  The weights w̃ = exp f / Σ exp f turn the
    samples into samples of the posterior, and q is fitted to those.  No derivative of f in z is needed: z may be
    discrete.

    Raises:
        InputError: another reduction than ``log_mean_exp``, or one sample, whose weight is always 1.
    """
    require_applicable(reweighted_wake_sleep, q, noise, reduce)
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    _, log_prob_pullback = q.log_prob(params, z)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (weights,) = reduce_pullback(dbound)
        _, _, dtheta = f_pullback(weights)
        dparams: Array = log_prob_pullback(weights)[0]  # (reweighted.1)
        return dparams, dtheta

    return bound, pullback


@declares(
    variables="continuous",
    unbiased=False,
    bias=OTHER_OBJECTIVE,
    uses_dz=True,
    least_samples=2,
    reductions=("log_mean_exp",),
    source="Tucker et al. 2018",
)
def doubly_reparameterized_wake_sleep(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The same expectation through the samples: dparams = Σ_s w̃_s (1 - w̃_s) (∂z_s/∂params)ᵀ ∂f_s/∂z   (reweighted.2).

    Raises:
        InputError: as ``reweighted_wake_sleep``.
    """
    require_applicable(doubly_reparameterized_wake_sleep, q, noise, reduce)
    z, sample_pullback = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    (weights,) = reduce_pullback(np.ones_like(bound))

    def pullback(dbound: Array) -> tuple[Array, Array]:
        _, dz, dtheta = f_pullback(*reduce_pullback(dbound))
        dparams: Array = sample_pullback((1 - weights)[..., None] * require_dz(dz))[0]  # (reweighted.2)
        return dparams, dtheta

    return bound, pullback
