"""Values of ``flor.arg``: as the type of their default, and as run.json can hold them."""

from __future__ import annotations

import json
from typing import Any

from flor.errors import InvalidError


def is_json(value: Any) -> bool:
    """Whether run.json can hold a value as it is."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def converted(name: str, text: str, default: Any) -> Any:
    """Read a ``--set`` value as the type of the default; raises InvalidError."""
    if default is None or isinstance(default, (dict, list, bool)):
        try:
            return json.loads(text.lower() if isinstance(default, bool) else text)
        except ValueError:
            if default is None:
                return text
    try:
        return type(default)(text)
    except (TypeError, ValueError):
        raise InvalidError(
            f"--set {name}={text}: not a {type(default).__name__} like the default {default!r}"
        ) from None
