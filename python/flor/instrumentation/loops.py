"""The ``flor.loop`` calls of a program."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from flor.instrumentation.source import Source

Kind = Literal["for", "wrapped", "other"]
Position = tuple[int, int, int, int]
For = ast.For | ast.AsyncFor
LOOP = "__flor_loop__"  # stands for flor.loop where a program was rewritten
DEFERRED = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class LoopSite:
    """One ``flor.loop(...)`` call.

    ``kind`` is "for" when the call is what a ``for`` statement iterates over, "wrapped" when it is
    inside that expression (``enumerate(flor.loop(...))``), "other" anywhere else.
    """

    call_span: Position  # lineno, end_lineno, col_offset, end_col_offset, as in co_positions()
    name: str | None
    kind: Kind
    body: tuple[int, int]  # first and last line of the whole for statement; (0, 0) for "other"
    suite: tuple[int, int]  # the same of its body alone, without header and else
    else_: bool
    function: str  # qualified name, "<module>" outside functions
    index: int
    parent: int | None  # the loop of the same function in whose body this one is


def position_of(call: ast.Call) -> Position:
    """Return where the call is, in the order of ``code.co_positions()``."""
    line, column = call.lineno, call.col_offset
    return (line, call.end_lineno or line, column, call.end_col_offset or column)


def find_loops(source: Source) -> list[LoopSite]:
    """Return every call of ``flor.loop`` in the order of the text."""
    finder = _Finder(source.tree)
    finder.visit_block(source.tree, "", None)
    found = sorted(finder.found, key=lambda pair: (pair[0].call_span[0], pair[0].call_span[2]))
    index = {site.call_span: number for number, (site, _) in enumerate(found)}
    return [
        replace(site, index=number, parent=None if above is None else index[above])
        for number, (site, above) in enumerate(found)
    ]


def loop_statements(tree: ast.Module) -> dict[Position, For]:
    """Return the for statements over a ``flor.loop``, wrapped or not, by the place of the call."""
    return {position_of(call): node for node, call in loop_calls(tree)}


def loop_calls(tree: ast.Module) -> Iterator[tuple[For, ast.Call]]:
    """Yield the for statements over a ``flor.loop``, wrapped or not, and that call."""
    aliases = _Aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, For):
            for call in aliases.calls(node.iter):
                yield node, call


class _Aliases:
    """The names under which a file knows flor and flor.loop."""

    def __init__(self, tree: ast.Module) -> None:
        self.modules: set[str] = set()
        self.functions: set[str] = {LOOP}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.modules |= {a.asname or "flor" for a in node.names if _is_flor(a)}
            elif isinstance(node, ast.ImportFrom) and node.module == "flor" and not node.level:
                names = {a.name: a.asname or a.name for a in node.names}
                self.functions |= {names["loop"]} if "loop" in names else set()
                self.functions |= {"loop"} if "*" in names else set()

    def is_loop(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            return function.attr == "loop" and function.value.id in self.modules
        return isinstance(function, ast.Name) and function.id in self.functions

    def calls(self, node: ast.expr) -> Iterator[ast.Call]:
        """Yield the loop calls in an expression, save those in comprehensions and lambdas."""
        if isinstance(node, DEFERRED):
            return
        if isinstance(node, ast.Call) and self.is_loop(node):
            yield node
        for child in ast.iter_child_nodes(node):
            inner = child.value if isinstance(child, ast.keyword) else child
            if isinstance(inner, ast.expr):
                yield from self.calls(inner)


def _is_flor(alias: ast.alias) -> bool:
    return alias.name == "flor" or (alias.name.startswith("flor.") and alias.asname is None)


class _Finder:
    """Walks the tree with the enclosing function and the enclosing flor loop."""

    def __init__(self, tree: ast.Module) -> None:
        self.aliases = _Aliases(tree)
        self.statements = loop_statements(tree)
        self.found: list[tuple[LoopSite, Position | None]] = []

    def visit_block(self, node: ast.AST, scope: str, loop: Position | None) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child, scope, loop)

    def visit(self, node: ast.AST, scope: str, loop: Position | None) -> None:
        if isinstance(node, ast.Call) and self.aliases.is_loop(node):
            self.found.append((self.site(node, scope), loop))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.definition(node, scope, f"{scope}{node.name}.<locals>.", loop)
        elif isinstance(node, ast.ClassDef):
            self.definition(node, scope, f"{scope}{node.name}.", loop)
        elif isinstance(node, ast.Lambda):
            self.visit_block(node, f"{scope}<lambda>.<locals>.", None)
        elif isinstance(node, For):
            self.loop(node, scope, loop)
        else:
            self.visit_block(node, scope, loop)

    def definition(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
        outer: str,
        inner: str,
        loop: Position | None,
    ) -> None:
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.stmt)
            keeps = loop if isinstance(node, ast.ClassDef) or not inside else None
            self.visit(child, inner if inside else outer, keeps)

    def loop(self, node: For, scope: str, loop: Position | None) -> None:
        calls = list(self.aliases.calls(node.iter))
        within = position_of(calls[0]) if calls else loop
        for child in (node.target, node.iter, *node.orelse):
            self.visit(child, scope, loop)
        for child in node.body:
            self.visit(child, scope, within)

    def site(self, call: ast.Call, scope: str) -> LoopSite:
        where = position_of(call)
        statement = self.statements.get(where)
        kind: Kind = "other"
        body = suite = (0, 0)
        if statement is not None:
            kind = "for" if statement.iter is call else "wrapped"
            body = (statement.lineno, statement.end_lineno or statement.lineno)
            suite = (statement.body[0].lineno, statement.body[-1].end_lineno or body[1])
        first = call.args[0] if call.args else None
        name = first.value if isinstance(first, ast.Constant) else None
        function = scope.removesuffix(".").removesuffix(".<locals>") or "<module>"
        has_else = statement is not None and bool(statement.orelse)
        name = name if isinstance(name, str) else None
        return LoopSite(where, name, kind, body, suite, has_else, function, 0, None)
