"""The report: tables in Markdown, with the machine and what is unfair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flor.bench.harness import Figure
from flor.bench.machine import machine_line
from flor.bench.results import Outcome, Results, SuiteOutcome
from flor.bench.summary import ENOUGH_FOR_P99, ratios, summarize


def report(results: Results, plots: Mapping[tuple[str, str], Path]) -> str:
    """Return the whole report. ``plots`` has a picture's path by (suite, experiment)."""
    head = [
        "# flor.bench\n",
        f"{machine_line(results.machine)}\n",
        f"Kernel: `{results.machine['kernel_line']}`\n",
        "Packages: " + ", ".join(f"{n} {v}" for n, v in results.versions.items()) + "\n",
    ]
    if results.quick:
        head.append("**--quick**: small sizes and few rounds. It shows that all of it runs.\n")
    return "\n".join(head + [_suite(one, plots) for one in results.suites])


def _suite(suite: SuiteOutcome, plots: Mapping[tuple[str, str], Path]) -> str:
    parts = [f"## {suite.name}\n\n{suite.question}\n"]
    for outcome in suite.experiments:
        parts.append(outcome_text(outcome))
        if path := plots.get((suite.name, outcome.title)):
            parts.append(f"![{outcome.title}]({path.name})\n")
    parts.append(f"**What is unfair.** {' '.join(suite.unfair.split())}\n")
    return "\n".join(parts)


def outcome_text(outcome: Outcome) -> str:
    """Return one experiment: a table a figure, and what was left out."""
    rounds = max(map(len, outcome.samples.values()))
    parts = [f"### {outcome.title}\n\n{outcome.question} {rounds} rounds.\n"]
    for figure in outcome.figures:
        if rows := _rows(outcome, figure, rounds):
            parts.append(f"**{figure.name}**, {figure.unit}\n\n{markdown_table(rows)}")
    lines = [*outcome.notes, *outcome.skipped]
    if lines:
        parts.append("".join(f"- {line.splitlines()[0]}\n" for line in lines))
    return "\n".join(parts)


def _rows(outcome: Outcome, figure: Figure, rounds: int) -> list[dict[str, Any]]:
    out = []
    base = outcome.samples[outcome.base]
    for subject, samples in outcome.samples.items():
        values = [row[figure.name] for row in samples if figure.name in row]
        if not values:
            continue
        found = summarize(values, figure.lower)
        row: dict[str, Any] = {"subject": subject, "median": rounded(found.median)}
        row |= {"lowest": rounded(found.low), "highest": rounded(found.high)}
        if rounds >= ENOUGH_FOR_P99:
            row["p99"] = rounded(found.p99)
        parts = ratios(samples, base, figure.name)
        ratio = summarize(parts, figure.lower) if parts else None
        row[f"x {outcome.base}"] = (
            f"{ratio.median:.3g} ({ratio.low:.3g} to {ratio.high:.3g})" if ratio else ""
        )
        out.append(row)
    return out


def rounded(value: float) -> float:
    """Return three digits of a small number, and integers of large ones."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.3g}")


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
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)
