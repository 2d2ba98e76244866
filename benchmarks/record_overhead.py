"""What recording adds: to trainings of 20 s and more, to small loops of plain Python, to start-up.

Pairs of a plain and a recorded run, in turn; a pair's ratio is what counts. The interval is
Student's, for the mean of the pairs' ratios. FLOR_BENCH_PAIRS: how many pairs (10);
FLOR_BENCH_PROGRAMS: only these.
"""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

import flor as flor_package
from benchmarks.harness import Report, Subject, interleave, run_report
from benchmarks.training import SMALL_LOOPS, TRAINING, Program, flor, python
from flor.bench.apart import command_cost

Samples = Mapping[str, Sequence[Mapping[str, float]]]


def pairs(program: Program, args: Sequence[str], count: int) -> Samples:
    """Run a program plain and recorded, in turn."""
    with tempfile.TemporaryDirectory() as temporary:

        def subject(name: str) -> Subject:
            return Subject(name, lambda: run(name))

        def run(name: str) -> Mapping[str, float]:
            folder = Path(temporary) / name
            shutil.rmtree(folder, ignore_errors=True)
            script = program.write(folder)
            before = python if name == "plain" else lambda *words: flor("record", *words)
            return command_cost(before(script, *args), folder)

        return interleave([subject("plain"), subject("recorded")], count)


def ratios(samples: Samples, figure: str) -> list[float]:
    both = zip(samples["plain"], samples["recorded"], strict=True)
    return [recorded[figure] / plain[figure] for plain, recorded in both]


def row(name: str, samples: Samples, figure: str) -> dict[str, Any]:
    """Return the overhead of one program in percent: mean, 90 % interval, spread."""
    percent = [100 * (ratio - 1) for ratio in ratios(samples, figure)]
    mean, low, high = statistics.mean(percent), float("nan"), float("nan")
    if len(percent) > 1:
        low, high = stats.t.interval(0.9, len(percent) - 1, mean, stats.sem(percent))
    return {
        "program": name,
        "plain, s": round(statistics.median(one[figure] for one in samples["plain"]), 2),
        "mean, %": round(mean, 2),
        "90 % from": round(float(low), 2),
        "to": round(float(high), 2),
        "median, %": round(statistics.median(percent), 2),
        "pairs": len(percent),
    }


def start_up(count: int) -> dict[str, Any]:
    """Return what recording adds to a program that does nothing, in seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "nothing.py").write_text("pass\n")
        runs = interleave(
            [
                Subject("plain", lambda: command_cost(python("nothing.py"), folder)),
                Subject("recorded", lambda: command_cost(flor("record", "nothing.py"), folder)),
            ],
            count,
        )
    added = {
        figure: statistics.median(
            late[figure] - early[figure]
            for early, late in zip(runs["plain"], runs["recorded"], strict=True)
        )
        for figure in ("wall", "cpu")
    }
    return {
        "program": "pass",
        **{f"added, {name}": round(value, 3) for name, value in added.items()},
    }


def measure(quick: bool) -> Report:
    # As pip leaves an installed package; here something may forbid Python to write byte code.
    compileall.compile_dir(Path(flor_package.__file__).parent, quiet=2)
    count = 2 if quick else int(os.environ.get("FLOR_BENCH_PAIRS", "10"))
    chosen = os.environ.get("FLOR_BENCH_PROGRAMS", "").split()
    report = Report("record_overhead", f"Plain and recorded, {count} pairs in turn.")
    programs = [one for one in (*TRAINING, SMALL_LOOPS) if not chosen or one.name in chosen]
    wall, cpu = [], []
    for program in programs:
        samples = pairs(program, program.few if quick else program.args, count)
        wall.append(row(program.name, samples, "wall"))
        cpu.append(row(program.name, samples, "cpu"))
        print(wall[-1], cpu[-1], sep="\n", flush=True)
    report.add("Wall time", wall)
    report.add("Processor time", cpu)
    report.add("Start-up", [start_up(3 * count)])
    trained = [one["mean, %"] for one in wall if one["program"] != SMALL_LOOPS.name]
    if trained:
        report.notes.append(f"Mean over the trainings: {statistics.mean(trained):.2f} % wall.")
    report.notes.append("The start of Python and the import of torch are inside; bound: 1/15.")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
