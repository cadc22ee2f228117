"""The noise of the training gradient: how much of it the minibatch makes, how much the sampling of z, and what helps.

A row's gradient is never formed: in an affine layer it is an outer product of what went in and what came back.
Derivations: ``derivations/gradient_noise.md``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.devices import to_host
from numvae.errors import InputError
from numvae.estimators import pathwise
from numvae.layers import affine_of_data
from numvae.learning.wake_sleep import ReweightedWakeSleep
from numvae.models import VAE
from numvae.networks import Chain, Dense, Network, SharedLogStd
from numvae.objectives import elbo, importance_weighted
from numvae.parameters import Layout

__all__ = ["Factors", "GradientNoise", "RowGradients", "gradient_noise", "pooled", "row_gradients"]

Objective = Callable[..., tuple[Array, Pullback]]


# ---- gradients of rows, as factors


@dataclass(frozen=True, eq=False)
class Factors:
    """The rows' gradients in one layer: dW_i = Σ_t x_ti d_tiᵀ and db_i = Σ_t d_ti   (gradient_noise.1).

    x (T, B, m), or None where there is no W; d (T, B, n).  The T terms of a row are its samples of z.
    """

    x: Array | None
    d: Array

    def dots(self, other: Factors) -> Array:
        """⟨g_i, g'_i⟩ = Σ_st (x_si · x'_ti + 1) (d_si · d'_ti), (B,)   (gradient_noise.2)."""
        products = _dots(self.d, other.d)
        if self.x is not None and other.x is not None:
            products *= _dots(self.x, other.x) + 1  # (gradient_noise.2)
        dots: Array = products.sum(axis=(1, 2))
        return dots

    def gram(self, other: Factors) -> Array:
        """⟨g_i, g'_j⟩ for all pairs of rows, (B, B), by two products a term; its diagonal is ``dots``."""
        rows = self.d.shape[1]
        total = np.zeros_like(self.d, shape=(rows, rows))
        for t, d in enumerate(self.d):
            products = d @ _as_rows(other.d).T
            if self.x is not None and other.x is not None:
                products *= self.x[t] @ _as_rows(other.x).T + 1
            total += products.reshape(rows, -1, rows).sum(axis=1)
        return total

    def sums(self) -> list[Array]:
        """The gradient of the sum over rows, [dW, db]: Σ_ti x_ti d_tiᵀ and Σ_ti d_ti."""
        d = _as_rows(self.d)
        return [*([] if self.x is None else [_as_rows(self.x).T @ d]), d.sum(axis=0)]

    def sums_of_products(self, other: Factors) -> list[Array]:
        """Σ_i g_i g'_i per weight, [in W, in b]: Σ_st (x_s x'_t)ᵀ (d_s d'_t), one product for one term

        (gradient_noise.3).
        """
        total: list[Any] = [0.0, 0.0]
        for s, d in enumerate(self.d):
            for t, other_d in enumerate(other.d):
                dd = d * other_d
                total[1] = total[1] + dd.sum(axis=0)
                if self.x is not None and other.x is not None:
                    total[0] = total[0] + (self.x[s] * other.x[t]).T @ dd  # (gradient_noise.3)
        return total[1:] if self.x is None else total


def _dots(a: Array, b: Array) -> Array:
    """Of each row, all terms of a with all of b: (S, B, n) and (T, B, n) -> (B, S, T)."""
    dots: Array = np.matmul(a.transpose(1, 0, 2), b.transpose(1, 2, 0))
    return dots


@dataclass(frozen=True, eq=False)
class RowGradients:
    """The gradients in theta of the B rows' bounds, as factors of every layer; only sums over rows are ever formed."""

    layers: Mapping[str, Factors]
    """By the dotted name of the layer."""
    layout: Layout
    """Of theta."""

    def dots(self, other: RowGradients) -> Array:
        """⟨g_i, g'_i⟩ for every row, (B,)   (gradient_noise.2)."""
        return _sum(factors.dots(other.layers[name]) for name, factors in self.layers.items())

    def squared_norms(self) -> Array:
        """‖g_i‖², (B,); for one term ‖d_i‖² (‖x_i‖² + 1), summed over layers   (gradient_noise.2)."""
        return self.dots(self)

    def gram(self, other: RowGradients) -> Array:
        """⟨g_i, g'_j⟩ for all pairs of rows, (B, B)   (gradient_noise.2)."""
        return _sum(factors.gram(other.layers[name]) for name, factors in self.layers.items())

    def sum(self) -> Array:
        """Σ_i g_i, like theta: what an ordinary backward pass gives."""
        return self._flat(factors.sums() for factors in self.layers.values())

    def sums_of_products(self, other: RowGradients) -> Array:
        """Σ_i g_i g'_i for every weight, like theta   (gradient_noise.3); with itself, the second moments."""
        return self._flat(factors.sums_of_products(other.layers[name]) for name, factors in self.layers.items())

    def _flat(self, pieces: Iterable[list[Array]]) -> Array:
        """The layers' pieces in their places in theta."""
        by_layer = dict(zip(self.layers, pieces, strict=True))
        like = next(iter(self.layers.values())).d
        theta = np.zeros_like(like, shape=(self.layout.size,))
        for name, view in self.layout.leaves(theta):
            layer, _, piece = name.rpartition(".")
            view[...] = by_layer[layer][0 if piece == "W" else -1]
        return theta


def _sum(arrays: Iterable[Array]) -> Array:
    total: Array = functools.reduce(np.add, arrays)
    return total


def row_gradients(
    model: VAE, theta: Array, x: Array, noise: Array, objective: Objective = elbo, estimator: Any = pathwise
) -> RowGradients:
    """Each row's gradient, from one way there and back that leaves out the weights' gradients.

    x (B, D), noise (S, B, ·): a few hundred rows times samples, all of which stay in memory.

    Raises:
        InputError: the model is no VAE or has layers of unknown kind; or the estimator mixes several gradients in
            theta into one.
    """
    if not isinstance(model, VAE):
        raise InputError(f"the noise of the gradient is known for a VAE alone, got {type(model).__name__}")
    uses: list[_Use] = []
    networks: dict[str, Any] = {name: _recorded(getattr(model, name), name, uses) for name in ("encoder", "decoder")}
    bound, pullback = objective(replace(model, **networks), theta, x, noise, estimator)
    dtheta, _, _ = pullback(np.ones_like(bound))
    kept: dict[str, list[_Use]] = {}
    for use in uses:
        if np.may_share_memory(use.dbias, dtheta):  # an estimator may pull f back a second time, for another purpose
            kept.setdefault(use.layer, []).append(use)
    layers = {name: _joined(of_layer, len(x)) for name, of_layer in kept.items()}
    _require_whole(layers, kept, model, estimator)
    return RowGradients(layers, model.layout)


@dataclass(frozen=True, eq=False)
class _Use:
    """One way back through a layer: what had gone in, what came back, and the memory that its db was written into."""

    layer: str
    x: Array | None
    d: Array
    dbias: Array


def _joined(uses: list[_Use], rows: int) -> Factors:
    """All uses of a layer, which may have samples or none, as terms."""

    def terms(arrays: list[Array]) -> Array:
        parts = [array.reshape(-1, rows, array.shape[-1]) for array in arrays]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    inputs = [use.x for use in uses if use.x is not None]
    return Factors(terms(inputs) if inputs else None, terms([use.d for use in uses]))


def _require_whole(layers: Mapping[str, Factors], kept: Mapping[str, list[_Use]], model: VAE, estimator: Any) -> None:
    """The rows' gradients add up to the gradient: looked at in the biases, where that takes no product."""
    expected = {name.rpartition(".")[0] for name, _ in model.layout.leaves(np.empty(model.layout.size))}
    whole = layers.keys() == expected
    for name, factors in layers.items():
        dbias, db = kept[name][-1].dbias, _as_rows(factors.d).sum(axis=0)
        off, allowed = float(np.abs(dbias - db).max()), 1e-3 * float(np.abs(db).max()) + 1e-30
        whole = whole and not off > allowed  # of a NaN nothing is known; that it diverged is for training to say
    if not whole:
        name = getattr(estimator, "__name__", type(estimator).__name__)
        raise InputError(f"{name} mixes several gradients in theta into one, which cannot be told apart by rows")


# ---- networks that remember


@dataclass(frozen=True)
class _RecordedDense(Dense):
    """An affine layer that notes what goes in and comes back, and leaves out dW."""

    name: str
    uses: list[_Use]

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        W = self.layout.views(theta)["W"]
        y, data_pullback = self.of_data(theta, x)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dtheta, _ = data_pullback(dy, out)
            return dtheta, (_as_rows(dy) @ W.T).reshape(x.shape)

        return y, pullback

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, _ = affine_of_data(**self.layout.views(theta), x=x)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, None]:
            dtheta = np.empty_like(theta) if out is None else out
            dtheta[...] = 0
            dbias = self.layout.views(dtheta)["b"]
            dbias[...] = _as_rows(dy).sum(axis=0)
            self.uses.append(_Use(self.name, x, dy, dbias))
            return dtheta, None

        return y, pullback


