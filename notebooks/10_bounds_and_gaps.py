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
# # Lesson 10: bounds and gaps
#
# The ELBO is at most $\log p(x)$. How much less? The training curve does not say, and two models cannot be compared by
# it: the one with the higher ELBO may only have the better encoder. This lesson measures the gap. First where $\log
# p(x)$ is a formula, and every bound can be seen beside what it bounds; then for VAEs on drawn digits, with four ways
# of estimating $\log p(x)$, each wrong in its own manner. Then it asks where the gap comes from, what closes it, and at
# what price.
#
# You know the ELBO from [lesson 1](01_one_page.ipynb). $q$ is short for $q(z|x)$, and all numbers are nats per datum.

# %%
from dataclasses import replace

import matplotlib
import numpy as np

from numvae import elbo_monte_carlo, importance_weighted, mlp_vae
from numvae.datasets import fresh, load_drawn
from numvae.distributions import MultivariateNormal
from numvae.exact_models import LinearGaussian, mean_field_gap
from numvae.figures import Picture, image_grid
from numvae.flows import PlanarFlow, mlp_flow_vae
from numvae.inspection import (
    OwnPosterior,
    active_units,
    aggregate_log_prob,
    aggregate_posterior,
    exact_posterior,
    fresh_noises,
    inference_gaps,
    refine,
    without_inactive,
)
from numvae.inspection.pictures import gap_bars, posterior_contours
from numvae.learning import wake_sleep
from numvae.marginal_likelihood import (
    annealed_importance,
    chi_upper_bound,
    from_encoder,
    importance_weighted_bounds,
    linear_gaussian_power_mean,
    linear_temperatures,
    power_mean_bound,
    reciprocal_breakdown,
    reciprocal_estimate,
    sandwich,
    sigmoidal_temperatures,
    simulate,
)
from numvae.marginal_likelihood.pictures import breakdown_by_latents
from numvae.optimizers import Adam
from numvae.training import Recipe, start, train

matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
matplotlib.rcParams.update({"font.size": 11, "axes.titlesize": 11, "lines.linewidth": 2})
LOWER, UPPER, BROKEN, TRUTH, QUIET = "#0072b2", "#e08700", "#c0392b", "#27313b", "#c8cdd3"
rng = np.random.default_rng(10)


def mean_and_error(values):
    """Over rows, with the standard error."""
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


# %% [markdown]
# ## A ladder whose top is known
#
# Everything linear, everything normal: $z \sim \mathcal{N}(0, I)$ in two dimensions, $x = zW + \text{noise}$. Then
# $\log p(x)$ is a sum of squares, (linear_gaussian.4), and the posterior a normal, the same ellipse for every $x$, only
# moved. With this $W$ the two latents are strongly correlated given $x$. A diagonal $q$ cannot say that. It has two
# natural choices, both with the right mean:
#
# - **narrow**, $\sigma_j^2 = 1/\Lambda_{jj}$ with Λ the posterior's precision: the *best diagonal q by the ELBO*,
#   (mean_field.4);
# - **wide**, $\sigma_j^2 = (\Lambda^{-1})_{jj}$: the posterior's own variances, latent by latent.
#
# A thousand $x$ are drawn from the model. $\mathcal{L}_k$ is the importance-weighted bound, the log of the mean of $k$
# weights $p(x, z)/q(z)$, (importance.1); $\mathcal{L}_1$ is the ELBO.

# %%
exact = LinearGaussian(W=np.array([[1.0, 0.5], [1.0, 0.0]]), b=np.zeros(2), beta=8.0)
z, x = exact.draw(rng, 1000)
truth, model = exact.evidence(x), exact.vae()
covariance = np.linalg.inv(exact.precision)
variances = {"narrow": 1 / np.diag(exact.precision), "wide": np.diag(covariance)}


def with_variances(variances):
    """The weights with which the encoder says the posterior's mean, and these variances."""
    theta = exact.theta.copy()
    bias = model.encoder.layout.views(model.layout.views(theta)["encoder"])["b"]
    bias[2:] = [*np.log(variances) / 2, 0]  # the last is for the correlation
    return theta


thetas = {name: with_variances(values) for name, values in variances.items()}
ks = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500]
found = {name: importance_weighted_bounds(model, theta, x, rng=rng, samples=ks) for name, theta in thetas.items()}
print(f"{'below log p(x):':16}" + "".join(f"{f'k = {k}':>9}" for k in ks))
for name, bounds in found.items():
    print(f"{name:16}" + "".join(f"{np.mean(truth - bounds.bounds[k]):9.3f}" for k in ks))

# %%
inks = {"narrow": LOWER, "wide": UPPER}
shapes, losses = Picture(figsize=(10, 4.2), layout="constrained").subplots(1, 2, width_ratios=[1, 1.5])
angle = np.linspace(0, 2 * np.pi, 200)
circle = 2 * np.stack([np.cos(angle), np.sin(angle)])
shapes.fill(*(np.linalg.cholesky(covariance) @ circle), color="#b3bdc9", label="exact p(z|x)")
for name, ink in inks.items():
    shapes.plot(*(np.sqrt(variances[name])[:, None] * circle), color=ink, label=f"{name} q")
    means, errors = np.transpose([mean_and_error(truth - bound) for bound in found[name].bounds.values()])
    losses.errorbar(ks, means, 2 * errors, fmt="o-", color=ink, capsize=3, label=f"{name} q")
