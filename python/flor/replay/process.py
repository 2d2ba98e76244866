"""One process of a replay: what the calls of its program are answered with.

The first process of a worker and those that its program starts (ranks) are alike from here on. What
stands in the program's way (``flor.log``, streams, clocks) asks the session of its process, so that
a forked child has but another session.
"""

from __future__ import annotations

import builtins
import functools
import json
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from flor import _core
from flor.adapters import PACKAGES
from flor.capture import entropy
from flor.capture.protection import ProbeGuard
from flor.errors import CorruptError
from flor.instrumentation.guard import SKIPPING, guard_wrapped
from flor.instrumentation.importer import Importer
from flor.instrumentation.loops import find_loops
from flor.instrumentation.protect import PROTECT, protect
from flor.instrumentation.source import Source, read_source
from flor.instrumentation.spans import Span
from flor.layout import StoreLayout
from flor.recording import session as sessions
from flor.recording.children import Rank
from flor.recording.clocks import Clocks
from flor.recording.streams import Streams
from flor.replay.facts import Facts
from flor.replay.handsfree import Watch, compile_file
from flor.replay.loops import skipping
from flor.replay.probes import Probes
from flor.replay.session import ReplaySession
from flor.replay.view import build_view, overlay_source, view_to_fill


@dataclass(frozen=True)
class Work:
    """One process of a replay: its session, today's code, and the path that the program sees."""

    session: ReplaySession
    script: str
    code: CodeType
    seen_as: str

    @classmethod
    def prepare(cls, plan: dict[str, Any]) -> Work:
        """Make the view and the session; raises CorruptError, ReplayError."""
        layout = StoreLayout.open(plan["store"])
        facts = Facts(layout, plan["run"], plan["rank"])
        store = _core.ChunkStore(str(layout.root))
        view = Path(plan["scratch"]) / "folder"
        places = [Path.cwd(), Path(facts.meta["cwd"])]
        with view_to_fill(view) as empty:
            notes = build_view(view, facts.meta.get("files", []), store, places) if empty else []
            seen_as = overlay_source(view, facts.meta, plan, layout)
        script = plan["script"]
        code = _compiled(script, plan, facts)
        session = ReplaySession(plan, facts, Probes(plan, script, code), store, view)
        for note in notes:
            session.note(note)
        return cls(session, script, code, seen_as)


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


def told(error: BaseException) -> dict[str, str]:
    """Return what the parent is told of an exception that ended the program."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"type": type(error).__name__, "text": str(error), "traceback": text}


# -- answers --------------------------------------------------------------------------------------


def _now() -> ReplaySession:
    session = sessions.existing()
    assert isinstance(session, ReplaySession)
    return session


def _log(name: Any, value: Any) -> Any:
    return _now().log(name, value)


def _log_line(name: str, text: str) -> None:
    _now().log_line(name, text)


def _read_clock(name: str, clock: Any, frame: FrameType) -> Any:
    return _now().read_clock(name, clock, frame)


def answer(session: ReplaySession) -> None:
    """Let ``session`` answer what this process, a new interpreter, asks and says from now on."""
    import flor

    sessions.install(session)
    # Neither a method nor a partial: the walk would take one apart, from `from flor import log`.
    flor.log = _log
    vars(builtins)[SKIPPING] = skipping
    vars(builtins)[PROTECT] = ProbeGuard(session.user, session.note)
    Streams(_log_line)
    Clocks(session.user, _read_clock, PACKAGES)
    _set_entropy(session)
    _set_threads(session.facts.meta.get("threads", {}))
    meta = session.facts.meta
    if meta.get("handsfree") or meta.get("instrumented"):
        Watch(session)
    if not meta.get("handsfree"):
        compiled = functools.partial(_probed_module, plan=session.plan)
        Importer(session.user.is_user_file, compiled).install()


def answer_forked(session: ReplaySession) -> None:
    """Let ``session`` answer in a forked child: all else is as its parent had it."""
    sessions.install(session)
    _set_entropy(session)
    meta = session.facts.meta
    if meta.get("handsfree") or meta.get("instrumented"):
        Watch(session, forked=True)


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


# -- ranks ----------------------------------------------------------------------------------------


def child_of(session: ReplaySession, number: int) -> Rank | None:
    """Return what a child of the program is: the rank that the run had there, or nothing."""
    plan = session.plan["children"].get(str(number))
    if plan is not None:
        return ReplayedChild(plan)
    if session.plan["added"]:
        session.note(f"process {number} recorded nothing in the run: what it logs now is not kept")
    return None


class ReplayedChild:
    """A process that the program starts with :mod:`multiprocessing`, as a rank under replay."""

    def __init__(self, plan: str) -> None:
        self._plan = plan
        self._error: dict[str, str] | None = None

    def __reduce__(self) -> tuple[type[ReplayedChild], tuple[str]]:
        return ReplayedChild, (self._plan,)

    def begin(self, forked: bool) -> None:
        """Answer this process's calls from now on."""
        self._work = Work.prepare(json.loads(Path(self._plan).read_text()))
        (answer_forked if forked else answer)(self._work.session)

    def compile(self, path: str) -> CodeType | None:
        """Return today's code of the main file."""
        return self._work.code

    def watch(self, process: Any) -> None:
        """Keep the exception that ends the program of this process, if one does."""
        run = process.run

        def watched() -> None:
            try:
                run()
            except Exception as error:
                self._error = told(error)
                raise

        process.run = watched

    def end(self, exit_code: int) -> None:
        """Write the result; an exception counts where the run ended otherwise."""
        session = self._work.session
        as_recorded = exit_code == session.facts.meta.get("exit_code")
        error = None if as_recorded else self._error
        session.finish(ok=error is None, error=error, exit_code=exit_code)
