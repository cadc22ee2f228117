"""Checks for rules, samplers and gradient estimators: the ones this package is proven by, for your own code.

Each returns a report that shows itself as a table, as HTML in a notebook and, through ``to_json``, as a dictionary;
``report.assert_ok()`` raises ``CheckError`` with one readable line.  How they work: ``derivations/checks.md``.
"""

from numvae.checks.calibration import CalibrationReport, check_calibration
from numvae.checks.pullback import ArgumentCheck, PullbackReport, check_pullback
from numvae.checks.sampler import SamplerReport, check_sampler
from numvae.checks.unbiased import ExpectationReport, UnbiasedReport, check_same_expectation, check_unbiased

__all__ = [
    "ArgumentCheck",
    "CalibrationReport",
    "ExpectationReport",
    "PullbackReport",
    "SamplerReport",
    "UnbiasedReport",
    "check_calibration",
    "check_pullback",
    "check_same_expectation",
    "check_sampler",
    "check_unbiased",
]
