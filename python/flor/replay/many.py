"""``flor replay --all`` and ``--where``: today's added statements, asked of every version."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flor.errors import CorruptError, FlorError, RunNotFoundError, SourceError, StorageError
from flor.files import storage_error
from flor.history.propagate import Propagation, propagate
from flor.history.versions import Today, Version, read_today, read_version
from flor.layout import StoreLayout
from flor.query.where import matching_runs
from flor.replay.command import (
    BAD_INPUT,
    DAMAGED,
    DIVERGED,
    SCRIPT_FAILED,
    UNVERIFIED,
    VERIFIED,
    ScriptError,
    exit_code,
    replay_run,
    write_report,
)
from flor.replay.engine import LocalEngine
from flor.replay.question import script_of
from flor.replay.recorded import RecordedRun
from flor.replay.report import RunRow, print_placements, print_runs
from flor.replay.request import ReplayRequest

_SEVERITY = (VERIFIED, UNVERIFIED, BAD_INPUT, DAMAGED, SCRIPT_FAILED, DIVERGED)


def run_many(layout: StoreLayout, request: ReplayRequest) -> int:
    """Replay each selected run with the statements that today's source adds; return the worst code.

    3 over 1 over 4 over 2 over 5 over 0, where 2 is a statement or a run that was refused.
    """
    condition = request.where if request.where is not None else "true"
    runs = matching_runs(layout, condition)
    if not runs:
        raise RunNotFoundError(f"no run in {layout.root} meets {condition!r}. See: flor runs")
    many = _Many(layout, request)
    with _progress(len(runs)) as advance:
        for run in runs:
            many.replay(run)
            advance()
    print_runs(many.rows)
    if many.told and not any(entry["placed"] or entry["refused"] for entry in many.told):
        print("today's source adds no statement: each run was compared with its own version")
    print_placements(many.told)
    if not request.dry_run:
        write_report(request, {"runs": many.told})
    return max(many.codes, key=_SEVERITY.index)


@dataclass
class _Many:
    """The runs so far: rows to print, entries of the report, exit codes."""

    layout: StoreLayout
    request: ReplayRequest
    rows: list[RunRow] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    _today: dict[Path, Today | SourceError] = field(default_factory=dict)
    _propagated: dict[tuple[Path, str], Propagation] = field(default_factory=dict)

    def replay(self, run: str) -> None:
        """Replay one run and note what came of it."""
        entry: dict[str, Any] = {"run": run, "version": None, "placed": [], "refused": []}
        try:
            self._replay(run, entry)
        except ScriptError as error:
            sys.stderr.write(error.args[0])
            self._note(entry, "failed", error.args[0].strip().splitlines()[-1], SCRIPT_FAILED)
        except FlorError as error:
            code = DAMAGED if isinstance(error, CorruptError) else BAD_INPUT
            self._note(entry, "refused", str(error), code)

    def _note(self, entry: dict[str, Any], verdict: str, what: str, code: int) -> None:
        if entry["refused"]:
            what = f"{what}; {len(entry['refused'])} statements refused"
            self.codes.append(BAD_INPUT)
        self.rows.append((entry["run"], str(entry["version"] or ""), verdict, what))
        self.told.append({"verdict": verdict, "why": what} | entry)
        self.codes.append(code)

    def _replay(self, run: str, entry: dict[str, Any]) -> None:
        meta = self.layout.read_run(run)
        version = read_version(self.layout, meta)
        entry["version"] = version.name
        recorded = RecordedRun.load(self.layout, run)
        script = script_of(recorded, version, self.request.script)
        today = self._compared(script)
        if version.name == today.reference.name:
            entry["placed"] = _as_today(today)
            self._execute(recorded, script, entry)
            return
        found = self._propagate(today, version)
        entry |= {"placed": found.placed, "refused": found.refused}
        if found.refused and not found.placed:
            raise SourceError("no added statement could be placed")
        with _scratch(self.layout, version, found) as own:
            self._execute(recorded, own, entry)

    def _execute(self, recorded: RecordedRun, script: Path, entry: dict[str, Any]) -> None:
        request = replace(self.request, script=script, report=None)
        report = replay_run(recorded, request, LocalEngine(quiet=True))
        placed = len(entry["placed"])
        if report is None:
            self._note(entry, "dry run", f"{placed} statements placed", VERIFIED)
            return
        entry |= report.content()
        what = f"{report.compared:,} values compared, {report.new_records:,} new records"
        self._note(entry, report.verdict, what, exit_code(report))

    def _compared(self, script: Path) -> Today:
        """Return today's source beside the version that it extends; the same for all its runs."""
        if script not in self._today:
            try:
                self._today[script] = read_today(script, self._versions(), self.request.force)
            except SourceError as error:
                self._today[script] = error
        found = self._today[script]
        if isinstance(found, SourceError):
            raise found
        return found

    def _versions(self) -> list[Version]:
        """Return the recorded versions, newest first."""
        found: dict[str, Version] = {}
        for run in reversed(self.layout.run_ids()):
            meta = self.layout.read_run(run)
            if str(meta.get("version")) not in found:
                with contextlib.suppress(FlorError):  # a run without a source is no candidate
                    version = read_version(self.layout, meta)
                    found[version.name] = version
        return list(found.values())

    def _propagate(self, today: Today, version: Version) -> Propagation:
        key = (today.script, version.name)
        if key not in self._propagated:
            self._propagated[key] = propagate(today, version)
        return self._propagated[key]


def _as_today(today: Today) -> list[dict[str, Any]]:
    """Return the added statements of the version that today's source extends: they are in place."""
    return [
        {
            "statement": today.sources[file].line(stmt.lineno),
            "today": f"{file}:{stmt.lineno}",
            "there": f"{file}:{stmt.lineno}",
            "notes": ["as today's source has it"],
        }
        for file, added in today.added.items()
        for stmt in added
    ]


@contextlib.contextmanager
def _scratch(layout: StoreLayout, version: Version, found: Propagation) -> Iterator[Path]:
    """Write a version with its added statements into the store; yield its script's path."""
    parent = layout.root / "scratch"
    try:
        parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{version.name}-", dir=parent) as folder:
            for name, text in version.texts.items():
                if not Path(name).is_absolute():
                    target = Path(folder, name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(found.texts.get(name, text))
            yield Path(folder, version.script)
    except StorageError:
        raise
    except OSError as cause:
        if isinstance(cause, FlorError):
            raise
        raise storage_error(cause, parent, "write the source of a version to") from cause
    finally:
        with contextlib.suppress(OSError):  # not empty: another replay works there
            parent.rmdir()


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar of finished runs on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=total)
        yield lambda: bar.advance(task)
