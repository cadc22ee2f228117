"""Steps of the pages that look into a trained model: its units, its codes, its posteriors."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import optimize, stats

from numvae.arrays import Array
from tests.steps.kit import Numbers, excess, pairs, step

Rng = np.random.Generator


@step("active_units.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Five rows, each with a law of three values."""
    u, chances = rng.normal(size=(5, 3)), rng.dirichlet(np.ones(3), 5)
    means = np.sum(chances * u, axis=1)
    within = np.sum(chances * u**2, axis=1) - means**2
    whole = np.sum(chances * (u - means.mean()) ** 2) / 5
    return whole, means.var() + within.mean()


class Codes:
    """Three data and four codes: q(z|x) with x first, and the law of the data."""

    def __init__(self, rng: Rng) -> None:
        self.q, self.data = rng.dirichlet(np.ones(4), 3), rng.dirichlet(np.ones(3))
        self.of_all = self.data @ self.q
        self.own = self.q / self.of_all
        self.rho = float(np.sum(self.data[:, None] * self.q * self.own))

    def deviation(self, N: int, power: int) -> float:
        """E[δ to a power] at a code of the first of N rows, by all rows that there may be."""
        total = 0.0
        for rows in product(range(3), repeat=N):
            delta = self.q[list(rows)].mean(axis=0) / self.of_all - 1
            total += float(np.prod(self.data[list(rows)]) * (self.q[rows[0]] @ delta**power))
        return total


@step("aggregate.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """At every code of every row; equal where no other row has it."""
    q = rng.dirichlet(np.ones(4), 3)
    alone = np.array([[0.0, 0.3, 0.7], [1.0, 0.0, 0.0]])
    return [*excess(q / 3, q.mean(axis=0))[0].ravel(), alone.mean(axis=0)[0]], [*np.zeros(12), alone[1, 0] / 2]


@step("aggregate.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """What is beyond the first order falls as 1 / N²: N² of it is the same number for two and three rows."""
    codes = Codes(rng)
    beyond = [N**2 * (codes.deviation(N, 2) - (codes.rho - 1) / N) for N in (2, 3)]
    squares = codes.of_all @ (codes.data @ codes.q**2 / codes.of_all**2)
    rest = np.sum(codes.data[:, None] * codes.q * (codes.own - 1) ** 2) - (codes.rho - 1)
    left = [codes.deviation(2, 1), codes.deviation(3, 1), squares, *beyond]
    return left, [(codes.rho - 1) / 2, (codes.rho - 1) / 3, codes.rho, rest, rest]


@step("exact_posterior.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """As coarse as three standard deviations."""
    sigma, a = rng.uniform(0.3, 2), rng.normal()
    h = sigma * rng.uniform(1, 3)
    left = h * stats.norm(0, sigma).pdf(a + h * np.arange(-60, 61)).sum()
    k = np.arange(1, 12)
    waves = np.exp(-2 * np.pi**2 * k**2 * sigma**2 / h**2) * np.cos(2 * np.pi * k * a / h)
    return left, 1 + 2 * waves.sum()


@step("inference_gap.1a", tolerance=1e-7)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A correlated normal posterior of two latents, and diagonal normals: the bound by quadrature, climbed."""
    root, mean, log_p = rng.normal(size=(2, 2)), rng.normal(size=2), rng.normal()
    precision = root @ root.T + np.eye(2)
    posterior = stats.multivariate_normal(mean, np.linalg.inv(precision))
    first, second, chance = pairs(12)
    noise = np.stack([first, second], axis=-1)

    def bound(phi: Array) -> float:
        z = phi[:2] + np.exp(phi[2:]) * noise
        log_q = stats.norm(phi[:2], np.exp(phi[2:])).logpdf(z).sum(axis=-1)
        return float(chance @ (log_p + posterior.logpdf(z) - log_q))

    def kl(phi: Array) -> float:
        shift, variance = phi[:2] - mean, np.exp(2 * phi[2:])
        logs = -np.linalg.slogdet(precision)[1] - 2 * phi[2:].sum()
        return float(0.5 * (np.diag(precision) @ variance + shift @ precision @ shift - 2 + logs))

    said = np.concatenate([mean, -0.5 * np.log(np.diag(precision))]) + 0.3 * rng.normal(size=4)
    highest = optimize.minimize(lambda phi: -bound(phi), said, method="BFGS", options={"gtol": 1e-7}).x
    least = kl(np.concatenate([mean, -0.5 * np.log(np.diag(precision))]))
    return [log_p - bound(highest), bound(highest) - bound(said)], [least, kl(said) - least]
