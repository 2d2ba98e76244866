"""Lightning's ``Trainer``: ``epoch`` and, inside, ``batch``, and ``val_batch`` inside or after.

Validation in the midst of an epoch runs inside the training batch that it follows; at the epoch's
end, after the batches.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from flor.adapters.stage import Stage, hears, runs

_EVALUATIONS = {
    "on_validation_batch_start": "val_batch",
    "on_test_batch_start": "test_batch",
    "on_predict_batch_start": "predict_batch",
}


def adapt_trainer(module: ModuleType) -> None:
    """Adapt ``lightning.pytorch.trainer.trainer``."""
    runs("lightning", module.Trainer, "fit", "validate", "test", "predict")


def adapt_callbacks(module: ModuleType) -> None:
    """Adapt ``lightning.pytorch.trainer.call``: it calls the callbacks, then the module's hooks."""
    hears(module, "_call_callback_hooks", _told)


def _told(stage: Stage, trainer: Any, hook: str, /, *args: Any, **_: Any) -> None:
    if hook == "on_train_epoch_start":
        stage.step(0, "epoch", trainer.current_epoch)
    elif hook == "on_train_batch_start":
        stage.step(1, "batch", args[1])
    elif hook in _EVALUATIONS:
        stage.step(2, _EVALUATIONS[hook], args[1])
    elif hook == "on_validation_start" and trainer.is_last_batch:
        stage.leave(1)
    elif hook == "on_validation_epoch_end":
        stage.leave(2)
    elif hook == "on_train_epoch_end":
        stage.leave(1)
    elif hook in ("on_train_end", "on_sanity_check_end"):
        stage.leave()
