"""Run the project's own benchmarks, each in a process of its own, and join their reports.

python -m benchmarks.report [--quick] [--output FOLDER] [NAME...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import OUTPUT
from flor.bench.machine import machine, machine_line

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "harness", "report"}


def benchmarks() -> list[str]:
    """Return the names of all benchmarks: the modules of this folder."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(benchmarks()))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(benchmarks()):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    options = ["--output", str(chosen.output), *(["--quick"] if chosen.quick else [])]
    failed = []
    for name in chosen.names or benchmarks():
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False)
        if done.returncode != 0:
            failed.append(name)
    parts = [
        path.read_text() for path in sorted(chosen.output.glob("*.md")) if path.stem != "report"
    ]
    report = chosen.output / "report.md"
    report.write_text(f"# Benchmarks\n\n{machine_line(machine())}\n\n" + "\n".join(parts))
    print(f"wrote {report}" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
