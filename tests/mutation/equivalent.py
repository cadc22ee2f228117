"""Mutants that no test can tell, each with the reason: the mutated program computes the same."""

from __future__ import annotations

from tests.mutation.results import Key

EQUIVALENT: dict[Key, str] = {
    (
        "numvae/estimators/local_reparameterization.py",
        "local_reparameterization.<locals>.pullback",
        "least = float(np.finfo(std.dtype).tiny) ** 0.5",
        "factor 2: float(np.finfo(std.dtype).tiny) ** 0.5",
    ): "only rows of zeros are below it, and what is divided by it is multiplied by their zeros",
    (
        "numvae/distributions/multivariate_normal.py",
        "_gathered",
        "diagonal, ddiagonal = (np.diagonal(array, axis1=-2, axis2=-1) for array in (factor, dfactor))",
        "sign: np.diagonal(array, axis1=-2, axis2=-1)",
    ): "it turns the sign of both, of which only the product is used",
    (
        "numvae/distributions/student_t.py",
        "StudentT.quantile",
        "size = np.exp(log_scale - 0.5 * log_x) * np.sqrt(2 * half_dof * rest)",
        "sign: np.exp(log_scale - 0.5 * log_x) * np.sqrt(2 * half_dof * rest)",
    ): "copysign takes the size alone",
}
"""A mutant's key -> why it is none."""
