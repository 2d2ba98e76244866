"""The user's files of a resumed run, put back to where the run goes on.

What is replaced or taken away is moved into the store first, never deleted.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path
from typing import Any

from flor import _core
from flor.errors import FlorError
from flor.files import storage_error
from flor.recording.folder import Folder

Content = dict[str, bytes]


class UserFiles:
    """The working folder of a run: as the run found it, or as it was at a boundary.

    ``manifest``: what the run found. ``kept``: the folder that takes what is moved out of the way.
    """

    def __init__(
        self, root: Path, kept: Path, manifest: list[dict[str, Any]], store: _core.ChunkStore
    ) -> None:
        self.root = root
        self.kept = kept
        self._found = {entry["path"]: entry for entry in manifest}
        self._store = store
        self._made: set[str] = set()
        self.notes: list[str] = []

    def folder(self, store_root: Path) -> Folder:
        """Return the watch over the folder, which counts changes from what the run found."""
        found = {path: (entry["bytes"], entry["mtime_ns"]) for path, entry in self._found.items()}
        return Folder(self.root, store_root, found)

    def changes(self, store_root: Path, files: Content, removed: list[str]) -> list[str]:
        """Return what putting the boundary's files back will do, a line a file."""
        now = self.folder(store_root).scan()
        lines = []
        for path in sorted({*now, *files, *self._found}):
            wanted = self._wanted(path, files, removed)
            if wanted is None:
                lines += [f"{path}: taken away"] if path in now else []
            elif path not in now:
                lines.append(f"{path}: brought back")
            elif not self._is(path, wanted):
                size = wanted["bytes"] if isinstance(wanted, dict) else len(wanted)
                lines.append(f"{path}: put back, {now[path][0]:,} bytes become {size:,}")
        return lines

    def put_back(self, store_root: Path, files: Content, removed: list[str]) -> None:
        """Make the folder what it was at a boundary; without files, what the run found.

        Raises StorageError. A file that can't be had any more stays as it is, and is noted.
        """
        now = self.folder(store_root).scan()
        for path in sorted({*now, *files, *self._found}):
            wanted = self._wanted(path, files, removed)
            if wanted is None:
                self._take_away(path)
            elif not self._is(path, wanted):
                self._bring(path, wanted)

    def forget_same(self) -> None:
        """Let go of what was moved away and is in its place again, byte for byte."""
        for old in [p for p in self.kept.rglob("*") if p.is_file()]:
            new = self.root / old.relative_to(self.kept)
            if new.is_file() and filecmp.cmp(old, new, shallow=False):
                old.unlink()
        if not any(p.is_file() for p in self.kept.rglob("*")):
            shutil.rmtree(self.kept, ignore_errors=True)

    def undo(self) -> None:
        """Bring back everything that was moved out of the way, and take away what was made."""
        for path in self._made:
            (self.root / path).unlink(missing_ok=True)
        for source in [p for p in self.kept.rglob("*") if p.is_file() or p.is_symlink()]:
            target = self.root / source.relative_to(self.kept)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)
        shutil.rmtree(self.kept, ignore_errors=True)

    def _wanted(self, path: str, files: Content, removed: list[str]) -> Any:
        """Return a file's content at the boundary, its entry as found, or None: not there."""
        if path in files:
            return files[path]
        return None if path in removed else self._found.get(path)

    def _is(self, path: str, wanted: Any) -> bool:
        target = self.root / path
        if isinstance(wanted, dict):
            try:
                info = target.stat()
            except OSError:
                return False
            return (info.st_size, info.st_mtime_ns) == (wanted["bytes"], wanted["mtime_ns"])
        return target.is_file() and target.read_bytes() == wanted

    def _bring(self, path: str, wanted: Any) -> None:
        content, times = wanted, None
        if isinstance(wanted, dict):
            if "ref" not in wanted:
                self.notes.append(f"{path} was too large to be kept as the run found it: it stays")
                return
            try:
                content = self._store.get(bytes.fromhex(wanted["ref"]))
            except FlorError as error:
                self.notes.append(f"{path} can't be put back, it stays: {error}")
                return
            times = wanted["mtime_ns"]
        self._take_away(path)
        target = self.root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if times is not None:
                os.utime(target, ns=(times, times))
        except OSError as cause:
            raise storage_error(cause, target, "put back") from cause
        self._made.add(path)

    def _take_away(self, path: str) -> None:
        """Move a file into the store; the first one of its name, which is the user's."""
        source, target = self.root / path, self.kept / path
        if not os.path.lexists(source):
            self._made.add(path)
            return
        try:
            if path in self._made or os.path.lexists(target):
                source.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(source, target)
                self._made.add(path)
        except OSError as cause:
            raise storage_error(cause, source, "move away") from cause
