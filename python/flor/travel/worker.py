"""``python -m flor.travel.worker FOLDER``: runs a recorded program from a state on."""

from __future__ import annotations

import builtins
import fcntl
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from flor import _core
from flor.capture import entropy
from flor.capture.checkpoint_file import CheckpointFile
from flor.errors import FlorError
from flor.layout import StoreLayout
from flor.recording import hash_seed, launch
from flor.recording import session as sessions
from flor.recording.options import Options
from flor.replay.ban import DEVICES, forbid_writes
from flor.replay.facts import Facts
from flor.replay.loops import skipping
from flor.replay.view import Places, build_view
from flor.runlock import hold_run
from flor.travel.attempts import REFUSED, Attempts, say
from flor.travel.files import UserFiles
from flor.travel.forked import ForkedSession
from flor.travel.resumed import ResumedSession
from flor.travel.route import Place, Route
from flor.travel.session import TravelSession, Trip
from flor.travel.shell import ShellSession
from flor.travel.source import RecordedProgram


def main(scratch: str) -> int:
    """Try the current way; the exit code is the program's own, 2 where no way is left."""
    hash_seed.claim()
    attempts = Attempts.read(Path(scratch))
    try:
        return _VERBS[attempts.plan["verb"]](attempts)
    except FlorError as error:
        say(str(error))
        attempts.done()
        return REFUSED


def _trip(attempts: Attempts, layout: StoreLayout, program: RecordedProgram, facts: Facts) -> Trip:
    told = attempts.current
    route = Route(Place.read(told["base"]), Place.read(told["target"]))
    values = {int(index): text for index, text in attempts.plan["values"].items()}
    loops = program.direct_loops()
    return Trip(route, facts, program.probes(), loops, values, told["warned"], attempts.scratch)


def _options(meta: dict[str, Any], layout: StoreLayout) -> Options:
    """Return how the run was recorded: its parts go on in the same way."""
    known = meta.get("options") or {}
    return Options(store=layout.root, **known)


def _resume(attempts: Attempts) -> int:
    plan = attempts.plan
    layout = StoreLayout.open(plan["store"])
    lock = os.open(layout.run_dir(plan["run"]) / "resume.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(f"run {plan['run']} is being resumed by another process")
        return REFUSED
    hold_run(layout.run_dir(plan["run"]))  # until the process ends
    facts = Facts(layout, plan["run"])
    meta = facts.meta
    os.chdir(meta["cwd"])
    program = RecordedProgram(layout, meta)
    trip = _trip(attempts, layout, program, facts)
    files = None if plan["keep_files"] else _user_files(attempts, layout, facts, trip)

    def prepare() -> None:
        session = ResumedSession(layout, _options(meta, layout), trip, attempts, program, files)
        _start(session, program)

    return _run(attempts, program, meta, prepare)


def _fork(attempts: Attempts) -> int:
    layout = StoreLayout.open(attempts.plan["store"])
    folder = layout.run_dir(attempts.plan["fork"]) / "folder"
    say(f"its files go to {folder}")
    return _elsewhere(attempts, layout, folder, [layout.root], ForkedSession)


def _shell(attempts: Attempts) -> int:
    layout = StoreLayout.open(attempts.plan["store"])
    return _elsewhere(attempts, layout, attempts.scratch / "folder", [], ShellSession)


def _elsewhere(
    attempts: Attempts, layout: StoreLayout, folder: Path, writable: list[Path], kind: Any
) -> int:
    """Run the program in a folder of its own, made like the one that the run found."""
    hold_run(layout.run_dir(attempts.plan["run"]))
    if attempts.plan.get("fork"):
        hold_run(layout.run_dir(attempts.plan["fork"]))
    facts = Facts(layout, attempts.plan["run"])
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt before
    store = _core.ChunkStore(str(layout.root), readonly=True)
    for note in build_view(folder, facts.meta.get("files", []), store, [Path(facts.meta["cwd"])]):
        say(note)
    beside = facts.meta.get("module") or (
        Path(facts.meta["script"]).parent == Path(facts.meta["cwd"])
    )
    program = RecordedProgram(layout, facts.meta, folder if beside else None)
    if beside:
        program.write()
    _confine(attempts, writable)
    os.chdir(folder)
    trip = _trip(attempts, layout, program, facts)
    trip.places = Places(facts.meta["cwd"], folder)
    argv0 = facts.meta.get("argv0")
    argv0 = trip.places.to_view(argv0) if argv0 else None
    meta = {**facts.meta, "script": str(program.script), "argv0": argv0}

    def prepare() -> None:
        _start(kind(layout, _options(facts.meta, layout), trip, attempts), program)

    return _run(attempts, program, meta, prepare)


def _confine(attempts: Attempts, writable: list[Path]) -> None:
    """Let the program write there, into a temporary folder, and where the user allowed it."""
    temporary = attempts.scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    allowed = [*writable, attempts.scratch, *map(Path, attempts.plan["allow"])]
    if not forbid_writes([*allowed, *DEVICES]):
        say("this kernel has no Landlock: writes outside its folder are not prevented")


_VERBS = {"resume": _resume, "fork": _fork, "shell": _shell}


def _user_files(
    attempts: Attempts, layout: StoreLayout, facts: Facts, trip: Trip
) -> UserFiles | None:
    """Say what becomes of the user's files, and make the folder what the run found."""
    meta, run = facts.meta, facts.run
    if not meta.get("files_known"):
        say("the run's folder was too large to be part of its state: files stay as they are")
        return None
    store = _core.ChunkStore(str(layout.root), readonly=True)
    kept = layout.run_dir(run) / "put-away" / str(len(meta.get("resumes") or []))
    files = UserFiles(Path(meta["cwd"]), kept, meta["files"], store)
    if files.folder(layout.root).scan() == {} and meta["files"]:
        say("the run's folder holds too many files now to be put back: they stay as they are")
        return None
    content, removed = {}, []
    target = trip.route.target
    if target is not None and target.checkpoint is not None:
        path = layout.checkpoint_dir(run) / f"{target.checkpoint}.ckpt"
        found = CheckpointFile(store, path)
        content, removed = found.files(), found.removed_files()
    if changes := files.changes(layout.root, content, removed):
        say(
            f"putting files back to {attempts.current['shown']} in {files.root} (--keep-files: not)"
        )
        for line in changes:
            say(f"  {line}")
        say(f"  what was there is kept in {kept}")
    files.put_back(layout.root, {}, [])
    for note in files.notes:
        say(note)
    return files


def _start(session: TravelSession, program: RecordedProgram) -> None:
    """Make the session the process's own, and the program's surroundings those of the run."""
    session.begin()
    sessions.install(session)
    vars(builtins)["__flor_skipping__"] = skipping
    session.programs = program.programs
    if program.handsfree:
        session.watch_loops(program.programs)
    ref = session.facts.meta.get("entropy")
    if ref:
        entropy.start_from(json.loads(session.store().get(bytes.fromhex(ref))))


def _run(attempts: Attempts, program: RecordedProgram, meta: dict[str, Any], prepare: Any) -> int:
    program.install()
    spec = launch.find_module(meta["module"]) if meta.get("module") else None
    code = program.code(str(program.script))
    script = str(program.script)
    argv0 = meta.get("argv0")
    status = launch.run_main(script, list(meta["argv"]), prepare, code, meta["script"], spec, argv0)
    session = sessions.existing()
    assert isinstance(session, TravelSession)
    if not session.landed:
        session.refuse("the program ended before it came to its main loop")
    session.outcome("completed" if status == 0 else "failed", status)
    attempts.done()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
