"""What an earlier repair found to be lost for good: told, but not damage any more.

``lost+found/known.json``: ``chunks``, names of chunks as hexadecimal text; ``paths``, files of the
store, relative to it. A chunk that is stored anew by some other run is back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flor.files import read_json, write_json
from flor.layout import StoreLayout

FOLDER = "lost+found"


@dataclass
class KnownLosses:
    """Chunks and files that are known to be lost."""

    chunks: set[bytes] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, layout: StoreLayout) -> KnownLosses:
        """Read what earlier repairs noted; raises CorruptError, StorageError."""
        path = _path(layout)
        if not path.exists():
            return cls()
        content = read_json(path)
        return cls({bytes.fromhex(one) for one in content["chunks"]}, set(content["paths"]))

    def write(self, layout: StoreLayout) -> None:
        """Replace the note; raises StorageError."""
        path = _path(layout)
        path.parent.mkdir(exist_ok=True)
        chunks = sorted(one.hex() for one in self.chunks)
        write_json(path, {"format": 1, "chunks": chunks, "paths": sorted(self.paths)})


def _path(layout: StoreLayout) -> Path:
    return layout.root / FOLDER / "known.json"
