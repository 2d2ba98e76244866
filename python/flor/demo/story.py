"""The demo from beginning to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

import flor
from flor.demo import screen
from flor.demo.picture import draw
from flor.demo.processes import Finished, command_line, run_flor
from flor.demo.questions import CONFUSION, GRADIENTS, INNER, OUTER, SCRIPT, original
from flor.errors import FlorError

STORE = ".flor"
RERUN_STORE = "rerun-from-the-start"
EPOCHS = 20  # the default of the program


@dataclass(frozen=True)
class Way:
    """One way to the answer: how it was asked, what it took, what it was checked against."""

    title: str
    command: str
    seconds: float
    report: dict[str, Any] | None = None


class Demo:
    """A folder with the program, its store and the copies with the questions in them."""

    def __init__(
        self, folder: Path, epochs: int | None, store: Path | None, console: Console
    ) -> None:
        self.folder = folder
        self.console = console
        self.epochs = epochs or EPOCHS
        self.sets = ("--set", f"epochs={epochs}") if epochs else ()
        self.store = store.resolve() if store else folder / STORE
        self.rerun_store = folder / RERUN_STORE

    def prepare(self) -> None:
        """Write the program and its descendants; empty the stores of an earlier demo here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for store in (self.folder / STORE, self.rerun_store):
            if (store / "flor.json").exists():
                shutil.rmtree(store)
        source = original()
        for name, text in (
            (SCRIPT, source),
            ("digits_inner.py", INNER.ask(source)),
            ("digits_outer.py", OUTER.ask(source)),
            ("digits_both.py", OUTER.ask(INNER.ask(source))),
        ):
            (self.folder / name).write_text(text)

    def run(
        self, label: str, *words: str, store: Path | None = None, watch: bool = False
    ) -> Finished:
        """Run one flor command with a progress bar."""
        where = store or self.store
        return run_flor(
            *words,
            console=self.console,
            folder=self.folder,
            store=where,
            label=label,
            done=(lambda: self._epochs_done(where)) if watch else None,
        )

    def _epochs_done(self, store: Path) -> float:
        try:
            return len(flor.open(store).logs("accuracy", run="latest").df()) / self.epochs
        except FlorError:  # the run has not begun to write
            return 0.0

    def record(self) -> Finished:
        """Train under recording."""
        words = ("record", "--overhead", "0.0667", *self.sets, SCRIPT)
        return self.run("training, recorded", *words, watch=True)

    def rerun(self) -> Way:
        """Train the modified program from the start: what one does without flor."""
        words = ("record", *self.sets, "digits_both.py")
        finished = self.run("full re-run, both", *words, store=self.rerun_store, watch=True)
        return Way("full re-run of the modified script", command_line(words), finished.seconds)

    def replay(self, title: str, script: str, *words: str) -> Way:
        """Ask the recorded run."""
        report = self.folder / "report.json"
        asked = ("replay", "--script", script, *words)
        finished = self.run(f"replay, {title}", *asked, "--report", str(report))
        return Way(title, command_line(asked), finished.seconds, json.loads(report.read_text()))

    def table(self, *names: str, store: Path | None = None) -> pd.DataFrame:
        """Return logged values, a column a loop and a name."""
        frame: pd.DataFrame = flor.open(store or self.store).logs(*names, run="latest").df()
        return frame


def run_demo(
    output: Path,
    *,
    epochs: int | None = None,
    store: Path | None = None,
    console: Console | None = None,
) -> int:
    """Record, ask, answer, compare and draw, below ``output``; return the exit code of the verb.

    Raises DemoError when one of the commands fails.
    """
    console = console or Console()
    demo = Demo(output.resolve(), epochs, store, console)
    demo.prepare()
    _record(demo)
    screen.chapter(console, 2, "Ask", "Two statements that the recorded program did not have")
    screen.show_question(console, OUTER)
    screen.show_question(console, INNER)
    ways = _answer(demo)
    equal = _trust(demo, ways)
    _draw(demo, ways)
    return 0 if equal[0] == equal[1] else 3


def _record(demo: Demo) -> None:
    title = "An ordinary training program, recorded while it runs"
    screen.chapter(demo.console, 1, "Record", title)
    recorded = demo.record()
    screen.show_run(demo.console, flor.open(demo.store).runs().df(), recorded.seconds)
    curve = demo.table("loss").groupby("epoch")["loss"].mean()
    screen.show_curve(demo.console, curve.tolist())


def _answer(demo: Demo) -> list[Way]:
    title = "Replay restores checkpoints and runs only what is asked"
    screen.chapter(demo.console, 3, "Answer", title)
    middle = demo.epochs // 2
    one = ("digits_inner.py", "--only", f"epoch={middle}")
    ways = [
        demo.replay("outer question, all epochs", "digits_outer.py"),
        demo.replay(f"inner question, epoch {middle} only", *one),
        demo.replay("inner question, all epochs, 2 workers", "digits_inner.py", "--workers", "2"),
        demo.rerun(),
    ]
    screen.show_values(demo.console, demo.table(*GRADIENTS), demo.table(CONFUSION))
    return ways


def _trust(demo: Demo, ways: list[Way]) -> tuple[int, int]:
    """Show times and verdicts; return how many answers equal the re-run's, and their number."""
    title = "Every value was compared: with the record, with the re-run"
    screen.chapter(demo.console, 4, "Trust", title)
    screen.show_ways(demo.console, ways)
    equal = _equal_values(demo, (CONFUSION, *GRADIENTS))
    screen.show_trust(demo.console, ways, equal)
    return equal


def _draw(demo: Demo, ways: list[Way]) -> None:
    picture = demo.folder / "answers.png"
    curves = demo.table("loss"), demo.table("accuracy")
    answers = demo.table(*GRADIENTS), demo.table(CONFUSION)
    draw(picture, *curves, *answers, [(way.title, way.seconds) for way in ways])
    demo.console.print(f"\n  Picture: [bold]{picture}[/]\n  Store:   [bold]{demo.store}[/]\n")


def _equal_values(demo: Demo, names: Sequence[str]) -> tuple[int, int]:
    """Return how many answers of replay equal those of the re-run exactly, and their number."""
    equal = total = 0
    for name in names:
        ours = demo.table(name)[name]
        theirs = demo.table(name, store=demo.rerun_store)[name]
        total += max(len(ours), len(theirs))
        equal += sum(
            json.dumps(_plain(a)) == json.dumps(_plain(b))
            for a, b in zip(ours, theirs, strict=False)
        )
    return equal, total


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
