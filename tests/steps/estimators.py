"""Steps of the pages on gradient estimators: expectations by quadrature or enumeration, gradients by differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special, stats
from scipy.special import expit, logit

from numvae.arrays import Array
from tests.steps.kit import (
    NODES,
    WEIGHTS,
    Numbers,
    bits,
    gradient,
    integral,
    mean,
    pairs,
    piecewise,
    slope,
    step,
    variance,
)

Rng = np.random.Generator


# ---- the score function, under a normal and with f(φ, z) = sin(z φ₁) + φ₀ z²


def f(phi: Array, z: Array) -> Array:
    return np.asarray(np.sin(z * phi[1]) + phi[0] * z * z)


def df(phi: Array, z: Array) -> Array:
    """∂f/∂φ at a z held."""
    return np.stack([z * z, z * np.cos(z * phi[1])])


def scores(phi: Array, z: Array) -> Array:
    """∇ log N(z; φ₀, e^φ₁)."""
    r = (z - phi[0]) / math.exp(phi[1])
    return np.stack([r / math.exp(phi[1]), r * r - 1])


def sampled(phi: Array, e: Array = NODES) -> Array:
    return np.asarray(phi[0] + math.exp(phi[1]) * e)


def some_phi(rng: Rng) -> Array:
    return np.asarray(0.5 * rng.normal(size=2))


@step("score_function.1a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    phi = some_phi(rng)
    z = sampled(phi)
    left = gradient(lambda t: WEIGHTS @ f(t, sampled(t)), phi)
    return left, (scores(phi, z) * f(phi, z) + df(phi, z)) @ WEIGHTS


@step("score_function.1b", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two samples, the logarithm of the mean of exponentials."""
    phi = 0.5 * some_phi(rng)
    *noise, chance = pairs()

    def values(t: Array) -> Array:
        return np.stack([f(t, sampled(t, e)) for e in noise])

    def bound(t: Array) -> float:
        return float(chance @ special.logsumexp(values(t), axis=0, b=0.5))

    z = [sampled(phi, e) for e in noise]
    of_draws, shares = special.logsumexp(values(phi), axis=0, b=0.5), special.softmax(values(phi), axis=0)
    right = sum((of_draws * scores(phi, z[s]) + shares[s] * df(phi, z[s])) @ chance for s in range(2))
    return gradient(bound, phi), right


