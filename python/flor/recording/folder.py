"""The working folder as part of the state: what files the run found there, and which it changed
since.

At the start a manifest is made (path, size, mtime) and the content of small files is kept, so that
a replay can start from the folder as the run found it. At a boundary the files that changed since
belong to the state.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flor import _core

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
MAX_FILES = 2000
_KEPT_FILE_BYTES = 256 << 10
_KEPT_TOTAL_BYTES = 8 << 20
MAX_CHANGED_BYTES = 1 << 30

Stat = tuple[int, int]


class Folder:
    """A working folder, watched by comparing listings. Hidden files and folders are left out.

    ``truncated`` is true when the folder holds more than 2,000 files: it is then not part of the
    state. ``found``: what was there at the start, when that was not just now.
    """

    def __init__(self, root: Path, store_root: Path, found: dict[str, Stat] | None = None) -> None:
        self.root = root
        self._store = store_root.resolve()
        self.truncated = False
        self.found = self.scan() if found is None else found
        self.now = self.found

    def scan(self) -> dict[str, Stat]:
        """Return {relative path: (size, mtime in ns)} of the files there now."""
        found: dict[str, Stat] = {}
        stack = [self.root]
        while stack and not self.truncated:
            for entry in _entries(stack.pop()):
                if entry.name.startswith(".") or entry.name in _SKIPPED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if Path(entry.path).resolve() != self._store:
                        stack.append(Path(entry.path))
                elif entry.is_file():
                    info = entry.stat()
                    found[os.path.relpath(entry.path, self.root)] = (info.st_size, info.st_mtime_ns)
            self.truncated = len(found) > MAX_FILES
        return {} if self.truncated else found

    def manifest(self, store: _core.ChunkStore, budget: int) -> list[dict[str, Any]]:
        """Return the start manifest for run.json; keeps the content of small files in ``store``.

        Those of at most 256 KiB, up to 8 MiB or ``budget``: not every writer is heard of.
        """
        budget = min(budget, _KEPT_TOTAL_BYTES)
        kept, listing = 0, []
        for name, (size, mtime) in sorted(self.found.items()):
            entry: dict[str, Any] = {"path": name, "bytes": size, "mtime_ns": mtime}
            if size <= _KEPT_FILE_BYTES and kept + size <= budget:
                try:
                    entry["ref"] = store.put((self.root / name).read_bytes()).hex()
                    kept += size
                except OSError:
                    entry["unreadable"] = True
            listing.append(entry)
        return listing

    def changed(self) -> tuple[dict[str, bytes], list[str]]:
        """Return ({path: content now} of files new or changed since the start, paths removed
        since).
        """
        self.now = now = self.scan()
        if self.truncated:  # it grew too large to be watched
            return {}, []
        changed = {name: stat for name, stat in now.items() if self.found.get(name) != stat}
        if sum(size for size, _ in changed.values()) > MAX_CHANGED_BYTES:
            raise OSError("the run has written more than 1 GiB of files into its folder")
        content = {name: (self.root / name).read_bytes() for name in sorted(changed)}
        return content, sorted(set(self.found) - set(now))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
