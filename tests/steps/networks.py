"""Steps of the pages on layers, weights, gradients and what is done with them."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy.special import expit

from numvae.arrays import Array
from tests.steps.kit import Numbers, bits, gradient, mean, slope, step

Rng = np.random.Generator


def some_function(rng: Rng) -> tuple[Array, Array, Array]:
    """y = tanh(x A): x, its Jacobian by differences, and A."""
    A, x = rng.normal(size=(3, 4)), rng.normal(size=3)
    return x, np.stack([gradient(lambda t, j=j: math.tanh(t @ A[:, j]), x) for j in range(4)]), A


@step("notation.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, jacobian, A = some_function(rng)
    dy, change = rng.normal(size=4), rng.normal(size=3)
    dx = ((1 - np.tanh(x @ A) ** 2) * dy) @ A.T
    return dx @ change, dy @ (jacobian @ change)


@step("notation.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, jacobian, A = some_function(rng)
    dy = rng.normal(size=4)
    return jacobian.T @ dy, gradient(lambda t: dy @ np.tanh(t @ A), x)


@step("notation.1c")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, dy = rng.normal(size=2), rng.normal(size=(5, 2))
    return gradient(lambda t: float(np.sum(dy * np.broadcast_to(t, (5, 2)))), x), dy.sum(axis=0)


@step("layers.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    W, b, x, dy = (rng.normal(size=size) for size in ((3, 2), 2, (5, 3), (5, 2)))
    to_W, to_b, to_x = rng.normal(size=W.shape), rng.normal(size=b.shape), rng.normal(size=x.shape)
    left = slope(lambda t: float(np.sum(dy * ((x + t * to_x) @ (W + t * to_W) + b + t * to_b))), 0.0)
    return left, np.sum(x.T @ dy * to_W) + dy.sum(axis=0) @ to_b + np.sum(dy @ W.T * to_x)


@step("parameters.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two layers in one vector: its gradient, and the pieces' one after the other."""
    W, b, upper, x, dy = (rng.normal(size=size) for size in ((3, 2), 2, (2, 4), (5, 3), (5, 4)))
    theta = np.concatenate([W.ravel(), b, upper.ravel()])

    def objective(theta: Array) -> float:
        W, b, upper = np.split(theta, [6, 8])
        return float(np.sum(dy * (np.tanh(x @ W.reshape(3, 2) + b) @ upper.reshape(2, 4))))

    h = np.tanh(x @ W + b)
    da = dy @ upper.T * (1 - h**2)
    pieces = x.T @ da, da.sum(axis=0), h.T @ dy
    return gradient(objective, theta), np.concatenate([piece.ravel() for piece in pieces])


