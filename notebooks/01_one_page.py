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
# # Lesson 1: a variational auto-encoder on one page
#
# You know calculus and NumPy. At the end of this lesson you will have read every line of a variational auto-encoder
# (VAE), the way there and the way back, checked its gradient, and trained it to write digits.
#
# Labels such as (normal.1) are equations that are derived in [`derivations/`](../derivations/README.md).

# %%
import inspect

import matplotlib
import numpy as np

from numvae import figures
from numvae.datasets import draw_digits, fresh
from numvae.one_page import elbo_and_gradient

matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

# %% [markdown]
# ## The data
#
# Digits, drawn on the spot: 28 × 28 pixels between 0 (paper, shown black) and 255 (ink, shown white). We turn each
# grey pixel into a bit that is 1 with probability grey / 255, (binarization.3). A row of `x` is one picture, 784
# zeros and ones.

# %%
rng = np.random.default_rng(1)
digits = draw_digits(5500, seed=1)
bits = fresh(digits.images, rng, np.float64)
x, x_test = bits[:5000], bits[5000:]
figures.image_grid(x[:30], (28, 28), columns=15).figure

# %% [markdown]
# ## The story of a picture
#
# A VAE tells a story of how such a picture comes about, in two steps (objectives.1):
#
# 1. draw a few hidden numbers, the *latents*: $z \sim \mathcal{N}(0, I)$;
# 2. a network, the *decoder*, turns them into one number per pixel, the logits, and each pixel becomes 1 with
#    probability $\mathrm{sigmoid}(\text{logit})$.
#
# To learn is to make the pictures we have likely under the story: to climb $\log p(x)$, where
#
# $$p(x) = \int p(x \mid z)\, p(z)\, dz .$$
#
# Nobody can compute this integral for a network. So a second network, the *encoder*, looks at $x$ and guesses which
# $z$ may have made it: $q(z \mid x) = \mathcal{N}(\mu(x), \sigma^2(x))$. With it comes a *bound* that we can compute:
#
# $$\mathcal{L} = \underbrace{E_{q}[\log p(x \mid z)]}_{\text{reconstruction}} -
# \underbrace{\mathrm{KL}\big(q(z \mid x) \,\Vert\, p(z)\big)}_{\text{what the guess costs}}
# \;=\; \log p(x) - \mathrm{KL}\big(q(z \mid x) \,\Vert\, p(z \mid x)\big) .$$
#
# The second form, (objectives.1a), says all: a KL divergence is never negative, so $\mathcal{L} \le \log p(x)$; and
# the bound touches where the guess is the true posterior $p(z \mid x)$. Climbing $\mathcal{L}$ improves the story and
# the guess at once. See [objectives](../derivations/objectives.md) for three short proofs.

# %% [markdown]
# ### A bound you can see
#
# Take a story so small that $\log p(x)$ is known: $z \sim \mathcal{N}(0, 1)$, then $x \sim \mathcal{N}(z, 1)$. So
# $x \sim \mathcal{N}(0, 2)$, and the true posterior at $x = 1$ is $\mathcal{N}(\tfrac12, \tfrac12)$. The two terms of
# the bound for a guess $\mathcal{N}(\mu, \sigma^2)$ are, by (normal.9) and (normal.6a),
#
# $$\mathcal{L}(\mu, \sigma) = -\tfrac12 \log 2\pi - \tfrac12\big((1 - \mu)^2 + \sigma^2\big) -
# \tfrac12\big(\mu^2 + \sigma^2 - 1 - \log \sigma^2\big) .$$

# %%
std = np.linspace(0.1, 2, 200)
evidence = -0.5 * np.log(2 * np.pi * 2) - 1 / 4
axes = figures.Picture(figsize=(5.4, 3), layout="constrained").subplots()
axes.axhline(evidence, color="black", linestyle="--", label=f"log p(x) = {evidence:.3f}")
for mean in (0.5, 0.0, -0.5):
    reconstruction = -0.5 * np.log(2 * np.pi) - 0.5 * ((1 - mean) ** 2 + std**2)
    kl = 0.5 * (mean**2 + std**2 - 1 - np.log(std**2))
    axes.plot(std, reconstruction - kl, label=f"bound, mean {mean:g}")
axes.axvline(np.sqrt(0.5), color="lightgrey", zorder=0)
axes.set(xlabel="standard deviation of the guess (grey: of the true posterior)")
axes.set(ylabel="nats", ylim=(-4, -0.4))
axes.legend(ncols=2, loc="upper right")
axes.figure

