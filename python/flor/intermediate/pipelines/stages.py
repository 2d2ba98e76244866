"""``@flor.stage``: functions over tables whose runs become the graph of a pipeline.

    @flor.stage
    def fill(table, value):
        return table.fillna(value)

    h = flor.intermediates(pipeline, data={"homes": homes})     # calls pipeline(homes=homes)
    with flor.intermediates() as h:                             # or: whatever runs in the block
        train = fill(homes, 0)
    h.read("fill", units=["area"])

Outside of both a stage is the function that it was.
"""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from flor.errors import ClosedError, InvalidError
from flor.intermediate.forms import Key
from flor.intermediate.networks import fingerprint
from flor.intermediate.pipelines import stage_archive
from flor.intermediate.pipelines.lineage import Ids, Rows, source_ids, trace
from flor.intermediate.pipelines.stage_graph import (
    Call,
    Fitted,
    Path,
    Ref,
    StageGraph,
    Table,
    fingerprint_of,
    refs,
    replaced,
    timed,
)
from flor.intermediate.pipelines.tables import Encoded, encode, is_table, row_count, without_index
from flor.intermediate.storage import blobs
from flor.intermediate.storage.schemas import put_schema

if TYPE_CHECKING:
    from flor.intermediate.storage.store import IntermediateStore

_F = TypeVar("_F", bound=Callable[..., Any])
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)
_RECORDER: ContextVar[Recorder | None] = ContextVar("flor_stages", default=None)


@overload
def stage(function: _F, /) -> _F: ...
@overload
def stage(*, name: str | None = None) -> Callable[[_F], _F]: ...
def stage(function: Any = None, /, *, name: str | None = None) -> Any:
    """Make a function over tables a stage: what it gives is kept while a pipeline is recorded.

    Tables are pandas and polars frames and series, NumPy and SciPy arrays, dicts of columns of
    equal length. A stage may take and give several, in tuples, lists and dicts; other things that
    it gives (a fitted transformer, a model) are kept too, as pickles, which flor never unpickles
    unasked. Row ids follow what it does to rows (filters, joins, sorts, concatenations). It should
    depend on its arguments alone and not change them. ``name``: other than the function's. Raises
    InvalidError for what is no function that returns its result.
    """
    if function is None:
        return functools.partial(_stage, name=name)
    return _stage(function, name)


def _stage(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    late = inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)
    if late or not callable(function) or isinstance(function, type):
        raise InvalidError(f"{function!r} is no stage: mark a function that returns tables")
    title = str(name or getattr(function, "__name__", type(function).__name__))

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        recorder = _RECORDER.get()
        if recorder is None:
            return function(*args, **kwargs)
        return recorder.call(title, function, args, kwargs)

    return run


@contextmanager
def recorded(recorder: Recorder) -> Iterator[StageGraph]:
    """Record the stages that run in the block, in this thread."""
    token = _RECORDER.set(recorder)
    try:
        yield recorder.graph
    finally:
        _RECORDER.reset(token)
    recorder.close()


