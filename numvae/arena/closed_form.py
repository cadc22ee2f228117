"""Variances of estimators as formulas: for f(z) = Σ h(z_i) under a normal or under bits, in any dimension.

Per coordinate of the gradient in our parameters, [mean | log_std] or logits.  Derivations:
``derivations/closed_form.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arena.costs import Cosine, Exponential, LogRatio, Quadratic, QuadraticForm
from numvae.arrays import Array
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.broadcasting import halves
from numvae.errors import InputError

__all__ = ["VARIANCES", "crossover", "gradient", "variance"]

NORMAL_MOMENTS = (1, 0, 1, 0, 3, 0, 15, 0, 105)
"""E[ε^n] of a standard normal."""


def gradient(cost: Any, params: Array, *, q: Any = Normal()) -> Array | None:
    """The exact gradient of E_q[f(z)], (P,) for params (P,); None for a cost without a formula.

    >>> gradient(Quadratic(-3.0), np.array([1.0, 0.0]))  # (z + 3)² at mean and std 1: 2 (mean + 3) and 2 std²
    array([8., 2.])
    """
    if isinstance(cost, QuadraticForm):
        return _quadratic_form_gradient(cost, params, q)
    if isinstance(cost, LogRatio):
        return _log_ratio_gradient(cost, params, q)
    law = _law(cost, params, q)
    return None if law is None else law.score[1, 1]  # (closed_form.4)


def _quadratic_form_gradient(cost: QuadraticForm, params: Array, q: Any) -> Array | None:
    """E f = (m - t)ᵀ A (m - t) + Σ A_ii v_i, of means and variances alone   (closed_form.13)."""
    diagonal = cost.coupling + (1 - cost.coupling) / len(cost.target)
    slope = cost(params, q.mean(params)[None])[1](np.ones(1))[1][0]  # 2 A (m - t)
    if isinstance(q, Normal):
        return np.concatenate([slope, 2 * diagonal * q.std(params) ** 2])  # (closed_form.13)
    if isinstance(q, Bernoulli):
        return np.asarray(q.std(params) ** 2 * (slope + diagonal * (1 - 2 * q.mean(params))))  # (closed_form.13)
    return None


def _log_ratio_gradient(cost: LogRatio, params: Array, q: Any) -> Array | None:
    """E f = -KL(q ‖ target) + E[bump]   (closed_form.14)."""
    bump = np.zeros_like(params) if cost.bump is None else gradient(cost.bump, params, q=q)
    if bump is None or not isinstance(q, Normal):
        return None
    _, kl_pullback = q.kl(params[None], np.array([cost.target]))
    dparams: Array = bump - kl_pullback(np.ones(1))[0][0]  # (closed_form.14)
    return dparams


def variance(estimator: Any, cost: Any, params: Array, *, q: Any = Normal(), samples: int = 1) -> Array:
    """The variance of an estimate, per coordinate: (P,) for params (P,).

    ``estimator``: a name of ``VARIANCES``, or an estimator of the catalogue that has such a name.

    Raises:
        InputError: there is no formula for the estimator and this cost.

    >>> at = np.array([1.0, 0.0])  # mean 1, std 1
    >>> variance("score_function", Quadratic(-3.0), at), variance("pathwise", Quadratic(-3.0), at)
    (array([ 495., 1546.]), array([ 4., 72.]))
    """
    estimator = estimator if isinstance(estimator, str) else _name(estimator)
    law = _law(cost, params, q)
    formula = VARIANCES.get((type(q), estimator))
    if law is None or formula is None:
        known = ", ".join(name for family, name in VARIANCES if isinstance(q, family))
        what = f"{estimator} and {type(cost).__name__} under {type(q).__name__}"
        raise InputError(f"there is no closed form for {what}; for separable costs there is one for {known}")
    result: Array = formula(law, samples)
    return result


def _name(estimator: Any) -> str:
    """The estimator's name in the catalogue, or its own."""
    from numvae.estimators.catalogue import ESTIMATORS

    named = (name for name, known in ESTIMATORS.items() if type(known) is type(estimator) and known == estimator)
    return next(named, str(getattr(estimator, "__name__", type(estimator).__name__)))