# %% [markdown]
# ## The one page
#
# Here is the whole model: ten lines there, a dozen back. Every line of the way there has its line on the way back, in
# reverse order. `p` holds the ten weight arrays, `noise` is standard normal, and an array's rows are pictures; the
# letters are B pictures, D = 784 pixels, H hidden units, Z latents. Each gradient is named after what it is the
# gradient of: `dz` has the shape of `z`.

# %%
print(inspect.getsource(elbo_and_gradient).split('"""')[2])

# %% [markdown]
# Four lines deserve a pause; [one_page](../derivations/one_page.md) has a note on each of the others.
#
# **`z = mean + std * noise`** (normal.1). The latents must be *random*, and the bound must be *differentiable*. So
# the randomness is an argument: noise comes in from outside, and given the noise, $z$ is a smooth function of `mean`
# and `log_std`. This is the *reparameterisation trick*, and the reason that VAEs work; lesson 2 measures what it
# buys.
#
# **`kl = 0.5 * (mean**2 + std**2 - 1 - 2 * log_std)`** (normal.6a). The price of the guess, in closed form. It is
# zero where the encoder says nothing, `mean` = 0 and `std` = 1.
#
# **`dlogits = x - 1 / (1 + np.exp(-logits))`** (bernoulli.4). What was seen minus what was expected. All learning
# begins with this line.
#
# **`dlog_std = dz * std * noise - (std**2 - 1)`** (objectives.3). `log_std` reaches the bound in two ways, through
# the sample and through the KL, so its gradient is a sum of two terms. The same holds for `mean`. The first term
# pulls towards a good reconstruction, the second back to the prior.

# %% [markdown]
# ## Is the gradient right?
#
# Do not trust a derivation; measure. Move one array of weights a little way $h$ along a random direction $u$, see how
# much the bound changes, and compare with what the gradient $g$ promises:
#
# $$\frac{\mathcal{L}(p + h u) - \mathcal{L}(p - h u)}{2h} \approx \langle g, u \rangle .$$

# %%
D, H, Z = 784, 100, 8
shapes = {"W1": (D, H), "b1": H, "W2": (H, Z), "b2": Z, "W3": (H, Z), "b3": Z}
shapes |= {"W4": (Z, H), "b4": H, "W5": (H, D), "b5": D}
p = {name: 0.05 * rng.standard_normal(shape) for name, shape in shapes.items()}

few, noise, h = x[:20], rng.standard_normal((20, Z)), 1e-4
_, gradient = elbo_and_gradient(p, few, noise)
checks = []
for name, shape in shapes.items():
    u = rng.standard_normal(shape)
    u /= np.linalg.norm(u)
    up = elbo_and_gradient(p | {name: p[name] + h * u}, few, noise)[0].sum()
    down = elbo_and_gradient(p | {name: p[name] - h * u}, few, noise)[0].sum()
    promised, measured = np.sum(gradient[name] * u), (up - down) / (2 * h)
    checks.append({"name": name, "relative_error": abs(promised - measured) / abs(measured)})
    print(f"{name}: promised {promised:12.6f}, measured {measured:12.6f}")

# %% [markdown]
# As far as printed, they agree. The dots are the relative errors. What is left comes from the measurement, not from
# the gradient: lesson 2 tells the two apart.

# %%
figures.gradient_check(checks, tolerance=1e-6).figure

# %% [markdown]
# ## Learning
#
# Weights start random, just so large that a sum over many inputs keeps their size
# ([why](../derivations/parameters.md)); biases start at zero, all but the last: `b5` starts at the best story
# *without* latents, where every pixel is on its own and is 1 as often as in the training pictures.

# %%
for name, shape in shapes.items():
    p[name] = rng.standard_normal(shape) / np.sqrt(shape[0]) if "W" in name else np.zeros(shape)
often = x.mean(axis=0).clip(0.001, 0.999)
p["b5"] = np.log(often / (1 - often))
without_latents = (x_test * np.log(often) + (1 - x_test) * np.log(1 - often)).sum(axis=1).mean()

# %% [markdown]
# Now climb. Each step takes 100 pictures, draws noise, and moves the weights along the mean gradient. Plain gradient
# ascent would do. Adam, (optimizers.7), divides each gradient by its usual size and gets there sooner; it is the four
# lines in the middle.