@step("parameters.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """m = 2 inputs, n = 3 outputs; every sign of every weight, so that each weight has mean 0 and variance w."""
    m, n, w, v, dv = 2, 3, *rng.uniform(0.2, 3, 3)
    signs = np.array(list(product((-1.0, 1.0), repeat=m * n))).reshape(-1, m, n) * math.sqrt(w)
    inputs = np.array(list(product((-1.0, 1.0), repeat=m))) * math.sqrt(v)
    back = np.array(list(product((-1.0, 1.0), repeat=n))) * math.sqrt(dv)
    y = np.einsum("bm,wmn->wbn", inputs, signs)
    dx = np.einsum("bn,wmn->wbm", back, signs)
    return [y.var(), dx.var()], [m * w * v, n * w * dv]


class Counted:
    """A number that only counts how often it is multiplied."""

    products = 0

    def __mul__(self, other: Counted) -> Counted:
        Counted.products += 1
        return self

    def __add__(self, other: Counted) -> Counted:
        return self


@step("networks.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The multiplications of x W, and of the two products on the way back, one by one; each goes with an addition."""
    B, m, n = (int(size) for size in rng.integers(1, 7, 3))
    x, W, dy = (np.full(shape, Counted()) for shape in ((B, m), (m, n), (B, n)))

    def flops(first: Array, second: Array) -> int:
        before = Counted.products
        np.matmul(first, second)
        return 2 * (Counted.products - before)

    forward, backward = flops(x, W), flops(x.T, dy) + flops(dy, W.T)
    return [forward / (B * m * n), backward / forward], [2, 2]


@step("schedules.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """One step of ascent: a weight of mean zero that takes two values, and normal noise."""
    a, alpha, sigma, V = rng.uniform(0.2, 1.5, 4)
    moved = [mean(lambda e, t=t: (t + alpha * (-a * t + sigma * e)) ** 2) for t in (math.sqrt(V), -math.sqrt(V))]
    return np.mean(moved), (1 - alpha * a) ** 2 * V + alpha**2 * sigma**2


@step("schedules.7a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    g = rng.uniform(0.3, 4)
    return [sum(g**k for k in range(j)) for j in range(1, 8)], [(g**j - 1) / (g - 1) for j in range(1, 8)]


@step("checks.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Why the root sum of squares: it is how large ⟨da, u⟩ is over all signs of a direction."""
    da, lengths = rng.normal(size=6), rng.uniform(0.5, 1, 6)
    directions = (2 * bits(6) - 1) * lengths
    return np.sqrt(np.mean((directions @ da) ** 2)), np.linalg.norm(da * lengths)


@step("control_variates.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """One affine layer a = h W + b and its slope along a path, ȧ = ḣ W: values, weights and both inputs."""
    h, dot_h, W, b, da, d_dot = (rng.normal(size=size) for size in ((5, 3), (5, 3), (3, 2), 2, (5, 2), (5, 2)))
    sizes = [h.size, dot_h.size, W.size, b.size]
    point = np.concatenate([part.ravel() for part in (h, dot_h, W, b)])

    def objective(t: Array) -> float:
        h, dot_h, W, b = np.split(t, np.cumsum(sizes)[:-1])
        h, dot_h, W = h.reshape(5, 3), dot_h.reshape(5, 3), W.reshape(3, 2)
        return float(np.sum(da * (h @ W + b)) + np.sum(d_dot * (dot_h @ W)))

    right = da @ W.T, d_dot @ W.T, h.T @ da + dot_h.T @ d_dot, da.sum(axis=0)
    return gradient(objective, point), np.concatenate([part.ravel() for part in right])


@step("local_reparameterization.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Weights of any mean, each with its variance: all signs."""
    V, means, (x_b, x_c) = rng.uniform(0.2, 2, 3), rng.normal(size=3), rng.normal(size=(2, 3))
    weights = means + (2 * bits(3) - 1) * np.sqrt(V)
    y_b, y_c = weights @ x_b, weights @ x_c
    return np.mean(y_b * y_c) - y_b.mean() * y_c.mean(), np.sum(x_b * x_c * V)


@step("local_reparameterization.1b")
@step("full_variational_bayes.6b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Any four correlated numbers; the mean covariance is over pairs of different rows."""
    L = rng.normal(size=(9, 4))
    covariance = np.cov(L, rowvar=False, bias=True)
    pairs = covariance[~np.eye(4, dtype=bool)].mean()
    return L.mean(axis=1).var(), np.diag(covariance).mean() / 4 + 3 / 4 * pairs


@step("gradient_noise.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Three rows, four noises, gradients of two numbers: all outcomes."""
    g = rng.normal(size=(3, 4, 2))
    squares = np.mean([np.sum(g[i] ** 2, axis=-1).mean() for i in range(3)])
    shared = np.mean([g[i, n] @ g[i, m] for i in range(3) for n in range(4) for m in range(4)])
    apart = np.mean([g[i, n] @ g[j, m] for i in range(3) for j in range(3) for n in range(4) for m in range(4)])
    of_rows = np.mean(np.sum(g.mean(axis=1) ** 2, axis=-1))
    return [squares, shared, apart], [np.sum(g**2, axis=-1).mean(), of_rows, np.sum(g.mean(axis=(0, 1)) ** 2)]


@step("gradient_noise.7a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    c_0, c_1, v_m, v_s, L = rng.uniform(0.2, 3, 5)
    return (c_0 + c_1 * L) * (v_m + v_s / L), c_0 * v_m + c_1 * v_s + c_1 * v_m * L + c_0 * v_s / L


@step("factor_analysis.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """One latent of a law of two values for each of four rows, three features."""
    z, chance, w, v, r = rng.normal(size=(4, 2)), rng.dirichlet(np.ones(2), 4), *rng.normal(size=(1, 3)), None, None
    v, r = rng.uniform(0.3, 2, 3), rng.normal(size=(4, 3))
    density = -0.5 * np.log(2 * np.pi * v) - (r[:, None] - z[..., None] * w) ** 2 / (2 * v)
    left = np.sum(chance[..., None] * density)
    squares = np.sum(chance[..., None] * (r[:, None] - z[..., None] * w) ** 2, axis=(0, 1))
    return left, np.sum(-4 / 2 * np.log(2 * np.pi * v) - squares / (2 * v))


class SampleGradient:
    """The review's model: two latents, four features."""

    def __init__(self, rng: Rng) -> None:
        self.W, self.b, self.x, self.noise = (rng.normal(size=size) for size in ((2, 4), 4, 4, 2))
        self.mean, self.rho = rng.normal(size=(2, 2))
        self.alpha, self.beta = rng.uniform(0.3, 3, 2)

    def activation(self, rho: Array) -> Array:
        return np.asarray((self.mean + np.exp(rho / 2) * self.noise) @ self.W + self.b)

    def fit(self, activation: Array) -> float:
        return float(-self.beta / 2 * np.sum((self.x - expit(activation)) ** 2))

    def slopes(self) -> Array:
        s = expit(self.activation(self.rho))
        return np.asarray(self.beta * (self.x - s) * s * (1 - s))


@step("sample_gradient.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    model = SampleGradient(rng)
    return gradient(model.fit, model.activation(model.rho)), model.slopes()


@step("sample_gradient.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    model = SampleGradient(rng)

    def bound(rho: Array) -> float:
        return float(model.fit(model.activation(rho)) + 0.5 * np.sum(rho) - model.alpha / 2 * np.sum(np.exp(rho)))

    variance = np.exp(model.rho)
    right = 0.5 * np.sqrt(variance) * model.noise * (model.W @ model.slopes()) + 0.5 - model.alpha / 2 * variance
    return gradient(bound, model.rho), right
