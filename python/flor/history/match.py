"""Which statement of one program is which of another: by likeness and place, in rounds.

As in GumTree (Falleri et al., ASE 2014), large parts are paired first and what is inside of them
in order; what is left over is looked for elsewhere. Names found to be other names of the same thing
count as equal in the next round.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from flor.history.names import Names
from flor.history.tree import Block, Scope, Stmt, Tokens, Tree, is_compound, tokens

ROUNDS = 3
ALIKE = 0.5  # of two statements at one place
ALIKE_ELSEWHERE = 0.7
MARGIN = 0.1  # what is less apart than this may be either
_SAME_NAME = 0.4
_TELLING = 4  # tokens; `break` or `x = 0` can't be recognised elsewhere


class Matching:
    """Statements of ``today`` and of ``version`` in pairs (``to``, ``back``), their scopes, and
    what the pairs say of names.
    """

    def __init__(self, today: Tree, version: Tree, script: tuple[str, str]) -> None:
        self.today, self.version = today, version
        self.version_statements = set(version.statements)
        self._script = script
        self.names = Names(today, version, {})
        self._heads: dict[Stmt, Tokens] = {}
        self._bags: dict[Stmt, Tokens] = {}
        for _ in range(ROUNDS):
            self._round()

    def _round(self) -> None:
        self.to: dict[Stmt, Stmt] = {}
        self.back: dict[Stmt, Stmt] = {}
        self._likeness: dict[tuple[Stmt, Stmt], float] = {}
        self._weigh()
        modules = self._modules()
        self._definitions()
        for ours, theirs in modules:
            self._align(ours.body, theirs.body)
        for stmt in [stmt for stmt in self.to if stmt.inner]:
            self._inside(stmt, self.to[stmt])
        self._elsewhere()
        self.scopes = dict(modules)
        self.scopes |= {a.inner: v.inner for a, v in self.to.items() if a.inner and v.inner}
        self.names = Names(self.today, self.version, self.to)

    # -- likeness ----------------------------------------------------------------------------------

    def _weigh(self) -> None:
        for stmt in self.version.statements:
            self._heads.setdefault(stmt, tokens(stmt))
        for stmt in self.today.statements:
            self._heads[stmt] = tokens(stmt, partial(self.names.likely, stmt))
            self._bags.pop(stmt, None)

    def _bag(self, stmt: Stmt) -> Tokens:
        if stmt not in self._bags:
            bag = Counter(self._heads[stmt])
            for block in stmt.blocks:
                for item in block.items:
                    bag.update(self._bag(item))
            self._bags[stmt] = bag
        return self._bags[stmt]

    def likeness(self, ours: Stmt, theirs: Stmt) -> float:
        """Return how much of both statements is the same, 0 to 1; 0 for two of different kinds."""
        if ours.kind != theirs.kind:
            return 0.0
        pair = (ours, theirs)
        if pair not in self._likeness:
            alike = _dice(self._heads[ours], self._heads[theirs])
            if is_compound(ours):
                alike = 0.4 * alike + 0.6 * _dice(self._bag(ours), self._bag(theirs))
            self._likeness[pair] = alike
        return self._likeness[pair]

    # -- pairs -------------------------------------------------------------------------------------

    def _pair(self, ours: Stmt, theirs: Stmt) -> None:
        self.to[ours], self.back[theirs] = theirs, ours

    def _modules(self) -> list[tuple[Scope, Scope]]:
        """Pair the files: the scripts, then those of one name."""
        ours, theirs = self._script
        pairs = [(self.today.modules[ours], self.version.modules[theirs])]
        return pairs + [
            (module, self.version.modules[file])
            for file, module in self.today.modules.items()
            if file != ours and file != theirs and file in self.version.modules
        ]

    def _definitions(self) -> None:
        """Pair functions and classes wherever they stand, the most alike first."""
        ours = [stmt for stmt in self.today.statements if stmt.inner]
        theirs = [stmt for stmt in self.version.statements if stmt.inner]
        found = [
            (self._kinship(a, v), -i, -j) for i, a in enumerate(ours) for j, v in enumerate(theirs)
        ]
        for kinship, i, j in sorted(found, reverse=True):
            a, v = ours[-i], theirs[-j]
            if kinship >= ALIKE and a not in self.to and v not in self.back:
                self._pair(a, v)

    def _kinship(self, ours: Stmt, theirs: Stmt) -> float:
        assert ours.inner
        if ours.kind != theirs.kind:
            return 0.0
        same = theirs.inner is not None and ours.inner.name == theirs.inner.name
        return self.likeness(ours, theirs) + (_SAME_NAME if same else 0.0)

    def _inside(self, ours: Stmt, theirs: Stmt) -> None:
        for mine, other in zip(ours.blocks, theirs.blocks, strict=False):
            self._align(mine, other)

    def _align(self, ours: Block, theirs: Block) -> None:
        self._same(ours, theirs)
        for i, j in self._in_order(ours.items, theirs.items):
            a, v = ours.items[i], theirs.items[j]
            if a not in self.to:
                self._pair(a, v)
                self._inside(a, v)

    def _same(self, ours: Block, theirs: Block) -> None:
        """Pair the statements that are the same, and once in both blocks, in whatever order."""
        mine = self._by_tokens(a for a in ours.items if a not in self.to)
        others = self._by_tokens(v for v in theirs.items if v not in self.back)
        for key in mine.keys() & others.keys():
            if len(mine[key]) == len(others[key]) == 1:
                self._pair(mine[key][0], others[key][0])
                self._inside(mine[key][0], others[key][0])

    def _by_tokens(self, stmts: Iterable[Stmt]) -> dict[object, list[Stmt]]:
        found: dict[object, list[Stmt]] = defaultdict(list)
        for stmt in stmts:
            found[stmt.kind, frozenset(self._bag(stmt).items())].append(stmt)
        return found

    def _in_order(self, ours: Sequence[Stmt], theirs: Sequence[Stmt]) -> Iterator[tuple[int, int]]:
        """Yield the pairs, in order, whose likeness is the greatest in all."""
        best = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
        for i in range(len(ours) - 1, -1, -1):
            for j in range(len(theirs) - 1, -1, -1):
                alike = self._open(ours[i], theirs[j])
                paired = best[i + 1][j + 1] + alike if alike else 0.0
                best[i][j] = max(best[i + 1][j], best[i][j + 1], paired)
        i = j = 0
        while i < len(ours) and j < len(theirs):
            alike = self._open(ours[i], theirs[j])
            if alike and best[i][j] == best[i + 1][j + 1] + alike:
                yield i, j
                i, j = i + 1, j + 1
            elif best[i][j] == best[i + 1][j]:
                i += 1
            else:
                j += 1

    def _open(self, ours: Stmt, theirs: Stmt) -> float:
        """Return the likeness of two statements that may be paired, else 0."""
        if ours in self.to or theirs in self.back:
            return 2.0 if self.to.get(ours) is theirs else 0.0
        alike = self.likeness(ours, theirs)
        return alike if alike >= ALIKE else 0.0

    def _elsewhere(self) -> None:
        """Pair what moved: to another place, function or file."""
        for ours in sorted(self.today.statements, key=lambda stmt: -stmt.size):
            if ours in self.to or sum(self._heads[ours].values()) < _TELLING:
                continue
            free = [
                v for v in self.version.statements if v not in self.back and v.kind == ours.kind
            ]
            near = sorted(free, key=lambda v: -self.likeness(ours, v))[:2]
            if not near or self.likeness(ours, near[0]) < ALIKE_ELSEWHERE:
                continue
            alike = self.likeness(ours, near[0])
            rivals = [a for a in self.today.statements if a not in self.to and a is not ours]
            others = [self.likeness(a, near[0]) for a in rivals]
            others += [self.likeness(ours, v) for v in near[1:]]
            if max(others, default=0.0) < alike - MARGIN:
                self._pair(ours, near[0])
                self._inside(ours, near[0])

    # -- doubt -------------------------------------------------------------------------------------

    def rival(self, ours: Stmt) -> Stmt | None:
        """Return another statement of the version that ``ours`` may as well be, or None.

        Also one of today's that may as well be its counterpart. Within a block whose owner is
        paired too only its statements count.
        """
        theirs = self.to[ours]
        if ours.inner and theirs.inner and self._named_alike(ours.inner, theirs.inner):
            return None
        near = self._owners_paired(ours, theirs)
        for v in theirs.block.items if near else self.version.statements:
            if v is not theirs and self._rivals(ours, v, theirs) and not _nested(v, theirs):
                other = self.back.get(v)
                if other is None or self.likeness(other, v) < self.likeness(ours, v):
                    return v
        for a in ours.block.items if near else self.today.statements:
            if a is not ours and a not in self.to and self._rivals(a, theirs, theirs, ours):
                return a
        return None

    def _rivals(self, ours: Stmt, theirs: Stmt, of: Stmt, by: Stmt | None = None) -> bool:
        """Say whether a pair is about as good as the pair of ``by`` (``ours``) and ``of``; with one
        header a loop or a condition is, whose body is less alike.
        """
        if ours.kind != theirs.kind:
            return False
        same_head = ours.blocks and self._heads[ours] == self._heads[theirs]
        margin = 3 * MARGIN if same_head else MARGIN
        return self.likeness(ours, theirs) >= self.likeness(by or ours, of) - margin

    def _named_alike(self, ours: Scope, theirs: Scope) -> bool:
        """Say whether two definitions have one name that is no other's in either program."""
        both = [
            sum(scope.name == ours.name and scope.file == one.file for scope in tree.scopes)
            for tree, one in ((self.today, ours), (self.version, theirs))
        ]
        return ours.name == theirs.name and both == [1, 1]

    def _owners_paired(self, ours: Stmt, theirs: Stmt) -> bool:
        mine, other = ours.block.owner, theirs.block.owner
        if mine is None or other is None:
            return mine is other and self.scopes.get(ours.scope) is theirs.scope
        return self.to.get(mine) is other


def _nested(one: Stmt, other: Stmt) -> bool:
    return one in other.above() or other in one.above()


def _dice(one: Tokens, other: Tokens) -> float:
    both = sum((one & other).values())
    total = sum(one.values()) + sum(other.values())
    return 2 * both / total if total else 1.0
