"""Which term of an output is wrong, or which factor: what is left to say where no known misconception fits.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.exercises.comparing import numeric
from numvae.exercises.contract import Draw, Exercise
from numvae.exercises.factors import Monomial, fitted, fitting, monomials, said
from numvae.exercises.findings import Kind

__all__ = ["Explanation", "Sample", "explain", "opened", "quantities", "summed"]

FIT = 1e-9
ROUGH = 1e-6
WHOLE = {
    "0": "{} is zero everywhere.",
    "-1": "{} has the wrong sign, everywhere.",
    "1/B": "{} is divided by B, the number of rows: a mean over them where the sum is right.",
    "B": "{} is B times too large, B being the number of rows: a sum over them where the mean is right.",
}


@dataclass(frozen=True)
class Sample:
    """One output at one draw: the learner's, the right one, and all outputs, the right ones and the learner's."""

    draw: Draw
    found: Any
    expected: Any
    outputs: Mapping[str, Any]
    allowance: Any = 0.0
    all_found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """What explains a wrong output at every draw: ``lines`` for people, ``changes`` in the words of ``truth``."""

    kind: Kind
    lines: tuple[str, ...]
    changes: tuple[str, ...]


def explain(exercise: Exercise, link: str, samples: Sequence[Sample], closely: bool = False) -> Explanation | None:
    """The plainest description of a wrong output by its terms and factors; None where none fits.

    ``closely``: terms that are sums themselves are taken apart.
    """
    problem = _Problem(exercise, link, samples, closely)
    attempts = (
        problem.whole_times_number,
        problem.some_terms_times_numbers,
        problem.whole_times_factor,
        problem.terms_times_sizes,
        problem.one_term_times_factor,
        problem.one_term_times_factor_others_times_numbers,
        problem.something_added,
        problem.all_terms_times_factor,
        problem.something_replaced,
    )
    return next((found for attempt in attempts if (found := attempt()) is not None), None)


def opened(terms: Mapping[str, Mapping[str, Any]], closely: bool = False) -> dict[str, dict[str, Any]]:
    """The terms of every output, those that are sums added up or, closely, taken apart.

    >>> opened({"kl": {"-log q": {"a": 1.0, "b": 2.0}}})
    {'kl': {'-log q': 3.0}}
    >>> opened({"kl": {"-log q": {"a": 1.0, "b": 2.0}}}, closely=True)
    {'kl': {'a': 1.0, 'b': 2.0}}
    """

    def parts(name: str, term: Any) -> dict[str, Any]:
        if not isinstance(term, Mapping):
            return {name: term}
        return dict(term) if closely else {name: sum(term.values())}

    return {
        output: {n: t for name, term in of.items() for n, t in parts(name, term).items()}
        for output, of in terms.items()
    }


def summed(term: Any, shape: tuple[int, ...]) -> Array | None:
    """A term in the shape of its output; one with more axes is summed over those, the last ones first.

    >>> summed(np.ones((3, 5)), (3,))
    array([5., 5., 5.])
    """
    array = np.asarray(term, dtype=np.float64)
    extra = array.ndim - len(shape)
    if extra <= 0:
        widened = fitted(array, shape)
        return None if widened is None else np.array(np.broadcast_to(widened, shape))
    if array.shape[: len(shape)] == shape:
        return np.asarray(array.sum(axis=tuple(range(len(shape), array.ndim))))
    return np.asarray(array.sum(axis=tuple(range(extra)))) if array.shape[extra:] == shape else None


@dataclass(frozen=True)
class _Products:
    """Columns, one for each pair of powers of factors; the last of the pairs' right halves may stand for 1."""

    single: Sequence[Monomial]
    left: Any
    right: Any
    columns: Array

    def monomial(self, k: int) -> Monomial:
        """The product that the k-th column is of."""
        first, second = int(self.left[k]), int(self.right[k])
        return self.single[first] * self.single[second] if second < len(self.single) else self.single[first]


