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
# # Lesson 7: discrete latents
#
# [Lesson 6](06_score_function_vs_reparameterisation.ipynb) let samples slide. A bit cannot slide: it is 0 or it is 1.
# Here are eleven ways to get a gradient through it all the same: first on a single coin, where everything can be known
# exactly, then on many, and at last in a network that writes digits with thirty bits.

# %%
import time
from dataclasses import replace

import matplotlib
import numpy as np

from numvae import Bernoulli, sample_mean
from numvae.arena.closed_form import VARIANCES, variance
from numvae.arena.comparison import compare
from numvae.arena.costs import Quadratic
from numvae.arena.measuring import adapted, draw
from numvae.arena.problems import Problem, draw_gradients
from numvae.arena.ranking import rank
from numvae.arena.states import COSTS, state_of_model, state_of_problem
from numvae.belief_networks import mlp_belief_network
from numvae.datasets import fresh, load_drawn
from numvae.estimators import draw_noise
from numvae.estimators.catalogue import ESTIMATORS
from numvae.estimators.concrete import Concrete, StraightThroughConcrete
from numvae.estimators.relaxation import conditional_sample
from numvae.figures import Picture, image_grid, reconstructions
from numvae.optimizers import Adam
from numvae.training import Recipe, start, train

matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
matplotlib.rcParams.update({"font.size": 11, "axes.titlesize": 11, "lines.linewidth": 2})
TRUTH, GREY = "#27313b", "#8c959f"
names = {
    "reinforce": "REINFORCE",
    "score_function": "leave one out",
    "arm": "ARM",
    "disarm": "DisARM",
    "local_expectation": "local expectation",
    "muprop": "MuProp",
    "rebar": "REBAR",
    "adaptive_rebar": "REBAR, adapted",
    "relax": "RELAX",
    "straight_through": "straight-through",
    "concrete": "Concrete",
    "straight_through_concrete": "straight-through Concrete",
}
inks = {  # one colour each, all lesson long: warm for values of f, blue for slopes, red where the answer is biased
    "reinforce": "#e08700", "score_function": "#8a5a9e", "arm": "#c8a400", "disarm": "#009e73",
    "local_expectation": "#6b7683", "muprop": "#3d4fa8", "rebar": "#7cc0ee", "adaptive_rebar": "#19a7b8",
    "relax": "#0072b2", "straight_through": "#c0392b", "concrete": "#e07b6e", "straight_through_concrete": "#7d1f16",
}  # fmt: skip
rng = np.random.default_rng(7)

# %% [markdown]
# ## A bit has no slope
#
# A uniform number $u$ falls, and the bit is $b = [u < \theta]$, where $\theta = \mathrm{sigmoid}(\varphi)$ is the
# probability of a one and $\varphi$ its *logit*, (bernoulli.1). A bit costs $f(b) = (b - 0.45)^2$: a zero 0.2025, a
# one 0.3025. How does the *expected* cost change with $\varphi$?
#
# Hold $u$, as the pathwise gradient does, and turn $\varphi$ up. At some point the bit jumps; elsewhere nothing
# happens. The slope is zero, everywhere, for every $u$. But jumps at many places add up to a smooth curve:

# %%
target, logit = 0.45, np.log(0.3 / 0.7)
logits = np.linspace(-4, 4, 801)
theta = 1 / (1 + np.exp(-logits))
f0, f1 = target**2, (1 - target) ** 2
single, many = Picture(figsize=(10, 3.8), layout="constrained").subplots(1, 2)
for u, colour in ((0.1, "#c8a400"), (0.4, "#009e73"), (0.8, "#0072b2")):
    single.plot(logits, np.where(u < theta, f1, f0) + (u - 0.4) / 200, color=colour)
    single.text(np.log(u / (1 - u)) + 0.12, 0.25, f"$u = {u}$", color=colour)
single.set(title="one $u$: a jump, and no slope", xlabel="logit $φ$", ylabel="cost $f(b)$", ylim=(0.19, 0.32))
uniforms = np.random.default_rng(2).random(1000)
for count, colour, width in ((8, "#b9c0c7", 1.5), (1000, GREY, 2)):
    many.plot(logits, f0 + (f1 - f0) * (uniforms[:count, None] < theta).mean(axis=0), color=colour, linewidth=width,
              label=f"mean of {count:,} jumps")  # fmt: skip
many.plot(logits, f0 + (f1 - f0) * theta, color=TRUTH, linewidth=1.5, label="expected cost, $E f(b)$")
slope = 0.3 * 0.7 * (f1 - f0)
near = np.array([-1.6, 1.6])
many.plot(logit + near, f0 + (f1 - f0) * 0.3 + slope * near, "--", color="#c0392b")
many.text(logit + 0.2, 0.213, f"slope {slope:.3f} at $θ = 0.3$", color="#c0392b")
many.set(title="many: a slope", xlabel="logit $φ$", ylim=(0.19, 0.32))
many.legend(loc="upper left")
single.figure

