"""Who may call whom in a user's program: by name alone, so that nothing is missed by type."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flor.instrumentation.contained import contained_classes, is_dunder
from flor.instrumentation.nodes import (
    Function,
    Named,
    Parents,
    identifiers,
    is_lazy,
    suspends,
    used_name,
)
from flor.instrumentation.source import Source

DYNAMIC = {"eval", "exec", "compile", "globals", "locals", "vars", "__import__", "__dict__"}
REFLECTING = {"getattr", "attrgetter", "methodcaller", "import_module", "run_path", "run_module"}
PLAIN_DECORATORS = {
    "no_grad",
    "inference_mode",
    "enable_grad",
    "staticmethod",
    "classmethod",
    "abstractmethod",
    "override",
}
HOOKS = {"forward", "call"}  # called by libraries under these names


@dataclass(frozen=True)
class Mention:
    """A use of a name: as what is called, or otherwise; ``bare`` when it can't mean a method."""

    node: ast.AST
    called: bool
    bare: bool = False


class Program:
    """The functions of some sources and the names in their bodies.

    ``always`` maps functions that anything may call, at any time, to the reason. All answers are
    over-approximations: a call is matched by name, whatever the object.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.nodes = [node for source in sources for node in ast.walk(source.tree)]
        self.parents: Parents = {c: p for p in self.nodes for c in ast.iter_child_nodes(p)}
        self.functions = [node for node in self.nodes if isinstance(node, Function)]
        self.aliases: dict[str, set[str]] = {}
        self.bodies = self._bodies()
        self.mentions = self._mentions()
        self.strings = {
            node.value
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        self.dynamic = any(self._dynamic(node) for node in self.nodes)
        self.contained = contained_classes(self.nodes, self.parents)
        self.always = {node: why for node in self.functions if (why := self._why(node))}
        lazy = [node for node in self.nodes if is_lazy(node, self.parents)]
        self.seeds = {name for node in (*self.always, *lazy) for name in identifiers(node)}

    def _bodies(self) -> dict[str, set[str]]:
        bodies: dict[str, set[str]] = {}
        for node in self.nodes:
            if isinstance(node, Named | ast.ClassDef):
                bodies.setdefault(node.name, set()).update(identifiers(node))
            elif isinstance(node, ast.alias) and node.asname:
                bodies.setdefault(node.asname, set()).add(node.name.rsplit(".", 1)[-1])
                self.aliases.setdefault(node.name, set()).add(node.asname)
        return bodies

    def _mentions(self) -> dict[str, list[Mention]]:
        mentions: dict[str, list[Mention]] = {}
        for node in self.nodes:
            if isinstance(node, ast.alias) and node.asname:
                # Under another name: what is done with it is not followed.
                mentions.setdefault(node.name, []).append(Mention(node, True))
            name = used_name(node)
            if name is not None and isinstance(getattr(node, "ctx", None), ast.Load):
                above = self.parents.get(node)
                called = isinstance(above, ast.Call) and (above.func is node or instruments(above))
                bare = isinstance(node, ast.Name) and not self._in_class(node)
                mentions.setdefault(name, []).append(Mention(node, called, bare))
        return mentions

    def _dynamic(self, node: ast.AST) -> bool:
        name = used_name(node)
        if name in DYNAMIC and not (
            isinstance(node, ast.Attribute) and name in {"eval", "compile"}
        ):
            return True
        if name not in REFLECTING:
            return False
        above = self.parents.get(node)
        if not isinstance(above, ast.Call) or above.func is not node:
            return True
        where = 1 if name == "getattr" else 0
        return not _constant(above.args[where : where + 1])

    def _why(self, node: Function) -> str:
        """Say why anything may call a function; "" when only calls by its name can."""
        if self.dynamic:
            return "the program looks names up at run time"
        if isinstance(node, ast.Lambda):
            return "a lambda"
        name = node.name
        if is_dunder(name) or name in HOOKS:
            return f"{name} is called without being named"
        if suspends(node):
            return f"{name} runs when its result is consumed"
        if not all(self.plain(each) for each in node.decorator_list):
            return f"{name} is decorated"
        owner = self.parents.get(node)
        method = isinstance(owner, ast.ClassDef)
        if isinstance(owner, ast.ClassDef) and owner not in self.contained:
            return f"libraries may call the methods of {owner.name}"
        if name in self.strings:
            return f"{name} is named in a string"
        uses = [each for alias in self._names_of(name) for each in self.mentions.get(alias, [])]
        if any(not each.called and not (method and each.bare) for each in uses):
            return f"{name} is passed on"
        return ""

    def _in_class(self, node: ast.AST) -> bool:
        """Say whether a name stands in a class body, where it may mean a method."""
        function = self.function_of(node)
        return any(isinstance(each, ast.ClassDef) for each in self._until(node, function))

    def _until(self, node: ast.AST, last: ast.AST | None) -> Iterator[ast.AST]:
        for each in self.above(node):
            if each is last:
                return
            yield each

    def _names_of(self, name: str) -> set[str]:
        """Return a function's name and those it is imported as."""
        return {name} | self.aliases.get(name, set())

    def plain(self, decorator: ast.expr) -> bool:
        """Say whether a decorator leaves the function to be called by its name alone."""
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = used_name(node)
        if _is_instrument(node):
            return True
        return name in PLAIN_DECORATORS and name not in self.bodies

    def closure(self, names: Iterable[str]) -> set[str]:
        """Return all names that may be used when code that uses ``names`` runs."""
        reached: set[str] = set()
        waiting = [*names, *self.seeds]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self.bodies.get(name, ())
        return reached

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes around ``node``, innermost first."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def file_of(self, node: ast.AST) -> ast.AST:
        """Return the module that ``node`` stands in."""
        return ([*self.above(node)] or [node])[-1]

    def function_of(self, node: ast.AST) -> Function | None:
        """Return the function in whose body ``node`` runs; None at module level."""
        inner = node
        for each in self.above(node):
            if isinstance(each, ast.Lambda):
                return each
            if isinstance(each, Named) and isinstance(inner, ast.stmt):
                return each
            inner = each
        return None


def instruments(call: ast.Call) -> bool:
    """Say whether a call is one of ``flor.instrument``: it calls nothing of what it is given."""
    return _is_instrument(call.func)


def calls_instrument(tree: ast.Module) -> bool:
    """Say whether a program calls ``flor.instrument``, or decorates with it."""
    return any(_is_instrument(node) for node in ast.walk(tree))


def _is_instrument(node: ast.AST) -> bool:
    """Say whether a node is ``flor.instrument``."""
    inside = node.value if isinstance(node, ast.Attribute) else None
    return isinstance(inside, ast.Name) and inside.id == "flor" and used_name(node) == "instrument"


def _constant(arguments: Sequence[ast.expr]) -> bool:
    return bool(arguments) and all(isinstance(each, ast.Constant) for each in arguments)
