"""What a replay found: for programs (``--report``) and for people."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from flor.replay.plan import Plan
from flor.replay.segments import NOTHING, Segment

_COLOURS = {
    "verified": "green",
    "diverged": "red",
    "unverified": "yellow",
    "within tolerance": "yellow",
    "dry run": "cyan",
}
_WIDE = 2000


@dataclass
class Report:
    """The outcome of one replay."""

    run: str
    replay: str
    verdict: str
    compared: int
    states_compared: int
    volatile: int
    differing: int
    differences: list[dict[str, Any]]
    new_records: int
    blocks: list[dict[str, Any]]
    executed: dict[str, int]
    prologues: int
    fallback: str
    predicted_seconds: float
    actual_seconds: float
    workers: int
    started: float
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return dict(vars(self))

    def replay_json(self) -> dict[str, Any]:
        """Return what replay.json says."""
        content = self.content()
        content["id"] = content.pop("replay")
        content["seconds"] = self.actual_seconds
        content["records"] = {"new": self.new_records}
        return content


def blocks_of(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the inner loops of all workers: restored, skipped or run."""
    return [block for result in results for block in result.get("blocks", [])]


def executed_of(results: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many iterations of each loop all workers executed."""
    total: dict[str, int] = {}
    for result in results:
        for loop, count in (result.get("executed") or {}).items():
            total[loop] = total.get(loop, 0) + int(count)
    return total


def place(context: list[Any]) -> str:
    """Return a context as people read it."""
    return " ".join(f"{loop}={index}" for loop, index in context) or "outside of loops"


def describe(one: dict[str, Any]) -> str:
    """Return one line that says what differs."""
    whose = f"rank {one['rank']}: " if "rank" in one else ""
    text = f"{whose}{one['name']} at {place(one['context'])}: "
    if one["kind"] == "missing":
        return f"{text}recorded {one['recorded']!r}, not logged again"
    if one["kind"] == "additional":
        return f"{text}replayed {one['replayed']!r}, never recorded"
    if one["kind"] == "state":
        return f"{text}{one['replayed'] or 'is not what it was'}"
    text += f"recorded {one['recorded']!r}, replayed {one['replayed']!r}"
    return text if one["distance"] is None else f"{text} (distance {one['distance']:.6g})"


def _console() -> Console:
    """Return what prints to stdout: as wide as the terminal, elsewhere as wide as the lines are."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(file=sys.stdout, highlight=False, width=width)


def print_report(report: Report) -> None:
    """Print the summary of one replay."""
    console = _console()
    colour = _COLOURS[report.verdict]
    console.print(f"[bold {colour}]{report.verdict}[/]  run {report.run}  replay {report.replay}")
    for line in summary(report):
        console.print(f"  {escape(line)}", soft_wrap=True)


def summary(report: Report) -> list[str]:
    """Return the lines below the verdict."""
    lines = [
        f"compared: {report.compared:,} recorded values, {report.states_compared:,} states; "
        f"{report.differing:,} differ"
    ]
    if report.volatile:
        lines.append(
            f"volatile: {report.volatile:,} printed lines differ in addresses or pids only"
        )
    if report.differences:
        lines.append(f"first difference: {describe(report.differences[0])}")
    did = {loop: n for loop, n in report.executed.items() if n}
    lines.append("executed: " + (", ".join(f"{n:,} × {loop}" for loop, n in did.items()) or "0"))
    actions = [block["action"] for block in report.blocks]
    if actions:
        counts = (f"{actions.count(a):,} {a}" for a in ("restored", "skipped", "run"))
        lines.append(f"inner loops: {', '.join(counts)}")
    if report.fallback != "none":
        lines.append(f"fallback: {report.fallback}")
    workers = f"{report.workers} worker" + ("s" if report.workers != 1 else "")
    lines.append(
        f"seconds: {report.actual_seconds:.1f}, predicted {report.predicted_seconds:.1f}, {workers}"
    )
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"damaged: {one}" for one in report.damage[:3]]
    if report.damage:
        lines.append("the store is damaged: flor fsck says where and what depends on it")
    lines.append(f"new records: {report.new_records:,}")
    hidden = " --diverged" if report.verdict == "diverged" else ""
    for name in report.names[:5]:
        lines.append(f"  flor logs {report.run} --name {name} --origin replay{hidden}")
    return lines


def print_plan(plan: Plan) -> None:
    """Print what a replay would do, as a tree."""
    recorded, question = plan.recorded, plan.question
    tree = Tree(f"replay of run {recorded.run}, about {plan.seconds:.1f} s, nothing executed yet")
    tree.add(escape(f"source: {question.script}"))
    asked = tree.add(f"statements added: {sum(map(len, question.added.values()))}")
    for file, spans in question.added.items():
        lines = ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in spans)
        asked.add(escape(f"{file}: line {lines}"))
    count = f"{plan.workers} worker" + ("s" if plan.workers != 1 else "")
    parts = tree.add(f"{count}, mode {plan.mode}")
    for part in plan.segments:
        parts.add(escape(f"{_start(plan, part)}, then {_extent(plan, part)}"))
    for note in plan.notes:
        tree.add(escape(f"note: {note}"))
    _console().print(tree, overflow="fold")


def _start(plan: Plan, part: Segment) -> str:
    main = plan.recorded.main_loop
    if part.jump is None:
        return "from the first line"
    where = f"end of {main}={part.jump.index}" if part.jump.index >= 0 else f"entry of {main}"
    return f"first lines, restore checkpoint {part.jump.checkpoint} ({where})"


def _extent(plan: Plan, part: Segment) -> str:
    main = plan.recorded.main_loop
    if part.stop == NOTHING:
        return "stop at the main loop"
    if plan.mode == "full" or main is None:
        return "execute everything"
    if part.stop is not None:
        return f"execute {main}={part.start}..{part.stop}"
    if part.start >= plan.recorded.iterations:
        return f"execute what follows {main}"
    return f"execute {main}={part.start}.. to the program's end"


RunRow = tuple[str, str, str, str]


def print_runs(rows: list[RunRow]) -> None:
    """Print one line a run: its id, its version, the verdict, what there is to say."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "version", "verdict", "what"):
        table.add_column(name)
    for run, version, verdict, what in rows:
        colour = _COLOURS.get(verdict, "red")
        table.add_row(run, version, f"[{colour}]{verdict}[/]", escape(what))
    _console().print(table)


def print_placements(told: list[dict[str, Any]]) -> None:
    """Print, a version once, after which line each added statement stands there, or why nowhere."""
    versions = {str(entry["version"]): entry for entry in told if entry["version"]}
    console = _console()
    for version, entry in versions.items():
        tree = Tree(f"version {version}")
        for one in entry["placed"]:
            notes = "".join(f" ({note})" for note in one["notes"])
            tree.add(escape(f"{one['today']} placed after {one['there']}{notes}"))
        for one in entry["refused"]:
            tree.add(f"[red]{escape(one['today'])} refused:[/] {escape(one['why'])}")
        if tree.children:
            console.print(tree, overflow="fold")
