"""Statements of two trees paired so that as much as possible of the old program is kept."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

BLOCKS = ("body", "orelse", "finalbody")
PARTS = ("handlers", "cases")
COMPOUND = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)


@dataclass(eq=False)
class Item:
    """A statement: its header, the items of each of its blocks, and how many statements it is."""

    stmt: ast.stmt
    header: str
    blocks: tuple[tuple[Item, ...], ...]
    size: int
    key: int  # equal for statements that mean the same


Pairs = list[tuple[int, int]]


@dataclass
class Aligner:
    """Builds items, and aligns them; ``docstrings`` says whether lone constants count."""

    docstrings: bool = False
    _keys: dict[object, int] = field(default_factory=dict)
    _weights: dict[tuple[int, int], int] = field(default_factory=dict)

    def items(self, block: Sequence[ast.stmt]) -> tuple[Item, ...]:
        """Return the statements of a block that do something."""
        return tuple(self._item(stmt) for stmt in block if self.matters(stmt))

    def matters(self, stmt: ast.stmt) -> bool:
        """Say whether a statement can have an effect: not ``pass``, not a lone constant."""
        if isinstance(stmt, ast.Pass):
            return False
        lone = isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)
        return self.docstrings or not lone

    def _item(self, stmt: ast.stmt) -> Item:
        blocks = tuple(self.items(block) for block in blocks_of(stmt))
        header = header_of(stmt)
        shape = (header, *(tuple(item.key for item in block) for block in blocks))
        key = self._keys.setdefault(shape, len(self._keys))
        size = 1 + sum(item.size for block in blocks for item in block)
        return Item(stmt, header, blocks, size, key)

    def weight(self, old: Item, new: Item) -> int:
        """Return how many statements of ``old`` survive when it becomes ``new``; 0: unrelated."""
        if old.key == new.key:
            return old.size
        if type(old.stmt) is not type(new.stmt) or not old.blocks:
            return 0
        pair = (id(old), id(new))
        if pair not in self._weights:
            kept = sum(self._score(a, b) for a, b in zip_blocks(old, new))
            self._weights[pair] = kept + (old.header == new.header)
        return self._weights[pair]

    def _score(self, old: Sequence[Item], new: Sequence[Item]) -> int:
        return sum(self.weight(old[i], new[j]) for i, j in self.align(old, new))

    def align(self, old: Sequence[Item], new: Sequence[Item]) -> Pairs:
        """Return the pairs, in order, that keep most statements.

        When the old block can be had from the new one by deleting statements, all of it is kept:
        an insertion is never taken for a change.
        """
        head = 0
        while head < min(len(old), len(new)) and old[head].key == new[head].key:
            head += 1
        tail = 0
        while tail < min(len(old), len(new)) - head and old[-1 - tail].key == new[-1 - tail].key:
            tail += 1
        middle = self._longest(old[head : len(old) - tail], new[head : len(new) - tail])
        return [
            *((i, i) for i in range(head)),
            *((i + head, j + head) for i, j in middle),
            *((len(old) - i, len(new) - i) for i in range(tail, 0, -1)),
        ]

    def _longest(self, old: Sequence[Item], new: Sequence[Item]) -> Pairs:
        best = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
        for i in range(len(old) - 1, -1, -1):
            for j in range(len(new) - 1, -1, -1):
                kept = self.weight(old[i], new[j])
                paired = best[i + 1][j + 1] + kept if kept else 0
                best[i][j] = max(best[i + 1][j], best[i][j + 1], paired)
        pairs: Pairs = []
        i = j = 0
        while i < len(old) and j < len(new):
            kept = self.weight(old[i], new[j])
            if kept and best[i][j] == best[i + 1][j + 1] + kept:
                pairs.append((i, j))
                i, j = i + 1, j + 1
            elif best[i][j] == best[i + 1][j]:
                i += 1
            else:
                j += 1
        return pairs


def zip_blocks(old: Item, new: Item) -> Iterator[tuple[Sequence[Item], Sequence[Item]]]:
    """Yield the blocks of two statements side by side."""
    return zip_longest(old.blocks, new.blocks, fillvalue=())


def blocks_of(stmt: ast.stmt) -> list[list[ast.stmt]]:
    """Return every block of a compound statement, the empty ones too; [] for a simple one."""
    if not isinstance(stmt, COMPOUND):
        return []
    blocks: list[list[ast.stmt]] = [getattr(stmt, name) for name in BLOCKS if hasattr(stmt, name)]
    return blocks + [part.body for name in PARTS for part in getattr(stmt, name, [])]


def header_of(stmt: ast.stmt) -> str:
    """Return what a statement is without its blocks: its text without positions and comments."""
    if not isinstance(stmt, COMPOUND):
        return ast.dump(stmt)
    fields = [(name, value) for name, value in ast.iter_fields(stmt) if name not in BLOCKS]
    return (
        f"{type(stmt).__name__}({', '.join(f'{name}={_shown(value)}' for name, value in fields)})"
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, ast.ExceptHandler):
        return f"except({_shown(value.type)}, {value.name})"
    if isinstance(value, ast.match_case):
        return f"case({_shown(value.pattern)}, {_shown(value.guard)})"
    return ast.dump(value) if isinstance(value, ast.AST) else repr(value)
