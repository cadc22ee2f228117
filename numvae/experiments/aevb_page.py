"""``numvae reproduce aevb``: Figures 2 to 5 of the paper, with captions, and what was obtained beside its claims."""

from __future__ import annotations

import math

from numvae.experiments.aevb import BOUND_CURVES, SAMPLED, TWO_LATENTS
from numvae.experiments.aevb_pictures import DATA, NAMES, bound_panels, likelihood_panels, manifolds, samples
from numvae.experiments.likelihood_curves import LIKELIHOOD_CURVES, MONTE_CARLO_EM
from numvae.experiments.outcomes import Outcome, Outcomes, last
from numvae.experiments.paper import Paper, PaperFigure, Table, those
from numvae.page import number

__all__ = ["AEVB"]

AXES = {"mnist": "none; axis −150 to −100", "frey": "none; axis 0 to 1600"}
"""Of the paper's Figure 2, read from it; it prints no number for where a curve ends."""
LIKELIHOOD_AXES = {1000: "none; axis −160 to −100", 50_000: "none; axis −160 to −125"}


def pairs(outcomes: Outcomes) -> list[tuple[Outcome, Outcome]]:
    """(AEVB, wake-sleep) of the same data and number of latents, where both are there."""
    return [
        (outcomes[name], outcomes[other])
        for name, other in (
            (f"{curve.data}_{curve.latents}_aevb", f"{curve.data}_{curve.latents}_wake_sleep")
            for curve in BOUND_CURVES
            if curve.learner == "aevb"
        )
        if name in outcomes and other in outcomes
    ]


def at(outcome: Outcome, samples: float) -> float:
    """The test bound at the last point that had seen at most so many samples; NaN if there is none."""
    seen = [value for place, value in zip(outcome["samples"], outcome["test"], strict=True) if place <= samples]
    return float(seen[-1]) if seen and seen[-1] is not None else math.nan


def _bound_words(outcomes: Outcomes) -> str:
    both = pairs(outcomes)
    ends = sum(at(aevb, math.inf) > at(rival, math.inf) for aevb, rival in both)
    everywhere = sum(_is_above(aevb, rival) for aevb, rival in both)
    return (
        f"AEVB ends above wake-sleep in {ends} of {len(both)} panels, and is above it at every measured point in "
        f"{everywhere}."
    )


def _is_above(aevb: Outcome, rival: Outcome) -> bool:
    """Wherever both were measured."""
    places = [place for place in rival["samples"] if aevb["samples"] and place >= aevb["samples"][0]]
    return bool(places) and all(at(aevb, place) > at(rival, place) for place in places)


def _bound_table(outcomes: Outcomes) -> Table:
    rows = []
    for aevb, rival in pairs(outcomes):
        diverged = "".join(f", {NAMES[each['learner']]} diverged" for each in (aevb, rival) if each["diverged"])
        rows.append(
            (
                f"{DATA[aevb['data']]}, {aevb['latents']} latents{diverged}",
                number(last(aevb, "samples"), ",.0f"),
                *(number(last(each, key), ",.1f") for each in (aevb, rival) for key in ("train", "test")),
                f"{aevb['step_size']:g}, {rival['step_size']:g}",
                _seconds_per_million(aevb),
                AXES[aevb["data"]],
            )
        )
    return Table(
        "Figure 2: obtained beside reported",
        (
            "Data", "Samples", "AEVB train", "AEVB test", "wake-sleep train", "wake-sleep test", "Step sizes",
            "AEVB seconds per million", "Reported",
        ),
        rows,
        "Bounds in nats per datum: of bits for MNIST, of a density for the Frey faces. The paper prints curves and no "
        "end values; the axes are read from its figure. It claims that AEVB is faster and better everywhere, that more "
        "latents do not overfit, and 20 to 40 minutes per million samples on its machine. Training bounds are means "
        "over the last pass. Step sizes (AEVB, wake-sleep): of 0.01, 0.02 and 0.1 the one with the best bound on "
        "training data after 500 steps; the quick profile takes 0.01.",
    )  # fmt: skip


