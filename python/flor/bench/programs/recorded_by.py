"""Run a training program with something else in flor's place.

``recorded_by.py NAME SCRIPT EPOCHS``. Executed as a file: it must not import flor, whose name it
takes.
"""

from __future__ import annotations

import contextlib
import importlib
import runpy
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

NAME, SCRIPT, EPOCHS = sys.argv[1:]

Log = Callable[[str, float], Any]


def _nothing() -> tuple[Log, Callable[[], None], bool]:
    return (lambda name, value: value), (lambda: None), False


def _tensorboard() -> tuple[Log, Callable[[], None], bool]:
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter("board")
    return writer.add_scalar, writer.close, True


def _wandb() -> tuple[Log, Callable[[], None], bool]:
    wandb = importlib.import_module("wandb")
    settings = wandb.Settings(silent=True, console="off")
    run = wandb.init(mode="offline", project="bench", settings=settings)
    return (lambda name, value: run.log({name: value})), run.finish, True


log, finish, saves = {"nothing": _nothing, "tensorboard": _tensorboard, "wandb": _wandb}[NAME]()
saved: dict[str, Any] = {}


@contextlib.contextmanager
def checkpointing(**objects: Any) -> Iterator[None]:
    """Save these at the end of each iteration of the outermost loop."""
    saved.update(objects)
    yield
    saved.clear()


def loop(name: str, iterable: Iterable[Any]) -> Iterator[Any]:
    """Iterate, and save at the end of each epoch."""
    for item in iterable:
        yield item
        if saves and name == "epoch":
            import torch

            torch.save({key: it.state_dict() for key, it in saved.items()}, "last.pt")


def arg(name: str, default: Any) -> Any:
    """Return the number of epochs as given."""
    return type(default)(EPOCHS) if name == "epochs" else default


flor: Any = types.ModuleType("flor")
flor.log, flor.loop, flor.arg, flor.checkpointing = log, loop, arg, checkpointing
sys.modules["flor"] = flor
runpy.run_path(SCRIPT, run_name="__main__")
finish()
