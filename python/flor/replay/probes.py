"""Which code of today's source is a probe, at run time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any


class Probes:
    """The added statements of a replay by file and line, and today's code by its recorded place."""

    def __init__(self, plan: dict[str, Any], main_file: str, main_code: CodeType) -> None:
        self._spans = {
            path: sorted(tuple(s) for s in spans) for path, spans in plan["added"].items()
        }
        self._old_lines = {
            path: {int(new): old for new, old in lines.items()}
            for path, lines in plan["line_map"].items()
        }
        self._kinds: dict[type, bool] = {}
        self._main_file = main_file
        self._main_code = main_code
        self.sites = {
            (site["file"], tuple(site["span"])): (site["kind"], bool(site["probed"]))
            for site in plan["loops"]
        }

    def running(self, frame: FrameType | None) -> bool:
        """Whether ``frame`` executes an added statement, or was called by one."""
        while frame is not None:
            spans = self._spans.get(frame.f_code.co_filename)
            if spans and _covers(spans, frame.f_lineno):
                return True
            frame = frame.f_back
        return False

    def made(self, obj: Any) -> bool:
        """Whether an object is a probe's: an added function, an instance of an added class.

        Callbacks and hooks: registered with the program's objects, and no part of its state.
        """
        if isinstance(obj, FunctionType):
            return self._added(obj)
        if isinstance(obj, MethodType):
            return self.made(obj.__self__)
        kind = type(obj)
        known = self._kinds.get(kind)
        if known is None:
            own = [each for each in vars(kind).values() if isinstance(each, FunctionType)]
            known = self._kinds[kind] = bool(own) and all(map(self._added, own))
        return known

    def _added(self, function: FunctionType) -> bool:
        code = function.__code__
        return _covers(self._spans.get(code.co_filename, []), code.co_firstlineno)

    def site(self, frame: FrameType) -> tuple[str, bool]:
        """Return (kind, may a probe fire inside) of the ``flor.loop`` call that ``frame`` is
        making.
        """
        return self.sites.get(place_of(frame), ("other", True))

    def find_code(self, module: str, qualname: str, line: int) -> CodeType | None:
        """Return today's code of a function that was recorded at ``line`` of its file."""
        if module != "__main__":
            return None
        lines = self._old_lines.get(self._main_file, {})
        for code in _codes(self._main_code):
            if code.co_qualname == qualname and lines.get(code.co_firstlineno) == line:
                return code
        return None


def place_of(frame: FrameType) -> tuple[str, tuple[Any, ...]]:
    """Return the file and the span of the call that ``frame`` is making."""
    positions = list(frame.f_code.co_positions())
    line, end_line, column, end_column = positions[frame.f_lasti // 2]
    return frame.f_code.co_filename, (line, end_line, column, end_column)


def _covers(spans: list[Any], line: int) -> bool:
    position = bisect_right(spans, (line, 1 << 60)) - 1
    return position >= 0 and spans[position][0] <= line <= spans[position][1]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)
