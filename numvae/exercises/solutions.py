"""A solution as a learner would write it: a file of its own."""

from __future__ import annotations

import ast
import inspect
import re
import sys

from numvae.exercises.contract import Exercise

__all__ = ["solution_file"]


def solution_file(exercise: Exercise) -> str:
    """The solution, below the imports that it needs, without what speaks only to a type checker.

    >>> from numvae.exercises.ladder.normal_kl import EXERCISE
    >>> solution_file(EXERCISE).splitlines()[:4]
    ['import numpy as np', '', '', 'def normal_kl(mean, log_std, alpha):']
    """
    solution = re.sub(r" *# type: ignore\[.*?\]", "", exercise.solution_source)
    used = {node.id for node in ast.walk(ast.parse(solution)) if isinstance(node, ast.Name)}
    module = ast.parse(inspect.getsource(sys.modules[exercise.solution.__module__]))
    imports = [
        ast.unparse(line) for line in module.body if isinstance(line, ast.Import | ast.ImportFrom) and _of(line) & used
    ]
    return "\n".join(imports) + "\n\n\n" + solution


def _of(line: ast.Import | ast.ImportFrom) -> set[str]:
    """The names that an import defines."""
    return {(alias.asname or alias.name).split(".")[0] for alias in line.names}