class _Problem:
    """One wrong output, and the ways to describe it.  All draws stand one behind the other in flat vectors."""

    def __init__(self, exercise: Exercise, link: str, samples: Sequence[Sample], closely: bool = False) -> None:
        self.exercise, self.link, self.samples = exercise, link, samples
        self.shapes = [np.shape(s.expected) for s in samples]
        self.yours, self.right = _flat([s.found for s in samples]), _flat([s.expected for s in samples])
        self.allowance = _flat([np.broadcast_to(s.allowance, np.shape(s.expected)) for s in samples])
        self.draw_of = np.repeat(np.arange(len(samples)), [int(np.prod(shape)) for shape in self.shapes])
        self.all_terms = [opened(exercise.terms(s.draw), closely) if exercise.terms else {} for s in samples]
        self.factors = [quantities(exercise, link, s) for s in samples]
        self._known_products: dict[Any, _Products] = {}

    @cached_property
    def terms(self) -> dict[str, Array]:
        """This output's terms, as columns."""
        return self._columns(self.link)

    @cached_property
    def varying(self) -> list[str]:
        """The factors that are not the same number at every draw; those cannot be told from a plain coefficient."""
        names = [name for name in self.factors[0] if all(name in f for f in self.factors)]
        return [name for name in names if len({np.asarray(f[name]).tobytes() for f in self.factors}) > 1]

    @cached_property
    def named(self) -> list[str]:
        """Those of them that the exercise itself names."""
        known = {"B", *(self.exercise.factors(self.samples[0].draw) if self.exercise.factors else ())}
        return [name for name in self.varying if name in known]

    @cached_property
    def spread(self) -> dict[str, Array]:
        """The varying factors that broadcast to the output, as columns."""
        columns = {}
        for name in self.varying:
            parts = [f[name] for f in self.factors]
            column = self._column(parts) if self._flat_enough(parts) else None
            if column is not None:
                columns[name] = column
        return columns

    # The ways, the plainest first.

    def whole_times_number(self) -> Explanation | None:
        """yours = c · right."""
        fit = self._fit([self.right], self.yours)
        return None if fit is None else self._whole(Monomial(), float(fit[0]))

    def some_terms_times_numbers(self) -> Explanation | None:
        """yours - right = Σ (c - 1) · term, over as few terms as will do   (diagnosis.3)."""
        for count in range(1, len(self.terms) + 1):
            for chosen in combinations(self.terms, count):
                fit = self._fit([self.terms[name] for name in chosen], self.yours - self.right)
                if fit is not None:
                    return self._by_terms({name: said(1 + float(c)) for name, c in zip(chosen, fit, strict=True)})
        return None

    def whole_times_factor(self) -> Explanation | None:
        """yours = c · ∏ f^p · right   (diagnosis.5)."""
        for monomial in self._fitting(self.yours, self.right):
            column = self._column([s.expected for s in self.samples], monomial)
            fit = None if column is None else self._fit([column], self.yours)
            if fit is not None:
                return self._whole(monomial, float(fit[0]))
        return None

    def terms_times_sizes(self) -> Explanation | None:
        """A coefficient for each term and draw, which then is a number times powers of sizes   (diagnosis.4)."""
        if not self.terms:
            return None
        matrix, per_draw = np.stack(list(self.terms.values()), axis=1), []
        for k in range(len(self.samples)):
            here = self.draw_of == k
            fit = self._fit(list(matrix[here].T), self.yours[here], here)  # (diagnosis.4)
            if fit is None:
                return None
            per_draw.append(fit)
        sizes = [name for name in self.varying if all(np.ndim(f[name]) == 0 for f in self.factors)]
        named = {
            name: _by_sizes(coefficients, sizes, self.factors)
            for name, coefficients in zip(self.terms, np.transpose(per_draw), strict=True)
        }
        return self._by_terms({name: text for name, text in named.items() if text != "1"})

    def one_term_times_factor(self) -> Explanation | None:
        """One term times c · ∏ f^p, all the others right   (diagnosis.5)."""
        for name, term in self.terms.items():
            rest = self.yours - self.right + term
            for monomial in self._candidates([name], rest):
                fit = self._fit([self._term(name, monomial)], rest)
                if fit is not None and abs(fit[0]) > FIT:
                    return self._by_terms({name: monomial.times(float(fit[0]))}, monomial)
        return None

    def one_term_times_factor_others_times_numbers(self) -> Explanation | None:
        """One term times c · ∏ f^p, the other terms times numbers   (diagnosis.5)."""
        for name in self.terms if len(self.terms) > 1 else ():
            others = {n: t for n, t in self.terms.items() if n != name}
            for monomial in self._candidates([name], self.yours, list(others.values())):
                fit = self._fit([self._term(name, monomial), *others.values()], self.yours)
                if fit is not None and abs(fit[0]) > FIT:
                    numbers = {n: said(float(c)) for n, c in zip(others, fit[1:], strict=True)}
                    changed = {name: monomial.times(float(fit[0]))} | {n: c for n, c in numbers.items() if c != "1"}
                    return self._by_terms(changed, monomial)
        return None

    def all_terms_times_factor(self) -> Explanation | None:
        """Every term times one c · ∏ f^p before they are summed over rows or features   (diagnosis.5)."""
        if not self.terms or self._flat_enough([next(iter(terms[self.link].values())) for terms in self.all_terms]):
            return None
        for monomial in self._candidates(list(self.terms), self.yours):
            columns = [self._term(name, monomial) for name in self.terms]
            fit = self._fit([np.sum([c for c in columns if c is not None], axis=0)], self.yours)
            if fit is not None:
                return self._whole(monomial, float(fit[0]))
        return None

    def something_added(self) -> Explanation | None:
        """yours = right + c · something: a term of another output, or a product of factors."""
        extra = self.yours - self.right
        for output in self.all_terms[0]:
            for name, column in self._columns(output).items() if output != self.link else ():
                fit = self._fit([column], extra)
                if fit is not None:
                    amount = said(float(fit[0]))
                    line = f"{self.link} has a term too much: “{name}”, which belongs to {output}, times {amount}."
                    return Explanation(Kind.TERMS, (line,), (f"{name} × {amount}",))
        product = self._product(extra)
        if product is None:
            return None
        return Explanation(Kind.TERMS, (f"{self.link} has a term too much: {product}.",), (f"{product} added",))

    def something_replaced(self) -> Explanation | None:
        """A product of factors stands where a term should, or where all of the output should."""
        for name, term in self.terms.items() if len(self.terms) > 1 else ():
            product = self._product(self.yours - self.right + term)
            if product is not None:
                line = f"In {self.link}, {product} stands where “{name}” should be; the rest is right."
                return Explanation(Kind.TERMS, (line,), (f"{product} for {name}",))
        product = self._product(self.yours)
        if product is None:
            return None
        names = (self.link, *self.terms) if len(self.terms) == 1 else (self.link,)
        line = f"{product} stands where {self.link} should be."
        return Explanation(Kind.TERMS, (line,), tuple(f"{product} for {name}" for name in names))

    # What they are made of.

    def _fitting(self, yours: Array, right: Array) -> Iterator[Monomial]:
        """The products of factors that may lead from one column to the other, those of named ones first."""
        with np.errstate(all="ignore"):
            ratio = np.where(np.abs(yours) > 1e-6 * (np.abs(self.yours) + np.abs(self.right)), yours / right, 0.0)
        for names in ([name for name in self.named if name in self.spread], list(self.spread)):
            yield from fitting(names, self.spread, ratio)

    def _candidates(self, names: Sequence[str], target: Array, others: Sequence[Array] = ()) -> Iterator[Monomial]:
        """The products of factors with which the sum of these terms is the target, but for a number and the others."""
        basis, _ = np.linalg.qr(np.stack([*others, np.zeros_like(target)], axis=1))
        rest = target - basis @ (basis.T @ target)
        if np.max(np.abs(rest), initial=0.0) <= ROUGH * np.max(np.abs(target), initial=0.0):
            return
        for factors, highest in ((self.named, 2), (self.varying, 1)):
            products = self._products(tuple(names), tuple(factors), highest)
            columns = products.columns - products.columns @ basis @ basis.T
            with np.errstate(all="ignore"):
                scale = columns @ rest / np.sum(columns**2, axis=1)
                remains = np.max(np.abs(rest - scale[:, None] * columns), axis=1, initial=0.0)
            for k in np.flatnonzero(remains <= ROUGH * np.max(np.abs(rest))):
                yield products.monomial(int(k))

    def _products(self, names: tuple[str, ...], factors: tuple[str, ...], highest: int) -> _Products:
        """The sum of these terms times every product of at most two factors, at all draws."""
        key = (names, factors, highest)
        if key not in self._known_products:
            fit = [f for f in factors if all(f in self._fitting_into(name, [f]) for name in names)]
            powers = sorted((p for k in range(1, highest + 1) for p in (k, -k)), key=abs)
            single = [Monomial(((f, float(p)),)) for f in fit for p in powers]
            left, right = np.triu_indices(len(single) + 1, 1)  # the last stands for 1
            same_factor = (right < len(single)) & (left // len(powers) == right // len(powers))
            left, right = left[~same_factor], right[~same_factor]
            size = np.abs([*(m.powers[0][1] for m in single), 0.0])
            plainest = np.argsort(size[left] + size[right], kind="stable")
            left, right = left[plainest], right[plainest]
            blocks = [
                np.sum([self._times_all(d, name, single)[:, left, right] for name in names], axis=0).T
                for d in range(len(self.samples))
            ]
            columns = np.concatenate(blocks, axis=1)
            finite = np.isfinite(columns).all(axis=1)
            self._known_products[key] = _Products(single, left[finite], right[finite], columns[finite])
        return self._known_products[key]

    def _times_all(self, d: int, name: str, single: Sequence[Monomial]) -> Array:
        """A term times any two of these, or one, or none, at one draw: (entries, these and 1, these and 1)."""
        shape = self.shapes[d]
        term = np.asarray(self.all_terms[d][self.link][name], dtype=np.float64)
        term = term if term.ndim > len(shape) else np.asarray(summed(term, shape))
        scales = [m.at(self.factors[d], term.shape) for m in (*single, Monomial())]
        laid = np.stack([_laid_out(np.ones(term.shape) if s is None else s, shape) for s in scales], axis=1)
        with np.errstate(all="ignore"):
            return np.asarray((_laid_out(term, shape)[:, None] * laid) @ laid.swapaxes(1, 2))

    def _fitting_into(self, name: str, factors: Sequence[str]) -> list[str]:
        """Those factors that can multiply a term before it is summed."""
        shape = np.shape(self.all_terms[0][self.link][name])
        return [factor for factor in factors if fitted(self.factors[0][factor], shape) is not None]

    def _flat_enough(self, parts: Sequence[Any]) -> bool:
        """Whether these have no axes more than the output, which would be summed."""
        return all(np.ndim(part) <= len(shape) for part, shape in zip(parts, self.shapes, strict=True))

    def _term(self, name: str, monomial: Monomial) -> Array | None:
        """A term times a product, at all draws."""
        return self._column([terms[self.link][name] for terms in self.all_terms], monomial)

    def _fit(self, columns: Sequence[Array | None], target: Array, here: Any = slice(None)) -> Array | None:
        """The c of min ‖A c - y‖, if all that remains is rounding; there have to be more entries than columns."""
        known = [column for column in columns if column is not None]
        if len(known) < len(columns):
            return None
        matrix = np.stack(known, axis=1)
        if not np.isfinite(matrix).all() or len(target) < matrix.shape[1] + 2:
            return None
        coefficients, _, rank, _ = np.linalg.lstsq(matrix, target, rcond=None)  # (diagnosis.3)
        if rank < matrix.shape[1]:
            return None
        parts = np.abs(matrix) @ np.abs(coefficients) + np.abs(self.yours[here]) + np.abs(self.right[here])
        remains = np.abs(matrix @ coefficients - target)
        return coefficients if np.all(remains <= FIT * parts + self.allowance[here]) else None

    def _columns(self, output: str) -> dict[str, Array]:
        names = self.all_terms[0].get(output, {})
        columns = {name: self._column([terms[output][name] for terms in self.all_terms]) for name in names}
        return {name: column for name, column in columns.items() if column is not None}

    def _column(self, parts: Sequence[Any], monomial: Monomial | None = None) -> Array | None:
        """A term at every draw, times a product of factors there, before it is summed into the output's shape."""
        column = []
        for part, shape, factors in zip(parts, self.shapes, self.factors, strict=True):
            array = np.asarray(part, dtype=np.float64)
            whole = array if array.ndim > len(shape) else summed(array, shape)
            scale = None if whole is None else (monomial or Monomial()).at(factors, whole.shape)
            with np.errstate(all="ignore"):
                entry = None if whole is None or scale is None else summed(whole * scale, shape)
            if entry is None:
                return None
            column.append(entry)
        return _flat(column)

    # How it is said.

    def _whole(self, monomial: Monomial, number: float) -> Explanation:
        product = monomial.times(number)
        terms = tuple(f"{name} × {product}" for name in self.terms)
        kind = Kind.FACTOR if monomial.powers or len(terms) != 1 else Kind.TERMS
        right = self._composed([s.expected for s in self.samples], monomial)
        story = monomial.story(number, self.counts, right and right[0])
        line = WHOLE.get(product, "{} " + story + ", everywhere.").format(self.link)
        return Explanation(kind, (line + _compared(right, monomial, number),), (product, *terms))

    def _by_terms(self, changed: Mapping[str, str], monomial: Monomial | None = None) -> Explanation:
        """``monomial``: what the first of the terms that changed is off by, but for a number."""
        stories, compared = {text: f"is off by the factor {text}" for text in changed.values()}, ""
        if monomial is not None:
            name, text = next(iter(changed.items()))
            right = self._composed([terms[self.link][name] for terms in self.all_terms], monomial)
            compared = _compared(right, monomial, 1.0)
            if monomial.times(1.0) == text:
                stories[text] = monomial.story(1.0, self.counts, right and right[0])
        groups: dict[str, list[str]] = {}
        for name, text in changed.items():
            groups.setdefault(text, []).append(name)
        line = " ".join(_term_line(self.link, n, text, stories[text], len(self.terms)) for text, n in groups.items())
        untouched = len(self.terms) - len(changed)
        line += compared + {0: "", 1: " The other term is right."}.get(untouched, " The other terms are right.")
        whole = ", ".join(f"{name} × {changed.get(name, '1')}" for name in self.terms)
        lines = [line, f"Your {self.link}: {whole}."] if len(self.terms) > 1 else [line]
        return Explanation(Kind.TERMS, tuple(lines), tuple(f"{name} × {text}" for name, text in changed.items()))

    @cached_property
    def counts(self) -> list[str]:
        """The factors that are whole numbers: sizes."""
        return [n for n in self.varying if all(np.ndim(f[n]) == 0 and float(f[n]).is_integer() for f in self.factors)]

    def _composed(self, parts: Sequence[Any], monomial: Monomial) -> tuple[Monomial, float] | None:
        """What is right as a product and a number, where it is one."""
        column = self._column(parts) if self._flat_enough(parts) and monomial.powers else None
        return None if column is None else self._as_product(column)

    def _product(self, column: Array) -> str | None:
        found = self._as_product(column)
        return None if found is None else found[0].times(found[1])

    def _as_product(self, column: Array) -> tuple[Monomial, float] | None:
        """What a column is as a product of at most three factors, or of none, and the number before it."""
        for candidate in (Monomial(), *fitting(list(self.spread), self.spread, column, most=3)):
            scale = self._column([np.ones(shape) for shape in self.shapes], candidate)
            fit = self._fit([scale], column)
            if fit is not None:
                return candidate, float(fit[0])
        return None


def quantities(exercise: Exercise, link: str, sample: Sample) -> dict[str, Any]:
    """What an author names, and what is there anyway: B, the arguments, the value and the gradient that comes in.

    Of what has one axis more than the output, samples or features, the mean over it is there as well.
    """
    value = next(iter(sample.outputs))
    there = {"B": float(sample.draw.rows), f"d{value}": sample.draw.cotangent, **sample.draw.arguments}
    there |= {value: sample.outputs[value]}
    of_author = exercise.factors(sample.draw) if exercise.factors else {}
    named = {name: value for name, value in of_author.items() if name != link}
    numbers = {n: v for n, v in there.items() if numeric(v) and np.asarray(v).dtype.kind == "f"}
    incoming = {n: v for n, v in numbers.items() if n == f"d{value}"}
    known = incoming | named | {n: v for n, v in numbers.items() if n not in named and n != link}
    shape = np.shape(sample.expected)
    wider = {n: np.asarray(v) for n, v in known.items() if np.ndim(v) == len(shape) + 1}
    first = {f"mean {n}": v.mean(axis=0) for n, v in wider.items() if v.shape[1:] == shape}
    last = {f"mean {n}": v.mean(axis=-1) for n, v in wider.items() if v.shape[:-1] == shape}
    return known | last | first


def _laid_out(array: Array, shape: tuple[int, ...]) -> Array:
    """An array as (entries of the output, what is summed over): which axes those are is as in ``summed``."""
    entries = int(np.prod(shape))
    if array.shape[: len(shape)] == shape:
        return array.reshape(entries, -1)
    return array.reshape(-1, entries).T


def _flat(parts: Sequence[Any]) -> Array:
    return np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts])


