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
# # Lesson 8: a bug hunt
#
# Your VAE trains. The curve rises, no error is raised, the pictures look like something. Is the code right?
#
# Here are five VAEs, each with one wrong line, from one that anybody sees to one that beats the right code at its own
# curve. You will not read their code. You will put questions to it, in an order that leads to the line; the names are
# at the end of the lesson. All five have been met in public code.

# %%
import matplotlib
import numpy as np

from numvae.exercises.bughunt import GRADES, LEVELS, LOOKS, Training, described, level_case
from numvae.exercises.bughunt_page import curves, latents, samples
from numvae.exercises.hunted import RIGHT, planted, train
from numvae.exercises.misconceptions import all_misconceptions
from numvae.figures import Picture

matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
INK, RED = "#27313b", "#c0392b"
sound = Training(RIGHT, seed=0)

# %% [markdown]
# ## How right code looks
#
# The model is that of [lesson 1](01_one_page.ipynb), small enough to train in a second: digits of 14 × 14 pixels, two
# latents, 510 steps of Adam. Its code has three parts: a function that gives the bound and its gradient, a step of
# Adam, and a loop around them. A wrong line may be in any.
#
# Below, each test digit is an ellipse: its $q(z|x)$, one standard deviation wide, in the colour of its label.
# Together the ellipses should fill the prior $\mathcal{N}(0, I)$, and each should be as large as the picture is
# ambiguous. (Here both are the right code: there is nothing to compare with yet.)

# %%
latents(sound)

# %% [markdown]
# There are three proofs, and each rejects what the others let pass.
#
# - **Pullback.** Is the gradient that of the code's *own* value? Finite differences, (checks.1), group by group, in
#   the order of backpropagation. The first wrong group is where the bug is; those behind it may only have inherited
#   it.
# - **Law.** Is the value the right one? Samples must have the std they claim, a KL must be the KL, the likelihoods of
#   all pictures must sum to 1, Adam must take steps of size 1 under a constant gradient.
# - **Estimator.** Are the steps right *on average*? Each from fresh noise, over all the data.
#
# On right code all of them are quiet.

# %%
for name, look in LOOKS.items():
    found = look(RIGHT, 0)
    print(f"{name:10} {len(found.facts)} questions, {len(found.faults)} faults")

# %% [markdown]
# ## Case 1: it falls

# %%
cases = [level_case(level, seed=0) for level in (9, 18, 25, 31, 34)]
codes = [planted(case.bug) for case in cases]
trainings = [Training(code, seed=0) for code in codes]
curves(trainings[0])

# %% [markdown]
# It learns for fifty steps, and then loses for four hundred. A step up the gradient of the bound that lowers the
# bound is not up. So the gradient is suspected, and the gradient check is the first question.

# %%
print(LOOKS["gradient"](codes[0], 0))

# %% [markdown]
# Read it from the top. The decoder's weights are right. `dW2`, the way into the mean, is the first that is not;
# `dW3`, the way into log_std, is right. `dW1` lies behind both and may be innocent. So the bug is in `dmean`, one
# line.
#
# What is wrong with it? The mean reaches the bound in two ways, through the sample and through the KL. Switch one
# off. A decoder whose last weights are 0 says nothing, and leaves the KL alone. Take that bound off a full one, and
# the likelihood is left alone. If a whole group is too large by one factor, that factor is a name:

# %%
print(LOOKS["parts"](codes[0], 0))

# %% [markdown]
# The likelihood's share is right: 1 everywhere. The KL's share in the mean is 0. It is not weak, it is not there. And
# that is just what the latents show: nothing holds the means together, and they drift apart until each digit has a
# place of its own far from the prior. Draws from the prior then fall where no digit lives:

# %%
latents(trainings[0])

# %%
samples(trainings[0])

# %% [markdown]
# ## Case 2: it stays behind

# %%
curves(trainings[1])

# %% [markdown]
# Had we not the right code beside it, would you have noticed? It rises, it flattens, as curves do. Two nats are
# missing. Latents say more than curves:

# %%
latents(trainings[1])

# %% [markdown]
# All ellipses are the same circle, as large as the prior's: every std is 1, whatever the picture. The means are
# pushed outwards to make up for it. That is where the KL alone would have each std. So: who speaks for the likelihood
# in `dlog_std`?

# %%
print(LOOKS["parts"](codes[1], 0))

# %% [markdown]
# Nobody. In `dW3` the KL's share is 1, the likelihood's is 0, at whatever std. The difference to a wrong *factor* is
# visible here too: a std too few would give 1 at std 1 and 0.5 at std 2; forgotten noise would give no single number,
# since each row's is different.
#
# Note `dW1`: with W3 = 0, in the first four columns, it is right, for nothing comes back through log_std. It is wrong
# in the fifth. It has inherited the error, and needs no mending of its own.

# %% [markdown]
# ## Case 3: nothing to see

# %%
curves(trainings[2])

# %% [markdown]
# The two curves lie on each other. Latents, digits, test bound: no difference that means anything.

# %%
print(f"{'':16}{'this':>8}{'right':>8}")
for name, (ours, right) in trainings[2].learned().items():
    print(f"{name:16}{ours:8.2f}{right:8.2f}")
