"""Values that lie outside of the log: bytes and arrays in the chunk store, fetched when asked."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

INLINE_ELEMENTS = 1000


class Blobs:
    """What the chunk store of a flor store holds for the log; opens on the first fetch."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _store(self) -> Any:
        from flor import _core

        return _core.ChunkStore(str(self._root), readonly=True)

    def fetch(self, ref: bytes) -> bytes:
        """Return the bytes that a store reference names; raises CorruptError, NotFoundError."""
        return bytes(self._store.get(ref))

    def array(self, value: dict[str, Any]) -> np.ndarray[Any, Any]:
        """Return the array that ``{dtype, shape, ref}`` describes; bfloat16 comes as float32."""
        content = self.fetch(bytes.fromhex(value["ref"]))
        shape = tuple(value["shape"])
        if value["dtype"] == "bfloat16":
            wide = np.frombuffer(content, "<u2").astype("<u4") << 16
            return wide.view("<f4").reshape(shape)
        return np.frombuffer(content, np.dtype(value["dtype"])).reshape(shape)

    def plain(self, value: dict[str, Any]) -> Any:
        """Return an array of up to 1,000 elements as nested lists, a larger one as described."""
        if int(np.prod(value["shape"], dtype=np.int64)) > INLINE_ELEMENTS:
            return value
        return self.array(value).tolist()
