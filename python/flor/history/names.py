"""Which variable of one program is which of another, by what matched statements say of it."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flor.history.tree import Scope, Stmt, Tree
from flor.instrumentation.scopes import own_names

Variable = tuple[Scope | None, str]  # None: a builtin, or a name that nothing binds
_WRAPPERS = {"enumerate", "tqdm"}
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LABELS = ("id", "arg", "names", "asname", "ctx", "type_comment")


class Unclear(Exception):
    """Where, or as what, something belongs in a version can't be told; the text says why."""


@dataclass(frozen=True)
class Vote:
    """What one matched statement says of a variable: which one it is in the version.

    ``binds``: it is bound there. ``exact``: the two statements are the same but for names and
    constants.
    """

    variable: Variable
    binds: bool
    exact: bool
    ours: Stmt
    theirs: Stmt


class Names:
    """What the pairs of a matching say: which variables take the place of today's."""

    def __init__(self, today: Tree, version: Tree, pairs: Mapping[Stmt, Stmt]) -> None:
        self.votes: dict[Variable, list[Vote]] = defaultdict(list)
        self.attributes: dict[str, Counter[str]] = defaultdict(Counter)
        self._today, self._version = today, version
        for ours, theirs in pairs.items():
            self._collect(ours, theirs)

    def likely(self, at: Stmt, name: str) -> str:
        """Return the name that most places give to ``name`` as it is meant at ``at``."""
        votes = self.votes.get((_meant(at, name), name))
        if not votes:
            return name
        counts = Counter(vote.variable[1] for vote in votes)
        return max(counts, key=lambda other: (counts[other], other == name))

    def attribute(self, name: str) -> str:
        """Return what an attribute is called in the version; raises Unclear."""
        if name not in self._today.defined:
            return name
        found = self.attributes.get(name) or Counter()
        if len(found) > 1:
            raise Unclear(f"attribute {name!r} may be {_listed(found)} there")
        if found:
            return next(iter(found))
        if name in self._version.defined:
            return name
        raise Unclear(f"attribute {name!r}, which it reads, is not in that version")

    def variable(self, name: str, meant: Scope, at: Scope) -> str:
        """Return what variable ``name`` of scope ``meant`` is called at ``at``; raises Unclear.

        Another name counts only where each statement that binds the variable has its counterpart,
        the same but for names and constants, the old name is not known there, and at least two
        statements agree. All must agree, always.
        """
        votes = [v for v in self.votes.get((meant, name), ()) if _seen(v.variable, at)]
        votes = [v for v in votes if v.variable[0] is at] or votes
        found = {vote.variable[1] for vote in votes}
        if not found:
            raise Unclear(f"{name!r}, which it reads, has no counterpart there")
        if len(found) > 1:
            raise Unclear(f"{name!r}, which it reads, may be {_listed(found)} there")
        (other,) = found
        if other != name:
            self._check_renamed(name, other, meant, at, votes)
        return other

    def _check_renamed(
        self, name: str, other: str, meant: Scope, at: Scope, votes: list[Vote]
    ) -> None:
        what = f"{name!r}, which it reads, may be {other!r} there"
        if name in at.visible:
            raise Unclear(f"{what}, but that version has another {name!r}")
        exact = [vote for vote in votes if vote.exact]
        if len({vote.ours for vote in exact}) < 2:
            raise Unclear(f"{what}: too little speaks for it")
        passed_in = other in at.params and at is not self._home(votes)
        binding = {vote.ours for vote in exact if vote.binds}
        missing = [stmt for stmt in binders(self._today, meant, name) if stmt not in binding]
        if missing and not passed_in:
            line = missing[0].node.lineno
            raise Unclear(f"{what}; but line {line}, which binds it, has no counterpart")

    def _home(self, votes: list[Vote]) -> Scope | None:
        """Return the scope in which a matched statement binds a variable there."""
        return next((vote.variable[0] for vote in votes if vote.binds), None)

    def _collect(self, ours: Stmt, theirs: Stmt) -> None:
        aligned = _Alignment(self._today.defined, self._version.defined)
        exact = aligned.same(ours.node, theirs.node)
        pairs = aligned.names if exact else list(_common(ours, theirs))
        if exact:
            for mine, other in aligned.attributes:
                self.attributes[mine][other] += 1
        for one, two in pairs:
            for (name, binds), (to, _) in zip(own_names(one), own_names(two), strict=False):
                variable = (_meant(theirs, to, two), to)
                vote = Vote(variable, binds, exact, ours, theirs)
                self.votes[_meant(ours, name, one), name].append(vote)


def binders(tree: Tree, scope: Scope, name: str) -> list[Stmt]:
    """Return the statements that bind a variable."""
    found = []
    for stmt in tree.statements:
        for node in stmt.header:
            for each, binds in own_names(node):
                if binds and each == name and _meant(stmt, name, node) is scope:
                    found.append(stmt)
    return list(dict.fromkeys(found))


