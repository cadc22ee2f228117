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
# A VAE climbs a bound on $\log p(x)$. Two questions follow it everywhere. *How large is $\log p(x)$ itself?* And
# *where does the difference come from?* This lesson answers both: first on a model whose evidence is a formula, then
# on a VAE with two latents, small enough that $p(z|x)$ can be computed on a grid and looked at.

# %%
import numpy as np

from numvae import mlp_vae
from numvae.datasets import fresh, load_drawn
from numvae.exact_models import LinearGaussian
from numvae.figures import BLUE, INK, ORANGE, RED, WIDTH, _axes_within, _plain
from numvae.inspection import active_units, aggregate_posterior, exact_posterior, inference_gaps
from numvae.inspection.pictures import gap_bars, posterior_contours
from numvae.marginal_likelihood import (
    annealed_importance,
    importance_weighted_bounds,
    linear_gaussian_power_mean,
    reciprocal_breakdown,
    reciprocal_estimate,
    sandwich,
    sigmoidal_temperatures,
    simulate,
)
from numvae.marginal_likelihood.pictures import breakdown_by_latents
from numvae.optimizers import Adam
from numvae.training import Recipe, start, train

# %% [markdown]
# ## The ladder, with its upper end in place
#
# Everything linear, everything normal: $\log p(x)$ is a formula. The right posterior would make every importance
# weight equal $p(x)$, so $q$ is spoilt a little: its mean is off and its standard deviations are too large. One pass
# of samples gives the bound $L_k$ for every $k$: the ELBO is $k = 1$, and for a smaller $k$ than all of them the
# samples are cut into groups.

# %%
rng = np.random.default_rng(0)
exact = LinearGaussian(W=rng.standard_normal((2, 6)), b=np.zeros(6), beta=2.0)
model, theta = exact.vae(), exact.theta.copy()
encoder = model.encoder.layout.views(model.layout.views(theta)["encoder"])
encoder["b"][:2] += 0.25  # the means
encoder["b"][2:4] += 0.4  # log standard deviations
z, x = exact.draw(rng, 50)
sizes = [1, 2, 5, 10, 50, 200, 1000]
found = importance_weighted_bounds(model, theta, x, rng=rng, samples=sizes)
truth = exact.evidence(x)
for k, bound in found.bounds.items():
    short = bound - truth
    print(f"L_{k:<5} {bound.mean():8.4f}   short of log p(x) by {-short.mean():.4f} ± {short.std() / 50**0.5:.4f}")
print(f"log p(x) {truth.mean():8.4f}")

# %% [markdown]
# The gap falls like $v / 2k$, $v$ the variance of the weights over their squared mean. Raised to other powers the
# weights give other bounds, $\frac1t \log E_q[w^t]$: at $t \to 0$ the ELBO, at $t = 1$ the evidence, and beyond it
# *upper* bounds, of which $t = 2$ is the χ bound. For this model their exact values are known.

# %%
params = model.encode(theta, x)
powers = np.linspace(-0.5, 2.2, 55)
curve = [float(np.mean(linear_gaussian_power_mean(exact, params, x, t) - truth)) for t in powers]
ax = _axes_within(WIDTH * 1.2, 2.8, left=0.75, right=0.15, bottom=0.5, top=0.15)
_plain(ax)
ax.axhline(0, color=INK, linewidth=1)
ax.plot(powers, curve, color=BLUE, linewidth=1.8)
for t, name, colour in ((0.0, "ELBO", ORANGE), (1.0, "log p(x)", INK), (2.0, "χ bound", RED)):
    value = float(np.interp(t, powers, curve))
    ax.plot([t], [value], "o", color=colour)
    ax.annotate(name, (t, value), xytext=(6, -12), textcoords="offset points", color=colour, fontsize=9)
ax.set(xlabel="power t", ylabel="bound − log p(x) (nats)")
ax.figure

# %% [markdown]
# Why does nobody report the χ bound, if it closes the evidence in from above? Because it has to be *estimated*, and
# the log of a mean of samples is too low on average: its estimate rises with the number of samples towards a bound
# that it may never reach. [The page of power means](../derivations/power_means.md) has an example in which 10,000
# samples stand at a third of the way. Upper bounds that can be trusted come from running a chain backwards; they
# follow.
#
# ## A VAE with two latents
#
# Trained for some seconds on drawn digits. With two latents $p(x)$ is an integral over a plane, which a grid can do:
# that is the truth here.

# %%
digits = load_drawn(train=6000, test=500)
model = mlp_vae(digits.features, latents=2, hidden=[100])
recipe = Recipe(epochs=12, batch=50, optimizer=Adam(0.003))
state = train(model, digits, recipe, start(model, digits, recipe))
theta, rng = state.theta, np.random.default_rng(1)
x = fresh(digits.test[:40], rng, np.float32)
grid = exact_posterior(model, theta, x, points=65)
truth = np.array([each.log_evidence for each in grid])
print(f"log p(x) by the grid: {truth.mean():.3f}, each to about {max(each.error for each in grid):.0e}")

