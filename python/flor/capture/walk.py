"""The walk: one pass over everything reachable from a program's roots, as plain data.

The result (a :class:`Graph`) is JSON-like, needs no pickle to read, and names memory regions by
index instead of copying them. Mutable objects become *nodes*; immutable values are written in
place. Kinds of nodes and values are listed in ``docs/format_graph.md``.

Design and traps: identity matters (aliases must survive a restore), addresses are not identities
(an anchor holds a reference), and what can't be read exactly is *opaque*: it makes the boundary
unusable for jumps and is named with the reason.
"""

from __future__ import annotations

import base64
import threading
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flor.capture import adapters, atoms
from flor.capture.addresses import name_addresses
from flor.capture.anchors import Anchors
from flor.capture.regions import Regions
from flor.capture.usercode import UserCode

Value = Any  # None, bool, int, float, str, or a tagged list
Node = list[Any]  # [kind, anchor number or None, ...]
_Fill = Callable[["Walker", Any, Node], Any]

_HEAPTYPE = 1 << 9
_MAX_OPAQUE = 20
_TRANSPARENT: tuple[type, ...] = (object, list, dict, set, deque, OrderedDict, defaultdict)
_TRANSPARENT += (BaseException, types.SimpleNamespace)
_NODES = frozenset({list, dict, set, deque, bytearray, types.CellType, types.MethodType})


