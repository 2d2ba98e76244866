"""What today's source asks of a run: the statements that the recorded version does not have."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flor.errors import SourceError
from flor.history.versions import Version, decoded, read_version
from flor.instrumentation.compare import Comparison, compare
from flor.instrumentation.loops import find_loops
from flor.instrumentation.protect import defined_names
from flor.instrumentation.reach import Part, Probed, probed_parts
from flor.instrumentation.rewrite import rewrite
from flor.instrumentation.source import Source, read_source
from flor.replay.recorded import RecordedRun

_SHOWN_CHANGES = 20
# How often a cached function was called is no part of a checkpoint: who reads it executes all.
_CACHE_INFO = "cache_info"


@dataclass
class Question:
    """Today's program beside the recorded one.

    ``added``: line ranges of added statements, by file. ``loops``: each ``flor.loop`` call of the
    program, ``probed`` where an added statement may run inside. ``in_main``, ``in_blocks``,
    ``before``, ``after``, ``anywhere``: whether one may run in the main loop, in a loop inside
    of it, before or after it, at an unknown place. ``counts_calls``: the program reads how often a
    cached function was called. ``defined``: the functions and classes of the
    program, by name.
    """

    script: Path
    added: dict[str, list[list[int]]] = field(default_factory=dict)
    line_map: dict[str, dict[int, int]] = field(default_factory=dict)
    probe_names: list[str] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)
    loops: list[dict[str, Any]] = field(default_factory=list)
    in_main: bool = False
    in_blocks: bool = False
    before: bool = False
    after: bool = False
    anywhere: bool = False
    counts_calls: bool = False
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ask(recorded: RecordedRun, script: Path | None, force: bool) -> Question:
    """Return what today's source asks; raises SourceError where it changed beyond added statements.

    ``script``: today's main file, None: the recorded path. ``force``: only note the changes.
    """
    version = read_version(recorded.layout, recorded.meta)
    today = script_of(recorded, version, script)
    question = Question(today)
    root = today.parents[len(Path(version.script).parts) - 1] if version.inside else today.parent
    files: dict[Path, bytes] = {}
    for name, old in sorted(version.texts.items()):
        path = today if name == version.script else root / name
        if path == today or path.is_file():
            files[path] = old
        else:
            question.notes.append(f"{name}, part of the recorded version, is not in {root}")
    sources = {path: read_source(str(path)) for path in files}
    question.defined = sorted(defined_names(sources.values()))
    question.counts_calls = any(_CACHE_INFO in source.text for source in sources.values())
    compared = {path: _compared(path, old, sources[path]) for path, old in files.items()}
    if recorded.meta.get("handsfree") or recorded.meta.get("instrumented"):  # loops as they stand
        sources = {path: rewrite(sources[path]) for path in files}
    for path in files:
        _add_comparison(question, path, compared[path])
    ordered = sorted(files, key=lambda path: path != today)  # the script first
    added = {path: compared[path].added for path in ordered}
    parts = {path: Part(sources[path], find_loops(sources[path]), added[path]) for path in ordered}
    _add_loops(question, recorded, parts)
    if question.anywhere:
        for loop in question.loops:
            loop["probed"] = True
    _refuse_changes(question, recorded, force)
    return question


def counts_calls(recorded: RecordedRun) -> bool:
    """Whether the recorded program reads how often its cached functions were called."""
    texts = read_version(recorded.layout, recorded.meta).texts
    return any(_CACHE_INFO.encode() in text for text in texts.values())


def script_of(recorded: RecordedRun, version: Version, script: Path | None) -> Path:
    """Return today's main file: the given one, else where the run's was."""
    if script is not None:
        places = [script]
    else:
        cwd = Path(str(recorded.meta.get("cwd") or version.root))
        places = [cwd / str(recorded.meta.get("script") or ""), version.root / version.script]
    for place in places:
        if place.is_file():
            return place.absolute()
    raise SourceError(
        f"today's source {places[0]} is not there: put it back, or name it with --script PATH"
    )


def _compared(path: Path, old: bytes, new: Source) -> Comparison:
    before = decoded(old)
    if before == new.text:
        return Comparison()
    return compare(read_source(f"{path} (recorded)", before), new)


def _add_loops(question: Question, recorded: RecordedRun, parts: dict[Path, Part]) -> None:
    """Note which loops the program holds, and where its added statements may run."""
    found = dict(zip(parts, probed_parts(list(parts.values())), strict=True))
    if question.added:
        _place(question, recorded, parts, found)
    for path, part in parts.items():
        question.loops += [
            {
                "file": str(path),
                "span": list(site.call_span),
                "kind": site.kind,
                "probed": site.index in found[path].loops,
                "name": site.name,
            }
            for site in part.loops
        ]


def _place(
    question: Question,
    recorded: RecordedRun,
    parts: dict[Path, Part],
    found: dict[Path, Probed],
) -> None:
    """Note whether added statements may run in the main loop, inside of it, before or after it."""
    name = (recorded.main_loop or "").partition("#")[0]
    mains = {(path, s.index) for path, part in parts.items() for s in part.loops if s.name == name}
    loops = {(path, index) for path, each in found.items() for index in each.loops}
    outer = {(path, index) for path, each in found.items() for index in each.outer}
    script = found[next(iter(parts))]  # what runs outside of loops is the same for each file
    hit = bool(loops & mains) or (not mains and bool(loops))
    nowhere = not (loops or script.before or script.after)
    twins = hit and (recorded.has_twins or len(mains) > 1)
    # In a loop that may stand before or after the main one.
    elsewhere = bool(outer - mains) or (bool(loops) and not hit) or twins
    question.before = script.before or elsewhere or nowhere
    question.after = script.after or elsewhere or nowhere
    question.in_main = hit or nowhere
    question.in_blocks = bool(loops - mains) or nowhere
    question.anywhere = nowhere


def _add_comparison(question: Question, path: Path, comparison: Comparison) -> None:
    if comparison.added:
        question.added[str(path)] = [[span.start, span.end] for span in comparison.added]
    if comparison.line_map:
        question.line_map[str(path)] = dict(comparison.line_map)
    question.probe_names += sorted(comparison.probe_names)
    question.changes += [f"{path.name}: {change.text}" for change in comparison.changed]
    question.changes += [f"{path.name}: {text}" for text in comparison.disturbing]


def _refuse_changes(question: Question, recorded: RecordedRun, force: bool) -> None:
    if not question.changes:
        return
    if force:
        question.notes.append("the source changed: values may not be the run's")
        question.notes += question.changes[:_SHOWN_CHANGES]
        return
    more = len(question.changes) - _SHOWN_CHANGES
    lines = question.changes[:_SHOWN_CHANGES] + ([f"… {more} more"] if more > 0 else [])
    error = SourceError(
        f"{question.script} does more than add statements to the source of run {recorded.run}:\n  "
        + "\n  ".join(lines)
        + "\nundo these changes, or replay all the same with --force"
    )
    error.path = str(question.script)
    raise error