print()
print(LOOKS["gradient"](codes[2], 0))

# %% [markdown]
# And still the gradient is wrong: half of what it should be, in all of `dW3` and `db3`. Why does it train so well?
# For two reasons. Half a gradient is zero where the whole one is, so the best log_std stays the best. And Adam,
# (optimizers.7), divides each gradient by its usual size: a factor that is always there is divided away. Two thousand
# random gradients, and the same ones halved, lead Adam to the same place:

# %%
rng = np.random.default_rng(0)
gradients = rng.standard_normal(2000) + 0.1
for factor in (1, 0.5):
    theta, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
    for t, gradient in enumerate(gradients, 1):
        theta, m, v = RIGHT.adam(theta, factor * gradient, m, v, t)
    print(f"gradients times {factor}: Adam ends at {theta[0]:.6f}")

# %% [markdown]
# No bug to lose sleep over? `dh` adds what both heads send back, one of them halved: W1 climbs no bound at all. Here
# that costs nothing that could be measured. The next one who clips gradients, compares their sizes, or takes the line
# into a model where it matters will not know where to look. A curve cannot clear a gradient. Only a gradient check
# can.

# %% [markdown]
# ## Case 4: better than right

# %%
curves(trainings[3])

# %% [markdown]
# More than a nat above the right code, all along. The gradient check?

# %%
found = LOOKS["gradient"](codes[3], 0)
print(f"{found.question}\n{len(found.facts)} groups, {len(found.faults)} faults")

# %% [markdown]
# Passed, every group, to nine digits. A finite-difference check compares a gradient with its *own* value. If the
# value is wrong, and the gradient follows it faithfully, there is nothing to be found. All that this proves is that
# the code climbs what it reports.
#
# What it reports is no bound, then? Ask a program without the bug. Here is the test bound by the code itself, and by
# `one_page`, under the same weights with the same noise:

# %%
outcome, x = trainings[3].outcome, trainings[3].setting.x_test
noise = rng.standard_normal((len(x), 2))
for name, code in (("its own", codes[3]), ("right", RIGHT)):
    print(f"{name:8} {code.vae_gradient(outcome.p, x, noise)[0].mean():8.2f}")

# %% [markdown]
# It promises almost two nats that it does not have. *Too good* is a symptom as serious as *too bad*: a bound above
# $\log p(x)$ is none, (objectives.1a). Which of its parts lies? Ask each for its law:

# %%
print(LOOKS["law"](codes[3], 0))

# %% [markdown]
# Samples are right, likelihoods are right. The KL is right at std 1, for any mean. At std 2 it is too small. Take the
# numbers for one latent: at std 2 it should be $\tfrac12(\sigma^2 - 1 - \log \sigma^2) = 0.807$, and is 0.153. Which
# $\sigma$ would give 0.153?

# %%
std = np.array([2, np.sqrt(2), 0.5, np.sqrt(0.5)])
for each, kl in zip(std, 0.5 * (std**2 - 1 - 2 * np.log(std)), strict=True):
    print(f"std {each:.3f}: KL {kl:.4f}, of two latents {2 * kl:.3f}")

# %% [markdown]
# $\sqrt 2$, and $\sqrt{1/2}$ for 0.5: the KL takes the square root of every std. It reads log σ where it expects log
# σ², and the sampler does not. This is the most reported bug of hand-written VAEs, and the reason that in this
# package there is no `log_var`: the two names have nowhere to meet. The latents show what it buys: a KL that is too
# cheap for small stds, and so stds that are too small.

# %%
latents(trainings[3])

# %% [markdown]
# ## Case 5: every line is right

# %%
curves(trainings[4])

# %%
for name in ("gradient", "parts", "law"):
    found = LOOKS[name](codes[4], 0)
    print(f"{name:10} {len(found.facts)} questions, {len(found.faults)} faults")

# %% [markdown]
# Above the right code again; but now the gradient is right, and the bound is a bound. On the batches it is trained on
# it gains a nat. On digits that it has never seen?

# %%
print(f"{'':16}{'this':>8}{'right':>8}")
for name, (ours, right) in trainings[4].learned().items():
    print(f"{name:16}{ours:8.2f}{right:8.2f}")

# %% [markdown]
# It loses more than one. It has learned something that is true of its training only, and not of the digits: there are
# 990 of them, as many as the right code has. What else belongs to the training? Put the loop around a gradient and an
# Adam that do nothing but write down what they are given:

# %%
found = LOOKS["estimator"](codes[4], 0)
for fact in found.facts[10:]:
    print(f"{'✓' if fact.ok else '✗'} {fact.what:55}{fact.cells[0]:>3} of {fact.cells[1]}")

# %% [markdown]
# The noise. It is right in the first epoch and never again: drawn once, before the loop, for all epochs. A digit that
# comes back meets the same $\varepsilon$, so its $z$ is no sample any more but a place that can be learned by heart.
# The mean over noise became the mean over one draw. The estimator is biased, and each of its terms is right.

