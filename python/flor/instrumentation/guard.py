"""Loops whose ``flor.loop`` is wrapped in another call, made skippable."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable

from flor.instrumentation.loops import LoopSite, loop_statements
from flor.instrumentation.source import Source

SKIPPING = "__flor_skipping__"


def guard_wrapped(source: Source, loops: Iterable[LoopSite]) -> ast.Module:
    """Return a new tree whose wrapped loops begin with ``if __flor_skipping__(): continue``.

    The guard stands at the place of the loop's first statement, and everything else keeps its own:
    tracebacks and ``co_positions()`` name the lines of the user's file.
    """
    tree = copy.deepcopy(source.tree)
    statements = loop_statements(tree)
    wrapped = {site.call_span for site in loops if site.kind == "wrapped"}
    guarded = {id(node): node for where, node in statements.items() if where in wrapped}
    for node in guarded.values():
        node.body.insert(0, _guard(node.body[0]))
    return tree


def _guard(first: ast.stmt) -> ast.If:
    call = ast.Call(func=ast.Name(id=SKIPPING, ctx=ast.Load()), args=[], keywords=[])
    guard = ast.If(test=call, body=[ast.Continue()], orelse=[])
    for node in ast.walk(guard):
        ast.copy_location(node, first)
    return guard
