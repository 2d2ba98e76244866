"""A table as text and as HTML, for people: rounded, shortened, with the number of rows."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from flor.query.cells import to_text

if TYPE_CHECKING:
    from flor.query.table import Table

_HEAD, _TAIL, _WIDTH, _DIGITS = 12, 4, 40, 6


def text_table(table: Table) -> str:
    """Return the table in aligned columns, long tables and values shortened."""
    rows, gap = _shown(table)
    widths = [
        max(len(name), *(len(row[i]) for row in rows)) if rows else len(name)
        for i, name in enumerate(table.columns)
    ]
    right = [_is_number(field.type) for field in table.arrow().schema]

    def line(cells: list[str]) -> str:
        pads = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(cells, widths, right, strict=True)
        )
        return "  ".join(pads).rstrip()

    lines = [line(table.columns), line(["─" * width for width in widths])]
    lines += [line(row) for row in rows]
    if gap:
        lines.insert(2 + gap, "…")
    return "\n".join([*lines, _count(table)])


def html_table(table: Table) -> str:
    """Return the table as an HTML table, long tables and values shortened."""
    rows, gap = _shown(table)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = ["<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows]
    if gap:
        body.insert(gap, f'<tr><td colspan="{len(table.columns)}">…</td></tr>')
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p>{_count(table)}</p>"
    )


def _shown(table: Table) -> tuple[list[list[str]], int]:
    """Return the rows to show as text, and after how many of them rows are left out (0: none)."""
    size = len(table)
    if size <= _HEAD + _TAIL:
        return _texts(table), 0
    return _texts(table.window(0, _HEAD)) + _texts(table.window(size - _TAIL, size)), _HEAD


def _texts(table: Table) -> list[list[str]]:
    return [[_short(value) for value in row] for row in table.rows(arrays=False)]


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"dtype", "shape", "ref"}:
        return f"{value['dtype']}{value['shape']}"
    text = to_text(value, digits=_DIGITS)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _count(table: Table) -> str:
    return "1 row" if len(table) == 1 else f"{len(table):,} rows"
