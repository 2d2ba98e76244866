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
from datetime import datetime
from pathlib import Path
from typing import Any

from flor import _core
from flor.errors import ReplayError
from flor.files import read_json, sample_of
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
        if source is None:
            raise ReplayError(_missing([entry]))
        if source.stat().st_mtime_ns != entry["mtime_ns"]:
            how = "its size and a sample of it are" if "sample" in entry else "its size is"
            notes.append(f"assumed: {entry['path']} is unchanged ({how}, its time is not)")
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


def check_files(meta: dict[str, Any], places: list[Path]) -> list[str]:
    """Return a sentence for each file that the run read elsewhere and that is not what it was.

    Raises ReplayError where files that the run found in its folder can't be had any more.
    """
    needed = [e for e in meta.get("files") or [] if "ref" not in e and not e.get("unreadable")]
    missing = [entry for entry in needed if _find(entry, places) is None]
    if missing:
        kept = sum(entry["bytes"] for entry in meta["files"] if "ref" in entry)
        raise ReplayError(_missing(missing, kept))
    inputs: list[dict[str, Any]] = meta.get("inputs") or []
    return [
        f"{entry['path']}, which the run read, has changed or is gone: values may not be the run's"
        for entry in inputs
        if not _is(Path(entry["path"]), entry)
    ]


def _find(entry: dict[str, Any], places: list[Path]) -> Path | None:
    """Return where a file is as the run found it; None: nowhere."""
    found = (place / entry["path"] for place in places)
    return next((path for path in found if _is(path, entry)), None)


def _is(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file is the one of an entry: by size, and by time or sample where that is known.

    A file that the run itself has changed since must not be taken for the one that it found.
    """
    try:
        info = path.stat()
        if not path.is_file() or info.st_size != entry["bytes"]:
            return False
        if info.st_mtime_ns == entry["mtime_ns"]:
            return True
        if "sample" in entry:
            return bool(sample_of(path) == entry["sample"])
    except OSError:
        return False
    return "lost" not in entry


def _missing(entries: list[dict[str, Any]], kept_bytes: int = 0) -> str:
    """Say which files are missing and what to do; ``kept_bytes``: what the budget held."""
    lines = []
    for entry in entries:
        when = datetime.fromtimestamp(entry["mtime_ns"] / 1e9).strftime("%Y-%m-%d %H:%M:%S")
        why = entry.get("lost") or "it is gone or changed now, and what is only read is not kept"
        lines.append(f"{entry['path']}, {entry['bytes']:,} bytes, last written {when}: {why}")
    needed = kept_bytes + sum(entry["bytes"] for entry in entries)
    again = f", or record again with --files-budget {needed}"
    lost = any("lost" in entry for entry in entries)
    return (
        "the run found files in its folder that can't be had any more:\n  "
        + "\n  ".join(lines)
        + f"\nput them back as they were (with their times: cp -p){again if lost else ''}"
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
