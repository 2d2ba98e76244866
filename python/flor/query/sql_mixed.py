"""Uses of ``value`` where the rows a query reaches hold several kinds of value.

Comparing with a number means the numbers, with a string the strings. Showing, counting and
collecting values is fine. Any other use has no one meaning and is an error that says so.
"""

from __future__ import annotations

from typing import Any

from flor.errors import InvalidError
from flor.query.sql_tree import Mention, Node, column_of, deparse, parse, walk

_KEEPS = frozenset(
    [
        "count",
        "any_value",
        "first",
        "last",
        "arbitrary",
        "list",
        "array_agg",
        "arg_max",
        "arg_min",
        "max_by",
        "min_by",
    ]
)
_ON_TEXT = frozenset(
    [
        "~~",
        "!~~",
        "~~*",
        "!~~*",
        "~~~",
        "like_escape",
        "ilike_escape",
        "regexp_matches",
        "regexp_full_match",
        "contains",
        "starts_with",
        "prefix",
        "suffix",
    ]
)
_CLAUSES = ("where_clause", "having", "qualify")


class MixedUse:
    """Rewrites one SELECT in which the ``value`` of some mentions is of several kinds."""

    def __init__(self, connection: Any, mixed: list[Mention], problem: str) -> None:
        self._connection = connection
        self._mixed = mixed
        self._problem = problem

    def rewrite(self, select: Node) -> None:
        """Rewrite a SELECT node in place; raises InvalidError for a use with no one meaning."""
        for expression in [*select.get("select_list", []), *select.get("group_expressions", [])]:
            self._visit(expression, allowed=True)
        for clause in _CLAUSES:
            self._visit(select.get(clause), allowed=False)
        for modifier in select.get("modifiers", []):
            self._visit(modifier, allowed=modifier.get("type") == "DISTINCT_MODIFIER")
        for node in walk(select.get("from_table")):
            if node.get("type") == "JOIN":
                self._visit(node.get("condition"), allowed=False)

    def _is_value(self, node: Any) -> bool:
        return (
            isinstance(node, dict)
            and node.get("class") == "COLUMN_REF"
            and str(node["column_names"][-1]).lower() == "value"
            and any(column_of(node, mention) == "value" for mention in self._mixed)
        )

    def _visit(self, node: Any, *, allowed: bool) -> None:
        if isinstance(node, list):
            for child in node:
                self._visit(child, allowed=allowed)
        if not isinstance(node, dict) or node.get("type") == "SELECT_NODE":
            return
        if self._is_value(node):
            if not allowed:
                raise InvalidError(self._problem)
            return
        self._compare(node)
        if "class" in node or "expression" not in node:  # else: an argument's wrapping
            allowed = self._passes(node)
        for child in node.values():
            self._visit(child, allowed=allowed)

    def _passes(self, node: Node) -> bool:
        """Return whether a node may hold ``value`` itself."""
        if node.get("class") in ("FUNCTION", "WINDOW"):
            return str(node.get("function_name")).lower() in _KEEPS
        return node.get("type") in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL")

    def _compare(self, node: Node) -> None:
        """Make a comparison with constants compare the values of the constants' kind."""
        operands = _operands(node)
        values = [operand for operand in operands if self._is_value(operand)]
        kinds = {self._kind(other) for other in operands if not self._is_value(other)}
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is None or (node.get("class") == "FUNCTION" and kind != "text"):
            return
        for value in values:
            value["column_names"] = [*value["column_names"][:-1], *kind.split(".")]

    def _kind(self, node: Node) -> str | None:
        """Return the column that holds the kind of value a constant expression has."""
        import duckdb

        if any(part.get("class") in ("COLUMN_REF", "SUBQUERY", "STAR") for part in walk(node)):
            return None
        tree = parse(self._connection, "SELECT 1")
        assert tree is not None
        tree["statements"][0]["node"]["select_list"] = [node]
        try:
            kind = str(self._connection.sql(deparse(self._connection, tree)).types[0])
        except duckdb.Error:
            return None
        if kind == "VARCHAR":
            return "text"
        if kind == "BOOLEAN":
            return "value.as_bool"
        numeric = kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL") or "INT" in kind
        return "num" if numeric else None


def _operands(node: Node) -> list[Node]:
    """Return what a comparison compares; nothing for other nodes."""
    kind = node.get("class")
    if kind == "COMPARISON":
        return [node["left"], node["right"]]
    if kind == "BETWEEN":
        return [node["input"], node["lower"], node["upper"]]
    if kind == "OPERATOR" and node.get("type") in ("COMPARE_IN", "COMPARE_NOT_IN"):
        return list(node["children"])
    if kind == "FUNCTION" and str(node.get("function_name")).lower() in _ON_TEXT:
        arguments = node.get("arguments") or node.get("children") or []
        return [a["expression"] if "expression" in a and "class" not in a else a for a in arguments]
    return []
