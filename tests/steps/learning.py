"""Steps of the pages on ways to learn without a bound, beside it, and with a law over the weights."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy import stats

from numvae.arrays import Array
from tests.steps.kit import NODES, WEIGHTS, Numbers, excess, gradient, integral, jacobian, pairs, step

Rng = np.random.Generator


def log_shares(logits: Array, axis: int) -> Array:
    """The logarithm of a softmax, for complex numbers too."""
    return np.asarray(logits - np.log(np.sum(np.exp(logits), axis=axis, keepdims=True)))


class Table:
    """Three latents and four data: p(z) and p(x|z) are softmaxes of θ, q(z|x) of φ.  Arrays have z first, then x."""

    def __init__(self, rng: Rng) -> None:
        self.theta, self.phi = rng.normal(size=3 + 12), rng.normal(size=12)
        self.data = rng.dirichlet(np.ones(4))
        self.q, self.joint = np.exp(self.log_q(self.phi)), np.exp(self.log_joint(self.theta))
        self.posterior = self.joint / self.joint.sum(axis=0)
        self.of_joint, self.of_q = jacobian(self.log_joint, self.theta), jacobian(self.log_q, self.phi)

    def log_joint(self, theta: Array) -> Array:
        return log_shares(theta[:3], 0)[:, None] + log_shares(theta[3:].reshape(3, 4), 1)

    def log_evidence(self, theta: Array) -> Array:
        return np.asarray(np.log(np.sum(np.exp(self.log_joint(theta)), axis=0)))

    def log_q(self, phi: Array) -> Array:
        return log_shares(phi.reshape(3, 4), 0)

    def kl(self, theta: Array, phi: Array) -> Array:
        """KL(q ‖ posterior) of each datum."""
        log_q, log_posterior = self.log_q(phi), self.log_joint(theta) - self.log_evidence(theta)
        return np.asarray(np.sum(np.exp(log_q) * (log_q - log_posterior), axis=0))


@step("monte_carlo_em.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    table = Table(rng)
    bound = np.sum(table.q * np.log(table.joint / table.q), axis=0)
    return table.log_evidence(table.theta), bound + table.kl(table.theta, table.phi)


@step("monte_carlo_em.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """At any other weights; and to first order the two are equal."""
    table = Table(rng)
    other = table.theta + rng.normal(size=15)
    rise = table.log_evidence(other) - table.log_evidence(table.theta)
    rise_of_mean = np.sum(table.posterior * (table.log_joint(other) - np.log(table.joint)), axis=0)
    slopes = jacobian(lambda t: np.sum(table.posterior * table.log_joint(t), axis=0), table.theta)
    same = jacobian(table.log_evidence, table.theta)
    return [*excess(rise_of_mean, rise)[0], *slopes.ravel()], [0, 0, 0, 0, *same.ravel()]


@step("monte_carlo_em.1c")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """What the mean under q is off by, and minus the gradient of the KL."""
    table = Table(rng)
    left = np.einsum("zx,zxk->xk", table.q, table.of_joint) - jacobian(table.log_evidence, table.theta)
    of_kl = jacobian(lambda t: table.kl(t, table.phi), table.theta)
    right = np.einsum("zx,zxk->xk", table.q - table.posterior, table.of_joint)
    return [left, -of_kl], [right, right]


@step("wake_sleep.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    table = Table(rng)
    left = np.einsum("zx,zxk->xk", table.posterior, table.of_joint)
    integrated = jacobian(lambda t: np.sum(np.exp(table.log_joint(t)), axis=0), table.theta)
    middle = integrated / table.joint.sum(axis=0)[:, None]
    return [left, left], [middle, jacobian(table.log_evidence, table.theta)]


@step("wake_sleep.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """p(x) times the posterior, where the KL asks for it."""
    table = Table(rng)

    def kl(phi: Array) -> Array:
        return np.asarray(np.sum(table.posterior * (np.log(table.posterior) - table.log_q(phi)), axis=0))

    right = -table.joint.sum(axis=0) @ jacobian(kl, table.phi)
    return np.einsum("zx,zxk->k", table.joint, table.of_q), right


@step("wake_sleep.3b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A normal posterior of two: both slopes vanish there."""
    root, mean = rng.normal(size=(2, 2)), rng.normal(size=2)
    precision = root @ root.T + np.eye(2)
    covariance = np.linalg.inv(precision)
    first, second, chance = pairs(12)
    drawn = mean + np.stack([first, second], axis=-1) @ np.linalg.cholesky(covariance).T
    target = stats.multivariate_normal(mean, covariance)

    def asleep(phi: Array) -> float:
        return float(chance @ stats.norm(phi[:2], np.exp(phi[2:])).logpdf(drawn).sum(axis=-1))

    def bound(phi: Array) -> float:
        z = phi[:2] + np.exp(phi[2:]) * np.stack([first, second], axis=-1)
        return float(chance @ target.logpdf(z) + phi[2:].sum())

    at_rest = [np.diag(covariance), 1 / np.diag(precision)]
    slopes = [
        gradient(f, np.concatenate([mean, 0.5 * np.log(s)])) for f, s in zip((asleep, bound), at_rest, strict=True)
    ]
    assert np.all(at_rest[0] > at_rest[1])
    return 1 + np.concatenate(slopes), np.ones(8)


