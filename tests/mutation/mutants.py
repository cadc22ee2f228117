"""Every wrong version of a gradient line that one slip makes: a sign, a factor, a term, an order, a transpose, a path.

A gradient line is a statement of a pullback (a function or lambda that takes a gradient, or is named after what it
does), one that assigns to a gradient (``dx``), or one that carries the label of an equation: the value lines.
A mutant is a piece of source with other text in its place, so that what was tried can be read and tried again.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

GRADIENT = re.compile(r"d|d[A-Za-z]\w*")
NO_GRADIENTS = re.compile(
    r"data\w*|decoder|decomposition\w*|default|degrees|delta|denominator|density|depth|deviation|diagonal|difference\w*"
    r"|digamma|dimensions?|direct|directions?|discrete|distance|divergence\w*|dof\w*|doubled|down|draw\w*|drift|dtype"
)
"""What begins with a d for other reasons."""
LABEL = re.compile(r"#.*\([a-z_]+\.\d+[a-z]?\)")
JOINING = ("concatenate", "stack", "_beside")
"""Functions of blocks, each of them a gradient of its own."""
FIRST_ALONE = ("sum_to_shape", "reshape", "astype", "sum", "mean", "broadcast_to", "swapaxes", "split", "sum_of")
"""Functions whose further arguments are shapes, axes and types."""
NO_NUMBERS = ("zeros", "zeros_like", "empty", "empty_like", "range", "len", "isinstance", "getattr", "halves", "thirds")
"""Functions whose value is zero, or whose arguments are mutated where they are computed."""


@dataclass(frozen=True)
class Mutant:
    """One slip: which bytes of ``file`` are replaced by what, and how it is told from others when lines move.

    ``function`` is the qualified name as Python gives it, ``line`` the statement in normal form.
    """

    file: str
    function: str
    line: str
    mutation: str
    lineno: int
    start: int
    end: int
    text: str
    labels: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for the same slip in the same line, wherever the line stands."""
        return self.file, self.function, self.line, self.mutation

    @property
    def kind(self) -> str:
        """sign, factor 2, dropped term, swapped, transposed, or dropped path."""
        return self.mutation.partition(":")[0]

    def applied(self, source: str) -> str:
        """The mutated source."""
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.end :]).decode()

    def __str__(self) -> str:
        return f"{self.file}:{self.lineno} {self.function.replace('.<locals>', '')}: {self.line}   [{self.mutation}]"


def mutants_of(source: str, file: str) -> list[Mutant]:
    """All mutants of one file, in the order of its lines."""
    found: list[Mutant] = []
    seen: Counter[tuple[str, str, str, str]] = Counter()
    for mutant in _Reader(source, file).of_body(ast.parse(source).body, (), gradient=False):
        seen[mutant.key] += 1
        again = seen[mutant.key]
        found.append(replace(mutant, mutation=f"{mutant.mutation}  #{again}") if again > 1 else mutant)
    return found


