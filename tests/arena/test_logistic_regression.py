"""Bayesian logistic regression: derivatives, and the exact gradient of its expectation."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest

from numvae import Normal
from numvae.arena.logistic_regression import LogisticRegression, breast_cancer
from numvae.arena.truth import exact_gradient
from numvae.checks import check_pullback
from numvae.errors import InputError
from tests.oracles import gradient_of

ROWS = np.array([[0.8, -1.2], [-0.4, 0.3], [1.5, 0.9], [-0.2, -2.0], [0.6, 1.0]])
SMALL = LogisticRegression(ROWS)
PARAMS = np.array([0.4, -0.7, -0.3, 0.2])


def test_slope_in_the_weights() -> None:
    """(logistic_regression.2)."""

    def rule(z: Any) -> Any:
        values, pullback = SMALL(PARAMS, z)
        return values, lambda dvalues: (pullback(dvalues)[1],)

    check_pullback(rule, np.random.default_rng(0).standard_normal((2, 3, 2))).assert_ok()


def test_value_is_the_log_joint() -> None:
    """(logistic_regression.1), against scipy."""
    from scipy.special import log_expit
    from scipy.stats import norm

    z = np.array([[[0.3, -1.1]]])
    expected = log_expit(ROWS @ z.ravel()).sum() + norm.logpdf(z).sum()
    assert SMALL(PARAMS, z)[0].item() == pytest.approx(expected, rel=1e-14)
    assert np.isfinite(SMALL(PARAMS, 1e4 * z)[0]).all()


def test_hessian_product_is_the_slope_of_the_slope() -> None:
    """(logistic_regression.3)."""
    z, direction = np.array([0.3, -1.1]), np.array([0.7, 0.4])

    def slope_along(point: np.ndarray) -> float:
        return float(SMALL(PARAMS, point[None, None])[1](np.ones((1, 1)))[1].ravel() @ direction)

    product = SMALL.hessian_product(PARAMS, z[None, None], direction[None, None])
    np.testing.assert_allclose(product.ravel(), gradient_of(slope_along, z), atol=1e-9)


@pytest.mark.parametrize("log_std", [-1.0, 0.0, 1.0])
def test_gradient_by_one_dimension_is_that_of_quadrature_over_all(log_std: float) -> None:
    """(logistic_regression.4)."""
    params = np.array([0.4, -0.7, log_std - 0.3, log_std])
    quadrature = exact_gradient(Normal(), params[None], SMALL, 2)
    tolerance = {-1.0: 1e-9, 0.0: 1e-7, 1.0: 0.02}[log_std]  # of the quadrature: it resolves wide normals badly
    np.testing.assert_allclose(SMALL.gradient(params), quadrature, atol=tolerance)


def test_float32_stays() -> None:
    values, pullback = SMALL(PARAMS, np.zeros((1, 1, 2), np.float32))
    assert values.dtype == np.float32
    assert pullback(np.ones((1, 1), np.float32))[1].dtype == np.float32


def test_breast_cancer_has_31_weights() -> None:
    pytest.importorskip("sklearn")
    f = breast_cancer()
    assert f.signed.shape == (569, 31)
    assert set(f.signed[:, -1]) == {-1.0, 1.0}
    features = f.signed[:, :-1] * f.signed[:, -1:]
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(features.std(axis=0), 1)


def test_without_scikit_learn_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return importing(name, *rest)

    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        breast_cancer()
