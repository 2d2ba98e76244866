"""``flor.loop`` in a program that travels: passed over or restored, recorded once it landed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

from flor import _core
from flor.recording.loops import RecordedLoop, active_loops, scalar_text

if TYPE_CHECKING:
    from flor.travel.session import TravelSession

_END = object()


class TravelLoop(RecordedLoop):
    """A loop that begins before the target is reached.

    ``kind`` is how the ``for`` statement holds it (:class:`flor.instrumentation.loops.LoopSite`),
    ``direct`` whether that gets the loop's items alone.
    """

    def __init__(
        self, session: TravelSession, name: str, iterable: Iterable[Any], kind: str, direct: bool
    ) -> None:
        super().__init__(session, name, iterable)
        self.skipping = False
        self._travel = session
        self._kind = kind
        self._direct = direct
        self._first = 0
        self._children: dict[str, int] = {}

    def __next__(self) -> Any:
        frame = sys._getframe(1)
        if self._iterator is None:
            self._start(frame)
        elif self._main is not None and self._index >= 0 and not self.skipping:
            self._travel.iteration_ended(self._main, self._index, frame, self._is_last())
        if self.skipping:
            item = self._pass_over(frame)
            if item is not _END:
                return item
        assert self._iterator is not None
        try:
            item = next(self._iterator)
        except StopIteration:
            self._end(exhausted=True)
            raise
        self._index += 1
        self._children.clear()
        _core.context_step(self._token, self._index, scalar_text(item))
        return item

    def _start(self, frame: FrameType) -> None:
        outer = active_loops()
        self._travel.beginning = self._iterable
        self._begin(frame)
        if self._main is not None:
            self._first = self._travel.first_iteration()
            self.skipping = self._first > 0
            if self.skipping and self._kind == "other":
                self._travel.refuse("the main loop is not a for statement over flor.loop")
            if self.skipping:
                self._travel.require_items(self._direct)
        elif self._block_of is not None and not self._travel.landed:
            self._block_of = None  # its end is in the record already
            name = outer[0].child_name(self._name)
            if self._travel.restore_block(name, self._kind, frame):
                self._iterator = iter(())

    def child_name(self, name: str) -> str:
        """Return the name in contexts of a loop that begins in this iteration (``name#2``)."""
        count = self._children[name] = self._children.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _pass_over(self, frame: FrameType) -> Any:
        """Take the items of iterations that are not executed; _END when the state is restored.

        Where a wrapper stands between, each item goes through it and the guarded body passes.
        """
        assert self._iterator is not None
        while self._index + 1 < self._first:
            item = next(self._iterator, _END)
            if item is _END:
                self._travel.refuse("the main loop is shorter than the one recorded")
            self._index += 1
            self._travel.check_item(self._index, scalar_text(item))
            _core.context_step(self._token, self._index, scalar_text(item))
            if self._kind == "wrapped":
                return item
        self._travel.arrive(frame)
        self.skipping = False
        return _END
