"""Recording a program that does not know flor: its main loop is found while it runs.

Every loop outside of all others that may train (by the names that its body may use) is numbered as
it begins, and treated as the main loop. Which one was it is known afterwards: one in which an
optimizer stepped, else one that logged; among equals the longest.
"""

from __future__ import annotations

import copy
import os
import sys
import threading
import time
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

from flor import _core, adapters
from flor.adapters.imports import WhenImported
from flor.adapters.stage import Owner
from flor.capture.discover import named_objects
from flor.capture.state import World
from flor.errors import SourceError
from flor.instrumentation.functions import check_current, counterpart
from flor.instrumentation.importer import Importer
from flor.instrumentation.loops import LoopSite, find_loops
from flor.instrumentation.program import calls_instrument
from flor.instrumentation.rewrite import compile_loops, rewrite
from flor.instrumentation.source import Source, read_source
from flor.instrumentation.training import Training
from flor.recording.loops import known_length
from flor.recording.mainloop import MainLoop

if TYPE_CHECKING:
    from flor.recording.record import RecordSession


def is_explicit(source: Source) -> bool:
    """Whether a program says itself, by ``flor.loop`` or ``flor.instrument``, which loops count."""
    return bool(find_loops(source)) or calls_instrument(source.tree)


class Programs:
    """Compiles the files of a program with their loops visible, and knows what loops may do."""

    def __init__(self) -> None:
        self.training = Training()
        self._codes: dict[str, CodeType] = {}

    def read(self, path: str) -> Source:
        """Return the source of a file; raises SourceError."""
        return read_source(path)

    def visible(self, code: CodeType) -> CodeType | None:
        """Return the code of one function with its loops visible; raises SourceError, InvalidError.

        None for a function that other code made where it stands now.
        """
        path = code.co_filename
        self.check(code, self.read(path))
        if path not in self._codes:
            self._codes[path] = self.compile(path) or code
        return counterpart(self._codes[path], code)

    def check(self, code: CodeType, source: Source) -> None:
        """Raise InvalidError where ``code`` was not made from this source."""
        check_current(code, source)

    def compile(self, path: str) -> CodeType | None:
        """Return the code of a file; None where Python is to compile it, and say what is wrong."""
        try:
            source = self.read(path)
        except SourceError:
            return None
        rewritten = rewrite(source)
        self.training.add(rewritten)

        def make(site: LoopSite, suspends: bool, counted: int, light: bool) -> _core.LoopSite:
            key = (path, site.call_span)
            return _core.LoopSite(site.name or "loop", key, suspends, counted, light)

        return compile_loops(source, path, make, rewritten=rewritten)


@dataclass
class Candidate:
    """A loop that may be the main one, and handles its events (see ``_core.set_loop_watcher``)."""

    handsfree: HandsFree
    main: MainLoop
    promise: int  # 2: its body may train, 1: it may log
    begun: float
    length: int  # -1: not known
    rank: tuple[int, float] = (0, 0.0)

    def iteration_ended(self, loop: _core.Loop) -> None:
        """An iteration is over, the next one has not begun."""
        self.main.iteration_ended(sys._getframe(1), loop.index + 1 == self.length)
        if self.main.iterations == 1:
            self.handsfree.choose(self, loop, None)

    def ended(self, loop: _core.Loop, exhausted: bool) -> None:
        """The loop was left."""
        self.main.finish()
        self.handsfree.choose(self, loop, exhausted)

    def block_ended(self, loop: _core.Loop) -> None:
        """A loop directly inside came to its natural end: replay can restore instead of run it."""
        if self.main.active:
            self.main.block_ended(loop.name, loop.index + 1, sys._getframe(1))

    def measure(self, loop: _core.Loop) -> tuple[int, float]:
        """Return how likely this is the main loop; compares."""
        score = 3 if loop.trained else (self.promise if loop.recorded else self.promise - 1)
        return score, time.perf_counter() - self.begun


