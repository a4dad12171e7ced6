"""What the readers of the paper's raw data share: one pass over a large file, and the join with a KGAT release.

The KGAT release folders (Wang et al., KDD 2019) hold a graph, and lists that say which item of the raw data each row is. They
hold no times; the raw data do. So a raw source is joined with a release by the raw ids in `item_list.txt`, and the option
`follow` says how far the release decides what stays:

    items    interactions with the release's items (an inner join: the graph knows nothing of the others)
    users    ... by the users of `user_list.txt`: what the MetaKG authors do
    pairs    ... that occur in `train.txt`, `test.txt` (and `valid1.txt`, if there): the release's own selection, given times

Rows that the join leaves out are counted (`skip`), never silent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from metakg.errors import ConfigError, DataError
from metakg.readers.duck import translated
from metakg.readers.kgat import LISTS, IdList, open_graph, read_list, stage_graph
from metakg.readers.options import ReadOptions
from metakg.readers.scan import check_file, head, identifier, literal, open_text
from metakg.readers.staging import Stage

NOT_AN_ITEM = "an item that the KGAT release does not have"
NOT_A_USER = "a user that the KGAT release does not have"
NOT_A_PAIR = "a pair that the KGAT release does not have"
_BATCH = 50_000
_TYPES = {"VARCHAR": "string", "INTEGER": "int32", "BIGINT": "int64"}


@dataclass(frozen=True)
class Release:
    """What a KGAT release folder says about the raw data.

    Attributes:
        folder: the folder.
        lists: its lists by kind.
        items: the raw id of each item.
        users: the raw id of each user, or None if users are not restricted.
        pairs: DuckDB table (user, item) of raw ids, or None if pairs are not restricted.
    """

    folder: Path
    lists: dict[str, IdList | None]
    items: IdList
    users: IdList | None = None
    pairs: str | None = None

    def skip(self, user: str, item: str, kind: str = "VARCHAR") -> str:
        """Return SQL for why a row of the raw data is left out, NULL if it stays; a row without ids is not judged.

        Args:
            user: SQL of the user id.
            item: SQL of the item id.
            kind: DuckDB type of both; ids of the release that are none of it match nothing.
        """

        def listed(table: str, column: str) -> str:
            return f"SELECT TRY_CAST({column} AS {kind}) FROM {table} WHERE TRY_CAST({column} AS {kind}) IS NOT NULL"

        cases = f"WHEN {item} NOT IN ({listed(self.items.table, 'id')}) THEN {literal(NOT_AN_ITEM)} "
        if self.users:
            cases += f"WHEN {user} NOT IN ({listed(self.users.table, 'id')}) THEN {literal(NOT_A_USER)} "
        if self.pairs:
            pairs = f"SELECT (TRY_CAST(user AS {kind}), TRY_CAST(item AS {kind})) FROM {self.pairs}"
            cases += f"WHEN ({user}, {item}) NOT IN ({pairs}) THEN {literal(NOT_A_PAIR)} "
        return f"CASE WHEN {user} IS NULL OR {item} IS NULL THEN NULL {cases}END"


def refuse_options(options: ReadOptions, source: str, *names: str) -> None:
    """Raise for an option that was set although this source has nothing to do with it.

    Raises:
        ConfigError: one of the options was set.
    """
    for name in names:
        if name in options.model_fields_set:
            raise ConfigError(
                f"option {name}",
                f"it for {source}",
                expected="data that have such a thing",
                fix="Leave it out; it would have no effect.",
            )


def open_release(stage: Stage, options: ReadOptions) -> Release | None:
    """Read the lists of the release that the options name; None without a release.

    Raises:
        DataError: a file of the release is missing or damaged.
        ConfigError: there is something to follow, but no release.
    """
    if options.kgat is None:
        if options.follow != "items":
            raise ConfigError(
                "option follow",
                f"{options.follow!r} without a release to follow",
                expected="the folder of a KGAT release",
                fix="Name it (--kgat), or leave out --follow.",
            )
        return None
    folder = options.kgat
    lists = open_graph(stage, folder)
    items = _needed(lists["item"], folder, "item")
    if options.follow == "items":
        return Release(folder, lists, items)
    users = _needed(read_list(stage, folder, "user"), folder, "user")
    pairs = _pairs(stage, folder, users, items) if options.follow == "pairs" else None
    return Release(folder, lists, items, users, pairs)


def join_release(stage: Stage, release: Release | None, raw_items: str, path: Path) -> dict[str, int]:
    """Stage the graph of a release for raw data, and return how many of its items those hold, for the manifest.

    Args:
        stage: where to.
        release: the release, if there is one.
        raw_items: SELECT of the item ids (without NULL) of the raw interactions that stay.
        path: the raw file.

    Raises:
        DataError: no item is in both, so that the raw data and the release do not belong together.
    """
    if release is None:
        return {}
    listed = release.items
    found = number(stage, f"SELECT count(*) FROM {listed.table} WHERE id IN ({raw_items})")
    if not found:
        example = stage.connection.execute(f"SELECT id FROM {listed.table} WHERE row = 0").fetchall()[0][0]
        raise DataError(
            str(path),
            f"no interaction with the {listed.size:,} items of {listed.path} (such as {example!r})"
            + (f" by the {release.users.size:,} users of {release.users.path.name}" if release.users else ""),
            expected="the raw data that the release was made from",
            fix="Give the raw file of that data set, or another folder with --kgat.",
        )
    stage_graph(stage, release.folder, release.lists, raw_items)
    return {"release_items": listed.size, "release_items_found": found}


def once(stage: Stage, name: str, select: str, path: Path) -> str:
    """Run a SELECT over a large file into a narrow table, since a packed file must not be unpacked for every question."""
    with translated(path), stage.intact(path):
        stage.connection.execute(f"CREATE TABLE {name} AS {select}")
    return name


def kept(column: str, table: str) -> str:
    """Return SQL for the distinct ids of the rows of a table that stay, as far as the source can tell."""
    return f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL AND skip IS NULL AND problem IS NULL"


def number(stage: Stage, query: str) -> int:
    """Return the one number that a query gives, 0 for NULL."""
    return int(stage.connection.execute(query).fetchall()[0][0] or 0)


def fill(stage: Stage, name: str, columns: dict[str, str], rows: Iterable[Sequence[Any]]) -> str:
    """Make a DuckDB table (column -> VARCHAR, INTEGER or BIGINT) of Python rows, a batch at a time."""
    import pyarrow as pa

    schema = pa.schema([(column, _TYPES[kind]) for column, kind in columns.items()])
    declared = ", ".join(f"{identifier(column)} {kind}" for column, kind in columns.items())
    stage.connection.execute(f"CREATE TABLE {name} ({declared})")
    pending = iter(rows)
    while batch := list(islice(pending, _BATCH)):
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*batch, strict=True), schema, strict=True)]
        stage.connection.register("python_rows", pa.Table.from_arrays(arrays, schema=schema))
        stage.connection.execute(f"INSERT INTO {name} SELECT * FROM python_rows")
        stage.connection.unregister("python_rows")
    return name


def object_of(text: str, *, parse: Callable[[str], Any] = json.loads) -> dict[str, Any] | None:
    """Return the object that a line of text holds, None if it holds none, or one with bytes or escapes that are no text."""
    try:
        value = parse(text.strip().removeprefix("\ufeff"))
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates: bytes that are no UTF-8, or half an escaped letter
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) else None


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the line number and the object of each line of a JSON lines file; None for a line that holds none."""
    with open_text(path) as handle:
        for line, text in enumerate(handle, start=1):
            if text.strip():
                yield line, object_of(text)


