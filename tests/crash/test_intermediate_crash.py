"""A process that keeps intermediates is killed at any moment: what it had committed reads back.

FLOR_CRASH_COUNT says how often (default 4; the full check sets 200).
"""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.store import IntermediateStore
from flor.layout import StoreLayout
from flor.upkeep.check import check

COUNT = int(os.environ.get("FLOR_CRASH_COUNT", "4"))
_WRITER = """
import itertools
import sys
import numpy as np
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.store import IntermediateStore

def content(step):
    rng = np.random.default_rng(step)
    table = {"same": np.arange(5000.0), "own": rng.normal(size=5000)}
    return table, rng.normal(size=(64, 8, 16)).astype(np.float32)

if __name__ == "__main__":
    with IntermediateStore.open(sys.argv[1], create=True) as store:
        for step in itertools.count(int(sys.argv[2])):
            table, tensor = content(step)
            form = Form.table(dict.fromkeys(table, "float64"))
            with store.writer(Key("m", f"t{step}", "d"), form) as writer:
                writer.append(range(5000), table)
            form = Form.tensor((8, 16), "float32")
            with store.writer(Key("m", f"x{step}", "d"), form, "affine8") as writer:
                writer.append(range(64), tensor)
            print(step, flush=True)
"""


_CUT_OFF = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 2")  # changed pages go to the file before the end
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE chunk SET error = 9, sketch = zeroblob(100000)")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_transaction_that_was_cut_off_is_taken_back_by_who_reads(tmp_path):
    root = tmp_path / "s"
    values = np.arange(6000.0)
    with IntermediateStore.open(root, create=True) as store:
        with store.writer(Key("m", "l", "d"), Form.table({"a": "float64"})) as writer:
            writer.append(range(6000), {"a": values})
    path = root / "intermediates" / "catalogue.sqlite"
    subprocess.run([sys.executable, "-c", _CUT_OFF, str(path)], check=False)
    assert path.with_name("catalogue.sqlite-journal").stat().st_size > 0
    assert check(StoreLayout.open(root)).damages == []
    with IntermediateStore.open(root) as store:
        assert store.find()[0].read()[1]["a"].tobytes() == values.tobytes()


def test_what_was_committed_survives_kills(tmp_path):
    script = tmp_path / "writer.py"
    script.write_text(_WRITER)
    sys.path.insert(0, str(tmp_path))
    try:
        from writer import content
    finally:
        sys.path.remove(str(tmp_path))
    root, rng, told, begin = tmp_path / "s", random.Random(3), [], 0
    StoreLayout.open(root, create=True)
    for _ in range(COUNT):
        with subprocess.Popen(
            [sys.executable, str(script), str(root), str(begin)], stdout=subprocess.PIPE, text=True
        ) as process:
            told.append(int(process.stdout.readline()))  # it is at work
            time.sleep(rng.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout.read().splitlines()]
        begin = told[-1] + 1
    layout = StoreLayout.open(root)
    assert check(layout).damages == []
    with IntermediateStore.open(layout) as store:
        for step in told:
            table, tensor = content(step)
            back = store.find(layer=f"t{step}")[0].read()[1]
            assert all(back[name].tobytes() == table[name].tobytes() for name in table)
            kept = store.find(layer=f"x{step}")[0]
            assert np.abs(kept.read()[1] - tensor).max() <= kept.error
        # What was begun and not told may be there as a whole, never in part.
        for kept in store.find():
            kept.read()