@step("wake_sleep.3c")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The means of both phases, differentiated in the weights of the other."""
    table = Table(rng)
    wake = jacobian(
        lambda phi: np.einsum("x,zx,zxi->i", table.data, np.exp(table.log_q(phi)), table.of_joint), table.phi
    )
    sleep = jacobian(lambda theta: np.einsum("zx,zxj->j", np.exp(table.log_joint(theta)), table.of_q), table.theta)
    seen = np.einsum("x,zx,zxi,zxj->ij", table.data, table.q, table.of_joint, table.of_q)
    dreamt = np.einsum("zx,zxi,zxj->ij", table.joint, table.of_joint, table.of_q)
    return wake - sleep.T, seen - dreamt


# ---- a law over the weights


class WeightsAndRows:
    """θ takes three values, each of two rows of data has a latent of two; tables in the order θ, row, z."""

    def __init__(self, rng: Rng) -> None:
        self.prior, self.q = rng.dirichlet(np.ones(3), 2)
        self.joint = rng.uniform(0.05, 0.5, (3, 2, 2))  # p(x_i, z_i | θ) at the data
        self.q_z = rng.dirichlet(np.ones(2), 2)
        self.rows = self.joint.sum(axis=2)  # p(x_i | θ)
        outcomes = list(product(range(3), range(2), range(2)))
        chances = [self.prior[t] * self.joint[t, 0, a] * self.joint[t, 1, b] for t, a, b in outcomes]
        self.evidence = math.log(sum(chances))
        self.posterior = np.array(chances) / sum(chances)
        self.own = np.array([self.q[t] * self.q_z[0, a] * self.q_z[1, b] for t, a, b in outcomes])

    def bound(self) -> float:
        of_rows = np.sum(self.q_z * np.log(self.joint / self.q_z), axis=2)
        return float(self.q @ of_rows.sum(axis=1) - self.q @ np.log(self.q / self.prior))


@step("full_variational_bayes.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The evidence over all weights and latents at once; and the bound is below."""
    model = WeightsAndRows(rng)
    by_rows = math.log(model.prior @ model.rows.prod(axis=1))
    return [model.evidence, excess(model.bound(), by_rows)[0]], [by_rows, 0]


