"""The demo's picture: what was recorded, what was asked afterwards, and what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from flor.demo.questions import CONFUSION, GRADIENTS
from flor.demo.screen import matrix

COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e")
INK, FAINT = "#212529", "#adb5bd"
STYLE = {
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
}


def draw(
    path: Path,
    losses: pd.DataFrame,
    accuracies: pd.DataFrame,
    gradients: pd.DataFrame,
    confusion: pd.DataFrame,
    times: list[tuple[str, float]],
) -> None:
    """Write the picture to ``path`` as PNG."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.14, wspace=0.04, hspace=0.05)
        figure = Figure(figsize=(13, 8.6), dpi=150, layout=layout, facecolor="white")
        grid = figure.add_gridspec(2, 12)
        _curves(figure.add_subplot(grid[0, :5]), losses, accuracies)
        _gradients(figure.add_subplot(grid[0, 5:]), gradients)
        _confusion(figure.add_subplot(grid[1, :5]), confusion)
        _times(figure.add_subplot(grid[1, 5:]), times)
        FigureCanvasAgg(figure).print_png(str(path))


def _smooth(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the moving geometric mean, over a thirtieth of the run."""
    logs = pd.Series(np.log(np.maximum(values, 1e-12)))
    width = max(1, len(logs) // 30)
    smooth = logs.rolling(width, center=True, min_periods=1).mean()
    return np.asarray(np.exp(smooth.to_numpy()))


def _epochs(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return where each step lies on an axis of epochs."""
    steps = frame.groupby("epoch")["step"].transform("max") + 1
    return np.asarray(frame["epoch"] + frame["step"] / steps, dtype=float)


def _over_epochs(axes: Any, place: np.ndarray[Any, Any]) -> None:
    axes.set(yscale="log", xlabel="epoch", xlim=(0, place.max()))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curves(axes: Any, losses: pd.DataFrame, accuracies: pd.DataFrame) -> None:
    axes.set_title("Recorded: loss and test accuracy")
    place, loss = _epochs(losses), losses["loss"].to_numpy(dtype=float)
    axes.plot(place, loss, color=COLOURS[0], alpha=0.18, linewidth=0.7)
    axes.plot(place, _smooth(loss), color=COLOURS[0], linewidth=2)
    _over_epochs(axes, place)
    axes.set_ylabel("training loss", color=COLOURS[0])
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.plot(
        accuracies["epoch"] + 1, 100 * accuracies["accuracy"], color=COLOURS[1], marker="o", ms=4
    )
    right.set_ylabel("test accuracy, %", color=COLOURS[1])


def _gradients(axes: Any, gradients: pd.DataFrame) -> None:
    axes.set_title("Asked afterwards: gradient norm of each layer, every step")
    place, lowest = _epochs(gradients), np.inf
    for name, colour in zip(GRADIENTS, COLOURS, strict=True):
        values = gradients[name].to_numpy(dtype=float)
        label = name.removeprefix("gradient ").removesuffix(".weight")
        smooth = _smooth(values)
        lowest = min(lowest, float(smooth.min()))
        axes.plot(place, values, color=colour, alpha=0.1, linewidth=0.6)
        axes.plot(place, smooth, color=colour, linewidth=2, label=label)
    _over_epochs(axes, place)
    axes.set(ylabel="gradient norm", ylim=(lowest / 8, None))
    axes.legend(frameon=False, ncols=4, loc="lower left")
    axes.grid(axis="y", color=FAINT, alpha=0.3)


def _confusion(axes: Any, confusion: pd.DataFrame) -> None:
    axes.set_title("Asked afterwards: wrong guesses of all epochs")
    wrong = sum(matrix(cell) for cell in confusion[CONFUSION])
    wrong = wrong - np.diag(np.diag(wrong))
    axes.imshow(wrong, cmap="Blues", vmin=0, aspect="auto")
    for was, took in np.argwhere(wrong > 0):
        shade = "white" if wrong[was, took] > wrong.max() / 2 else INK
        axes.text(
            took, was, str(wrong[was, took]), ha="center", va="center", color=shade, fontsize=9
        )
    axes.set(xlabel="guess", ylabel="digit", xticks=range(10), yticks=range(10))
    axes.set_xticks(np.arange(-0.5, 10), minor=True)
    axes.set_yticks(np.arange(-0.5, 10), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _times(axes: Any, times: list[tuple[str, float]]) -> None:
    axes.set_title("What the answers took")
    whole = times[-1][1]
    for row, (title, seconds) in enumerate(times):
        rerun = row == len(times) - 1
        axes.barh(row, seconds, height=0.5, color=FAINT if rerun else COLOURS[0])
        gain = "" if rerun else f"   {whole / seconds:.1f} times faster"
        axes.text(
            seconds + whole * 0.012, row, f"{seconds:.1f} s{gain}", va="center", fontweight="bold"
        )
        axes.text(0, row - 0.42, title, va="center", fontsize=10)
    axes.set(yticks=[], xlabel="seconds, Python's start included", xlim=(0, whole * 1.12))
    axes.set_ylim(len(times) - 0.5, -0.8)
    axes.spines["left"].set_visible(False)
