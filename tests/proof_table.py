"""Writes ``derivations/PROOFS.md``: for every equation, what its three proofs found.

    python -m tests.proof_table

It runs the proofs of the case table anew, on examples of its own, and takes down numbers where a test says yes or no.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from numvae import elbo_monte_carlo, pathwise
from numvae.arena import certify
from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler, check_unbiased
from numvae.distributions.kl_table import kl_divergence
from numvae.estimators import claims_of
from numvae.estimators.catalogue import ESTIMATORS
from tests.cases import CASES, DIVERGENCES, ESTIMATIONS, FAMILIES, Case, Divergence, Estimation, Family, Sizes
from tests.cases.kit import SPREADS
from tests.distributions.test_every_divergence import by_integral
from tests.distributions.test_every_divergence import drawn as params_of_both
from tests.distributions.test_every_family import gradients_of_an_expectation
from tests.exact_models.test_every_exact_model import EXACT, Exact
from tests.index import tests as named_tests
from tests.steps import DEFINITIONS, STEPS, Step, distance_of_step
from tests.test_estimators import draws, truth
from tests.test_laws import ACTIVATIONS
from tests.traceability import DEFINITION, ROOT, in_order, in_pages, in_tests, is_step

PAGE = ROOT / "derivations" / "PROOFS.md"
COMMAND = "python -m tests.proof_table"
EXAMPLES = 12
LARGEST_SCORE = 4.5
"""Standard errors; of some thousand numbers the largest is about 3.5 by chance."""

HEAD = f"""# The proof table

Made by `{COMMAND}`; not to be edited. One row for each equation. A finite-difference check proves the
gradient of the code, not of the mathematics, so there are three proofs:

- **pullback**: the hand-written gradient against finite differences; the worst relative error (checks.4), which may be
  1e-8, or 1e-6 for functions with corners;
- **law**: the value against an oracle that knows nothing of numvae; the worst distance, relative to the value and to
  the largest beside it, absolute below 1. It may be 1e-11 for families, 1e-12 for activations, 1e-10 for models with a
  known evidence, 1e-8 for KL divergences, whose oracle is an integral. Of families also: samples that follow the
  density;
- **estimator**: the mean of many gradients against the exact one, coordinate by coordinate; the worst distance in
  standard errors, which may be what so many comparisons make likely, some {LARGEST_SCORE}. Estimators of the
  catalogue are held to all they claim, on every exact model they are for, by `numvae.arena.certify`; one that says it
  is biased is held to the rest.

