"""Ends and forks: however a process ends, what flor.log returned from is there; no child hangs."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from oracle import environment, expect, flor, logs, run


class Program:
    """A small script in a folder of its own, run as plain Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / ".flor"

    def write(self, body: str) -> Path:
        script = self.folder / "program.py"
        script.write_text("import flor\n" + dedent(body))
        return script

    def run(self, body: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, self.write(body), cwd=self.folder, store=self.store)

    def rows(self) -> list[dict]:
        return [row for row in logs(self.store, self.folder) if row["name"] != "stdout"]

    def values(self, name: str) -> list:
        return [row["value"] for row in self.rows() if row["name"] == name]

    def runs(self) -> str:
        return expect(0, flor("runs", cwd=self.folder, store=self.store)).stdout


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_import_alone_makes_nothing(program: Program):
    body = """
    import os, sys, threading
    assert threading.active_count() == 1 and not os.path.exists(".flor")
    assert "torch" not in sys.modules and "pandas" not in sys.modules
    """
    expect(0, program.run(body))
    assert not program.store.exists()


def test_sys_exit_inside_the_loop(program: Program):
    body = """
    import sys
    for step in flor.loop("step", range(10)):
        flor.log("x", step)
        if step == 4:
            sys.exit(3)
    """
    expect(3, program.run(body))
    assert program.values("x") == [0, 1, 2, 3, 4]


def test_an_exception_leaves_its_traceback_and_the_records(program: Program):
    body = """
    for step in flor.loop("step", range(10)):
        flor.log("x", step)
        if step == 4:
            raise RuntimeError("the loss is gone")
    """
    done = expect(1, program.run(body))
    assert "RuntimeError: the loss is gone" in done.stderr
    assert program.values("x") == [0, 1, 2, 3, 4]
    assert "failed" in program.runs()


def test_records_after_a_caught_exception_have_the_right_context(program: Program):
    body = """
    for epoch in flor.loop("epoch", range(3)):
        try:
            for step in flor.loop("step", range(5)):
                if step == 2:
                    raise ValueError
        except ValueError:
            pass
        flor.log("x", epoch)
    flor.log("end", 1)
    """
    expect(0, program.run(body))
    contexts = [row["context"] for row in program.rows()]
    assert contexts == [[["epoch", 0]], [["epoch", 1]], [["epoch", 2]], []]


