"""The statements that today's source adds, put into a recorded version."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flor.history.match import Matching
from flor.history.names import Unclear
from flor.history.place import Cut, Placer
from flor.history.rename import already_imported
from flor.history.tree import Gap, Tree
from flor.history.versions import Today, Version
from flor.history.write import check_lines, code_of, gather, line_of, rows_of, with_rows
from flor.instrumentation.scopes import own_names
from flor.instrumentation.spans import span_of


@dataclass
class Propagation:
    """A version with today's added statements in it.

    ``texts``: the files that changed. ``placed``, ``refused``: one entry a statement, as JSON:
    ``statement`` (its first line), ``today`` (file:line), and ``there`` (file:line of the recorded
    file that it stands after) with ``reads``, its text there, and ``notes``; or ``why``.
    """

    texts: dict[str, bytes] = field(default_factory=dict)
    placed: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


def propagate(today: Today, version: Version) -> Propagation:
    """Place each added statement in ``version``, or say why not. Raises SourceError."""
    without = [stmt for added in today.added.values() for stmt in added]
    tree = Tree(today.sources, without)
    matching = Matching(tree, Tree(version.sources), (today.reference.script, version.script))
    own = {name for stmt in without for name in _binds(stmt)}
    placer = Placer(matching, own)
    found = Propagation()
    cuts: list[tuple[Cut, Gap]] = []
    lost: set[str] = set()
    for gap in sorted(tree.gaps, key=lambda gap: not _declares(gap.node)):
        try:
            _check_whole(gap, lost)
            if known := _known(gap, matching):
                found.placed.append(_said(gap, today) | known)
                continue
            cut = placer.place(gap)
            check_lines(cut, version.sources[cut.block.scope.file])
            rows_of(cut, version.sources[cut.block.scope.file])
        except Unclear as why:
            lost |= _binds(gap.node)
            found.refused.append(_said(gap, today) | {"why": str(why)})
        else:
            cuts.append((cut, gap))
    cuts.sort(key=lambda pair: (pair[1].block.scope.file, pair[1].node.lineno))
    _write(found, cuts, version, today)
    return found


def _known(gap: Gap, matching: Matching) -> dict[str, Any] | None:
    """Return what is told of an import that the version has already; None for anything else."""
    module = matching.scopes.get(gap.block.scope)
    if gap.block.scope.parent or module is None or not already_imported(gap.node, module):
        return None
    return {"there": f"{module.file}:1", "reads": "", "notes": ["imported there already"]}


def _declares(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def _binds(node: ast.stmt) -> set[str]:
    return {name for each in ast.walk(node) for name, binds in own_names(each) if binds}


def _check_whole(gap: Gap, lost: set[str]) -> None:
    read = {name for each in ast.walk(gap.node) for name, _ in own_names(each)}
    if needed := read & lost:
        raise Unclear(f"{min(needed)!r}, which it needs, could not be placed")


def _said(gap: Gap, today: Today) -> dict[str, Any]:
    source = today.sources[gap.block.scope.file]
    line = span_of(gap.node).start
    return {"statement": source.line(line), "today": f"{gap.block.scope.file}:{line}"}


def _write(
    found: Propagation, cuts: Iterable[tuple[Cut, Gap]], version: Version, today: Today
) -> None:
    """Put the statements into the files, and say where."""
    parts: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for cut, gap in cuts:
        file, line = cut.block.scope.file, line_of(cut)
        parts[file].append((line, rows_of(cut, version.sources[file])))
        there = {"there": f"{file}:{line}", "reads": code_of(cut), "notes": list(cut.notes)}
        found.placed.append(_said(gap, today) | there)
    for file, lines in parts.items():
        found.texts[file] = with_rows(version.texts[file], version.sources[file], gather(lines))
