"""Steps of the pages on models whose latents are made of noise by one map: layers of them, and flows."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, stats
from scipy.special import expit, logsumexp, softmax

from numvae.arrays import Array
from tests.steps.bounds import Line
from tests.steps.kit import NODES, WEIGHTS, Numbers, between, gradient, jacobian, slope, step

Rng = np.random.Generator


@step("path_models.1a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """z = m + s (ε + c ε³), which is no normal; the mean over the noise, the integral over z, the evidence."""
    line, c = Line(rng), rng.uniform(0.01, 0.04)
    z = line.m + line.s * (NODES + c * NODES**3)
    q = stats.norm.pdf(NODES) / (line.s * (1 + 3 * c * NODES**2))
    left = WEIGHTS @ (np.exp(line.log_joint(z)) / q)
    at, dz = between(line.m - 12 * line.s, line.m + 12 * line.s)
    middle = dz @ np.exp(line.log_joint(at))
    return [left, left], [middle, math.exp(line.evidence)]


@step("path_models.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Four noises, three weights, both reductions."""
    noise, theta = rng.normal(size=(4, 3)), rng.normal(size=3)

    def log_w(at: Array) -> Array:
        return np.asarray(np.sin(noise @ at) - 0.3 * np.sum(at**2))

    slopes = jacobian(log_w, theta)
    left = [gradient(lambda t: float(logsumexp(log_w(t))), theta), gradient(lambda t: float(log_w(t).mean()), theta)]
    return left, [softmax(log_w(theta)) @ slopes, np.full(4, 0.25) @ slopes]


@step("layered.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two, three and two states over a datum: the posterior, and the conditionals of each layer given the one below."""
    top, middle = rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(3), 2)
    bottom, data = rng.dirichlet(np.ones(2), 3), rng.uniform(size=2)
    joint = np.einsum("c,cb,ba,a->abc", top, middle, bottom, data)  # z₁, z₂, z₃ at the datum
    without = np.einsum("c,cb,ba->abc", top, middle, bottom)
    first = joint.sum(axis=(1, 2)) / joint.sum()
    second = without.sum(axis=2) / without.sum(axis=(1, 2))[:, None]
    third = without.sum(axis=0) / without.sum(axis=(0, 2))[:, None]
    return joint / joint.sum(), np.einsum("a,ab,bc->abc", first, second, third)


@step("layered.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The long way in two parts, and both at once; 1 is added to all."""
    m, log_std, e = rng.normal(size=3)
    std = math.exp(log_std)
    z = m + std * e

    def log_q(z: float, m: float, log_std: float) -> float:
        return -0.5 * ((z - m) / math.exp(log_std)) ** 2 - log_std

    by_z = slope(lambda t: log_q(t, m, log_std), z)
    parts = [
        [slope(lambda t: log_q(z, t, log_std), m), by_z],
        [slope(lambda t: log_q(z, m, t), log_std), by_z * std * e],
    ]
    whole = [
        slope(lambda t: log_q(t + std * e, t, log_std), m),
        slope(lambda t: log_q(m + math.exp(t) * e, m, t), log_std),
    ]
    right = [e / std, -e / std, e**2 - 1, -(e**2), 0, -1]
    return 2 + np.array([*parts[0], *parts[1], *whole]), 2 + np.array(right)


@step("flows.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """z' = z + c tanh z, whose density is the slope of its distribution; and a linear map of two numbers."""
    c, z = rng.uniform(-0.8, 3), rng.normal()
    moved = z + c * math.tanh(z)

    def below(at: float) -> float:
        """P(Z' < at): the place that is moved there is searched for."""
        return float(stats.norm.cdf(optimize.brentq(lambda t: t + c * math.tanh(t) - at, -30, 30, xtol=1e-14)))

    density = slope(below, moved, first=0.02)
    A, pair = rng.normal(size=(2, 2)), rng.normal(size=2)
    linear = stats.multivariate_normal(np.zeros(2), A @ A.T).pdf(A @ pair)
    left = [stats.norm.pdf(z), stats.norm.pdf(pair).prod()]
    return left, [density * (1 + c / math.cosh(z) ** 2), linear * abs(np.linalg.det(A))]


@step("planar.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    u, w, z, b = *rng.normal(size=(3, 3)), rng.normal()
    s = 1 - math.tanh(w @ z + b) ** 2
    return jacobian(lambda t: t + u * np.tanh(w @ t + b), z), np.eye(3) + s * np.outer(u, w)


def constrained(a: float) -> float:
    """m(a) of the planar step."""
    return math.log(1 + (math.e - 1) * math.exp(a)) - 1


@step("planar.5a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a = 2 * rng.normal()
    second = math.log(math.exp(-a) + math.e - 1) - 1
    return [constrained(a) - a] * 2, [second, math.log(1 + (math.exp(-a) - 1) / math.e)]


@step("planar.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The slope on the left is of the form without cancellation, on the sign of a that it has."""
    left, middle, right = [], [], []
    for a in (rng.exponential(), -rng.exponential()):
        k = 1 / math.e if a >= 0 else 1 - 1 / math.e
        left.append(slope(lambda t, k=k: max(-t, 0) + math.log(1 + k * math.expm1(-abs(t))), a, first=abs(a) / 9))
        middle.append(-1 / (1 + (math.e - 1) * math.exp(a)))
        right.append(-float(expit(-a - math.log(math.e - 1))))
    slopes_of_m = [slope(constrained, 0.3) - 1, -1 / (1 + (math.e - 1) * math.exp(0.3))]
    return [*left, *left, slopes_of_m[0]], [*middle, *right, slopes_of_m[1]]


@step("autoregressive.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Four latents; shift and gate of each by those before it. The Jacobian's diagonal, and what lies above."""
    seen = np.triu(np.ones((4, 4)), 1)
    A, B, z = *(rng.normal(size=(2, 4, 4)) * seen), rng.normal(size=4)

    def gate(at: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-(np.sin(at @ B) + 2))))

    J = jacobian(lambda t: gate(t) * t + (1 - gate(t)) * np.tanh(t @ A), z)
    above = J[np.triu_indices(4, 1)]
    assert np.all(np.abs(J[np.tril_indices(4, -1)]) > 0)
    return [*np.diag(J), *above], [*gate(z), *np.zeros(6)]