def test_os_exit_right_after_log(program: Program):
    body = """
    import os
    for step in flor.loop("step", range(2000)):
        flor.log("x", step)
    os._exit(0)
    """
    expect(0, program.run(body))
    assert program.values("x") == list(range(2000))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_loses_no_record(program: Program, number: signal.Signals):
    script = program.write(
        """
        import itertools
        for step in flor.loop("step", itertools.count()):
            flor.log("x", step)
            if step % 1000 == 0:
                print(step, flush=True)
        """
    )
    child = subprocess.Popen(
        [sys.executable, script],
        cwd=program.folder,
        env=environment(program.store),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    told = [int(child.stdout.readline()) for _ in range(3)][-1]
    child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode != 0
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in error
    values = program.values("x")
    assert values == list(range(len(values)))
    assert len(values) > told


def test_logging_at_exit(program: Program):
    body = """
    import atexit
    atexit.register(lambda: flor.log("last", 42))
    flor.log("first", 1)
    """
    expect(0, program.run(body))
    assert program.values("first") == [1]
    assert program.values("last") == [42]


def test_threads_log_without_loss(program: Program):
    body = """
    import threading

    def work(number):
        for step in flor.loop("step", range(500)):
            flor.log(f"thread{number}", step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """
    expect(0, program.run(body))
    for number in range(4):
        rows = [row for row in program.rows() if row["name"] == f"thread{number}"]
        assert [row["value"] for row in rows] == list(range(500))
        assert [row["context"] for row in rows] == [[["step", step]] for step in range(500)]


def test_a_forked_child_logs_and_both_are_kept(program: Program):
    body = """
    import os
    flor.log("before", 1)
    child = os.fork()
    if child == 0:
        for step in range(100):
            flor.log("child", step)
        os._exit(0)
    for step in range(100):
        flor.log("parent", step)
    _, status = os.waitpid(child, 0)
    flor.log("status", status)
    """
    expect(0, program.run(body))
    assert program.values("before") == [1]
    assert program.values("child") == list(range(100))
    assert program.values("parent") == list(range(100))
    assert program.values("status") == [0]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_neither_hang_nor_start_runs_of_the_script(
    program: Program, method: str
):
    body = f"""
    import multiprocessing

    def square(number):
        return number * number

    if __name__ == "__main__":
        flor.log("before", 1)
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            for number in flor.loop("n", range(3)):
                flor.log("sum", sum(pool.map(square, range(10 * (number + 1)))))
    """
    expect(0, program.run(body))
    assert program.values("sum") == [285, 2470, 8555]
    assert len(list((program.store / "runs").iterdir())) == 1


def test_readers_see_a_run_that_still_writes(program: Program):
    script = program.write(
        """
        import sys, time
        for step in flor.loop("step", range(1000)):
            flor.log("x", step)
        print("ready", flush=True)
        sys.stdin.readline()
        flor.log("y", 1)
        """
    )
    with subprocess.Popen(
        [sys.executable, script],
        cwd=program.folder,
        env=environment(program.store),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin and child.stdout
        assert child.stdout.readline() == "ready\n"
        assert program.values("x") == list(range(1000))
        assert program.values("y") == []
        child.stdin.write("\n")
        child.stdin.close()
        assert child.wait(60) == 0
    assert program.values("y") == [1]


def test_runs_at_once_in_one_store_stay_apart(program: Program):
    script = program.write(
        """
        import sys
        import numpy as np
        for step in flor.loop("step", range(300)):
            flor.log("x", int(sys.argv[1]) * 1000 + step)
            flor.log("array", np.full(2000, step % 3))
        """
    )
    children = [
        subprocess.Popen(
            [sys.executable, script, str(number)],
            cwd=program.folder,
            env=environment(program.store),
        )
        for number in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    runs = sorted(path.name for path in (program.store / "runs").iterdir())
    assert len(runs) == 3
    found = []
    for name in runs:
        rows = [row for row in logs(program.store, program.folder, name) if row["name"] == "x"]
        found.append([row["value"] for row in rows])
    wanted = [[number * 1000 + step for step in range(300)] for number in range(3)]
    assert sorted(found) == wanted


def test_no_process_of_flor_outlives_the_script(program: Program):
    marker = f"flor-marker-{time.monotonic_ns()}"
    expect(0, program.run(f'import sys; sys.argv.append("{marker}"); flor.log("x", "{marker}")'))
    alive = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FLOR_STORE={program.store}".encode() in entry.read_bytes():
                alive.append(entry.parent.name)
        except OSError:
            continue
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_replay_leaves_no_worker(program: Program, number: signal.Signals):
    script = program.write(
        """
        import os, subprocess, time
        for epoch in flor.loop("epoch", range(3)):
            flor.log("x", epoch)
        if "WAIT" in os.environ:
            subprocess.Popen(["sleep", os.environ["WAIT"]])
            time.sleep(600)
        """
    )
    expect(0, run(sys.executable, script, cwd=program.folder, store=program.store))
    script.write_text(script.read_text().replace('flor.log("x", epoch)', 'flor.log("y", 1)'))
    mark = f"600.{random.randrange(10**9)}"
    replay = subprocess.Popen(
        [sys.executable, "-m", "flor", "replay", "--force"],
        cwd=program.folder,
        env=environment(program.store) | {"WAIT": mark},
    )
    wait_until(lambda: any("sleep" in line for line in processes_with(mark)))
    replay.send_signal(number)
    replay.wait(60)
    wait_until(lambda: not processes_with(mark))


def processes_with(mark: str) -> list[str]:
    """Return the command lines of all processes that have ``mark`` in it or in the environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = mark.encode() in (folder / "environ").read_bytes()
            found += [(folder / "cmdline").read_text()] if inside else []
        except OSError:  # it has ended, or it is not ours
            continue
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_calls_of_a_recorded_program_do_not_map_memory(program: Program):
    """CPython maps and unmaps 16 KB for a call that crosses the end of a chunk of frames."""
    script = program.write(
        """
        import resource

        def leaf():
            a = b = c = d = e = f = g = h = i = j = k = l = m = n = o = p = q = r = s = t = 0
            return [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t]

        def faults(depth, calls=500):
            if depth:
                return faults(depth - 1)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(calls):
                leaf()
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        print(max(faults(depth) for depth in range(300)))
        """
    )
    done = expect(0, flor("record", script, cwd=program.folder, store=program.store))
    assert int(done.stdout) < 250
