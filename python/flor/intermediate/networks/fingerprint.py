"""What a model, its code and its data are, as fingerprints of content.

Equal fingerprints are equal computations: weights and buffers count in full, plain attributes by
value, code by its instructions, with the functions and constants that it names. What can't be read
(an object of C without a reduction) counts as itself, in this process alone: then nothing kept is
found again, and nothing wrong is.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import os
import secrets
import struct
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from flor import _core
from flor.capture.usercode import is_installed
from flor.intermediate.networks.arrays import array_of

_LARGE_BYTES = 1 << 20
_THREADS = min(4, os.cpu_count() or 1)
# What of a module does not say what it computes; of hooks those of the forward pass count.
_MODULE_INTERNALS = {
    *("training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"),
    *("_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook"),
    *("_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
    *("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks_with_kwargs",
}
_CLASS_INTERNALS = {
    *("__doc__", "__module__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
    *("__parameters__", "__orig_bases__"),
}


def of(*values: Any) -> str:
    """Return the fingerprint of these values together, 32 hexadecimal digits."""
    hasher = _Hasher()
    for value in values:
        hasher.add(value)
    return hasher.hexdigest()


def of_model(net: Any) -> str:
    """Return the fingerprint of what a torch module computes in this process, in eval mode.

    Gradients, training flags and ``requires_grad`` do not count; the number of threads and the
    kind of device do, because the last bits depend on them.
    """
    return of(net, environment(net))


def environment(net: Any) -> dict[str, Any]:
    """Return what decides the last bits of a network's values beside the network itself."""
    import torch

    devices = {tensor.device.type for tensor in [*net.parameters(), *net.buffers()]}
    return {
        "torch": str(torch.__version__),
        "devices": sorted(devices),
        "threads": torch.get_num_threads(),
        "autocast": [
            (kind, torch.is_autocast_enabled(kind), str(torch.get_autocast_dtype(kind)))
            for kind in sorted(devices | {"cpu"})
            if torch.is_autocast_enabled(kind)
        ],
        "precision": torch.get_float32_matmul_precision(),
        "onednn": torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def of_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Return the digest of an array's type, shape and content."""
    dense: Any = np.ascontiguousarray(array).reshape(-1)
    hasher = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    hasher.update(dense.view(np.uint8) if dense.size else b"")
    return hasher.digest()


class _Hasher:
    """Feeds values into a hash, each object once: what is met again counts by its number."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # ids of the dead are used again
        self._contents: dict[int, bytes] | None = None

    def hexdigest(self) -> str:
        """Return the fingerprint of what was added."""
        return self._hash.hexdigest()

    def tag(self, text: str, *numbers: int) -> None:
        """Add what is known to be there: kinds, names, lengths."""
        data = text.encode()
        self._hash.update(struct.pack(f"<I{len(numbers)}q", len(data), *numbers))
        self._hash.update(data)

    def add(self, value: Any) -> None:
        """Add a value by its content."""
        kind = type(value)
        if kind in _ATOMS:
            self.tag(f"{kind.__name__}:{value!r}")
        elif kind in (str, bytes):
            data = value.encode("utf-8", "surrogatepass") if kind is str else value
            self.tag(kind.__name__, len(data))
            self._hash.update(data)
        elif kind is tuple:  # immutable: whether it is shared does not count
            self.items(value)
        elif self._first(value):
            self._object(value, kind)

    def _first(self, value: Any) -> bool:
        number = self._known.get(id(value))
        if number is not None:
            self.tag("again", number)
            return False
        self._known[id(value)] = len(self._known)
        self._alive.append(value)
        return True

    def _object(self, value: Any, kind: type) -> None:
        add = _KINDS.get(kind)
        if add is not None:
            add(self, value)
        elif isinstance(value, enum.Enum):
            self.tag(f"enum:{_name(kind)}.{value.name}")
        elif isinstance(value, type):
            self._class(value)
        elif _is_torch(value, "Tensor"):
            self._tensor(value)
        elif _is_torch(value, "nn.Module"):
            self._network(value)
        else:
            self._reduced(value, kind)

    # -- containers --------------------------------------------------------------------------------

    def items(self, value: Iterable[Any]) -> None:
        found = list(value)
        self.tag(type(value).__name__, len(found))
        for item in found:
            self.add(item)

    def mapping(self, value: Mapping[Any, Any]) -> None:
        self.tag(type(value).__name__, len(value))
        for key, item in value.items():
            self.add(key)
            self.add(item)

    def unordered(self, value: Iterable[Any]) -> None:
        found = sorted(of(item) for item in value)
        self.tag(type(value).__name__ + "".join(found), len(found))

    def array(self, value: np.ndarray[Any, Any]) -> None:
        if value.dtype.hasobject:
            self.tag(f"objects:{value.shape}")
            self.items(value.reshape(-1).tolist())
        else:
            self.tag("array")
            self._hash.update(of_bytes(value))

    # -- networks ----------------------------------------------------------------------------------

    def _tensor(self, value: Any) -> None:
        self.tag(f"tensor:{value.dtype}")
        digest = (self._contents or {}).get(id(value))
        self._hash.update(of_bytes(array_of(value)) if digest is None else digest)

    def _network(self, net: Any) -> None:
        self._hash_weights(net)
        self.tag(f"module:{len(net._modules)}")
        self.add(type(net))
        for group in (net._parameters, net._buffers, net._modules):
            self.mapping(group)
        for name, value in sorted(vars(net).items()):
            if name in ("_forward_hooks", "_forward_pre_hooks"):
                value = [hook for hook in value.values() if not getattr(hook, "flor_tap", False)]
            if name not in _MODULE_INTERNALS:
                self.tag(name)
                self.add(value)

    def _hash_weights(self, net: Any) -> None:
        """Hash large tensors side by side, once a network."""
        if self._contents is not None:
            return
        self._contents = {}
        large = [t for t in [*net.parameters(), *net.buffers()] if t.nbytes >= _LARGE_BYTES]
        if len(large) > 1 and _THREADS > 1:
            with ThreadPoolExecutor(_THREADS) as pool:
                digests = pool.map(lambda tensor: of_bytes(array_of(tensor)), large)
                self._contents = dict(zip(map(id, large), digests, strict=True))

    # -- code --------------------------------------------------------------------------------------

    def function(self, value: types.FunctionType) -> None:
        self.tag(f"function:{value.__module__}.{value.__qualname__}")
        if value.__module__.partition(".")[0] == "torch":
            return  # its version counts
        self.code(value.__code__)
        self.add(value.__defaults__)
        self.add(value.__kwdefaults__)
        self.items(value.__closure__ or ())
        self.mapping(vars(value))
        if not is_installed(value.__code__.co_filename):
            self._named(_globals(value.__code__), _names(value.__code__), value.__globals__)

    def cell(self, value: types.CellType) -> None:
        try:
            self.add(value.cell_contents)
        except ValueError:
            self.tag("empty cell")

    def _named(self, names: Set[str], parts: Set[str], scope: Mapping[str, Any]) -> None:
        """Add what code of the program refers to by name; of modules what it takes from them."""
        for name in sorted(names & scope.keys()):
            value = scope[name]
            self.tag(f"global:{name}")
            if not isinstance(value, types.ModuleType):
                self.add(value)
            elif is_installed(getattr(value, "__file__", None)):
                self.tag(f"package:{value.__name__}")
            elif self._first(value):
                self._named(parts, parts, vars(value))

    def code(self, value: types.CodeType) -> None:
        self.tag("code", len(value.co_code), value.co_flags, value.co_argcount)
        self._hash.update(value.co_code)
        for item in value.co_consts:
            if not isinstance(item, _core.LoopSite):
                self.add(item)
        self.items(value.co_names)
        self.items(value.co_freevars)

    def method(self, value: types.MethodType) -> None:
        self.tag("method")
        self.add(value.__func__)
        self.add(value.__self__)

    def builtin(self, value: types.BuiltinFunctionType) -> None:
        self.tag(f"builtin:{value.__module__}.{value.__qualname__}")
        if not isinstance(value.__self__, types.ModuleType | type(None)):
            self.add(value.__self__)

    def _class(self, kind: type) -> None:
        self.tag(f"class:{_name(kind)}")
        if kind.__module__.partition(".")[0] in ("torch", "builtins") or _is_stdlib(kind):
            return
        for base in kind.__bases__:
            self.add(base)
        for name, value in sorted(vars(kind).items()):
            if name not in _CLASS_INTERNALS:
                self.tag(name)
                self.add(value)

    # -- everything else ---------------------------------------------------------------------------

    def _reduced(self, value: Any, kind: type) -> None:
        """Add an object by what it would be pickled as, without its bytes."""
        self.tag(f"object:{_name(kind)}")
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            self.tag(f"opaque:{_token(value)}")
            return
        if isinstance(reduced, str):
            self.tag(reduced)
            return
        for part in reduced[:3]:
            self.add(part)
        for part in reduced[3:5]:
            if part is not None:
                self.items(list(part))


def _is_torch(value: Any, name: str) -> bool:
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    kind = functools.reduce(getattr, name.split("."), torch)
    return isinstance(value, kind)  # type: ignore[arg-type]


def _is_stdlib(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names and (
        kind.__module__ != "__main__"
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@functools.cache
def _names(code: types.CodeType) -> frozenset[str]:
    """Return all names in code, those of attributes too, and of the functions inside."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return frozenset(code.co_names).union(*map(_names, inner))


@functools.cache
def _globals(code: types.CodeType) -> frozenset[str]:
    """Return the names that code looks up in its module."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    found = {one.argval for one in dis.get_instructions(code) if one.opname in _LOOK_UP}
    return frozenset(found).union(*map(_globals, inner))


_LOOK_UP = ("LOAD_GLOBAL", "LOAD_NAME")

_TOKENS: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_KEPT: dict[int, tuple[Any, str]] = {}


def _token(value: Any) -> str:
    """Return a name for an object that no other object and no other process has."""
    try:
        return _TOKENS.setdefault(value, secrets.token_hex(16))
    except TypeError:  # without weak references or a hash: it is kept, so that its id stays its own
        return _KEPT.setdefault(id(value), (value, secrets.token_hex(16)))[1]


_ATOMS = frozenset({type(None), bool, int, float, complex, type(...), type(NotImplemented)})
_KINDS: dict[type, Callable[[_Hasher, Any], None]] = {
    list: _Hasher.items,
    dict: _Hasher.mapping,
    set: _Hasher.unordered,
    frozenset: _Hasher.unordered,
    np.ndarray: _Hasher.array,
    types.FunctionType: _Hasher.function,
    types.CodeType: _Hasher.code,
    types.CellType: _Hasher.cell,
    types.MethodType: _Hasher.method,
    types.BuiltinFunctionType: _Hasher.builtin,
    types.ModuleType: lambda hasher, value: hasher.tag(f"imported:{value.__name__}"),
    weakref.ReferenceType: lambda hasher, value: hasher.add(value()),
    property: lambda hasher, value: hasher.items((value.fget, value.fset)),
    staticmethod: lambda hasher, value: hasher.add(value.__func__),
    classmethod: lambda hasher, value: hasher.add(value.__func__),
}
