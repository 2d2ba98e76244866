"""Tool (ii) alone: the adaptive checkpointer, for people who keep their own training loop."""

from __future__ import annotations

import atexit
import json
import os
import time
from os import PathLike
from pathlib import Path
from typing import Any

from flor import _core
from flor.capture import writers
from flor.capture.checkpoint_file import CheckpointFile
from flor.capture.state import World, encode, set_random_states, shape
from flor.capture.usercode import UserCode
from flor.capture.walk import Graph
from flor.errors import (
    CaptureError,
    CheckpointNotFoundError,
    ClosedError,
    FlorError,
    InvalidError,
)
from flor.recording.options import check_bound
from flor.recording.policy import DEFAULT_OVERHEAD, Policy
from flor.recording.thinning import Thinning, disk_budget
from flor.solo import Closes, SoloRun

_ATOMS = (type(None), bool, int, float, str, bytes, tuple, frozenset)


class Checkpointer(Closes):
    """Checkpoint named objects into the store at ``path``, in the background, under an overhead
    bound.

    Captured are the objects with everything they reach, gradients and aliases included, and the
    random states of Python, NumPy and torch. Construct it where the objects are as a restoring
    process will have them (right after they were made): then a restore refills them in place. Not
    thread-safe.

    ``snapshot`` says how memory is captured: ``"eager"`` copies it in the call; ``"protected"``
    and ``"cooperative"`` read it afterwards, until it is written (``capture.writers``). Default:
    ``FLOR_SNAPSHOT``, else ``"auto"``.
    """

    def __init__(
        self,
        path: str | PathLike[str] | None,
        objects: dict[str, Any],
        overhead: float = DEFAULT_OVERHEAD,
        *,
        snapshot: str | None = None,
    ) -> None:
        for name, obj in objects.items():
            if isinstance(obj, _ATOMS):
                raise InvalidError(
                    f"Checkpointer: {name!r} is a {type(obj).__name__}, which can't be restored in "
                    "place; put it into a list, a dict or an object"
                )
        check_bound(overhead)
        self._snapshot = writers.choice(snapshot)
        self._run = SoloRun(path)
        self._objects = objects
        self._world = World(UserCode(str(Path.cwd())), objects, whole=False)
        self._policy = Policy(overhead, disk_budget())
        self._thinning = Thinning(self._policy.disk_budget_bytes)
        self._thinned: _core.Pending | None = None
        self._steps = self._number = 0
        self._pending: _core.Pending | None = None
        begun = time.perf_counter()
        graph = self._world.enter(None)
        self._world.release()
        self._readable(graph)
        self._shape = shape(graph)
        self._policy.enter(time.perf_counter() - begun, graph.regions.nbytes)
        self._store = _core.ChunkStore(str(self._run.layout.root))
        self._snapshotter = _core.Snapshotter(self._store)
        self._closed = False
        atexit.register(self.close)

    @staticmethod
    def _readable(graph: Graph) -> None:
        if graph.opaque:
            raise CaptureError(f"can't be captured exactly: {'; '.join(graph.opaque)}")

    def step(self) -> bool:
        """Count an iteration; checkpoint when the bound allows and none is in flight. Return
        whether it did.
        """
        self._steps += 1
        if self._pending is not None and self._pending.done:
            self._account(self._pending)
        allowed = self._thinning.allows("step", self._steps)
        if self._pending is not None or not allowed or not self._policy.wants_checkpoint():
            return False
        self._thinned = self.save()
        self._thinning.taken("step", self._steps)
        return True

    def _account(self, pending: _core.Pending) -> None:
        self._pending = None
        if pending.refused:  # told by its wait(); the next one is copied at once
            return
        if pending.error:
            raise FlorError(f"a checkpoint was lost: {pending.error}")
        self._policy.waited(self._snapshotter.held_seconds())
        self._policy.finished(pending.background_cpu_seconds, 1.0, pending.stored_bytes)
        if pending is self._thinned:  # what the user saved by hand is never dropped
            path = Path(pending.path)
            for number in self._thinning.stored("step", int(path.stem), pending.stored_bytes):
                path.with_name(f"{number}.ckpt").unlink(missing_ok=True)
                self._policy.dropped += 1

    def save(self) -> _core.Pending:
        """Checkpoint now; what is returned is durable after its ``wait()``, which raises what
        failed.
        """
        if self._closed:
            raise ClosedError("this Checkpointer was closed")
        begun = time.perf_counter()
        graph = self._world.walk(None)
        self._readable(graph)
        contracts = b"\0" + self._world.contracts(graph, self._snapshot)
        self._world.add_states(graph)
        meta = {
            "run": self._run.run,
            "context": [["step", self._steps]],
            "boundary": "step",
            "loop": "step",
            "number": self._number,
            "shape": self._shape,
        }
        folder = self._run.layout.checkpoint_dir(self._run.run)
        buffers = [encode(graph), *graph.regions.views]
        path = str(folder / f"{self._number}.ckpt")
        writers.watch(self._snapshotter)
        pending = self._snapshotter.take(buffers, path, json.dumps(meta).encode(), contracts)
        self._number += 1
        self._policy.checkpointed(time.perf_counter() - begun)
        self._pending = pending
        return pending

    def checkpoints(self) -> list[dict[str, Any]]:
        """Return the durable checkpoints of this path, also of earlier processes, oldest first.

        Each is a dict: run, step, path, bytes, time.
        """
        found = []
        layout = self._run.layout
        for run in layout.run_ids():
            for path in layout.checkpoint_paths(run):
                reader = _core.CheckpointReader(self._store, str(path))
                meta = json.loads(bytes(reader.meta))
                if meta["boundary"] == "step":
                    step = meta["context"][0][1]
                    found.append(
                        {
                            "run": run,
                            "step": step,
                            "path": str(path),
                            "bytes": reader.raw_bytes,
                            "time": reader.time,
                        }
                    )
        return sorted(found, key=lambda entry: float(entry["time"]))

    def restore(self, at: int | None = None) -> int:
        """Restore the newest durable checkpoint, or that of the at-th ``step()``, in place; return
        its step.

        Raises CheckpointNotFoundError, CaptureError, CorruptError; the objects may be half restored
        only after CorruptError.
        """
        self._snapshotter.drain()
        found = self.checkpoints()
        wanted = [entry for entry in found if at is None or entry["step"] == at]
        if not wanted:
            steps = ", ".join(str(entry["step"]) for entry in found[-5:]) or "none"
            what = "no checkpoint" if at is None else f"no checkpoint of step {at}"
            raise CheckpointNotFoundError(f"{what} in {self._run.layout.root}; there are: {steps}")
        checkpoint = CheckpointFile(self._store, wanted[-1]["path"])
        if checkpoint.meta["shape"] == self._shape:
            self._world.restore(checkpoint.graph, checkpoint.regions, None)
        else:
            self._load_states(checkpoint)
        self._steps = int(wanted[-1]["step"])
        return self._steps

    def _load_states(self, checkpoint: CheckpointFile) -> None:
        """The objects are built differently than when recorded: go through their
        ``load_state_dict``.
        """
        states = checkpoint.states()
        missing = [name for name in self._objects if name not in states]
        plain = [n for n, obj in self._objects.items() if not hasattr(obj, "load_state_dict")]
        if missing or plain:
            raise CaptureError(
                "the objects are not built as when recorded, and "
                f"{', '.join(missing + plain)} can't be loaded by load_state_dict; "
                "construct the Checkpointer right after the objects were made"
            )
        for name, obj in self._objects.items():
            obj.load_state_dict(states[name])
        set_random_states(dict(checkpoint.graph["roots"]["rng"]))

    def close(self) -> None:
        """Finish what is in flight and end the run. A second call does nothing; errors are told by
        ``wait()``.
        """
        if self._closed or os.getpid() != self._run.pid:
            return
        self._closed = True
        self._snapshotter.close()
        self._store.close()
        self._run.end(overhead=self._policy.report())
