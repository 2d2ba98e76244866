"""Whether code outside the loops runs before the first of them or after."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from flor.instrumentation.loops import For
from flor.instrumentation.nodes import Function
from flor.instrumentation.program import Mention, Program

REPEATS = (
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def inside_loops(program: Program, node: ast.AST, loops: set[int]) -> Iterator[ast.AST]:
    """Yield the flor loops (by ``id`` of the for statement) in whose bodies ``node`` runs."""
    function = program.function_of(node)
    inner = node
    for each in program.above(node):
        if each is function:
            return
        if id(each) in loops and isinstance(each, For) and any(inner is s for s in each.body):
            yield each
        inner = each


class Order:
    """The order in which the text says that code outside the loops runs, where it says it."""

    def __init__(
        self, script: ast.Module, program: Program, calls: Sequence[ast.Call], suites: set[int]
    ) -> None:
        self.script, self.program, self.calls, self.suites = script, program, calls, suites
        owners = [program.function_of(call) for call in self.calls]
        self.names = {getattr(each, "name", "") for each in owners if each is not None}
        hidden = any(each in program.always for each in owners if each is not None)
        importing = any(each is None and not self.in_script(call)
                        for call, each in zip(calls, owners, strict=True))  # fmt: skip
        self.unknown = hidden or importing or bool(self.names & program.closure(()))
        self.starting = self._starting()
        self.triggers = self._triggers()

    def in_script(self, node: ast.AST) -> bool:
        """Say whether code stands in the program's main file."""
        return self.program.file_of(node) is self.script

    def of(self, site: ast.stmt) -> tuple[bool, bool]:
        """Say whether a statement outside the loops may run before the first, and after it."""
        function = self.program.function_of(site)
        if function is not None and self.only_inside(function, set()):
            return False, False
        if function is None and not self.in_script(site):
            return True, True
        triggers = self.triggers.get(function, [])
        if self.unknown or self._repeats_with(site, triggers):
            return True, True
        if function is None:
            if not triggers:
                return True, True
            end = site.end_lineno or site.lineno
            return site.lineno <= _line(triggers[-1]), end >= _line(triggers[0])
        ahead = not triggers or (site.end_lineno or site.lineno) < _line(triggers[0])
        return True, not (ahead and self.enters_before(function, set()))

    def only_inside(self, function: Function, seen: set[Function]) -> bool:
        """Say whether a function is only ever called from the bodies of flor loops."""
        mentions = self._mentions(function)
        if function in seen or function in self.program.always or not mentions:
            return False
        return all(self._inside(each.node, seen | {function}) for each in mentions)

    def _inside(self, node: ast.AST, seen: set[Function]) -> bool:
        if any(True for _ in inside_loops(self.program, node, self.suites)):
            return True
        caller = self.program.function_of(node)
        return caller is not None and self.only_inside(caller, seen)

    def enters_before(self, function: Function, seen: set[Function]) -> bool:
        """Say whether a function is called once, and no loop has begun when it is."""
        mentions = self._mentions(function)
        if function in seen or function in self.program.always or len(mentions) != 1:
            return False
        node = mentions[0].node
        caller = self.program.function_of(node)
        triggers = self.triggers.get(caller, [])
        if self._repeated(node, caller) or (caller is None and not self.in_script(node)):
            return False
        if triggers and triggers[0] is not node and _line(triggers[0]) <= self._end(node):
            return False
        return caller is None or self.enters_before(caller, seen | {function})

    def _mentions(self, function: Function) -> list[Mention]:
        return self.program.mentions.get(getattr(function, "name", ""), [])

    def _starting(self) -> set[str]:
        """Return the names whose use may start a loop."""
        starting = set(self.names)
        while True:
            more = {n for n, body in self.program.bodies.items() if not starting.isdisjoint(body)}
            if more <= starting:
                return starting
            starting |= more

    def _triggers(self) -> dict[Function | None, list[ast.AST]]:
        """Return, by function, what may start a loop there, in the order of the text."""
        found: dict[Function | None, list[ast.AST]] = {}
        named = [m.node for name in self.starting for m in self.program.mentions.get(name, [])]
        for node in (*self.calls, *named):
            function = self.program.function_of(node)
            if function is not None or self.in_script(node):  # what imports start is unknown
                found.setdefault(function, []).append(node)
        for nodes in found.values():
            nodes.sort(key=lambda node: (_line(node), getattr(node, "col_offset", 0)))
        return found

    def _around(self, node: ast.AST, function: Function | None) -> Iterator[ast.AST]:
        for each in self.program.above(node):
            if each is function:
                return
            yield each

    def _repeated(self, node: ast.AST, function: Function | None) -> bool:
        return any(isinstance(each, REPEATS) for each in self._around(node, function))

    def _repeats_with(self, site: ast.stmt, triggers: Sequence[ast.AST]) -> bool:
        """Say whether some repetition contains both a statement and the start of a loop."""
        function = self.program.function_of(site)
        around = {id(n) for n in self._around(site, function) if isinstance(n, REPEATS)}
        return any(id(n) in around for each in triggers for n in self._around(each, function))

    def _end(self, node: ast.AST) -> int:
        """Return the last line of the whole expression around ``node``."""
        end = _line(node)
        for each in self.program.above(node):
            if isinstance(each, ast.stmt):
                break
            end = max(end, getattr(each, "end_lineno", None) or 0)
        return end


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))
