"""The oracle harness: replay must answer what the modified script says when it runs from the start.

A workload is recorded once a session, beside one run of the same script with all its probes in it,
from the start and in another store: the oracle. Each replay then works on a copy of the recording
and is compared with the oracle, bit for bit.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

WORKLOADS_FOLDER = Path(__file__).parents[1] / "workloads"
TIMEOUT = 300

Row = dict[str, Any]
Answers = dict[str, list[tuple[str, str]]]  # name -> [(context, value)] in the order of the run


def load_probes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("probes", WORKLOADS_FOLDER / "probes.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["probes"] = module
    spec.loader.exec_module(module)
    return module


probes = load_probes()


def environment(store: Path, **more: str) -> dict[str, str]:
    """The environment of a child: the store, and nothing of flor's that this process inherited."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOR_")}
    return (
        kept | {"FLOR_STORE": str(store), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"} | more
    )


def run(
    *command: str | Path, cwd: Path, store: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(store, **more),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def flor(
    *words: str | Path, cwd: Path, store: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "flor", *words, cwd=cwd, store=store, **more)


def expect(code: int, done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Return `done`; fail with its whole output unless it exited with `code`."""
    assert done.returncode == code, (
        f"exit code {done.returncode}, expected {code}: {' '.join(done.args)}\n"
        f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    )
    return done


def logs(store: Path, cwd: Path, run_id: str = "latest") -> list[Row]:
    done = expect(0, flor("logs", run_id, "--format", "jsonl", cwd=cwd, store=store))
    return [json.loads(line) for line in done.stdout.splitlines()]


def answers(rows: list[Row], prefix: str, *, own: bool = False) -> Answers:
    """The values named `prefix`... (own: those named otherwise, of flor.log), exact to the bit."""
    found: Answers = defaultdict(list)
    for row in rows:
        if row["name"] in ("stdout", "logging") or row["name"].startswith(prefix) == own:
            continue
        # json writes a float by its shortest exact representation, so equal text is equal bits.
        found[row["name"]].append((json.dumps(row["context"]), json.dumps(row["value"])))
    return dict(found)


def differences(asked: Answers, oracle: Answers) -> str:
    """Say where two sets of answers differ; empty when nowhere."""
    lines = [f"{name}: only in replay" for name in asked.keys() - oracle.keys()]
    lines += [f"{name}: only in the oracle" for name in oracle.keys() - asked.keys()]
    for name in asked.keys() & oracle.keys():
        ours, theirs = asked[name], oracle[name]
        if len(ours) != len(theirs):
            lines.append(f"{name}: {len(ours)} records in replay, {len(theirs)} in the oracle")
        unlike = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
        lines += [f"{name}: replay {got}, oracle {want}" for got, want in unlike[:3]]
    return "\n".join(lines)


def checksums(folder: Path, *, store: bool = False) -> dict[str, str]:
    """Checksums of the user's files below a folder; with `store`, of what was recorded there."""
    if store:
        files = [*folder.glob(".flor/runs/*/run.json"), *folder.glob(".flor/runs/*/checkpoints/*")]
        files += folder.glob(".flor/runs/*/log/*")
    else:
        files = [path for path in folder.rglob("*") if ".flor" not in path.parts]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file()
    }


@dataclass(frozen=True)
class Recording:
    """A recorded workload in its folder, and what the oracle says."""

    workload: Any
    folder: Path
    rows: list[Row]
    oracle: Answers

    @property
    def store(self) -> Path:
        return self.folder / ".flor"

    def expected(self, probe: Any, only: tuple[str, int] | None = None) -> Answers:
        prefix = f"{probes.HINDSIGHT}{probe.name}/"
        wanted = {name: values for name, values in self.oracle.items() if name.startswith(prefix)}
        if only is None:
            return wanted
        return {
            name: [
                (context, value) for context, value in values if list(only) in json.loads(context)
            ]
            for name, values in wanted.items()
        }


def command(workload: Any, script: Path, overhead: str | None) -> list[str | Path]:
    """How a workload is recorded: as plain Python where nothing has to be set."""
    if not workload.set and overhead is None:
        return [sys.executable, script, *workload.argv]
    words: list[str | Path] = [sys.executable, "-m", "flor", "record"]
    if overhead is not None:
        words += ["--overhead", overhead]
    for name, value in workload.set.items():
        words += ["--set", f"{name}={value}"]
    return [*words, script, *workload.argv]


def start(workload: Any, source: str, folder: Path, overhead: str | None) -> subprocess.Popen[str]:
    folder.mkdir(parents=True)
    script = folder / f"{workload.name}.py"
    script.write_text(source)
    return subprocess.Popen(
        [str(part) for part in command(workload, script, overhead)],
        cwd=folder,
        env=environment(folder / ".flor"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def record(workload: Any, base: Path, overhead: str | None = None) -> Recording:
    """Record the workload and run its oracle, side by side."""
    asked = workload.modified(*workload.exact_probes())
    both = [
        start(workload, workload.source(), base / "recorded", overhead),
        start(workload, asked, base / "oracle", None),
    ]
    for process in both:
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, output
    rows = logs(base / "recorded" / ".flor", base)
    from_start = logs(base / "oracle" / ".flor", base)
    if workload.deterministic:
        own = [answers(part, probes.HINDSIGHT, own=True) for part in (rows, from_start)]
        assert not differences(own[0], own[1]), "the oracle is another run than the recorded one"
    return Recording(workload, base / "recorded", rows, answers(from_start, probes.HINDSIGHT))


@dataclass(frozen=True)
class Replay:
    """A finished replay: its process, its report, and the rows the run has afterwards."""

    done: subprocess.CompletedProcess[str]
    report: dict[str, Any]
    rows: list[Row]

    @property
    def new(self) -> list[Row]:
        return [row for row in self.rows if row["origin"] == "replay"]


def replay(recording: Recording, source: str, target: Path, *words: str) -> Replay:
    """Replay `source` against a copy of the recording; the user's files must stay as they are."""
    shutil.copytree(recording.folder, target, symlinks=True)
    script = target / "modified.py"
    script.write_text(source)
    report = target.with_name(target.name + "-report.json")
    before = [checksums(recording.folder), checksums(target), checksums(target, store=True)]
    done = flor(
        *("replay", "latest", "--script", script, "--report", report, *words),
        cwd=target,
        store=target / ".flor",
    )
    after = [checksums(recording.folder), checksums(target), checksums(target, store=True)]
    assert after == before, "replay changed the user's files or what was recorded"
    told = json.loads(report.read_text()) if report.exists() else {}
    return Replay(done, told, logs(target / ".flor", target))
