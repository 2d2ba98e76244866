"""Addresses kept as data: Keras tells its variables and operations apart by ``id()``.

Such a number is another one in each process. In a graph it is ``["id", node, text]``: the address
of that node's object, and where it stood in a string, what came after it.
"""

from __future__ import annotations

import re
import sys
from typing import Any

_LEAST = 1 << 32  # smaller numbers are no addresses of objects
_IN_TEXT = re.compile(r"(\d{10,20})(_.*)")


def name_addresses(nodes: list[Any], index: dict[int, int]) -> None:
    """Replace addresses in sets and dicts by references; ``index``: node by ``id`` of its object.

    Only in a program that uses Keras: elsewhere a number is a number.
    """
    if "keras" not in sys.modules:
        return
    for node in nodes:
        if node[0] == "set":
            node[2] = [_named(item, index) for item in node[2]]
        elif node[0] == "dict":
            node[2] = _pairs(node[2], index)
        elif node[0] == "obj" and node[5] and node[5][0] in ("dict", "set"):
            items = node[5][1]
            pairs = node[5][0] == "dict"
            node[5][1] = _pairs(items, index) if pairs else [_named(i, index) for i in items]


def _pairs(pairs: list[Any], index: dict[int, int]) -> list[Any]:
    return [[_named(key, index), _named(item, index)] for key, item in pairs]


def _named(item: Any, index: dict[int, int]) -> Any:
    if type(item) is int and item > _LEAST and item in index:
        return ["id", index[item], None]
    if type(item) is str and (found := _IN_TEXT.fullmatch(item)) and int(found[1]) in index:
        return ["id", index[int(found[1])], found[2]]
    return item
