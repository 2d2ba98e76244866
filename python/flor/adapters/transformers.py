"""Hugging Face ``transformers.Trainer``: ``epoch`` and, inside, ``step`` (one optimizer step)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from flor.adapters.stage import Stage, hears, runs


def adapt_trainer(module: ModuleType) -> None:
    """Adapt ``transformers.trainer``."""
    runs("transformers", module.Trainer, "train")


def adapt_callbacks(module: ModuleType) -> None:
    """Adapt ``transformers.trainer_callback``: callbacks are called in ``call_event``."""
    hears(module.CallbackHandler, "call_event", _told)


def _told(
    stage: Stage, _: Any, event: str, _args: Any, state: Any, /, *__: Any, **___: Any
) -> None:
    if event == "on_epoch_begin":
        stage.step(0, "epoch", state.epoch)
    elif event == "on_step_begin":
        stage.step(1, "step", state.global_step)
    elif event == "on_epoch_end":
        stage.leave(1)
    elif event == "on_train_end":
        stage.leave()