def _by_sizes(coefficients: Array, names: Sequence[str], factors: Sequence[Mapping[str, Any]]) -> str:
    """One coefficient per draw as a number times powers of sizes; as the numbers they are where it is no such thing."""
    for monomial in (Monomial(), *monomials(names)):
        ratios = np.array([c / float(monomial.at(f, ()) or 1.0) for c, f in zip(coefficients, factors, strict=True)])
        if np.ptp(ratios) <= 1e-7 * max(float(np.max(np.abs(ratios))), 0.0 if monomial.powers else 1e-2):
            return monomial.times(float(np.mean(ratios)))
    return f"{' or '.join(said(float(c)) for c in coefficients[:2])} …"


def _compared(right: tuple[Monomial, float] | None, monomial: Monomial, number: float) -> str:
    """``Yours is dz·std²·noise, right is dz·std·noise.``; empty where the right one is no such product."""
    if right is None:
        return ""
    product, unit = right
    return f" Yours is {(product * monomial).times(number * unit)}, right is {product.times(unit)}."


def _term_line(link: str, names: Sequence[str], text: str, story: str, count: int) -> str:
    """What happened to one term, or to several of the same fate."""
    several = len(names) > 1
    quoted = ", ".join(f"“{name}”" for name in names[:-1]) + " and " * several + f"“{names[-1]}”"
    told = {
        "0": "are missing" if several else "is missing",
        "-1": "have the wrong sign" if several else "has the wrong sign",
    }.get(text, f"are off by the factor {text}" if several else story)
    return f"{link} {told}." if count == 1 else f"In {link}, the term{'s' if several else ''} {quoted} {told}."
