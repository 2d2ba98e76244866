"""Where things lie in a store, and the small JSON files that say what a run is.

Pure standard library: every other part of flor may import this, and it imports only the errors.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import platform
import secrets
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from flor.errors import (
    AmbiguousRunError,
    CorruptError,
    NewerFormatError,
    NotAStoreError,
    RunNotFoundError,
    StorageError,
)
from flor.files import read_json, storage_error, write_json

FORMAT = 1
MARKER = "flor.json"
_PARTS = ("packs", "runs", "versions")


@cache
def boot_id() -> str:
    """Return what names this boot of this machine ('' where the system does not tell)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    with contextlib.suppress(OSError):  # a zombie has ended, its parent has just not looked yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def run_status(meta: dict[str, Any]) -> str:
    """Return the status of a run.json, 'killed' for one that runs no more and never said so."""
    status = str(meta.get("status", ""))
    if status != "running" or meta.get("host") != platform.node():
        return status
    other_boot = bool(meta.get("boot") and boot_id() and meta["boot"] != boot_id())
    pid = meta.get("pid")
    return "killed" if other_boot or (isinstance(pid, int) and not _alive(pid)) else status


class StoreLayout:
    """A store folder: its paths, its runs, its replays. Holds no open file."""

    def __init__(self, root: Path, store_id: str) -> None:
        self.root = root
        self.store_id = store_id

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None = None, *, create: bool = False
    ) -> StoreLayout:
        """Return the store at ``path`` (None: ``FLOR_STORE``, else ``./.flor``).

        ``create`` makes it when the folder is new or empty. Raises NotAStoreError,
        NewerFormatError, CorruptError, ReadOnlyError, FullDiskError.
        """
        root = Path(path or os.environ.get("FLOR_STORE") or ".flor").expanduser().absolute()
        if create and not os.path.lexists(root / MARKER):
            _create(root)
        _require_marker(root)
        marker = read_json(root / MARKER)
        found = marker.get("format")
        if not isinstance(found, int) or not isinstance(marker.get("store"), str):
            raise CorruptError(f"{root / MARKER} is damaged: it lacks 'format' or 'store'")
        if found > FORMAT:
            raise NewerFormatError(
                f"{root} has store format {found}; this flor reads up to {FORMAT}: upgrade flor"
            )
        return cls(root, marker["store"])

    def run_ids(self) -> list[str]:
        """Return the ids of the recorded runs, oldest first."""
        return sorted(path.parent.name for path in self.root.glob("runs/*/run.json"))

    def resolve(self, run: str | None = None) -> str:
        """Return the id meant by an id, a unique prefix, or None / 'latest' (the newest run).

        Raises RunNotFoundError with the nearest ids, AmbiguousRunError with the matches.
        """
        ids = self.run_ids()
        if run is None or run == "latest":
            if not ids:
                raise RunNotFoundError(f"{self.root} holds no run; record one: flor record SCRIPT")
            return ids[-1]
        matches = [run] if run in ids else [name for name in ids if run and name.startswith(run)]
        if not matches:
            near = difflib.get_close_matches(run, ids, 3, 0.5) or ids[:-4:-1]
            hint = f"the nearest: {', '.join(near)}" if near else "the store holds no run"
            raise RunNotFoundError(f"no run {run!r} in {self.root}; {hint}. See: flor runs")
        if len(matches) > 1:
            shown = ", ".join(matches[:8]) + (", …" if len(matches) > 8 else "")
            raise AmbiguousRunError(f"{run!r} begins {len(matches)} runs: {shown}. Give more of it")
        return matches[0]

    def new_run_id(self) -> str:
        """Reserve and return a new id (its folder is made); ids sort by time, to 1/4096 second."""
        while True:
            now = time.time()
            second = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
            run = f"{second}-{int(now % 1 * 4096):03x}{secrets.randbelow(4096):03x}"
            try:
                self.run_dir(run).mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as cause:
                raise storage_error(cause, self.run_dir(run), "make") from cause
            return run

    def run_dir(self, run: str) -> Path:
        """Return runs/RUN."""
        return self.root / "runs" / run

    def log_dir(self, run: str) -> Path:
        """Return runs/RUN/log: the rings and segments of the run's writers."""
        return self.run_dir(run) / "log"

    def checkpoint_dir(self, run: str, rank: int = 0) -> Path:
        """Return the folder of a rank's checkpoints, one manifest a checkpoint."""
        folder = self.rank_dir(run, rank) if rank else self.run_dir(run)
        return folder / "checkpoints"

    def rank_dir(self, run: str, rank: int) -> Path:
        """Return runs/RUN/ranks/RANK, of a rank that is not the run's first process."""
        return self.run_dir(run) / "ranks" / str(rank)

    def ranks(self, run: str) -> list[int]:
        """Return the ranks of a run that recorded something; rank 0 has the run's own run.json."""
        own = [] if self.read_run(run).get("launching") else [0]
        paths = self.run_dir(run).glob("ranks/*/rank.json")
        return own + sorted(int(p.parent.name) for p in paths if p.parent.name.isdigit())

    def replays_dir(self, run: str) -> Path:
        """Return runs/RUN/replays: a folder a replay."""
        return self.run_dir(run) / "replays"

    def version_path(self, version: str) -> Path:
        """Return versions/VERSION.json: the source files of a version."""
        return self.root / "versions" / f"{version}.json"

    def read_run(self, run: str) -> dict[str, Any]:
        """Return the run.json of an exact id; raises CorruptError, StorageError."""
        return read_json(self.run_dir(run) / "run.json")

    def write_run(self, run: str, content: dict[str, Any]) -> None:
        """Replace run.json in one atomic step; raises StorageError."""
        write_json(self.run_dir(run) / "run.json", content)

    def read_rank(self, run: str, rank: int) -> dict[str, Any]:
        """Return what a rank's process recorded of itself; of rank 0 that is run.json.

        Of the others, rank.json and what the run says for all of them: the files it found. Raises
        NotFoundError, CorruptError.
        """
        common = self.read_run(run)
        if not rank:
            return common
        shared = {key: common[key] for key in ("files", "files_known") if key in common}
        return shared | read_json(self.rank_dir(run, rank) / "rank.json")

    def write_rank(self, run: str, rank: int, content: dict[str, Any]) -> None:
        """Replace what a rank says of itself in one atomic step; raises StorageError."""
        if rank:
            write_json(self.rank_dir(run, rank) / "rank.json", content)
        else:
            self.write_run(run, content)

    def replays(self, run: str) -> list[dict[str, Any]]:
        """Return the completed replays, oldest first: replay.json, and 'dir', the Path it is in."""
        found = []
        for path in self.replays_dir(run).glob("*/replay.json"):
            found.append({**read_json(path), "dir": path.parent})
        return sorted(found, key=lambda replay: (replay.get("started", 0), replay["dir"].name))

    def checkpoint_paths(self, run: str, rank: int = 0) -> list[Path]:
        """Return the manifests of a rank's checkpoints, by number."""
        paths = self.checkpoint_dir(run, rank).glob("*.ckpt")
        return sorted((p for p in paths if p.stem.isdigit()), key=lambda path: int(path.stem))


