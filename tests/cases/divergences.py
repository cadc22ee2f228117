"""KL divergences between two families: each with two oracles, against which it is integrated."""

from __future__ import annotations

from tests.cases.kit import Divergence

DIVERGENCES: list[Divergence] = []
