"""What an estimator takes, returns and claims: the contract every estimator in this folder keeps.

    bound, pullback = estimator(q, params, noise, f, reduce)        dparams, dtheta = pullback(dbound)

estimates the gradient of E_q[reduce f(z)], where ``f(params, z) -> values (S, B), pullback -> (dparams, dz, dtheta)``.
``reduce`` belongs to the estimator because for a nonlinear bound the learning signal is the bound itself.

An estimator is a function, or a frozen dataclass where it has options.  It may have a method
``noise(q, rng, shape, dtype)`` if it wants other noise than its family's, and it has ``claims``: what it promises,
to which ``numvae.arena.certify`` holds it.  One that learns while it works is ``Adaptive``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.contract import has_independent_values
from numvae.errors import InputError

__all__ = [
    "Adaptive",
    "Claims",
    "Estimator",
    "Integrand",
    "Reduction",
    "Reparameterized",
    "claims_of",
    "context_of",
    "declares",
    "draw_noise",
    "held",
    "hessian_product",
    "name_of",
    "require_dz",
    "value_and_slope",
]

Integrand: TypeAlias = Callable[[Array, Array], tuple[Array, Pullback]]
"""f(params, z) -> values (S, B), pullback -> (dparams, dz, dtheta).

It may know more of itself: ``f.context`` (B, C), what q was conditioned on, for a baseline to look at;
``f.hessian_product(params, z, direction)``, ∂²f/∂z² times a direction, for estimators that ask for it; and ``f.held``,
the same f without anything in it that learns, where it has other estimators inside.
"""

Reduction: TypeAlias = Callable[[Array], tuple[Array, Pullback]]
Estimator: TypeAlias = Callable[[Any, Array, Array, Integrand, Reduction], tuple[Array, Pullback]]


class Reparameterized(Protocol):
    """A family whose samples are a function of parameters and noise."""

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = ...) -> Array:
        """Noise of the values' shape."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """Samples, and the pullback ``dz -> (dparams, None)``."""

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """Log-density summed over features, and the pullback ``d -> (dparams, dvalue)``."""


# ---- what an estimator promises

Calls: TypeAlias = Callable[[int, int], int]
"""(S, Z) -> how many samples per row are put through f, or back through its pullback, at most."""


@dataclass(frozen=True)
class Claims:
    """What an estimator promises; a promise that does not hold is an error in the estimator."""

    variables: str = "any"
    """``any``, ``continuous``, ``discrete``, or the name of the one family it is for."""
    unbiased: bool = True
    bias: str = ""
    """Where it is biased: by what, in words."""
    f_calls: Calls = lambda S, Z: S
    pullback_calls: Calls = lambda S, Z: S
    uses_dz: bool = False
    """Whether it needs the derivative of f in z; one that does not works for any f."""
    moving_support: bool = False
    """Whether it is right also where the parameters move the ends of the support: E[∇ log q] then is not zero."""
    independent_latents: bool = False
    """Whether it is right only where each latent has parameters of its own."""
    uses_hessian: bool = False
    """Whether it needs ``f.hessian_product``."""
    least_samples: int = 1
    reductions: tuple[str, ...] = ("sample_mean",)
    """Under which reductions it may be used, by name."""
    source: str = ""

    def cover(self, q: Any) -> bool:
        """Whether the estimator is one for the family: its kind of variables, and a support that stays where it is.

        >>> from numvae import Bernoulli, Normal
        >>> Claims("continuous").cover(Normal()), Claims("continuous").cover(Bernoulli())
        (True, False)
        """
        return self.refusal(q) is None

    def refusal(self, q: Any) -> str | None:
        """Why the estimator is none for the family, in words that follow its name; None where it is one.

        >>> from numvae import Bernoulli
        >>> Claims("continuous").refusal(Bernoulli())
        'is for continuous latents, got Bernoulli'
        """
        kind = "discrete" if getattr(q, "discrete", False) else "continuous"
        name = type(q).__name__
        if self.variables not in ("any", kind, name):
            return f"is for {self.variables} latents, got {name}"
        if getattr(q, "support_moves", False) and not self.moving_support:
            return f"is not for {name} latents, whose parameters move the ends of their support"
        if self.independent_latents and not has_independent_values(q):
            return f"is for latents with parameters of their own, those of a {name} share theirs"
        return None


