"""A bar on stderr for what takes long, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds, predicted, from which a bar is worth its lines.
LONG = 2.0


@contextmanager
def row_bar(what: str, seconds: float, rows: int) -> Iterator[Callable[[int], None]]:
    """Give ``tell(done)``, to be called with the rows done since the last call."""
    if seconds < LONG or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=rows)
        yield lambda done: bar.advance(task, done)
