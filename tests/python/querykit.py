"""Stores with runs and replays in them, written through the real core."""

import itertools
import json
import time

import numpy as np

from flor import _core
from flor.files import write_json
from flor.layout import StoreLayout
from flor.query.kinds import ARRAY, JSON
from flor.query.order import AFTER

_serial = itertools.count()


def at(**loops):
    """Return a context: ``at(epoch=1, step=2)``."""
    return list(loops.items())


def log_items(directory, items, store=None, rank=0):
    """Write (context, name, value) records into a log folder as one closed writer."""
    directory.mkdir(parents=True, exist_ok=True)
    writer = _core.LogWriter(str(directory), f"r{rank}-1-{next(_serial)}")
    for context, name, value in items:
        if isinstance(value, np.ndarray):
            ref = store.put(np.ascontiguousarray(value))
            text = json.dumps(
                {"dtype": value.dtype.str, "shape": list(value.shape), "ref": ref.hex()}
            )
            writer.log_encoded(name, ARRAY, text.encode(), context)
        elif isinstance(value, dict | list) or name == AFTER:
            writer.log_encoded(name, JSON, json.dumps(value).encode(), context)
        else:
            writer.log(name, value, context)
    writer.close()


def new_run(layout, items=(), rank=0, **meta):
    """Record a run with these records; return its id."""
    run = layout.new_run_id()
    content = {
        "format": 1,
        "run": run,
        "script": "train.py",
        "argv": [],
        "status": "completed",
        "started": time.time(),
        "seconds": 1.5,
        "version": "v1",
        "parent": None,
        "args": {},
        "modules": {},
        "inputs": [],
    }
    layout.write_run(run, content | meta)
    store = _core.ChunkStore(str(layout.root))
    log_items(layout.log_dir(run), items, store, rank)
    store.close()
    time.sleep(0.001)  # ids sort by time, to a quarter of a millisecond
    return run


def new_replay(layout, run, items, verdict="verified", started=None, rank=0):
    """Add a completed replay of a run."""
    number = f"p{next(_serial):04}"
    folder = layout.replays_dir(run) / number
    log_items(folder / "log", items, rank=rank)
    write_json(
        folder / "replay.json",
        {
            "id": number,
            "run": run,
            "verdict": verdict,
            "started": started if started is not None else time.time(),
            "seconds": 0.5,
            "compared": 3,
            "records": {"new": len(items)},
        },
    )
    return number


def training(epochs=3, steps=4):
    """Return the records of a small training: one of every kind of value."""
    items = [([], "start", "hello"), ([], "config", {"layers": [1, 2], "nan": float("nan")})]
    for epoch in range(epochs):
        items.append((at(epoch=epoch), "lr", 0.1 / (1 + epoch)))
        for step in range(steps):
            here = at(epoch=epoch, step=step)
            items += [
                (here, "loss", 1.0 / (1 + epoch * steps + step)),
                (here, "seen", epoch * steps + step),
                (here, "stdout", f"step {step}"),
                (here, "stdout", "0.7"),
            ]
        items += [
            (at(epoch=epoch), "acc", 0.5 + epoch / 10),
            (at(epoch=epoch), "best", epoch == epochs - 1),
            (at(epoch=epoch), "confusion", np.eye(3, dtype=np.float32) * epoch),
            (at(epoch=epoch), "__flor__end", 1),
        ]
    return items


def make_store(folder):
    """Return a new store below ``folder``."""
    return StoreLayout.open(folder / "store", create=True)
