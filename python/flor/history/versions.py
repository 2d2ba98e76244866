"""Versions of a program: what the store keeps of each, and which of them today's source extends."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flor import _core
from flor.errors import CorruptError, ReplayError, SourceError
from flor.files import read_json
from flor.instrumentation.compare import Comparison, compare
from flor.instrumentation.source import Source, read_source
from flor.instrumentation.spans import span_of
from flor.layout import StoreLayout


@dataclass(frozen=True)
class Version:
    """The recorded source files of a version: texts by path below ``root``."""

    name: str
    script: str
    root: Path
    texts: dict[str, bytes]

    @property
    def inside(self) -> bool:
        """Whether the script lies below the root, as it does but for odd launches."""
        return not Path(self.script).is_absolute()

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The files as Python reads them; raises SourceError."""
        return {
            name: read_source(f"{name} (recorded)", decoded(text))
            for name, text in self.texts.items()
        }


def read_version(layout: StoreLayout, meta: Mapping[str, Any]) -> Version:
    """Return the version of a run by its run.json; raises ReplayError where none was recorded,
    CorruptError where it is lost."""
    name = str(meta.get("version") or "")
    path = layout.version_path(name)
    if name and not path.is_file():
        raise CorruptError(
            f"{path} is not there, which holds the source of run {meta.get('run')}: it can't be "
            "replayed"
        )
    if not name:
        raise ReplayError(
            f"run {meta.get('run')} has no recorded source (version {name!r}): it can't be replayed"
        )
    content = read_json(path)
    store = _core.ChunkStore(str(layout.root), readonly=True)
    try:
        texts = {
            file: bytes(store.get(bytes.fromhex(entry["ref"])))
            for file, entry in content["files"].items()
            if file.endswith(".py") or file == content["script"]
        }
    finally:
        store.close()
    return Version(name, content["script"], Path(content["root"]), texts)


def decoded(text: bytes) -> str:
    """Return a source text as Python reads it: by its coding comment, any line ends."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
    with io.TextIOWrapper(io.BytesIO(text), encoding) as file:
        return file.read()


@dataclass(frozen=True)
class Today:
    """Today's program beside the version that it extends.

    ``reference``: that version. ``added``: by file, the statements that today's source adds to it.
    ``changes``: what else differs, in words; empty unless forced.
    """

    script: Path
    reference: Version
    sources: dict[str, Source]
    added: dict[str, list[ast.stmt]]
    changes: list[str] = field(default_factory=list)


def read_today(script: Path, versions: list[Version], force: bool = False) -> Today:
    """Compare today's source with recorded versions, newest first; return it beside the nearest.

    That is the one to which it adds statements and nothing else, the fewest where there are
    several. Raises SourceError where it changes every version, unless ``force``.
    """
    found = [today for version in versions if (today := _beside(script, version))]
    if not found:
        raise SourceError(f"{script} is the program of no recorded version: name it with --script")
    best = min(found, key=lambda one: (len(one.changes), sum(map(len, one.added.values()))))
    if best.changes and not force:
        shown = "\n  ".join(best.changes[:10])
        raise SourceError(
            f"{script} does more than add statements to every recorded version; the nearest is "
            f"{best.reference.name}:\n  {shown}\n"
            "undo these changes, or go on all the same with --force"
        )
    return best


def _beside(script: Path, version: Version) -> Today | None:
    """Return today's source beside one version, None where their main files have other names."""
    if Path(version.script).name != script.name or not version.inside:
        return None
    root = script.parents[len(Path(version.script).parts) - 1]
    sources, added, changes = {}, {}, []
    for name, old in version.sources.items():
        path = script if name == version.script else root / name
        if not path.is_file():
            changes.append(f"{name} is gone")
            continue
        sources[name] = new = read_source(str(path))
        if new.text != old.text:
            comparison = compare(old, new)
            changes += [f"{name}: {text}" for text in _changes(comparison)]
            added[name] = list(_statements(new, comparison))
    return Today(script, version, sources, {n: a for n, a in added.items() if a}, changes)


def _changes(comparison: Comparison) -> Iterator[str]:
    yield from (change.text for change in comparison.changed)
    yield from comparison.disturbing


def _statements(source: Source, comparison: Comparison) -> Iterator[ast.stmt]:
    """Yield the added statements, each with all inside of it once."""
    spans = set(comparison.added)
    waiting: list[ast.AST] = [source.tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.stmt) and span_of(node) in spans:
            yield node
        else:
            waiting = [*ast.iter_child_nodes(node), *waiting]
