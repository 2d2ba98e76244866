"""The replay session: what the public calls do in a replay worker.

It serves the recorded arguments and clocks, jumps the main loop to its segment, restores blocks
that hold no probe, compares the state at every recorded boundary that execution reaches, and keeps
records of probes apart from repeated ones. Any doubt ends the attempt with :class:`Refused`, and
the parent falls back to full re-execution.
"""

from __future__ import annotations

import json
import os
import sys
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.capture.difference import differences
from flor.capture.discover import named_objects
from flor.capture.state import World, digest, encode, shape
from flor.capture.usercode import UserCode
from flor.capture.walk import Graph
from flor.errors import CorruptError, FlorError
from flor.instrumentation.functions import counterpart
from flor.query.order import AFTER
from flor.recording import values
from flor.recording.streams import WARNINGS
from flor.replay.facts import Context, Facts
from flor.replay.handsfree import compile_file
from flor.replay.probes import Probes
from flor.replay.view import Places, set_files

_JSON = 6
_END = 2**62  # an iteration that no loop reaches


class Refused(BaseException):
    """A fast path can't be exact here: re-execute instead. Not an Exception, so no program swallows
    it.
    """


class ReplaySession:
    """Replays one segment of a run. Belongs to the worker's main thread."""

    def __init__(
        self,
        plan: dict[str, Any],
        facts: Facts,
        probes: Probes,
        store: _core.ChunkStore,
        view: Path,
    ) -> None:
        self.plan = plan
        self.facts = facts
        self.probes = probes
        self.view = view
        self.places = Places(facts.meta["cwd"], view)
        self.weak = plan["mode"] == "weak"
        self.store = store
        roots = [
            str(Path(plan["script"]).parent),
            str(Path(facts.meta["script"]).parent),
            str(view),
        ]
        self.user = UserCode(*roots)
        self.world: World | None = None
        self.result: dict[str, Any] = {
            "ok": False, "refused": None, "error": None, "exit_code": 0, "prologues": 1,
            "executed": {},
            "blocks": [], "states": [], "skipped": [], "notes": [], "phases": {},
            "damage": [], "pid": os.getpid(), "port": os.environ.get("MASTER_PORT"),
        }  # fmt: skip
        self._named: list[dict[str, Any]] = []
        self._main: Any = None
        self._repeated = 0
        self._reached: Any = None  # what of the run lies behind
        self._told: Any = None  # and what of that the log of probes has
        self._begun = time.monotonic()
        logs = Path(plan["log_dir"])
        self._writers = {}
        for kind in ("records", "probes"):
            (logs / kind).mkdir(parents=True, exist_ok=True)
            name = f"r{facts.meta.get('rank', 0)}-{os.getpid()}-{plan['worker']}"
            self._writers[kind] = _core.LogWriter(str(logs / kind), name)
        _core.set_active(self._writers["records"])

    # -- the public calls --------------------------------------------------------------------------

    def log(self, name: Any, value: Any) -> Any:
        """Stand in for ``flor.log``: records of probes go to a log of their own."""
        told = self.places.to_recorded(value) if type(value) is str else value
        if self.probes.running(sys._getframe(1)):
            self._log_probe(name, told)
        else:
            _core.log(name, told)
            self._repeated += 1
            self._reached = self._repeated
        return value

    def _log_probe(self, name: Any, value: Any) -> None:
        """Log what a probe asks, and before it what of the run lies behind (``placing``)."""
        log, path = self._writers["probes"], _core.context_path()
        if self._told != self._reached:
            log.log_encoded(AFTER, _JSON, json.dumps(self._reached).encode(), path)
            self._told = self._reached
        values.write_value(log, name, value, path, self.store.put)

    def log_line(self, name: str, text: str) -> None:
        """Record a printed or logged line; warnings depend on what was warned of before."""
        if name != WARNINGS:
            self.log(name, text)

    def log_slowly(self, name: object, value: Any) -> None:
        """Log what the core does not take by itself."""
        values.log_value(name, value, self.store.put)

    def arg(self, name: str, default: Any) -> Any:
        """Return the recorded value."""
        recorded = self.facts.meta.get("args", {})
        if name not in recorded:
            return default
        value = recorded[name]
        return type(default)(value) if isinstance(default, (tuple, set)) else value

    def instrument(self, code: CodeType) -> CodeType | None:
        """Return a function's code with its loops visible, if the run instrumented any."""
        if not self.facts.meta.get("instrumented") or not self.user.is_user_file(code.co_filename):
            return None
        return counterpart(compile_file(code.co_filename, self.plan), code)

    def read_clock(self, name: str, clock: Any, frame: FrameType) -> Any:
        """Serve a recorded clock read; probes read the real clock."""
        if not self.probes.running(frame):
            queue = self.facts.clocks.get((self.context(), name))
            if queue:
                return queue.popleft()
            self.note("a clock was read where the run read none: it got the real time")
        return clock()

    def enter_checkpointing(self, objects: dict[str, Any], overhead: float | None) -> None:
        """``with flor.checkpointing(...)`` begins."""
        self._named.append(objects)

    def exit_checkpointing(self) -> None:
        """``with flor.checkpointing(...)`` ends."""
        if self._named:
            self._named.pop()

    def loop(self, name: str, iterable: Iterable[Any]) -> Iterator[Any]:
        """Return the iterator of ``flor.loop``."""
        from flor.replay.loops import ReplayedLoop

        frame = sys._getframe(2)
        kind, probed = self.probes.site(frame)
        return ReplayedLoop(self, name, iterable, kind, probed or self.probes.running(frame))

    # -- the main loop -----------------------------------------------------------------------------

    def role(self, name: str, loops: list[Any]) -> str:
        """Return 'main', 'block' (directly in the main loop) or 'plain' for a loop that begins."""
        if self._main is not None and len(loops) == 1 and loops[0] is self._main():
            return "block"
        if loops or self._main is not None or not self._named:
            return "plain"
        return "main" if name == self.plan["main_loop"] else "plain"

    def enter_main(self, loop: Any, frame: FrameType) -> None:
        """Number the world and compare it with the recorded entry."""
        self._main = weakref.ref(loop)  # a loop left by break must be dropped
        self.result["phases"]["prologue"] = time.monotonic() - self._begun
        hidden = self.plan["probe_names"]
        named = self._named[-1] if self._named else named_objects(self.user, frame, hidden)
        unseen = self.probes.made if self.plan["added"] else None
        self.world = World(self.user, named, hidden, unseen=unseen)
        graph = self.world.enter(frame)
        self.world.release()
        if self.world.left_out:  # a jump would put their containers back to what they were
            self.refuse("probes are registered with objects of the program (callbacks, hooks)")
        found = self.facts.state(self.context(), "entry", loop.name)
        if found is None:
            self.refuse("the run recorded no entry of this loop")
            return
        if found.get("shape") != shape(graph):
            places = self._explain(found, graph)
            self.refuse(
                f"the program's objects at the main loop's entry are not those of the run: {places}"
            )
            self._saw("entry", loop.name, False, places)
            return
        same = found.get("digest") == digest(graph, self.places.to_recorded)
        if same:
            self._saw("entry", loop.name, True)
        elif self.facts.checkpoint(found):  # another start (no seed was set): take the recorded one
            self.restore(found, "entry", loop.name, frame)
            self._saw("entry", loop.name, True)
        else:
            self._saw("entry", loop.name, False, self._explain(found, graph))

    def refuse(self, reason: str) -> None:
        """Give up a fast path; in full re-execution it is only noted."""
        if self.weak:
            raise Refused(reason)
        self.note(reason)

    def jump(self, frame: FrameType) -> None:
        """Restore the boundary before the segment, if the plan says so."""
        jump = self.plan["jump"]
        if self.weak and jump and jump["boundary"] == "iteration":
            context = (*self.context()[:-1], (self._main().name, jump["index"]))
            state = self.facts.states.get((context, "iteration", self._main().name))
            self.restore(state, "iteration", self._main().name, frame)
            self._reached = context

    def restore_block(self, state: dict[str, Any], outer: Context, loop: str, frame: Any) -> None:
        """Put back the state at the end of a loop: what was logged inside lies behind."""
        self.restore(state, "block", loop, frame)
        self._reached = (*outer, (loop, _END))

    def restore(
        self, state: dict[str, Any] | None, boundary: str, loop: str, frame: FrameType
    ) -> None:
        """Put a recorded state back in place and check, by a walk, that it is there."""
        begun = time.monotonic()
        path = self.facts.checkpoint(state)
        if path is None or state is None or self.world is None:
            raise Refused(f"no checkpoint at {boundary} of {loop}")
        try:
            found = CheckpointFile(self.store, path, self.places.to_view)
            self.world.restore(found.graph, found.regions, frame, self.probes.find_code)
            set_files(self.view, found.files(), found.removed_files())
        except FlorError as error:
            if isinstance(error, CorruptError):
                self.result["damage"].append(str(error))
            raise Refused(f"{boundary} of {loop} can't be restored: {error}") from error
        graph = self.world.walk(frame)
        self.world.release()
        if digest(graph, self.places.to_recorded) != state["digest"]:
            places = self._explain(state, graph)
            raise Refused(
                f"the state restored at {boundary} of {loop} is not the recorded one: {places}"
            )
        phases = self.result["phases"]
        phases["restore"] = phases.get("restore", 0.0) + time.monotonic() - begun

    def compare(self, boundary: str, loop: str, frame: FrameType) -> None:
        """Compare the state that execution reached with the one recorded here, if there is one."""
        state = self.facts.state(self.context(), boundary, loop)
        if self.world is None or state is None or not state.get("digest"):
            return
        graph = self.world.walk(frame)
        self.world.release()
        match = digest(graph, self.places.to_recorded) == state["digest"]
        self._saw(boundary, loop, match, "" if match else self._explain(state, graph))

    def _explain(self, state: dict[str, Any], graph: Graph) -> str:
        """Say by name where the state differs from the recorded one, when that was kept whole."""
        path = self.facts.kept(state)
        if path is None:
            return (
                "the state differs from what was recorded (no checkpoint here to say where; memory "
                "that was never written, as of torch.empty, differs each time)"
            )
        live = json.loads(self.places.to_recorded(encode(graph).decode()))
        try:
            found = CheckpointFile(self.store, path)
            places = differences(found.graph, live, found.regions, lambda i: graph.regions.views[i])
        except CorruptError as error:
            self.result["damage"].append(str(error))
            return "the state differs, and the checkpoint that could say where is damaged"
        return "; ".join(places) or "the state differs in what was not kept"

    def _saw(self, boundary: str, loop: str, match: bool, what: str = "") -> None:
        self.result["states"].append(
            {
                "context": self.context(),
                "boundary": boundary,
                "loop": loop,
                "match": match,
                "what": what or "equal",
            }
        )

    def count(self, loop: str, iterations: int = 1) -> None:
        """Count executed iterations."""
        executed = self.result["executed"]
        executed[loop] = executed.get(loop, 0) + iterations

    def has_main(self) -> bool:
        """Whether the main loop has begun."""
        return self._main is not None

    def context(self) -> Context:
        """Return the calling thread's context."""
        return tuple((name, index) for name, index in _core.context_path())

    def note(self, text: str) -> None:
        """Keep a remark for the report."""
        if text not in self.result["notes"]:
            self.result["notes"].append(text)

    # -- the end -----------------------------------------------------------------------------------

    def finish(self, **outcome: Any) -> None:
        """Close the logs, then write the result: its presence says that the logs are whole."""
        self.result |= outcome
        self.result["seconds"] = time.monotonic() - self._begun
        torch_adapter = sys.modules.get("flor.capture.torch_adapter")
        if torch_adapter is not None and torch_adapter.lost_graphs and self.weak:
            self.result |= {
                "ok": False,
                "refused": "an autograd graph crosses the boundary jumped to",
            }
        _core.set_active(None)
        for writer in self._writers.values():
            writer.close()
        self.store.close()
        path = Path(self.plan["result"])
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.result))
        temporary.replace(path)

    def stop(self) -> None:
        """End the worker here: the segment is done, nothing further of the program runs."""
        self.finish(ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
