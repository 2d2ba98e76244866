"""The session of a resumed run: it goes on in the user's folder, under its own id."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from flor.capture.checkpoint_file import CheckpointFile
from flor.layout import boot_id
from flor.recording.folder import Folder
from flor.recording.mainloop import MainLoop
from flor.recording.trouble import Reserve
from flor.travel.attempts import Attempts
from flor.travel.files import UserFiles
from flor.travel.session import TravelSession, Trip
from flor.travel.source import RecordedProgram


class ResumedSession(TravelSession):
    """Continues a run; ``files`` None: the user's files are left as they are."""

    watches_files = True

    def __init__(
        self,
        layout: Any,
        options: Any,
        trip: Trip,
        attempts: Attempts,
        program: RecordedProgram,
        files: UserFiles | None,
    ) -> None:
        super().__init__(layout, options, trip.facts.run, trip)
        self._attempts = attempts
        self._program = program
        self._files = files

    def _begin(self) -> None:
        self.meta = dict(self.facts.meta)
        root = self.layout.root
        self._folder = self._files.folder(root) if self._files else Folder(Path.cwd(), root)
        self._log_aside()
        self._attach()
        if self.trip.route.target is None:
            self.land(None, None)

    def refuse(self, reason: str) -> NoReturn:
        """Leave the user's files as they were and try the next way."""
        if self._files is not None:
            self._files.undo()
        self._attempts.next(reason)

    def fail(self, reason: str) -> NoReturn:
        """Leave the user's files as they were and give up."""
        if self._files is not None:
            self._files.undo()
        self._attempts.fail(reason)

    def put_files(self, file: CheckpointFile) -> None:
        """Make the user's folder what it was at the boundary."""
        if self._files is not None:
            self._files.put_back(self.layout.root, file.files(), file.removed_files())

    def _save_version(self) -> str | None:
        # Where the source has changed since, the recorded one runs and stays the run's.
        return self.facts.meta["version"] if self._program.changed() else super()._save_version()

    def commit(self, main: MainLoop | None, frame: FrameType | None) -> None:
        """Supersede what was recorded after the target, in one atomic step."""
        told = self._attempts.current
        self.writer = self._new_writer()
        self._reserve = Reserve(self.layout.run_dir(self.run))
        self._begun = time.monotonic() - told["seconds"]
        target = self.trip.route.target
        resume = {"boundary": None, "loop": None, "context": []} if target is None else vars(target)
        entry = {
            **resume,
            "time": time.time(),
            "seconds": told["seconds"],
            "pid": os.getpid(),
            "host": platform.node(),
            "kept": told["kept"],
        }
        self.meta |= {
            "status": "running",
            "exit_code": None,
            "pid": os.getpid(),
            "host": platform.node(),
            "boot": boot_id(),
            "resumes": [*(self.meta.get("resumes") or []), entry],
        }
        self.meta.pop("main", None)
        if main is not None:
            self.meta["main"] = {**_lasting(self.facts.meta), "loop": main.loop, "iterations": None}
        self.layout.write_run(self.run, self.meta)
        self._begin_recording()
        self._drop_superseded(told["checkpoints"])
        if self._files is not None:
            self._files.forget_same()
        if main is not None and target is not None:
            done = target.index + 1 if target.boundary == "iteration" else max(0, target.index)
            self._rejoin(main, done, told["number"])

    def _drop_superseded(self, counting: list[int]) -> None:
        for path in self.layout.checkpoint_paths(self.run):
            if int(path.stem) not in counting:
                path.unlink(missing_ok=True)


def _lasting(meta: dict[str, Any]) -> dict[str, Any]:
    """Return what stays true of the main loop: where a fork's began, whose it is."""
    main = meta.get("main") or {}
    return {key: main[key] for key in ("first", "library") if main.get(key) is not None}
