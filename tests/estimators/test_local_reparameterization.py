"""Local reparameterisation: the law of sampled weights, row by row, with rows made independent."""

from __future__ import annotations

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.estimators.local_reparameterization import local_reparameterization
from tests.cases import NOISE, Case, noise, reals
from tests.estimators.rule_proofs import by_name, every_proof

LABELS = "local_reparameterization.1 local_reparameterization.2"
WEIGHTS = (reals("D, Z"), reals("D, Z"), reals("B, D"))
CASES = [
    Case("of samples", LABELS, local_reparameterization, (*WEIGHTS, NOISE), "S, B, Z"),
    Case("of one sample", LABELS, local_reparameterization, (*WEIGHTS, noise("B, Z")), "B, Z"),
]
MEAN = np.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 0.1]])
LOG_STD = np.array([[-0.5, 0.2], [-1.0, -0.3], [0.4, -2.0]])
X = np.array([[1.0, -2.0, 0.5], [0.3, 1.5, -1.0]])


@every_proof
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_it_is_a_rule(case: Case, proof: object) -> None:
    proof(case)  # type: ignore[operator]


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_the_pullback_is_the_derivative(case: Case) -> None:
    """(local_reparameterization.2)."""
    rng = np.random.default_rng(0)
    arguments = [rng.standard_normal(shape) for shape in ((3, 2), (3, 2), (4, 3), (7, 4, 2))]
    if case.gives == "B, Z":
        arguments[3] = arguments[3][0]
    check_pullback(local_reparameterization, *arguments, rng=rng).assert_ok()


def sampled_weights(draws: int) -> Array:
    """y = x W with one W for both rows of X, drawn many times: (draws, 2, 2)."""
    W = MEAN + np.exp(LOG_STD) * np.random.default_rng(0).standard_normal((draws, 3, 2))
    return X @ W


def covariance(y: Array) -> Array:
    """Of (row, output) with (row, output): (4, 4)."""
    return np.cov(y.reshape(len(y), 4), rowvar=False)


def test_each_row_has_the_law_of_sampled_weights_and_rows_are_independent() -> None:
    """Means and variances are those of x W; the covariance between rows, x_b x_c V, is zero here."""
    draws = 200_000
    ours, _ = local_reparameterization(MEAN, LOG_STD, X, np.random.default_rng(1).standard_normal((draws, 2, 2)))
    theirs = sampled_weights(draws)
    variance = np.exp(2 * LOG_STD)
    between = np.diag((X[0] * X[1]) @ variance)
    exact = np.diag(((X * X) @ variance).ravel())
    for y, off_diagonal in ((ours, np.zeros((2, 2))), (theirs, between)):
        exact[:2, 2:] = exact[2:, :2] = off_diagonal
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)) / draws)
        np.testing.assert_array_less(np.abs(covariance(y) - exact), 5 * np.sqrt(2) * scale)
        error = np.sqrt(np.diag(exact) / draws).reshape(2, 2)
        np.testing.assert_array_less(np.abs(y.mean(axis=0) - X @ MEAN), 5 * error)


def test_the_gradient_of_a_batch_has_less_variance_than_with_shared_weights() -> None:
    """Σ_b y_b, whose variance under shared weights has the rows' covariance in it, for rows that point one way."""
    x = np.abs(X)
    noise = np.random.default_rng(1).standard_normal((50_000, 2, 2))
    local, _ = local_reparameterization(MEAN, LOG_STD, x, noise)
    shared = x @ (MEAN + np.exp(LOG_STD) * np.random.default_rng(0).standard_normal((50_000, 3, 2)))
    variance = np.exp(2 * LOG_STD)
    np.testing.assert_allclose(local.sum(axis=1).var(axis=0), (x * x).sum(axis=0) @ variance, rtol=0.05)
    np.testing.assert_allclose(shared.sum(axis=1).var(axis=0), x.sum(axis=0) ** 2 @ variance, rtol=0.05)


def test_a_row_of_zeros_gives_zeros() -> None:
    """Where there is no spread the square root has no slope; the limit, zero, is what is wanted."""
    for dtype in (np.float32, np.float64):
        x = np.zeros((1, 3), dtype)
        y, pullback = local_reparameterization(
            MEAN.astype(dtype), LOG_STD.astype(dtype) + dtype(10), x, np.ones((1, 2), dtype)
        )
        dmean, dlog_std, dx, _ = pullback(np.ones((1, 2), dtype))
        assert not y.any()
        assert not dmean.any()
        assert not dlog_std.any()
        np.testing.assert_allclose(dx[0], MEAN.sum(axis=1), rtol=1e-6)


def test_a_gradient_that_forgets_the_two_of_log_std_is_noticed() -> None:
    """The planted bug: ∂V/∂log_std = V for 2 V."""

    def forgetful(*arguments: Array) -> tuple[Array, object]:
        y, pullback = local_reparameterization(*arguments)

        def wrong(dy: Array) -> tuple[Array, Array, Array, None]:
            dmean, dlog_std, dx, _ = pullback(dy)
            return dmean, dlog_std / 2, dx, None

        return y, wrong

    rng = np.random.default_rng(0)
    arguments = (MEAN, LOG_STD, X, rng.standard_normal((2, 2)))
    assert not check_pullback(forgetful, *arguments, rng=rng).ok  # type: ignore[arg-type]
