"""``flor.loop`` in a replay worker: jump, restore or run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from flor import _core
from flor.recording.loops import active_loops, pop_loop, push_loop, scalar_text

if TYPE_CHECKING:
    from flor.replay.session import ReplaySession


def skipping() -> bool:
    """Whether this thread's innermost loop is passing over iterations (the guard asks this)."""
    loops = active_loops()
    return bool(loops) and bool(getattr(loops[-1], "skipping", False))


class ReplayedLoop(Iterator[Any]):
    """One loop of the program under replay.

    ``kind``: 'for' (the for statement iterates this object itself), 'wrapped' (something like
    ``enumerate`` in between: skipped iterations are passed through and the guarded body passes over
    them), 'other' (can't be jumped). ``probed``: whether a probe may fire inside.
    """

    def __init__(
        self, session: ReplaySession, name: str, iterable: Iterable[Any], kind: str, probed: bool
    ) -> None:
        self.name = name
        self.skipping = False
        self._session = session
        self._iterable = iterable
        self._kind = kind
        self._probed = probed
        self._iterator: Iterator[Any] | None = None
        self._token = -1
        self._index = -1
        self._role = "plain"
        self._first = 0
        self._children: dict[str, int] = {}
        self._limit: int | None = None

    def __iter__(self) -> ReplayedLoop:
        return self

    @property
    def captured_as(self) -> tuple[str, int]:
        """What a captured state says of this loop, should the program keep it."""
        return "loop", self._index

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]

    def __next__(self) -> Any:
        frame = sys._getframe(1)
        if self._iterator is None:
            self._begin(frame)
        elif self._index >= 0 and not self.skipping:
            self._iteration_ended(frame)
        assert self._iterator is not None
        if self.skipping and self._index + 1 == self._first:
            self._land(frame)
        item = self._take(frame)
        self._index += 1
        self._children.clear()
        _core.context_step(self._token, self._index, scalar_text(item))
        if not self.skipping:
            self._session.count(self._counted_name())
        return item

    def _take(self, frame: FrameType) -> Any:
        assert self._iterator is not None
        try:
            return next(self._iterator)
        except StopIteration:
            self._end(frame, exhausted=True)
            raise

    # -- begin -------------------------------------------------------------------------------------

    def _begin(self, frame: FrameType) -> None:
        loops = active_loops()
        self._role = self._session.role(self.name, loops)
        if self._role == "main":
            self._session.enter_main(self, frame)
            if self._session.plan["stop"] == -1:  # the question is answered before the main loop
                self._session.stop()
        self._token = _core.context_enter(self.name)
        push_loop(self)
        if self._role == "block":
            self._begin_block(frame)
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        if self._role == "main":
            self._begin_main(frame)

    def _begin_main(self, frame: FrameType) -> None:
        plan = self._session.plan
        jump = plan["jump"] if self._session.weak else None
        self._first = jump["index"] + 1 if jump and jump["boundary"] == "iteration" else 0
        if not self._first:
            return
        if self._kind == "other":
            self._session.refuse("the main loop is not a plain for statement over flor.loop")
        self.skipping = True
        if self._kind == "wrapped":
            return  # the items pass through the wrapper, the guarded body passes over them
        assert self._iterator is not None
        for index in range(self._first):
            self._index = index
            next(self._iterator)
        _core.context_step(self._token, self._index, None)
        self._land(frame)

    def _land(self, frame: FrameType) -> None:
        """Restore the state before the first iteration of the segment."""
        self._session.jump(frame)
        self.skipping = False

    def _begin_block(self, frame: FrameType) -> None:
        session = self._session
        self.name = active_loops()[0].child_name(self.name)
        outer = session.context()
        only = session.plan["only"].get(self.name)
        self._limit = only[1] if only else None
        state = session.facts.state(outer, "block", self.name)
        possible = session.weak and session.plan["skip_blocks"] and self._kind in ("for", "wrapped")
        if not self._probed and possible and session.facts.checkpoint(state):
            assert state is not None
            session.restore_block(state, outer, self.name, frame)
            self._note_block("restored", state.get("steps") or 0)
            session.result["skipped"].append([*outer, (self.name, -1)])
            self._iterator = iter(())

    def child_name(self, name: str) -> str:
        """Return the name in contexts of a loop that begins in this iteration (``name#2``)."""
        count = self._children[name] = self._children.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _note_block(self, action: str, steps: int, **more: Any) -> None:
        context = [list(step) for step in self._session.context()[: len(active_loops()) - 1]]
        entry = {"loop": self.name, "context": context, "action": action, "steps": steps, **more}
        self._session.result["blocks"].append(entry)
        self._role = "noted"

    # -- end ---------------------------------------------------------------------------------------

    def _counted_name(self) -> str:
        return self.name.partition("#")[0]

    def _iteration_ended(self, frame: FrameType) -> None:
        session = self._session
        if self._role == "main":
            session.compare("iteration", self.name, frame)
            stop = session.plan["stop"]
            if session.weak and stop is not None and self._index >= stop:
                session.stop()
        elif self._role == "block" and self._limit is not None and self._index >= self._limit:
            self._cut_short(frame)

    def _cut_short(self, frame: FrameType) -> None:
        """``--only`` asks for nothing further of this block: restore its end where there is one."""
        session = self._session
        outer = session.context()[:-1]
        state = session.facts.state(outer, "block", self.name)
        if session.weak and session.facts.checkpoint(state):
            assert state is not None
            session.restore_block(state, outer, self.name, frame)
            self._note_block("run", self._index + 1, stopped=True)
            self._iterator = iter(())

    def _end(self, frame: FrameType, exhausted: bool) -> None:
        if self._token < 0:
            return
        if self._role == "block":
            self._note_block("run", self._index + 1)
            self._role = "block"
        _core.context_leave(self._token)
        self._token = -1
        pop_loop(self)
        if self._role == "block" and exhausted:
            self._session.compare("block", self.name, frame)
        self._iterator = iter(())

    def __del__(self) -> None:
        if getattr(self, "_token", -1) >= 0 and sys is not None and not sys.is_finalizing():
            self._end(sys._getframe(1), exhausted=False)
