"""Which nodes of a graph to read and which to compute, for the least total cost.

A node is there when it is read, or computed from parents that are all there. Choosing is a minimum
cut (D. Xin et al., "Helix", VLDB 2018, section 5.2, as project selection): per node two vertices,
*there* and *computed*; there → computed costs the read, computed → sink costs the computing,
computed → parent's *there* can't be cut. What the cut leaves with the source is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_NEVER = 1 << 62
_SOURCE, _SINK = ("source", ""), ("sink", "")

_Vertex = tuple[str, str]
_Graph = dict[_Vertex, dict[_Vertex, int]]


@dataclass(frozen=True)
class Choice:
    """Nodes to read, nodes to compute; all others are not needed."""

    read: frozenset[str]
    computed: frozenset[str]


def choose(
    targets: Iterable[str],
    parents: Mapping[str, Sequence[str]],
    read: Mapping[str, float],
    compute: Mapping[str, float],
) -> Choice:
    """Return the cheapest way to have the targets; shared ancestors cost once.

    ``parents``: of every node that matters. ``read``, ``compute``: seconds, where possible at all
    (infinite: not). Costs are counted in nanoseconds, so that the cut is exact.
    """
    graph: _Graph = {_SOURCE: {}, _SINK: {}}
    for node in parents:
        _edge(graph, ("there", node), ("computed", node), _nanoseconds(read.get(node)))
        _edge(graph, ("computed", node), _SINK, _nanoseconds(compute.get(node)))
        for parent in parents[node]:
            _edge(graph, ("computed", node), ("there", parent), _NEVER)
    for target in targets:
        _edge(graph, _SOURCE, ("there", target), _NEVER)
    side = _source_side(graph)
    there = {name for kind, name in side if kind == "there"}
    computed = {name for kind, name in side if kind == "computed"}
    return Choice(frozenset(there - computed), frozenset(computed))


def _nanoseconds(seconds: float | None) -> int:
    impossible = seconds is None or seconds == float("inf")
    return _NEVER >> 8 if impossible else max(1, round(seconds * 1e9))  # type: ignore[operator]


def _edge(graph: _Graph, start: _Vertex, end: _Vertex, capacity: int) -> None:
    graph.setdefault(start, {})[end] = capacity
    graph.setdefault(end, {}).setdefault(start, 0)


def _source_side(graph: _Graph) -> set[_Vertex]:
    """Return what stays with the source of a minimum cut (Edmonds and Karp)."""
    while True:
        before = _reach(graph)
        if _SINK not in before:
            return set(before)
        path, vertex = [], _SINK
        while vertex != _SOURCE:
            path.append((before[vertex], vertex))
            vertex = before[vertex]
        flow = min(graph[start][end] for start, end in path)
        for start, end in path:
            graph[start][end] -= flow
            graph[end][start] += flow


def _reach(graph: _Graph) -> dict[_Vertex, _Vertex]:
    before = {_SOURCE: _SOURCE}
    queue = deque([_SOURCE])
    while queue and _SINK not in before:
        vertex = queue.popleft()
        for other, capacity in graph[vertex].items():
            if capacity > 0 and other not in before:
                before[other] = vertex
                queue.append(other)
    return before
