"""One step of Adam, upwards: two moving averages, their corrections, and a root."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def adam_step(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    theta = theta + step_size * m_hat / (np.sqrt(v_hat) + epsilon)
    return theta, m, v


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """A few steps after the start, where the corrections still count, and an epsilon that is felt."""
    size = rows + 4
    arguments = {
        "theta": rng.standard_normal(size),
        "gradient": rng.choice([-1, 1], size) * rng.uniform(0.5, 2.0, size),
        "m": rng.choice([-1, 1], size) * rng.uniform(0.1, 0.4, size),
        "v": rng.uniform(0.1, 0.4, size),
        "t": rows,
        "step_size": float(rng.uniform(0.2, 0.4)),
        "beta1": float(rng.uniform(0.7, 0.8)),
        "beta2": float(rng.uniform(0.85, 0.95)),
        "epsilon": float(rng.uniform(0.1, 0.3)),
    }
    return Draw(arguments, rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """The averages first: the step is made of them."""
    theta, m, v = function(**draw.arguments)
    return {"m": m, "v": v, "theta": theta}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    a = draw.arguments
    theta, _, _ = adam_step(**a)
    return {
        "m": {"beta1 m": a["beta1"] * a["m"], "(1 - beta1) gradient": (1 - a["beta1"]) * a["gradient"]},
        "v": {"beta2 v": a["beta2"] * a["v"], "(1 - beta2) gradient²": (1 - a["beta2"]) * a["gradient"] ** 2},
        "theta": {"theta": a["theta"], "step": theta - a["theta"]},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely; m_t and v_t are those after this step."""
    a = draw.arguments
    _, m, v = adam_step(**a)
    m_hat, v_hat, epsilon = m / (1 - a["beta1"] ** a["t"]), v / (1 - a["beta2"] ** a["t"]), a["epsilon"]
    return {
        "1 - beta1": 1 - a["beta1"],
        "1 - beta2": 1 - a["beta2"],
        "1 - beta1^t": 1 - a["beta1"] ** a["t"],
        "1 - beta2^t": 1 - a["beta2"] ** a["t"],
        "gradient": a["gradient"],
        "step_size": a["step_size"],
        "m_t": m,
        "m_hat": m_hat,
        "√v_t + epsilon": np.sqrt(v) + epsilon,
        "√v_hat + epsilon": np.sqrt(v_hat) + epsilon,
        "√(v_hat + epsilon)": np.sqrt(v_hat + epsilon),
        "v_hat + epsilon": v_hat + epsilon,
        "2": 2.0,
    }


def _averages(gradient, m, v, beta1, beta2):
    return beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2


