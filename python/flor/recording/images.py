"""Before-images: what the program overwrites, renames or deletes of the files that it found.

An audit hook hears from Python of the change before it happens, and the content goes to the store,
once for equal files, within a budget of bytes. What is only read is never copied: a sample of its
bytes says later whether it is still the same. Writers in C are not heard, but for ``torch.save``:
the listing of the folder tells of them afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flor import _core
from flor.adapters.imports import WhenImported
from flor.errors import FlorError, InvalidError
from flor.files import sample_of
from flor.recording.folder import Stat
from flor.sizes import parse_bytes

DEFAULT_FILES_BUDGET_BYTES = 256 << 20
VARIABLE = "FLOR_FILES_BUDGET"
MAX_INPUTS = 200
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", sys.prefix, sys.base_prefix)
_CODE = (".py", ".pyc", ".so")

Entry = dict[str, Any]


def files_budget(chosen: int | None = None) -> int:
    """Return the budget in bytes: ``chosen``, else ``FLOR_FILES_BUDGET``, else 256 MiB."""
    text = os.environ.get(VARIABLE, "").strip() if chosen is None else str(chosen)
    if not text:
        return DEFAULT_FILES_BUDGET_BYTES
    found = parse_bytes(text)
    if found is None:
        raise InvalidError(
            f"{VARIABLE}={text}: not a number of bytes; write for example 50M or 2G; 0 for none"
        )
    return found


class Images:
    """Watches the files that a run found, until :meth:`remove`. Thread-safe; deaf in forks.

    ``entries``: the manifest in run.json, completed in place (``ref``, ``sample``, ``lost``).
    ``inputs``: filled with what is read elsewhere. ``keep`` puts content into the store and returns
    its name; ``tell(text)`` notes something for ``flor show``; ``save`` replaces run.json.
    ``seconds``: what keeping and sampling has taken the program.
    """

    def __init__(
        self,
        root: Path,
        entries: list[Entry],
        inputs: list[Entry],
        budget: int,
        keep: Callable[[bytes], bytes],
        tell: Callable[[str], None],
        save: Callable[[], None],
    ) -> None:
        self._root, self._inside = str(root), f"{root}/"
        self._entries = {e["path"]: e for e in entries if "ref" not in e}
        self._budget = budget
        self._left = budget - sum(e["bytes"] for e in entries if "ref" in e)
        self._inputs = {entry["path"]: entry for entry in inputs}
        self._all_inputs = inputs
        self._keep, self._tell, self._save = keep, tell, save
        self._begun_ns = 0
        self.seconds = 0.0
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._here = threading.local()
        self._handlers = {
            "open": self._opened,
            "os.rename": lambda source, target, *_: self._moving(source, target),
            "os.remove": lambda path, *_: self._changing(path),
            "os.truncate": lambda path, *_: self._changing(path),
            "shutil.rmtree": lambda path, *_: self._moving(path),
        }
        self._library = WhenImported({"torch.serialization": _announce_saves}, lambda _: None)

    def install(self, begun: float) -> None:
        """Begin to watch; ``begun``: when the run began, Unix seconds."""
        self._begun_ns = int(begun * 1e9)
        self._library.install()
        _core.set_file_listener(self._heard, _SYSTEM, self._inside)

    def remove(self) -> None:
        """Watch no more."""
        _core.set_file_listener(None)
        self._library.remove()

    def missed(self, now: dict[str, Stat]) -> None:
        """Note which files have changed, by a listing of the folder, without being heard of."""
        for path, entry in self._entries.items():
            if "lost" not in entry and now.get(path) != (entry["bytes"], entry["mtime_ns"]):
                self._lose(entry, "changed it by other means than Python's own, unseen by flor")

    # -- what is heard -----------------------------------------------------------------------------

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(self._here, "busy", False) or os.getpid() != self._pid:
            return
        self._here.busy = True
        begun = time.perf_counter()
        try:
            with self._lock:
                with contextlib.suppress(OSError, TypeError, ValueError):
                    self._handlers[event](*arguments)
                self.seconds += time.perf_counter() - begun
        finally:
            self._here.busy = False

    def _opened(self, path: Any, _: Any, flags: int) -> None:
        if isinstance(path, int):
            return
        if flags & _WRITES:
            self._changing(path)
        else:
            self._reading(path)

    def _changing(self, path: Any) -> None:
        entry = self._entries.get(self._name(path)) if self._entries else None
        if entry is not None:
            self._image(entry)

    def _moving(self, *paths: Any) -> None:
        """A file, or a folder with all that is in it, is about to go, or to be replaced."""
        for path in paths:
            name = self._name(path)
            inside = "" if name == "." else f"{name}/"
            found = [p for p in self._entries if p == name or p.startswith(inside)]
            for each in found:
                self._image(self._entries[each])

    def _name(self, path: Any) -> str:
        """Return a path relative to the watched folder."""
        return os.path.relpath(os.fsdecode(path), self._root)

    def _image(self, entry: Entry) -> None:
        """Keep the content of a file that is about to change."""
        size = entry["bytes"]
        if "lost" in entry or not self._is_as_found(entry):
            return
        if size > self._left:
            budget = f"the budget for such files, {self._budget:,} bytes, of which {self._left:,} "
            self._lose(entry, f"changed it, and it is over {budget}were left (--files-budget)")
            return
        try:
            entry["ref"] = self._keep(Path(self._root, entry["path"]).read_bytes()).hex()
        except (OSError, FlorError) as error:
            self._lose(entry, f"changed it, and it could not be kept: {error}")
            return
        self._left -= size
        del self._entries[entry["path"]]
        self._save()

    def _is_as_found(self, entry: Entry) -> bool:
        info = Path(self._root, entry["path"]).stat()
        return (info.st_size, info.st_mtime_ns) == (entry["bytes"], entry["mtime_ns"])

    def _lose(self, entry: Entry, why: str) -> None:
        entry["lost"] = f"the run {why}"
        self._tell(
            f"{entry['path']} ({entry['bytes']:,} bytes) is not kept as the run found it, "
            f"a replay needs it put back: {entry['lost']}"
        )

    # -- what is read ------------------------------------------------------------------------------

    def _reading(self, path: Any) -> None:
        name = self._name(path)
        entry = self._entries.get(name)
        if entry is not None:
            if "sample" not in entry and self._is_as_found(entry):
                entry["sample"] = sample_of(Path(self._root, name))
        elif name.startswith("../") and len(self._inputs) < MAX_INPUTS:
            self._input(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - links stay links

    def _input(self, path: str) -> None:
        """Note a data file outside of the folder that is older than the run."""
        if path in self._inputs or path.startswith(_SYSTEM) or path.endswith(_CODE):
            return
        info = Path(path).stat()
        if Path(path).is_file() and info.st_mtime_ns < self._begun_ns:
            entry = {"path": path, "bytes": info.st_size, "mtime_ns": info.st_mtime_ns}
            self._inputs[path] = entry | {"sample": sample_of(Path(path))}
            self._all_inputs.append(self._inputs[path])


def _announce_saves(module: Any) -> None:
    """Let ``torch.save`` say which file it opens: its writer, in C++, does not."""
    opening = module._open_zipfile_writer
    if hasattr(opening, "__wrapped__"):
        return

    @functools.wraps(opening)
    def announced(file: Any) -> Any:
        if isinstance(file, str | os.PathLike):
            sys.audit("open", os.fspath(file), "wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        return opening(file)

    module._open_zipfile_writer = announced
