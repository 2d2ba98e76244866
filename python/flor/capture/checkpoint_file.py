"""Reading one checkpoint: its graph, its regions, and the named states for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flor import _core
from flor.capture.regions import Bytes1D, Source
from flor.capture.restore import Restorer
from flor.errors import CheckpointNotFoundError


class CheckpointFile:
    """A checkpoint on disk.

    Region 0 of the manifest is the graph, the graph's region i is region i+1.
    """

    def __init__(
        self, store: _core.ChunkStore, path: Path | str, translate: Callable[[str], str] = str
    ) -> None:
        self._translate = translate  # maps recorded folders in the graph's text to today's
        self._reader = _core.CheckpointReader(store, str(path))
        self.meta: dict[str, Any] = json.loads(bytes(self._reader.meta))
        self._graph: dict[str, Any] | None = None

    @property
    def graph(self) -> dict[str, Any]:
        """The captured graph (docs/format_graph.md)."""
        if self._graph is None:
            self._graph = json.loads(self._translate(bytes(self._bytes(0)).decode()))
        return self._graph

    @property
    def regions(self) -> Source:
        """The regions of the graph; read-only bytes, zero-copy where the codec allows."""
        return _Regions(self._reader)

    def _bytes(self, region: int) -> memoryview:
        lent: Any = self._reader.read(region)  # lends its bytes by the buffer protocol
        return memoryview(lent)

    def verify(self) -> list[dict[str, Any]]:
        """Read every chunk again; return what is wrong, nothing when all is well."""
        return self._reader.verify()

    def files(self) -> dict[str, bytes]:
        """Return the files that the run had changed in its folder, by path."""
        return {
            entry["path"]: bytes(self._bytes(entry["region"]))
            for entry in self.graph.get("files", [])
        }

    def removed_files(self) -> list[str]:
        """Return the paths that the run had removed since its start."""
        return list(self.graph.get("removed", []))

    def states(self) -> dict[str, Any]:
        """Return {name: state} of the objects named in ``checkpointing``: copies, on the CPU."""
        return self._rebuilt(self.graph["roots"].get("states", []))

    def state(self, name: str, *keys: Any) -> Any:
        """Return ``states()[name][key]...``, of which only the bytes are read.

        Raises KeyError for a name or key that is not there.
        """
        item = dict(self.graph["roots"].get("states", []))[name]
        for key in keys:
            item = _entry(self.graph["nodes"], item, key)
        return self._rebuilt([[name, item]])[name]

    def _rebuilt(self, pairs: list[Any]) -> dict[str, Any]:
        graph = self.graph
        needed = _reached(graph, pairs)
        nodes = [
            node if index in needed else ["skip", None] for index, node in enumerate(graph["nodes"])
        ]
        for index in needed:
            _to_cpu(nodes[index])
        asked = {**graph, "nodes": nodes, "live": None, "roots": {"states": pairs}}
        restorer = Restorer(asked, self.regions)
        restorer.objects()
        return dict(restorer.root("states"))


class _Regions(Source):
    """Regions of a stored checkpoint; ``fill`` decodes them side by side."""

    def __init__(self, reader: _core.CheckpointReader) -> None:
        def read(index: int) -> Bytes1D:
            lent: Any = reader.read(index + 1)
            return np.frombuffer(lent, dtype=np.uint8)

        super().__init__(read)
        self._reader = reader
        self._lengths = reader.regions

    def nbytes(self, index: int) -> int:
        return self._lengths[index + 1]

    def fill(self, targets: Mapping[int, Bytes1D]) -> None:
        self._reader.read_regions([index + 1 for index in targets], list(targets.values()))


def _entry(nodes: list[Any], item: Any, key: Any) -> Any:
    """The item under a key of a dict, given as an item too."""
    if not (isinstance(item, list) and len(item) == 2 and item[0] == "r"):
        raise KeyError(key)
    node = nodes[item[1]]
    content = ["dict", node[2]] if node[0] == "dict" else node[5] if node[0] == "obj" else None
    if not content or content[0] != "dict":
        raise KeyError(key)
    return {pair[0]: pair[1] for pair in content[1] if not isinstance(pair[0], list)}[key]


def _to_cpu(node: list[Any]) -> None:
    if node[0] == "tensor":
        node[2] = [*node[2][:2], "cpu"]


def _reached(graph: dict[str, Any], start: Any) -> set[int]:
    found: set[int] = set()
    todo = [start]
    while todo:
        item = todo.pop()
        if not isinstance(item, list):
            continue
        if len(item) == 2 and item[0] == "r" and isinstance(item[1], int):
            if item[1] not in found:
                found.add(item[1])
                todo.append(graph["nodes"][item[1]][2:])
            continue
        todo.extend(item)
    return found


def find_checkpoint(
    store: _core.ChunkStore,
    paths: list[Path],
    at: dict[str, int] | None,
    boundary: str = "iteration",
) -> CheckpointFile:
    """Return the checkpoint at the end of iteration ``at``, the newest when None.

    Raises CheckpointNotFoundError that names the nearest one.
    """
    wanted = None if at is None else [[name, index] for name, index in at.items()]
    best: CheckpointFile | None = None
    places = []
    for path in paths:
        found = CheckpointFile(store, path)
        if found.meta["boundary"] != boundary:
            continue
        if wanted is None or found.meta["context"] == wanted:
            best = found
        places.append(found.meta["context"])
    if best is not None:
        return best
    if not places:
        raise CheckpointNotFoundError(
            "the run has no checkpoint at the end of an iteration; run it longer, or with a larger "
            "overhead"
        )
    last = (wanted or [["", 0]])[-1][1]
    near = min(places, key=lambda place: abs(place[-1][1] - last))
    text = ", ".join(f"{name}={index}" for name, index in near)
    raise CheckpointNotFoundError(
        f"no checkpoint at {at}; the nearest is at {text}. See: flor checkpoints"
    )
