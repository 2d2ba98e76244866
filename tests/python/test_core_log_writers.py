"""The core's log: writers, threads, fork and exit."""

import gc
import os
import signal
import threading
import weakref

import pytest
from logkit import paths, rows, run_python, values

from flor import _core, errors


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


# --- writers ------------------------------------------------------------------------------------


def test_changing_the_active_writer(folder):
    one, two = _core.LogWriter(folder, "one"), _core.LogWriter(folder, "two")
    token = _core.context_enter("e")
    _core.context_step(token, 4)
    for writer in (one, two, one):
        _core.set_active(writer)
        assert _core.get_active() is writer
        _core.log("x", 1)
    assert sorted(r["writer"] for r in rows(folder)) == ["one", "one", "two"]
    assert paths(folder) == [[("e", 4)]] * 3
    assert one.stats()["rings"] == two.stats()["rings"] == 1
    one.close()
    slow = []
    _core.set_slow_path(lambda name, value: slow.append(value))
    _core.log("x", 2)  # the active writer is closed
    assert slow == [2]
    with pytest.raises(errors.ClosedError):
        _core.set_active(one)
    with pytest.raises(errors.ClosedError):
        one.log("x", 1)
    with pytest.raises(errors.ClosedError):
        one.flush()
    one.close()
    two.close()


def test_a_writer_is_freed_and_closes_itself(folder):
    writer = _core.LogWriter(folder, "w")
    writer.log("x", 1)
    assert (writer.directory, writer.writer, writer.error) == (folder, "w", None)
    dead = weakref.ref(writer) if hasattr(type(writer), "__weakref__") else None
    del writer
    gc.collect()
    assert dead is None or dead() is None
    assert os.listdir(folder) == ["w.000000.seg"]
    assert values(folder) == [("x", 1)]


def test_bad_options(folder, tmp_path):
    for options in ({"ring_bytes": 1000}, {"ring_bytes": 2048}, {"segment_bytes": 0}):
        with pytest.raises(errors.InvalidError):
            _core.LogWriter(folder, "w", **options)
    with pytest.raises(errors.InvalidError):
        _core.LogWriter(folder, "a/b")
    with pytest.raises(TypeError):
        _core.LogWriter(folder, "w", 4096)
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StorageError):
        _core.LogWriter(str(tmp_path / "file"), "w")
    _core.LogWriter(folder, "w").log("x", 1)
    with pytest.raises(errors.InvalidError):
        _core.LogWriter(folder, "w")


def test_stats_and_rotation(folder):
    writer = _core.LogWriter(folder, "w", ring_bytes=1 << 14, segment_bytes=1 << 16)
    _core.set_active(writer)
    for i in range(100_000):
        _core.log("x", i * 1.1)
    writer.flush()
    stats = writer.stats()
    assert stats["records"] == 100_000 and stats["lost"] == 0 and stats["rings"] == 1
    assert stats["segments"] > 3 and stats["memory_bytes"] == (1 << 14) + 4096
    assert stats["bytes_written"] == sum(
        os.path.getsize(f"{folder}/{f}") for f in os.listdir(folder) if f.endswith(".seg")
    )
    writer.close()
    assert [r["num"] for r in rows(folder)] == [i * 1.1 for i in range(100_000)]


def test_many_threads_at_once_and_after_each_other(writer, folder):
    def work(n):
        token = _core.context_enter("t")
        for i in range(2000):
            _core.context_step(token, i)
            _core.log(f"n{n}", i)

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert writer.stats()["rings"] <= 7
    got = rows(folder)
    assert len(got) == 3 * 6 * 2000
    for n in range(6):
        mine = [r["int"] for r in got if r["name"] == f"n{n}"]
        assert mine == list(range(2000)) * 3
    assert all(r["context"] == [{"loop": "t", "index": r["int"], "value": None}] for r in got)


def test_flush_and_close_while_others_log(folder):
    writer = _core.LogWriter(folder, "w", ring_bytes=1 << 14)
    _core.set_active(writer)
    slow = []
    _core.set_slow_path(lambda name, value: slow.append(value))
    done = []

    def work():
        for i in range(30_000):
            try:
                _core.log("x", i)
            except errors.ClosedError:  # it waited for space as the writer closed
                slow.append(i)
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        writer.flush()
    writer.close()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    assert len(rows(folder)) + len(slow) == 90_000


# --- fork and exit ------------------------------------------------------------------------------


