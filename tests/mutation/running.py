"""The suite against every mutant: collected once, then one forked child per mutant, the likeliest proofs first.

A child puts the mutant in the place of the living code, runs the tests, those of the mutant's labels before others, and
ends at the first that fails.  A test that fails without the mutant too has killed nothing, and is left out.
"""

from __future__ import annotations

import gc
import math
import os
import re
import select
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from numvae.checks import pullback
from tests.mutation.mutants import Mutant
from tests.mutation.results import Outcome
from tests.mutation.swapping import Living

LABEL = re.compile(r"[a-z_]+\.\d+")
PATIENCE = 60.0
"""Seconds after which a silent test hangs; the slowest ones take a few."""


@dataclass(frozen=True)
class Proof:
    """A test: what it proves, and the labels that its name or its docstring gives."""

    item: Any
    kind: str
    labels: frozenset[str]

    @property
    def function(self) -> str:
        """Its name without parameters."""
        return str(self.item.nodeid.partition("[")[0])

    @property
    def name(self) -> str:
        """What pytest calls it."""
        return str(self.item.nodeid)


@dataclass
class Child:
    """A forked process, the tests it tries, and what it has said so far."""

    pid: int
    pipe: int
    mutant: Mutant | None
    proofs: Sequence[Proof]
    said: str = ""
    began: float = field(default_factory=time.monotonic)
    last_word: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> Proof | None:
        """The test that failed, or never ended."""
        return self.proofs[self.said.count("passed")] if self.said.endswith(("failed\n", HANGS)) else None


HANGS = "hangs\n"
KINDS = ("pullback", "law", "estimator", "other")


