"""A learned control variate c(z): a small network whose slope ∂c/∂z can itself be differentiated, by hand.

An estimator that subtracts c must add ∇E[c] again, which holds ∂c/∂z; so the gradient of its variance in the network's
weights holds mixed second derivatives.  Derivations: ``derivations/control_variates.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.networks import Chain, mlp
from numvae.parameters import Layout, initial_theta
from numvae.ranges import require_whole

__all__ = ["ControlVariate"]


@dataclass(frozen=True)
class ControlVariate:
    """c(z) = tanh(… tanh(z W₁ + b₁) …) W_n + b_n, one number per sample.

    ``weights`` is flat, of ``layout_for(inputs)``; z is (S, B, inputs) and may hold more than latents: columns that say
    which row it is, say, beside which the direction of a slope has zeros.

    >>> c = ControlVariate(hidden=(3,))
    >>> c.layout_for(2).size
    13
    """

    hidden: tuple[int, ...] = (10,)

    def __post_init__(self) -> None:
        require_whole(self, "hidden", least=1, example=(10,))

    def network(self, inputs: int) -> Chain:
        """The multi-layer perceptron behind it."""
        return mlp([inputs, *self.hidden, 1])

    def layout_for(self, inputs: int) -> Layout:
        """What lies where in its flat vector of weights."""
        return self.network(inputs).layout

    def start(self, inputs: int, *, rng: np.random.Generator, dtype: npt.DTypeLike = np.float64) -> Array:
        """Weights to begin with: the last layer is zero, so that c is, and nothing is subtracted yet."""
        weights = initial_theta(self.layout_for(inputs), rng=rng, dtype=dtype)
        W_last, _ = _affine_maps(self.layout_for(inputs), weights)[-1]
        W_last[...] = 0
        return weights

    def __call__(self, weights: Array, z: Array) -> tuple[Array, Pullback]:
        """c(z)   (control_variates.1): (S, B); pullback(dc) -> (dweights, dz)."""
        c, network_pullback = self.network(z.shape[-1])(weights, z)  # (control_variates.1)

        def pullback(dc: Array) -> tuple[Array, Array]:
            dweights, dz = network_pullback(dc[..., None])
            return dweights, dz

        return c[..., 0], pullback

    def slope(self, weights: Array, z: Array, direction: Array) -> tuple[Array, Pullback]:
        """directionᵀ ∂c/∂z   (control_variates.2): (S, B); pullback(dslope) -> (dweights, dz, ddirection).

        The way forward carries h and its rate of change when z moves along the direction; the way back runs through
        both   (control_variates.3), which gives the mixed second derivatives.  direction: (S, B, inputs), as z.
        """
        layout = self.layout_for(z.shape[-1])
        *hidden, (W_last, _) = _affine_maps(layout, weights)
        h, h_rate, steps = z, direction, []
        for W, b in hidden:
            a_rate = h_rate @ W
            h_next = np.tanh(h @ W + b)
            bend = 1 - h_next * h_next
            steps.append((W, h, h_rate, h_next, bend, a_rate))
            h, h_rate = h_next, bend * a_rate
        slope: Array = (h_rate @ W_last)[..., 0]  # (control_variates.2)
        last_rate = h_rate

        def pullback(dslope: Array) -> tuple[Array, Array, Array]:
            dweights = np.zeros_like(weights)
            *dhidden, (dW_last, _) = _affine_maps(layout, dweights)
            d = dslope[..., None]
            dW_last += _product(last_rate, d)
            dh, dh_rate = np.zeros_like(last_rate), d * W_last[:, 0]
            for (W, h, h_rate, h_next, bend, a_rate), (dW, db) in zip(reversed(steps), reversed(dhidden), strict=True):
                da_rate = bend * dh_rate
                da = bend * (dh - 2 * h_next * a_rate * dh_rate)  # (control_variates.3)
                dW += _product(h, da) + _product(h_rate, da_rate)
                db += np.sum(da, axis=tuple(range(da.ndim - 1)))
                dh, dh_rate = da @ W.T, da_rate @ W.T
            return dweights, dh, dh_rate

        return slope, pullback


def _affine_maps(layout: Layout, weights: Array) -> list[tuple[Array, Array]]:
    """The views (W, b) of every affine layer, first to last."""
    views = [view for _, view in layout.leaves(weights)]
    return list(zip(views[::2], views[1::2], strict=True))


def _product(left: Array, right: Array) -> Array:
    """leftᵀ right, summed over samples and rows."""
    product: Array = left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])
    return product