v = np.exp(2 * (linear_gaussian_power_mean(exact, model.encode(thetas["wide"], x), x, 2.0) - truth)).mean() - 1
losses.plot(ks, v / 2 / np.array(ks), ":", color=TRUTH, linewidth=1.3, label="$v/2k$, with $v$ of the wide q")
shapes.set(aspect="equal", xlabel="$z_1$", ylabel="$z_2$", title="two standard deviations")
losses.set(
    xscale="log", yscale="log", xlabel="$k$", ylabel="nats below $\\log p(x)$", title="what $\\mathcal{L}_k$ loses"
)
losses.set(ylim=(5e-4, 3))
shapes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, columnspacing=1, handlelength=1.2)
losses.legend()
shapes.figure

# %% [markdown]
# The narrow $q$ is the best there is by the ELBO, and from three samples on it is the worse of the two. At $k = 500$ it
# is some *forty times* further from the truth. $\mathcal{L}_k$ loses about $v/2k$ with $v$ the relative variance of the
# weights, (importance.5), and for the narrow $q$ that variance is **infinite**: where $q$ is thin and $p$ is not, at
# the tips of the ellipse, a sample is rare and its weight enormous. The line falls all the same, but not like $1/k$.
#
# Two things to take along. The ELBO judges $q$ by $\mathrm{KL}(q \Vert p)$, which asks it to *stay inside* the
# posterior; whoever averages weights needs one that *covers* it. And $v/2k$ as estimated from the weights, which is
# what one has in practice, does not see weights that never came:

# %%
for name, bounds in found.items():
    loss, error = mean_and_error(truth - bounds.best)
    print(f"{name:8} k = 500: below log p(x) {loss:.4f} ± {error:.4f}, by its own estimate {bounds.loss().mean():.4f}")
print(f"the narrow q's ELBO should lie {mean_field_gap(exact):.3f} below, by (mean_field.5)")

# %% [markdown]
# ## From above
#
# $\mathcal{L}_k$ climbs and nobody knows where it ends. So one wants something above. Three offers:
#
# - **The χ bound**, $\tfrac12 \log E_q[w^2]$, at least $\log p(x)$ by Jensen, (power_means.3).
# - **Appendix D** of the paper: $1/p(x)$ as a mean of $q/p$ over draws of the posterior. Its log is too *large* on
#   average, (reciprocal_importance.4).
# - **Annealed importance sampling, backward**: chains that walk from a draw of the posterior back to the prior,
#   (annealed.6). Forward chains give a lower bound: a **sandwich**. It needs a draw of the posterior, and has one
#   wherever the model itself made $x$: the $z$ it was made from.
#
# All of them on the same rows with the wide $q$, as differences from the truth, with two standard errors.


# %%
def ladder(axes, rungs):
    """One line per estimate: (name, differences from the truth by rows, colour)."""
    for place, (_, values, ink) in enumerate(rungs):
        mean, error = mean_and_error(values)
        axes.plot([0, mean], [place, place], color=ink, alpha=0.3, linewidth=5, solid_capstyle="butt")
        axes.errorbar(mean, place, xerr=2 * error, fmt="o", color=ink, capsize=3)
    axes.axvline(0, color=TRUTH, linewidth=1.5)
    axes.set_yticks(range(len(rungs)), [name for name, *_ in rungs])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()


wide = thetas["wide"]
both = sandwich(model, wide, z, x, rng=rng, temperatures=linear_temperatures(20), chains=4, steps=5)
paper = reciprocal_estimate(model, wide, x, rng=rng)
chi = linear_gaussian_power_mean(exact, model.encode(wide, x), x, 2.0)
rungs = [("ELBO", found["wide"].bounds[1] - truth, LOWER)]
rungs += [(f"$\\mathcal{{L}}_{{{k}}}$", found["wide"].bounds[k] - truth, LOWER) for k in (5, 50, 500)]
rungs += [("annealed, forward", both.lower - truth, LOWER), ("annealed, backward", both.upper - truth, UPPER)]
rungs += [("appendix D", paper.values - truth, UPPER), ("χ bound, exact", chi - truth, UPPER)]
for samples in (1, 2, 10, 200):
    estimate = chi_upper_bound(model, wide, x, rng=rng, samples=samples).estimate
    rungs.append((f"χ bound from {samples} sample{'s' * (samples > 1)}", estimate - truth, BROKEN))
axes = Picture(figsize=(10, 4.4), layout="constrained").subplots()
ladder(axes, rungs)
axes.set(xlabel="nats from $\\log p(x)$", title="blue: lower bounds, orange: upper bounds, red: what is sold as one")
axes.figure

# %% [markdown]
# Look at the red ones. *Estimated from samples the χ bound is no upper bound*: the log of a mean is too low on average,
# and with one sample it is the ELBO, (power_means.4a). It starts below $\log p(x)$, crosses it at some number of
# samples that nobody knows, and creeps up. Here, in two dimensions, ten samples suffice to be above. The
# [derivation](../derivations/power_means.md) has an example in ten dimensions, where a thousand samples reach a quarter
# of the way from the truth to the bound.
#
# The family behind this: $M_t = \tfrac1t \log E_q[w^t]$, which is $\log p(x) - D_\alpha(q \Vert p(z|x))$ with Rényi's
# divergence of order $\alpha = 1 - t$. For the linear model it has a closed form, (power_means.6). α = 1 is the ELBO, α
# = 0 the truth, α = −1 the χ bound.

