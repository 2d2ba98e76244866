"""A torch module over a dataset, as something that computes intermediates again.

A forward pass goes up to the layer that is asked for and stops. Where torch's own containers hand
on (``nn.Sequential``), a kept ancestor is enough. All in eval mode, in the same batches each time:
so what is computed again is equal bit for bit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.errors import CaptureError, ChangedError, InvalidError
from flor.intermediate.forms import Form, Key
from flor.intermediate.networks import fingerprint
from flor.intermediate.networks.arrays import Array, array_of, is_tensor, leaves, mapped, tensor_of
from flor.intermediate.networks.capture import (
    WHATS,
    Place,
    Taps,
    check_whats,
    rows_first,
    seed,
    undisturbed,
)
from flor.intermediate.networks.dataset import Batches, Rows, batches, rows_of
from flor.intermediate.networks.select import layer_named
from flor.intermediate.networks.trace import Layer, trace

if TYPE_CHECKING:
    import torch

Sink = Callable[[Layer, Rows, Array], None]


class _Reached(BaseException):
    """All that was asked for has passed: the forward pass may stop."""


class Network:
    """The computation of a network. Thread-safe: one pass at a time.

    ``call(net, batch)`` applies the network; by default a tensor is given as it is, of a tuple or
    list the first item (inputs before targets), a mapping as keyword arguments. ``loss(output,
    batch)`` is needed for gradients. Raises InvalidError, CaptureError.
    """

    def __init__(
        self,
        net: torch.nn.Module,
        data: Any,
        *,
        what: str | Sequence[str] = ("output",),
        batch: int | None = None,
        call: Callable[[Any, Any], Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.what = check_whats(what)
        if "gradient" in self.what and loss is None:
            raise InvalidError(
                "what='gradient' needs loss=: a function of (output, batch) that returns the "
                "scalar to differentiate"
            )
        self.net = plain(net)
        self._call, self._loss = call or call_network, loss
        self._lock = threading.RLock()
        self._device = next((t.device for t in tensors_of(self.net)), None)
        with undisturbed(self.net):
            self.data: Batches = batches(data, batch)
            self.model, self._gradient_model = self._fingerprints()
            _, first = next(self.data.take([0]))
            self._trace = trace(
                self.net, self._apply, self._moved(first), rows_of(first), self.what
            )
        self._scale = 1.0

    def _fingerprints(self) -> tuple[str, str]:
        """Return that of what is computed, and of its gradients: what is frozen counts there."""
        model = fingerprint.of(fingerprint.of_model(self.net), self._call)
        learns = [parameter.requires_grad for parameter in self.net.parameters()]
        return model, fingerprint.of(model, self._loss, learns)

    # -- the graph ---------------------------------------------------------------------------------

    @property
    def row_ids(self) -> Rows:
        """The ids of all rows."""
        return self.data.row_ids

    def layers(self) -> Sequence[str]:
        """Return the names of what can be captured, in the order in which it is computed."""
        return [name for name, layer in self._trace.layers.items() if not layer.problem]

    def traced(self) -> Mapping[str, Layer]:
        """Return all layers by name, also those that can't be captured."""
        return self._trace.layers

    def layer(self, name: str) -> Layer:
        """Return a layer; raises LayerNotFoundError, CaptureError for one without rows."""
        found = self._trace.layers.get(name)
        if found is None or found.problem:
            return layer_named(name, self._trace.layers, dict(self.net.named_modules()))
        return found

    def key(self, layer: str) -> Key:
        """Return the name of a layer's values by content."""
        place, model = self.layer(layer).place, self.model
        if place.what == "gradient":
            model = self._gradient_model
        return Key(model, place.layer, self.data.fingerprint, place.what)

    def form(self, layer: str) -> Form:
        """Return the shape and type of one row of it."""
        found = self.layer(layer)
        return Form.tensor(found.unit_shape, found.dtype)

    def parents(self, layer: str) -> Sequence[str]:
        """Return the layers that suffice to compute this one; none: the input."""
        step = self.layer(layer).step
        return [] if step is None else [name for name in step.inputs if name is not None]

    def together(self, rows: Any) -> Any:
        """Return the ids of all rows that share a batch with these."""
        return self.data.together(rows)

    def seconds(self, layer: str, rows: int, given: Set[str] = frozenset()) -> float:
        """Return how long :meth:`compute` will take, from the passes timed so far."""
        spread = len(self.data)
        touched = spread * (1 - (1 - 1 / spread) ** rows) if rows < len(self.row_ids) else spread
        found = self.layer(layer)
        before = self._chain(found.name, given)
        since = 0.0 if before is None else max(self._trace.layers[n].seconds for n in before[0])
        return self._scale * max(found.seconds - since, 1e-6) * touched

    def _chain(self, layer: str, given: Set[str]) -> tuple[list[str], list[str]] | None:
        """Return (ancestors to begin with, layers to compute in order); None: from the input."""
        begin, order = list[str](), list[str]()
        waiting = [(layer, False)]
        while waiting:
            name, known = waiting.pop()
            if known:
                order.append(name)
            elif name in given:
                begin.append(name)
            elif name not in order:
                step = self._trace.layers[name].step
                if step is None:
                    return None
                waiting.append((name, True))
                waiting += [(each, False) for each in step.inputs if each is not None]
        return begin, order

    # -- computing ---------------------------------------------------------------------------------

    def compute(
        self, layer: str, rows: Any = None, given: Mapping[str, Any] | None = None
    ) -> tuple[Rows, Array]:
        """Return (row ids, values) of a layer, bit for bit what a pass over all data gives.

        ``given`` is used where it covers whole batches. Raises LayerNotFoundError, CaptureError,
        RowNotFoundError, ChangedError when the network or the data is not what it was.
        """
        found = self.layer(layer)
        whole = self.data.together(rows)
        ids = self.row_ids if whole is None else whole
        out = np.empty((len(ids), *found.unit_shape), found.dtype)
        chain = self._chain(layer, given.keys()) if given else None
        if chain is not None and given and np.array_equal(ids, ids if rows is None else rows):
            self._from_ancestors(
                found, ids, {name: given[name] for name in chain[0]}, chain[1], out
            )
        else:

            def keep(_: Layer, some: Rows, values: Array) -> None:
                at = np.searchsorted(ids, some[0])
                out[at : at + len(some)] = values

            self.run([found], keep, rows)
        if rows is None or np.array_equal(ids, rows):
            return ids, out
        wanted = np.asarray(rows, np.int64)
        return wanted, out[np.searchsorted(ids, wanted)]

    def run(self, layers: Sequence[Layer], sink: Sink, rows: Any = None) -> float:
        """Call ``sink(layer, row ids, values)`` for these layers and the batches of these rows.

        The values are live memory, good until ``sink`` returns. Returns the seconds taken.
        """
        with self._lock:
            self._require_unchanged(any(layer.place.what == "gradient" for layer in layers))
            begun = time.perf_counter()
            # Kernels may differ in their last bits where gradients are wanted.
            for what in ({"gradient"}, set(WHATS) - {"gradient"}):
                some = [layer for layer in layers if layer.place.what in what]
                if some:
                    self._over(some, sink, rows)
            seconds = time.perf_counter() - begun
            self._learn(layers, seconds / max(1, len(self.data.with_rows(rows))))
            return seconds

    def _over(self, layers: Sequence[Layer], sink: Sink, rows: Any) -> None:
        grad = layers[0].place.what == "gradient"
        with undisturbed(self.net, grad=grad), _Pass(self, layers, sink) as one_pass:
            for number, batch in self.data.take(self.data.with_rows(rows)):
                one_pass.over(number, self._moved(batch))

    def _learn(self, layers: Sequence[Layer], seconds: float) -> None:
        """Let later predictions follow what a batch took."""
        predicted = max((layer.seconds for layer in layers), default=0.0)
        if predicted > 0:
            self._scale = 0.5 * self._scale + 0.5 * seconds / predicted

    def _from_ancestors(
        self, layer: Layer, ids: Rows, given: dict[str, Array], order: list[str], out: Array
    ) -> None:
        """Compute a layer batch by batch from values of layers before it."""
        modules = dict(self.net.named_modules())
        with self._lock, undisturbed(self.net):
            self._require_unchanged()
            for number in self.data.with_rows(ids):
                low = int(np.searchsorted(ids, self.data.rows(number)[0]))
                high = low + len(self.data.rows(number))
                known = {name: self._back(name, each[low:high]) for name, each in given.items()}
                seed(number)
                for name in order:
                    known[name] = self._step(name, known, modules)
                value = rows_first(layer.name, known[layer.name], layer.axis)
                out[low:high] = array_of(value)

    def _back(self, name: str, values: Array) -> torch.Tensor:
        axis = self._trace.layers[name].axis
        return tensor_of(np.moveaxis(values, 0, axis), self._device or "cpu")

    def _step(self, name: str, known: Mapping[str, Any], modules: Mapping[str, Any]) -> Any:
        layer = self._trace.layers[name]
        assert layer.step is not None
        inputs = [None if each is None else known[each] for each in layer.step.inputs]
        if layer.step.alias:
            return inputs[0]
        # A module may work in place, and what it gets be needed again.
        inputs = [None if each is None else each.clone() for each in inputs]
        out = modules[layer.place.module](*inputs, **layer.step.constants)
        return dict(leaves(out))[layer.place.path]

    def _moved(self, batch: Any) -> Any:
        """Return a batch on the network's device."""
        if self._device is None or self._device.type == "cpu":
            return batch
        return mapped(batch, lambda t: t.to(self._device) if is_tensor(t) else t)

    def _apply(self, batch: Any) -> Any:
        return self._call(self.net, batch)

    def _require_unchanged(self, gradients: bool = False) -> None:
        with undisturbed(self.net):
            model, gradient_model = self._fingerprints()
        if model != self.model or (gradients and gradient_model != self._gradient_model):
            raise ChangedError(
                "the network has changed since its intermediates were asked for (weights, code or "
                "settings such as the number of threads): what was kept of it can still be read, "
                "but not computed again. Call flor.intermediates(...) anew for the network as it "
                "is, or give a copy (copy.deepcopy) to one that goes on training"
            )


