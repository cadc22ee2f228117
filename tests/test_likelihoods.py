"""Likelihoods and what they see: the tables agree, and a mismatch says what would fit."""

from __future__ import annotations

import pytest

from numvae.datasets import BINARIZATIONS
from numvae.errors import InputError
from numvae.likelihoods import SEES, VIEWS, build_likelihood, require_sees


def test_every_way_to_see_data_is_one_that_can_be_made() -> None:
    assert set(VIEWS) == set(BINARIZATIONS)
    assert {view for seen in SEES.values() for view in seen} == set(VIEWS)


@pytest.mark.parametrize("binarize", VIEWS)
def test_the_likelihood_that_auto_takes_sees_what_was_made(binarize: str) -> None:
    assert binarize in SEES[VIEWS[binarize].likelihood]


@pytest.mark.parametrize("likelihood", SEES)
def test_a_likelihood_is_built_for_so_many_features(likelihood: str) -> None:
    family, head = build_likelihood(likelihood, 6, sigmoid_mean=True, least_std=0.01, fixed_std=0.1)
    assert hasattr(family, "log_prob")
    assert all(hasattr(part, "inverse") for part in head)


def test_a_mismatch_names_both_ways_out() -> None:
    with pytest.raises(InputError, match=r"use binarize 'photons', or likelihood bernoulli$"):
        require_sees("poisson", "fresh")
    require_sees("auto", "fresh")
    require_sees("poisson", "auto")
