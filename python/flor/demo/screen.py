"""What the demo shows in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from flor.demo.questions import CONFUSION, GRADIENTS, Question, diff, original

if TYPE_CHECKING:
    from flor.demo.story import Way

BARS = " ▁▂▃▄▅▆▇█"
HEIGHT = 6
STEPS_SHOWN = 4


def chapter(console: Console, number: int, title: str, subtitle: str) -> None:
    """Begin a part of the story."""
    console.print()
    console.print(
        Rule(f"[bold]{number}. {title}[/] [dim]{subtitle}[/]", align="left", style="cyan")
    )
    console.print()


def show_run(console: Console, runs: pd.DataFrame, seconds: float) -> None:
    """Show the recorded run as `flor runs` has it."""
    row = runs.iloc[-1]
    table = Table(box=None, show_header=False, padding=(0, 2))
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["started"]))
    for name in ("run", "script", "status", "started", "version"):
        table.add_row(f"[dim]{name}[/]", started if name == "started" else str(row[name]))
    table.add_row("[dim]took[/]", f"{seconds:.1f} s, Python's start included")
    console.print(table)


def show_curve(console: Console, values: Sequence[float]) -> None:
    """Show one value an epoch as columns, on a logarithmic scale."""
    heights = np.log10(np.maximum(np.asarray(values, dtype=float), 1e-12))
    low, high = float(heights.min()), float(heights.max())
    levels = (heights - low) / ((high - low) or 1.0) * (HEIGHT * 8 - 1) + 1
    lines = []
    for row in reversed(range(HEIGHT)):
        cells = (BARS[int(np.clip(level - 8 * row, 0, 8))] * 2 for level in levels)
        label = {HEIGHT - 1: f"{max(values):8.4f}", 0: f"{min(values):8.4f}"}.get(row, " " * 8)
        lines.append(Text.assemble((f"  {label} ", "dim"), (" ".join(cells), "cyan")))
    axis = Text(" " * 11 + " ".join(f"{epoch:<2}" for epoch in range(len(values))), style="dim")
    title = Text("\n  Mean training loss of each epoch (logarithmic)\n", style="bold")
    console.print(Group(title, *lines, axis))


def show_question(console: Console, question: Question) -> None:
    """Show a question and the change to the source that asks it."""
    source = original()
    body = diff(source, question.ask(source)).split("\n", 2)[2]  # without the two file names
    syntax = Syntax(body, "diff", theme="ansi_dark", background_color="default", word_wrap=True)
    console.print(Panel(syntax, title=f"[bold]{question.title}[/]", title_align="left"))


def show_values(console: Console, gradients: pd.DataFrame, confusion: pd.DataFrame) -> None:
    """Show some of the answers as tables."""
    table = Table(title="Gradient norms, the first steps of some epochs", title_justify="left")
    layers = [name.removeprefix("gradient ").removesuffix(".weight") for name in GRADIENTS]
    for name in ("epoch", "step", *layers):
        table.add_column(name, justify="right")
    epochs = sorted(set(gradients["epoch"]))
    for epoch in (epochs[0], epochs[len(epochs) // 2], epochs[-1]):
        for row in gradients[gradients["epoch"] == epoch].head(STEPS_SHOWN).itertuples(index=False):
            values = dict(zip(gradients.columns, row, strict=True))
            table.add_row(
                str(values["epoch"]),
                str(values["step"]),
                *(f"{values[name]:.6f}" for name in GRADIENTS),
            )
        table.add_section()
    console.print(table)
    console.print(
        f"[dim]  {len(gradients):,} steps x {len(GRADIENTS)} layers in all[/]\n", highlight=False
    )
    console.print(_mistakes(confusion))


def _mistakes(confusion: pd.DataFrame) -> Table:
    table = Table(title="Confusion: wrong guesses on the test images", title_justify="left")
    for name in ("epoch", "right", "wrong", "most frequent mistakes (digit → guess)"):
        table.add_column(name, justify="left" if "most" in name else "right")
    rows = sorted({round(place) for place in np.linspace(0, len(confusion) - 1, 6)})
    shown = confusion.iloc[rows]
    for epoch, cell in zip(shown["epoch"], shown[CONFUSION], strict=True):
        counts = matrix(cell)
        wrong = counts - np.diag(np.diag(counts))
        worst = [divmod(int(place), len(wrong)) for place in np.argsort(-wrong, axis=None)[:4]]
        told = ", ".join(
            f"{was} → {took} ({wrong[was, took]})" for was, took in worst if wrong[was, took]
        )
        table.add_row(str(epoch), str(int(np.trace(counts))), str(int(wrong.sum())), told)
    return table


def matrix(cell: Any) -> np.ndarray[Any, Any]:
    """Return a logged matrix as an array, whatever a data frame made of it."""
    return np.array([list(row) for row in cell], dtype=np.int64)


def show_ways(console: Console, ways: Iterable[Way]) -> None:
    """Show what each way to the answer took, beside the full re-run."""
    ways = list(ways)
    whole = ways[-1].seconds
    table = Table(show_lines=False)
    for name in ("", "epochs run", "steps run", "predicted", "took", "speed-up"):
        table.add_column(name, justify="left" if not name else "right")
    for way in ways:
        ran, predicted, speed = ["all", "all"], "", "1"
        if way.report:
            ran = [f"{way.report['executed'].get(loop, 0):,}" for loop in ("epoch", "step")]
            predicted = f"{way.report['predicted_seconds']:.1f} s"
            speed = f"[bold green]{whole / way.seconds:.1f} x[/]"
        table.add_row(way.title, *ran, predicted, f"{way.seconds:.1f} s", speed)
    console.print(table)
    for way in ways:
        console.print(f"  [dim]{way.command}[/]", highlight=False)


def show_trust(console: Console, ways: Iterable[Way], equal: tuple[int, int]) -> None:
    """Say what was verified."""
    console.print()
    for way in ways:
        if way.report:
            compared, states = way.report["compared"], way.report["states_compared"]
            console.print(
                f"  [bold green]{way.report['verdict']}[/]  {way.title}: "
                f"{compared:,} recorded values and "
                f"{states:,} states compared, {len(way.report['differences'])} different",
                highlight=False,
            )
    mark = "bold green" if equal[0] == equal[1] else "bold red"
    console.print(
        f"  [{mark}]{equal[0]:,} of {equal[1]:,}[/] answers equal the full re-run's, bit for bit",
        highlight=False,
    )
