"""A process that the program started with :mod:`multiprocessing`, as a rank under recording."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from flor import _core
from flor.capture import entropy
from flor.recording import session as sessions
from flor.recording.handsfree import Programs
from flor.recording.mainloop import JSON_KIND, MainLoop
from flor.recording.rank import Handover, RankSession
from flor.recording.record import CLOCK, RecordSession

_EARLY_READS = 10_000
_KNOWN = ("module", "handsfree", "instrumented")


@dataclass(frozen=True)
class ChildRank:
    """What a child is told: its rank, and of the program what its parent knows.

    ``known``: keys of run.json that say how the program's loops are found.
    """

    told: Handover
    script: str | None
    root: str
    known: dict[str, Any]

    @classmethod
    def of(cls, parent: RecordSession, number: int) -> ChildRank:
        """Return what the parent's child of that number is."""
        told = Handover(
            str(parent.layout.root), parent.run, number, parent.options.content(), {"parent": 0}
        )
        script = str(parent.script) if parent.script else None
        known = {key: parent.meta[key] for key in _KNOWN if key in parent.meta}
        return cls(told, script, parent.user.root, known)

    def begin(self, forked: bool) -> None:
        """Watch what this process does; it becomes a rank with the first thing to record."""
        parent = sessions.existing() if forked else None
        session = ChildSession(self)
        sessions.install(session)
        session.watch(parent if isinstance(parent, RecordSession) else None)

    def compile(self, path: str) -> CodeType | None:
        """Return the code of the program's main file with its loops visible."""
        session = sessions.existing()
        return session.compile(path) if isinstance(session, ChildSession) else None

    def watch(self, process: Any) -> None:
        """Nothing: how it ends is known from its exit code."""

    def end(self, exit_code: int) -> None:
        """End what was recorded."""
        session = sessions.existing()
        if isinstance(session, ChildSession):
            session.outcome("completed" if exit_code == 0 else "failed", exit_code)
            session.finish()


class ChildSession(RankSession):
    """Records a child from the first thing on that is worth a record. Before that nothing of it is
    in the store, clock reads are kept in memory.
    """

    def __init__(self, child: ChildRank) -> None:
        super().__init__(child.told, child.root)
        self.script = Path(child.script) if child.script else None
        self._child = child
        self._recording = False
        self._random = entropy.choose()
        self._early: list[tuple[str, Any, Any]] = []
        self.meta = {**child.known, "status": "running", "notes": [], "errors": []}

    def watch(self, parent: RecordSession | None) -> None:
        """Watch what the program logs, prints and reads of clocks; ``parent``: of a forked child,
        whose process is watched already.
        """
        if parent is None:
            super()._attach()
            if self._child.known.get("handsfree"):
                self.watch_loops(Programs())
            return
        self._streams, self._clocks, self._hook = parent._streams, parent._clocks, parent._hook
        self._streams.unfinished = ""
        parent._heir = self
        os.register_at_fork(after_in_child=self._forked)
        if parent._handsfree is not None:
            self._handsfree = parent._handsfree.in_child(self)

    def _attach(self) -> None:
        """All is watched since :meth:`watch`."""

    def compile(self, path: str) -> CodeType | None:
        """Return the code of a file of the program; None where Python is to compile it."""
        return self._handsfree.compile(path) if self._handsfree else None

    def _entropy(self) -> dict[str, Any]:
        return self._random

    def _first_meta(self) -> dict[str, Any]:
        return super()._first_meta() | self.meta

    def _record(self) -> None:
        """Begin to record, unless that has begun."""
        if self._recording or self._finished:
            return
        self._recording = True
        self._begin()
        for name, value, path in self._early:
            self.writer.log_encoded(CLOCK + name, JSON_KIND, json.dumps(value).encode(), path)
        self._early.clear()

    def save(self) -> None:
        """Replace rank.json, once there is one."""
        if self._recording:
            super().save()

    def finish(self, status: str = "completed", exit_code: int | None = 0) -> None:
        """End the rank; where nothing was recorded, nothing is left."""
        if self._recording:
            super().finish(status, exit_code)

    # -- what begins the record --------------------------------------------------------------------

    def log_slowly(self, name: object, value: Any) -> None:
        """Log what the core does not take by itself, and the first record."""
        self._record()
        super().log_slowly(name, value)

    def arg(self, name: str, default: Any) -> Any:
        """Return a hyperparameter."""
        self._record()
        return super().arg(name, default)

    def loop(self, name: str, iterable: Iterable[Any]) -> Iterator[Any]:
        """Return the iterator of ``flor.loop``."""
        self._record()
        return super().loop(name, iterable)

    def enter_candidate(self, loop: str, frame: FrameType, library: str | None) -> MainLoop | None:
        """Number the world for a loop that may be the main one."""
        self._record()
        return super().enter_candidate(loop, frame, library)

    def _read_clock(self, name: str, clock: Any, frame: FrameType) -> Any:
        if self._recording or self._finished or os.getpid() != self._pid:
            return super()._read_clock(name, clock, frame)
        value = clock()
        self._early.append((name, value, _core.context_path()))
        if len(self._early) > _EARLY_READS:
            self._record()
        return value
