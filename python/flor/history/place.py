"""Where an added statement belongs in another version, found from what stands around it.

A place is taken only where today's neighbours of the statement leave no choice, or only choices
between which nothing happens that the statement could see.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from flor.history.effects import Effects
from flor.history.match import ALIKE, ALIKE_ELSEWHERE, Matching
from flor.history.names import Unclear, binders
from flor.history.rename import renamed
from flor.history.routes import routes
from flor.history.tree import Block, Gap, Stmt

PLAIN = ("With", "Try")  # code moved into these runs as often as it did


@dataclass
class Cut:
    """A place in a version: before item ``index`` of ``block``; ``stmts`` go there."""

    block: Block
    index: int
    stmts: list[ast.stmt]
    notes: list[str] = field(default_factory=list)


class Placer:
    """Finds the places of added statements; ``own``: the names that only added statements bind."""

    def __init__(self, matching: Matching, own: set[str]) -> None:
        self.matching, self.own = matching, own
        self.effects = Effects(matching.version)

    def place(self, gap: Gap) -> Cut:
        """Return where the statement goes, in the version's names; raises Unclear."""
        anchors = self._anchors(gap)
        block = self._block(gap, anchors)
        anchors = [(i, lifted) for i, stmt in anchors if (lifted := _lift(stmt, block))]
        notes = self._check_around(gap, block)
        stmts, reads = renamed(self.matching, gap, block.scope, self.own)
        index = self._index(gap, block, anchors, stmts, reads)
        self._check_bound(block, index, reads)
        return Cut(block, index, stmts, notes)

    def _anchors(self, gap: Gap) -> list[tuple[int, Stmt]]:
        """Return the neighbours that the version surely has: their index, what they are there."""
        found = []
        for stmt in gap.block.items:
            theirs = self.matching.to.get(stmt)
            if theirs is None or self.matching.rival(stmt) is not None:
                continue
            if stmt.blocks or self.matching.likeness(stmt, theirs) >= ALIKE_ELSEWHERE:
                found.append((stmt.index, theirs))
        return found

    # -- the block ---------------------------------------------------------------------------------

    def _block(self, gap: Gap, anchors: Sequence[tuple[int, Stmt]]) -> Block:
        home = self._home(gap.block)
        left = [stmt for i, stmt in anchors if i < gap.index][-1:]
        right = [stmt for i, stmt in anchors if i >= gap.index][:1]
        near = left + right
        if not near:
            if home is None:
                raise Unclear("what stands around it has no counterpart there")
            return home
        choices = _chain(near[0])
        for stmt in near[1:]:
            choices = [block for block in choices if block in _chain(stmt)]
        if not choices and home is not None and all(home in _chain(each, "If") for each in near):
            return home  # one of them has become conditional; the block is still the same
        if not choices:
            raise Unclear("the statements before and after it stand apart there")
        if len(near) == 1 and home is not None and home is not choices[0]:
            if home not in choices:
                raise Unclear("the only neighbour found there has moved away")
            return home
        return choices[0]

    def _home(self, block: Block) -> Block | None:
        """Return the block of the version that is this one by its owner."""
        if block.owner is None:
            scope = self.matching.scopes.get(block.scope)
            return scope.body if scope else None
        theirs = self.matching.to.get(block.owner)
        if theirs is None or block.place >= len(theirs.blocks):
            return None
        return theirs.blocks[block.place]

    def _check_around(self, gap: Gap, block: Block) -> list[str]:
        """See that the place runs as often and when it does today; return what is worth telling."""
        ours = [stmt for stmt in gap.block.above() if stmt.kind not in PLAIN]
        theirs = [stmt for stmt in block.above() if stmt.kind not in PLAIN]
        self._check_sure(gap, ours)
        if self.matching.scopes.get(gap.block.scope) is not block.scope:
            self._check_routes(gap, block)
            return [f"in {block.scope.name or 'the module'} there"]
        self._check_scope(gap)
        around = [self.matching.to[stmt] for stmt in ours]
        if [stmt for stmt in theirs if stmt in around] != around:
            raise Unclear("the loops and conditions around it are others there")
        more = [stmt for stmt in theirs if stmt not in around]
        return [
            f"inside of line {stmt.node.lineno} too, which today's source lacks" for stmt in more
        ]

    def _check_sure(self, gap: Gap, around: Sequence[Stmt]) -> None:
        for stmt in around:
            what = f"the {_called(stmt)} of line {stmt.node.lineno} around it"
            if stmt not in self.matching.to:
                raise Unclear(f"{what} has no counterpart there")
            rival = self.matching.rival(stmt)
            if rival is not None:
                theirs = self.matching.to[stmt]
                if rival in self.matching.version_statements:
                    lines = sorted((theirs.node.lineno, rival.node.lineno))
                    raise Unclear(f"{what} may be line {lines[0]} or line {lines[1]} there")
                raise Unclear(
                    f"{what} may be gone: line {rival.node.lineno} is as like what is there"
                )

    def _check_scope(self, gap: Gap) -> None:
        scope = gap.block.scope
        while scope.parent is not None:
            owner = scope.body.owner
            assert owner
            self._check_sure(gap, [owner])
            scope = scope.parent

    def _check_routes(self, gap: Gap, block: Block) -> None:
        """See that code in another function is reached through the same loops."""
        to = self.matching.to
        ours = routes(self.matching.today, gap.block)
        theirs = routes(self.matching.version, block)
        mapped = {tuple(loop and to.get(loop) for loop in route) for route in ours}
        if not mapped or mapped != theirs:
            raise Unclear(
                f"what stands around it is in {block.scope.name or 'the module'} there, which is "
                "not reached through the same loops"
            )

    # -- the index ---------------------------------------------------------------------------------

    def _index(
        self,
        gap: Gap,
        block: Block,
        anchors: Sequence[tuple[int, Stmt]],
        code: Sequence[ast.stmt],
        reads: set[str],
    ) -> int:
        scores = [
            sum((i < gap.index) == (stmt.index < index) for i, stmt in anchors)
            for index in range(len(block.items) + 1)
        ]
        best = [index for index, score in enumerate(scores) if score == max(scores)]
        before = [stmt.index + 1 for i, stmt in anchors if i < gap.index and stmt.index + 1 in best]
        chosen = max(before, default=best[0])
        crossed = [stmt for i, stmt in anchors if (i < gap.index) != (stmt.index < chosen)]
        crossed += self._maybe_crossed(gap, block, chosen, [stmt for _, stmt in anchors])
        between = block.items[best[0] : best[-1]]
        for stmt in [*between, *crossed]:
            if self.effects.disturbs(stmt, code, reads):
                moved = "stands on its other side" if stmt in crossed else "is new there"
                raise Unclear(
                    f"line {stmt.node.lineno} there may change what it reads, or leave, and "
                    f"{moved}: before it or after it can't be told"
                )
        return chosen

    def _maybe_crossed(
        self, gap: Gap, block: Block, chosen: int, anchors: Sequence[Stmt]
    ) -> Iterator[Stmt]:
        """Yield what may be one of today's neighbours from the other side of the statement."""
        sure = {self.matching.back.get(stmt) for stmt in anchors}
        for stmt in block.items:
            others = (
                gap.block.items[gap.index :]
                if stmt.index < chosen
                else gap.block.items[: gap.index]
            )
            free = [other for other in others if other not in sure]
            if stmt not in anchors and any(self.matching.likeness(a, stmt) >= ALIKE for a in free):
                yield stmt

    def _check_bound(self, block: Block, index: int, reads: set[str]) -> None:
        """See that each variable it reads has been bound by then."""
        scope = block.scope
        items = block.items[:index]
        line = items[-1].node.end_lineno if items else getattr(block.raw[0], "lineno", 1) - 1
        for name in sorted(reads):
            if scope.resolve(name) is scope and name not in scope.params | self.own:
                found = binders(self.matching.version, scope, name)
                first = min((stmt.node.lineno for stmt in found), default=0)
                if first > (line or 0):
                    raise Unclear(f"{name!r}, which it reads, is bound only later there")


def _called(stmt: Stmt) -> str:
    return {"loop": "loop", "FunctionDef": "function", "ClassDef": "class"}.get(stmt.kind, "block")


def _chain(stmt: Stmt, *more: str) -> list[Block]:
    """Return the blocks that a statement stands in, innermost first, as far as it runs as often, or
    through statements of the kinds ``more``.
    """
    chain = [stmt.block]
    for owner in stmt.above():
        if owner.kind not in (*PLAIN, *more):
            break
        chain.append(owner.block)
    return chain


def _lift(stmt: Stmt, block: Block) -> Stmt | None:
    """Return the statement of ``block`` that is or holds ``stmt``."""
    for each in (stmt, *stmt.above()):
        if each.block is block:
            return each
    return None