@step("full_variational_bayes.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The gap, the divergence of all together, and the two it splits into."""
    model = WeightsAndRows(rng)
    gap, together = model.evidence - model.bound(), model.own @ np.log(model.own / model.posterior)
    of_weights = model.prior * model.rows.prod(axis=1)
    of_weights /= of_weights.sum()
    of_latents = np.sum(model.q_z * np.log(model.q_z / (model.joint / model.rows[..., None])), axis=2)
    right = model.q @ np.log(model.q / of_weights) + model.q @ of_latents.sum(axis=1)
    return [gap, together], [right, right]


@step("full_variational_bayes.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two rows: three values of the noise they share, two of each one's own, by all outcomes; then nothing shared."""
    shared, own = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(2), 2)
    first, second = rng.normal(size=(2, 3, 2))

    def covariance(chance: Array, a: Array, b: Array) -> float:
        return float(np.sum(chance * a * b) - np.sum(chance * a) * np.sum(chance * b))

    together = np.einsum("t,a,b->tab", shared, *own)
    left = covariance(together, first[:, :, None], second[:, None, :])
    apart = np.einsum("t,a,u,b->taub", shared, own[0], shared, own[1])
    none = covariance(apart, first[:, :, None, None], second[None, None])
    return [left, 1 + none], [covariance(shared, first @ own[0], second @ own[1]), 1]


def on_a_line(x: Array, y: float, means: Array, variances: Array) -> Array:
    """The means of two normal weights given that x · w = y: by quadrature along the line that is left."""

    def density(w: float) -> float:
        both = np.array([w, (y - x[0] * w) / x[1]])
        return float(np.exp(-0.5 * np.sum((both - means) ** 2 / variances)))

    ends = means[0] - 10 * math.sqrt(variances[0]), means[0] + 10 * math.sqrt(variances[0])
    first = integral(lambda w: w * density(w), *ends) / integral(density, *ends)
    return np.array([first, (y - x[0] * first) / x[1]])


@step("full_variational_bayes.6c", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, means, variances, noise = rng.normal(size=2), rng.normal(size=2), rng.uniform(0.3, 1.5, 2), rng.normal()
    omega = x**2 @ variances
    y = float(x @ means + math.sqrt(omega) * noise)
    left = on_a_line(x, y, means, variances)
    second = means + x * variances / omega * (y - x @ means)
    return [left, left], [second, means + x * variances * noise / math.sqrt(omega)]


@step("full_variational_bayes.6d", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two layers, 2-2-1 with a tanh: d log_std of the lower, given all outputs; then both variances of one layer."""
    x, M, upper = rng.normal(size=2), rng.normal(size=(2, 2)), rng.normal(size=2)
    V, V_upper = rng.uniform(0.3, 1.5, (2, 2)), rng.uniform(0.3, 1.5, 2)
    noise, noise_upper, d_out = rng.normal(size=2), rng.normal(), rng.normal()
    omega = x**2 @ V
    h = np.tanh(x @ M + np.sqrt(omega) * noise)
    omega_upper = h**2 @ V_upper
    y, out = x @ M + np.sqrt(omega) * noise, float(h @ upper + math.sqrt(omega_upper) * noise_upper)

    weights = np.stack([on_a_line(x, y[j], M[:, j], V[:, j]) for j in range(2)], axis=1)
    dy = d_out * on_a_line(h, out, upper, V_upper) * (1 - h**2)
    drawn = x[:, None] * dy * (weights - M)

    d_omega_upper = d_out * noise_upper / (2 * math.sqrt(omega_upper))
    dy = (d_out * upper + 2 * h * d_omega_upper * V_upper) * (1 - h**2)
    local = (x**2)[:, None] * (dy * noise / (2 * np.sqrt(omega))) * 2 * V

    first, second, chance = pairs()
    zeta, v = np.stack([first, second]), V[:, 0]
    one = np.cos(x @ (M[:, :1] + np.sqrt(v)[:, None] * zeta)) * x[0] * math.sqrt(v[0]) * first
    other = np.cos(x @ M[:, 0] + math.sqrt(x**2 @ v) * NODES) * x[0] ** 2 * v[0] * NODES / math.sqrt(x**2 @ v)
    variances = WEIGHTS @ other**2 - (WEIGHTS @ other) ** 2, chance @ one**2 - (chance @ one) ** 2
    return [*drawn.ravel(), chance @ one, excess(*variances)[0]], [*local.ravel(), WEIGHTS @ other, 0]
