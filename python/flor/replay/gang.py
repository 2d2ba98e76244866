"""The ranks of a run, replayed together: one plan of all, their processes, one verdict.

Ranks wait for one another (collectives, queues, shared memory), so that none can be executed alone,
and the state of what joins them lives outside of each. All are executed from the first line, side
by side, in one copy of the working folder; each is compared with what it recorded itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flor.errors import ReplayError
from flor.files import read_json
from flor.layout import run_status
from flor.replay.engine import (
    POLL_SECONDS,
    Outcome,
    free_port,
    outcome_of,
    prepare,
    start,
)
from flor.replay.leash import WorkerProcess
from flor.replay.plan import Plan, make_plan
from flor.replay.question import ask
from flor.replay.recorded import RecordedRun
from flor.replay.request import ReplayRequest
from flor.replay.verify import Marks, Verification, verify

_GRACE_SECONDS = 10.0  # for the others, once one has failed


def plan_ranks(recorded: RecordedRun, request: ReplayRequest) -> Plan:
    """Return the plan of a run; of one with several ranks, their plans joined.

    Raises InvalidError, SourceError, and ReplayError where ranks are missing.
    """
    every = recorded.every_rank()
    _require_all(every)
    if len(every) == 1:
        return make_plan(recorded, ask(recorded, request.script, request.force), request)
    known = {loop for one in every for loop in one.loops}
    whole = [_whole(one, request, known) for one in every]
    note = f"{len(every)} ranks: all are executed together, from the first line"
    return replace(whole[0], others=tuple(whole[1:]), workers=len(every), notes=[note])


def _whole(recorded: RecordedRun, request: ReplayRequest, known: set[str]) -> Plan:
    question = ask(recorded, request.script, request.force)
    return make_plan(recorded, question, request, known).full()


def _require_all(every: list[RecordedRun]) -> None:
    world = int(every[0].meta.get("world") or 1)
    if not every[0].meta.get("how") or len(every) == world:
        return
    there = ", ".join(str(one.rank) for one in every)
    raise ReplayError(
        f"run {every[0].run} is part of a training of {world} ranks, of which it holds {there}: "
        "replay starts all ranks together. Record them all into one run, on one machine"
    )


# -- processes -------------------------------------------------------------------------------------


def execute_ranks(plan: Plan, folder: Path) -> list[Outcome]:
    """Run all ranks of a plan at once; return what became of them, those that failed first."""
    temporary = tempfile.TemporaryDirectory(prefix="flor-", ignore_cleanup_errors=True)
    running: dict[int, WorkerProcess] = {}
    ranks = [one.recorded.rank for one in plan.ranks]
    with temporary:
        shared = {"temporary": temporary.name, "scratch": str(folder / "scratch"), "shared": True}
        try:
            if plan.launched:
                port = free_port()
                for one in plan.ranks:
                    rank = one.recorded.rank
                    running[rank] = start(one, 0, folder / str(rank), shared, port)
            else:  # the first one starts the others itself
                children = {
                    one.recorded.rank: str(prepare(one, 0, folder / str(one.recorded.rank), shared))
                    for one in plan.others
                }
                shared = shared | {"children": children}
                running[0] = start(plan, 0, folder / "0", shared)
            _wait(running.values(), [folder / str(rank) for rank in ranks])
        finally:
            for process in running.values():
                process.end()
    found = [
        replace(
            outcome_of(0, folder / str(rank), running.get(rank)),
            rank=rank,
        )
        for rank in ranks
    ]
    found = [_ended(plan.of_rank(outcome.rank), outcome) for outcome in found]
    return sorted(found, key=lambda outcome: (outcome.died, outcome.rank))


def _ended(plan: Plan, outcome: Outcome) -> Outcome:
    """Return the outcome of a rank; of one that the program ended from outside, as in the run, it
    counts.
    """
    meta = plan.recorded.meta
    same = outcome.died and "parent" in (meta.get("how") or {}) and run_status(meta) == "killed"
    return replace(outcome, result={"ok": True, "ended": True}) if same else outcome


def _wait(processes: Iterable[WorkerProcess], folders: list[Path]) -> None:
    """Wait for all; where one has failed, for the others a little only: they may wait for it."""
    running, deadline = list(processes), None
    while running and (deadline is None or time.monotonic() < deadline):
        time.sleep(POLL_SECONDS)
        failed = any(process.poll() for process in running) or any(map(_raised, folders))
        running = [process for process in running if process.poll() is None]
        if failed and deadline is None:
            deadline = time.monotonic() + _GRACE_SECONDS


def _raised(folder: Path) -> bool:
    """Whether the program of a rank has ended with an exception that the run did not have."""
    path = folder / "result.json"
    return path.exists() and bool(read_json(path).get("error"))


# -- the verdict -----------------------------------------------------------------------------------


def verify_ranks(plan: Plan, outcomes: list[Outcome]) -> Verification:
    """Return what comparing each rank with its own record finds."""
    if not plan.others:
        return verify(plan, outcomes)
    whole, marks = Verification(), _marks(plan, outcomes)
    for one in plan.ranks:
        rank = one.recorded.rank
        mine = [outcome for outcome in outcomes if outcome.rank == rank]
        if any(outcome.result.get("ended") for outcome in mine):
            whole.notes.append(f"rank {rank} was ended from outside, here and in the run")
        _add(whole, rank, verify(one, mine, marks), any(outcome.probes for outcome in mine))
    return whole


def _marks(plan: Plan, outcomes: list[Outcome]) -> Marks:
    """Return what names the processes and where they meet: any rank may print any of them."""
    found: list[tuple[Any, Any, str]] = []
    for outcome in outcomes:
        meta = plan.of_rank(outcome.rank).recorded.meta
        found.append((meta.get("pid"), outcome.pid, f"<pid of rank {outcome.rank}>"))
        port = ((meta.get("how") or {}).get("env") or {}).get("MASTER_PORT")
        found.append((port, outcome.result.get("port"), "<port>"))
    return Marks.of(found)


def _add(whole: Verification, rank: int, found: Verification, asked: bool) -> None:
    whole.compared += found.compared
    whole.states_compared += found.states_compared
    whole.volatile += found.volatile
    whole.differing += found.differing
    whole.differences += [{"rank": rank, **one} for one in found.differences]
    whole.elsewhere = list(dict.fromkeys([*whole.elsewhere, *found.elsewhere]))
    whole.notes = list(dict.fromkeys([*whole.notes, *found.notes]))
    if asked and found.verdict == "unverified":
        whole.unproven.append(rank)
        whole.notes.append(f"rank {rank} repeats nothing that was recorded: its answers are bare")