# %% [markdown]
# With one coin we can simply write down the answer, (enumeration.2):
#
# $$\frac{d}{d\varphi} E f(b) = \theta(1 - \theta)\,\big(f(1) - f(0)\big) = 0.3 \cdot 0.7 \cdot 0.1 = 0.021 .$$
#
# With a hundred coins that would take $2^{100}$ costs. So it is *estimated*, and this toy shows how well, as the
# truth stands beside it.
#
# ## One coin, eight estimators
#
# | estimator | what one estimate does | asks for |
# |---|---|---|
# | REINFORCE, (score_function.1) | the cost of one bit times its score $b - \theta$ | one value |
# | leave one out, (score_function.3) | two bits, each the other's baseline | two values |
# | ARM, (arm.3) | the bits of $u$ and of $1 - u$; their difference in cost times $\tfrac12 - u$ | two values |
# | DisARM, (arm.4) | ARM averaged over every $u$ that gives the same two bits | two values |
# | local expectation, (local_expectation.2) | each bit tried both ways, the others held | $Z + 1$ values |
# | MuProp, (muprop.2) | a tangent of $f$ at the mean taken off, its gradient added | two values and slopes |
# | REBAR, (relaxation.4) | a *softened* bit taken off, its gradient added | three values and slopes |
# | RELAX, (relax.1) | the same, and a small network that learns the rest | three values and slopes |
#
# Three hundred estimates of each; the tick is the mean of ten thousand.

# %%
unbiased = [name for name in names if name not in ("straight_through", "concrete", "straight_through_concrete")]
unbiased.remove("adaptive_rebar")
coin = COSTS["bernoulli"](1)
arena = {m.name: m for name in unbiased for m in compare(
    coin, {name: ESTIMATORS[name]}, samples=2 if name == "score_function" else 1).estimators}  # fmt: skip

axes = Picture(figsize=(10, 5), layout="constrained").subplots()
axes.axvline(slope, color=TRUTH, linestyle="--", linewidth=1.2)
for place, (name, m) in enumerate(arena.items()):
    shown = m.gradients[:300, 0]
    column = np.round(shown / 0.004).astype(int)
    crowd = (column[:, None] == column).sum(axis=0)  # as high as there are many
    height = place + 0.75 * (rng.random(300) - 0.5) * crowd / crowd.max()
    shown = np.where(abs(shown) < 0.34, shown, np.nan)
    axes.plot(shown, height, "o", color=inks[name], markersize=4, alpha=0.45, markeredgewidth=0)
    axes.plot(2 * [m.gradients.mean()], [place - 0.42, place + 0.42], color=TRUTH, linewidth=2.5)
    axes.text(0.42, place, f"{m.total_variance:.6f}" if m.total_variance else "0", va="center", ha="right")
axes.set_yticks(range(len(arena)), [names[name] for name in arena])
axes.text(0.42, -0.75, "variance", va="center", ha="right")
axes.set(xlabel="estimate of $dφ$; truth dashed", xlim=(-0.15, 0.42), ylim=(len(arena) - 0.4, -1))
axes.figure

# %% [markdown]
# REINFORCE is two columns of dots, at $f(1)(1 - \theta)$ and $-f(0)\,\theta$. It says "down" seven times out of ten,
# and the three loud "ups" set it right. ARM, DisARM and leave one out never vote down: they are made of the
# *difference* of two costs. MuProp and REBAR are the worst here. They trust in what $f$ is between 0 and 1, and this
# parabola has its bottom just there; we come back to that. RELAX began as REBAR, and has learned.
#
# Are the numbers right? Each is held against its closed form, where [one exists](../derivations/arm.md#variances),
# and against the truth: *certified* says that no bias was found in 10,000 estimates.

# %%
print(f"{'':18}values   slopes   variance   closed form   certified")
for name, m in arena.items():
    formula, slopes = "", m.pullback_calls if m.claims.uses_dz else 0
    if (Bernoulli, name) in VARIANCES:
        formula = f"{variance(name, coin.f, coin.params[0], q=coin.q, samples=m.samples)[0]:.3e}"
    certified = "yes" if m.certified else "NO"
    print(f"{names[name]:18}{m.calls:6}{slopes:9}{m.total_variance:11.2e}{formula:>14}{certified:>12}")

# %% [markdown]
# Closed forms let us walk. Left, along $\theta$: DisARM has *no* variance for a fair coin, since $u$ and $1 - u$ then
# always give one bit of each kind, and both ways are tried, (closed_form.11). Right, the hard case: let the two costs
# become alike. The signal sinks, and REINFORCE stays as loud as ever, because it pays for the *size* of $f$. What is
# made of differences sinks along with the signal, and needs no more costs than before.

# %%
along, alike = Picture(figsize=(10, 4.2), layout="constrained").subplots(1, 2)
shares, gaps = np.linspace(0.005, 0.995, 199), np.geomspace(1e-3, 1, 40)
for name, samples in (("reinforce", 1), ("score_function", 2), ("arm", 1), ("disarm", 1)):
    lines = [variance(name, Quadratic(target), np.log([share / (1 - share)]), q=Bernoulli(), samples=samples)[0]
             for share in shares]  # fmt: skip
    along.plot(shares, lines, color=inks[name], label=names[name])
    at_gaps = [variance(name, Quadratic((1 - gap) / 2), np.array([logit]), q=Bernoulli(), samples=samples)[0]
               for gap in gaps]  # fmt: skip
    values = 1 if name == "reinforce" else 2
    alike.plot(gaps, values * np.array(at_gaps) / (0.1 * 0.21 * gaps) ** 2, color=inks[name])
