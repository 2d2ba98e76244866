"""Writes tests/golden/log/<version>: a segment, a left-over ring, and what is in them.

Run it once for each version of the format, never to make a failing test pass:

    python tests/golden/make_log.py tests/golden/log/1
"""

import json
import os
import sys

import pyarrow as pa

from flor import _core


def log_some(start):
    epoch = _core.context_enter("epoch")
    for e in range(start, start + 2):
        _core.context_step(epoch, e, json.dumps({"e": e}))
        step = _core.context_enter("step")
        for s in range(5):
            _core.context_step(step, s)
            for value in (e + s / 4, s, s % 2 == 0, None, "é" * 3 * s, b"\0\xff"):
                _core.log(f"v{s}", value)
        _core.context_leave(step)
        _core.log_encoded("json", 6, "[1, 2]")
        _core.log_encoded("array", 0x87, "reference")
    _core.context_leave(epoch)


def write(folder):
    writer = _core.LogWriter(folder, "r0-1-0", ring_bytes=4096)
    _core.set_active(writer)
    log_some(0)
    writer.flush()
    for i in range(20):
        _core.log("after the flush", i)
    os._exit(0)  # the ring stays


def expected(folder):
    rows = pa.record_batch(_core.read_log(folder)).to_pylist()
    for row in rows:
        row["data"] = None if row["data"] is None else row["data"].hex()
    return rows


def main(folder):
    os.makedirs(folder)
    if os.fork() == 0:
        write(folder)
    os.wait()
    with open(f"{folder}/expected.json", "w") as out:
        json.dump(expected(folder), out, indent=0)


if __name__ == "__main__":
    main(sys.argv[1])
