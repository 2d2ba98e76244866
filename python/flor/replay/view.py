"""The working folder of a replay: a scratch copy of what the run found, so that the user's files
stay untouched.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flor import _core
from flor.errors import ReplayError
from flor.files import read_json
from flor.layout import StoreLayout

_COPIED_BYTES = 256 << 20


class Places:
    """Maps paths between the recorded working folder and the view, in JSON text or in plain text.

    Only whole path components count: ``/a/b`` is not part of ``/a/bc``.
    """

    def __init__(self, recorded: str, view: Path) -> None:
        self._recorded, self._view = json.dumps(recorded)[1:-1], json.dumps(str(view))[1:-1]
        self._out = re.compile(re.escape(self._recorded) + r"(?![\w.-])")
        self._back = re.compile(re.escape(self._view) + r"(?![\w.-])")

    def to_view(self, text: str) -> str:
        """Recorded paths become paths in the view."""
        return self._out.sub(lambda _: self._view, text)

    def to_recorded(self, text: str) -> str:
        """Paths in the view become recorded paths."""
        return self._back.sub(lambda _: self._recorded, text)


@contextmanager
def view_to_fill(view: Path) -> Iterator[bool]:
    """Whether ``view`` is still to be made; the ranks of a run share one, and make it in turn."""
    done = view.with_name("folder-done")
    with view.with_name("folder-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


def build_view(
    view: Path, files: list[dict[str, Any]], store: _core.ChunkStore, places: list[Path]
) -> list[str]:
    """Make ``view`` the folder as the run found it; return notes on what had to be assumed.

    Content kept in the store is written out; the rest is taken from ``places`` when its size is
    what it was. Raises ReplayError for a file that is gone or has changed.
    """
    view.mkdir(parents=True, exist_ok=True)
    notes = []
    for entry in files:
        target = view / entry["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if "ref" in entry:
            target.write_bytes(store.get(bytes.fromhex(entry["ref"])))
            continue
        if entry.get("unreadable"):
            continue
        source = _find(entry, places)
        if source.stat().st_mtime_ns != entry["mtime_ns"]:
            notes.append(f"assumed: {entry['path']} is unchanged (its size is, its time is not)")
        if entry["bytes"] <= _COPIED_BYTES:
            shutil.copyfile(source, target)
        else:
            target.symlink_to(source)
    return notes


def overlay_source(
    view: Path, meta: dict[str, Any], plan: dict[str, Any], layout: StoreLayout
) -> str:
    """Put today's source files into ``view`` and return the path the program sees as its script.

    Done where the script lay in the working folder, so that what it reads and writes beside
    ``__file__`` stays in the view. The plan's line tables are repeated for the files' new places.
    """
    script = Path(plan["script"])
    if Path(meta["script"]).parent != Path(meta["cwd"]) or not meta.get("version"):
        return str(script)
    names = read_json(layout.version_path(meta["version"]))["files"]
    for name in names:
        today = script if name == Path(meta["script"]).name else script.parent / name
        target = view / name
        if Path(name).is_absolute() or not today.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_bytes() != today.read_bytes():
            target.write_bytes(today.read_bytes())
        for table in (plan["added"], plan["line_map"]):
            if str(today) in table:
                table[str(target)] = table[str(today)]
        plan["loops"] += [
            {**s, "file": str(target)} for s in plan["loops"] if s["file"] == str(today)
        ]
    return str(view / Path(meta["script"]).name)


def _find(entry: dict[str, Any], places: list[Path]) -> Path:
    for place in places:
        found: Path = place / entry["path"]
        if found.is_file() and found.stat().st_size == entry["bytes"]:
            return found
    raise ReplayError(
        f"the run found a file {entry['path']} of {entry['bytes']:,} bytes in its folder; it "
        "is gone or changed now, and too large to have been kept. Put it back to replay"
    )


def set_files(view: Path, files: dict[str, bytes], removed: list[str]) -> None:
    """Bring the changed files of ``view`` to their recorded state at a boundary."""
    for path in removed:
        (view / path).unlink(missing_ok=True)
    for path, content in files.items():
        target = view / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.is_file() and target.read_bytes() == content):
            target.unlink(missing_ok=True)
            target.write_bytes(content)
