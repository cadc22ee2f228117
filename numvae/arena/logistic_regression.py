"""Bayesian logistic regression as a cost: 31 coupled weights, real data, and still an exact gradient.

Derivations: ``derivations/logistic_regression.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves
from numvae.errors import InputError

__all__ = ["LogisticRegression", "breast_cancer"]

LOG_2 = math.log(2)
LOG_2PI = math.log(2 * math.pi)
WIDEST_STEP = 0.05
FARTHEST = 9.0


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """f(w) = Σ_n log sigmoid(x_n·w) + log N(w | 0, I)   (logistic_regression.1): log p(labels, weights).

    ``signed``: (N, Z), rows y_n x_n with labels y_n = ±1 multiplied in.  z: (S, B, Z) are weights.
    Source: Mohamed et al. 2020, section 8.3.
    """

    signed: Array

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        rows = self.signed.astype(z.dtype, copy=False)
        log_likelihood, surprise = _log_sigmoid(z @ rows.T)
        log_prior = -0.5 * np.sum(z * z, axis=-1) - 0.5 * LOG_2PI * z.shape[-1]
        values = np.sum(log_likelihood, axis=-1) + log_prior  # (logistic_regression.1)

        def pullback(dvalues: Array) -> tuple[float, Array, None]:
            dz = surprise @ rows - z  # (logistic_regression.2)
            return 0.0, dvalues[..., None] * dz, None

        return values, pullback

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """-Σ_n σ (1 - σ) x_n (x_n·direction) - direction   (logistic_regression.3)."""
        rows = self.signed.astype(z.dtype, copy=False)
        _, surprise = _log_sigmoid(z @ rows.T)
        curvature = surprise * (1 - surprise)
        product: Array = -((curvature * (direction @ rows.T)) @ rows) - direction  # (logistic_regression.3)
        return product

    def gradient(self, params: Array) -> Array:
        """The exact gradient of E_q[f(w)] under a normal, (2Z,) for params (2Z,)   (logistic_regression.4).

        x_n·w is one normal number, so that a rule over one dimension per datum is enough.
        """
        mean, log_std = halves(params)
        variance = np.exp(2 * log_std)
        centre = self.signed @ mean
        spread = np.sqrt(self.signed**2 @ variance)
        step = min(WIDEST_STEP, 1 / (2 * float(spread.max())))
        noise = np.arange(-FARTHEST, FARTHEST + step, step)
        weights = np.exp(-0.5 * noise**2)
        weights /= weights.sum()
        _, surprise = _log_sigmoid(centre[:, None] + spread[:, None] * noise)
        slope, curvature = surprise @ weights, -(surprise * (1 - surprise)) @ weights
        dmean = slope @ self.signed - mean  # (logistic_regression.4)
        dlog_std = variance * (curvature @ self.signed**2 - 1)
        return np.concatenate([dmean, dlog_std])


def _log_sigmoid(logits: Array) -> tuple[Array, Array]:
    """log sigmoid(l) and its slope 1 - sigmoid(l), from one tanh as (bernoulli.3)."""
    half = 0.5 * logits
    half_tanh = np.tanh(half)
    log_sigmoid = half - np.abs(half) + np.log1p(np.abs(half_tanh)) - LOG_2
    return log_sigmoid, 0.5 - 0.5 * half_tanh


def breast_cancer() -> LogisticRegression:
    """569 tumours, 30 standardised measurements each and a one for the bias: the data scikit-learn ships.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_breast_cancer  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise InputError(
            "logistic-regression needs the data that scikit-learn ships; install it with pip install scikit-learn"
        ) from None
    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    return LogisticRegression((2.0 * labels - 1)[:, None] * features)
