"""Capturing the layers of a network over a dataset into a store, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flor.intermediate.networks.network import Network
from flor.intermediate.networks.trace import Layer
from flor.intermediate.storage.codes import Code
from flor.intermediate.storage.store import IntermediateStore
from flor.intermediate.storage.writer import TableWriter


def keep(
    network: Network,
    store: IntermediateStore,
    layers: Sequence[Layer],
    code: str = "exact",
    labels: Mapping[str, Any] | None = None,
) -> None:
    """Keep these layers of all rows; those that are there already stay as they are.

    One pass up to the last of them; all are committed at its end, or none. Raises CaptureError for
    a layer that is ragged, ChangedError, InvalidError for a code that is none, StorageError.
    """
    todo = [layer for layer in layers if not _is_kept(network, store, layer, code)]
    if not todo:
        return
    writers: dict[str, TableWriter] = {}
    try:
        for layer in todo:
            writers[layer.name] = store.writer(
                network.key(layer.name),
                network.form(layer.name),
                fitting(code, layer),
                labels=labels,
                parents=network.parents(layer.name),
            )
        seconds = network.run(
            todo, lambda layer, rows, values: writers[layer.name].append(rows, values)
        )
        last = max(layer.seconds for layer in todo)
        for layer in todo:
            share = layer.seconds / last if last else 1.0
            writers.pop(layer.name).commit(complete=True, seconds=seconds * share)
    finally:
        for writer in writers.values():
            writer.abort()


def fitting(code: str, layer: Layer) -> str:
    """Return the code for a layer: what has no maps is not pooled."""
    parsed = Code.parse(code)
    pools = len(layer.unit_shape) >= 3 and layer.dtype.startswith("float")
    return code if parsed.side is None or pools else code.partition("+")[2] or "exact"


def _is_kept(network: Network, store: IntermediateStore, layer: Layer, code: str) -> bool:
    wanted = {"exact", fitting(code, layer)}
    found = store.find(network.key(layer.name))
    return any(kept.code in wanted and kept.labels.get("complete") for kept in found)