def test_a_forked_child_logs_through_a_writer_of_its_own(folder):
    code = """
import os, sys
from flor import _core
folder = sys.argv[1]
writer = _core.LogWriter(folder, "parent")
_core.set_active(writer)
token = _core.context_enter("e")
_core.context_step(token, 1)
_core.log("x", 1)
def slow(name, value):
    assert _core.get_active() is None
    _core.set_active(_core.LogWriter(folder, "child"))
    _core.log(name, value)
_core.set_slow_path(slow)
if os.fork() == 0:
    writer.flush(); writer.close()
    try:
        writer.log("x", 0)
        os._exit(7)
    except Exception as error:
        assert type(error).__name__ == "ClosedError", error
    _core.log("x", 2)
    _core.log("x", 3)
    _core.get_active().close()
    del writer
    sys.exit(0)
_, status = os.wait()
assert status == 0, status
_core.log("x", 4)
writer.close()
"""
    result = run_python(code, folder)
    assert result.returncode == 0, result.stderr
    got = [(r["writer"], r["int"], r["context"][0]["index"]) for r in rows(folder)]
    assert got == [("parent", 1, 1), ("child", 2, 1), ("child", 3, 1), ("parent", 4, 1)]
    assert sorted(os.listdir(folder)) == ["child.000000.seg", "parent.000000.seg"]


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("os._exit(3)", 3),
        ("sys.exit(2)", 2),
        ("raise KeyError", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("os.abort()", -6),
    ],
)
def test_a_process_that_ends_without_close_loses_nothing(folder, ending, code):
    program = f"""
import os, sys, signal, threading
from flor import _core
writer = _core.LogWriter(sys.argv[1], "w")
_core.set_active(writer)
def work():
    for i in range(1000): _core.log("t", i)
thread = threading.Thread(target=work); thread.start(); thread.join()
daemon = threading.Thread(target=threading.Event().wait, daemon=True); daemon.start()
for i in range(1000): _core.log("x", i)
{ending}
"""
    result = run_python(program, folder)
    assert result.returncode == code, result.stderr
    got = rows(folder)
    for name in ("t", "x"):
        assert [r["int"] for r in got if r["name"] == name] == list(range(1000))


def test_a_thread_that_logs_while_the_interpreter_ends(folder):
    program = """
import sys, threading, time
from flor import _core
writer = _core.LogWriter(sys.argv[1], "w")
_core.set_active(writer)
def work():
    i = 0
    while True:
        _core.log("t", i)
        i += 1
for _ in range(3): threading.Thread(target=work, daemon=True).start()
time.sleep(0.03)
"""
    for n in range(3):
        result = run_python(program.replace('"w"', f'"w{n}"'), folder)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
    by_ring = {}
    for row in rows(folder):
        by_ring.setdefault((row["writer"], row["ring"]), []).append(row["int"])
    assert all(ints == list(range(len(ints))) for ints in by_ring.values())


def test_import_starts_and_writes_nothing(tmp_path):
    code = "import threading, os; from flor import _core; print(len(os.listdir('/proc/self/task')))"
    result = run_python(f"import os; os.chdir({str(tmp_path)!r})\n{code}")
    assert result.stdout == "1\n", result.stderr
    assert os.listdir(tmp_path) == []


def test_a_drainer_that_can_not_write_never_stops_the_program(folder):
    writer = _core.LogWriter(folder, "w", ring_bytes=4096)
    os.mkdir(f"{folder}/w.000000.seg")  # creating the segment fails, and fails again
    _core.set_active(writer)
    for i in range(2000):
        _core.log("x", i)
    stats = writer.stats()
    assert stats["lost"] > 0 and stats["lost"] + stats["records"] == 2000
    assert writer.error
    with pytest.raises(errors.StorageError):
        writer.flush()
    with pytest.raises(errors.StorageError):
        writer.close()
    os.rmdir(f"{folder}/w.000000.seg")
    got = [r["int"] for r in rows(folder)]
    assert got == list(range(stats["records"]))


def test_signals_are_handled_while_logging(writer, folder):
    hits = []
    before = signal.signal(signal.SIGALRM, lambda *_: hits.append(_core.log("signal", 1)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for i in range(200_000):
            _core.log("x", i)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits
    got = rows(folder)
    assert [r["int"] for r in got if r["name"] == "x"] == list(range(200_000))
    assert len(got) == 200_000 + len(hits)