def crossover(cost_of: Callable[[float], Any], params: Array, low: float, high: float) -> float:
    """The k in [low, high] at which score function and pathwise have the same total variance   (closed_form.12).

    >>> round(crossover(Cosine, np.array([0.0, 0.0]), 0.1, 10.0), 4)
    1.265

    Raises:
        InputError: the same one wins at both ends.
    """
    from scipy.optimize import brentq

    def advantage(k: float) -> float:
        total = [variance(name, cost_of(k), params).sum() for name in ("score_function", "pathwise")]
        return math.log(total[0] / total[1])  # (closed_form.12)

    if advantage(low) * advantage(high) > 0:
        raise InputError(f"the same estimator has less variance at k = {low} and at {high}; widen the range")
    return float(brentq(advantage, low, high, xtol=1e-12))


# ---- what a formula needs to know of h under q


@dataclass(frozen=True, eq=False)
class Law:
    """Moments of h(z_i) for every coordinate of the gradient, each beside its score s.

    ``score[p, r]`` = E[h^p s^r], (P,), for p, r = 0, 1, 2   (closed_form.3).
    ``rest_mean``, ``rest_variance``: of Σ_{j≠i} h(z_j), (P,).
    """

    score: Array
    rest_mean: Array
    rest_variance: Array
    slope_squares: Array | None = None
    """Under a normal E[(h' ∂z/∂param)²], (P,)."""
    jumps: Array | None = None
    """Under bits h(1) - h(0), (P,)."""
    probabilities: Array | None = None
    quadratic: tuple[Array, Array] | None = None
    """Under a normal and (z - k)²: mean - k and std, each (Z,)."""


def _law(cost: Any, params: Array, q: Any) -> Law | None:
    if isinstance(q, Bernoulli):
        return _bernoulli_law(cost, params) if isinstance(cost, (Quadratic, Exponential, Cosine)) else None
    moments = MOMENTS.get(type(cost))
    return None if moments is None or not isinstance(q, Normal) else _normal_law(cost, moments, params)


def _normal_law(cost: Any, moments: Callable[..., tuple[Array, Array]], params: Array) -> Law:
    """s = ε / std for the mean and ε² - 1 for log_std   (closed_form.3)."""
    mean, log_std = halves(params)
    std = np.exp(log_std)
    h, slope_squares = moments(cost, mean, std)
    means = np.stack([h[:, 0], h[:, 1] / std, h[:, 2] / std**2], axis=1)
    log_stds = np.stack([h[:, 0], h[:, 2] - h[:, 0], h[:, 4] - 2 * h[:, 2] + h[:, 0]], axis=1)  # (closed_form.3)
    return Law(
        np.concatenate([means, log_stds], axis=-1),
        *_rest(h[1, 0], h[2, 0], repeats=2),
        slope_squares=np.concatenate([slope_squares[0], std**2 * slope_squares[2]]),
        quadratic=(mean - cost.k, std) if isinstance(cost, Quadratic) else None,
    )


def _bernoulli_law(cost: Any, logits: Array) -> Law:
    """s = b - θ   (closed_form.3)."""
    theta = Bernoulli().mean(logits)
    zero, one = (cost(None, np.array([bit]))[0] for bit in (0.0, 1.0))
    score = np.array(
        [
            [theta * one**p * (1 - theta) ** r + (1 - theta) * zero**p * (-theta) ** r for r in range(3)]
            for p in range(3)
        ]
    )
    rest = _rest(score[1, 0], score[2, 0], repeats=1)
    return Law(score, *rest, jumps=np.full_like(theta, one - zero), probabilities=theta)


def _rest(first: Array, second: Array, repeats: int) -> tuple[Array, Array]:
    """Mean and variance of the sum over the other coordinates, from E[h] and E[h²]."""
    variances = second - first**2
    return np.tile(first.sum() - first, repeats), np.tile(variances.sum() - variances, repeats)


