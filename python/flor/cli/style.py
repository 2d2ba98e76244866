"""Numbers, times and curves as text."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


def show_bytes(count: float) -> str:
    """Return a number of bytes as people read it, 1024 to the KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def show_seconds(seconds: float | None) -> str:
    """Return a duration as people read it; '' for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def show_time(unix: float | None) -> str:
    """Return an instant in UTC; '' for None."""
    return "" if unix is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return a curve of at most ``width`` characters: means of equal parts, low to high.

    A part without a finite value shows as a space.
    """
    count = min(width, len(values))
    parts = [
        values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)
    ]
    finite = [[value for value in part if math.isfinite(value)] for part in parts]
    means = [sum(part) / len(part) if part else None for part in finite]
    known = [mean for mean in means if mean is not None]
    if not known:
        return " " * count
    low, span = min(known), max(known) - min(known)
    top = len(_BARS) - 1
    level = (lambda mean: round((mean - low) / span * top)) if span > 0 else (lambda mean: 0)
    return "".join(" " if mean is None else _BARS[level(mean)] for mean in means)
