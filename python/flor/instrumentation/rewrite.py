"""Hands-free: the loops of a program that never heard of flor, made visible.

``for x in E`` becomes ``for x in SITE(E)``, ``while C`` a ``for () in SITE()`` that is finished
when ``C`` is false. In the tree SITE stands as a call of ``__flor_loop__``, which the analyses take
for a ``flor.loop``; in the compiled code it is a constant of the code object, so that no name is
added to the program. Lines and columns stay those of the user's file.
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Callable, Collection, Sequence
from types import CodeType
from typing import Any, TypeVar

from flor.instrumentation.loops import LOOP, LoopSite, Position, find_loops, position_of
from flor.instrumentation.nodes import Named, used_name
from flor.instrumentation.protect import protect
from flor.instrumentation.quiet import Weight, weigh
from flor.instrumentation.source import Source
from flor.instrumentation.spans import Span

FINISH = "__flor_finish__"
_MARK = "\0flor:"
# Compilers of their own read the bytecode or the source: they get the code as it was written.
_COMPILERS = {"compile", "jit", "njit", "vectorize", "guvectorize", "script", "trace", "kernel"}

Node = TypeVar("Node", bound=ast.AST)
Make = Callable[[LoopSite, bool, int, bool], Any]


def rewrite(source: Source) -> Source:
    """Return the source with its loops as calls of ``__flor_loop__``.

    Left alone are loops over a ``flor.loop``, quiet ones (:mod:`.quiet`), those of comprehensions,
    and functions that another compiler reads.
    """
    tree = copy.deepcopy(source.tree)
    taken = {site.body[0] for site in find_loops(source) if site.kind != "other"}
    _Rewriter(taken, _handed_over(tree), weigh(tree)).visit(tree)
    return Source(source.path, source.text, tree)


def compile_loops(
    source: Source,
    filename: str,
    make: Make,
    added: Sequence[Span] = (),
    defined: Collection[str] = (),
    rewritten: Source | None = None,
) -> CodeType:
    """Return the code of a source whose loops are visible.

    ``make(site, suspends, counted, light)`` gives each SITE; see ``_core.LoopSite``. What counts is
    what a loop is without the ``added`` lines, those of probes: so it was in the run.
    ``added``: lines of probes, which are protected; ``defined``: names that the program defines.
    ``rewritten``: the source as :func:`rewrite` returned it, used up here; None: done here.
    Warnings of the compiler about the program's own text are shown once, as Python does.
    """
    compile(source.text, filename, "exec", dont_inherit=True)
    rewritten = rewritten or rewrite(source)
    objects: dict[str, Any] = {}
    lazy = _suspending(rewritten.tree)
    weights = weigh(source.tree)
    recorded = weigh(source.tree, added) if added else weights
    for site in find_loops(rewritten):
        if site.call_span in lazy:
            light = weights[site.body[0]] == Weight.LIGHT
            counted = recorded.get(site.body[0], Weight.QUIET)
            made = make(site, lazy[site.call_span], counted, light)
            objects[f"{_MARK}{site.call_span}"] = made
    tree = protect(_Placer().visit(rewritten.tree), added, defined)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "'str' object is not callable"
        code = compile(tree, filename, "exec", dont_inherit=True)
    return _with_objects(code, objects)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, taken: set[int], handed: set[str], weights: dict[int, Weight]) -> None:
        self.taken, self.handed, self.weights = taken, handed, weights

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        foreign = node.name in self.handed or any(map(_compiles, node.decorator_list))
        return node if foreign else self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node if any(map(_compiles, node.decorator_list)) else self.generic_visit(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        if node.lineno not in self.taken and self.weights[node.lineno]:
            node.iter = _call(LOOP, [_at(ast.Constant(_name(node.target)), node.iter), node.iter])
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        if self.weights[node.lineno] < Weight.FULL:
            return node
        where = node.test
        call = _call(LOOP, [_at(ast.Constant("loop"), where)], where)
        body = node.body
        if not (isinstance(where, ast.Constant) and where.value):
            body = [_leave_unless(where), *body]
        target = _at(ast.Tuple([], ast.Store()), where)
        return _at(ast.For(target, call, body, node.orelse, None), node)


class _Placer(ast.NodeTransformer):
    """Puts constants, to be replaced in the code object, where calls of the markers stand."""

    def __init__(self) -> None:
        self.around: list[str] = []

    def visit_For(self, node: ast.For) -> ast.AST:
        mark = ""
        if isinstance(node.iter, ast.Call) and _is(node.iter.func, LOOP):
            mark = f"{_MARK}{position_of(node.iter)}"
            node.iter = _call_constant(mark, node.iter.args[1:], node.iter)
            node.iter.args = [self.visit(each) for each in node.iter.args]
        else:
            node.iter = self.visit(node.iter)
        self.around.append(mark)
        node.body = [self.visit(each) for each in node.body]
        self.around.pop()
        node.orelse = [self.visit(each) for each in node.orelse]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is(node.func, FINISH):
            return _call_constant(f"{self.around[-1]}:finish", [], node)
        return self.generic_visit(node)


def _with_objects(code: CodeType, objects: dict[str, Any]) -> CodeType:
    """Return the code with its marks replaced; functions inside too."""

    def real(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return _with_objects(constant, objects)
        if isinstance(constant, str) and constant.startswith(_MARK):
            mark, finish, _ = constant.partition(":finish")
            return objects[mark].finish if finish else objects[mark]
        return constant

    return code.replace(co_consts=tuple(map(real, code.co_consts)))


def _name(target: ast.expr) -> str:
    """Return the loop's name: its target variable; the parts of a tuple joined with ``_``."""
    if isinstance(target, ast.Tuple | ast.List):
        return "_".join(_name(part) for part in target.elts) or "loop"
    if isinstance(target, ast.Starred):
        return _name(target.value)
    name = used_name(target)
    return "loop" if name in (None, "_") else str(name)