def _likelihood_table(outcomes: Outcomes) -> Table:
    rows = [
        (
            f"{outcome['train_rows']:,} points, {NAMES[outcome['learner']]}",
            number(last(outcome, "samples"), ",.0f"),
            *(
                f"{number(last(outcome, key), ',.1f')} ± {number(last(outcome, f'{key}_standard_error'), '.1f')}"
                for key in ("train", "test")
            ),
            f"{outcome['step_size']:g}",
            _seconds_per_million(outcome),
            LIKELIHOOD_AXES.get(outcome["train_rows"], "none"),
        )
        for outcome in those(outcomes, LIKELIHOOD_CURVES).values()
    ]
    return Table(
        "Figure 3: obtained beside reported",
        ("Learner", "Samples", "Train", "Test", "Step size", "Seconds per million", "Reported"),
        rows,
        "log p(x) in nats, estimated by the paper's appendix D (posterior samples by HMC, a normal fitted to them, and "
        "the reciprocal mean over others) on the first 1,000 training and test points (100 in the quick profile), ± "
        "the standard error over points. Bits are drawn once, so that a chain of Monte Carlo EM finds its datum as it "
        "left it. The paper prints curves and no end values.",
    )


def _likelihood_words(outcomes: Outcomes) -> str:
    em, rival = (
        [outcome for outcome in those(outcomes, LIKELIHOOD_CURVES).values() if outcome["learner"] == learner]
        for learner in (MONTE_CARLO_EM, "aevb")
    )
    cost = [each[-1]["training_seconds"] / last(each[-1], "samples") for each in (em, rival)]
    return f"A sample costs Monte Carlo EM {cost[0] / cost[1]:.0f} times what it costs AEVB here."


def _seconds_per_million(outcome: Outcome) -> str:
    samples = last(outcome, "samples")
    return number(outcome["training_seconds"] / samples * 1e6 if samples else None, ",.0f")


AEVB = Paper(
    name="aevb",
    title="Auto-Encoding Variational Bayes, run again",
    notes={
        "quick": "The quick profile: 12,000 training digits and few samples, for a first look in minutes. The full "
        "profile trains as long as the time of the results in the repository allowed: numvae reproduce aevb --profile "
        "full.",
        "full": "The full profile: minibatches of 100, one sample of z, AdaGrad, a N(0, I) prior on the weights, 500 "
        "tanh units for MNIST and 200 for the Frey faces, as in the paper, and a tenth or a hundredth of its 10⁸ "
        "samples. Ours to choose: the decoder's output bias starts at the data's mean, all other weights at N(0, "
        "0.1²); AdaGrad's step grows over the first ten steps, as its first step would otherwise move every weight "
        "by the whole step size; MNIST's bits are drawn anew whenever a digit is used.",
    },
    figures={
        figure.name: figure
        for figure in (
            PaperFigure(
                "2", "Figure 2. The bound while learning",
                "The bound against the number of training samples seen, AEVB beside wake-sleep with the same encoder, "
                "the same start and the same optimiser. Panels in a row share their axis. A training bound is the mean "
                "over a pass, drawn at its middle.",
                BOUND_CURVES,
                lambda outcomes, runs: bound_panels(those(outcomes, BOUND_CURVES)),
                says=_bound_words,
            ),
            PaperFigure(
                "3", "Figure 3. The marginal likelihood while learning",
                "log p(x), estimated, against the number of training samples, with 100 hidden units and 3 latents. "
                "Monte Carlo EM has no encoder: each datum has a chain of its own, of which every visit takes ten "
                "leapfrog steps and then makes five updates of the weights.",
                LIKELIHOOD_CURVES,
                lambda outcomes, runs: likelihood_panels(those(outcomes, LIKELIHOOD_CURVES)),
                says=_likelihood_words,
            ),
            PaperFigure(
                "4", "Figure 4. Manifolds of two latents",
                "The mean image at the points of a grid that covers the prior evenly.",
                TWO_LATENTS,
                lambda outcomes, runs: manifolds(runs, {curve.name: DATA[curve.data] for curve in TWO_LATENTS}),
                needs_runs=True,
            ),
            PaperFigure(
                "5", "Figure 5. Samples",
                "Mean images of latents drawn from the prior.",
                SAMPLED,
                lambda outcomes, runs: samples(runs, [curve.name for curve in SAMPLED]),
                needs_runs=True,
            ),
        )
    },
    tables=lambda outcomes: [_bound_table(outcomes), _likelihood_table(outcomes)],
)  # fmt: skip
"""Figures 2 to 5."""
