"""Sticking the landing: the pathwise gradient without the score, whose mean is zero, but not its variance.

Derivations: ``derivations/sticking_the_landing.md``.
"""

from __future__ import annotations

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators.contract import Integrand, Reduction, Reparameterized, declares, require_dz
from numvae.estimators.reductions import log_mean_exp

__all__ = ["sticking_the_landing", "sticking_the_landing_iwae"]


@declares(
    variables="continuous",
    bias="none where f's direct derivative in params has mean zero, as that of a log-ratio has; that mean otherwise",
    uses_dz=True,
    source="Roeder, Wu and Duvenaud 2017",
)
def sticking_the_landing(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """For f = log p(x, z) - log q(z; params): dparams = Σ_s (∂z_s/∂params)ᵀ dz_s   (sticking_the_landing.1).

    Shapes: params (B, P), noise (S, B, Z), bound (B,).  Of ``pathwise`` the path alone: the direct derivative is minus
    the score, of mean zero, and is dropped.  Where q is the posterior nothing is left: no bias and no variance.

    Raises:
        InputError: ``reduce`` is ``log_mean_exp``, under which the dropped term has a mean.
    """
    if reduce is log_mean_exp:
        raise InputError(
            "sticking_the_landing is biased under log_mean_exp: use doubly_reparameterized, or, knowing that, "
            "sticking_the_landing_iwae"
        )
    return _path_alone(q, params, noise, f, reduce)


@declares(
    variables="continuous",
    unbiased=False,
    bias="for two samples or more; it lacks the mean of the dropped score, weighted by importance: "
    "-E Σ w̃ (1 - w̃) ∂f/∂z ∂z/∂params",
    uses_dz=True,
    reductions=("log_mean_exp",),
    source="Roeder, Wu and Duvenaud 2017; the bias: Tucker et al. 2018",
)
def sticking_the_landing_iwae(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The same under ``log_mean_exp``, where it is biased   (sticking_the_landing.2): to compare with, not to use."""
    return _path_alone(q, params, noise, f, reduce)  # (sticking_the_landing.2)


def _path_alone(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    z, sample_pullback = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        _, dz, dtheta = f_pullback(dvalues)
        dparams: Array = sample_pullback(require_dz(dz))[0]  # (sticking_the_landing.1)
        return dparams, dtheta

    return bound, pullback
