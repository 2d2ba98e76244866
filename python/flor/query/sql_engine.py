"""SQL over a store: the tables logs, wide, runs and checkpoints, through DuckDB.

A query builds only the tables it names. See ``sql_tree`` for how ``logs.value`` gets its type.
"""

from __future__ import annotations

import re
from functools import cached_property

import duckdb
import pyarrow as pa

from flor.errors import InvalidError
from flor.layout import StoreLayout
from flor.query.cells import is_json
from flor.query.kinds import MIXED_PREFIX, is_mixed
from flor.query.log_tables import wide_table
from flor.query.narrow import narrowed
from flor.query.run_tables import CHECKPOINT_SCHEMA, checkpoints_table, runs_table
from flor.query.sql_logs import LOGS, PSEUDO, SqlLogs
from flor.query.sql_mixed import MixedUse
from flor.query.sql_tree import (
    Mention,
    Node,
    deparse,
    mentions,
    names_column,
    parse,
    replace_columns,
    row_condition,
    walk,
)
from flor.query.store import Blobs
from flor.query.table import Table

_RUNS = [
    "run",
    "script",
    "argv",
    "status",
    "started",
    "seconds",
    "version",
    "parent",
    "args",
    "modules",
    "inputs",
]


def run_sql(layout: StoreLayout, query: str) -> Table:
    """Answer one SQL statement; raises InvalidError with DuckDB's words for one it can't answer."""
    return _Query(layout, query).answer()


class _Query:
    def __init__(self, layout: StoreLayout, query: str) -> None:
        self._layout = layout
        self._blobs = Blobs(layout.root)
        self._text = query
        self._connection = duckdb.connect(":memory:")

    def answer(self) -> Table:
        try:
            tree = parse(self._connection, self._text)
            if tree is None:
                self._bind_by_name()
                text = self._text
            else:
                self._bind_by_tree(tree)
                text = deparse(self._connection, tree)
            relation = self._connection.sql(text)
            if relation is None:
                return Table(pa.table({}), self._blobs)
            kinds = [str(kind) for kind in relation.types]
            return Table(narrowed(relation.to_arrow_table(), kinds), self._blobs)
        except duckdb.Error as cause:
            raise InvalidError(self._told(cause)) from None
        finally:
            self._connection.close()

    def _told(self, cause: duckdb.Error) -> str:
        text = str(cause).partition("\tCandidate functions")[0].rstrip()
        if f"STRUCT({MIXED_PREFIX}" in text:  # a mixed value, used through a subquery
            return self._logs.problem
        return f"DuckDB: {text}"

    def _bind_by_name(self) -> None:
        """Bind the tables whose names occur in a statement that has no tree."""
        words = {word.lower() for word in re.findall(r"\w+", self._text)}
        for table in ("logs", "wide", "runs", "checkpoints"):
            if table in words:
                arrow = self._logs.bound(None) if table == "logs" else self._plain(table)
                register(self._connection, table, arrow)

    def _bind_by_tree(self, tree: Node) -> None:
        if any(_is_table(node, "logs") for node in walk(tree)):
            replace_columns(tree, {k.lower(): v for k, v in self._logs.loop_columns.items()})
        found = mentions(tree, self._known(tree))
        logs = {
            f"__logs_{number}": (mention, self._logs.bound(self._kinds_in_reach(mention)))
            for number, mention in enumerate(found)
            if mention.table == "logs"
        }
        self._guard(tree, [m for m, arrow in logs.values() if is_mixed(_value_type(arrow))])
        asked = {str(n).lower() for node in walk(tree) for n in node.get("column_names") or []}
        for name, (mention, arrow) in logs.items():
            mention.rename(name)
            register(
                self._connection,
                name,
                arrow.drop_columns([p for p in PSEUDO if not names_column(tree, mention, p)]),
            )
        starred = any(node.get("class") == "STAR" for node in walk(tree))
        for table in {mention.table for mention in found} - {"logs"}:
            wide = table == "wide"
            arrow = self._wide(set() if starred else asked) if wide else self._plain(table)
            register(self._connection, table, arrow)

    def _known(self, tree: Node) -> dict[str, set[str]]:
        logs = {*LOGS, *PSEUDO}
        if any(_is_table(node, "logs") for node in walk(tree)):
            logs |= {column.lower() for column in self._logs.loop_columns.values()}
        return {
            "logs": logs,
            "wide": set(),
            "runs": set(_RUNS),
            "checkpoints": set(CHECKPOINT_SCHEMA.names),
        }

    def _kinds_in_reach(self, mention: Mention) -> set[int] | None:
        base = self._logs.base
        condition = row_condition(mention, {c.lower() for c in base.column_names} - {"__kind"})
        if condition is None:
            return None
        name = '"' + mention.alias.replace('"', '""') + '"'
        tree = parse(self._connection, f"SELECT DISTINCT __kind FROM __rows AS {name} WHERE true")
        assert tree is not None
        tree["statements"][0]["node"]["where_clause"] = condition
        try:
            register(self._connection, "__rows", base)
            rows = self._connection.execute(deparse(self._connection, tree)).fetchall()
        except duckdb.Error:  # told by the query itself
            return None
        return {int(row[0]) for row in rows}

    def _guard(self, tree: Node, mixed: list[Mention]) -> None:
        """Give uses of a mixed value their meaning, or refuse them."""
        if not mixed:
            return
        for node in walk(tree):
            if node.get("type") == "SELECT_NODE":
                tables = _direct(node)
                here = [m for m in mixed if any(table is m.node for table in tables)]
                if here:
                    MixedUse(self._connection, here, self._logs.problem).rewrite(node)

    @cached_property
    def _logs(self) -> SqlLogs:
        return SqlLogs(self._layout, self._blobs)

    def _plain(self, table: str) -> pa.Table:
        if table == "wide":
            return self._wide(set())
        build = runs_table if table == "runs" else checkpoints_table
        return build(self._layout).arrow()

    def _wide(self, asked: set[str]) -> pa.Table:
        """Return the wide table of the names in the query, of all names when it has none."""
        parts = self._logs.parts
        every = list(dict.fromkeys(n for r in parts for n in r.table["name"].unique().to_pylist()))
        names = [name for name in every if name.lower() in asked] or every
        return wide_table([records.named(names) for records in parts], names, self._blobs)


def register(connection: duckdb.DuckDBPyConnection, name: str, arrow: pa.Table) -> None:
    """Make ``arrow`` the table ``name``, JSON columns of DuckDB's own type."""
    texts = [field.name for field in arrow.schema if is_json(field)]
    connection.register(f"__arrow_{name}", arrow)
    casts = ", ".join(f'CAST("{text}" AS JSON) AS "{text}"' for text in texts)
    columns = f"* REPLACE ({casts})" if texts else "*"
    connection.execute(
        f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT {columns} FROM "__arrow_{name}"'
    )


def _is_table(node: Node, name: str) -> bool:
    return node.get("type") == "BASE_TABLE" and str(node.get("table_name")).lower() == name


def _value_type(arrow: pa.Table) -> pa.DataType:
    return arrow.schema.field("value").type


def _direct(select: Node) -> list[Node]:
    """Return the tables in the FROM clause of one SELECT itself."""
    pending, found = [select.get("from_table") or {}], []
    while pending:
        source = pending.pop()
        if source.get("type") == "JOIN":
            pending += [source["left"], source["right"]]
        else:
            found.append(source)
    return found
