"""Attribute tables become facts: one relation for each column, one entity for each value.

A film with genre "Comedy|Drama" and year 1995 gives `film --genre--> genre:Comedy`, `film --genre--> genre:Drama` and
`film --year--> year:1995`; the entities are labelled "Comedy", "Drama" and "1995". Empty cells give nothing. Numbers can be cut
into bins of about equal size (`bins={"age": 5}`), since nobody shares an exact price. The title column becomes the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from metakg.errors import ConfigError, DataError
from metakg.readers.columns import Column, field_of, find, missing, plain, unread
from metakg.readers.duck import translated
from metakg.readers.options import ReadOptions
from metakg.readers.scan import as_number, as_text, literal
from metakg.readers.sniff import Table, open_table
from metakg.readers.staging import Stage
from metakg.types import Json

_BLANKS = "' \t\r\n'"


def stage_item_attributes(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage a table with one row for each item.

    Raises:
        DataError: the file is no such table.
        ConfigError: `attributes` or `bins` names a column that is not there.
    """
    _stage(stage, path, options, "item")


def stage_user_attributes(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage a table with one row for each user.

    Raises:
        DataError: the file is no such table.
        ConfigError: `attributes` or `bins` names a column that is not there.
    """
    _stage(stage, path, options, "user")


def _stage(stage: Stage, path: Path, options: ReadOptions, kind: Literal["item", "user"]) -> None:
    table = open_table(stage, path, options, "item_attributes" if kind == "item" else "user_attributes")
    wanted = options.item_column if kind == "item" else options.user_column
    own = wanted is not None and (
        any(plain(column.name) == plain(wanted) for column in table.columns) or field_of(table.columns, wanted) is not None
    )
    key = (
        find(table.columns, kind, wanted, where=table.where)
        if own
        else find(table.columns, kind, None, where=table.where) or find(table.columns, "id", None, where=table.where)
    )
    if key is None:
        raise missing(table.columns, kind, where=table.where, wanted=wanted)
    named = [column for column in table.columns if options.label_column and plain(column.name) == plain(options.label_column)]
    label = named[0] if named else find(table.columns, "label", None, where=table.where)
    facts = _chosen(stage, table, key, label, options)
    shaped: Json = {"of": kind, "id": key.name, "columns": [column.name for column in facts]}
    used = [*facts, key] if label is None else [*facts, key, label]
    if options.attributes not in (None, "all") and (left := unread(table.columns, used)):
        shaped["not_read"] = left
    stage.note("attributes", [path], shaped)
    numbered = f"(SELECT *, row_number() OVER () - 1 AS ordinal FROM {table.scan.sql})"
    stage.add("ids", f"SELECT '{kind}' AS kind, {key.sql} AS id FROM {table.scan.sql}", scan=table.scan)
    if label is not None and label is not key:
        name = f"CAST({label.sql} AS VARCHAR)"
        stage.add(
            "labels",
            f"SELECT '{kind}' AS kind, {key.sql} AS id, {name} AS label, ordinal FROM {numbered} "
            f"WHERE trim({name}, {_BLANKS}) <> '' AND {key.sql} IS NOT NULL",
            scan=table.scan,
        )
    if not facts:
        return
    cells = [_facts(stage, table, column, options) for column in facts]
    listed = cells[0] if len(cells) == 1 else f"list_concat({', '.join(cells)})"
    rows = f"SELECT {key.sql} AS key, ordinal, unnest({listed}) AS fact FROM {numbered} WHERE {key.sql} IS NOT NULL"
    stage.add(
        f"{kind}_triples",
        f"SELECT key AS {kind}, fact.r AS relation, fact.r || ':' || fact.v AS entity, ordinal FROM ({rows})",
        scan=table.scan,
    )
    stage.add(
        "labels",
        f"SELECT DISTINCT 'entity' AS kind, fact.r || ':' || fact.v AS id, fact.l AS label, {literal(str(path))} AS file, "
        f"NULL::BIGINT AS line FROM ({rows})",
    )


def _chosen(stage: Stage, table: Table, key: Column, label: Column | None, options: ReadOptions) -> Sequence[Column]:
    """Return the columns that become facts; all but the id and the label, unless `attributes` names some."""
    others = [column for column in table.columns if column is not key and column.name]
    stage.attributes |= {plain(column.name) for column in others}
    asked = options.attributes
    if asked is None:
        asked = () if all(column.typed for column in table.columns) else "all"
    if asked == "all":
        chosen = [column for column in others if column is not label]
    else:
        wanted = {plain(name) for name in asked}
        chosen = [column for column in others if plain(column.name) in wanted]
        inside = {name: field for name in asked if (field := field_of(others, name)) is not None}
        stage.attributes |= {plain(name) for name in inside}
        chosen += inside.values()
    for column in chosen:
        if column.holds_objects:
            raise DataError(
                table.where,
                f"objects in column {column.name!r}",
                expected="values, or lists of them",
                fix=f"Name a field inside (--attributes {column.name}.name, and the other columns), or leave the column out.",
            )
    return chosen


def _facts(stage: Stage, table: Table, column: Column, options: ReadOptions) -> str:
    """Return SQL for the facts of one cell: a list of (r relation, v value, l label), empty for an empty cell."""
    bins = next((count for name, count in options.bins.items() if plain(name) == plain(column.name)), None)
    relation = literal(column.name)
    if bins is not None:
        binned = _binned(stage, table, column, bins, options.decimal_in(table.scan.format))
        return f"coalesce([{binned}], [])".replace("{r}", relation)
    trimmed = f"[trim(x, {_BLANKS}) FOR x IN {_texts(table, column, options)}]"
    texts = f"list_distinct([x FOR x IN {trimmed} IF x <> ''])"
    return f"coalesce([{{'r': {relation}, 'v': x, 'l': x}} FOR x IN {texts}], [])"


def _texts(table: Table, column: Column, options: ReadOptions) -> str:
    """Return SQL for the values of one cell as a list of texts."""
    cell = column.sql
    if column.type.endswith("[]"):
        return f"[CAST(x AS VARCHAR) FOR x IN {cell} IF x IS NOT NULL]"
    if column.type != "VARCHAR":
        return f"[{as_text(cell, column.type)}]"
    parted = column.sequence or (None if column.typed else options.separator)
    one = f"string_split({cell}, {literal(parted)})" if parted else f"[{cell}]"
    if table.scan.format != "json":
        return one
    return f"CASE WHEN {cell} LIKE '[%' THEN coalesce(TRY(from_json({cell}, '[\"VARCHAR\"]')), {one}) ELSE {one} END"


def _binned(stage: Stage, table: Table, column: Column, bins: int, decimal: str) -> str:
    """Return SQL for the fact of a cell in a column that is cut into bins; a cell that is no number stays as it is."""
    number = as_number(column.sql, column.type, decimal)
    numbers = f"(SELECT {number} AS x FROM {table.scan.sql}) WHERE isfinite(x)"
    ranked = f"SELECT x, row_number() OVER (ORDER BY x) - 1 AS place, count(*) OVER () AS n FROM {numbers}"
    starts = ", ".join(f"n * {step} // {bins}" for step in range(bins))
    with translated(table.path):
        found = stage.connection.execute(f"SELECT x FROM ({ranked}) WHERE place IN ({starts}) ORDER BY place").fetchall()
    cuts = [float(row[0]) for row in found]
    if not cuts:
        raise ConfigError(
            f"option bins, column {column.name}",
            "no number in it",
            expected="a column of numbers",
            fix=f"Leave it out, or look at {table.path}.",
        )
    edges = sorted(set(cuts) - {cuts[0]})
    names = [f"{edge:g}" for edge in edges]
    values = [f"..{names[0]}", *(f"{a}..{b}" for a, b in pairwise(names)), f"{names[-1]}.."] if names else [".."]
    labels = ["any"]
    if names:
        labels = [f"under {names[0]}", *(f"{a} to under {b}" for a, b in pairwise(names)), f"{names[-1]} and over"]
    place = " + ".join(["1", *(f"CAST({number} >= {edge!r} AS INTEGER)" for edge in edges)])
    chosen = [f"[{', '.join(map(literal, texts))}][{place}]" for texts in (values, labels)]
    text = f"trim(CAST({column.sql} AS VARCHAR), {_BLANKS})"
    binned, kept = (f"{{'r': {{r}}, 'v': {value}, 'l': {name}}}" for value, name in (chosen, (text, text)))
    return f"CASE WHEN isfinite({number}) THEN {binned} WHEN {text} <> '' THEN {kept} END"
