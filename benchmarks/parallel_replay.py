"""Two workers against one, on two idle cores: every step of a run recorded with one thread.

The run takes a minute and more: both workers repeat what comes before the main loop. Pairs in turn.
FLOR_BENCH_PROGRAMS: only these.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, Subject, interleave, run_report
from benchmarks.training import TRAINING, Program, flor
from flor.bench.apart import command_cost

LONGER = 3  # times as many epochs as the other benchmarks run
ONE, TWO = "one worker", "two workers"


def row(program: Program, count: int, folder: Path) -> dict[str, Any]:
    script = program.write(folder)
    run = command_cost(flor("record", script, *program.args), folder)["wall"]
    program.write(folder, "inner")
    verdicts = set()

    def replay(workers: int) -> dict[str, float]:
        options = ("--workers", str(workers), "--report", "report.json")
        cost = command_cost(flor("replay", "latest", "--script", script, *options), folder)
        told = json.loads((folder / "report.json").read_text())
        verdicts.add(f"{told['verdict']}{told['fallback'] or ''}")
        return {**cost, "predicted": told["predicted_seconds"], "replay": told["actual_seconds"]}

    done = interleave([Subject(ONE, lambda: replay(1)), Subject(TWO, lambda: replay(2))], count)
    pairs = zip(done[ONE], done[TWO], strict=True)
    gains = sorted(one["wall"] / two["wall"] for one, two in pairs)
    median = {name: statistics.median(each["wall"] for each in done[name]) for name in done}
    return {
        "program": program.name,
        "run, s": round(run, 1),
        "one worker, s": round(median[ONE], 1),
        "two, s": round(median[TWO], 1),
        "one / two": round(statistics.median(gains), 2),
        "from": round(gains[0], 2),
        "to": round(gains[-1], 2),
        "predicted, s": " ".join(f"{done[name][0]['predicted']:.1f}" for name in (ONE, TWO)),
        "replay, s": " ".join(f"{done[name][0]['replay']:.1f}" for name in (ONE, TWO)),
        "verdict": "/".join(sorted(verdicts)),
    }


def longer(program: Program) -> Program:
    return replace(program, args=(*program.args[:-1], str(LONGER * int(program.args[-1]))))


def measure(quick: bool) -> Report:
    chosen = os.environ.get("FLOR_BENCH_PROGRAMS", "digits_convnet").split()
    report = Report("parallel_replay", "Every step, by one worker and by two.")
    rows = []
    for program in (one for one in TRAINING if one.name in chosen):
        made = replace(program, args=program.few) if quick else longer(program)
        with tempfile.TemporaryDirectory() as temporary:
            rows.append(row(made, 1 if quick else 3, Path(temporary)))
        print(rows[-1], flush=True)
    report.add("Replays", rows)
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
