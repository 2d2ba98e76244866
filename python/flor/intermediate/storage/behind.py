"""Work that is done behind a writer's back: one thread, and a bound on what waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")


_CLASS_BYTES = 1 << 18


class Rooms:
    """Memory for blocks, given back when they are stored: warm, where new pages would cost more
    than the copy. Thread-safe; ``limit_bytes`` is what may lie here unused.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._unused = 0

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """Return room for so many bytes, or a little more."""
        size = -(-max(nbytes, 1) // _CLASS_BYTES) * _CLASS_BYTES
        with self._lock:
            found = self._free.get(size)
            if found:
                self._unused -= size
                return found.pop()
        return np.empty(size, np.uint8)

    def give_back(self, room: NDArray[np.uint8]) -> None:
        """Take room back that nobody looks at any more."""
        with self._lock:
            if self._unused + room.nbytes <= self.limit_bytes:
                self._unused += room.nbytes
                self._free.setdefault(room.nbytes, []).append(room)

    def clear(self) -> None:
        """Let go of what is unused."""
        with self._lock:
            self._free.clear()
            self._unused = 0


class WriteBehind:
    """Encodes and stores in the order of submission. Thread-safe.

    ``waits``, ``waited_seconds``: how often and how long a writer waited for room.
    ``busy_seconds``: processor time of the jobs. The work is the core's and holds no GIL.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.waits, self.waited_seconds, self.in_flight = 0, 0.0, 0
        self.busy_seconds = 0.0
        self.rooms = Rooms(limit_bytes)
        self._room = threading.Condition()
        self._scratch = np.empty(0, np.uint8)
        self._thread = ThreadPoolExecutor(1, "flor-intermediates")

    def submit(self, nbytes: int, job: Callable[[], _T]) -> Future[_T]:
        """Do ``job``, which holds so many bytes, in the background; waits while there is no room.

        One job alone may be larger than the limit.
        """
        with self._room:
            if not self._fits(nbytes):
                began = time.perf_counter()
                self._room.wait_for(lambda: self._fits(nbytes))
                self.waits += 1
                self.waited_seconds += time.perf_counter() - began
            self.in_flight += nbytes
        future = self._thread.submit(self._timed, job)
        future.add_done_callback(lambda _done: self._release(nbytes))
        return future

    def _timed(self, job: Callable[[], _T]) -> _T:
        begun = time.thread_time()
        try:
            return job()
        finally:
            self.busy_seconds += time.thread_time() - begun

    def room(self, nbytes: int) -> NDArray[np.uint8]:
        """Return working memory for a job, the same for the next one. Only inside of a job."""
        if self._scratch.nbytes < nbytes:
            self._scratch = np.empty(nbytes, np.uint8)
        return self._scratch[:nbytes]

    def _fits(self, nbytes: int) -> bool:
        return not self.in_flight or self.in_flight + nbytes <= self.limit_bytes

    def _release(self, nbytes: int) -> None:
        with self._room:
            self.in_flight -= nbytes
            self._room.notify_all()

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._thread.shutdown(wait=True)
