"""Small questions about syntax nodes."""

from __future__ import annotations

import ast

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Named = ast.FunctionDef | ast.AsyncFunctionDef
Parents = dict[ast.AST, ast.AST]
EAGER = {"sum", "any", "all", "list", "tuple", "set", "dict", "frozenset", "sorted", "max", "min"}


def identifiers(node: ast.AST) -> set[str]:
    """Return the names and attribute names in a tree."""
    return {name for inner in ast.walk(node) if (name := used_name(inner))}


def is_lazy(node: ast.AST, parents: Parents) -> bool:
    """Say whether an expression may run later than where it stands."""
    if not isinstance(node, ast.GeneratorExp):
        return False
    above = parents.get(node)
    eager = isinstance(above, ast.Call) and isinstance(above.func, ast.Name)
    return not (eager and above.func.id in EAGER)  # type: ignore[union-attr]


def used_name(node: ast.AST) -> str | None:
    """Return the name, or the name of the attribute, that a node is; None for another node."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def suspends(node: Function | None) -> bool:
    """Say whether a function's body may stop half-way and go on later."""
    if isinstance(node, ast.AsyncFunctionDef):
        return True
    return node is not None and _yields(node)


def _yields(node: Function) -> bool:
    return any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node))
