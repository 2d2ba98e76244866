"""Adapters: how the walk reads objects whose state is not in Python attributes.

Each ``fill`` function completes a node for one family of types. An object that no adapter knows and
whose base is written in C is opaque.
"""

from __future__ import annotations

import functools
import io
import itertools
import multiprocessing.process
import operator
import queue
import random
import subprocess
import sys
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.capture import atoms
from flor.capture.regions import Bytes1D, memory, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from flor.capture.walk import Node, Walker

_ITERATORS: tuple[type, ...] = (
    type(iter([])),
    type(iter(())),
    type(iter(range(0))),
    type(iter("")),
    type(reversed([])),
    operator.itemgetter,  # these three are no iterators, but immutable and rebuilt the same way
    operator.attrgetter,
    operator.methodcaller,
    enumerate,
    zip,
    map,
    filter,
    *(
        getattr(itertools, name)
        for name in (
            *("count", "cycle", "islice", "chain", "product", "repeat", "accumulate", "starmap"),
            *("permutations", "combinations", "takewhile", "dropwhile", "compress"),
        )
    ),
)
_SHARING = frozenset(
    {f"multiprocessing.{name}" for name in ("queues", "pool", "synchronize", "connection")}
    | {f"concurrent.futures.{name}" for name in ("_base", "thread", "process")}
)
_C_DESCRIPTORS = frozenset({"builtins", "types", "_collections"})
_BIT_GENERATORS = (np.random.BitGenerator,)


def fillers() -> dict[type, Callable[[Walker, Any, Node], Any]]:
    """Return what completes the nodes of objects of exactly these types, which are many."""
    if "torch.optim.optimizer" not in sys.modules:  # torch is not there yet, or not all of it
        return {np.ndarray: _array}
    from flor.capture import torch_adapter

    return {np.ndarray: _array, **dict.fromkeys(torch_adapter.KNOWN, torch_adapter.tensor)}


def fill(walker: Walker, obj: Any, node: Node) -> bool:
    """Complete ``node`` for ``obj`` when an adapter knows its type; return whether one did."""
    if isinstance(obj, np.ndarray):
        return _array(walker, obj, node)
    torch = sys.modules.get("torch")
    if torch is not None and type(obj).__module__.startswith("torch"):
        from flor.capture import torch_adapter

        if torch_adapter.fill(walker, obj, node):
            return True
    for kinds, function in _FAMILIES:
        if isinstance(obj, kinds):
            return bool(function(walker, obj, node))
    if _is_shared(obj):
        walker.opaque(node, obj, "other threads or processes may change it at any time")
        return True
    return False


def decides_by_type(kind: type) -> bool:
    """Whether :func:`fill`, having not known one object, knows none of its type."""
    return not issubclass(kind, queue.Queue)


def _array(walker: Walker, obj: np.ndarray[Any, Any], node: Node) -> bool:
    if type(obj) is not np.ndarray:
        walker.opaque(node, obj, "a subclass of ndarray may keep state that flor does not know")
        return True
    if obj.dtype.hasobject:
        node[0] = "objects"
        node += [list(obj.shape), [walker.value(item) for item in obj.ravel()]]
        return True
    view, offset = memory_of(obj)
    region = walker.graph.regions.add(view)
    node[0] = "array"
    node += [_dtype(obj), list(obj.shape), list(obj.strides), offset]
    node += [region, bool(obj.flags.writeable)]
    walker.graph.regions.use(region, *span(offset, node[3], node[4], obj.itemsize))
    return True


def _dtype(obj: np.ndarray[Any, Any]) -> Any:
    return obj.dtype.str if obj.dtype.names is None else _plain(obj.dtype.descr)


def _plain(descr: Any) -> Any:
    return [list(_plain(part)) if isinstance(part, (tuple, list)) else part for part in descr]


def memory_of(obj: np.ndarray[Any, Any]) -> tuple[Bytes1D, int]:
    """Return the memory that ``obj`` lives in, as bytes, and the offset of its first element.

    Views of one array share their owner's memory, an array made from a tensor shares the tensor's
    storage.
    """
    owner: Any = obj
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(owner.base, torch.Tensor):
        from flor.capture import torch_adapter

        view = torch_adapter.storage_view(owner.base)
    else:
        low, high = np.lib.array_utils.byte_bounds(owner) if owner.size else (0, 0)
        view = _span(owner, low, high - low)
    start = obj.__array_interface__["data"][0]
    base = view.__array_interface__["data"][0]
    return view, (start - base) if obj.size else 0


def _span(owner: np.ndarray[Any, Any], address: int, nbytes: int) -> Bytes1D:
    if nbytes and owner.flags.c_contiguous and owner.ndim:
        return owner.reshape(-1).view(np.uint8)
    return memory(owner, address, nbytes, readonly=not owner.flags.writeable)


def _random(walker: Walker, obj: random.Random, node: Node) -> bool:
    if type(obj) is not random.Random:
        return False
    node[0] = "random"
    node.append(walker.value(obj.getstate()))
    return True


