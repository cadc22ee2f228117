"""The affine map: one matrix product forward, two back, and a sum over rows for the bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def affine(W, b, x):
    y = x @ W + b

    def pullback(dy):
        return x.T @ dy, dy.sum(axis=0), dy @ W.T

    return y, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Three different sizes, so that no transposed product fits by accident."""
    inputs, outputs = rows + 2, rows + 3
    arguments = {
        "W": rng.standard_normal((inputs, outputs)),
        "b": rng.standard_normal(outputs),
        "x": rng.standard_normal((rows, inputs)),
    }
    return Draw(arguments, cotangent=rng.standard_normal((rows, outputs)), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    W, b, x = draw.arguments.values()
    return {"y": {"x W": x @ W, "b": np.broadcast_to(b, draw.cotangent.shape)}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {"B": float(draw.rows)}


def no_bias(W, b, x):
    """The bias is left out."""
    return x @ W, lambda dy: (x.T @ dy, np.zeros(b.shape), dy @ W.T)


def product_transposed(W, b, x):
    """dyᵀ x, which is dW transposed."""
    return x @ W + b, lambda dy: (dy.T @ x, dy.sum(axis=0), dy @ W.T)


def averaged(W, b, x):
    """The gradients of the weights divided by the number of rows."""
    return x @ W + b, lambda dy: (x.T @ dy / len(x), dy.mean(axis=0), dy @ W.T)


def bias_mean(W, b, x):
    """The mean over rows for the bias, where the sum is meant."""
    return x @ W + b, lambda dy: (x.T @ dy, dy.mean(axis=0), dy @ W.T)


def bias_per_row(W, b, x):
    """One bias gradient per row: not summed at all."""
    return x @ W + b, lambda dy: (x.T @ dy, dy, dy @ W.T)


def reshaped(W, b, x):
    """W reshaped to the shape of its transpose."""
    return x @ W + b, lambda dy: (x.T @ dy, dy.sum(axis=0), dy @ W.reshape(W.shape[::-1]))


def input_averaged(W, b, x):
    """The gradient of each row divided by the number of rows."""
    return x @ W + b, lambda dy: (x.T @ dy, dy.sum(axis=0), dy @ W.T / len(x))


EXERCISE = Exercise(
    name="affine",
    title="The affine map and its pullback",
    statement="""
        y = x W + b, for every row of x, and its pullback.

        W: (m, n); b: (n,); x: (B, m), data points as rows; y: (B, n).
        `pullback(dy)`, with dy of y's shape, returns (dW, db, dx), each in the shape of its argument.

        The weights are used once per row. Rows are not averaged here: the mean is taken once, at the top.
    """,
    labels=("layers.1", "layers.2", "layers.3"),
    solution=affine,
    draw=draw,
    observe=of_rule("y", "dW", "db", "dx"),
    terms=terms,
    factors=factors,
    differences={"dW": "W", "db": "b", "dx": "x"},
    misconceptions=(
        Misconception(
            id="affine_without_bias",
            label="layers.1",
            wrong=no_bias,
            message="You left the bias out of the value.",
            hints=(
                "Put in x = 0. What is y then?",
                "Which of the three arguments does your value not use?",
                "b has one number per output and is the same for every row.",
            ),
            link="y",
            truth="b × 0",
            proof="law",
        ),
        Misconception(
            id="affine_dW_transposed",
            label="layers.2",
            wrong=product_transposed,
            message="Your dW is transposed: it has to have the shape of W, inputs by outputs.",
            hints=(
                "Compare the shape of dW with that of W.",
                "The axis over which a product sums is the one that vanishes. For dW that is the rows.",
                "The gradient of W[i, j] pairs input i with output j, in this order.",
            ),
            link="dW",
        ),
        Misconception(
            id="affine_averaged_over_rows",
            label="layers.2",
            wrong=averaged,
            message="You divide dW and db by the number of rows; a pullback sums, the mean is taken once, at the top.",
            hints=(
                "Repeat every row of x and dy. Should dW stay the same?",
                "Which factor lies between yours and the numeric gradient? Try batches of different size.",
                "Each row's use of W changes y, so all of them count in full.",
            ),
            link="dW",
            truth="1/B",
            source="public solutions that fold the mean of the loss into the layer",
        ),
        Misconception(
            id="affine_bias_mean",
            label="layers.2",
            wrong=bias_mean,
            message="You take the mean of dy over rows for db; it is the sum, or b learns B times too slowly.",
            hints=(
                "The bias was added once per row. What does that mean for its gradient?",
                "Which factor lies between yours and the numeric gradient?",
                "What is repeated on the way forward is summed on the way back.",
            ),
            link="db",
            truth="1/B",
        ),
        Misconception(
            id="affine_bias_per_row",
            label="layers.2",
            wrong=bias_per_row,
            message="Your db has one line per row; b was repeated over the rows, so its gradient is summed over them.",
            hints=(
                "Compare the shape of db with that of b.",
                "There is one bias for all rows.",
                "What is repeated on the way forward is summed on the way back.",
            ),
            link="db",
        ),
        Misconception(
            id="affine_reshaped_for_transposed",
            label="layers.3",
            wrong=reshaped,
            message="You reshape W where its transpose is meant: that keeps the order in memory and mixes its entries.",
            hints=(
                "The shape of dx is right. Are the entries of W where you think they are?",
                "Look at [[1, 2, 3], [4, 5, 6]] reshaped to (3, 2), and at its transpose.",
                "dx[r, i] pairs dy[r, j] with W[i, j].",
            ),
            link="dx",
            truth="W reshaped for W transposed",
            source="shape errors silenced by reshape",
        ),
        Misconception(
            id="affine_input_averaged",
            label="layers.3",
            wrong=input_averaged,
            message="You divide dx by the number of rows; each row of x acts on its own row of y alone.",
            hints=(
                "Does a row of y depend on the other rows of x?",
                "Which factor lies between yours and the numeric gradient?",
                "The mean over rows is taken once, at the top, and not here.",
            ),
            link="dx",
            truth="1/B",
        ),
    ),
)
