"""Ranges of lines, and the lines of statements."""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Lines ``start`` to ``end`` of a file, both included, counted from 1."""

    start: int
    end: int


def span_of(statement: ast.stmt) -> Span:
    """Return the lines of a whole statement, its decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    start = min([statement.lineno, *(each.lineno for each in decorators)])
    return Span(start, statement.end_lineno or statement.lineno)


def covers(spans: Sequence[Span], line: int) -> bool:
    """Say whether ``line`` lies in one of ``spans``, which are sorted and do not overlap."""
    at = bisect_right(spans, line, key=lambda span: span.start)
    return at > 0 and line <= spans[at - 1].end
