"""A run of a stand-alone tool (Logger, Checkpointer): its folder in a store and its run.json."""

from __future__ import annotations

import os
import platform
import sys
import time
from os import PathLike
from types import TracebackType
from typing import Any, Self

from flor.layout import StoreLayout, boot_id
from flor.runlock import hold_run


class SoloRun:
    """A run without a recorded program. Makes its folder at once; ``end`` makes run.json final."""

    def __init__(self, path: str | PathLike[str] | None) -> None:
        self.layout = StoreLayout.open(path, create=True)
        self.run = self.layout.new_run_id()
        self.layout.log_dir(self.run).mkdir(parents=True)
        self.layout.checkpoint_dir(self.run).mkdir()
        self._hold = hold_run(self.layout.run_dir(self.run))
        self._begun = time.monotonic()
        self.pid = os.getpid()
        self.meta: dict[str, Any] = {
            "format": 1,
            "run": self.run,
            "script": sys.argv[0] or "<interactive>",
            "argv": sys.argv[1:],
            "status": "running",
            "started": time.time(),
            "seconds": 0.0,
            "pid": self.pid,
            "host": platform.node(),
            "boot": boot_id(),
            "args": {},
        }
        self.layout.write_run(self.run, self.meta)

    def end(self, **more: Any) -> None:
        """Write the final run.json."""
        self.meta |= {"status": "completed", "seconds": time.monotonic() - self._begun, **more}
        self.layout.write_run(self.run, self.meta)
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None


class Closes:
    """A tool that ends with ``close()``, also as a context manager."""

    def close(self) -> None:
        """End the tool's run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
