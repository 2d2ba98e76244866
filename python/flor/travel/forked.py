"""The session of a fork: a new run, in a folder of its own, from a state of another run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.capture.walk import Graph
from flor.errors import CaptureError
from flor.recording.folder import Folder
from flor.recording.mainloop import JSON_KIND, MainLoop
from flor.recording.record import CLOCK
from flor.recording.trouble import Reserve
from flor.replay.view import set_files
from flor.travel.attempts import Attempts, say
from flor.travel.session import TravelSession, Trip
from flor.travel.settings import apply_settings


class ForkedSession(TravelSession):
    """Starts a run from another's state; ``--set`` is applied to the restored program.

    Its first lines are its own records; what it executes from the main loop's entry to the state
    is the other run's, and is not recorded.
    """

    def __init__(self, layout: Any, options: Any, trip: Trip, attempts: Attempts) -> None:
        super().__init__(layout, options, attempts.plan["fork"], trip)
        self._attempts = attempts
        self._settings: dict[str, str] = attempts.plan["settings"]

    def _begin(self) -> None:
        parent = self.facts.meta
        for part in (self.layout.log_dir(self.run), self.layout.checkpoint_dir(self.run)):
            shutil.rmtree(part, ignore_errors=True)  # of an attempt before
            part.mkdir(parents=True)
        self._reserve = Reserve(self.layout.run_dir(self.run))
        self._folder = Folder(Path.cwd(), self.layout.root)
        self.writer = self._recorded = self._new_writer()
        self.meta = self._first_meta() | {
            "parent": self.facts.run,
            "args": dict(parent.get("args") or {}),
            "entropy": parent.get("entropy"),
            "argv": list(parent.get("argv") or []),
            "module": parent.get("module"),
            "handsfree": parent.get("handsfree"),
        }
        _core.set_active(self.writer)
        self._attach()

    def refuse(self, reason: str) -> NoReturn:
        """Try the next way."""
        self._recorded.close()
        self._attempts.next(reason)

    def fail(self, reason: str) -> NoReturn:
        """Give up; nothing is left of the fork."""
        self._recorded.close()  # or it writes while its folder is removed
        self._attempts.fail(reason)

    def put_files(self, file: CheckpointFile) -> None:
        """Make the fork's folder what the other run's was."""
        set_files(Path.cwd(), file.files(), file.removed_files())

    def _read_clock(self, name: str, clock: Any, frame: FrameType) -> Any:
        value = super()._read_clock(name, clock, frame)
        if self._aside is None:  # the first lines: served what the other run read, and recorded
            _core.log_encoded(CLOCK + name, JSON_KIND, json.dumps(value).encode())
        return value

    def entered(self, main: MainLoop, graph: Graph, begun: float) -> None:
        """Record the entry; what follows up to the state is the other run's."""
        main.entered(graph, begun)
        self._log_aside()

    def commit(self, main: MainLoop | None, frame: FrameType | None) -> None:
        """Change what ``--set`` asks for, and begin the run with a checkpoint of that state."""
        target = self.trip.route.target
        assert main is not None and frame is not None and target is not None
        changes = apply_settings(self._settings, self.meta["args"], main.world, frame)
        for line in changes or ["nothing is changed"]:
            say(line)
        self.meta["fork"] = {
            "context": [list(step) for step in target.context],
            "settings": self._settings,
            "changes": changes,
        }
        self.meta["main"] = {"loop": main.loop, "iterations": None, "first": target.index + 1}
        self.layout.write_run(self.run, self.meta)
        self.writer = self._recorded
        self._begin_recording()
        self._rejoin(main, target.index + 1, main.next_number)
        try:
            main.checkpoint_now(frame)
        except CaptureError as error:
            self.note(
                f"this fork can't be replayed, nor resumed before its next checkpoint: {error}"
            )
