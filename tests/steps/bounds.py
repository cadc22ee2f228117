"""Steps of the pages on bounds, on models with a known evidence, and on data."""

from __future__ import annotations

import math

import numpy as np
from scipy import special, stats

from numvae.arrays import Array
from tests.steps.kit import NODES, WEIGHTS, Numbers, between, bits, excess, integral, mean, slope, step, variance

Rng = np.random.Generator


class Line:
    """z ~ N(0, 1/α), x ~ N(z, 1/β), one number each, and a q that misses the posterior."""

    def __init__(self, rng: Rng) -> None:
        self.alpha, self.beta = rng.uniform(0.5, 3, 2)
        self.x = rng.normal()
        self.prior = stats.norm(0, self.alpha**-0.5)
        precision = self.alpha + self.beta
        self.posterior = stats.norm(self.beta * self.x / precision, precision**-0.5)
        self.evidence = float(stats.norm(0, math.sqrt(1 / self.alpha + 1 / self.beta)).logpdf(self.x))
        self.m, self.s = self.posterior.mean() + 0.3 * rng.normal(), self.posterior.std() * rng.uniform(0.9, 1.2)
        self.q = stats.norm(self.m, self.s)
        self.z = self.m + self.s * NODES

    def log_joint(self, z: Numbers) -> Array:
        value: Array = stats.norm(z, self.beta**-0.5).logpdf(self.x) + self.prior.logpdf(z)
        return value

    @property
    def log_w(self) -> Array:
        """At the nodes of q."""
        return np.asarray(self.log_joint(self.z) - self.q.logpdf(self.z))

    def kl(self) -> float:
        """To the posterior, in closed form."""
        ratio, shift = self.s / self.posterior.std(), (self.m - self.posterior.mean()) / self.posterior.std()
        return float(0.5 * (ratio**2 + shift**2 - 1) - math.log(ratio))


