"""The case table: one line per rule, over which the proofs are written once.

``kit.py`` says what a line is made of; the other files hold the lines.  A case's labels become the test's id, so that
``pytest -k normal.3`` runs the proofs of an equation.
"""

from tests.cases import bounded, composition, divergences, inverse_cdf, likelihoods, location_scale, rules
from tests.cases.kit import *  # noqa: F403
from tests.cases.rules import ESTIMATIONS, estimate, estimated, log_ratio

FAMILY_TABLES = (location_scale, inverse_cdf, composition, bounded, likelihoods)
CASES = [case for table in (rules, *FAMILY_TABLES, divergences) for case in table.CASES]
FAMILIES = [family for table in FAMILY_TABLES for family in table.FAMILIES]
DIVERGENCES = [divergence for table in (*FAMILY_TABLES, divergences) for divergence in table.DIVERGENCES]

__all__ = ["CASES", "DIVERGENCES", "ESTIMATIONS", "FAMILIES", "estimate", "estimated", "log_ratio"]
