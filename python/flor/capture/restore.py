"""Restore: a captured graph written back into the live objects, in place.

Anchors keep their identity: lists, dicts, instances, tensors and generators that existed at the
entry of the main loop are refilled, never replaced, so every alias to them stays true. Objects born
later are rebuilt. Nothing is unpickled. A failure raises CaptureError; the caller then re-executes
instead.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import threading
import types
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from flor.capture import atoms
from flor.capture.adapters import cache_state, memory_of, plain_state
from flor.capture.anchors import Anchors
from flor.capture.build import Builder, json_state, numpy_dtype
from flor.capture.regions import Bytes1D, Source, address_of
from flor.capture.walk import own_slots
from flor.errors import CaptureError

FindFunction = Callable[[str, str, int], types.FunctionType | types.CodeType | None]


class Restorer(Builder):
    """Puts one captured graph back, its regions from ``source``; one use, not thread-safe.

    ``anchors`` are this process's; with none, everything is rebuilt (to look at a checkpoint from
    outside). ``find_code(module, qualname, line)`` finds the code of a function born in the loop.
    """

    def __init__(
        self,
        graph: dict[str, Any],
        source: Source,
        anchors: Anchors | None = None,
        find_code: Callable[[str, str, int], types.CodeType | None] | None = None,
    ) -> None:
        self._nodes: list[Any] = graph["nodes"]
        self._live_nodes = self._nodes[: graph.get("live")]  # without what only readers want
        self._lines: dict[str, int] = graph.get("lines", {})
        self.roots: dict[str, list[Any]] = graph["roots"]
        self._source = source
        self._anchors = anchors
        self._find_code = find_code
        self._objects: dict[int, Any] = {}
        self._storages: dict[int, Any] = {}
        self._arrays: dict[int, Bytes1D] = {}
        self._targets: dict[int, Bytes1D] = {}  # memory that is filled with a region
        self._taken: set[int] = set()  # addresses of live memory among it

    # -- the whole ---------------------------------------------------------------------------------

    def objects(self) -> None:
        """Refill every anchor and rebuild everything else that the graph reaches."""
        self._adopt_memory()
        for index, node in enumerate(self._live_nodes):
            self._fill(index, node)

    def root(self, name: str) -> list[tuple[str, Any]]:
        """Return the (name, live value) pairs of a root; call after :meth:`objects`."""
        return [(key, self.value(item)) for key, item in self.roots.get(name, [])]

    def _adopt_memory(self) -> None:
        """Write every region at once: into the live memory of the first anchor that views it, or
        into new memory of torch.
        """
        for index, node in enumerate(self._live_nodes):
            live = self._live(index) if node[0] in ("tensor", "array") else None
            if live is None:
                continue
            if node[0] == "tensor" and node[6] not in self._storages:
                self._adopt_tensor(node[6], live)
            elif node[0] == "array" and node[6] not in self._arrays and node[7]:
                view, _ = memory_of(live)
                if view.flags.writeable:
                    self._adopt(node[6], view)
        for node in self._live_nodes:
            if node[0] == "tensor" and node[2][2] == "cpu":
                self._make_storage(node[6])
        self._source.fill({region: to for region, to in self._targets.items() if to.nbytes})

    def _adopt(self, region: int, memory: Bytes1D) -> bool:
        """Let a region be written to live memory, unless that is another's already."""
        address = address_of(memory)
        if memory.nbytes != self._source.nbytes(region) or address in self._taken:
            return False
        if memory.nbytes:
            self._taken.add(address)
        self._arrays[region] = self._targets[region] = memory
        return True

    def _adopt_tensor(self, region: int, live: Any) -> None:
        from flor.capture import torch_adapter

        storage = live.untyped_storage()
        if storage.device.type == "cpu":
            view, known = torch_adapter.storage_view(live), self._arrays.get(region)
            if self._adopt(region, view) if known is None else _same(known, view):
                self._storages[region] = storage
        elif storage.nbytes() == self._source.nbytes(region):
            torch_adapter.write_storage(storage, self._source(region))
            self._storages[region] = storage

    def _make_storage(self, region: int) -> None:
        """New memory for a region of tensors that no live memory was found for."""
        from flor.capture import torch_adapter

        if region not in self._storages and region not in self._arrays:
            made = torch_adapter.new_storage(self._source.nbytes(region))
            self._storages[region] = made
            self._arrays[region] = self._targets[region] = torch_adapter.bytes_of(made)

    def _live(self, index: int) -> Any:
        number = self._nodes[index][1]
        if number is None or self._anchors is None:
            return None
        return self._anchors.get(number)

    # -- values ------------------------------------------------------------------------------------

    def value(self, item: Any) -> Any:
        """Decode one value of the graph."""
        if not isinstance(item, list):
            return item
        tag = item[0]
        if tag == "r":
            return self.obj(item[1])
        if tag == "t":
            return tuple(self.value(part) for part in item[1])
        if tag == "fs":
            return frozenset(self.value(part) for part in item[1])
        if tag == "nt":
            return atoms.find(*item[1])._make(self.value(part) for part in item[2])
        if tag == "st":
            return atoms.find(*item[1])(tuple(self.value(part) for part in item[2]))
        if tag == "id":
            address = id(self.obj(item[1]))
            return address if item[2] is None else f"{address}{item[2]}"
        if item == ["still", "_thread.lock"]:  # one that is held is opaque
            return threading.Lock()
        if tag in ("flor", "still"):
            raise CaptureError(f"a {item[1]} born in the loop can't be rebuilt")
        return atoms.build(tag, item[1:])

    def obj(self, index: int) -> Any:
        """Return the object of a node: the anchor, or a shell that :meth:`objects` fills."""
        if index not in self._objects:
            live = self._live(index)
            self._objects[index] = live if live is not None else self._shell(index)
        return self._objects[index]

    def _shell(self, index: int) -> Any:
        node = self._nodes[index]
        build = getattr(self, f"_new_{node[0]}", None)
        if build is None:
            raise CaptureError(f"an object of kind {node[0]!r} born in the loop can't be rebuilt")
        return build(index, node)

    # -- refilling ---------------------------------------------------------------------------------

    def _fill(self, index: int, node: Any) -> None:
        fill = getattr(self, f"_fill_{node[0]}", None)
        if fill is not None:
            fill(self.obj(index), node)
        elif node[0] == "opaque":
            raise CaptureError(f"an opaque {'.'.join(node[2])} can't be restored")

    def _fill_cache(self, obj: Any, node: Any) -> None:
        if not node[3:] or node[3] == cache_state(obj):
            return
        if any(node[3]):
            raise CaptureError(f"the cache of {'.'.join(node[2])} can't be set to what it was")
        obj.cache_clear()

    def _fill_list(self, obj: list[Any], node: Any) -> None:
        live = dict(enumerate(obj))
        obj[:] = [self.attribute(live, place, item) for place, item in enumerate(node[2])]

    def _fill_dict(self, obj: dict[Any, Any], node: Any) -> None:
        keys = [self.value(key) for key, _ in node[2]]
        values = [
            self.attribute(obj, key, pair[1]) for key, pair in zip(keys, node[2], strict=True)
        ]
        obj.clear()
        obj.update(zip(keys, values, strict=True))

    def _fill_set(self, obj: set[Any], node: Any) -> None:
        items = [self.value(item) for item in node[2]]
        obj.clear()
        obj.update(items)

    def _fill_deque(self, obj: deque[Any], node: Any) -> None:
        items = [self.value(item) for item in node[3]]
        obj.clear()
        obj.extend(items)

    def _fill_bytearray(self, obj: bytearray, node: Any) -> None:
        obj[:] = base64.b64decode(node[2])

    def _fill_cell(self, obj: types.CellType, node: Any) -> None:
        if node[2]:
            obj.cell_contents = self.value(node[2][0])
        else:
            try:
                del obj.cell_contents
            except ValueError:  # empty already
                return

    def _fill_func(self, obj: types.FunctionType, node: Any) -> None:
        obj.__defaults__ = self.value(node[3])
        obj.__kwdefaults__ = self.value(node[4])
        live, recorded = obj.__closure__ or (), node[5]
        if len(live) != len(recorded):
            raise CaptureError(f"{obj.__qualname__} closes over other variables than when recorded")
        for key, item in node[6]:
            obj.__dict__[key] = self.value(item)

    def _fill_random(self, obj: random.Random, node: Any) -> None:
        obj.setstate(self.value(node[2]))

    def _fill_nprandom(self, obj: Any, node: Any) -> None:
        bits = getattr(obj, "bit_generator", None) or getattr(obj, "_bit_generator", obj)
        bits.state = json_state(node[4])
        _seed_as(bits, node[5])
        if len(node) > 6:
            obj.set_state(json_state(node[6]))

    def _fill_tgen(self, obj: Any, node: Any) -> None:
        from flor.capture import torch_adapter

        torch_adapter.set_generator(obj, node[3])

    def _fill_class(self, obj: type, node: Any) -> None:
        for name, item in node[3]:
            value = self.value(item)
            if vars(obj).get(name) is not value:
                setattr(obj, name, value)

    def _fill_obj(self, obj: Any, node: Any) -> None:
        self._fill_content(obj, node[5])
        if node[3] or hasattr(obj, "__dict__"):
            attributes = object.__getattribute__(obj, "__dict__")
            pairs = [(name, self.attribute(attributes, name, item)) for name, item in node[3]]
            attributes.clear()
            attributes.update(pairs)
        if node[4] or hasattr(type(obj), "__slots__"):
            self._fill_slots(obj, node[4])

    def _fill_slots(self, obj: Any, pairs: list[Any]) -> None:
        live = {name: slot for cls in type(obj).__mro__ for name, slot in own_slots(cls)}
        for name, item in pairs:
            if name not in live:
                raise CaptureError(f"{type(obj).__qualname__} has no slot {name!r} any more")
            live.pop(name).__set__(obj, self.value(item))
        for slot in live.values():
            with contextlib.suppress(AttributeError):  # unset already
                slot.__delete__(obj)

    def attribute(self, scope: Any, name: Any, item: Any) -> Any:
        """Decode ``scope[name]``; values that are never captured (flor's own, loggers) stay as they
        are.
        """
        if isinstance(item, list) and name in scope and _stays(scope[name], item):
            return scope[name]
        return self.value(item)

    def _fill_content(self, obj: Any, content: Any) -> None:
        if content is None or content[0] == "exc":
            return
        if content[0] == "dict":
            pairs = [(self.value(key), self.value(item)) for key, item in content[1]]
            # An OrderedDict keeps its order outside the dict: dict's own methods would lose it.
            base = OrderedDict if isinstance(obj, OrderedDict) else dict
            base.clear(obj)
            for key, item in pairs:
                base.__setitem__(obj, key, item)
            if content[2] is not None:
                obj.default_factory = self.value(content[2])
            return
        kind: Any = {"list": list, "set": set, "deque": deque}[content[0]]
        items = [self.value(item) for item in content[1]]
        kind.clear(obj)
        (kind.update if kind is set else kind.extend)(obj, items)

    def _fill_objects(self, obj: Any, node: Any) -> None:
        flat = [self.value(item) for item in node[3]]
        for position, item in zip(np.ndindex(*node[2]), flat, strict=True):
            obj[position] = item

    def _fill_array(self, obj: np.ndarray[Any, Any], node: Any) -> None:
        dtype, shape, strides, _, region, writeable = node[2:8]
        same = list(obj.shape) == shape and list(obj.strides) == strides
        if not same or obj.dtype != numpy_dtype(dtype):
            raise CaptureError("an array changed its shape or type in place; it can't be put back")
        if self._arrays.get(region) is None or not writeable:
            view, _ = memory_of(obj)
            if not np.array_equal(view, self._source(region)):
                raise CaptureError("read-only memory differs from what was recorded")

    def _fill_tensor(self, obj: Any, node: Any) -> None:
        from flor.capture import torch_adapter

        storage = self._storage(node[6], node[2][2])
        placed = (list(obj.shape), list(obj.stride()), obj.storage_offset())
        if (
            obj.untyped_storage().data_ptr() != storage.data_ptr()
            or placed != (*node[3:5], node[5])
        ) and node[7] != "graph":
            torch_adapter.place(obj, storage, node)
        if node[7] != "graph":
            if obj.is_leaf and obj.requires_grad != node[7]:
                obj.requires_grad_(node[7])
            gradient = self.value(node[8])
            if obj.is_leaf and obj.grad is not gradient:
                obj.grad = gradient
        vars(obj).update({key: self.value(item) for key, item in node[9]})


