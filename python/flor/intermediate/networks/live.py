"""Capture while a program runs its network itself: a context manager and a decorator.

    with flor.intermediates(net, layers="features.*") as h:
        for batch in loader:
            h.rows(batch["id"])  # optional: else rows are numbered in the order in which they pass
            net(batch["image"])
    h.read("features.3")

In training mode batches are sampled, so that capturing stays below an overhead bound. What the
network computes is not touched.
"""

from __future__ import annotations

import functools
import math
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from flor.errors import CaptureError, InvalidError, LayerNotFoundError
from flor.intermediate.forms import Form, Key
from flor.intermediate.networks import fingerprint
from flor.intermediate.networks.arrays import array_of, leaves
from flor.intermediate.networks.capture import Place, Taps, _Hook, check_whats, rows_first
from flor.intermediate.networks.dataset import Rows, rows_of
from flor.intermediate.networks.keeping import fitting
from flor.intermediate.networks.network import hand_over, plain
from flor.intermediate.networks.select import as_list, chosen_modules, is_pattern, matches
from flor.intermediate.networks.trace import Layer, shape_of
from flor.intermediate.places import open_store, recorded_run
from flor.intermediate.storage.writer import TableWriter
from flor.recording.policy import DEFAULT_OVERHEAD

if TYPE_CHECKING:
    import torch

    from flor.intermediate.handle import Handle

_F = TypeVar("_F", bound=Callable[..., Any])


