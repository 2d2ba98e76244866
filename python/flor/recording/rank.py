"""Ranks: processes of one run that train side by side, each recorded as a run is.

A rank writes records under its number (``r<rank>-<pid>-<serial>``), and of itself what run.json
says of a run: its main loop, its start, how it ended. Rank 0 of a launcher takes over run.json,
which the launcher has begun; the others have ``ranks/RANK/``.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flor import _core
from flor.layout import StoreLayout
from flor.recording.folder import Folder
from flor.recording.options import Options
from flor.recording.record import RecordSession
from flor.recording.trouble import Reserve
from flor.runlock import hold_run

HANDOVER = "FLOR_RANK"


@dataclass(frozen=True)
class Handover:
    """What a process must be told to record itself as a rank of a run.

    ``how``: how it was started, for run.json; replay starts it again like that.
    """

    store: str
    run: str
    rank: int
    options: dict[str, Any]
    how: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Return it as the text of an environment variable."""
        return json.dumps(asdict(self))

    @classmethod
    def claim(cls) -> Handover | None:
        """Take it out of the environment, where the program must not see it; None without one."""
        text = os.environ.pop(HANDOVER, None)
        return None if text is None else cls(**json.loads(text))


class RankSession(RecordSession):
    """Records this process as a rank of a run that another process has begun."""

    _joined = True

    def __init__(self, handover: Handover, root: str | None = None) -> None:
        layout = StoreLayout.open(handover.store)
        options = Options(Path(handover.store), **handover.options)
        super().__init__(layout, options, handover.run, root)
        self.rank = self._place = handover.rank
        self._how = handover.how

    @classmethod
    def join(cls, handover: Handover, root: str | None = None) -> RankSession:
        """Begin to record; raises the errors of the store.

        ``root``: the folder of the program's own files; None: where its script lies.
        """
        session = cls(handover, root)
        session._begin()
        return session

    def _begin(self) -> None:
        checkpoints = self.layout.checkpoint_dir(self.run, self.rank)
        checkpoints.mkdir(parents=True, exist_ok=True)
        hold_run(self.layout.run_dir(self.run))  # until the process ends
        self._reserve = Reserve(checkpoints.parent)
        self._common = self.layout.read_run(self.run)
        files = self._common.get("files") or []
        known = {entry["path"]: (entry["bytes"], entry["mtime_ns"]) for entry in files}
        self._folder = Folder(Path.cwd(), self.layout.root, known)
        self._folder.truncated = not self._common.get("files_known", True)
        self.writer = self._new_writer()
        self.meta = self._first_meta() | {"how": self._how}
        self.save()
        _core.set_active(self.writer)
        self._attach()

    def _files_found(self) -> dict[str, Any]:
        """All ranks share the folder as the run found it; run.json says what was there."""
        if self.rank:
            return {}
        return {key: self._common[key] for key in ("files", "files_known")}
