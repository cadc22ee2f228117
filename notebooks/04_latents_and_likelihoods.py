# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lesson 4: latents and likelihoods
#
# So far latents were normal and pixels were bits. Nothing in the bound asks for that. It needs three things of a family
# of distributions: samples with a gradient, a log-density, and, if there is one, a KL divergence. This lesson takes
# some thirty families, and looks at what each of the three costs, where it breaks, and what the choice of a family does
# to a model.
#
# 1. **Samples with gradients**: the paper's three ways, the one mistake that a gradient check lets pass, and a place
#    where the score function is wrong.
# 2. **KL divergences**: which are known, why so many at once, and what it costs to do without.
# 3. **Likelihoods**: the same digits as bits, grey levels, photons and codes, and which of their bounds may be
#    compared.
# 4. **Latents**: what the prior's shape does to a code.
#
# Labels such as (weibull.1) are equations, derived in [`derivations/`](../derivations/README.md).

# %%
import math
from dataclasses import dataclass
from itertools import pairwise

import matplotlib
import numpy as np
from scipy.special import gamma as gamma_function
from scipy.special import log_ndtr, psi

from numvae import check_pullback, check_sampler, pathwise, sample_mean, score_function
from numvae.arena.path_terms import path_terms
from numvae.config import Config, read_config
from numvae.datasets import BINARIZATIONS, draw_digits, from_arrays, grey
from numvae.distributions import (
    Cauchy,
    DiscretizedLogistic,
    Erlang,
    Exponential,
    Gamma,
    Gumbel,
    Laplace,
    Logistic,
    LogNormal,
    Normal,
    Rayleigh,
    StudentT,
    Triangular,
    Uniform,
    Weibull,
    kl_divergence,
)
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.catalogue import POSTERIORS, PRIORS
from numvae.distributions.contract import centre, inside, params_size
from numvae.distributions.expectations import MOMENTS
from numvae.distributions.gamma import BoostedGamma
from numvae.distributions.kl_table import between, has_closed_form
from numvae.errors import InputError
from numvae.figures import Picture, image_grid, manifold
from numvae.training import train

matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
matplotlib.rcParams.update({"font.size": 11, "axes.titlesize": 11, "lines.linewidth": 2})
BLUE, ORANGE, PURPLE, RED = "#0072b2", "#e08700", "#8a5a9e", "#c0392b"
INK, GREY, PALE = "#27313b", "#8b95a1", "#e6e9ed"
rng = np.random.default_rng(4)

# %% [markdown]
# ## 1. Three ways to reparameterise
#
# A sample must be a function of parameters and noise, $z = g(\varphi, \varepsilon)$, where the noise knows nothing of
# the parameters; then $\partial z/\partial\varphi$ exists, and (pathwise.2) does the rest. The paper (section 2.4) has
# three ways to find such a $g$.
#
# Two functions for the pictures. `draw` gives each sample a row of its own, so that the pullback, which sums over what
# shares its parameters, has nothing to sum: what comes back is $\partial z/\partial\varphi$, sample by sample.


# %%
def draw(q, params, count=20_000):
    """Samples of one variable, (N,), and how each moves with the parameters, (N, P)."""
    rows = np.tile(params, (count, 1))
    z, pullback = q.sample(rows, q.noise(rng, (count, 1)))
    return z[:, 0], pullback(np.ones_like(z))[0]


def density(q, params, line):
    return np.exp(q.log_prob(params, line[:, None])[0])


def draw_flow(axes, q, params, shift, low, high, colour, count=20_000, bins=60):
    """Samples and density; and both again where the parameters have moved: samples by their gradients alone."""
    z, slopes = draw(q, params, count)
    edges, line = np.linspace(low, high, bins + 1), np.linspace(low, high, 401)[1:-1]
    weights = np.full(count, bins / (high - low) / count)
    axes.hist(z, edges, weights=weights, color=PALE)
    axes.hist(z + slopes @ shift, edges, weights=weights, color=colour, histtype="step", linewidth=1, alpha=0.7)
    axes.plot(line, density(q, params, line), color=INK, linewidth=1.5)
    axes.plot(line, density(q, params + shift, line), "--", color=colour, linewidth=1.5)
    axes.set(yticks=[], xlim=(low, high))
    axes.spines.left.set_visible(False)


def arrow(axes, start, end, colour):
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
    axes.annotate("", end, start, arrowprops=style)


# %% [markdown]
# ### The inverse CDF
#
# Noise $u$ is uniform and chooses a *level*; the sample is the value that lies at this level of the CDF. If the
# parameters move, the CDF moves, the level stays, and the sample slides along. For the exponential, with
# $\eta = \log$ rate,
#
# $$z = -\log(1 - u)\, e^{-\eta} \;\text{ (exponential.1)}, \qquad
# \partial z/\partial\eta = -z \;\text{ (exponential.2)} .$$
#
# Left: nine levels, the values at them, and arrows of length $0.2\; \partial z/\partial\eta$: they lead from the CDF
# to the one whose η is larger by 0.2. Right: the same 20,000 samples twice. The outlined ones were not drawn again:
# each went $0.2$ times its own gradient, and together they follow the new density.

# %%
q, params, shift = Exponential(), np.array([0.0]), np.array([0.2])
line, levels = np.linspace(0, 4, 200), np.linspace(0.1, 0.9, 9)
left, right = Picture(figsize=(10, 3.8), layout="constrained").subplots(1, 2)
left.plot(line, q.cdf(params, line), color=INK)
left.plot(line, q.cdf(params + shift, line), "--", color=BLUE, linewidth=1.5)
z, pullback = q.sample(np.tile(params, (9, 1)), levels[:, None])
slopes = pullback(np.ones_like(z))[0] @ shift
left.hlines(levels, 0, z[:, 0] + slopes, color=GREY, linewidth=0.8)
left.vlines(z[:, 0], 0, levels, color=GREY, linewidth=0.8)
left.plot(z[:, 0], 0 * levels, "o", color=INK, markersize=5, clip_on=False, zorder=3)
left.plot(0 * levels, levels, "o", color=GREY, markersize=5, clip_on=False, zorder=3)
for place, level, slope in zip(z[:, 0], levels, slopes, strict=True):
    arrow(left, (place, level), (place + slope, level), BLUE)
left.set(xlabel="sample $z$", ylabel="noise $u$, a level of the CDF", xlim=(0, 4), ylim=(0, 1.02))
left.set_title("a level stays, its value moves")
draw_flow(right, q, params, shift, 0, 4, BLUE)
right.set(xlabel="sample $z$", title="samples, and the same samples moved")
left.figure

# %% [markdown]
# The two checks of lesson 2. `check_pullback` differentiates numerically what the code does, `check_sampler` asks
# whether that is a sample of the density at all.

# %%
check_pullback(q.sample, params[None], q.noise(rng, (4, 1, 1)), names=["params", "noise"])

# %%
check_sampler(q, params[None], rng=rng)

# %% [markdown]
# ### Location and scale
#
# If a family is one shape, stretched and shifted, noise of that shape is all it takes: $z = \mu + b\,\varepsilon$.
# Then $\partial z/\partial\mu = 1$, all samples go together; and
# $\partial z/\partial\log b = b\,\varepsilon = z - \mu$, away from the middle, and the faster the farther out. Normal,
# Laplace (laplace.1), Student t, uniform and triangular are made so. Here is the Laplace: nine values of the noise,
# what becomes of them, and how each sample moves with either parameter.

# %%
q, params, shift = Laplace(), np.array([1.0, 0.0]), 0.6
noise = np.linspace(0.05, 0.95, 9)
epsilon = q.sample(np.zeros((9, 2)), noise[:, None])[0][:, 0]
z, pullback = q.sample(np.tile(params, (9, 1)), noise[:, None])
slopes = shift * pullback(np.ones_like(z))[0]
figure = Picture(figsize=(10, 3.8), layout="constrained")
*maps, right = figure.subplots(1, 3)
wide = np.array([-2.9, 2.9])
moved = {
    "$\\partial z/\\partial\\mu = 1$": 1 + shift + wide,
    "$\\partial z/\\partial\\log b = z - \\mu$": 1 + wide * math.exp(shift),
}
for axes, slope, (title, there) in zip(maps, slopes.T, moved.items(), strict=True):
    axes.plot(wide, 1 + wide, color=INK)
    axes.plot(wide, there, "--", color=ORANGE, linewidth=1.5)
    axes.vlines(epsilon, -4.5, z[:, 0], color=GREY, linewidth=0.8)
    for e, value, rise in zip(epsilon, z[:, 0], slope, strict=True):
        if abs(rise) > 0.01:
            arrow(axes, (e, value), (e, value + rise), ORANGE)
    axes.plot(epsilon, z[:, 0], "o", color=INK, markersize=4)
    axes.plot(epsilon, 0 * epsilon - 4.5, "o", color=GREY, markersize=5, clip_on=False, zorder=3)
    axes.set(xlabel="noise $\\varepsilon$", ylabel="sample $z$", title=title, xlim=wide, ylim=(-4.5, 6.5))
