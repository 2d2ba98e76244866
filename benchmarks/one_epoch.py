"""One epoch of a hundred: how much faster than the whole run is the answer about one of them?

Epochs take 5 s and more. FLOR_BENCH_STEPS: steps an epoch.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.harness import Report, run_report
from benchmarks.training import TRAINING, flor
from flor.bench.apart import command_cost

EPOCHS, STEPS = 100, 220


def measure(quick: bool) -> Report:
    program = TRAINING[0]
    epochs, steps = (5, 10) if quick else (EPOCHS, int(os.environ.get("FLOR_BENCH_STEPS", STEPS)))
    report = Report("one_epoch", f"One epoch of {epochs}, of {steps} steps each.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        script = program.write(folder)
        args = ("--epochs", str(epochs), "--steps", str(steps))
        run = command_cost(flor("record", script, *args), folder)["wall"]
        program.write(folder, "inner")
        rows = []
        for epoch in (epochs // 3, epochs // 2, epochs - 2):
            only = ("--only", f"epoch={epoch}..{epoch}", "--report", "report.json")
            took = command_cost(flor("replay", "latest", "--script", script, *only), folder)
            told = json.loads((folder / "report.json").read_text())
            rows.append(
                {
                    "epoch": epoch,
                    "run, s": round(run, 1),
                    "an epoch, s": round(run / epochs, 2),
                    "answer, s": round(took["wall"], 2),
                    "run / answer": round(run / took["wall"], 1),
                    "verdict": told["verdict"],
                    "executed": ", ".join(f"{n} {loop}" for loop, n in told["executed"].items()),
                }
            )
            print(rows[-1], flush=True)
    report.add("Replays of one epoch", rows)
    median = statistics.median(row["run / answer"] for row in rows)
    report.notes.append(f"Median: {median:.1f} times faster than the run.")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