class HandsFree:
    """Watches the loops of the main thread for one recording session."""

    def __init__(
        self, session: RecordSession, programs: Programs, *, everything: bool = True
    ) -> None:
        """``everything``: also modules that the program imports, and loops of libraries."""
        self._session = session
        self._programs = programs
        self._best: Candidate | None = None
        self._hooked = False
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._importer = Importer(session.user.is_user_file, self.compile)
        self._libraries: WhenImported | None = None
        if everything:
            self._importer.install()
            self._libraries = adapters.install(session.note)
        _core.set_loop_watcher(self.watch)

    def visible(self, code: CodeType) -> CodeType | None:
        """Return the code of a function with its loops visible."""
        found = self._programs.visible(code)
        _core.set_loop_watcher(self.watch)  # what is known now may give others a promise
        return found

    def compile(self, path: str) -> CodeType | None:
        """Compile one more file; what is known of it may give loops of other files a promise."""
        code = self._programs.compile(path)
        _core.set_loop_watcher(self.watch)
        return code

    def in_child(self, session: RecordSession) -> HandsFree:
        """Return what watches a forked child, where another session records."""
        child = copy.copy(self)
        child._session, child._best = session, None
        child._pid, child._thread = os.getpid(), threading.get_ident()
        child._importer = Importer(session.user.is_user_file, child.compile)
        if self._importer in sys.meta_path:
            self._importer.remove()
            child._importer.install()
        _core.set_loop_watcher(child.watch)
        return child

    def remove(self) -> None:
        """Stop watching."""
        _core.set_loop_watcher(None)
        self._importer.remove()
        if self._libraries is not None:
            self._libraries.remove()

    def watch(self, loop: _core.Loop) -> Any:
        """Decide what a loop is that begins outside of all others; blocks tell of their end only.

        Returns a Candidate, None, or NotImplemented for what need not be asked about again.
        """
        if not self._is_mine():
            return None
        if loop.depth:
            return NotImplemented
        self._hook_optimizers()
        owner = loop.key if isinstance(loop.key, Owner) else None
        promise = 2 * owner.outermost if owner else self._programs.training.promise(loop.key)
        library = owner.library if owner else None
        frame = sys._getframe(1)
        if not promise:
            return NotImplemented
        main = self._session.enter_candidate(loop.name, frame, library)
        if main is None:
            return None
        begun, length = time.perf_counter(), known_length(loop.iterable)
        return Candidate(self, main, promise, begun, length)

    def _is_mine(self) -> bool:
        """Whether the recorded process's own thread is running."""
        return os.getpid() == self._pid and threading.get_ident() == self._thread

    def begun(self, loop: str) -> int:
        """Return how many loops of this name began outside of all others, whatever their number."""
        return _core.loops_begun(loop.partition("#")[0])

    def world(self, frame: Any, named: dict[str, Any] | None) -> World:
        """Return the state to capture, for a main loop that begins in ``frame``.

        ``named``: what the program gave to ``flor.checkpointing``; None: what is found by itself.
        """
        user = self._session.user
        return World(user, named_objects(user, frame) if named is None else named)

    def choose(self, candidate: Candidate, loop: _core.Loop, exhausted: bool | None) -> None:
        """Make a loop the run's main one if it is better than what was known; None: it goes on."""
        candidate.rank = candidate.measure(loop)
        better = self._best in (None, candidate) or candidate.rank > self._best.rank
        if not better:
            return
        self._best = candidate
        done = None if exhausted is None else loop.index + 1
        how = None if exhausted is None else "exhausted" if exhausted else "break"
        library = loop.key.library if isinstance(loop.key, Owner) else None
        main = {"loop": loop.name, "iterations": done, "exit": how, "library": library}
        self._session.choose_main(main, candidate.main.world.named)

    def _hook_optimizers(self) -> None:
        """Learn of every optimizer step, once torch is there."""
        if self._hooked or "torch.optim.optimizer" not in sys.modules:
            return
        from flor.capture import torch_adapter

        self._hooked = True
        torch_adapter.after_steps(_core.mark_training)
