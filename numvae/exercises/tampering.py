"""Whether code that was run has put something of its own in the place of what a check relies on.

This catches accidents (``np.sum = 0``) and idle tricks, not a determined cheat: who shares an interpreter shares all.
"""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

__all__ = ["Snapshot", "first_change", "snapshot"]

Snapshot: TypeAlias = dict[tuple[str, str], tuple[Any, Any]]
"""(owner, name) -> what stood there, and its code where it is a function."""

WATCHED = ("builtins", "math", "json", "numpy", "numpy.linalg", "numpy.random")


def snapshot() -> Snapshot:
    """What the loaded modules of numvae, their classes, NumPy's main ones and the builtins hold now."""
    return {
        (owner, name): (value, _code(value))
        for owner, names in _owners().items()
        for name, value in names.items()
        if not isinstance(value, ModuleType) and name != "_"  # what the interpreter showed last
    }


def first_change(before: Snapshot) -> str:
    """The dotted name of something that is not what it was, "" where all is; what has been added does not count.

    >>> import math
    >>> before, pi = snapshot(), math.pi
    >>> math.pi = 3
    >>> first_change(before)
    'math.pi'
    >>> math.pi = pi
    >>> first_change(before)
    ''
    """
    owners = _owners()
    for (owner, name), (value, code) in before.items():
        now = owners.get(owner, {}).get(name)
        if now is not value or _code(now) is not code:
            return f"{owner}.{name}"
    return ""


def _owners() -> dict[str, dict[str, Any]]:
    """Modules, and the classes that numvae defines, with their names."""
    modules = {
        name: dict(getattr(module, "__dict__", {}))  # whoever tampers may have put anything there
        for name, module in sys.modules.items()
        if name in WATCHED or name.split(".")[0] == "numvae"
    }
    classes = {
        f"{name}.{value.__name__}": dict(vars(value))
        for name, names in modules.items()
        for value in names.values()
        if isinstance(value, type) and value.__module__ == name and name.startswith("numvae")
    }
    return modules | classes


def _code(value: Any) -> Any:
    return value.__code__ if isinstance(value, FunctionType) else None
