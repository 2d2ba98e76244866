"""What a checkpoint keeps of plain Python, and how it comes back: in place, aliases and all."""

from __future__ import annotations

import enum
import functools
import itertools
import operator
import random
import types
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from capturekit import in_place, opaque, rebuilt, world_of


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Mode(enum.Flag):
    FAST = 1
    LOUD = 2


class Point(NamedTuple):
    x: float
    y: Any


@dataclass
class Settings:
    lr: float
    history: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Fixed:
    name: str
    values: list[int]


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a


class Window(deque):
    """A container with attributes of its own."""

    def __init__(self, *items: Any) -> None:
        super().__init__(items, maxlen=3)
        self.seen = 0


class Registry:
    count = 0
    names: list[str] = []


@functools.lru_cache
def squared(value: int) -> int:
    return value * value


def double(value: int) -> int:
    return 2 * value


# -- containers ------------------------------------------------------------------------------------


def test_containers_keep_their_identity_and_get_their_content_back():
    inner = [1, 2]
    state = {"list": inner, "alias": inner, "tuple": (inner, 3), "set": {1, "a"}}
    world = world_of(state=state)
    inner.append(3)

    def disturb() -> None:
        state["alias"] = list(inner)
        inner.clear()
        state["set"].add(9)
        state["new"] = 1
        del state["tuple"]

    in_place(world, disturb)
    assert state["list"] is state["alias"] is state["tuple"][0] is inner
    assert inner == [1, 2, 3]
    assert state["set"] == {1, "a"}
    assert list(state) == ["list", "alias", "tuple", "set"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Counter("abracadabra"),
        lambda: OrderedDict([("b", 1), ("a", 2)]),
        lambda: defaultdict(list, {"k": [1]}),
        lambda: deque([1, 2, 3], maxlen=3),
        lambda: Window(1, 2),
        lambda: bytearray(b"abc"),
        lambda: {1, 2, 3},
        lambda: {"b": 1, "a": {"c": None}},
    ],
    ids=lambda make: type(make()).__name__,
)
def test_a_container_comes_back_in_place_and_rebuilt(make):
    live = make()
    box = [live]
    world = world_of(box=box)
    in_place(world, live.clear)
    assert box[0] is live
    assert live == make() and type(live) is type(make())
    again = rebuilt(box=[make()])["box"][0]
    assert again == make() and type(again) is type(make())


def test_order_limits_and_factories_survive():
    ordered = OrderedDict([("b", 1), ("a", 2)])
    counts = defaultdict(list)
    window = deque([1, 2], maxlen=2)
    world = world_of(o=ordered, c=counts, w=window)
    ordered.move_to_end("b")
    in_place(world, lambda: (ordered.move_to_end("a"), counts["x"].append(1), window.append(5)))
    assert list(ordered) == ["a", "b"]
    assert list(reversed(ordered)) == ["b", "a"]
    assert not counts
    assert counts["new"] == []
    assert list(window) == [1, 2] and window.maxlen == 2


def test_instances_slots_dataclasses_named_tuples_and_enums():
    settings, slotted = Settings(0.1, [1.0]), Slotted([1])
    state = {
        "settings": settings,
        "slotted": slotted,
        "history": settings.history,
        "point": Point(1.0, settings),
        "color": Color.RED,
        "mode": Mode.FAST | Mode.LOUD,
        "fixed": Fixed("n", [1]),
    }
    world = world_of(state=state)

    def disturb() -> None:
        settings.lr, settings.history = 5.0, []
        settings.extra = True
        slotted.a, slotted.b = 7, 8
        state["color"] = Color.BLUE
        state["fixed"].values.append(2)
        del slotted.b

    in_place(world, disturb)
    assert settings == Settings(0.1, [1.0]) and not hasattr(settings, "extra")
    assert settings.history is state["history"] and state["point"].y is settings
    assert slotted.a == [1] and state["color"] is Color.RED
    assert state["mode"] == Mode.FAST | Mode.LOUD
    assert state["fixed"] == Fixed("n", [1])
    assert rebuilt(state=state)["state"]["point"].x == 1.0


def test_a_slot_set_since_is_unset_again():
    slotted = Slotted(1)
    world = world_of(slotted=slotted)
    in_place(world, lambda: setattr(slotted, "b", 2))
    assert not hasattr(slotted, "b")


def test_attributes_of_a_class_of_the_program():
    world = world_of(registry=Registry)
    names = Registry.names
    Registry.count, Registry.added = 3, 1

    def disturb() -> None:
        Registry.count, Registry.names = 9, ["x"]
        names.append("y")

    try:
        in_place(world, disturb)
        assert Registry.count == 3 and Registry.names is names and names == []
    finally:
        Registry.count, Registry.names = 0, []
        del Registry.added


