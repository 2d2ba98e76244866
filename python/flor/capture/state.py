"""The state of a training program at a boundary: roots, fingerprints, capture and restore.

One :class:`World` lives as long as a main loop. At its entry it numbers everything reachable (the
anchors); at each boundary it walks again. Record and replay do the same walk, so equal *shapes* at
the entry prove that anchor n here is anchor n there.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import random
import re
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

import numpy as np

from flor.capture import ambient, writers
from flor.capture.anchors import Anchors
from flor.capture.regions import Source
from flor.capture.restore import Restorer
from flor.capture.usercode import UserCode
from flor.capture.walk import Graph, Walker
from flor.errors import CaptureError

_CLOCKS = re.compile(r'\["x", "datetime", \["[^"]*"\]\]')


class World:
    """Everything the user's program can reach, numbered at the entry of its main loop.

    ``named`` are the objects given to ``flor.checkpointing``; ``hidden`` names that only probes
    bind and that the walk leaves out, as it does in containers what ``unseen`` says yes to
    (``left_out`` counts those of the last walk); without ``whole`` only the named objects and the
    random states count. Not thread-safe.
    """

    def __init__(
        self,
        user: UserCode,
        named: dict[str, Any],
        hidden: Iterable[str] = (),
        *,
        unseen: Callable[[Any], bool] | None = None,
        whole: bool = True,
    ) -> None:
        self.user = user
        self.whole = whole
        self.named = named
        self.hidden = frozenset(hidden)
        self.unseen = unseen
        self.left_out = 0
        self.anchors: Anchors | None = None
        self._walker: Walker | None = None

    def enter(self, frame: FrameType | None) -> Graph:
        """Walk at the entry of the main loop; what is met becomes the anchors."""
        if self.whole:  # a checkpointer made inside the loop must not move what counts as the start
            ambient.enter()
        walker = self._walk(frame, None)
        self.anchors = Anchors(walker.objects)
        self.anchors.note(walker.noted)
        return walker.graph

    def walk(self, frame: FrameType | None) -> Graph:
        """Walk at a boundary. ``frame`` is the innermost frame of the program."""
        walker = self._walk(frame, self.anchors)
        if self.anchors is not None:
            self.anchors.keep_only({node[1] for node in walker.graph.nodes if node[1] is not None})
        return walker.graph

    def objects(self, frame: FrameType | None) -> list[Any]:
        """Return the mutable objects that the program can reach."""
        found = self._walk(frame, self.anchors).objects
        self.release()
        return found

    def release(self) -> None:
        """Let go of what the last walk met: it would live on where the program drops it."""
        self._walker = None

    def _walk(self, frame: FrameType | None, anchors: Anchors | None) -> Walker:
        walker = Walker(self.user, anchors, self.unseen)
        walker.add_root("with", self.named.items())
        for module in self.user.modules() if self.whole else ():
            walker.add_root(f"module:{module.__name__}", self._visible(vars(module)))
        for depth, found in enumerate(self._frames(frame)):
            name = f"frame:{depth}:{found.f_code.co_qualname}"
            walker.add_root(name, self._visible(dict(found.f_locals)))
        states = random_states()
        if not self.whole:  # of objects, not of a program
            del states["ambient"]
        walker.add_root("rng", states.items())
        walker.end()
        self.left_out = walker.left_out
        self._walker = walker
        return walker

    def contracts(self, graph: Graph, chosen: str) -> bytes:
        """Return how each region of the last walk is captured (``capture.writers``)."""
        walker = self._walker
        if walker is None or walker.graph is not graph:
            raise CaptureError("contracts belong to the graph of the last walk")
        return writers.contracts(graph.regions, walker.objects, chosen)

    def add_states(self, graph: Graph) -> None:
        """Add the ``state_dict`` of each named object to the graph of the last walk, for readers.

        A restore does not need them; ``flor.load`` and ``flor export`` read them. Objects without
        one, and those whose own fails, stand for themselves.
        """
        walker = self._walker
        if walker is None or walker.graph is not graph:
            raise CaptureError("add_states belongs to the graph of the last walk")
        graph.live = len(graph.nodes)
        states = []
        for name, obj in self.named.items():
            try:
                states.append((name, obj.state_dict()))
            except AttributeError:  # it has none, or wraps an object that has none
                states.append((name, obj))
            except (
                Exception
            ) as error:  # the program's own code, or torch's, of a state that it dislikes
                walker.assume(f"{name}.state_dict() failed ({error!r}): exports have the object")
                states.append((name, obj))
        walker.add_root("states", states)
        self._walker = None

    def _frames(self, innermost: FrameType | None) -> list[FrameType]:
        return self.user.frames(innermost) if self.whole else []

    def _visible(self, scope: dict[str, Any]) -> list[tuple[str, Any]]:
        return [
            (name, value)
            for name, value in scope.items()
            if not (name.startswith("__") and name.endswith("__")) and name not in self.hidden
        ]

    # -- restore -----------------------------------------------------------------------------------

    def restore(
        self,
        graph: dict[str, Any],
        source: Source,
        frame: FrameType | None,
        find_code: Callable[[str, str, int], CodeType | None] | None = None,
    ) -> None:
        """Write a captured state into this process; CaptureError when that can't be exact."""
        restorer = Restorer(graph, source, self.anchors, find_code)
        restorer.objects()
        for module in self.user.modules():
            pairs = restorer.roots.get(f"module:{module.__name__}")
            if pairs is not None:
                self._rebind(vars(module), restorer, pairs)
        frames = self._frames(frame)
        names = [f"frame:{i}:{found.f_code.co_qualname}" for i, found in enumerate(frames)]
        recorded = [name for name in restorer.roots if name.startswith("frame:")]
        if names != recorded:
            raise CaptureError(
                f"the functions on the stack differ: {names} here, {recorded} recorded"
            )
        for name, found in zip(names, frames, strict=True):
            scope = found.f_locals
            self._rebind(scope, restorer, restorer.roots[name])
            if sys.version_info < (3, 13):
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(found), ctypes.c_int(1))
        set_random_states(dict(restorer.root("rng")))

    def _rebind(self, scope: dict[str, Any], restorer: Restorer, pairs: list[Any]) -> None:
        found = {name: restorer.attribute(scope, name, item) for name, item in pairs}
        for name, _ in self._visible(scope):
            if name not in found:
                del scope[name]
        for name, value in found.items():
            if name not in scope or scope[name] is not value:
                scope[name] = value


