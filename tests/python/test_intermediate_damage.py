"""Intermediates: mistakes, damage, several users at once, what is removed."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from keptkit import KEY, RNG, images, keep, keep_table, same

from flor.errors import ClosedError, CorruptError, InvalidError, LostChunkError
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.codes import Code
from flor.intermediate.storage.rates import Rate
from flor.intermediate.storage.store import IntermediateStore
from flor.layout import StoreLayout


@pytest.fixture
def store(tmp_path: Path):
    with IntermediateStore.open(tmp_path / "store", create=True) as opened:
        yield opened


# --- mistakes and damage


def test_what_is_wrong_is_named(store):
    with pytest.raises(InvalidError, match="'affine9' is no code"):
        store.writer(KEY, Form.tensor((3,), "float32"), "affine9")
    for text in ("", "pool", "+half", "pool0", "quantile9", "threshold100", "half3", "pool2+"):
        with pytest.raises(InvalidError):
            Code.parse(text)
    with pytest.raises(InvalidError, match="pools maps"):
        store.writer(KEY, Form.tensor((3,), "float32"), "pool2")
    writer = store.writer(KEY, Form.tensor((3,), "float32"))
    with pytest.raises(InvalidError, match=r"float64 \(2, 3\); the form says float32"):
        writer.append([0, 1], np.zeros((2, 3)))
    with pytest.raises(InvalidError, match="row ids"):
        writer.append([0.5], np.zeros((1, 3), np.float32))
    writer.append([0, 1], np.zeros((2, 3), np.float32))
    kept = writer.commit()
    with pytest.raises(ClosedError):
        writer.append([2], np.zeros((1, 3), np.float32))
    with pytest.raises(InvalidError, match="row 7 is not among the 2 rows"):
        kept.read(rows=[1, 7])
    with pytest.raises(InvalidError, match="unit 3 does not exist"):
        kept.read(units=[3])
    table = keep_table(store, {"a": np.arange(3)})
    with pytest.raises(InvalidError, match="no column 'b'"):
        table.read(units=["a", "b"])
    with pytest.raises(InvalidError, match="holds a list"):
        keep_table(store, {"o": np.array([[1], None], object)})


def test_a_writer_keeps_what_it_was_given_not_what_became_of_it(store):
    values = images(20)
    mine, table = values.copy(), {"a": np.arange(30.0)}
    writer = store.writer(KEY, Form.tensor(values.shape[1:], "float32"))
    writer.append(range(20), mine)
    other = store.writer(KEY, Form.table({"a": "float64"}))
    other.append(range(30), table)
    mine[:], table["a"][:] = -1, -1
    assert same(writer.commit().read()[1], values)
    assert same(other.commit().read()[1]["a"], np.arange(30.0))


def test_closing_ends_writers_and_what_they_have_under_way(tmp_path):
    store = IntermediateStore.open(tmp_path / "s", create=True)
    writer = store.writer(KEY, Form.tensor((4, 64, 64), "float32"))
    writer.append(range(40), images(40, (4, 64, 64)))
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        writer.commit()
    with pytest.raises(ClosedError):
        store.writer(KEY, Form.tensor((3,), "float32"))
    with pytest.raises(ClosedError):
        store.find()


def test_a_forked_child_is_refused_and_its_parent_goes_on(store):
    writer = store.writer(KEY, Form.tensor((3,), "float32"))
    writer.append([0], np.ones((1, 3), np.float32))
    child = os.fork()
    if child == 0:
        refused = 0
        for act in (store.find, writer.commit, lambda: writer.append([1], np.ones((1, 3), "f4"))):
            try:
                act()
            except ClosedError:
                refused += 1
        store.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert writer.commit().rows == 1


def test_what_was_aborted_is_not_there(store):
    writer = store.writer(KEY, Form.tensor((3,), "float32"))
    writer.append([0], np.ones((1, 3), np.float32))
    writer.abort()
    with pytest.raises(ZeroDivisionError), store.writer(KEY, Form.tensor((3,), "float32")) as other:
        other.append([0], np.ones((1, 3), np.float32))
        raise ZeroDivisionError
    assert store.find() == []


def test_a_damaged_chunk_is_an_error_and_written_anew(tmp_path):
    columns, values = {"a": RNG.normal(size=5000)}, images(30)
    with IntermediateStore.open(tmp_path / "s", create=True) as store:
        keep_table(store, columns, key=Key("t", "l", "d"))
        keep(store, values, "exact", Key("x", "l", "d"))
    (pack,) = (tmp_path / "s" / "packs").glob("*.pack")
    whole = bytearray(pack.read_bytes())
    for at in range(200, len(whole) - 4000, 64):
        whole[at] ^= 0xFF
    pack.write_bytes(whole)
    with IntermediateStore.open(tmp_path / "s") as store:
        for model in ("t", "x"):
            with pytest.raises((CorruptError, LostChunkError)):
                store.find(model=model)[0].read()


def test_a_missing_chunk_is_an_error_and_comes_back_when_kept_again(tmp_path):
    columns, values = {"a": RNG.normal(size=5000)}, images(30)
    with IntermediateStore.open(tmp_path / "s", create=True) as store:
        keep_table(store, columns)
        keep(store, values, "affine8", Key("x", "l", "d"))
    for path in [*(tmp_path / "s" / "packs").iterdir(), *(tmp_path / "s").glob("*.index")]:
        path.unlink()
    with IntermediateStore.open(tmp_path / "s") as store:
        with pytest.raises(LostChunkError):
            store.find(KEY)[0].read()
        assert same(keep_table(store, columns).read()[1]["a"], columns["a"])
        again = keep(store, values, "affine8", Key("x", "l", "d"))
        assert np.abs(again.read()[1] - values).max() <= again.error


def test_damaged_lists_of_the_catalogue_are_errors(tmp_path):
    with IntermediateStore.open(tmp_path / "s", create=True) as store:
        keep_table(store, {"a": np.arange(2000)})
        with store._catalogue.writing() as db:
            db.execute("UPDATE rowset SET ids = x'00112233'")
        with pytest.raises(CorruptError, match="catalogue"):
            store.find(KEY)[0].read()
        with store._catalogue.writing() as db:
            db.execute("UPDATE intermediate SET chunks = x'00112233'")
        with pytest.raises(CorruptError, match="checksum"):
            store.find(KEY)


@pytest.mark.parametrize("change", ["error = 0.5", "low = 1", "start = 64", "rows = 1999"])
def test_a_changed_row_of_the_catalogue_is_an_error(tmp_path, change):
    with IntermediateStore.open(tmp_path / "s", create=True) as store:
        keep_table(store, {"a": np.arange(2000)})
        with store._catalogue.writing() as db:
            db.execute(f"UPDATE chunk SET {change}")
        with pytest.raises(CorruptError, match="fails its checksum"):
            store.find(KEY)[0].read()


def test_the_golden_store_reads_as_ever(tmp_path):
    golden = Path(__file__).parents[1] / "golden"
    made = runpy.run_path(str(golden / "make_intermediates.py"))
    root = Path(shutil.copytree(golden / "intermediates" / "store", tmp_path / "s"))
    columns, values = made["table"](), made["tensor"]()
    with IntermediateStore.open(root) as store:
        whole, some = store.find(layer="all")[0], store.find(layer="some")[0]
        assert all(same(whole.read()[1][name], columns[name]) for name in columns)
        ids, back = some.read()
        assert len(ids) == 540 and ids[0] == 599
        assert all(same(back[name], columns[name][ids]) for name in columns)
        assert whole.labels == {"epoch": 1} and some.parents == ("all",)
        for code in ("exact", "half", "bf16", "affine8", "quantile4", "threshold90", "pool2max"):
            (kept,) = store.find(layer=code)
            assert np.abs(kept.read()[1] - values).max() <= kept.error and kept.seconds == 0.5
        with store._catalogue.reading() as db:
            kinds = {kind for (kind,) in db.execute("SELECT kind FROM chunk")}
            assert kinds == {0, 1, 2, 3, 4, 5, 6}
            assert db.execute("SELECT count(*) FROM chunk WHERE depth = 1").fetchone()[0] >= 2
        assert store.interest(whole.key, half_life=1.0, now=2.0) == 1.5


# --- several at once


def test_threads_write_and_read_at_once(store):
    tables = {n: {"a": RNG.normal(size=3000), "n": np.full(3000, n)} for n in range(4)}
    tensors = {n: images(100) for n in range(4)}
    failed = []

    def work(n):
        try:
            kept = keep_table(store, tables[n], key=Key(str(n), "t", "d"))
            tensor = keep(store, tensors[n], "exact", Key(str(n), "x", "d"), batch=7)
            assert same(kept.read()[1]["a"], tables[n]["a"]) and same(tensor.read()[1], tensors[n])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(store.find()) == 8


_WRITER = """
import sys
import numpy as np
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.store import IntermediateStore
root, name = sys.argv[1:]
shared = np.random.default_rng(1).normal(size=9000)
with IntermediateStore.open(root, create=True) as store:
    for step in range(12):
        own = np.random.default_rng([ord(name), step]).normal(size=9000)
        form = Form.table({"shared": "float64", "own": "float64"})
        with store.writer(Key(name, str(step), "d"), form) as writer:
            writer.append(range(9000), {"shared": shared + step, "own": own})
