"""Where new records belong among the recorded ones, when their contexts alone would mislead.

Readers put a replayed record after the last recorded one whose context is at or before its own
(``query.order.run_order``): right for what is logged at the end of an iteration, wrong for what is
logged at its start, before the loops inside. A worker repeats recorded statements between the
added ones, and knows what it restored, so its own sequence tells the true place.
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Iterable

from flor.query.order import AFTER
from flor.replay.engine import Outcome
from flor.replay.records import Context, Identity, Record

Anchors = dict[Identity, Identity | None]
"""The recorded record that a new one follows; None: it precedes all."""


def misplaced(recorded: list[Record], new: list[Record], outcomes: Iterable[Outcome]) -> Anchors:
    """Return the anchors of those new records that readers would put elsewhere by context."""
    places = _Places(recorded)
    rows: dict[Identity, int] = {}
    for outcome in outcomes:
        for identity, row in _followed(outcome, places):
            rows.setdefault(identity, row)
    return {
        one.identity: recorded[row].identity if row >= 0 else None
        for one in new
        if (row := rows[one.identity]) != places.by_context(one.rank, one.context)
    }


def _followed(outcome: Outcome, places: _Places) -> Iterable[tuple[Identity, int]]:
    """Yield each new record and the row that its worker had reached before it.

    The worker's markers hold the number of records that it had repeated by then, or, where it has
    restored a state since, the context up to which that state holds everything.
    """
    row = -1
    for record in outcome.probe_log:
        if record.name != AFTER:
            yield record.identity, row
        elif isinstance(reached := json.loads(record.value), int):
            row = places.by_identity.get(outcome.records[reached - 1].identity, row)
        else:
            context = tuple((loop, index) for loop, index in reached)
            row = max(row, places.by_context(record.rank, context))


class _Places:
    """The rows of recorded records, by identity and by the rule of ``query.order.run_order``."""

    def __init__(self, recorded: list[Record]) -> None:
        self.by_identity = {record.identity: row for row, record in enumerate(recorded)}
        self._loops: dict[str, int] = {}
        last: dict[int, dict[tuple[float, ...], int]] = {}
        for row, record in enumerate(recorded):
            last.setdefault(record.rank, {})[self._key(record.context)] = row
        self._latest = {rank: _running_maximum(rows) for rank, rows in last.items()}

    def _key(self, context: Context) -> tuple[float, ...]:
        """Return what compares as contexts do; what is shallower comes after all deeper ones."""
        pairs = ((self._loops.setdefault(loop, len(self._loops)), i) for loop, i in context)
        return (*itertools.chain.from_iterable(pairs), math.inf)

    def by_context(self, rank: int, context: Context) -> int:
        """Return the last recorded row at or before a context; -1 where there is none."""
        keys, rows = self._latest.get(rank, ([], []))
        place = bisect_right(keys, self._key(context))
        return rows[place - 1] if place else -1


def _running_maximum(
    last: dict[tuple[float, ...], int],
) -> tuple[list[tuple[float, ...]], list[int]]:
    keys = sorted(last)
    return keys, list(itertools.accumulate((last[key] for key in keys), max))
