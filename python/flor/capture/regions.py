"""Memory regions: the bytes of tensors and arrays, kept out of the graph and shared by all that
view them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor import _core

Bytes1D = NDArray[np.uint8]


class Source:
    """Where the regions of a captured graph are kept: ``source(i)`` returns region i.

    Thread-safety: that of ``read``.
    """

    def __init__(self, read: Callable[[int], Bytes1D]) -> None:
        self._read = read

    def __call__(self, index: int) -> Bytes1D:
        """Return a region's bytes, which may be read-only."""
        return self._read(index)

    def nbytes(self, index: int) -> int:
        """Return a region's length."""
        return self._read(index).nbytes

    def fill(self, targets: Mapping[int, Bytes1D]) -> None:
        """Write each region over the memory given for it, of the same length, disjoint."""
        for index, target in targets.items():
            target[:] = self._read(index)


class Regions:
    """The distinct memory regions that one walk met, in the order of meeting.

    A region is a 1-D uint8 view of live memory (not a copy): what is written later is seen here.
    Two views of one storage, or a tensor and the NumPy array that shares its memory, meet in one
    region. ``own`` are the regions in torch's own memory, of this process alone; ``foreign`` those
    that something else shows, too; ``devices`` those that a device may write to.
    """

    def __init__(self) -> None:
        self.views: list[Bytes1D] = []
        self.own: set[int] = set()
        self.foreign: set[int] = set()
        self.devices: set[int] = set()
        self._by_address: dict[tuple[int, int], int] = {}
        self._used: list[tuple[int, int]] = []
        self._own_at: dict[int, int] = {}

    def use(self, index: int, low: int, high: int) -> None:
        """Say that bytes [low, high) of a region are seen by some view.

        What no view sees may be uninitialized memory: fingerprints leave it out.
        """
        before = self._used[index]
        self._used[index] = (
            (min(low, before[0]), max(high, before[1])) if before[1] else (low, high)
        )

    def samples(self) -> bytes:
        """Return what a cheap fingerprint looks at: of each region, of what views see of it, the
        length, up to 64 evenly spaced words of 8 bytes, and the tail.

        Up to 512 bytes are taken whole. Equal samples do not prove equal regions; different ones
        prove a difference.
        """
        return _core.samples(self.views, self._used)

    def add(self, view: Bytes1D) -> int:
        """Return the index of the region with this address and length, adding it when new."""
        index = self.lookup(address_of(view), view.nbytes, lambda: view)
        self.foreign.add(index)
        return index

    def lookup(self, address: int, nbytes: int, make: Any) -> int:
        """Like :meth:`add`, but calls ``make()`` for the view only when the region is new."""
        key = (address, nbytes) if nbytes else (0, 0)
        index = self._by_address.get(key)
        if index is None:
            index = len(self.views)
            self._by_address[key] = index
            self.views.append(make())
            self._used.append((0, 0))
        return index

    def at(self, address: int) -> int:
        """Return the region of ``own`` that begins at this address; -1: none."""
        if not self._own_at:
            places = self._by_address.items()
            self._own_at = {address: index for (address, _), index in places if index in self.own}
        return self._own_at.get(address, -1)

    def aliased(self) -> set[int]:
        """Return the regions whose memory something else shows too, in whole or in part."""
        spans = sorted((address, address + n, i) for (address, n), i in self._by_address.items())
        found = set(self.foreign)
        end, last = 0, -1
        for low, high, index in spans:
            if low < end:
                found |= {last, index}
            if high > end:
                end, last = high, index
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of all regions."""
        return sum(view.nbytes for view in self.views)


def memory(owner: Any, address: int, nbytes: int, *, readonly: bool = False) -> Bytes1D:
    """Return the live memory at an address as bytes; the array keeps ``owner`` alive."""
    if nbytes == 0:
        return np.empty(0, np.uint8)
    return _core.memory(owner, address, nbytes, readonly)


def span(offset: int, shape: list[int], strides: list[int], itemsize: int) -> tuple[int, int]:
    """Return the bytes [low, high) that a view covers; offset and strides in bytes."""
    if 0 in shape:
        return 0, 0
    reach = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    low = offset + sum(part for part in reach if part < 0)
    return low, offset + sum(part for part in reach if part > 0) + itemsize


def address_of(view: Bytes1D) -> int:
    """Return the address of the first byte."""
    return int(view.__array_interface__["data"][0])
