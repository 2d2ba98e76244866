"""The recording session of a process: one run in a store, from the first flor call to the exit."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from flor import _core
from flor.adapters import PACKAGES
from flor.capture import entropy
from flor.capture.state import World
from flor.capture.usercode import UserCode
from flor.errors import FlorError, InvalidError, StorageError
from flor.files import storage_error
from flor.layout import StoreLayout
from flor.recording import machine, sources, values
from flor.recording.arguments import converted, is_json
from flor.recording.children import Children, Rank
from flor.recording.clocks import Clocks
from flor.recording.folder import Folder
from flor.recording.handsfree import HandsFree, Programs
from flor.recording.images import Images, files_budget
from flor.recording.loops import RecordedLoop, active_loops
from flor.recording.mainloop import JSON_KIND, MainLoop
from flor.recording.options import Options
from flor.recording.policy import Policy
from flor.recording.streams import Streams
from flor.recording.trouble import Reserve, Troubles
from flor.runlock import hold_run

CLOCK = "__flor__.clock."
_WARM_UP_BYTES = 8 << 20


class RecordSession:
    """Records this process as one run. Made by the first flor call, ended at exit."""

    _joined = False  # whether the run was begun by another process
    watches_files = True  # whether what the run found is kept before the program changes it

    def __init__(
        self, layout: StoreLayout, options: Options, run: str | None = None, root: str | None = None
    ) -> None:
        self.layout = layout
        self.options = options
        self.run = run or layout.new_run_id()
        self.script = sources.main_script()
        self.user = UserCode(root or str(self.script.parent if self.script else Path.cwd()))
        self._handsfree: HandsFree | None = None
        self._images: Images | None = None
        self.programs: Programs | None = None  # how flor.instrument reads the program's files
        self.rank = int(os.environ.get("RANK", "0"))
        self._place = (
            0  # whose files of the run are this process's: a run alone has those of rank 0
        )
        self._pid = os.getpid()
        self._forks = 0
        self._lock = threading.RLock()
        self._store: _core.ChunkStore | None = None
        self._snapshotter: _core.Snapshotter | None = None
        self._policy: Policy | None = None
        self._main: MainLoop | None = None
        self._named: list[tuple[dict[str, Any], float | None]] = []
        self._troubles = Troubles(self.run, options.strict)
        self._finished = False
        self._begun_loops: Counter[str] = Counter()  # outside of all others, by name
        self._children: Children | None = None
        self._heir: RecordSession | None = None  # in a forked child, what records that
        self._started = time.time()
        self._begun = time.monotonic()
        self.meta: dict[str, Any] = {}

    # -- start and end -----------------------------------------------------------------------------

    @classmethod
    def start(cls, options: Options | None = None, root: str | None = None) -> RecordSession:
        """Open the store, write run.json and start the log. Raises the errors of the store.

        ``root``: the folder of the program's own files; None: where its script lies.
        """
        options = options or Options()
        layout = StoreLayout.open(options.store, create=True)
        session = cls(layout, options, root=root)
        try:
            session._begin()
        except (OSError, FlorError) as error:
            folder = layout.run_dir(session.run)
            shutil.rmtree(folder, ignore_errors=True)  # what has no run.json is no run
            if isinstance(error, FlorError):
                raise
            raise storage_error(error, folder, "write") from error
        return session

    def _begin(self) -> None:
        self.layout.log_dir(self.run).mkdir(parents=True)
        self.layout.checkpoint_dir(self.run).mkdir()
        hold_run(self.layout.run_dir(self.run))  # until the process ends
        self._reserve = Reserve(self.layout.run_dir(self.run))
        self.writer = self._new_writer()
        self._folder = Folder(Path.cwd(), self.layout.root)
        self.meta = self._first_meta()
        self.layout.write_run(self.run, self.meta)
        _core.set_active(self.writer)
        self._attach()

    def _attach(self) -> None:
        """Watch what the program logs, prints, reads of clocks, and how it ends."""
        self._streams = Streams(_core.log)
        self._clocks = Clocks(self.user, self._read_clock, PACKAGES)
        self._images = self._watch_files()
        self._hook = sys.excepthook
        sys.excepthook = self._excepted
        os.register_at_fork(after_in_child=self._forked)
        if self.rank == 0 and not self._joined:
            self._children = Children(self.user, self._rank_of_child)
            self._children.install()

    def _rank_of_child(self, number: int) -> Rank:
        from flor.recording.child import ChildRank

        return ChildRank.of(self, number)

    def _watch_files(self) -> Images | None:
        """Keep what the run found and is about to change; ranks share a folder, the first does."""
        if self.rank or not self.watches_files:
            return None
        images = Images(
            self._folder.root,
            self.meta["files"],
            self.meta["inputs"],
            files_budget(self.options.files_budget),
            lambda content: self.store().put(content),
            self.note,
            self.save,
        )
        images.install(self.meta["started"])
        return images

    def _new_writer(self) -> _core.LogWriter:
        folder, who = self.layout.log_dir(self.run), f"r{self.rank}-{os.getpid()}"
        serial = self._forks
        while any(folder.glob(f"{who}-{serial}.*")):  # of a process long gone
            serial += 1
        return _core.LogWriter(str(folder), f"{who}-{serial}")

    def _first_meta(self) -> dict[str, Any]:
        return {
            "format": 1,
            "run": self.run,
            "script": str(self.script) if self.script else "<interactive>",
            **machine.process(),
            "status": "running",
            "exit_code": None,
            "started": self._started,
            "seconds": 0.0,
            "version": self._save_version(),
            "parent": None,
            "args": {},
            "modules": {},
            "inputs": [],
            "rank": self.rank,
            "world": int(os.environ.get("WORLD_SIZE", "1")),
            "threads": {},
            "entropy": self.store().put(json.dumps(self._entropy()).encode()).hex(),
            **self._files_found(),
            "options": self.options.content(),
            "overhead": {},
            "lost_records": 0,
            "errors": [],
            "notes": [],
        }

    def _entropy(self) -> dict[str, Any]:
        """Return the random states that the program starts from."""
        return entropy.choose()

    def _files_found(self) -> dict[str, Any]:
        """Return what the working folder held when the run began."""
        known = not self._folder.truncated
        budget = files_budget(self.options.files_budget)
        found = self._folder.manifest(self.store(), budget) if known else []
        return {"files": found, "files_known": known}

    def _save_version(self) -> str | None:
        if self.script is None:
            return None
        return sources.save_version(self.layout, self.store(), self.user, self.script)

    def save(self) -> None:
        """Replace run.json; a failure is told, not raised: training goes on."""
        if os.getpid() != self._pid:  # a forked child: the run is its parent's
            return
        self.meta["seconds"] = time.monotonic() - self._begun
        self.meta["errors"] = self._troubles.errors
        try:
            self.layout.write_rank(self.run, self._place, self.meta)
        except FlorError as error:
            self.trouble(str(error))

    def outcome(self, status: str, exit_code: int) -> None:
        """Note how the program ended; :meth:`finish` comes when the process ends."""
        self.meta |= {"status": status, "exit_code": exit_code}

    def finish(self, status: str = "completed", exit_code: int | None = 0) -> None:
        """End the run: everything durable, run.json final. A second call does nothing."""
        if self._finished or os.getpid() != self._pid:
            return
        self._finished = True
        if self.meta["status"] != "running":
            status, exit_code = self.meta["status"], self.meta["exit_code"]
        self._detach()
        if self._children is not None:
            status = self._children.outcome(self.layout, self.run, status, self.note)
        self._end_checkpoints()
        self._close_log()
        self.meta |= {"status": status, "exit_code": exit_code}
        self.meta |= {"threads": machine.threads(), "packages": machine.packages()}
        self._attempt("the source was not stored", self._final_version)
        if self._policy is not None:
            self.meta["overhead"] = self._policy.report()
        if self._store is not None:
            self._attempt("the store was not closed well", self._store.close)
        self._reserve.release()
        self.save()

    def _detach(self) -> None:
        """Put everything back that :meth:`_attach` took hold of."""
        if main := self.meta.get("main"):
            watched = self._handsfree.begun(main["loop"]) if self._handsfree else 0
            main["begun"] = max(watched, self._begun_loops[main["loop"].partition("#")[0]])
        if self._handsfree is not None:
            self._handsfree.remove()
        if self._children is not None:
            self._children.remove()
        self._streams.remove()
        self._clocks.remove()
        if self._images is not None:
            self._images.remove()
            self._attempt("the folder could not be listed", self._missed_files)
        sys.excepthook = self._hook
        _core.set_active(None)

    def _end_checkpoints(self) -> None:
        if self._snapshotter is not None:
            self._attempt("checkpoints were lost", self._snapshotter.drain)
        if self._main is not None:
            self._main.finish()
        if self._snapshotter is not None:
            self._attempt("checkpoints were lost", self._snapshotter.close)

    def _attempt(self, failed: str, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, ValueError) as error:
            self.trouble(f"{failed}: {error}")

    def _close_log(self) -> None:
        self._attempt("the log is not whole", self.writer.close)
        self.meta["lost_records"] = self.writer.stats()["lost"] + self._troubles.lost

    def _final_version(self) -> None:
        self.meta["version"] = self._save_version()

    def _excepted(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self.outcome("failed", 130 if issubclass(kind, KeyboardInterrupt) else 1)
        self._hook(kind, error, trace)

    def _forked(self) -> None:
        """In a forked child: nothing of the parent's is usable; the next log call makes a new
        writer.
        """
        if not self._finished:
            self._store = self._snapshotter = self._main = None
            self._named = []
            self._forks += 1
            _core.set_active(None)

    # -- trouble -----------------------------------------------------------------------------------

    def trouble(self, text: str) -> None:
        """Tell a background failure once, keep it in the run; training goes on unless strict."""
        self._troubles.tell(text)

    def note(self, text: str) -> None:
        """Keep an assumption or a limit in the run, for ``flor show``."""
        if text not in self.meta["notes"] and len(self.meta["notes"]) < 50:
            self.meta["notes"].append(text)
            self.save()

    def _check_writer(self) -> None:
        error = self.writer.error
        if error:
            self.trouble(f"records can't be written: {error}")
        self._troubles.check()

    # -- what the main loop needs (Sink) -----------------------------------------------------------

    def store(self) -> _core.ChunkStore:
        """Return the content store, opened on first use."""
        with self._lock:
            if self._store is None:
                self._store = _core.ChunkStore(str(self.layout.root))
            return self._store

    def snapshotter(self) -> _core.Snapshotter:
        """Return the snapshotter, made on first use."""
        if self._snapshotter is None:
            self._snapshotter = _core.Snapshotter(self.store())
        return self._snapshotter

    def warm_up(self, nbytes: int) -> None:
        """Touch the staging memory of a large state ahead of its first checkpoint, in the
        background.

        Fresh memory costs the trainer more than the copy into it.
        """
        if nbytes > _WARM_UP_BYTES:
            self.snapshotter().warm_up(nbytes)

    def checkpoint_path(self, number: int) -> str:
        """Return where checkpoint ``number`` lies."""
        return str(self.layout.checkpoint_dir(self.run, self._place) / f"{number}.ckpt")

    def unfinished_line(self) -> str:
        """Return what was printed since the last line break."""
        return self._streams.unfinished

    def changed_files(self) -> tuple[dict[str, bytes], list[str]]:
        """Return the files of the working folder that the run changed."""
        found = self._folder.changed()
        if self._images is not None and not self._folder.truncated:
            self._images.missed(self._folder.now)
        if self._folder.truncated:
            self.note("the working folder holds too many files: they are not part of the state")
        return found

    def _missed_files(self) -> None:
        now = self._folder.scan()
        if self._images is not None and not self._folder.truncated:
            self._images.missed(now)

    # -- the public calls --------------------------------------------------------------------------

    def log_slowly(self, name: object, value: Any) -> None:
        """Log what the core does not take by itself."""
        if _core.get_active() is None and not self._finished:
            if os.getpid() != self._pid:
                self.writer = self._new_writer()
            _core.set_active(self.writer)
        if self._finished:
            raise InvalidError(f"flor.log({name!r}): the run has ended")
        try:
            values.log_value(name, value, self.store().put)
        except StorageError as error:
            self._troubles.lost += 1
            self.trouble(f"a value of {name!r} was lost: {error}")

    def arg(self, name: str, default: Any) -> Any:
        """Return a hyperparameter: ``--set``, or the default; recorded either way."""
        if not isinstance(name, str):
            raise InvalidError(f"flor.arg: the name must be a string, not {type(name).__name__}")
        value = default
        if name in self.options.settings:
            value = converted(name, self.options.settings[name], default)
        self.meta["args"][name] = value if is_json(value) else repr(value)
        self.save()
        return value

    def loop(self, name: str, iterable: Iterable[Any]) -> Iterator[Any]:
        """Return the iterator of ``flor.loop``."""
        if not isinstance(name, str) or not name or "#" in name:
            raise InvalidError(
                f"flor.loop: the name must be a non-empty string without '#', not {name!r}"
            )
        iter_of = getattr(type(iterable), "__iter__", None) or getattr(
            type(iterable), "__getitem__", None
        )
        if iter_of is None:
            raise InvalidError(f"flor.loop({name!r}): a {type(iterable).__name__} is not iterable")
        self._check_writer()
        return RecordedLoop(self, name, iterable)

    def role(
        self, name: str, loops: list[Any], frame: FrameType
    ) -> tuple[MainLoop | None, MainLoop | None]:
        """Return (main loop to record, main loop that this one is a block of) for a loop that
        begins.
        """
        if not loops:
            self._begun_loops[name] += 1
        main = self._main
        if (
            main is not None
            and main.active
            and len(loops) == 1
            and main.thread == threading.get_ident()
        ):
            return None, main
        if loops or main is not None or not self._named:
            return None, None
        objects, overhead = self._named[-1]
        self._policy = self._new_policy(overhead)
        self._main = MainLoop(self, World(self.user, objects), self._policy, name)
        begun = self._begun_loops[name]
        self.meta["main"] = {"loop": name, "iterations": None, "begun": begun}
        self.meta["modules"] = {key: type(obj).__qualname__ for key, obj in objects.items()}
        self.meta["threads"] = machine.threads()
        # What was imported since the start is known now; a run that is killed never says more.
        self._attempt("the source was not stored", self._final_version)
        self.save()
        self._enter_main(self._main, frame)
        return self._main, None

    def _new_policy(self, from_script: float | None) -> Policy:
        images = self._images
        return self.options.policy(from_script, lambda: images.seconds if images else 0.0)

    def _enter_main(self, main: MainLoop, frame: FrameType) -> None:
        main.enter(frame)

    def main_ended(self, exhausted: bool, iterations: int) -> None:
        """The main loop was left."""
        if self._main is not None:
            self._main.finish()
            self.meta["main"] |= {
                "iterations": iterations,
                "exit": "exhausted" if exhausted else "break",
            }
            self.save()

    def instrument(self, code: CodeType) -> CodeType | None:
        """Return a function's code with its loops visible; raises InvalidError, SourceError."""
        path = code.co_filename
        if not self.user.is_user_file(path):
            raise InvalidError(
                f"flor.instrument: {code.co_qualname} is defined in {path}, which is no file of "
                f"this program (those below {self.user.root}): its source is in no version, so a "
                "replay could not compare it; name a function of a file of the program"
            )
        if self._handsfree is None:
            self.meta["instrumented"] = True
            self.save()
            self.watch_loops(self.programs or Programs(), everything=False)
        return self._handsfree.visible(code) if self._handsfree else None

    # -- without the public calls ------------------------------------------------------------------

    def watch_loops(self, programs: Programs, *, everything: bool = True) -> None:
        """Find the main loop of a program that does not name its loops; without ``everything``
        among those of instrumented functions.
        """
        self._handsfree = HandsFree(self, programs, everything=everything)

    def enter_candidate(self, loop: str, frame: FrameType, library: str | None) -> MainLoop | None:
        """Number the world for a loop that may be the main one; None where that costs too much.

        ``library``: whose loop it is, where it is not the program's own.
        """
        if self._handsfree is None or active_loops():  # inside a flor.loop of one of its modules
            return None
        objects, overhead = self._named[-1] if self._named else (None, None)
        if self._policy is None:
            self._policy = self._new_policy(overhead)
        if not self._may_enter(self._policy):
            return None
        self.meta["threads"] = machine.threads()
        world = self._handsfree.world(frame, objects)
        self._main = MainLoop(self, world, self._policy, loop, self._main, library)
        self._enter_main(self._main, frame)
        return self._main

    def _may_enter(self, policy: Policy) -> bool:
        return policy.can_enter()

    def choose_main(self, main: dict[str, Any], named: dict[str, Any]) -> None:
        """Take a loop for the run's main one, until a better one is known."""
        self.meta["main"] = {**(self.meta.get("main") or {}), **main}
        if main["iterations"] is None:  # it goes on: a run that is killed never says more
            self._attempt("the source was not stored", self._final_version)
        self.meta["modules"] = {key: type(obj).__qualname__ for key, obj in named.items()}
        self.save()

    def enter_checkpointing(self, objects: dict[str, Any], overhead: float | None) -> None:
        """``with flor.checkpointing(...)`` begins."""
        self._named.append((objects, overhead))

    def exit_checkpointing(self) -> None:
        """``with flor.checkpointing(...)`` ends."""
        if self._named:
            self._named.pop()

    def _read_clock(self, name: str, clock: Any, frame: FrameType) -> Any:
        if self._heir is not None:
            return self._heir._read_clock(name, clock, frame)
        value = clock()
        if os.getpid() == self._pid:
            _core.log_encoded(CLOCK + name, JSON_KIND, json.dumps(value).encode())
        return value
