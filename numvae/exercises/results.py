"""A trial in the form of Exercism's ``results.json``, version 3, with the credit earned.

The form: https://exercism.org/docs/building/tooling/test-runners/interface
"""

from __future__ import annotations

from typing import Any

from numvae.exercises.contract import Exercise
from numvae.exercises.sandbox import Trial

__all__ = ["results"]

LONGEST_OUTPUT = 500
TRUNCATED = "\nOutput was truncated. Please limit to 500 chars"


def results(exercise: Exercise, trial: Trial) -> dict[str, Any]:
    """The status of the whole, a message where nothing could be tried, and the tests one by one.

    Two keys more than the form has: ``score``, the fraction of the tests that pass, and ``diagnosis``.

    >>> from numvae.exercises.ladder.normal_kl import EXERCISE
    >>> found = results(EXERCISE, Trial(crash="normal_kl.py, line 3: SyntaxError: '(' was never closed"))
    >>> found["status"], found["message"], found["score"]
    ('error', "normal_kl.py, line 3: SyntaxError: '(' was never closed", 0.0)
    """
    tests: list[dict[str, Any]] = [
        {
            "name": test["name"],
            "status": test["status"],
            "message": test["message"] or None,
            "test_code": f"{exercise.name}{exercise.signature}",
        }
        for test in trial.tests
    ]
    passed = sum(test["status"] == "pass" for test in tests)
    ran = any(test["status"] != "error" for test in tests)
    if trial.output and tests:  # which of them made it print is not known: it stands at the first to look at
        first = next((test for test in tests if test["status"] != "pass"), tests[0])
        first["output"] = _limited(trial.output)
    return {
        "version": 3,
        "status": "pass" if trial.ok else "fail" if ran else "error",
        "message": None if ran else trial.crash or trial.text,
        "tests": tests,
        "score": passed / len(tests) if tests else 0.0,
        "diagnosis": {"kind": trial.kind, "text": trial.text, "misconceptions": list(trial.misconceptions)},
    }


def _limited(output: str) -> str:
    if len(output) <= LONGEST_OUTPUT:
        return output
    return output[: LONGEST_OUTPUT - len(TRUNCATED)] + TRUNCATED
