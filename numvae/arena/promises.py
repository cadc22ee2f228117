"""What of an estimator's claims can be seen in a few calls: how it treats its arguments, and what it asks of f."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numvae.arena.states import State
from numvae.arrays import Array, Pullback
from numvae.estimators import Estimator, claims_of, draw_noise

__all__ = ["Counted", "broken_promises"]

ROWS = 5
SAME = 1e-9
LINEAR = 1e-8


@dataclass(eq=False)
class Counted:
    """An integrand that counts how many samples per row are put through it, and back through its pullback."""

    f: Any
    f_calls: int = 0
    pullback_calls: int = 0

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        self.f_calls += len(z)
        values, f_pullback = self.f(params, z)

        def pullback(dvalues: Array) -> Any:
            self.pullback_calls += len(z)
            return f_pullback(dvalues)

        return values, pullback

    @property
    def held(self) -> Counted:
        """Looks at f where no sample lies count as well."""
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.f, name)  # what else f knows: its context, its second derivative


@dataclass(frozen=True, eq=False)
class Reticent:
    """The same integrand, which hands out no more than the estimator claims to use."""

    f: Any
    gives_dz: bool
    gives_hessian: bool

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        values, f_pullback = self.f(params, z)

        def pullback(dvalues: Array) -> Any:
            dparams, dz, dtheta = f_pullback(dvalues)
            return dparams, dz if self.gives_dz else np.full(z.shape, np.nan, z.dtype), dtheta

        return values, pullback

    def __getattr__(self, name: str) -> Any:
        if name == "hessian_product" and not self.gives_hessian:
            raise AttributeError(name)
        return getattr(self.f, name)


def broken_promises(estimator: Estimator, state: State, samples: int, rng: np.random.Generator) -> tuple[str, ...]:
    """One line for each way in which the estimator breaks the contract, or claims of its own, at this state."""
    try:
        return tuple(_Trial(estimator, state, samples, rng).problems())
    except Exception as error:
        return (f"{type(error).__name__}: {error}",)


@dataclass(eq=False)
class _Trial:
    """A few rows at a state, the noise for them, and two gradients of the bound."""

    estimator: Estimator
    state: State
    samples: int
    rng: np.random.Generator
    f: Any = field(init=False)
    params: Array = field(init=False)
    noise: Array = field(init=False)
    dbounds: tuple[Array, Array] = field(init=False)

    def __post_init__(self) -> None:
        self.f, self.params = self.state.integrand(ROWS), self.state.at(ROWS)
        shape = (self.samples, len(self.params), self.state.latents)
        self.noise = draw_noise(self.estimator, self.state.q, self.rng, shape)
        first, second = self.rng.standard_normal((2, len(self.params)))
        self.dbounds = first, second

    def call(self, f: Any, params: Array | None = None, noise: Array | None = None) -> tuple[Array, Pullback]:
        params, noise = self.params if params is None else params, self.noise if noise is None else noise
        return self.estimator(self.state.q, params, noise, f, self.state.reduce)

    def problems(self) -> Iterator[str]:
        claims = claims_of(self.estimator)
        counted = Counted(self.f)
        for array in (self.params, self.noise, *self.dbounds):
            array.flags.writeable = False  # writing them raises, which is reported
        bound, pullback = self.call(counted)
        first = pullback(self.dbounds[0])[0]
        expected = {
            "f": (claims.f_calls(self.samples, self.state.latents), counted.f_calls),
            "the pullback of f": (claims.pullback_calls(self.samples, self.state.latents), counted.pullback_calls),
        }
        for what, (claimed, seen) in expected.items():
            if seen > claimed:
                yield f"puts {seen} samples per row through {what}, but claims {claimed}"
        yield from self._shapes(bound, first)
        yield from self._repetition(bound, first, pullback)
        yield from self._linearity(first, pullback)
        yield from self._restraint(first, claims.uses_dz, claims.uses_hessian)
        yield from self._independence(first)
        yield from self._precision()

    def _shapes(self, bound: Array, gradient: Array) -> Iterator[str]:
        if bound.shape != (len(self.params),):
            yield f"the bound has shape {bound.shape}, not (B,) = ({len(self.params)},)"
        if gradient.shape != self.params.shape:
            yield f"dparams has shape {gradient.shape}, but params have {self.params.shape}"

    def _repetition(self, bound: Array, gradient: Array, pullback: Pullback) -> Iterator[str]:
        if not _same(pullback(self.dbounds[0])[0], gradient):
            yield "the pullback gives something else when it is called again"
        repeated, another = self.call(self.f)
        if not (_same(repeated, bound) and _same(another(self.dbounds[0])[0], gradient)):
            yield "two calls with the same noise differ: noise is an argument, never drawn inside"

    def _linearity(self, first: Array, pullback: Pullback) -> Iterator[str]:
        a, b = self.dbounds
        second, mixed = pullback(b)[0], pullback(b - 1.5 * a)[0]
        if not _same(mixed, second - 1.5 * first, LINEAR):
            yield "dparams is not linear in the gradient of the bound"

    def _restraint(self, gradient: Array, uses_dz: bool, uses_hessian: bool) -> Iterator[str]:
        if uses_dz and uses_hessian:
            return
        _, pullback = self.call(Reticent(self.f, uses_dz, uses_hessian))
        found = pullback(self.dbounds[0])[0]
        if not np.isfinite(found).all():
            yield "uses the derivative of f in z, but claims not to"
        elif not _same(found, gradient):
            yield "gives something else where f hides the derivatives it claims not to use"

    def _independence(self, gradient: Array) -> Iterator[str]:
        rows = slice(2 * len(self.state.params))
        _, pullback = self.call(self.state.integrand(2), self.params[rows], self.noise[:, rows])
        if not _same(pullback(self.dbounds[0][rows])[0], gradient[rows]):
            yield "a row's gradient depends on the other rows"

    def _precision(self) -> Iterator[str]:
        single = [array.astype(np.float32) for array in (self.params, self.noise, self.dbounds[0])]
        bound, pullback = self.call(self.state.integrand(ROWS, np.float32), single[0], single[1])
        for name, array in (("the bound", bound), ("dparams", pullback(single[2])[0])):
            if array.dtype != np.float32:
                yield f"{name} is {array.dtype} for float32 arguments: a float64 constant promotes it"


def _same(a: Array, b: Array, tolerance: float = SAME) -> bool:
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0.0) <= tolerance * (1 + np.max(np.abs(b))))