@step("bound.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line, z = Line(rng), rng.normal()
    return line.posterior.pdf(z), math.exp(line.log_joint(z) - line.evidence)


@step("bound.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line = Line(rng)
    z, dz = between(line.m - 14 * line.s, line.m + 14 * line.s)
    return math.exp(line.evidence), dz @ np.exp(line.log_joint(z))


@step("bound.1c", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line = Line(rng)
    return WEIGHTS @ np.exp(line.log_w), math.exp(line.evidence)


@step("bound.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """For any positive numbers, and with equality for equal ones."""
    w, chances = rng.exponential(size=5), rng.dirichlet(np.ones(5))
    smaller, larger = chances @ np.log(w), math.log(chances @ w)
    assert smaller < larger
    same = chances @ np.log(np.full(5, w[0])), math.log(chances @ np.full(5, w[0]))
    return [excess(smaller, larger)[0], same[0]], [0, same[1]]


@step("bound.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line = Line(rng)
    return line.log_w, line.evidence - line.q.logpdf(line.z) + line.posterior.logpdf(line.z)


@step("bound.5a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    w = rng.exponential(size=6)
    return np.mean(w), np.mean([np.mean(np.delete(w, t)) for t in range(6)])


@step("bound.5b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Weights that take three values, k = 3: all outcomes are gone through."""
    return never_falls(rng, 3)


@step("objectives.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The same, from S = 3 to 2."""
    return never_falls(rng, 2)


def never_falls(rng: Rng, k: int) -> tuple[Numbers, Numbers]:
    """L_{k+1} at least the mean over leave-one-outs, and that is L_k."""
    w, chances = rng.exponential(size=3), rng.dirichlet(np.ones(3))

    def draws(count: int) -> tuple[Array, Array]:
        index = np.stack([axis.ravel() for axis in np.meshgrid(*[range(3)] * count)])
        return w[index], np.prod(chances[index], axis=0)

    (more, chance), (fewer, chance_of_fewer) = draws(k + 1), draws(k)
    bound = chance @ np.log(more.mean(axis=0))
    left_out = chance @ np.mean([np.log(np.delete(more, t, axis=0).mean(axis=0)) for t in range(k + 1)], axis=0)
    own = chance_of_fewer @ np.log(fewer.mean(axis=0))
    return [excess(left_out, bound)[0], left_out], [0, own]


@step("objectives.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    line = Line(rng)
    return WEIGHTS @ line.log_w, line.evidence - line.kl()


@step("objectives.14a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two corruptions, so that the mixture has two normals."""
    line, chance = Line(rng), rng.uniform(0.2, 0.8)
    chances = (chance, 1 - chance)
    parts = [stats.norm(line.m + shift, line.s) for shift in rng.normal(size=2) * 0.4]

    def mixed(z: Array) -> Array:
        return np.asarray(sum(c * part.pdf(z) for c, part in zip(chances, parts, strict=True)))

    of_mixture = of_parts = gap = 0.0
    for c, part in zip(chances, parts, strict=True):
        z = part.mean() + part.std() * NODES
        of_mixture += c * (WEIGHTS @ (line.log_joint(z) - np.log(mixed(z))))
        of_parts += c * (WEIGHTS @ (line.log_joint(z) - part.logpdf(z)))
        gap += c * (WEIGHTS @ (part.logpdf(z) - np.log(mixed(z))))
    assert gap > 0
    return of_mixture - of_parts, gap


@step("reductions.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    v = 3 * rng.normal(size=5)
    middle = math.log(np.mean(np.exp(v)))
    return excess([v.mean(), middle], [middle, v.max()])


@step("mixture.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    joint, q = rng.exponential(size=4), rng.dirichlet(np.ones(4))
    posterior = joint / joint.sum()
    bound, kl = q @ np.log(joint / q), q @ np.log(q / posterior)
    return [math.log(joint.sum()), excess(bound, bound + kl)[0]], [bound + kl, 0]


@step("mixture.7a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Grey values against the bits drawn from them, all eight."""
    p, shares, x = rng.uniform(0.05, 0.95, (4, 3)), rng.dirichlet(np.ones(4)), rng.random(3)

    def log_p(value: Array) -> float:
        return math.log(shares @ np.prod(p**value * (1 - p) ** (1 - value), axis=1))

    chance = [np.prod(np.where(b == 1, x, 1 - x)) for b in bits(3)]
    return excess(log_p(x), np.dot(chance, [log_p(b) for b in bits(3)]))


@step("mean_field.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two discrete latents: L plus the KL of the first factor does not depend on that factor."""
    log_joint, other = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4))
    log_tilde = log_joint @ other
    tilde = np.exp(log_tilde) / np.exp(log_tilde).sum()

    def constant(q: Array) -> tuple[float, float]:
        bound = q @ log_joint @ other - q @ np.log(q) - other @ np.log(other)
        return bound - (q @ log_tilde - q @ np.log(q)), bound + q @ np.log(q / tilde)

    return constant(rng.dirichlet(np.ones(3))), constant(rng.dirichlet(np.ones(3)))


@step("linear_gaussian.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Differences between two z, in which the constants cancel."""
    W, r, beta, alpha = rng.normal(size=(2, 3)), rng.normal(size=3), rng.uniform(0.3, 3, 3), rng.uniform(0.3, 3)
    precision = alpha * np.eye(2) + W @ np.diag(beta) @ W.T

    def first(z: Array) -> float:
        value: float = stats.norm(0, alpha**-0.5).logpdf(z).sum() + stats.norm(z @ W, beta**-0.5).logpdf(r).sum()
        return value

    def second(z: Array) -> float:
        return float(-0.5 * alpha * z @ z - 0.5 * (r - z @ W) @ np.diag(beta) @ (r - z @ W))

    def third(z: Array) -> float:
        return float(-0.5 * z @ precision @ z + r @ np.diag(beta) @ W.T @ z)

    z, y = rng.normal(size=(2, 2))
    return [first(z) - first(y)] * 2, [second(z) - second(y), third(z) - third(y)]


@step("probabilistic_pca.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, root = rng.normal(size=(7, 3)), rng.normal(size=(3, 3))
    covariance = root @ root.T + np.eye(3)
    right = 3 * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1]
    right += np.trace(np.linalg.inv(covariance) @ (x.T @ x / 7))
    return stats.multivariate_normal(np.zeros(3), covariance).logpdf(x).mean(), -0.5 * right


@step("probabilistic_pca.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """M keeps two eigenvalues of C and puts σ² in the place of the others."""
    root = rng.normal(size=(4, 4))
    values, vectors = np.linalg.eigh(root @ root.T)
    variance, kept = rng.uniform(0.3, 2), values[2:]
    model = vectors @ np.diag([variance, variance, *kept]) @ vectors.T
    left = 4 * math.log(2 * math.pi) + np.linalg.slogdet(model)[1]
    left += np.trace(np.linalg.inv(model) @ (root @ root.T))
    right = 4 * math.log(2 * math.pi) + np.sum(np.log(kept) + 1) + np.sum(math.log(variance) + values[:2] / variance)
    return -0.5 * left, -0.5 * right


@step("factor_analysis.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A model of two numbers: the maximisation raises the bound, and the evidence is above it."""
    joint, better = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
    q = joint[:2] / joint[:2].sum()  # the posterior given that one of the first two happened

    def bound(model: Array) -> float:
        return float(q @ np.log(model[:2] / q))

    best = max(joint, better, key=bound)
    left = [excess(bound(best), math.log(best[:2].sum()))[0], excess(bound(joint), bound(best))[0], bound(joint)]
    return left, [0, 0, math.log(joint[:2].sum())]


@step("gamma_poisson.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    (a, r), z, x = rng.uniform(0.5, 4, 2), rng.uniform(0.2, 5), rng.integers(0, 6, 3)
    left = stats.gamma(a, scale=1 / r).pdf(z) * np.prod(stats.poisson(z).pmf(x))
    constant = r**a / (special.gamma(a) * np.prod(special.factorial(x)))
    return left, constant * z ** (a + x.sum() - 1) * math.exp(-(r + 3) * z)


@step("beta_bernoulli.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    (a, b), z, x = rng.uniform(0.5, 4, 2), rng.uniform(0.1, 0.9), rng.integers(0, 2, 5)
    left = stats.beta(a, b).pdf(z) * np.prod(stats.bernoulli(z).pmf(x))
    return left, z ** (a + x.sum() - 1) * (1 - z) ** (b + 5 - x.sum() - 1) / special.beta(a, b)


@step("exponential_poisson.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, b, rho = rng.integers(1, 6), *rng.uniform(0.5, 4, 2)
    q, p = stats.expon(scale=1 / rho), stats.gamma(a, scale=1 / b)
    left = integral(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), 0, 40 / rho)
    right = math.log(rho) - 1 - a * math.log(b) + special.gammaln(a)
    return left, right + (a - 1) * (np.euler_gamma + math.log(rho)) + b / rho


@step("binarization.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, logit = rng.random(), rng.normal()
    softplus = math.log1p(math.exp(logit))
    return x * (logit - softplus) + (1 - x) * (0 - softplus), x * logit - softplus


@step("binarization.4b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Any law of three bits; and the product of Bernoullis reaches the floor."""
    x, p = rng.uniform(0.05, 0.95, 3), rng.dirichlet(np.ones(8))
    own = np.array([np.prod(np.where(b == 1, x, 1 - x)) for b in bits(3)])
    floor = np.sum(x * np.log(x) + (1 - x) * np.log(1 - x))
    return [excess(own @ np.log(p), floor)[0], own @ np.log(own)], [0, floor]


@step("binarization.5a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """One count, any other law of counts; and the Poisson itself reaches the floor."""
    law = stats.poisson(rng.uniform(0.5, 6))
    k = np.arange(60)
    other = stats.nbinom(rng.uniform(0.5, 9), rng.uniform(0.2, 0.8))
    floor = -law.entropy()
    return [excess(law.pmf(k) @ other.logpmf(k), floor)[0], law.pmf(k) @ law.logpmf(k)], [0, floor]


@step("pathwise.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    m, s, k = rng.normal(), rng.uniform(0.3, 2), rng.normal()
    density = stats.norm(m, s).pdf
    left = integral(lambda z: density(z) * (math.cos(k * z) + z * z), m - 9 * s, m + 9 * s)
    return left, mean(lambda e: np.cos(k * (m + s * e)) + (m + s * e) ** 2)


@step("errata.1a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """On average: the value, and the gradient in the mean."""
    m, s, k = rng.normal(), rng.uniform(0.5, 1.5), rng.uniform(-1, 1)
    exact = math.cos(k * m) * math.exp(-((k * s) ** 2) / 2)
    value = mean(lambda e: np.cos(k * (m + s * e)))
    score = mean(lambda e: np.cos(k * (m + s * e)) * e / s)
    return [value, score], [exact, slope(lambda t: math.cos(k * t) * math.exp(-((k * s) ** 2) / 2), m)]


@step("errata.1b", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The surrogate's value is f; its slope in θ is f's, its slope in μ is f times the score: at a sample held."""
    m, s, theta = rng.normal(), rng.uniform(0.5, 1.5), rng.normal()
    z = m + s * rng.normal()

    def f(t: float) -> float:
        return math.cos(t * z) + t

    held_f, held_log_q = f(theta), float(stats.norm(m, s).logpdf(z))

    def surrogate(t: float, mu: float) -> float:
        return f(t) + held_f * (float(stats.norm(mu, s).logpdf(z)) - held_log_q)

    left = [surrogate(theta, m), slope(lambda t: surrogate(t, m), theta), slope(lambda mu: surrogate(theta, mu), m)]
    return left, [f(theta), -z * math.sin(theta * z) + 1, held_f * (z - m) / s**2]


@step("dreg_toy.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """f = log N(z; 0, ½) - log N(z; b, ⅔): slopes at a noise, and their variances."""
    b = rng.normal()
    s = math.sqrt(2 / 3)

    def path(e: Array) -> Array:
        z = b + s * e
        return np.asarray(-2 * z + 1.5 * (z - b))

    def whole(e: Array) -> Array:
        return np.asarray(-2 * (b + s * e))  # log q(z) does not change with b along the path

    e = rng.normal(size=3)
    formulas = [-2 * b + (math.sqrt(1.5) - 2 * s) * e, -2 * b - 2 * s * e]
    return [*path(e), *whole(e), variance(path), variance(whole)], [*formulas[0], *formulas[1], 1 / 6, 8 / 3]


@step("dreg_toy.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """What shares of ever more samples tend to: E_q[w g] / E_q[w]."""
    b = rng.normal()
    z = b + math.sqrt(2 / 3) * NODES
    w = np.exp(stats.norm(0, math.sqrt(0.5)).logpdf(z) - stats.norm(b, math.sqrt(2 / 3)).logpdf(z))
    return WEIGHTS @ (w * (-2 * z + 1.5 * (z - b))) / (WEIGHTS @ w), -1.5 * b


@step("mean_field.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two latents, three bits, the other factor a normal: differences of z_i, in which constants cancel."""
    W, b, y = rng.normal(size=(2, 3)), rng.normal(size=3), rng.choice([-1, 1], 3)
    other = rng.normal() + rng.uniform(0.3, 1.5) * NODES

    def mean_log_joint(z: float) -> float:
        logits = z * W[0] + other[:, None] * W[1] + b
        bits_of_x = stats.bernoulli(special.expit(logits)).logpmf((y + 1) // 2).sum(axis=1)
        return float(WEIGHTS @ (stats.norm(0, 1).logpdf(z) + stats.norm(0, 1).logpdf(other) + bits_of_x))

    def formula(z: float) -> float:
        return float(-0.5 * z * z + np.sum(WEIGHTS @ special.log_expit(y * (z * W[0] + other[:, None] * W[1] + b))))

    first, second = rng.normal(size=2)
    return mean_log_joint(first) - mean_log_joint(second), formula(first) - formula(second)