draw_flow(right, q, params, np.array([0.6, 0.3]), -3, 6, ORANGE)
right.set(xlabel="sample $z$", title="samples, and the same moved")
figure

# %% [markdown]
# ### Composition
#
# Make it of what you can sample already. The Erlang distribution is the time until $k$ waits are over, one after the
# other: $z = -\frac1r \sum_j \log(1 - u_j)$, (erlang.1). Each wait has a number of noise of its own, and all shrink
# together as the rate grows: $\partial z/\partial\eta = -z$ once more, (erlang.2). This is the review's construction
# too. A log-normal is a normal in an exponent, a beta the share of one gamma in two, a Dirichlet the shares of many.

# %%
q, params = Erlang(order=4), np.array([-math.log(2)])  # rate ½: every wait takes 2 on average
shift = np.array([0.15])
noise = np.random.default_rng(2).random((7, 4))
z, pullback = q.sample(np.tile(params, (7, 1)), noise)
slopes = pullback(np.ones_like(z))[0] @ shift
left, right = Picture(figsize=(10, 3.8), layout="constrained").subplots(1, 2)
ends = np.cumsum(-np.log1p(-noise), axis=1) * 2
for wait, shade in enumerate(("#d9cfdf", "#c3b2cc", "#ad95b9", "#9778a6")):
    start = ends[:, wait - 1] if wait else np.zeros(7)
    left.barh(range(7), ends[:, wait] - start, left=start, color=shade, height=0.62)
for row, (end, slope) in enumerate(zip(z[:, 0], slopes, strict=True)):
    arrow(left, (end, row), (end + slope, row), INK)
    left.plot(end, row, "o", color=INK, markersize=5)
left.set(xlabel="sample $z$", yticks=[], xlim=(0, 17), ylabel="seven samples")
left.set_title("four waits, one after the other; arrows: $\\partial z/\\partial\\eta$")
draw_flow(right, q, params, shift, 0, 24, PURPLE)
right.set(xlabel="sample $z$", title="samples, and the same samples moved")
left.figure

# %% [markdown]
# ### A slip that a gradient check lets pass
#
# For Gamma($r$, θ) with a whole shape $r$ and a *scale* θ the review prints
# $z = -\frac{\theta}{\lambda} \sum_{i=1}^{r} \log(1 - \varepsilon_i)$, with the rate λ of the exponentials *and* the
# scale θ (erratum 003-3). But the scale is the inverse of the rate; who divides by λ and multiplies by θ scales twice.
# As code, with $r = 4$, $\theta = 2$, $\lambda = 3$:


# %%
@dataclass(frozen=True)
class AsPrinted(Erlang):
    def sample(self, params, noise):
        z, pullback = super().sample(params, noise)
        return z / 3, lambda dz: pullback(dz / 3)


printed, params = AsPrinted(order=4), np.array([[-math.log(2)]])
check_pullback(printed.sample, params, printed.noise(rng, (4, 1, 1)), names=["params", "noise"])

# %% [markdown]
# The gradient is right: it is the gradient of what is computed. What is computed is another distribution, and only the
# comparison with the density says so: a mean of 2.67 for 8. Without the λ all is well; (erlang.1), with the rate
# $1/\theta$. [The page](../derivations/erlang.md) has both.

# %%
check_sampler(printed, params, rng=rng)

# %%
check_sampler(Erlang(order=4), params, rng=rng)

# %% [markdown]
# ### All of them
#
# The catalogue that the parameter file chooses from holds 23 families with a path. Here are the 21 that live on a
# line, each at parameters with finite moments, if it has any. Grey: samples and their density. In colour: the same
# samples, moved by their gradients along one direction in the parameters, beside the density that is there. The colour
# says how they are sampled, by the paper's three ways; and each stands through `check_pullback` and `check_sampler`.

# %%
WAYS = {"inverse CDF": BLUE, "location and scale": ORANGE, "composition": PURPLE}
MEMBERS = {  # params, a direction, from where to where to draw
    "exponential": (BLUE, [0.0], [0.2], 0, 4),
    "cauchy": (BLUE, [0.0, 0.0], [0.6, 0.2], -8, 9),
    "logistic": (BLUE, [0.0, 0.0], [0.5, 0.2], -7, 8),
    "rayleigh": (BLUE, [0.0], [0.15], 0, 4),
    "pareto": (BLUE, [0.0, math.log(6)], [0.05, 0.1], 0.9, 2),
    "weibull": (BLUE, [0.0, math.log(2)], [0.1, 0.1], 0, 2.7),
    "reciprocal": (BLUE, [0.0, 0.5], [0.1, 0.05], 0.7, 7),
    "gompertz": (BLUE, [-0.5, 0.0], [0.3, 0.1], 0, 2.4),
    "gumbel": (BLUE, [0.0, 0.0], [0.3, 0.15], -3, 6),
    "kumaraswamy": (BLUE, [math.log(2), math.log(3)], [0.2, -0.1], 0.005, 0.995),
    "normal": (ORANGE, [0.0, 0.0], [0.3, 0.2], -3.5, 4),
    "laplace": (ORANGE, [0.0, 0.0], [0.3, 0.2], -5, 5.5),
    "student_t": (ORANGE, [0.0, 0.0, math.log(7)], [0.3, 0.2, 0.1], -4.5, 5),
    "uniform": (ORANGE, [0.0, 0.0], [0.15, 0.15], -0.1, 1.5),
    "triangular": (ORANGE, [0.0, 0.0, 1.0], [0.1, 0.1, 0.3], -0.05, 1.3),
    "log_normal": (PURPLE, [0.0, -0.7], [0.1, 0.1], 0.01, 4),
    "erlang": (PURPLE, [0.0], [0.15], 0.01, 7),
    "gamma": (PURPLE, [math.log(1.7), 0.0], [0.2, 0.0], 0.01, 7),
    "chi_squared": (PURPLE, [math.log(4)], [0.15], 0.01, 14),
    "f": (PURPLE, [math.log(6), math.log(16)], [0.3, 0.3], 0.01, 4),
    "beta": (PURPLE, [math.log(2), math.log(3)], [0.15, -0.15], 0.005, 0.995),
}
figure = Picture(figsize=(10, 5.6), layout="constrained")
panels = figure.subplots(3, 7).flat
errors, complaints = [], {}
for axes, (name, (colour, params, shift, low, high)) in zip(panels, MEMBERS.items(), strict=True):
    q, params = POSTERIORS[name], np.array([params])
    draw_flow(axes, q, params[0], np.array(shift), low, high, colour, bins=30)
    axes.set(xticks=[])
    axes.set_title(name.replace("_", "-"), color=colour)
    noise = q.noise(rng, (4, 1, 1))
    rules = [check_pullback(q.sample, params, noise)]
    rules += [check_pullback(q.log_prob, params, q.sample(params, noise)[0])]
    errors += [rule.worst_relative_error if rule.ok else math.inf for rule in rules]
    complaints[name] = check_sampler(q, params, shape=(1, 1), rng=rng).failures
lines = [matplotlib.lines.Line2D([], [], color=colour) for colour in WAYS.values()]
figure.legend(lines, WAYS, loc="outside lower center", ncols=3)
figure

# %%
print(f"{len(errors)} pullbacks, of samples and of log-densities: the worst relative error is {max(errors):.0e}")
for name, said in complaints.items():
    for complaint in said:
        print(f"{name}: {complaint}")

# %% [markdown]
# All pullbacks are right, and all samples follow their densities. But for three families `check_sampler` complains of
# something else: *the gradient of the log-density does not average to zero*. That is no slip of ours. Keep it in mind;
# we come to it after the gamma.

# %% [markdown]
# ### The gamma, for any shape
#
# The review stops at whole shapes, and says that $0 < r < 1$ "requires numerical techniques". The CDF of a gamma has no
# inverse that one could write down. It is not needed: a sample keeps its level, so that the total change of
# $F(z; \varphi) = u$ is zero, and
#
# $$\frac{\partial z}{\partial\varphi} = -\frac{\partial F/\partial\varphi}{q(z)} \qquad \text{(implicit.1)}$$
#
# whatever way $z$ was found. For the gamma $\partial F/\partial \text{shape}$ is an integral that can be had to all
# digits, (gamma.4) and (gamma.5). Left: nine levels of a gamma with rate 1, over shapes from 0.05 to 50, and the
# gradient of `Gamma` at five shapes, as strokes: they are tangents.
#
# The other way is by composition. If $x$ is a gamma with shape $a + 1$, then $x\,u^{1/a}$ is one with shape $a$: the
# *shape boost*, (gamma.14). It brings any shape within reach of samplers made for large ones. But its noise is two
# numbers, and many pairs make the same $z$, each with a gradient of its own: the cloud in the middle. The implicit
# gradient is the mean of that cloud at each $z$, and so it has less variance, (gamma.15b). By how much, for the
# gradient of $E[z]$, is on the right: the boost's variance in units of the implicit one.