def check_keys(path: Path, what: str, *choices: Sequence[str]) -> int:
    """Return which choice of keys the first object of a JSON lines file has all of.

    Raises:
        DataError: the first line is no JSON object, or it has the keys of no choice.
    """
    text = first_lines(path, 1)[0]
    first = object_of(text)
    for index, keys in enumerate(choices):
        if first is not None and set(keys) <= set(first):
            return index
    raise DataError(
        f"{path} line 1",
        repr(text[:60]) if first is None else f"an object with the keys {', '.join(list(first)[:6])}",
        expected=f"{what} as a JSON object with {' or '.join(', '.join(keys) for keys in choices)}",
        fix="Name the right file; one JSON object a line.",
    )


def first_lines(path: Path, lines: int) -> list[str]:
    """Return the first lines of a file that are not blank, at least one.

    Raises:
        DataError: the file is missing, empty, or begins with nothing but blank lines.
    """
    check_file(path)
    found = [text for text in head(path, lines=lines + 99) if text.strip()][:lines]
    if not found:
        raise DataError(str(path), "blank lines", expected="data", fix="Restore the file, or name the right one.")
    return found


def one_of(folder: Path, names: Sequence[str], what: str) -> Path:
    """Return the one file of a folder that has one of these names, plain or gzipped.

    Raises:
        DataError: there is none, or more than one.
    """
    found = [folder / (name + end) for name in names for end in ("", ".gz") if (folder / (name + end)).is_file()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(path.relative_to(folder).as_posix() for path in found)
    raise DataError(
        str(folder),
        f"more than one file of {what} ({listed})" if found else f"no file of {what}",
        expected=f"one of {', '.join(names)}, plain or gzipped",
        fix="Name the file itself." if found else "Check the folder, or name the file itself.",
    )


def sibling(path: Path, names: Sequence[str]) -> Path | None:
    """Return the first file of these names, plain or gzipped, beside `path`."""
    candidates = (path.parent / (name + end) for name in names for end in ("", ".gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _needed(found: IdList | None, folder: Path, kind: str) -> IdList:
    if found is None:
        raise DataError(
            str(folder),
            f"no {LISTS[kind]}",
            expected=f"the list of the release's {kind}s in the ids of the raw data",
            fix="Restore it from the release" + (", or follow its items only (--follow items)." if kind == "user" else "."),
        )
    return found


def _pairs(stage: Stage, folder: Path, users: IdList, items: IdList) -> str:
    """Make the table of all pairs of the release; a line is `user item item ...` by row number."""
    paths = [folder / name for name in ("train.txt", "test.txt")]
    for path in paths:
        if not path.is_file():
            raise DataError(
                str(path),
                "no such file",
                expected="the pairs of the release",
                fix='Fetch it ("metakg data fetch NAME --optional"), or follow the users of the release only (--follow users).',
            )
    paths += [path for path in [folder / "valid1.txt"] if path.is_file()]
    rows = (pair for path in paths for pair in _row_pairs(path, users.size, items.size))
    table = fill(stage, "release_rows", {"u": "INTEGER", "i": "INTEGER"}, rows)
    stage.connection.execute(
        f"CREATE TABLE release_pairs AS SELECT DISTINCT users.id AS user, items.id AS item FROM {table} "
        f"JOIN {users.table} AS users ON users.row = u JOIN {items.table} AS items ON items.row = i"
    )
    stage.note("kgat-pairs", paths)
    return "release_pairs"


def _row_pairs(path: Path, n_users: int, n_items: int) -> Iterator[tuple[int, int]]:
    check_file(path)
    with open_text(path) as handle:
        for line, text in enumerate(handle, start=1):
            cells = text.split()
            rows = [int(cell) if cell.isascii() and cell.isdigit() else -1 for cell in cells]
            if rows and not (0 <= rows[0] < n_users and all(0 <= row < n_items for row in rows[1:])):
                raise DataError(
                    f"{path} line {line}",
                    repr(text.strip()[:80]),
                    expected=f"row numbers: a user below {n_users}, then items below {n_items}",
                    fix="Restore the file from the release.",
                )
            yield from ((rows[0], item) for item in rows[1:])
