"""The store's folders and the JSON files that say what a run is."""

import errno
import json
import multiprocessing
import os
import platform
import subprocess
import sys

import pytest

from flor.errors import (
    AmbiguousRunError,
    CorruptError,
    FullDiskError,
    NewerFormatError,
    NotAStoreError,
    ReadOnlyError,
    RunNotFoundError,
    StorageError,
)
from flor.files import storage_error, write_json
from flor.layout import StoreLayout, boot_id, run_status


@pytest.fixture
def layout(tmp_path):
    return StoreLayout.open(tmp_path / "store", create=True)


def add_run(layout, run=None, **meta):
    run = run or layout.new_run_id()
    layout.run_dir(run).mkdir(parents=True, exist_ok=True)
    layout.write_run(run, {"run": run, **meta})
    return run


def test_open_finds_what_create_made(tmp_path):
    made = StoreLayout.open(tmp_path / "a" / "b", create=True)
    assert StoreLayout.open(tmp_path / "a" / "b").store_id == made.store_id
    assert StoreLayout.open(tmp_path / "a" / "b", create=True).store_id == made.store_id
    assert sorted(p.name for p in made.root.iterdir()) == ["flor.json", "packs", "runs", "versions"]


def test_default_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOR_STORE", raising=False)
    assert StoreLayout.open(create=True).root == tmp_path / ".flor"
    monkeypatch.setenv("FLOR_STORE", str(tmp_path / "other"))
    assert StoreLayout.open(create=True).root == tmp_path / "other"


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_not_a_store(tmp_path, what):
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_text("x")
    with pytest.raises(NotAStoreError, match=r"not a flor store.*--store"):
        StoreLayout.open(path)


def test_a_folder_with_other_things_is_not_made_a_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(NotAStoreError, match=r"thesis\.tex"):
        StoreLayout.open(tmp_path, create=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotAStoreError):
        StoreLayout.open(tmp_path / "file", create=True)
    with pytest.raises(StorageError):
        StoreLayout.open(tmp_path / "file" / "below", create=True)


def test_newer_format(layout):
    write_json(layout.root / "flor.json", {"format": 2, "store": "x"})
    with pytest.raises(NewerFormatError, match="format 2"):
        StoreLayout.open(layout.root)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x", "store": "y"}', '{"format": 1}'])
def test_damaged_marker(layout, text):
    (layout.root / "flor.json").write_text(text)
    with pytest.raises(CorruptError, match="damaged"):
        StoreLayout.open(layout.root)


def _open_and_tell(path, queue):
    queue.put(StoreLayout.open(path, create=True).store_id)


def test_two_processes_create_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        queue = context.Queue()
        arguments = (tmp_path / str(attempt), queue)
        processes = [context.Process(target=_open_and_tell, args=arguments) for _ in range(4)]
        for process in processes:
            process.start()
        ids = {queue.get(timeout=20) for _ in processes}
        for process in processes:
            process.join()
        assert len(ids) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ReadOnlyError):
        StoreLayout.open(tmp_path / "store", create=True)


def test_storage_errors_by_number(tmp_path):
    for number, kind in [
        (errno.ENOSPC, FullDiskError),
        (errno.EROFS, ReadOnlyError),
        (errno.EACCES, ReadOnlyError),
        (errno.EIO, StorageError),
    ]:
        error = storage_error(OSError(number, os.strerror(number)), tmp_path, "write")
        assert type(error) is kind
        assert error.errno == number
        assert str(tmp_path) in str(error)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr("flor.files.secrets.token_hex", lambda n: "x")
    os.symlink("/dev/full", tmp_path / f"run.json.{os.getpid()}-x.tmp")
    with pytest.raises(FullDiskError):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_run_ids_sort_by_time_and_are_runs(layout):
    runs = [add_run(layout) for _ in range(3)]
    layout.new_run_id()  # reserved, nothing recorded yet
    assert layout.run_ids() == sorted(runs)
    assert len({layout.new_run_id() for _ in range(200)}) == 200


def test_resolve(layout):
    with pytest.raises(RunNotFoundError, match="no run"):
        layout.resolve()
    for run in ("20260101-000000-aaaaaa", "20260101-000000-aabbbb", "20260203-000000-cccccc"):
        add_run(layout, run)
    assert layout.resolve() == layout.resolve("latest") == "20260203-000000-cccccc"
    assert layout.resolve("202602") == "20260203-000000-cccccc"
    assert layout.resolve("20260101-000000-aab") == "20260101-000000-aabbbb"
    with pytest.raises(AmbiguousRunError, match="aaaaaa.*aabbbb"):
        layout.resolve("20260101")
    with pytest.raises(RunNotFoundError, match="20260203-000000-cccccc"):
        layout.resolve("20260203-000000-cccccd")
    with pytest.raises(RunNotFoundError):
        layout.resolve("")


def test_an_id_that_begins_another_is_itself(layout):
    add_run(layout, "ab")
    add_run(layout, "abc")
    assert layout.resolve("ab") == "ab"


def test_damaged_run(layout):
    run = add_run(layout)
    (layout.run_dir(run) / "run.json").write_text('{"run": ')
    with pytest.raises(CorruptError, match=run):
        layout.read_run(run)


def test_replays_are_the_completed_ones_oldest_first(layout):
    run = add_run(layout)
    for name, started in [("b", 1.0), ("a", 2.0), ("c", None)]:
        folder = layout.replays_dir(run) / name
        folder.mkdir(parents=True)
        if started is not None:
            write_json(folder / "replay.json", {"id": name, "started": started})
    assert [(r["id"], r["dir"].name) for r in layout.replays(run)] == [("b", "b"), ("a", "a")]


def test_checkpoints_by_number(layout):
    run = add_run(layout)
    folder = layout.checkpoint_dir(run)
    folder.mkdir()
    for name in ("10.ckpt", "9.ckpt", "11.tmp", "x.ckpt"):
        (folder / name).touch()
    assert [p.name for p in layout.checkpoint_paths(run)] == ["9.ckpt", "10.ckpt"]


def test_status_of_a_run_that_never_ended():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = {"status": "running", "host": platform.node(), "boot": boot_id()}
    assert run_status({**here, "pid": ended.pid}) == "killed"
    assert run_status({**here, "pid": os.getpid()}) == "running"
    assert run_status({**here, "pid": ended.pid, "host": "elsewhere"}) == "running"
    assert run_status({**here, "pid": os.getpid(), "boot": "an earlier one"}) == (
        "killed" if boot_id() else "running"
    )
    assert run_status({**here, "pid": ended.pid, "status": "failed"}) == "failed"
