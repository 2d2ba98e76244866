"""Capture: frames, what can't be read, fingerprints."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from typing import Any

import pytest
from capturekit import HERE, Copy, digest_of, opaque, rebuilt, world_of

from flor.capture import ambient
from flor.capture.state import World, digest
from flor.capture.usercode import UserCode
from flor.errors import CaptureError


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: Any) -> None:
        self.a = a


# -- frames ----------------------------------------------------------------------------------------


class FramesOnly(UserCode):
    """The functions of this file, without the modules that pytest loaded beside it."""

    def modules(self) -> list[Any]:
        return []


FRAMES = FramesOnly(HERE.root)


def test_variables_of_the_frame_unbound_ones_and_cells():
    values, total = [1], 0
    later: int
    world = World(FRAMES, {})

    def look() -> int:
        return total

    world.enter(sys._getframe())
    total = 5
    copy = Copy(world.walk(sys._getframe()))
    total, later, values = 6, 7, [2]
    world.restore(copy.graph, copy.source, sys._getframe())
    assert (total, look(), values) == (5, 5, [1])
    with pytest.raises(UnboundLocalError):
        print(later)
    assert digest(world.walk(sys._getframe())) != ""


def test_another_stack_is_refused():
    world = World(FRAMES, {})
    world.enter(sys._getframe())
    copy = Copy(world.walk(sys._getframe()))

    def inner() -> None:
        world.restore(copy.graph, copy.source, sys._getframe())

    with pytest.raises(CaptureError, match="functions on the stack differ"):
        inner()


# -- what can't be read ----------------------------------------------------------------------------


class Holder:
    def __init__(self, thing: Any) -> None:
        self.things = {"it": [thing]}


def test_opaque_things_are_named_with_their_path(tmp_path):
    def numbers():
        yield from range(3)

    suspended = numbers()
    next(suspended)
    thread = threading.Thread(target=print, args=(1,))
    with (tmp_path / "out.txt").open("w") as file, socket.socket() as sock:
        for thing, word in [(file, "open file"), (suspended, "generator"), (sock, "socket")]:
            found = opaque(holder=Holder(thing))
            assert found, word
            assert "holder.things['it'][0]" in found[0]
            assert word in found[0].lower()
    assert opaque(holder=Holder(thread)) or thread  # a thread not started is a plain object
    assert not opaque(holder=Holder(file))  # closed now


def test_a_running_thread_is_opaque():
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        assert "holder" in opaque(holder=Holder(thread))[0]
    finally:
        go.set()
        thread.join()


def test_subclasses_that_keep_state_in_c_are_opaque():
    class Text(str):
        pass

    class Loud(random.Random):
        pass

    assert "str" in opaque(holder=Holder(Text("a")))[0]
    assert opaque(holder=Holder(Loud()))
    assert opaque(holder=Holder(memoryview(b"abc")))


def test_an_opaque_object_can_t_be_restored(tmp_path):
    with (tmp_path / "f").open("w") as file:
        world = world_of(file=[file])
        copy = Copy(world.walk(None))
        with pytest.raises(CaptureError, match="opaque"):
            world.restore(copy.graph, copy.source, None)


def test_a_deep_structure_is_no_recursion():
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    again = rebuilt(deep=deep)["deep"]
    depth = 0
    while again:
        again, depth = again[0], depth + 1
    assert depth == 5000


# -- fingerprints ----------------------------------------------------------------------------------


def test_fingerprints_count_content_not_the_order_of_sets():
    assert digest_of(a=[1, {"x": 2.0}]) == digest_of(a=[1, {"x": 2.0}])
    assert digest_of(a=[1]) != digest_of(a=[2]) != digest_of(a=[2.0])
    assert digest_of(a=[1]) != digest_of(a=[True])
    one, other = {0, 8, 16}, {16, 8, 0}
    assert digest_of(a=one) == digest_of(a=other)
    shared: list[int] = []
    assert digest_of(a=[shared, shared]) != digest_of(a=[[], []])
    assert digest_of(a={"x": 1, "y": 2}) != digest_of(a={"y": 2, "x": 1})


def test_addresses_that_keras_keeps_are_those_of_the_restored_objects(monkeypatch):
    def make() -> dict[str, Any]:
        variables = [Slotted(1), Slotted(2)]
        known = {id(variables[1]), 1 << 50}
        places = {id(variables[0]): 0, f"{id(variables[1])}_ib-0": 1}
        return {"variables": variables, "known": known, "places": places}

    first, second = make(), make()  # both alive: at different addresses
    assert digest_of(**first) != digest_of(**second)
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    assert digest_of(**first) == digest_of(**second)
    back = rebuilt(**first)
    one, other = back["variables"]
    assert back["known"] == {id(other), 1 << 50}
    assert back["places"] == {id(one): 0, f"{id(other)}_ib-0": 1}


def test_what_is_unseen_is_left_out_of_containers():
    class Mine:
        pass

    plain: dict[str, Any] = {"calls": [print], "hooks": OrderedDict(a=1), "named": []}
    plain["named"].append(("x", len))
    before = digest_of(**plain)
    plain["calls"].insert(0, Mine())
    plain["hooks"]["b"] = Mine()
    plain["named"].append(("mine", Mine()))
    world = World(HERE, plain, unseen=lambda obj: isinstance(obj, Mine), whole=False)
    assert digest(world.enter(None)) == before
    assert world.left_out == 3
    assert digest_of(**plain) != before


def test_a_checkpointer_made_in_the_loop_does_not_move_what_counts_as_the_start(monkeypatch):
    World(HERE, {}).enter(None)
    monkeypatch.setenv("PHASE", "two")
    World(HERE, {}, whole=False).enter(None)
    assert ambient.settings()["environment"] == {"PHASE": "two"}


def test_a_state_dict_that_fails_costs_no_checkpoint():
    class Picky:
        def __init__(self) -> None:
            self.values = [1, 2]

        def state_dict(self) -> dict[str, Any]:
            raise KeyError("a parameter that it does not know")

    world = World(HERE, {"picky": Picky()}, whole=False)
    graph = world.enter(None)
    world.add_states(graph)
    assert any("picky.state_dict() failed" in text for text in graph.assumed)
    assert graph.roots["states"] == [("picky", graph.roots["with"][0][1])]


LEVELS = """
import logging
from flor.capture import ambient
from flor.capture.state import random_states, set_random_states

logging.getLogger("mine").setLevel(logging.ERROR)
before = ambient._levels_now()
set_random_states(random_states())
assert ambient._levels_now() == before, "no loop was entered"
ambient.enter()
logging.getLogger("mine").setLevel(logging.DEBUG)
logging.getLogger("other").setLevel(logging.INFO)
logging.disable(logging.INFO)
states, after = random_states(), ambient._levels_now()
logging.getLogger("mine").setLevel(logging.WARNING)
logging.getLogger("late").setLevel(logging.WARNING)
logging.disable(logging.NOTSET)
set_random_states(states)
assert ambient._levels_now() == after
"""


def test_levels_of_logging_are_those_that_the_loop_set():
    subprocess.run([sys.executable, "-c", LEVELS], check=True, timeout=120)
