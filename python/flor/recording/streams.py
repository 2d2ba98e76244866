"""What the program prints and logs, as records: names ``stdout``, ``logging``, ``warnings``.

The program sees no difference: ``sys.stdout`` stays the same object, only its ``write`` is wrapped;
handlers of ``logging`` and ``warnings.showwarning`` are not touched. A record is a finished line;
of a line redrawn with carriage returns the last state. Progress bars of tqdm and rich are left out:
they show rates, and are redrawn when time has passed. Of warnings those that Python shows are
records: once a process and place, so a part of a run may show other ones than the whole, and replay
does not compare them.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

WARNINGS = "warnings"
_SHOW = "_showwarnmsg_impl"  # of the standard library: what shows a warning at last

Log = Callable[[str, str], Any]

_BARS = {("tqdm.std", "fp_write"), ("rich.live", "refresh"), ("rich.live", "stop")}
_BAR_MODULES = {module for module, _ in _BARS}
_BAR_DEPTH = 20  # frames between such a function and the stream


class Streams:
    """Watches standard output and logging of this process until :meth:`remove`.

    ``unfinished``: what was printed since the last line break. ``warned``: warnings that an earlier
    process of this run has shown, which Python shows once: each is passed over once.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.unfinished = ""
        self.warned: set[str] = set()
        self._stream: Any = sys.stdout
        self._handle = logging.Logger.handle
        try:
            self._stream.write = self._wrap(self._stream.write)  # type: ignore[method-assign]
        except AttributeError:  # a stream that takes no attributes: it is not recorded
            self._stream = None
        logging.Logger.handle = self._wrap_handle()  # type: ignore[method-assign]
        # Below showwarning, which programs replace and compare.
        self._show: Any = getattr(warnings, _SHOW, None)
        if self._show is not None:
            setattr(warnings, _SHOW, self._shown)

    def _shown(self, message: Any) -> None:
        text = f"{message.category.__name__}: {message.message}"
        if text in self.warned:
            self.warned.remove(text)
            return
        self._show(message)
        self._log(WARNINGS, text)

    def _wrap(self, write: Callable[[str], int]) -> Callable[[str], int]:
        def recorded(text: str) -> int:
            written = write(text)
            if not _draws_bar():
                self._lines(text)
            return written

        return recorded

    def _lines(self, text: str) -> None:
        if not isinstance(text, str):
            return
        *lines, self.unfinished = (self.unfinished + text).split("\n")
        for line in lines:
            self._log("stdout", line.rstrip("\r").rpartition("\r")[2])

    def _wrap_handle(self) -> Callable[..., None]:
        handle, log = self._handle, self._log

        def recorded(logger: logging.Logger, record: logging.LogRecord) -> None:
            handle(logger, record)
            if not record.name.startswith(("flor", "torch", "matplotlib")):
                log("logging", f"{record.levelname}:{record.name}:{record.getMessage()}")

        return recorded

    def remove(self) -> None:
        """Record an unfinished line and put everything back."""
        if self.unfinished:
            self._log("stdout", self.unfinished)
            self.unfinished = ""
        if self._stream is not None:
            del self._stream.write
        logging.Logger.handle = self._handle  # type: ignore[method-assign]
        if getattr(warnings, _SHOW, None) == self._shown:  # else in a catch_warnings() block
            setattr(warnings, _SHOW, self._show)


def _draws_bar() -> bool:
    """Whether what is being written is a progress bar."""
    if sys.modules.keys().isdisjoint(_BAR_MODULES):
        return False
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_BAR_DEPTH):
        if frame is None:
            return False
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in _BARS:
            return True
        frame = frame.f_back
    return False
