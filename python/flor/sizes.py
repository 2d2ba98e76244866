"""Numbers of bytes as people write them."""

from __future__ import annotations

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_bytes(text: str) -> int | None:
    """Return the bytes that ``500M``, ``1.5 GiB`` or ``1000`` says, 1024 to the K; else None."""
    unit = text.strip().upper().removesuffix("B").removesuffix("I")
    number = unit.rstrip("KMGT ")
    try:
        found = int(float(number) * (1 << _UNITS[unit[len(number) :].strip()]))
    except (ValueError, KeyError, OverflowError):
        return None
    return found if found >= 0 else None