# %%
first = {name: np.zeros_like(p[name]) for name in p}
second = {name: np.zeros_like(p[name]) for name in p}
steps, train_bounds, test_bounds = 2000, [], []
for step in range(1, steps + 1):
    batch = x[rng.integers(0, len(x), 100)]
    bound, gradient = elbo_and_gradient(p, batch, rng.standard_normal((100, Z)))
    for name in p:
        g = gradient[name] / 100
        first[name] += 0.1 * (g - first[name])  # a running mean of the gradient
        second[name] += 0.001 * (g**2 - second[name])  # and of its square
        usual_size = np.sqrt(second[name] / (1 - 0.999**step))
        p[name] += 0.003 * first[name] / (1 - 0.9**step) / (usual_size + 1e-8)
    train_bounds.append(bound.mean())
    if step % 50 == 0:
        test_bounds.append(elbo_and_gradient(p, x_test, rng.standard_normal((500, Z)))[0].mean())

# %% [markdown]
# The bound rises on the pictures it learns from, and on 500 that it never sees. It soon leaves the story without
# latents behind. One nat is a factor $e$ in probability, so the distance to the dashed line is astronomical.

# %%
axes = figures.Picture(figsize=(5.4, 3), layout="constrained").subplots()
axes.plot(np.arange(1, steps + 1), train_bounds, color="orange", linewidth=0.5, label="training batches")
axes.plot(np.arange(50, steps + 1, 50), test_bounds, color="tab:blue", label=f"test: {test_bounds[-1]:.1f}")
axes.axhline(without_latents, color="black", linestyle="--", label=f"no latents: {without_latents:.1f}")
axes.set(xlabel="step", ylabel="bound (nats per picture)", ylim=(-230, -105))
axes.legend(loc="center right")
axes.figure

# %% [markdown]
# ## What it has learnt
#
# Send test pictures through: encode, take the mean of the guess, decode. Eight numbers say what 784 bits looked like.

# %%
shown = x_test[:12]
mean = np.tanh(shown @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
logits = np.tanh(mean @ p["W4"] + p["b4"]) @ p["W5"] + p["b5"]
figures.reconstructions(shown, 1 / (1 + np.exp(-logits)), (28, 28)).figure

# %% [markdown]
# Now tell the story without any picture: draw $z$ from the prior, decode. These digits did not exist before.

# %%
z = rng.standard_normal((60, Z))
logits = np.tanh(z @ p["W4"] + p["b4"]) @ p["W5"] + p["b5"]
figures.image_grid(1 / (1 + np.exp(-logits)), (28, 28), columns=15).figure

# %% [markdown]
# And walk in a straight line between the codes of two test pictures. What lies between is neither, and still looks
# written: the KL term keeps the codes close enough together to leave no holes.

# %%
ends = mean[[0, 4]]
z = np.linspace(ends[0], ends[1], 12)
logits = np.tanh(z @ p["W4"] + p["b4"]) @ p["W5"] + p["b5"]
figures.image_grid(1 / (1 + np.exp(-logits)), (28, 28), columns=12).figure

# %% [markdown]
# ## Exercises
#
# 1. Set the noise to zero in the loop, but not where the test bound is computed. The training curve rises faster.
#    What happens to the test bound and the samples, and why?
# 2. Count the price: print the mean of `kl` at the end. How many bits does a code carry? (One nat is 1.44 bits.)
# 3. Plant a bug: in a copy of the page, drop `- (std**2 - 1)`. Which of the ten dots move? And which move if you drop
#    `- kl` from the bound as well?
#
# <details><summary>Answers</summary>
#
# 1. Without noise a code needs no room. `std` goes to 1, where it costs nothing, and the means crowd around zero: the
#    KL falls to some 2 nats, and still each picture has a code of its own. This is a plain auto-encoder, and its
#    "bound" is none: with the noise back, it is hundreds of nats worse. Draws from the prior fall outside the crowd,
#    and many of them show nothing that anyone would write.
# 2. About 15 nats, 21 bits: enough to say which digit (3.3 bits) and a good deal about the hand that wrote it.
# 3. Those behind `dlog_std`: W3 and b3, and through `dh` also W1 and b1. Without the KL in the bound `dlog_std` is
#    right again, but `dmean` still subtracts `mean`: W2 and b2 move instead, and W1 and b1 stay wrong.
#
# </details>
#
# **Next:** [lesson 2](02_gradients_by_hand.ipynb) takes the page apart into rules, one gradient at a time.