def _require_marker(root: Path) -> None:
    try:
        if (root / MARKER).is_file():
            return
        what = f"has no {MARKER}" if root.is_dir() else "is not a folder"
        what = what if os.path.lexists(root) else "does not exist"
    except OSError as cause:
        raise storage_error(cause, root, "read") from cause
    error = NotAStoreError(
        f"{root} is not a flor store: it {what}. Record a run first (flor record SCRIPT), "
        "or name the store with --store or FLOR_STORE"
    )
    error.path = str(root)
    raise error


def _create(root: Path) -> None:
    """Make a store of a new or empty folder; of two processes at once, the first one's id stays."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in root.iterdir() if not p.name.startswith((*_PARTS, MARKER))]
        if others:
            raise NotAStoreError(
                f"{root} is not a flor store and not empty (it holds {others[0]!r}): flor makes a "
                "store only of a new or empty folder. Give another with --store or FLOR_STORE"
            )
        for part in _PARTS:
            (root / part).mkdir(exist_ok=True)
        temp = root / f"{MARKER}.{os.getpid()}-{secrets.token_hex(3)}.tmp"
        write_json(temp, {"format": FORMAT, "store": uuid.uuid4().hex})
        try:
            os.link(temp, root / MARKER)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            temp.replace(root / MARKER)
        temp.unlink(missing_ok=True)
    except FileExistsError as cause:
        raise NotAStoreError(
            f"{root} is a file, not a folder: give another with --store"
        ) from cause
    except StorageError:
        raise
    except OSError as cause:
        if isinstance(cause, NotAStoreError):
            raise
        raise storage_error(cause, root, "make the store") from cause