# %%
figure = Picture(figsize=(10, 3.9), layout="constrained")
fan, cloud, noisy = figure.subplots(1, 3)
shapes, levels = np.geomspace(0.05, 50, 80), np.linspace(0.1, 0.9, 9)
for level in levels:
    params = np.stack([np.log(shapes), 0 * shapes], axis=1)
    fan.loglog(shapes, Gamma().quantile(params, np.full((80, 1), level))[:, 0], color=GREY, linewidth=1)
for shape in (0.1, 0.4, 1.6, 6.4, 25.6):
    z, pullback = Gamma().sample(np.tile([math.log(shape), 0.0], (9, 1)), levels[:, None])
    slope = pullback(1 / z)[0][:, 0]  # of log z in log shape
    for value, rise in zip(z[:, 0], slope, strict=True):
        fan.plot(shape * np.exp([-0.3, 0.3]), value * np.exp([-0.3 * rise, 0.3 * rise]), color=PURPLE)
fan.set(xlabel="shape", ylabel="sample $z$", title="levels, and gradients", ylim=(1e-7, 100), xlim=(0.05, 50))
for q, colour, label, style, height in (
    (BoostedGamma(), ORANGE, "shape boost", ".", 2.1),
    (Gamma(), PURPLE, "implicit", "-", 0.55),
):
    z, slopes = draw(q, np.array([math.log(0.5), 0.0]), 3000)
    order = np.argsort(z)
    cloud.plot(z[order], slopes[order, 0], style, color=colour, linewidth=2.5, markersize=2)
    cloud.text(1.9, height, label, color=colour)
cloud.set(xlabel="sample $z$", ylabel="$\\partial z/\\partial\\log$ shape", title="shape ½", xlim=(0, 3), ylim=(0, 3))
shapes = np.geomspace(0.05, 10, 9)
for shape in shapes:
    slopes = [draw(q, np.array([math.log(shape), 0.0]), 100_000)[1][:, 0] for q in (BoostedGamma(), Gamma())]
    noisy.plot(shape, slopes[0].var() / slopes[1].var(), "o", color=ORANGE)
noisy.axhline(1, color=PURPLE)
noisy.text(0.06, 1.02, "implicit", color=PURPLE)
noisy.text(0.06, 1.44, "shape boost", color=ORANGE)
noisy.set(xlabel="shape", title="variance of the gradient of $E[z]$", ylim=(0.95, 1.5), xscale="log")
for axes in (fan, noisy):
    axes.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
figure

# %%
errors = [
    check_pullback(Gamma().sample, np.log([[shape, 1.0]]), rng.random((4, 1, 1))).worst_relative_error
    for shape in np.geomspace(1e-2, 1e4, 13)
]
print(f"Gamma, shapes from 0.01 to 10,000: relative errors up to {max(errors):.0e}")

# %% [markdown]
# The price of noise that is not needed: about a third more variance for every shape up to one. Chi-squared, beta, F and
# Dirichlet are made of gammas, and inherit this gradient.

# %% [markdown]
# ### Where the score function is wrong
#
# The score function rests on $\nabla_\varphi \int q f\, dz = \int f\, \nabla_\varphi q\, dz$. That holds if the
# ends of the integral stay. If the parameters move them, values enter at one end and leave at the other, and the
# density says nothing of it: Leibniz has two more terms,
#
# $$\frac{d}{d\varphi} E_q[f] = E_q\Big[f\, \frac{\partial \log q}{\partial\varphi}\Big]
# + \Big[q f\, \frac{d\,\text{end}}{d\varphi}\Big]_\text{lower}^\text{upper} \qquad \text{(uniform.10)} .$$
#
# Left: a uniform heap moves right. Its density has no slope anywhere, so its score is zero, and all of the change is
# in the two slabs. A sample knows better: it just goes along. Right: $E[z^2]$ under families at the same state as in
# the picture above, its gradient in each parameter as a share of the truth, from 20,000 samples.

# %%
figure = Picture(figsize=(10, 4.2), layout="constrained")
heap, dots = figure.subplots(1, 2, width_ratios=[1, 1.25])
line = np.linspace(-0.1, 1.4, 100)
heap.fill_between([0, 1], 1, color=PALE)
heap.fill_between([0, 0.2], 1, color=ORANGE, alpha=0.35)
heap.fill_between([1, 1.2], 1, color=BLUE, alpha=0.35)
heap.plot([0, 0, 1, 1], [0, 1, 1, 0], color=INK, linewidth=1.5)
heap.plot([0.2, 0.2, 1.2, 1.2], [0, 1, 1, 0], "--", color=INK, linewidth=1.5)
heap.plot(line, line**2, color=GREY, linewidth=1.5)
heap.text(1.22, 1.7, "$f(z) = z^2$", color=GREY, ha="right")
heap.text(0.1, 0.5, "leaves", rotation=90, ha="center", va="center", color="#9a5d00")
heap.text(1.1, 0.5, "enters", rotation=90, ha="center", va="center", color=BLUE)
for place in (0.15, 0.4, 0.65, 0.9):
    heap.plot(place, 0.12, "o", color=INK, markersize=5)
    arrow(heap, (place, 0.12), (place + 0.2, 0.12), INK)
heap.set(xlabel="$z$", ylabel="density", ylim=(0, 2), xlim=(-0.1, 1.4), title="a uniform heap moves right")


def square(params, z):
    return z[..., 0] ** 2, lambda dvalues: (0.0, 2 * z * dvalues[..., None], None)


