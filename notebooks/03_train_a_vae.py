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
# # Lesson 3: train a VAE
#
# [Lesson 1](01_one_page.ipynb) had everything on one page, [lesson 2](02_gradients_by_hand.ipynb) took it apart. Now
# the parts become software: we describe a model, train it, look into its two latents, find the true causes of the
# pictures in them, and prove the gradient of the trained model.

# %%
import matplotlib
import numpy as np
from scipy.spatial import KDTree

from numvae import figures, mlp_vae, pathwise, score_function
from numvae.datasets import draw_digits, fresh, from_arrays, grey, load_drawn
from numvae.evaluation import evaluate, evaluate_importance_weighted
from numvae.gradcheck import check_model, dparams_estimates
from numvae.optimizers import Adam
from numvae.training import Recipe, start, train

matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
rng = np.random.default_rng(3)

# %% [markdown]
# ## Data, model, recipe, state
#
# Four things, kept apart. The **data** are images with labels; they stay bytes until a batch is drawn.

# %%
dataset = load_drawn(train=10_000, test=2_000)
dataset

# %% [markdown]
# The **model** is a description and owns no arrays. Here the encoder has 784-200-100 units and puts out a mean and a
# `log_std` for each of two latents; the decoder is its mirror image, (objectives.1). Two is too few for good
# pictures, but two can be drawn on paper.

# %%
model = mlp_vae(dataset.features, latents=2, hidden=[200, 100])
for part in (*model.encoder.parts, model.posterior, *model.decoder.parts, model.likelihood):
    print(part)

# %% [markdown]
# All **weights**, a third of a million, are one flat vector, `theta`. The layout says what lies where in it, and
# hands out shaped views. So an optimiser, a gradient check or a file sees one array, whatever the model.

# %%
theta = np.zeros(model.layout.size)
for name, view in model.layout.leaves(theta):
    print(f"{name:12} {view.shape}")

# %% [markdown]
# The **recipe** says how to train: 30 times through the data, 100 rows a step, one sample of the noise per row, Adam,
# and bits drawn afresh each time that a row is used. The **state** is what changes: weights, the optimiser's moments,
# the noise generator, and the history of the bound. Everything random comes from the recipe's `seed`.

# %%
recipe = Recipe(epochs=30, batch=100, samples=1, optimizer=Adam(0.003), binarize=fresh, seed=0)
state = start(model, dataset, recipe)
train(model, dataset, recipe, state)
state.history[-1]["test_elbo"]

# %%
figures.bound_curves(state.history).figure

# %% [markdown]
# The bound is the sum of two terms with opposite wishes, (objectives.2): the reconstruction wants the code to say
# much, the KL charges for every nat. Both rise: the model pays more and gets more for it.

# %%
figures.bound_terms(state.history).figure

# %% [markdown]
# ## What two numbers can say
#
# Each test picture goes through the bottleneck of two numbers. Shape and lean survive, details do not.

# %%
x = fresh(dataset.test[:12], rng, np.float32)
params = model.encode(state.theta, x)
decoded = model.decode_mean(state.theta, model.posterior.mean(params))
figures.reconstructions(x, decoded, dataset.image_shape).figure

# %% [markdown]
# Draw the two numbers from the prior instead, and decode: new digits.

# %%
z = rng.standard_normal((60, 2), dtype=np.float32)
figures.image_grid(model.decode_mean(state.theta, z), dataset.image_shape, columns=15).figure

# %% [markdown]
# Where does the encoder put the test pictures? It never saw a label, and yet most digits have a place of their own.
# The rings are one, two and three standard deviations of the prior.

# %%
means = model.posterior.mean(model.encode(state.theta, grey(dataset.test, rng, np.float32)))
figures.latent_scatter(means, dataset.test_labels).figure

# %% [markdown]
# And the other way: decode a grid that covers the prior evenly. This is the whole world of the model, on one sheet,
# as in figure 4 of the paper. Compare with the map above: neighbours there are neighbours here, and between them one
# digit turns into the other.


# %%
def decode(z):
    return model.decode_mean(state.theta, z.astype(np.float32))


figures.manifold(decode, dataset.image_shape, side=16).figure

# %% [markdown]
# ## The true causes
#
# Drawn digits come with a luxury that real data never have: we know how each was made. Take ones only, 4,000 of them,
# and train a small model with two latents on nothing but the pixels.

# %%
ones = draw_digits(4_000, seed=1, labels=[1] * 4_000)
one_data = from_arrays("ones", ones.images)
one_model = mlp_vae(784, latents=2, hidden=[100])
one_recipe = Recipe(epochs=30, optimizer=Adam(0.003))
one_state = train(one_model, one_data, one_recipe, start(one_model, one_data, one_recipe))


def decode_one(z):
    return one_model.decode_mean(one_state.theta, z.astype(np.float32))


figures.manifold(decode_one, (28, 28), side=10).figure

