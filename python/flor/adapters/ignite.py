"""PyTorch Ignite: ``epoch`` and, inside, ``iteration``.

An engine that runs in a handler of another one (an evaluator) has its ``iteration`` only: its one
epoch would hide that of the training.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from flor.adapters.stage import Stage, hears, runs


def adapt(module: ModuleType) -> None:
    """Adapt ``ignite.engine.engine``: an engine calls its handlers in ``_fire_event``."""
    runs("ignite", module.Engine, "run")
    hears(module.Engine, "_fire_event", _told)


def _told(stage: Stage, engine: Any, event: Any, /, *_: Any, **__: Any) -> None:
    name = getattr(event, "value", event)
    if name == "epoch_started" and not stage.nested:
        stage.step(0, "epoch", engine.state.epoch)
    elif name == "iteration_started":
        stage.step(1, "iteration", engine.state.iteration)
    elif name == "epoch_completed":
        stage.leave(1)
    elif name == "completed":
        stage.leave()
