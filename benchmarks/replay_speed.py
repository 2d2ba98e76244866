"""How fast are questions answered after a run, and how well does a plan know beforehand?

Each question is replayed three times: outside the inner loop, in one epoch, and in every step by
one worker and by two. ``predicted`` is what the plan said of ``replay``, the seconds inside it.
FLOR_BENCH_PROGRAMS: only these.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, run_report
from benchmarks.training import TRAINING, Program, flor
from flor.bench.apart import command_cost


def questions(program: Program) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return by name what is asked, and with which options."""
    middle = int(program.args[-1]) // 2
    return {
        "outside the inner loop": ("outer", ()),
        "one epoch": ("inner", ("--only", f"{program.loop}={middle}..{middle}")),
        "every step": ("inner", ()),
        "every step, 2 workers": ("inner", ("--workers", "2")),
    }


def replayed(
    program: Program, folder: Path, asked: str, options: tuple[str, ...]
) -> dict[str, Any]:
    script = program.write(folder, asked)
    took = command_cost(
        flor("replay", "latest", "--script", script, "--report", "report.json", *options), folder
    )
    report = json.loads((folder / "report.json").read_text())
    return {**report, "took": took["wall"]}


def rows(program: Program, times: int, folder: Path) -> list[dict[str, Any]]:
    script = program.write(folder)
    recorded = command_cost(flor("record", script, *program.args), folder)["wall"]
    found = []
    for name, (asked, options) in questions(program).items():
        done = [replayed(program, folder, asked, options) for _ in range(times)]
        seconds, replay, predicted = (
            statistics.median(one[figure] for one in done)
            for figure in ("took", "actual_seconds", "predicted_seconds")
        )
        executed = done[0]["executed"]
        found.append(
            {
                "program": program.name,
                "question": name,
                "verdict": "/".join(sorted({one["verdict"] for one in done})),
                "seconds": round(seconds, 2),
                "replay": round(replay, 2),
                "predicted": round(predicted, 2),
                "run / seconds": round(recorded / seconds, 2),
                "executed": ", ".join(f"{count} {loop}" for loop, count in executed.items()),
                "fallback": done[0]["fallback"],
            }
        )
        print(found[-1], flush=True)
    return found


def measure(quick: bool) -> Report:
    chosen = os.environ.get("FLOR_BENCH_PROGRAMS", "").split()
    programs = [one for one in TRAINING if not chosen or one.name in chosen]
    report = Report("replay_speed", "Questions after the run; median of the replays of each.")
    found = []
    for program in programs:
        if quick:
            program = Program(program.name, program.few, program.few, program.loop)
        with tempfile.TemporaryDirectory() as temporary:
            found += rows(program, 1 if quick else 3, Path(temporary))
    report.add("Replays", found)
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
