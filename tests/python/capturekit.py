"""Drives the capture of state as a run and its replay do, within one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from flor.capture.regions import Source
from flor.capture.restore import Restorer
from flor.capture.state import World, digest, encode
from flor.capture.usercode import UserCode
from flor.capture.walk import Graph

HERE = UserCode(str(Path(__file__).resolve().parent))


class Copy:
    """What a checkpoint keeps of one walk: the graph as JSON and copies of the regions."""

    def __init__(self, graph: Graph) -> None:
        self.graph: dict[str, Any] = json.loads(encode(graph))
        self.regions = [np.array(view) for view in graph.regions.views]
        self.digest = digest(graph)
        self.opaque = list(graph.opaque)
        self.source = Source(lambda index: self.regions[index])


def world_of(**objects: Any) -> World:
    """Return a world of the named objects alone, entered."""
    world = World(HERE, objects, whole=False)
    world.enter(None)
    return world


def in_place(world: World, disturb: Callable[[], object], frame: FrameType | None = None) -> Copy:
    """Capture, let ``disturb`` change the state, restore; the digest must be the captured one."""
    graph = world.walk(frame)
    assert not graph.opaque, graph.opaque
    copy = Copy(graph)
    disturb()
    world.restore(copy.graph, copy.source, frame)
    assert digest(world.walk(frame)) == copy.digest
    return copy


def rebuilt(**objects: Any) -> dict[str, Any]:
    """Return copies of the objects made from what a checkpoint keeps, as another process would."""
    copy = Copy(World(HERE, objects, whole=False).enter(None))
    assert not copy.opaque, copy.opaque
    restorer = Restorer(copy.graph, copy.source)
    restorer.objects()
    return dict(restorer.root("with"))


def opaque(**objects: Any) -> list[str]:
    """Return what the walk says it can't read."""
    return World(HERE, objects, whole=False).enter(None).opaque


def digest_of(**objects: Any) -> str:
    """Return the fingerprint of a state made of these objects (and the random states)."""
    return digest(World(HERE, objects, whole=False).enter(None))
