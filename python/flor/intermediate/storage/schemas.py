"""Schemas of kept tables as blobs: long dictionaries apart, because many schemas share them."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from flor.intermediate.storage import blobs

if TYPE_CHECKING:
    from flor.intermediate.storage.store import IntermediateStore

_LONG = 256  # characters of JSON from which a column's own is a blob of its own
_APART = "blob"


def put_schema(store: IntermediateStore, schema: dict[str, Any]) -> str:
    """Keep a schema, once; return its name."""
    columns = {name: _apart(store, told) for name, told in schema.get("columns", {}).items()}
    brief = {**schema, "columns": columns} if columns else schema
    return blobs.put(store, _packed(brief), blobs.SCHEMA)


def get_schema(store: IntermediateStore, name: str) -> dict[str, Any]:
    """Return a schema. Raises NotFoundError, CorruptError."""
    schema: dict[str, Any] = _unpacked(blobs.get(store, name, blobs.SCHEMA))
    for column, told in schema.get("columns", {}).items():
        if told and told[0] == _APART:
            schema["columns"][column] = _unpacked(blobs.get(store, told[1], blobs.SCHEMA))
    return schema


def _apart(store: IntermediateStore, told: Any) -> Any:
    if len(json.dumps(told)) < _LONG:
        return told
    return [_APART, blobs.put(store, _packed(told), blobs.SCHEMA)]


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)


def _unpacked(content: bytes) -> Any:
    return json.loads(zlib.decompress(content))
