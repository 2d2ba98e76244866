"""Blocks become chunks: encoded, named, stored where they are new. Runs in the background."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flor import _core
from flor.intermediate.storage.blocks import Cut, Stats, stats_of
from flor.intermediate.storage.buffers import Block, Ids
from flor.intermediate.storage.codes import Array, Kind, encode, up
from flor.intermediate.storage.columns import bytes_of, content_of, element_of, identity_of
from flor.intermediate.storage.entries import ChunkRow

if TYPE_CHECKING:
    from flor.intermediate.storage.store import IntermediateStore

# What _core.encode_block tells of a part.
_PART = np.dtype(
    [("start", "<u8"), ("length", "<u8"), ("kind", "<u4"), ("low", "<f4"), ("high", "<f4"),
     ("error", "<f4"), ("zeros", "<u8"), ("odd", "<u8")]
)  # fmt: skip


@dataclass
class Stored:
    """The chunks of a block, and how many bytes it added to the packs."""

    chunks: list[ChunkRow] = field(default_factory=list)
    added: int = 0


def keep_block(store: IntermediateStore, cut: Cut, block: Block) -> Stored:
    """Encode and store the parts of a block of a tensor."""
    values = block.parts[0]
    by_core = values.dtype == np.float32 and cut.code.value in ("exact", "affine8")
    room, told = _by_core(store, cut, values) if by_core else _by_part(cut, values)
    spans = [(start, length) for start, length, *_ in told]
    refs, added = store._chunks.put_many(room, spans)
    out = Stored([], added)
    raws = [block.rows * part.row_bytes for part in cut.kept.parts]
    for ref, raw, one in zip(refs, raws, told, strict=True):
        _, length, kind, low, high, error, zeros, odd = one
        if low > high:
            low = high = math.nan
        wrong = up(error) + block.error
        # What is known of the true values is part of the name: equal codes may stand for others.
        known = repr((kind, block.rows, low, high, zeros, odd, wrong)).encode()
        row = ChunkRow(
            identity_of(known, ref), ref, 0, length, kind, block.rows,
            raw, low, high, zeros, odd, wrong,
        )  # fmt: skip
        out.chunks.append(row)
    return out


Told = list[tuple[Any, ...]]


def _by_core(store: IntermediateStore, cut: Cut, values: Array) -> tuple[Any, Told]:
    room = store._behind.room(_core.block_bound(len(values), cut.widths))
    kind = Kind.AFFINE8 if cut.code.value == "affine8" else Kind.EXACT
    told = _core.encode_block(values, len(values), cut.widths, cut.by_column, int(kind), room)
    return room, np.frombuffer(told, _PART).tolist()


def _by_part(cut: Cut, values: Array) -> tuple[Any, Told]:
    payloads, told, start = [], [], 0
    for at, width in enumerate(cut.widths):
        begin = int(cut.starts[at])
        part = np.ascontiguousarray(values[:, begin : begin + width])
        coded, stats = encode(cut.code, part, cut.channels(at)), stats_of(part)
        payload = _bytes(coded.payload)
        known = (stats.low, stats.high, coded.error, stats.zeros, stats.nans)
        told.append((start, len(payload), int(coded.kind), *known))
        payloads.append(payload)
        start += len(payload)
    return b"".join(payloads), told


def keep_columns(store: IntermediateStore, cut: Cut, block: Block) -> Stored:
    """Encode and store the columns of a block of a table, those that are not there already."""
    assert block.ids is not None
    named = []
    for part, values in zip(cut.kept.parts, block.parts, strict=True):
        content = content_of(part.name, values)
        head = f"{part.dtype} {cut.code.value}{cut.code.number:g} {len(values)} ".encode()
        named.append((identity_of(head, content), part.dtype, values, content))
    known = store._known([name for name, *_ in named])
    fresh: dict[bytes, tuple[ChunkRow, Any]] = {}
    for name, dtype, values, content in named:
        if name not in known and name not in fresh:
            fresh[name] = _keep_column(store, cut, block.ids, (name, dtype, values, content))
    # One content for all that is new: a small column must not pay for a chunk of its own.
    joined = b"".join(payload for _, payload in fresh.values())
    refs, added = store._chunks.put_many(joined, [(0, len(joined))]) if fresh else ([b""], 0)
    start = 0
    for row, payload in fresh.values():
        row.ref, row.start, row.length = refs[0], start, len(payload)
        start += len(payload)
        store._remember(row)
        known[row.identity] = row
    return Stored([known[name] for name, *_ in named], added)


def _keep_column(
    store: IntermediateStore, cut: Cut, ids: Ids, column: tuple[bytes, str, Array, Any]
) -> tuple[ChunkRow, Any]:
    """Encode one column; where it goes is known later."""
    name, dtype, values, content = column
    stats = stats_of(values)
    if cut.code.value != "exact" and values.dtype.kind == "f":
        coded = encode(cut.code, np.ascontiguousarray(values).reshape(-1, 1))
        if coded.kind != Kind.EXACT:
            payload = _bytes(coded.payload)
            return _row(name, coded.kind, values, len(payload), stats, coded.error), payload
    width, floating = element_of(dtype)
    sketch, base, aligned = store._placer.place(dtype, values, ids, alone=name in store._lost)
    payload = _core.column_encode(content, width, floating, aligned)
    row = _row(name, Kind.COLUMN, values, len(content), stats, 0.0)
    row.sketch, row.rowset, row.ids = sketch, identity_of(ids), ids
    if base is not None and _core.column_needs_base(payload):
        row.base, row.depth = base.identity, base.depth + 1
    return row, payload


def _bytes(payload: Any) -> bytes:
    return bytes_of(payload).tobytes() if isinstance(payload, np.ndarray) else bytes(payload)


def _row(name: bytes, kind: Kind, values: Array, raw: int, stats: Stats, error: float) -> ChunkRow:
    return ChunkRow(
        name, b"", 0, 0, int(kind), len(values), raw, stats.low, stats.high, stats.zeros,
        stats.nans, error,
    )  # fmt: skip
