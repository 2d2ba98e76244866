"""The storage core as Python sees it: buffers in, buffers out, errors of the right class."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flor import _core, errors

CHUNK = 64 * 1024
LENGTHS = st.one_of(
    st.integers(0, 300),
    st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17]),
    st.integers(0, 4 * CHUNK),
)


def content(length, seed, compressible):
    rng = np.random.default_rng(seed)
    if compressible:
        return np.resize(rng.integers(0, 4, 97, dtype=np.uint8), length).tobytes()
    return rng.bytes(length)


@pytest.fixture
def store(tmp_path):
    store = _core.ChunkStore(str(tmp_path))
    yield store
    store.close()


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    store = _core.ChunkStore(str(tmp_path_factory.mktemp("store")))
    yield store
    store.close()


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 9), st.booleans())
def test_put_gives_back_what_went_in(shared_store, length, seed, compressible):
    data = content(length, seed, compressible)
    ref = shared_store.put(data)
    assert len(ref) == 8 + 17 * -(-length // CHUNK)
    assert int.from_bytes(ref[:8], "little") == length
    assert shared_store.contains(ref)
    assert shared_store.get(ref) == data
    assert shared_store.put(bytearray(data)) == ref


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(LENGTHS, st.integers(0, 5), st.booleans()), max_size=5),
    st.data(),
)
def test_regions_give_back_what_was_there(shared_store, shapes, data):
    path = f"{shared_store.root}/checkpoints/{os.urandom(8).hex()}.ckpt"
    regions = [content(*shape) for shape in shapes]
    snapshotter = _core.Snapshotter(shared_store, staging_bytes=2 * CHUNK)
    pending = snapshotter.take([bytearray(region) for region in regions], path, b"meta")
    assert pending.wait(60)
    reader = _core.CheckpointReader(shared_store, path)
    assert reader.meta == b"meta"
    assert reader.regions == [len(region) for region in regions]
    assert reader.raw_bytes == pending.raw_bytes == sum(map(len, regions))
    for index, region in enumerate(regions):
        assert bytes(reader.read(index)) == region
        start = data.draw(st.integers(0, len(region)))
        count = data.draw(st.integers(0, len(region) - start))
        assert bytes(reader.read(index, start, count)) == region[start : start + count]
        out = bytearray(count)
        reader.read_into(index, out, start)
        assert out == region[start : start + count]
        assert reader.region_ref(index) == shared_store.put(region)
    snapshotter.close()


DTYPES = ["?", "i1", "u2", "i4", "f2", "f4", "f8", "c16", "M8[ns]", "S7", "V5"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_bytes(store, dtype):
    array = np.frombuffer(np.random.default_rng(1).bytes(np.dtype(dtype).itemsize * 1000), dtype)
    assert store.get(store.put(array.view("u1"))) == array.tobytes()


def test_zero_dimensions_and_empty_arrays(store, tmp_path):
    snapshotter = _core.Snapshotter(store)
    arrays = [np.float64(3.5), np.array(7), np.empty((0, 3)), np.ones((2, 3), order="C")]
    snapshotter.take(arrays, str(tmp_path / "a.ckpt"), b"").wait()
    reader = _core.CheckpointReader(store, str(tmp_path / "a.ckpt"))
    assert [bytes(reader.read(i)) for i in range(4)] == [a.tobytes() for a in arrays]
    snapshotter.close()


def test_a_strided_array_is_refused_not_misread(store, tmp_path):
    strided = np.arange(100)[::2]
    with pytest.raises((BufferError, ValueError)):
        store.put(strided)
    with pytest.raises((BufferError, ValueError)):
        _core.Snapshotter(store).take([strided], str(tmp_path / "a.ckpt"), b"")
    assert not (tmp_path / "a.ckpt").exists()


def test_the_state_may_change_once_take_returned(store, tmp_path):
    snapshotter = _core.Snapshotter(store)
    state = np.arange(1_000_000, dtype="f4")
    before = state.tobytes()
    pending = snapshotter.take([state], str(tmp_path / "a.ckpt"), b"")
    state[:] = -1
    pending.wait()
    assert bytes(_core.CheckpointReader(store, str(tmp_path / "a.ckpt")).read(0)) == before
    assert 0 < pending.stall_seconds < 10
    assert pending.background_cpu_seconds > 0
    assert pending.done and pending.error is None and pending.path == str(tmp_path / "a.ckpt")
    snapshotter.close()


def test_a_zero_copy_region_outlives_everything(tmp_path):
    store = _core.ChunkStore(str(tmp_path))
    array = np.frombuffer(np.random.default_rng(0).bytes(800_000))  # no codec shortens it
    snapshotter = _core.Snapshotter(store)
    snapshotter.take([array, np.zeros(100_000)], str(tmp_path / "a.ckpt"), b"").wait()
    reader = _core.CheckpointReader(store, str(tmp_path / "a.ckpt"))
    assert reader.is_zero_copy(0) and not reader.is_zero_copy(1)
    view = memoryview(reader.read(0))
    assert view.readonly
    back = np.frombuffer(view, "f8")
    assert back.flags.aligned
    snapshotter.close()
    store.close()
    del reader, store, view, snapshotter
    gc.collect()
    np.testing.assert_array_equal(back, array)


def test_unchanged_content_is_stored_once(store, tmp_path):
    snapshotter = _core.Snapshotter(store)
    state = [np.random.default_rng(0).standard_normal(500_000), np.zeros(10)]
    first = snapshotter.take(state, str(tmp_path / "1.ckpt"), b"")
    first.wait()
    state[1][0] = 1
    second = snapshotter.take(state, str(tmp_path / "2.ckpt"), b"")
    second.wait()
    assert first.stored_bytes > 3_000_000 > 1000 > second.stored_bytes
    readers = [_core.CheckpointReader(store, str(tmp_path / f"{i}.ckpt")) for i in (1, 2)]
    assert readers[0].region_ref(0) == readers[1].region_ref(0)
    assert readers[0].region_ref(1) != readers[1].region_ref(1)
    assert readers[0].time <= readers[1].time
    snapshotter.close()


def test_a_failure_is_told_by_wait_and_kept(store, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    snapshotter = _core.Snapshotter(store)
    pending = snapshotter.take([b"x" * 1000], str(tmp_path / "file" / "1.ckpt"), b"")
    with pytest.raises(errors.StorageError):
        pending.wait()
    assert pending.done and pending.error == snapshotter.error and "file" in pending.error
    snapshotter.take([b"x"], str(tmp_path / "2.ckpt"), b"").wait()
    snapshotter.close()


def test_wait_can_time_out(store, tmp_path):
    snapshotter = _core.Snapshotter(store)
    pending = snapshotter.take(
        [np.random.default_rng(0).bytes(30_000_000)], str(tmp_path / "1.ckpt"), b""
    )
    assert pending.wait(0) in (False, True)
    assert pending.wait(timeout=60.0) is True
    snapshotter.close()


def test_damage_names_path_and_offset(tmp_path):
    store = _core.ChunkStore(str(tmp_path))
    ref = store.put(np.random.default_rng(0).bytes(1000))
    store.close()
    (pack,) = (tmp_path / "packs").iterdir()
    damaged = bytearray(pack.read_bytes())
    damaged[300] ^= 1
    pack.write_bytes(damaged)
    store = _core.ChunkStore(str(tmp_path), readonly=True)
    with pytest.raises(errors.CorruptError) as info:
        store.get(ref)
    assert info.value.path == str(pack)
    assert info.value.offset > 0
    assert info.value.expected != info.value.found
    (problem,) = store.verify()
    assert set(problem) == {"path", "offset", "id", "problem", "covered"}


def test_errors_have_their_class(tmp_path):
    with pytest.raises(errors.NotAStoreError):
        _core.ChunkStore(str(tmp_path / "nowhere"))
    store = _core.ChunkStore(str(tmp_path), readonly=True)
    with pytest.raises(errors.ReadOnlyError):
        store.put(b"x")
    with pytest.raises(errors.InvalidError):
        store.get(b"short")
    with pytest.raises(errors.LostChunkError):
        store.get((1).to_bytes(8, "little") + b"x" * 17)
    with pytest.raises(errors.NotFoundError):
        _core.CheckpointReader(store, str(tmp_path / "1.ckpt"))
    store.close()
    with pytest.raises(errors.ClosedError):
        store.get(b"\0" * 8)


def test_threads_put_and_get_at_once(store):
    wrong = []

    def work(seed):
        for i in range(50):
            data = content(1000 + i, seed * 100 + i, i % 2)
            if store.get(store.put(data)) != data:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.verify() == []


def test_two_processes_share_a_store(tmp_path):
    code = (
        "import sys; from flor import _core; store = _core.ChunkStore(sys.argv[1]);"
        "import numpy as np; rng = np.random.default_rng(0);"
        "[store.put(rng.bytes(5000)) for _ in range(200)]; store.close()"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    store = _core.ChunkStore(str(tmp_path))
    rng = np.random.default_rng(0)
    for _ in range(200):
        store.put(rng.bytes(5000))
    assert store.stats()["dedup_hits"] == 200
    assert store.verify() == []


EXIT = """
import sys
import numpy as np
from flor import _core
store = _core.ChunkStore(sys.argv[1])
snapshotter = _core.Snapshotter(store)
state = np.random.default_rng(0).bytes(20_000_000)
pending = snapshotter.take([state], sys.argv[1] + "/1.ckpt", b"")
"""


def test_exit_with_work_in_flight_finishes_it(tmp_path):
    subprocess.run([sys.executable, "-c", EXIT, str(tmp_path)], check=True, timeout=60)
    store = _core.ChunkStore(str(tmp_path), readonly=True)
    reader = _core.CheckpointReader(store, str(tmp_path / "1.ckpt"))
    assert bytes(reader.read(0)) == np.random.default_rng(0).bytes(20_000_000)


FORK = (
    EXIT
    + """
import os
child = os.fork()
if child == 0:
    import signal
    signal.alarm(30)
    try:
        pending.wait()
    except Exception as error:
        print(type(error).__name__, flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], pending.wait(60))
"""
)


def test_a_forked_child_is_inert(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["ClosedError", "0", "True"]


def test_a_daemon_thread_that_waits_does_not_abort_the_exit(tmp_path):
    code = (
        EXIT
        + """
import threading
for call in (pending.wait, snapshotter.drain, lambda: [store.put(b"x") for _ in range(10**9)]):
    threading.Thread(target=call, daemon=True).start()
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
