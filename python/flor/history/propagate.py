"""The statements that today's source adds, put into a recorded version."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flor.errors import SourceError
from flor.history.match import Matching
from flor.history.names import Unclear
from flor.history.place import Cut, Placer
from flor.history.rename import already_imported
from flor.history.tree import Gap, Tree
from flor.history.versions import Today, Version
from flor.instrument.scopes import own_names
from flor.instrument.source import Source
from flor.instrument.spans import span_of


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
            if already_imported(gap.node, matching.version.modules[version.script]):
                continue
            cut = placer.place(gap)
            _check_lines(cut, version.sources[cut.block.scope.file])
        except Unclear as why:
            lost |= _binds(gap.node)
            found.refused.append(_said(gap, today) | {"why": str(why)})
        else:
            cuts.append((cut, gap))
    cuts.sort(key=lambda pair: (pair[1].block.scope.file, pair[1].node.lineno))
    _write(found, cuts, version, today)
    return found


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


def _check_lines(cut: Cut, source: Source) -> None:
    """See that the place is between two lines; raises Unclear."""
    before, after = _neighbours(cut)
    owner = cut.block.owner
    for one in (before, after):
        if one is not None and owner is not None and _line(one) <= owner.node.lineno:
            raise Unclear(f"line {_line(one)} there holds a whole block: nothing can stand inside")
    if before is not None and after is not None and before.end_lineno == _line(after):
        raise Unclear(f"line {_line(after)} there holds two statements: nothing can stand between")
    if "\f" in source.text or ";" in source.line(_line(before or after or source.tree)):
        text = source.line(_line(before or after or source.tree))
        if before is not None and _shares(before, cut.block.raw):
            raise Unclear(f"{text!r} there shares its line with another statement")


def _shares(stmt: ast.stmt, block: list[ast.stmt]) -> bool:
    return any(other is not stmt and other.lineno == stmt.end_lineno for other in block)


def _line(node: ast.AST) -> int:
    return span_of(node).start if isinstance(node, ast.stmt) else 1


def _neighbours(cut: Cut) -> tuple[ast.stmt | None, ast.stmt | None]:
    """Return the statements of the file before and after the place; docstrings count."""
    raw, items = cut.block.raw, cut.block.items
    if cut.index > 0:
        at = raw.index(items[cut.index - 1].node) + 1
    elif items:
        at = raw.index(items[0].node)
    else:
        at = len(raw)
    return (raw[at - 1] if at else None), (raw[at] if at < len(raw) else None)


def _write(
    found: Propagation, cuts: Iterable[tuple[Cut, Gap]], version: Version, today: Today
) -> None:
    """Put the statements into the files, and say where."""
    inserted: dict[str, list[tuple[int, str]]] = {}
    for cut, gap in cuts:
        file = cut.block.scope.file
        source = version.sources[file]
        before, after = _neighbours(cut)
        line = (before.end_lineno or 0) if before is not None else _line(after or source.tree) - 1
        margin = _margin(source, before if before is not None else after)
        code = "\n".join(map(ast.unparse, map(ast.fix_missing_locations, cut.stmts)))
        text = "".join(f"{margin}{row}\n" for row in code.splitlines())
        inserted.setdefault(file, []).append((line, text))
        said = _said(gap, today)
        found.placed.append(
            said | {"there": f"{file}:{line}", "reads": code, "notes": list(cut.notes)}
        )
    for file, parts in inserted.items():
        found.texts[file] = _encoded(version, file, parts)


def _margin(source: Source, near: ast.stmt | None) -> str:
    if near is None:
        return ""
    row = source.text.split("\n")[_line(near) - 1]
    return row[: len(row) - len(row.lstrip())]


def _encoded(version: Version, file: str, parts: list[tuple[int, str]]) -> bytes:
    rows = version.sources[file].text.split("\n")
    if rows and rows[-1] == "":
        rows.pop()
    for line, text in sorted(parts, key=lambda part: part[0], reverse=True):
        same = [each for at, each in parts if at == line]
        if text is same[-1]:  # all of one place at once, in today's order
            rows[line:line] = "".join(same).removesuffix("\n").split("\n")
    encoding, _ = tokenize.detect_encoding(io.BytesIO(version.texts[file]).readline)
    try:
        return ("\n".join(rows) + "\n").encode(encoding)
    except UnicodeEncodeError as cause:
        raise SourceError(
            f"{file} is in {encoding}, which lacks {cause.object[cause.start]!r}"
        ) from cause