def gradient(estimator, q, params, samples):
    """The mean over 20,000 samples of the gradient, from so many at once."""
    rows = np.tile(params, (20_000 // samples, 1))
    _, pullback = estimator(q, rows, q.noise(rng, (samples, len(rows), 1)), square, sample_mean)
    return pullback(np.ones(len(rows)))[0].mean(axis=0)


labels, step = [], 1e-4
for name in ("uniform", "reciprocal", "pareto", "triangular", "exponential", "gamma", "beta"):
    q, params = POSTERIORS[name], np.array(MEMBERS[name][1])
    found = {
        "pathwise": gradient(pathwise, q, params, 1),
        "score function": gradient(score_function, q, params, 1),
        "score function, leave one out": gradient(score_function, q, params, 2),
    }
    for j, parameter in enumerate(q.param_names):
        up, down = params + step * np.eye(len(params))[j], params - step * np.eye(len(params))[j]
        second_moment = [(q.mean(at) ** 2 + q.std(at) ** 2)[0] for at in (up, down)]
        truth = (second_moment[0] - second_moment[1]) / (2 * step)
        styles = zip(found.values(), (BLUE, ORANGE, ORANGE), ("o", "o", "s"), ("full", "full", "none"), strict=True)
        for estimate, colour, marker, fill in styles:
            dots.plot(estimate[j] / truth, len(labels), marker, color=colour, fillstyle=fill, markersize=7)
        labels.append(f"{name}, {parameter}")
for x, colour in ((0, PALE), (1, INK)):
    dots.axvline(x, color=colour, linestyle="--" if x else "-", linewidth=1.2, zorder=0)
dots.set_yticks(range(len(labels)), labels)
dots.set(xlabel="gradient of $E[z^2]$, in units of the truth")
dots.invert_yaxis()
legend = [matplotlib.lines.Line2D([], [], linewidth=0, marker=m, color=c, fillstyle=s) for c, m, s in (
    (BLUE, "o", "full"), (ORANGE, "o", "full"), (ORANGE, "s", "none"))]  # fmt: skip
figure.legend(legend, found, loc="outside lower center", ncols=3)
figure

# %% [markdown]
# Zero, or the wrong sign, or three times too much; and with a baseline another wrong number, for the bias is that of
# $f - b$ at the ends. No number of samples helps. The triangular law moves its ends too, but its density
# vanishes there, and with it the term. Where ends stay, all agree.
#
# `check_sampler` found it, since with $f = 1$ the left side of (uniform.10) is zero. So the families say of themselves
# `support_moves = True`, and the parameter file refuses:

# %%
try:
    read_config(flags={"posterior": "uniform", "estimator": "score_function"})
except InputError as error:
    print(error)

# %% [markdown]
# ## 2. The KL divergence
#
# The bound has a term $\mathrm{KL}(q(z|x) \,\Vert\, p(z))$. Where it is known in closed form it costs nothing and
# makes no noise. `kl_divergence(q, p)` finds it, in a table that grows by one function. Here is the table, asked pair
# by pair: posteriors down, priors across, families with the same values side by side.

# %%
ORDER = ("reals", "positive", "unit interval", "simplex")
posteriors = sorted(POSTERIORS, key=lambda name: ORDER.index(POSTERIORS[name].support))
priors = [name for name in posteriors if name in PRIORS]
kinds = {"closed form": BLUE, "none: by Monte Carlo": "#f5d6a6", "infinite": "#f4f5f7"}
table = np.array(
    [
        [0 if has_closed_form(q, p) else 1 if inside(q, p) else 2 for p in (PRIORS[name] for name in priors)]
        for q in (POSTERIORS[name] for name in posteriors)
    ]
)
figure = Picture(figsize=(8.6, 8.2), layout="constrained")
axes = figure.subplots()
axes.pcolormesh(table, cmap=matplotlib.colors.ListedColormap(kinds.values()), edgecolor="white", linewidth=2)
for row, name in enumerate(posteriors):
    if name in priors and not table[row, priors.index(name)]:
        axes.plot(priors.index(name) + 0.5, row + 0.5, "o", color="white", markersize=4)
for names, draw_line in ((posteriors, axes.axhline), (priors, axes.axvline)):
    supports = [POSTERIORS[name].support for name in names]
    for place in (supports.index(support) for support in ORDER[1:]):
        draw_line(place, color=INK, linewidth=0.8)
axes.set_yticks(np.arange(len(posteriors)) + 0.5, [name.replace("_", "-") for name in posteriors])
axes.set_xticks(np.arange(len(priors)) + 0.5, [name.replace("_", "-") for name in priors], rotation=90)
axes.set(ylabel="posterior $q$", xlabel="prior $p$", aspect="equal")
axes.xaxis.tick_top()
axes.xaxis.set_label_position("top")
axes.tick_params(length=0)
axes.invert_yaxis()
axes.spines[:].set_visible(False)
patches = [matplotlib.patches.Patch(color=colour) for colour in kinds.values()]
names = [f"{kind}, {np.sum(table == number)}" for number, kind in enumerate(kinds)]
figure.legend(patches, names, loc="outside lower center", ncols=3)
figure

# %% [markdown]
# White dots mark families that know the divergence to their own kind. Grey is what the theory forbids: a posterior that
# has values where the prior has no density. What the table does not have it says, and what to do instead:

# %%
for q, p in ((Normal(), Exponential()), (Logistic(), Normal()), (Cauchy(), Normal())):
    try:
        kl_divergence(q, p)
        print(f"{type(q).__name__} to {type(p).__name__}: known")
    except InputError as error:
        print(error)

# %% [markdown]
# ### One identity, whole columns
#
# Some columns are nearly full: normal, exponential, gamma, log-normal. Each is *one* function, for
#
# $$\mathrm{KL}(q \,\Vert\, p) = -H(q) - E_q[\log p(z)] \qquad \text{(divergences.1a)},$$
#
# and the log-density of a normal is made of $z$ and $z^2$. So the entropy of $q$, its mean and its variance are all
# that is needed, (divergences.1): who enters a family into that small table, `MOMENTS`, has its divergence to every
# normal. For an exponential prior the mean is enough, a gamma asks for $E[\log z]$ as well. By hand, for every family
# in the table at its standard member, beside `kl_divergence` and a hundred thousand samples:

# %%
print(f"{'KL to N(1, 4)':14}{'identity':>10}{'kl_divergence':>15}{'by samples':>12}")
prior = np.array([[1.0, math.log(2)]])
for family, moments in MOMENTS.items():
    q, params = family(), np.zeros((1, params_size(family(), 1)))
    (entropy, mean, variance), _ = moments(params)
    identity = -entropy + 0.5 * math.log(2 * math.pi) + math.log(2) + (variance + (mean - 1) ** 2) / (2 * 4)
    closed = kl_divergence(q, Normal())(params, prior)[0] if family is not Normal else q.kl(params, prior)[0]
    z, _ = q.sample(params, q.noise(rng, (100_000, 1, 1)))
    ratio = q.log_prob(params, z)[0] - Normal().log_prob(prior, z)[0]
    sampled = f"{ratio.mean():9.4f} ± {ratio.std() / math.sqrt(ratio.size):.4f}"
    print(f"{family.__name__:14}{identity[0, 0]:10.4f}{closed[0]:15.4f}{sampled:>18}")

# %% [markdown]
# The identity says more. Choose the normal that fits best: it has $q$'s own mean and variance, and what is left is
# $\tfrac12 \log 2\pi e V - H$: the entropy that $q$ lacks to be as spread as it could, given its variance. It does not
# change with location or scale, so it is a property of the shape: how far is a family from any normal?

# %%
members = {
    Normal: [0.0, 0.0], Weibull: [0.0, math.log(3)], Logistic: [0.0, 0.0], Triangular: [0.0, 0.0, 0.0],
    Rayleigh: [0.0], Gamma: [math.log(4), 0.0], Laplace: [0.0, 0.0], Gumbel: [0.0, 0.0], LogNormal: [0.0, -1.0],
    Uniform: [0.0, 0.0], Exponential: [0.0],
}  # fmt: skip
far = {}
for family, params in members.items():
    (entropy, mean, variance), _ = MOMENTS[family](np.array([params]))
    gap = 0.5 * np.log(2 * math.pi * math.e * variance) - entropy
    far[family] = gap.item(), mean.item(), math.sqrt(variance.item())
figure = Picture(figsize=(10, 5.2), layout="constrained")
axes = figure.subplots()
t = np.linspace(-3.5, 4.5, 801)
for place, family in enumerate(sorted(far, key=far.get)):
    (gap, mean, std), ground = far[family], -0.4 * place
    z = np.where((family().support == "reals") | (mean + std * t > 0), mean + std * t, np.nan)
    heights = ground + np.nan_to_num(density(family(), np.array(members[family]), z) * std)
    axes.fill_between(t, ground, heights, color="#bfdbec", zorder=place, linewidth=0)
    axes.plot(t, heights, color=BLUE, linewidth=1.5, zorder=place)
    axes.plot(t, ground + np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi), "--", color=INK, linewidth=1, zorder=place)
    axes.text(-3.6, ground + 0.05, family.__name__, ha="right")
    axes.text(4.6, ground + 0.05, f"{abs(gap):.3f} nats")
axes.set(xlim=(-4.9, 5.6), yticks=[], xlabel="standard deviations from the mean")
axes.set_xticks(range(-3, 5))
axes.spines.left.set_visible(False)
figure

# %% [markdown]
# ### Closed form against samples
#
# Every blue square is a formula that can be wrong. So draw parameters at random, sample, and see how many standard
# errors lie between the mean of $\log q - \log p$ and the formula. All squares at once, thirty thousand samples each:

# %%
found = {}
for row, column in np.argwhere(table == 0):
    q, p = POSTERIORS[posteriors[row]], PRIORS[priors[column]]
    params, prior = (0.3 * rng.standard_normal((1, params_size(family, 3))) for family in (q, p))
    z, _ = q.sample(params, q.noise(rng, (30_000, 1, 3)))
    ratio = q.log_prob(params, z)[0] - p.log_prob(prior, z)[0]
    closed = kl_divergence(q, p)(params, prior)[0][0]
    error = ratio.std() / math.sqrt(ratio.size)
    found[posteriors[row], priors[column]] = closed, error, (ratio.mean() - closed) / error

closed, error, score = np.array(list(found.values())).T
left, right = Picture(figsize=(10, 3.8), layout="constrained").subplots(1, 2, width_ratios=[1.6, 1])
left.axhspan(-2, 2, color=PALE)
left.axhline(0, color=INK, linewidth=1)
left.semilogx(closed, score, "o", color=BLUE, alpha=0.8)
left.set(xlabel="KL in closed form (nats)", ylabel="samples minus formula, in standard errors", ylim=(-4, 4))
ordered, normal = np.sort(score), np.sort(np.random.default_rng(0).standard_normal((2000, len(score))), axis=1)
expected = normal.mean(axis=0)
right.fill_between(expected, *np.quantile(normal, [0.02, 0.98], axis=0), color=PALE)
right.plot(expected, expected, color=INK, linewidth=1)
right.plot(expected, ordered, "o", color=BLUE, alpha=0.8)
right.set(xlabel="what normal numbers would be, in order", ylabel="what these are, in order", ylim=(-4, 4))
left.set_title(f"{len(found)} pairs: {np.sum(np.abs(score) < 2)} within two standard errors")
right.set_title("neither too far off nor too close")
left.figure

# %% [markdown]
# ### Without a formula
#
# For the rest there is the paper's estimator A, which takes the KL from the same samples as everything else:
# `kl="monte_carlo"`, or the objective `elbo_monte_carlo`. What does it cost? Take a pair whose truth is known, a gamma
# against the standard exponential, which is itself a gamma of shape 1, and let its shape go through 1. The value
# first, then the gradient in the log-shape, (pathwise.2) of $\log q - \log p$; bands hold 16 to 84 % of the one-sample
# estimates.

# %%
q, p, unit = Gamma(), Gamma(), np.zeros((1, 2))
shapes = np.geomspace(0.25, 4, 41)
value, slope = Picture(figsize=(10, 3.8), layout="constrained").subplots(1, 2)
rows = []
for shape in shapes:
    params = np.tile([math.log(shape), 0.0], (4000, 1))
    z, sample_pullback = q.sample(params, q.noise(rng, (4000, 1)))
    (log_q, q_pullback), (log_p, p_pullback) = q.log_prob(params, z), p.log_prob(unit, z)
    ones = np.ones(4000)
    dparams, dz = q_pullback(ones)
    path = sample_pullback(dz - p_pullback(ones)[1])[0][:, 0]
    kl, kl_pullback = q.kl(params[:1], unit)
    rows.append([log_q - log_p, path + dparams[:, 0], path, kl[0], kl_pullback(np.ones(1))[0][0, 0]])
for axes, samples, truth in ((value, 0, 3), (slope, 1, 4)):
    axes.fill_between(
        shapes, *np.quantile([row[samples] for row in rows], [0.16, 0.84], axis=1), color=ORANGE, alpha=0.3, linewidth=0
    )
    axes.plot(shapes, [row[truth] for row in rows], color=BLUE)
    axes.axvline(1, color=INK, linestyle=":", linewidth=1.2)
    axes.set(xscale="log", xlabel="shape of $q$ (dotted: of the prior)")
    axes.set_xticks([0.25, 0.5, 1, 2, 4], [0.25, 0.5, 1, 2, 4])
    axes.minorticks_off()
slope.fill_between(
    shapes, *np.quantile([row[2] for row in rows], [0.16, 0.84], axis=1), color=PURPLE, alpha=0.35, linewidth=0
)
value.set_title("KL (nats), and one sample of it")
slope.set_title("its gradient; purple: without the score term")
value.figure

# %% [markdown]
# Where $q$ is the prior, $\log q - \log p$ is zero at every $z$: the *value* has no noise there at all. Its *gradient*
# has, since it holds the score of $q$, which is zero only on average. Leave the score out, and the gradient gets quiet
# as well (purple): *sticking the landing*, (sticking_the_landing.1), from lesson 6. How much this matters beside the
# noise of the reconstruction we shall measure in a real model, in part 4.
#
# ### A trap
#
# The table looks at supports, not at tails. `kl="monte_carlo"` will give you a number for a Cauchy against a normal,
# and there is none: $E_q[z^2]$ is infinite, and so is the KL. The running mean tells. A Student t with five degrees of
# freedom settles; the Cauchy goes up by one more jump for every far sample, for ever.

# %%
left, right = Picture(figsize=(10, 3.4), layout="constrained").subplots(1, 2)
count = np.arange(1, 100_001)
for axes, q, params, colour in (
    (left, StudentT(), [0.0, 0.0, math.log(5)], BLUE),
    (right, Cauchy(), [0.0, 0.0], RED),
):
    for _ in range(5):
        z, _ = q.sample(np.array([params]), q.noise(rng, (100_000, 1, 1)))
        ratio = q.log_prob(np.array([params]), z)[0] - Normal().log_prob(np.zeros((1, 2)), z)[0]
        axes.plot(count, np.cumsum(ratio[:, 0]) / count, linewidth=1.2, color=colour, alpha=0.8)
    axes.set(xlabel="samples", xlim=(10, 1e5), xscale="log")
left.set(title="Student t (5) against a normal: the mean settles", ylabel="KL by samples (nats)", ylim=(-0.1, 0.5))
right.set(title="Cauchy against a normal: it never does", yscale="log")
left.figure

# %% [markdown]
# ## 3. Likelihoods
#
# Now the other end. Digits, drawn on the spot and made small, 14 × 14 pixels in 256 grey levels; five thousand to learn
# from, five hundred to test. A likelihood is a statement about what a pixel *is*, so first decide what the model shall
# see: grey levels as they are; bits, drawn with the grey value as probability; photons, counted in so little light that
# white is ten; or eight codes, whose order the model is not told.

# %%
drawn = draw_digits(5500, seed=4)
small = drawn.images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).round().astype(np.uint8)
labels = {"train_labels": drawn.labels[:5000], "test_labels": drawn.labels[5000:]}
data = from_arrays("small digits", small[:5000], small[5000:], **labels)
D, shape = data.features, data.image_shape