# %%
alphas = np.linspace(-1.5, 2, 351)
axes = Picture(figsize=(10, 4.4), layout="constrained").subplots()
for name, theta in thetas.items():
    q = model.encode(theta, x[:1])  # the difference from log p(x) is the same for every x
    curve = [linear_gaussian_power_mean(exact, q, x[:1], 1 - alpha)[0] - truth[0] for alpha in alphas]
    curve = np.array(curve)
    axes.plot(alphas[np.isfinite(curve)], curve[np.isfinite(curve)], color=inks[name], label=f"{name} q, exact")
    for samples, mark, face in ((10, "o", "white"), (1000, "o", inks[name])):
        for alpha in (-1, -0.5, 0.5) if name == "narrow" else (-1, 0.5):
            estimate = power_mean_bound(model, theta, x[:400], rng=rng, samples=samples, power=1 - alpha).estimate
            mean, error = mean_and_error(estimate - truth[:400])
            axes.errorbar(alpha, mean, 2 * error, color=inks[name], capsize=3)
            label = f"from {samples:,} samples" if alpha == -1 and name == "narrow" else None
            axes.plot(alpha, mean, mark, color=inks[name], markerfacecolor=face, markersize=8, label=label, zorder=3)
axes.axhline(0, color=TRUTH, linewidth=1.2)
for alpha, name in ((1, "ELBO"), (0, "$\\log p(x)$"), (-1, "χ bound")):
    axes.axvline(alpha, color=QUIET, linestyle=":", zorder=0)
    axes.text(alpha, 2.05, name, ha="center")
axes.set(xlim=(1.7, -1.5), ylim=(-2, 2), xlabel="order α", ylabel="nats from $\\log p(x)$")
axes.legend(loc="lower right")
axes.figure

# %% [markdown]
# All curves meet at $\log p(x)$. Left of α = ½ the narrow $q$ is the closer one, right of it the wide one. And the
# narrow one's curve *ends*: soon beyond α = 0 its bound is infinite, (power_means.6), while every estimate of it is a
# calm, finite number. That is no rare case, for a mean-field $q$ is narrow by its nature. (The wide one has its ends
# too.) An estimated $M_2$ above an estimated $M_1$ always looks like a sandwich, and need not contain what it is sold
# for.

# %% [markdown]
# ## A VAE: who is right about log p(x)?
#
# Two models of drawn digits, with two latents and with thirty, a hundred hidden units each. With two, $\log p(x)$ can
# be had to many digits: sum $p(x, z)$ over a grid, (exact_posterior.1). That is our judge for sixty test digits.

# %%
dataset = load_drawn(train=10_000, test=1_000)
recipe = Recipe(epochs=15, batch=50, optimizer=Adam(0.003))
models = {latents: mlp_vae(dataset.features, latents=latents, hidden=[100]) for latents in (2, 30)}
states = {latents: train(each, dataset, recipe, start(each, dataset, recipe)) for latents, each in models.items()}
for latents, state in states.items():
    print(f"{latents:2} latents: test ELBO {state.history[-1]['test_elbo']:.1f}")

tested = fresh(dataset.test, rng, np.float32)
digits = tested[:60]
two, theta = models[2], states[2].theta
grids = exact_posterior(two, theta, digits, points=45)
judge = np.array([grid.log_evidence for grid in grids])
print(f"log p(x) by the grid {judge.mean():.2f}, and off by at most {max(grid.error for grid in grids):.0e}")

# %%
weighted = importance_weighted_bounds(two, theta, digits, rng=rng, samples=[1, 10, 100, 5000])
walked = annealed_importance(
    two, theta, digits, rng=rng, temperatures=sigmoidal_temperatures(30), chains=6, steps=5, start=from_encoder
)
paper = reciprocal_estimate(two, theta, digits, rng=rng)
estimates = {f"L_{k}" if k > 1 else "ELBO": bound for k, bound in weighted.bounds.items()}
estimates |= {"annealed, from q": walked.values, "appendix D": paper.values}
print(f"{'nats from the grid':18} {'mean':>14} {'median':>9} {'worst':>8}   of digit")
for name, values in estimates.items():
    off = values - judge
    mean, error = mean_and_error(off)
    worst = np.abs(off).argmax()
    print(f"{name:18} {mean:6.2f} ± {error:.2f} {np.median(off):11.2f} {off[worst]:8.2f} {worst:10}")

# %% [markdown]
# Read the columns against each other. *In the median* the last three are right to a tenth of a nat. *In the mean* they
# are not, and $\mathcal{L}_{5000}$, "the likelihood" of most papers, is off by a nat, because of a few digits. Does it
# not know? It brings two warnings along, the effective number of samples and the loss expected from it:

# %%
off = weighted.best - judge
print(f"{'digit':>5} {'too low by':>11} {'expects':>8} {'effective samples of 5000':>26}")
for row in off.argsort()[:4]:
    print(f"{row:5} {-off[row]:11.2f} {weighted.loss()[row]:8.2f} {weighted.effective_samples[row]:26.1f}")
print(f"median{np.median(-off):11.2f} {np.median(weighted.loss()):8.2f} {np.median(weighted.effective_samples):26.1f}")

