"""``python -m flor.bench``: run suites, write JSON and a report, compare with older results."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from flor.bench import compare, markdown, plots, suites
from flor.bench.harness import measure
from flor.bench.machine import machine
from flor.bench.peers import versions
from flor.bench.results import Outcome, Results, SuiteOutcome
from flor.bench.suites import Plan
from flor.errors import FlorError

WORSE = 1
USAGE = 2


@click.command(epilog="Exit codes: 1 a figure got worse (--compare), 2 it could not be run.")
@click.argument("names", nargs=-1, metavar="[SUITE]...", type=click.Choice(suites.NAMES))
@click.option("--quick", is_flag=True, help="Small sizes and few rounds: does all of it run?")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of every experiment.")
@click.option("--only", metavar="TEXT", help="Experiments whose title contains TEXT.")
@click.option("--no-peers", is_flag=True, help="flor and the yardsticks alone.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("flor-bench"),
    show_default=True,
    help="Folder of results.json, report.md and the plots.",
)
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the disk to measure on [default: the system's for temporary files].",
)
@click.option("--no-plots", is_flag=True, help="No pictures (they need matplotlib).")
@click.option(
    "--compare",
    "old",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="OLD.json",
    help="Say which of flor's figures got worse beyond the spread since those results.",
)
def main(
    names: tuple[str, ...],
    quick: bool,
    rounds: int | None,
    only: str | None,
    no_peers: bool,
    output: Path,
    scratch: Path | None,
    no_plots: bool,
    old: Path | None,
) -> None:
    """Measure flor beside its peers: all suites, or those named.

    Peers take part when they are installed; the report says which were left out.
    """
    try:
        before = Results.read(old) if old else None
        with tempfile.TemporaryDirectory(prefix="flor-bench-", dir=scratch) as folder:
            plan = Plan(Path(folder), quick, rounds, not no_peers, only or "")
            results = run(names or suites.NAMES, plan, _tell)
        write(results, output, with_plots=not no_plots)
        worse = _compare(before, results) if before else False
    except FlorError as error:
        click.echo(f"flor.bench: {error}", err=True)
        sys.exit(USAGE)
    sys.exit(WORSE if worse else 0)


def run(names: tuple[str, ...], plan: Plan, told: Callable[[str], None]) -> Results:
    """Measure the named suites. Raises BenchError when flor itself fails."""
    results = Results(machine(), versions(suites.PACKAGES), plan.quick)
    for name in names:
        suite = suites.load(name)
        found = SuiteOutcome(name, suite.QUESTION, suite.UNFAIR, [])
        for experiment in suite.experiments(plan):
            told(f"{name}: {experiment.title}")
            outcome = Outcome.of(experiment, *measure(experiment, told))
            found.experiments.append(outcome)
            click.echo(markdown.outcome_text(outcome))
        if found.experiments:
            results.suites.append(found)
    if not results.suites:
        raise click.UsageError(f"no experiment's title contains {plan.only!r}")
    return results


def write(results: Results, output: Path, with_plots: bool) -> None:
    """Write results.json, report.md and, unless told otherwise, the plots."""
    output.mkdir(parents=True, exist_ok=True)
    results.write(output / "results.json")
    pictures = plots.draw(results, output) if with_plots else {}
    (output / "report.md").write_text(markdown.report(results, pictures))
    click.echo(f"wrote {output / 'report.md'} and {output / 'results.json'}")


def _compare(before: Results, now: Results) -> bool:
    """Say what changed; return whether something got worse."""
    found = compare.changes(before, now)
    for change in found:
        if change.verdict != "same":
            click.echo(str(change))
    worse = sum(change.verdict == "worse" for change in found)
    click.echo(f"{worse} of {len(found)} figures of flor got worse beyond the spread")
    return worse > 0


def _tell(text: str) -> None:
    click.echo(f"  {text}", err=True)
