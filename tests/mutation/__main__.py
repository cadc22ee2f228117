"""``python -m tests.mutation``: run the suite against every mutant that is new, changed, or survived the last time."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded: a child per core, a thread per child

import pytest

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant
from tests.mutation.results import MUTATED, RESULTS, ROOT, Outcome, all_mutants, read, sources, write
from tests.mutation.running import Runner

SUITE = (
    "tests/test_pullbacks.py",
    "tests/test_laws.py",
    "tests/test_layers.py",
    "tests/test_estimators.py",
    "tests/test_objectives.py",
    "tests/test_every_model.py",
    "tests/distributions",
    "tests/estimators",
    "numvae/layers.py",
    "numvae/objectives.py",
    "numvae/distributions",
    "numvae/estimators",
)
"""The proofs: the case table, and every mutated file's own tests and examples."""


def main() -> int:
    """Run, save as it goes, say what is left; 1 where anything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--files", metavar="GLOB", action="append", help="mutate these alone")
    parser.add_argument("--tests", metavar="PATH", action="append", help="run these in the place of the proofs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that paths are relative to")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--enough", type=float, default=60.0, help="seconds of tests after which a mutant that still lives has survived"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    given = parser.parse_args()
    root, out = given.root.resolve(), given.out.resolve()
    os.chdir(root)

    texts = sources(root, tuple(given.files or MUTATED))
    mutants = all_mutants(texts)
    if given.list:
        print(*mutants, sep="\n")
        return 0
    keys = {mutant.key for mutant in mutants}
    outcomes = {key: outcome for key, outcome in read(out).items() if key[0] not in texts or key in keys}
    left = [m for m in mutants if not (m.key in outcomes and (outcomes[m.key].killed or m.key in EQUIVALENT))]
    print(f"{len(mutants)} mutants in {len(texts)} files, {len(left)} of them to be run", flush=True)
    counts: Counter[str] = Counter()

    def done(mutant: Mutant, outcome: Outcome) -> None:
        outcomes[mutant.key] = outcome
        counts[outcome.proof] += 1
        if not outcome.killed and mutant.key not in EQUIVALENT:
            print(f"{outcome.proof} ({outcome.test}, {outcome.seconds} s): {mutant}", flush=True)
        if sum(counts.values()) % 25 == 0:
            write(outcomes, out)
            print(f"{sum(counts.values())} of {len(left)}: {dict(counts)}", flush=True)

    if left:
        runner = Runner(root, texts, left, given.jobs, given.enough, done)
        options = ("-q", "--no-header", "--tb=native", f"--rootdir={root}")
        pytest.main([*options, *(given.tests or SUITE)], plugins=[runner])
    write(outcomes, out)
    ours = [outcomes[key] for key in outcomes.keys() & keys]
    by = ", ".join(f"{count} {proof}" for proof, count in Counter(outcome.proof for outcome in ours).most_common())
    print(f"{len(ours)} of {len(mutants)} mutants: {by}; {sum(outcome.seconds for outcome in ours):.0f} s in all")
    alive = [m for m in mutants if m.key not in EQUIVALENT and not (m.key in outcomes and outcomes[m.key].killed)]
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main())
