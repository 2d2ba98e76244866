"""``flor replay``: plan, execute, verify, merge, tell."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flor.errors import CorruptError, InvalidError, ReplayError
from flor.files import storage_error, write_json
from flor.layout import StoreLayout
from flor.replay.engine import Engine, LocalEngine, Outcome
from flor.replay.gang import execute_ranks, plan_ranks, verify_ranks
from flor.replay.merge import new_records, without_known, write_replay
from flor.replay.placing import misplaced
from flor.replay.plan import Plan
from flor.replay.recorded import RecordedRun
from flor.replay.report import (
    Report,
    blocks_of,
    executed_of,
    print_plan,
    print_report,
)
from flor.replay.request import ReplayRequest
from flor.replay.verify import Verification
from flor.replay.view import check_files
from flor.runlock import using_run

VERIFIED, SCRIPT_FAILED, BAD_INPUT, DIVERGED, DAMAGED, UNVERIFIED = 0, 1, 2, 3, 4, 5
_CODES = {"verified": VERIFIED, "diverged": DIVERGED, "unverified": UNVERIFIED}


class ScriptError(Exception):
    """The user's script, or a statement added to it, raised; ``args[0]`` is its traceback."""


@dataclass
class Attempt:
    """The outcomes that count, what comparing them found, why an earlier attempt did not."""

    plan: Plan
    outcomes: list[Outcome]
    found: Verification
    fallback: str = "none"
    damage: list[str] = field(default_factory=list)  # what of the store could not be read


def run(request: ReplayRequest) -> int:
    """Replay as asked and tell about it; return the exit code. Raises FlorError for bad input."""
    layout = StoreLayout.open(request.store)
    if request.all or request.where is not None:
        from flor.replay.many import run_many

        return run_many(layout, request)
    recorded = RecordedRun.load(layout, layout.resolve(request.run))
    try:
        report = replay_run(recorded, request, LocalEngine())
    except ScriptError as error:
        sys.stderr.write(error.args[0])
        return SCRIPT_FAILED
    if report is None:
        return VERIFIED
    print_report(report)
    write_report(request, report.content())
    return exit_code(report)


def exit_code(report: Report) -> int:
    """Return 4 where damage was met that a slower way got around; a difference weighs more."""
    return DAMAGED if report.damage and report.verdict != "diverged" else _CODES[report.verdict]


def replay_run(recorded: RecordedRun, request: ReplayRequest, engine: Engine) -> Report | None:
    """Replay one run and merge what it logs anew; None after a dry run.

    Raises ScriptError where the script raised: then nothing is saved.
    """
    started = time.time()
    plan = plan_ranks(recorded, request)
    changed = check_files(recorded.meta, [Path.cwd(), Path(recorded.meta["cwd"])])
    for text in changed:
        print(f"flor: {text}", file=sys.stderr)
    if request.dry_run:
        print_plan(plan)
        return None
    with using_run(recorded.layout.run_dir(recorded.run)), _replay_folder(recorded) as folder:
        attempt = attempt_plan(plan, folder / "work", engine)
        rows, notes = new_records(attempt.plan, attempt.outcomes)
        fresh = without_known(recorded.layout, recorded.run, rows)
        if len(fresh) < len(rows):
            notes.append(f"{len(rows) - len(fresh):,} records are known from earlier replays")
        report = _report(attempt, folder.name, started, len(fresh))
        report.names = list(dict.fromkeys(record.name for record in rows))
        report.predicted_seconds = plan.seconds
        report.notes += [*changed, *notes, *_worker_notes(attempt.outcomes)]
        known = [record for one in plan.ranks for record in one.recorded.records]
        places = misplaced(known, fresh, attempt.outcomes)
        # In this order: what workers put into the store is named by a log at every instant.
        write_replay(folder, fresh, places, report.replay_json())
        _remove(folder / "work")
    return report


