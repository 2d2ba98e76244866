"""Observers that were added to a call: callbacks and hooks among its arguments.

``Trainer(model, callbacks=[Old(), Mine()])`` is ``Trainer(model, callbacks=[Old()])`` and a probe
where class ``Mine`` was itself added. So is a keyword ``callbacks=[Mine()]`` that was not there.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from flor.instrumentation.nodes import Named
from flor.instrumentation.scopes import all_names
from flor.instrumentation.source import Source

_KEYWORDS = frozenset({"callback", "callbacks", "hooks"})


def without_observers(old: Source, new: Source) -> Source:
    """Return ``new`` without the observers of classes and functions that ``old`` does not have."""
    kinds = Named | ast.ClassDef
    defined = {node.name for node in ast.walk(new.tree) if isinstance(node, kinds)}
    added = defined - all_names(old.tree)
    if not added:
        return new
    bare: ast.Module = _Remover(added).visit(new.tree)
    return Source(new.path, new.text, bare)


class _Remover(ast.NodeTransformer):
    """Leaves the tree that it is given as it is, and returns another."""

    def __init__(self, added: Collection[str]) -> None:
        self.added = added

    def generic_visit(self, node: ast.AST) -> ast.AST:
        return super().generic_visit(_copied(node))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        made = _copied(node)
        assert isinstance(made, ast.Call)
        made.keywords = [bare for each in node.keywords if (bare := self._bare(each))]
        return super().generic_visit(made)

    def _bare(self, keyword: ast.keyword) -> ast.keyword | None:
        """Return a keyword argument without its observers; None where nothing else was in it."""
        value = keyword.value
        if keyword.arg not in _KEYWORDS or not isinstance(value, ast.List | ast.Name | ast.Call):
            return keyword
        if not isinstance(value, ast.List):
            return None if self._observes(value) else keyword
        kept = [each for each in value.elts if not self._observes(each)]
        if len(kept) == len(value.elts):
            return keyword
        rest = ast.copy_location(ast.List(kept, value.ctx), value)
        return ast.copy_location(ast.keyword(keyword.arg, rest), keyword) if kept else None

    def _observes(self, node: ast.expr) -> bool:
        made = node.func if isinstance(node, ast.Call) else node
        return isinstance(made, ast.Name) and made.id in self.added


def _copied(node: ast.AST) -> ast.AST:
    parts = dict(ast.iter_fields(node))
    parts = {name: [*part] if isinstance(part, list) else part for name, part in parts.items()}
    return ast.copy_location(type(node)(**parts), node)
