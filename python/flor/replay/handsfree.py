"""The loops of an unmodified program in a replay worker: jump, restore or run.

What :mod:`flor.replay.loops` does where a program calls ``flor.loop``; here the core tells of loops
that begin (``_core.set_loop_watcher``).
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from flor import _core, adapters
from flor.instrumentation.importer import Importer
from flor.instrumentation.loops import LoopSite
from flor.instrumentation.rewrite import compile_loops
from flor.instrumentation.source import read_source
from flor.instrumentation.spans import Span

if TYPE_CHECKING:
    from flor.replay.session import ReplaySession


def compile_file(path: str, plan: dict[str, Any]) -> CodeType:
    """Return the code of one of today's files, its loops visible and its probes protected."""

    def make(site: LoopSite, suspends: bool, counted: int, light: bool) -> _core.LoopSite:
        return _core.LoopSite(site.name or "loop", (path, site.call_span), suspends, counted, light)

    spans = [Span(*span) for span in plan["added"].get(path, [])]
    return compile_loops(read_source(path), path, make, spans, plan["defined"])


class Watch:
    """Handles the loops of the main thread for one replay session."""

    def __init__(self, session: ReplaySession, *, forked: bool = False) -> None:
        self.session = session
        self._thread = threading.get_ident()
        plan = session.plan
        if session.facts.meta.get("handsfree") and not forked:  # else the parent's are in place
            Importer(session.user.is_user_file, lambda path: compile_file(path, plan)).install()
            adapters.install(session.note)
        _core.set_loop_watcher(self.watch)

    def watch(self, loop: _core.Loop) -> Any:
        """Decide what to do with a loop that begins outside of all others or in the main one.

        Returns its handler, None, or NotImplemented for one that need not be asked about.
        """
        if threading.get_ident() != self._thread:
            return None
        frame = sys._getframe(1)
        if loop.depth:
            return BlockHandler(self.session, loop.name).begin(loop, frame)
        main = self.session.plan["main_loop"]
        if main is None or loop.name.partition("#")[0] != main.partition("#")[0]:
            return NotImplemented
        if loop.name != main or self.session.has_main():
            return None
        return MainHandler(self.session, loop.name).begin(loop, frame)


@dataclass
class MainHandler:
    """The main loop: begins with the segment's first iteration, ends the worker after its last."""

    session: ReplaySession
    name: str

    def begin(self, loop: _core.Loop, frame: FrameType) -> MainHandler:
        """Check the entry and jump."""
        session = self.session
        session.enter_main(self, frame)
        if session.plan["stop"] == -1:  # the question is answered before the main loop
            session.stop()
        jump = session.plan["jump"] if session.weak else None
        first = jump["index"] + 1 if jump and jump["boundary"] == "iteration" else 0
        if first:
            if not loop.skip(first):
                session.refuse("the main loop has fewer iterations than in the run")
            session.jump(frame)
        return self

    def iteration_ended(self, loop: _core.Loop) -> None:
        """Compare the state; the worker may be done."""
        session = self.session
        session.count(self.name.partition("#")[0])
        session.compare("iteration", self.name, sys._getframe(1))
        stop = session.plan["stop"]
        if session.weak and stop is not None and loop.index >= stop:
            session.stop()

    def ended(self, loop: _core.Loop, exhausted: bool) -> None:
        """The loop was left; an iteration that left it was executed too."""
        if not exhausted and loop.index >= 0:
            self.session.count(self.name.partition("#")[0])


@dataclass
class BlockHandler:
    """A loop directly inside the main one: restored at its end where it holds no probe."""

    session: ReplaySession
    name: str
    outer: Any = field(default=())

    def begin(self, loop: _core.Loop, frame: FrameType) -> BlockHandler | None:
        """Restore the end of the loop, or let it run."""
        session, self.outer = self.session, self.session.context()
        _, probed = session.probes.sites.get(loop.key, ("other", True))
        state = session.facts.state(self.outer, "block", self.name)
        possible = session.weak and session.plan["skip_blocks"] and not probed
        if not possible or session.probes.running(frame) or not session.facts.checkpoint(state):
            return self
        assert state is not None
        session.restore_block(state, self.outer, self.name, frame)
        self._note("restored", state.get("steps") or 0)
        session.result["skipped"].append([*self.outer, (self.name, -1)])
        loop.stop()
        return None

    def iteration_ended(self, loop: _core.Loop) -> None:
        """``--only`` may ask for nothing further of this loop: restore its end if that is kept."""
        session = self.session
        only = session.plan["only"].get(self.name)
        state = session.facts.state(self.outer, "block", self.name)
        if not only or loop.index < only[1] or not session.weak:
            return
        if session.facts.checkpoint(state):
            assert state is not None
            session.restore_block(state, self.outer, self.name, sys._getframe(1))
            self._note("run", loop.index + 1, stopped=True)
            session.count(self.name.partition("#")[0], loop.index + 1)
            self.outer = None
            loop.stop()

    def ended(self, loop: _core.Loop, exhausted: bool) -> None:
        """Compare the state at a natural end."""
        if self.outer is None:
            return
        self.session.count(self.name.partition("#")[0], loop.index + 1)
        self._note("run", loop.index + 1)
        if exhausted:
            self.session.compare("block", self.name, sys._getframe(1))

    def _note(self, action: str, steps: int, **more: Any) -> None:
        context = [list(step) for step in self.outer]
        entry = {"loop": self.name, "context": context, "action": action, "steps": steps, **more}
        self.session.result["blocks"].append(entry)