along.set(title="along the coin", xlabel="probability of a one, $θ$", ylabel="variance of $dφ$")
along.set(yscale="log", ylim=(3e-7, 0.5))
alike.set(title="as the two costs become alike, $θ = 0.3$", xlabel="$f(1) - f(0)$", xscale="log", yscale="log")
alike.set(ylabel="costs asked for an error of 10 %", ylim=(30, 1e8))
along.legend(loc="upper left", ncols=2)
along.figure

# %% [markdown]
# ## Pretenders
#
# Why not simply pretend that a bit had a slope? *Straight-through* takes the bit on the way there, and on the way back
# acts as if it had been its probability, (straight_through.1). *Concrete* softens the bit on both ways:
# $\mathrm{sigmoid}(z/\tau)$ with logistic noise in $z$, (concrete.1); at a low *temperature* $\tau$ it is nearly a
# bit. Straight-through Concrete takes a bit there and a soft one back. All need one call, all are popular, and all are
# *biased*: they differentiate another function. On our coin the means can be had from ten thousand evenly spread $u$:

# %%
even = ((np.arange(10_000) + 0.5) / 10_000)[None, :, None]
cost, at = Quadratic(target), np.full((10_000, 1), logit)
temperatures = np.geomspace(0.02, 5, 40)


def spread_of(estimator):
    """Mean and variance of the estimate, over all uniform numbers."""
    _, pullback = estimator(Bernoulli(), at, even, cost, sample_mean)
    gradients, _ = pullback(np.ones(len(at)))
    return gradients.mean(), gradients.var()


lies, noise_of = Picture(figsize=(10, 4.2), layout="constrained").subplots(1, 2)
biased = ("straight_through", "concrete", "straight_through_concrete")
softened = {"concrete": Concrete, "straight_through_concrete": StraightThroughConcrete}
for name in biased:
    found = np.array([spread_of(softened[name](t) if name in softened else ESTIMATORS[name]) for t in temperatures])
    lies.plot(temperatures, found[:, 0], color=inks[name], label=names[name])
    noise_of.plot(temperatures, found[:, 1], color=inks[name])
lies.axhline(slope, color=TRUTH, linestyle="--", linewidth=1.5)
lies.axhline(0, color=TRUTH, linewidth=0.8)
lies.text(5, slope + 0.003, "truth", ha="right")
noise_of.axhline(arena["disarm"].total_variance, color=inks["disarm"])
noise_of.text(0.02, 3.6e-4, "DisARM", color=inks["disarm"])
lies.set(title="what they say on average", ylabel="mean of $dφ$", ylim=(-0.075, 0.05))
noise_of.set(title="and how noisy they are", ylabel="variance of $dφ$", yscale="log")
for axes in (lies, noise_of):
    axes.set(xlabel="temperature $τ$", xscale="log")
    axes.set_xticks([0.02, 0.1, 0.5, 2, 5], [0.02, 0.1, 0.5, 2, 5])
    axes.minorticks_off()
lies.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
lies.figure

# %% [markdown]
# Cool Concrete down and its bias goes, while its variance grows like $1/\tau$; warm it up and it is the other way
# round. On this coin most of them have the wrong *sign*, for the parabola falls from 0 to 0.45 and only then rises:
# who looks at slopes goes to the bottom between the bits, where no bit can ever be. Let two hundred coins walk
# downhill, all from $\theta = 0.6$; the right place to end is $\theta = 0$.

# %%
walkers = {name: ESTIMATORS[name] for name in ("reinforce", "score_function", "disarm", "straight_through", "concrete")}
figure = Picture(figsize=(10, 3.4), layout="constrained")
for axes, (name, estimator) in zip(figure.subplots(1, 5, sharey=True), walkers.items(), strict=True):
    phi, samples = np.full((200, 1), np.log(0.6 / 0.4)), 2 if name == "score_function" else 1
    path = [Bernoulli().mean(phi)[:, 0]]
    for _ in range(250):
        noise = draw_noise(estimator, Bernoulli(), rng, (samples, 200, 1))
        _, pullback = estimator(Bernoulli(), phi, noise, cost, sample_mean)
        phi = phi - pullback(np.ones(200))[0]
        path.append(Bernoulli().mean(phi)[:, 0])
    low, middle, high = np.quantile(path, [0.05, 0.5, 0.95], axis=1)
    axes.fill_between(np.arange(251), low, high, color=inks[name], alpha=0.25, linewidth=0)
    axes.plot(np.array(path)[:, :3], color=inks[name], linewidth=0.8)
    axes.plot(middle, color=TRUTH)
    axes.axhline(target, color=TRUTH, linestyle=":", linewidth=1)
    axes.set(title=names[name], xlabel="steps", ylim=(0, 1))
