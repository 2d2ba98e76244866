"""Writing a table: for people at a terminal, stable and whole for everything else."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from flor.cli.options import FORMATS
from flor.files import storage_error
from flor.query.cells import to_json, to_text
from flor.query.table import Table

Row = Callable[[dict[str, Any]], dict[str, Any]]

_TERMINAL_ROWS = 1000


def write_table(
    table: Table, form: str | None, output: Path | None, row: Row | None = None
) -> None:
    """Write a table as ``form`` (None: by the suffix of ``output``, else 'table').

    ``row`` makes of a row's dict the JSON object of ``jsonl``. A table that goes elsewhere than to
    a terminal has a header and tab-separated cells, nothing cut. Raises StorageError.
    """
    form = form or _form_of(output)
    if form == "parquet":
        _write_parquet(table, output)
    elif form == "table" and output is None and sys.stdout.isatty():
        _print_rich(table)
    else:
        with _opened(output) as file:
            {"jsonl": _write_jsonl, "csv": _write_csv, "table": _write_tsv}[form](
                table, file, row or dict
            )


def _form_of(output: Path | None) -> str:
    suffix = output.suffix.lstrip(".").lower() if output else ""
    return suffix if suffix in FORMATS else "table"


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as cause:
        raise storage_error(cause, output, "write") from cause


def _write_jsonl(table: Table, file: IO[str], row: Row) -> None:
    names = table.columns
    for cells in table.rows(arrays=False):
        content = row(dict(zip(names, cells, strict=True)))
        file.write(json.dumps(to_json(content), ensure_ascii=False) + "\n")


def _write_csv(table: Table, file: IO[str], row: Row) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    for cells in table.rows(arrays=False):
        writer.writerow([cell if isinstance(cell, str) else to_text(cell) for cell in cells])


def _write_tsv(table: Table, file: IO[str], row: Row) -> None:
    file.write("\t".join(table.columns) + "\n")
    for cells in table.rows(arrays=False):
        file.write("\t".join(to_text(cell) for cell in cells) + "\n")


def _write_parquet(table: Table, output: Path | None) -> None:
    import pyarrow.parquet as pq

    if output is None and sys.stdout.isatty():
        raise click.UsageError("parquet is not for a terminal: give --output FILE")
    try:
        pq.write_table(table.arrow(), sys.stdout.buffer if output is None else output)
    except BrokenPipeError:
        raise
    except OSError as cause:
        raise storage_error(cause, output or Path("-"), "write") from cause


def _print_rich(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, header_style="bold", pad_edge=False)
    for name in table.columns:
        shown.add_column(name, overflow="fold")
    for cells in table.window(0, _TERMINAL_ROWS).rows(arrays=False):
        shown.add_row(*(Text(to_text(cell, digits=6)) for cell in cells))
    console = Console()
    console.print(shown)
    if len(table) > _TERMINAL_ROWS:
        console.print(f"… {len(table) - _TERMINAL_ROWS:,} more rows; --format jsonl gives all")
