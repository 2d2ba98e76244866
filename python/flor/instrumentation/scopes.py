"""Which names each scope of a program binds and uses."""

from __future__ import annotations

import ast
from collections.abc import Iterator

MODULE = "<module>"
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Uses = dict[str, set[str]]


def own_names(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield the names a node itself mentions (not its children), and whether it binds them."""
    match node:
        case ast.Name():
            yield node.id, not isinstance(node.ctx, ast.Load)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, True
        case ast.Import() | ast.ImportFrom():
            yield from ((a.asname or a.name.split(".")[0], True) for a in node.names)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield name, True
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            yield name, True
        case ast.arg():
            yield node.arg, True
        case ast.Global() | ast.Nonlocal():
            yield from ((name, False) for name in node.names)


def all_names(node: ast.AST) -> set[str]:
    """Return every name that occurs in a tree; attributes are not names."""
    return {name for inner in ast.walk(node) for name, _ in own_names(inner)}


def names_used(tree: ast.Module) -> Uses:
    """Return, by qualified name of the function, the names used there or in functions inside it.

    A name that an inner function or comprehension binds for itself is its own affair. The names
    of a class body count for the scope around it.
    """
    uses: Uses = {}
    collect(tree, "", MODULE, uses)
    return uses


def collect(node: ast.AST, prefix: str, scope: str, uses: Uses) -> set[str]:
    """Add the names of one scope to ``uses``; return those that it takes from outside."""
    used: set[str] = set()
    bound: set[str] = set()
    declared: set[str] = set()
    inside = _inside(node)
    while inside:
        child, before = inside.pop()
        here = prefix if before is None else before
        for name, binds in own_names(child):
            used.add(name)
            bound |= {name} if binds else set()
        if isinstance(child, ast.Global | ast.Nonlocal):
            declared |= set(child.names)
        if isinstance(child, Function):
            used |= _function(child, here, uses)
            inside += [(each, here) for each in _outside(child)]
        elif isinstance(child, Comprehension):
            used |= _comprehension(child, here, uses)
        else:
            deeper = f"{here}{child.name}." if isinstance(child, ast.ClassDef) else here
            inside += [(each, deeper) for each in ast.iter_child_nodes(child)]
    uses.setdefault(scope, set()).update(used)
    return used - (bound - declared)


def _function(node: Function, prefix: str, uses: Uses) -> set[str]:
    name = f"{prefix}{getattr(node, 'name', '<lambda>')}"
    return collect(node, f"{name}.<locals>.", name, uses)


def _comprehension(node: Comprehension, prefix: str, uses: Uses) -> set[str]:
    inner: Uses = {}
    collect(node, prefix, "", inner)
    used = inner.pop("")
    for scope, names in inner.items():
        uses.setdefault(scope, set()).update(names)
    targets = {name for each in node.generators for name in all_names(each.target)}
    return (used - targets) | all_names(node.generators[0].iter)


def _inside(node: ast.AST) -> list[tuple[ast.AST, str | None]]:
    """Return what belongs to the scope that ``node`` opens."""
    if isinstance(node, ast.Lambda):
        return [(node.args, None), (node.body, None)]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [(node.args, None), *((each, None) for each in node.body)]
    return [(each, None) for each in ast.iter_child_nodes(node)]


def _outside(node: Function) -> list[ast.AST]:
    """Return what a function evaluates around it, but for defaults: decorators, annotations."""
    if isinstance(node, ast.Lambda):
        return []
    return [*node.decorator_list, *([node.returns] if node.returns else [])]
