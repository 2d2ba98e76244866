"""Graphs of pipelines in a store: opened again later, in another process.

What a stage was is written as JSON: the function's place, the fingerprint of its code, its plain
arguments. Other arguments and fitted objects are pickles, which are loaded only with ``trust``;
without it a stage that takes a fitted object is run again from what that was fitted to.
"""

from __future__ import annotations

import base64
import importlib
import json
import math
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flor.errors import ChangedError, CorruptError, InvalidError, LayerNotFoundError
from flor.intermediate.forms import Key
from flor.intermediate.networks import fingerprint
from flor.intermediate.pipelines.stage_graph import Call, Fitted, Ref, StageGraph, Table, replaced
from flor.intermediate.planning.selection import nearest
from flor.intermediate.storage import blobs
from flor.intermediate.storage.schemas import get_schema

if TYPE_CHECKING:
    from flor.intermediate.storage.store import IntermediateStore

PIPELINE = "pipeline"
_PLAIN = (type(None), bool, int, str)


def save(graph: StageGraph, store: IntermediateStore) -> None:
    """Keep a graph whose tables are all kept, in place of the last one of that title."""
    made_by = [table.call for table in graph.tables.values()]
    made_by += [fitted.call for fitted in graph.fitted.values()]
    calls = {id(call): call for call in made_by if call is not None}
    numbers = {key: at for at, key in enumerate(calls)}

    def number(call: Call | None) -> int | None:
        return None if call is None else numbers[id(call)]

    told = {
        "calls": [_call_told(call) for call in calls.values()],
        "tables": [
            [t.name, [t.key.model, t.key.data], t.how, number(t.call), t.path, t.convert]
            for t in graph.tables.values()
        ],
        "fitted": [
            [f.name, number(f.call), f.path, f.content, f.pickled] for f in graph.fitted.values()
        ],
    }
    earlier = store.find(layer=graph.title, what=PIPELINE)
    name = blobs.put(store, json.dumps(told).encode(), PIPELINE, graph.title)
    for kept in earlier:
        if kept.key.model != name:
            store.remove(kept)


def titles(store: IntermediateStore) -> list[str]:
    """Return the pipelines in a store, the last one first."""
    return list(dict.fromkeys(kept.key.layer for kept in store.find(what=PIPELINE)))


def open_graph(store: IntermediateStore, title: str, trust: bool = False) -> StageGraph:
    """Return the graph that a pipeline left when it ran last.

    ``trust``: load pickles. Raises LayerNotFoundError, CorruptError.
    """
    found = store.find(layer=title, what=PIPELINE)
    if not found:
        known = titles(store)
        raise LayerNotFoundError(
            f"{store.layout.root} has no pipeline {title!r}{nearest(title, known)}; it has "
            + (", ".join(known) or "none")
        )
    told = json.loads(blobs.get(store, found[0].key.model, PIPELINE, title))
    graph = StageGraph(title)
    calls = [_call_of(store, one, trust) for one in told["calls"]]
    for name, key, how, call, path, convert in told["tables"]:
        graph.tables[name] = _table_of(store, graph, name, Key(key[0], name, key[1]), how)
        made = graph.tables[name]
        made.call, made.path, made.convert = _at(calls, call), tuple(path), convert
    for name, call, path, content, pickled in told["fitted"]:
        load = _loader(store, pickled) if trust and pickled else None
        made_by = _at(calls, call)
        graph.fitted[name] = Fitted(name, None, made_by, tuple(path), content, pickled, load)
    return graph


def _at(calls: list[Call], number: int | None) -> Call | None:
    return None if number is None else calls[number]


def _table_of(store: IntermediateStore, graph: StageGraph, name: str, key: Key, how: str) -> Table:
    found = [kept for kept in store.find(key) if "schema" in kept.labels]
    if not found:
        raise CorruptError(f"the table {name!r} of {graph.title!r} is not in the store any more")
    kept = found[0]
    if how == "source":
        graph.sources[name] = kept
    schema, content = get_schema(store, kept.labels["schema"]), str(kept.labels["content"])
    return Table(name, key, kept.form, schema, kept.row_ids(), how, content)


def _loader(store: IntermediateStore, name: str) -> Callable[[], Any]:
    return lambda: blobs.load(store, name)


# -- calls ---------------------------------------------------------------------------------------


def _call_told(call: Call) -> dict[str, Any]:
    function = call.function
    return {
        "stage": call.stage,
        "function": [getattr(function, "__module__", ""), getattr(function, "__qualname__", "")],
        "code": fingerprint.of(function),
        "arguments": _told(list(call.arguments)),
        "seconds": call.seconds,
        "names": None if call.names is None else list(call.names),
    }


def _call_of(store: IntermediateStore, told: dict[str, Any], trust: bool) -> Call:
    args, kwargs = _of(told["arguments"], trust)
    module, name = told["function"]
    function = _function(told["stage"], module, name, told["code"])
    return Call(told["stage"], function, (args, kwargs), told["seconds"], told["names"])


def _function(stage: str, module: str, name: str, code: str) -> Callable[..., Any]:
    """Return what finds the function when it is called; raises ChangedError when it is another."""

    def run(*args: Any, **kwargs: Any) -> Any:
        replaced([args, kwargs], _Locked, _Locked.refuse)
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as cause:
            raise ChangedError(f"stage {stage!r}: {module}.{name} is not there: {cause}") from cause
        found = getattr(found, "__wrapped__", found)
        if fingerprint.of(found) != code:
            raise ChangedError(
                f"stage {stage!r}: the code of {module}.{name} changed since it ran; what is kept "
                "can be read, or run the pipeline again"
            )
        return found(*args, **kwargs)

    return run


class _Locked:
    """An argument that is a pickle, which nobody allowed to load."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def refuse(self) -> None:
        raise InvalidError(
            f"an argument ({self.kind}) is a pickle in the store, and unpickling can run any code: "
            "say trust=True if you trust who wrote the store"
        )


def _told(value: Any) -> Any:
    """Return an argument as JSON: plain values as such, others tagged."""
    kind = type(value)
    if kind in _PLAIN or (kind is float and math.isfinite(value)):
        return value
    if kind is Ref:
        return {"ref": value.name}
    if kind in (list, tuple):
        return {kind.__name__: [_told(one) for one in value]}
    if kind is dict and all(type(name) is str for name in value):
        return {"dict": {name: _told(one) for name, one in value.items()}}
    try:
        content = pickle.dumps(value, protocol=5)
    except Exception:
        return {"pickle": None, "kind": kind.__name__}
    return {"pickle": base64.b64encode(content).decode(), "kind": kind.__name__}


def _of(told: Any, trust: bool) -> Any:
    if not isinstance(told, dict):
        return told
    ((way, value),) = [item for item in told.items() if item[0] != "kind"]
    if way == "ref":
        return Ref(value)
    if way == "dict":
        return {name: _of(one, trust) for name, one in value.items()}
    if way == "pickle":
        if trust and value is not None:
            return pickle.loads(base64.b64decode(value))
        return _Locked(told["kind"])
    items = [_of(one, trust) for one in value]
    return tuple(items) if way == "tuple" else items
