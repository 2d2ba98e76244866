"""Tool (i) alone: the background logger, a run of its own without loops or checkpoints."""

from __future__ import annotations

import atexit
import os
from os import PathLike
from typing import Any

from flor import _core
from flor.errors import ClosedError
from flor.solo import Closes, SoloRun


class Logger(Closes):
    """Log values in the background into the store at ``path`` (made when new), as one run.

    A value whose ``log`` call has returned survives ``kill -9``. Safe for several threads.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self._run = SoloRun(path)
        self.run = self._run.run
        self._store: _core.ChunkStore | None = None
        name = f"r0-{os.getpid()}-0"
        self._writer = _core.LogWriter(str(self._run.layout.log_dir(self.run)), name)
        self._closed = False
        atexit.register(self.close)

    def log(self, name: str, value: Any, **context: int) -> Any:
        """Log ``value`` in a context such as ``epoch=3, step=12``; return it."""
        if self._closed:
            raise ClosedError("this Logger was closed")
        from flor.recording.values import write_value

        write_value(self._writer, name, value, list(context.items()), self._put)
        return value

    def _put(self, data: Any) -> bytes:
        if self._store is None:
            self._store = _core.ChunkStore(str(self._run.layout.root))
        return self._store.put(data)

    def flush(self) -> None:
        """Return when everything logged so far is on the disk; raises what went wrong."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and end the run. A second call does nothing."""
        if self._closed or os.getpid() != self._run.pid:
            return
        self._closed = True
        self._writer.close()
        if self._store is not None:
            self._store.close()
        self._run.end(lost_records=self._writer.stats()["lost"])
