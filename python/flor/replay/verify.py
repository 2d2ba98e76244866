"""Compares what a replay logged again with what the run recorded, value by value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flor.recording.machine import unlike
from flor.replay.distance import distance, shown
from flor.replay.engine import Outcome
from flor.replay.plan import Plan
from flor.replay.recorded import RecordedRun
from flor.replay.records import FLOAT, STRING, Context, Identity, Record
from flor.replay.segments import Segment

MAX_DIFFERENCES = 1000
PRINTED = ("stdout", "logging")
# A full date and time is a clock's (``datetime`` is written in C: its reads can't be served again).
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d([.,]\d+)?")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


@dataclass
class Verification:
    """What the comparison found."""

    compared: int = 0
    states_compared: int = 0
    volatile: int = 0
    differing: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # how this machine is not the run's
    unproven: list[int] = field(default_factory=list)  # ranks whose answers nothing confirms

    @property
    def verdict(self) -> str:
        """'diverged', 'verified', or 'unverified': nothing to compare, or another machine."""
        if self.differing:
            return "diverged"
        if self.elsewhere or self.unproven:
            return "unverified"
        return "verified" if self.compared + self.states_compared else "unverified"

    def differ(self, kind: str, name: str, context: Context, **more: Any) -> None:
        """Add a difference; the first ones are kept, all are counted."""
        self.differing += 1
        if len(self.differences) < MAX_DIFFERENCES:
            place = [list(step) for step in context]
            self.differences.append({"kind": kind, "name": name, "context": place, **more})


@dataclass(frozen=True)
class Marks:
    """Numbers that name processes and ports, by what they are: in the run, and in its replay."""

    recorded: dict[str, str]
    replayed: dict[str, str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Any, Any, str]]) -> Marks:
        """Return the marks of (recorded number, replayed number, what it is)."""
        known = [(str(old), str(new), what) for old, new, what in pairs if old and new]
        return cls({o: what for o, _, what in known}, {n: what for _, n, what in known})


def verify(plan: Plan, outcomes: Iterable[Outcome], marks: Marks | None = None) -> Verification:
    """Return what comparing each worker's repeated records and states with the run's finds.

    ``marks``: what stands for the processes of both; None: the worker's own.
    """
    found = Verification()
    recorded = plan.recorded
    places = {record.identity: place for place, record in enumerate(recorded.records)}
    compared = bytearray(len(recorded.records))
    for outcome in outcomes:
        own = marks or Marks.of([(recorded.meta.get("pid"), outcome.pid, "<pid>")])
        repeated = _compare_worker(plan, outcome, places, compared, found, own)
        if not outcome.result.get("ended"):  # else it was cut off somewhere, as the run was
            _missing(plan, outcome, repeated, found)
        for state in outcome.result.get("states", []):
            found.states_compared += 1
            if not state["match"]:
                context = tuple((loop, index) for loop, index in state.get("context") or [])
                what = str(state.get("what") or "")
                found.differ("state", f"state at {state['boundary']} {state['loop']}", context,
                             recorded=None, replayed=what, distance=None)  # fmt: skip
    found.compared = sum(compared)
    found.elsewhere = unlike(recorded.meta)
    found.notes += [f"another machine, no bits promised: {one}" for one in found.elsewhere]
    found.differences.sort(key=lambda one: one.pop("order", math.inf))
    return found


def _compare_worker(
    plan: Plan,
    outcome: Outcome,
    places: dict[Identity, int],
    compared: bytearray,
    found: Verification,
    marks: Marks,
) -> bytearray:
    """Compare one worker's records; return which recorded ones it repeated."""
    recorded = plan.recorded
    repeated = bytearray(len(recorded.records))
    for record in outcome.records:
        place = places.get(record.identity)
        if place is None:
            if _beyond(recorded, record):
                continue
            found.differ("additional", record.name, record.context, recorded=None,
                         replayed=shown(record), distance=None)  # fmt: skip
            continue
        before = recorded.records[place]
        repeated[place] = compared[place] = 1
        if same(before, record):
            continue
        if _volatile(before, record, marks):
            found.volatile += 1
            continue
        found.differ("value", record.name, record.context, recorded=shown(before),
                     replayed=shown(record), order=place,
                     distance=distance(before, record, recorded.layout.root))  # fmt: skip
    return repeated