In brackets, how many examples were tried; ✓ or ✗, the verdict. An empty cell says that the *tables* hold no such proof:
none of the pullback where nothing is differentiated, or where a gradient is right on average only; none of the law
where the equation is a gradient, whose value has its own row; none of the estimator where nothing is averaged. What
else there is, tests of their own do: the last column counts those that name the equation, `pytest -k normal.3` runs
them, and [INDEX](INDEX.md) lists them.
"""


@dataclass(frozen=True)
class Finding:
    """What one proof found: the worst number, of how many examples, and whether that is good enough."""

    worst: float
    tried: int
    ok: bool
    in_errors: bool = False
    """Whether it is counted in standard errors; NaN then is an estimator whose bias is what it says."""

    def __str__(self) -> str:
        number = f"{self.worst:.1f} σ" if self.in_errors else f"{self.worst:.1e}"
        shown = "biased, as it says" if math.isnan(self.worst) else number
        return f"{shown} ({self.tried:_}) {'✓' if self.ok else '✗'}".replace("_", " ")

    def and_also(self, other: Finding) -> Finding:
        """Both as one."""
        worst = float(np.fmax(self.worst, other.worst))
        return Finding(worst, self.tried + other.tried, self.ok and other.ok, self.in_errors)


def distance(found: Array, expected: Array) -> float:
    """The largest |found - expected| / (|expected| + largest |expected|), absolute where the largest is below 1.

    A log-probability of -1e-12 nats is as good as zero, however many digits of it are right.
    """
    where = np.isfinite(expected)
    if not np.array_equal(where, np.isfinite(found)):
        return math.inf
    found, expected = np.asarray(found)[where], np.asarray(expected)[where]
    scale = np.abs(expected) + np.max(np.abs(expected), initial=1.0)
    return float(np.max(np.abs(found - expected) / scale, initial=0.0))


def score(found: Array, truth: Array, error: Array, floor: float = 1e-6) -> float:
    """The largest distance in standard errors, beyond what the truth itself is uncertain by."""
    beyond = np.maximum(np.abs(found - truth) - floor, 0)
    return float(np.max(np.divide(beyond, error, out=np.zeros_like(beyond), where=beyond > 0)))


def examples(count: int = EXAMPLES) -> Iterator[tuple[Sizes, np.random.Generator, float]]:
    """Sizes, a generator and a spread for each of so many examples: pairwise distinct sizes, all spreads in turn."""
    rng = np.random.default_rng(0)
    any_sizes = (Sizes(*map(int, rng.permutation(np.arange(1, 8))[:5])) for _ in iter(int, 1))
    distinct = (n for n in any_sizes if 2 * n.Z not in (n.S, n.B, n.D, n.H))
    for number, n in enumerate(islice(distinct, count)):
        yield n, np.random.default_rng(number), SPREADS[number % len(SPREADS)]


# ---- the three proofs


def pullback(case: Case) -> Finding:
    """The worst relative error of all arguments, along random directions and coordinates."""
    reports = [
        check_pullback(
            case.at(n),
            *case.arguments(n, rng, spread),
            rng=rng,
            directions=2,
            coordinates=2,
            tolerance=case.tolerance,
        )
        for n, rng, spread in examples()
    ]
    worst = max(np.nan_to_num(report.worst_relative_error) for report in reports)
    return Finding(float(worst), len(reports), all(report.ok for report in reports))


def law_of_family(family: Family) -> Finding:
    """Log-density, mean, std, entropy and CDF against scipy; samples against the density."""
    own, worst = family.family, 0.0
    for number, (n, rng, _) in enumerate(examples()):
        spread = family.spreads[number % len(family.spreads)]
        params, values = (a.draw(rng, n.shape(a.shape), spread) for a in (family.params, family.values))
        oracle = family.oracle(params)
        log_prob = (oracle.logpmf if own.discrete else oracle.logpdf)(values).sum(axis=-1)
        pairs = [(own.log_prob(params, values)[0], log_prob)]
        pairs += [
            (getattr(own, name)(params), getattr(oracle, name)()) for name in ("mean", "std") if hasattr(own, name)
        ]
        if hasattr(own, "entropy"):
            pairs.append((own.entropy(params), np.sum(oracle.entropy(), axis=-1)))
        if hasattr(own, "cdf"):
            pairs.append((own.cdf(params, values), oracle.cdf(values)))
        worst = max(worst, *(distance(found, expected) for found, expected in pairs))
    ok = worst <= 1e-11
    if hasattr(own, "sample") and not getattr(own, "support_moves", False):
        rng, shape = np.random.default_rng(0), Sizes().shape(family.values.shape)[-2:]
        params = family.params.draw(rng, Sizes().shape(family.params.shape), 1.0)
        ok = ok and check_sampler(own, params, shape=shape, rng=rng).ok
    return Finding(worst, EXAMPLES, ok)


def law_of_divergence(divergence: Divergence) -> Finding:
    """The closed form against quadrature over the oracles' densities."""
    worst = 0.0
    for seed in range(EXAMPLES):
        params, prior = params_of_both(divergence, seed)
        found, _ = kl_divergence(divergence.q, divergence.p)(params, prior)
        expected = by_integral(divergence, params, prior)
        worst = max(worst, float(np.max(np.abs(found - expected) / (1 + np.abs(expected)))))
    return Finding(worst, EXAMPLES, worst <= 1e-8)


