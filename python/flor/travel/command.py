"""``flor resume``: which run, from where, and how it is told."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from flor.errors import InvalidError, ReplayError
from flor.layout import StoreLayout, run_status
from flor.query.run_log import all_writers, kept_until, read_log_table, read_run_log
from flor.replay.engine import worker_environment
from flor.replay.recorded import Boundary, RecordedRun
from flor.travel.attempts import Attempts, say
from flor.travel.route import (
    Place,
    Route,
    Sound,
    fork_routes,
    last_resort,
    main_values,
    resume_routes,
    state_row,
    warned_before,
)
from flor.travel.source import RecordedProgram

_ATTEMPTS = 3
_FLOR_VARIABLES = "FLOR_"


def resume(store: Path | None, run: str, *, keep_files: bool) -> NoReturn:
    """Become the process that continues a run; raises FlorError where it can't be continued."""
    layout = StoreLayout.open(store)
    recorded = _one_process(layout, run)
    _require_resumable(recorded)
    program = _recorded_program(recorded)
    sound = Sound(recorded)
    ways = list(itertools.islice(resume_routes(recorded, sound), _ATTEMPTS))
    if (start := last_resort(recorded, sound)) is not None:
        ways.append(start)
    for text in sound.damaged:
        say(f"{text}: an earlier one is used")
    if not ways:
        raise ReplayError(f"run {recorded.run}, a fork, has no checkpoint to go on from")
    table = read_run_log(layout, recorded.run)
    whole = read_log_table(layout.log_dir(recorded.run))
    routes = [_told(recorded, way, table, whole) for way in ways]
    plan = {
        "verb": "resume",
        "store": str(layout.root),
        "run": recorded.run,
        "keep_files": keep_files,
        "attempt": 0,
        "routes": routes,
        "values": main_values(table, recorded.main_loop) if recorded.main_loop else {},
        "failed": f"run {recorded.run} can't be resumed",
    }
    say(f"resuming run {recorded.run} from {routes[0]['shown']}")
    _say_changes(program)
    _start(plan, recorded)


def fork(
    store: Path | None, run: str, at: dict[str, int], settings: dict[str, str], allow: list[Path]
) -> NoReturn:
    """Become the process that starts a run from a state of another; raises FlorError."""
    layout = StoreLayout.open(store)
    recorded = _one_process(layout, run)
    index = _require_iteration(recorded, at)
    new = layout.new_run_id()
    plan = {
        "verb": "fork",
        "fork": new,
        "settings": settings,
        "allow": [str(path.absolute()) for path in allow],
        "failed": f"run {recorded.run} can't be forked",
    }
    say(f"forking run {recorded.run} at the end of {recorded.main_loop}={index} as run {new}")
    _go_to(recorded, index, plan)


def shell(
    store: Path | None, run: str, at: dict[str, int] | None, allow: Sequence[Path] = ()
) -> NoReturn:
    """Become the process that opens a state of a run; raises FlorError.

    ``allow``: folders that it may write to, beside its own.
    """
    layout = StoreLayout.open(store)
    recorded = _one_process(layout, run)
    if at is None and recorded.main_loop is not None:
        at = {recorded.main_loop: max(recorded.ends, default=-1)}
    index = _require_iteration(recorded, at or {})
    plan = {
        "verb": "shell",
        "failed": f"run {recorded.run} can't be opened there",
        "allow": [str(path.absolute()) for path in allow],
    }
    _go_to(recorded, index, plan)


def _go_to(recorded: RecordedRun, index: int, plan: dict[str, Any]) -> NoReturn:
    """Become the process that takes the program to the end of an iteration."""
    program = _recorded_program(recorded)
    sound = Sound(recorded)
    ways = list(itertools.islice(fork_routes(recorded, sound, index), _ATTEMPTS + 1))
    for text in sound.damaged:
        say(text)
    if not ways:
        raise ReplayError(
            f"run {recorded.run} has no state to start from up to {recorded.main_loop}={index}"
        )
    table = read_run_log(recorded.layout, recorded.run)
    plan |= {
        "store": str(recorded.layout.root),
        "run": recorded.run,
        "attempt": 0,
        "routes": [
            {
                **way.content(),
                "shown": str(way.base),
                "warned": warned_before(recorded, table, way.target),
            }
            for way in ways
        ],
        "values": main_values(table, str(recorded.main_loop)),
    }
    _say_estimate(recorded, ways[0].base, index)
    _say_changes(program)
    _start(plan, recorded)


