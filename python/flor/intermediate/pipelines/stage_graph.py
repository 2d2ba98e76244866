"""A pipeline as the graph of its stages: what each was called with, and how to run one again.

Thread-safe as far as the stages are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import ChangedError, InvalidError, LayerNotFoundError
from flor.intermediate.forms import Form, Key
from flor.intermediate.pipelines.tables import (
    Encoded,
    column_of,
    encode,
    select_rows,
    table_of,
    without_index,
)
from flor.intermediate.planning.selection import nearest
from flor.intermediate.storage.kept import Kept

Ids = NDArray[np.int64]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Ref:
    """Stands for a table or a fitted object of the graph among arguments."""

    name: str


@dataclass
class Call:
    """One run of a stage. ``arguments``: (args, kwargs) with references for what stages made.

    ``names``: of the columns of an array that it gives. ``seconds``: what it took.
    """

    stage: str
    function: Callable[..., Any]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    seconds: float = 0.0
    names: Sequence[str] | None = None


@dataclass
class Table:
    """A table of the graph: a source, or what a call gave at ``path`` of its result.

    ``content``: fingerprint of the values. ``how``: how its row ids were found. ``convert``:
    seconds from the user's table to what is kept.
    """

    name: str
    key: Key
    form: Form
    schema: dict[str, Any]
    ids: Ids
    how: str
    content: str
    call: Call | None = None
    path: Path = ()
    convert: float = 0.0


@dataclass
class Fitted:
    """An object that a stage gave or takes: a fitted transformer, a model.

    ``call``: None for one that was given from outside. ``content``: fingerprint. ``pickled``: its
    name in the store. ``load``: has it from there; None where nobody allowed that.
    """

    name: str
    value: Any
    call: Call | None
    path: Path
    content: str
    pickled: str | None = None
    load: Callable[[], Any] | None = None

    @property
    def at_hand(self) -> bool:
        """Whether it can be had without running the stage that gave it."""
        return self.value is not None or self.load is not None

    def get(self) -> Any:
        """Return the object."""
        if self.value is None and self.load is not None:
            self.value = self.load()
        return self.value


@dataclass
class StageGraph:
    """Tables, fitted objects and the calls between them: a Computation (see computation.py)."""

    title: str
    tables: dict[str, Table] = field(default_factory=dict)
    fitted: dict[str, Fitted] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def row_ids(self) -> Ids:
        """The ids of all rows of all tables."""
        every = [table.ids for table in self.tables.values()]
        return np.unique(np.concatenate(every)) if every else np.zeros(0, np.int64)

    def layers(self) -> list[str]:
        """Return the names of the tables, sources included."""
        return list(self.tables)

    def table(self, layer: str) -> Table:
        """Return a table; raises LayerNotFoundError."""
        found = self.tables.get(layer)
        if found is None:
            known = list(self.tables)
            raise LayerNotFoundError(
                f"no stage {layer!r} ran in {self.title!r}{nearest(layer, known)}; there are "
                + (", ".join(known) or "none")
            )
        return found

    def key(self, layer: str) -> Key:
        """Return the name of a table's values by content."""
        return self.table(layer).key

    def form(self, layer: str) -> Form:
        """Return how a table is kept."""
        return self.table(layer).form

    def rows(self, layer: str) -> Ids:
        """Return the ids of a table's rows, in order."""
        return self.table(layer).ids

    def how(self, layer: str) -> str:
        """Return how the row ids were found; ``new rows`` are numbered from 0."""
        return self.table(layer).how

    def parents(self, layer: str) -> list[str]:
        """Return the tables that a stage took, and those that what it took was fitted to, where
        the fitted object is not at hand.
        """
        call = self.table(layer).call
        return [] if call is None else list(dict.fromkeys(self._taken(call)))

    def together(self, rows: Ids | None) -> Ids | None:
        """Return None: a stage sees all rows at once."""
        return None

    def compute(self, layer: str, rows: Ids | None, given: Mapping[str, Any]) -> tuple[Ids, Any]:
        """Run stages until the table is there; return (row ids, values as they are kept).

        ``given``: kept values of all rows of tables. Raises ChangedError when the outcome is not
        what it was: a stage that draws random numbers, or reads what is not among its arguments.
        """
        table = self.table(layer)
        found = self._run(table, dict(given))
        if found.content != table.content:
            raise ChangedError(
                f"stage {layer!r} gives other values than when it ran: it draws random numbers "
                "without a seed, changes its arguments, depends on what is not among them, or its "
                "fitted object computes other last bits since it was unpickled"
            )
        values = without_index(found, table.ids).values
        if rows is None:
            return table.ids, values
        at = places_of(table.ids, rows)
        return table.ids[at], select_rows(values, at)

    def seconds(self, layer: str, rows: int, given: Set[str]) -> float:
        """Return how long that takes: the stages run when they were recorded, and conversion."""
        converted = self.table(layer).convert + sum(self.table(name).convert for name in given)
        return converted + sum(call.seconds for call in self._needed(layer, given))

    def column(self, layer: str, name: str, values: Any) -> Any:
        """Return a kept column as the pipeline has it: texts for codes, missing values as such.

        Integers beside missing values, which NumPy would make floats, are objects where a float
        does not hold them.
        """
        found = column_of(self.table(layer).schema, name, values)
        mask = getattr(found, "_mask", None)
        if mask is None or not mask.any() or found.dtype.kind not in "iu":
            return found
        wide = (np.abs(found._data.astype(float)) > 1 << 53).any()
        return found.to_numpy(object) if wide else found

    def as_table(self, layer: str, values: Any) -> Any:
        """Return kept values of all rows as the table that the stage gave."""
        table = self.table(layer)
        return table_of(table.schema, values, table.ids)

    def _taken(self, call: Call) -> Iterator[str]:
        for ref in refs(call.arguments):
            if ref.name in self.tables:
                yield ref.name
            else:
                fitted = self.fitted[ref.name]
                if not fitted.at_hand and fitted.call is not None:
                    yield from self._taken(fitted.call)

    def _fits(self, call: Call) -> Iterator[Call]:
        """Yield the call and those that fit anew what it takes."""
        yield call
        for ref in refs(call.arguments):
            fitted = self.fitted.get(ref.name)
            if fitted is not None and not fitted.at_hand and fitted.call is not None:
                yield from self._fits(fitted.call)

    def _needed(self, layer: str, given: Set[str]) -> list[Call]:
        """Return the calls that run, each once."""
        calls: dict[int, Call] = {}
        stack, seen = [layer], set(given)
        while stack:
            name = stack.pop()
            call = self.table(name).call
            if name in seen or call is None:
                continue
            seen.add(name)
            calls |= {id(one): one for one in self._fits(call)}
            stack += self.parents(name)
        return list(calls.values())

    def _run(self, table: Table, given: dict[str, Any]) -> Encoded:
        made: dict[str, Any] = {
            name: self.as_table(name, values)
            for name, values in given.items()
            if name != table.name and self._usable(name, values)
        }
        results: dict[int, Any] = {}
        names = table.call.names if table.call else None
        return encode(self._make(table, made, results), names)

    def _usable(self, name: str, values: Any) -> bool:
        """Whether kept values are all rows, in a form that makes the same table again."""
        table = self.table(name)
        first = next(iter(values.values()), ()) if isinstance(values, dict) else values
        return len(first) == len(table.ids) and table.schema.get("canonical", True) is True

    def _make(self, table: Table, made: dict[str, Any], results: dict[int, Any]) -> Any:
        if table.name not in made:
            if table.call is None:
                made[table.name] = self._source(table)
            else:
                result = self._result(table.call, made, results)
                made[table.name] = at_path(result, table.path)
        return made[table.name]

    def _source(self, table: Table) -> Any:
        value = self.sources[table.name]
        if isinstance(value, Kept):
            return self.as_table(table.name, value.read()[1])
        if encode(value).content != table.content:
            raise ChangedError(
                f"the data {table.name!r} changed since the pipeline ran: give a stage a copy of "
                "what it changes, or run the pipeline again"
            )
        return value

    def _result(self, call: Call, made: dict[str, Any], results: dict[int, Any]) -> Any:
        if id(call) not in results:

            def value_of(ref: Ref) -> Any:
                fitted = self.fitted.get(ref.name)
                if fitted is None:
                    return self._make(self.tables[ref.name], made, results)
                if fitted.at_hand:
                    return fitted.get()
                return at_path(self._fit(fitted, made, results), fitted.path)

            args, kwargs = replaced(call.arguments, Ref, value_of)
            results[id(call)] = call.function(*args, **kwargs)
        return results[id(call)]

    def _fit(self, fitted: Fitted, made: dict[str, Any], results: dict[int, Any]) -> Any:
        if fitted.call is None:
            raise InvalidError(
                f"{fitted.name!r} is a pickle in the store, and unpickling can run any code: say "
                "trust=True if you trust who wrote the store"
            )
        return self._result(fitted.call, made, results)


