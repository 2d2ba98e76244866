"""Pipelines as computations: scikit-learn estimators, taken apart, and functions that call stages.

Of a scikit-learn pipeline every fitted step is a stage, which runs again alone: ``scale``,
``columns.numbers.impute``, ``model``; a ColumnTransformer or FeatureUnion is one itself and has its
branches beside it (``columns.numbers.input``: the columns that the branch takes).
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.errors import CaptureError, InvalidError, LayerNotFoundError
from flor.intermediate.pipelines.stage_archive import open_graph
from flor.intermediate.pipelines.stage_graph import StageGraph
from flor.intermediate.pipelines.stages import Recorder, recorded, run
from flor.intermediate.pipelines.tables import is_table
from flor.intermediate.planning.selection import nearest

if TYPE_CHECKING:
    from flor.intermediate.handle import Handle
    from flor.intermediate.storage.store import IntermediateStore

_PREDICTIONS = ("predict_proba", "decision_function")


def intermediates_of(
    model: Any,
    data: Any,
    *,
    store: IntermediateStore,
    layers: Any = None,
    code: str | None = None,
    budget: int | str | None = None,
    row_id: str | None = None,
    trust: bool = False,
) -> Handle | Recording:
    """Run a pipeline over data, keep its tables and return the handle on them.

    ``model``: a fitted scikit-learn estimator, or a function that calls stages; a text: the
    pipeline of that name as it ran last; None: what runs in a ``with`` block. ``data``: a table;
    for a function its only argument, or a dict of its keyword arguments. ``layers``: names or
    patterns of the stages whose tables are kept, None for all. ``row_id``: the column that has the
    ids of rows. ``trust``: unpickle what the store has. Raises InvalidError, CaptureError,
    LayerNotFoundError.
    """
    if code not in (None, "exact"):
        raise InvalidError(f"tables of pipelines are kept exactly: leave code={code!r} out")
    from flor.intermediate.handle import Handle

    if model is None and data is not None:
        raise InvalidError(
            "intermediates of nothing? Give a network or a pipeline for these data, or run="
        )
    if model is None:
        return Recording(store, keep=_patterns(layers), row_id=row_id, budget=budget)
    if isinstance(model, str):
        if data is not None:
            raise InvalidError(f"pipeline {model!r} is opened with the data that it had: no data=")
        graph = open_graph(store, model, trust)
    else:
        graph = graph_of(model, data, store, layers=layers, row_id=row_id)
    return Handle(store, graph, budget=budget)


class Recording:
    """``with flor.intermediates() as h``: stages that run in the block; afterwards the handle.

    In the thread that entered it. A block that raises leaves nothing to ask.
    """

    def __init__(
        self,
        store: IntermediateStore,
        *,
        keep: list[str] | None,
        row_id: str | None,
        budget: int | str | None,
    ) -> None:
        self._recorder = Recorder("pipeline", store, keep=keep, row_id=row_id)
        self._store, self._budget = store, budget
        self._handle: Handle | None = None

    def __enter__(self) -> Recording:
        self._block = recorded(self._recorder)
        self._graph = self._block.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        from flor.intermediate.handle import Handle

        self._block.__exit__(*raised)
        if raised[0] is None:
            _require_stages(self._graph)
            self._handle = Handle(self._store, self._graph, budget=self._budget)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self.__dict__.get("_handle") is None:
            raise InvalidError(
                f"nothing is recorded yet, so there is no {name!r}: call stages inside `with "
                "flor.intermediates() as h:` and ask h after the block"
            )
        return getattr(self._handle, name)


def graph_of(
    model: Any,
    data: Any,
    store: IntermediateStore | None,
    *,
    layers: Any = None,
    row_id: str | None = None,
) -> StageGraph:
    """Run a pipeline and return its graph; see :func:`intermediates_of`."""
    if data is None:
        raise InvalidError("over which rows? Give data=: a table, or a dict of tables by argument")
    keep = _patterns(layers)
    if _is_estimator(model):
        graph = _of_estimator(model, data, store, keep, row_id)
    elif callable(model):
        graph = _require_stages(run(model, data, store, keep=keep, row_id=row_id))
    else:
        raise InvalidError(
            f"{type(model).__name__} is no model that flor knows: give a torch module, a fitted "
            "scikit-learn estimator, or a function that calls stages (@flor.stage)"
        )
    for pattern in keep or ():
        if not fnmatch.filter(graph.layers(), pattern):
            known = graph.layers()
            raise LayerNotFoundError(
                f"no stage {pattern!r}{nearest(pattern, known)}; there are {', '.join(known)}"
            )
    return graph


def _require_stages(graph: StageGraph) -> StageGraph:
    if not graph.tables:
        raise CaptureError(
            f"{graph.title!r} ran no stage: mark the functions that it calls with @flor.stage"
        )
    return graph


def _patterns(layers: Any) -> list[str] | None:
    if layers is None:
        return None
    found = [layers] if isinstance(layers, str) else list(layers)
    if not all(isinstance(one, str) for one in found):
        raise InvalidError(f"layers={layers!r}: stages are named by texts or patterns: 'fill*'")
    return found


def _is_estimator(model: Any) -> bool:
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(model, base.BaseEstimator)


def _of_estimator(
    model: Any,
    data: Any,
    store: IntermediateStore | None,
    keep: list[str] | None,
    row_id: str | None,
) -> StageGraph:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError) as cause:
        raise InvalidError(
            f"{type(model).__name__} is not fitted yet: call its fit first"
        ) from cause
    if not is_table(data):
        raise InvalidError(
            f"a scikit-learn pipeline takes one table, not {type(data).__name__}: give data=X"
        )
    recorder = Recorder(
        type(model).__name__, store, keep=keep, row_id=row_id, known={"input": data}
    )
    with recorded(recorder) as graph:
        _Walk(recorder).last("", model, data)
    return graph


class _Walk:
    """Applies fitted estimators, step by step, as stages."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def last(self, name: str, step: Any, table: Any) -> None:
        """Apply a step that may predict instead of transforming."""
        from sklearn.pipeline import Pipeline

        step = getattr(step, "best_estimator_", step)
        if isinstance(step, Pipeline):
            *first, (title, final) = step.steps
            for each, inner in first:
                table = self.through(_below(name, each), inner, table)
            self.last(_below(name, title), final, table)
        elif hasattr(step, "predict"):
            own = name or _title(step)
            self.apply(own, step, "predict", table)
            for method in _PREDICTIONS:
                if hasattr(step, method):
                    self.apply(f"{own}.{method}", step, method, table)
        else:
            self.through(name, step, table)

    def through(self, name: str, step: Any, table: Any) -> Any:
        """Apply a step that transforms; return its table."""
        from sklearn.compose import ColumnTransformer
        from sklearn.pipeline import FeatureUnion, Pipeline

        if step is None or isinstance(step, str):  # "passthrough"
            return table
        if isinstance(step, Pipeline):
            for each, inner in step.steps:
                table = self.through(_below(name, each), inner, table)
            return table
        if isinstance(step, ColumnTransformer):
            self._branches(name, step, table)
        elif isinstance(step, FeatureUnion):
            for each, inner in step.transformer_list:
                if not isinstance(inner, str):
                    self.through(_below(name, each), inner, table)
        return self.apply(name or _title(step), step, "transform", table)

    def _branches(self, name: str, step: Any, table: Any) -> None:
        for each, inner, columns in step.transformers_:
            if isinstance(inner, str) and inner == "drop":
                continue
            part = _below(name, each)
            mine = self.recorder.call(f"{part}.input", columns_of, (table, columns), {})
            if mine.shape[-1]:
                self.through(part, inner, mine)

    def apply(self, name: str, step: Any, method: str, table: Any) -> Any:
        """Run a fitted step's method as a stage."""
        self.recorder.adopt(f"{name}.fitted" if name else "fitted", step)
        return self.recorder.call(
            name, apply_fitted, (step, method, table), {}, lambda out: _names(step, method, out)
        )


def apply_fitted(step: Any, method: str, table: Any) -> Any:
    """Return what a method of a fitted step gives for a table."""
    return getattr(step, method)(table)


def columns_of(table: Any, columns: Any) -> Any:
    """Return columns of a table, chosen as a ColumnTransformer does."""
    from sklearn.utils import _safe_indexing

    return _safe_indexing(table, columns, axis=1)


def _below(name: str, inner: str) -> str:
    return f"{name}.{inner}" if name else inner


def _title(step: Any) -> str:
    return type(step).__name__.lower()


def _names(step: Any, method: str, out: Any) -> Sequence[str] | None:
    """Return the names of the columns that a step gives, where it says them."""
    if getattr(out, "ndim", 0) != 2 or hasattr(out, "columns"):
        return None
    names: Any = None
    if method == "transform" and hasattr(step, "get_feature_names_out"):
        try:
            names = step.get_feature_names_out()
        except (ValueError, AttributeError, NotImplementedError):  # a part of it does not say them
            return None
    elif method in _PREDICTIONS:
        names = getattr(step, "classes_", None)
    if names is None or np.ndim(names) != 1 or len(names) != out.shape[1]:
        return None
    return [str(one) for one in names]
