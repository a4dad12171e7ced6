"""Files as DuckDB table expressions, and the way back from a row to its line.

`scan_csv`, `scan_json_lines` and `scan_parquet` return a `Scan`: SQL to select from, with the columns that were asked for as
text (Parquet: as stored). Nothing is read until the SQL runs. Lines that no table row can be made of (too few columns, broken
JSON, bytes that are not UTF-8) never stop a scan: CSV puts them into the rejects table, JSON lines give a row of NULLs.
Files may be plain, gzip or Zstandard; the first bytes decide, not the name.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast
from uuid import uuid4

from metakg.errors import DataError, EmptyFileError

if TYPE_CHECKING:
    import duckdb

Compression = Literal["none", "gzip", "zstd"]
_MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_HEAD = 1 << 16
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Scan:
    """One file as SQL.

    Attributes:
        sql: a table expression for a FROM clause.
        path: the file.
        format: how rows lie in the file.
        first_line: the line of the first row, counted from 1 (2 after a header). Parquet: the first row is row 1.
        rejects: name of the rejects table that the scan fills, or None.
        width: number of columns of a CSV file.
        delimiter: of a CSV file.
        quote: of a CSV file; empty if quotes have no meaning there.
        encoding: of a CSV file.
    """

    sql: str
    path: Path
    format: Literal["csv", "json", "parquet"]
    first_line: int = 1
    rejects: str | None = None
    width: int = 0
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"

    def rejected(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
        """Return (text, why) of each line that no row could be made of, in file order, once the SQL has run."""
        exists = "SELECT 1 FROM duckdb_tables() WHERE table_name = ?"
        if self.rejects is None or not connection.execute(exists, [self.rejects]).fetchall():
            return []
        query = (
            f"SELECT any_value(csv_line), min(error_message) FROM {self.rejects} "
            "GROUP BY line, line_byte_position ORDER BY line, line_byte_position"
        )
        return [(str(text).strip("\r\n"), str(why)) for text, why in connection.execute(query).fetchall()]

    def lines(self, rows: Iterable[int], broken: int = 0) -> tuple[dict[int, int], list[int]]:
        """Find rows again by walking through the file.

        DuckDB numbers neither rows nor (where cells hold line breaks) the lines it rejects, and counting while it scans would
        cost the parallel scan; so the few places that a message names are counted here, afterwards.

        Args:
            rows: row numbers of the scan, from 0.
            broken: how many of the first broken lines to find.

        Returns:
            Row -> the line it starts on, counted from 1 (Parquet: the row, counted from 1), and the lines of the first
            `broken` records that gave no row.
        """
        wanted = set(rows)
        if self.format == "parquet":
            return {row: row + 1 for row in wanted}, []
        found: dict[int, int] = {}
        lines: list[int] = []
        row = 0
        for line, whole in self._records():
            if line < self.first_line:
                continue
            if not whole:
                lines.append(line)
            else:
                if row in wanted:
                    found[row] = line
                row += 1
            if len(found) == len(wanted) and len(lines) >= broken:
                break
        return found, lines[:broken]

    def _records(self) -> Iterator[tuple[int, bool]]:
        """Yield the line each record starts on, and whether it gave a row. Blank lines are no records."""
        with open_text(self.path, encoding=self.encoding) as handle:
            if self.format == "json":
                yield from ((number, True) for number, text in enumerate(handle, start=1) if text.strip())
                return
            if self.quote:
                reader = csv.reader(handle, delimiter=self.delimiter, quotechar=self.quote, strict=True)
            else:
                reader = csv.reader(handle, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)
            while True:
                start = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error:
                    yield start, False
                    continue
                if cells or self.width == 1:
                    yield start, len(cells or [""]) == self.width and not any(map(_SURROGATE.search, cells))


def scan_csv(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: bool = False,
    quote: str = '"',
    encoding: str = "utf-8",
) -> Scan:
    """Return the scan of a delimited text file.

    Args:
        path: the file.
        columns: a name for *every* column of the file, in order; all are text, an empty cell is NULL.
        delimiter: one character.
        header: the first line holds names, not data.
        quote: the quote character (doubled inside a quoted cell), or "" where quotes are plain text.
        encoding: utf-8, utf-16 or latin-1.
    """
    rejects = f"rejects_{uuid4().hex[:12]}"
    names = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    sql = (
        f"read_csv({path_literal(path)}, auto_detect=false, columns={{{names}}}, delim={literal(delimiter)}, "
        f"header={str(header).lower()}, quote={literal(quote)}, escape={literal(quote)}, encoding={literal(encoding)}, "
        f"compression='{compression(path)}', store_rejects=true, rejects_table='{rejects}', rejects_scan='{rejects}_scan')"
    )
    return Scan(sql, path, "csv", 2 if header else 1, rejects, len(columns), delimiter, quote, encoding)


def scan_json_lines(path: Path, columns: Sequence[str]) -> Scan:
    """Return the scan of a JSON lines file: one object a line.

    Args:
        path: the file.
        columns: top-level keys. Each becomes a text column, NULL where the key is absent; a nested value comes as JSON text
            (use `->>` on it). A line that is not a JSON object gives NULL in all of them.
    """
    names = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    sql = (
        f"read_json({path_literal(path)}, format='newline_delimited', records='true', columns={{{names}}}, "
        f"ignore_errors=true, {json_limits(path)})"
    )
    return Scan(sql, path, "json")


def json_limits(path: Path) -> str:
    """Return what every reading of JSON lines says of a file: how it is packed, and how long a line may be."""
    return f"compression='{compression(path)}', maximum_object_size={1 << 26}"


def scan_parquet(path: Path, *, more: Mapping[str, str | None] | None = None) -> Scan:
    """Return the scan of a Parquet file; its columns keep their types.

    Args:
        path: the file.
        more: further columns of text, the same in every row: None where it is missing.
    """
    sql = f"read_parquet({path_literal(path)}, hive_partitioning=false)"  # which lets a folder replace a column of the file
    if more:
        added = ", ".join(
            f"{'NULL' if text is None else literal(text)}::VARCHAR AS {identifier(n)}" for n, text in more.items()
        )
        sql = f"(SELECT *, {added} FROM {sql})"
    return Scan(sql, path, "parquet")


def identifier(name: str) -> str:
    """Return a column name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def as_number(cell: str, kind: str, decimal: str = ".") -> str:
    """Return a cell as SQL of a DOUBLE, NULL where it is no number; with a decimal comma, a point makes it none."""
    if decimal == "." or kind != "VARCHAR":
        return f"TRY_CAST({cell} AS DOUBLE)"
    return f"TRY_CAST(translate({cell}, ',.', '.,') AS DOUBLE)"