figure.axes[0].set_ylabel("probability of a one, $θ$")
figure

# %% [markdown]
# Black is the median, the band holds nine coins of ten. REINFORCE gets there by detours, DisARM straight.
# Straight-through goes to 0.45, where the slope is zero on average, and leaves the coin undecided for ever; Concrete,
# at $\tau = \tfrac12$, to one third.
#
# So never? Not so fast. The squared error of a mean of $n$ estimates is
#
# $$\text{bias}^2 + \frac{\text{variance}}{n} .$$
#
# On one coin the pretenders are not even quiet. Among many bits they will be, and a quiet liar beats an honest shouter
# as long as $n$ is small. The network below shows both sides of that.
#
# ## What lies beneath a bit
#
# REBAR and RELAX have it both ways: they look at slopes, and are unbiased. The trick: a bit is the *sign* of something
# continuous, a logistic $z$ around $\varphi$, (relaxation.1). First draw $z$, and with it the bit. Then, with the bit
# held, draw $\tilde z$ anew from what $z$ may then be, (relaxation.2).

# %%
cut, again, moved = Picture(figsize=(10, 3.8), layout="constrained").subplots(1, 3)
line = np.linspace(-7, 6, 400)
density = Bernoulli().std(line - logit) ** 2  # of a logistic: sigmoid' around φ
for side, colour, share in ((line <= 0, GREY, 0.7), (line > 0, "#0072b2", 0.3)):
    cut.fill_between(line[side], density[side], color=colour, alpha=0.5, linewidth=0)
    again.plot(line[side], density[side] / share, color=colour)
cut.plot(line, density, color=TRUTH, linewidth=1.2)
cut.text(-1.1, 0.09, "$b = 0$\n0.7", ha="center")
cut.text(3.2, 0.09, "$b = 1$\n0.3", ha="center", color="#0072b2")
cut.set(title="$z$, and the bit", xlabel="$z$", ylabel="density")
for bit, colour in ((0.0, GREY), (1.0, "#0072b2")):
    v = rng.random((1, 20_000, 1))
    z, _ = conditional_sample(np.full((20_000, 1), logit), np.full((1, 20_000, 1), bit), v)
    again.hist(z.ravel(), bins=np.arange(-7, 6.1, 0.25), density=True, color=colour, alpha=0.35)
    again.text(-5.2 if bit == 0 else 2.2, 0.3, f"$b = {bit:.0f}$", color=colour)
    v = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    paths = np.array([conditional_sample(np.full((1, 1), phi), np.full((5, 1, 1), bit), v[:, None, None])[0][:, 0, 0]
                      for phi in logits])  # fmt: skip
    moved.plot(logits, paths, color=colour, linewidth=1.5)
again.set(title="$\\tilde z$, the bit held", xlabel="$\\tilde z$")
moved.axhline(0, color=TRUTH, linewidth=0.8)
moved.axvline(logit, color=TRUTH, linestyle=":", linewidth=1)
moved.set(title="$\\tilde z$ moves with $φ$ and never crosses 0", xlabel="logit $φ$", ylim=(-7, 7))
moved.set_ylabel("$\\tilde z$ for five $v$")
cut.figure

# %% [markdown]
# Now take *any* function $c(z)$. $c(\tilde z)$ comes off the learning signal, as a baseline would; and since $z$ and
# $\tilde z$ have slopes where $b$ has none, what was taken off can be put back pathwise, (relaxation.4):
#
# $$(b - \theta)\,\big[f(b) - c(\tilde z)\big] \;+\; c'(z) - c'(\tilde z)\,\frac{\partial\tilde z}{\partial\varphi} .$$
#
# It is unbiased for *every* $c$; the temperature that gave Concrete its bias touches only the variance here. REBAR
# takes $c(z) = \kappa f(\mathrm{sigmoid}(z/\tau))$, the cost of a soft bit; RELAX adds a network $r(z)$. And since $c$
# moves nothing in the mean, it may *learn*: it follows the gradient of the variance itself, (relaxation.5).
#
# Two costs: ours, whose bottom lies between the bits, and a kind one, $(b + 1)^2$, that rises all the way.

