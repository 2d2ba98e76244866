"""How much a loop can do, by the names in its body: which loops are worth to be made visible.

Small loops of plain Python are entered by the million; to instrument them would cost more than
their work, and no record would ever stand in them. Judged in one file alone, so that record and
replay see the same loops.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum

from flor.instrumentation.nodes import Named
from flor.instrumentation.spans import Span, span_of

# Each takes less than a microsecond on what small loops handle, and runs no code of the program but
# operators and `__len__`, `__hash__` and their like.
_TYPES = {
    "bool",
    "bytes",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "set",
    "str",
    "tuple",
    "type",
}
_ITERATES = {"enumerate", "max", "min", "range", "reversed", "sorted", "sum", "zip"}
_OTHERS = {"abs", "chr", "divmod", "hash", "isinstance", "issubclass", "len", "ord", "pow", "round"}
_BUILTINS = _TYPES | _ITERATES | _OTHERS
_OF_CONTAINERS = {"add", "append", "appendleft", "discard", "extend", "get", "items", "keys"}
_OF_CONTAINERS |= {"popleft", "setdefault", "values"}
_OF_TEXT = {"decode", "encode", "endswith", "find", "isalnum", "isalpha", "isdigit", "islower"}
_OF_TEXT |= {"isnumeric", "isspace", "isupper", "join", "ljust", "lower", "lstrip", "replace"}
_OF_TEXT |= {"rjust", "rstrip", "split", "splitlines", "startswith", "strip", "upper", "zfill"}
_METHODS = _OF_CONTAINERS | _OF_TEXT
_MODULES = {"math", "operator"}
_ACTS = (ast.With, ast.AsyncWith, ast.Await, ast.YieldFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Weight(IntEnum):
    """What a loop may do."""

    QUIET = 0  # no more than built-in types do
    LIGHT = (
        1  # it calls functions of its file that are quiet themselves: at most a long computation
    )
    FULL = 2  # train, log: anything


def weigh(tree: ast.Module, without: Sequence[Span] = ()) -> dict[int, Weight]:
    """Return the weights of the loops of a file by first lines; ``without``: lines left out."""
    quiet = _Quiet(tree, without)
    loops = (node for node in _walk(tree, without) if isinstance(node, ast.For | ast.While))
    return {node.lineno: quiet.weight(node) for node in loops}


class _Quiet:
    """What is known to be silent in one file."""

    def __init__(self, tree: ast.Module, without: Sequence[Span]) -> None:
        self._without = without
        nodes = list(_walk(tree, without))
        bound = [pair for node in nodes for pair in _bindings(node)]
        names = {name for name, _ in bound}
        self._builtins = set() if "*" in names else _BUILTINS - names
        self._methods = _METHODS - {name for name, how in bound if how in _DEFINITIONS}
        others = {name for name, how in bound if how is not ast.Import}
        self._modules = set() if "*" in names else _MODULES - others
        self._functions: set[str] = set()
        self._functions = self._quiet_functions(nodes, [name for name, _ in bound])

    def _quiet_functions(self, nodes: Iterable[ast.AST], bound: Sequence[str]) -> set[str]:
        """Return the functions that are bound once and call nothing but each other."""
        functions = {
            node.name: node
            for node in nodes
            if isinstance(node, ast.FunctionDef)
            and not node.decorator_list
            and bound.count(node.name) == 1
        }
        self._functions = set(functions)
        while loud := {name for name in self._functions if self._loud(functions[name])}:
            self._functions -= loud
        return self._functions

    def _loud(self, function: ast.FunctionDef) -> bool:
        # A product of matrices may be a step of a training in plain NumPy.
        return self.weight(function) == Weight.FULL or any(
            isinstance(node, ast.MatMult) for node in ast.walk(function)
        )

    def weight(self, node: ast.AST) -> Weight:
        """Return what a loop or function may do.

        A ``yield`` counts for nothing: while a generator waits, its loops are in nobody's context.
        """
        heaviest = Weight.QUIET
        for inner in _walk(node, self._without):
            if isinstance(inner, _ACTS):
                return Weight.FULL
            if isinstance(inner, ast.Call):
                heaviest = max(heaviest, self._call(inner))
        return heaviest

    def _call(self, node: ast.Call) -> Weight:
        """Weigh a call, its arguments aside."""
        function = node.func
        if isinstance(function, ast.Name):
            if function.id in self._functions:
                return Weight.LIGHT
            return Weight.QUIET if function.id in self._builtins else Weight.FULL
        if not isinstance(function, ast.Attribute):
            return Weight.FULL
        owner = function.value
        of_module = isinstance(owner, ast.Name) and owner.id in self._modules
        return Weight.QUIET if of_module or function.attr in self._methods else Weight.FULL


def _walk(node: ast.AST, without: Sequence[Span]) -> Iterator[ast.AST]:
    """Yield what is in a tree, some statements aside."""
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        inner = waiting.pop()
        if not (isinstance(inner, ast.stmt) and _within(inner, without)):
            yield inner
            waiting += ast.iter_child_nodes(inner)


def _within(stmt: ast.stmt, spans: Sequence[Span]) -> bool:
    own = span_of(stmt)
    return any(first <= own.start and own.end <= last for first, last in spans)


def _bindings(node: ast.AST) -> Iterator[tuple[str, type[ast.AST]]]:
    """Yield the names that a node itself binds, and what kind of node does."""
    kind = type(node)
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, kind
    elif isinstance(node, ast.arg):
        yield node.arg, kind
    elif isinstance(node, (Named, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        if node.name:
            yield node.name, kind
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for each in node.names:
            name = (each.asname or each.name).partition(".")[0]
            yield name, kind if each.asname is None else ast.alias
