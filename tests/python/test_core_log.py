"""The logger as Python sees it: values, contexts, threads, forks, exits, typed errors."""

import gc
import json
import math
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logkit import paths, rows, values

from flor import _core, errors

GOLDEN = Path(__file__).parent.parent / "golden" / "log"


@pytest.fixture
def folder(tmp_path):
    _core.context_reset()
    yield str(tmp_path)
    _core.set_active(None)
    _core.set_slow_path(None)
    _core.context_reset()


@pytest.fixture
def writer(folder):
    writer = _core.LogWriter(folder, "w")
    _core.set_active(writer)
    yield writer
    writer.close()


# --- values -------------------------------------------------------------------------------------


def test_log_returns_its_value_and_keeps_the_types(writer, folder):
    logged = [1.5, -0.0, 3, -(2**63), 2**63 - 1, True, False, None, "é", b"\0\xff"]
    for value in logged:
        assert _core.log("x", value) is value
    nan = math.nan
    assert _core.log("nan", nan) is nan
    got = rows(folder)
    assert [r["kind"] for r in got] == [3, 3, 2, 2, 2, 1, 1, 0, 4, 5, 3]
    assert [r["num"] for r in got[:7]] == [1.5, 0.0, 3.0, -(2.0**63), 2.0**63, 1.0, 0.0]
    assert math.copysign(1, got[1]["num"]) == -1
    assert [r["int"] for r in got[:7]] == [None, None, 3, -(2**63), 2**63 - 1, 1, 0]
    assert [r["data"] for r in got[7:10]] == [None, "é".encode(), b"\0\xff"]
    assert math.isnan(got[10]["num"])
    assert not any(r["external"] for r in got)
    assert [r["seq"] for r in got] == list(range(11))
    assert sorted(r["time"] for r in got) == [r["time"] for r in got]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            st.one_of(
                st.floats(allow_nan=False),
                st.integers(-(2**63), 2**63 - 1),
                st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
                st.binary(min_size=1),
            ),
        ),
        max_size=30,
    )
)
def test_any_values_round_trip(tmp_path_factory, logged):
    folder = str(tmp_path_factory.mktemp("log"))
    writer = _core.LogWriter(folder, "w", ring_bytes=1 << 16)
    for name, value in logged:
        writer.log(name, value)
    assert [v for _, v in values(folder)] == [v or (v if v == 0 else None) for _, v in logged]
    assert [n for n, _ in values(folder)] == [n for n, _ in logged]
    writer.close()
    assert [n for n, _ in values(folder)] == [n for n, _ in logged]


class FloatLike(float):
    pass


def test_what_log_does_not_take_goes_to_the_slow_path(writer, folder):
    class Name(str):
        pass

    slow = []
    _core.set_slow_path(lambda name, value: slow.append((name, value)))
    odd = [FloatLike(1), 2**63, [1], "x" * 65537, "\ud800", object()]
    for value in odd:
        assert _core.log("x", value) is value
    assert _core.log(Name("n"), 1) == 1
    assert _core.log(5, 1) == 1
    assert [v for _, v in slow] == [*odd, 1, 1]
    assert rows(folder) == []
    _core.log("x", "y" * 65536)
    assert len(rows(folder)) == 1
    _core.set_active(None)
    assert _core.log("x", 2.0) == 2.0
    assert slow[-1] == ("x", 2.0)


def test_an_error_of_the_slow_path_comes_out_of_log(writer):
    def refuse(name, value):
        raise errors.SerializationError("no")

    _core.set_slow_path(refuse)
    with pytest.raises(errors.SerializationError):
        _core.log("x", [])
    with pytest.raises(TypeError):
        _core.log("x")
    with pytest.raises(TypeError):
        _core.set_slow_path(3)


