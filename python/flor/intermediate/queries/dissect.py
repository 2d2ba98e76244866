"""Which concept a channel sees: overlap of its strongest activations with labelled regions.

D. Bau et al., "Network Dissection" (CVPR 2017): a channel's maps, enlarged to the size of the
masks, are cut at the value that a fixed part of all its cells exceeds; the score is intersection
over union with each concept's masks over the whole data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, job
from flor.intermediate.result import Result

_PIECE = 256


@dataclass(frozen=True)
class NetDissect(Query):
    """``masks``: by concept, booleans (rows, height, width) in the order of the data.

    ``part``: of a channel's cells that count as active, 0.005 in the paper.
    """

    layer: str
    masks: Mapping[str, Any]
    part: float = 0.005
    units: Any = None
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan; the masks are checked before anything is read."""
        form = access.planner.form(self.layer)
        if form.unit_shape is None or len(form.unit_shape) != 3:
            raise InvalidError(
                f"netdissect needs maps, rows of (channels, height, width); {self.layer!r} has "
                f"{form.unit_shape or 'named columns'}"
            )
        if not 0 < self.part < 1:
            raise InvalidError(f"part lies between 0 and 1, not {self.part}")
        _checked(access, self.masks)
        return [job(access, self.layer, _channels(self.units), self.rows, self.accuracy)]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return (channels, concepts): intersection over union, 0 where both are empty."""
        (one,) = jobs
        ids, maps = one.fetch(self.layer)
        at = one.access.rows.positions(ids)
        masks = {name: mask[at] for name, mask in _checked(one.access, self.masks).items()}
        flat = np.moveaxis(maps, 1, 0).reshape(maps.shape[1], -1)
        cuts = np.quantile(flat, 1 - self.part, axis=1)
        scores = overlaps(maps, cuts, list(masks.values()))
        shape = one.plan.wants[0].selection.form.unit_shape
        assert shape is not None
        channels = np.arange(shape[0])
        if self.units is not None:
            channels = channels[_channels(self.units)]
        return Result(
            ids, scores, 0.0 if one.plan.error == 0 else float("nan"),
            f"netdissect of {self.layer}", names=list(masks), index=("unit", channels),
            facts={"cuts": cuts}, picture="heat",
        )  # fmt: skip


def overlaps(maps: NDArray[Any], cuts: NDArray[Any], masks: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return intersection over union of (rows, channels, h, w) above cuts with each mask."""
    channels, size = maps.shape[1], masks[0].shape[1:]
    tall, wide = enlarging(maps.shape[2], size[0]), enlarging(maps.shape[3], size[1])
    both, either = np.zeros((channels, len(masks))), np.zeros((channels, len(masks)))
    for start in range(0, len(maps), _PIECE):
        some = maps[start : start + _PIECE].astype(np.float64)
        active = (tall @ some @ wide.T) > cuts[None, :, None, None]
        cells = active.transpose(1, 0, 2, 3).reshape(channels, -1)
        for number, mask in enumerate(masks):
            true = mask[start : start + _PIECE].reshape(-1)
            both[:, number] += (cells & true).sum(axis=1)
            either[:, number] += (cells | true).sum(axis=1)
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def enlarging(small: int, large: int) -> NDArray[Any]:
    """Return the matrix (large, small) of linear interpolation between centres of cells."""
    centres = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.minimum(centres.astype(int), max(small - 2, 0))
    weight = centres - low
    found = np.zeros((large, small))
    found[np.arange(large), low] = 1 - weight
    found[np.arange(large), np.minimum(low + 1, small - 1)] += weight
    return found


def _channels(units: Any) -> Any:
    return [int(units)] if isinstance(units, int | np.integer) else units


def _checked(access: Access, masks: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    found = {}
    for name, mask in masks.items():
        array = access.rows.aligned(mask, f"the mask of {name!r}")
        if array.ndim != 3:
            raise InvalidError(
                f"the mask of {name!r} is (rows, height, width), not of shape {array.shape}"
            )
        found[name] = array.astype(np.bool_)
    if not found or len({array.shape for array in found.values()}) != 1:
        raise InvalidError("netdissect needs masks, all of one size")
    return found