def _power(mean: Array, std: Array, power: int, order: int) -> Array:
    """E[(mean + std ε)^power ε^order] by the binomial theorem   (closed_form.1)."""
    terms = (math.comb(power, i) * mean ** (power - i) * std**i * NORMAL_MOMENTS[i + order] for i in range(power + 1))
    return np.asarray(sum(terms))  # (closed_form.1)


def _quadratic_moments(cost: Quadratic, mean: Array, std: Array) -> tuple[Array, Array]:
    """E[h^p ε^n], (3, 5, Z), and E[h'² ε^n], (3, Z), for h = (z - k)²."""
    a = mean - cost.k
    h = np.array([[_power(a, std, 2 * p, n) + 0 * a for n in range(5)] for p in range(3)])
    return h, np.array([4 * _power(a, std, 2, n) for n in range(3)])


def _exponential_moments(cost: Exponential, mean: Array, std: Array) -> tuple[Array, Array]:
    """The same for h = exp(-k z²), which tilts a normal into another one   (closed_form.2)."""

    def tilted(k: float, order: int, power: int = 0) -> Array:
        """E[exp(-k z²) z^power ε^order]."""
        variance = 1 / (1 + 2 * k * std**2)
        centre = -2 * k * mean * std * variance
        weight = np.sqrt(variance) * np.exp(-k * mean**2 * variance)  # (closed_form.2)
        spread = np.sqrt(variance)
        parts = (
            math.comb(power, i) * mean ** (power - i) * std**i * _raw(centre, spread, i + order)
            for i in range(power + 1)
        )
        return np.asarray(weight * sum(parts))

    h = np.array([[tilted(p * cost.k, n) for n in range(5)] for p in range(3)])
    return h, np.array([4 * cost.k**2 * tilted(2 * cost.k, n, power=2) for n in range(3)])


def _raw(centre: Array, spread: Array, order: int) -> Array:
    """E[x^order] of a normal with this mean and std."""
    return _power(centre, spread, order, 0)


def _cosine_moments(cost: Cosine, mean: Array, std: Array) -> tuple[Array, Array]:
    """The same for h = cos(k z), by derivatives of the characteristic function   (closed_form.2)."""

    def waves(k: float, order: int) -> Array:
        """E[cos(k z) ε^n] = Re[e^{ikμ} i^n He_n(kσ)] e^{-k²σ²/2}."""
        t = k * std
        hermite = np.polynomial.hermite_e.hermeval(t, [0] * order + [1])
        return np.asarray((np.exp(1j * k * mean) * 1j**order).real * hermite * np.exp(-0.5 * t * t))

    k = cost.k
    still = [waves(0.0, n) for n in range(5)]
    doubled = [waves(2 * k, n) for n in range(5)]
    squares = [(s + d) / 2 for s, d in zip(still, doubled, strict=True)]
    h = np.array([still, [waves(k, n) for n in range(5)], squares])
    return h, np.array([k * k * (still[n] - doubled[n]) / 2 for n in range(3)])


MOMENTS: dict[type, Callable[..., tuple[Array, Array]]] = {
    Quadratic: _quadratic_moments,
    Exponential: _exponential_moments,
    Cosine: _cosine_moments,
}


# ---- the formulas


def _pathwise(law: Law, samples: int) -> Array:
    """(E[(h' ∂z)²] - (E[h s])²) / S   (closed_form.5)."""
    assert law.slope_squares is not None
    return np.asarray((law.slope_squares - law.score[1, 1] ** 2) / samples)  # (closed_form.5)


def _score_function(law: Law, samples: int) -> Array:
    """One sample: E[f² s²] - (E[f s])²   (closed_form.6); more of them leave one out: a sample covariance."""
    own, mean = law.score, law.rest_mean
    if samples == 1:
        return np.asarray(_squares(law) - own[1, 1] ** 2)  # (closed_form.6)
    total = own[1, 0] + mean
    centred = _squares(law) - 2 * total * _weighted(law) + total**2 * own[0, 2]
    spread = own[2, 0] - own[1, 0] ** 2 + law.rest_variance
    others = samples - 1
    sum_of_parts = centred - (samples - 2) / others * own[1, 1] ** 2 + spread * own[0, 2] / others
    return np.asarray(sum_of_parts / samples)  # (closed_form.8)