# %% [markdown]
# And by everything else: importance weights; the paper's appendix D, which draws from the posterior by Hamiltonian
# Monte Carlo, fits a normal and averages its ratio to $p(x, z)$, whose mean is $1/p(x)$; and annealed importance
# sampling, which walks from the prior to the posterior by degrees.

# %%
weights = importance_weighted_bounds(model, theta, x, rng=rng, samples=[1, 10, 100, 1000])
reciprocal = reciprocal_estimate(model, theta, x, rng=rng)
annealed = annealed_importance(model, theta, x, rng=rng, temperatures=sigmoidal_temperatures(40), chains=8, steps=5)
estimates = {f"L_{k}": bound for k, bound in weights.bounds.items()}
estimates |= {"appendix D": reciprocal.values, "annealed": annealed.values}
for name, values in estimates.items():
    off = values - truth
    print(f"{name:11} {values.mean():9.3f}   off by {off.mean():7.3f} ± {off.std() / len(off) ** 0.5:.3f}")

# %% [markdown]
# On data that the model has drawn itself one sample of the posterior is known, the very $z$ that made it. A chain
# that starts there and walks *back* to the prior gives an upper bound, and the evidence is caught between the two.

# %%
z, made = simulate(model, theta, rng=rng, count=40)
middle = np.array([each.log_evidence for each in exact_posterior(model, theta, made, points=65)])
for count in (5, 20, 80):
    caught = sandwich(model, theta, z, made, rng=rng, temperatures=sigmoidal_temperatures(count), chains=8, steps=5)
    below, above = caught.lower - middle, caught.upper - middle
    print(
        f"{count:3} temperatures: {below.mean():6.3f} ± {below.std() / 40**0.5:.3f} below, "
        f"{above.mean():6.3f} ± {above.std() / 40**0.5:.3f} above"
    )

# %% [markdown]
# The paper says that its estimator is good for fewer than five latents. On linear models with more and more of them,
# where the truth is a formula:

# %%
breakdown_by_latents(reciprocal_breakdown([1, 2, 3, 5, 10, 20], rows=100)).figure

# %% [markdown]
# ## Where the gap comes from
#
# $\log p(x) - \mathrm{ELBO} = \mathrm{KL}(q(z|x)\,\|\,p(z|x))$. Part of it is *approximation*: no normal with
# independent latents is the posterior. The rest is *amortisation*: the encoder does not put out the best of them. To
# tell the two apart, forget the encoder and climb the bound in the parameters of $q$ for each datum by itself.

# %%
gaps = inference_gaps(model, theta, x, rng=rng, steps=200, bound_samples=300, likelihood_samples=1000)
for name, gap in (("approximation", gaps.approximation), ("amortisation", gaps.amortisation)):
    print(f"{name:14} {gap.mean:6.3f} ± {gap.standard_error:.3f} nats")
gap_bars({"two latents": gaps}).figure

# %% [markdown]
# With two latents one can look. Filled: the exact posterior; the lines are those of the encoder's $q$ and of the
# refined one, each around half and 95 % of its mass. These are the digits with the largest gaps.

# %%
worst = np.argsort(gaps.inference.values)[-6:]
posterior_contours(
    [grid[row] for row in worst],
    model.posterior,
    {"encoder": model.encode(theta, x[worst]), "refined": gaps.refined[worst]},
    images=x[worst],
    image_shape=digits.image_shape,
).figure

# %% [markdown]
# The encoder puts its $q$ beside the posterior rather than on it; once it is moved, a normal fits well. So for this
# model it is the encoder that should be better, not the family. [Flows](../derivations/flows.md) and importance
# weighting mend the family; more units and more training mend the encoder.
#
# ## What the latents do
#
# A latent is *active* if its mean moves with the data. And the mean KL, what the bound pays for the latents, is two
# things in one: the information that $z$ holds about which datum it came from, and the distance of the aggregate
# posterior from the prior, which is what spoils samples.

# %%
rows = fresh(digits.test, np.random.default_rng(2), np.float32)
units = active_units(model, theta, rows)
moved = ", ".join(f"{each:.2f}" for each in units.activities[0])
print(f"activities {moved}: {units.counts[0]} active of {model.latents}")
surgery = aggregate_posterior(model, theta, rows, rng=np.random.default_rng(3))
print(
    f"mean KL {surgery.mean_kl:.3f} = information {surgery.information:.3f} ± {surgery.information_error:.3f} "
    f"+ KL(q(z) ‖ p) {surgery.divergence:.3f} ± {surgery.divergence_error:.3f}; "
    f"no more than log N = {surgery.ceiling:.2f} can be known of {len(rows)} rows"
)

# %% [markdown]
# ## Questions
#
# 1. $L_k$ with the encoder's $q$ misses most on the very digits whose $q$ lies beside the posterior. Why does the
#    standard error of the estimate not tell? (Look at the effective samples.)
# 2. Train the two-latent model for three times as many epochs and split its gap again. Which part grows, and why?
# 3. The sandwich needs data that the model has drawn. What does it say of $\log p(x)$ of *real* digits, and what not?
# 4. Derive the importance-weighted bound's pullback yourself: `numvae learn check importance_weighted`.
