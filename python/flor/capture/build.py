"""Building anew the objects that were born in the loop: one method a kind of node.

What is returned may be a shell that :class:`~flor.capture.restore.Restorer` fills later, so that
cycles close.
"""

from __future__ import annotations

import functools
import importlib
import io
import random
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from flor.capture import atoms
from flor.capture.regions import Bytes1D, Source
from flor.errors import CaptureError


class Builder:
    """Makes objects from nodes. :class:`~flor.capture.restore.Restorer` decodes their values."""

    _lines: dict[str, int]
    _source: Source
    _find_code: Callable[[str, str, int], types.CodeType | None] | None
    _storages: dict[int, Any]
    _arrays: dict[int, Bytes1D]

    def value(self, item: Any) -> Any:
        """Decode one value of the graph."""
        raise NotImplementedError

    def _new_list(self, index: int, node: Any) -> Any:
        return []

    def _new_dict(self, index: int, node: Any) -> Any:
        return {}

    def _new_set(self, index: int, node: Any) -> Any:
        return set()

    def _new_deque(self, index: int, node: Any) -> Any:
        return deque(maxlen=node[2])

    def _new_bytearray(self, index: int, node: Any) -> Any:
        return bytearray()

    def _new_cell(self, index: int, node: Any) -> Any:
        return types.CellType()

    def _new_bound(self, index: int, node: Any) -> Any:
        return getattr(self.value(node[2]), node[3])

    def _new_method(self, index: int, node: Any) -> Any:
        return types.MethodType(self.value(node[3]), self.value(node[2]))

    def _new_done(self, index: int, node: Any) -> Any:
        finished = (item for item in list[Any]())
        next(finished, None)
        return finished

    def _new_closed(self, index: int, node: Any) -> Any:
        file = io.StringIO()
        file.close()
        return file

    def _new_lock(self, index: int, node: Any) -> Any:
        return threading.RLock()

    def _new_random(self, index: int, node: Any) -> Any:
        return random.Random()

    def _new_nprandom(self, index: int, node: Any) -> Any:
        seed = node[5]
        bits = getattr(np.random, node[2])(np.random.SeedSequence(**seed) if seed else None)
        if node[3] == node[2]:
            return bits
        return getattr(np.random, node[3])(bits)

    def _new_tgen(self, index: int, node: Any) -> Any:
        return importlib.import_module("torch").Generator(device=node[2])

    def _new_seedseq(self, index: int, node: Any) -> Any:
        return np.random.SeedSequence(**json_state(node[2]))

    def _new_partial(self, index: int, node: Any) -> Any:
        func, args, keywords = (self.value(part) for part in node[2:5])
        return functools.partial(func, *args, **keywords)

    def _new_proxy(self, index: int, node: Any) -> Any:
        return types.MappingProxyType({self.value(k): self.value(v) for k, v in node[2]})

    def _new_weak(self, index: int, node: Any) -> Any:
        target = self.value(node[2])
        return weakref.ref(target if target is not None else types.SimpleNamespace())

    def _new_iter(self, index: int, node: Any) -> Any:
        made = self.value(node[2])(*self.value(node[3]))
        if node[4]:
            made.__setstate__(self.value(node[4][0]))
        elif node[2] == ["g", "builtins", "iter"]:
            next(made, None)  # without a position it was exhausted, over an empty sequence
        return made

    def _new_class(self, index: int, node: Any) -> Any:
        return atoms.find(*node[2])

    def _new_cache(self, index: int, node: Any) -> Any:
        return atoms.find(*node[2])

    def _new_func(self, index: int, node: Any) -> Any:
        module, qualname = node[2]
        line = self._lines.get(str(index), 0)
        code = self._find_code(module, qualname, line) if self._find_code else None
        if code is None and "<" not in qualname:
            return atoms.find(module, qualname)
        if code is None:
            raise CaptureError(f"the code of {module}.{qualname} is not found in today's source")
        cells = tuple(self.value(cell) for cell in node[5])
        scope = vars(importlib.import_module(module))
        return types.FunctionType(code, scope, qualname.rpartition(".")[2], None, cells)

    def _new_obj(self, index: int, node: Any) -> Any:
        kind = atoms.find(*node[2])
        content = node[5]
        if content is not None and content[0] == "exc":
            return kind.__new__(kind, *(self.value(arg) for arg in content[1]))
        if content is not None and content[0] == "deque":
            return deque.__new__(kind)
        for base in (dict, list, set):
            if issubclass(kind, base):
                return base.__new__(kind)
        space = issubclass(kind, types.SimpleNamespace)
        return kind.__new__(kind) if space else object.__new__(kind)

    def _new_objects(self, index: int, node: Any) -> Any:
        return np.empty(node[2], dtype=object)

    def _new_array(self, index: int, node: Any) -> Any:
        dtype, shape, strides, offset, region, writeable = node[2:8]
        memory = self._memory(region)
        built = np.ndarray(shape, numpy_dtype(dtype), memory.data, offset, strides)
        built.flags.writeable = bool(writeable)
        return built

    def _memory(self, region: int) -> Bytes1D:
        if region not in self._arrays:
            self._arrays[region] = np.array(self._source(region))
        return self._arrays[region]

    def _storage(self, region: int, device: str) -> Any:
        """Return the storage for a region: the one in use, the arrays' memory, or a new one."""
        from flor.capture import torch_adapter

        if region not in self._storages:
            shared = self._arrays.get(region)
            if shared is not None and shared.size:
                self._storages[region] = torch_adapter.storage_over(shared)
            else:
                made = torch_adapter.storage_from(self._source(region), device)
                self._storages[region] = made
                if made.device.type == "cpu":
                    self._arrays[region] = torch_adapter.bytes_of(made)
        return self._storages[region]

    def _new_tensor(self, index: int, node: Any) -> Any:
        from flor.capture import torch_adapter

        tensor = torch_adapter.view_of(self._storage(node[6], node[2][2]), node)
        if node[7] == "graph":
            return torch_adapter.without_graph(tensor)
        return tensor


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype that a node names, with its fields where it is a structure."""
    return np.dtype(dtype if isinstance(dtype, str) else [tuple(part) for part in dtype])


def json_state(value: Any) -> Any:
    """A NumPy generator's state from JSON; the inverse of what the walk wrote."""
    if isinstance(value, dict):
        if "__array__" in value:
            return np.array(value["__array__"], dtype=value["dtype"])
        return {key: json_state(item) for key, item in value.items()}
    return value