# %% [markdown]
# Too low by nats, and expecting tenths of one at most. Where a single weight carries everything, the effective number
# is a warning, though it does not say of how much; and a larger one is no proof, for these are the weights that *came*.
# What is wrong with these digits we shall see in a picture.
#
# ### Where appendix D breaks
#
# The paper's estimate did well but for a digit or two, and its authors say until when: "below five" latents or so. Back
# to linear models, where the truth is a formula, with the paper's fifty draws for the fit and fifty for the mean:

# %%
records = reciprocal_breakdown((1, 2, 3, 5, 10, 20), rows=200)
breakdown_by_latents(records).figure

# %% [markdown]
# It fits a normal to the draws and averages $q/p$ over others. That has a finite variance only while the fitted
# covariance is nowhere twice the true one, (reciprocal_importance.7), and fifty draws of twenty latents always are,
# somewhere. Errors then grow, and to one side. It is the mirror image of the ladder: importance weights, $p/q$, need a
# $q$ that is wide, appendix D, $q/p$, one that is narrow.
#
# ### Thirty latents
#
# No grid has thirty dimensions. But the model can draw digits, of these we know a $z$, and the sandwich closes on the
# truth. It starts here from $q$ and not from the prior, which is far away.

# %%
thirty, theta30 = models[30], states[30].theta
z30, drawn = simulate(thirty, theta30, rng=rng, count=32)
sandwiches = {}
for temperatures in (5, 15, 45):
    sandwiches[temperatures] = sandwich(
        thirty, theta30, z30, drawn, rng=rng,
        temperatures=sigmoidal_temperatures(temperatures), chains=6, steps=5, start=from_encoder,
    )  # fmt: skip
closest = sandwiches[45]
middle = (closest.lower + closest.upper) / 2
weighted30 = importance_weighted_bounds(thirty, theta30, drawn, rng=rng, samples=[1, 10, 100, 5000])
rungs = [(f"$\\mathcal{{L}}_{{{k}}}$" if k > 1 else "ELBO", b - middle, LOWER) for k, b in weighted30.bounds.items()]
rungs += [(f"annealed forward, {t} steps", each.lower - middle, LOWER) for t, each in sandwiches.items()]
rungs += [(f"annealed backward, {t} steps", each.upper - middle, UPPER) for t, each in reversed(sandwiches.items())]
for draws in (200, 50):
    values = reciprocal_estimate(thirty, theta30, drawn, rng=rng, draws=draws).values
    rungs.append((f"appendix D, {draws} draws", values - middle, BROKEN))
axes = Picture(figsize=(10, 4.2), layout="constrained").subplots()
ladder(axes, rungs)
axes.set(xlabel="nats from the middle of the closest sandwich", title="thirty latents, digits that the model drew")
axes.set_xlim(-13, 8)
axes.text(7.8, len(rungs) - 1.4, f"and on to {rungs[-1][1].mean():.0f}", ha="right", color=BROKEN)
gap, error = mean_and_error(closest.gap)
print(f"the closest sandwich is {gap:.2f} ± {error:.2f} nats thick; on average over digits log p(x) lies in it")
axes.figure

# %% [markdown]
# The closest sandwich, a fraction of a nat thick, convicts two estimates. $\mathcal{L}_{5000}$ is too low by more than
# a nat, though it is what papers print. Appendix D is too high, with its fifty draws by tens of nats. And the path
# decides too: with forty-five steps between $q$ and the posterior the chains are right, with five they are not.
#
# | estimate | is wrong | because | believe it where |
# |---|---|---|---|
# | $\mathcal{L}_k$ | below | $q$ misses a part of the posterior | $q$ is known to cover it, and weights are alike |
# | appendix D | above | its fit is too wide somewhere; a chain that stays in one place | up to some five latents |
# | annealed, forward | below | few steps, modes far apart | a sandwich on the model's own data is thin |
# | χ bound from samples | either | the log of a mean | – |
# | grid | – | | two latents |

# %% [markdown]
# ## Where the gap comes from
#
# $\log p(x) - \mathcal{L} = \mathrm{KL}(q \Vert p(z|x))$, (bound.3). Two culprits, (inference_gap.1). Let $q^*$ be the
# best of its family *for this digit alone*:
#
# $$\log p(x) - \mathcal{L}[q] = \underbrace{\log p(x) - \mathcal{L}[q^*]}_\text{approximation: the family} +
# \underbrace{\mathcal{L}[q^*] - \mathcal{L}[q]}_\text{amortisation: the encoder}$$
#
# To find $q^*$, forget the encoder and climb each digit's bound in the parameters of its own $q$, starting from what
# the encoder says. Two latents first, since there one can see the posterior itself.

