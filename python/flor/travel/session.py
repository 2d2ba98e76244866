"""The session of a program that travels to a recorded state and is recorded from there on.

Until it *lands* nothing is recorded: the program runs its first lines, is served the recorded
arguments and clock reads, the state is restored, and what lies between there and the target is
executed. Every doubt on the way is :meth:`TravelSession.refuse`; nothing durable has changed then.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.capture.difference import differences
from flor.capture.state import digest, encode, shape
from flor.capture.walk import Graph
from flor.errors import FlorError
from flor.recording.handsfree import Programs
from flor.recording.loops import scalar_text
from flor.recording.mainloop import MainLoop
from flor.recording.options import Options
from flor.recording.policy import Policy
from flor.recording.record import RecordSession
from flor.replay.facts import Facts
from flor.replay.probes import Probes, place_of
from flor.replay.view import Places
from flor.travel.attempts import say
from flor.travel.handsfree import TravelWatch
from flor.travel.items import independent
from flor.travel.loop import TravelLoop
from flor.travel.route import Place, Route


@dataclass
class Trip:
    """What a travelling program needs to know of the run that it comes from.

    ``direct``: the loops whose items alone their ``for`` statement gets. ``values``: what the main
    loop's items were, as JSON by iteration. ``warned``: what Python warned of once. ``scratch``: a
    folder for what is logged on the way. ``places``: maps recorded paths to this process's.
    """

    route: Route
    facts: Facts
    probes: Probes
    direct: set[Any]
    values: dict[int, str]
    warned: list[str]
    scratch: Path
    places: Places | None = None


class TravelSession(RecordSession):
    """Records a run from the place where it lands; :meth:`land` and the rest of how a resumed run
    and a fork differ are in their own classes.
    """

    watches_files = False

    def __init__(self, layout: Any, options: Options, run: str, trip: Trip) -> None:
        super().__init__(
            layout, options, run, str(Path.cwd()) if trip.facts.meta.get("module") else None
        )
        self.trip = trip
        self.facts = trip.facts
        self.landed = False
        self.beginning: Any = None  # what the loop that begins iterates over
        self.same_start = False  # whether the main loop began in the run's own state
        self._whole_iterations = False
        self._aside: _core.LogWriter | None = None

    # -- what a resumed run and a fork do their own way --------------------------------------------

    def refuse(self, reason: str) -> NoReturn:
        """Give up this way and try the next; does not return."""
        raise NotImplementedError

    def fail(self, reason: str) -> NoReturn:
        """Give up; does not return."""
        raise NotImplementedError

    def put_files(self, file: CheckpointFile) -> None:
        """Make the working folder what it was at a boundary."""
        raise NotImplementedError

    def entered(self, main: MainLoop, graph: Graph, begun: float) -> None:
        """The main loop was reached in a state of the run's structure."""

    def commit(self, main: MainLoop | None, frame: FrameType | None) -> None:
        """Make it durable that the run goes on from here; what is logged after it counts."""
        raise NotImplementedError

    def begin(self) -> None:
        """Start on the way; raises the errors of the store."""
        self._begin()

    # -- on the way --------------------------------------------------------------------------------

    def _log_aside(self) -> None:
        """What is logged from now on is not recorded."""
        folder = tempfile.mkdtemp(prefix="log-", dir=self.trip.scratch)
        self.writer = self._aside = _core.LogWriter(folder, "aside")
        _core.set_active(self._aside, same_run=True)

    def save(self) -> None:
        """Replace run.json, once the run goes on."""
        if self.landed:
            super().save()

    def finish(self, status: str = "completed", exit_code: int | None = 0) -> None:
        """End the run; of one that never landed nothing is kept."""
        if self.landed:
            super().finish(status, exit_code)
        elif not self._finished and os.getpid() == self._pid:
            self._finished = True
            self._detach()

    def arg(self, name: str, default: Any) -> Any:
        """Return the recorded value; of a name that the run never asked for, the default."""
        recorded = self.meta["args"]
        if name not in recorded:
            return super().arg(name, default)
        value = recorded[name]
        return type(default)(value) if isinstance(default, (tuple, set)) else value

    def _read_clock(self, name: str, clock: Any, frame: FrameType) -> Any:
        if self.landed:
            return super()._read_clock(name, clock, frame)
        context = tuple((loop, index) for loop, index in _core.context_path())
        queue = self.facts.clocks.get((context, name))
        return queue.popleft() if queue else clock()

    def loop(self, name: str, iterable: Iterable[Any]) -> Iterator[Any]:
        """Return the iterator of ``flor.loop``."""
        plain = super().loop(name, iterable)
        if self.landed:
            return plain
        frame = sys._getframe(2)
        kind, _ = self.trip.probes.site(frame)
        return TravelLoop(self, name, iterable, kind, place_of(frame) in self.trip.direct)

    @property
    def main_loop(self) -> str:
        """The name of the recorded main loop."""
        return str((self.facts.meta.get("main") or {}).get("loop"))

    def watch_loops(self, programs: Programs, *, everything: bool = True) -> None:
        """Find the recorded main loop of a program that does not name its loops."""
        self._handsfree = TravelWatch(self, programs, everything=everything)

    def _may_enter(self, policy: Policy) -> bool:
        return not self.landed or super()._may_enter(policy)

    # -- the main loop, until the target is reached ------------------------------------------------

    def _enter_main(self, main: MainLoop, frame: FrameType) -> None:
        if self.landed:
            main.enter(frame)
            return
        begun = time.perf_counter()
        graph = main.world.enter(frame)
        self._walked = time.perf_counter() - begun, graph.regions.nbytes
        same = self._compare_entry(main, graph)
        self.entered(main, graph, begun)
        base = self.trip.route.base
        assert base is not None
        if not same and base.boundary != "entry":
            entry = self.facts.state((), "entry", main.loop)
            if self.facts.checkpoint(entry) is not None:  # a loader draws its order from there
                self._restore(entry, frame)
                same = True
        self.same_start = same
        if base.boundary == "entry":
            if isinstance(self.beginning, range | list | tuple):  # others can't be looked into
                for item in self.beginning[:1]:
                    self.check_item(0, scalar_text(item))
            if not same:
                self._restore(self.facts.state((), "entry", main.loop), frame)
            self._came_to(base, frame)

    def _compare_entry(self, main: MainLoop, graph: Graph) -> bool:
        """Whether the state is the recorded one; refuses where that is needed, or the shape is
        not.
        """
        base = self.trip.route.base
        entry = self.facts.state((), "entry", main.loop)
        if entry is None or base is None:
            self.refuse(f"the run has not recorded the start of loop {main.loop!r}")
        if entry.get("shape") != shape(graph):
            self.refuse(
                "the program's objects at the main loop are not those of the run: "
                + self._explain(entry, graph)
            )
        same = bool(entry.get("digest") == self._digest(graph))
        if not same and base.boundary == "entry" and base.checkpoint is None:
            self.refuse(
                "the program did not come to the state that the run had at its main loop, and no "
                f"checkpoint holds that: {self._explain(entry, graph)}"
            )
        return same

    def first_iteration(self) -> int:
        """Return the first iteration of the main loop that is executed."""
        base = self.trip.route.base
        return base.index + 1 if base is not None and base.boundary == "iteration" else 0

    def require_items(self, direct: bool) -> None:
        """Refuse to pass over iterations when their items may depend on what they do, unless whole
        iterations are executed after them and compared before the target.
        """
        route = self.trip.route
        if direct and independent(self.beginning, self.same_start):
            return
        if route.target is None or route.base == route.target or route.target.boundary == "block":
            self.refuse("what the main loop iterates over may depend on what it does")
        self._whole_iterations = True

    def check_item(self, index: int, text: str | None) -> None:
        """Refuse when an iteration has another value than it had."""
        recorded = self.trip.values.get(index)
        if recorded is not None and recorded != text:
            self.refuse(
                f"iteration {index} of the main loop has the value {text}, recorded was {recorded}"
            )

    def arrive(self, frame: FrameType) -> None:
        """All iterations before the base are passed over: restore it."""
        base = self.trip.route.base
        assert base is not None
        self._restore(self.facts.state(base.context, base.boundary, base.loop), frame)
        self._came_to(base, frame)

    def iteration_ended(self, main: MainLoop, index: int, frame: FrameType, last: bool) -> None:
        """An iteration of the main loop was executed."""
        if self.landed:
            main.iteration_ended(frame, last)
            return
        context = ((main.loop, index),)
        state = self.facts.state(context, "iteration", main.loop)
        if state is not None and state.get("digest"):
            graph = main.world.walk(frame)
            main.world.release()
            if self._digest(graph) != state["digest"]:
                self.refuse(
                    f"executed again, {main.loop}={index} ends in another state: "
                    f"{self._explain(state, graph)}"
                )
        elif self.trip.route.target and self.trip.route.target.context == context:
            say(f"unverified: no fingerprint of {main.loop}={index} was recorded to compare with")
        self._came_to(Place("iteration", main.loop, context), frame)

    def restore_block(self, name: str, kind: str, frame: FrameType) -> bool:
        """Restore the end of a loop directly in the main loop where a checkpoint has it."""
        context = tuple((loop, index) for loop, index in _core.context_path())
        state = self.facts.state(context, "block", name)
        if kind == "other" or self._whole_iterations or self.facts.checkpoint(state) is None:
            return False
        self._restore(state, frame)
        self._came_to(Place("block", name, context), frame)
        return True

    def _restore(self, state: dict[str, Any] | None, frame: FrameType) -> None:
        path = self.facts.checkpoint(state)
        if path is None or state is None or self._main is None:
            self.refuse("a checkpoint is gone")
        try:
            to_here = self.trip.places.to_view if self.trip.places else str
            file = CheckpointFile(self.store(), path, to_here)
            self._main.world.restore(file.graph, file.regions, frame, self.trip.probes.find_code)
            self.put_files(file)
        except FlorError as error:
            self.refuse(f"{path.name} can't be restored: {error}")
        graph = self._main.world.walk(frame)
        self._main.world.release()
        if self._digest(graph) != state["digest"]:
            self.refuse(
                f"the restored state is not the recorded one: {self._explain(state, graph)}"
            )

    def _digest(self, graph: Graph) -> str:
        return digest(graph, self.trip.places.to_recorded) if self.trip.places else digest(graph)

    def _explain(self, state: dict[str, Any], graph: Graph) -> str:
        """Say by name where a state differs from the recorded one, when that was kept whole."""
        path = self.facts.checkpoint(state)
        if path is None:
            return "no checkpoint here says where they differ"
        file = CheckpointFile(self.store(), path)
        text = encode(graph).decode()
        live = json.loads(self.trip.places.to_recorded(text) if self.trip.places else text)
        found = differences(file.graph, live, file.regions, lambda i: graph.regions.views[i])
        return "; ".join(found) or "in what was not kept"

    # -- landing -----------------------------------------------------------------------------------

    def _came_to(self, place: Place, frame: FrameType) -> None:
        target = self.trip.route.target
        if target is None or (place.boundary, place.loop, place.context) != (
            target.boundary,
            target.loop,
            target.context,
        ):
            return
        state = self.facts.state(place.context, place.boundary, place.loop) or {}
        self._streams.unfinished = str(state.get("line") or "")
        self._streams.warned = set(self.trip.warned)
        self.land(self._main, frame)

    def land(self, main: MainLoop | None, frame: FrameType | None) -> None:
        """Go on as a recorded run."""
        try:
            self.commit(main, frame)
        except FlorError as error:
            self.fail(str(error))
        if self._aside is not None:
            self._aside.close()

    def _begin_recording(self) -> None:
        """What is logged from now on is the run's: the last step of :meth:`commit`."""
        self.landed = True
        _core.set_active(self.writer, same_run=True)

    def _rejoin(self, main: MainLoop, iterations: int, number: int) -> None:
        """Let the main loop take boundaries again."""
        seconds, nbytes = self._walked
        if self._policy is not None:
            self._policy.enter(seconds, nbytes)
        self.warm_up(nbytes)
        taken: dict[str, list[Path]] = {}
        for path in self.layout.checkpoint_paths(self.run):
            kind = CheckpointFile(self.store(), path).meta["boundary"]
            taken.setdefault(kind, []).append(path)
        main.go_on(iterations, number, taken)
