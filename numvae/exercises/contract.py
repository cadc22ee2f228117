"""What an exercise is, and what a misconception is: the one list that teaches, diagnoses and tests.

An exercise asks for one function.  Most ask for a *rule*, ``value, pullback = f(*arguments)``; what is looked at is an
`Observation`: every output by name, in the order of backpropagation, so that the first wrong one is the one to mend and
those behind it have inherited its error.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Draw", "Exercise", "Misconception", "Observation", "Observe", "of_rule"]

Observation: TypeAlias = dict[str, Any]
"""Output -> what the function gave for it, in the order of backpropagation: the value first, the last gradient last."""


@dataclass(frozen=True)
class Draw:
    """One set of arguments, at which two functions can be compared: same draw, same answer.

    ``cotangent``: the gradient that comes into a rule's pullback.  ``rows``: the batch size B of this draw.
    """

    arguments: Mapping[str, Any]
    cotangent: Any = None
    rows: int = 1

    def but(self, **arguments: Any) -> Draw:
        """The same draw, with other values for some arguments."""
        return replace(self, arguments={**self.arguments, **arguments})


Observe: TypeAlias = Callable[[Callable[..., Any], Draw], Observation]
"""(the function, a draw) -> its outputs."""


def of_rule(value: str, *gradients: str) -> Observe:
    """How a rule is looked at: its value, and the gradients its pullback returns, by these names.

    A gradient named "" is one the pullback returns as None, for data or noise.

    >>> from numvae.layers import tanh
    >>> draw = Draw({"x": np.zeros(2)}, cotangent=np.ones(2))
    >>> of_rule("y", "dx")(tanh, draw)
    {'y': array([0., 0.]), 'dx': array([1., 1.])}
    """

    def observe(function: Callable[..., Any], draw: Draw) -> Observation:
        found, pullback = function(**draw.arguments)
        returned = pullback(draw.cotangent)
        named = zip(gradients, returned, strict=True)
        return {value: found} | {name: gradient for name, gradient in named if name}

    return observe


@dataclass(frozen=True)
class Misconception:
    """One way to get an exercise wrong, met in public code or in the sources: a complete function that does so.

    - ``wrong``: has the signature of the exercise's solution.
    - ``message``: one sentence, in the second person: what was done and what is right.
    - ``hints``: three, from a nudge to nearly the answer; none gives the line of code.
    - ``link``: the first output that comes out wrong.
    - ``truth``: what a diagnosis that does not know this entry should still find, as ``"KL × -1"`` for a wrong term or
      ``"σ"`` for a wrong factor; empty where neither describes it.
    - ``label``: the equation that it breaks.  ``source``: where it was met.
    - ``proof``: which of the three proofs rejects it in the package itself: pullback, law or estimator.
    """

    id: str
    label: str
    wrong: Callable[..., Any]
    message: str
    hints: tuple[str, str, str]
    link: str
    truth: str = ""
    source: str = ""
    proof: str = "pullback"


@dataclass(frozen=True)
class Exercise:
    """One rung of the ladder.

    - ``name``: that of the function to write, and of its file.
    - ``statement``: what to write, in Markdown: the formula where the exercise is to code it, not where it is to derive
      it; shapes of what goes in and comes out; units.
    - ``labels``: the equations of ``derivations/`` that it is about, the first the main one.
    - ``solution``: a right function, short and plain; the stub has its signature.
    - ``draw(rng, rows)``: arguments of pairwise distinct sizes for a batch of so many rows.
    - ``observe``: how the function is called and its outputs named, in the order of backpropagation.
    - ``terms(draw) -> {output: {term: array}}``: what an output is a sum of, for least squares on the terms.  A term
      that is a sum itself may be given as ``{part: array}``.  Axes that the output lacks are summed over.
    - ``factors(draw) -> {name: array or number}``: what may have been forgotten, or put twice, by that name.
    - ``readings``: ``{"½ log_std for log_std": draw -> draw}``: what may be taken for what, beside one argument for
      another, which is tried anyway.
    - ``trace``: what happens on the way, observed as the outputs are, where a learner's function calls functions that
      it is given.  It is told when an output is wrong, and never wrong by itself.
    - ``differences``: of which argument a gradient is, so that finite differences can be shown beside it: {"dmean":
      "mean"}.
    - ``given``: lines that stand in the stub before what is to be written.
    - ``corners``: ``{"With alpha below 1": draw -> draw}``: what may come as well, and no draw has.  Only a function
      that is right at every draw is looked at there.
    """

    name: str
    title: str
    statement: str
    labels: tuple[str, ...]
    solution: Callable[..., Any]
    draw: Callable[[np.random.Generator, int], Draw]
    observe: Observe
    misconceptions: tuple[Misconception, ...] = ()
    terms: Callable[[Draw], Mapping[str, Mapping[str, Any]]] | None = None
    factors: Callable[[Draw], Mapping[str, Any]] | None = None
    readings: Mapping[str, Callable[[Draw], Draw]] = field(default_factory=dict)
    trace: Observe | None = None
    differences: Mapping[str, str] = field(default_factory=dict)
    given: str = ""
    corners: Mapping[str, Callable[[Draw], Draw]] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """``(mean, log_std)``: the arguments' names, without types."""
        return f"({', '.join(inspect.signature(self.solution).parameters)})"

    @property
    def stub(self) -> str:
        """What a learner's file starts as: the statement, the signature, and nothing that works."""
        page = self.labels[0].split(".")[0]
        head = textwrap.dedent(self.statement).strip()
        body = textwrap.indent(textwrap.dedent(self.given).strip() + "\n", "    ") if self.given else ""
        return (
            f'"""{self.title}   ({self.labels[0]})\n\n{head}\n\nDerivation: derivations/{page}.md\n"""\n\n'
            f"import numpy as np\n\n\ndef {self.name}{self.signature}:\n{body}"
            f'    raise NotImplementedError("write {self.name} here")\n'
        )

    @property
    def solution_source(self) -> str:
        """The solution as text."""
        return inspect.getsource(self.solution)
