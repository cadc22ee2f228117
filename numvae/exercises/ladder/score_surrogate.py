"""Why "f times log q" is no estimator, and what is: a number with the right value and the right gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def score_surrogate(f, log_q):
    def pullback(dvalue):
        return dvalue, dvalue * f

    return f, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Values and log-densities as they come: both negative, none near 0 or -1, where a factor would not show."""
    samples = rows + 2
    arguments = {"f": rng.uniform(-5.0, -2.0, (samples, rows)), "log_q": rng.uniform(-9.0, -6.0, (samples, rows))}
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, (samples, rows)), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """One term each: what may be wrong is what it is multiplied by."""
    f, d = draw.arguments["f"], draw.cotangent
    return {"value": {"f": f}, "df": {"dvalue": d}, "dlog_q": {"dvalue·f": d * f}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {"f": draw.arguments["f"], "log_q": draw.arguments["log_q"], "S": float(len(draw.arguments["f"]))}


def printed_in_001(f, log_q):
    """f log q as the estimate itself, with the gradients of that product."""

    def pullback(dvalue):
        return dvalue * log_q, dvalue * f

    return f * log_q, pullback


def df_times_log_q(f, log_q):
    """The right value, but f's gradient is that of the product f log q."""

    def pullback(dvalue):
        return dvalue * log_q, dvalue * f

    return f, pullback


def f_held_everywhere(f, log_q):
    """Holds f constant in both places, so that nothing reaches it."""

    def pullback(dvalue):
        return 0 * dvalue, dvalue * f

    return f, pullback


def log_q_not_held(f, log_q):
    """f + f log q: the second log q, which only takes the value away again, is missing."""

    def pullback(dvalue):
        return dvalue, dvalue * f

    return f + f * log_q, pullback


def score_without_f(f, log_q):
    """Hands log q its gradient without the value in front."""

    def pullback(dvalue):
        return dvalue, dvalue

    return f, pullback


EXERCISE = Exercise(
    name="score_surrogate",
    title='Why "f times log q" is no estimator',
    statement="""
        Source 001 writes E_q[f] ≈ f(z) log q(z). As a value that means nothing; what is meant is its gradient in q.
        Write the rule whose value is the estimate of E_q[f], and whose pullback gives unbiased gradients both for
        what f depends on and for what q depends on, z being held.

        f, log_q: (S, B), of each sample; value: (S, B), whose mean over samples estimates E_q[f].
        `pullback(dvalue)` returns (df, dlog_q).

        Its pullback is not the derivative of its value, and is not meant to be: only on average is it one.
    """,
    labels=("score_function.1", "score_function.2", "errata.1b"),
    solution=score_surrogate,
    draw=draw,
    observe=of_rule("value", "df", "dlog_q"),
    terms=terms,
    factors=factors,
    misconceptions=(
        Misconception(
            id="f_times_log_q",
            label="errata.1b",
            wrong=printed_in_001,
            message="You gave f log q as the estimate, as source 001 prints: the estimate of E_q[f] is f itself.",
            hints=(
                "Let f be 1 everywhere. What is its expectation, and what is your value?",
                "log q belongs to the gradient. What of it belongs to the value?",
                "A Monte Carlo estimate of E_q[f] is the mean of f over samples, with no weight.",
            ),
            link="value",
            truth="log_q",
            source="erratum 001-2",
            proof="law",
        ),
        Misconception(
            id="surrogate_df_times_log_q",
            label="errata.1b",
            wrong=df_times_log_q,
            message="You multiplied f's own gradient by log q: what f depends on gets the plain gradient.",
            hints=(
                "Think of the decoder's weights: z is held, so what is ∂f/∂θ to them?",
                "Where the product f log q is differentiated, f has to be held constant.",
                "For θ the expectation is that of ∂f/∂θ, under a q that does not move.",
            ),
            link="df",
            truth="log_q",
            source="erratum 001-2",
            proof="estimator",
        ),
        Misconception(
            id="surrogate_without_df",
            label="errata.1b",
            wrong=f_held_everywhere,
            message="You hold f constant altogether: what it depends on learns nothing, its own gradient is missing.",
            hints=(
                "Which weights of a VAE would never move?",
                "The gradient of an expectation has two parts by the product rule. Where is the second?",
                "f is held beside log q only.",
            ),
            link="df",
            truth="dvalue × 0",
            source="detach() on the reward of a REINFORCE loss that also trains the decoder",
            proof="estimator",
        ),
        Misconception(
            id="surrogate_value_with_log_q",
            label="errata.1b",
            wrong=log_q_not_held,
            message="Your gradients are right, but f log q is left in the value: a held log q has to take it away.",
            hints=(
                "Is your value an estimate of E_q[f]?",
                "Something has to be added that has a gradient and no value.",
                "log q minus the same log q held constant is 0, with the gradient of log q.",
            ),
            link="value",
            truth="f·log_q added",
            source="REINFORCE losses that are logged as if they were bounds",
            proof="law",
        ),
        Misconception(
            id="surrogate_score_without_f",
            label="errata.1b",
            wrong=score_without_f,
            message="You handed log q the bare gradient: without the value in front of it the score averages to 0.",
            hints=(
                "Does it matter to your dlog_q how good a sample was?",
                "E[∇ log q] is 0. What makes it a gradient of E[f]?",
                "Good samples are to become likelier in proportion to how good they were.",
            ),
            link="dlog_q",
            truth="1/f",
            source="forum questions on REINFORCE",
            proof="estimator",
        ),
    ),
)