# %%
few = {"steps": 150, "bound_samples": 300, "likelihood_samples": 1000}
gaps = inference_gaps(two, theta, digits, rng=rng, **few)
q, own = two.encode(theta, digits), gaps.refined
lost = judge - gaps.log_likelihood  # of log p(x), by weights from q*
by_gap = (judge - weighted.bounds[1]).argsort()
chosen = [*lost.argsort()[-2:], by_gap[len(digits) // 2]]  # where q* is wrong too, and an ordinary digit
chosen = [row for row in by_gap[::-1] if row not in chosen][:3] + chosen[::-1]
axes = posterior_contours(
    [grids[row] for row in chosen], two.posterior, {"q(z|x)": q[chosen], "q*, its own": own[chosen]},
    images=digits[chosen], image_shape=dataset.image_shape,
)  # fmt: skip
for panel in axes.child_axes:  # room for the digit, above and to the right
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    panel.set(xlim=(left, right + 0.2 * (right - left)), ylim=(bottom, top + 0.2 * (top - bottom)))
axes.figure

# %% [markdown]
# Grey is the truth: regions that hold half of the posterior and 95 %. Of the first three digits the encoder loses most:
# its $q$, orange, is simply *elsewhere*. Give each a $q$ of its own, and it moves over and fits. The fourth is an
# ordinary digit. The last two are something else: even $q^*$, blue, is not where the posterior is, or sits on one of
# its parts. It climbed to the top nearest to where the encoder had put it. (On your machine they may be other digits.)
# Importance weights from there know nothing of the other top, and that is why $\mathcal{L}_{5000}$ was wrong without
# noticing; and a chain that starts there, as in appendix D, may never leave.
#
# So a *measured* gap has the same blind spot as a measured likelihood. Here the grid can heal it: climb a second time
# from the exact posterior's mean and variances, and keep the better $q^*$.

# %%
start_there = [np.concatenate([grid.mean, 0.5 * np.log(grid.covariance.diagonal())]) for grid in grids]
noises = fresh_noises(two, rng, few["steps"], (10, len(digits)), np.float32)
from_truth = refine(two, theta, digits, noises, steps=few["steps"], start=np.float32(start_there))


def own_bounds(model, theta, x, params, samples):
    """L_k for q with a row of parameters for each row of x."""
    rows = np.concatenate([x, params.astype(x.dtype)], axis=1)
    return importance_weighted_bounds(OwnPosterior(model, x.shape[1]), theta, rows, rng=rng, samples=samples).bounds


elbos = [own_bounds(two, theta, digits, params, [1, 500])[1] for params in (q, own, from_truth)]
best = np.maximum(elbos[1], elbos[2])
healed = {"approximation": judge - best, "amortisation": best - elbos[0]}
for name, values in healed.items():
    gap, (true_mean, true_error) = getattr(gaps, name), mean_and_error(values)
    measured = f"measured {gap.mean:5.2f} ± {gap.standard_error:.2f}"
    print(f"{name:14} {measured}   with the grid {true_mean:5.2f} ± {true_error:.2f}   median {np.median(values):.2f}")
share = np.sort(healed["amortisation"])[-6:].sum() / healed["amortisation"].sum()
print(f"of all amortisation {100 * share:.0f} % comes from a tenth of the digits")

# %% [markdown]
# With two latents a diagonal normal is nearly all that is needed; the encoder is what fails, and on few digits badly.
# And with thirty?

# %%
gaps30 = inference_gaps(thirty, theta30, digits, rng=rng, **few)
print(f"{'latents':>7} {'approximation':>15} {'amortisation':>15}")
for latents, each in ((2, gaps), (30, gaps30)):
    numbers = [f"{gap.mean:8.2f} ± {gap.standard_error:.2f}" for gap in (each.approximation, each.amortisation)]
    print(f"{latents:7} {numbers[0]:>15} {numbers[1]:>15}")
gap_bars({"2 latents": gaps, "30 latents": gaps30}).figure

# %% [markdown]
# ## Closing it: one decoder, many q
#
# The decoder with thirty latents is held, and so is $\log p(x)$. What is the gap worth to each remedy? Importance
# weights from the encoder's $q$; a $q^*$ for each digit; then richer families, again for each digit by itself and from
# $q^*$ on: a normal sent through ten planar flow steps, (flows.1), and a normal with a full covariance.

# %%
x = digits[:40]
steps, own = 200, gaps30.refined[:40]
full = replace(thirty, posterior=MultivariateNormal())
correlations = np.zeros((len(x), 30 * 29 // 2), np.float32)
noises = fresh_noises(full, rng, steps, (10, len(x)), np.float32)
correlated = refine(full, theta30, x, noises, steps=steps, start=np.concatenate([own, correlations], axis=1))


def with_flow(model, theta, flow):
    """The model with the flow behind its encoder, its own weights in their places."""
    flowing = mlp_flow_vae(dataset.features, flow, hidden=[100])
    theta_flow = start(flowing, dataset, Recipe()).theta
    pieces = dict(flowing.layout.leaves(theta_flow))
    for name, piece in model.layout.leaves(theta):
        pieces[name][..., : piece.shape[-1]] = piece
    return flowing, theta_flow


flowing, theta_flow = with_flow(thirty, theta30, PlanarFlow(30, 10))
noises = fresh_noises(flowing, rng, steps, (10, len(x)), np.float32)
context = rng.standard_normal((len(x), flowing.flow.context), dtype=np.float32)
begin = np.concatenate([own, context], axis=1)
bent = refine(flowing, theta_flow, x, noises, steps=steps, start=begin, optimizer=Adam(0.1))

encoders = importance_weighted_bounds(thirty, theta30, x, rng=rng, samples=[1, 5, 50, 1000]).bounds
own = own_bounds(thirty, theta30, x, own, [1, 1000])
bent = own_bounds(flowing, theta_flow, x, bent, [1, 1000])
correlated = own_bounds(full, theta30, x, correlated, [1, 1000])
reference = correlated[1000]
rungs = [("encoder's q: ELBO", encoders[1] - reference, LOWER)]
rungs += [(f"$\\mathcal{{L}}_{{{k}}}$", encoders[k] - reference, LOWER) for k in (5, 50, 1000)]
rungs += [("own q*: ELBO", own[1] - reference, UPPER), ("own flow: ELBO", bent[1] - reference, UPPER)]
rungs += [("own full covariance: ELBO", correlated[1] - reference, UPPER)]
rungs += [("own q*: $\\mathcal{L}_{1000}$", own[1000] - reference, TRUTH)]
axes = Picture(figsize=(10, 3.8), layout="constrained").subplots()
ladder(axes, rungs)
axes.set(xlabel="nats from $\\mathcal{L}_{1000}$ of the full covariance, the highest of all")
axes.figure

# %% [markdown]
# Here is what each remedy buys. Weights alone need more than a thousand samples a digit to make up for the encoder's
# misplaced $q$. A $q^*$ of its own takes away all amortisation, the larger part by far, for a hundred and fifty steps
# of climbing. Then the family is next: of what is left most are *correlations* between latents, which a full covariance
# has and a diagonal does not. (Ten planar steps bend $q$ along ten directions of thirty, and with two hundred steps of
# climbing they win a part of that.) And weights from a *good* $q^*$ need no other family: they are near the top.
#
# ## Closing it: training
#
# That was inference. Training is another matter, for the decoder learns too, and all digits share one encoder. From the
# same weights we train two more epochs in five ways: the ELBO as before; the ELBO with five samples, in fairness to
# the next; the importance-weighted bound of five, (objectives.6); the ELBO of a $q$ with ten planar flow steps,
# (flows.2); and wake-sleep, (wake_sleep.3), whose encoder learns from the model's dreams and has another aim,
# $\mathrm{KL}(p \Vert q)$, the one that *covers*.
#
# How to compare? Not by the ELBO, as four of them have another $q$. Not by $\mathcal{L}_{500}$ either, now that we know
# what it does with a bad $q$. So both are shown, and $\log p(x)$ as weights from each digit's own $q^*$ tell it.

# %%
used = active_units(thirty, theta30, tested).activities[0] > 0.2
more = Recipe(epochs=2, batch=50, optimizer=Adam(0.001), seed=1)
contenders = {
    "ELBO": (thirty, theta30, more),
    "ELBO, 5 samples": (thirty, theta30, replace(more, samples=5)),
    "weighted, 5": (thirty, theta30, replace(more, samples=5, objective=importance_weighted)),
    "flow": (flowing, theta_flow, replace(more, objective=elbo_monte_carlo)),
    "wake-sleep": (thirty, theta30, replace(more, objective=wake_sleep)),
}
judged, cheap = digits[:40], {"steps": 100, "bound_samples": 200, "likelihood_samples": 500}
split, gained, widths, first = {}, {}, {}, None
print(f"{'':16}     ELBO    L_500   log p(x)   against the first   width of q")
for name, (each, theta_before, plan) in contenders.items():
    state = start(each, dataset, plan)
    state.theta[:] = theta_before
    weights = train(each, dataset, plan, state).theta
    bounds = importance_weighted_bounds(each, weights, judged, rng=np.random.default_rng(0), samples=[1, 500]).bounds
    split[name] = inference_gaps(each, weights, judged, rng=np.random.default_rng(1), **cheap)
    gained[name] = mean_and_error(split[name].log_likelihood - split["ELBO"].log_likelihood)
    widths[name] = np.log(each.posterior.std(each.encode(weights, judged))[:, used]).mean()
    print(
        f"{name:16} {bounds[1].mean():8.2f} {bounds[500].mean():8.2f} {split[name].log_likelihood.mean():10.2f} "
        f"{gained[name][0]:11.2f} ± {gained[name][1]:.2f} {np.exp(widths[name] - widths['ELBO']):12.2f}"
    )

# %%
gap_bars(split).figure

# %% [markdown]
# - **More samples of the ELBO**: no clear gain. So much for the control.
# - **Weights** give the better *model*: the highest $\log p(x)$, with a lower ELBO. Climbing $\mathcal{L}_5$ makes $q$
#   *wider*, as on the exact model; the encoder need not be right with one sample if one of five is. Its amortisation
#   gap grows, and nobody minds. Whoever judged this model by its ELBO would throw it away.
# - **The flow** lowers the approximation gap, but its encoder has six hundred more outputs to learn, and amortisation
#   takes most of it back. That is after two epochs; ask again after two hundred.
# - **Wake-sleep** has the widest $q$ of all and loses all the same: its encoder practises on dreams, which are not yet
#   digits.
#
# One seed and few epochs; take the pattern along, not the digits behind the point. What [the page on
# gaps](../derivations/inference_gap.md) says holds throughout: a gap belongs to a decoder, and a decoder adapts to the
# $q$ that it is trained with.

# %% [markdown]
# ## Which latents are used
#
# A latent that says something has a mean that moves with the digit. Its *activity* is the variance of $E_q[z_u|x]$ over
# the digits, (active_units.1), and by custom it is active above 0.01. If that is true, the others can be taken out of
# the trained model, without any training: the decoder sees 0 in their place, (active_units.3).

# %%
activity = active_units(thirty, theta30, tested)
order = np.sort(activity.activities[0])[::-1]
print(f"{activity.counts[0]} of 30 latents are above {activity.threshold}")
kept, pruned = [30, 28, 26, 24, 22, 20, 19, 18, 16, 14], []
for count in kept:
    threshold = 0.0 if count == 30 else (order[count - 1] + order[count]) / 2
    smaller = without_inactive(thirty, theta30, active_units(thirty, theta30, tested, threshold=threshold))
    same_noise = np.random.default_rng(0)
    pruned.append(importance_weighted_bounds(smaller, theta30, tested[:100], rng=same_noise, samples=[1, 100]).bounds)
units, cost = Picture(figsize=(10, 3.6), layout="constrained").subplots(1, 2)
units.bar(range(1, 31), order, color=LOWER)
units.axhline(activity.threshold, color=BROKEN, linestyle="--", linewidth=1.2)
units.set(yscale="log", xlabel="latents, the most active first", ylabel="activity $A_u$")
for k, ink in ((100, UPPER), (1, LOWER)):
    means, errors = np.transpose([mean_and_error(bounds[k] - pruned[0][k]) for bounds in pruned])
    label = "$\\mathcal{L}_{100}$" if k > 1 else "ELBO"
    cost.errorbar(kept, means, 2 * errors, fmt="o-", color=ink, capsize=3, label=label)
cost.axhline(0, color=TRUTH, linewidth=1)
cost.invert_xaxis()
cost.set(xlabel="latents kept", ylabel="change of the bound (nats)")
cost.legend()
units.figure

# %% [markdown]
# Two heaps, and a cliff between them: the model uses about twenty latents. The custom's border counts nearly all, for
# after fifteen epochs the lower heap has not come down all the way. *Look at the activities, not at the count.* The
# proof is on the right: down to some twenty latents nothing happens, or the ELBO even gains the little KL that idle
# latents cost, and then each one hurts more than the last.
#
# ## What codes say, and where they lie
#
# The KL term is the price of the code. Averaged over N digits it is a sum of two things, (aggregate.2):
#
# $$\frac1N \sum_n \mathrm{KL}(q(z|x_n) \Vert p(z)) = I(n; z) + \mathrm{KL}(q(z) \Vert p(z)), \qquad
# q(z) = \frac1N \sum_n q(z|x_n)$$
#
# what a code tells about *which* digit it was, and how far all codes together, the **aggregate posterior**, are from
# the prior that new digits are drawn from.

# %%
print(f"{'latents':>7} {'digits':>6} {'mean KL':>8}   {'I(n; z)':>12}   {'KL(q(z)|p)':>13} {'log N':>6}")
for latents, each in models.items():
    for count in (100, 1000):
        parts = aggregate_posterior(each, states[latents].theta, tested[:count], rng=rng)
        information = f"{parts.information:5.2f} ± {parts.information_error:.2f}"
        divergence = f"{parts.divergence:6.2f} ± {parts.divergence_error:.2f}"
        print(f"{latents:7} {count:6} {parts.mean_kl:8.2f} = {information} + {divergence} {parts.ceiling:7.2f}")

# %% [markdown]
# With two latents most of the KL is information, and the codes lie about where the prior is. With thirty, $I$ stands at
# its *ceiling* $\log N$, (aggregate.3): each code tells exactly which digit it was, and would of many more. The rest
# goes to the second term because it must, and no conclusion on the prior can be drawn from a thousand digits. Where the
# ceiling is far away, there is something to see: $q(z)$ beside $p(z)$, point by point.

# %%
side = np.linspace(-2.5, 2.5, 101)
nodes = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
log_prior = -0.5 * np.sum(nodes**2, axis=1) - np.log(2 * np.pi)
log_ratio = aggregate_log_prob(two.posterior, two.encode(theta, tested), nodes) - log_prior
area = (side[1] - side[0]) ** 2
share = np.sum(np.exp(log_prior[log_ratio < np.log(0.2)])) * area
print(f"{100 * share:.0f} % of the prior's draws land where q(z) is less than a fifth of p(z)")


def apart(order, count, distance=0.5):
    """The first nodes of an order that keep their distance, within 1.5 standard deviations of the prior."""
    picked = []
    for node in nodes[order]:
        if np.hypot(*node) < 1.5 and all(np.hypot(*(node - other)) > distance for other in picked):
            picked.append(node)
    return np.array(picked[:count])


picks = {
    "white, where q(z) ≪ p(z)": (apart(log_ratio.argsort(), 5), "white"),
    "black, where q(z) > p(z)": (apart((-log_ratio).argsort(), 5), TRUTH),
}
figure = Picture(figsize=(10, 4.2), layout="constrained")
plane, shown = figure.subplots(1, 2, width_ratios=[1.1, 1])
drawn_map = plane.pcolormesh(side, side, log_ratio.reshape(101, 101), cmap="RdBu_r", vmin=-3, vmax=3, rasterized=True)
figure.colorbar(drawn_map, shrink=0.9)
plane.set_title("$\\log q(z) - \\log p(z)$")
for radius in (1, 2):
    plane.plot(radius * np.cos(angle), radius * np.sin(angle), color=TRUTH, linewidth=0.8)
for places, ink in picks.values():
    for number, place in enumerate(places, 1):
        plane.text(*place, number, color=ink, ha="center", va="center", weight="bold")
images = np.concatenate([two.decode_mean(theta, places.astype(np.float32)) for places, _ in picks.values()])
image_grid(images, dataset.image_shape, columns=5, ax=shown)
for name, height in zip(picks, (1.06, -0.12), strict=True):
    shown.text(0.5, height, f"{name}: 1 to 5", transform=shown.transAxes, ha="center")
plane.set(aspect="equal", xlabel="$z_1$", ylabel="$z_2$", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))
figure

# %% [markdown]
# The circles are one and two standard deviations of the prior. Blue are the *holes*: places from which the prior draws
# and where hardly any digit has its code, because kinds of digits part there, as along the dark valleys. Nobody ever
# corrected the decoder there. In a plane its neighbours are never far, and look: its pictures from holes are not worse
# than the others. What is wrong is their *share*, for the prior draws them five times too often or more. In thirty
# dimensions a hole may be far from everything. No bound shows this: a model may have a fine likelihood and draw badly.

# %% [markdown]
# ## What to remember
#
# - The best $q$ for the ELBO is not the best proposal: narrow is good for $\mathrm{KL}(q \Vert p)$, wide for weights.
#   The warning signs of weights see only weights that came.
# - An upper bound from samples is hard to come by: an estimated χ bound is none, appendix D ends at some five latents,
#   and what holds, the sandwich, holds on the model's own data.
# - The gap has two parts. Here, and it is common, the encoder's part is by far the larger, and a few digits with a $q$
#   in the wrong place have much of it.
# - Climb a tighter bound and you get a better model and another $q$; a richer family asks for an encoder that can steer
#   it. Compare models by $\log p(x)$ from a good $q^*$, never by their own bounds.
# - The mean KL is information plus distance to the prior. The first ends at $\log N$.
#
# ## Exercises
#
# First with your own hands: `numvae learn init my-exercises` writes some thirty functions to be filled in, and five of
# them are this lesson's tools. `numvae learn check log_mean_exp` and `importance_weighted`, the bound and the weights
# it hands out; `monte_carlo_bound` and `analytic_bound`, the two ELBOs; `free_bits`, which keeps latents active. Then:
#
# **1.** Two samples have the weights 1 and 3. What are the estimates of the ELBO, of $\mathcal{L}_2$ and of the χ
# bound? Which of the three would you print as an upper bound?
#
# **2.** Show by hand that the wide $q$ has a finite variance of weights and the narrow one does not. The posterior's
# precision is $\Lambda = \begin{pmatrix} 11 & 8 \\ 8 & 9 \end{pmatrix}$, and $E_q[w^2]$ is finite where $2\Lambda - Q$
# is positive definite, with $Q$ the precision of $q$.
#
# **3.** Appendix D breaks because the fitted normal is too wide somewhere. So make it narrower:
# `reciprocal_breakdown((10, 20), rows=200, fit=NormalFit(spread=0.8))`. Guess first.
#
# **4.** A model has a mean KL of 25 nats on ten thousand digits. How large is $\mathrm{KL}(q(z) \Vert p)$ at least? How
# many digits would it take before nothing follows from that?
#
# **5.** The encoder is to blame, so give it four hundred hidden units: `encoder=mlp([784, 400, 60], tanh)` in
# `replace`, with `mlp` and `tanh` from `numvae.networks` and `numvae.layers`. What will the two gaps do?
#
# **6.** `numvae.learning` also has full variational Bayes, with a $q$ over the decoder's *weights*, and
# `numvae.layered` VAEs with several layers of latents. Which gap does the first add, and what do `active_units` say of
# the upper layers of the second?
#
# ---
#
# ## Answers
#
# **1.** The mean of the logs, $\tfrac12 \log 3 = 0.549$; the log of the mean, $\log 2 = 0.693$; and $\tfrac12
# \log\tfrac{1 + 9}{2} = 0.805$. In that order always, (power_means.4), whatever the truth is: from two samples none is
# an upper bound of anything.
#
# **2.** Narrow: $Q = \mathrm{diag}(11, 9)$, $2\Lambda - Q$ has the determinant $11 \cdot 9 - 16^2 < 0$. Wide:
# $\Lambda^{-1}$ has $\tfrac{9}{35}$ and $\tfrac{11}{35}$ on its diagonal, so $Q = \mathrm{diag}(3.89, 3.18)$, and $18.1
# \cdot 14.8 - 16^2 = 12.4 > 0$.
#
# **3.** With twenty latents it gets worse: the mean error goes from 1.0 to 2.2 nats, and with a spread of 0.6 to 7.6.
# The variance is finite now, and large: by (reciprocal_importance.7b) every latent brings a factor $1/\sqrt{\lambda(2 -
# \lambda)}$, which is least at λ = 1, and twenty of them multiply. Finite is not small. What helps are more draws, as
# the ladder of thirty latents showed.
#
# **4.** $25 - \log 10{,}000 = 15.8$ nats. By (aggregate.3), $\log N$ must reach 25: $7 \cdot 10^{10}$ digits.
#
# **5.** One run of each: approximation 2.3 and amortisation 8.4 nats, where a hundred units had 2.0 and 6.9. *Both
# grew.* $\log p(x)$ rose too, by a nat and a half: with a better encoder to work for, the decoder learns to say more,
# so posteriors get narrower and harder to hit. A gap is no property of the encoder alone, and a smaller one no sign of
# a better model.
#
# **6.** The KL of q(θ) to the posterior of the weights: $\log p(X)$ less the bound is now $\mathrm{KL}(q(\theta)\prod_i
# q(z_i|x_i) \,\Vert\, p(\theta, z_1 \dots z_N | X))$, see [its page](../derivations/full_variational_bayes.md). Of a
# `LayeredVAE` there is one list of activities for each layer; train one and see how many units of the upper one are
# alive. Means of upper layers are by samples, whose own variance must be taken off, (active_units.2).