E = TypeVar("E", bound=Callable[..., Any])


def declares(**claims: Any) -> Callable[[E], E]:
    """A decorator that gives an estimator its ``claims``."""

    def attach(estimator: E) -> E:
        estimator.claims = Claims(**claims)  # type: ignore[attr-defined]
        return estimator

    return attach


def claims_of(estimator: Any) -> Claims:
    """What an estimator promises.

    Raises:
        InputError: it says nothing.
    """
    claims = getattr(estimator, "claims", None)
    if not isinstance(claims, Claims):
        what_to_do = "decorate it with @declares(variables=..., unbiased=..., ...)"
        raise InputError(f"{name_of(estimator)} declares no claims; {what_to_do}")
    return claims


def name_of(thing: Any) -> str:
    """A function's own name, or that of an object's class.

    >>> name_of(declares), name_of(Claims())
    ('declares', 'Claims')
    """
    return str(getattr(thing, "__name__", type(thing).__name__))


# ---- what an estimator asks of others


def draw_noise(
    estimator: Any, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
) -> Array:
    """Noise for samples of shape (S, B, Z): the estimator's own if it wants some, the family's otherwise.

    Its last axis may be longer than Z: then each row has more numbers than one per latent.
    """
    own = getattr(estimator, "noise", None)
    noise: Array = q.noise(rng, shape, dtype) if own is None else own(q, rng, shape, dtype)
    return noise


def context_of(f: Integrand, params: Array) -> Array:
    """What q was conditioned on, (B, C): what f knows of it, or else q's own parameters."""
    context: Array = getattr(f, "context", params)
    return context


def held(thing: Any) -> Any:
    """The same integrand, or estimator, that learns nothing on its way back."""
    return getattr(thing, "held", thing)


def require_dz(dz: Array | None) -> Array:
    """What f's pullback gave as derivative in z.

    Raises:
        InputError: it gave none.
    """
    if dz is None:
        raise InputError("the integrand gives no derivative in z, which this estimator needs; use score_function")
    return dz


def value_and_slope(f: Integrand, params: Array, z: Array) -> tuple[Array, Array]:
    """f (S, B) and ∂f/∂z (S, B, Z) at a z that is no sample: what a control variate made of f is built from.

    Nothing else of f is used there, neither dparams nor dtheta, and what learns inside f is held.

    Raises:
        InputError: f gives no derivative in z.
    """
    values, f_pullback = held(f)(params, z)
    return values, require_dz(f_pullback(np.ones_like(values))[1])


def hessian_product(f: Integrand, params: Array, z: Array, direction: Array) -> Array:
    """∂²f/∂z² times ``direction``, in the shape of z: (S, B, Z).

    Raises:
        InputError: f does not offer it.
    """
    product = getattr(f, "hessian_product", None)
    if product is None:
        raise InputError(f"{name_of(f)} has no hessian_product(params, z, direction), which this estimator needs")
    result: Array = product(params, z, direction)
    return result


class Adaptive(Protocol):
    """An estimator with weights of its own, ``eta``, that it learns while it works: a baseline, a control variate.

    It holds no arrays: who uses it keeps ``eta`` and its gradient ``deta`` as flat vectors beside the model's,
    and lets ``optimizer`` climb.
    """

    @property
    def claims(self) -> Claims:
        """What it promises, at whatever ``eta``."""

    @property
    def optimizer(self) -> Any:
        """What moves ``eta``, with its step size."""

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """``eta`` before the first step, for params (B, P), context (B, C) and Z latents; of params' dtype."""

    def at(self, eta: Array, deta: Array | None = None) -> Estimator:
        """The estimator with these weights.

        Its pullback adds to ``deta`` the direction in which eta gets better (minus the gradient of the squared error
        of a baseline, or of the variance of the estimate), summed over rows with the weights ``dbound``.
        """
