"""The disk budget of a run: when its checkpoints pass it, every second old one is dropped.

Dropped is the manifest. What it alone pointed to stays in the packs until they are compacted, so
the bytes counted here are about what a compaction would leave. The packs themselves grow by at most
half the budget each time that the run's length doubles: after a thinning the spacing doubles too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from flor.errors import InvalidError
from flor.sizes import parse_bytes

DEFAULT_DISK_BUDGET_BYTES = 20 << 30
VARIABLE = "FLOR_DISK_BUDGET"


def disk_budget(chosen: int | None = None) -> int:
    """Return the budget in bytes: ``chosen``, else ``FLOR_DISK_BUDGET`` (``500M``), else 20 GiB."""
    text = os.environ.get(VARIABLE, "").strip().upper() if chosen is None else str(chosen)
    if not text:
        return DEFAULT_DISK_BUDGET_BYTES
    found = parse_bytes(text)
    if found is None:
        raise InvalidError(
            f"{VARIABLE}={text}: not a number of bytes; write for example 500M or 20G; 0 for none"
        )
    return found


@dataclass(frozen=True)
class _Kept:
    number: int
    nbytes: int


class Thinning:
    """Which checkpoints of one run to drop, and how far apart the next ones have to be.

    Kinds of boundary are thinned apart. The entry and the newest of each kind are never dropped;
    when nothing else is left and the budget is passed, no more checkpoints are taken (``full``).
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.spacing = 1
        self.dropped = 0
        self.full = budget_bytes == 0
        self._entry_bytes = 0
        self._kept: dict[str, list[_Kept]] = {}
        self._last: dict[str, int] = {}

    @property
    def held_bytes(self) -> int:
        """The bytes that the checkpoints in place have added to the store."""
        return self._entry_bytes + sum(k.nbytes for kept in self._kept.values() for k in kept)

    def allows(self, kind: str, iteration: int) -> bool:
        """Whether a checkpoint of this kind may be taken in this iteration."""
        last = self._last.get(kind)
        return not self.full and (last is None or iteration - last >= self.spacing)

    def taken(self, kind: str, iteration: int) -> None:
        """A checkpoint was taken: the next of its kind has to keep its distance."""
        self._last[kind] = iteration

    def stored(self, kind: str, number: int, nbytes: int) -> list[int]:
        """A checkpoint is durable; return the numbers of those to drop now."""
        if kind == "entry":
            self._entry_bytes += nbytes
        else:
            self._kept.setdefault(kind, []).append(_Kept(number, nbytes))
        if self.held_bytes <= self.budget_bytes:
            return []
        drop = [old.number for kept in self._kept.values() for old in kept[:-1][::2]]
        self.full = not drop
        self.spacing = 2 * max(self.spacing, self._average_spacing())
        gone = set(drop)
        for name, kept in self._kept.items():
            self._kept[name] = [old for old in kept if old.number not in gone]
        self.dropped += len(drop)
        return sorted(drop)

    def _average_spacing(self) -> int:
        longest = max((len(kept) for kept in self._kept.values()), default=1)
        return max(self._last.values(), default=0) // max(1, longest)