def no_correction(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Steps by the averages as they are, which start too small."""
    m, v = _averages(gradient, m, v, beta1, beta2)
    return theta + step_size * m / (np.sqrt(v) + epsilon), m, v


def correction_of_the_first_step(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Corrects as if every step were the first: a count that is not handed on, or that counts epochs."""
    m, v = _averages(gradient, m, v, beta1, beta2)
    return theta + step_size * m / (1 - beta1) / (np.sqrt(v / (1 - beta2)) + epsilon), m, v


def epsilon_in_the_root(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Adds epsilon before the root is taken."""
    m, v = _averages(gradient, m, v, beta1, beta2)
    return theta + step_size * m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + epsilon), m, v


def downwards(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Takes the step away: descends."""
    m, v = _averages(gradient, m, v, beta1, beta2)
    return theta - step_size * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon), m, v


def root_forgotten(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Divides by the mean square itself."""
    m, v = _averages(gradient, m, v, beta1, beta2)
    return theta + step_size * m / (1 - beta1**t) / (v / (1 - beta2**t) + epsilon), m, v


def old_averages(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Steps first and updates the averages afterwards: each gradient acts one step late."""
    theta = theta + step_size * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return theta, *_averages(gradient, m, v, beta1, beta2)


def corrected_averages_kept(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """Hands the corrected averages on, to be corrected again in the next step."""
    m, v = _averages(gradient, m, v, beta1, beta2)
    m, v = m / (1 - beta1**t), v / (1 - beta2**t)
    return theta + step_size * m / (np.sqrt(v) + epsilon), m, v


def gradient_not_weighted(theta, gradient, m, v, t, step_size, beta1, beta2, epsilon):
    """beta1 m + gradient, the heavy ball's velocity, where the moving average is asked for."""
    m = beta1 * m + gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    return theta + step_size * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon), m, v


EXERCISE = Exercise(
    name="adam_step",
    title="One step of Adam",
    statement="""
        Algorithm 1 of Kingma and Ba, for an objective that is maximised.

        theta, gradient: (P,); m, v: (P,), the moving averages of the gradient and of its square, before this step;
        t: which step this is, the first being 1; step_size, beta1, beta2, epsilon: numbers.
        Return (theta, m, v), all (P,) and all new: write into none of the arguments.

        m and v are the plain moving averages, those of Algorithm 1: what is corrected is not handed on.
    """,
    labels=("optimizers.7",),
    solution=adam_step,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    misconceptions=(
        Misconception(
            id="adam_no_correction",
            label="optimizers.7",
            wrong=no_correction,
            message="The bias correction is missing: the averages start at 0 and have to be divided by 1 - beta^t.",
            hints=(
                "How long should the very first step be, about?",
                "Unroll m: what do the weights of the gradients seen so far add up to?",
                "Two lines of Algorithm 1 carry a hat.",
            ),
            link="theta",
            truth="step_size·m_t/(√v_t + epsilon) for step",
            source="public Adam code",
            proof="law",
        ),
        Misconception(
            id="adam_correction_of_the_first_step",
            label="optimizers.7",
            wrong=correction_of_the_first_step,
            message="You corrected as if this were step 1: the correction fades with t, which counts steps.",
            hints=(
                "Should the correction still be felt after a thousand steps?",
                "Which argument does your function not use?",
                "The betas are raised to a power in the correction.",
            ),
            link="theta",
            truth="1 for t",
            source="Adam's t counted per epoch, in public training loops",
            proof="law",
        ),
        Misconception(
            id="adam_epsilon_in_the_root",
            label="optimizers.7",
            wrong=epsilon_in_the_root,
            message="You added epsilon inside the root: it stands outside, added to the root.",
            hints=(
                "With gradients of 0, by how much do you divide? The answer should be epsilon.",
                "In which units is epsilon, those of the gradient or of its square?",
                "Look where the root ends in Algorithm 1.",
            ),
            link="theta",
            truth="step × (√v_hat + epsilon)/√(v_hat + epsilon)",
            source="RMSProp variants; public Adam code",
            proof="law",
        ),
        Misconception(
            id="adam_downwards",
            label="optimizers.7",
            wrong=downwards,
            message="You went downhill: the objective is maximised here, so the step is added.",
            hints=(
                "Does the objective rise along your step?",
                "Adam's paper minimises a loss. What is asked for here?",
                "Look at the sign in front of the step.",
            ),
            link="theta",
            truth="step × -1",
            source="code moved from a loss to a bound",
            proof="law",
        ),
        Misconception(
            id="adam_root_forgotten",
            label="optimizers.7",
            wrong=root_forgotten,
            message="You divided by the mean square: it is its root.",
            hints=(
                "If all gradients become ten times larger, what happens to your step?",
                "Adam's step does not depend on the gradient's scale. Does yours?",
                "v has the units of the gradient squared.",
            ),
            link="theta",
            truth="step × (√v_hat + epsilon)/(v_hat + epsilon)",
            source="public Adam code",
            proof="law",
        ),
        Misconception(
            id="adam_old_averages",
            label="optimizers.7",
            wrong=old_averages,
            message="You stepped by the averages of before: update them first and step by the new ones.",
            hints=(
                "Does your new theta depend on this step's gradient?",
                "What would your very first step be, with m = v = 0?",
                "In which order do the lines of Algorithm 1 stand?",
            ),
            link="theta",
            truth="independent of gradient",
            source="public Adam code",
            proof="law",
        ),
        Misconception(
            id="adam_corrected_averages_kept",
            label="optimizers.7",
            wrong=corrected_averages_kept,
            message="You handed the corrected averages on: they would be corrected again. m and v stay as they are.",
            hints=(
                "What does the next step start from?",
                "Run two steps by hand: how often is the first gradient corrected?",
                "Give the corrected averages names of their own.",
            ),
            link="m",
            truth="1/(1 - beta1^t)",
            source="m /= 1 - beta1**t in place, in public Adam code",
            proof="law",
        ),
        Misconception(
            id="adam_gradient_not_weighted",
            label="optimizers.7",
            wrong=gradient_not_weighted,
            message="You added the whole gradient to m, as momentum does: in a moving average it counts 1 - beta1.",
            hints=(
                "Let the gradient be 1 for ever. Where should m end up?",
                "What do the two weights of a moving average add up to?",
                "Compare your line for m with that for v.",
            ),
            link="m",
            truth="(1 - beta1) gradient × 1/(1 - beta1)",
            source="momentum code extended to Adam",
            proof="law",
        ),
    ),
)