def _require_iteration(recorded: RecordedRun, at: dict[str, int]) -> int:
    """Return the iteration of the main loop that ``--at`` names; raises InvalidError."""
    main = recorded.main_loop
    if main is None:
        raise InvalidError(
            f"run {recorded.run} has no main loop (a flor.loop inside flor.checkpointing): it has "
            "no state to go to"
        )
    if list(at) != [main]:
        named = ",".join(f"{loop}={index}" for loop, index in at.items())
        raise InvalidError(
            f"--at {named}: states are those at the ends of the main loop's iterations; give "
            f"--at {main}=N"
        )
    first, last = recorded.first, recorded.iterations - 1
    if not first - 1 <= at[main] <= last:
        made = f"{first}..{last}" if last >= first else "none"
        raise InvalidError(
            f"--at {main}={at[main]}: run {recorded.run} has the iterations {made} of {main!r}, "
            "counted from 0"
        )
    return at[main]


def _say_estimate(recorded: RecordedRun, base: Place | None, index: int) -> None:
    """Say what is executed again to come to an iteration's end, and about how long it takes."""
    first = 0 if base is None else base.index + 1
    if first > index:
        return
    seconds = recorded.prologue_seconds + sum(recorded.iteration_seconds[first : index + 1])
    say(
        f"no checkpoint there: executing {index - first + 1} iterations again from {base}, about "
        f"{seconds:.1f} s"
    )


def _start(plan: dict[str, Any], recorded: RecordedRun) -> NoReturn:
    """Become the process that carries out a plan, in the recorded run's surroundings."""
    ours = {k: v for k, v in os.environ.items() if k.startswith(_FLOR_VARIABLES)}
    environment = worker_environment(recorded.meta) | ours
    Attempts(Path(tempfile.mkdtemp(prefix="flor-")), plan).run(environment)


def _require_resumable(recorded: RecordedRun) -> None:
    run, status = recorded.run, run_status(recorded.meta)
    if status == "completed":
        raise InvalidError(
            f"run {run} has completed: there is nothing to resume. To go on from one of its states "
            f"with other settings: flor fork {run} --at LOOP=N"
        )
    if status == "running":
        raise InvalidError(
            f"run {run} is still running (process {recorded.meta.get('pid')} on "
            f"{recorded.meta.get('host')}): end it first"
        )


def _one_process(layout: StoreLayout, run: str) -> RecordedRun:
    """Return a run that one process made; raises ReplayError for one of several ranks."""
    recorded = RecordedRun.load(layout, layout.resolve(run))
    count = max(len(recorded.ranks), int(recorded.meta.get("world") or 1))
    if count > 1:
        raise ReplayError(
            f"run {recorded.run} has {count} ranks, which would have to go on together: flor "
            f"resumes, forks and opens runs of one process only. flor replay {recorded.run} "
            "executes all of its ranks again"
        )
    return recorded


def _recorded_program(recorded: RecordedRun) -> RecordedProgram:
    """Return the recorded source; raises ReplayError where the program can't be started again."""
    for key in ("cwd", "script"):
        path = Path(str(recorded.meta.get(key) or ""))
        if not path.exists() or not path.name:
            raise ReplayError(
                f"the {'folder' if key == 'cwd' else 'script'} of run {recorded.run}, {path}, is "
                "not there: put it back"
            )
    return RecordedProgram(recorded.layout, recorded.meta)


def _say_changes(program: RecordedProgram) -> None:
    """Say which files hold another source today."""
    if changed := program.changed():
        names = ", ".join(path.name for path in changed)
        say(f"the source has changed since ({names}): the recorded version runs")


def _told(recorded: RecordedRun, way: Route, table: Any, whole: Any) -> dict[str, Any]:
    """Return a way for the worker: where to, what is kept of the log, and of the checkpoints."""
    row = None if way.target is None else state_row(table, way.target)
    found = None if way.target is None else _boundary(recorded, way.target)
    before = [b for b in recorded.boundaries if found is not None and b.order <= found.order]
    numbers = [int(path.stem) for path in recorded.layout.checkpoint_paths(recorded.run)]
    named = [b.checkpoint for b in recorded.boundaries if b.checkpoint is not None]
    return {
        **way.content(),
        "shown": "the beginning" if way.target is None else str(way.target),
        "warned": warned_before(recorded, table, way.target),
        "kept": all_writers(whole, kept_until(table, row)),
        "checkpoints": [b.checkpoint for b in before if b.checkpoint is not None],
        "number": max([*numbers, *named], default=-1) + 1,
        "seconds": 0.0 if found is None else recorded.seconds_at(found.time),
    }


def _boundary(recorded: RecordedRun, place: Place) -> Boundary:
    return next(
        b
        for b in reversed(recorded.boundaries)
        if (b.boundary, b.loop, b.context) == (place.boundary, place.loop, place.context)
    )