views = {"none": ("grey levels", 1), "fresh": ("bits", 1), "photons": ("photons", 14), "codes": ("codes", 7)}
figure = Picture(figsize=(10, 4.5), layout="constrained")
panels = figure.subplots(2, 4, height_ratios=[1, 2.4])
for (whole, crop), (view, (title, white)) in zip(panels.T, views.items(), strict=True):
    seen = BINARIZATIONS[view](data.test[:8], np.random.default_rng(2), np.float64)
    image_grid(seen / white, shape, columns=4, ax=whole)
    whole.set_title(title)
    patch = seen[2].reshape(shape)[2:9, 3:10]
    crop.imshow(patch, cmap="gray", vmin=0, vmax=white)
    for (row, column), value in np.ndenumerate(patch):
        number = round(255 * value) if view == "none" else round(value)
        crop.text(column, row, number, ha="center", va="center", color="white" if value < 0.55 * white else "black")
    crop.set_axis_off()
figure

# %% [markdown]
# One small VAE, ten normal latents, the same hidden units, the same digits in the same order; only the likelihood
# differs. `Config` is what the parameter file and the flags of `numvae train` fill in: it turns names into a model,
# with the head that its likelihood needs, and a recipe. Its setting `binarize` says what the model sees.


# %%
def trained(data=data, **settings):
    config = Config(**{"latent": 10, "hidden": [100], "lr": 0.003, "epochs": 12, **settings})
    model, recipe = config.build_model(data.features), config.build_recipe()
    return model, train(model, data, recipe, config.build_state(model, data))


sees = {
    "bernoulli": "fresh",
    "categorical": "codes",
    "poisson": "photons",
    "negative_binomial": "photons",
    "discretized_logistic": "none",
    "normal": "none",
    "continuous_bernoulli": "none",
}
runs = {likelihood: trained(likelihood=likelihood, binarize=view) for likelihood, view in sees.items()}
bounds = {name: state.history[-1]["test_elbo"] for name, (_, state) in runs.items()}
for name, bound in bounds.items():
    print(f"{name:22}{views[sees[name]][0]:14}{bound:8.1f}   KL {runs[name][1].history[-1]['test_kl']:.1f}")

# %% [markdown]
# What they have learned. In each row: test digits as the model sees them; the mean of $p(x|z)$ at one $z$ from
# $q(z|x)$; a *draw* from that $p(x|z)$; and whole inventions, $z$ from the prior and then $x$ from $p(x|z)$.

# %%
figure = Picture(figsize=(10, 5.6), layout="constrained")
panels = figure.subplots(len(runs), 4)
for row, (name, (model, state)) in zip(panels, runs.items(), strict=True):
    white, theta, draws = views[sees[name]][1], state.theta, np.random.default_rng(1)
    x = BINARIZATIONS[sees[name]](data.test[:4], draws, np.float32)
    params = model.encode(theta, x)
    z, _ = model.posterior.sample(params, model.posterior.noise(draws, (4, 10), np.float32))
    invented = model.draw_from_prior(theta, model.prior_noise(draws, 4, np.float32))
    given = model.decode(theta, z), model.decode(theta, invented)
    drawn_at = [model.likelihood.sample(p, model.likelihood.noise(draws, (4, D), np.float32))[0] for p in given]
    for axes, images in zip(row, (x, model.decode_mean(theta, z), *drawn_at), strict=True):
        image_grid(images / white, shape, columns=4, ax=axes)
    row[0].text(-0.06, 0.5, name.replace("_", "\n"), transform=row[0].transAxes, ha="right", va="center")
for axes, title in zip(panels[0], ("seen", "mean of $p(x|z)$", "drawn from $p(x|z)$", "invented"), strict=True):
    axes.set_title(title)
figure

# %% [markdown]
# The means all look alike. The draws do not, and it is the draws that the likelihood is about. A Bernoulli mean is a
# probability, its draws are grainy. The normal gives every pixel noise of its own, and grey values below black and
# above white (clipped here). The logistic has its noise too, but piles what lies beyond the ends up on black and
# white. When papers show "samples" of a VAE, they mostly show means.
#
# ### Which bounds may be compared?
#
# The list of bounds above is no ranking. Each is a logarithm of something else.
#
# - **Bits, codes, photons, levels: probabilities.** $\log P(x) \le 0$, and $-\log_2 P(x)$ is the length of a code for
#   $x$. But the four predict *different things*: to say a level out of 256 costs more than to say a bit. Only models
#   of the same data can be compared. Poisson and negative binomial can.
# - **Normal, continuous Bernoulli: densities**, per unit of grey, 196 times. They have no zero. Call white 255
#   in the place of 1, and every density falls by a factor of 255 for every pixel:

# %%
theta, model = runs["normal"][1].theta.astype(np.float64), runs["normal"][0]
x = data.test / 255
params = model.decode(theta, model.posterior.mean(model.encode(theta, x)))
rescaled = np.concatenate([255 * params[:, :D], params[:, D:] + math.log(255)], axis=1)  # mean and log_std
for white, given in ((1, params), (255, rescaled)):
    log_density, _ = model.likelihood.log_prob(given, white * x)
    print(f"white is {white:3}: log p(x|z) = {log_density.mean():8.1f} nats per digit")
