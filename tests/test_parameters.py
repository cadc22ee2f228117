"""The flat vector of weights and its layout."""

from __future__ import annotations

import numpy as np
import pytest

from numvae import Layout, initial_theta, mlp_vae
from numvae.parameters import glorot, small_normal, wide_normal

LAYER = Layout.of({"W": (2, 3), "b": (3,)})
MODEL = Layout.of({"encoder": LAYER, "decoder": LAYER})


def test_views_are_windows_into_theta_and_cover_it_once() -> None:
    theta = np.zeros(MODEL.size)
    for view in MODEL.views(theta).values():
        view += 1
    np.testing.assert_array_equal(theta, 1)
    for _, leaf in MODEL.leaves(theta):
        leaf += 1
    np.testing.assert_array_equal(theta, 2)


def test_nested_views_are_flat_and_leaves_have_dotted_names_and_shapes() -> None:
    theta = np.arange(18.0)
    assert MODEL.views(theta)["decoder"].shape == (9,)
    leaves = dict(MODEL.leaves(theta))
    assert {name: leaf.shape for name, leaf in leaves.items()} == {
        "encoder.W": (2, 3),
        "encoder.b": (3,),
        "decoder.W": (2, 3),
        "decoder.b": (3,),
    }
    np.testing.assert_array_equal(leaves["decoder.b"], [15, 16, 17])


def test_layouts_repr_round_trips_and_layouts_compare_by_value() -> None:
    assert eval(repr(MODEL), {"Layout": Layout}) == MODEL


def test_initial_theta_is_reproducible_and_starts_float32_at_the_same_point() -> None:
    layout = mlp_vae(6, latents=2, hidden=(4,)).layout
    first, again = (initial_theta(layout, rng=np.random.default_rng(0)) for _ in range(2))
    single = initial_theta(layout, rng=np.random.default_rng(0), dtype=np.float32)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(single, first.astype(np.float32))
    assert single.dtype == np.float32


def test_biases_start_at_zero_and_matrices_do_not() -> None:
    layout = mlp_vae(6, latents=2, hidden=(4,)).layout
    for name, leaf in layout.leaves(initial_theta(layout, rng=np.random.default_rng(0))):
        assert np.any(leaf) == name.endswith(".W"), name


@pytest.mark.parametrize(("weights", "std"), [(glorot, np.sqrt(2 / 700)), (small_normal, 0.01), (wide_normal, 0.1)])
def test_matrices_start_with_the_standard_deviation_of_their_source(weights: object, std: float) -> None:
    """Sqrt(2 / (m + n)) (parameters.1), and 0.01 (parameters.2)."""
    layout = Layout.of({"W": (300, 400)})
    theta = initial_theta(layout, rng=np.random.default_rng(0), weights=weights)  # type: ignore[arg-type]
    assert abs(theta.std() / std - 1) < 4 / np.sqrt(2 * theta.size)
    assert abs(theta.mean()) < 4 * std / np.sqrt(theta.size)
