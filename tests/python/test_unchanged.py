"""The program sees no difference but time: ``python prog.py`` beside ``flor record prog.py``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from oracle import environment

PROGRAM = Path(__file__).parents[1] / "workloads" / "handsfree" / "unchanged_project"
TIMEOUT = 120

Words = tuple[str, ...]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell ignores Ctrl-C for what it starts in the background, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROGRAM, tmp_path / "work"))


def start(command: Words, folder: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment(folder.parent / "store", **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both(folder: Path, *command: str, **more: str) -> tuple[str, str, int]:
    """Run a program plainly and under recording; return what it said, the same both times."""
    seen = []
    for words in (command, ("-m", "flor", "record", *command)):
        process = start(words, folder, **more)
        out, err = process.communicate(timeout=TIMEOUT)
        seen.append((out.splitlines(), err.splitlines(), process.returncode))
    for plain, recorded in zip(seen[0], seen[1], strict=True):
        assert recorded == plain
    out, err, code = seen[0]
    return "\n".join(out), "\n".join(err), code


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("exit", 3, "shown once"),
        ("text", 1, "a last word"),
        ("raise", 1, "ZeroDivisionError"),
        ("interrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("syntax", 1, "SyntaxError"),
        ("kill", -signal.SIGTERM, "shown once"),
    ],
)
def test_a_program_sees_the_same_and_ends_the_same(
    folder: Path, how: str, code: int, told: str
) -> None:
    output, errors, ended = both(folder, "./unchanged.py", how)
    assert ended == code
    assert told in errors
    assert errors.count("shown once\n") == 1
    assert "hash seed null" in output


def test_compilers_get_the_code_as_it_was_written(folder: Path) -> None:
    output, _, code = both(folder, "unchanged.py", "--torch")
    assert code == 0
    assert output.startswith("compiled")


def test_a_module_is_run_as_with_python_m(folder: Path) -> None:
    output, _, code = both(folder, "-m", "pkg.mod", "one", "--two")
    assert code == 0
    assert "pkg.mod" in output


def test_a_hash_seed_of_the_user_stays(folder: Path) -> None:
    output, _, _ = both(folder, "unchanged.py", PYTHONHASHSEED="7")
    assert 'hash seed "7"' in output


def test_ctrl_c_reaches_the_program(folder: Path) -> None:
    """An interrupt from outside, in the middle of a loop; the program ends as Python ends."""
    script = folder / "waits.py"
    script.write_text(
        "import time\n"
        "for turn in range(1000):\n"
        "    print('turn', turn, flush=True)\n"
        "    time.sleep(0.2)\n"
    )
    codes = []
    for words in (("waits.py",), ("-m", "flor", "record", "waits.py")):
        process = start(words, folder)
        assert process.stdout is not None
        assert process.stdout.readline() == "turn 0\n"
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
        assert err.endswith("KeyboardInterrupt\n")
        codes.append(process.returncode)
    assert codes == [-signal.SIGINT, -signal.SIGINT]


def test_a_script_with_flor_loop_keeps_its_own_future(tmp_path: Path):
    """flor's own ``from __future__`` is not the program's: its annotations are objects."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.py").write_text(
        "import flor\ndef f(x: int): ...\n"
        "for epoch in flor.loop('epoch', range(2)): print(f.__annotations__)\n"
    )
    out, _, code = both(tmp_path / "work", "train.py")
    assert "<class 'int'>" in out
    assert code == 0


@pytest.mark.parametrize("end", ["pass", "raise ValueError", "raise KeyboardInterrupt"])
def test_what_happens_at_exit_happens(tmp_path: Path, end: str):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.py").write_text(
        "import atexit\n"
        "class Last:\n"
        "    def __del__(self):\n"
        "        print('deleted')\n"
        "last = Last()\n"
        "atexit.register(print, 'at exit')\n"
        f"{end}\n"
    )
    out, _, _ = both(tmp_path / "work", "train.py")
    assert out == "at exit\ndeleted"
