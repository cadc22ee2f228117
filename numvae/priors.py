"""The prior of a VAE's latents: one fixed member of a family, the same for every latent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.distributions import Normal
from numvae.distributions.contract import params_size
from numvae.errors import InputError

__all__ = ["STANDARD_NORMAL", "Prior", "normal_prior"]


@dataclass(frozen=True)
class Prior:
    """p(z): a family, and its parameters by name for every latent alike; those not given are 0, the standard member.

    >>> from numvae.distributions import Gamma
    >>> Prior(Gamma(), (("log_shape", 0.5),)).params(np.zeros((1, 1)), latents=2)
    array([[0.5, 0.5, 0. , 0. ]])

    Raises ``InputError`` for a name that the family does not have.
    """

    family: Any = Normal()
    values: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        names = getattr(self.family, "param_names", ())
        for name, value in self.values:
            if name not in names:
                has = f"it has {', '.join(names)}" if names else "its standard member is the only one"
                raise InputError(f"a {type(self.family).__name__} prior has no {name!r}; {has}")
            if not math.isfinite(value):
                raise InputError(f"{name} of the prior must be a finite number, got {value!r}")

    @classmethod
    def of(cls, family: Any, values: Mapping[str, float]) -> Prior:
        """The same from a mapping."""
        return cls(family, tuple(values.items()))

    def params(self, like: Array, latents: int) -> Array:
        """The prior as parameters of its family, (1, P), of the dtype and on the device of ``like``."""
        params = np.zeros_like(like, shape=(1, params_size(self.family, latents)))
        names = getattr(self.family, "param_names", ())
        for name, value in self.values:
            block = names.index(name)
            last = block == len(names) - 1  # and longer than the others where it holds what is below a diagonal
            params[:, block * latents : None if last else (block + 1) * latents] = value
        return params

    def quantile(self, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The values that one latent falls below with these probabilities, of the levels' shape.

        Raises ``AttributeError`` where the family has no quantile function.

        >>> normal_prior(4.0).quantile(np.array([0.025, 0.5, 0.975])).round(3)
        array([-0.98,  0.  ,  0.98])
        """
        params = self.params(np.zeros((1, 1)), latents=1)
        quantiles: npt.NDArray[np.float64] = self.family.quantile(params, levels[:, None])[:, 0]
        return quantiles


STANDARD_NORMAL = Prior()
"""N(0, I)."""


def normal_prior(precision: float = 1.0) -> Prior:
    """N(0, I / precision).

    >>> normal_prior(4.0).params(np.zeros((1, 1)), latents=1).round(4)
    array([[ 0.    , -0.6931]])
    """
    return Prior(Normal(), () if precision == 1 else (("log_std", -0.5 * math.log(precision)),))
