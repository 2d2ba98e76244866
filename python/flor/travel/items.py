"""Whether the items of a main loop may be taken without executing what the loop does with them.

A restore does not reach the iterator of the main loop: it is brought to its place by taking the
items of the iterations that are passed over. That is exact where the next item depends on nothing
that the loop's body changes. A generator of the user's may depend on all of it.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

_TORCH_DATA = "torch.utils.data"
_WRAPPERS = frozenset({"enumerate", "tqdm", "track", "list", "tuple"})


def independent(iterable: Any, same_start: bool) -> bool:
    """Whether the items depend on nothing but what the program had at the loop's entry.

    ``same_start``: whether the random states there are the run's: a loader draws its order then.
    """
    if iterable is None or type(iterable) in (range, list, tuple, str, dict, np.ndarray):
        return True  # None: a while loop, whose state is in the program's variables
    kind = type(iterable)
    if (kind.__module__, kind.__qualname__) == (f"{_TORCH_DATA}.dataloader", "DataLoader"):
        sampler = type(iterable.sampler).__module__
        return same_start and str(sampler).startswith(_TORCH_DATA)
    return False


def passes_items_on(expression: ast.expr, call: ast.Call) -> bool:
    """Whether a for statement over ``expression`` gets the items of the loop ``call`` in it, and
    draws on nothing else: ``enumerate(flor.loop(...), 1)``, ``tqdm(flor.loop(...))``.
    """
    while expression is not call:
        if not isinstance(expression, ast.Call) or not expression.args:
            return False
        function = expression.func
        name = function.attr if isinstance(function, ast.Attribute) else None
        name = function.id if isinstance(function, ast.Name) else name
        others = [*expression.args[1:], *(keyword.value for keyword in expression.keywords)]
        if name not in _WRAPPERS or not all(isinstance(one, ast.Constant) for one in others):
            return False
        expression = expression.args[0]
    return True