class Live:
    """Captures what passes through a network inside a ``with`` block; a handle afterwards.

    ``overhead``: the most that capturing may add to the block's time, as a fraction; batches that
    do not fit are passed over (their row ids too). None: 1/15 in training mode, no bound in eval
    mode; ``math.inf``: no bound. The first batch is always captured. One block at a time, in the
    thread that runs the network. ``passes`` and ``captured`` count batches.
    """

    def __init__(
        self,
        net: torch.nn.Module,
        *,
        layers: Any = "*",
        what: str | Sequence[str] = ("output",),
        code: str = "exact",
        store: Any = None,
        overhead: float | None = None,
    ) -> None:
        if overhead is not None and not overhead > 0:
            raise InvalidError(f"overhead={overhead}: a fraction above 0, math.inf for no bound")
        self.net = plain(net)
        self._layers, self._what, self._code = layers, check_whats(what), code
        self._where, self._overhead = store, overhead
        self._handle: Handle | None = None
        self.passes = self.captured = 0

    # -- the block ---------------------------------------------------------------------------------

    def __enter__(self) -> Live:
        modules = dict(self.net.named_modules())
        chosen = chosen_modules(self._layers, modules)
        self._store = open_store(self._where)
        self._model = fingerprint.of_model(self.net)
        self._data = f"live:{uuid.uuid4().hex}"
        self._labels = {"live": True, "training": self.net.training} | recorded_run()
        self._writers: dict[Place, tuple[Layer, TableWriter]] = {}
        self._left_out: dict[Place, str] = {}
        self._seen: set[int] = set()
        self._next = 0
        self._given: Rows | None = None
        self._now: Rows = np.empty(0, np.int64)
        self._handle = None
        self.passes = self.captured = 0
        self._clock = _Clock(self._store, self._overhead)
        self._taps = Taps(chosen, self._what, self._take, grow=False)
        # The first hook before the network, the last one after it.
        begin = self.net.register_forward_pre_hook(_Hook(self._begin), with_kwargs=True)
        self._taps.attach(self.net)
        end = self.net.register_forward_hook(_Hook(self._end), always_call=True)
        self._hooks = [begin, end]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from flor.intermediate.handle import Handle
        from flor.intermediate.storage.archive import Archive

        self._taps.detach()
        for hook in self._hooks:
            hook.remove()
        facts = {"passes": self.passes, "captured": self.captured}
        for _layer, writer in self._writers.values():
            writer.commit(**facts)
        if self._writers:
            self._handle = Handle(self._store, Archive(self._store, self._model, self._data))
        if kind is None:
            self._require_all()

    def rows(self, ids: Any) -> None:
        """Say which rows the next batch has; int64 ids, each once in a block."""
        given = np.asarray(ids.tolist() if hasattr(ids, "tolist") else ids)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise InvalidError(f"row ids are a vector of integers, not {given.dtype} {given.shape}")
        if self._next:
            raise InvalidError(
                "earlier batches of this block were numbered in order: call rows() before each "
                "batch, or never"
            )
        found = set(given.tolist())
        if len(found) < len(given) or not found.isdisjoint(self._seen):
            twice = next(iter(found & self._seen), "one of them")
            raise InvalidError(
                f"row id {twice} comes twice: a row has one value in a block. Open a block an "
                "epoch: with flor.intermediates(...) inside the epoch's loop"
            )
        self._seen |= found
        self._given = given.astype(np.int64)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self.__dict__.get("_handle") is None:
            raise InvalidError(
                f"nothing is captured yet, so there is no {name!r}: run the network inside `with "
                "flor.intermediates(...) as h:` and ask h after the block, or give data="
            )
        return getattr(self._handle, name)

    def __call__(self, function: _F) -> _F:
        """Capture each call of a function; ``function.intermediates`` is the last one's handle."""

        @functools.wraps(function)
        def captured(*args: Any, **kwargs: Any) -> Any:
            block = Live(
                self.net, layers=self._layers, what=self._what, code=self._code, store=self._where,
                overhead=self._overhead,
            )  # fmt: skip
            vars(captured)["intermediates"] = block
            with block:
                return function(*args, **kwargs)

        return captured  # type: ignore[return-value]

    # -- a pass ------------------------------------------------------------------------------------

    def _begin(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        count = rows_of((args, kwargs)) if self._given is None else len(self._given)
        if self._given is None:
            if self._seen:
                raise InvalidError(
                    "earlier batches of this block got their row ids by rows(): call it before "
                    "each batch, or never"
                )
            self._now = np.arange(self._next, self._next + count)
            self._next += count
        else:
            self._now, self._given = self._given, None
            if (found := rows_of((args, kwargs))) != count:
                raise InvalidError(f"rows() got {count} ids, the batch has {found} rows")
        self.passes += 1
        if self._clock.affords(self.net.training):
            self.captured += 1
            self._clock.begin()
            self._taps.begin()

    def _end(self, *_: Any) -> None:
        if self._taps.on:
            self._taps.end()
            self._clock.end()

    def _take(self, module: str, call: int, what: str, value: Any) -> None:
        begun = time.perf_counter()
        for path, leaf in leaves(value):
            place = Place(module, call, path, what)
            if what == "gradient":
                self._watch_gradient(place, leaf)
            else:
                self._give(place, leaf, self._now)
        self._clock.spent += time.perf_counter() - begun

    def _watch_gradient(self, place: Place, leaf: Any) -> None:
        if not getattr(leaf, "requires_grad", False):
            return
        rows = self._now

        def came(gradient: Any) -> None:
            begun = time.perf_counter()
            if self._handle is None:  # else the block has ended
                self._give(place, gradient, rows)
            self._clock.spent += time.perf_counter() - begun

        leaf.register_hook(came)

    def _give(self, place: Place, leaf: Any, rows: Rows) -> None:
        if place in self._left_out:
            return
        if place not in self._writers:
            if not self._is_meant(place):
                self._left_out[place] = "not asked for"
                return
            try:
                self._writers[place] = self._open(place, leaf, len(rows))
            except CaptureError as error:
                self._leave_out(place, error)
                return
        layer, writer = self._writers[place]
        hand_over(layer, rows, leaf, lambda _, ids, values: writer.append(ids, values))

    def _open(self, place: Place, leaf: Any, rows: int) -> tuple[Layer, TableWriter]:
        axis = self._axis(place, leaf, rows)
        array = array_of(rows_first(place.name, leaf, axis)[:1])
        layer = Layer(place, array.shape[1:], array.dtype.name, axis)
        key = Key(self._model, place.layer, self._data, place.what)
        form = Form.tensor(layer.unit_shape, layer.dtype)
        code = fitting(self._code, layer)
        return layer, self._store.writer(key, form, code, labels=self._labels)

    def _axis(self, place: Place, leaf: Any, rows: int) -> int:
        shape = shape_of(leaf)
        if shape is None:
            raise CaptureError(
                f"layer {place.name!r} puts out a {type(leaf).__name__} without rows of one "
                "length: capture the layer before it, or let it return a tensor"
            )
        found = [axis for axis, length in enumerate(shape) if length == rows]
        if not found:
            raise CaptureError(
                f"layer {place.name!r} has the shape {shape} for {rows} rows: its rows are on no "
                "axis, so it is no intermediate of single rows. Capture the layer before it"
            )
        if len(found) > 1 and self._rows_second:
            raise CaptureError(
                f"layer {place.name!r} has the shape {shape} for {rows} rows, and the network has "
                "modules without batch_first: which axis are the rows? Begin the block with a "
                "batch of another size"
            )
        return found[0]

    @functools.cached_property
    def _rows_second(self) -> bool:
        return any(getattr(m, "batch_first", True) is False for m in self.net.modules())

    def _is_meant(self, place: Place) -> bool:
        """Whether a value of a chosen module was asked for: one part of it may have been."""
        for one in as_list(self._layers):
            if not isinstance(one, str):
                return True
            if any(matches(one, name) for name in (place.name, place.layer, place.module)):
                return True
        return False

    def _leave_out(self, place: Place, error: CaptureError) -> None:
        """What a pattern finds may be no rows of arrays; what is named may not."""
        named = [one for one in as_list(self._layers) if isinstance(one, str)]
        if place.name in named or place.module in named:
            raise error
        self._left_out[place] = str(error)
        warnings.warn(f"left out: {error}", stacklevel=2)

    def _require_all(self) -> None:
        """Every layer that was named must have run."""
        names = list(self._writers)
        if not names:
            raise LayerNotFoundError(
                "nothing was captured: no layer that was asked for ran inside the block "
                f"({self.passes} passes of the network). Call the network itself inside it"
            )
        for one in as_list(self._layers):
            if not isinstance(one, str) or is_pattern(one):
                continue
            if not any(one in (p.name, p.layer, p.module, p.layer or "") for p in names):
                raise LayerNotFoundError(
                    f"layer {one!r} never ran inside the block, nothing of it is kept. Captured "
                    f"were: {', '.join(sorted(p.name for p in names))}"
                )


class _Clock:
    """What capturing has cost, and whether the next batch fits below the bound."""

    def __init__(self, store: Any, overhead: float | None) -> None:
        self._store, self._overhead = store, overhead
        self._entered = time.perf_counter()
        self._background = store.background_seconds
        self.spent = 0.0
        self._cost = 0.0
        self._before = 0.0

    def affords(self, training: bool) -> bool:
        """Decide for a batch."""
        bound = self._overhead
        if bound is None:
            bound = DEFAULT_OVERHEAD if training else math.inf
        if bound == math.inf:
            return True
        behind = self._store.background_seconds
        self.spent += behind - self._background
        self._background = behind
        compute = time.perf_counter() - self._entered - self.spent
        return self.spent + self._cost <= bound * compute

    def begin(self) -> None:
        """A batch is captured."""
        self._before = self.spent

    def end(self) -> None:
        """It has passed."""
        cost = self.spent - self._before
        self._cost = cost if not self._cost else 0.5 * (self._cost + cost)
