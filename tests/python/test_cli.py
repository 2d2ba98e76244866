"""The command line: output for programs and for people, exit codes, no tracebacks."""

import base64
import csv
import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from querykit import at, log_items, make_store, new_replay, new_run, training
from safetensors.torch import load_file

from flor import _core
from flor import open as open_store
from flor.cli.main import main
from flor.cli.style import show_bytes, show_seconds, sparkline
from flor.replay.request import ReplayRequest

VERBS = [
    "record",
    "replay",
    "runs",
    "show",
    "checkpoints",
    "logs",
    "sql",
    "export",
    "stats",
    "demo",
]


@pytest.fixture
def layout(tmp_path):
    return make_store(tmp_path)


@pytest.fixture
def flor(layout):
    def run(*words, code=0):
        result = CliRunner().invoke(main, [*words, "--store", str(layout.root)])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    return run


def checkpoint(layout, run, number, context, tensors):
    """Write a checkpoint of these arrays."""
    store = _core.ChunkStore(str(layout.root))
    snapshots = _core.Snapshotter(store, staging_bytes=1 << 24)
    folder = layout.checkpoint_dir(run)
    folder.mkdir(exist_ok=True)
    meta = json.dumps({"context": context}).encode()
    snapshots.take(tensors, str(folder / f"{number}.ckpt"), meta).wait()
    snapshots.close()
    store.close()


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb):
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"flor {verb}" in result.output
    assert "--store PATH" in result.output


