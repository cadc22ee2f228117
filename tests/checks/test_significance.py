"""p-values against scipy.stats, and Holm's correction against its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from numvae.checks.significance import holm, ks_p_value, normal_p_value, student_p_value, t_statistic

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array)


@given(p_values, st.floats(0, 1))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: np.ndarray, level: float) -> None:
    """(checks.10)"""
    rejected = np.zeros(len(p), dtype=bool)
    for done, k in enumerate(np.argsort(p, kind="stable")):
        if (len(p) - done) * p[k] > level:
            break
        rejected[k] = True
    np.testing.assert_array_equal(holm(p) <= level, rejected | ((level >= 1) & (p <= 1)))


def test_holm_on_hand_worked_values() -> None:
    """(checks.10)"""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])


def test_p_values_agree_with_scipy() -> None:
    z = np.array([0.0, -1.0, 2.5, -8.0, 30.0])
    np.testing.assert_allclose(normal_p_value(z), 2 * stats.norm.sf(np.abs(z)), rtol=1e-12)
    np.testing.assert_allclose(student_p_value(z, 7.0), 2 * stats.t.sf(np.abs(z), 7), rtol=1e-10)
    distance = np.array([0.005, 0.01, 0.02, 0.04])
    np.testing.assert_allclose(ks_p_value(distance, 5000), stats.kstwo.sf(distance, 5000), rtol=0.02, atol=1e-6)


def test_no_noise_and_no_difference_is_no_evidence() -> None:
    rounding = np.full(3, 1e-15)
    found = t_statistic(np.array([1e-16, 0.1, 0.2]), np.array([0.0, 0.0, 0.1]), rounding)
    np.testing.assert_array_equal(found, [0.0, np.inf, 2.0])