# %%
two = {"our cost, $(b - 0.45)^2$": Quadratic(target), "a kind cost, $(b + 1)^2$": Quadratic(-1.0)}
learned_after = [0, 10, 30, 100, 300, 1000]
figure = Picture(figsize=(10, 7), layout="constrained")
panels = figure.subplots(2, 2)
for (controls, falls), (title, f) in zip(panels.T, two.items(), strict=True):
    problem = Problem(title, Bernoulli(), (logit,), f, 1)
    state = state_of_problem(problem)
    for name in ("adaptive_rebar", "relax"):
        at_steps = [adapted(ESTIMATORS[name], state, samples=1, steps=steps, rng=np.random.default_rng(0))
                    for steps in learned_after]  # fmt: skip
        found = [draw_gradients(each, problem, 10_000, rng=rng).var() for each in at_steps]
        falls.plot(np.maximum(learned_after, 3), found, "o-", color=inks[name], label=names[name])
        z = line[None, :, None]
        (c, _), _ = ESTIMATORS[name].at(at_steps[-1].eta).control(at_steps[-1].eta, f, np.zeros((1, 1)), z)
        controls.plot(line, c[0], color=inks[name], label=f"$c$, {names[name]}")
    (c, _), _ = ESTIMATORS["relax"].at(at_steps[0].eta).control(at_steps[0].eta, f, np.zeros((1, 1)), z)
    controls.plot(line, c[0], color=inks["rebar"], linestyle="--", label="$c$ at the start")
    at_bits, _ = f(None, np.array([[0.0], [1.0]]))
    controls.plot(line, np.where(line > 0, at_bits[1], at_bits[0]), color=TRUTH, linewidth=1.5, label="$f(b)$")
    best = 0.7 * at_bits[1] + 0.3 * at_bits[0]
    controls.axhline(best, color=TRUTH, linestyle=":", linewidth=1.2)
    controls.text(-7, best * 1.08, f"{best:.4g}")
    for name in ("reinforce", "disarm"):
        level = variance(name, f, np.array([logit]), q=Bernoulli())[0]
        falls.axhline(level, color=inks[name], linewidth=1.5)
        falls.text(1000, level * 1.2, names[name], color=inks[name], ha="right")
    controls.set(title=title, xlabel="$z$", ylabel="cost")
    falls.set(xlabel="steps of learning", ylabel="variance of $dφ$", xscale="log", yscale="log")
    falls.set_xticks([3, 10, 100, 1000], [0, 10, 100, 1000])
panels[0, 0].set_ylim(-0.02, 0.38)
panels[0, 1].set_ylim(0.8, 5.6)
panels[0, 1].legend(loc="upper left", ncols=2)
figure

# %% [markdown]
# RELAX learns almost a constant, and the adapted REBAR does so too where it can, by a hot temperature. Why just that
# number? For one coin there is a baseline that leaves no variance at all, (relax.2a):
#
# $$(1 - \theta) f(1) + \theta f(0),$$
#
# the dotted line. The probabilities stand the wrong way round; it is *not* the mean of $f$. On our cost REBAR has no
# way there: a soft bit between 0 and 1 says the opposite of what both ends say, so it turns its scale down to nearly
# zero and becomes REINFORCE.
#
# ## Many bits
#
# One coin flatters all of them. With $Z$ coins, each pays for the luck of all the others. For a sum of our costs over
# $Z$ coins closed forms are known; lines below, dots measured.

# %%
lonely, coupled = Picture(figsize=(10, 4.6), layout="constrained").subplots(1, 2)
dimensions = [1, 2, 4, 8, 16, 32, 64]
for name, samples in (("reinforce", 1), ("score_function", 2), ("arm", 1), ("disarm", 1)):
    lines = [variance(name, Quadratic(target), np.full(Z, logit), q=Bernoulli(), samples=samples)[0]
             for Z in dimensions]  # fmt: skip
    lonely.plot(dimensions, lines, color=inks[name], label=names[name])
    for Z in dimensions[::2]:
        problem = Problem("coins", Bernoulli(), (logit,) * Z, Quadratic(target), Z)
        found = draw_gradients(ESTIMATORS[name], problem, 10_000, rng=rng, samples=samples)[:, 0].var()
        lonely.plot(Z, found, "o", color=inks[name], markersize=5)
lonely.axhline(slope**2, color=TRUTH, linestyle="--", linewidth=1.2)
lonely.text(64, slope**2 * 0.6, "the signal, squared", va="center", ha="right", fontsize=10)
lonely.set(title="a sum over coins: variance for one of them", xlabel="coins, $Z$", ylabel="variance of $dφ_1$")
lonely.set(xscale="log", yscale="log", ylim=(1e-4, 1e2))
lonely.set_xticks(dimensions, dimensions)
lonely.minorticks_off()
lonely.legend(loc="upper left", ncols=2)

contest = compare(COSTS["coupled-bits"](8), {name: ESTIMATORS[name] for name in names if name != "rebar"}, samples=2)
for product in np.geomspace(1e-2, 1e4, 13):
    coupled.plot([1, 100], [product, product / 100], ":", color="#c8cdd3", linewidth=1, zorder=0)
lowest = {}
for m in sorted(contest.estimators, key=lambda m: m.total_variance):
    height = max(m.total_variance, lowest.get(m.cost, 0))
    lowest[m.cost] = height * 1.45
    coupled.plot(m.cost, m.total_variance, "o", color=inks[m.name], markersize=8)
    coupled.plot([m.cost, m.cost * 1.08], [m.total_variance, height], color=inks[m.name], linewidth=0.8)
    coupled.text(m.cost * 1.12, height, names[m.name], fontsize=10, va="center", color=inks[m.name])
coupled.set(title="eight coupled coins", xlabel="calls of $f$ and of its pullback", ylabel="total variance")
coupled.set(xscale="log", yscale="log", xlim=(3.4, 60), ylim=(2e-3, 30))
coupled.set_xticks([4, 8, 12, 20, 40], [4, 8, 12, 20, 40])
coupled.minorticks_off()
lonely.figure

