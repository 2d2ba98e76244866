"""The loops of an unmodified program that travels: what :mod:`flor.travel.loop` does where a
program calls ``flor.loop``.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from flor import _core
from flor.errors import SourceError
from flor.instrumentation.source import Source, read_source
from flor.recording.handsfree import Candidate, HandsFree, Programs
from flor.recording.loops import known_length, scalar_text

if TYPE_CHECKING:
    from flor.travel.session import TravelSession


class RecordedPrograms(Programs):
    """Compiles the files of a recorded version; what is not in it, as it is today."""

    def __init__(self, sources: dict[str, Source]) -> None:
        super().__init__()
        self._sources = sources

    def read(self, path: str) -> Source:
        """Return the recorded source of a file."""
        return self._sources[path] if path in self._sources else read_source(path)

    def check(self, code: CodeType, source: Source) -> None:
        """Nothing: modules are made from the recorded files."""

    def code(self, path: str) -> CodeType:
        """Return the code of a recorded file; raises SourceError."""
        code = self.compile(path)
        if code is None:
            raise SourceError(f"the recorded source of {path} does not parse")
        return code


class TravelWatch(HandsFree):
    """Handles the loops of the main thread: its own way until the session lands, then as any."""

    def __init__(
        self, session: TravelSession, programs: Programs, *, everything: bool = True
    ) -> None:
        super().__init__(session, programs, everything=everything)
        self._travel = session
        self._begun = False

    def watch(self, loop: _core.Loop) -> Any:
        """Decide what a loop is that begins outside of all others or directly in the main one."""
        if self._travel.landed or not self._is_mine():
            return super().watch(loop)
        frame = sys._getframe(1)
        if loop.depth:
            if self._begun and self._travel.restore_block(loop.name, "for", frame):
                loop.stop()
            return None  # its end is in the record already
        if self._begun or loop.name != self._travel.main_loop:
            return None
        self._begun = True
        return self._enter(loop, frame)

    def _enter(self, loop: _core.Loop, frame: FrameType) -> TravellingMain:
        self._hook_optimizers()
        travel = self._travel
        travel.beginning = loop.iterable
        library = getattr(loop.key, "library", None)
        main = travel.enter_candidate(loop.name, frame, library)  # it may land there
        assert main is not None
        length = known_length(loop.iterable)
        candidate = Candidate(self, main, 2, time.perf_counter(), length)
        self._best = candidate
        if first := travel.first_iteration():
            travel.require_items(direct=True)
            for index in range(min(first, length)):
                travel.check_item(index, scalar_text(loop.iterable[index]))
            if not loop.skip(first):
                travel.refuse("the main loop is shorter than the one recorded")
            travel.arrive(frame)
        return TravellingMain(travel, candidate)


@dataclass
class TravellingMain:
    """The main loop: executed without being recorded until the session lands."""

    travel: TravelSession
    candidate: Candidate

    def iteration_ended(self, loop: _core.Loop) -> None:
        """An iteration is over, the next one has not begun."""
        if self.travel.landed:
            self.candidate.iteration_ended(loop)
            return
        last = loop.index + 1 == self.candidate.length
        self.travel.iteration_ended(self.candidate.main, loop.index, sys._getframe(1), last)

    def block_ended(self, loop: _core.Loop) -> None:
        """A loop directly inside came to its natural end."""
        self.candidate.block_ended(loop)

    def ended(self, loop: _core.Loop, exhausted: bool) -> None:
        """The loop was left."""
        if self.travel.landed:
            self.candidate.ended(loop, exhausted)
