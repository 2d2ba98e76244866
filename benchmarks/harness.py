"""What the project's own benchmarks share: a report of tables, its command line.

The measuring is flor.bench's, which users have too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flor.bench.harness import Subject, interleave
from flor.bench.machine import machine, machine_line
from flor.bench.markdown import markdown_table
from flor.bench.summary import quantile, ratios, summarize

__all__ = ["Report", "Subject", "compare", "interleave", "quantile", "run_report"]

OUTPUT = Path("build/bench")


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


def compare(
    samples: Mapping[str, Sequence[Mapping[str, float]]],
    figure: str,
    base: str | None = None,
    digits: int = 1,
) -> list[dict[str, Any]]:
    """Return a row a subject: median, spread, and the median ratio to `base` round by round."""
    rows = []
    for name, rounds in samples.items():
        found = summarize([one[figure] for one in rounds])
        row: dict[str, Any] = {"subject": name}
        row |= {"median": found.median, "min": found.low, "max": found.high}
        row = {key: round(it, digits) if key != "subject" else it for key, it in row.items()}
        if base is not None:
            parts = ratios(rounds, samples[base], figure)
            row["ratio"] = round(summarize(parts).median, 4) if parts else ""
        rows.append(row)
    return rows


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
    print(machine_line(machine()))