class Runner:
    """A pytest plugin that runs no suite but one child per mutant, and hands each outcome on."""

    def __init__(
        self,
        root: Path,
        sources: dict[str, str],
        mutants: Sequence[Mutant],
        jobs: int,
        enough: float,
        done: Callable[[Mutant, Outcome], None],
    ) -> None:
        self.root, self.sources, self.mutants = root, sources, mutants
        self.jobs, self.enough, self.done = jobs, enough, done
        self.failed = False
        self.living: dict[str, Living] = {}
        self.sound: dict[str, bool] = {}
        self.seconds: dict[str, float] = {}
        self.killers: dict[str, Counter[str]] = defaultdict(Counter)

    # ---- what pytest calls

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Examples are drawn as ever, but a failing one is not made smaller."""
        from hypothesis import Phase, settings

        quick = settings(phases=(Phase.explicit, Phase.generate), database=None, report_multiple_bugs=False)
        settings.register_profile("mutation", quick, derandomize=True, deadline=None, max_examples=20)
        settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In the place of the suite."""
        session.config.pluginmanager.unregister(name="terminalreporter")
        proofs = [Proof(item, kind_of(item), frozenset(LABEL.findall(text_of(item)))) for item in session.items]
        pullback._localise = lambda *_: []  # most of the time of a check that fails, to say where
        self.living = {file: Living(str(self.root / file), source) for file, source in self.sources.items()}
        gc.collect()
        gc.freeze()  # what is here now is the same in every child: collections need not look at it
        waiting = list(reversed(self.mutants))
        children: dict[int, Child] = {}
        while waiting or children:
            while waiting and len(children) < self.jobs:
                mutant = waiting.pop()
                child = self.fork(mutant, self.ordered(mutant, proofs))
                children[child.pipe] = child
            for child in self.ended(children):
                if not self.is_sound(child):  # once more, without the tests that are known by now to fail anyway
                    waiting.append(child.mutant)
                else:
                    self.done(child.mutant, self.verdict(child))
        return True

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self.failed = self.failed or report.failed

    # ---- which tests, in which order

    def ordered(self, mutant: Mutant, proofs: Iterable[Proof]) -> list[Proof]:
        """All tests: what killed its neighbours, those of its labels, file, folder, all others; each proof in turn."""
        labels, near, file = set(mutant.labels), self.killers[_place(mutant)], Path(mutant.file)
        own = (file.name, f"test_{file.name}")
        ranked: dict[tuple[int, str], list[Proof]] = defaultdict(list)
        for proof in sorted(proofs, key=lambda proof: self.seconds.get(proof.function, 1.0)):
            path = proof.item.path
            rank = (
                0
                if proof.labels & labels
                else 1
                if path.name in own
                else 2
                if path.parent.name == file.parent.name
                else 3
            )
            if self.sound.get(proof.name, True):
                ranked[rank, proof.kind].append(proof)
        places = {
            proof.name: (-near[proof.name], rank, turn, KINDS.index(kind))
            for (rank, kind), of_kind in ranked.items()
            for turn, proof in enumerate(of_kind)
        }
        return sorted((proof for of_kind in ranked.values() for proof in of_kind), key=lambda p: places[p.name])

    def is_sound(self, child: Child) -> bool:
        """Whether the test that failed passes without the mutant: only then it has killed it."""
        proof = child.failed
        if proof is None or self.sound.get(proof.name):
            return True
        alone = self.fork(None, [proof])
        (alone,) = self.ended({alone.pipe: alone}, wait=True)
        self.sound[proof.name] = alone.failed is None
        if alone.failed:
            print(f"left out, for it fails without a mutant: {proof.name}", file=sys.stderr, flush=True)
        return alone.failed is None

    def verdict(self, child: Child) -> Outcome:
        """What a mutant has come to."""
        seconds, count = round(time.monotonic() - child.began, 2), child.said.count("passed")
        for proof, took in zip(child.proofs, re.findall(r"passed in (\S+)", child.said), strict=False):
            self.seconds[proof.function] = max(float(took), self.seconds.get(proof.function, 0.0))
        if "broken" in child.said:
            return Outcome("broken", child.said.partition("broken ")[2].strip(), seconds)
        if child.failed is None:
            return Outcome("survived", f"{count} tests", seconds)
        self.killers[_place(child.mutant)][child.failed.name] += 1
        return Outcome("time" if child.said.endswith(HANGS) else child.failed.kind, child.failed.function, seconds)

    # ---- processes

    def fork(self, mutant: Mutant | None, proofs: Sequence[Proof]) -> Child:
        """A child that lives with the mutant and runs the tests until one fails; silent but for its pipe."""
        out, into = os.pipe()
        pid = os.fork()
        if pid:
            os.close(into)
            return Child(pid, out, mutant, proofs)
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            if mutant:
                self.living[mutant.file].swap(mutant.applied(self.sources[mutant.file]))
            began = time.monotonic()
            for proof in proofs:
                started = time.monotonic()
                passes = self.passes(proof)
                now = time.monotonic()
                os.write(into, f"passed in {now - started:.3f}\n".encode() if passes else b"failed\n")
                if not passes or now - began > self.enough:
                    break
        except BaseException as error:
            os.write(into, f"broken {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(0)

    def passes(self, proof: Proof) -> bool:
        """Whether a test passes, under all that pytest does around it."""
        self.failed = False
        proof.item.config.hook.pytest_runtest_protocol(item=proof.item, nextitem=None)
        return not self.failed

    def ended(self, children: dict[int, Child], wait: bool = False) -> list[Child]:
        """Listen for a second, or until all have ended; those that have leave ``children``."""
        over: list[Child] = []
        while True:
            ready, _, _ = select.select(list(children), [], [], 1.0)
            for pipe in ready:
                child, said = children[pipe], os.read(pipe, 1 << 16).decode()
                child.said += said
                child.last_word = time.monotonic()
                if not said:
                    os.close(pipe)
                    os.waitpid(child.pid, 0)
                    over.append(children.pop(pipe))
            for child in children.values():
                if time.monotonic() - child.last_word > PATIENCE:
                    os.kill(child.pid, signal.SIGKILL)
                    child.said += HANGS
                    child.last_word = math.inf
            if not wait or not children:
                return over


def kind_of(item: Any) -> str:
    """Which of the three proofs a test belongs to: pullback, law, estimator; or another."""
    path, function = item.path, getattr(item, "function", None)
    uses = {*function.__code__.co_names, function.__name__} if function else set()
    if any("pullback" in name or "derivative" in name or "finite_difference" in name for name in uses):
        return "pullback"
    if "estimators" in path.parts or path.name == "test_estimators.py" or "check_unbiased" in uses:
        return "estimator"
    if "distributions" in path.parts or path.name == "test_laws.py" or "check_sampler" in uses:
        return "law"
    return "other"


def text_of(item: Any) -> str:
    """Where a test names its labels: its parameters and its docstring."""
    return f"{item.nodeid} {getattr(getattr(item, 'function', None), '__doc__', '')}"


def _place(mutant: Mutant | None) -> str:
    return f"{mutant.file}::{mutant.function}" if mutant else ""
