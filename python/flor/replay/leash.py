"""A worker's process: it and all that it started end with the command that started it.

The worker inherits a pipe whose other end only the command holds. When the command is gone, killed
included, the kernel sends SIGKILL to the worker's process group: no thread, no handler and no
polling inside the user's program (fcntl(2): F_SETOWN with a process group, F_SETSIG, O_ASYNC).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from pathlib import Path


class WorkerProcess(subprocess.Popen[bytes]):
    """Leads a process group of its own. :meth:`end` it, also where it has ended by itself."""

    def __init__(self, command: list[str], env: dict[str, str], out: Path, err: Path) -> None:
        held, self._leash = os.pipe()
        try:
            with out.open("wb") as to_out, err.open("wb") as to_err:
                super().__init__(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=to_out,
                    stderr=to_err,
                    env=env,
                    start_new_session=True,
                    pass_fds=(held,),
                )
            self._tie(held)
        except OSError:
            os.close(self._leash)
            raise
        finally:
            os.close(held)

    def _tie(self, held: int) -> None:
        fcntl.fcntl(held, fcntl.F_SETOWN, -self.pid)
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(held, fcntl.F_SETFL, fcntl.fcntl(held, fcntl.F_GETFL) | os.O_ASYNC)

    def end(self) -> None:
        """Kill the group: the worker, and helpers that the program left behind; a second call does
        nothing.
        """
        if self._leash < 0:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self._leash)
        self._leash = -1
        self.wait()
