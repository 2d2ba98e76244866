"""A replay worker: ``python -m flor.replay.worker PLAN``. Runs today's program for one segment,
writes logs and a result.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from flor.errors import CorruptError
from flor.files import write_json
from flor.recording import hash_seed, launch
from flor.recording.children import Children
from flor.replay.ban import DEVICES, forbid_writes
from flor.replay.process import Work, answer, child_of, told
from flor.replay.session import Refused


def main(plan_path: str) -> int:
    """Run one plan; the exit code is the program's, 0 when the segment ended first."""
    hash_seed.claim()
    plan: dict[str, Any] = json.loads(Path(plan_path).read_text())
    banned = _confine(plan)
    try:
        work = Work.prepare(plan)
    except CorruptError as error:  # the program can't start as it did, by no way
        write_json(Path(plan["result"]), {"unreadable": str(error)})
        return 1
    if not banned:
        work.session.note(
            "this kernel has no Landlock: writes outside the scratch folder are not prevented"
        )
    os.chdir(work.session.view)
    return _run(work)


def _confine(plan: dict[str, Any]) -> bool:
    """Let this process write into the store, a temporary folder of its own and the devices only."""
    temporary = plan["temporary"]
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    places = [
        plan["store"],
        plan["scratch"],
        plan["log_dir"],
        str(Path(plan["result"]).parent),
        temporary,
    ]
    return forbid_writes([*map(Path, places), *DEVICES])


def _run(work: Work) -> int:
    session = work.session

    def prepare() -> None:
        recorded = str(Path(session.facts.meta["script"]).parent)
        if recorded not in sys.path:
            sys.path.insert(1, recorded)
        answer(session)
        Children(session.user, lambda number: child_of(session, number)).install()

    try:
        arguments = session.plan["argv"]
        spec = _module(session.facts.meta)
        argv0 = session.places.to_view(session.facts.meta.get("argv0") or work.seen_as)
        code_of_exit = launch.run_main(
            work.script, arguments, prepare, work.code, work.seen_as, spec, argv0
        )
    except Refused as refused:
        session.finish(refused=str(refused))
        return 0
    if session.plan["children"]:
        _join_children()
    error = launch.last_error
    if error is not None:
        session.finish(error=told(error), exit_code=code_of_exit)
    else:
        session.finish(ok=True, exit_code=code_of_exit)
    return code_of_exit


def _join_children() -> None:
    """Do what multiprocessing does as an interpreter ends: this one ends at once."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.terminate()
        process.join()


def _module(meta: dict[str, Any]) -> ModuleSpec | None:
    """Return the spec of a run of ``-m MODULE``, found from the recorded working folder."""
    if not meta.get("module"):
        return None
    sys.path.insert(1, meta["cwd"])
    return launch.find_module(meta["module"])


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
