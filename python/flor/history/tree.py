"""A program as statements in blocks in scopes, with what is needed to recognise them elsewhere."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from flor.instrumentation.align import COMPOUND, blocks_of
from flor.instrumentation.scopes import own_names
from flor.instrumentation.source import Source

Named = ast.FunctionDef | ast.AsyncFunctionDef
Loop = ast.For | ast.AsyncFor | ast.While
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
KINDS: dict[type[ast.stmt], str] = {
    ast.For: "loop", ast.AsyncFor: "loop", ast.While: "loop", ast.AsyncFunctionDef: "FunctionDef",
    ast.AsyncWith: "With", ast.AugAssign: "Assign", ast.AnnAssign: "Assign", ast.TryStar: "Try",
}  # fmt: skip


@dataclass(eq=False)
class Scope:
    """A module, function or class: what binds names. ``params``: bound before the first line."""

    file: str
    name: str
    node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    parent: Scope | None
    body: Block = field(init=False)
    bound: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)

    def resolve(self, name: str) -> Scope | None:
        """Return the scope whose variable ``name`` means here; None for a builtin."""
        scope: Scope | None = self
        while scope is not None:
            visible = scope is self or not isinstance(scope.node, ast.ClassDef)
            if visible and name in scope.bound:
                return scope
            scope = scope.parent
        return None

    @property
    def visible(self) -> set[str]:
        """The names that code here may mean, builtins left out."""
        names = set(self.bound)
        scope = self.parent
        while scope is not None:
            if not isinstance(scope.node, ast.ClassDef):
                names |= scope.bound
            scope = scope.parent
        return names


@dataclass(eq=False)
class Block:
    """The statements of one suite; ``owner`` None where it is the body of its scope."""

    scope: Scope
    owner: Stmt | None
    place: int
    items: list[Stmt] = field(default_factory=list)

    def above(self) -> Iterator[Stmt]:
        """Yield the compound statements around it inside of its scope, innermost first."""
        owner = self.owner
        while owner is not None and owner.inner is not self.scope:
            yield owner
            owner = owner.block.owner

    @property
    def raw(self) -> list[ast.stmt]:
        """Its statements as they stand in the file, those too that do nothing."""
        if self.owner is None or self.owner.inner is self.scope:
            return self.scope.node.body
        return blocks_of(self.owner.node)[self.place]


@dataclass(eq=False)
class Gap:
    """Where a statement that was left out stands: before item ``index`` of a block."""

    node: ast.stmt
    block: Block
    index: int


@dataclass(eq=False)
class Stmt:
    """A statement at ``index`` of its block."""

    node: ast.stmt
    block: Block
    index: int
    blocks: list[Block] = field(default_factory=list)
    inner: Scope | None = None  # the scope that a definition opens

    @property
    def scope(self) -> Scope:
        """The scope it stands in."""
        return self.block.scope

    @cached_property
    def kind(self) -> str:
        """What it may be matched with."""
        return KINDS.get(type(self.node), type(self.node).__name__)

    @cached_property
    def header(self) -> list[ast.AST]:
        """The nodes of the statement itself, without the statements inside, in order."""
        return list(header_nodes(self.node))

    @property
    def bound(self) -> list[str]:
        """The names that its header binds, in order."""
        return [name for node in self.header for name, binds in own_names(node) if binds]

    def walk(self) -> Iterator[Stmt]:
        """Yield the statement and all inside of it."""
        yield self
        for block in self.blocks:
            for item in block.items:
                yield from item.walk()

    @cached_property
    def size(self) -> int:
        """How many statements it is."""
        return sum(1 for _ in self.walk())

    def above(self) -> Iterator[Stmt]:
        """Yield the compound statements around it inside of its scope, innermost first."""
        return self.block.above()


class Tree:
    """All statements of a program's files. ``without``: statements to leave out, by ``id``."""

    def __init__(self, sources: Mapping[str, Source], without: Iterable[ast.stmt] = ()) -> None:
        self.sources = sources
        self.modules: dict[str, Scope] = {}
        self.scopes: list[Scope] = []
        self.statements: list[Stmt] = []
        self.gaps: list[Gap] = []
        self.defined: set[str] = set()  # attributes and methods that the program itself makes
        self._without = {id(stmt) for stmt in without}
        for file, source in sources.items():
            self.modules[file] = self._scope(file, "", source.tree, None)
        for scope in self.scopes:
            bind(scope, self._kept)

    def _kept(self, node: ast.AST) -> bool:
        return id(node) not in self._without

    def _scope(self, file: str, name: str, node: ast.AST, parent: Scope | None) -> Scope:
        scope = Scope(file, name, node, parent)  # type: ignore[arg-type]
        self.scopes.append(scope)
        scope.body = self._block(scope, None, 0, node.body)  # type: ignore[attr-defined]
        return scope

    def _block(
        self, scope: Scope, owner: Stmt | None, place: int, body: Sequence[ast.stmt]
    ) -> Block:
        block = Block(scope, owner, place)
        for node in body:
            if id(node) in self._without:
                self.gaps.append(Gap(node, block, len(block.items)))
                continue
            if _idle(node):
                continue
            stmt = Stmt(node, block, len(block.items))
            block.items.append(stmt)
            self.statements.append(stmt)
            self._inside(stmt, scope)
        return block

    def _inside(self, stmt: Stmt, scope: Scope) -> None:
        node = stmt.node
        for each in stmt.header:
            if isinstance(each, ast.Attribute) and not isinstance(each.ctx, ast.Load):
                self.defined.add(each.attr)
        if isinstance(node, Named | ast.ClassDef):
            if isinstance(scope.node, ast.ClassDef):
                self.defined.add(node.name)
            name = f"{scope.name}.{node.name}" if scope.name else node.name
            stmt.inner = self._scope(scope.file, name, node, scope)
            stmt.inner.body.owner = stmt
            stmt.blocks = [stmt.inner.body]
        else:
            stmt.blocks = [
                self._block(scope, stmt, place, body) for place, body in enumerate(blocks_of(node))
            ]