"""


def test_two_processes_write_one_store(tmp_path):
    root = tmp_path / "s"
    StoreLayout.open(root, create=True)
    made = [subprocess.Popen([sys.executable, "-c", _WRITER, str(root), name]) for name in "ab"]
    assert [one.wait(timeout=120) for one in made] == [0, 0]
    shared = np.random.default_rng(1).normal(size=9000)
    with IntermediateStore.open(root) as store:
        for name in "ab":
            for step in range(12):
                back = store.find(model=name, layer=str(step))[0].read()[1]
                own = np.random.default_rng([ord(name), step]).normal(size=9000)
                assert same(back["shared"], shared + step) and same(back["own"], own)
        with store._catalogue.reading() as db:  # what both had is one chunk
            assert db.execute("SELECT count(*) FROM chunk").fetchone()[0] == 12 + 2 * 12


def test_writers_wait_for_room_and_it_is_counted(tmp_path):
    with IntermediateStore.open(tmp_path / "s", create=True, in_flight_bytes=1 << 20) as store:
        gate = threading.Event()
        store._behind.submit(1 << 20, gate.wait)
        threading.Timer(0.2, gate.set).start()
        keep(store, images(400))  # some 3 MB
        assert store.waits[0] >= 1 and store.waits[1] > 0


# --- interest, rates, removal


def test_interest_decays_by_half_lives(store):
    assert store.interest(KEY) == 0
    assert store.interest(KEY, 2.0, half_life=100, now=1000) == 2
    assert store.interest(KEY, 1.0, half_life=100, now=1100) == 2
    assert store.interests(half_life=100, now=1200) == {KEY: 1.0}


def test_rates_follow_what_was_measured():
    rate = Rate((1e-5, 1e-9))
    for chunks, nbytes in [(10, 10**6), (100, 10**6), (3, 10**8), (50, 10**7)] * 20:
        rate.note((chunks, nbytes), 2e-4 * chunks + 3e-9 * nbytes)
    for chunks, nbytes in [(20, 10**6), (7, 10**8)]:
        expected = 2e-4 * chunks + 3e-9 * nbytes
        assert rate.seconds((chunks, nbytes)) == pytest.approx(expected, rel=0.1)
    again = Rate((1e-5, 1e-9), rate.state())
    assert again.seconds((5, 5)) == rate.seconds((5, 5))


def test_what_is_removed_is_collected_and_the_rest_stays(tmp_path):
    from flor.upkeep.collect import collect
    from flor.upkeep.keep import Keep

    layout = StoreLayout.open(tmp_path / "s", create=True)
    columns = {"a": RNG.normal(size=9000), "b": RNG.normal(size=9000)}
    changed = columns | {"a": np.where(np.arange(9000) % 50 == 0, 0, columns["a"])}
    with IntermediateStore.open(layout) as store:
        first = keep_table(store, columns, key=Key("1", "l", "d"))
        keep_table(store, changed, key=Key("2", "l", "d"))
        keep(store, images(300), "exact", Key("3", "l", "d"))
        store.remove(first)
        store.remove(store.find(model="3")[0])
        assert len(store.find()) == 1
    done = collect(layout, [], Keep())
    assert done.freed_bytes > 100_000
    with IntermediateStore.open(layout) as store:
        back = store.find()[0].read()[1]  # its base stayed with it
        assert all(same(back[name], changed[name]) for name in changed)
        assert len(store._catalogue.refs()) == 2


def test_fsck_tells_lost_intermediates_and_repair_forgets_them(tmp_path):
    from flor.upkeep.check import check
    from flor.upkeep.repair import repair

    layout = StoreLayout.open(tmp_path / "s", create=True)
    with IntermediateStore.open(layout) as store:
        keep(store, images(50), key=Key("lost", "l", "d"))
    for path in (layout.root / "packs").iterdir():
        path.unlink()
    with IntermediateStore.open(layout) as store:
        values = images(50)
        keep(store, values, key=Key("whole", "l", "d"))
    found = check(layout)
    assert [damage.kind for damage in found.damages] == ["intermediates"]
    assert any("forgotten" in line for line in repair(layout, found))
    assert check(layout).damages == []
    with IntermediateStore.open(layout) as store:
        (kept,) = store.find()
        assert kept.key.model == "whole" and same(kept.read()[1], values)


def test_estimates_come_from_measured_reads(store):
    kept = keep(store, images(400, (16, 8, 8)))
    before = kept.estimate()
    for _ in range(3):
        kept.read()
    assert before > 0 and kept.estimate() > 0
    assert kept.estimate(rows=[1], units=[0]) < kept.estimate()
