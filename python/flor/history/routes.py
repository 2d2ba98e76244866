"""Through which loops a place of a program is reached."""

from __future__ import annotations

import ast

from flor.history.names import Unclear
from flor.history.tree import Block, Scope, Stmt, Tree

Route = tuple[Stmt | None, ...]


def routes(tree: Tree, block: Block) -> set[Route]:
    """Return the loops around a block, outermost first, one tuple for each way to get there.

    Functions are found by name, wherever they are mentioned. Raises Unclear for recursion and where
    a function's name is another's too.
    """
    return _routes(tree, block, ())


def _routes(tree: Tree, block: Block, seen: tuple[Scope, ...]) -> set[Route]:
    loops = tuple(stmt for stmt in block.above() if stmt.kind == "loop")[::-1]
    scope = block.scope
    if isinstance(scope.node, ast.Module):
        return {loops}
    name = scope.node.name
    if scope in seen or sum(getattr(s.node, "name", "") == name for s in tree.scopes) > 1:
        raise Unclear(f"who calls {name} can't be told")
    found: set[Route] = set()
    for stmt in tree.statements:
        if stmt.inner is not scope and _mentions(stmt, name):
            found |= {(*route, *loops) for route in _routes(tree, stmt.block, (*seen, scope))}
    return found


def _mentions(stmt: Stmt, name: str) -> bool:
    return any(
        getattr(node, "id", None) == name or getattr(node, "attr", None) == name
        for node in stmt.header
    )
