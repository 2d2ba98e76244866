"""What a run recorded, as replay needs it: records, boundaries of loops, and times."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flor.errors import CorruptError, ReplayError
from flor.layout import StoreLayout, run_status
from flor.query.run_log import read_run_log
from flor.recording.streams import WARNINGS
from flor.replay.records import INTERNAL, Context, Record, records_of

STATE = "__flor__.state"


@dataclass(frozen=True)
class Boundary:
    """Where the state of the run is known: a loop's entry, an iteration's or a block's end."""

    boundary: str
    loop: str
    context: Context
    time: float
    order: int
    digest: str | None = None
    checkpoint: int | None = None
    durable: bool = False
    jumpable: bool = False
    why: str | None = None
    steps: int | None = None
    exit: str | None = None

    @property
    def index(self) -> int:
        """The iteration that ends here; -1 at an entry, before the first."""
        return self.context[-1][1] if self.boundary == "iteration" and self.context else -1

    @property
    def can_jump(self) -> bool:
        """Whether replay may start here."""
        return self.durable and self.jumpable


@dataclass(frozen=True)
class RecordedRun:
    """A recorded run: its run.json, its users' records in order, and its boundaries."""

    layout: StoreLayout
    run: str
    meta: dict[str, Any]
    records: list[Record]
    boundaries: list[Boundary]
    notes: list[str] = field(default_factory=list)
    rank: int = 0
    ranks: tuple[int, ...] = (0,)

    @classmethod
    def load(cls, layout: StoreLayout, run: str, rank: int | None = None) -> RecordedRun:
        """Return what a rank of the run of an exact id recorded; None: the first one.

        Raises CorruptError, StorageError, ReplayError where no rank recorded anything.
        """
        ranks = layout.ranks(run)
        if not ranks:
            raise ReplayError(f"run {run} was begun by a launcher, and no rank of it was recorded")
        rank = ranks[0] if rank is None else rank
        meta = layout.read_rank(run, rank)
        every = records_of(read_run_log(layout, run))
        if len(ranks) > 1:
            every = [record for record in every if record.rank == rank]
        durable = {int(path.stem) for path in layout.checkpoint_paths(run, rank)}
        states = [_boundary(record, durable) for record in every if record.name == STATE]
        users = [r for r in every if not r.name.startswith(INTERNAL) and r.name != WARNINGS]
        return cls(layout, run, meta, users, states, rank=rank, ranks=tuple(ranks))

    def every_rank(self) -> list[RecordedRun]:
        """Return the run of each rank, this one's first."""
        others = [rank for rank in self.ranks if rank != self.rank]
        return [self, *(RecordedRun.load(self.layout, self.run, rank) for rank in others)]

    @property
    def main_loop(self) -> str | None:
        """The outermost loop inside ``flor.checkpointing``; None where there is no such loop."""
        main = self.meta.get("main")
        return str(main["loop"]) if isinstance(main, dict) and main.get("loop") else None

    @property
    def library(self) -> str | None:
        """The library that owns the main loop; None where the program does."""
        main = self.meta.get("main")
        return main.get("library") if isinstance(main, dict) else None

    @cached_property
    def has_twins(self) -> bool:
        """Whether loops of the main one's name began before or after it, as far as is known."""
        if self.main_loop is None:
            return False
        base = self.main_loop.partition("#")[0]
        tops = {record.context[0][0] for record in self.records if record.context}
        twins = {name for name in tops if name.partition("#")[0] == base} - {self.main_loop}
        return bool(twins) or int(self.meta["main"].get("begun") or 1) > 1

    @property
    def complete(self) -> bool:
        """Whether the main loop, if there is one, came to its end."""
        if self.main_loop is None:
            return run_status(self.meta) not in ("running", "killed")
        return isinstance(self.meta["main"].get("iterations"), int)

    @property
    def first(self) -> int:
        """The first iteration of the main loop that is the run's own; a fork's is not 0."""
        main = self.meta.get("main")
        return int(main.get("first") or 0) if isinstance(main, dict) else 0

    @cached_property
    def iterations(self) -> int:
        """How many iterations of the main loop the run made, complete ones where it was cut off."""
        if self.main_loop is None:
            return 0
        if self.complete:  # one left by break is counted where it logged
            indices = (self.main_index(record.context) for record in self.records)
            begun = max((index for index in indices if index is not None), default=-1) + 1
            return max(int(self.meta["main"]["iterations"]), begun)
        return max(self.ends, default=-1) + 1

    @cached_property
    def loops(self) -> dict[str, int]:
        """The loops that records were made in, and the highest iteration of each."""
        highest: dict[str, int] = {}
        for context in {record.context for record in self.records}:
            for name, index in context:
                highest[name] = max(highest.get(name, -1), index)
        return highest

    @cached_property
    def entry(self) -> Boundary | None:
        """Where the main loop begins."""
        return next((b for b in self._main_boundaries if b.boundary == "entry"), None)

    @cached_property
    def ends(self) -> dict[int, Boundary]:
        """The boundaries at the ends of the main loop's iterations, by iteration."""
        return {b.index: b for b in self._main_boundaries if b.boundary == "iteration"}

    @cached_property
    def blocks(self) -> list[Boundary]:
        """The boundaries at the ends of inner loops."""
        return [b for b in self.boundaries if b.boundary == "block"]

    @cached_property
    def _main_boundaries(self) -> list[Boundary]:
        depth = {"entry": 0, "iteration": 1}
        return [
            b
            for b in self.boundaries
            if b.loop == self.main_loop and len(b.context) == depth.get(b.boundary)
        ]

    def seconds_at(self, time: float) -> float:
        """Return how long the run had been running at ``time`` (Unix seconds), pauses left out."""
        resumes = self.meta.get("resumes") or []
        last = max((r for r in resumes if r["time"] <= time), key=lambda r: r["time"], default=None)
        if last is None:
            return max(0.0, time - float(self.meta.get("started") or time))
        return float(last["seconds"]) + time - float(last["time"])

    @property
    def main_is_nested(self) -> bool:
        """Whether the main loop ran inside another loop: its iterations' numbers repeat."""
        return any(
            b.boundary == "entry" and b.loop == self.main_loop and b.context
            for b in self.boundaries
        )

    def main_index(self, context: Context) -> int | None:
        """Return the main loop's iteration that a context lies in, or None."""
        return context[0][1] if context and context[0][0] == self.main_loop else None

    @cached_property
    def prologue_seconds(self) -> float:
        """From the start of the run to the main loop; without one, the whole run."""
        started = float(self.meta.get("started") or 0.0)
        if self.entry is None:
            return float(self.meta.get("seconds") or 0.0)
        return max(0.0, self.entry.time - started)

    @cached_property
    def iteration_seconds(self) -> list[float]:
        """About how long each iteration of the main loop took."""
        ends: dict[int, float] = {}
        for record in self.records:
            index = self.main_index(record.context)
            if index is not None:
                ends[index] = max(ends.get(index, 0.0), record.time)
        ends |= {index: boundary.time for index, boundary in self.ends.items()}
        first = self.entry.time if self.entry else float(self.meta.get("started") or 0.0)
        seconds, last = [], self.seconds_at(first)
        for index in range(self.iterations):
            end = max(last, self.seconds_at(ends[index]) if index in ends else last)
            seconds.append(end - last)
            last = end
        return seconds

    @cached_property
    def block_steps(self) -> dict[int, int]:
        """How many iterations the loops directly inside the main one made, by iteration of that."""
        total: dict[int, int] = {}
        for block in self.blocks:
            index = self.main_index(block.context)
            if index is not None:
                total[index] = total.get(index, 0) + (block.steps or 0)
        return total

    @cached_property
    def block_seconds(self) -> dict[int, float]:
        """How long, at least, restorable inner loops took in all, by iteration of the main loop."""
        first: dict[tuple[Context, str], float] = {}
        for record in self.records:
            for depth in range(1, len(record.context)):
                first.setdefault((record.context[:depth], record.context[depth][0]), record.time)
        total: dict[int, float] = {}
        for block in self.blocks:
            index = self.main_index(block.context)
            begun = first.get((block.context, block.loop))
            if index is not None and begun is not None and block.durable:
                total[index] = total.get(index, 0.0) + block.time - begun
        return total


def _boundary(record: Record, durable: set[int]) -> Boundary:
    try:
        content = json.loads(record.value)
        number = content.get("checkpoint")
        return Boundary(
            boundary=content["boundary"],
            loop=content["loop"],
            context=record.context,
            time=record.time,
            order=record.order,
            digest=content.get("digest"),
            checkpoint=number,
            durable=number in durable,
            jumpable=bool(content.get("jumpable")),
            why=content.get("why"),
            steps=content.get("steps"),
            exit=content.get("exit"),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise CorruptError(f"record {STATE} at {record.context} is damaged: {cause!r}") from cause
