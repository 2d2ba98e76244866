"""The plan of a replay: what is executed, where it starts, what it will cost."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flor.errors import FlorError, InvalidError, ReplayError
from flor.layout import StoreLayout
from flor.replay.question import Question
from flor.replay.recorded import RecordedRun
from flor.replay.records import Context
from flor.replay.request import ReplayRequest
from flor.replay.segments import NOTHING, Segment, sampled, segment, segments

START_SECONDS = 1.0
RESTORE_BYTES_PER_SECOND = 1e9
# What a question costs each time that it runs in an inner loop: random states saved and put back,
# a small computation, a record. Also where `--only` leaves its record out.
PROBE_SECONDS = 0.12e-3

Ranges = dict[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Plan:
    """What a replay executes. ``mode`` 'full': one process, everything, from the first line.

    ``skip_blocks``: whether inner loops without a probe are restored instead of executed.
    """

    recorded: RecordedRun
    question: Question
    segments: list[Segment]
    mode: str
    workers: int
    only: Ranges
    sampled: frozenset[int] | None
    trust: bool
    seconds: float
    notes: list[str] = field(default_factory=list)
    skip_blocks: bool = True
    others: tuple[Plan, ...] = ()  # of the run's other ranks, executed together with this one

    @property
    def ranks(self) -> tuple[Plan, ...]:
        """The plans of all ranks."""
        return (self, *self.others)

    @property
    def launched(self) -> bool:
        """Whether a launcher had started the ranks, so that replay starts each."""
        return "env" in (self.recorded.meta.get("how") or {})

    def of_rank(self, rank: int) -> Plan:
        """Return the plan of a rank."""
        return next(plan for plan in self.ranks if plan.recorded.rank == rank)

    def wants(self, context: Context) -> bool:
        """Whether an added record in this context was asked for (``--only``, ``--sample``)."""
        for loop, ranges in self.only.items():
            at = next((index for name, index in context if name == loop), None)
            if at is None or not any(low <= at <= high for low, high in ranges):
                return False
        index = self.recorded.main_index(context)
        return self.sampled is None or index is None or index in self.sampled

    @property
    def inner_only(self) -> Ranges:
        """The ranges of ``--only`` that are not the main loop's."""
        return {loop: r for loop, r in self.only.items() if loop != self.recorded.main_loop}

    def full(self) -> Plan:
        """Return the plan that answers the same by executing everything from the first line; of a
        fork, everything that is its own, from the state that it began with.
        """
        seconds = START_SECONDS + self.recorded.prologue_seconds
        seconds += sum(self.recorded.iteration_seconds)
        if self.question.in_blocks:
            seconds += PROBE_SECONDS * sum(self.recorded.block_steps.values())
        first = self.recorded.first
        whole = segment(self.recorded, first, None) if first else Segment(0, None, None)
        return Plan(
            self.recorded, self.question, [whole], "weak" if first else "full", 1, self.only,
            self.sampled, self.trust, seconds, self.notes, skip_blocks=False,
        )  # fmt: skip

    def worker(self, number: int, folder: Path) -> dict[str, Any]:
        """Return the plan file of worker ``number``, which works in ``folder``."""
        part, question = self.segments[number], self.question
        jump = part.jump
        return {
            "store": str(self.recorded.layout.root),
            "run": self.recorded.run,
            "rank": self.recorded.rank,
            "worker": number,
            "script": str(question.script),
            "argv": list(self.recorded.meta.get("argv") or []),
            "mode": self.mode,
            "main_loop": self.recorded.main_loop,
            "start": part.start,
            "stop": part.stop,
            "jump": jump
            and {"checkpoint": jump.checkpoint, "boundary": jump.boundary, "index": jump.index},
            "skip_blocks": self.mode == "weak" and self.skip_blocks,
            "only": {
                loop: [min(low for low, _ in r), max(high for _, high in r)]
                for loop, r in self.inner_only.items()
            },
            "added": question.added,
            "line_map": question.line_map,
            "probe_names": question.probe_names,
            "defined": question.defined,
            "loops": question.loops,
            "trust": self.trust,
            "children": {},
            "log_dir": str(folder / "log"),
            "result": str(folder / "result.json"),
            "scratch": str(folder / "scratch"),
        }


def make_plan(
    recorded: RecordedRun,
    question: Question,
    request: ReplayRequest,
    elsewhere: Collection[str] = (),
) -> Plan:
    """Return the plan that answers the question; raises InvalidError for a bad ``--only``.

    ``elsewhere``: loops of the run's other ranks.
    """
    only = _ranges(recorded, question, request, elsewhere)
    notes = [*recorded.notes, *question.notes, *_notes(recorded, question)]
    main = recorded.main_loop
    if recorded.first and not _can_jump(recorded, recorded.first - 1):
        raise ReplayError(
            f"run {recorded.run} is a fork, and the state that it began with was not kept: it "
            "can't be replayed"
        )
    nested = recorded.main_is_nested or recorded.library
    whole_run = main is None or bool(nested) or question.counts_calls
    mode = "full" if whole_run else "weak"
    asks = question.in_main or question.before or question.after
    needed: list[int] = []
    if question.in_main or not asks:
        needed = [
            i
            for i in range(recorded.first, recorded.iterations)
            if _within(i, only.get(main or ""))
        ]
    chosen = sampled(needed, request.sample)
    to_end = recorded.complete and not only and (question.after or not asks)
    to_end = to_end and (request.sample is None or question.after)
    whole = [Segment(0, None, None)]
    parts = whole if mode == "full" else segments(recorded, chosen, request.workers, to_end)
    picked = None if request.sample is None else frozenset(chosen)
    workers = min(request.workers, len(parts))
    seconds = _predicted(recorded, question, parts, workers, mode)
    return Plan(
        recorded, question, parts, mode, workers, only, picked, request.trust, seconds, notes
    )


