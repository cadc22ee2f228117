"""Steps of the pages on families of distributions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special, stats

from numvae.arrays import Array
from tests.steps.kit import Numbers, integral, mean, slope, step

Rng = np.random.Generator
EULER = float(np.euler_gamma)


@step("normal.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    log_std = rng.normal()
    std = math.exp(log_std)
    functions = (math.exp, lambda t: math.exp(t) ** 2, lambda t: math.log(math.exp(t)))
    return [slope(f, log_std) for f in functions], [std, 2 * std**2, 1]


@step("multivariate_normal.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The residual of p at a draw of q; M is lower triangular."""
    L, L_p = (np.tril(rng.normal(size=(3, 3)), -1) + np.diag(rng.uniform(0.5, 2, 3)) for _ in range(2))
    mean_q, mean_p, noise = rng.normal(size=(3, 3))
    w, M = np.linalg.inv(L_p) @ (mean_q - mean_p), np.linalg.inv(L_p) @ L
    left = np.linalg.solve(L_p, mean_q + L @ noise - mean_p)
    return [*left, *np.zeros(3)], [*(w + M @ noise), *M[np.triu_indices(3, 1)]]


@step("categorical.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """What makes p the softmax: it adds up to 1, and its log-odds are differences of logits."""
    logits = rng.normal(size=4)
    p = np.exp(logits) / np.exp(logits).sum()
    moved = np.exp(logits + 3) / np.exp(logits + 3).sum()
    return [p.sum(), *np.log(p[1:] / p[0]), *moved], [1, *(logits[1:] - logits[0]), *p]


def kl_of_normals(m: float, log_std: float, alpha: float) -> float:
    """KL(N(m, std²) ‖ N(0, 1/α)) by quadrature of its definition."""
    q, p = stats.norm(m, math.exp(log_std)), stats.norm(0, alpha**-0.5)
    return mean(lambda e: q.logpdf(q.mean() + q.std() * e) - p.logpdf(q.mean() + q.std() * e))


@step("normal.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    return to_prior(*rng.normal(size=2), alpha=1.0)


@step("normal.6b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    return to_prior(*rng.normal(size=2), alpha=rng.uniform(0.2, 5))


def to_prior(m: float, log_std: float, alpha: float) -> tuple[Numbers, Numbers]:
    """The KL and its two gradients."""
    variance = math.exp(2 * log_std)
    kl = 0.5 * (alpha * m**2 + alpha * variance - 1 - math.log(variance) - math.log(alpha))
    numeric = [
        kl_of_normals(m, log_std, alpha),
        slope(lambda t: kl_of_normals(t, log_std, alpha), m),
        slope(lambda t: kl_of_normals(m, t, alpha), log_std),
    ]
    return numeric, [kl, alpha * m, alpha * variance - 1]


@step("laplace.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    r = -rng.exponential()
    return integral(lambda t: 0.5 * math.exp(t), -np.inf, r), 0.5 * math.exp(r)


@step("laplace.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    delta, b = rng.normal(), rng.uniform(0.3, 3)
    density = stats.laplace(delta, b).pdf
    cuts = [-np.inf, *sorted((0.0, delta)), np.inf]
    numeric = sum(integral(lambda z: abs(z) * density(z), *ends) for ends in pairwise(cuts))
    return numeric, abs(delta) + b * math.exp(-abs(delta) / b)


@step("logistic.5a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    k = np.arange(1, 200_000)
    tail = 0.5 / len(k) ** 2  # of Σ 1 / (k (k + 1)²), to the next order
    by_series = [np.sum(1 / (k * (k + 1.0) ** 2)) + tail, 1 - (math.pi**2 / 6 - 1)]
    return [integral(lambda u: math.log(u) * math.log1p(-u), 0, 1)] * 2, by_series


@step("cauchy.5a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    m, a, c, b = *rng.normal(size=2), *rng.uniform(0.3, 3, 2)
    numeric = integral(lambda t: math.log((m + c * math.tan(t) - a) ** 2 + b**2) / math.pi, -math.pi / 2, math.pi / 2)
    return numeric, math.log((m - a) ** 2 + (c + b) ** 2)


@step("cauchy.5b", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    m_q, m_p, c_q, c_p = *rng.normal(size=2), *rng.uniform(0.3, 3, 2)
    q, p = stats.cauchy(m_q, c_q), stats.cauchy(m_p, c_p)

    def at(angle: float) -> float:
        z = m_q + c_q * math.tan(angle)
        return float(q.logpdf(z) - p.logpdf(z)) / math.pi

    middle = math.log(c_q / c_p) - math.log(4 * c_q**2) + math.log((m_q - m_p) ** 2 + (c_q + c_p) ** 2)
    last = math.log(((c_q + c_p) ** 2 + (m_q - m_p) ** 2) / (4 * c_q * c_p))
    return [integral(at, -math.pi / 2, math.pi / 2)] * 2, [middle, last]


@step("gumbel.5a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    delta, rho = rng.normal(), rng.uniform(0.3, 3)
    of = (
        lambda r: r,
        lambda r: math.exp(-r),
        lambda r: delta + rho * r,
        lambda r: math.exp(-delta - rho * r),
    )
    numeric = [integral(lambda r, g=g: g(r) * math.exp(-r - math.exp(-r)), -7, 60) for g in of]
    return numeric, [EULER, 1, delta + rho * EULER, math.exp(-delta) * special.gamma(1 + rho)]


@step("student_t.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    nu, b, r = rng.uniform(1, 9), rng.uniform(0.3, 3), rng.normal()
    a = nu / 2

    def mixed(x: float) -> float:
        gamma = x ** (a - 1) * math.exp(-x) / special.gamma(a)
        return math.sqrt(x / (math.pi * nu)) / b * math.exp(-x * r * r / nu) * gamma

    right = special.gamma(a + 0.5) / (special.gamma(a) * b * math.sqrt(math.pi * nu)) * (1 + r * r / nu) ** -(a + 0.5)
    return integral(mixed, 0, np.inf), right


@step("triangular.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    c = rng.uniform(0.1, 0.9)
    x, y = c * rng.random(), c + (1 - c) * rng.random()

    def density(t: float) -> float:
        return 2 * t / c if t <= c else 2 * (1 - t) / (1 - c)

    numeric = [integral(density, 0, x), integral(density, y, 1), integral(density, 0, c)]
    return numeric, [x**2 / c, (1 - y) ** 2 / (1 - c), c]


@step("uniform.10a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Leibniz' rule for ends A = sin φ - 2, B = φ² + 1 and a density that moves as well."""
    phi, k = rng.uniform(0.3, 1.5), rng.normal()

    def q(z: float, at: float) -> float:
        return math.exp(-at * z * z)

    def f(z: float) -> float:
        return math.cos(k * z) + z

    low, high = math.sin(phi) - 2, phi**2 + 1
    numeric = slope(lambda t: integral(lambda z: q(z, t) * f(z), math.sin(t) - 2, t**2 + 1), phi)
    inner = integral(lambda z: f(z) * -z * z * q(z, phi), low, high)
    return numeric, inner + q(high, phi) * f(high) * 2 * phi - q(low, phi) * f(low) * math.cos(phi)


@step("exponential.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    r, z = rng.uniform(0.2, 4), rng.exponential()
    return integral(lambda t: r * math.exp(-r * t), 0, z), 1 - math.exp(-r * z)


@step("erlang.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    k, x = int(rng.integers(1, 7)), rng.uniform(0.2, 5)
    factorial = math.factorial(k - 1)
    left = integral(lambda t: t ** (k - 1) * math.exp(-t) / factorial * math.exp(-(x - t)), 0, x)
    middle = math.exp(-x) / factorial * integral(lambda t: t ** (k - 1), 0, x)
    return [left, middle], [x**k * math.exp(-x) / math.factorial(k)] * 2


def rate_of_log(a: float, x: float) -> float:
    """D(a, x) = -∂P/∂a / (x p), P by scipy and its derivative by differences."""
    return -slope(lambda t: special.gammainc(t, x), a, first=0.02 * a) / float(x * stats.gamma(a).pdf(x))


@step("gamma.2a", tolerance=1e-7)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """With the level held: scipy's quantile function, its shape moved."""
    a, u = rng.uniform(0.5, 5), rng.uniform(0.1, 0.9)
    left = slope(lambda t: math.log(special.gammaincinv(t, u)), a)
    return left, rate_of_log(a, float(special.gammaincinv(a, u)))


@step("gamma.4a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, x = rng.uniform(0.5, 5), rng.uniform(0.2, 6)
    psi, p = float(special.psi(a)), stats.gamma(a).pdf
    left = -slope(lambda t: special.gammainc(t, x), a)
    below = integral(lambda s: (psi - 2 * math.log(s)) * p(s * s) * 2 * s, 0, math.sqrt(x))  # t = s²: no pole at 0
    return [left, left], [below, integral(lambda t: (math.log(t) - psi) * p(t), x, np.inf)]


@step("gamma.5a", tolerance=1e-7)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, x = rng.uniform(0.5, 5), rng.uniform(0.2, 6)
    const = math.log(x) - float(special.psi(a))
    right = integral(lambda s: (const + s) * math.exp(a * s - x * math.expm1(s)), 0, 12 + math.log(1 + 30 / x))
    return rate_of_log(a, x), right


@step("gamma.4b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """g = exp(x (1 - e^-s)), whose slope is x e^-s g."""
    a, x = rng.uniform(0.5, 5), rng.uniform(0.2, 6)

    def moment(power: float, factor: Any = lambda s: 1.0) -> float:
        return integral(lambda s: factor(s) * math.exp(-power * s - x * math.expm1(-s)), 0, np.inf)

    left = [moment(a), moment(a, lambda s: s - 1 / a)]
    return left, [1 / a + x / a * moment(a + 1), x / a * moment(a + 1, lambda s: s)]


@step("gamma.14a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A uniform power 1/a takes Gamma(a + 1) to Gamma(a)."""
    a, x = rng.uniform(0.3, 5), rng.uniform(0.2, 6)
    left = integral(lambda y: y**a * math.exp(-y) / special.gamma(a + 1) * a * (x / y) ** (a - 1) / y, x, np.inf)
    middle = a * x ** (a - 1) / special.gamma(a + 1) * integral(lambda y: math.exp(-y), x, np.inf)
    return [left, middle], [x ** (a - 1) * math.exp(-x) / special.gamma(a)] * 2


@step("gamma.15a", tolerance=1e-7)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """With g = exp(-λz), whose mean is (1 + λ)^-a, and v = z D(a, z)."""
    a, rate = rng.uniform(1.2, 4), rng.uniform(0.3, 2)
    p = stats.gamma(a).pdf
    g, dg = (lambda z: math.exp(-rate * z)), (lambda z: -rate * math.exp(-rate * z))
    exact = -math.log1p(rate) * (1 + rate) ** -a

    def through_density(z: float) -> float:
        return g(z) * float(p(z)) * (math.log(z) - float(special.psi(a)))

    def through_distribution(z: float) -> float:
        return -dg(z) * slope(lambda t: special.gammainc(t, z), a, first=0.02 * a)

    def through_path(z: float) -> float:
        return dg(z) * z * rate_of_log(a, z) * float(p(z))

    left = [
        slope(lambda t: (1 + rate) ** -t, a),
        integral(through_density, 0, np.inf),
        *(fixed(path) for path in (through_distribution, through_path)),
    ]
    return left, [exact] * 4


def fixed(f: Any, low: float = 1e-6, high: float = 40.0) -> float:
    """∫ by Gauss and Legendre in log z, for integrands that cost too much for adaptive quadrature."""
    points, weights = np.polynomial.legendre.leggauss(60)
    middle, half = (math.log(high) + math.log(low)) / 2, (math.log(high) - math.log(low)) / 2
    z = np.exp(middle + half * points)
    return float(half * weights @ (z * np.array([f(value) for value in z])))


@step("gamma.15b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Any law of three z with four ∂T each: v(z) is the mean of ∂T given z, and f' depends on z alone."""
    joint, slopes, df = rng.dirichlet(np.ones(12)).reshape(3, 4), rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
    of_z = joint.sum(axis=1, keepdims=True)
    v = np.sum(joint * slopes, axis=1, keepdims=True) / of_z
    spread = np.sum(joint * (slopes - v) ** 2, axis=1, keepdims=True) / of_z

    def var(g: Array) -> float:
        return float(np.sum(joint * g**2) - np.sum(joint * g) ** 2)

    return var(df * slopes), var(df * v * np.ones((3, 4))) + np.sum(of_z * df**2 * spread)


@step("gamma.15c", tolerance=1e-7)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, x = rng.uniform(0.5, 4), rng.uniform(0.3, 5)
    points, weights = np.polynomial.laguerre.laggauss(24)
    inner = [rate_of_log(a + 1, x + s) + math.log1p(s / x) / a for s in points[:14]]  # beyond, e^-s is nothing
    return rate_of_log(a, x), weights[:14] @ np.array(inner)


@step("chi_squared.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The density of a square, from P(ε² ≤ z) = 2Φ(√z) - 1."""
    z = rng.uniform(0.3, 5)
    left = slope(lambda t: 2 * special.ndtr(math.sqrt(t)) - 1, z, first=0.02 * z)
    return left, z**-0.5 * math.exp(-z / 2) / math.sqrt(2 * math.pi)


@step("fisher_f.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, y, eta_1, eta_2 = *rng.uniform(0.2, 4, 2), *rng.normal(size=2)
    z = x / math.exp(eta_1) / (y / math.exp(eta_2))
    w = math.log(z) + eta_1 - eta_2
    s = float(special.expit(w))
    ds = slope(lambda t: special.expit(math.log(t) + eta_1 - eta_2), z, first=0.02 * z)
    return [w, ds], [math.log(x / y), s * (1 - s) / z]


@step("weibull.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """z = c (-log u)^(1/k) exceeds v exactly where u is below the level."""
    k, c, v = *rng.uniform(0.5, 3, 2), rng.uniform(0.2, 3)
    level = math.exp(-((v / c) ** k))
    return [c * (-math.log(level)) ** (1 / k), stats.weibull_min(k, scale=c).sf(v)], [v, level]


@step("weibull.5a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    (k_q, k_p), (c_q, c_p) = rng.uniform(0.7, 3, 2), rng.uniform(0.5, 2, 2)
    q, p = stats.weibull_min(k_q, scale=c_q), stats.weibull_min(k_p, scale=c_p)

    def at(t: float) -> float:  # t = (z / c)^k, exponential
        z = c_q * t ** (1 / k_q)
        return float(q.logpdf(z) - p.logpdf(z)) * math.exp(-t)

    right = math.log(k_q / k_p) + EULER * (k_p / k_q - 1) + k_p * math.log(c_p / c_q)
    right += (c_q / c_p) ** k_p * special.gamma(1 + k_p / k_q) - 1
    return integral(at, 0, 40), right


@step("rayleigh.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    c, v = rng.uniform(0.3, 3, 2)
    ring = integral(lambda t: math.exp(-t * t / (2 * c * c)) / (2 * math.pi * c * c) * 2 * math.pi * t, v, np.inf)
    return ring, math.exp(-v * v / (2 * c * c))


@step("gompertz.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    eta, b, v = rng.uniform(0.2, 2, 3)
    hazard = integral(lambda t: eta * b * math.exp(b * t), 0, v)
    return math.exp(-hazard), math.exp(-eta * math.expm1(b * v))


def gompertz_integral(n: int, x: float) -> float:
    return integral(lambda t: t ** (n - 1) / (1 + t) ** n * math.exp(-x * t), 0, np.inf)


@step("gompertz.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x = rng.uniform(0.3, 4)
    return gompertz_integral(1, x), math.exp(x) * special.exp1(x)


@step("gompertz.6b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x, n = rng.uniform(0.3, 4), int(rng.integers(2, 6))
    I = {m: gompertz_integral(m, x) for m in (1, 2, n - 1, n, n + 1)}  # noqa: E741
    left = [(x + 1) * I[1] - I[2], (x + 2 * n - 1) * I[n] - n * I[n + 1]]
    return left, [1, (n - 1) * I[n - 1]]


@step("log_normal.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    mu, sigma, n = rng.normal(), rng.uniform(0.1, 1), int(rng.integers(1, 4))
    return mean(lambda e: np.exp(n * (mu + sigma * e))), math.exp(n * mu + n**2 * sigma**2 / 2)


@step("pareto.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    m, k = rng.uniform(0.3, 3, 2)
    z = m * (1 + rng.exponential())
    return integral(lambda t: k * m**k / t ** (k + 1), m, z), 1 - (m / z) ** k


@step("beta.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, b, t, z = *rng.uniform(0.4, 4, 3), rng.uniform(0.1, 0.9)
    left = (t * z) ** (a - 1) * (t * (1 - z)) ** (b - 1) * math.exp(-t) / (special.gamma(a) * special.gamma(b)) * t
    return left, stats.beta(a, b).pdf(z) * stats.gamma(a + b).pdf(t)


@step("dirichlet.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, t = rng.uniform(0.4, 4, 4), rng.uniform(0.4, 6)
    z = rng.dirichlet(np.ones(4))
    left = np.prod((t * z) ** (a - 1) / special.gamma(a)) * math.exp(-t) * t**3
    return left, stats.dirichlet(a).pdf(z) * stats.gamma(a.sum()).pdf(t)


@step("dirichlet.11a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """From the beta laws of z_j, z_k and of their sum: Var(z_j + z_k) = Var z_j + Var z_k + 2 Cov."""
    a = rng.uniform(0.4, 4, 4)
    total = a.sum()
    var = [stats.beta(s, total - s).var() for s in (a[0] + a[1], a[0], a[1])]
    return (var[0] - var[1] - var[2]) / 2, -a[0] * a[1] / (total**2 * (total + 1))


@step("continuous_bernoulli.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    eta = rng.normal() * 3
    return integral(lambda x: math.exp(eta * x), 0, 1), math.expm1(eta) / eta


@step("continuous_bernoulli.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    h, n = rng.normal() * 2, int(rng.integers(1, 5))
    J = {m: integral(lambda t, m=m: (1 - t * t) ** m * math.exp(h * t), -1, 1) for m in (n - 1, n, n + 1)}
    return [h * h * J[n + 1] + 2 * (n + 1) * (2 * n + 1) * J[n]], [2 * (n + 1) * 2 * n * J[n - 1]]


@step("bernoulli.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    logit = rng.normal() * 4
    e, t = math.exp(-abs(logit)), abs(math.tanh(logit / 2))
    up, down = math.exp(abs(logit) / 2), math.exp(-abs(logit) / 2)
    return [t, t, 1 + t], [(up - down) / (up + down), (1 - e) / (1 + e), 2 / (1 + e)]


@step("discretized_logistic.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, width = rng.normal(), rng.uniform(0.1, 3)
    b = a + width
    left = special.expit(b) - special.expit(a)
    middle = (math.exp(b) - math.exp(a)) / ((1 + math.exp(b)) * (1 + math.exp(a)))
    return [left, left], [middle, special.expit(b) * special.expit(-a) * (1 - math.exp(-width))]


@step("negative_binomial.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    r, m, k = *rng.uniform(0.5, 5, 2), int(rng.integers(0, 9))
    constant = (r / m) ** r / (math.factorial(k) * special.gamma(r))

    def joint(rate: float) -> float:
        """A Poisson of that rate, times the gamma density of mean m and shape r."""
        return float(rate**k * math.exp(-rate) * rate ** (r - 1) * math.exp(-r * rate / m) * constant)

    left = integral(joint, 1e-12, 60)
    middle = special.gamma(k + r) / (math.factorial(k) * special.gamma(r)) * (r / (r + m)) ** r * (m / (r + m)) ** k
    return left, middle


@step("negative_binomial.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The rest by Binet's integral, 2 ∫ atan(t / x) / (e^2πt - 1) dt."""
    x = rng.uniform(0.5, 9)
    rest = 2 * integral(lambda t: math.atan(t / x) / math.expm1(2 * math.pi * t), 0, 8)
    return special.gammaln(x), (x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi) + rest


@step("divergences.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A gamma against a log-normal: the KL by quadrature, the entropy by scipy."""
    a, s = rng.uniform(1.2, 4), rng.uniform(0.5, 1.5)

    def log_q(z: float) -> float:
        return (a - 1) * math.log(z) - z - math.lgamma(a)

    def log_p(z: float) -> float:
        return -math.log(z * s * math.sqrt(2 * math.pi)) - 0.5 * (math.log(z) / s) ** 2

    left = integral(lambda z: math.exp(log_q(z)) * (log_q(z) - log_p(z)), 0, 60)
    cross = integral(lambda z: math.exp(log_q(z)) * log_p(z), 0, 60)
    return left, -stats.gamma(a).entropy() - cross


@step("implicit.1a", tolerance=1e-7)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A gamma whose shape moves by a little: the sample moves so that its level stays."""
    a, u = rng.uniform(0.5, 5), rng.uniform(0.1, 0.9)
    z = float(special.gammaincinv(a, u))
    dz = slope(lambda t: special.gammaincinv(t, u), a)
    at_value = slope(lambda t: special.gammainc(a, t), z, first=0.02 * z) * dz
    return at_value, -slope(lambda t: special.gammainc(t, z), a)
