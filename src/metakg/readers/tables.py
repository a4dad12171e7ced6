"""Tables that people keep: CSV, TSV, other delimited text, JSON lines and Parquet, plain or compressed.

Columns are found by name, or by position where the file has no header. Ids are text always: "007" stays "007".
"""

from __future__ import annotations

from pathlib import Path

from metakg.errors import DataError
from metakg.readers.columns import Column, find, missing, need, unread
from metakg.readers.options import ReadOptions
from metakg.readers.sniff import Role, Table, open_table
from metakg.readers.staging import Stage
from metakg.types import Json

_LETTERS = {"h": "head", "r": "relation", "t": "tail"}
_KINDS = ("user", "item", "entity", "relation")


def stage_interactions(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage a table of user, item and, if there, value and time.

    Raises:
        DataError: the file is no such table; the message says which column is missing.
    """
    table = open_table(stage, path, options, "interactions")
    wanted: dict[str, str | None] = {name: getattr(options, f"{name}_column") for name in ("user", "item", "value", "time")}
    if table.header or any(wanted.values()):
        chosen = {name: need(table.columns, name, wanted[name], where=table.where) for name in ("user", "item")}
        for name in ("value", "time"):
            column = None if wanted[name] == "none" else find(table.columns, name, wanted[name], where=table.where)
            if column is not None:
                chosen[name] = column
    else:
        chosen = _by_position(table)
    _check_distinct(table, chosen)
    _add(stage, "interactions", table, chosen)


def stage_triples(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage a table of head, relation and tail: by header, or three columns in `triple_order`.

    Raises:
        DataError: the file is no such table.
    """
    table = open_table(stage, path, options, "triples")
    if table.header:
        chosen = {name: need(table.columns, name, None, where=table.where) for name in _LETTERS.values()}
    else:
        order = tuple(_LETTERS[letter] for letter in options.triple_order or "hrt")
        chosen = _in_order(table, order)
    _add(stage, "triples", table, chosen, guessed_order=not table.header and options.triple_order is None)


def stage_links(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage a table that says which entity an item is.

    Raises:
        DataError: the file is no such table.
    """
    table = open_table(stage, path, options, "links")
    if table.header:
        item = need(table.columns, "item", options.item_column, where=table.where)
        chosen = {"item": item, "entity": need(table.columns, "entity", None, where=table.where)}
    else:
        chosen = _in_order(table, ("item", "entity"))
    _add(stage, "links", table, chosen)


def stage_labels(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage a table of id and label.

    What is named is said by a column `kind`, else by the name of the id column (`item_id`), else by `labels_of`.

    Raises:
        DataError: the file is no such table.
    """
    table = open_table(stage, path, options, "labels")
    kind: Column | None = None
    said: str = options.labels_of
    if table.header:
        label = need(table.columns, "label", options.label_column, where=table.where)
        kind = find(table.columns, "kind", None, where=table.where)
        named = {role: find(table.columns, role, None, where=table.where) for role in ("id", *_KINDS)}
        role, own = next(((role, column) for role, column in named.items() if column is not None), ("id", None))
        if own is None:
            raise missing(table.columns, "id", where=table.where)
        said = options.labels_of if role == "id" else role
        chosen = {"id": own, "label": label}
    else:
        chosen = _in_order(table, ("id", "label"))
    of = f"lower(trim({kind.sql}))" if kind else f"'{said}'"
    listed = ", ".join(f"'{name}'" for name in _KINDS)
    problem = f"CASE WHEN {of} IS NULL OR {of} NOT IN ({listed}) THEN 'an unknown kind' END" if kind else "NULL::VARCHAR"
    _add(stage, "labels", table, chosen, extra=f", {of} AS kind, {problem} AS problem")


def _add(
    stage: Stage, kind: Role, table: Table, chosen: dict[str, Column], *, extra: str = "", guessed_order: bool = False
) -> None:
    columns = ", ".join(f"{column.sql} AS {name}" for name, column in chosen.items())
    shaped: Json = {"columns": {name: column.name for name, column in chosen.items()}}
    left = unread(table.columns, list(chosen.values()))
    if kind == "interactions" and table.header and left:
        shaped["not_read"] = left
    stage.note("table", [table.path], shaped)
    stage.add(kind, f"SELECT {columns}{extra} FROM {table.scan.sql}", scan=table.scan, guessed_order=guessed_order)


def _in_order(table: Table, names: tuple[str, ...]) -> dict[str, Column]:
    """Return the columns of a table without a header."""
    if len(table.columns) != len(names):
        raise DataError(
            table.where,
            f"{len(table.columns)} columns and no header that is known",
            expected=f"{len(names)} columns: {', '.join(names)}",
            fix="Add a header with these names, or say what parts the columns (--delimiter).",
        )
    return dict(zip(names, table.columns, strict=True))


def _by_position(table: Table) -> dict[str, Column]:
    """Return user, item[, value][, time] of a table without a header; a third of three is a time if it looks like one."""
    count = len(table.columns)
    if count not in (2, 3, 4):
        raise DataError(
            table.where,
            f"{count} columns and no header",
            expected="user, item[, value][, time]",
            fix="Add a header, or number the columns from 1, for example --user-column 1 --item-column 2 --time-column 4.",
        )
    order = ["user", "item", "value", "time"][:count]
    if count == 3 and all(_like_time(row[2]) for row in table.sample if len(row) == 3):
        order[2] = "time"
    return dict(zip(order, table.columns, strict=True))


def _like_time(text: str) -> bool:
    """Return whether a cell is a day, or a number too large to be a rating."""
    try:
        return abs(float(text)) >= 1e8
    except ValueError:
        return text[:4].isdigit() and "-" in text


def _check_distinct(table: Table, chosen: dict[str, Column]) -> None:
    roles: dict[str, str] = {}
    for role, column in chosen.items():
        if column.sql in roles:
            raise DataError(
                table.where,
                f"column {column.name!r} as both {roles[column.sql]} and {role}",
                expected="a column for each",
                fix="Name another column.",
            )
        roles[column.sql] = role