class Recorder:
    """Makes the graph of a pipeline while it runs, and keeps its tables.

    ``store``: where; None: nowhere. ``keep``: patterns of the tables that are kept, None for all.
    ``row_id``: the column that has the ids of the rows of sources; without it their index where
    that is of distinct integers, else positions. ``known``: names of sources. ``watch`` is called
    with each table, as it is in the graph, as it is kept and as the pipeline has it. Not thread-
    safe: a pipeline runs in one thread.
    """

    def __init__(
        self,
        title: str,
        store: IntermediateStore | None,
        *,
        keep: Sequence[str] | None = None,
        row_id: str | None = None,
        known: Mapping[str, Any] | None = None,
        watch: Callable[[Table, Encoded, Any], None] | None = None,
    ) -> None:
        self.graph = StageGraph(title)
        self.store = None if store is None or store.readonly else store
        self.keep = keep
        self.watch = watch
        self.row_id = row_id
        self._titles = {id(value): name for name, value in (known or {}).items()}
        self._objects: dict[int, str] = {}  # tables by id, which is believed with equal content
        self._contents: dict[str, str] = {}
        self._fitted: dict[int, str] = {}
        self._counts: dict[str, int] = {}
        self._prints: dict[int, tuple[Any, str]] = {}
        self._closed = False

    def call(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        names: Callable[[Any], Sequence[str] | None] | None = None,
    ) -> Any:
        """Run a stage; return what it gives. ``names``: of the columns of an array that it gives.

        Raises CaptureError for a table that can't be kept.
        """
        if self._closed:
            raise ClosedError(f"the recording of {self.graph.title!r} has ended")
        inputs: dict[str, Rows] = {}
        arguments = self._arguments(function, args, kwargs, inputs)
        before = _RECORDER.set(None)  # stages inside of a stage are part of it
        try:
            result, seconds = timed(lambda: function(*args, **kwargs))
        finally:
            _RECORDER.reset(before)
        call = Call(name, function, arguments, seconds, names(result) if names else None)
        title = self._unique(name)
        found = dict(_leaves(result, ()))
        code = self._code(call)
        for path, value in found.items():
            own = ".".join([title, *map(str, path)])
            if is_table(value):
                self._table(own, value, call, path, code, inputs)
            elif not isinstance(value, _PLAIN):
                self._object(own, value, call, path)
        return result

    def close(self) -> None:
        """Keep the graph, so that it can be opened again later; no more stages."""
        self._closed = True
        if self.store is not None and self.keep is None and self.graph.tables:
            stage_archive.save(self.graph, self.store)

    # -- arguments ---------------------------------------------------------------------------------

    def _arguments(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: dict[str, Rows],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with references for tables and fitted objects."""
        try:
            bound = inspect.signature(function).bind(*args, **kwargs).arguments
            titles = {id(value): name for name, value in bound.items()}
        except (TypeError, ValueError):
            titles = {}
        lengths = {row_count(one) for one in _frames((args, kwargs))}

        def taken(value: Any) -> Any:
            if id(value) in self._fitted:  # the graph holds it, so no other has its id
                return Ref(self._fitted[id(value)])
            if is_table(value):
                name = self._input(value, titles.get(id(value), "table"), lengths, inputs)
                return value if name is None else Ref(name)
            if type(value) in (list, tuple):
                return type(value)(taken(one) for one in value)
            if type(value) is dict:
                return {key: taken(one) for key, one in value.items()}
            return value

        return taken(args), taken(kwargs)

    def _input(
        self, value: Any, title: str, lengths: set[int], inputs: dict[str, Rows]
    ) -> str | None:
        """Return the name of a table that a stage takes; None: it is a parameter of the stage."""
        flat = isinstance(value, np.ndarray) and value.ndim == 1
        table = encode(_as_it_is_now(value))
        name = self._objects.get(id(value))
        if name is None or self.graph.tables[name].content != table.content:
            name = self._contents.get(table.content)
        if name is None:
            if flat and len(value) not in lengths:
                return None
            name = self._source(self._titles.get(id(value), title), value, table)
        inputs[name] = Rows(table, self.graph.tables[name].ids)
        return name

    def _source(self, title: str, value: Any, table: Encoded) -> str:
        name = self._unique(title)
        ids = source_ids(table, self.row_id)
        key = Key(fingerprint_of("source"), name, table.content)
        self.graph.sources[name] = value
        self._keep(self._add(name, value, table, key, ids, "source"), table)
        return name

    # -- what a stage gives ------------------------------------------------------------------------

    def _table(
        self, name: str, value: Any, call: Call, path: Path, code: str, inputs: dict[str, Rows]
    ) -> None:
        table, convert = timed(lambda: encode(value, call.names))
        found = trace(list(inputs.values()), table)
        model = fingerprint_of(code, repr(path), table.content)
        key = Key(model, name, self._data(call))
        made = self._add(name, value, table, key, found.ids, found.how)
        made.call, made.path, made.convert = call, path, convert
        self._keep(made, table)

    def _add(self, name: str, value: Any, table: Encoded, key: Key, ids: Ids, how: str) -> Table:
        brief = without_index(table, ids)
        made = Table(name, key, brief.form, brief.schema, ids, how, table.content)
        self.graph.tables[name] = made
        self._objects[id(value)] = self._contents[table.content] = name
        if self.watch is not None:
            self.watch(made, table, value)
        return made

    def adopt(self, name: str, value: Any) -> None:
        """Keep an object that no stage made and stages take: a fitted step."""
        if id(value) not in self._fitted:
            self._object(self._unique(name), value, None, ())

    def _object(self, name: str, value: Any, call: Call | None, path: Path) -> None:
        """Keep a fitted object; one that can't be pickled lives as long as this process."""
        try:
            content = pickle.dumps(value, protocol=5)
        except Exception:
            content = b""
        pickled = None
        if content and self.store is not None:
            pickled = blobs.put(self.store, content, blobs.PICKLE)
        print_of = blobs.name_of(content) if content else fingerprint.of(value)
        self.graph.fitted[name] = Fitted(name, value, call, path, print_of, pickled)
        self._fitted[id(value)] = name

    def _keep(self, made: Table, table: Encoded) -> None:
        store = self.store
        wanted = self.keep is None or any(fnmatch(made.name, one) for one in self.keep)
        if store is None or not wanted or store.find(made.key):
            return
        labels = {
            "pipeline": self.graph.title,
            "stage": made.call.stage if made.call else "source",
            "rows": made.how,
            "content": made.content,
            "schema": put_schema(store, made.schema),
            "complete": True,
        }
        parents = self.graph.parents(made.name)
        seconds = self.graph.seconds(made.name, len(made.ids), frozenset())
        values = without_index(table, made.ids).values
        with store.writer(
            made.key, made.form, labels=labels, parents=parents, seconds=seconds
        ) as writer:
            writer.append(made.ids, values)

    # -- names and fingerprints --------------------------------------------------------------------

    def _unique(self, name: str) -> str:
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _code(self, call: Call) -> str:
        """Return the fingerprint of a stage's code, its parameters and its ancestors."""
        known = self._prints.get(id(call.function))
        if known is None or known[0] is not call.function:
            known = call.function, fingerprint.of(call.function)
            self._prints[id(call.function)] = known
        return fingerprint.of(known[1], replaced(call.arguments, Ref, self._print_of))

    def _print_of(self, ref: Ref) -> str:
        table = self.graph.tables.get(ref.name)
        if table is None:
            return self.graph.fitted[ref.name].content
        return f"{table.key.model} {table.key.data}"

    def _data(self, call: Call) -> str:
        """Return the fingerprint of the sources that a call descends from."""
        found: set[str] = set()
        stack, seen = [call], set()
        while stack:
            one = stack.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            for ref in refs(one.arguments):
                table = self.graph.tables.get(ref.name)
                made = self.graph.fitted[ref.name].call if table is None else table.call
                if made is not None:
                    stack.append(made)
                elif table is not None:
                    found.add(table.content)
        return fingerprint_of(*sorted(found))


def _as_it_is_now(value: Any) -> Any:
    """Return a table that a stage can't change in place: what it made is traced to this."""
    if isinstance(value, np.ndarray):
        return value.copy(order="K")
    return {name: c.copy() for name, c in value.items()} if isinstance(value, dict) else value


def _leaves(result: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield what a stage gave: itself, or what is in its tuples, lists and dicts."""
    if is_table(result) or not isinstance(result, tuple | list | dict):
        yield path, result
    elif isinstance(result, dict):
        for name, one in result.items():
            yield from _leaves(one, (*path, name))
    else:
        for at, one in enumerate(result):
            yield from _leaves(one, (*path, at))


def _frames(value: Any) -> Iterator[Any]:
    """Yield the tables among arguments that are no flat arrays: these may be parameters."""
    if is_table(value):
        if not (isinstance(value, np.ndarray) and value.ndim == 1):
            yield value
    elif type(value) in (list, tuple):
        for one in value:
            yield from _frames(one)
    elif type(value) is dict:
        for one in value.values():
            yield from _frames(one)


def _fits(pipeline: Callable[..., Any], data: Mapping[str, Any]) -> bool:
    """Whether a dict has the arguments of a pipeline; a table of that kind is one argument."""
    try:
        inspect.signature(pipeline).bind(**data)
    except (TypeError, ValueError):
        return not is_table(data)
    return True


def run(
    pipeline: Callable[..., Any],
    data: Any,
    store: IntermediateStore | None,
    *,
    keep: Sequence[str] | None = None,
    row_id: str | None = None,
) -> StageGraph:
    """Run a function that calls stages; return their graph.

    ``data``: a dict of tables, given as keyword arguments, or what is given as its only argument.
    Raises CaptureError for a table that can't be kept.
    """
    function = pipeline.func if isinstance(pipeline, functools.partial) else pipeline
    title = getattr(function, "__name__", type(pipeline).__name__)
    named = isinstance(data, Mapping) and _fits(pipeline, data)
    recorder = Recorder(title, store, keep=keep, row_id=row_id, known=data if named else None)
    with recorded(recorder) as graph:
        if named:
            pipeline(**data)
        else:
            pipeline(data)
    return graph