def _can_jump(recorded: RecordedRun, index: int) -> bool:
    end = recorded.ends.get(index)
    return end is not None and end.can_jump


def _within(index: int, ranges: list[tuple[int, int]] | None) -> bool:
    return ranges is None or any(low <= index <= high for low, high in ranges)


def _ranges(
    recorded: RecordedRun,
    question: Question,
    request: ReplayRequest,
    elsewhere: Collection[str],
) -> Ranges:
    """Return the ranges of ``--only`` by loop, checked against the loops of the run."""
    ranges: Ranges = {}
    for loop, first, last in request.only:
        ranges.setdefault(loop, []).append((first, last))
    if not ranges:
        return ranges
    highest: dict[str, int] = {loop["name"]: -1 for loop in question.loops if loop.get("name")}
    highest |= dict.fromkeys(elsewhere, -1)
    for name, index in recorded.loops.items():
        highest[name] = max(highest.get(name, -1), index)
    if recorded.main_loop:
        highest[recorded.main_loop] = recorded.iterations - 1
    for loop, asked in ranges.items():
        if loop not in highest:
            known = ", ".join(sorted(highest)) or "none"
            raise InvalidError(f"--only {loop}=…: the run has no loop {loop!r}; its loops: {known}")
        if loop == recorded.main_loop and not any(low <= highest[loop] for low, _ in asked):
            raise InvalidError(
                f"--only {loop}={asked[0][0]}: the run made {recorded.iterations} iterations of "
                f"{loop!r}, counted from 0"
            )
    return ranges


def _notes(recorded: RecordedRun, question: Question) -> list[str]:
    """Return what keeps this run from being replayed in parts, in words."""
    if recorded.main_loop is None:
        return ["the run used no flor.checkpointing: all is executed from the first line"]
    if recorded.library:
        return [
            f"loop {recorded.main_loop!r} belongs to {recorded.library}: all is executed from the "
            "first line"
        ]
    if recorded.main_is_nested:
        return [
            f"loop {recorded.main_loop!r} ran inside another loop: all is executed from the "
            "first line"
        ]
    notes = []
    if not recorded.complete:
        notes.append(
            f"the run was cut off: only its {recorded.iterations} complete iterations of "
            f"{recorded.main_loop!r} are replayed"
        )
    places = [b for b in (recorded.entry, *recorded.ends.values()) if b]
    refused = [b for b in places if not b.jumpable]
    if question.counts_calls:
        notes.append("no checkpoint can be restored: cache_info() counts calls that it would skip")
    if places and len(refused) == len(places):
        notes.append(f"no checkpoint can be restored: {refused[0].why or 'state not captured'}")
    return notes


def _predicted(
    recorded: RecordedRun, question: Question, parts: list[Segment], workers: int, mode: str
) -> float:
    """Return the estimated seconds: each part's, given out to the workers as they become free."""
    restore = _restore_seconds(recorded)
    free = [0.0] * max(1, workers)
    for part in parts:
        cost = START_SECONDS + recorded.prologue_seconds + (restore if part.jump else 0.0)
        stop = recorded.iterations - 1 if part.stop is None else part.stop
        for index in range(part.start, stop + 1 if part.stop != NOTHING else 0):
            cost += recorded.iteration_seconds[index]
            if question.in_blocks:
                cost += PROBE_SECONDS * recorded.block_steps.get(index, 0)
            elif mode == "weak":
                saved = recorded.block_seconds.get(index, 0.0)
                cost -= max(0.0, saved - restore) if saved else 0.0
        heapq.heapreplace(free, free[0] + cost)
    return max(free)


def _restore_seconds(recorded: RecordedRun) -> float:
    """Return about how long it takes to restore one checkpoint of the run."""
    numbers = [b.checkpoint for b in recorded.boundaries if b.durable and b.checkpoint is not None]
    if not numbers:
        return 0.0
    path = recorded.layout.checkpoint_dir(recorded.run, recorded.rank) / f"{numbers[-1]}.ckpt"
    return checkpoint_bytes(recorded.layout, path) / RESTORE_BYTES_PER_SECOND


def checkpoint_bytes(layout: StoreLayout, path: Path) -> int:
    """Return the bytes that a checkpoint restores; 0 where that can't be read."""
    from flor import _core

    with contextlib.suppress(FlorError, OSError):
        store = _core.ChunkStore(str(layout.root), readonly=True)
        try:
            return _core.CheckpointReader(store, str(path)).raw_bytes
        finally:
            store.close()
    return 0
