"""When to checkpoint: the adaptive test of hindsight logging, on measured costs.

Source: Flor (VLDB 2021), adaptive checkpointing. With C the compute time of an iteration, n
iterations and k checkpoints so far, M the cost of a checkpoint to the trainer (stall and slowdown)
and R the cost to restore one:

- record overhead:  M ≤ ε·C·n/(k+1), kept here over the whole run: spent + M ≤ ε·compute
- replay latency:   M + R ≤ C·n/(k+1)

Nobody asked for a bound that nobody named to be used up: then 0.75 % of the time are aimed at, and
the bound stays what it is. Fingerprints of state are denser than checkpoints and have a quarter of
the budget for themselves.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flor.recording.thinning import DEFAULT_DISK_BUDGET_BYTES

DEFAULT_OVERHEAD = 1 / 15
# Where the user named no bound: what is aimed at, in the long run and for the start.
AIM = 0.0075
_HEAD_START = 0.25
_FINGERPRINT_SHARE = 0.25
_PATIENCE = 0.02
_UNBOUNDED_PATIENCE = 600.0
_COPY_BYTES_PER_SECOND = 0.8e9  # into memory never touched before: the first checkpoint's guess


@dataclass
class Policy:
    """The budget of one run. All times in seconds, sizes in bytes. Not thread-safe.

    ``thrifty``: aim lower than the bound. ``start_up``: what recording took before the program
    began, which is part of what is aimed at. ``files_seconds()``: what keeping the program's
    files as they were has taken. ``credit``: compute time before the loop (imports,
    data), which counts towards the run's time.
    """

    epsilon: float = DEFAULT_OVERHEAD
    disk_budget_bytes: int = DEFAULT_DISK_BUDGET_BYTES
    credit: float = field(default_factory=time.process_time)
    thrifty: bool = False
    start_up: float = 0.0
    files_seconds: Callable[[], float] = lambda: 0.0
    checkpoints: int = 0
    checkpoint_seconds: float = 0.0
    fingerprint_seconds: float = 0.0
    slowdown_seconds: float = 0.0
    stored_bytes: int = 0
    dropped: int = 0
    _entered: float = 0.0
    _cost: float | None = None
    _walk: float = 0.0
    _bytes: int = 0
    _read_rate: float = 1.5e9
    passed_seconds: float = 0.0
    # Until when (perf_counter) nothing can be afforded: at most boundaries one look at the clock.
    _no_checkpoint_until: float = 0.0
    _no_fingerprint_until: float = 0.0

    def enter(self, walk_seconds: float, nbytes: int) -> None:
        """Start the clock of the (first) main loop; the entry walk gives the first estimates."""
        self._entered = self._entered or time.perf_counter()
        self._walk, self._bytes = walk_seconds, nbytes
        self.fingerprint_seconds += walk_seconds

    @property
    def unbounded(self) -> bool:
        """Whether every boundary is checkpointed, whatever that costs."""
        return self.epsilon == math.inf

    @property
    def spent(self) -> float:
        """What recording cost the trainer so far."""
        state = self.checkpoint_seconds + self.fingerprint_seconds + self.passed_seconds
        return state + self.slowdown_seconds + self.files_seconds()

    @property
    def compute(self) -> float:
        """The run's own time so far: everything but what recording cost."""
        if not self._entered:
            return self.credit
        return self.credit + max(0.0, time.perf_counter() - self._entered - self.spent)

    @property
    def budget(self) -> float:
        """What may be spent until now."""
        compute = self.compute
        if not self.thrifty:
            return self.epsilon * compute
        aim = AIM * compute + _HEAD_START - self.start_up
        return min(self.epsilon * compute, max(0.0, aim))

    def can_enter(self) -> bool:
        """Decide whether another loop may be walked at its entry; the first one always is."""
        return not self._entered or self.spent + self._walk <= self.epsilon * self.compute

    def wants_checkpoint(self, last: bool = False) -> bool:
        """Decide at a boundary: both invariants.

        ``last``: the final state of the loop, which people load and export: the overhead decides.
        """
        if self.unbounded:
            return True
        now = time.perf_counter()
        if last:
            return self.spent + self._next_cost <= self.epsilon * self.compute
        if now < self._no_checkpoint_until:
            return False
        wait = self.until_checkpoint()
        self._no_checkpoint_until = now + wait
        return wait <= 0

    @property
    def _next_cost(self) -> float:
        if self._cost is None:
            return self._walk + self._bytes / _COPY_BYTES_PER_SECOND
        return self._cost

    def until_checkpoint(self) -> float:
        """Return for how long no checkpoint can be afforded; 0 and less: now."""
        if self.unbounded:
            return 0.0
        cost = self._next_cost
        # Refill, then the self-check's walk.
        restore = 2 * self._walk + self._bytes / self._read_rate
        useful = (cost + restore) * (self.checkpoints + 1) - self.compute
        return max(self._until_affordable(self.spent + cost), useful)

    def _until_affordable(self, seconds: float) -> float:
        """Return how long the program must compute until it can afford so much; 0 and less: now."""
        compute = self.compute
        waits = [seconds / self.epsilon - compute] if self.epsilon else [math.inf]
        if self.thrifty:
            waits.append((seconds - _HEAD_START + self.start_up) / AIM - compute)
        return max(waits)

    def patience(self, last: bool = False) -> float:
        """Return how long a due checkpoint may wait for the one in flight: some of what is left.

        With a tight bound that is next to nothing; with a loose one checkpoints stay dense on a
        slow disk. What was waited is charged. For the last one, all that is left.
        """
        if self.unbounded:
            return _UNBOUNDED_PATIENCE
        share = 1.0 if last else _PATIENCE
        return max(0.0, share * (self.budget - self.spent))

    def waited(self, seconds: float) -> None:
        """Account for waiting for a checkpoint in flight, or for what a writer had to copy."""
        self.checkpoint_seconds += seconds

    def wants_fingerprint(self) -> bool:
        """Decide whether a walk only to fingerprint fits its share of the budget."""
        if self.unbounded:
            return True
        now = time.perf_counter()
        if now < self._no_fingerprint_until:
            return False
        wait = self._until_affordable((self.fingerprint_seconds + self._walk) / _FINGERPRINT_SHARE)
        self._no_fingerprint_until = now + wait
        return wait <= 0

    def passed(self, seconds: float) -> None:
        """Account for a boundary at which nothing was taken."""
        self.passed_seconds += seconds

    def fingerprinted(self, seconds: float, nbytes: int) -> None:
        """Account for a walk and digest."""
        self._walk, self._bytes = seconds, nbytes
        self.fingerprint_seconds += seconds
        self._no_checkpoint_until = self._no_fingerprint_until = 0.0

    def checkpointed(self, stall_seconds: float) -> None:
        """Account for the time that a checkpoint held the trainer."""
        self.checkpoints += 1
        self.checkpoint_seconds += stall_seconds
        self._blend(stall_seconds)
        self._no_checkpoint_until = 0.0

    def finished(self, background_cpu_seconds: float, busy: float, stored_bytes: int) -> None:
        """Account for the background work of a durable checkpoint.

        ``busy``: CPU seconds the process used per wall second meanwhile. Background work slows
        the trainer by what exceeds the idle cores.
        """
        cores = os.cpu_count() or 1
        slowdown = background_cpu_seconds * min(1.0, max(0.0, busy + 1 - cores))
        self.slowdown_seconds += slowdown
        self.stored_bytes += stored_bytes
        if self._cost is not None:
            self._cost += slowdown
        self._no_checkpoint_until = 0.0

    def measured_restore(self, seconds: float, nbytes: int) -> None:
        """Take over a measured read rate; the reading itself is charged to the budget."""
        self.checkpoint_seconds += seconds
        if nbytes > 1 << 20:
            self._read_rate = nbytes / max(seconds, 1e-6)
        self._no_checkpoint_until = 0.0

    def _blend(self, cost: float) -> None:
        # The first checkpoint touches fresh memory, later ones are cheaper: it is forgotten fast.
        self._cost = cost if self._cost is None else 0.5 * self._cost + 0.5 * cost

    def report(self) -> dict[str, float | int | None]:
        """Return what recording cost, for run.json and ``flor show``."""
        compute = self.compute
        return {
            "epsilon": None if self.unbounded else self.epsilon,
            "aim": AIM if self.thrifty else None,
            "start_up_seconds": self.start_up,
            "compute_seconds": compute,
            "checkpoint_seconds": self.checkpoint_seconds,
            "fingerprint_seconds": self.fingerprint_seconds,
            "slowdown_seconds": self.slowdown_seconds,
            "files_seconds": self.files_seconds(),
            "passed_seconds": self.passed_seconds,
            "checkpoints": self.checkpoints,
            "checkpoints_dropped": self.dropped,
            "stored_bytes": self.stored_bytes,
            "disk_budget_bytes": self.disk_budget_bytes,
            "fraction": self.spent / compute if compute else 0.0,
        }
