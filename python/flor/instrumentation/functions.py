"""``flor.instrument``: the loops of chosen functions made visible, and nothing else.

Source: the instrumentation library of the paper, standing alone. A function keeps its identity: its
code object is replaced in place, so that defaults, closure, annotations, attributes, decorators
round it and everybody who holds it stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from flor.errors import InvalidError
from flor.instrumentation.source import Source


def functions_of(target: Any) -> list[FunctionType]:
    """Return the Python functions that a function, method, class or module stands for.

    Of a class or module: those defined in it, methods of its classes included. Of a decorated
    function: the one that the decorators wrap. Raises InvalidError for anything else.
    """
    if isinstance(target, ModuleType):
        return list(_defined_in(target, target.__name__))
    if isinstance(target, type):
        return list(_defined_in(target, target.__module__))
    function = _function_of(target)
    if function is None:
        raise InvalidError(
            f"flor.instrument takes a function, a method, a class or a module written in Python, "
            f"not {target!r} of type {type(target).__name__}; "
            "name the function whose loops are meant"
        )
    return [function]


def _function_of(target: Any) -> FunctionType | None:
    while not isinstance(target, FunctionType) or hasattr(target, "__wrapped__"):
        if isinstance(target, MethodType | staticmethod | classmethod):
            target = target.__func__
        elif hasattr(target, "__wrapped__"):
            target = target.__wrapped__
        else:
            return None
    return target


def _defined_in(scope: ModuleType | type, module: str) -> Iterator[FunctionType]:
    for value in list(vars(scope).values()):
        if isinstance(value, type):
            if value.__module__ == module and value is not scope:
                yield from _defined_in(value, module)
            continue
        parts = [value.fget, value.fset, value.fdel] if isinstance(value, property) else [value]
        for function in map(_function_of, parts):
            if function is not None and function.__module__ == module:
                yield function


def counterpart(whole: CodeType, code: CodeType) -> CodeType | None:
    """Return the code object in ``whole``, the code of a file, that stands where ``code`` stood."""
    where = (code.co_qualname, code.co_firstlineno, code.co_freevars)
    for found in _codes(whole):
        if (found.co_qualname, found.co_firstlineno, found.co_freevars) == where:
            return found
    return None


def check_current(code: CodeType, source: Source) -> None:
    """Raise InvalidError where ``code`` is not what Python makes of the text of its file now."""
    whole = compile(source.text, code.co_filename, "exec", dont_inherit=True)
    if counterpart(whole, code) != code:
        raise InvalidError(
            f"flor.instrument: {code.co_qualname} is not what {source.path} says at line "
            f"{code.co_firstlineno}: the file has changed since it was imported, or another tool "
            "made its code; instrument it before that, in a process that reads the file anew"
        )


def has_sites(code: CodeType, kind: type) -> bool:
    """Whether loops in a code object are visible; ``kind`` is the type of their sites."""
    return any(
        isinstance(constant, kind) or (isinstance(constant, CodeType) and has_sites(constant, kind))
        for constant in code.co_consts
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