def _same(one: Bytes1D, other: Bytes1D) -> bool:
    """Whether two views show the same memory."""
    return one.nbytes == other.nbytes and address_of(one) == address_of(other)


def _stays(live: Any, item: list[Any]) -> bool:
    """Whether a live value is the one that ``item`` names, or of a kind that is never captured."""
    if item[0] == "g":
        found = (getattr(live, "__module__", None), getattr(live, "__qualname__", None))
        return found == (item[1], item[2])
    return item[0] in ("flor", "still")


def _seed_as(bits: Any, recorded: dict[str, Any] | None) -> None:
    """Let a live bit generator spawn next what it would have spawned then."""
    live: Any = getattr(bits, "seed_seq", None)
    if recorded is None or not hasattr(live, "state"):
        return
    here = json.loads(json.dumps(plain_state(live.state)))
    missing = recorded["n_children_spawned"] - here["n_children_spawned"]
    if {**here, "n_children_spawned": 0} != {**recorded, "n_children_spawned": 0} or missing < 0:
        try:  # seeded from the system: what unpickling does, in place
            bits.__setstate__((bits.state, np.random.SeedSequence(**recorded)))
        except (TypeError, ValueError) as error:
            raise CaptureError(f"this NumPy can't seed a generator anew: {error}") from error
    elif missing:
        live.spawn(missing)