def refs(arguments: Any) -> Iterator[Ref]:
    """Yield the references among arguments, also inside lists, tuples and dicts."""
    if isinstance(arguments, Ref):
        yield arguments
    elif type(arguments) in (list, tuple):
        for one in arguments:
            yield from refs(one)
    elif type(arguments) is dict:
        for one in arguments.values():
            yield from refs(one)


def replaced(arguments: Any, kind: type, value_of: Callable[[Any], Any]) -> Any:
    """Return arguments with value_of(x) for each x of a kind."""
    if isinstance(arguments, kind):
        return value_of(arguments)
    if type(arguments) in (list, tuple):
        return type(arguments)(replaced(one, kind, value_of) for one in arguments)
    if type(arguments) is dict:
        return {name: replaced(one, kind, value_of) for name, one in arguments.items()}
    return arguments


def at_path(result: Any, path: Path) -> Any:
    """Return what stands at a path of tuples, lists and dicts."""
    for step in path:
        result = result[step]
    return result


def places_of(ids: Ids, rows: Any) -> Ids:
    """Return where these row ids are, in the order asked; those that are not there are left out."""
    wanted = np.asarray(rows, np.int64)
    if not len(ids):
        return np.zeros(0, np.int64)
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    found: Ids = order[at]
    there: Ids = found[ids[found] == wanted]
    return there


def fingerprint_of(*parts: str) -> str:
    """Return one fingerprint for several, 32 hexadecimal digits."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds it took."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start
