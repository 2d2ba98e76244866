"""Versions: the source files of a run, content-addressed in the store."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path
from typing import Any

from flor import _core
from flor.capture.usercode import UserCode
from flor.files import write_json
from flor.layout import StoreLayout


def main_script() -> Path | None:
    """Return the script that this process runs; None in an interactive session."""
    found = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(found).absolute() if found and Path(found).is_file() else None


def save_version(layout: StoreLayout, store: _core.ChunkStore, user: UserCode, script: Path) -> str:
    """Store the text of every loaded file of the program; return the version's id.

    The id names the content: runs of unchanged source share a version.
    """
    root = Path(user.root)
    files: dict[str, Any] = {}
    for path in sorted(_user_files(user) | {script.resolve()}):
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
            files[name] = {"ref": store.put(text).hex(), "bytes": len(text)}
    listing = "".join(f"{name}\0{entry['ref']}\n" for name, entry in files.items())
    version = hashlib.blake2b(f"{script.name}\n{listing}".encode(), digest_size=8).hexdigest()
    target = layout.version_path(version)
    if not target.exists():
        name = (
            str(script.resolve().relative_to(root))
            if script.resolve().is_relative_to(root)
            else str(script)
        )
        write_json(target, {"format": 1, "script": name, "root": str(root), "files": files})
    return version


def _user_files(user: UserCode) -> set[Path]:
    found = set()
    for module in user.modules():
        name = getattr(module, "__file__", None)
        if name and user.is_user_file(name):
            found.add(Path(name).resolve())
    return found