@dataclass(frozen=True)
class _RecordedLogStd(SharedLogStd):
    """A shared log_std, whose gradient in row i is the sum over that row's copies."""

    name: str
    uses: list[_Use]

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, own_pullback = super().__call__(theta, x)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dtheta, dx = own_pullback(dy, out=out)
            d = dy[..., x.shape[-1] :].sum(axis=-1, keepdims=True)
            self.uses.append(_Use(self.name, None, d, dtheta))
            return dtheta, dx

        return y, pullback

    of_data = __call__


def _recorded(network: Any, name: str, uses: list[_Use]) -> Network:
    if isinstance(network, Chain):
        return Chain(tuple(_recorded(part, f"{name}.{number}", uses) for number, part in enumerate(network.parts, 1)))
    if isinstance(network, Dense):
        return _RecordedDense(network.inputs, network.outputs, name, uses)
    if isinstance(network, SharedLogStd):
        return _RecordedLogStd(name, uses)
    if network.layout.size:
        raise InputError(f"the gradients of rows are not known for {name}, {network!r}")
    plain: Network = network
    return plain


def _as_rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])


# ---- what the noise is made of


@dataclass(frozen=True)
class GradientNoise:
    """E‖g - E g‖² of a gradient g that is the mean over ``batch`` rows with ``samples`` samples each, in its parts.

    ``minibatch``: which rows were picked.  ``sampling``: which z were drawn for them   (gradient_noise.4).  All are
    unbiased estimates from ``rows`` rows, so that one near zero may come out below.
    """

    rows: int
    batch: int
    samples: int
    signal: float
    """‖E g‖²."""
    minibatch: float
    sampling: float
    signal_standard_error: float
    minibatch_standard_error: float
    sampling_standard_error: float
    total_standard_error: float
    cost_ratio: float = 1.0
    """What a row costs before its first sample, in the cost of a sample: encoder against decoder."""
    mean_over_samples: bool = True
    """Whether the bound is a mean over samples.  Importance-weighted, every number of samples is a bound of its own."""

    @property
    def total(self) -> float:
        """Both parts."""
        return self.minibatch + self.sampling

    @property
    def sampling_share(self) -> float:
        """sampling / total, in [0, 1]; 0 without noise."""
        return min(max(self.sampling / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    @property
    def snr(self) -> float:
        """‖E g‖ / √total; infinite without noise."""
        signal = max(self.signal, 0.0)
        return math.sqrt(signal / self.total) if self.total > 0 else math.inf

    @property
    def best_samples(self) -> float:
        """L* = √(cost_ratio · sampling of one sample / minibatch): least noise for the time   (gradient_noise.7).

        NaN where the bound is not a mean over samples.
        """
        if not self.mean_over_samples:
            return math.nan
        one = self.samples * max(self.sampling, 0.0)
        if one == 0:
            return 0.0
        return math.sqrt(self.cost_ratio * one / self.minibatch) if self.minibatch > 0 else math.inf

    @property
    def advice(self) -> str:
        """One line on what to do with it."""
        best, share = self.best_samples, f"{self.sampling_share:.0%} of the gradient's noise comes from sampling z"
        if not self.mean_over_samples:
            return f"{share}: a larger batch helps; other samples per row would be another bound"
        if best >= 1.5 * self.samples:
            wanted = f"about L = {best:.0f}" if math.isfinite(best) and best < 1000 else "many times more"
            return f"{share}: more samples per row pay ({wanted})"
        if self.samples > 1 and best <= self.samples / 1.5:
            return f"{share}: fewer samples per row would do (about L = {max(1, round(best))}), in a larger batch"
        return f"{share}: a larger batch helps, more samples per row hardly"

    def to_json(self) -> dict[str, Any]:
        """In plain Python types; None for what is not finite, which JSON does not know."""
        numbers = {
            "rows": self.rows,
            "batch": self.batch,
            "samples": self.samples,
            "total": self.total,
            "total_standard_error": self.total_standard_error,
            "minibatch": self.minibatch,
            "minibatch_standard_error": self.minibatch_standard_error,
            "sampling": self.sampling,
            "sampling_standard_error": self.sampling_standard_error,
            "sampling_share": self.sampling_share,
            "signal": self.signal,
            "signal_standard_error": self.signal_standard_error,
            "snr": self.snr,
            "best_samples": self.best_samples,
        }
        finite = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        return {**finite, "advice": self.advice}


def pooled(measured: Sequence[GradientNoise]) -> GradientNoise:
    """The mean of several measurements on different rows, with its standard error."""
    means: dict[str, Any] = {"rows": sum(noise.rows for noise in measured)}
    for name in ("signal", "minibatch", "sampling"):
        means[name] = sum(getattr(noise, name) for noise in measured) / len(measured)
    for name in ("signal", "minibatch", "sampling", "total"):
        errors = [getattr(noise, f"{name}_standard_error") for noise in measured]
        means[f"{name}_standard_error"] = math.hypot(*errors) / len(measured)
    return replace(measured[-1], **means)


def gradient_noise(
    model: VAE,
    theta: Array,
    x: Array,
    noise: Array,
    independent_noise: Array,
    objective: Objective = elbo,
    estimator: Any = pathwise,
    *,
    batch: int | None = None,
) -> GradientNoise:
    """Both parts of the noise, from two independent gradients g_i and g'_i of each row of x (B, D).

    noise, independent_noise: (S, B, ·), S samples for every row.  ``batch``: of how many rows the training gradient is
    the mean, B unless told.  A few hundred rows times samples; take the mean of several calls for more.

    Raises:
        InputError: a single row; or what ``row_gradients`` raises.
    """
    if len(x) < 2:
        raise InputError("the noise of a gradient shows between rows: pass at least 2, got 1")
    first = row_gradients(model, theta, x, noise, objective, estimator)
    second = row_gradients(model, theta, x, independent_noise, objective, estimator)
    norms = to_host(first.squared_norms() + second.squared_norms()).astype(np.float64) / 2
    gram = to_host(first.gram(second)).astype(np.float64)
    ratio = model.encoder.layout.size / model.decoder.layout.size
    parts = _decomposed(norms, gram, len(x) if batch is None else batch, len(noise), ratio)
    of_one_bound = objective is importance_weighted or isinstance(objective, ReweightedWakeSleep)
    return replace(parts, mean_over_samples=not of_one_bound)


def _decomposed(norms: Array, gram: Array, batch: int, samples: int, cost_ratio: float) -> GradientNoise:
    """E‖g‖² = ‖E g‖² + minibatch + sampling, each from products of gradients that share what they should

    (gradient_noise.5): nothing, the row, or the row and its z.  norms (B,), gram (B, B).
    """
    rows = len(norms)
    same_row = np.diagonal(gram)
    other_rows = (gram.sum(axis=0) + gram.sum(axis=1) - 2 * same_row) / (2 * (rows - 1))  # (gradient_noise.5)

    def estimate(per_row: Array, influence: Array) -> tuple[float, float]:
        error = influence.std(ddof=1) / math.sqrt(rows)  # (gradient_noise.6)
        return float(per_row.mean()), float(error)

    signal, signal_error = estimate(other_rows, 2 * other_rows)
    minibatch, minibatch_error = estimate(same_row - other_rows, same_row - 2 * other_rows)
    sampling, sampling_error = estimate(norms - same_row, norms - same_row)
    _, total_error = estimate(norms - other_rows, norms - 2 * other_rows)
    return GradientNoise(
        rows=rows,
        batch=batch,
        samples=samples,
        signal=signal,
        minibatch=minibatch / batch,
        sampling=sampling / batch,
        signal_standard_error=signal_error,
        minibatch_standard_error=minibatch_error / batch,
        sampling_standard_error=sampling_error / batch,
        total_standard_error=total_error / batch,
        cost_ratio=cost_ratio,
    )
