"""Free bits: below a floor a latent's KL costs nothing more, and has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def free_bits(kl, floor):
    def pullback(dcost):
        return dcost[:, None] * (kl > floor), None

    return np.sum(np.maximum(kl, floor), axis=1), pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """In every row latents on both sides of the floor, none near it; each row's total lies above the floor."""
    latents, floor = rows + 2, float(rng.uniform(0.8, 1.2))
    above = np.arange(latents) % 2 == 0
    distance = rng.uniform(0.2, 0.6, (rows, latents))
    kl = rng.permuted(np.where(above, floor + distance, floor - distance), axis=1)
    return Draw({"kl": kl, "floor": floor}, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """The cost is at least the floor of every latent, and grows with what lies beyond it."""
    kl, floor = draw.arguments["kl"], draw.arguments["floor"]
    above = kl > floor
    return {
        "cost": {
            "KL beyond the floor": np.sum(np.maximum(kl - floor, 0), axis=1),
            "the floor of each latent": np.full(draw.rows, floor * kl.shape[1]),
        },
        "dkl": {"above the floor": draw.cotangent[:, None] * above},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    rows, latents = draw.arguments["kl"].shape
    return {"floor": draw.arguments["floor"], "Z": float(latents), "B": float(rows), "2": 2.0}


def gradient_everywhere(kl, floor):
    """The right cost, but the gradient of the plain sum."""

    def pullback(dcost):
        return dcost[:, None] * np.ones_like(kl), None

    return np.sum(np.maximum(kl, floor), axis=1), pullback


def floor_for_the_row(kl, floor):
    """Holds the whole row's KL against the floor, not each latent's."""
    total = np.sum(kl, axis=1)

    def pullback(dcost):
        return (dcost * (total > floor))[:, None] * np.ones_like(kl), None

    return np.maximum(total, floor), pullback


def smaller_of_the_two(kl, floor):
    """The minimum: a ceiling, where a floor is meant."""

    def pullback(dcost):
        return dcost[:, None] * (kl < floor), None

    return np.sum(np.minimum(kl, floor), axis=1), pullback


def floor_taken_off(kl, floor):
    """max(0, KL - floor): the same gradient, and a cost too small by the floor for each latent."""
    _, pullback = free_bits(kl, floor)
    return np.sum(np.maximum(kl - floor, 0), axis=1), pullback


EXERCISE = Exercise(
    name="free_bits",
    title="Free bits",
    statement="""
        What the latents cost if each may use `floor` nats for nothing: the sum over latents of the larger of its KL and
        the floor.

        kl: (B, Z), of each latent, in nats; floor: a positive number; cost: (B,).
        Return (cost, pullback); `pullback(dcost)` returns (dkl, None).
    """,
    labels=("objectives.12", "objectives.13"),
    solution=free_bits,
    draw=draw,
    observe=of_rule("cost", "dkl", ""),
    terms=terms,
    factors=factors,
    differences={"dkl": "kl"},
    misconceptions=(
        Misconception(
            id="free_bits_gradient_everywhere",
            label="objectives.13",
            wrong=gradient_everywhere,
            message="You hand every latent a gradient: one whose KL is below the floor changes nothing and gets 0.",
            hints=(
                "Change a KL that is below the floor a little. Does the cost change?",
                "The maximum picks one of the two. Which of them depends on kl?",
                "It is the same kink as in a ReLU.",
            ),
            link="dkl",
            truth="dcost for dkl",
            source="value clamped after the backward pass was written",
        ),
        Misconception(
            id="free_bits_for_the_row",
            label="objectives.12",
            wrong=floor_for_the_row,
            message="You held the row's total against the floor: each latent has its own.",
            hints=(
                "Can one busy latent pay for an idle one in your cost?",
                "In which order come the sum and the maximum?",
                "Every term of the sum is at least the floor.",
            ),
            link="cost",
            truth="0 for floor",
            source="clamp after sum in public VAEs",
            proof="law",
        ),
        Misconception(
            id="free_bits_ceiling",
            label="objectives.12",
            wrong=smaller_of_the_two,
            message="You took the smaller of KL and floor: the floor is the least that a latent costs.",
            hints=(
                "What does a latent cost whose KL is 100?",
                "A clamp can have a lower or an upper end. Which is a floor?",
                "With a floor of 0 the cost has to be the plain KL.",
            ),
            link="cost",
            source="clamp(max=...) for clamp(min=...)",
            proof="law",
        ),
        Misconception(
            id="free_bits_taken_off",
            label="objectives.12",
            wrong=floor_taken_off,
            message="You took the floor off: that has the right gradient, but each latent costs too little by it.",
            hints=(
                "What does a latent cost that equals its prior?",
                "Is the likelihood minus your cost still below log p(x)?",
                "max(λ, KL) and max(0, KL - λ) differ by a constant.",
            ),
            link="cost",
            truth="the floor of each latent × 0",
            source="bounds reported from a loss with free bits",
            proof="law",
        ),
    ),
)
