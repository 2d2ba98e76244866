"""Pictures of the report: a bar a subject, its line from the lowest to the highest round."""

from __future__ import annotations

from pathlib import Path

from flor.bench.harness import BenchError, Figure
from flor.bench.results import Outcome, Results
from flor.bench.summary import Summary, summarize

OURS, THEIRS = "#1f77b4", "#b0b0b0"


def draw(results: Results, folder: Path) -> dict[tuple[str, str], Path]:
    """Write a PNG an experiment into ``folder``; return the paths by (suite, experiment).

    Raises BenchError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure as Picture
    except ImportError as error:
        raise BenchError(
            "the plots need matplotlib: pip install matplotlib, or give --no-plots"
        ) from error
    made = {}
    for suite in results.suites:
        for number, outcome in enumerate(suite.experiments):
            figures = [one for one in outcome.figures if _summaries(outcome, one)]
            height = 0.8 + 0.28 * len(outcome.samples)
            picture = Picture(figsize=(4.2 * len(figures), height), layout="constrained")
            axes = picture.subplots(1, len(figures), squeeze=False)[0]
            for ax, figure in zip(axes, figures, strict=True):
                _bars(ax, outcome, figure)
            path = folder / f"{suite.name}-{number}.png"
            picture.savefig(path, dpi=110)
            made[suite.name, outcome.title] = path
    return made


def _summaries(outcome: Outcome, figure: Figure) -> dict[str, Summary]:
    found = {}
    for subject, rows in outcome.samples.items():
        values = [row[figure.name] for row in rows if figure.name in row]
        if values:
            found[subject] = summarize(values, figure.lower)
    return found


def _bars(ax: object, outcome: Outcome, figure: Figure) -> None:
    from matplotlib.axes import Axes

    assert isinstance(ax, Axes)
    found = _summaries(outcome, figure)
    medians = [one.median for one in found.values()]
    spread = [
        [one.median - one.low for one in found.values()],
        [one.high - one.median for one in found.values()],
    ]
    colours = [OURS if name in outcome.ours else THEIRS for name in found]
    ax.barh(list(found), medians, xerr=spread, color=colours, ecolor="#404040", capsize=2)
    if min(medians) > 0 and max(medians) / min(medians) > 30:
        ax.set_xscale("log")
    ax.invert_yaxis()
    ax.set_title(f"{figure.name}, {figure.unit} ({'less' if figure.lower else 'more'} is better)")
    ax.title.set_fontsize(9)
    ax.tick_params(labelsize=8)
