"""Relaxed bits: the binary Concrete distribution, also called Gumbel-softmax, and its straight-through form.

Derivations: ``derivations/concrete.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares
from numvae.estimators.pathwise import through_samples
from numvae.estimators.relaxation import logistic_sample
from numvae.ranges import require_number

__all__ = ["Concrete", "StraightThroughConcrete", "relaxed_sample"]


@declares(
    variables="Bernoulli",
    unbiased=False,
    bias="f is asked between the bits: value and gradients are those of E[f(relaxed z)], another objective",
    uses_dz=True,
    reductions=("sample_mean", "log_mean_exp"),
    source="Maddison, Mnih and Teh 2017; Jang, Gu and Poole 2017",
)
@dataclass(frozen=True)
class Concrete:
    """E_q[reduce f(z)] ≈ reduce f(params, y) for relaxed bits y in (0, 1), and the pullback through y.

    Shapes: params (B, Z), noise (S, B, Z), bound (B,).  An exact pathwise gradient (concrete.3) of a *relaxed*
    objective: value, dparams and dtheta are biased for the one of bits, the less the lower the temperature, at the
    price of variance.  What f says between the bits is f's choice.  An f that contains log q should go on linearly
    (``Bernoulli.relaxed_log_prob``); the density of y itself, which Maddison et al. put in the place of log q, appears
    nowhere here.

    >>> Concrete(temperature=0.0)
    Traceback (most recent call last):
    numvae.errors.InputError: Concrete: temperature must be a number in (0, inf), got 0.0; try 0.5
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        require_number(self, "temperature", "(0, inf)", example=0.5)

    def __call__(
        self, q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        require_applicable(self, q, noise, reduce)
        y, relaxed_pullback = relaxed_sample(q, params, noise, self.temperature)
        return through_samples(params, y, lambda dy: relaxed_pullback(dy)[0], f, reduce)  # (concrete.3)


@declares(
    variables="Bernoulli",
    unbiased=False,
    bias="the slope of f at the bits is carried back through relaxed bits",
    uses_dz=True,
    reductions=("sample_mean", "log_mean_exp"),
    source="Jang, Gu and Poole 2017",
)
@dataclass(frozen=True)
class StraightThroughConcrete:
    """Bits on the way there, relaxed bits of the same noise on the way back   (concrete.4).

    Also called straight-through Gumbel-softmax.  Value and dtheta are those of bits, and unbiased; dparams is not.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        require_number(self, "temperature", "(0, inf)", example=0.5)

    def __call__(
        self, q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        require_applicable(self, q, noise, reduce)
        bits, _ = q.sample(params, noise)
        _, relaxed_pullback = relaxed_sample(q, params, noise, self.temperature)
        return through_samples(params, bits, lambda dbits: relaxed_pullback(dbits)[0], f, reduce)  # (concrete.4)


def relaxed_sample(q: Bernoulli, params: Array, noise: Array, temperature: float) -> tuple[Array, Pullback]:
    """y = sigmoid((logit + log(1 - u) - log u) / temperature)   (concrete.1); pullback dy -> (dparams, None).

    Shapes: params (B, Z), noise u (S, B, Z), y (S, B, Z).  y > ½ just where ``q.sample`` has a 1 from the same noise.

    >>> y, _ = relaxed_sample(Bernoulli(), np.array([[0.0]]), np.array([[[0.2]]]), temperature=1.0)
    >>> y.round(6).tolist()
    [[[0.8]]]
    """
    z, _ = logistic_sample(params, noise)
    relaxed_logits = z.astype(params.dtype, copy=False) / temperature

    def pullback(dy: Array) -> tuple[Array, None]:
        slope = q.std(relaxed_logits) ** 2 / temperature  # y (1 - y) / temperature, exact in the tails
        return np.sum(dy * slope, axis=0), None  # (concrete.2)

    return q.mean(relaxed_logits), pullback  # (concrete.1)
