"""The objects of an unmodified program that people load by name: models, optimizers, estimators."""

from __future__ import annotations

from collections.abc import Iterable
from types import FrameType
from typing import Any

from flor.capture.usercode import UserCode


def named_objects(
    user: UserCode, frame: FrameType | None, hidden: Iterable[str] = ()
) -> dict[str, Any]:
    """Return what has a ``state_dict``, or is an estimator, by the name of its variable.

    Looked for in the modules and the function frames of the program, the innermost last, and one
    level deep in objects of its own classes (``trainer.model`` is ``model``). A name that stands
    for two objects is the inner one's; ``hidden`` names are passed over.
    """
    found: dict[str, Any] = {}
    scopes = [vars(module) for module in user.modules()]
    scopes += [dict(each.f_locals) for each in user.frames(frame)]
    for scope in scopes:
        for name, value in scope.items():
            if name.startswith("__") or name in hidden:
                continue
            if _has_state(value):
                found[name] = value
            elif user.is_user_module(type(value).__module__):
                attributes = getattr(value, "__dict__", {})
                found |= {key: part for key, part in attributes.items() if _has_state(part)}
    return found


def _has_state(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, type) or kind.__module__ == "builtins":
        return False
    stateful = callable(getattr(kind, "state_dict", None)) and hasattr(kind, "load_state_dict")
    return stateful or (hasattr(kind, "get_params") and hasattr(kind, "fit"))
