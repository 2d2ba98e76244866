"""What a worker needs to know of the recorded run: boundaries, clock reads, arguments, files."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from flor.layout import StoreLayout
from flor.query.run_log import read_run_log

Context = tuple[tuple[str, int], ...]
_STATE = "__flor__.state"
_CLOCK = "__flor__.clock."


class Facts:
    """The internal records of a run, by context; read once, then only looked up (clock reads are
    used up).
    """

    def __init__(self, layout: StoreLayout, run: str, rank: int = 0) -> None:
        self.layout = layout
        self.run = run
        self.rank = rank
        self.meta = layout.read_rank(run, rank)
        self.states: dict[tuple[Context, str, str], dict[str, Any]] = {}
        self.clocks: dict[tuple[Context, str], deque[Any]] = defaultdict(deque)
        self._load()

    def _load(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        batch = read_run_log(self.layout, self.run, tolerant=True)
        names = batch["name"].cast(pa.string())
        wanted = pc.starts_with(names, "__flor__.")
        if len(self.layout.ranks(self.run)) > 1:
            writers = batch["writer"].cast(pa.string())
            wanted = pc.and_(wanted, pc.starts_with(writers, f"r{self.rank}-"))
        rows = batch.filter(wanted).select(["context", "name", "data"])
        for row in rows.to_pylist():
            context = tuple((step["loop"], step["index"]) for step in row["context"])
            value = json.loads(row["data"])
            if row["name"] == _STATE:
                self.states[(context, value["boundary"], value["loop"])] = value
            elif row["name"].startswith(_CLOCK):
                self.clocks[(context, row["name"].removeprefix(_CLOCK))].append(value)

    def state(self, context: Context, boundary: str, loop: str) -> dict[str, Any] | None:
        """Return what was recorded at a boundary."""
        return self.states.get((context, boundary, loop))

    def checkpoint(self, state: dict[str, Any] | None) -> Path | None:
        """Return the manifest of a boundary that can be jumped to; None when there is none."""
        return self.kept(state) if state and state.get("jumpable") else None

    def kept(self, state: dict[str, Any] | None) -> Path | None:
        """Return the manifest of a boundary, to be read; None when there is none."""
        if state is None or state.get("checkpoint") is None:
            return None
        path = self.layout.checkpoint_dir(self.run, self.rank) / f"{state['checkpoint']}.ckpt"
        return path if path.exists() else None
