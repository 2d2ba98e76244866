"""What was added to a program, and what was changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from flor.instrumentation.align import COMPOUND, Aligner, Item, zip_blocks
from flor.instrumentation.disturb import bound_by, disturbances
from flor.instrumentation.observers import without_observers
from flor.instrumentation.scopes import all_names
from flor.instrumentation.source import Source
from flor.instrumentation.spans import Span, covers, span_of


@dataclass(frozen=True)
class Change:
    """A statement of the old program that is not in the new one as it was."""

    kind: Literal["changed", "removed"]
    old: Span | None
    new: Span | None
    text: str


@dataclass(frozen=True)
class Comparison:
    """The differences between two versions of a file, statement by statement.

    ``added`` and ``changed`` are sorted; ``line_map`` leads from lines of the new file to lines of
    the old one; ``disturbing`` says why added statements may alter the program.
    """

    added: list[Span] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    line_map: dict[int, int] = field(default_factory=dict)
    probe_names: set[str] = field(default_factory=set)
    disturbing: list[str] = field(default_factory=list)


def compare(old: Source, new: Source) -> Comparison:
    """Return how ``new`` differs from ``old``; comments, layout and docstrings are no difference.

    When ``new`` is ``old`` with statements inserted, nothing is changed. In doubt, a difference
    is a change and not an addition. Observers added to a call are none (:mod:`observers`).
    """
    new = without_observers(old, new)
    aligner = Aligner(docstrings="__doc__" in old.text or "__doc__" in new.text)
    walk = _Walk(old, new, aligner)
    walk.block(aligner.items(old.tree.body), aligner.items(new.tree.body))
    found = walk.found
    found.added.sort()
    found.changed.sort(key=lambda change: (change.new or change.old or Span(0, 0)).start)
    found.probe_names.update(_probe_names(old, new, walk.added))
    found.disturbing.extend(disturbances(old.tree, new.tree, walk.added))
    found.disturbing.extend(_shared_lines(found))
    return found


def _probe_names(old: Source, new: Source, added: Sequence[ast.stmt]) -> set[str]:
    names = {name for stmt in added for name in bound_by(stmt)} - all_names(old.tree)
    return names - {name for stmt in _others(new.tree, added) for name in bound_by(stmt)}


def _others(tree: ast.Module, added: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    inside = {id(node) for stmt in added for node in ast.walk(stmt)}
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and id(node) not in inside and not isinstance(node, COMPOUND):
            yield node


def _shared_lines(found: Comparison) -> Iterator[str]:
    for line in sorted(found.line_map):
        if covers(found.added, line):
            yield (
                f"line {line} holds an added statement and one of the program; "
                "put the added one on a line of its own"
            )


class _Walk:
    def __init__(self, old: Source, new: Source, aligner: Aligner) -> None:
        self.old, self.new, self.aligner = old, new, aligner
        self.found = Comparison()
        self.added: list[ast.stmt] = []

    def block(self, old: Sequence[Item], new: Sequence[Item]) -> None:
        i = j = 0
        for at, to in [*self.aligner.align(old, new), (len(old), len(new))]:
            self.gap(old[i:at], new[j:to])
            if at < len(old):
                self.pair(old[at], new[to])
            i, j = at + 1, to + 1

    def pair(self, old: Item, new: Item) -> None:
        if old.header == new.header:
            _map_header(old.stmt, new.stmt, self.found.line_map)
        else:
            self.change(old, new)
        for before, after in zip_blocks(old, new):
            self.block(before, after)

    def gap(self, old: Sequence[Item], new: Sequence[Item]) -> None:
        start = 0
        for rest, item in zip(range(len(old), 0, -1), old, strict=True):
            choices = new[start : max(start, len(new) - rest + 1)]
            if not choices:
                self.removed(item)
                continue
            likeness = [_likeness(item, other) for other in choices]
            at = start + likeness.index(max(likeness))
            for other in new[start:at]:
                self.add(other)
            self.change(item, new[at])
            start = at + 1
        for other in new[start:]:
            self.add(other)

    def add(self, item: Item) -> None:
        self.added.append(item.stmt)
        self.found.added.append(span_of(item.stmt))

    def change(self, old: Item, new: Item) -> None:
        before, after = span_of(old.stmt), span_of(new.stmt)
        text = f"line {after.start}: {_text(self.old, before)!r} became {_text(self.new, after)!r}"
        self.found.changed.append(Change("changed", before, after, text))

    def removed(self, item: Item) -> None:
        span = span_of(item.stmt)
        text = f"line {span.start} of the old source, {_text(self.old, span)!r}, is gone"
        self.found.changed.append(Change("removed", span, None, text))


def _text(source: Source, span: Span) -> str:
    return source.line(span.start)


def _likeness(old: Item, new: Item) -> float:
    return SequenceMatcher(None, old.header, new.header).ratio()


def _header_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield from _header_nodes(child)


def _map_header(old: ast.stmt, new: ast.stmt, lines: dict[int, int]) -> None:
    """Map the lines of a simple statement, or those of the header of a compound one."""
    whole = (*COMPOUND, ast.ExceptHandler)
    for was, now in zip(_header_nodes(old), _header_nodes(new), strict=True):
        start, end = getattr(now, "lineno", None), getattr(now, "end_lineno", None)
        if start is not None:
            lines.setdefault(start, getattr(was, "lineno", start))
        if end is not None and not isinstance(now, whole):
            lines.setdefault(end, getattr(was, "end_lineno", end))
    before, after = _header_span(old), _header_span(new)
    if before.end - before.start == after.end - after.start:
        for row in range(after.start, after.end + 1):
            lines.setdefault(row, before.start + row - after.start)


def _header_span(stmt: ast.stmt) -> Span:
    span = span_of(stmt)
    if not isinstance(stmt, COMPOUND):
        return span
    body = stmt.cases[0].pattern.lineno if isinstance(stmt, ast.Match) else span_of(stmt.body[0])[0]
    return Span(span.start, max(stmt.lineno, body - 1))