# %% [markdown]
# Left: REINFORCE grows like $Z^2$, the pairs like $Z$, and the signal not at all. Local expectation has no variance
# here, since the others' luck cancels between its two tries.
#
# Right, with costs that depend on each other, $f = (b - t)^\top A\,(b - t)$: each estimate from two samples. To the
# left and down is better; along a dotted line variance × cost is constant, (arena.6). Now look at the blue ones, which
# were the worst on one coin. Slopes tell each coin what *it* would change, and not what the others were up to. Local
# expectation is quieter still, and asks for $Z + 1$ values a sample: fine for eight coins, dear for two hundred.
# Slopes come at one price for all coins together. The red ones are the quietest for their price. They should be; they
# are answering another question.
#
# Is a difference real? The arena tests each pair, with the same noise for both where they take the same, and says who
# *cannot be told apart*, (arena.8). By variance × cost, the biased ones left out:

# %%
honest = [m for m in contest.estimators if m.claims.unbiased]
for place in rank(honest, by_cost=True):
    tied = ", ".join(names[name] for name in place.tied_with)
    print(f"{place.place:3}  {names[place.name]:18} {place.value:8.3g} ± {place.standard_error:.2g}"
          + (f"   cannot be told apart from {tied}" if tied else ""))  # fmt: skip

# %% [markdown]
# Note that this is no equality: A may be level with B, and B with C, while A and C differ.

# %% [markdown]
# ## Thirty bits that write digits
#
# A *sigmoid belief network*, (belief_networks.1): thirty bits, from a learned prior; from them one affine map to 784
# pixels; and one affine map back, which guesses the bits from the picture. It is one of the oldest generative models
# that learn their own code, and the simplest VAE with discrete latents. $f(b) = \log p(x, b) - \log q(b|x)$ is some
# minus 150 nats, and from here on $E f$ is to be raised; for the estimators that changes nothing.
#
# Six estimators; the same weights to start from, the same digits in the same order. DisARM has one pair, RELAX one
# sample, which asks for three values and their slopes, and the others have two samples. The bound is always that of
# bits.

# %%
dataset = load_drawn(train=5_000, test=1_000)
model = mlp_belief_network(dataset.features, latents=(30,))
watched, snapshots = [0, 1, 2, 5, 10, 20], {}
samples_of = {"reinforce": 2, "score_function": 2, "disarm": 1, "relax": 1, "straight_through": 2, "concrete": 2}
trained, seconds = {}, {}
for name, samples in samples_of.items():
    recipe = Recipe(batch=50, samples=samples, estimator=ESTIMATORS[name], optimizer=Adam(0.003))
    state, clock = start(model, dataset, recipe), [time.process_time()]
    for epoch in range(21):
        train(model, dataset, replace(recipe, epochs=epoch), state)  # goes on where it stands
        clock.append(time.process_time())
        if name == "disarm" and epoch in watched:
            snapshots[epoch] = state.theta.copy()
    trained[name], seconds[name] = state, np.array(clock[2:]) - clock[1]

by_step, by_second = Picture(figsize=(10, 4.2), layout="constrained").subplots(1, 2, width_ratios=[1.2, 1])
for name, state in trained.items():
    steps, bound = np.array([(row["step"], row["test_elbo"]) for row in state.history]).T
    by_step.plot(steps, bound, "o-", color=inks[name], markersize=4)
    by_second.plot(seconds[name], bound, "o-", color=inks[name], markersize=4)
highest = np.inf
for name in sorted(trained, key=lambda name: -trained[name].history[-1]["test_elbo"]):  # labels apart from each other
    bound = trained[name].history[-1]["test_elbo"]
    highest = min(bound + 1, highest - 3)
    by_step.text(2060, highest, f"−{-bound:.1f}  {names[name]}", color=inks[name], va="center", fontsize=10)
by_step.set(title="step by step", xlabel="training steps", ylabel="test bound (nats per digit)")
by_step.set(xlim=(0, 3150), ylim=(-182, -130))
by_step.set_xticks([0, 500, 1000, 1500, 2000])
by_second.set(title="and by the clock", xlabel="processor seconds", ylim=(-182, -130))
by_step.figure

# %% [markdown]
# REINFORCE needs no further words. The three other honest ones end close together: RELAX is ahead step by step, but
# its step takes more than twice the time, and by the clock it is DisARM. And the pretenders? Straight-through is as
# fast as any of these for three hundred steps, and then stays behind for good. Concrete, which never shows a bit to the
# decoder, leads the field for three quarters of the way, tires, and ends level with DisARM. Why?
#
# ### All at the same weights
#
# Different trainings see different weights. So take DisARM's run, stop it six times, and let all estimators speak at
# the very same weights, about the same three digits: what they scatter in the 90 logits of $q(b|x)$. The truth is the
# mean of many local expectations.

