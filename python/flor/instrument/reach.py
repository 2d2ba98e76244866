"""In which loops added statements may run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flor.instrument.align import BLOCKS, COMPOUND
from flor.instrument.loops import LoopSite, loop_statements, position_of
from flor.instrument.nodes import Function, identifiers, is_lazy, suspends
from flor.instrument.order import Order, inside_loops
from flor.instrument.program import Program
from flor.instrument.source import Source
from flor.instrument.spans import Span, span_of


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


def probed_loops(
    new: Source, loops: Sequence[LoopSite], spans: Iterable[Span], others: Sequence[Source] = ()
) -> Probed:
    """Return where the statements in ``spans`` may run; ``others`` are the user's other files.

    This is an over-approximation: what is not in the answer does not happen; what is in it may or
    may not. Calls are matched by name through all the sources; code that others may call (lambdas,
    generators, special methods, methods of objects handed to a library, functions passed on) runs
    anywhere. Not followed: a library that finds user code without the sources handing it over,
    such as by searching the interpreter's modules.
    """
    reach = _Reach(new, loops, others)
    for span in spans:
        reach.mark(Span(*span))
    return reach.found()


class _Reach:
    def __init__(self, new: Source, loops: Sequence[LoopSite], others: Sequence[Source]) -> None:
        self.new, self.loops = new, loops
        self.program = Program([new, *others])
        self.statements = loop_statements(new.tree)
        self.suites = {id(node) for node in self.statements.values()}
        self.order = Order(new, self.program, loops, self.suites)
        self.live = {site.index: self._live(site) for site in loops}
        self.reasons: dict[int, str] = {}
        self.before = self.after = self.any = False

    def found(self) -> Probed:
        """Return the answer, with loops whose iterations are mixed with other code added."""
        if self.any:
            for site in self.loops:
                if self.live[site.index] is None:
                    self._fire(site.index, "its iterations may be taken one by one elsewhere")
        outer = {index for index in self.reasons if self._may_be_outermost(index)}
        return Probed(set(self.reasons), self.before, self.after, self.reasons, outer)

    def _may_be_outermost(self, index: int) -> bool:
        """Say whether a loop may run outside of all others."""
        span = self.loops[index].call_span
        node = next(call for call in self.order.calls if position_of(call) == span)
        if any(True for _ in inside_loops(self.program, node, self.suites)):
            return False
        function = self.program.function_of(node)
        return function is None or not self.order.only_inside(function, set())

    def mark(self, span: Span) -> None:
        """Mark the places where a span of added lines may run."""
        self.any = True
        sites = list(self._sites(span))
        if not sites:
            self._everywhere(f"line {span.start} belongs to no statement")
        for site in sites:
            self._site(site)

    def _sites(self, span: Span) -> Iterator[ast.stmt]:
        """Yield the statements with a line in a span; the lines of blocks are not their own."""
        for node in ast.walk(self.new.tree):
            if isinstance(node, ast.stmt):
                own = _own_lines(node)
                if own.start <= span.end and span.start <= own.end:
                    yield node

    def _site(self, site: ast.stmt) -> None:
        line = f"line {site.lineno}"
        within = list(inside_loops(self.program, site, self.suites))
        for loop in within:
            for index in self._indices(loop):
                self._fire(index, f"{line} is in its body")
        function = self.program.function_of(site)
        if function is not None:
            self._called(function, line)
        if not within:
            before, after = self.order.of(site)
            self.before, self.after = self.before or before, self.after or after
        if _defers(site, self.program):
            self._everywhere(f"{line} makes code that may run later")

    def _called(self, function: Function, line: str) -> None:
        why = self.program.always.get(function)
        name = getattr(function, "name", "<lambda>")
        for site in self.loops:
            live = self.live[site.index]
            if why:
                self._fire(site.index, f"{line}: {why}")
            elif live is not None and name in live:
                self._fire(site.index, f"{line} is in {name}, which its body may call")

    def _everywhere(self, reason: str) -> None:
        self.before = self.after = True
        for site in self.loops:
            self._fire(site.index, reason)

    def _fire(self, index: int, reason: str) -> None:
        self.reasons.setdefault(index, reason)

    def _indices(self, loop: ast.AST) -> Iterator[int]:
        for site in self.loops:
            if self.statements.get(site.call_span) is loop:
                yield site.index

    def _live(self, site: LoopSite) -> set[str] | None:
        """Return the names that may be used while a loop runs; None: any."""
        node: ast.AST | None = self.statements.get(site.call_span) or self._comprehension(site)
        if node is None or suspends(self.program.function_of(node)):
            return None
        return self.program.closure(identifiers(node))

    def _comprehension(self, site: LoopSite) -> ast.AST | None:
        """Return the list, set or dict comprehension that runs through a loop by itself."""
        for node in ast.walk(self.new.tree):
            if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
                for each in node.generators:
                    call = each.iter
                    if isinstance(call, ast.Call) and position_of(call) == site.call_span:
                        return node
        return None


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