# -- random states ---------------------------------------------------------------------------------


def random_states() -> dict[str, str]:
    """Return the global random states and modes of what is loaded, each as JSON text.

    Text, because these objects are made anew by each call: they must not count as the program's.
    """
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "ambient": ambient.settings(),
    }
    if "torch" in sys.modules:
        from flor.capture import torch_adapter

        found["torch"] = torch_adapter.random_states()
        found["modes"] = torch_adapter.modes()
    return {name: json.dumps(state, default=np.ndarray.tolist) for name, state in found.items()}


def set_random_states(states: dict[str, str]) -> None:
    """Put :func:`random_states` back."""
    found = {name: json.loads(text) for name, text in states.items()}
    version, internal, gauss = found["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state = found["numpy"]
    numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)
    if "ambient" in found:  # not in the first versions of the format
        ambient.restore(found["ambient"])
    if "torch" in found:
        from flor.capture import torch_adapter

        torch_adapter.set_random_states(found["torch"])
        torch_adapter.set_modes(found["modes"])


# -- fingerprints ----------------------------------------------------------------------------------


def digest(graph: Graph, translate: Callable[[str], str] = str) -> str:
    """Return a fingerprint of content: the whole graph, and samples of each region.

    ``translate`` maps the graph's text to the recorded run's places first (a replay has another
    folder). Sets count without their order, points in time not at all. Equal states have equal
    digests; different digests prove different states.
    """
    hasher = hashlib.blake2b(digest_size=16)
    nodes = [_unordered(node) if node[0] == "set" else node for node in graph.nodes]
    text = json.dumps([graph.roots, nodes], check_circular=False)
    hasher.update(translate(_CLOCKS.sub("0", text)).encode())
    hasher.update(graph.regions.samples())
    return hasher.hexdigest()


def _unordered(node: list[Any]) -> list[Any]:
    return [*node[:2], sorted(node[2], key=json.dumps)]


def shape(graph: Graph) -> str:
    """Return a fingerprint of structure: types, names, keys and who refers to whom, no values.

    Equal shapes at the entry of the main loop prove that the anchors of two processes correspond.
    """
    hasher = hashlib.blake2b(digest_size=16)
    roots = {
        name: [[key, _outline(item)] for key, item in pairs]
        for name, pairs in graph.roots.items()
        if name != "rng"
    }
    nodes = [_outline_node(node) for node in graph.nodes]
    hasher.update(json.dumps([roots, nodes]).encode())
    return hasher.hexdigest()


def _outline(item: Any) -> Any:
    if not isinstance(item, list):
        return type(item).__name__
    tag = item[0] if item else ""
    if tag == "r":
        return item
    if tag in ("t", "fs") and isinstance(item[1], list):
        return [tag, [_outline(part) for part in item[1]]]
    if tag == "still":
        return item[:2]
    return item if tag in ("g", "e", "torch", "flor", "file") else tag


def _outline_node(node: list[Any]) -> Any:
    kind = node[0]
    if kind == "list":
        return [kind, [_outline(item) for item in node[2]]]
    if kind == "dict":
        return [kind, [[_key(key), _outline(item)] for key, item in node[2]]]
    if kind == "obj":
        return [kind, node[2], [[name, _outline(item)] for name, item in node[3] + node[4]]]
    if kind in ("tensor", "array"):
        return [kind, node[2], node[3]]
    if kind in ("func", "class"):
        return [kind, node[2]]
    return [kind]


def _key(key: Any) -> Any:
    return _outline(key) if isinstance(key, list) else key


# -- bytes -----------------------------------------------------------------------------------------


def encode(graph: Graph, **extra: Any) -> bytes:
    """Return the graph (without the regions' bytes) as UTF-8 JSON, with ``extra`` beside it."""
    document = {
        "graph": 1,
        "roots": graph.roots,
        "nodes": graph.nodes,
        "lines": {str(index): line for index, line in graph.lines.items()},
        "assumed": graph.assumed,
        **({} if graph.live is None else {"live": graph.live}),
        **extra,
    }
    # The walk makes no circles; looking for them costs a fifth.
    return json.dumps(document, separators=(",", ":"), check_circular=False).encode()