class _Pass:
    """Passes over batches with hooks for some layers; stops each when all have been seen."""

    def __init__(self, network: Network, layers: Sequence[Layer], sink: Sink) -> None:
        self._network, self._sink = network, sink
        self._wanted = {layer.place: layer for layer in layers}
        self._left: set[Place] = set()
        self._rows: Rows = np.empty(0, np.int64)
        self._edges: list[tuple[Layer, Any]] = []
        modules = dict(network.net.named_modules())
        used = {layer.place.module: modules[layer.place.module] for layer in layers}
        self._taps = Taps(used, {layer.place.what for layer in layers}, self._take)

    def __enter__(self) -> _Pass:
        self._taps.attach(self._network.net)
        return self

    def __exit__(self, *_: object) -> None:
        self._taps.detach()

    def over(self, number: int, batch: Any) -> None:
        """Go over one batch."""
        self._rows, self._left = self._network.data.rows(number), set(self._wanted)
        self._edges.clear()
        self._taps.begin()
        seed(number)
        try:
            output = self._network._apply(batch)
        except _Reached:
            return
        finally:
            self._taps.end()
        if self._edges:
            self._differentiate(output, batch)
        if self._left:
            name = min(place.name for place in self._left)
            raise CaptureError(
                f"layer {name!r} ran for the first batch of the data but not for rows "
                f"{self._rows[0]} to {self._rows[-1]}: the network goes another way for them. "
                "Capture a layer that all rows pass"
            )

    def _take(self, module: str, call: int, what: str, value: Any) -> None:
        for path, leaf in leaves(value):
            layer = self._wanted.get(Place(module, call, path, what))
            if layer is None:
                continue
            if what == "gradient":
                import torch

                self._edges.append((layer, torch.autograd.graph.get_gradient_edge(leaf)))
            else:
                self._give(layer, leaf)
        if not self._left:
            raise _Reached

    def _give(self, layer: Layer, leaf: Any) -> None:
        hand_over(layer, self._rows, leaf, self._sink)
        self._left.discard(layer.place)

    def _differentiate(self, output: Any, batch: Any) -> None:
        import torch

        assert self._network._loss is not None
        loss = self._network._loss(output, batch)
        edges = [edge for _, edge in self._edges]
        found = torch.autograd.grad(loss, edges, allow_unused=True)
        for (layer, _), gradient in zip(self._edges, found, strict=True):
            if gradient is None:
                raise CaptureError(
                    f"the loss does not depend on {layer.place.layer!r}: it has no gradient there"
                )
            self._give(layer, gradient)


def hand_over(layer: Layer, rows: Rows, leaf: Any, sink: Sink) -> None:
    """Give a layer's value for these rows to ``sink``; raises CaptureError for another shape."""
    values = array_of(rows_first(layer.name, leaf, layer.axis))
    if values.shape != (len(rows), *layer.unit_shape) or values.dtype.name != layer.dtype:
        raise CaptureError(
            f"layer {layer.name!r} is ragged: {values.dtype.name} of shape {values.shape} for rows "
            f"{rows[0]} to {rows[-1]}, the first batch had {layer.dtype} rows of shape "
            f"{layer.unit_shape}. Pad the data to one length, or capture a layer after pooling"
        )
    sink(layer, rows, values)


def call_network(net: Any, batch: Any) -> Any:
    """Apply a network to a batch, by the field's habits."""
    if isinstance(batch, Mapping):
        return net(**batch)
    if isinstance(batch, tuple | list):
        return net(batch[0])
    return net(batch)


def plain(net: Any) -> Any:
    """Return the module behind ``torch.compile``, whose layers don't run one by one."""
    return getattr(net, "_orig_mod", net)


def tensors_of(net: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield a network's parameters and buffers."""
    yield from net.parameters()
    yield from net.buffers()