# %%
x = fresh(dataset.test[:3], rng, np.float64)
watched = [0, 1, 2, 5, 10, 20]
asked = samples_of | {"arm": 1, "muprop": 1, "local_expectation": 1}
pretenders = ("straight_through", "concrete")
scatter, squared_bias, repeats = {name: [] for name in asked}, {name: [] for name in pretenders}, 500
for epoch in watched:
    here = state_of_model(model, snapshots[epoch], x)
    means = {}
    for name, samples in asked.items():
        estimator = ESTIMATORS[name]
        if name == "relax":
            estimator = adapted(estimator, here, samples=samples, steps=200, rng=rng)
        gradients, _, _ = draw(estimator, here, repeats, samples=samples, rng=rng)
        means[name] = gradients.mean(axis=0)
        scatter[name].append(gradients.var(axis=0).sum())
    for name, found in squared_bias.items():
        apart = np.sum((means[name] - means["local_expectation"]) ** 2)
        by_chance = (scatter[name][-1] + scatter["local_expectation"][-1]) / repeats
        found.append(apart - by_chance)

along_run, against_n = Picture(figsize=(10, 4.6), layout="constrained").subplots(1, 2)
for name, found in squared_bias.items():
    along_run.plot(range(1, 6), found[1:], "o:", color=inks[name])
    along_run.text(5.15, found[-1] / 2, f"bias², {names[name]}", color=inks[name], va="center", fontsize=10)
height = 0
for name in sorted(scatter, key=lambda name: scatter[name][-1]):
    along_run.plot(scatter[name], "o-", color=inks[name], markersize=5)
    height = max(scatter[name][-1], height * 2.1)
    along_run.text(5.15, height, names[name], color=inks[name], va="center", fontsize=10)
along_run.set(title="along one training run", xlabel="epochs", ylabel="variance", yscale="log", xlim=(-0.2, 8.4))
along_run.set_xticks(range(6), watched)
n = np.geomspace(1, 1000, 100)
for name in ("disarm", *pretenders):
    for place, style, width in ((1, "--", 1.5), (5, "-", 2.5)):
        bias = squared_bias[name][place] if name in pretenders else 0
        label = names[name] if style == "-" else None
        against_n.plot(n, bias + scatter[name][place] / n, style, color=inks[name], linewidth=width, label=label)
against_n.axvline(50, color=TRUTH, linestyle=":", linewidth=1.2)
against_n.text(54, 0.1, "one batch", fontsize=10)
against_n.text(1, 0.1, "dashed: after 1 epoch\nfull: after 20 epochs", fontsize=10)
against_n.set(title="the error of a mean", xlabel="estimates averaged, $n$", ylabel="bias² + variance / $n$")
against_n.set(xscale="log", yscale="log", ylim=(0.08, 600))
against_n.set_xticks([1, 10, 100, 1000], [1, 10, 100, 1000])
against_n.legend(loc="upper right")
along_run.figure

# %% [markdown]
# Left: REINFORCE is orders of magnitude above the rest, for $f$ is large, and all the others look at differences or
# slopes. RELAX is the quietest honest one that asks for a few values. Local expectation is quieter and asks for 31;
# but DisARM asks for two, and fifteen pairs of it, at the same price, would be quieter than that. (On the eight coins
# it was the other way round.) MuProp gets worse as the network learns: a tangent says ever less of a likelihood that
# bends ever more. The pretenders are quiet from beginning to end, and their bias grows; that of Concrete is several
# times smaller.
#
# Right, what that means. A single estimate of either pretender is better than one of DisARM, early and late. But a
# batch averages fifty rows. It averages the noise away, and not the bias, as far as the rows have that in common.
# Early, the lines cross DisARM's far to the right of fifty: noise is what matters, and pretending pays. Late, that of
# straight-through crosses well to the left of it, and Concrete's near by. So straight-through starts well and ends
# badly, Concrete ends level; and larger batches would help neither.

# %% [markdown]
# ### What the bits have learned
#
# The network trained by RELAX. Above, test digits; below, what thirty bits let through.

# %%
theta, shape = trained["relax"].theta, dataset.image_shape
digits = fresh(dataset.test[:14], rng, np.float32)
q_logits = model.encode(theta, digits)
bits, _ = model.posterior.sample(q_logits, model.posterior.noise(rng, (1, *q_logits.shape), np.float32))
reconstructions(digits, model.decode_mean(theta, bits[0]), shape).figure

# %% [markdown]
# And from the prior, thirty independent coins: digits, near digits, and the letters of unknown alphabets. One layer of
# independent coins cannot say which bits go together; a second layer above it could, (belief_networks.5).

# %%
drawn = model.draw_from_prior(theta, rng.random((45, model.latents), dtype=np.float32))
image_grid(model.decode_mean(theta, drawn), shape, columns=15).figure

# %% [markdown]
# What does a single bit mean? The decoder is an affine map, so each bit has one picture of its own: what it adds to
# the logit of every pixel. Red puts ink, blue takes it away. Above each is what the bit tells of a digit: the entropy
# of the bit over all test digits, less its mean entropy given the digit. At most it can be 1 bit.