def _meant(at: Stmt, name: str, node: ast.AST | None = None) -> Scope | None:
    """Return the scope of the variable that ``name`` means in a statement."""
    if at.inner is not None and isinstance(node, ast.arg):
        return at.inner
    return at.scope.resolve(name)


def _seen(variable: Variable, at: Scope) -> bool:
    return at.resolve(variable[1]) is variable[0]


def _listed(names: object) -> str:
    return " or ".join(repr(name) for name in sorted(names))  # type: ignore[call-overload]


class _Alignment:
    """Two headers side by side: ``names`` and the program's own ``attributes``, in pairs."""

    def __init__(self, ours: set[str], theirs: set[str]) -> None:
        self.names: list[tuple[ast.AST, ast.AST]] = []
        self.attributes: list[tuple[str, str]] = []
        self._ours, self._theirs = ours, theirs

    def same(self, ours: ast.AST, theirs: ast.AST) -> bool:
        """Say whether nothing but names and constants differs."""
        if isinstance(ours, ast.For) and isinstance(theirs, ast.For):
            pairs = zip(_plain_loop(ours), _plain_loop(theirs), strict=True)
            return all(self.same(one, other) for one, other in pairs)
        if type(ours) is not type(theirs):
            return False
        if isinstance(ours, ast.Import | ast.ImportFrom):
            return self._imports(ours, theirs)
        if isinstance(ours, ast.Constant) and isinstance(theirs, ast.Constant):
            return _alike(ours.value, theirs.value)
        named = len([*own_names(ours)])
        if named != len([*own_names(theirs)]):
            return False
        if named:
            self.names.append((ours, theirs))
        return all(
            self._same_field(ours, field, one, other)
            for (field, one), (_, other) in zip(
                ast.iter_fields(ours), ast.iter_fields(theirs), strict=True
            )
        )

    def _same_field(self, node: ast.AST, field: str, one: object, other: object) -> bool:
        if isinstance(node, ast.Attribute) and field == "attr":
            return self._attribute(str(one), str(other))
        if isinstance(node, (*_NAMED, ast.ExceptHandler)) and field == "name":
            return True
        if isinstance(node, ast.Name | ast.arg | ast.Global | ast.Nonlocal) and field in _LABELS:
            return True
        if isinstance(one, list) and isinstance(other, list):
            return self._same_list(one, other)
        if isinstance(one, ast.AST) and isinstance(other, ast.AST):
            return self.same(one, other)
        return field in ("ctx", "type_comment", "lineno") or one == other

    def _same_list(self, one: list[object], other: list[object]) -> bool:
        mine = [each for each in one if not isinstance(each, ast.stmt)]
        yours = [each for each in other if not isinstance(each, ast.stmt)]
        if len(mine) != len(yours):
            return False
        return all(
            self.same(a, b) if isinstance(a, ast.AST) and isinstance(b, ast.AST) else a == b
            for a, b in zip(mine, yours, strict=True)
        )

    def _imports(self, ours: ast.AST, theirs: ast.AST) -> bool:
        if ast.dump(ours) != ast.dump(theirs):
            return False
        self.names.append((ours, theirs))
        return True

    def _attribute(self, one: str, other: str) -> bool:
        """Say whether two attributes may be one: a library's have one name, the program's own may
        have been renamed.
        """
        if one not in self._ours and one == other:
            return True
        self.attributes.append((one, other))
        renamed = one in self._ours - self._theirs and other in self._theirs - self._ours
        return one == other or renamed


def _alike(one: object, other: object) -> bool:
    numbers = (int, float)
    both = isinstance(one, numbers) and isinstance(other, numbers)
    return one == other or both or (isinstance(one, str) and isinstance(other, str))


def _plain_loop(loop: ast.For) -> tuple[ast.expr, ast.expr]:
    """Return target and iterable without ``enumerate`` and ``tqdm`` around it."""
    target, iterable = loop.target, loop.iter
    while isinstance(iterable, ast.Call) and iterable.args:
        name = getattr(iterable.func, "id", getattr(iterable.func, "attr", ""))
        if name not in _WRAPPERS:
            break
        if name == "enumerate":
            if not (isinstance(target, ast.Tuple) and len(target.elts) == 2):
                break
            target = target.elts[1]
        iterable = iterable.args[0]
    return target, iterable


def _common(ours: Stmt, theirs: Stmt) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what statements that differ in more than names still say: names that both have, and
    what the two of them bind, where it is one name each.
    """
    mine = {name: node for node in ours.header for name, _ in own_names(node)}
    other = {name: node for node in theirs.header for name, _ in own_names(node)}
    for name in mine.keys() & other.keys():
        yield mine[name], other[name]
    a, b = ours.bound, theirs.bound
    if len(a) == len(b) == 1 and a != b and ours.kind == "Assign":
        yield mine[a[0]], other[b[0]]
