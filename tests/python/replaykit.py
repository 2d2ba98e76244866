"""Recorded runs with boundaries and checkpoints, and outcomes of workers, by the real core."""

import json
import os
from pathlib import Path

from querykit import at, log_items, make_store, new_run

from flor import _core
from flor.files import write_json
from flor.replay.engine import Outcome
from flor.replay.plan import make_plan
from flor.replay.question import Question, ask
from flor.replay.recorded import RecordedRun
from flor.replay.request import ReplayRequest

SCRIPT = """\
import flor

with flor.checkpointing():
    for epoch in flor.loop("epoch", range(6)):
        for step in flor.loop("step", range(3)):
            flor.log("loss", epoch + step)
        flor.log("acc", epoch)
flor.log("end", 1)
"""
BEFORE, INNER, OUTER, AFTER = (
    SCRIPT.replace("with", 'flor.log("probe", 0)\nwith'),
    SCRIPT.replace('"loss", epoch + step)', '"loss", epoch + step)\n            flor.log("p", 1)'),
    SCRIPT.replace('"acc", epoch)', '"acc", epoch)\n        flor.log("probe", 1)'),
    SCRIPT + 'flor.log("probe", 2)\n',
)


def state(boundary, loop, checkpoint, **more):
    content = {"boundary": boundary, "loop": loop, "digest": "00", "checkpoint": checkpoint}
    return content | {"jumpable": True, "why": None, "steps": None, "exit": None} | more


def recorded_items(epochs=6, steps=3, saved=None, told=None):
    """Return the log of a run of SCRIPT; ``saved`` iterations have a checkpoint, None: all.

    ``told``: how many steps the blocks say that they had.
    """
    number = iter(range(1000))
    items = [([], "start", "hello"), ([], "__flor__.state", state("entry", "epoch", next(number)))]
    for epoch in range(epochs):
        for step in range(steps):
            items.append((at(epoch=epoch, step=step), "loss", float(epoch + step)))
        here, dense = at(epoch=epoch), saved is None or epoch in saved
        block = state("block", "step", next(number) if dense else None, steps=told or steps)
        items += [(here, "__flor__.state", block), (here, "acc", epoch)]
        end = state("iteration", "epoch", next(number) if dense else None)
        items.append((here, "__flor__.state", end))
    return [*items, ([], "end", 1)]


def record(folder: Path, items=None, script=SCRIPT, iterations=6, durable=True, **meta):
    """Return a recorded run of ``script``, its checkpoints on disk."""
    layout = make_store(folder)
    items = recorded_items() if items is None else items
    store = _core.ChunkStore(str(layout.root))
    ref = store.put(script.encode()).hex()
    store.close()
    (folder / "train.py").write_text(script)
    files = {"train.py": {"ref": ref, "bytes": len(script)}}
    version = {"format": 1, "script": "train.py", "root": str(folder), "files": files}
    write_json(layout.version_path("v1"), version)
    main = {"loop": "epoch", "iterations": iterations}
    content = {"status": "done", "main": main, "cwd": str(folder), "pid": 4321}
    run = new_run(layout, items, **(content | meta))
    if durable:
        take_checkpoints(layout, run, items)
    return RecordedRun.load(layout, run)


def take_checkpoints(layout, run, items):
    layout.checkpoint_dir(run).mkdir()
    store = _core.ChunkStore(str(layout.root))
    taker = _core.Snapshotter(store)
    for _, name, value in items:
        if name == "__flor__.state" and value["checkpoint"] is not None:
            path = layout.checkpoint_dir(run) / f"{value['checkpoint']}.ckpt"
            taker.take([b"state"], str(path), b"{}").wait()
    taker.close()
    store.close()


def question(recorded, source=None, force=False) -> Question:
    """Return what ``source``, written as today's script, asks of the run."""
    folder = recorded.layout.root.parent
    if source is not None:
        (folder / "modified.py").write_text(source)
    return ask(recorded, folder / ("train.py" if source is None else "modified.py"), force)


def plan(recorded, source=None, **options):
    return make_plan(recorded, question(recorded, source), ReplayRequest(**options))


def outcome(folder: Path, number, records=(), probes=(), **result):
    """Return the outcome of a worker that logged these (context, name, value)."""
    here = folder / str(number)
    for part, items in (("records", records), ("probes", probes)):
        log_items(here / "log" / part, [one for one in items if one[1] != "__flor__.state"])
    content = {"ok": True, "prologues": 1, "executed": {}, "blocks": [], "states": []} | result
    (here / "result.json").write_text(json.dumps(content))
    return Outcome(number, here, 0, os.getpid(), content)
