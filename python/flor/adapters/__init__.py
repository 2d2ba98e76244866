"""Libraries that own the training loop: their loops made visible through their callbacks.

flor imports none of them. Under ``flor record``, and in a replay of such a run, a library that the
program imports is told apart by the name of a module, and two kinds of its functions are wrapped:
those that run a training (``fit``, ``train``, ``run``), and the one that calls its callbacks. What
the callbacks are told becomes the iterations of ordinary loops (:mod:`flor.adapters.stage`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from flor.adapters import ignite, keras, lightning, skorch, stage, transformers
from flor.adapters.imports import WhenImported

PACKAGES = frozenset(
    {"accelerate", "ignite", "keras", "lightning", "pytorch_lightning", "skorch", "transformers"}
)
"""Packages whose clock reads belong to the run: they print and keep durations."""

_ADAPTERS: dict[str, Callable[[ModuleType], None]] = {
    "ignite.engine.engine": ignite.adapt,
    "keras.src.backend.torch.trainer": keras.adapt_trainer,
    "keras.src.callbacks.callback_list": keras.adapt_callbacks,
    "lightning.pytorch.trainer.call": lightning.adapt_callbacks,
    "lightning.pytorch.trainer.trainer": lightning.adapt_trainer,
    "pytorch_lightning.trainer.call": lightning.adapt_callbacks,
    "pytorch_lightning.trainer.trainer": lightning.adapt_trainer,
    "skorch.net": skorch.adapt,
    "transformers.trainer": transformers.adapt_trainer,
    "transformers.trainer_callback": transformers.adapt_callbacks,
}


def install(tell: Callable[[str], None]) -> WhenImported:
    """Adapt each known library when the program imports it; ``remove()`` of the result ends that.

    ``tell`` gets a sentence where a library is not what its adapter knows: its loops then have no
    contexts, and the run is replayed from the first line.
    """
    stage.tell_with(tell)
    hook = WhenImported(_ADAPTERS, tell)
    hook.install()
    return hook
