"""Steps of the pages that estimate log p(x): with samples of q, of the posterior, and along a path between the two."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from scipy import stats

from numvae.arrays import Array
from tests.steps.bounds import Line
from tests.steps.kit import WEIGHTS, Numbers, between, excess, integral, step

Rng = np.random.Generator


def draws(rng: Rng, values: Array, count: int) -> tuple[Array, Array]:
    """All outcomes of so many draws from a law over these values, draws first, and how likely each is."""
    chances = rng.dirichlet(np.ones(len(values)))
    index = np.stack([axis.ravel() for axis in np.meshgrid(*[range(len(values))] * count)])
    return values[index], np.prod(chances[index], axis=0)


def around(law: Any) -> tuple[Array, Array]:
    """Nodes and weights of an integral over all that a normal reaches, and its square over another normal as well."""
    return between(law.mean() - 14 * law.std(), law.mean() + 14 * law.std())


@step("importance.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Three groups of two."""
    w = rng.exponential(size=6)
    groups = w.reshape(3, 2).mean(axis=1)
    whole = math.log(groups.mean())
    return [excess(np.log(groups).mean(), whole)[0], whole], [0, math.log(w.mean())]


@step("importance.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The moments by all outcomes of three draws, the series by its coefficients on a circle around p."""
    w, chance = draws(rng, rng.exponential(size=3), 3)
    p = chance @ w[0]
    r = w.mean(axis=0) / p - 1
    v = (chance @ w[0] ** 2 - p**2) / p**2
    circle = 0.5 * np.exp(2j * np.pi * np.arange(128) / 128)
    series = [np.mean(np.log(p * (1 + circle)) / circle**n).real for n in range(3)]
    return [1 + chance @ r, chance @ r**2, *series], [1, v / 3, math.log(p), 1, -0.5]


@step("power_means.3a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line = Line(rng)
    p, left = math.exp(line.evidence), WEIGHTS @ np.exp(2 * line.log_w)
    ratio = line.posterior.pdf(line.z) / line.q.pdf(line.z)
    z, dz = around(line.posterior)
    middle = dz @ (line.posterior.pdf(z) ** 2 / line.q.pdf(z))
    return [left, left], [p**2 * middle, p**2 * (1 + WEIGHTS @ (ratio - 1) ** 2)]


@step("power_means.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Up to three draws of a weight with three values: the first is the ELBO, each next is higher, none above M_t."""
    values, t, seed = rng.exponential(size=3), rng.uniform(0.2, 3), int(rng.integers(1000))
    outcomes = [draws(np.random.default_rng(seed), values, count) for count in (1, 2, 3)]
    means = [float(chance @ np.log(np.mean(w**t, axis=0))) / t for w, chance in outcomes]
    (single,), chance = outcomes[0]
    bound, limit = chance @ np.log(single), math.log(chance @ single**t) / t
    return [means[0], *excess(means, [*means[1:], limit])[0]], [bound, 0, 0, 0]


@step("power_means.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Between the two, beyond, and below zero."""
    roots, m, mu, z = rng.normal(size=(2, 3, 3)), *rng.normal(size=(3, 3))
    P, Q = (root @ root.T + np.eye(3) for root in roots)
    d, left, right = mu - m, [], []
    for t in (rng.uniform(), 1 + 0.2 * rng.uniform(), -0.2 * rng.uniform()):
        A = t * P + (1 - t) * Q
        centre = np.linalg.solve(A, t * P @ m + (1 - t) * Q @ mu)
        left.append(t * (z - m) @ P @ (z - m) + (1 - t) * (z - mu) @ Q @ (z - mu))
        right.append((z - centre) @ A @ (z - centre) + t * (1 - t) * d @ P @ np.linalg.solve(A, Q @ d))
    return left, right


# ---- with samples of the posterior


@step("reciprocal_importance.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The mean over the posterior, the integral of q, and the reciprocal."""
    line = Line(rng)
    z, dz = around(line.q)
    left = dz @ (line.posterior.pdf(z) * line.q.pdf(z) / np.exp(line.log_joint(z)))
    return [left, left], [dz @ line.q.pdf(z) * math.exp(-line.evidence), math.exp(-line.evidence)]


@step("reciprocal_importance.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two draws of a ratio with three values."""
    ratios, chance = draws(rng, rng.exponential(size=3), 2)
    mean = ratios.mean(axis=0)
    return [excess(-math.log(chance @ mean), chance @ -np.log(mean))[0], chance @ mean], [0, chance @ ratios[0]]


@step("reciprocal_importance.7a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The relative variance of q / p(x, z) under the posterior; χ² by its definition beside the integral."""
    line = Line(rng)
    z, dz = around(line.q)
    q, posterior = line.q.pdf(z), line.posterior.pdf(z)
    ratio = np.exp(line.q.logpdf(z) - line.log_joint(z))
    left = dz @ (posterior * ratio**2) / (dz @ (posterior * ratio)) ** 2 - 1
    return [left, left], [dz @ (q**2 / posterior) - 1, dz @ ((q - posterior) ** 2 / posterior)]


@step("reciprocal_importance.7b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The integral, and the exponent as a square with a top."""
    delta, of, z = rng.normal(), rng.uniform(0.3, 1.7), rng.normal()
    q, top = stats.norm(delta, math.sqrt(of)), delta**2 / (2 - of)
    width = math.sqrt(of / (2 - of))
    centre = 2 * delta / (2 - of)
    left = integral(
        lambda at: math.exp(2 * q.logpdf(at) - stats.norm.logpdf(at)), centre - 12 * width, centre + 12 * width
    )
    exponent = -((z - delta) ** 2) / of + z * z / 2
    right = math.exp(top) / math.sqrt(of * (2 - of))
    return [left, exponent], [right, -(2 / of - 1) / 2 * (z - centre) ** 2 + top]


# ---- along a path


class Walk:
    """Three states, three transitions that are accepted or refused: every path, and how likely it is either way."""

    K = 4

    def __init__(self, rng: Rng) -> None:
        self.start = rng.dirichlet(np.ones(3))
        self.joint = rng.uniform(0.1, 1.0) * rng.dirichlet(np.ones(3))
        self.evidence = float(self.joint.sum())
        self.beta = np.array([0.0, *np.sort(rng.uniform(size=self.K - 1)), 1.0])
        self.kernels = [self.kernel(rng, self.f(beta)) for beta in self.beta[1:-1]]
        self.paths = np.array(list(product(range(3), repeat=self.K)))

    def f(self, beta: float) -> Array:
        return np.asarray(self.start ** (1 - beta) * self.joint**beta)

    @staticmethod
    def kernel(rng: Rng, f: Array) -> Array:
        """From the row to the column: what is proposed either way equally often, and accepted by the ratio of f."""
        half = rng.uniform(0.1, 0.4, (3, 3))
        moves = np.minimum(half, half.T) * np.minimum(1, f[None, :] / f[:, None])
        np.fill_diagonal(moves, 0)
        return moves + np.diag(1 - moves.sum(axis=1))

    def forward(self) -> Array:
        """F of every path."""
        steps = [kernel[self.paths[:, k], self.paths[:, k + 1]] for k, kernel in enumerate(self.kernels)]
        return np.asarray(self.start[self.paths[:, 0]] * np.prod(steps, axis=0))

    def backward(self) -> Array:
        """R of every path, by the kernels from its end."""
        steps = [kernel[self.paths[:, k + 1], self.paths[:, k]] for k, kernel in enumerate(self.kernels)]
        return np.asarray(self.joint[self.paths[:, -1]] / self.evidence * np.prod(steps, axis=0))

    def log_w(self) -> Array:
        """By the states alone."""
        gains = np.log(self.joint / self.start)[self.paths]
        return np.asarray(gains @ np.diff(self.beta))


@step("annealed.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """All paths together are 1, and their states have the laws that the kernels make one after the other."""
    walk = Walk(rng)
    F, law = walk.forward(), walk.start
    left, right = [F.sum()], [1.0]
    for k, kernel in enumerate(walk.kernels):
        law = law @ kernel
        left += [F[walk.paths[:, k + 1] == z].sum() for z in range(3)]
        right += law.tolist()
    return left, right


@step("annealed.2b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The kernels turned round; all of it is 1."""
    walk = Walk(rng)
    R, right = walk.backward(), walk.joint[walk.paths[:, -1]] / walk.evidence
    for k, (kernel, beta) in enumerate(zip(walk.kernels, walk.beta[1:-1], strict=True)):
        before, after = walk.paths[:, k], walk.paths[:, k + 1]
        right = right * kernel[before, after] * walk.f(beta)[before] / walk.f(beta)[after]
    return [*R, R.sum()], [*right, 1]


@step("annealed.2c")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    walk = Walk(rng)
    possible = walk.forward() > 0
    left = (walk.evidence * walk.backward() / np.where(possible, walk.forward(), 1))[possible]
    middle = walk.joint[walk.paths[:, -1]] / walk.start[walk.paths[:, 0]]
    for k, beta in enumerate(walk.beta[1:-1]):
        middle = middle * walk.f(beta)[walk.paths[:, k]] / walk.f(beta)[walk.paths[:, k + 1]]
    sorted_by_states = np.prod(
        [walk.f(walk.beta[k + 1])[walk.paths[:, k]] / walk.f(walk.beta[k])[walk.paths[:, k]] for k in range(walk.K)],
        axis=0,
    )
    return [left, left], [middle[possible], sorted_by_states[possible]]


@step("annealed.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """w' by the states, as it is computed."""
    walk = Walk(rng)
    left = walk.backward() @ np.exp(-walk.log_w())
    return [left, left], [np.sum(walk.forward()) / walk.evidence, 1 / walk.evidence]


@step("annealed.6b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line, z = Line(rng), rng.normal(size=3)
    return np.exp(line.log_joint(z)), math.exp(line.evidence) * line.posterior.pdf(z)


@step("annealed.7a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    walk = Walk(rng)
    F, R, log_w, evidence = walk.forward(), walk.backward(), walk.log_w(), math.log(walk.evidence)
    return [evidence - F @ log_w, R @ log_w - evidence], [F @ np.log(F / R), R @ np.log(R / F)]