def test_log_encoded(writer, folder):
    _core.log_encoded("j", 6, '{"a":1}')
    _core.log_encoded("a", 7, bytearray(b"[2]"))
    _core.log_encoded("ref", 0x85, b"id")
    _core.log_encoded("f", 3, b"\0\0\0\0\0\0\xf8?")
    got = rows(folder)
    assert [(r["kind"], r["data"], r["external"]) for r in got[:3]] == [
        (6, b'{"a":1}', False),
        (7, b"[2]", False),
        (5, b"id", True),
    ]
    assert got[3]["num"] == 1.5
    for kind, payload in [(8, b""), (0x83, b""), (-1, b""), (256, b""), (3, b"short"), (0, b"x")]:
        with pytest.raises(errors.InvalidError):
            _core.log_encoded("x", kind, payload)
    with pytest.raises(errors.InvalidError, match="262112"):
        _core.log_encoded("x", 5, bytes(262113))
    _core.log_encoded("x", 5, bytes(262112))
    with pytest.raises(errors.InvalidError, match="4096"):
        _core.log("n" * 4097, 1)
    _core.log("n" * 4096, 1)
    _core.set_active(None)
    with pytest.raises(errors.ClosedError):
        _core.log_encoded("x", 6, "1")


def test_names_that_are_equal_and_not_identical_are_one_name(writer, folder):
    for i in range(3000):
        _core.log("".join(["a", str(i % 700)]), i)
    writer.flush()
    assert [r["name"] for r in rows(folder)] == [f"a{i % 700}" for i in range(3000)]


def test_references_to_names_and_values_are_right(writer):
    name, value = "".join(["na", "me"]), float("1.25")
    before = sys.getrefcount(name), sys.getrefcount(value)
    for _ in range(1000):
        _core.log(name, value)
    assert sys.getrefcount(value) == before[1]
    assert sys.getrefcount(name) == before[0] + 1  # the cache of names


# --- contexts -----------------------------------------------------------------------------------


def test_contexts_of_nested_loops(writer, folder):
    epoch = _core.context_enter("epoch")
    _core.log("before", 0)
    for e in range(2):
        _core.context_step(epoch, e)
        step = _core.context_enter("step")
        for s in range(2):
            _core.context_step(step, s, f"[{s}]")
            _core.log("x", 1)
        _core.context_leave(step)
        _core.log("end", 1)
    assert _core.context_path() == [("epoch", 1)]
    _core.context_leave(epoch)
    assert _core.context_path() == []
    assert paths(folder) == [
        [],
        [("epoch", 0), ("step", 0)],
        [("epoch", 0), ("step", 1)],
        [("epoch", 0)],
        [("epoch", 1), ("step", 0)],
        [("epoch", 1), ("step", 1)],
        [("epoch", 1)],
    ]
    assert [e["value"] for e in rows(folder)[2]["context"]] == [None, "[1]"]


def test_repeated_loops_are_numbered_per_iteration_of_the_parent(writer):
    outer = _core.context_enter("o")
    for i in range(2):
        _core.context_step(outer, i)
        for expected in ("eval", "eval#2"):
            token = _core.context_enter("eval")
            _core.context_step(token, 0)
            assert _core.context_path() == [("o", i), (expected, 0)]
            _core.context_leave(token)
    _core.context_leave(outer)
    top = _core.context_enter("o")
    _core.context_step(top, 0)
    assert _core.context_path() == [("o#2", 0)]
    _core.context_leave(top)
    _core.set_active(writer)  # a new activation counts anew
    top = _core.context_enter("o")
    _core.context_step(top, 7, value=None)
    assert _core.context_path() == [("o", 7)]


def test_leaving_out_of_order_and_bad_tokens(writer):
    a, b = _core.context_enter("a"), _core.context_enter("b")
    assert a != b
    _core.context_step(a, 1)
    _core.context_step(b, 2, value="3")
    _core.context_leave(a)
    assert _core.context_path() == [("b", 2)]
    _core.context_leave(a)  # a generator that is closed late
    with pytest.raises(errors.InvalidError):
        _core.context_step(a, 1)
    with pytest.raises(errors.InvalidError):
        _core.context_enter("")
    with pytest.raises(errors.InvalidError):
        _core.context_step(b, 1, "x" * 65537)
    for call in (
        lambda: _core.context_enter(1),
        _core.context_enter,
        lambda: _core.context_step(b, "1"),
        lambda: _core.context_step(b, 1, 2),
        lambda: _core.context_step(b, 1, valu="x"),
        lambda: _core.context_step(b, 1, "x", value="x"),
        lambda: _core.context_step(b),
        lambda: _core.context_leave("x"),
    ):
        with pytest.raises(TypeError):
            call()


