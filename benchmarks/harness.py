"""What all benchmarks share: interleaved rounds, medians with spread, ratios, machine, report.

A benchmark measures several `Subject`s. Each round runs every one of them once, in turn and in a
rotating order, so that a slow minute of a shared machine hits all alike; trust the ratios, not the
absolute times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUTPUT = Path("build/bench")


@dataclass(frozen=True)
class Subject:
    """Something measured: `run` does it once and returns named figures."""

    name: str
    run: Callable[[], Mapping[str, float]]


@dataclass
class Report:
    """Named tables of figures, and what they were measured on."""

    name: str
    question: str
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, title: str, rows: list[dict[str, Any]]) -> None:
        self.tables[title] = rows

    def write(self, folder: Path) -> None:
        """Write NAME.json and NAME.md into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "question": self.question,
            "machine": machine(),
            "tables": self.tables,
            "notes": self.notes,
        }
        (folder / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n")
        (folder / f"{self.name}.md").write_text(self.markdown())

    def markdown(self) -> str:
        parts = [f"## {self.name}\n\n{self.question}\n"]
        for title, rows in self.tables.items():
            parts.append(f"\n### {title}\n\n{markdown_table(rows)}")
        if self.notes:
            parts.append("\n" + "".join(f"- {note}\n" for note in self.notes))
        return "".join(parts)


def interleave(subjects: Sequence[Subject], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Run every subject `rounds` times, in turn, each round beginning with another one."""
    samples: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
    for number in range(rounds):
        start = number % len(subjects)
        for subject in [*subjects[start:], *subjects[:start]]:
            samples[subject.name].append(dict(subject.run()))
    return samples


def summarize(samples: Sequence[float]) -> dict[str, float]:
    """Return the median, the lowest and the highest."""
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples)}


def compare(
    samples: Mapping[str, Sequence[Mapping[str, float]]],
    figure: str,
    base: str | None = None,
    digits: int = 1,
) -> list[dict[str, Any]]:
    """Return a row a subject: median, spread, and the median ratio to `base` round by round."""
    rows = []
    for name, rounds in samples.items():
        values = [one[figure] for one in rounds]
        row: dict[str, Any] = {"subject": name}
        row |= {key: round(value, digits) for key, value in summarize(values).items()}
        if base is not None:
            pairs = zip(values, (one[figure] for one in samples[base]), strict=True)
            row["ratio"] = round(statistics.median(mine / theirs for mine, theirs in pairs), 4)
        rows.append(row)
    return rows


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table, numbers to the right."""
    if not rows:
        return "(nothing)\n"
    names = list(rows[0])
    numeric = {name: all(isinstance(row.get(name), int | float) for row in rows) for name in names}
    lines = ["| " + " | ".join(names) + " |"]
    lines.append("|" + "|".join("---:" if numeric[name] else "---" for name in names) + "|")
    lines += ["| " + " | ".join(_cell(row.get(name, "")) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def machine_line() -> str:
    """Return the machine in one line."""
    it = machine()
    load = "/".join(str(one) for one in it["load"])
    return f"{it['cpu']}, {it['cores']} cores, {it['system']}, Python {it['python']}, load {load}"


def arguments(description: str | None) -> argparse.Namespace:
    """Read the options that every benchmark has: --quick and --output."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the report")
    return parser.parse_args()


def run_report(measure: Callable[[bool], Report], description: str | None) -> None:
    """Measure, print and write: the `main` of a benchmark module."""
    chosen = arguments(description)
    report = measure(chosen.quick)
    report.write(chosen.output)
    print(report.markdown())
    print(machine_line())
