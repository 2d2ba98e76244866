"""``flor fsck --repair``: sets damaged parts aside so that all that is whole can be used.

Nothing is deleted. What is moved goes to ``lost+found/TIME/`` under its own path; what had to be
given up is noted in ``lost+found/known.json``. Each step leaves a store that can be read, and a
repair that was cut off is done again from the start.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from flor import _core
from flor.errors import CorruptError
from flor.files import storage_error
from flor.intermediate.storage.catalogue import Catalogue
from flor.layout import StoreLayout
from flor.runlock import alone_with_run
from flor.upkeep.check import Damage, Findings, check
from flor.upkeep.known import FOLDER, KnownLosses
from flor.upkeep.references import intermediates


def repair(layout: StoreLayout, found: Findings) -> list[str]:
    """Repair what a check found; return what was done, a line each.

    Parts that a living process uses stay as they are, and are told. Raises InvalidError while
    another repair or a garbage collection is at work, StorageError.
    """
    return _Repair(layout).run(found)


class _Repair:
    def __init__(self, layout: StoreLayout) -> None:
        self.layout = layout
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.folder = layout.root / FOLDER / f"{stamp}-{os.getpid()}"
        self.done: list[str] = []

    def run(self, found: Findings) -> list[str]:
        mended = self._packs(found)
        if mended:
            found = check(self.layout)  # a chunk may have had another copy, or have lost its base
        if found.of_kind("intermediates"):
            self._forget_intermediates()
        for damage in found.damages:
            if damage.kind not in ("pack", "index", "intermediates"):
                self._one(damage)
        if mended or found.of_kind("index"):
            self._renew_index()
        self._note_losses(check(self.layout))
        return self.done

    def _packs(self, found: Findings) -> bool:
        packs = [str(damage.path) for damage in found.of_kind("pack")]
        if not packs:
            return False
        target = self._made("packs")
        store = _core.ChunkStore(str(self.layout.root), use_index=False)
        try:
            in_use = _core.Sweeper(store).set_aside(packs, str(target))
        finally:
            store.close()
        for path in packs:
            name = self._name(Path(path))
            if path in in_use:
                self.done.append(f"{name} stays: a living process uses it; repair again after that")
            else:
                self.done.append(f"{name} is in {self._name(target)}; its whole chunks stay in use")
        return True

    def _renew_index(self) -> None:
        store = _core.ChunkStore(str(self.layout.root), use_index=False)
        try:
            store.renew_index()
        finally:
            store.close()
        self.done.append("the index of chunks was made anew from the packs")

    def _forget_intermediates(self) -> None:
        """Leave out of the catalogue what is lost: it can be computed again.

        A catalogue that can't be read is set aside as a whole.
        """
        path = next(intermediates(self.layout)).path
        with alone_with_run(path.parent) as alone:
            if not alone:
                self.done.append(f"{self._name(path)} is in use and stays; repair again after that")
                return
            try:
                self.done.append(f"{self._forget_lost(path)} intermediates are forgotten: lost")
            except CorruptError:
                self._move(path)

    def _forget_lost(self, path: Path) -> int:
        store = _core.ChunkStore(str(self.layout.root), use_index=False)
        try:
            catalogue = Catalogue(path.parent)
            try:
                if catalogue.problems():
                    raise CorruptError(str(path))
                count = catalogue.forget_lost(store.contains)
                catalogue.purge()
                return count
            finally:
                catalogue.close()
        finally:
            store.close()

    def _one(self, damage: Damage) -> None:
        if damage.run is None:
            self._set_aside(damage)
            return
        with alone_with_run(self.layout.run_dir(damage.run)) as alone:
            if not alone:
                self.done.append(f"run {damage.run} is in use: {self._name(damage.path)} stays")
            elif damage.kind == "run":
                self._rebuild_run(damage)
            elif damage.kind == "log":
                self._note_log(damage)
            else:
                self._set_aside(damage)

    def _set_aside(self, damage: Damage) -> None:
        """Move a file, or the folder of a replay; a version that only lost chunks stays."""
        if not damage.path.exists() or damage.what.endswith("that it names can't be read"):
            return
        path = damage.path
        if damage.kind == "replay" and path.is_file():
            path = path.parent
        self._move(path)

    def _move(self, path: Path) -> None:
        target = self._made(str(path.parent.relative_to(self.layout.root))) / path.name
        try:
            path.replace(target)
        except OSError as cause:
            raise storage_error(cause, path, "set aside") from cause
        self.done.append(f"{self._name(path)} is in {self._name(target.parent)}")

    def _made(self, part: str) -> Path:
        folder = self.folder / part
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise storage_error(cause, folder, "make") from cause
        return folder

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.layout.root))

    def _rebuild_run(self, damage: Damage) -> None:
        """Write a run.json that says only what the run's name says; the damaged one is kept."""
        if damage.what.endswith("that it names can't be read"):
            return
        run, path = str(damage.run), damage.path
        if path.exists():
            target = self._made(str(path.parent.relative_to(self.layout.root)))
            shutil.copy2(path, target / path.name)
        note = "run.json was damaged; flor fsck --repair wrote this one"
        content = {
            "format": 1, "run": run, "script": "", "argv": [], "cwd": "", "status": "killed",
            "exit_code": None, "started": _started(run), "seconds": 0.0, "version": None,
            "parent": None, "args": {}, "modules": {}, "inputs": [], "notes": [note],
        }  # fmt: skip
        self.layout.write_run(run, content)
        self.done.append(f"{self._name(path)} was rebuilt from the run's name; it has no source")

    def _note_log(self, damage: Damage) -> None:
        """Let readers leave out the damaged blocks; the files stay as they are."""
        run = str(damage.run)
        folder = self.layout.log_dir(run)
        records = _core.read_log(str(folder), tolerant=True)
        if not records.dropped_blocks:
            return  # only what it names is lost
        meta = self.layout.read_run(run)
        lost = {
            "blocks": records.dropped_blocks,
            "records": records.dropped_records,
            "left": len(records),
        }
        meta["log_damage"] = lost
        blocks = f"{lost['blocks']} damaged block" + ("s" if lost["blocks"] != 1 else "")
        note = f"flor fsck --repair: {blocks} of the log are left out"
        meta["notes"] = [*(meta.get("notes") or []), note]
        self.layout.write_run(run, meta)
        self.done.append(f"log of run {run}: {blocks} are left out by readers from now on")

    def _note_losses(self, found: Findings) -> None:
        known = KnownLosses.of(self.layout)
        chunks = known.chunks | found.lost
        gone = {
            self._name(damage.path)
            for damage in found.of_kind("version")
            if not damage.path.exists()
        }
        if chunks - known.chunks or gone - known.paths:
            KnownLosses(chunks, known.paths | gone).write(self.layout)
            fresh = len(chunks - known.chunks)
            if fresh:
                self.done.append(f"{fresh} chunks are lost for good, noted in {FOLDER}/known.json")


def _started(run: str) -> float | None:
    """Return the Unix time that a run's id says."""
    import calendar

    try:
        return float(calendar.timegm(time.strptime(run[:15], "%Y%m%d-%H%M%S")))
    except ValueError:
        return None
