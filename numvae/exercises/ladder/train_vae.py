"""The training loop: every row once per epoch, in an order of its own and with noise of its own."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def train_vae(theta, x, orders, noise, batch, gradient, adam_step):
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    after = []
    for order, epoch_noise in zip(orders, noise, strict=True):
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            t += 1
            theta, m, v = adam_step(theta, gradient(theta, x[rows], epoch_noise[rows]), m, v, t)
        after.append(theta)
    return np.stack(after)


def gradient(theta, x, noise):
    """Of the mean bound of these rows, in the weights of a linear VAE with one latent of std 1: (P,).

    z = x a + noise, x ~ N(z c, I), theta = [a | c].
    """
    a, c = np.split(theta, 2)
    mean = x @ a
    z = mean + noise
    residual = x - np.outer(z, c)
    dmean = residual @ c - mean
    return np.concatenate([dmean @ x, z @ residual]) / len(x)


def adam_step(theta, gradient, m, v, t):
    """The step of the exercise of that name, with numbers for its last four arguments."""
    m = 0.7 * m + 0.3 * gradient
    v = 0.9 * v + 0.1 * gradient**2
    return theta + 0.05 * m / (1 - 0.7**t) / (np.sqrt(v / (1 - 0.9**t)) + 0.1), m, v


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Two epochs of three whole minibatches and a short one."""
    features, total = rows + 2, 4 * rows - 1
    arguments = {
        "theta": 0.5 * rng.standard_normal(2 * features),
        "x": rng.standard_normal((total, features)),
        "orders": np.stack([rng.permutation(total) for _ in range(2)]),
        "noise": rng.standard_normal((2, total)),
        "batch": rows,
        "gradient": gradient,
        "adam_step": adam_step,
    }
    return Draw(arguments, rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """Where the weights are after each epoch."""
    first, second = function(**draw.arguments)
    return {"epoch 1": first, "epoch 2": second}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """Each epoch begins somewhere and takes four steps."""
    theta, x, orders, noise, batch, gradient, adam_step = draw.arguments.values()
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    outputs = {}
    for epoch, (order, epoch_noise) in enumerate(zip(orders, noise, strict=True), start=1):
        parts = outputs[f"epoch {epoch}"] = {"where it began": theta}
        for start in range(0, len(order), batch):
            rows, old, t = order[start : start + batch], theta, t + 1
            theta, m, v = adam_step(theta, gradient(theta, x[rows], epoch_noise[rows]), m, v, t)
            parts[f"step {start // batch + 1}"] = theta - old
    return outputs


def trace(function: Any, draw: Draw) -> Observation:
    """What the two functions are given, step by step."""
    given: dict[str, Any] = {}

    def watched(name: str) -> Any:
        inner, steps = draw.arguments[name], itertools.count(1)

        def noting(*arguments: Any, **keywords: Any) -> Any:
            step = next(steps)
            bound = inspect.signature(inner).bind(*arguments, **keywords).arguments
            given.update({f"{part} given to {name} in step {step}": value for part, value in bound.items()})
            return inner(*arguments, **keywords)

        return noting

    function(**dict(draw.arguments) | {name: watched(name) for name in ("gradient", "adam_step")})
    return given


def same_noise_every_epoch(theta, x, orders, noise, batch, gradient, adam_step):
    """Draws the noise once, and trains with it for ever."""
    return train_vae(theta, x, orders, [noise[0]] * len(noise), batch, gradient, adam_step)


def same_noise_every_batch(theta, x, orders, noise, batch, gradient, adam_step):
    """One minibatch's noise for all minibatches of the epoch."""
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    after = []
    for order, epoch_noise in zip(orders, noise, strict=True):
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            t += 1
            step = gradient(theta, x[rows], epoch_noise[order[: len(rows)]])
            theta, m, v = adam_step(theta, step, m, v, t)
        after.append(theta)
    return np.stack(after)


def order_not_used(theta, x, orders, noise, batch, gradient, adam_step):
    """The rows as they lie, epoch after epoch."""
    return train_vae(theta, x, np.sort(orders, axis=1), noise, batch, gradient, adam_step)


def same_order_every_epoch(theta, x, orders, noise, batch, gradient, adam_step):
    """Shuffles once, before the first epoch."""
    return train_vae(theta, x, [orders[0]] * len(orders), noise, batch, gradient, adam_step)


def short_batch_dropped(theta, x, orders, noise, batch, gradient, adam_step):
    """Only as many minibatches as are whole."""
    whole = orders.shape[1] // batch * batch
    return train_vae(theta, x, orders[:, :whole], noise, batch, gradient, adam_step)


def gradient_not_reset(theta, x, orders, noise, batch, gradient, adam_step):
    """Each minibatch's gradient is added to those before."""
    m, v, t, total = np.zeros_like(theta), np.zeros_like(theta), 0, np.zeros_like(theta)
    after = []
    for order, epoch_noise in zip(orders, noise, strict=True):
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            t += 1
            total = total + gradient(theta, x[rows], epoch_noise[rows])
            theta, m, v = adam_step(theta, total, m, v, t)
        after.append(theta)
    return np.stack(after)


def epochs_counted(theta, x, orders, noise, batch, gradient, adam_step):
    """Adam's t counts epochs, so its correction is too strong for all but the first step of each."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    after = []
    for epoch, (order, epoch_noise) in enumerate(zip(orders, noise, strict=True), start=1):
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            theta, m, v = adam_step(theta, gradient(theta, x[rows], epoch_noise[rows]), m, v, epoch)
        after.append(theta)
    return np.stack(after)


def averages_forgotten(theta, x, orders, noise, batch, gradient, adam_step):
    """A new optimiser for each epoch: its averages and its count start again."""
    after = []
    for order, epoch_noise in zip(orders, noise, strict=True):
        (theta,) = train_vae(theta, x, [order], [epoch_noise], batch, gradient, adam_step)
        after.append(theta)
    return np.stack(after)


def one_gradient_per_epoch(theta, x, orders, noise, batch, gradient, adam_step):
    """All gradients of an epoch are taken at the weights it began with."""
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    after = []
    for order, epoch_noise in zip(orders, noise, strict=True):
        old = theta
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            t += 1
            theta, m, v = adam_step(theta, gradient(old, x[rows], epoch_noise[rows]), m, v, t)
        after.append(theta)
    return np.stack(after)


EXERCISE = Exercise(
    name="train_vae",
    title="The training loop",
    statement="""
        Train for as many epochs as there are orders, with Adam, from m = v = 0.

        theta: (P,), the weights to start from; x: (N, D); orders: (epochs, N), the order in which each epoch visits the
        rows; noise: (epochs, N), for each epoch one number for each row of x, in the order of x; batch: rows in a
        minibatch, the last of an epoch having what is left.

        gradient(theta, x_rows, noise_rows): the gradient (P,) of the mean bound of these rows.
        adam_step(theta, gradient, m, v, t): returns the new (theta, m, v), as in adam_step; the first t is 1.

        Return the weights after each epoch: (epochs, P). Nothing is random in here: orders and noise are arguments.
    """,
    labels=("optimizers.7", "objectives.7"),
    solution=train_vae,
    draw=draw,
    observe=observe,
    terms=terms,
    trace=trace,
    corners={
        "With all rows in one minibatch": lambda draw: draw.but(batch=len(draw.arguments["x"])),
    },
    misconceptions=(
        Misconception(
            id="training_same_noise_every_epoch",
            label="normal.1",
            wrong=same_noise_every_epoch,
            message="Each epoch used the first one's noise: a row met again has to be sampled again.",
            hints=(
                "Your first epoch is right. What should be new in the second?",
                "What can a decoder learn by heart if z never changes?",
                "noise has one row for each epoch.",
            ),
            link="epoch 2",
            truth="noise[0] everywhere for noise",
            source="noise drawn once, outside of the loop",
            proof="estimator",
        ),
        Misconception(
            id="training_same_noise_every_batch",
            label="normal.1",
            wrong=same_noise_every_batch,
            message="All minibatches used the first one's noise: each row has noise of its own.",
            hints=(
                "How many numbers of the noise does your epoch use?",
                "Which noise belongs to the rows of the second minibatch?",
                "The noise is indexed as x is.",
            ),
            link="epoch 1",
            truth="noise given to gradient in step 2",
            source="noise drawn once, outside of the loop",
            proof="estimator",
        ),
        Misconception(
            id="training_order_not_used",
            label="objectives.7",
            wrong=order_not_used,
            message="You took the rows as they lie: each epoch visits them in its own order.",
            hints=(
                "Which of the arguments does your loop not need?",
                "If the data are sorted by class, what is in your minibatches?",
                "A minibatch is a piece of the order, and the rows it names.",
            ),
            link="epoch 1",
            truth="x given to gradient in step 1",
            source="shuffling forgotten in public training loops",
            proof="estimator",
        ),
        Misconception(
            id="training_same_order_every_epoch",
            label="objectives.7",
            wrong=same_order_every_epoch,
            message="Each epoch used the first one's order: orders has one for each.",
            hints=(
                "Your first epoch is right. What should be new in the second?",
                "Are the same rows together in each epoch?",
                "orders has one row for each epoch.",
            ),
            link="epoch 2",
            truth="orders[0] everywhere for orders",
            source="data shuffled once, before training",
            proof="estimator",
        ),
        Misconception(
            id="training_short_batch_dropped",
            label="objectives.7",
            wrong=short_batch_dropped,
            message="You left out the last, short minibatch: its rows belong to the epoch as well.",
            hints=(
                "How many steps has your epoch?",
                "Is N a multiple of the batch size?",
                "A slice beyond the end of an array is shorter, and no error.",
            ),
            link="epoch 1",
            truth="step 4 × 0",
            source="N // batch in public training loops",
            proof="estimator",
        ),
        Misconception(
            id="training_gradient_not_reset",
            label="optimizers.7",
            wrong=gradient_not_reset,
            message="You kept adding gradients up: each step takes that of its own minibatch alone.",
            hints=(
                "Your first step is right. What is different in the second?",
                "Does your gradient grow from step to step?",
                "Something has to start at zero for each minibatch.",
            ),
            link="epoch 1",
            truth="gradient given to adam_step in step 2",
            source="zero_grad forgotten",
            proof="law",
        ),
        Misconception(
            id="training_epochs_counted",
            label="optimizers.7",
            wrong=epochs_counted,
            message="You gave Adam the number of the epoch as t: its bias correction counts steps.",
            hints=(
                "Your first step is right. What is different in the second?",
                "What does t count in Algorithm 1?",
                "The correction makes up for the few gradients seen so far. How many has it seen?",
            ),
            link="epoch 1",
            truth="t given to adam_step in step 2",
            source="adam.t = epoch in public training loops",
            proof="law",
        ),
        Misconception(
            id="training_averages_forgotten",
            label="optimizers.7",
            wrong=averages_forgotten,
            message="You started Adam anew in each epoch: m, v and t go on.",
            hints=(
                "Your first epoch is right. What does the second begin with?",
                "Which variables should outlive an epoch?",
                "Where in your loops do m and v become zero?",
            ),
            link="epoch 2",
            truth="m given to adam_step in step 5",
            source="the optimiser built inside the loop over epochs",
            proof="law",
        ),
        Misconception(
            id="training_old_weights",
            label="optimizers.7",
            wrong=one_gradient_per_epoch,
            message="You took all gradients of an epoch at the weights it began with: each belongs at the newest.",
            hints=(
                "Where do you stand when you take the second gradient?",
                "Which theta does your gradient see, and which one does Adam move?",
                "theta is replaced by each step. Is it the same name everywhere?",
            ),
            link="epoch 1",
            truth="theta given to gradient in step 2",
            source="a stale copy of the weights in the model",
            proof="law",
        ),
    ),
)