print(f"difference 196 log 255 = {D * math.log(255):.1f}")

# %% [markdown]
# The same model, the same digits. So the sign of such a bound says nothing, and the normal's 500 nats are not "better"
# than the logistic's −330. To compare, make both a probability of the same thing. The discretised logistic is one: the
# mass that a logistic variable has between the borders of a level, the tails given to black and white,
# (discretized_logistic.2). Do the same with the normal: it becomes a model of levels, with the same encoder and the
# same KL, and its bound is
#
# $$E_q\Big[\sum_{d} \log \Big(\Phi\Big(\frac{x_d + h - \mu_d}{\sigma_d}\Big) -
# \Phi\Big(\frac{x_d - h - \mu_d}{\sigma_d}\Big)\Big)\Big] - \mathrm{KL}, \qquad h = \frac{1}{2 \cdot 255},$$
#
# in nats, below the log-probability of the very same levels. (Far out a difference of two $\Phi$ is 0 to all digits: so
# work in the lower tail, in logarithms.)


# %%
def binned_normal(params, x):
    """Log-masses of levels x, pixel by pixel, under a normal that is rounded to the nearest level."""
    mean, std = params[..., :D], np.exp(params[..., D:])
    above = np.where(x == 1, np.inf, (x + 0.5 / 255 - mean) / std)
    below = np.where(x == 0, -np.inf, (x - 0.5 / 255 - mean) / std)
    upper = above + below > 0  # the upper tail is the lower one, mirrored
    above, below = np.where(upper, -below, above), np.where(upper, -above, below)
    larger, smaller = log_ndtr(above), log_ndtr(below)
    return larger + np.log(-np.expm1(smaller - larger))


def discretized_logistic(params, x):
    """The same under the discretised logistic."""
    alone = np.stack([params[..., :D], params[..., D:]], axis=-1)  # so that every pixel is a row of its own
    return DiscretizedLogistic().log_prob(alone, x[..., None])[0]


def fixed_normal(mean, x):
    return binned_normal(np.concatenate([mean, np.full_like(mean, math.log(0.1))], axis=-1), x)


def codes_of(model, state, samples=10):
    """What the decoder says of ten codes of each test digit, and the KL."""
    theta = state.theta.astype(np.float64)
    params = model.encode(theta, x)
    noise = model.posterior.noise(np.random.default_rng(0), (samples, len(x), model.latents))
    kl, _ = model.posterior.kl(params, model.prior_params(params))
    return model.decode(theta, model.posterior.sample(params, noise)[0]), kl.mean()


squared_error = trained(likelihood="normal_fixed_std", fixed_std=0.1, binarize="none")
rivals = {
    "discretised logistic": (runs["discretized_logistic"], discretized_logistic),
    "normal, in bins": (runs["normal"], binned_normal),
    "normal of std 0.1, in bins": (squared_error, fixed_normal),
}
costs = {}
for name, (run, log_mass) in rivals.items():
    decoded, kl = codes_of(*run)
    each = -log_mass(decoded, x).mean(axis=0)
    costs[name] = np.array([kl, each[x == 0].sum() / len(x), each[x > 0].sum() / len(x)])
    total = costs[name].sum()
    print(f"{name:28}{-total:8.1f} nats per digit, {total / D / math.log(2):.2f} bits per pixel")

# %% [markdown]
# *Now* there is a ranking. (A normal with one fixed standard deviation is what "training with the squared error"
# amounts to.) And we can see where the difference comes from: the bars on the right split the bits into the KL, the
# black pixels, and all others. Left and in the middle, two pixels of one test digit: one in the corner, always black,
# and one at the edge of a stroke.

# %%
figure = Picture(figsize=(10, 3.9), layout="constrained")
corner, edge, bars = figure.subplots(1, 3, width_ratios=[1, 1.3, 1.9])
digit, line = 0, np.arange(256)
decoded = {name: codes_of(*run)[0][0, digit] for name, (run, _) in list(rivals.items())[:2]}
mean, std = np.split(decoded["normal, in bins"], 2)
doubtful = int(np.argmin(np.abs(mean - 0.5) + np.abs(np.exp(std) - 0.12)))
for name, colour in (("normal, in bins", ORANGE), ("discretised logistic", BLUE)):
    mass = [np.exp(rivals[name][1](decoded[name], np.full(D, level / 255))) for level in line]
    corner.bar(line[:7] + (0.2 if colour == BLUE else -0.2), np.array(mass)[:7, 0], 0.4, color=colour)
    edge.semilogy(line, np.array(mass)[:, doubtful], color=colour, drawstyle="steps-mid")
edge.axvline(255 * x[digit, doubtful], color=INK, linestyle=":", linewidth=1.2)
corner.set(xlabel="grey level", title="a corner pixel", ylabel="probability")
edge.set(xlabel="grey level (dotted: the true one)", title="an edge pixel")
for place, (name, parts) in enumerate(costs.items()):
    bits, left = parts / D / math.log(2), 0.0
    for part, alpha in zip(bits, (1, 0.65, 0.35), strict=True):
        bars.barh(place, part, left=left, color=ORANGE if place else BLUE, alpha=alpha, height=0.6)
        left += part
    bars.text(0, place - 0.36, name, va="bottom")
    bars.text(left + 0.05, place, f"{left:.2f}", va="center")