def test_getters_of_operator():
    state = [operator.itemgetter(1), operator.attrgetter("a.b"), operator.methodcaller("sum")]
    again = rebuilt(state=state)["state"]
    assert again[0]("abc") == "b"
    assert again[2](np.arange(3)) == 3
    assert [type(item) for item in again] == [type(item) for item in state]


def test_simple_namespaces_and_caches():
    space = types.SimpleNamespace(a=1)
    squared.cache_clear()
    world = world_of(space=[space, squared])
    in_place(world, lambda: (setattr(space, "b", 2), delattr(space, "a"), squared(3)))
    assert space == types.SimpleNamespace(a=1)
    assert squared.cache_info().misses == 0
    squared(3)
    assert "its cache was filled inside the loop" in world.walk(None).opaque[0]
    assert "cache" not in str(world_of(space=[squared]).walk(None).opaque)
    assert rebuilt(space=space)["space"] == space
    assert not opaque(classes=[Point, Color, Mode, Fixed, Slotted, Window])


def test_immutable_values_of_the_standard_library():
    import datetime
    import decimal
    import fractions
    import pathlib
    import re
    import uuid

    values = [
        range(1, 9, 2),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=5),
        pathlib.Path("a/b"),
        re.compile("a+", re.IGNORECASE),
        datetime.date(2020, 1, 2),
        datetime.timedelta(days=1, seconds=2, microseconds=3),
        datetime.time(1, 2),
        datetime.UTC,
        slice(0, 3),
        np.add,
        b"\x00\xff",
        1j,
        frozenset({1, (2, 3)}),
        ...,
        2**100,
        float("inf"),
        "\ud800",
        len,
        dict.fromkeys,
        double,
        int,
    ]
    assert rebuilt(values=values)["values"] == values


# -- functions, iterators, random states -----------------------------------------------------------


def counter() -> tuple[Any, Any]:
    count = 0

    def add() -> int:
        nonlocal count
        count += 1
        return count

    return add, lambda: count


def test_closures_share_their_cell():
    add, look = counter()
    world = world_of(functions=[add, look])
    add()
    in_place(world, lambda: (add(), add()))
    assert look() == 1
    assert add() == 2 and look() == 2


def test_defaults_attributes_partials_and_methods():
    def remember(value: int, seen: list[int] = []) -> list[int]:  # noqa: B006
        seen.append(value)
        return seen

    remember.calls = 0
    items: list[int] = []
    state = [remember, functools.partial(remember, 3), items.append, Settings(1.0).__repr__]
    world = world_of(state=state, items=items)
    remember(1)
    remember.calls = 1
    in_place(world, lambda: (remember(2), setattr(remember, "calls", 5), state[2](4)))
    assert remember.__defaults__ == ([1],) and remember.calls == 1
    assert items == []
    state[2](7)
    assert items == [7]


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter(range(9)),
        lambda: iter([1, 2, 3, 4, 5, 6]),
        lambda: iter((1, 2, 3, 4, 5, 6)),
        lambda: iter("abcdefgh"),
        lambda: reversed([1, 2, 3, 4, 5, 6]),
        lambda: enumerate("abcdefgh"),
        lambda: zip(range(9), "abcdefgh", strict=False),
        lambda: map(double, range(9)),
        lambda: filter(None, range(9)),
        lambda: itertools.count(5, 2),
        lambda: itertools.cycle([1, 2, 3]),
        lambda: itertools.chain([1, 2, 3], range(5)),
        lambda: itertools.islice(range(20), 2, 18, 3),
        lambda: itertools.repeat("x", 9),
        lambda: itertools.accumulate(range(9)),
        lambda: itertools.product("ab", [1, 2, 3]),
        lambda: itertools.permutations(range(4), 2),
        lambda: itertools.combinations(range(5), 2),
    ],
)
@pytest.mark.parametrize("taken", [0, 3])
def test_an_iterator_resumes_exactly(make, taken):
    state = [make()]
    world = world_of(state=state)
    list(itertools.islice(state[0], taken))
    expected = list(itertools.islice(make(), taken, taken + 4))
    in_place(world, lambda: next(state[0]))
    assert list(itertools.islice(state[0], 4)) == expected


def test_an_exhausted_iterator_stays_exhausted():
    state = [iter([1]), (x for x in ())]
    list(state[0]), list(state[1])
    world = world_of(state=state)
    in_place(world, state.clear)
    assert list(state[0]) == [] and list(state[1]) == []


def test_python_random_states_global_and_own():
    own = random.Random(3)
    world = world_of(own=own)
    own.gauss(0, 1)
    random.seed(4)
    graph_state = {}

    def disturb() -> None:
        graph_state["expected"] = (own.random(), own.gauss(0, 1), random.random())

    in_place(world, disturb)
    assert (own.random(), own.gauss(0, 1), random.random()) == graph_state["expected"]
