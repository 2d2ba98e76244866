"""An added statement in the names of another version."""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Iterator

from flor.history.effects import own_file
from flor.history.match import Matching
from flor.history.names import Unclear
from flor.history.tree import COMPREHENSIONS, Gap, Named, Scope
from flor.instrumentation.contained import is_dunder
from flor.instrumentation.scopes import own_names

Import = tuple[int, str, str]  # level, module, what of it
ImportNode = ast.Import | ast.ImportFrom


def renamed(
    matching: Matching, gap: Gap, at: Scope, own: set[str]
) -> tuple[list[ast.stmt], set[str]]:
    """Return the statement as it reads at ``at``, the imports it lacks there before it, and the
    names of the program that it reads; raises Unclear.

    ``own``: the names that only added statements bind.
    """
    work = _Renaming(matching, gap.block.scope, at, own)
    stmt = work.visit(copy.deepcopy(gap.node))
    taken = {name for name in work.bound if name in at.visible}
    if taken:
        raise Unclear(f"it binds {min(taken)!r}, which that version uses for something else")
    return [*work.imports.values(), stmt], work.reads


class _Renaming(ast.NodeTransformer):
    def __init__(self, matching: Matching, scope: Scope, at: Scope, own: set[str]) -> None:
        self.matching, self.scope, self.at, self.own = matching, scope, at, own
        self.reads: set[str] = set()
        self.bound: set[str] = set()
        self.imports: dict[str, ast.stmt] = {}
        self._inner: list[set[str]] = []  # what comprehensions and functions inside bind
        self._names: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if any(node.id in names for names in self._inner):
            return node
        if not isinstance(node.ctx, ast.Load) and self.scope.resolve(node.id) is None:
            self.bound.add(node.id)
            return node
        node.id = self._called(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if not self._of_import(node):
            node.attr = self.matching.names.attribute(node.attr)
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | Named):
            self.bound |= {name for name, _ in own_names(node) if not self._inner}
        if isinstance(node, (*COMPREHENSIONS, ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)):
            self._inner.append(set(_bound_inside(node)))
            super().generic_visit(node)
            self._inner.pop()
            return node
        return super().generic_visit(node)

    def _of_import(self, node: ast.Attribute) -> bool:
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            base = base.value
        return isinstance(base, ast.Name) and _import_of(self.scope.resolve(base.id), base.id)[0]

    def _called(self, name: str) -> str:
        if name not in self._names:
            self._names[name] = self._find(name)
            if any(self._names[name] in names for names in self._inner):
                raise Unclear(f"{self._names[name]!r} means something else inside of it")
        return self._names[name]

    def _find(self, name: str) -> str:
        meant = self.scope.resolve(name)
        if meant is None:
            if name not in self.own and name in self.at.visible:
                raise Unclear(f"{name!r} is a builtin today, and a variable there")
            if name not in self.own and not hasattr(builtins, name) and not is_dunder(name):
                raise Unclear(f"what binds {name!r}, which it reads, can't be told from the text")
            return name
        imported, target, stmt = _import_of(meant, name)
        if imported:
            assert target and stmt
            known_as = self._imported(name, target, stmt)
            if own_file(stmt, self.matching.today):  # the program's own: it may change
                self.reads.add(known_as)
            return known_as
        other = self.matching.names.variable(name, meant, self.at)
        self.reads.add(other)
        return other

    def _imported(self, name: str, target: Import, stmt: ImportNode) -> str:
        """Return what the same import is called there; where it is missing it is made."""
        for other in sorted(self.at.visible, key=lambda each: each != name):
            if _import_of(self.at.resolve(other), other)[1] == target:
                return other
        if name in self.at.visible:
            raise Unclear(f"{name!r}, which it reads, is something else there")
        if own_file(stmt, self.matching.today):
            raise Unclear(f"{name!r}, which it reads, is not imported there")
        self.imports[name] = stmt
        return name


def _bound_inside(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if each is not node:
            yield from (name for name, binds in own_names(each) if binds)


def _import_of(scope: Scope | None, name: str) -> tuple[bool, Import | None, ImportNode | None]:
    """Return whether a variable is an import and nothing else, of what, and the statement."""
    if scope is None:
        return False, None, None
    found: list[tuple[Import, ImportNode]] = []
    for node in scope_nodes(scope):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == name:
                    found.append((_target(node, alias), _alone(node, alias)))
        elif any(each == name and binds for each, binds in own_names(node)):
            return False, None, None
    if not found or len({target for target, _ in found}) > 1:
        return False, None, None
    return True, *found[0]


def scope_nodes(scope: Scope) -> Iterator[ast.AST]:
    """Yield the nodes that belong to a scope itself."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope.node))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (Named, ast.ClassDef, ast.Lambda, *COMPREHENSIONS)):
            waiting += ast.iter_child_nodes(node)


def _target(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Import:
    if isinstance(node, ast.ImportFrom):
        return node.level, node.module or "", alias.name
    return 0, alias.name if alias.asname else alias.name.partition(".")[0], ""


def _alone(node: ImportNode, alias: ast.alias) -> ImportNode:
    if isinstance(node, ast.ImportFrom):
        return ast.ImportFrom(module=node.module, names=[alias], level=node.level)
    return ast.Import(names=[alias])


def already_imported(node: ast.stmt, module: Scope) -> bool:
    """Say whether a module has the very import that was added today."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return False
    names = [
        (alias.asname or alias.name.partition(".")[0], _target(node, alias)) for alias in node.names
    ]
    return all(_import_of(module, name)[1] == target for name, target in names)
