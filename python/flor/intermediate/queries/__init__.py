"""Diagnostic queries, a module a family (MISTIQUE, section 3, table 1).

A query says first what it needs (``jobs``: plans over one model or two), which `explain` shows,
and answers then from what the plans give. Queries hold their arguments and no state.
"""

from __future__ import annotations

from flor.intermediate.queries.columns import ColDiff, ColDist
from flor.intermediate.queries.correlation import Corr
from flor.intermediate.queries.dissect import NetDissect
from flor.intermediate.queries.neighbours import Knn
from flor.intermediate.queries.query import Job, Query
from flor.intermediate.queries.reading import Point, Read, RowDiff
from flor.intermediate.queries.similarity import Svcca
from flor.intermediate.queries.sql import Sql
from flor.intermediate.queries.top import Above, TopK
from flor.intermediate.queries.visual import Vis

QUERIES: dict[str, type[Query]] = {
    "read": Read,
    "point": Point,
    "topk": TopK,
    "above": Above,
    "col_diff": ColDiff,
    "col_dist": ColDist,
    "knn": Knn,
    "row_diff": RowDiff,
    "vis": Vis,
    "svcca": Svcca,
    "corr": Corr,
    "netdissect": NetDissect,
    "sql": Sql,
}

__all__ = ["QUERIES", "Job", "Query"]