# %% [markdown]
# It looks as if one latent were the lean and the other the pen. We can check, since `factors` has the truth: `slant`
# and `rotation` make the lean, `thickness` is the width of the line in pixels. Nobody told the model that either
# exists.

# %%
params = one_model.encode(one_state.theta, grey(ones.images, rng, np.float32))
codes = one_model.posterior.mean(params)
causes = {
    "lean (widths per height)": ones.factors["slant"] + np.tan(ones.factors["rotation"]),
    "thickness (pixels)": ones.factors["thickness"],
}
panels = figures.Picture(figsize=(9, 3.4), layout="constrained").subplots(1, 2)
for axes, (name, cause) in zip(panels, causes.items(), strict=True):
    dots = axes.scatter(*codes[:1000].T, c=cause[:1000], s=5, cmap="viridis")
    axes.figure.colorbar(dots, label=name)
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
panels[0].figure

# %% [markdown]
# How much of each cause can be read from the two latents? Guess it for every picture from its 20 nearest neighbours
# in the plane; this is the share of its variance that the guess explains:

# %%
_, nearest = KDTree(codes).query(codes, k=21)  # the nearest of all is the picture itself
for name, cause in causes.items():
    rest = cause - cause[nearest[:, 1:]].mean(axis=1)
    print(f"{name:26} {1 - rest.var() / cause.var():.2f}")

# %% [markdown]
# ## How good is the bound?
#
# The bound lies below $\log p(x)$ by a KL divergence that nobody can compute, (objectives.1a). But averaging $S$
# importance weights gives a bound that rises with $S$ and reaches $\log p(x)$ in the end, (objectives.6). So the gap
# can be watched as it closes, on 200 test pictures whose bits are drawn once (`grey` then leaves them as they are):

# %%
x = fresh(dataset.test[:200], rng, np.float32)
found = evaluate(model, state.theta, x, rng=rng, samples=100, binarize=grey)
print(f"ELBO     {found.elbo:8.2f} nats")
for S in (10, 100, 1000):
    bound = evaluate_importance_weighted(model, state.theta, x, rng=rng, samples=S, binarize=grey)
    print(f"S = {S:<5}{bound:8.2f}")

# %% [markdown]
# ## Proof
#
# Every gradient in this package was written by hand, so here is the proof for the very weights we have just trained:
# `check_model` compares the pullback of the whole bound with finite differences, group by group, in float64. Each dot
# left of the line passes.

# %%
x = fresh(dataset.test[:8], rng, np.float64)
check = check_model(model, state.theta, x, rng=rng)
figures.gradient_check(check.to_json()["groups"], tolerance=check.pullback.tolerance).figure

# %%
check.pullback

# %% [markdown]
# The second part of the check compares two estimators that share nothing but their expectation: the score function
# and the pathwise gradient, at the parameters of $q(z|x)$, all the encoder ever hears. They agree, coordinate by
# coordinate.

# %%
check.estimators

# %% [markdown]
# And here is why VAEs are trained with the pathwise one. Many estimates for one picture, each from two samples; the
# score function already has its leave-one-out baseline, (score_function.3). Two latents are kind to it: the gap
# widens with their number.

# %%
theta = state.theta.astype(np.float64)
axes = figures.Picture(figsize=(5.4, 4), layout="constrained").subplots()
for estimator in (score_function, pathwise):
    dparams = dparams_estimates(model, theta, x[:1], estimator, rng=rng, repeats=2000)
    std = dparams.std(axis=0)
    label = f"{estimator.__name__}: standard deviations {std[0]:.1f} and {std[1]:.1f}"
    axes.plot(*dparams[:, :2].T, ".", markersize=3, alpha=0.5, label=label)
axes.set(xlabel="gradient in mean 1", ylabel="gradient in mean 2", aspect="equal")
axes.figure.legend(loc="outside upper left", fontsize=8)
axes.figure

# %% [markdown]
# ## The same from the command line
#
# ```console
# $ numvae train --latent 2 --hidden 200,100 --lr 0.003 --epochs 30 --out runs/two
# $ numvae sample runs/two --n 60 --out samples.png
# $ numvae evaluate runs/two --samples 100
# $ numvae gradcheck runs/two
# ```
#
# `runs/two` then holds the weights, the settings, the history, the pictures of this model, and a page that shows
# them: `index.html`. `numvae train --help` lists the settings.
#
# ## What to try next
#
# 1. More latents: `latents=20`. The pictures get sharp. Which of the twenty are in use? Take the KL, (normal.5), of
#    each latent by itself.
# 2. `--data mnist --latent 20 --hidden 500`: the paper's model on the paper's data.
# 3. `--data frey --latent 2 --hidden 200`: faces, grey, with a normal likelihood.
# 4. `Recipe(estimator=score_function, samples=2)`: the same bound, the same expectation of its gradient. How far do
#    you get in 30 epochs?
# 5. Read how all of it is derived: [derivations](../derivations/README.md).