@dataclass
class Graph:
    """What one walk saw.

    ``roots`` maps a root's name to an ordered list of (name, value); ``nodes`` are the mutable
    objects in walk order; ``regions`` the live memory; ``opaque`` says what could not be read and
    why; ``assumed`` what was taken on trust; ``lines`` first lines of function nodes, kept apart
    because a probe moves them. ``live``: how many nodes a restore needs, the first ones; None: all.
    """

    roots: dict[str, list[tuple[str, Value]]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    regions: Regions = field(default_factory=Regions)
    opaque: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    lines: dict[int, int] = field(default_factory=dict)
    live: int | None = None


class Walker:
    """Walks roots into a :class:`Graph`. One walker, one pass; not thread-safe.

    ``objects`` holds the live object of every node, so no address is reused while the walk lasts.
    What ``unseen`` says yes to is left out of lists and dicts, and tuples in them that hold it;
    ``left_out`` counts.
    """

    def __init__(
        self,
        user: UserCode,
        anchors: Anchors | None = None,
        unseen: Callable[[Any], bool] | None = None,
    ) -> None:
        self.left_out = 0
        self._unseen = unseen
        self.graph = Graph()
        self.user = user
        self.objects: list[Any] = []
        self.noted: dict[int, Any] = {}
        self._anchors = anchors
        self._index: dict[int, int] = {}
        self._filled = 0
        self._where = ""
        self._parents: list[tuple[int, str]] = []
        self._current = -1
        # What was found of types in this walk: a class may change between two.
        self._unnamed: set[type] = set()
        self._plain: dict[type, _Layout] = {}
        self._fillers: dict[type, _Fill] = _FILLERS | adapters.fillers()

    # -- roots -------------------------------------------------------------------------------------

    def add_root(self, root: str, items: Iterable[tuple[str, Any]]) -> None:
        """Walk named values into root ``root``, and everything that they reach."""
        encoded = []
        for name, value in items:
            self._current, self._where = -1, name if root != "rng" else f"random state {name}"
            encoded.append((name, self.value(value)))
            self._drain()
        self.graph.roots[root] = encoded

    def end(self) -> None:
        """No more roots: references that only the whole graph can tell."""
        name_addresses(self.graph.nodes, self._index)

    def _drain(self) -> None:
        while self._filled < len(self.objects):
            index = self._filled
            self._filled += 1
            self._current = index
            obj = self.objects[index]
            fill: _Fill = self._fillers.get(type(obj), Walker._fill_other)
            fill(self, obj, self.graph.nodes[index])

    # -- values ------------------------------------------------------------------------------------

    def value(self, obj: Any) -> Value:
        """Encode one value: an atom in place, a mutable object as a reference to its node."""
        kind = type(obj)
        if kind in atoms.INLINE:
            return obj
        if kind is tuple:
            return ["t", [self.value(item) for item in obj]]
        encode = atoms.TABLE.get(kind)
        if encode is not None:
            return encode(obj)
        index = self._index.get(id(obj))
        if index is not None:
            return ["r", index]
        if kind in _NODES or kind in self._unnamed:
            return self._reference(obj)
        return self._special(obj, kind)

    def _special(self, obj: Any, kind: type) -> Value:
        if isinstance(obj, threading.local) and self._current < 0:
            # A variable of the program: not restored, but a state that lacks it is told by this.
            return ["still", "_thread._local", [[k, self.value(v)] for k, v in vars(obj).items()]]
        named = atoms.named_value(obj, self.user)
        if named is not None:
            return named
        if isinstance(obj, tuple) and hasattr(kind, "_fields"):
            return ["nt", atoms.type_name(kind), [self.value(item) for item in obj]]
        if kind is frozenset:
            return ["fs", sorted((self.value(item) for item in obj), key=repr)]
        if isinstance(obj, tuple) and kind.__module__.startswith("torch"):  # Size, results of max
            return ["st", atoms.type_name(kind), [self.value(item) for item in obj]]
        if kind is slice:
            return ["sl", [self.value(part) for part in (obj.start, obj.stop, obj.step)]]
        if atoms.never_named(kind) and not issubclass(kind, tuple):
            self._unnamed.add(kind)
        return self._reference(obj)

    def _reference(self, obj: Any) -> Value:
        index = len(self.objects)
        self._index[id(obj)] = index
        self.objects.append(obj)
        self._parents.append((self._current, self._where))
        number = self._anchors.number(obj) if self._anchors is not None else index
        self.graph.nodes.append(["?", number])
        return ["r", index]

    # -- nodes -------------------------------------------------------------------------------------

    def _fill_list(self, obj: list[Any], node: Node) -> None:
        node[0] = "list"
        node.append([self.value(item) for item in self._seen(obj)])

    def _fill_dict(self, obj: dict[Any, Any], node: Node) -> None:
        node[0] = "dict"
        pairs = self._seen(obj.items(), lambda pair: pair[1])
        node.append([[self.value(key), self.value(item)] for key, item in pairs])

    def _seen(
        self, items: Iterable[Any], content: Callable[[Any], Any] | None = None
    ) -> Iterable[Any]:
        """Return the items without the unseen; ``content`` gives what is looked at of each."""
        if self._unseen is None:
            return items
        every, unseen = list(items), self._unseen
        kept = []
        for item in every:
            part = content(item) if content else item
            if not (any(map(unseen, part)) if type(part) is tuple else unseen(part)):
                kept.append(item)
        self.left_out += len(every) - len(kept)
        return kept

    def _fill_set(self, obj: set[Any], node: Node) -> None:
        node[0] = "set"
        node.append([self.value(item) for item in obj])

    def _fill_deque(self, obj: deque[Any], node: Node) -> None:
        node[0] = "deque"
        node += [obj.maxlen, [self.value(item) for item in obj]]

    def _fill_bytearray(self, obj: bytearray, node: Node) -> None:
        node[0] = "bytearray"
        node.append(base64.b64encode(bytes(obj)).decode())

    def _fill_cell(self, obj: types.CellType, node: Node) -> None:
        node[0] = "cell"
        try:
            node.append([self.value(obj.cell_contents)])
        except ValueError:  # an empty cell
            node.append([])

    def _fill_function(self, obj: types.FunctionType, node: Node) -> None:
        node[0] = "func"
        self.graph.lines[self._current] = obj.__code__.co_firstlineno
        node += [
            [obj.__module__, obj.__qualname__],
            self.value(obj.__defaults__),
            self.value(obj.__kwdefaults__),
            [self.value(cell) for cell in obj.__closure__ or ()],
            [[key, self.value(item)] for key, item in obj.__dict__.items()],
        ]

    def _fill_method(self, obj: types.MethodType, node: Node) -> None:
        node[0] = "method"
        node += [self.value(obj.__self__), self.value(obj.__func__)]

    def _fill_generator(self, obj: types.GeneratorType[Any, Any, Any], node: Node) -> None:
        if obj.gi_frame is None:
            node[0] = "done"
        else:
            self.opaque(node, obj, "a suspended generator's position can't be set")

    def _fill_other(self, obj: Any, node: Node) -> None:
        kind = type(obj)
        layout = self._plain.get(kind)
        if layout is None:
            if adapters.fill(self, obj, node):
                return
            layout = _layout(kind)
            if adapters.decides_by_type(kind):
                self._plain[kind] = layout
        self._fill_instance(obj, node, layout)

    def _fill_instance(self, obj: Any, node: Node, layout: _Layout) -> None:
        if layout.base not in _TRANSPARENT:
            why = f"its base {layout.base.__name__} keeps state in C that flor can't read"
            self.opaque(node, obj, why)
            return
        node[0] = "obj"
        node += [atoms.type_name(type(obj)), self._attributes(obj), self._slots(obj, layout)]
        node.append(self._base_content(obj, layout.base))

    def _attributes(self, obj: Any) -> list[list[Any]]:
        try:
            attributes = object.__getattribute__(obj, "__dict__")
        except AttributeError:
            return []
        return [[key, self.value(item)] for key, item in attributes.items()]

    def _slots(self, obj: Any, layout: _Layout) -> list[list[Any]]:
        found = []
        for name, slot in layout.slots:
            try:
                found.append([name, self.value(slot.__get__(obj, type(obj)))])
            except AttributeError:  # an unset slot
                continue
        return found

    def _base_content(self, obj: Any, base: type) -> Value:
        if base in (object, types.SimpleNamespace):
            return None
        if base is BaseException:
            self.assume(f"exception {type(obj).__name__}: its traceback is not kept")
            return ["exc", [self.value(arg) for arg in obj.args]]
        if issubclass(base, dict):
            factory = obj.default_factory if base is defaultdict else None
            found = self._seen(base.items(obj), lambda pair: pair[1])
            pairs = [[self.value(key), self.value(item)] for key, item in found]
            return ["dict", pairs, self.value(factory)]
        if base is deque:
            return ["deque", [self.value(item) for item in obj], obj.maxlen]
        read: Any = base.__iter__  # type: ignore[attr-defined]
        return ["set" if base is set else "list", [self.value(item) for item in read(obj)]]

    # -- what can't be read ------------------------------------------------------------------------

    def opaque(self, node: Node, obj: Any, reason: str) -> None:
        """Mark ``node`` as unreadable; the boundary can't be jumped to."""
        node[:] = ["opaque", node[1], atoms.type_name(type(obj))]
        if len(self.graph.opaque) < _MAX_OPAQUE:
            place = self._path(self._current)
            self.graph.opaque.append(f"{place}: {type(obj).__qualname__}: {reason}")

    def at_entry(self, obj: Any, now: Any) -> Any:
        """Return what ``obj`` was like at the entry of the main loop, ``now`` if this is it.

        None for an object born since.
        """
        if self._anchors is not None:
            return self._anchors.noted(obj)
        self.noted[self._index[id(obj)]] = now
        return now

    def assume(self, text: str) -> None:
        """Write down something taken on trust."""
        if text not in self.graph.assumed and len(self.graph.assumed) < _MAX_OPAQUE:
            self.graph.assumed.append(text)

    def _path(self, index: int) -> str:
        steps: list[str] = []
        while index >= 0 and len(steps) < 12:
            parent, root = self._parents[index]
            if parent < 0:
                steps.append(root)
                break
            steps.append(_label(self.graph.nodes[parent], index))
            index = parent
        return "".join(reversed(steps)) or "a value"


_FILLERS: dict[type, _Fill] = {
    list: Walker._fill_list,
    dict: Walker._fill_dict,
    set: Walker._fill_set,
    deque: Walker._fill_deque,
    bytearray: Walker._fill_bytearray,
    types.CellType: Walker._fill_cell,
    types.MethodType: Walker._fill_method,
    types.GeneratorType: Walker._fill_generator,
    types.FunctionType: Walker._fill_function,
}


class _Layout(NamedTuple):
    """How instances of a class keep their state."""

    base: type
    slots: list[tuple[str, Any]]


def _layout(kind: type) -> _Layout:
    slots = [slot for cls in kind.__mro__ for slot in own_slots(cls)]
    return _Layout(c_base(kind), slots)


def own_slots(kind: type) -> list[tuple[str, Any]]:
    """Return the (name, descriptor) pairs of the ``__slots__`` that a Python class itself has."""
    if not kind.__flags__ & _HEAPTYPE:
        return []
    return [(k, v) for k, v in vars(kind).items() if type(v) is types.MemberDescriptorType]


def c_base(kind: type) -> type:
    """Return the most derived base of ``kind`` that is written in C; ``object`` for a pure Python
    class.

    The rule of :mod:`copyreg`, made stricter: a class that is larger than its Python slots explain
    has C storage of its own.
    """
    base: type = object
    for base in kind.__mro__:
        if not base.__flags__ & _HEAPTYPE:
            break
        new = base.__dict__.get("__new__")
        if isinstance(new, types.BuiltinFunctionType):
            break
    if issubclass(base, BaseException):
        return BaseException
    if base is object:
        slots = sum(
            type(item) is types.MemberDescriptorType
            for cls in kind.__mro__
            for item in vars(cls).values()
        )
        if kind.__basicsize__ > object.__basicsize__ + 8 * (slots + 2):
            return kind
    return base


def _label(parent: Node, child: int) -> str:
    """Return how ``parent`` refers to node ``child``: ``.name``, ``[key]`` or ``[i]``."""
    for part in parent[2:]:
        if not isinstance(part, list):
            continue
        for position, item in enumerate(part):
            if item == ["r", child]:
                return f"[{position}]"
            if isinstance(item, list) and len(item) == 2 and item[1] == ["r", child]:
                name = item[0]
                return f".{name}" if parent[0] == "obj" else f"[{name!r}]"
    return ".…"
