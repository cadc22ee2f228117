"""Implicit reparameterisation: the derivative of a sample from its CDF, whatever the sampler did to draw it.

Derivations: ``derivations/implicit.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma, log_quantile_slope
from numvae.distributions.normal import Normal
from numvae.errors import InputError
from numvae.estimators.contract import Integrand, Reduction, declares
from numvae.estimators.pathwise import through_samples

__all__ = ["IMPLICIT_PULLBACKS", "implicit", "normal_implicit_pullback"]

ImplicitPullback: TypeAlias = Callable[[Array, Array, Array], Array]
"""(params, z, dz) -> dparams, by the CDF alone."""


@declares(
    variables="continuous",
    uses_dz=True,
    moving_support=True,
    reductions=("sample_mean", "log_mean_exp"),
    source="Figurnov, Mohamed and Mnih 2018",
)
def implicit(q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """As ``pathwise``, with ∂z/∂params = -(∂F/∂params) / q(z) for the CDF F   (implicit.1).

    Shapes: params (B, P), noise (S, B, ·), bound (B,).  The family says what that is, by a method
    ``implicit_pullback(params, z, dz) -> dparams`` or in the table ``IMPLICIT_PULLBACKS``.  The sampler need not be
    differentiable: rejection serves as well.

    Raises:
        InputError: the family has no implicit derivative.
    """
    through_cdf = _implicit_pullback(q)
    z, _ = q.sample(params, noise)
    return through_samples(params, z, lambda dz: through_cdf(params, z, dz), f, reduce)  # (implicit.1)


def normal_implicit_pullback(params: Array, z: Array, dz: Array) -> Array:
    """dmean = Σ dz,  dlog_std = Σ dz (z - mean)   (implicit.2): both quotients simplified, so that no tail is 0 / 0."""
    mean, log_std = halves(params)
    dmean = sum_to_shape(dz, mean.shape)
    dlog_std = sum_to_shape(dz * (z - mean), log_std.shape)
    return np.concatenate([dmean, dlog_std], axis=-1)  # (implicit.2)


def exponential_implicit_pullback(params: Array, z: Array, dz: Array) -> Array:
    """dlog_rate = -Σ dz z   (implicit.3)."""
    return -sum_to_shape(dz * z, params.shape)  # (implicit.3)


def gamma_implicit_pullback(params: Array, z: Array, dz: Array) -> Array:
    """dlog_shape = Σ dz z shape ∂log P⁻¹/∂shape,  dlog_rate = -Σ dz z   (implicit.4)."""
    log_shape, log_rate = halves(params)
    shape, log_unit = np.exp(log_shape.astype(np.float64)), np.log(z) + log_rate
    dlog_z = dz * z
    slope = (shape * log_quantile_slope(shape, log_unit)).astype(params.dtype)
    dlog_shape = sum_to_shape(dlog_z * slope, log_shape.shape)  # (implicit.4)
    return np.concatenate([dlog_shape, -sum_to_shape(dlog_z, log_rate.shape)], axis=-1)


IMPLICIT_PULLBACKS: dict[type, ImplicitPullback] = {
    Normal: normal_implicit_pullback,
    Exponential: exponential_implicit_pullback,
    Gamma: gamma_implicit_pullback,
}
"""For families without the method."""


def _implicit_pullback(q: Any) -> ImplicitPullback:
    method: ImplicitPullback | None = getattr(q, "implicit_pullback", IMPLICIT_PULLBACKS.get(type(q)))
    if method is None:
        raise InputError(
            f"{type(q).__name__} has no implicit derivative; give it a method implicit_pullback(params, z, dz), or use "
            "pathwise"
        )
    return method
