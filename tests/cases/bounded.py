"""Families on intervals: some of their supports move with the parameters."""

from __future__ import annotations

from tests.cases.kit import Case, Divergence, Family

CASES: list[Case] = []
FAMILIES: list[Family] = []
DIVERGENCES: list[Divergence] = []
