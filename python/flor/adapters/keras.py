"""Keras 3 on torch: ``epoch`` and, inside, ``batch`` and ``test_batch``."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from flor import _core
from flor.adapters.stage import Stage, hears, runs


def adapt_trainer(module: ModuleType) -> None:
    """Adapt ``keras.src.backend.torch.trainer``."""
    runs("keras", module.TorchTrainer, "fit", "evaluate", "predict")


def adapt_callbacks(module: ModuleType) -> None:
    """Adapt ``keras.src.callbacks.callback_list``: it calls the callbacks, one method an event."""
    kind = module.CallbackList
    hears(
        kind, "on_epoch_begin", lambda stage, _, epoch, /, *__, **___: stage.step(0, "epoch", epoch)
    )
    hears(kind, "on_train_batch_begin", _trains)
    hears(kind, "on_test_batch_begin", _steps("test_batch"))
    hears(kind, "on_predict_batch_begin", _steps("predict_batch"))
    for event in ("on_epoch_end", "on_test_end", "on_predict_end"):
        hears(kind, event, lambda stage, /, *_, **__: stage.leave(1))
    hears(kind, "on_train_end", lambda stage, /, *_, **__: stage.leave())


def _trains(stage: Stage, _: Any, batch: int, /, *__: Any, **___: Any) -> None:
    stage.step(1, "batch", batch)
    _core.mark_training()  # Keras has optimizers of its own


def _steps(name: str) -> Callable[..., None]:
    def told(stage: Stage, _: Any, batch: int, /, *__: Any, **___: Any) -> None:
        stage.step(1, name, batch)

    return told
