"""What added statements call: only what is known to draw no random number and switch no mode?

By name, as everywhere in this package. A name that the program itself defines is never known, and
what is not known costs time only: its statement is protected (:mod:`protect`).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum

from flor.instrumentation.nodes import Named, used_name

_CONSUMING_NAMES = """
    sum min max any all sorted list tuple set dict frozenset reversed next iter
"""
_PLAIN_NAMES = """
    abs bool callable chr complex divmod enumerate float format getattr hasattr hash hex id int
    isinstance issubclass len ord pow print range repr round slice str type zip
    debug error info log warning
    append capitalize count decode encode endswith extend get index items join keys lower lstrip
    removeprefix removesuffix replace rstrip split splitlines startswith strip title upper values
    dumps fsum isclose perf_counter time
    arange argmax argmin argsort array asarray as_tensor astype bincount cat ceil clamp clip clone
    concatenate contiguous copy corrcoef cos cosine_similarity count_nonzero cpu cumsum det detach
    diag diff dim dot double einsum empty_like equal exp eye eigvals eigvalsh flatten floor full
    histc histogram inner int isfinite isinf isnan item linspace log10 log1p log2 log_softmax
    logical_and logical_not logical_or logsumexp long matmul matrix_norm matrix_rank mean median mm
    mul nanmean nbytes ndim nonzero norm numel numpy ones ones_like outer permute prod quantile
    ravel reshape sigmoid sign sin size softmax sort sqrt square squeeze stack std svdvals t
    tanh tensor to tolist topk trace transpose unique unsqueeze vector_norm var view where zeros
    zeros_like
    buffers children get_last_lr modules named_buffers named_children named_modules
    named_parameters parameters
    enable_grad inference_mode no_grad
"""
CONSUMING = frozenset(_CONSUMING_NAMES.split())
PLAIN = CONSUMING | frozenset(_PLAIN_NAMES.split())
_MODULES = frozenset(sys.stdlib_module_names) | {"flor", "numpy", "torch"}
_LITERALS = ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Constant | ast.Call
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Unknown(IntEnum):
    """What some code may do as far as is known."""

    NOTHING = 0  # only calls that are known
    ITEMS = 1  # takes items of objects: data sets and loaders draw random numbers
    CALLS = 2  # calls something else


def unknown(code: Iterable[ast.AST], defined: Collection[str]) -> Unknown:
    """Return what executing ``code`` may do; ``defined``: names that the program defines.

    The bodies of functions in it do not count: who calls them does.
    """
    return max((_of(node, defined) for node in _executed(code)), default=Unknown.NOTHING)


def _executed(code: Iterable[ast.AST]) -> Iterator[ast.AST]:
    waiting = list(code)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Named):
            waiting += [*node.decorator_list, node.args]
        elif isinstance(node, ast.Lambda):
            waiting.append(node.args)
        else:
            waiting += ast.iter_child_nodes(node)


def _of(node: ast.AST, defined: Collection[str]) -> Unknown:
    match node:
        case ast.Call(func=function):
            name = used_name(function)
            if name not in PLAIN or name in defined:
                return Unknown.CALLS
            return _taken(node.args) if name in CONSUMING else Unknown.NOTHING
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in defined:
            return Unknown.CALLS  # a property, or a function that is passed on
        case ast.Import(names=names):
            return _imports([alias.name for alias in names])
        case ast.ImportFrom(module=module, level=level):
            return _imports(["." if level else str(module)])
        case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            return Unknown.CALLS
        case ast.withitem(context_expr=made):
            return Unknown.NOTHING if isinstance(made, ast.Call) else Unknown.CALLS
        case ast.For(iter=taken) | ast.comprehension(iter=taken) | ast.Starred(value=taken):
            return _taken([taken])
        case ast.Assign(targets=targets, value=taken):
            unpacks = any(isinstance(each, ast.Tuple | ast.List) for each in targets)
            return _taken([taken]) if unpacks else Unknown.NOTHING
        case ast.Subscript(slice=ast.Constant(value=str())):
            return Unknown.NOTHING
        case ast.Subscript(ctx=ast.Load()):
            return Unknown.ITEMS
    return Unknown.NOTHING


def _taken(sources: Iterable[ast.expr]) -> Unknown:
    """Return what taking the items of these expressions may do."""
    plain = all(isinstance(each, _LITERALS | _COMPREHENSIONS) for each in sources)
    return Unknown.NOTHING if plain else Unknown.ITEMS


def _imports(names: Iterable[str]) -> Unknown:
    known = all(name.partition(".")[0] in _MODULES for name in names)
    return Unknown.NOTHING if known else Unknown.CALLS
