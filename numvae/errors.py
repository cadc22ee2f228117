"""What can go wrong, each as one readable line; the command turns them into exit codes."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from a person: says what was wrong, what was seen and what to do.  Exit code 2."""


class CheckError(AssertionError):
    """A gradient, sampler or estimator check failed.  Exit code 1."""


class DivergedError(ArithmeticError):
    """A NaN or an infinity appeared: names the rule that made it, and the step.  Exit code 1."""