@step("score_function.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    phi = some_phi(rng)
    return [1, *(scores(phi, sampled(phi)) @ WEIGHTS)], [1, 0, 0]


@step("score_function.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, s = rng.normal(), rng.uniform(0.3, 2)
    second = mean(lambda e: (a + s * e) ** 4 * e**2 / s**2)
    right = [(a**4 + 18 * a**2 * s**2 + 15 * s**4) / s**2, a**4 / s**2 + 14 * a**2 + 15 * s**2]
    return [second, variance(lambda e: (a + s * e) ** 2 * e / s)], right


@step("score_function.3b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, s = rng.normal(), rng.uniform(0.3, 2)
    left = variance(lambda e: (a + s * e) ** 2 * (e**2 - 1) / s)
    middle = (2 * a**4 + 60 * a**2 * s**2 + 78 * s**4) / s**2 - 4 * s**2
    return [left, left], [middle, 2 * a**4 / s**2 + 60 * a**2 + 74 * s**2]


@step("pathwise.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, s, e = rng.normal(), rng.uniform(0.3, 2), rng.normal()
    by_mean, by_std = (lambda t: 2 * (a + s * t)), (lambda t: 2 * (a + s * t) * t)
    slopes = [slope(lambda t: (t + s * e) ** 2, a), slope(lambda t: (a + t * e) ** 2, s)]
    moments = [mean(by_mean), variance(by_mean), mean(by_std), variance(by_std)]
    right = [2 * (a + s * e), 2 * (a + s * e) * e, 2 * a, 4 * s**2, 2 * s, 4 * a**2 + 8 * s**2]
    return [*slopes, *moments], right


@step("sticking_the_landing.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """log p(x, z) = cos z - z²; both parameters of q."""
    phi, e = some_phi(rng), rng.normal()

    def log_q(t: Array, z: float) -> float:
        return float(stats.norm(t[0], math.exp(t[1])).logpdf(z))

    left = gradient(lambda t: math.cos(sampled(t, e)) - float(sampled(t, e)) ** 2 - log_q(t, float(sampled(t, e))), phi)
    z = float(sampled(phi, e))
    path = -math.sin(z) - 2 * z + (z - phi[0]) / math.exp(2 * phi[1])
    return left, path * np.array([1, math.exp(phi[1]) * e]) - scores(phi, np.array(z))


@step("sticking_the_landing.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    mu, m, (sigma, s), e = *rng.normal(size=2), rng.uniform(0.3, 2, 2), rng.normal()
    p, z = stats.norm(m, s), mu + sigma * e
    alone = slope(lambda t: p.logpdf(t) - stats.norm(mu, sigma).logpdf(t), z)
    whole = slope(lambda t: p.logpdf(t + sigma * e) - stats.norm(t, sigma).logpdf(t + sigma * e), mu)
    right = [-(mu - m) / s**2 + (1 / sigma - sigma / s**2) * e, -(mu - m) / s**2 - sigma / s**2 * e]
    return [alone, whole], right


def importance(rng: Rng) -> tuple[Array, Callable[[Array, Array], Array], Callable[[Array, Array], Array]]:
    """φ, f = log p - log q with log p = log N(z; m, 1.2), and its slope in z."""
    m = 0.3 * rng.normal()
    p = stats.norm(m, 1.2)

    def value(t: Array, z: Array) -> Array:
        return np.asarray(p.logpdf(z) - stats.norm(t[0], math.exp(t[1])).logpdf(z))

    def dz(t: Array, z: Array) -> Array:
        return np.asarray(-(z - m) / 1.2**2 + (z - t[0]) / math.exp(2 * t[1]))

    return 0.3 * some_phi(rng), value, dz


@step("doubly_reparameterized.1a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    phi, value, dz = importance(rng)
    *noise, chance = pairs()

    def bound(t: Array) -> float:
        return float(chance @ special.logsumexp([value(t, sampled(t, e)) for e in noise], axis=0, b=0.5))

    z = [sampled(phi, e) for e in noise]
    shares = special.softmax([value(phi, each) for each in z], axis=0)
    paths = [np.stack([np.ones_like(e), math.exp(phi[1]) * e]) for e in noise]
    right = sum((shares[s] * (paths[s] * dz(phi, z[s]) - scores(phi, z[s]))) @ chance for s in range(2))
    return gradient(bound, phi), right


@step("doubly_reparameterized.1b", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """R = log-mean-exp: R_s the share w, R_ss = w (1 - w)."""
    phi, value, dz = importance(rng)
    *noise, chance = pairs()
    z = [sampled(phi, e) for e in noise]
    shares = special.softmax([value(phi, each) for each in z], axis=0)
    paths = [np.stack([np.ones_like(e), math.exp(phi[1]) * e]) for e in noise]
    left = sum((shares[s] * scores(phi, z[s])) @ chance for s in range(2))
    return left, sum((shares[s] * (1 - shares[s]) * paths[s] * dz(phi, z[s])) @ chance for s in range(2))


@step("reweighted.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    phi, m, s = some_phi(rng), rng.normal(), rng.uniform(0.3, 2)
    p = stats.norm(m, s)
    z = m + s * NODES

    def minus_kl(t: Array) -> float:
        return float(WEIGHTS @ (stats.norm(t[0], math.exp(t[1])).logpdf(z) - p.logpdf(z)))

    return gradient(minus_kl, phi), scores(phi, z) @ WEIGHTS


@step("delta_method.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A quadratic around m, by nodes in two dimensions."""
    m, mu, linear = rng.normal(size=(3, 2))
    std, root, constant = rng.uniform(0.3, 2, 2), rng.normal(size=(2, 2)), rng.normal()
    H = root + root.T
    *noise, chance = pairs()
    z = mu + std * np.stack(noise, axis=-1)
    h = constant + (z - m) @ linear + 0.5 * np.einsum("ni,ij,nj->n", z - m, H, z - m)
    shift = mu - m
    return chance @ h, constant + linear @ shift + 0.5 * shift @ H @ shift + 0.5 * np.sum(np.diag(H) * std**2)


@step("closed_form.2a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    mu, sigma, k, n = rng.normal(), rng.uniform(0.3, 1.5), rng.uniform(0.2, 2), int(rng.integers(0, 5))
    hermite = np.polynomial.hermite_e.hermeval(k * sigma, np.eye(6)[n])
    right = (np.exp(1j * k * mu) * 1j**n).real * hermite * math.exp(-((k * sigma) ** 2) / 2)
    return [1 + mean(lambda e: np.cos(k * (mu + sigma * e)) * e**n)], [1 + right]


@step("coupled_noise.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """A pair of opposite noises: dependent, and each standard normal."""
    a, b = rng.normal(size=2)

    def g(e: Array) -> Array:
        return np.asarray(np.sin(a * e) + b * e**2 + e)

    return mean(lambda e: (g(e) + g(-e)) / 2), mean(g)


@step("coupled_noise.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, b = rng.normal(size=2)

    def g(e: Array) -> Array:
        return np.asarray(np.sin(a * e) + b * e**2 + e)

    first, second, chance = pairs()
    half = (g(first) + g(second)) / 2
    even, odd = variance(lambda e: (g(e) + g(-e)) / 2), variance(lambda e: (g(e) - g(-e)) / 2)
    opposite = variance(lambda e: (g(e) + g(-e)) / 2)
    return [opposite, chance @ half**2 - (chance @ half) ** 2], [even, even / 2 + odd / 2]


@step("coupled_noise.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Four cells of [0, 1], one uniform draw in each: the variance of their mean, and the plain one above it."""
    points, weights = np.polynomial.legendre.leggauss(20)
    u = (np.arange(4)[:, None] + (points + 1) / 2) / 4
    g = np.sin(5 * rng.normal() * u) + rng.normal() * u
    within = (g**2) @ (weights / 2) - (g @ (weights / 2)) ** 2
    all_of = np.mean((g**2) @ (weights / 2)) - np.mean(g @ (weights / 2)) ** 2
    variance_of_mean = np.sum(within) / 16
    return [variance_of_mean, max(variance_of_mean - all_of / 4, 0)], [np.mean(within) / 4, 0]


@step("smoothing.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """F̄ = sin: the difference, the mean slope, and the series to h⁴."""
    phi, h = rng.normal(), 0.01
    left = (math.sin(phi + h) - math.sin(phi - h)) / (2 * h)
    middle = integral(math.cos, phi - h, phi + h) / (2 * h)
    return [left, left], [middle, math.cos(phi) - h * h / 6 * math.cos(phi)]


@step("smoothing.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    phi, k, width = rng.normal(), rng.uniform(0.3, 2), rng.uniform(0.2, 1)

    def F(at: Array) -> Array:
        return np.asarray(np.sin(k * at) + 0.1 * at**2)

    left = slope(lambda t: mean(lambda e: F(t + width * e)), phi)
    one = mean(lambda e: F(phi + width * e) * e / width)
    return [left, left], [one, mean(lambda e: (F(phi + width * e) - F(phi - width * e)) / (2 * width) * e)]


# ---- baselines


def leave_one_out_variance(values: Array, own_scores: Array, chances: Array, samples: int) -> float:
    """Of Σ_s (f_s - b_s) s_s / S over all outcomes of S draws."""
    index = np.stack([axis.ravel() for axis in np.meshgrid(*[range(len(values))] * samples)])
    chance = np.prod(chances[index], axis=0)
    drawn = values[index]
    others = (drawn.sum(axis=0) - drawn) / (samples - 1)
    estimate = np.sum((drawn - others) * own_scores[index], axis=0) / samples
    return float(chance @ estimate**2 - (chance @ estimate) ** 2)


@step("baselines.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    v, s = rng.normal(size=5), 2
    others = np.delete(v, s)

    def log_mean_exp(values: Array) -> float:
        return float(special.logsumexp(values) - math.log(len(values)))

    left = [reduce(np.where(np.arange(5) == s, reduce(others), v)) for reduce in (np.mean, log_mean_exp)]
    return left, [np.mean(others), log_mean_exp(others)]


@step("baselines.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """g = (f - b) s + d for one sample: where its variance is least, and how it grows away from there."""
    chances, values, direct = rng.dirichlet(np.ones(4)), *rng.normal(size=(2, 4))
    s = rng.normal(size=4)
    s -= chances @ s

    def var(b: float) -> float:
        g = (values - b) * s + direct
        return float(chances @ g**2 - (chances @ g) ** 2)

    square = chances @ s**2
    best, b = (chances @ (values * s**2) + chances @ (direct * s)) / square, rng.normal()
    return [1 + slope(var, best), var(b)], [1, var(best) + (b - best) ** 2 * square]


@step("baselines.7a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    chances, values, s, S = rng.dirichlet(np.ones(3)), rng.normal(size=3), rng.normal(size=3), int(rng.integers(2, 5))
    s -= chances @ s
    centred = values - chances @ values
    right = chances @ (centred**2 * s**2) + (chances @ centred**2) * (chances @ s**2) / (S - 1)
    right -= (S - 2) / (S - 1) * (chances @ (values * s)) ** 2
    return leave_one_out_variance(values, s, chances, S), right / S


@step("baselines.7b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Three samples at all triples of twelve nodes: polynomials, so exact."""
    a, s, S = rng.normal(), rng.uniform(0.3, 2), 3
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / weights.sum()
    values = (a + s * nodes) ** 2
    left = [leave_one_out_variance(values, each, weights, S) for each in (nodes / s, (nodes**2 - 1) / s)]
    common = S * (S - 1)
    by_mean = (8 * S * a**2 + (10 * S - 8) * s**2) / common
    return left, [by_mean, ((40 * S - 32) * a**2 + (56 * S - 48) * s**2) / common]


# ---- bits


def coin(rng: Rng) -> tuple[float, float, float]:
    """P(1), and f at 0 and at 1."""
    return (float(rng.uniform(0.05, 0.95)), *map(float, rng.normal(size=2)))


def of_pair(theta: float, f_0: float, f_1: float) -> tuple[Array, Array, Array]:
    """ARM and DisARM at nodes of u, and their weights."""
    u, weights = piecewise(*sorted({theta, 1 - theta}))
    b, opposite = u > 1 - theta, u < theta
    difference = np.where(b, f_1, f_0) - np.where(opposite, f_1, f_0)
    arm = difference * (u - 0.5)
    disarm = 0.5 * difference * np.where(opposite, -1.0, 1.0) * (b != opposite) * max(theta, 1 - theta)
    return arm, disarm, weights


@step("arm.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    theta, f_0, f_1 = coin(rng)
    u, weights = piecewise(theta)
    return weights @ (np.where(u < theta, f_1, f_0) * (1 - 2 * u)), theta * (1 - theta) * (f_1 - f_0)


@step("arm.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    theta, f_0, f_1 = coin(rng)
    delta, m, both = f_1 - f_0, min(theta, 1 - theta), theta * (1 - theta)
    truth = both * delta
    score = theta * (f_1 * (1 - theta)) ** 2 + (1 - theta) * (f_0 * theta) ** 2 - truth**2
    two = leave_one_out_variance(np.array([f_0, f_1]), np.array([-theta, 1 - theta]), np.array([1 - theta, theta]), 2)
    arm, disarm, weights = of_pair(theta, f_0, f_1)
    right = [
        both * (f_1**2 * (1 - theta) + f_0**2 * theta) - both**2 * delta**2,
        delta**2 * both * (0.5 - both),
        2 * delta**2 * (1 / 24 - (0.5 - m) ** 3 / 3) - both**2 * delta**2,
        delta**2 * (1 - m) ** 2 * m * (0.5 - m),
        truth,
        truth,
    ]
    means = weights @ arm, weights @ disarm
    return [score, two, weights @ arm**2 - means[0] ** 2, weights @ disarm**2 - means[1] ** 2, *means], right


def two_coins(rng: Rng) -> tuple[list[float], list[float]]:
    """What the second coin adds to the variance of the first, by all pairs of nodes: [ARM, DisARM], and by formula."""
    theta, eta = rng.uniform(0.05, 0.95, 2)
    delta, rise = rng.normal(size=2)
    arm, disarm, weights = of_pair(theta, 0.0, delta)
    u, other_weights = piecewise(*sorted({eta, 1 - eta}))
    other = rise * ((u > 1 - eta) * 1.0 - (u < eta) * 1.0)
    own, _ = piecewise(*sorted({theta, 1 - theta}))
    opposite, unequal = own < theta, (own > 1 - theta) != (own < theta)
    factors = own - 0.5, 0.5 * np.where(opposite, -1.0, 1.0) * unequal * max(theta, 1 - theta)
    grown = []
    for alone, factor in zip((arm, disarm), factors, strict=True):
        together, chance = alone[:, None] + other * factor[:, None], np.outer(weights, other_weights)
        both = np.sum(chance * together**2) - np.sum(chance * together) ** 2
        grown.append(float(both - (weights @ alone**2 - (weights @ alone) ** 2)))
    m, m_other = min(theta, 1 - theta), min(eta, 1 - eta)
    return grown, [m_other * rise**2 / 6, (1 - m) ** 2 * m * m_other * rise**2]


@step("arm.4b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    grown, formulas = two_coins(rng)
    return grown[0], formulas[0]


@step("arm.4c")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    grown, formulas = two_coins(rng)
    return grown[1], formulas[1]


@step("enumeration.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Three bits, f with the logits in it."""
    logits, costs = rng.normal(size=3), rng.normal(size=8)
    rows = bits(3)

    def masses(t: Array) -> Array:
        return np.asarray(np.prod(np.where(rows == 1, expit(t), expit(-t)), axis=1))

    def value(t: Array) -> Array:
        return np.asarray(costs + rows @ np.sin(t))

    left = gradient(lambda t: masses(t) @ value(t), logits)
    inside = value(logits)[:, None] * (rows - expit(logits)) + rows * np.cos(logits)
    return left, masses(logits) @ inside


@step("local_expectation.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    ell, (zero, one) = rng.normal(), rng.normal(size=2)
    return slope(lambda t: expit(t) * one + expit(-t) * zero, ell), expit(ell) * expit(-ell) * (one - zero)


@step("muprop.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """h linear in the bits."""
    logits, g = rng.normal(size=(2, 3))
    rows, mu = bits(3), expit(logits)
    chance = np.prod(np.where(rows == 1, mu, 1 - mu), axis=1)
    left = (chance * (rows @ g)) @ (rows - mu)
    return [left, gradient(lambda t: g @ expit(t), logits)], [g * mu * (1 - mu)] * 2


@step("muprop.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    mu = rng.uniform(0.05, 0.95)
    third, sixth = (mu * (1 - mu) ** n + (1 - mu) * (-mu) ** n for n in (3, 6))
    return [third, sixth], [mu * (1 - mu) * (1 - 2 * mu), mu * (1 - mu) * ((1 - mu) ** 5 + mu**5)]


@step("muprop.2b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Of (b - μ)³ = the quadratic's rest times the score."""
    mu = rng.uniform(0.05, 0.95)
    b, chance = np.array([0.0, 1.0]), np.array([1 - mu, mu])
    left = chance @ (b - mu) ** 6 - (chance @ (b - mu) ** 3) ** 2
    right = mu * (1 - mu) * ((1 - mu) ** 5 + mu**5) - mu**2 * (1 - mu) ** 2 * (1 - 2 * mu) ** 2
    return left, right


@step("straight_through.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Two bits, L = sin(a z₁ + b z₂): slope in the place of the difference."""
    logits, (a, b) = rng.normal(size=2), rng.normal(size=2)
    mu, rows = expit(logits), bits(2)
    chance = np.prod(np.where(rows == 1, mu, 1 - mu), axis=1)
    estimate = mu[0] * (1 - mu[0]) * (chance @ (a * np.cos(rows @ [a, b])))

    def expected(t: float) -> float:
        masses = np.prod(np.where(rows == 1, expit([t, logits[1]]), expit([-t, -logits[1]])), axis=1)
        return float(masses @ np.sin(rows @ [a, b]))

    truth = slope(expected, logits[0])
    difference = sum(m * (math.sin(a + b * z) - math.sin(b * z)) for m, z in ((mu[1], 1), (1 - mu[1], 0)))
    right = mu[0] * (1 - mu[0]) * (chance @ (a * np.cos(rows @ [a, b])) - difference)
    return 1 + estimate - truth, 1 + right


def logistic_density(x: float) -> float:
    return float(expit(x) * expit(-x))


@step("concrete.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The level at which y = σ((ℓ + logit u) / τ) is x."""
    ell, tau, u = rng.normal(), rng.uniform(0.3, 2), rng.uniform(0.05, 0.95)
    x = float(expit((ell + logit(u)) / tau))
    return u, 1 - expit(ell - tau * math.log(x / (1 - x)))


@step("concrete.3a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """f' = 2 (y - t), the mean over uniforms, over x = τ logit y, and over y."""
    ell, tau, t = rng.normal(), rng.uniform(0.4, 1.5), rng.random()

    def y_of(x: float) -> float:
        return float(expit(x / tau))

    def inner(y: float) -> float:
        return 2 * (y - t) * y * (1 - y) / tau

    by_u = integral(lambda u: inner(y_of(ell + float(logit(u)))), 0, 1)
    by_x = integral(lambda x: inner(y_of(x)) * logistic_density(x - ell), -60, 60)
    by_y = integral(lambda y: 2 * (y - t) * logistic_density(tau * float(logit(y)) - ell), 0, 1)
    return [by_u, by_u], [by_x, by_y]


@step("concrete.3b", tolerance=0.02)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """To first order in τ = 0.01: f' = 2 (y - t)."""
    ell, t, tau = rng.uniform(0.5, 2), rng.random(), 0.01
    theta = float(expit(ell))
    found = integral(lambda y: 2 * (y - t) * logistic_density(tau * float(logit(y)) - ell), 0, 1)
    exact = theta * (1 - theta) * (1 - 2 * t)  # σ' (f(1) - f(0))
    first = integral(lambda y: 2 * (y - t) * float(logit(y)), 0, 1)
    return (found - exact) / tau, theta * (1 - theta) * (2 * theta - 1) * first


@step("concrete.4a", tolerance=0.02)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """At τ = 0.01, f' = 2 (y - t) taken at the hard bit."""
    ell, t = rng.normal(), rng.random()

    def at(y: float) -> float:
        return 2 * ((y > 0.5) - t) * logistic_density(0.01 * float(logit(y)) - ell)

    return 1 + integral(at, 0, 0.5) + integral(at, 0.5, 1), 1 + logistic_density(-ell) * (-2 * t + 2 * (1 - t)) / 2


@step("concrete.4b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """τ = 1 at even odds, and the truth σ' (f(1) - f(0)) with f = (y - t)²."""
    t = rng.random()
    left = integral(lambda y: 2 * (y - t) * y * (1 - y), 0, 1)
    return [left, 0.25 * ((1 - t) ** 2 - t**2)], [(1 - 2 * t) / 6, (1 - 2 * t) / 4]


@step("relax.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """With that constant both outcomes give the truth."""
    theta, f_0, f_1 = coin(rng)
    r = (1 - theta) * f_1 + theta * f_0
    return [(f_1 - r) * (1 - theta), -(f_0 - r) * theta], [theta * (1 - theta) * (f_1 - f_0)] * 2


@step("relaxation.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """z given b = 1 is φ + logit u with u uniform above 1 - θ: u = 1 - vθ."""
    phi, v = rng.normal(), rng.random()
    theta = float(expit(phi))
    left = phi + float(logit(1 - v * theta))
    second = phi + math.log((1 + math.exp(-phi) - v) / v)
    return [left] * 3, [
        phi + math.log((1 - v * theta) / (v * theta)),
        second,
        math.log(1 + (1 - v) * math.exp(phi)) - math.log(v),
    ]


@step("relaxation.4a", tolerance=1e-8)
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """c = σ(z / 2): through z, by differences of its mean, and through z̃ with the score of the bit."""
    phi = float(rng.normal())
    theta = float(expit(phi))
    t = np.linspace(-36, 36, 2001)  # x, and v = σ(t): equal steps are as good as any rule where all dies at the ends
    levels, density = expit(t), expit(t) * expit(-t) * (t[1] - t[0])

    def c(z: Array) -> Array:
        return np.asarray(expit(z / 2))

    def dc(z: Array) -> Array:
        return np.asarray(0.5 * c(z) * (1 - c(z)))

    def one(at: complex) -> Array:  # for a one; for a zero it is the mirror image
        return np.asarray(np.log(1 + (1 - levels) * np.exp(at)) - np.log(levels))

    given_bit = 0.0
    for sign, mass, score in ((1, theta, 1 - theta), (-1, 1 - theta, -theta)):
        z, slope_of_z = sign * one(sign * phi), one(sign * phi + 1e-30j).imag / 1e-30  # exact: no difference is taken
        given_bit += mass * float(density @ (c(z) * score + dc(z) * slope_of_z))
    by_path, by_mean = density @ dc(phi + t), slope(lambda at: float(density @ c(at + t)), phi)
    return [by_path, by_path], [by_mean, given_bit]


@step("rebar.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """t = log τ, y = x / τ, ζ = σ(y)."""
    x, t = rng.normal(), 0.5 * rng.normal()
    tau = math.exp(t)
    y = x / tau
    zeta = float(expit(y))
    inner = zeta * (1 - zeta)
    left = slope(lambda s: expit(x / math.exp(s)), t)
    second = slope(lambda s: expit(x / math.exp(s)) * expit(-x / math.exp(s)) / math.exp(s), t)
    return [left, second], [-inner * y, -inner / tau * (1 + y * (1 - 2 * zeta))]


@step("lax.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """g(w) of three numbers, w of two."""
    A, w = rng.normal(size=(2, 3)), rng.normal(size=2)

    def g(at: Array) -> Array:
        return np.asarray(np.sin(at @ A) + 0.3)

    held = g(w)
    return gradient(lambda t: float(np.sum(g(t) ** 2)), w), 2 * gradient(lambda t: float(held @ g(t)), w)


# ---- measures


@step("measure_valued.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The exponential in its rate, with f = exp(-kz): q⁺ = q, q⁻ = Gamma(2, r), c = 1 / r."""
    r, k = rng.uniform(0.3, 3, 2)
    left = slope(lambda t: t / (t + k), r)
    plus, minus = (integral(lambda z, p=p: p.pdf(z) * math.exp(-k * z), 0, 60 / r) for p in waits(r))
    return left, (plus - minus) / r


def waits(r: float) -> tuple[stats.rv_continuous, stats.rv_continuous]:
    return stats.expon(scale=1 / r), stats.gamma(2, scale=1 / r)


@step("measure_valued.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    r, z = rng.uniform(0.3, 3, 2)
    left = slope(lambda t: t * math.exp(-t * z), r)
    return left, (r * math.exp(-r * z) - r * r * z * math.exp(-r * z)) / r


@step("measure_valued.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    x = rng.uniform(0.1, 3)
    root = math.sqrt(2 * math.pi)
    left = integral(lambda m: m * m * math.exp(-m * m / 2) / root / m, x, np.inf)
    return left, math.exp(-x * x / 2) / root


@step("measure_valued.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    a, rate = rng.uniform(0.5, 4), rng.uniform(0.3, 3)
    right = integral(lambda s: math.expm1(-rate * s) * math.exp(-a * s) / math.expm1(-s), 1e-15, 80 / a)
    return special.psi(a + rate) - special.psi(a), right


@step("measure_valued.6b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """f = exp(-λz), of which E f(z e^-s) = (1 + λ e^-s)^-a."""
    a, rate = rng.uniform(0.5, 4), rng.uniform(0.3, 3)

    def at(s: float) -> float:
        difference = (1 + rate) ** -a - (1 + rate * math.exp(-s)) ** -a
        return -difference * math.exp(-a * s) / math.expm1(-s)

    return slope(lambda t: (1 + rate) ** -t, a), integral(at, 1e-12, 80 / a)


@step("measure_valued.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """c (f(μ + σw) - f(μ - σw)) with w Rayleigh and f = (z - k)²: moments by quadrature."""
    a, s = rng.normal(), rng.uniform(0.3, 2)

    def estimate(w: float) -> float:
        return ((a + s * w) ** 2 - (a - s * w) ** 2) / (s * math.sqrt(2 * math.pi))

    first, second = (integral(lambda w, n=n: estimate(w) ** n * w * math.exp(-w * w / 2), 0, 12) for n in (1, 2))
    return [second - first**2, first], [(16 / math.pi - 4) * a**2, 2 * a]


@step("measure_valued.3b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """f(μ + σx) - f(μ + σux), x = ±m of Maxwell's law, u uniform, f = (z - k)²."""
    a, s = rng.normal(), rng.uniform(0.3, 2)
    points, weights = np.polynomial.legendre.leggauss(40)
    m, maxwell = 6 * (points + 1), 6 * weights
    maxwell = maxwell * math.sqrt(2 / math.pi) * m**2 * np.exp(-m * m / 2)
    u, uniform = (points + 1) / 2, weights / 2
    moments = np.zeros(2)
    for sign in (-1, 1):
        x = sign * m[:, None]
        estimate = (a + s * x) ** 2 - (a + s * u * x) ** 2
        moments += [0.5 * maxwell @ estimate**n @ uniform for n in (1, 2)]
    return [moments[0], moments[1] - moments[0] ** 2], [2 * s**2, 4 * a**2 * s**2 + 4 * s**4]


@step("poisson_difference.1a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    r, k = rng.uniform(0.5, 5), int(rng.integers(1, 9))
    left = slope(lambda t: t**k * math.exp(-t) / math.factorial(k), r)
    middle = r ** (k - 1) * math.exp(-r) / math.factorial(k - 1) - r**k * math.exp(-r) / math.factorial(k)
    return [left, left], [middle, stats.poisson(r).pmf(k - 1) - stats.poisson(r).pmf(k)]


@step("poisson_difference.1b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """r (f(z + 1) - f(z)) of f = (z - k)²."""
    r, k = rng.uniform(0.5, 5), rng.normal()
    z = np.arange(80)
    chance, estimate = stats.poisson(r).pmf(z), r * ((z + 1 - k) ** 2 - (z - k) ** 2)
    return chance @ estimate**2 - (chance @ estimate) ** 2, 4 * r**3
