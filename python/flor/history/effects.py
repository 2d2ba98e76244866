"""Whether an added statement and one of the program may stand in either order.

Conservative: a call that is not known to leave its arguments alone may change them, all that they
may share memory with, and the globals that a function of the program mentions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from flor.history.tree import Stmt, Tree
from flor.instrumentation.scopes import own_names

PURE = {
    *("print", "len", "int", "float", "bool", "str", "repr", "abs", "round", "min", "max", "sum"),
    *("range", "enumerate", "zip", "isinstance", "type", "tuple", "list", "dict", "set", "sorted"),
    *("format", "any", "all"),
}
FRESH = {
    "item",
    "sum",
    "mean",
    "std",
    "norm",
    "copy",
    "tolist",
    "dot",
    "exp",
    "sqrt",
    "log",
    "time",
}
PURE_METHODS = FRESH | {
    *("var", "max", "min", "argmax", "argmin", "abs", "info", "debug", "warning", "format", "join"),
    *("items", "keys", "values"),
}
_VALUES = ast.BinOp | ast.UnaryOp | ast.Compare | ast.Constant | ast.JoinedStr


class Effects:
    """What the statements of a program may do to what others read."""

    def __init__(self, tree: Tree) -> None:
        self._group: dict[str, str] = {}
        self._modules: set[str] = set()
        self._bodies: dict[str, set[str]] = {}
        self._own = tree.defined
        for stmt in tree.statements:
            if isinstance(stmt.node, ast.Import | ast.ImportFrom):
                self._modules |= set() if own_file(stmt.node, tree) else set(stmt.bound)
            elif isinstance(stmt.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._bodies[stmt.node.name] = _names(stmt.node)
        for stmt in tree.statements:
            for name in stmt.bound:
                for other in _aliased(stmt.node) - self._modules:
                    self._join(name, other)

    def _join(self, one: str, other: str) -> None:
        self._group[self._root(one)] = self._root(other)

    def _root(self, name: str) -> str:
        while (above := self._group.get(name, name)) != name:
            name = above
        return name

    def disturbs(self, stmt: Stmt, code: Iterable[ast.stmt], reads: set[str]) -> bool:
        """Say whether a statement may change what ``code`` sees, which reads these names."""
        called = {n.attr for each in code for n in ast.walk(each) if isinstance(n, ast.Attribute)}
        reads = self._reached(reads | (called & self._bodies.keys()))
        read = {self._root(name) for name in reads - self._modules}
        for each in stmt.walk():
            if isinstance(each.node, ast.Return | ast.Break | ast.Continue | ast.Raise):
                return True
            if isinstance(each.node, ast.Import | ast.ImportFrom):
                continue
            changed = set() if each.inner else {self._root(name) for name in self._changed(each)}
            if reads & set(each.bound) or read & changed:
                return True
        return False

    def _reached(self, names: set[str]) -> set[str]:
        """Return the names, and those in the bodies of the program's functions among them."""
        reached: set[str] = set()
        waiting = [*names]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self._bodies.get(name, ())
        return reached

    def _changed(self, stmt: Stmt) -> Iterator[str]:
        """Yield the names whose objects a statement may change."""
        if isinstance(stmt.node, ast.AugAssign):
            yield from _names(stmt.node.target)
        for node in stmt.header:
            if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(
                node.ctx, ast.Load
            ):
                yield from _names(node)
            if isinstance(node, ast.Call) and not self._pure(node.func):
                called = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                names = _names(node) - self._modules
                yield from self._reached(names | (called & self._bodies.keys()))
            if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await):
                yield from self._group

    def _pure(self, function: ast.expr) -> bool:
        if isinstance(function, ast.Name):
            return function.id in PURE and function.id not in self._bodies
        return isinstance(function, ast.Attribute) and function.attr in PURE_METHODS - self._own


def own_file(node: ast.Import | ast.ImportFrom, tree: Tree) -> bool:
    """Say whether an import is of a file of the program."""
    modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
    paths = [module.replace(".", "/") for module in modules if module]
    files = {f"{path}{end}" for path in paths for end in (".py", "/__init__.py")}
    return bool(getattr(node, "level", 0)) or not files.isdisjoint(tree.sources)


def _names(node: ast.AST) -> set[str]:
    return {name for each in ast.walk(node) for name, _ in own_names(each)}


def _aliased(node: ast.stmt) -> set[str]:
    """Return the names whose objects what a statement binds may share memory with."""
    if isinstance(node, ast.For | ast.AsyncFor):
        return _names(node.iter)
    if isinstance(node, ast.With | ast.AsyncWith):
        return {name for item in node.items for name in _names(item)}
    value = getattr(node, "value", None)
    if not isinstance(node, ast.Assign | ast.AnnAssign) or value is None or _fresh(value):
        return set()
    return _names(value)


def _fresh(value: ast.expr) -> bool:
    """Say whether an expression makes a value of its own."""
    if isinstance(value, ast.Call):
        function = value.func
        if isinstance(function, ast.Name):
            return function.id in PURE - {"min", "max", "tuple", "list", "dict", "set", "sorted"}
        return isinstance(function, ast.Attribute) and function.attr in FRESH
    lists = ast.List | ast.Tuple
    return isinstance(value, _VALUES) and not any(isinstance(n, lists) for n in ast.walk(value))
