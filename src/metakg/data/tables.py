"""Parquet tables of row numbers and ids: written plainly, read back with every doubt turned into a `DataError`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metakg import files
from metakg.errors import DataError
from metakg.types import Json


def write(folder: Path, name: str, columns: Mapping[str, object]) -> None:
    """Write one table as `folder/name.parquet`."""
    pq.write_table(pa.table(dict(columns)), folder / f"{name}.parquet", compression="zstd")


def read(
    folder: Path,
    name: str,
    columns: Mapping[str, pa.DataType],
    *,
    listed: Json,
    fix: str,
    optional: Collection[str] = (),
    nullable: Collection[str] = (),
) -> pa.Table:
    """Read `folder/name.parquet` and return the named columns in the named types.

    Args:
        folder: where the table lies.
        name: its name, without the ending.
        columns: what to read, and as what; a value that does not fit its type is an error, never rounded or wrapped.
        listed: what the manifest says of the tables: name -> {rows, sha256} (see `describe`).
        fix: the next step for the reader when the table is damaged.
        optional: columns that may be absent; they are then absent from the result.
        nullable: columns in which a value may be missing.

    Raises:
        DataError: the file is missing or damaged, or is not the one that the manifest lists.
    """
    path = folder / f"{name}.parquet"
    try:
        table = pq.read_table(path, memory_map=True)
    except (OSError, pa.ArrowException) as err:
        raise DataError(str(path), f"no readable Parquet table ({err})", expected="a whole table", fix=fix) from err
    missing = [column for column in columns if column not in table.column_names and column not in optional]
    if missing:
        found = f"columns {', '.join(table.column_names)}"
        raise DataError(str(path), found, expected=f"also {', '.join(missing)}", fix=fix)
    if len(table) != listed[name]["rows"]:
        expected = f"{listed[name]['rows']}, as the manifest says"
        raise DataError(str(path), f"{len(table)} rows", expected=expected, fix=fix)
    present = {column: dtype for column, dtype in columns.items() if column in table.column_names}
    table = table.select(list(present))
    for column in present:
        if table[column].null_count and column not in nullable:
            found = f"{table[column].null_count} missing values in column {column}"
            raise DataError(str(path), found, expected="a value in every row", fix=fix)
    try:
        return table.cast(pa.schema(list(present.items())))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        expected = ", ".join(f"{column} as {dtype}" for column, dtype in present.items())
        raise DataError(str(path), f"values that do not fit their column ({err})", expected=expected, fix=fix) from err


def array(table: pa.Table, name: str) -> np.ndarray:
    """Return one column as a numpy array of its own (Arrow's memory is read-only, which torch warns about)."""
    return np.array(table[name].to_numpy())


def describe(folder: Path, names: Collection[str]) -> Json:
    """Return what a manifest records of the tables in `folder`: name -> {rows, sha256}."""
    return {
        name: {
            "rows": pq.read_metadata(folder / f"{name}.parquet").num_rows,
            "sha256": files.sha256(folder / f"{name}.parquet"),
        }
        for name in names
    }


def listed(manifest: Json, path: Path, names: Collection[str], *, fix: str) -> Json:
    """Return the manifest's list of tables, checked to name exactly `names` with a row count and a hash each.

    Raises:
        DataError: it does not; `path` is the manifest's, for the message.
    """
    tables = manifest.get("tables")
    if not isinstance(tables, dict) or set(tables) != set(names):
        found = f"tables {', '.join(sorted(tables))}" if isinstance(tables, dict) else "no list of tables"
        raise DataError(str(path), found, expected=f"the tables {', '.join(sorted(names))}", fix=fix)
    for name, entry in tables.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("rows"), int) or not isinstance(entry.get("sha256"), str):
            raise DataError(str(path), f"table {name}: {entry!r}", expected="its number of rows and its SHA-256", fix=fix)
    return tables


def verify(folder: Path, tables: Json, *, fix: str) -> None:
    """Compare the SHA-256 of every listed table with the file.

    Raises:
        DataError: a file cannot be read or is another one.
    """
    for name, entry in tables.items():
        path = folder / f"{name}.parquet"
        try:
            found = files.sha256(path)
        except OSError as err:
            raise DataError(str(path), str(err), expected="a readable file", fix=fix) from err
        if found != entry["sha256"]:
            expected = f"{entry['sha256'][:12]}..., as the manifest says"
            raise DataError(str(path), f"SHA-256 {found[:12]}...", expected=expected, fix=f"The file changed. {fix}")
