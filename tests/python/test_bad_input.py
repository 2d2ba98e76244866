"""Bad input: a typed error that names the thing and the remedy, a stated exit code, and no harm."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from oracle import environment, expect, flor, logs, run

PROGRAM = """
import flor
import numpy as np

rng = np.random.default_rng(3)
weights = np.zeros(300)
with flor.checkpointing(overhead=float("inf"), weights=weights):
    for epoch in flor.loop("epoch", range(6)):
        for step in flor.loop("step", range(20)):
            weights += rng.standard_normal(300)
            flor.log("norm", float(np.linalg.norm(weights)))
        flor.log("weights", np.tile(weights, 20))
"""


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    script = folder / "train.py"
    script.write_text(PROGRAM)
    for _ in range(2):
        expect(0, run(sys.executable, script, cwd=folder, store=folder / ".flor"))
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy of a folder with two recorded runs, to be spoilt."""
    return Path(shutil.copytree(recorded, tmp_path / "copy"))


def ask(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return flor(*words, cwd=folder, store=folder / ".flor")


def refuse(code: int, done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed with this code, named these words, and showed no traceback of flor."""
    expect(code, done)
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
    assert "Traceback" not in done.stderr


VERBS = [
    ("show",),
    ("logs",),
    ("checkpoints",),
    ("replay",),
    ("export", "--at", "epoch=1", "--output", "x"),
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_unknown_run(folder: Path, verb: tuple[str, ...]):
    before = contents(folder)
    refuse(2, ask(folder, verb[0], "19990101-nothing", *verb[1:]), "19990101-nothing", "flor runs")
    assert contents(folder) == before


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_ambiguous_prefix(folder: Path, verb: tuple[str, ...]):
    ids = [path.name for path in (folder / ".flor/runs").iterdir()]
    refuse(2, ask(folder, verb[0], os.path.commonprefix(ids), *verb[1:]), *ids)


def test_no_run_yet(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    done = flor("logs", cwd=tmp_path, store=tmp_path / "empty" / ".flor")
    assert done.returncode == 2
    assert "flor" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "empty" / ".flor").exists(), "reading made a store"


def test_a_script_that_no_longer_parses(folder: Path):
    (folder / "train.py").write_text(PROGRAM + "\nfor x in :\n")
    refuse(2, ask(folder, "replay", "--script", "train.py"), "train.py", "line 14")


def test_a_script_that_is_not_there(folder: Path):
    refuse(2, ask(folder, "replay", "--script", "gone.py"), "gone.py")
    refuse(2, ask(folder, "record", "gone.py"), "gone.py")


def test_a_place_that_the_run_never_reached(folder: Path):
    refuse(2, ask(folder, "replay", "--only", "epoch=99"), "99")
    refuse(2, ask(folder, "replay", "--only", "nonsense"), "nonsense")
    refuse(2, ask(folder, "export", "latest", "--at", "epoch=99", "--output", "x.st"), "99")
    assert not (folder / "x.st").exists()


def test_a_folder_that_is_not_a_store(folder: Path):
    other = folder / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("not flor's")
    refuse(2, flor("runs", cwd=folder, store=other), "mine", "not a flor store")
    done = run(sys.executable, folder / "train.py", cwd=folder, store=other)
    assert done.returncode != 0 and "NotAStoreError" in done.stderr
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_the_store(folder: Path):
    (folder / "file").write_text("x")
    refuse(2, flor("runs", cwd=folder, store=folder / "file"), "file")


def test_a_store_of_a_newer_format(folder: Path):
    marker = folder / ".flor/flor.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"format": 99}))
    before = contents(folder)
    refuse(2, ask(folder, "runs"), "99", "upgrade")
    done = run(sys.executable, folder / "train.py", cwd=folder, store=folder / ".flor")
    assert done.returncode != 0 and "NewerFormatError" in done.stderr
    assert contents(folder) == before


def packs(folder: Path) -> list[Path]:
    return sorted((folder / ".flor/packs").glob("*.pack"))


def test_a_truncated_pack_is_damage_and_the_log_is_still_read(folder: Path):
    norms = [row for row in logs(folder / ".flor", folder) if row["name"] == "norm"]
    for pack in packs(folder):
        with pack.open("r+b") as file:
            file.truncate(pack.stat().st_size // 2)
    # What was cut off is named; whatever is whole is still served.
    done = ask(folder, "export", "latest", "--output", "x.safetensors")
    refuse(4, done, ".flor")
    assert not (folder / "x.safetensors").exists()
    assert len(norms) == 120
    again = ask(folder, "sql", "select count(*) as n from logs where name = 'norm'")
    assert "240" in expect(0, again).stdout


def test_a_flipped_byte_in_a_pack_is_never_served(folder: Path):
    for pack in packs(folder):
        content = bytearray(pack.read_bytes())
        for place in range(len(content) // 4, len(content), len(content) // 8):
            content[place] ^= 0x10
        pack.write_bytes(content)
    done = ask(folder, "export", "latest", "--output", "x.safetensors")
    refuse(4, done, ".flor")
    replayed = ask(folder, "replay")
    # Executed again and told; or refused, naming the pack, where the damage took the start itself.
    assert replayed.returncode == 4, replayed.stdout + replayed.stderr
    assert "fails its checksum" in replayed.stdout + replayed.stderr
    assert "Traceback" not in replayed.stderr


@pytest.mark.parametrize("what", ["source", "checkpoints"])
def test_a_replay_that_needs_what_is_lost_says_that_the_store_is_damaged(folder: Path, what: str):
    """All of the packs, so that the source can't be read; or the manifests' own bytes alone."""
    if what == "source":
        for pack in packs(folder):
            with pack.open("r+b") as file:
                file.truncate(100)
    else:
        for manifest in (folder / ".flor/runs").glob("*/checkpoints/*.ckpt"):
            content = bytearray(manifest.read_bytes())
            content[len(content) // 2] ^= 1
            manifest.write_bytes(content)
    report = folder / "report.json"
    done = ask(folder, "replay", "--report", str(report))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "flor fsck" in done.stdout + done.stderr
    if what == "checkpoints":  # the answer itself is right: everything was executed
        found = json.loads(report.read_text())
        assert found["verdict"] == "verified" and found["fallback"] != "none" and found["damage"]


def test_a_flipped_byte_in_a_log_segment_is_damage(folder: Path):
    flipped = 0
    for segment in (folder / ".flor/runs").glob("*/log/*"):
        content = bytearray(segment.read_bytes())
        if len(content) > 2000:
            content[len(content) // 2] ^= 0xFF
            segment.write_bytes(content)
            flipped += 1
    assert flipped
    done = ask(folder, "logs", "latest", "--format", "jsonl")
    assert done.returncode == 4, done.stdout[-500:] + done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_run_json_names_the_file(folder: Path):
    latest = sorted((folder / ".flor/runs").iterdir())[-1]
    (latest / "run.json").write_text("{ not json")
    refuse(4, ask(folder, "show", "latest"), "run.json")


def test_sql_that_is_wrong(folder: Path):
    refuse(2, ask(folder, "sql", "select nothing from nowhere"), "nowhere")
    refuse(2, ask(folder, "logs", "--format", "jsonl", "--name", "no-such-name"), "no-such-name")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("object()", "object"),
        ("open('/dev/null')", "TextIOWrapper"),
        ("(n for n in [])", "generator"),
    ],
)
def test_a_value_that_cannot_be_logged(tmp_path: Path, value: str, kind: str):
    program = f"""
    import flor
    from flor.errors import FlorError
    flor.log("before", 1)
    try:
        flor.log("odd value", {value})
    except TypeError as error:
        assert isinstance(error, FlorError) and type(error).__name__ == "SerializationError"
        assert "odd value" in str(error) and "{kind}" in str(error), str(error)
        flor.log("after", 2)
    """
    script = tmp_path / "program.py"
    script.write_text(dedent(program))
    expect(0, run(sys.executable, script, cwd=tmp_path, store=tmp_path / ".flor"))
    assert [row["value"] for row in logs(tmp_path / ".flor", tmp_path)] == [1, 2]


def test_an_object_that_cannot_be_captured_is_named_and_replay_executes_instead(tmp_path: Path):
    program = """
    import threading
    import flor
    lock = threading.Lock()
    numbers = (number * number for number in range(1000))  # its position can't be written
    with flor.checkpointing(lock=lock, numbers=numbers):
        for epoch in flor.loop("epoch", range(5)):
            for step in flor.loop("step", range(10)):
                x = next(numbers)
                flor.log("x", x)
    """
    script = tmp_path / "program.py"
    script.write_text(dedent(program))
    store = tmp_path / ".flor"
    expect(0, run(sys.executable, script, cwd=tmp_path, store=store))
    assert "numbers" in expect(0, flor("show", cwd=tmp_path, store=store)).stdout
    source = script.read_text() + '            flor.log("twice", 2 * x)\n'
    script.write_text(source)
    expect(0, flor("replay", cwd=tmp_path, store=store))
    rows = logs(store, tmp_path)
    squares = [number * number for number in range(50)]
    assert [row["value"] for row in rows if row["name"] == "x"] == squares
    assert [row["value"] for row in rows if row["name"] == "twice"] == [2 * x for x in squares]


def test_a_flor_arg_of_another_type(folder: Path):
    script = folder / "arg.py"
    script.write_text('import flor\nflor.log("n", flor.arg("n", 3) + 1)\n')
    done = ask(folder, "record", "--set", "n=several", "arg.py")
    assert done.returncode != 0
    assert "several" in done.stderr
    expect(2, ask(folder, "record", "--set", "no-equals-sign", "arg.py"))
    expect(0, ask(folder, "record", "--set", "n=7", "arg.py"))
    assert logs(folder / ".flor", folder)[-1]["value"] == 8


def test_the_script_s_own_exit_code_and_traceback(folder: Path):
    (folder / "fails.py").write_text('import flor\nflor.log("x", 1)\nraise KeyError("mine")\n')
    done = expect(1, ask(folder, "record", "fails.py"))
    assert "KeyError: 'mine'" in done.stderr
    assert "fails.py" in done.stderr
    (folder / "exits.py").write_text("import flor, sys\nflor.log('x', 1)\nsys.exit(7)\n")
    expect(7, ask(folder, "record", "exits.py"))


def test_the_script_s_arguments_are_its_own(folder: Path):
    (folder / "args.py").write_text("import flor, sys\nflor.log('argv', sys.argv[1:])\n")
    words = ["--iter", "5", "--store", "mine", "--help", "--set"]
    expect(0, ask(folder, "record", "args.py", *words))
    assert logs(folder / ".flor", folder)[-1]["value"] == words


def as_nobody(*command: str | Path, cwd: Path, store: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without root's right to write everywhere."""
    words = [str(word) for word in command]
    if os.getuid() == 0:
        drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
        words = ["setpriv", *drop, "--inh-caps=-all", *words]
    return subprocess.run(
        words,
        cwd=cwd,
        env=environment(store, HOME=str(cwd)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def readable(folder: Path) -> Path:
    """A recorded folder that a user without rights can read but not write."""
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv can write everywhere")
    for parent in [folder, *folder.parents]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    probe = as_nobody(sys.executable, "-c", "import flor", cwd=folder, store=folder / ".flor")
    if probe.returncode != 0:
        pytest.skip("the interpreter can't be run by another user here")
    return folder


def test_a_store_that_cannot_be_written_can_be_read(readable: Path):
    words = [sys.executable, "-m", "flor"]
    before = contents(readable)
    done = as_nobody(*words, "logs", "--format", "jsonl", cwd=readable, store=readable / ".flor")
    assert len(expect(0, done).stdout.splitlines()) == 126
    expect(0, as_nobody(*words, "runs", cwd=readable, store=readable / ".flor"))
    assert contents(readable) == before


def test_recording_where_nothing_can_be_written(readable: Path):
    before = contents(readable)
    for store in (readable / ".flor", readable / "new-store"):
        done = as_nobody(sys.executable, readable / "train.py", cwd=readable, store=store)
        assert done.returncode != 0
        assert "ReadOnlyError" in done.stderr and "writable" in done.stderr
    assert contents(readable) == before