def law_of_activation(rule: Callable[..., Any], oracle: Callable[[Array], Array]) -> Finding:
    """Against the textbook's form, from 1e-3 to 1e3."""
    x = np.concatenate([sign * np.logspace(-3, 3, 500) for sign in (-1, 1)])
    expected = oracle(x)
    worst = float(np.max(np.abs(rule(x)[0] - expected) / np.maximum(np.abs(expected), 1e-3)))
    return Finding(worst, len(x), worst <= 1e-12)


def law_of_exact_model(exact: Exact) -> Finding:
    """Every draw from the posterior has the evidence as its weight."""
    model, theta = exact.model.vae(), exact.model.theta
    _, x = exact.model.draw(np.random.default_rng(0), 20)
    noise = model.draw_noise(pathwise, np.random.default_rng(1), (EXAMPLES, 20))
    expected = exact.model.evidence(x)
    worst = max(distance(elbo_monte_carlo(model, theta, x, one[None])[0], expected) for one in noise)
    return Finding(worst, EXAMPLES * 20, worst <= 1e-10)


def estimator_of_samples(family: Family) -> Finding:
    """The gradient of samples on average, against that of the expectation by quadrature."""
    found, error, truth = gradients_of_an_expectation(family)
    worst = score(found, truth, error)
    return Finding(worst, 40_000, worst <= LARGEST_SCORE, in_errors=True)


def estimation(e: Estimation) -> Finding:
    """An estimator of the case table against quadrature, by many draws."""
    estimates, exact = draws(e, np.random.default_rng(1)), truth(e)
    worst = score(estimates.mean(axis=0), exact, estimates.std(axis=0) / math.sqrt(len(estimates)))
    return Finding(worst, len(estimates), check_unbiased(estimates, exact, name=e.name).ok, in_errors=True)


def certified(estimator: Any) -> Finding:
    """An estimator of the catalogue on every exact model it is for."""
    certificate = certify(estimator)
    scores = [abs(trial.statistic) for trial in certificate.trials if math.isfinite(trial.statistic)]
    worst = max(scores) if claims_of(estimator).unbiased else math.nan
    return Finding(worst, certificate.repeats * len(certificate.trials), certificate.ok, in_errors=True)


# ---- the table

Found: TypeAlias = dict[str, dict[str, Finding]]
PROOFS = ("pullback", "law", "estimator")


def all_findings() -> Found:
    """Label -> proof -> what was found, over all entries of the tables that carry the label."""
    found: Found = defaultdict(dict)

    def note(labels: str, proof: str, finding: Finding) -> None:
        for label in labels.split():
            before = found[label].get(proof)
            found[label][proof] = finding if before is None else before.and_also(finding)

    for case in CASES:
        if not case.on_average:
            note(case.labels, "pullback", pullback(case))
    for family in FAMILIES:
        note(family.labels, "law", law_of_family(family))
        if family.gradient and family.wide:
            note(sample_labels(family), "estimator", estimator_of_samples(family))
    for divergence in DIVERGENCES:
        note(divergence.labels, "law", law_of_divergence(divergence))
    for name, rule, oracle in ACTIVATIONS:
        note(name.split()[0], "law", law_of_activation(rule, oracle))
    for exact in EXACT:
        note(exact.labels, "law", law_of_exact_model(exact))
    for e in ESTIMATIONS:
        note(e.labels, "estimator", estimation(e))
    for estimator in ESTIMATORS.values():
        note(" ".join(labels_of(estimator)), "estimator", certified(estimator))
    return found


def sample_labels(family: Family) -> str:
    """The equations of a family's sample and of its gradient: those of the case of that name."""
    return " ".join(case.labels for case in CASES if case.name == f"{family.name}.sample")


