"""The main loop under recording: numbering at its entry, then a checkpoint or a fingerprint at
block ends.

Boundaries are the entry, the end of each iteration, and the end of each loop directly inside (a
*block*, the paper's skip block) that ran to its natural end. What was decided there is an internal
record, ``__flor__.state``.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np

from flor import _core
from flor.capture import writers
from flor.capture.state import World, digest, encode, shape
from flor.capture.walk import Graph
from flor.errors import CaptureError
from flor.recording.policy import Policy
from flor.recording.thinning import Thinning

STATE = "__flor__.state"
JSON_KIND = 6
_PROBE_READ_BYTES = 16 << 20
# A first checkpoint that can be afforded sooner than this has its memory touched ahead, in the
# background: which would be for nothing where there is none in the end.
_SOON_SECONDS = 5.0


class Sink(Protocol):
    """What the main loop needs of its run."""

    def snapshotter(self) -> _core.Snapshotter:
        """Return what takes checkpoints."""
        ...

    def warm_up(self, nbytes: int) -> None:
        """Touch the staging memory for a state of this size ahead."""
        ...

    def checkpoint_path(self, number: int) -> str:
        """Return where checkpoint ``number`` lies."""
        ...

    def store(self) -> _core.ChunkStore:
        """Return the content store."""
        ...

    def changed_files(self) -> tuple[dict[str, bytes], list[str]]:
        """Return ({path: content} of changed files, removed paths)."""
        ...

    def unfinished_line(self) -> str:
        """Return what was printed since the last line break."""
        ...

    def trouble(self, text: str) -> None:
        """Tell a failure; training goes on."""
        ...

    def note(self, text: str) -> None:
        """Keep an assumption or a limit in the run."""
        ...


class MainLoop:
    """Records the boundaries of one main loop. Belongs to the thread that runs the loop.

    ``before``: the main loop that ended before this one, if there was one. ``library``: whose loop
    it is, where it is not the program's own: replay can't jump into it.
    """

    def __init__(
        self,
        sink: Sink,
        world: World,
        policy: Policy,
        loop: str,
        before: MainLoop | None = None,
        library: str | None = None,
    ) -> None:
        self.loop = loop
        self._foreign = [f"loop {loop!r} belongs to {library}"] if library else []
        self.thread = threading.get_ident()
        self.iterations = 0
        self.broken = False
        self.active = True
        self._sink = sink
        self.world = world
        self._policy = policy
        # A run may have several main loops, one after the other: they share the disk budget.
        fresh = Thinning(policy.disk_budget_bytes)
        self._thinning: Thinning = before._thinning if before else fresh
        self._number: int = before._number if before else 0
        self._turns: Counter[str] = Counter()
        self._pending: dict[str, tuple[_core.Pending, float, float]] = {}
        self._snapshot = writers.choice()
        self._sampled = False
        self._failed = False
        self._passed: tuple[tuple[str, int | None], bytes] = ("", None), b""

    # -- boundaries --------------------------------------------------------------------------------

    def enter(self, frame: FrameType) -> None:
        """Number the world and, where it fits the budget, checkpoint the entry state."""
        with self._harmless():
            begun = time.perf_counter()
            self.entered(self.world.enter(frame), begun)

    def entered(self, graph: Graph, begun: float) -> None:
        """Record the entry, whose walk started at ``begun`` (``perf_counter``)."""
        with self._harmless():
            found = {"digest": digest(graph), "shape": shape(graph)}
            for index, node in enumerate(graph.nodes):
                node[1] = index  # at the entry every object is its own anchor
            self._policy.enter(time.perf_counter() - begun, graph.regions.nbytes)
            if self._policy.until_checkpoint() < _SOON_SECONDS:
                self._sink.warm_up(graph.regions.nbytes)
            wanted = self._wants("entry") and not graph.opaque
            self._settle("entry", self.loop, graph, found, wanted, None)

    @property
    def next_number(self) -> int:
        """The number of the next checkpoint."""
        return self._number

    def go_on(self, iterations: int, number: int, taken: dict[str, list[Path]]) -> None:
        """Go on after ``iterations`` that another process recorded, instead of :meth:`enter`.

        ``number``: of the next checkpoint. ``taken``: the checkpoints in place, by kind, of which
        the disk budget is told.
        """
        self.iterations, self._number = iterations, number
        for kind, paths in taken.items():
            self._thinning.taken(kind, iterations)
            for path in paths:
                reader = _core.CheckpointReader(self._sink.store(), str(path))
                self._thin(kind, path, reader.stored_bytes)

    def checkpoint_now(self, frame: FrameType) -> None:
        """Checkpoint the end of the iteration whatever it costs, and wait until it is durable.

        Raises CaptureError where the state holds what can't be captured, StorageError.
        """
        graph = self.world.walk(frame)
        if graph.opaque:
            raise CaptureError(f"the state can't be captured: {'; '.join(graph.opaque)}")
        self._settle("iteration", self.loop, graph, {"digest": digest(graph)}, True, None)
        for pending, _, _ in self._pending.values():
            pending.wait()
        self._poll()

    def iteration_ended(self, frame: FrameType, last: bool = False) -> None:
        """The state at the end of an iteration of the main loop; ``last``: known to be the last."""
        self.iterations += 1
        with self._harmless():
            self._boundary("iteration", self.loop, frame, None, last)

    def block_ended(self, loop: str, steps: int, frame: FrameType) -> None:
        """The state after a loop directly inside the main loop ran to its natural end."""
        with self._harmless():
            self._boundary("block", loop, frame, steps)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Whatever fails at a boundary is told and ends the boundaries, never the training."""
        try:
            yield
        except Exception as error:
            self._failed = True
            what = f"{type(error).__name__}: {error}"
            self._sink.trouble(f"the state can't be captured ({what}): no more checkpoints")

    def _boundary(
        self, kind: str, loop: str, frame: FrameType, steps: int | None, last: bool = False
    ) -> None:
        if self._failed:
            return
        begun = time.perf_counter()
        if self._pending:
            self._poll()
        wanted = self._wants(kind, last) and self._due(kind, loop)
        if wanted:
            self._turns[f"{kind} {loop}"] += 1  # also where the one in flight is in the way
            wanted = self._free(kind, last)
        if not wanted and (kind == "block" or not self._policy.wants_fingerprint()):
            if kind == "block":
                self._log_passed(loop, steps)
            self._policy.passed(time.perf_counter() - begun)
            return
        begun = time.perf_counter()
        graph = self.world.walk(frame)
        found = {"digest": digest(graph)}
        self._policy.fingerprinted(time.perf_counter() - begun, graph.regions.nbytes)
        self._settle(kind, loop, graph, found, wanted and not graph.opaque, steps)

    def _free(self, kind: str, last: bool) -> bool:
        """Whether no checkpoint of this kind is in flight; waits a little for one that is."""
        flight = self._pending.get(kind)
        if flight is None:
            return True
        begun = time.perf_counter()
        with suppress(OSError, ValueError):  # what failed is told by _poll
            flight[0].wait(self._policy.patience(last))
        self._policy.waited(time.perf_counter() - begun)
        self._poll()
        return kind not in self._pending

    def _due(self, kind: str, loop: str) -> bool:
        """Whether a block may take from the budget: never twice before an iteration's end did.

        Replay starts at the ends of iterations; the blocks, which come first, would starve them.
        """
        if kind != "block" or self._policy.unbounded:
            return True
        return self._turns[f"block {loop}"] <= self._turns[f"iteration {self.loop}"]

    def _wants(self, kind: str, last: bool = False) -> bool:
        wanted = self._policy.wants_checkpoint(last)
        return wanted and self._thinning.allows(kind, self.iterations)

    def _settle(
        self,
        kind: str,
        loop: str,
        graph: Graph,
        found: dict[str, str],
        wanted: bool,
        steps: int | None,
    ) -> None:
        number = self._checkpoint(kind, loop, graph, found) if wanted else None
        self.world.release()
        opaque = "; ".join(graph.opaque)
        if opaque:
            self._sink.note(f"state at {kind} of {loop} can't be captured exactly: {opaque}")
        why = "; ".join([*graph.opaque, *self._foreign]) or None
        for text in graph.assumed:
            self._sink.note(f"assumed: {text}")
        self._log(kind, loop, found, number, why, steps)

    def _log_passed(self, loop: str, steps: int | None) -> None:
        """Log that a block ended and its state was not looked at: often, so the text is kept."""
        if (loop, steps) == self._passed[0] and not self._sink.unfinished_line():
            _core.log_encoded(STATE, JSON_KIND, self._passed[1])
            return
        text = self._log("block", loop, {"digest": None}, None, None, steps)
        if not self._sink.unfinished_line():
            self._passed = (loop, steps), text

    def _log(
        self,
        kind: str,
        loop: str,
        found: dict[str, Any],
        number: int | None,
        why: str | None,
        steps: int | None,
    ) -> bytes:
        record = {
            "boundary": kind,
            "loop": loop,
            **found,
            "checkpoint": number,
            "jumpable": why is None,
        }
        record |= {"why": why, "steps": steps, "exit": "exhausted" if kind == "block" else None}
        if line := self._sink.unfinished_line():
            record["line"] = line
        text = json.dumps(record).encode()
        _core.log_encoded(STATE, JSON_KIND, text)
        return text

    # -- checkpoints -------------------------------------------------------------------------------

    def _checkpoint(self, kind: str, loop: str, graph: Graph, found: dict[str, str]) -> int | None:
        begun = time.perf_counter()
        try:
            files, removed = self._sink.changed_files()
            contracts = b"\0" + self.world.contracts(graph, self._snapshot)
            self.world.add_states(graph)
            number = self._number
            first_file = len(graph.regions.views) + 1
            listed = [{"path": path, "region": first_file + i} for i, path in enumerate(files)]
            head = encode(graph, files=listed, removed=removed)
            meta = {
                "context": _core.context_path(),
                "boundary": kind,
                "loop": loop,
                "number": number,
                **found,
            }
            buffers = [head, *graph.regions.views, *files.values()]
            path = self._sink.checkpoint_path(number)
            snapshotter = self._sink.snapshotter()
            writers.watch(snapshotter)
            pending = snapshotter.take(buffers, path, json.dumps(meta).encode(), contracts)
        except (OSError, ValueError, TypeError) as error:
            self._sink.trouble(f"a checkpoint was not taken: {error}")
            return None
        self._number += 1
        self._policy.checkpointed(time.perf_counter() - begun)
        self._thinning.taken(kind, self.iterations)
        self._pending[kind] = (pending, time.perf_counter(), time.process_time())
        return number

    def _poll(self) -> None:
        for kind, (pending, wall, cpu) in list(self._pending.items()):
            if not pending.done:
                continue
            del self._pending[kind]
            if pending.error:
                self._sink.trouble(f"a checkpoint was lost: {pending.error}")
                continue
            self._policy.waited(self._sink.snapshotter().held_seconds())
            work = pending.background_cpu_seconds
            elapsed = max(1e-6, time.perf_counter() - wall)
            busy = max(0.0, time.process_time() - cpu - work) / elapsed
            self._policy.finished(work, busy, pending.stored_bytes)
            self._measure_restore(pending.path)
            self._thin(kind, Path(pending.path), pending.stored_bytes)

    def _thin(self, kind: str, stored: Path, nbytes: int) -> None:
        """Drop old checkpoints when this one took the run past its disk budget."""
        drop = self._thinning.stored(kind, int(stored.stem), nbytes)
        for number in drop:
            try:
                stored.with_name(f"{number}.ckpt").unlink(missing_ok=True)
            except OSError as error:
                self._sink.trouble(f"an old checkpoint can't be dropped: {error}")
        self._policy.dropped += len(drop)
        if drop or self._thinning.full:
            how = (
                "no more are taken" if not drop else "old ones were thinned out, new ones are rarer"
            )
            budget = f"{self._policy.disk_budget_bytes:,} bytes (FLOR_DISK_BUDGET)"
            self._sink.note(f"the checkpoints passed the disk budget of {budget}: {how}")

    def _measure_restore(self, path: str) -> None:
        """Read a little of the first durable checkpoint back: what a restore will cost here."""
        if self._sampled:
            return
        self._sampled = True
        begun, done = time.perf_counter(), 0
        try:
            reader = _core.CheckpointReader(self._sink.store(), path)
            for region, nbytes in enumerate(reader.regions):
                if done + nbytes <= _PROBE_READ_BYTES:
                    reader.read_into(region, np.empty(nbytes, np.uint8))
                    done += nbytes
        except (OSError, ValueError) as error:
            self._sink.trouble(f"a checkpoint can't be read back: {error}")
            return
        self._policy.measured_restore(time.perf_counter() - begun, done)

    def finish(self) -> None:
        """Account for what is still in flight."""
        self._poll()
        self.active = False
