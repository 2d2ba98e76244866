"""Who may write to captured memory after the call of a checkpoint, and so how it is captured.

Contracts of a region (docs/decisions/0014-snapshots.md; ``cpp/snapshot/capture.h``):

- *eager*: copied in the call. Always right.
- *cooperative*: read in the background until an optimizer is about to step. For what an optimizer
  of torch owns, its parameters and its state; exact when nobody else writes to them, and refused
  when a sample says that someone did.
- *tracked*: the same, and the system tells afterwards whether anyone wrote: exact or refused.
- *protected*: read in the background until the first write, of which the system tells. Exact
  whoever writes. For memory of torch's own, where the system allows it.

Besides, memory that two checkpoints found alike is *watched*, where the system tells of writes:
as long as nobody writes it is neither copied nor hashed again. Not what a device may write to.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from flor import _core
from flor.errors import InvalidError

if TYPE_CHECKING:
    from flor.capture.regions import Regions

EAGER, COOPERATIVE, PROTECTED, TRACKED = 0, 1, 2, 3
WATCHED = 16
CHOICES = ("auto", "eager", "cooperative", "tracked", "protected")
VARIABLE = "FLOR_SNAPSHOT"

_hooked = False


def choice(chosen: str | None = None) -> str:
    """Return how snapshots are taken: ``chosen``, else ``FLOR_SNAPSHOT``, else ``auto``.

    ``auto`` is *protected* where the system allows it, else *tracked*, else *eager*. Raises
    InvalidError.
    """
    found = chosen or os.environ.get(VARIABLE) or "auto"
    if found not in CHOICES:
        raise InvalidError(f"snapshot {found!r}: must be one of {', '.join(CHOICES)}")
    return found


def contracts(regions: Regions, objects: list[Any], chosen: str) -> bytes:
    """Return the contract of each region, a byte each; ``objects`` are all that the walk met."""
    if chosen == "eager":
        return b""
    found = bytearray(len(regions.views))
    _live(found, regions, objects, chosen)
    if _core.can_track():
        for index in range(len(found)):
            found[index] |= 0 if index in regions.devices else WATCHED
    return bytes(found)


def _live(found: bytearray, regions: Regions, objects: list[Any], chosen: str) -> None:
    """Say which regions are read from live memory, and until when."""
    protects = _core.can_protect()
    if protects and chosen != "tracked":
        for index in regions.own:
            found[index] = PROTECTED
    by_optimizers = COOPERATIVE if chosen == "cooperative" else TRACKED
    if chosen in ("cooperative", "tracked") or (not protects and _core.can_track()):
        from flor.capture import torch_adapter

        alone = regions.own - regions.aliased()
        for address in torch_adapter.owned_by_optimizers(objects) if alone else ():
            owned = regions.at(address)
            if owned in alone:
                found[owned] = by_optimizers


def watch(snapshotter: _core.Snapshotter) -> None:
    """Before any optimizer of torch steps, settle what ``snapshotter`` still reads."""
    global _hooked
    snapshotter.settle_before_steps()
    if not _hooked and "torch" in sys.modules:
        from flor.capture import torch_adapter

        torch_adapter.before_steps(_core.before_step)
        _hooked = True