shades = [matplotlib.patches.Patch(color=INK, alpha=alpha, linewidth=0) for alpha in (1, 0.65, 0.35)]
bars.legend(shades, ("KL", "black pixels", "others"), loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
bars.set(yticks=[], xticks=range(4), xlabel="bits per pixel, at most", xlim=(0, 3.9))
bars.invert_yaxis()
figure

# %% [markdown]
# A good part of it is black. The logistic may shrink its scale without limit, since a probability cannot exceed 1, and
# puts nearly all of it on black where a pixel is always black. The normal has to stop at its least standard deviation
# and leaves a third to the neighbours. The rest is the KL, and edges: on this log scale a normal is a parabola and a
# logistic a tent, so that a large error costs its square under the one, and under the other only its size.
#
# ### Densities without an end
#
# Why does `normal` have a least standard deviation, one grey level, (networks.4)? A density has no upper bound. Three
# quarters of all pixels are black; where a pixel is always black the best density is a spike, and the best spike is
# infinitely high. Each halving of the floor buys another $\log 2$ for each such pixel and says nothing more about
# digits. Train the same model over a lower and lower floor, and look at both bounds:

# %%
floors = (0.3, 0.1, 0.03, 0.01, 1 / 255, 0.001)
found = []
for floor in floors:
    run = runs["normal"] if floor == 1 / 255 else trained(likelihood="normal", binarize="none", least_std=floor)
    decoded, kl = codes_of(*run)
    found.append([Normal().log_prob(decoded, x)[0].mean() - kl, binned_normal(decoded, x).sum(axis=-1).mean() - kl])
axes = Picture(figsize=(10, 3.8), layout="constrained").subplots()
for bound, colour in zip(np.transpose(found), (ORANGE, BLUE), strict=True):
    axes.semilogx(floors, bound, "o-", color=colour)
axes.axhline(-costs["discretised logistic"].sum(), color=BLUE, linestyle="--", linewidth=1.2)
axes.axvline(1 / 255, color=INK, linestyle=":", linewidth=1.2)
axes.text(0.1, 250, "a normal: its density", color=ORANGE, ha="center")
axes.text(0.1, -470, "the same normal, in bins", color=BLUE, ha="center")
axes.text(0.1, -300, "discretised logistic", color=BLUE, ha="center")
axes.set(xlabel="least standard deviation (dotted: one grey level)", ylabel="test bound (nats per digit)")
axes.set_ylim(-560, 700)
axes.set_xticks(floors, ["0.3", "0.1", "0.03", "0.01", "1/255", "0.001"])
axes.minorticks_off()
axes.invert_xaxis()
axes.figure

# %% [markdown]
# The density's bound climbs by hundreds of nats. As a model of digits nothing got better: the probability of the
# levels stays where it was. So the floor is no trick. It is the honest limit of the data: levels lie 1/255 apart, and
# no data in such steps can tell a smaller standard deviation. (Lower still, at 0.0003, training itself breaks down:
# try it.)
#
# ### Counts that scatter more than Poisson
#
# Last, the photons. They *are* Poisson, for we drew them so; and yet the negative binomial, a Poisson whose rate is
# itself a gamma, (negative_binomial.1), is better by tens of nats, and this comparison is fair: the same data, both
# probabilities. The reason is that the decoder does not know the picture. Ten numbers leave a doubt about where a
# stroke ends, and a count there is a Poisson of an uncertain rate, which scatters more. Pixels of the test digits,
# gathered by the mean that the Poisson model predicts for them, and the variance of their counts about it:

# %%
model, state = runs["poisson"]
theta = state.theta.astype(np.float64)
counts = BINARIZATIONS["photons"](data.test, np.random.default_rng(3), np.float64)
mean = model.decode_mean(theta, model.posterior.mean(model.encode(theta, counts)))
axes = Picture(figsize=(5.4, 3.6), layout="constrained").subplots()
edges = np.geomspace(0.05, 12, 16)
for low, high in pairwise(edges):
    cell = (mean >= low) & (mean < high)
    axes.loglog(mean[cell].mean(), np.mean((counts - mean)[cell] ** 2), "o", color=ORANGE)
axes.loglog(edges, edges, color=INK, linewidth=1.5)
axes.text(1.2, 0.55, "what a Poisson believes", color=INK)
axes.text(0.1, 4, "what is seen", color=ORANGE)
axes.set(xlabel="mean count, predicted", ylabel="variance")
axes.figure

# %% [markdown]
# ## 4. Latents
#
# Back to bits, so that *all bounds from here on may be compared*, and to the other end of the model. What does a code
# look like if the prior is not normal? First two numbers, or three shares that sum to one, which is a plane as well; on
# zeros to fours, so that two numbers have a chance. The posterior comes from the prior's own family each time.

# %%
early = data.train_labels < 5
few = from_arrays(
    "zeros to fours", data.train[early], data.test[data.test_labels < 5], train_labels=data.train_labels[early],
    test_labels=data.test_labels[data.test_labels < 5],
)  # fmt: skip
planar = {
    name: trained(
        few, posterior=name, latent=3 if name == "dirichlet" else 2, likelihood="bernoulli",
        binarize="fresh", epochs=40,
    )
    for name in ("normal", "laplace", "exponential", "gamma", "beta", "dirichlet")
}  # fmt: skip
for name, (_, state) in planar.items():
    row = state.history[-1]
    print(f"{name:12} bound {row['test_elbo']:6.1f}, KL {row['test_kl']:.2f} nats")

# %% [markdown]
# Where the digits are: the centre of $q(z|x)$ for each of them. The shades are the prior's density, each one nat below
# the next.


# %%
INKS = ("#bd1f01", "#ffa90e", "#3f90da", "#832db6", "#4b8b3b")
CORNERS = np.array([[0, 0], [1, 0], [0.5, math.sqrt(3) / 2]])
RANGES = {"normal": (-3.4, 3.4), "laplace": (-5.5, 5.5), "exponential": (0, 6), "gamma": (0, 6), "beta": (0, 1)}


def draw_codes(axes, name, model, state, images, names):
    x = grey(images, rng, np.float32)
    z = centre(model.posterior, model.encode(state.theta, x), model.latents)
    if name == "dirichlet":
        axes.fill(*CORNERS.T, color="#c3ccd6")
        z = z @ CORNERS
        axes.set_axis_off()
    else:
        low, high = RANGES[name]
        side = np.linspace(low, high, 202)[1:-1]
        grid = np.stack(np.meshgrid(side, side), axis=-1)
        log_density, _ = model.prior.family.log_prob(np.zeros(params_size(model.prior.family, 2)), grid)
        steps = np.ceil(np.maximum(6 + log_density - log_density.max(), 0))  # one nat each
        shades = matplotlib.colors.LinearSegmentedColormap.from_list("shades", ["white", "#c3ccd6"])
        axes.imshow(steps, extent=(low, high, low, high), origin="lower", cmap=shades, vmin=0, interpolation="nearest")
        axes.set(xlim=(low, high), ylim=(low, high))
    axes.scatter(*z[:800].T, s=7, c=np.array(INKS)[names[:800]], linewidths=0)
    for digit in np.unique(names):
        place = np.median(z[names == digit], axis=0)
        text = axes.text(*place, digit, fontsize=14, weight="bold", ha="center", va="center", color=INK)
        text.set_path_effects([matplotlib.patheffects.withStroke(linewidth=3, foreground="white")])
    axes.set(aspect="equal")
    axes.set_title(name)


figure = Picture(figsize=(10, 6.8), layout="constrained")
for axes, (name, run) in zip(figure.subplots(2, 3).flat, planar.items(), strict=True):
    draw_codes(axes, name, *run, few.train, few.train_labels)
figure

# %% [markdown]
# The codes take the prior's shape, since the KL is paid for leaving it. The normal is round: it has no axes, turn it
# and nothing changes. The Laplace has axes, and digits lie along them. The exponential has a corner, where "nothing"
# is, and two directions to go. The beta of all ones is a square, the Dirichlet of all ones a triangle; neither has a
# middle that would be cheaper than its borders, so they are filled nearly to the edges.
#
# Exponential and gamma have the same prior, for a gamma of shape 1 is the exponential; and yet the gamma's bound is
# three nats better. Part of the answer is coming.
#
# And the other way, decoded over all of the prior, every picture standing for the same share of it: the gamma, between
# "nothing" and "much" of either latent; and the triangle, whose corners are three prototypes, and whose points are
# mixtures.

# %%
figure = Picture(figsize=(10, 5), layout="constrained")
quarter, triangle = figure.subplots(1, 2)
model, state = planar["gamma"]
manifold(
    lambda z: model.decode_mean(state.theta, z.astype(np.float32)), shape, side=14, ax=quarter,
    quantile=lambda levels: -np.log1p(-levels),
)  # fmt: skip
model, state = planar["dirichlet"]
side, (height, width) = 14, shape
canvas = np.full((side * height, side * width), np.nan)
for row in range(side):
    for column in range(side - row):
        shares = (np.array([side - 1 - row - column, column, row]) + 1 / 3) / side
        picture = model.decode_mean(state.theta, shares[None].astype(np.float32)).reshape(shape)
        top, left = (side - 1 - row) * height, column * width + row * width // 2
        canvas[top : top + height, left : left + width] = picture
triangle.imshow(canvas, cmap="gray", vmin=0, vmax=1)
triangle.set_axis_off()
quarter.set_title("gamma")
triangle.set_title("Dirichlet")
figure

# %% [markdown]
# ### Sparse and positive
#
# With sixteen latents, all digits. A normal beside an exponential *prior*. As posterior for the latter we take a
# Weibull: its KL to an exponential is in the table, and it has two parameters, one more than the exponential (why that
# matters comes next). Above: what each latent draws alone, with all others at zero. Below: how much of each latent each
# digit has, on average; red is positive, and for the normal blue negative.

# %%
settings = {"likelihood": "bernoulli", "binarize": "fresh", "latent": 16, "epochs": 15}
sparse = {"log_shape": math.log(0.3), "log_rate": math.log(0.3)}
wide = {
    "normal": trained(posterior="normal", **settings),
    "laplace": trained(posterior="laplace", **settings),
    "exponential": trained(posterior="weibull", prior="exponential", **settings),
    "gamma": trained(posterior="weibull", prior="gamma", prior_params=sparse, **settings),
}
figure = Picture(figsize=(10, 5.2), layout="constrained")
panels = figure.subplots(2, 2, height_ratios=[1, 2.2])
for (above, below), name in zip(panels.T, ("normal", "exponential"), strict=True):
    model, state = wide[name]
    x = grey(data.train, rng, np.float32)
    z = model.posterior.mean(model.encode(state.theta, x))
    use = np.array([z[data.train_labels == digit].mean(axis=0) for digit in range(10)])
    order = np.argsort(np.argmax(use, axis=0) - 0.01 * use.max(axis=0))
    alone = np.eye(16, dtype=np.float32)[order] * (2.5 if name == "normal" else 5)
    image_grid(model.decode_mean(state.theta, alone), shape, columns=8, ax=above)
    above.set_title(f"{name} prior: each latent alone")
    bound = np.abs(use).max()
    below.imshow(use[:, order], cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    below.set(xlabel="latent", ylabel="digit", xticks=[])
    below.set_yticks(range(10))
    below.tick_params(length=0)
figure

# %% [markdown]
# A positive latent cannot take anything away, only add. Turned on alone, most of the exponential's latents draw a
# digit, and most digits use few of them. Nobody asked for it, and no label was seen. But under a normal prior squares
# add up, so that a code is cheapest if all latents take a share. Under an exponential only the sum counts: to have all
# of it in one latent costs no more. A normal's latent alone is a direction, as good as any other, and all digits use
# all of them.
#
# How sparse a code is follows from the prior. For each code, drawn from $q(z|x)$, sort the sixteen by size: which share
# of the sum do the largest have? Lines: codes. Dots: draws of the prior itself.

# %%
axes = Picture(figsize=(6.5, 4), layout="constrained").subplots()
x = grey(data.test, rng, np.float32)
colours = {"normal": INK, "laplace": GREY, "exponential": BLUE, "gamma": ORANGE}
for name, (model, state) in wide.items():
    params = model.encode(state.theta, x)
    of_codes, _ = model.posterior.sample(params, model.posterior.noise(rng, (20, len(x), 16), np.float32))
    of_prior = model.draw_from_prior(state.theta, model.prior_noise(rng, 10_000, np.float32))
    for z, style in ((of_codes.reshape(-1, 16), "-"), (of_prior, "o")):
        sizes = -np.sort(-np.abs(z), axis=1)
        share = np.cumsum(sizes, axis=1) / sizes.sum(axis=1, keepdims=True)
        axes.plot(range(1, 17), share.mean(axis=0), style, color=colours[name], markersize=4)
    label = "gamma, shape 0.3" if name == "gamma" else name
    axes.plot([], [], color=colours[name], label=label)
axes.set(xlabel="the largest so many of sixteen", ylabel="share of the sum of sizes", ylim=(0, 1.02))
axes.legend(loc="lower right")
axes.figure

# %% [markdown]
# ### One prior, three posteriors
#
# The exponential has one parameter: its standard deviation *is* its mean. So it can be sure of "nearly nothing", but
# never of "two, give or take a tenth". The Weibull and the log-normal have two. Prior and data are the same for all
# three, so this is what the family of $q$ costs; and all three divergences stand in one column of the table.
#
# Then what part 2 left open: the KL by samples, in a real model. The gradient in the parameters of $q$ is a sum of
# terms, (path_terms.3); its variance over 300 draws of the noise, for estimator A (all by samples), and for A without
# the score term, as shares of that of estimator B (the KL by its formula).

# %%
several = {
    "exponential": trained(posterior="exponential", **settings),
    "weibull": wide["exponential"],
    "log_normal": trained(posterior="log_normal", prior="exponential", **settings),
    "normal (normal prior)": wide["normal"],
}
x = BINARIZATIONS["fresh"](data.test[:20], rng, np.float64)
print(f"{'posterior':22}{'bound':>8}{'KL':>7}{'variance of A / B':>22}{'without the score':>20}")
for name, (model, state) in several.items():
    terms = path_terms(model, state.theta.astype(np.float64), x, model.posterior.noise(rng, (1, 300, 20, 16)))
    estimators = ("pathwise, analytic KL", "pathwise", "sticking_the_landing")
    B, A, without_score = (terms.variance_of(estimator).sum() for estimator in estimators)
    row = state.history[-1]
    print(f"{name:22}{row['test_elbo']:8.1f}{row['test_kl']:7.1f}{A / B:22.2f}{without_score / B:20.2f}")

# %% [markdown]
# The one knob of the exponential costs more than four nats, though its divergence is the simplest of all. The
# log-normal has two, but no density at zero, where most codes want to be.
#
# And estimator A is no disaster: no bias, and about twice the variance. Without the score term it is *quieter than the
# closed form* where $q$ fits well, and not where it fits badly. So a missing formula is no reason against a family. But
# where there is one, use it.
#
# ## What to remember
#
# - A sample needs a gradient that is right *and* a law that is right. `check_pullback` sees the first,
#   `check_sampler` the second.
# - Three ways: invert the CDF, stretch and shift, compose. Where the CDF cannot be inverted it can be differentiated,
#   and the implicit gradient is never noisier than that of a sampler with more noise than needed.
# - If parameters move the ends of the support, the score function is wrong and the path is right.
# - $\mathrm{KL} = -H - E_q[\log p]$: a family that knows its entropy and three means knows its KL to whole columns.
# - Compare bounds only of the same data *and* of the same kind. A density can be anything; in bins it becomes a
#   probability.
# - The prior shapes the code: round, along axes, in a corner, on a simplex. Positive and sparse comes with names.
#
# ## Exercises
#
# **1.** For a Rayleigh $z = \sigma\sqrt{-2\log(1 - u)}$. What is $\partial z/\partial\log\sigma$? For which families of
# this lesson is the gradient in some parameter $z$ or $-z$, and why?
#
# **2.** Someone saves random numbers: an Erlang from *one* uniform, $z = -\frac kr \log(1 - u)$. Which lines of
# `check_sampler` object, and which do not?
#
# **3.** There are $f$ for which the score function is right even under `Uniform`, on $[0, 1]$ say. Which? And is it
# still right with a baseline?
#
# **4.** The table grows by one function. Derive KL(Exponential ‖ Weibull) from the identity; you need
# $E[z^k] = \Gamma(1 + k)/r^k$ and $E[\log z] = -\gamma - \log r$. Write it as a rule, let `check_pullback` judge it,
# and enter it by `@between(Exponential, Weibull)`.
#
# **5.** The eight codes cost some 118 nats, the levels 330. How can the discretised logistic be compared with the
# categorical after all?
#
# **6.** A Dirichlet prior with `prior_params={"log_concentration": math.log(0.3)}`: what will the triangle look like?
#
# ---
#
# ## Answers
#
# **1.** $z$ itself. Whenever $\sigma$ only scales, $z = \sigma \cdot g(u)$ and $\partial z/\partial\log\sigma = z$; a
# rate is the inverse of a scale, so $-z$ for exponential, Erlang and the rate of a gamma. Weibull, Pareto and the
# log-normal (in its mean) have it too.
#
# **2.** The mean is right, so that test is silent; and so is the score test, for the mean of the score is
# $k - r E[z] = 0$. Distribution and standard deviation object: it is $\sqrt k$ times too large.
#
# **3.** Those where the last term of (uniform.10) vanishes: for `low` (both ends move) $f(0) = f(1)$, for `log_width`
# $f(1) = 0$. With a baseline $b$ it is $f - b$ that has to vanish at the end, so for `log_width` it is wrong again.
#
# **4.** With $\eta = \log r$ and the prior's $\lambda = \log s$, $\kappa = \log k$, and
# $M = E[(z/s)^k] = \Gamma(1 + k)\, e^{-k(\eta + \lambda)}$:
# $\mathrm{KL} = \eta - 1 - \kappa + k\lambda + (k - 1)(\gamma + \eta) + M$.


# %%
def exponential_to_weibull(params, prior_params):
    log_scale, log_shape = np.split(prior_params, 2, axis=-1)
    shape, relative = np.exp(log_shape), params + log_scale
    moment = gamma_function(1 + shape) * np.exp(-shape * relative)
    kl = np.sum(shape * relative - 1 - log_shape + (shape - 1) * np.euler_gamma + moment, axis=-1)

    def pullback(dkl):
        both = dkl[..., None] * shape * (1 - moment)
        dlog_shape = dkl[..., None] * (shape * (relative + np.euler_gamma + moment * (psi(1 + shape) - relative)) - 1)
        dprior = [sum_to_shape(both, log_scale.shape), sum_to_shape(dlog_shape, log_shape.shape)]
        return sum_to_shape(both, params.shape), np.concatenate(dprior, axis=-1)

    return kl, pullback


between(Exponential, Weibull)(exponential_to_weibull)
q, p, params, prior = Exponential(), Weibull(), 0.5 * rng.standard_normal((3, 2)), 0.5 * rng.standard_normal((1, 4))
check_pullback(kl_divergence(q, p), params, prior, names=["params", "prior"])

# %% [markdown]
# That is the gradient. The law, by samples, row by row, in standard errors:

# %%
z, _ = q.sample(params, q.noise(rng, (100_000, 3, 2)))
ratio = q.log_prob(params, z)[0] - p.log_prob(prior, z)[0]
error = ratio.std(axis=0) / math.sqrt(len(ratio))
print(((ratio.mean(axis=0) - kl_divergence(q, p)(params, prior)[0]) / error).round(2))

# %% [markdown]
# **5.** A code is 32 levels. Add up the logistic's masses of those levels, and it becomes a model of codes, with the
# same KL. Its bound is then −124 nats against −118: to know that codes have an order does not make up for having only
# a tent to draw with, and for having been trained to say more.
#
# **6.** Below 1 a concentration puts the prior's mass into the corners and along the edges, and the codes follow:
# zeros, ones, twos and fours crowd into corners, and few are left in the middle, where all three mix.
#
# ## Where it is derived
#
# - Samples: [exponential](../derivations/exponential.md), [laplace](../derivations/laplace.md),
#   [erlang](../derivations/erlang.md), [gamma](../derivations/gamma.md), [implicit](../derivations/implicit.md), and
#   one page for every other family in the [list](../derivations/README.md); moving ends in
#   [uniform](../derivations/uniform.md).
# - Divergences: [divergences](../derivations/divergences.md), of [expectations](../derivations/expectations.md).
# - Likelihoods: [poisson](../derivations/poisson.md), [negative_binomial](../derivations/negative_binomial.md),
#   [categorical](../derivations/categorical.md), [continuous_bernoulli](../derivations/continuous_bernoulli.md),
#   [discretized_logistic](../derivations/discretized_logistic.md); what the model sees in
#   [binarization](../derivations/binarization.md).
# - What the review printed, and what is right: [errata](../derivations/errata.md).
#
# **Next:** lesson 6 asks what a gradient through samples is worth beside one without:
# [score function or reparameterisation](06_score_function_vs_reparameterisation.ipynb).
