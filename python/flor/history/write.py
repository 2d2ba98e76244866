"""The text of a version with statements put in: its own lines stay as they are."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from collections.abc import Mapping, Sequence

from flor.errors import SourceError
from flor.history.names import Unclear
from flor.history.place import Cut
from flor.instrumentation.nodes import Named
from flor.instrumentation.source import Source
from flor.instrumentation.spans import span_of

Rows = Mapping[int, Sequence[str]]  # by the line that they stand after


def line_of(cut: Cut) -> int:
    """Return the line of the file that a cut comes after."""
    before, after = _neighbours(cut)
    if before is not None:
        return before.end_lineno or before.lineno
    return span_of(after).start - 1 if after is not None else 0


def check_lines(cut: Cut, source: Source) -> None:
    """See that the cut lies between two lines; raises Unclear."""
    before, after = _neighbours(cut)
    near = before if before is not None else after
    if near is None:
        return
    start = span_of(near).start
    row = source.text.split("\n")[start - 1]
    column = len(row.encode()[: near.col_offset].decode()) if start == near.lineno else 0
    if row[:column].strip():
        raise Unclear(f"line {start} there holds more than one statement: nothing can stand inside")
    if (
        before is not None
        and after is not None
        and span_of(after).start <= (before.end_lineno or 0)
    ):
        raise Unclear(f"line {before.end_lineno} there holds two statements")


def rows_of(cut: Cut, source: Source) -> list[str]:
    """Return the lines of a cut's statements, with the margin of its neighbours; raises Unclear."""
    before, after = _neighbours(cut)
    near = before if before is not None else after
    row = source.text.split("\n")[span_of(near).start - 1] if near is not None else ""
    margin = row[: len(row) - len(row.lstrip())]
    rows = [margin + line for line in code_of(cut).split("\n")]
    again = ast.parse("\n".join(["if 1:", *(f" {row}" for row in rows)]))
    if ast.dump(again) != ast.dump(ast.parse("if 1:\n " + code_of(cut).replace("\n", "\n "))):
        raise Unclear("it holds a text of several lines, which its margin would change")
    return rows


def code_of(cut: Cut) -> str:
    """Return a cut's statements as text."""
    for node in (each for stmt in cut.stmts for each in ast.walk(stmt)):
        if isinstance(node, Named | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]  # its margin would change with its place
    return "\n".join(map(ast.unparse, map(ast.fix_missing_locations, cut.stmts)))


def with_rows(text: bytes, source: Source, inserted: Rows) -> bytes:
    """Return a file with lines put in, in its own encoding; raises SourceError."""
    rows = source.text.removesuffix("\n").split("\n")
    for line in sorted(inserted, reverse=True):
        rows[line:line] = inserted[line]
    encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
    try:
        return ("\n".join(rows) + "\n").encode(encoding)
    except UnicodeEncodeError as cause:
        lacks = cause.object[cause.start]
        raise SourceError(f"{source.path} is in {encoding}, which lacks {lacks!r}") from cause


def gather(parts: Sequence[tuple[int, list[str]]]) -> dict[int, list[str]]:
    """Return lines to put in by their place, in the order given."""
    found: dict[int, list[str]] = defaultdict(list)
    for line, rows in parts:
        found[line] += rows
    return found


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
