"""Which loops of a program may train a model, by the names that their bodies may use.

A guess, made before a loop runs, of where it is worth to number the program's objects. What a loop
did is known only afterwards.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from flor.instrumentation.loops import find_loops, loop_statements
from flor.instrumentation.nodes import Named, identifiers, used_name
from flor.instrumentation.source import Source

TRAINS = {"step", "backward", "fit", "partial_fit", "minimize", "train_step", "training_step"}
LOGS = {"print", "log", "info", "warning", "debug", "write", "add_scalar"}


@dataclass
class Uses:
    """The names in some code, and those of them that it calls."""

    names: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)

    def add(self, node: ast.AST) -> None:
        """Take over what a tree uses."""
        self.names |= identifiers(node)
        called = (used_name(each.func) for each in ast.walk(node) if isinstance(each, ast.Call))
        self.calls |= {name for name in called if name}


class Training:
    """The files of a program seen so far."""

    def __init__(self) -> None:
        self._bodies: dict[str, Uses] = {}
        self._loops: dict[Any, Uses] = {}
        self._promises: dict[Any, int] = {}

    def add(self, rewritten: Source) -> None:
        """Take over the functions and loops of a file whose loops are visible."""
        self._promises.clear()
        for node in ast.walk(rewritten.tree):
            if isinstance(node, Named | ast.ClassDef):
                self._bodies.setdefault(node.name, Uses()).add(node)
        statements = loop_statements(rewritten.tree)
        for site in find_loops(rewritten):
            statement = statements.get(site.call_span)
            if statement is not None:
                self._loops.setdefault((rewritten.path, site.call_span), Uses()).add(statement)

    def promise(self, key: Any) -> int:
        """Return 2 for a loop that may train, 1 for one that may only log, else 0.

        Where some loop of the program may train, those that only log promise nothing.
        """
        if not self._promises:
            calls = {key: self._calls(uses) for key, uses in self._loops.items()}
            training = any(each & TRAINS for each in calls.values())
            self._promises = {
                key: 2 if each & TRAINS else 1 if each & LOGS and not training else 0
                for key, each in calls.items()
            }
        return self._promises.get(key, 0)

    def _calls(self, uses: Uses) -> set[str]:
        """Return the names of all that code may call, through the program's own functions."""
        reached: set[str] = set()
        calls = set(uses.calls)
        waiting = list(uses.names)
        while waiting:
            name = waiting.pop()
            if name not in reached and name in self._bodies:
                calls |= self._bodies[name].calls
                waiting += self._bodies[name].names
            reached.add(name)
        return calls
