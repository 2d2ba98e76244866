"""Added statements, wrapped so that what they draw and switch is put back after them.

Statements that were added one after the other are one probe: ``with __flor_protect__(NAMES, ALL):``
stands round them. The bodies of added functions are wrapped too, because libraries call them:
callbacks and hooks. Inside a probe a second wrapping does nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from flor.instrumentation.nodes import Named, suspends
from flor.instrumentation.source import Source
from flor.instrumentation.spans import Span, span_of
from flor.instrumentation.unknown import Unknown, unknown

PROTECT = "__flor_protect__"
Node = TypeVar("Node", bound=ast.AST)


def defined_names(sources: Iterable[Source]) -> set[str]:
    """Return the names of all functions and classes that some files define."""
    kinds = Named | ast.ClassDef
    nodes = (node for source in sources for node in ast.walk(source.tree))
    return {node.name for node in nodes if isinstance(node, kinds)}


def protect(tree: ast.Module, added: Sequence[Span], defined: Collection[str]) -> ast.Module:
    """Wrap the added statements of a tree, in place, where they call what is not known.

    ``added``: their lines. ``defined``: names that the program defines.
    """
    if added:
        _Protector({Span(*span) for span in added}, defined).blocks(tree)
    return tree


class _Protector:
    def __init__(self, added: Collection[Span], defined: Collection[str]) -> None:
        self.added, self.defined = added, defined

    def blocks(self, node: ast.AST) -> None:
        """Wrap what was added to the blocks of a node, and to those in them."""
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, name, self.block(value))
            elif isinstance(value, list):  # handlers, cases
                for each in value:
                    if isinstance(each, ast.ExceptHandler | ast.match_case):
                        self.blocks(each)

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for is_added, run in groupby(statements, lambda each: span_of(each) in self.added):
            group = list(run)
            if is_added:
                made += self.wrapped([self.inner(each) for each in group])
            else:
                for each in group:
                    self.blocks(each)
                made += group
        return made

    def inner(self, stmt: ast.stmt) -> ast.stmt:
        """Wrap the bodies of the functions in an added statement."""
        found: ast.stmt = _Bodies(self).visit(stmt)
        return found

    def wrapped(self, group: list[ast.stmt]) -> list[ast.stmt]:
        """Return statements in a ``with`` if they call what is not known."""
        level = unknown(group, self.defined)
        if not group or level is Unknown.NOTHING:
            return group
        first, last = group[0], group[-1]
        made = ast.With([ast.withitem(_call(group, level, first))], group)
        ast.copy_location(made, first)
        made.end_lineno, made.end_col_offset = last.end_lineno, last.end_col_offset
        return [made]


class _Bodies(ast.NodeTransformer):
    def __init__(self, protector: _Protector) -> None:
        self.protector = protector

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if not suspends(node):
            told = 1 if ast.get_docstring(node, clean=False) is not None else 0
            node.body = [*node.body[:told], *self.protector.wrapped(node.body[told:])]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.generic_visit(node)
        level = unknown([node.body], self.protector.defined)
        if level is Unknown.NOTHING or suspends(node):
            return node
        body = node.body
        later = _at(ast.Lambda(_nothing(), body), body)
        run = _at(ast.Attribute(_call([body], level, body), "run", ast.Load()), body)
        node.body = _at(ast.Call(run, [later], []), body)
        return node


def _call(code: Sequence[ast.AST], level: Unknown, where: ast.AST) -> ast.Call:
    """Return the call that saves what the names in some code lead to."""
    named = ast.Tuple([ast.Constant(path) for path in _paths(code)], ast.Load())
    arguments: list[ast.expr] = [named, ast.Constant(level is Unknown.CALLS)]
    call = ast.Call(ast.Name(PROTECT, ast.Load()), arguments, [])
    for node in ast.walk(call):
        ast.copy_location(node, where)
    return call


def _paths(code: Sequence[ast.AST]) -> list[str]:
    """Return the names that some code uses, with the attributes that it reads of them.

    ``self.model.fc`` where ``self`` is only ever used as in ``self.model.fc(x)``; ``self`` alone
    where it is used in any other way besides.
    """
    nodes = [node for each in code for node in ast.walk(each)]
    reads = [node for node in nodes if isinstance(node, ast.Attribute)]
    owner = {id(node.value): node for node in reads if isinstance(node.ctx, ast.Load)}
    found: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id != PROTECT:
            path, at = node.id, owner.get(id(node))
            while at is not None:
                path, at = f"{path}.{at.attr}", owner.get(id(at))
            found.setdefault(node.id, set()).add(path)
    return sorted(
        path for name, paths in found.items() for path in ({name} if name in paths else paths)
    )


def _nothing() -> ast.arguments:
    return ast.arguments([], [], None, [], [], None, [])


def _at(node: Node, where: ast.AST) -> Node:
    return ast.copy_location(node, where)
