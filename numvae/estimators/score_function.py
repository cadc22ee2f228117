"""The score-function estimator (REINFORCE), which needs no derivative of f in z, with a leave-one-out baseline.

Other baselines are in ``baselines.py``.  Derivations: ``derivations/score_function.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.estimators.contract import Integrand, Reduction, Reparameterized, declares

__all__ = ["Baseline", "leave_one_out", "score_function", "with_baseline"]

Baseline: TypeAlias = Callable[[Array, Reduction], Array]
"""(values, reduce) -> for every sample a number to hold the bound against, which may look at the others: (S, B)."""


@declares(reductions=("sample_mean", "log_mean_exp"), source="Williams 1992; Kool et al. 2019; Mnih and Rezende 2016")
def score_function(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """E_q[reduce f(z)] ≈ reduce f(params, z)   (score_function.1); pullback -> (dparams, dtheta).

    Shapes: params (B, P), noise (S, B, Z), bound (B,).  The samples are held fixed; how likely they are moves:
    dparams = ∂f/∂params + Σ_s (bound - baseline_s) ∇ log q(z_s)   (score_function.2).  Unbiased for any f.
    Under ``sample_mean`` this is REINFORCE with a leave-one-out baseline (Kool et al. 2019), under ``log_mean_exp`` it
    is VIMCO with the exact leave-one-out bound (Mnih and Rezende 2016); with one sample there is nobody to leave, and
    no baseline.
    """
    return with_baseline(q, params, noise, f, reduce, leave_one_out)


def with_baseline(
    q: Reparameterized,
    params: Array,
    noise: Array,
    f: Integrand,
    reduce: Reduction,
    baseline: Baseline,
    learn: Callable[[Array, Array], None] = lambda values, dbound: None,
) -> tuple[Array, Pullback]:
    """The score function against any baseline   (score_function.2): unbiased if baseline_s does not know z_s.

    ``learn(values, dbound)`` is told on the way back what the baseline could have known.
    """
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)  # (score_function.1)
    _, log_prob_pullback = q.log_prob(params, z)
    signal = bound - baseline(values, reduce)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        dparams, _, dtheta = f_pullback(dvalues)
        learn(values, dbound)
        return dparams + log_prob_pullback(dbound * signal)[0], dtheta  # (score_function.2)

    return bound, pullback


def leave_one_out(values: Array, reduce: Reduction) -> Array:
    """For every sample the bound of the others, which does not depend on it   (score_function.3).

    values and result: (S, B).  Zero for a single sample.

    >>> from numvae.estimators import sample_mean
    >>> leave_one_out(np.array([[1.0], [3.0], [8.0]]), sample_mean)
    array([[5.5],
           [4.5],
           [2. ]])
    """
    count = len(values)
    if count == 1:
        return np.zeros_like(values)
    baseline = np.empty_like(values)
    for s in range(count):
        baseline[s], _ = reduce(np.concatenate([values[:s], values[s + 1 :]]))  # (score_function.3)
    return baseline