def test_jsonl_is_a_record_a_line(layout, flor):
    small, large = np.arange(1000).reshape(10, 100), np.zeros(1001, np.float32)
    values = [float("nan"), float("-inf"), 3, True, None, b"\x00\xff", "é\n", [1, {"a": 2}]]
    run = new_run(layout, [(at(epoch=0, step=12), "x", value) for value in [*values, small, large]])
    lines = flor("logs", "--format", "jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    assert list(rows[0]) == ["run", "origin", "context", "name", "value", "time"]
    assert rows[0]["context"] == [["epoch", 0], ["step", 12]]
    assert rows[0]["run"] == run
    assert '"value": NaN' in lines[0]
    assert '"value": -Infinity' in lines[1]
    got = [row["value"] for row in rows]
    assert got[2:5] == [3, True, None]
    assert base64.b64decode(got[5]) == b"\x00\xff"
    assert got[6:8] == ["é\n", [1, {"a": 2}]]
    assert got[8] == small.tolist()
    assert got[9]["dtype"] == "<f4"
    assert got[9]["shape"] == [1001]
    store = _core.ChunkStore(str(layout.root), readonly=True)
    assert store.get(bytes.fromhex(got[9]["ref"])) == large.tobytes()


def test_jsonl_tells_ranks_apart(layout, flor):
    run = new_run(layout, [([], "x", 1)])
    log_items(layout.log_dir(run), [([], "x", 2)], rank=1)
    rows = [json.loads(line) for line in flor("logs", "--format", "jsonl").splitlines()]
    assert [(row["rank"], row["value"]) for row in rows] == [(0, 1), (1, 2)]


def test_logs_filters(layout, flor):
    run = new_run(layout, training())
    new_replay(layout, run, [(at(epoch=0), "norm", 0.25)])
    new_replay(layout, run, [(at(epoch=0), "wrong", 1)], verdict="diverged")

    def names(*words):
        out = flor("logs", *words, "--format", "jsonl")
        return [json.loads(line)["name"] for line in out.splitlines()]

    assert names("--origin", "replay") == ["norm"]
    assert names(run[:-2], "--name", "lr", "--name", "acc") == ["lr", "acc"] * 3
    assert "wrong" not in names()
    assert "wrong" in names("--diverged")
    assert "__flor__end" in names("--internal")
    assert "'losss'; near: loss" in flor("logs", "--name", "losss", code=2)


def test_not_a_terminal_nothing_is_cut(layout, flor):
    text = "long " * 200 + "\tend\n"
    run = new_run(layout, [(at(epoch=3), "x", text), (at(epoch=3), "y", 0.1 + 0.2)])
    header, first, second = flor("logs").splitlines()
    assert header.split("\t") == ["run", "rank", "origin", "context", "name", "value", "time"]
    cells = first.split("\t")
    assert cells[0] == run
    assert cells[3] == "epoch=3"
    assert cells[5] == text.replace("\t", "\\t").replace("\n", "\\n")
    assert second.split("\t")[5] == "0.30000000000000004"
    assert "\x1b" not in header + first + second


def test_csv_and_parquet(layout, flor, tmp_path):
    new_run(layout, training())
    rows = list(csv.DictReader(io.StringIO(flor("logs", "--name", "stdout", "--format", "csv"))))
    assert [row["value"] for row in rows[:2]] == ["step 0", "0.7"]
    file = tmp_path / "out.parquet"
    flor("logs", "--name", "loss", "--output", str(file))
    assert pq.read_table(file)["value"].to_pylist() == [1 / n for n in range(1, 13)]
    flor("logs", "--format", "parquet", "--output", str(file))
    assert pq.read_table(file).num_rows == 2 + 3 + 12 * 4 + 9
    flor("runs", "--output", str(file))
    flor("sql", "SELECT * FROM logs", "--output", str(tmp_path / "a.csv"))
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 63
    assert "can't write" in flor("logs", "--output", str(tmp_path / "no" / "a.csv"), code=2)


def test_sql(layout, flor):
    new_run(layout, training())
    out = flor(
        "sql", "SELECT epoch, max(value) AS best FROM logs WHERE name = 'acc' GROUP BY 1 ORDER BY 1"
    )
    assert out.splitlines() == ["epoch\tbest", "0\t0.5", "1\t0.6", "2\t0.7"]
    out = flor("sql", "SELECT run, context FROM logs LIMIT 1 OFFSET 3", "--format", "jsonl")
    assert json.loads(out)["context"] == [["epoch", 0], ["step", 0]]
    assert "nowhere" in flor("sql", "SELECT * FROM nowhere", code=2)


def test_runs_and_status(layout, flor):
    run = new_run(layout, args={"lr": 0.1}, argv=["--n", "2"])
    row = json.loads(flor("runs", "--format", "jsonl"))
    assert (row["run"], row["args"], row["argv"]) == (run, {"lr": 0.1}, ["--n", "2"])
    assert run in flor("runs")


def test_checkpoints_show_and_stats(layout, flor):
    run = new_run(
        layout,
        training(),
        args={"lr": 0.1},
        overhead={"epsilon": 1 / 15, "compute_seconds": 10.0, "fraction": 0.025},
        notes=["the generator 'rows' can't be captured: its loop is executed again"],
        errors=["disk full"],
        lost_records=3,
        exit_code=1,
        status="failed",
    )
    new_replay(layout, run, [(at(epoch=0), "norm", 1.0), (at(epoch=1), "norm", 2.0)])
    weights = np.random.default_rng(0).standard_normal(20000)
    for number in range(2):
        checkpoint(layout, run, number, [["epoch", number]], [weights, np.full(8, number)])
    rows = [json.loads(line) for line in flor("checkpoints", "--format", "jsonl").splitlines()]
    assert [row["context"] for row in rows] == [[["epoch", 0]], [["epoch", 1]]]
    assert [row["bytes"] for row in rows] == [160064, 160064]
    assert rows[1]["stored"] < 1000 < rows[0]["stored"]
    shown = flor("show")
    for words in (
        run,
        "failed (exit code 1)",
        "lr = 0.1",
        "250.0 ms beside 10.0 s of training: 2.50%, bound 6.67% (kept)",
        "3 records could not be stored",
        "disk full",
        "'rows' can't be captured",
        "the last at epoch=1",
        "12 × float64",
        "2 × float64, 2 from replay",
        "█",
        "verified",
    ):
        assert words in shown
    told = json.loads(flor("stats", "--json"))
    assert told["runs"][0]["checkpoints"] == 2
    assert told["runs"][0]["raw"] == 320128
    assert told["runs"][0]["log"] > 0
    assert told["pack_bytes"] >= told["chunk_stored"]
    assert run in flor("stats")


def test_errors_are_one_message(layout, flor, tmp_path):
    new_run(layout)
    assert flor("show", "nope", code=2).startswith("flor: no run 'nope'")
    result = CliRunner().invoke(main, ["runs", "--store", str(tmp_path / "nothing")])
    assert result.exit_code == 2
    assert "not a flor store" in result.stderr
    (layout.run_dir(layout.run_ids()[0]) / "run.json").write_text("{")
    assert "damaged" in flor("runs", code=4)
    assert "No such command" in CliRunner().invoke(main, ["frobnicate"]).stderr


def test_replay_request(monkeypatch, layout, tmp_path):
    seen = []
    command = type(sys)("flor.replay.command")
    command.run = lambda request: seen.append(request) or 3
    monkeypatch.setitem(sys.modules, "flor.replay.command", command)
    words = "replay 2026 --script t.py --workers 2 --only epoch=3..5,step=7 --all --where lr>1"
    words += " --sample 4 --report r.json --dry-run --force --trust --store s"
    assert CliRunner().invoke(main, words.split()).exit_code == 3
    path = type(tmp_path)
    assert seen == [
        ReplayRequest(
            "2026",
            path("s"),
            path("t.py"),
            2,
            (("epoch", 3, 5), ("step", 7, 7)),
            True,
            "lr>1",
            4,
            path("r.json"),
            True,
            True,
            True,
        )
    ]
    for only in ("epoch", "epoch=5..3", "epoch=x"):
        assert CliRunner().invoke(main, ["replay", "--only", only]).exit_code == 2


def test_record_leaves_the_script_its_arguments(monkeypatch):
    seen = []
    launch = type(sys)("flor.recording.launch")
    launch.record_script = lambda *args, **options: seen.append((args, options)) or 7
    monkeypatch.setitem(sys.modules, "flor.recording.launch", launch)
    words = [
        "record",
        "--set",
        "lr=0.1",
        "--set",
        "a=b=c",
        "t.py",
        "--set",
        "x",
        "--help",
        "--",
        "-q",
    ]
    assert CliRunner().invoke(main, words).exit_code == 7
    assert seen[0][0] == ("t.py", ["--set", "x", "--help", "--", "-q"])
    assert seen[0][1]["settings"] == {"lr": "0.1", "a": "b=c"}
    assert seen[0][1]["module"] is None
    CliRunner().invoke(
        main, ["record", "--strict", "-m", "torch.distributed.run", "--n", "2", "t.py"]
    )
    assert seen[1][0] == (None, ["--n", "2", "t.py"])
    assert (seen[1][1]["module"], seen[1][1]["strict"]) == ("torch.distributed.run", True)
    assert CliRunner().invoke(main, ["record"]).exit_code == 2
    assert CliRunner().invoke(main, ["record", "--set", "x", "t.py"]).exit_code == 2
    assert CliRunner().invoke(main, ["record", "--overhead", "0", "t.py"]).exit_code == 2


PROGRAM = """
import sys
import flor
import torch

torch.manual_seed(1)
net = torch.nn.Linear(30, 20).to(torch.bfloat16)
optimizer = torch.optim.Adam(net.parameters(), lr=flor.arg("lr", 0.1))
with flor.checkpointing(overhead=float("inf"), net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(10)):
        for step in flor.loop("step", range(100)):
            optimizer.zero_grad()
            loss = net(torch.ones(64, 30, dtype=torch.bfloat16)).float().square().mean()
            loss.backward()
            optimizer.step()
        flor.log("loss", loss.item())
flor.log("argv", sys.argv[1:])
"""


def test_record_replay_and_export_for_real(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)

    def flor(*words):
        command = [sys.executable, "-m", "flor", *words]
        environment = os.environ | {"FLOR_STORE": str(tmp_path / ".flor")}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    flor("record", "--set", "lr=0.01", "train.py", "--set", "x=1")
    assert "lr = 0.01" in flor("show")
    last = flor("logs", "--name", "argv", "--format", "jsonl")
    assert json.loads(last)["value"] == ["--set", "x=1"]
    script.write_text(PROGRAM + 'flor.log("norm", net.weight.float().norm().item())\n')
    assert "verified" in flor("replay", "--workers", "1")
    assert json.loads(flor("logs", "--name", "norm", "--format", "jsonl"))["origin"] == "replay"

    flor("export", "latest", "--output", "state.safetensors")
    written = load_file(tmp_path / "state.safetensors")
    state = open_store(tmp_path / ".flor").load()
    wanted = {f"net.{name}": value for name, value in state["net"].items()}
    for index, values in state["optimizer"]["state"].items():
        wanted |= {f"optimizer.state.{index}.{name}": value for name, value in values.items()}
    wanted = {name: value for name, value in wanted.items() if isinstance(value, torch.Tensor)}
    assert len(wanted) == 8
    for name, value in wanted.items():
        assert written[name].dtype == value.dtype
        assert torch.equal(written[name], value), name


def test_a_pipe_closed_early(layout):
    new_run(layout, [(at(step=s), "x", "y" * 100) for s in range(5000)])
    command = f"{sys.executable} -m flor logs --format jsonl --store {layout.root} | head -n 2"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_at_a_terminal_it_is_a_table(layout):
    new_run(layout, training(epochs=1, steps=1))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flor", "logs", "--store", str(layout.root)],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(theirs)
    output = b""
    while chunk := _read(ours):
        output += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert b"epoch=0 step=0" in output
    assert b"\t" not in output


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side has closed
        return b""


def test_texts():
    assert [show_bytes(n) for n in (0, 1023, 1536, 5 << 20, 7 << 30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 MiB",
        "7.0 GiB",
    ]
    assert [show_seconds(s) for s in (None, 0.25, 3, 150, 7300)] == [
        "",
        "250.0 ms",
        "3.0 s",
        "2 min 30 s",
        "2 h 1 min",
    ]
    assert sparkline([1, 2, 3, float("nan"), 8]) == "▁▂▃ █"
    assert sparkline([5.0] * 3) == "▁▁▁"
    assert len(sparkline(list(range(1000)))) == 60
    assert sparkline([float("nan")]) == " "