def _generator(walker: Walker, obj: Any, node: Node) -> bool:
    bits = obj if isinstance(obj, _BIT_GENERATORS) else getattr(obj, "bit_generator", None)
    bits = bits if bits is not None else obj._bit_generator
    seed: Any = getattr(bits, "seed_seq", None)
    node[0] = "nprandom"
    node += [type(bits).__name__, type(obj).__name__, plain_state(bits.state)]
    node.append(plain_state(seed.state) if hasattr(seed, "state") else None)
    if isinstance(obj, np.random.RandomState):
        node.append(plain_state(obj.get_state(legacy=False)))
    return True


def plain_state(value: Any) -> Any:
    """A NumPy generator's state as JSON: integers, strings and lists."""
    if isinstance(value, dict):
        return {key: plain_state(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"__array__": value.tolist(), "dtype": value.dtype.str}
    return value.item() if isinstance(value, np.generic) else value


def _seed(walker: Walker, obj: Any, node: Node) -> bool:
    node[0] = "seedseq"
    node.append(plain_state(obj.state))
    return True


def _partial(walker: Walker, obj: functools.partial[Any], node: Node) -> bool:
    node[0] = "partial"
    node += [walker.value(part) for part in (obj.func, obj.args, obj.keywords)]
    return True


def _bound(walker: Walker, obj: Any, node: Node) -> bool:
    """A method of an object written in C, such as ``items.append``: the object and the name."""
    if obj.__self__ is None:
        return False
    node[0] = "bound"
    node += [walker.value(obj.__self__), obj.__name__]
    return True


def _iterator(walker: Walker, obj: Any, node: Node) -> bool:
    if type(obj) not in _ITERATORS:
        return False
    reduced = obj.__reduce__()
    node[:2] = ["iter", None]  # an iterator can't be set back in place: it is always rebuilt
    node += [walker.value(part) for part in (reduced[0], tuple(reduced[1]))]
    node.append([walker.value(reduced[2])] if len(reduced) > 2 and reduced[2] is not None else [])
    return True


def _weak(walker: Walker, obj: weakref.ref[Any], node: Node) -> bool:
    node[0] = "weak"
    node.append(walker.value(obj()))
    return True


def _user_class(walker: Walker, obj: type, node: Node) -> bool:
    """A class of the user's program: the data that its body or later code put on it."""
    node[0] = "class"
    node += [atoms.type_name(obj), []]
    for name, item in vars(obj).items():
        if not (name.startswith("__") or name == "_abc_impl" or _is_descriptor(item)):
            node[3].append([name, walker.value(item)])
    return True


def _is_descriptor(item: Any) -> bool:
    """Whether a class attribute is code: a function, a property, a field of a named tuple."""
    kind = type(item)
    in_c = hasattr(kind, "__get__") and kind.__module__ in _C_DESCRIPTORS
    return in_c or isinstance(item, (property, functools.cached_property))


def _closed_file(walker: Walker, obj: Any, node: Node) -> bool:
    if obj.closed:
        node[0] = "closed"
        return True
    name = getattr(obj, "name", "?")
    walker.opaque(node, obj, f"an open file ({name}) has a position in the system")
    return True


def _lock(walker: Walker, obj: Any, node: Node) -> bool:
    node[0] = "lock"
    node.append(type(obj).__name__)
    return True


def _mapping(walker: Walker, obj: types.MappingProxyType[Any, Any], node: Node) -> bool:
    node[0] = "proxy"
    node.append([[walker.value(k), walker.value(v)] for k, v in obj.items()])
    return True


def _alive(walker: Walker, obj: Any, node: Node) -> bool:
    """Threads and processes: pure Python objects whose real state is elsewhere."""
    walker.opaque(node, obj, "a thread or process has state that only the system knows")
    return True


def _is_shared(obj: Any) -> bool:
    """Whether others change an object at any time: processes, or threads at its other end."""
    if isinstance(obj, queue.Queue):
        return threading.active_count() > 1
    return any(kind.__module__ in _SHARING for kind in type(obj).__mro__)


def _cache(walker: Walker, obj: Any, node: Node) -> bool:
    """A cached function: what it holds can't be set, but the first lines fill it alike."""
    now = cache_state(obj)
    if walker.at_entry(obj, now) != now:
        walker.opaque(node, obj, "its cache was filled inside the loop, and can't be set")
        return True
    node[0] = "cache"
    node += [[obj.__module__, obj.__qualname__], now]
    return True


def cache_state(obj: Any) -> list[int]:
    """Return what tells one state of a cache from another, [misses, entries, hits].

    Hits count where they may decide what is thrown away next; elsewhere only ``cache_info()`` shows
    them, and a replay of a program that reads it executes all (``replay/question.py``).
    """
    info = functools._lru_cache_wrapper.cache_info(obj)
    return [info.misses, info.currsize, info.hits if info.currsize == info.maxsize else 0]


_FAMILIES: tuple[tuple[Any, Any], ...] = (
    ((threading.Thread, subprocess.Popen, multiprocessing.process.BaseProcess), _alive),
    (functools._lru_cache_wrapper, _cache),
    (random.Random, _random),
    ((np.random.Generator, np.random.RandomState, *_BIT_GENERATORS), _generator),
    (np.random.SeedSequence, _seed),
    (functools.partial, _partial),
    ((types.BuiltinMethodType, types.MethodWrapperType), _bound),
    (_ITERATORS, _iterator),
    (weakref.ref, _weak),
    (types.MappingProxyType, _mapping),
    (type, _user_class),
    (io.IOBase, _closed_file),
    (type(threading.RLock()), _lock),
)
