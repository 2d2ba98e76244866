"""A SQL query as DuckDB's own syntax tree: which tables it names, and which rows it can reach.

``logs.value`` holds values of several kinds, SQL columns are of one. So every mention of ``logs``
is looked at on its own: the conditions that decide its rows (``name = 'loss'``) tell which kinds
can come out, and the mention is bound to a table in which ``value`` has exactly that type. See
docs/decisions/0005-sql-values.md.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flor.errors import InvalidError

Node = dict[str, Any]

# Functions that may decide rows: same result every time, no effect.
_PURE = frozenset(
    [
        "~~",
        "!~~",
        "~~*",
        "!~~*",
        "~~~",
        "like_escape",
        "regexp_matches",
        "regexp_full_match",
        "contains",
        "starts_with",
        "prefix",
        "suffix",
        "lower",
        "upper",
        "trim",
        "length",
        "len",
        "strlen",
        "struct_extract",
        "array_extract",
        "list_extract",
        "list_contains",
        "array_contains",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "abs",
        "floor",
        "ceil",
        "round",
        "substr",
        "substring",
        "replace",
        "split_part",
    ]
)


@dataclass
class Mention:
    """One mention of a table in a FROM clause."""

    node: Node
    table: str
    alias: str
    foreign: set[str] | None = None  # columns that other tables of the FROM have; None: unknown
    conditions: list[Node] = field(default_factory=list)

    def rename(self, table: str) -> None:
        """Make the mention name another table; columns stay qualified as they were."""
        self.node["alias"] = self.alias
        self.node["table_name"] = table
        if "qualified_name" in self.node:
            self.node["qualified_name"] = {"path": [table]}


def parse(connection: Any, query: str) -> Node | None:
    """Return the tree of a single SELECT; None for what DuckDB has no tree for (PIVOT, SET, …).

    Raises InvalidError for text that is no SQL, or more than one statement.
    """
    import duckdb

    try:
        duckdb.extract_statements(query)
        text = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0][0]
    except duckdb.ParserException as cause:
        raise InvalidError(f"not SQL that DuckDB reads: {cause}") from None
    except duckdb.Error:
        return None
    tree: Node = json.loads(text)
    if tree.get("error"):
        return None
    if len(tree["statements"]) != 1:
        raise InvalidError(f"one SQL statement at a time, not {len(tree['statements'])}")
    return tree


def deparse(connection: Any, tree: Node) -> str:
    """Return the SQL text of a tree."""
    rows = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
    return str(rows[0][0])


def walk(node: Any) -> Iterator[Node]:
    """Yield every node of a tree, outer ones first."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def mentions(tree: Node, tables: dict[str, set[str]]) -> list[Mention]:
    """Return where the tree names one of ``tables``, with the conditions that decide its rows.

    ``tables`` gives the columns of each table, in lower case.
    """
    shadowed = {
        str(entry["key"]).lower()
        for node in walk(tree)
        if isinstance(node.get("cte_map"), dict)
        for entry in node["cte_map"].get("map", [])
    }
    found: dict[int, Mention] = {}
    for node in walk(tree):
        name = str(node.get("table_name", "")).lower()
        if node.get("type") == "BASE_TABLE" and name in tables.keys() - shadowed:
            found[id(node)] = Mention(node, name, node.get("alias") or node["table_name"])
    for node in walk(tree):
        if node.get("type") == "SELECT_NODE" and isinstance(node.get("from_table"), dict):
            source = node["from_table"]
            leaves = [found.get(id(leaf)) for leaf in _leaves(source)]
            for table, conditions in _reached(source, conjuncts(node.get("where_clause"))):
                if id(table) in found:
                    mention = found[id(table)]
                    mention.conditions = conditions
                    mention.foreign = _others_columns(mention, leaves, tables)
    return list(found.values())


def _leaves(source: Node) -> Iterator[Node]:
    if source.get("type") == "JOIN":
        yield from _leaves(source["left"])
        yield from _leaves(source["right"])
    else:
        yield source


def _others_columns(
    mention: Mention, leaves: list[Mention | None], tables: dict[str, set[str]]
) -> set[str] | None:
    others = [leaf for leaf in leaves if leaf is not mention]
    if any(leaf is None for leaf in others):
        return None
    return {column for leaf in others if leaf for column in tables[leaf.table]}


def conjuncts(condition: Node | None) -> list[Node]:
    """Return the conditions that a condition is the AND of."""
    if not condition:
        return []
    if condition.get("type") == "CONJUNCTION_AND":
        return [part for child in condition["children"] for part in conjuncts(child)]
    return [condition]


def _reached(source: Node, conditions: list[Node]) -> Iterator[tuple[Node, list[Node]]]:
    """Yield the tables joined in a FROM clause, each with conditions that all its rows must meet.

    A condition after an outer join does not decide the rows of the side that may be missing.
    """
    if source.get("type") == "BASE_TABLE":
        yield source, conditions
    if source.get("type") != "JOIN":
        return
    on = conjuncts(source.get("condition"))
    sides = {
        "INNER": (conditions + on, conditions + on),
        "LEFT": (conditions, on),
        "RIGHT": (on, conditions),
        "SEMI": (conditions + on, on),
        "ANTI": (conditions, on),
    }
    left, right = sides.get(str(source.get("join_type")), ([], []))
    yield from _reached(source["left"], left)
    yield from _reached(source["right"], right)


def row_condition(mention: Mention, columns: set[str]) -> Node | None:
    """Return the AND of the conditions that only ``columns`` of this mention decide; None: none."""
    kept = [c for c in mention.conditions if _decides(c, mention, columns)]
    if not kept:
        return None
    kept = copy.deepcopy(kept)
    if len(kept) == 1:
        return kept[0]
    return {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": kept}


def _decides(condition: Node, mention: Mention, columns: set[str]) -> bool:
    for node in walk(condition):
        kind = node.get("class")
        if kind in ("SUBQUERY", "WINDOW", "LAMBDA", "PARAMETER", "STAR"):
            return False
        if kind == "FUNCTION" and str(node.get("function_name")).lower() not in _PURE:
            return False
        if kind == "COLUMN_REF" and column_of(node, mention) not in columns:
            return False
    return True


def column_of(node: Node, mention: Mention) -> str | None:
    """Return which column of the mentioned table a column reference means; None: none for sure."""
    names = [str(name).lower() for name in node["column_names"]]
    if len(names) > 1 and names[0] == mention.alias.lower():
        return names[1]
    known = mention.foreign is not None and names[0] not in mention.foreign
    return names[0] if known else None


def names_column(tree: Node, mention: Mention, column: str) -> bool:
    """Return whether a column reference in the tree may mean this column of the mention."""
    for node in walk(tree):
        if node.get("class") == "COLUMN_REF":
            unsure = mention.foreign is None and str(node["column_names"][-1]).lower() == column
            if unsure or column_of(node, mention) == column:
                return True
    return False


def replace_columns(tree: Node, columns: dict[str, str]) -> None:
    """Turn ``context.LOOP`` into the column that holds the iteration of LOOP, everywhere."""
    for node in walk(tree):
        names = node.get("column_names")
        if isinstance(names, list) and len(names) > 1 and str(names[-2]).lower() == "context":
            column = columns.get(str(names[-1]).lower())
            if column is not None:
                node["column_names"] = [*names[:-2], column]