def _reinforce(law: Law, samples: int) -> Array:
    """No baseline, however many samples   (closed_form.6)."""
    return _score_function(law, 1) / samples


def _optimal_constant(law: Law, samples: int) -> Array:
    """The constant b = E[f s²] / E[s²], per coordinate, takes b² E[s²] away   (closed_form.7)."""
    remaining = _squares(law) - _weighted(law) ** 2 / law.score[0, 2] - law.score[1, 1] ** 2  # (closed_form.7)
    return np.asarray(remaining / samples)


def _squares(law: Law) -> Array:
    """E[f² s²], f = h + rest   (closed_form.6)."""
    own, mean = law.score, law.rest_mean
    return np.asarray(own[2, 2] + 2 * mean * own[1, 2] + (law.rest_variance + mean**2) * own[0, 2])


def _weighted(law: Law) -> Array:
    """E[f s²]."""
    return np.asarray(law.score[1, 2] + law.rest_mean * law.score[0, 2])


def _measure_valued(law: Law, samples: int) -> Array:
    """(16/π - 4) a² for the mean and (4 a² + 4 std²) std² for log_std, coupled   (closed_form.9)."""
    if law.quadratic is None:
        raise InputError("the coupled measure-valued variance has a closed form for the quadratic cost only")
    a, std = law.quadratic
    in_log_std = (4 * a**2 + 4 * std**2) * std**2
    return np.concatenate([(16 / math.pi - 4) * a**2, in_log_std]) / samples  # (closed_form.9)


def _arm(law: Law, samples: int) -> Array:
    """2 Δ_i² (1/24 - (½ - m_i)³/3) + Σ_{j≠i} Δ_j² m_j / 6 - (p_i Δ_i)²   (closed_form.10)."""
    least, crosstalk = _antithetic(law)
    own = 2 * _jumps(law) ** 2 * (1 / 24 - (0.5 - least) ** 3 / 3)
    return np.asarray((own + crosstalk / 12 - law.score[1, 1] ** 2) / samples)  # (closed_form.10)


def _disarm(law: Law, samples: int) -> Array:
    """½ M_i² m_i (Δ_i² + Σ_{j≠i} 2 Δ_j² m_j) - (p_i Δ_i)²   (closed_form.11)."""
    least, crosstalk = _antithetic(law)
    own = 0.5 * (1 - least) ** 2 * least * (_jumps(law) ** 2 + crosstalk)
    return np.asarray((own - law.score[1, 1] ** 2) / samples)  # (closed_form.11)


def _antithetic(law: Law) -> tuple[Array, Array]:
    """m = min(θ, 1 - θ), and the variance Σ_{j≠i} 2 Δ_j² m_j that the other bits put into f(b) - f(b̃)."""
    assert law.probabilities is not None
    least = np.minimum(law.probabilities, 1 - law.probabilities)
    spread = 2 * _jumps(law) ** 2 * least
    return least, spread.sum() - spread


def _jumps(law: Law) -> Array:
    assert law.jumps is not None
    return law.jumps


def _nothing(law: Law, samples: int) -> Array:
    """Local expectation sums its own bit out, and the rest of a sum does not matter: no variance."""
    return np.zeros_like(law.score[0, 0])


VARIANCES: dict[tuple[type, str], Callable[[Law, int], Array]] = {
    (Normal, "score_function"): _score_function,
    (Normal, "reinforce"): _reinforce,
    (Normal, "optimal_baseline"): _optimal_constant,
    (Normal, "pathwise"): _pathwise,
    (Normal, "measure_valued_normal"): _measure_valued,
    (Bernoulli, "score_function"): _score_function,
    (Bernoulli, "reinforce"): _reinforce,
    (Bernoulli, "optimal_baseline"): _optimal_constant,
    (Bernoulli, "arm"): _arm,
    (Bernoulli, "disarm"): _disarm,
    (Bernoulli, "local_expectation"): _nothing,
    (Bernoulli, "enumeration"): _nothing,
}
"""(Family, name) -> formula.  ``score_function`` has no baseline for one sample, and leaves one out of more."""