def _idle(node: ast.stmt) -> bool:
    lone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return lone or isinstance(node, ast.Pass)


def header_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and what is inside of it but for statements, in the order of the fields."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield from header_nodes(child)


def bind(scope: Scope, kept: Callable[[ast.AST], bool]) -> None:
    """Fill in what a scope binds; names of comprehensions and lambdas are their own affair."""
    shared: set[str] = set()
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope.node))
    if isinstance(scope.node, Named):
        scope.params = {arg.arg for arg in ast.walk(scope.node.args) if isinstance(arg, ast.arg)}
        scope.bound |= scope.params
        waiting = list(scope.node.body)
    while waiting:
        node = waiting.pop()
        if not kept(node):
            continue
        if isinstance(node, ast.Global | ast.Nonlocal):
            shared |= set(node.names)
        scope.bound |= {name for name, binds in own_names(node) if binds}
        if not isinstance(node, (Named, ast.ClassDef, ast.Lambda, *COMPREHENSIONS)):
            waiting += ast.iter_child_nodes(node)
    scope.bound -= shared


Tokens = Counter[tuple[str, str]]


def tokens(stmt: Stmt, known_as: Callable[[str], str] = str) -> Tokens:
    """Return what a statement's header is made of; a name counts as one and by its own name.

    ``known_as``: the name that counts for a name.
    """
    found: Tokens = Counter()
    for node in stmt.header:
        for sort, text in _token(node):
            found[sort, known_as(text) if sort == "name" and text else text] += 1
    return found


def _token(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.expr_context() | ast.arguments():
            return
        case ast.Name():
            yield ("name", "")
            yield ("name", node.id)
        case ast.arg():
            yield ("name", "")
            yield ("name", node.arg)
        case ast.Attribute():
            yield ("attribute", node.attr)
        case ast.Constant():
            yield ("constant", "")
            yield ("constant", repr(node.value))
        case ast.keyword():
            yield ("keyword", node.arg or "**")
        case ast.alias():
            yield ("import", node.name)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield ("definition", "")
            yield ("name", node.name)
        case ast.stmt():
            yield (KINDS.get(type(node), type(node).__name__), "")
        case _:
            yield (type(node).__name__, "")


def is_compound(stmt: Stmt) -> bool:
    """Whether a statement has statements inside."""
    return isinstance(stmt.node, COMPOUND)