class _Reader:
    """Walks one file: functions, their statements, the expressions in them that are gradients or values."""

    def __init__(self, source: str, file: str) -> None:
        self.file = file
        self.raw = source.encode()
        self.lines = source.splitlines()
        self.rules: set[str] = set()
        self.labels: tuple[str, ...] = ()
        self.takes: dict[str, list[str]] = {}
        self.starts = [0]
        for line in self.raw.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    # ---- functions and statements

    def of_body(self, body: list[ast.stmt], names: tuple[str, ...], gradient: bool) -> Iterator[Mutant]:
        for statement in body:
            if isinstance(statement, ast.ClassDef):
                yield from self.of_body(statement.body, (*names, statement.name), False)
            elif isinstance(statement, ast.FunctionDef):
                inner = (*names, *(("<locals>",) if names and _is_function(names) else ()), statement.name)
                if "()" not in names:
                    whole = "\n".join(self.lines[statement.lineno - 1 : statement.end_lineno])
                    self.labels = tuple(re.findall(r"\(([a-z_]+\.\d+)[a-z]?\)", whole))
                takes = [argument.arg for argument in (*statement.args.args, *statement.args.kwonlyargs)]
                function = ".".join(name for name in inner if name != "()")
                self.takes[function] = takes
                if statement.returns and ast.unparse(statement.returns).startswith("tuple"):
                    self.rules.add(function)
                named = statement.name.endswith("pullback") or "slope" in statement.name
                functional = any(map(is_gradient, takes)) and not statement.name.startswith("__")
                yield from self.of_body(statement.body, (*inner, "()"), named or functional)
            elif names and names[-1] == "()":
                for field in ("body", "orelse", "finalbody"):
                    yield from self.of_body(getattr(statement, field, []), names, gradient)
                if not hasattr(statement, "body"):
                    yield from self.of_statement(statement, names, gradient)

    def of_statement(self, statement: ast.stmt, names: tuple[str, ...], gradient: bool) -> Iterator[Mutant]:
        function = ".".join(name for name in names if name != "()")
        own = self.lines[statement.lineno - 1 : statement.end_lineno]
        labelled = any(LABEL.search(line) for line in own)
        mutated = Mutant(self.file, function, ast.unparse(statement), "", statement.lineno, 0, 0, "", self.labels)
        targets = _targets(statement)
        if gradient or labelled or any(map(is_gradient, targets)):
            yield from self.of_value(statement, mutated)
        for node in ast.walk(statement):
            if isinstance(node, ast.Lambda) and any(is_gradient(argument.arg) for argument in node.args.args):
                inner = replace(mutated, function=f"{function}.<locals>.<lambda>")
                self.takes[inner.function] = [argument.arg for argument in node.args.args]
                for site, listed in _sites(node.body, listed=isinstance(node.body, ast.Tuple)):
                    yield from self.of_site(site, inner, listed)

    def of_value(self, statement: ast.stmt, mutated: Mutant) -> Iterator[Mutant]:
        value = getattr(statement, "value", None)
        if value is None or (isinstance(statement, ast.Expr) and isinstance(value, ast.Constant)):
            return
        if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add | ast.Sub):
            yield self.made(mutated, "dropped term", value, f"(0 * ({self.source(value)}))")
        unpacked = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple)
        if isinstance(value, ast.Call) and (unpacked or isinstance(statement, ast.Expr)):
            if _called(value).endswith("back"):
                yield from self.of_cotangents(value, mutated)
            else:
                yield from self.inside(value, mutated, through_products=False)
            return
        if isinstance(statement, ast.Return) and isinstance(value, ast.Call) and mutated.function in self.rules:
            return  # another rule's value and pullback, handed on
        returned = isinstance(statement, ast.Return) and isinstance(value, ast.Tuple)
        for site, listed in _sites(value, listed=returned):
            yield from self.of_site(site, mutated, listed)

    def of_cotangents(self, call: ast.Call, mutated: Mutant) -> Iterator[Mutant]:
        """What a pullback is given; memory for what it returns (``dW, db, _ = pullback(dy, dW, db)``) is none of it."""
        for argument in call.args:
            if isinstance(argument, ast.Starred):
                if isinstance(argument.value, ast.Call) and _called(argument.value).endswith("back"):
                    yield from self.of_cotangents(argument.value, mutated)
            elif f"{ast.unparse(argument)}, " not in mutated.line.partition(" = ")[0]:
                for site, _ in _sites(argument):
                    yield from self.of_site(site, mutated, listed=False)

    # ---- expressions

    def of_site(self, site: ast.expr, mutated: Mutant, listed: bool) -> Iterator[Mutant]:
        """A whole gradient or value: its sign, its size, whether it is there at all, and what it is made of."""
        if isinstance(site, ast.Constant | ast.Lambda | ast.Compare | ast.BoolOp | ast.JoinedStr):
            return
        if isinstance(site, ast.Call) and _called(site) in NO_NUMBERS:
            return
        if isinstance(site, ast.Call) and _called(site).endswith("back"):
            yield from self.of_cotangents(site, mutated)
            return
        text = self.source(site)
        given = self.takes.get(mutated.function, ())
        bare = isinstance(site, ast.Name) and listed and site.id not in given  # mutated where it is assigned
        if not bare:
            negative = isinstance(site, ast.UnaryOp) and isinstance(site.op, ast.USub)
            opposite = self.source(site.operand) if negative else f"-({text})"
            yield self.made(mutated, "sign", site, f"({opposite})")
            yield self.made(mutated, "factor 2", site, f"(2 * ({text}))")
        if listed and mutated.function.endswith(("pullback", "<lambda>")):
            yield self.made(mutated, "dropped path", site, f"(0 * ({text}))")
        yield from self.inside(site, mutated, through_products=True)

    def inside(self, node: ast.AST, mutated: Mutant, through_products: bool) -> Iterator[Mutant]:
        """Slips in the parts of an expression; ``through_products``: nothing but products leads here from the root."""
        match node:
            case ast.BinOp(left, operator, right):
                yield from self.of_operator(node, operator, left, right, mutated, through_products)
                product = through_products and isinstance(operator, ast.Mult | ast.Div | ast.MatMult)
                yield from self.inside(left, mutated, product)
                yield from self.inside(right, mutated, product)
            case ast.UnaryOp(ast.USub(), operand):
                if not through_products and not isinstance(operand, ast.Constant):
                    yield self.made(mutated, "sign", node, f"({self.source(operand)})")
                yield from self.inside(operand, mutated, through_products)
            case ast.Call(_, arguments, keywords):
                yield from self.of_call(node, mutated)
                called = _called(node)
                if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
                    yield from self.inside(node.func.value, mutated, False)
                if called not in NO_NUMBERS:
                    first = isinstance(node.func, ast.Name) or _is_module(getattr(node.func, "value", None))
                    kept = arguments[:first] if called in FIRST_ALONE else arguments
                    for argument in (*kept, *(k.value for k in keywords if is_gradient(k.arg or ""))):
                        if not isinstance(argument, ast.Lambda):
                            yield from self.inside(argument, mutated, called in ("sum_to_shape", "sum"))
            case ast.Attribute(value, "T"):
                yield self.made(mutated, "transposed", node, f"({self.source(value)})")
            case ast.Subscript(value, _) | ast.Attribute(value, _) | ast.Starred(value):
                yield from self.inside(value, mutated, False)
            case ast.Tuple(elements) | ast.List(elements):
                for element in elements:
                    yield from self.inside(element, mutated, False)
            case ast.GeneratorExp(element) | ast.ListComp(element):
                yield from self.inside(element, mutated, False)
            case ast.IfExp(_, body, other):
                yield from self.inside(body, mutated, False)
                yield from self.inside(other, mutated, False)

    def of_operator(
        self,
        node: ast.expr,
        operator: ast.operator,
        left: ast.expr,
        right: ast.expr,
        mutated: Mutant,
        through_products: bool,
    ) -> Iterator[Mutant]:
        a, b = self.source(left), self.source(right)
        match operator:
            case ast.Add():
                yield self.made(mutated, "dropped term", node, f"({a}, {b})[0]", left=a)
                yield self.made(mutated, "dropped term", node, f"({a}, {b})[1]", left=b)
            case ast.Sub():
                yield self.made(mutated, "dropped term", node, f"({a}, {b})[0]", left=a)
                yield self.made(mutated, "dropped term", node, f"(-({a}, {b})[1])", left=f"-({b})")
                if not through_products:  # where it would be the sign of the whole
                    yield self.made(mutated, "swapped", node, f"(({b}) - ({a}))")
            case ast.Div():
                yield self.made(mutated, "swapped", node, f"(({b}) / ({a}))")
            case ast.MatMult():
                yield self.made(mutated, "swapped", node, f"(({b}) @ ({a}))")
                yield from self.transposed(left, mutated)
                yield from self.transposed(right, mutated)

    def of_call(self, node: ast.Call, mutated: Mutant) -> Iterator[Mutant]:
        called, arguments = _called(node), node.args
        if called in ("subtract", "divide", "matmul") and len(arguments) > 1:
            first, second = arguments[:2]
            both = f"{self.source(second)}, {self.source(first)}"
            yield replace(self.made(mutated, "swapped", node, both), start=self.at(first)[0], end=self.at(second)[1])
        if called == "matmul":
            for argument in arguments[:2]:
                yield from self.transposed(argument, mutated)
        if called == "einsum":
            yield self.made(mutated, "transposed", arguments[1], f"({self.source(arguments[1])}).swapaxes(-1, -2)")
        if called == "swapaxes" and _is_module(getattr(node.func, "value", None)):
            yield self.made(mutated, "transposed", node, f"({self.source(arguments[0])})")
        if called == "_outer":
            swapped = f"{self.source(arguments[1])}, {self.source(arguments[0])}"
            yield replace(
                self.made(mutated, "transposed", node, swapped),
                start=self.at(arguments[0])[0],
                end=self.at(arguments[1])[1],
            )

    def transposed(self, operand: ast.expr, mutated: Mutant) -> Iterator[Mutant]:
        if not (isinstance(operand, ast.Attribute) and operand.attr == "T"):  # which is dropped as it is met
            yield self.made(mutated, "transposed", operand, f"({self.source(operand)}).swapaxes(-1, -2)")

    # ---- text

    def at(self, node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def source(self, node: ast.expr) -> str:
        start, end = self.at(node)
        return self.raw[start:end].decode()

    def made(self, mutated: Mutant, kind: str, node: ast.expr, text: str, left: str = "") -> Mutant:
        """``text`` in the place of the node; ``left``: what is left of it, where that has to be told."""
        start, end = self.at(node)
        remains = f" → {ast.unparse(ast.parse(left.strip(), mode='eval'))}" if left else ""
        return replace(mutated, mutation=f"{kind}: {ast.unparse(node)}{remains}", start=start, end=end, text=text)


def is_gradient(name: str) -> bool:
    """Whether a name is that of a gradient: d and the name of what it is the gradient of."""
    return bool(GRADIENT.fullmatch(name)) and not NO_GRADIENTS.fullmatch(name)


def _sites(value: ast.expr, listed: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """The gradients or values in what is assigned or returned, and whether each is one of several."""
    match value:
        case ast.Tuple(elements) | ast.List(elements):
            for element in elements:
                yield from _sites(element, True)
        case ast.Starred(inner):
            yield from _sites(inner, True)
        case ast.GeneratorExp(element) | ast.ListComp(element):
            yield from _sites(element, listed)
        case ast.IfExp(_, body, other):
            yield from _sites(body, listed)
            yield from _sites(other, listed)
        case ast.Call(_, [ast.List(elements) | ast.Tuple(elements), *_]) if _called(value) in JOINING:
            for element in elements:
                yield from _sites(element, True)
        case ast.Call(_, arguments) if _called(value) in JOINING:
            for element in arguments:
                yield from _sites(element, True)
        case _:
            yield value, listed


def _targets(statement: ast.stmt) -> list[str]:
    """The names, attributes and arrays that a statement assigns to."""
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    flat = [element for target in targets for element in (target.elts if isinstance(target, ast.Tuple) else [target])]
    while any(isinstance(target, ast.Subscript) for target in flat):
        flat = [target.value if isinstance(target, ast.Subscript) else target for target in flat]
    return [getattr(target, "id", getattr(target, "attr", "")) for target in flat]


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _is_module(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "math", "special", "layers")


def _is_function(names: tuple[str, ...]) -> bool:
    return names[-1] == "()"
