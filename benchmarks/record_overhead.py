"""What recording adds to a training: the demo program with flor's calls empty, and recorded.

Pairs run in turn; a pair's ratio is what counts. `empty` is the same script on a module of four
functions that do nothing; `logged` records without checkpoints; `recorded` is the default.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import Report, Subject, compare, interleave, run_report

SCRIPT = Path(__file__).parents[1] / "python" / "flor" / "examples" / "digits.py"

EMPTY = """
import contextlib, sys, types

flor = types.ModuleType("flor")
flor.log = lambda name, value: value
flor.arg = lambda name, default: int(sys.argv[2]) if name == "epochs" else default
flor.loop = lambda name, values: values
flor.checkpointing = lambda **objects: contextlib.nullcontext()
sys.modules["flor"] = flor
import runpy
runpy.run_path(sys.argv[1], run_name="__main__")
"""

LOGGED = """
import contextlib, sys
import flor

flor.checkpointing = lambda **objects: contextlib.nullcontext()
flor.arg = lambda name, default: int(sys.argv[2]) if name == "epochs" else default
import runpy
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def measured(command: list[str], folder: Path) -> Mapping[str, float]:
    """Run a command in an empty folder and return what it took."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"FLOR_STORE": str(folder / "store")}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu}


def measure(quick: bool) -> Report:
    epochs, rounds = (4, 2) if quick else (20, 5)
    report = Report(
        "record_overhead", f"The demo program, {epochs} epochs, {rounds} rounds in turn."
    )
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)

        def subject(name: str, *words: str) -> Subject:
            return Subject(name, lambda: measured([sys.executable, *words], base / name))

        samples = interleave(
            [
                subject("empty", "-c", EMPTY, str(SCRIPT), str(epochs)),
                subject("logged", "-c", LOGGED, str(SCRIPT), str(epochs)),
                subject(
                    "recorded", "-m", "flor", "record", "--set", f"epochs={epochs}", str(SCRIPT)
                ),
            ],
            rounds,
        )
    report.add("Wall time, s", compare(samples, "wall_s", base="empty", digits=2))
    report.add("Processor time, s", compare(samples, "cpu_s", base="empty", digits=2))
    report.notes.append("The start of Python and the import of torch are inside all of them.")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