@contextmanager
def _replay_folder(recorded: RecordedRun) -> Iterator[Path]:
    """Make the replay's folder; it goes again unless replay.json was written."""
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09}"
    folder = recorded.layout.replays_dir(recorded.run) / name
    try:
        folder.mkdir(parents=True)
    except OSError as cause:
        raise storage_error(cause, folder, "make") from cause
    try:
        yield folder
    finally:
        if not (folder / "replay.json").exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def attempt_plan(plan: Plan, folder: Path, engine: Engine) -> Attempt:
    """Execute the plan; where a part of it can't be trusted, everything from the first line."""
    if plan.others:
        outcomes = execute_ranks(plan, folder / "parts")
    else:
        outcomes = engine.execute(plan, folder / "parts")
    reason = _refusal(plan, outcomes)
    if not reason:
        found = verify_ranks(plan, outcomes)
        if plan.mode == "full" or found.verdict != "diverged":
            return Attempt(plan, outcomes, found, damage=_damage(outcomes))
        first = found.differences[0]
        reason = f"after a restore, {first['name']} was not what was recorded"
    _remove(folder / "parts")
    whole, damage = plan.full(), _damage(outcomes)
    outcomes = engine.execute(whole, folder / "full")
    if why := _refusal(whole, outcomes):
        kind = CorruptError if _damage(outcomes) else ReplayError
        raise kind(f"full re-execution failed: {why}")
    damage = list(dict.fromkeys([*damage, *_damage(outcomes)]))
    found = verify_ranks(whole, outcomes)
    return Attempt(whole, outcomes, found, f"full re-execution: {reason}", damage)


def _damage(outcomes: list[Outcome]) -> list[str]:
    found = [str(text) for outcome in outcomes for text in outcome.result.get("damage", [])]
    return list(dict.fromkeys(found))


def _refusal(plan: Plan, outcomes: list[Outcome]) -> str | None:
    """Return why what a worker did does not count, or None.

    Raises ScriptError, ReplayError, and CorruptError where the run's start can't be read.
    """
    for outcome in outcomes:
        if "unreadable" in outcome.result:
            raise CorruptError(outcome.result["unreadable"])
        if outcome.died:
            tail = outcome.stderr_tail()
            why = f"a worker died (exit code {outcome.returncode})" + (f":\n{tail}" if tail else "")
            if plan.mode == "full":
                raise ReplayError(f"{why}\nsee that the script runs by itself, and memory")
            return why
        if outcome.result.get("refused"):
            return str(outcome.result["refused"])
        error = outcome.result.get("error")
        if error:
            if plan.mode == "full" or not _restored(plan, outcome) or _by_probe(plan, error):
                raise ScriptError(_traceback(error))
            return f"{error.get('type')} after a restore: {error.get('text')}"
    return None


def _restored(plan: Plan, outcome: Outcome) -> bool:
    """Whether the worker restored anything, so that an error may come from that."""
    blocks = outcome.result.get("blocks", [])
    jumped = plan.segments[outcome.number].jump is not None
    return jumped or any(block["action"] == "restored" for block in blocks)


def _by_probe(plan: Plan, error: dict[str, Any]) -> bool:
    """Whether an added statement is on the traceback."""
    text = str(error.get("traceback") or "")
    for file, spans in plan.question.added.items():
        for first, last in spans:
            if any(f'File "{file}", line {line},' in text for line in range(first, last + 1)):
                return True
    return False


def _traceback(error: dict[str, Any]) -> str:
    text = str(error.get("traceback") or f"{error.get('type')}: {error.get('text')}")
    return text if text.endswith("\n") else text + "\n"


def _report(attempt: Attempt, name: str, started: float, count: int) -> Report:
    results = [outcome.result for outcome in attempt.outcomes]
    found, plan = attempt.found, attempt.plan
    return Report(
        run=plan.recorded.run,
        replay=name,
        verdict=found.verdict,
        compared=found.compared,
        states_compared=found.states_compared,
        volatile=found.volatile,
        differing=found.differing,
        differences=found.differences,
        new_records=count,
        blocks=blocks_of(results),
        executed=executed_of(results),
        prologues=sum(int(result.get("prologues", 1)) for result in results),
        fallback=attempt.fallback,
        predicted_seconds=plan.seconds,
        actual_seconds=time.time() - started,
        workers=plan.workers,
        started=started,
        notes=[*plan.notes, *found.notes],
        damage=attempt.damage,
    )


def _worker_notes(outcomes: list[Outcome]) -> list[str]:
    notes = [str(note) for outcome in outcomes for note in outcome.result.get("notes", [])]
    return list(dict.fromkeys(notes))


def write_report(request: ReplayRequest, content: dict[str, Any]) -> None:
    """Write the file of ``--report``, if one was asked for; raises InvalidError, StorageError."""
    if request.report is None:
        return
    if not request.report.absolute().parent.is_dir():
        raise InvalidError(f"--report {request.report}: its folder is not there; make it first")
    write_json(request.report, content)
