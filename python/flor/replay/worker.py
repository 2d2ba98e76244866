"""A replay worker: ``python -m flor.replay.worker PLAN``. Runs today's program for one segment,
writes logs and a result.
"""

from __future__ import annotations

import builtins
import functools
import json
import os
import sys
import tempfile
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType
from typing import Any

from flor import _core
from flor.adapters import PACKAGES
from flor.capture import entropy
from flor.capture.protection import ProbeGuard
from flor.errors import CorruptError
from flor.files import write_json
from flor.instrumentation.guard import SKIPPING, guard_wrapped
from flor.instrumentation.importer import Importer
from flor.instrumentation.loops import find_loops
from flor.instrumentation.protect import PROTECT, protect
from flor.instrumentation.source import Source, read_source
from flor.instrumentation.spans import Span
from flor.layout import StoreLayout
from flor.recording import hash_seed, launch
from flor.recording import session as sessions
from flor.recording.clocks import Clocks
from flor.recording.streams import Streams
from flor.replay.ban import DEVICES, forbid_writes
from flor.replay.facts import Facts
from flor.replay.handsfree import Watch, compile_file
from flor.replay.loops import skipping
from flor.replay.probes import Probes
from flor.replay.session import Refused, ReplaySession
from flor.replay.view import build_view, overlay_source, view_to_fill


def main(plan_path: str) -> int:
    """Run one plan; the exit code is the program's, 0 when the segment ended first."""
    hash_seed.claim()
    plan: dict[str, Any] = json.loads(Path(plan_path).read_text())
    banned = _confine(plan)
    layout = StoreLayout.open(plan["store"])
    facts = Facts(layout, plan["run"], plan["rank"])
    store = _core.ChunkStore(str(layout.root))
    view = Path(plan["scratch"]) / "folder"
    places = [Path.cwd(), Path(facts.meta["cwd"])]
    script = plan["script"]
    try:
        with view_to_fill(view) as empty:
            notes = build_view(view, facts.meta.get("files", []), store, places) if empty else []
            seen_as = overlay_source(view, facts.meta, plan, layout)
    except CorruptError as error:  # the program can't start as it did, by no way
        write_json(Path(plan["result"]), {"unreadable": str(error)})
        return 1
    code = _compiled(script, plan, facts)
    session = ReplaySession(plan, facts, Probes(plan, script, code), store, view)
    if not banned:
        notes.append(
            "this kernel has no Landlock: writes outside the scratch folder are not prevented"
        )
    for note in notes:
        session.note(note)
    os.chdir(view)
    return _run(session, script, code, seen_as)


def _compiled(script: str, plan: dict[str, Any], facts: Facts) -> CodeType:
    """Return today's script with its loops as the run had them, and what skips them."""
    if facts.meta.get("handsfree"):
        return compile_file(script, plan)
    source = _protected(script, plan)
    tree = guard_wrapped(source, find_loops(source))
    code: CodeType = compile(tree, script, "exec", dont_inherit=True)
    return code


def _protected(path: str, plan: dict[str, Any]) -> Source:
    """Return a file of today's program with its probes protected."""
    source = read_source(path)
    spans = [Span(*span) for span in plan["added"].get(path, [])]
    return Source(path, source.text, protect(source.tree, spans, plan["defined"]))


def _probed_module(path: str, plan: dict[str, Any]) -> CodeType | None:
    """Return the code of a module of a program with flor.loop; None where it holds no probe."""
    if path not in plan["added"]:
        return None
    code: CodeType = compile(_protected(path, plan).tree, path, "exec", dont_inherit=True)
    return code


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


def _run(session: ReplaySession, script: str, code: Any, seen_as: str) -> int:
    import flor

    def prepare() -> None:
        sessions.install(session)
        # Not a method: the walk would take one apart, where a program has it from `import log`.
        flor.log = functools.partial(session.log)
        vars(builtins)[SKIPPING] = skipping
        vars(builtins)[PROTECT] = ProbeGuard(session.user)
        recorded = str(Path(session.facts.meta["script"]).parent)
        if recorded not in sys.path:
            sys.path.insert(1, recorded)
        Streams(session.log_line)
        Clocks(session.user, session.read_clock, PACKAGES)
        _set_entropy(session)
        _set_threads(session.facts.meta.get("threads", {}))
        meta = session.facts.meta
        if meta.get("handsfree") or meta.get("instrumented"):
            Watch(session)
        if not meta.get("handsfree"):
            compiled = functools.partial(_probed_module, plan=session.plan)
            Importer(session.user.is_user_file, compiled).install()

    try:
        arguments = session.plan["argv"]
        spec = _module(session.facts.meta)
        argv0 = session.places.to_view(session.facts.meta.get("argv0") or seen_as)
        code_of_exit = launch.run_main(script, arguments, prepare, code, seen_as, spec, argv0)
    except Refused as refused:
        session.finish(refused=str(refused))
        return 0
    error = launch.last_error
    if error is not None:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        found = {"type": type(error).__name__, "text": str(error), "traceback": text}
        session.finish(error=found, exit_code=code_of_exit)
    else:
        session.finish(ok=True, exit_code=code_of_exit)
    return code_of_exit


def _module(meta: dict[str, Any]) -> ModuleSpec | None:
    """Return the spec of a run of ``-m MODULE``, found from the recorded working folder."""
    if not meta.get("module"):
        return None
    sys.path.insert(1, meta["cwd"])
    return launch.find_module(meta["module"])


def _set_entropy(session: ReplaySession) -> None:
    """Start from the random states that the run had at its first flor call, seeded or not."""
    ref = session.facts.meta.get("entropy")
    if ref:
        try:
            states = json.loads(session.store.get(bytes.fromhex(ref)))
        except CorruptError as error:
            session.result["damage"].append(str(error))
            session.note(f"the random states at the start of the run are damaged: {error}")
            return
        entropy.start_from(states)


def _set_threads(threads: dict[str, Any]) -> None:
    """The recorded thread count: another one gives other bits. A program that sets its own still
    does.
    """
    wanted = threads.get("torch")
    if wanted:
        os.environ.setdefault("OMP_NUM_THREADS", str(wanted))


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
