"""Which iterations of the main loop are executed, in parts that begin where replay may start."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from flor.replay.recorded import Boundary, RecordedRun

NOTHING = -1  # the `stop` of a segment that ends where the main loop begins
_GAP_SECONDS = 2.0  # a new process costs about this: shorter gaps are executed instead


@dataclass(frozen=True)
class Segment:
    """What one worker executes: iterations ``start``..``stop`` (None: to the program's end).

    ``jump``: the boundary restored before, None: nothing, from the first line.
    """

    start: int
    stop: int | None
    jump: Boundary | None

    def covers(self, index: int) -> bool:
        """Whether iteration ``index`` of the main loop is executed."""
        return self.start <= index and (self.stop is None or index <= self.stop)


def sampled(indices: Sequence[int], count: int | None) -> list[int]:
    """Return ``count`` of the indices: one, by a fixed seed, of each of that many equal parts."""
    if count is None or count >= len(indices):
        return list(indices)
    chosen = random.Random(0)
    bounds = [part * len(indices) // count for part in range(count + 1)]
    return [indices[chosen.randrange(low, high)] for low, high in pairwise(bounds)]


def jump_before(recorded: RecordedRun, start: int) -> Boundary | None:
    """Return the newest boundary before iteration ``start`` that replay may start from, or None."""
    for index in range(start - 1, -1, -1):
        end = recorded.ends.get(index)
        if end is not None and end.can_jump:
            return end
    entry = recorded.entry
    return entry if entry is not None and entry.can_jump else None


def segment(recorded: RecordedRun, start: int, stop: int | None) -> Segment:
    """Return the segment that executes start..stop, begun as late as the checkpoints allow."""
    jump = jump_before(recorded, start)
    return Segment(jump.index + 1 if jump else 0, stop, jump)


def segments(
    recorded: RecordedRun, needed: Sequence[int], workers: int, to_end: bool
) -> list[Segment]:
    """Return the segments that execute the ``needed`` iterations, with ``to_end`` all after.

    Cut where iterations between are not needed and skipping them pays, and into ``workers`` parts
    of about equal recorded seconds; never where the two sides would execute the same.
    """
    seconds = recorded.iteration_seconds
    groups = _groups(recorded, needed)
    if not groups:
        after = segment(recorded, recorded.iterations, None)
        return [after if to_end else segment(recorded, 0, NOTHING)]
    groups = [
        part
        for group, count in zip(groups, _shares(groups, workers, seconds), strict=True)
        for part in _cut(recorded, group, count)
    ]
    made = [segment(recorded, group[0], group[-1]) for group in groups]
    if to_end:
        made = _run_to_end(recorded, made, groups)
    return made


def _run_to_end(
    recorded: RecordedRun, made: list[Segment], groups: list[list[int]]
) -> list[Segment]:
    """Return the segments, of which the last executes what follows the main loop too."""
    after = segment(recorded, recorded.iterations, None)
    if after.start > groups[-1][-1] + 1:
        return [*made, after]
    return [*made[:-1], Segment(made[-1].start, None, made[-1].jump)]


def _groups(recorded: RecordedRun, needed: Sequence[int]) -> list[list[int]]:
    """Return the needed iterations as runs without a gap worth a process of its own."""
    groups: list[list[int]] = []
    for index in needed:
        if groups:
            last = groups[-1][-1]
            jump = jump_before(recorded, index)
            start = jump.index + 1 if jump else 0
            saved = sum(recorded.iteration_seconds[last + 1 : start])
            if start <= last + 1 or saved < _GAP_SECONDS:
                groups[-1].extend(range(last + 1, index + 1))
                continue
        groups.append([index])
    return groups


def _weight(group: Sequence[int], seconds: Sequence[float]) -> float:
    """Return a group's seconds; its share of a millisecond each where the clock says nothing."""
    return sum(max(seconds[index], 1e-3) for index in group)


def _shares(groups: list[list[int]], workers: int, seconds: Sequence[float]) -> list[int]:
    """Return into how many parts to cut each group, so that about ``workers`` equal ones result."""
    shares = [1] * len(groups)
    while sum(shares) < workers:
        loads = [_weight(g, seconds) / n for g, n in zip(groups, shares, strict=True)]
        shares[loads.index(max(loads))] += 1
    return shares


def _cut(recorded: RecordedRun, group: list[int], parts: int) -> list[list[int]]:
    """Return a group in at most ``parts`` equal parts, cut only where replay may start."""
    seconds = recorded.iteration_seconds
    total = _weight(group, seconds)
    places: dict[int, float] = {}  # place of a possible cut -> seconds before it
    for place, index in enumerate(group[:-1], 1):
        end = recorded.ends.get(index)
        if end is not None and end.can_jump:
            places[place] = _weight(group[:place], seconds)
    cuts = {0, len(group)}
    for part in range(1, parts if places else 0):
        cuts.add(min(places, key=lambda place: abs(places[place] - total * part / parts)))
    return [group[low:high] for low, high in pairwise(sorted(cuts))]
