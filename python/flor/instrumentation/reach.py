"""In which loops added statements may run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flor.instrumentation.align import BLOCKS, COMPOUND
from flor.instrumentation.loops import For, LoopSite, loop_statements, position_of
from flor.instrumentation.nodes import Function, identifiers, is_lazy, suspends
from flor.instrumentation.order import Order, inside_loops
from flor.instrumentation.program import Program
from flor.instrumentation.source import Source
from flor.instrumentation.spans import Span, span_of

Key = tuple[int, int]


@dataclass(frozen=True)
class Probed:
    """Where added statements may run: in which loops, and before or after them all.

    ``before``: outside every loop, before the first. ``after``: outside every loop, after the first
    has begun, or at an unknown time. ``outer``: those of the loops that may stand outside of all
    others. ``reasons`` says in a few words why, by loop.
    """

    loops: set[int] = field(default_factory=set)
    before: bool = False
    after: bool = False
    reasons: dict[int, str] = field(default_factory=dict)
    outer: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Part:
    """One file of a program: its source, its loops, and the lines of added statements."""

    source: Source
    loops: Sequence[LoopSite] = ()
    added: Sequence[Span] = ()


def probed_loops(
    new: Source, loops: Sequence[LoopSite], spans: Iterable[Span], others: Sequence[Source] = ()
) -> Probed:
    """Return where the statements in ``spans`` may run; ``others`` are the user's other files."""
    script = Part(new, loops, [Span(*span) for span in spans])
    return probed_parts([script, *map(Part, others)])[0]


def probed_parts(parts: Sequence[Part]) -> list[Probed]:
    """Return, for each file of a program, in which of its loops the statements added to any file
    may run; the script comes first.

    This is an over-approximation: what is not in the answer does not happen; what is in it may or
    may not. Calls are matched by name through all the sources; code that others may call (lambdas,
    generators, special methods, methods of objects handed to a library, functions passed on) runs
    anywhere. Not followed: a library that finds user code without the sources handing it over,
    such as by searching the interpreter's modules.
    """
    reach = _Reach(parts)
    for part in parts:
        for span in part.added:
            reach.mark(part.source, span)
    return reach.found()


class _Reach:
    """Loops are known by (file, index): their place in ``parts`` and that in the file."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.program = Program([part.source for part in parts])
        self.loops = {(n, site.index): site for n, part in enumerate(parts) for site in part.loops}
        self.statements: dict[Key, For] = {}
        self.calls: dict[Key, ast.Call] = {}
        for number, part in enumerate(parts):
            self._find(number, part)
        self.suites = {id(node) for node in self.statements.values()}
        script = parts[0].source.tree
        self.order = Order(script, self.program, list(self.calls.values()), self.suites)
        self.live = {key: self._live(key) for key in self.loops}
        self.reasons: dict[Key, str] = {}
        self.before = self.after = self.any = False

    def _find(self, number: int, part: Part) -> None:
        """Find the statements and calls of a file's loops."""
        statements = loop_statements(part.source.tree)
        keys = {site.call_span: (number, site.index) for site in part.loops}
        self.statements |= {key: statements[s] for s, key in keys.items() if s in statements}
        for node in ast.walk(part.source.tree):
            if isinstance(node, ast.Call) and (key := keys.get(position_of(node))):
                self.calls[key] = node

    def found(self) -> list[Probed]:
        """Return the answer, with loops whose iterations are mixed with other code added."""
        if self.any:
            for key in self.loops:
                if self.live[key] is None:
                    self._fire(key, "its iterations may be taken one by one elsewhere")
        return [self._found(number) for number in range(len(self.parts))]

    def _found(self, number: int) -> Probed:
        reasons = {index: why for (part, index), why in self.reasons.items() if part == number}
        outer = {index for index in reasons if self._may_be_outermost((number, index))}
        return Probed(set(reasons), self.before, self.after, reasons, outer)

    def _may_be_outermost(self, key: Key) -> bool:
        """Say whether a loop may run outside of all others."""
        node = self.calls[key]
        if any(True for _ in inside_loops(self.program, node, self.suites)):
            return False
        function = self.program.function_of(node)
        return function is None or not self.order.only_inside(function, set())

    def mark(self, source: Source, span: Span) -> None:
        """Mark the places where a span of lines added to a file may run."""
        self.any = True
        sites = list(self._sites(source, span))
        if not sites:
            self._everywhere(f"line {span.start} belongs to no statement")
        for site in sites:
            self._site(site)

    def _sites(self, source: Source, span: Span) -> Iterator[ast.stmt]:
        """Yield the statements with a line in a span; the lines of blocks are not their own."""
        for node in ast.walk(source.tree):
            if isinstance(node, ast.stmt):
                own = _own_lines(node)
                if own.start <= span.end and span.start <= own.end:
                    yield node

    def _site(self, site: ast.stmt) -> None:
        line = f"line {site.lineno}"
        within = list(inside_loops(self.program, site, self.suites))
        for key, statement in self.statements.items():
            if any(statement is loop for loop in within):
                self._fire(key, f"{line} is in its body")
        function = self.program.function_of(site)
        if function is not None:
            self._called(function, line)
        elif not self.order.in_script(site):
            self._everywhere(f"{line} runs when its file is imported")
        if not within:
            before, after = self.order.of(site)
            self.before, self.after = self.before or before, self.after or after
        if _defers(site, self.program):
            self._everywhere(f"{line} makes code that may run later")

    def _called(self, function: Function, line: str) -> None:
        why = self.program.always.get(function)
        name = getattr(function, "name", "<lambda>")
        for key in self.loops:
            live = self.live[key]
            if why:
                self._fire(key, f"{line}: {why}")
            elif live is not None and name in live:
                self._fire(key, f"{line} is in {name}, which its body may call")

    def _everywhere(self, reason: str) -> None:
        self.before = self.after = True
        for key in self.loops:
            self._fire(key, reason)

    def _fire(self, key: Key, reason: str) -> None:
        self.reasons.setdefault(key, reason)

    def _live(self, key: Key) -> set[str] | None:
        """Return the names that may be used while a loop runs; None: any."""
        node: ast.AST | None = self.statements.get(key) or self._comprehension(key)
        if node is None or suspends(self.program.function_of(node)):
            return None
        return self.program.closure(identifiers(node))

    def _comprehension(self, key: Key) -> ast.AST | None:
        """Return the list, set or dict comprehension that runs through a loop by itself."""
        above = self.program.parents.get(self.calls[key])
        node = self.program.parents.get(above) if isinstance(above, ast.comprehension) else None
        if not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
            return None
        return node if any(each.iter is self.calls[key] for each in node.generators) else None


def _own_lines(stmt: ast.stmt) -> Span:
    """Return the lines of a statement without those of its blocks."""
    span = span_of(stmt)
    if not isinstance(stmt, COMPOUND):
        return span
    inner = [span_of(each).start for name in BLOCKS for each in getattr(stmt, name, [])[:1]]
    return Span(span.start, max(stmt.lineno, min(inner, default=stmt.lineno + 1) - 1))


def _defers(site: ast.stmt, program: Program) -> bool:
    """Say whether a statement itself makes a lambda or a generator that may run later."""
    waiting: list[ast.AST] = [site]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Lambda) or is_lazy(node, program.parents):
            return True
        waiting += [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.stmt)]
    return False