def as_text(column: str, kind: str) -> str:
    """Return a column of any type as SQL text; a whole number never becomes "1.0"."""
    if kind == "VARCHAR":
        return column
    if kind in ("FLOAT", "DOUBLE"):  # what other tools make of whole-number ids as soon as one is missing
        whole = f"{column} = floor({column}) AND abs({column}) < 9e15"
        number = f"WHEN {whole} THEN CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR) ELSE CAST({column} AS VARCHAR)"
        return f"CASE WHEN NOT isfinite({column}) THEN NULL {number} END"
    if kind == "BLOB":
        return f"TRY(decode({column}))"
    return f"CAST({column} AS VARCHAR)"


def literal(text: str) -> str:
    """Return a string as SQL."""
    return "'" + text.replace("'", "''") + "'"


def path_literal(path: Path) -> str:
    """Return one file's path as SQL; characters that DuckDB would expand (`*`, `?`, `[`) stand for themselves."""
    return literal("".join({"[": "[[]", "*": "[*]", "?": "[?]"}.get(letter, letter) for letter in str(path)))


def check_file(path: Path) -> None:
    """Refuse what cannot be read as a file.

    Raises:
        DataError: the file is missing, is a folder, is empty, or may not be read.
    """
    if not path.exists():
        raise DataError(str(path), "no such file", expected="a file to read", fix="Check the path.")
    if path.is_dir():
        raise DataError(str(path), "a folder", expected="a file", fix="Name the file inside it.")
    if not path.is_file():  # a pipe cannot be looked at first and read afterwards
        raise DataError(str(path), "no regular file", expected="a file", fix="Save the data to a file first.")
    with open_bytes(path) as handle:
        if not handle.read(1):
            raise EmptyFileError(str(path), "an empty file", expected="data", fix="Restore the file, or leave it out.")


def compression(path: Path) -> Compression:
    """Return how a file is compressed, by its first bytes."""
    start = _raw_start(path, 4)
    return next((name for name, magic in _MAGIC.items() if start.startswith(magic)), "none")


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain, gzip or Zstandard file as bytes; damage becomes a `DataError` that names the file."""
    with reading(path):
        kind = compression(path)
        if kind == "gzip":
            with gzip.open(path, "rb") as unpacked:
                yield cast(IO[bytes], unpacked)
        elif kind == "zstd":
            import pyarrow as pa

            with pa.input_stream(str(path), compression="zstd") as handle:
                yield handle
        else:
            with path.open("rb") as handle:
                yield handle


def read_through(path: Path) -> None:
    """Read a packed file to its end, so that a missing one is noticed and a checksum, which Zstandard may lack, is compared.

    Raises:
        DataError: the file is damaged or cut off.
    """
    with open_bytes(path) as handle:
        while handle.read(1 << 20):
            pass


@contextmanager
def open_text(path: Path, *, encoding: str = "utf-8") -> Iterator[IO[str]]:
    """Open a file as text without translating line ends; bytes that do not decode become lone surrogates."""
    with open_bytes(path) as handle:
        codec = "utf-8-sig" if encoding.lower() in {"utf-8", "utf8"} else encoding
        text = io.TextIOWrapper(handle, encoding=codec, errors="surrogateescape", newline="")
        try:
            yield text
        finally:
            text.detach()


def head(path: Path, *, encoding: str = "utf-8", lines: int = 100) -> list[str]:
    """Return the first lines of a file without line ends and without a byte order mark; a cut-off last line is left out."""
    with open_bytes(path) as handle:
        start = handle.read(_HEAD)
        whole = not handle.read(1)
    codec = "utf-8-sig" if encoding.lower() in {"utf-8", "utf8"} else encoding
    found = start.decode(codec, errors="replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = found[:-1] if found[-1] == "" and whole else found
    return (found if whole or len(found) < 2 else found[:-1])[:lines]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of the operating system and of decompressors while reading `path` into a `DataError`."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise DataError(
            str(path), f"a damaged or cut-off gzip file ({err})", expected="a whole file", fix="Fetch or compress it again."
        ) from err
    except OSError as err:
        if err.errno is None:  # not the system's: a decompressor's
            raise DataError(
                str(path), f"a damaged or cut-off file ({err})", expected="a whole file", fix="Fetch or compress it again."
            ) from err
        raise DataError(
            str(path), err.strerror or str(err), expected="a file that can be read", fix="Check the path and its permissions."
        ) from err


def _raw_start(path: Path, size: int) -> bytes:
    with reading(path), path.open("rb") as handle:
        return handle.read(size)
