"""One straight-line page against the rules: the same bound and the same gradients, from code that shares nothing."""

from __future__ import annotations

import ast
import inspect

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numvae import elbo, mlp_vae, one_page
from numvae.arrays import Array
from tests.cases import Sizes
from tests.strategies import sizes


def to_theta(p: dict[str, Array]) -> Array:
    """The page's ten arrays in the order of the model's flat vector; its two heads side by side are one matrix."""
    heads, head_biases = np.hstack([p["W2"], p["W3"]]), np.hstack([p["b2"], p["b3"]])
    pieces = (p["W1"], p["b1"], heads, head_biases, p["W4"], p["b4"], p["W5"], p["b5"])
    return np.concatenate([piece.ravel() for piece in pieces])


def one_page_weights(n: Sizes, rng: np.random.Generator) -> dict[str, Array]:
    """Weights in the page's form."""
    layers = {"1": (n.D, n.H), "2": (n.H, n.Z), "3": (n.H, n.Z), "4": (n.Z, n.H), "5": (n.H, n.D)}
    p = {f"W{name}": 0.5 * rng.standard_normal(shape) for name, shape in layers.items()}
    return p | {f"b{name}": rng.standard_normal(shape[1]) for name, shape in layers.items()}


@given(n=sizes(), seed=st.integers(0, 2**32 - 1))
def test_the_page_and_the_rules_agree_in_value_and_every_gradient(n: Sizes, seed: int) -> None:
    """(objectives.2), (objectives.3)."""
    rng = np.random.default_rng(seed)
    p = one_page_weights(n, rng)
    x, noise = rng.integers(2, size=(n.B, n.D)).astype(float), rng.standard_normal((n.B, n.Z))
    model = mlp_vae(n.D, latents=n.Z, hidden=(n.H,))
    bound, gradient = one_page.elbo_and_gradient(p, x, noise)
    value, pullback = elbo(model, to_theta(p), x, noise[None])
    dtheta, _, _ = pullback(np.ones(n.B))
    np.testing.assert_allclose(value, bound, rtol=1e-12)
    expected = to_theta(gradient)
    np.testing.assert_allclose(dtheta, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def test_the_page_imports_nothing_of_numvae() -> None:
    """Only then is it an oracle."""
    tree = ast.parse(inspect.getsource(one_page))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"__future__", "numpy", "numpy.typing"}