def same(one: Record, other: Record) -> bool:
    """Whether two records hold the same value, bit for bit; any NaN equals any NaN."""
    if one.kind != other.kind:
        return False
    if one.value == other.value:
        return True
    return one.kind == FLOAT and _is_nan(one.value) and _is_nan(other.value)


def _is_nan(bits: int) -> bool:
    return (bits & 0x7FFFFFFFFFFFFFFF) > 0x7FF0000000000000


def _volatile(one: Record, other: Record, marks: Marks) -> bool:
    """Whether two printed lines differ only in addresses, marks, and points in time."""
    if one.name not in PRINTED or one.kind != STRING or other.kind != STRING:
        return False
    return _plain(one.value, marks.recorded) == _plain(other.value, marks.replayed)


def _plain(text: bytes, marks: dict[str, str]) -> str:
    line = _ADDRESS.sub("0x", text.decode("utf-8", "backslashreplace"))
    line = _DATE_TIME.sub("<time>", line)
    return re.sub(r"\d+", lambda number: marks.get(number[0], number[0]), line)


def _beyond(recorded: RecordedRun, record: Record) -> bool:
    """Whether a repeated record follows what a run that was cut off could still log."""
    if recorded.complete:
        return False
    if recorded.main_loop is None:
        return True
    index = recorded.main_index(record.context)
    return index is None or index >= recorded.iterations


def _missing(plan: Plan, outcome: Outcome, repeated: bytearray, found: Verification) -> None:
    """Add the recorded records that the worker passed and did not make again."""
    executed = Executed(plan, outcome)
    for place, record in enumerate(plan.recorded.records):
        if not repeated[place] and executed.holds(record):
            found.differ("missing", record.name, record.context, recorded=shown(record),
                         replayed=None, distance=None, order=place)  # fmt: skip


class Executed:
    """Which part of the run a worker executed, and so has to have logged again."""

    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        result = outcome.result
        self._recorded = plan.recorded
        self._part: Segment = plan.segments[outcome.number]
        self._whole = plan.mode == "full"
        entry = plan.recorded.entry
        self._entry = entry.order if entry else math.inf
        self._skipped = {_path(context) for context in result.get("skipped", [])}
        self._restored = {
            (_path(block.get("context") or []), block["loop"])
            for block in result.get("blocks", [])
            if block["action"] != "run"
        }
        self._cut = self._part.stop if plan.inner_only and not self._whole else None

    def holds(self, record: Record) -> bool:
        """Whether the worker executed the place where the record was made."""
        index = self._recorded.main_index(record.context)
        if index is None:
            return self._holds_outside(record)
        if not self._whole and (not self._part.covers(index) or index == self._cut):
            return False
        if not self._recorded.complete and index >= self._recorded.iterations:
            return False
        return not self._was_skipped(record.context)

    def _holds_outside(self, record: Record) -> bool:
        if record.order < self._entry:
            return not self._was_skipped(record.context)
        ran_on = self._part.stop is None and self._recorded.complete
        return ran_on and not self._was_skipped(record.context)

    def _was_skipped(self, context: Context) -> bool:
        if not self._skipped and not self._restored:
            return False
        return any(
            context[:depth] in self._skipped
            or (depth < len(context) and (context[:depth], context[depth][0]) in self._restored)
            for depth in range(len(context) + 1)
        )


def _path(context: Iterable[Any]) -> Context:
    return tuple((loop, index) for loop, index in context)
