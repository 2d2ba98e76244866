"""skorch: ``epoch`` and, inside, ``batch`` and ``valid_batch``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from flor.adapters.stage import Stage, hears, runs


def adapt(module: ModuleType) -> None:
    """Adapt ``skorch.net``: every net tells its callbacks through ``notify``."""
    runs("skorch", module.NeuralNet, "partial_fit")
    hears(module.NeuralNet, "notify", _told)


def _told(stage: Stage, net: Any, event: str, /, **about: Any) -> None:
    if event == "on_epoch_begin":
        stage.step(0, "epoch", len(net.history) + 1)
    elif event == "on_batch_begin":
        stage.step(1, "batch" if about.get("training") else "valid_batch", None)
    elif event == "on_epoch_end":
        stage.leave(1)
    elif event == "on_train_end":
        stage.leave()
