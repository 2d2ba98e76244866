"""Answers as matplotlib figures. Figures belong to the caller; no global state is touched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flor.intermediate.result import Result

_MOST_TICKS = 24
_INK = "#0b7285"


def draw(result: Result, path: Any = None) -> Any:
    """Return a figure of a result; written to ``path`` (by its ending) where one is given."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    values = result.numpy()
    if result.picture == "heat" and values.ndim == 4:
        _maps(figure, result, values.mean(axis=1))
    elif result.picture == "heat" and values.ndim == 3:
        _maps(figure, result, values)
    else:
        axes = figure.add_subplot()
        if result.picture == "heat":
            _heat(figure, axes, result, values.reshape(len(values), -1))
        elif result.picture == "bars":
            _bars(axes, result, values.reshape(len(values), -1)[:, 0])
        else:
            _lines(axes, result, values.reshape(len(values), -1))
    figure.suptitle(result.title)
    if path is not None:
        figure.savefig(path)
    return figure


def _labels(result: Result) -> list[str]:
    found = result.row_id if result.index is None else result.index[1]
    return [f"{one:.3g}" if isinstance(one, float) else str(one) for one in list(found)]


def _heat(figure: Any, axes: Any, result: Result, values: Any) -> None:
    image = axes.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest")
    figure.colorbar(image, ax=axes)
    _ticks(axes.set_yticks, _labels(result))
    names = result.names() if callable(result.names) else result.names
    if len(names) == values.shape[1]:
        _ticks(axes.set_xticks, names, rotation=90)
    axes.set_ylabel(result.index[0] if result.index else "row_id")


def _ticks(place: Any, labels: list[str], **style: Any) -> None:
    step = max(1, math.ceil(len(labels) / _MOST_TICKS))
    place(range(0, len(labels), step), labels[::step], fontsize=7, **style)


def _maps(figure: Any, result: Result, maps: Any) -> None:
    """Draw a map an item of the first axis: means over channels, all on one scale."""
    wide = math.ceil(math.sqrt(len(maps)))
    grid = figure.subplots(math.ceil(len(maps) / wide), wide, squeeze=False).ravel()
    for at, axes in enumerate(grid):
        axes.set_axis_off()
        if at < len(maps):
            image = axes.imshow(maps[at], vmin=np.nanmin(maps), vmax=np.nanmax(maps))
            axes.set_title(_labels(result)[at], fontsize=8)
    figure.colorbar(image, ax=list(grid))


def _bars(axes: Any, result: Result, values: Any) -> None:
    axes.bar(np.arange(len(values)), values, color=_INK, width=0.9)
    _ticks(axes.set_xticks, _labels(result), rotation=90)
    axes.set_xlabel(result.index[0] if result.index else "row_id")


def _lines(axes: Any, result: Result, values: Any) -> None:
    axes.plot(values[:, :_MOST_TICKS], linewidth=1)
    _ticks(axes.set_xticks, _labels(result), rotation=90)
    axes.set_xlabel(result.index[0] if result.index else "row_id")
