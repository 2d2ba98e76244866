"""Added statements that may alter the program they were added to."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flor.instrumentation.scopes import MODULE, Function, Uses, all_names, names_used, own_names

STORES = (ast.Store, ast.Del)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LEAVES = {ast.Return: "return", ast.Raise: "raise"}
SUSPENDS = {ast.Yield: "yield", ast.YieldFrom: "yield from", ast.Await: "await"}
LOOPS = ast.For | ast.AsyncFor | ast.While


@dataclass(frozen=True)
class Place:
    """Where an added statement stands."""

    scope: str = MODULE
    prefix: str = ""
    in_class: bool = False
    own_loop: bool = False  # in a loop that was added as well
    own_function: bool = False  # in a function or class that was added as well
    shared: frozenset[str] = frozenset()  # names an added function declares global or nonlocal


def bound_by(stmt: ast.stmt) -> set[str]:
    """Return the names that executing a statement binds or deletes in its scope, or globally."""
    return {name for _, name, place in _bindings(stmt, Place()) if _escapes(name, place)}


def disturbances(old: ast.Module, new: ast.Module, added: Sequence[ast.stmt]) -> list[str]:
    """Return a sentence for each way in which added statements may alter the program.

    Seen are bindings of names that the program uses, assignments through its objects, and control
    flow. What a call does to its arguments can't be seen here: the replay compares states.
    """
    judge = _Judge(old, new)
    chosen = {id(stmt) for stmt in added}
    lines = [line for stmt, place in _placed(new, Place(), chosen) for line in judge(stmt, place)]
    return list(dict.fromkeys(text for _, text in sorted(lines)))


def _placed(node: ast.AST, place: Place, chosen: set[int]) -> Iterator[tuple[ast.stmt, Place]]:
    """Yield the chosen statements with their places."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and id(child) in chosen:
            yield child, place
        else:
            yield from _placed(child, _enter(child, place, added=False), chosen)


def _enter(node: ast.AST, place: Place, added: bool) -> Place:
    """Return the place of what is inside ``node``."""
    if isinstance(node, Function):
        name = f"{place.prefix}{getattr(node, 'name', '<lambda>')}"
        declared = [n for n in ast.walk(node) if isinstance(n, ast.Global | ast.Nonlocal)]
        shared = frozenset(name for each in declared for name in each.names)
        own = place.own_function or added
        return Place(name, f"{name}.<locals>.", own_function=own, shared=shared)
    if isinstance(node, ast.ClassDef) and (added or place.own_function):
        return replace(place, own_function=True, own_loop=False)
    if isinstance(node, ast.ClassDef):
        return replace(place, prefix=f"{place.prefix}{node.name}.", in_class=True, own_loop=False)
    if isinstance(node, LOOPS):
        return replace(place, own_loop=place.own_loop or added)
    return place


def _inner(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    """Yield an added statement and all in it but for targets of comprehensions, with places."""
    yield node, place
    inside = _enter(node, place, added=True)
    hidden = set()
    if isinstance(node, COMPREHENSIONS):
        hidden = {id(n) for each in node.generators for n in ast.walk(each.target)}
    for child in ast.iter_child_nodes(node):
        late = isinstance(node, LOOPS) and child in node.orelse
        for inner, where in _inner(child, place if late else inside):
            if id(inner) not in hidden:
                yield inner, where


def _bindings(stmt: ast.stmt, place: Place) -> Iterator[tuple[ast.AST, str, Place]]:
    for node, where in _inner(stmt, place):
        for name, binds in own_names(node):
            if binds and not isinstance(node, ast.arg):
                yield node, name, where


def _escapes(name: str, place: Place) -> bool:
    return not place.own_function or name in place.shared


class _Judge:
    def __init__(self, old: ast.Module, new: ast.Module) -> None:
        self.uses: Uses = names_used(old)
        self.names = all_names(old)
        self.attributes = {n.attr for n in ast.walk(old) if isinstance(n, ast.Attribute)}
        self.imports = {_import(a, node) for node, a in _module_imports(old)}
        self.top = {id(stmt) for stmt in new.body}

    def __call__(self, stmt: ast.stmt, place: Place) -> Iterator[tuple[int, str]]:
        for node, name, where in _bindings(stmt, place):
            if self.taken(node, name, where):
                yield _say(node, f"binds {name!r}, which the program uses")
        for node, where in _inner(stmt, place):
            yield from self.flow(node, where)
            if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, STORES):
                yield from self.store(node)

    def taken(self, node: ast.AST, name: str, place: Place) -> bool:
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) in self.top:
            again = {_import(a, node) for a in node.names if (a.asname or a.name) == name}
            if again and again <= self.imports:
                return False
        if place.own_function:
            return name in place.shared and name in self.names
        if place.in_class:
            dunder = name.startswith("__") and name.endswith("__")
            return dunder or name in self.names or name in self.attributes
        if name in place.shared:
            return name in self.names
        return name in self.uses.get(place.scope, self.names)

    def flow(self, node: ast.AST, place: Place) -> Iterator[tuple[int, str]]:
        kind = type(node)
        if isinstance(node, ast.Break | ast.Continue) and not place.own_loop:
            yield _say(node, f"leaves a loop of the program by {kind.__name__.lower()}")
        elif isinstance(node, ast.Return | ast.Raise) and not place.own_function:
            yield _say(node, f"leaves the program's own code by {LEAVES[kind]}")
        elif kind in SUSPENDS and not place.own_function:
            yield _say(node, f"suspends a function of the program by {SUSPENDS[kind]}")
        elif isinstance(node, ast.Global | ast.Nonlocal) and not place.own_function:
            if not self.uses.get(place.scope, self.names).isdisjoint(node.names):
                yield _say(node, f"changes the scope of {', '.join(node.names)}")
        elif isinstance(node, ast.ImportFrom) and node.module == "__future__":
            yield _say(node, "changes how the whole file is compiled")

    def store(self, node: ast.Attribute | ast.Subscript) -> Iterator[tuple[int, str]]:
        base: ast.expr = node
        while isinstance(base, ast.Attribute | ast.Subscript):
            base = base.value
        if not isinstance(base, ast.Name) or base.id in self.names:
            yield _say(node, f"assigns to {ast.unparse(node)}, an object of the program")


def _say(node: ast.AST, what: str) -> tuple[int, str]:
    line = getattr(node, "lineno", 0)
    return line, f"line {line} {what}"


def _module_imports(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, ast.alias]]:
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((node, alias) for alias in node.names)


def _import(alias: ast.alias, node: ast.Import | ast.ImportFrom) -> tuple[str, int, str, str]:
    module, level = getattr(node, "module", None) or "", getattr(node, "level", 0)
    return module, level, alias.name, alias.asname or ""