def _handed_over(tree: ast.Module) -> set[str]:
    """Return the names of functions that are given to another compiler, and ``forward``."""
    given = {"forward"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _compiles(node.func):
            given |= {name for arg in node.args if (name := used_name(arg))}
    return given


def _compiles(decorator: ast.expr) -> bool:
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(node, ast.Attribute | ast.Name) and used_name(node) in _COMPILERS


def _suspending(tree: ast.Module) -> dict[Position, bool]:
    """Return by position whether a loop stands in a generator or coroutine."""
    found: dict[Position, bool] = {}

    def walk(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, Named | ast.Lambda):
            lazy = isinstance(node, ast.AsyncFunctionDef) or _yields(node)
        iterated = node.iter if isinstance(node, ast.For) else None
        if isinstance(iterated, ast.Call) and _is(iterated.func, LOOP):
            found[position_of(iterated)] = lazy
        for child in ast.iter_child_nodes(node):
            walk(child, lazy)

    walk(tree, False)
    return found


def _yields(function: ast.AST) -> bool:
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, Named | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _call(name: str, args: list[ast.expr], where: ast.AST | None = None) -> ast.Call:
    place = where or args[-1]
    return _at(ast.Call(_at(ast.Name(name, ast.Load()), place), args, []), place)


def _call_constant(mark: str, args: list[ast.expr], where: ast.AST) -> ast.Call:
    return _at(ast.Call(_at(ast.Constant(mark), where), args, []), where)


def _leave_unless(test: ast.expr) -> ast.If:
    finish = _at(ast.Expr(_call(FINISH, [], test)), test)
    negated = _at(ast.UnaryOp(ast.Not(), test), test)
    return _at(ast.If(negated, [finish, _at(ast.Continue(), test)], []), test)


def _at(node: Node, where: ast.AST) -> Node:
    return ast.copy_location(node, where)