def test_contexts_belong_to_threads(writer, folder):
    token = _core.context_enter("main")
    _core.context_step(token, 0)

    def other():
        assert _core.context_path() == []
        _core.log("other", 1)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert paths(folder) == [[]]


def test_an_iteration_that_logs_nothing_costs_nothing_on_disk(writer, folder):
    token = _core.context_enter("e")
    for i in range(100_000):
        _core.context_step(token, i, "[1, 2, 3]")
    writer.flush()
    assert writer.stats()["bytes_written"] == 0


def test_explicit_contexts(writer, folder):
    token = _core.context_enter("not this one")
    _core.context_step(token, 0)
    for i in range(3):
        writer.log("x", i, [("epoch", 1), ("step", i)])
    writer.log("y", "s")
    writer.log("z", 2**70, context=[("epoch", 1)])
    writer.log_encoded("j", 6, "[1]", [("epoch", 1), ("step", 2)])
    writer.log("f", FloatLike(2.5))
    assert paths(folder) == [
        *[[("epoch", 1), ("step", i)] for i in range(3)],
        [],
        [("epoch", 1)],
        [("epoch", 1), ("step", 2)],
        [],
    ]
    assert values(folder)[-3:] == [("z", str(2**70)), ("j", "[1]"), ("f", 2.5)]
    with pytest.raises(TypeError):
        writer.log("x", [1])
    with pytest.raises(TypeError):
        writer.log(3, 1)
    with pytest.raises(UnicodeEncodeError):
        writer.log("x", "\ud800")


# --- reading ------------------------------------------------------------------------------------


def test_empty_and_missing_folders(folder):
    assert rows(folder) == rows(folder + "/none") == []
    assert len(_core.read_log(folder)) == 0


def test_the_arrow_capsules_own_what_they_show(writer, folder):
    _core.log("x", "text")
    records = _core.read_log(folder)
    capsules = records.__arrow_c_array__()
    del capsules  # released unread
    batch = pa.record_batch(records)
    again = pa.record_batch(records)
    column = batch.column("data")
    del records, batch
    gc.collect()
    assert column.to_pylist() == [b"text"]
    assert again.num_rows == 1
    assert pa.schema(_core.read_log(folder)).names == again.schema.names


def test_damage_raises_with_its_place_and_tolerant_reading_counts_it(folder):
    writer = _core.LogWriter(folder, "w")
    for i in range(3):
        writer.log("x", i)
        writer.flush()
    writer.close()
    path = f"{folder}/w.000000.seg"
    content = bytearray(open(path, "rb").read())
    blocks = [i for i in range(len(content)) if content[i : i + 4] == b"FBLK"]
    content[blocks[1] + 80] ^= 1
    open(path, "wb").write(content)
    with pytest.raises(errors.CorruptError) as caught:
        _core.read_log(folder)
    assert caught.value.path == path
    assert caught.value.offset == blocks[1]
    assert caught.value.expected and caught.value.found
    records = _core.read_log(folder, tolerant=True)
    assert records.dropped_blocks == 1 and records.dropped_records == 0
    assert pa.record_batch(records).column("int").to_pylist() == [0, 2]


@pytest.mark.parametrize("version", sorted(os.listdir(GOLDEN)))
def test_logs_of_every_version_are_read(version):
    expected = json.loads((GOLDEN / version / "expected.json").read_text())
    got = rows(str(GOLDEN / version))
    for row in got:
        row["data"] = None if row["data"] is None else row["data"].hex()
    assert got == expected
