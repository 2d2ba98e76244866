"""Unmodified programs, what is asked about them afterwards, and the oracle's answers.

A comment ``# ask(NAME): STATEMENT`` in a program of ``tests/workloads/handsfree`` marks where a
statement may be added: what the program is recorded with is the comment. The oracle is the program
with all its statements in it, recorded from the start.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from oracle import TIMEOUT, Replay, Row, checksums, environment, expect, flor, logs

PROGRAMS = Path(__file__).parents[1] / "workloads" / "handsfree"
_ASK = re.compile(r"^( *)# ask\((\w+)\): print\(\"ASK\", (.*)\)$", re.MULTILINE)
_LOGGED = {"outer", "method", "after"}  # asked with flor.log, the others with print

Answer = tuple[str, str]  # context, value


@dataclass(frozen=True)
class Shape:
    """A program. ``jumps``: replay must not run it from the start where checkpoints are dense.

    ``falls_back``: what it keeps from some iteration on can't be rebuilt. ``before``: it is run
    once, unrecorded, in its folder. ``seeded``: a second run is the same.
    """

    name: str
    jumps: bool = True
    falls_back: bool = False
    before: bool = False
    seeded: bool = True

    @property
    def files(self) -> list[Path]:
        path = PROGRAMS / self.name
        return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]

    @property
    def script(self) -> str:
        return "run.py" if (PROGRAMS / self.name).is_dir() else f"{self.name}.py"

    @property
    def asks(self) -> list[str]:
        return [match[2] for path in self.files for match in _ASK.finditer(path.read_text())]

    def write(self, folder: Path, *asked: str) -> None:
        """Put the program into a folder, with the statements of that name in it."""
        root = PROGRAMS / self.name if (PROGRAMS / self.name).is_dir() else PROGRAMS
        for path in self.files:
            target = folder / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_ASK.sub(lambda match: self._added(match, asked), path.read_text()))

    def _added(self, match: re.Match[str], asked: tuple[str, ...]) -> str:
        margin, name, values = match.groups()
        if name not in asked:
            return match[0]
        if name in _LOGGED and self.seeded:
            statement = f'import flor; flor.log("ASK {name}", repr(({values},)))'
        else:
            statement = f'print("ASK {name}", {values})'
        return f"{margin}# what we want to know\n{margin}{statement}"


@dataclass(frozen=True)
class Recorded:
    shape: Shape
    folder: Path
    rows: list[Row]
    oracle: list[Row]


def _start(shape: Shape, folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flor", "record", *options, shape.script],
        cwd=folder,
        env=environment(folder / ".flor"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def record(shape: Shape, base: Path, *options: str) -> Recorded:
    """Record a program, and beside it its oracle."""
    plain, asking = base / "recorded", base / "oracle"
    shape.write(plain)
    if shape.before:
        subprocess.run([sys.executable, shape.script], cwd=plain, check=True, timeout=TIMEOUT)
    shutil.copytree(plain, asking)
    shape.write(asking, *shape.asks)
    for process in [_start(shape, plain, *options), _start(shape, asking)]:
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, output
    rows, oracle = logs(plain / ".flor", base), logs(asking / ".flor", base)
    if shape.seeded:
        assert own(rows) == own(oracle), "the oracle is another run than the recorded one"
    return Recorded(shape, plain, rows, oracle)


def _is_answer(row: Row) -> bool:
    return row["name"].startswith("ASK") or str(row["value"]).startswith("ASK")


def own(rows: list[Row]) -> list[Answer]:
    """What the program said by itself."""
    return [
        (json.dumps(row["context"]), f"{row['name']} {row['value']}")
        for row in rows
        if not _is_answer(row)
    ]


def answers(rows: list[Row], *asked: str) -> list[Answer]:
    """What the added statements of these names said, in the order of the run."""
    said = [(row, f"{row['name']} {row['value']}") for row in rows if _is_answer(row)]
    wanted = tuple(f"ASK {name} " for name in asked)
    return [
        (json.dumps(row["context"]), text)
        for row, text in said
        if text.removeprefix("stdout ").startswith(wanted)
    ]


def replay(recorded: Recorded, target: Path, *words: str, asked: tuple[str, ...]) -> Replay:
    """Ask a copy of the recording; the user's files must stay as they are."""
    shutil.copytree(recorded.folder, target, symlinks=True)
    recorded.shape.write(target, *asked)
    report = target.with_name(target.name + "-report.json")
    before = [checksums(recorded.folder), checksums(target), checksums(target, store=True)]
    done = flor(
        *("replay", "latest", "--script", target / recorded.shape.script, "--report", report),
        *words,
        cwd=target,
        store=target / ".flor",
    )
    after = [checksums(recorded.folder), checksums(target), checksums(target, store=True)]
    assert after == before, "replay changed the user's files or what was recorded"
    told = json.loads(report.read_text()) if report.exists() else {}
    return Replay(done, told, logs(target / ".flor", target))


def check(recorded: Recorded, result: Replay, *asked: str) -> None:
    """Compare a replay's answers with the oracle's, bit for bit."""
    expect(0, result.done)
    assert result.report["verdict"] == "verified", result.report
    found = answers(result.new, *asked)
    assert found, "nothing was answered"
    wanted = answers(recorded.oracle, *asked)
    if not recorded.shape.seeded:  # what is asked is what the run itself had printed
        found = [
            (context, re.sub(r"^.*?ASK \w+ (ASK )?", "stdout ", text)) for context, text in found
        ]
        said = own(recorded.rows)
        wanted = [pair for pair in said if pair[1].split()[1] in {t.split()[1] for _, t in found}]
    unlike = [pair for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]]
    assert not unlike, f"replay, oracle: {unlike[:3]}"
    assert len(found) == len(wanted)
