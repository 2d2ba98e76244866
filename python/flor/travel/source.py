"""The recorded version of a program, run in place of what its files hold today."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import linecache
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from flor import _core
from flor.errors import ReplayError
from flor.files import read_json
from flor.instrumentation.guard import guard_wrapped
from flor.instrumentation.loops import Position, find_loops, loop_calls, position_of
from flor.instrumentation.source import Source, read_source
from flor.layout import StoreLayout
from flor.replay.probes import Probes
from flor.travel.handsfree import RecordedPrograms
from flor.travel.items import passes_items_on


class RecordedProgram:
    """The source files of a run's version, by the paths that the program knows them under.

    ``folder``: where they are to be, None: where they were (runs elsewhere may share a version).
    """

    def __init__(
        self, layout: StoreLayout, meta: dict[str, Any], folder: Path | None = None
    ) -> None:
        name = str(meta.get("version") or "")
        path = layout.version_path(name)
        if not name or not path.is_file():
            raise ReplayError(
                f"run {meta.get('run')} has no recorded source (version {name!r}): record a script"
            )
        content = read_json(path)
        where = meta["cwd"] if meta.get("module") else Path(meta["script"]).parent
        folder = folder or Path(where).resolve()
        store = _core.ChunkStore(str(layout.root), readonly=True)
        try:
            self.files = {
                folder / file: bytes(store.get(bytes.fromhex(entry["ref"])))
                for file, entry in content["files"].items()
            }
        finally:
            store.close()
        self.script = folder / content["script"]
        self._sources = {
            str(path): self._parse(path) for path in self.files if path.suffix == ".py"
        }
        if str(self.script) not in self._sources:
            self._sources[str(self.script)] = self._parse(self.script)

        self.handsfree = bool(meta.get("handsfree"))
        self.programs = RecordedPrograms(self._sources)

    def _parse(self, path: Path) -> Source:
        text = importlib.util.decode_source(self.files[path])
        return read_source(str(path), text)

    def changed(self) -> list[Path]:
        """Return the files that are not what they were, or not there any more."""
        return [
            path
            for path, text in self.files.items()
            if not path.is_file() or path.read_bytes() != text
        ]

    def code(self, path: str) -> CodeType:
        """Return the code of a file, with its loops visible, or its wrapped ones skippable."""
        if self.handsfree:
            return self.programs.code(path)
        source = self._sources[path]
        return compile(guard_wrapped(source, find_loops(source)), path, "exec", dont_inherit=True)

    def direct_loops(self) -> set[tuple[str, Position]]:
        """Return the ``flor.loop`` calls, by file and place, whose items alone a ``for`` gets."""
        return {
            (path, position_of(call))
            for path, source in self._sources.items()
            for statement, call in loop_calls(source.tree)
            if passes_items_on(statement.iter, call)
        }

    def probes(self) -> Probes:
        """Return where its loops are, as a replay that asks nothing has it."""
        loops = [
            {"file": path, "span": list(site.call_span), "kind": site.kind, "probed": False}
            for path, source in self._sources.items()
            for site in find_loops(source)
        ]
        lines = len(self._sources[str(self.script)].text.splitlines()) + 1
        same = {str(self.script): {number: number for number in range(lines + 1)}}
        plan = {"added": {}, "line_map": same, "loops": loops}
        return Probes(plan, str(self.script), self.code(str(self.script)))

    def install(self) -> None:
        """Serve its modules to ``import``, its lines to tracebacks."""
        sys.meta_path.insert(0, _Finder(self))
        for path, source in self._sources.items():
            lines = source.text.splitlines(keepends=True)
            linecache.cache[path] = (len(source.text), None, lines, path)

    def holds(self, path: str) -> bool:
        """Whether it has this Python file."""
        return path in self._sources

    def write(self) -> None:
        """Write its files to where they belong."""
        for path, text in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)


class _Finder:
    """Finds the modules of a recorded program before the files of today are looked at."""

    def __init__(self, program: RecordedProgram) -> None:
        self._program = program

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        last = name.rpartition(".")[2]
        for folder in sys.path if path is None else path:
            base = Path(folder or ".").resolve() / last
            for file, package in ((base / "__init__.py", [str(base)]), (Path(f"{base}.py"), None)):
                if self._program.holds(str(file)):
                    loader = _Loader(name, str(file), self._program)
                    return importlib.util.spec_from_file_location(
                        name, file, loader=loader, submodule_search_locations=package
                    )
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module from its recorded text."""

    def __init__(self, name: str, path: str, program: RecordedProgram) -> None:
        super().__init__(name, path)
        self._program = program

    def get_code(self, fullname: str) -> CodeType:
        return self._program.code(self.path)
