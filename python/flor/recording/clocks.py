"""Clock reads of user code: recorded, and served again in replay.

A printed duration or a start time kept in a variable would otherwise make every replay differ.
Reads by installed packages pass through, but for those that own training loops: they print and keep
durations. Each read costs the program about 0.3 µs more.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

from flor.capture.usercode import UserCode

NAMES = tuple(
    base + unit
    for base in ("time", "perf_counter", "monotonic", "process_time")
    for unit in ("", "_ns")
)
CALENDAR = ("localtime", "gmtime", "ctime", "asctime", "strftime")
Answer = Callable[[str, Callable[[], Any], FrameType], Any]


class Clocks:
    """Stands in for the functions of :mod:`time` until :meth:`remove`.

    User code is the program and the ``packages``. ``answer(name, clock, frame)`` gives the value
    for a read by user code: it calls ``clock()`` and notes the result, or returns what was noted.
    Raising there reaches the program.
    """

    def __init__(self, user: UserCode, answer: Answer, packages: Collection[str] = ()) -> None:
        self._user = user
        self._packages = tuple(f"-packages/{name}/" for name in packages)
        self._known: dict[str, bool] = {}
        self._answer = answer
        self._originals = {name: getattr(time, name) for name in NAMES + CALENDAR}
        self._wrapped = {name: self._wrap(name) for name in NAMES}
        self._wrapped |= {name: self._wrap_calendar(name) for name in CALENDAR}
        self._swap(self._originals, self._wrapped)

    def _is_meant(self, filename: str) -> bool:
        known = self._known.get(filename)
        if known is None:
            known = self._user.is_user_file(filename)
            known = known or any(part in filename for part in self._packages)
            self._known[filename] = known
        return known

    def _wrap(self, name: str) -> Callable[[], Any]:
        clock, answer, is_meant = self._originals[name], self._answer, self._is_meant

        @functools.wraps(clock)
        def read() -> Any:
            frame = sys._getframe(1)
            return answer(name, clock, frame) if is_meant(frame.f_code.co_filename) else clock()

        return read

    def _wrap_calendar(self, name: str) -> Callable[..., Any]:
        """``localtime()`` and its like read the clock too when no time is given."""
        original, localtime = self._originals[name], self._originals["localtime"]
        given = 1 if name == "strftime" else 0  # the position of the time among the arguments
        read_time, is_meant, answer = self._originals["time"], self._is_meant, self._answer

        @functools.wraps(original)
        def read(*args: Any) -> Any:
            frame = sys._getframe(1)
            if len(args) > given or not is_meant(frame.f_code.co_filename):
                return original(*args)
            seconds = answer("time", read_time, frame)
            if name in ("asctime", "strftime"):
                return original(*args, localtime(seconds))
            return original(seconds)

        return read

    def _swap(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        for name in old:
            setattr(time, name, new[name])
        swapped = {id(old[name]): new[name] for name in old}
        for module in self._user.modules():
            for name, value in list(vars(module).items()):
                if id(value) in swapped:
                    setattr(module, name, swapped[id(value)])

    def remove(self) -> None:
        """Put the system's functions back."""
        self._swap(self._wrapped, self._originals)
