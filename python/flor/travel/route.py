"""Where time travel starts: the boundary that is restored, and the place from which the run goes
on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.errors import FlorError
from flor.query.order import Contexts
from flor.recording.streams import WARNINGS
from flor.replay.question import counts_calls
from flor.replay.recorded import STATE, Boundary, RecordedRun
from flor.replay.records import python_value, records_of

Context = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Place:
    """A boundary: the entry of the main loop, the end of an iteration or of a block.

    ``checkpoint``: its number, None where the state can't be restored but only reached.
    """

    boundary: str
    loop: str
    context: Context
    checkpoint: int | None = None

    @classmethod
    def of(cls, found: Boundary) -> Place:
        """Return the place of a recorded boundary."""
        number = found.checkpoint if found.can_jump else None
        return cls(found.boundary, found.loop, found.context, number)

    @classmethod
    def read(cls, content: dict[str, Any] | None) -> Place | None:
        """Return the place that JSON describes."""
        if content is None:
            return None
        context = tuple((loop, index) for loop, index in content["context"])
        return cls(content["boundary"], content["loop"], context, content["checkpoint"])

    @property
    def index(self) -> int:
        """The iteration of the main loop that it lies in or ends; -1 at the entry."""
        return self.context[0][1] if self.context else -1

    def __str__(self) -> str:
        where = ", ".join(f"{loop}={index}" for loop, index in self.context)
        if self.boundary == "entry":
            return f"the start of loop {self.loop!r}"
        return f"the end of {where}" + (f", {self.loop}" if self.boundary == "block" else "")


@dataclass(frozen=True)
class Route:
    """Restore ``base``, execute without recording up to ``target``, go on from there.

    Both None: from the program's first line. ``base`` alone without a checkpoint: the entry of the
    main loop, which the program has to reach in the recorded state by itself.
    """

    base: Place | None
    target: Place | None

    def content(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Sound:
    """Which checkpoints of a run can be read whole; ``damaged`` says why others can't."""

    def __init__(self, recorded: RecordedRun) -> None:
        self._recorded = recorded
        self._known: dict[int, bool] = {}
        self._counts_calls = counts_calls(recorded)
        self.damaged: list[str] = []

    def usable(self, found: Boundary) -> bool:
        """Whether the state of this boundary can be restored."""
        if not found.can_jump or found.checkpoint is None:
            return False
        if self._counts_calls and found.boundary != "entry":
            return False
        if found.checkpoint not in self._known:
            self._known[found.checkpoint] = self._whole(found, found.checkpoint)
        return self._known[found.checkpoint]

    def _whole(self, found: Boundary, number: int) -> bool:
        layout = self._recorded.layout
        path = layout.checkpoint_dir(self._recorded.run) / f"{number}.ckpt"
        store = _core.ChunkStore(str(layout.root), readonly=True)
        try:
            file = CheckpointFile(store, path)
            problems = [] if file.graph else ["it holds no graph"]
            problems += [str(one) for one in file.verify()]
        except (FlorError, OSError, ValueError) as error:
            problems = [str(error)]
        finally:
            store.close()
        if problems:
            self.damaged.append(f"the checkpoint at {Place.of(found)} is damaged ({problems[0]})")
        return not problems


def resume_routes(recorded: RecordedRun, sound: Sound) -> Iterator[Route]:
    """Yield the ways to go on with a run, the one that loses least first.

    Where the newest checkpoint is a block's end inside of an iteration, what lies between the
    iteration's start and it is executed again, from an exact state, without being recorded.
    """
    entry = recorded.entry
    mains = [b for b in (entry, *recorded.ends.values()) if b is not None]
    blocks = [b for b in recorded.blocks if recorded.main_index(b.context) is not None]
    for found in sorted([*mains, *blocks], key=lambda b: b.order, reverse=True):
        if found is entry or not sound.usable(found):
            continue
        base: Boundary | None = found
        if found.boundary == "block":
            before = [b for b in mains if b.order < found.order and (b is entry or sound.usable(b))]
            base = before[-1] if before else None
        if base is not None:
            yield Route(Place.of(base), Place.of(found))
        if base is found:  # where that is refused: executed from the one before, and compared
            before = [b for b in mains if b.order < found.order and sound.usable(b)]
            if before:
                yield Route(Place.of(before[-1]), Place.of(found))


def last_resort(recorded: RecordedRun, sound: Sound) -> Route | None:
    """Return the way from the start of the main loop; of a run that never came there, from the
    program's first line. A fork has none: its beginning is another run's.
    """
    entry = recorded.entry
    if recorded.meta.get("parent"):
        return None
    if entry is None:
        return Route(None, None)
    start = Place.of(entry) if sound.usable(entry) else Place("entry", entry.loop, entry.context)
    return Route(start, start)


def fork_routes(recorded: RecordedRun, sound: Sound, index: int) -> Iterator[Route]:
    """Yield the ways to the end of iteration ``index`` of the main loop, the shortest first."""
    end = recorded.ends.get(index)
    loop = str(recorded.main_loop)
    target = Place.of(end) if end else Place("iteration", loop, ((loop, index),))
    for before in range(index, -1, -1):
        found = recorded.ends.get(before)
        if found is not None and sound.usable(found):
            yield Route(Place.of(found), target)
    if (start := last_resort(recorded, sound)) is not None and start.base is not None:
        yield Route(start.base, target)


def state_row(table: pa.Table, place: Place) -> int:
    """Return the row of the log in which this boundary was recorded; raises LookupError."""
    named = pc.equal(table["name"].cast(pa.string()), STATE).combine_chunks()
    for row in np.flatnonzero(named.to_numpy(zero_copy_only=False))[::-1].tolist():
        content = json.loads(table["data"][row].as_py())
        context = tuple((step["loop"], step["index"]) for step in table["context"][row].as_py())
        if (content["boundary"], content["loop"], context) == (
            place.boundary,
            place.loop,
            place.context,
        ):
            return int(row)
    raise LookupError(f"{place} is not in the log")


def warned_before(recorded: RecordedRun, table: pa.Table, target: Place | None) -> list[str]:
    """Return the warnings that the main loop has shown once until ``target``, from the run's log.

    One that it has shown more often is shown each time, so it will be again.
    """
    if target is None:
        return []
    warnings = table.filter(pc.equal(table["name"].cast(pa.string()), WARNINGS))
    found = Counter(
        str(python_value(record))
        for record in records_of(warnings)
        if (index := recorded.main_index(record.context)) is not None and index <= target.index
    )
    return [text for text, count in found.items() if count == 1]


def main_values(table: pa.Table, loop: str) -> dict[int, str]:
    """Return the values that the main loop had, as JSON by iteration, where they were scalars."""
    if not table.num_rows:
        return {}
    column = table["context"].combine_chunks()
    contexts = Contexts(column)
    if loop not in contexts.loops or not contexts.code:
        return {}
    there = np.flatnonzero(contexts.code[0] == contexts.loops.index(loop))
    indices, first = np.unique(contexts.index[0][there], return_index=True)
    values = {}
    for index, row in zip(indices.tolist(), there[first].tolist(), strict=True):
        value = column[row].as_py()[0]["value"]
        if value is not None:
            values[int(index)] = str(value)
    return values