# %%
weights = dict(model.layout.leaves(theta))["decoder.1.1.W"]
every = model.encode(theta, fresh(dataset.test, rng, np.float32))
share = model.posterior.mean(every).mean(axis=0).astype(np.float64)
mean_logits = np.log(share / (1 - share))
left_open = model.posterior.entropy(every[..., None]).mean(axis=0)
told = (model.posterior.entropy(mean_logits[:, None]) - left_open) / np.log(2)
order = np.argsort(-told)
figure = Picture(figsize=(10, 3.9), layout="constrained")
for axes, latent in zip(figure.subplots(3, 10).ravel(), order, strict=True):
    axes.imshow(weights[latent].reshape(shape), cmap="RdBu_r", vmin=-1.3, vmax=1.3)
    axes.set_title(f"{told[latent]:.2f}", fontsize=10)
    axes.set_axis_off()
figure

# %%
kl = trained["relax"].history[-1]["test_kl"]
print(f"together {told.sum():.1f} bits; the KL term of the bound is {kl:.1f} nats, {kl / np.log(2):.1f} bits")

# %% [markdown]
# Strokes, arcs, and places to leave empty. (The flat margins mean nothing: no digit has ink there.) All thirty are in
# use, and the KL pays for just what they tell: it is the same sum, plus what the prior's coins are off by, and those
# are learned too. Four digits, each with its bits as they are (left), and then with one of the ten most telling bits
# flipped:

# %%
chosen = (q_logits[[0, 1, 2, 3]] > 0).astype(np.float32)
flipped = np.repeat(chosen[:, None], 11, axis=1)
for column, latent in enumerate(order[:10], 1):
    flipped[:, column, latent] = 1 - flipped[:, column, latent]
image_grid(model.decode_mean(theta, flipped.reshape(-1, model.latents)), shape, columns=11).figure

# %% [markdown]
# ## What to remember
#
# - A bit has no slope, its mean has: an estimator must look at *differences* of $f$, or at slopes beside the bits.
# - REINFORCE pays for the size of $f$. Never without a baseline; one more sample is the cheapest there is.
# - DisARM: two values, no slopes, no baseline, nothing to tune. Begin with it.
# - REBAR and RELAX use slopes and stay unbiased, by drawing $z$ anew with the bit held. Their control variate may
#   learn, for it moves nothing in the mean. What they save in noise they may lose in time.
# - Straight-through and Concrete differentiate another function. Bias alone is no reason to refuse them: it is a debt,
#   which small $n$ hides and large $n$ calls in. If you take them, measure it.
# - Rankings do not travel: on one coin slopes did harm, on eight they were good, and in the network MuProp came last
#   but one. Measure at your own weights: `numvae variance`.
#
# ## Exercises
#
# **1.** One coin, REINFORCE with a constant baseline $r$. Write down its two outcomes. For which $r$ are they equal,
# and why must they then be right?
#
# **2.** On bits, $(b - 0.45)^2$ and $0.2025 + 0.1\,b$ are the same cost. What do REINFORCE, DisARM, straight-through
# and Concrete say of the one and of the other?
#
# **3.** At which $\theta$ is straight-through right about our coin? At which does it stop?
#
# **4.** DisARM and leave one out both take two values, and are equally good for a coin that has nearly made up its
# mind ($\theta \to 0$). Show it with (closed_form.8) and (closed_form.11). Where does DisARM win, and why just there?
#
# **5.** Give DisARM the time that RELAX has had: `epochs=50`. And give straight-through sixteen samples. Which of
# the two do you expect to gain?
#
# ---
#
# ## Answers
#
# **1.** A one gives $(f(1) - r)(1 - \theta)$, a zero $-(f(0) - r)\,\theta$. They are equal for
# $r = (1 - \theta) f(1) + \theta f(0)$. What is always the same is its own mean, and the mean is right for every $r$.
#
# **2.** REINFORCE and DisARM see $f(0)$ and $f(1)$ only: the same for both. Straight-through sees the slope, which of
# the second is 0.1 everywhere: it says $0.21 \cdot 0.1$, the truth, without any variance. Concrete comes close to it,
# at $\tau = \tfrac12$ on average 0.0190. What slopes say is a matter of how $f$ goes on between the bits, which no bit
# ever asks.
#
# **3.** Its mean is $\theta(1-\theta) \cdot 2(\theta - t)$, the truth is $\theta(1-\theta)(1 - 2t)$: right at
# $\theta = \tfrac12$, for every $t$. It stops at $\theta = t$.
#
# **4.** With $m = \min(\theta, 1 - \theta)$, $M = 1 - m$ and $\Delta = f(1) - f(0)$ the variances are
# $\Delta^2 mM(\tfrac12 - mM)$ and $\Delta^2 mM^2(\tfrac12 - m)$. As $m \to 0$, both go as $\Delta^2 m/2$. The second
# over the first, $M(\tfrac12 - m)/(\tfrac12 - mM)$, falls from 1 to 0 at $m = \tfrac12$. Two equal bits say nothing; of
# a fair coin, independent pairs are equal half of the time, antithetic ones never.
#
# **5.** DisARM has reached −130.3 by then, against −133.2. Straight-through ends at −140.0, where it was with two:
# its noise was not what held it back.
