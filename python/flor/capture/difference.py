"""Where two captured states differ, by the names a person knows: ``train.history[3]``,
``model.0.weight``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flor.capture.regions import Bytes1D, span

Read = Callable[[int], Bytes1D]
_LIMIT = 5
_MEMORY = {"tensor": 6, "array": 6}


def differences(
    recorded: dict[str, Any], live: dict[str, Any], read_recorded: Read, read_live: Read
) -> list[str]:
    """Return up to five places where two graphs differ, in walk order; none when equal."""
    return _Descent(recorded, live, read_recorded, read_live).run()


class _Descent:
    """Walks both graphs side by side from their roots; each pair of nodes is compared once."""

    def __init__(self, recorded: Any, live: Any, read_recorded: Read, read_live: Read) -> None:
        self._a, self._b = recorded, live
        self._read_a, self._read_b = read_recorded, read_live
        self._seen: set[tuple[int, int]] = set()
        self.found: list[str] = []

    def run(self) -> list[str]:
        roots_a = {name: pairs for name, pairs in self._a["roots"].items() if name != "states"}
        roots_b = self._b["roots"]
        if list(roots_a) != list(roots_b):
            self.found.append(f"what is reachable: {list(roots_a)} recorded, {list(roots_b)} here")
        for root, pairs in roots_a.items():
            prefix = "random state " if root == "rng" else ""
            self._pairs(prefix, pairs, roots_b.get(root, []), root)
        return self.found[:_LIMIT]

    def _pairs(self, prefix: str, ours: Any, theirs: Any, root: str) -> None:
        names, others = dict(ours), dict(theirs)
        scope = root.rpartition(".")[2].rpartition(":")[2]
        for name in [*names, *(name for name in others if name not in names)]:
            if name not in others or name not in names:
                where = "only recorded" if name in names else "only here"
                self.found.append(f"variable {name} of {scope}: bound {where}")
            else:
                self._value(f"{prefix}{name}", names[name], others[name])
        if list(names) != list(others) and names.keys() == others.keys():
            self.found.append(f"variables of {scope} were bound in another order")

    def _value(self, path: str, ours: Any, theirs: Any) -> None:
        todo = [(path, ours, theirs)]
        while todo and len(self.found) < _LIMIT:
            path, ours, theirs = todo.pop()
            if _is_ref(ours) and _is_ref(theirs):
                todo += self._nodes(path, ours[1], theirs[1])
            elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
                todo += [
                    (f"{path}[{i}]" if _is_ref(x) else path, x, y)
                    for i, (x, y) in enumerate(zip(ours, theirs, strict=True))
                ][::-1]
            elif ours != theirs and not (ours != ours and theirs != theirs):  # NaN equals NaN here
                self.found.append(f"{path}: {_short(ours)} recorded, {_short(theirs)} here")

    def _nodes(self, path: str, a: int, b: int) -> list[tuple[str, Any, Any]]:
        if (a, b) in self._seen:
            return []
        self._seen.add((a, b))
        ours, theirs = self._a["nodes"][a], self._b["nodes"][b]
        if ours[0] != theirs[0]:
            self.found.append(f"{path}: a {ours[0]} recorded, a {theirs[0]} here")
            return []
        if ours[1] != theirs[1]:
            self.found.append(
                f"{path}: object {ours[1]} recorded, object {theirs[1]} here (another identity)"
            )
        if ours[0] in _MEMORY:
            self._memory(path, ours, theirs)
            ours, theirs = _without_region(ours), _without_region(theirs)
        if ours[0] == "dict":
            return self._entries(path, ours[2], theirs[2], "[{!r}]")
        if ours[0] == "obj":
            entries = self._entries(path, ours[3] + ours[4], theirs[3] + theirs[4], ".{}")
            return [*entries, (path, ours[2], theirs[2]), (path, ours[5], theirs[5])]
        if ours[0] in ("list", "set"):
            if len(ours[2]) != len(theirs[2]):
                self.found.append(
                    f"{path}: {len(ours[2])} elements recorded, {len(theirs[2])} here"
                )
                return []
            return [
                (f"{path}[{i}]", x, y)
                for i, (x, y) in enumerate(zip(ours[2], theirs[2], strict=True))
            ]
        return [(path, ours[2:], theirs[2:])]

    def _entries(self, path: str, ours: Any, theirs: Any, label: str) -> list[tuple[str, Any, Any]]:
        keys, others = [pair[0] for pair in ours], [pair[0] for pair in theirs]
        if keys != others:
            extra = [key for key in keys if key not in others] + [
                key for key in others if key not in keys
            ]
            self.found.append(f"{path}: other entries or order ({_short(extra or keys)})")
            return []
        return [
            (path + label.format(key), x[1], y[1])
            for key, x, y in zip(keys, ours, theirs, strict=True)
        ]

    def _memory(self, path: str, ours: Any, theirs: Any) -> None:
        x, y = _part(self._read_a(ours[6]), ours), _part(self._read_b(theirs[6]), theirs)
        if x.nbytes != y.nbytes or not np.array_equal(x, y):
            unlike = int((x != y).sum()) if x.nbytes == y.nbytes else abs(x.nbytes - y.nbytes)
            self.found.append(f"{path}: {unlike:,} of {x.nbytes:,} bytes differ")


def _part(data: Bytes1D, node: list[Any]) -> Bytes1D:
    """The bytes of a region that the node's view covers."""
    if node[0] == "tensor":
        from flor.capture.torch_adapter import span_of

        low, high = span_of(node)
    else:
        dtype = node[2] if isinstance(node[2], str) else [tuple(part) for part in node[2]]
        low, high = span(node[5], node[3], node[4], np.dtype(dtype).itemsize)
    return data[low:high]


def _without_region(node: list[Any]) -> list[Any]:
    return [*node[:6], *node[7:]]


def _is_ref(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and item[0] == "r" and isinstance(item[1], int)


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else text[:57] + "…"