# %% [markdown]
# ## What catches what
#
# All levels of the hunt, from glaring to subtle: how far the curve ends from that of the right code, and which proof
# rejects the bug.

# %%
gaps, caught = [], {name: [] for name in ("parts", "law", "estimator")}
end = sound.outcome.bounds[-50:].mean()
for bug in LEVELS:
    code = planted(bug)
    gap = abs(train(code, sound.setting).bounds[-50:].mean() - end)
    gaps.append(min(gap, 1e4) if np.isfinite(gap) else 1e4)
    for name, marks in caught.items():
        marks.append(bool(LOOKS[name](code, 0).faults))

figure = Picture(figsize=(10, 4.4), layout="constrained")
upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
levels = np.arange(1, len(LEVELS) + 1)
upper.bar(levels, np.maximum(gaps, 0.011), bottom=0.01, color=INK, width=0.7)
upper.axhline(1.8, color=RED, linestyle="--", linewidth=1.2)
upper.set(yscale="log", ylim=(0.01, 1e6), ylabel="off at the end (nats)")
for row, marks in enumerate(caught.values()):
    lower.scatter(levels[marks], np.full(sum(marks), -row), color=RED, s=45)
    lower.scatter(levels[~np.array(marks)], np.full(len(levels) - sum(marks), -row), color="#d5dae0", s=12)
lower.set_yticks([0, -1, -2], ["gradient check", "law", "estimator"])
lower.set(xlim=(0.3, len(LEVELS) + 0.7), ylim=(-2.6, 0.6), xlabel="level")
start = 1
for grade, bugs in GRADES.items():
    upper.text(start + (len(bugs) - 1) / 2, 1e5, grade, ha="center", fontsize=11)
    start += len(bugs)
    if start <= len(LEVELS):
        upper.axvline(start - 0.5, color="#d5dae0", linewidth=1)
        lower.axvline(start - 0.5, color="#d5dae0", linewidth=1)
figure

# %% [markdown]
# No column is without a red dot, and no row has all of them. Right of the middle the curve says nothing. In the last
# quarter the gradient check says nothing. And laws of the bound see no wrong gradient: they look at values alone. The
# three proofs are three because each of them is blind.
#
# ## The order of questions
#
# 1. **Repeat it.** Same seed, same noise, same curve. If not, that is the first bug.
# 2. **Look at more than the curve.** Std of $q$, spread of the means, draws from the prior. Too good counts as wrong.
# 3. **Gradient check**, in float64, noise held, group by group from the loss backwards. Mend the first wrong group
#    and look again; those behind it may be right by then.
# 4. **Switch parts off** until the wrong part is alone. A ratio that is one number is the name of a factor; a 0 is a
#    lost path; −1 a sign; no single number, a wrong array.
# 5. **If it passes, doubt the value.** Choose weights for which you know the answer: a constant encoder, a silent
#    decoder, a single pixel. One law for each part.
# 6. **If the laws hold, doubt the steps.** Constant gradients into the optimiser, numbered rows and numbered noise
#    into the loop.
#
# ## The diagnosis
#
# Each of the five, as `numvae bughunt --reveal` would tell it.

# %%
for number, case in enumerate(cases, 1):
    bug = all_misconceptions()[case.bug][1]
    print(f"Case {number}: {described(case.bug)}")
    print(f"  {bug.message}  ({bug.label})")
    print(f"  Met as: {bug.source}.\n")

# %% [markdown]
# The equations: [normal](../derivations/normal.md), [objectives](../derivations/objectives.md),
# [optimizers](../derivations/optimizers.md); how the checks work: [checks](../derivations/checks.md).
#
# ## Exercises
#
# **1.** Hunt. `numvae bughunt --level 1` trains, shows, and asks; there are 36 levels. `numvae bughunt --random` does
# not even tell how hard it is.
#
# **2.** A colleague multiplies the noise by the variance, and its gradient follows. Which of the looks find it, and
# what do they show at std 1?
#
# **3.** Someone decodes the mean instead of a sample. Its gradient check passes. In `parts` the likelihood's share of
# `dW3` shows –, zero on both sides. Which law breaks, and where do its stds end?
#
# **4.** Write the law that finds `1 - y` where `1 - y²` belongs in a tanh's pullback. Do you need one?
#
# **5.** With N rows and the minibatch's likelihood not scaled by N/M, the weights' prior counts too much. All three
# proofs of this lesson pass, for the model has no prior over weights. Which experiment shows it?
#
# <details><summary>Answers</summary>
#
# 2. The law: samples that claim std 0.5 have 0.25, those that claim 2 have 4. At std 1 nothing shows, for there the
#    variance is the std; a law asked at one special point proves little. The gradient check passes, and the means of
#    `estimator` are off.
# 3. The samples: their std is 0. The KL alone decides, so all stds end at 1, as in case 2; but the bound the code
#    gives is too good, while in case 2 it was honest and bad.
# 4. None: value and pullback disagree, and the gradient check has it at once. Laws are for values.
# 5. Train with batches of 50 and of 100. What is an estimate of one and the same sum must not change on average. (It
#    is an exercise of its own: `minibatch_estimate`.)
#
# </details>
