"""scikit-learn pipelines taken apart: every fitted step is a stage that runs again alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from flor.errors import ChangedError, InvalidError, LayerNotFoundError
from flor.intermediate.pipelines.pipeline import graph_of, intermediates_of
from flor.intermediate.pipelines.stage_archive import open_graph
from flor.intermediate.storage.store import IntermediateStore

ROWS = 120


def table():
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "a": rng.normal(size=ROWS),
            "b": rng.integers(0, 5, ROWS).astype(float),
            "c": rng.choice(["x", "y", "z"], ROWS),
            "t": rng.choice(["red fox", "blue dog"], ROWS),
        },
        index=np.arange(ROWS)[::-1] * 2,
    )
    found.loc[4, "a"] = np.nan
    return found


def goal():
    return (table()["b"] > 2).astype(int)


def nested(**options):
    numbers = Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())])
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["a", "b"]),
            ("kinds", OneHotEncoder(), ["c"]),
            ("words", CountVectorizer(), "t"),
            ("gone", "drop", ["a"]),
        ],
        remainder="passthrough",
        sparse_threshold=0.9,
        **options,
    )
    both = FeatureUnion([("same", FunctionTransformer()), ("double", FunctionTransformer(double))])
    steps = [("columns", columns), ("both", both), ("none", "passthrough")]
    return Pipeline([*steps, ("model", LogisticRegression())]).fit(table(), goal())


def double(values):
    return values * 2


@pytest.fixture
def store(tmp_path):
    with IntermediateStore.open(tmp_path, create=True) as store:
        yield store


def test_steps_of_a_nested_pipeline(store):
    pipe, data = nested(), table()
    graph = graph_of(pipe, data, store)
    assert graph.layers() == [
        "input", "columns.numbers.input", "columns.numbers.impute", "columns.numbers.scale",
        "columns.kinds.input", "columns.kinds", "columns.words.input", "columns.words", "columns",
        "both.same", "both.double", "both", "model", "model.predict_proba",
        "model.decision_function",
    ]  # fmt: skip
    names = [part.name for part in graph.form("columns").parts]
    assert names == pipe.named_steps["columns"].get_feature_names_out().tolist()
    assert graph.parents("columns.numbers.scale") == ["columns.numbers.impute"]
    for layer in graph.layers():
        ids, values = store.find(graph.key(layer))[0].read()
        assert ids.tolist() == data.index.tolist()
        parents = {name: store.find(graph.key(name))[0].read()[1] for name in graph.parents(layer)}
        for given in ({}, parents):
            again = graph.compute(layer, None, given)[1]
            assert all(np.array_equal(again[n], c, equal_nan=True) for n, c in values.items())
    predicted = store.find(graph.key("model"))[0].read()[1]["value"]
    assert np.array_equal(predicted, pipe.predict(data))
    chances = graph.compute("model.predict_proba", [4, 0], {})[1]
    assert np.array_equal(
        np.stack(list(chances.values()), axis=1), pipe.predict_proba(data)[[-3, -1]]
    )


def test_a_sparse_step_comes_back_sparse(store):
    pipe = nested()
    graph = graph_of(pipe, table(), store)
    found = graph.as_table("columns", store.find(graph.key("columns"))[0].read()[1])
    wanted = pipe.named_steps["columns"].transform(table())
    assert type(found) is type(wanted) and (found != wanted).nnz == 0


def test_pandas_output_and_arrays(store):
    pipe = make_pipeline(StandardScaler(), PCA(2, svd_solver="full"))
    values = table()[["a", "b"]].fillna(0).to_numpy()
    graph = graph_of(pipe.fit(values), values, store)
    assert [part.name for part in graph.form("pca").parts] == ["pca0", "pca1"]
    assert graph.rows("pca").tolist() == list(range(ROWS))
    pipe = make_pipeline(StandardScaler()).set_output(transform="pandas")
    frame = table()[["a", "b"]]
    graph = graph_of(pipe.fit(frame), frame, store)
    found = graph.as_table("standardscaler", graph.compute("standardscaler", None, {})[1])
    pd.testing.assert_frame_equal(found, pipe.transform(frame))


def test_the_best_of_a_search(store):
    pipe = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
    search = GridSearchCV(pipe, {"model__C": [0.1, 1.0]}, cv=2).fit(table()[["b"]], goal())
    graph = graph_of(search, table()[["b"]], store)
    predicted = store.find(graph.key("model"))[0].read()[1]["value"]
    assert np.array_equal(predicted, search.predict(table()[["b"]]))


def test_opened_later(store):
    graph_of(nested(), table(), store)
    later = open_graph(store, "Pipeline")
    with pytest.raises(InvalidError, match="is a pickle in the store.*trust=True"):
        later.compute("columns.kinds", None, {})
    trusted = open_graph(store, "Pipeline", trust=True)
    for layer in trusted.layers():
        assert trusted.compute(layer, None, {})[0].tolist() == table().index.tolist()


def test_errors(store):
    with pytest.raises(InvalidError, match="Pipeline is not fitted yet: call its fit first"):
        graph_of(Pipeline([("scale", StandardScaler())]), table(), store)
    with pytest.raises(InvalidError, match="takes one table, not dict"):
        graph_of(nested(), {"a": table()}, store)
    with pytest.raises(InvalidError, match="kept exactly"):
        intermediates_of(nested(), table(), store=store, code="affine8")
    with pytest.raises(LayerNotFoundError, match=r"no stage 'colums'.*nearest: columns"):
        graph_of(nested(), table(), store, layers="colums")
    pipe = nested()
    graph = graph_of(pipe, table(), None)
    pipe.named_steps["columns"].named_transformers_["numbers"]["scale"].mean_ += 1
    with pytest.raises(ChangedError, match="gives other values than when it ran"):
        graph.compute("columns.numbers.scale", None, {})
