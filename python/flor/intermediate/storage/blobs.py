"""Bytes kept beside intermediates, named by their content: schemas, and fitted objects as pickles.

They are intermediates of one row, so gc and fsck know them. Nothing here is ever unpickled but by
:func:`load`, which a caller reaches by the user's own act.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.errors import CorruptError, NotFoundError
from flor.intermediate.forms import Form, Key

if TYPE_CHECKING:
    from flor.intermediate.storage.store import IntermediateStore

PICKLE = "pickle"
SCHEMA = "schema"
_END = b"."  # a NumPy text of bytes loses zeros at its end


def name_of(content: bytes) -> str:
    """Return what names bytes: 40 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:40]


def put(store: IntermediateStore, content: bytes, what: str, title: str = "") -> str:
    """Keep bytes, once; return their name."""
    name = name_of(content)
    key = Key(name, title, "", what)
    if not store.find(key):
        whole = content + _END
        form = Form.table({"bytes": f"S{len(whole)}"})
        with store.writer(key, form) as writer:
            writer.append(
                np.zeros(1, np.int64), {"bytes": np.frombuffer(whole, form.parts[0].dtype)}
            )
    return name


def get(store: IntermediateStore, name: str, what: str, title: str = "") -> bytes:
    """Return kept bytes. Raises NotFoundError, CorruptError."""
    found = store.find(Key(name, title, "", what))
    if not found:
        raise NotFoundError(f"the {what} {name[:12]} is not in {store.layout.root}")
    content = found[0].read()[1]["bytes"].tobytes()[: -len(_END)]
    if name_of(content) != name:
        raise CorruptError(f"the {what} {name[:12]} in {store.layout.root} is damaged")
    return bytes(content)


def load(store: IntermediateStore, name: str) -> Any:
    """Unpickle a fitted object, which can run any code: only by the user's own act."""
    return pickle.loads(get(store, name, PICKLE))