def labels_of(estimator: Any) -> list[str]:
    """The equations on the page of an estimator's module."""
    module = (estimator.__module__ if hasattr(estimator, "__name__") else type(estimator).__module__).rpartition(".")[2]
    return [label for label in in_pages(ROOT, DEFINITION) if label.startswith(f"{module}.") and not is_step(label)]


def table(found: Found) -> str:
    """The page."""
    defined, mentions = in_pages(ROOT, DEFINITION), in_tests(ROOT)
    equations = sorted((label for label in defined if not is_step(label)), key=in_order)
    rows: dict[str, list[str]] = defaultdict(list)
    for label in equations:
        own = [test for test in named_tests(label, mentions) if not test.file.startswith("tests/cases/")]
        cells = [str(found.get(label, {}).get(proof, "")) for proof in PROOFS]
        rows[defined[label][0].rpartition(":")[0].removeprefix("derivations/")].append(
            f"| ({label}) | {' | '.join(cells)} | {len(own) or ''} |"
        )
    text = [HEAD, *summary(equations, found), *steps(defined)]
    for page, lines in rows.items():
        text += [f"## [{page.removesuffix('.md')}]({page})\n", "| equation | pullback | law | estimator | own tests |"]
        text += ["|---|---|---|---|---|", *lines, ""]
    return "\n".join(text)


def summary(equations: list[str], found: Found) -> list[str]:
    """How many equations each proof is about, and how many fail it."""
    lines = [
        "## In numbers\n",
        f"{len(equations)} equations.\n",
        "| proof | equations | worst | failed |",
        "|---|---|---|---|",
    ]
    for proof in PROOFS:
        of_proof = [found[label][proof] for label in equations if proof in found.get(label, {})]
        worst = np.nanmax([finding.worst for finding in of_proof])
        shown = f"{worst:.1f} σ" if proof == "estimator" else f"{worst:.1e}"
        lines.append(f"| {proof} | {len(of_proof)} | {shown} | {sum(not finding.ok for finding in of_proof)} |")
    return [*lines, ""]


def of_step(step: Step) -> Finding:
    """Both sides of a step, computed in different ways at random points."""
    worst = max(distance_of_step(step, seed) for seed in range(EXAMPLES))
    return Finding(worst, EXAMPLES, worst <= step.tolerance)


def steps(defined: dict[str, list[str]]) -> list[str]:
    """The lettered steps: what was found where both sides are computed, and which are not tried yet."""
    lettered = sorted(filter(is_step, defined), key=in_order)
    untried = [label for label in lettered if label not in STEPS and label not in DEFINITIONS]
    lines = [
        "## Steps on paper\n",
        "Both sides of a lettered step, each computed in its own way at random points by `tests/steps/`: a wrong",
        f"*step* is found, and not only a wrong result. Of {len(lettered)} steps {len(STEPS)} are tried,",
        f"{len(DEFINITIONS)} state no identity, and {len(untried)} are not tried yet.\n",
        "| step | worst distance |",
        "|---|---|",
        *(f"| ({label}) | {of_step(STEPS[label])} |" for label in lettered if label in STEPS),
        "",
    ]
    lines.append("No identities: " + ", ".join(f"({label}) {what}" for label, what in DEFINITIONS.items()) + ".\n")
    return lines + ([f"Not tried yet: {', '.join(f'({label})' for label in untried)}.\n"] if untried else [])


def cells_of(page: str) -> dict[str, dict[str, str]]:
    """Label -> proof -> what stands in its cell on the page."""
    rows = re.findall(r"^\| \(([a-z_]+\.\d+)\) \| (.*?) \| (.*?) \| (.*?) \| \d* \|$", page, flags=re.MULTILINE)
    return {label: dict(zip(PROOFS, cells, strict=True)) for label, *cells in rows}


if __name__ == "__main__":
    PAGE.write_text(table(all_findings()), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
