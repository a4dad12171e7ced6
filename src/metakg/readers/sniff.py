"""What a table looks like: its format, and for text its encoding, delimiter, quotes and header, from its first 64 kB.

The keys of JSON lines are those of the whole file.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from metakg.errors import DataError
from metakg.readers.columns import Column, Nested, fits, split_type
from metakg.readers.duck import translated
from metakg.readers.options import ReadOptions
from metakg.readers.scan import (
    Scan,
    check_file,
    head,
    identifier,
    json_limits,
    literal,
    open_bytes,
    path_literal,
    scan_csv,
    scan_json_lines,
    scan_parquet,
)
from metakg.readers.staging import Stage

Role = Literal["interactions", "triples", "links", "labels", "item_attributes", "user_attributes"]
NEEDS: dict[Role, tuple[str, ...]] = {
    "interactions": ("user", "item"),
    "triples": ("head", "relation", "tail"),
    "links": ("item", "entity"),
    "labels": ("id", "label"),
    "item_attributes": ("item",),
    "user_attributes": ("user",),
}
"""Role of a table -> the columns it cannot do without."""
_POSITIONAL: tuple[Role, ...] = ("triples", "links", "labels")
"""Roles whose columns have a usual order: without a header their first line may be all words."""
_AS_TABLE = "Save the table as CSV or Parquet."
_BINARY: dict[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a ZIP archive, as Excel's .xlsx files are", "Unpack it, or save the sheet as CSV."),
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "Save the sheet as CSV."),
    b"ARROW1\0\0": ("an Arrow file (Feather)", "Save it as Parquet, or give the table to metakg.read."),
    b"SQLite format 3\0": ("an SQLite database", "Save its table as CSV or Parquet."),
    b"\x89HDF": ("an HDF5 file", _AS_TABLE),
    b"\x93NUMPY": ("a NumPy array", _AS_TABLE),
    **{bytes((0x80, n)): ("a file of Python objects (.pkl), which is never opened here", _AS_TABLE) for n in range(2, 6)},
    b"%PDF-": ("a PDF", _AS_TABLE),
    b"Obj\x01": ("an Avro file", _AS_TABLE),
    b"\xfe\xff": ("UTF-16 with the high byte first", "Save it as UTF-8."),
    b"BZh91AY&SY": ("a file packed with bzip2", "Unpack it, or pack it with gzip or Zstandard."),
    b"\xfd7zXZ": ("a file packed with xz", "Unpack it, or pack it with gzip or Zstandard."),
}
"""First bytes of what is often taken for a table -> what it is, and what to do."""
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\x0b\x0c\x1b"))
_FEW = 50
"""More control bytes than one in so many, and it is no text that was damaged here and there."""
_ENOUGH = 3
"""Rows below a first one from which on it is told whether it stands apart."""
_DELIMITERS = ("\t", ",", ";", "|", "::", " ")


@dataclass(frozen=True)
class Table:
    """A file whose columns are known.

    Attributes:
        path: the file.
        scan: how to read it.
        columns: in file order; without a header they are called "1", "2", ...
        header: whether the file names its columns.
        sample: cells of the first data lines of a text table.
    """

    path: Path
    scan: Scan
    columns: Sequence[Column]
    header: bool
    sample: Sequence[Sequence[str]] = ()

    @property
    def where(self) -> str:
        """Return the place of the column names, for errors."""
        return f"{self.path} line 1" if self.scan.format == "csv" else str(self.path)


def open_table(stage: Stage, path: Path, options: ReadOptions, role: Role) -> Table:
    """Look at the start of a file and return its columns.

    Raises:
        DataError: the file is missing, empty, damaged, or no table.
    """
    check_file(path)
    with open_bytes(path) as handle:
        start = handle.read(4096)
    if start.startswith(b"PAR1"):
        return _parquet(stage, path)
    marks = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16"}
    marked = next((name for mark, name in marks.items() if start.startswith(mark)), None)
    encoding = marked or options.encoding or "utf-8"  # one option is said of all files; a file's own mark says more
    _check_text(path, start, encoding)
    lines = [line for line in head(path, encoding=encoding) if line.strip()]
    if not lines:
        raise DataError(str(path), "only blank lines", expected="a table", fix="Restore the file, or leave it out.")
    if lines[0].lstrip().startswith("{"):
        return _json_lines(stage, path, lines, encoding)
    if lines[0].lstrip().startswith("["):
        raise DataError(
            f"{path} line 1",
            "a JSON array",
            expected="one JSON object a line",
            fix="Convert it, for example: jq -c '.[]' FILE.",
        )
    return _text(path, lines, options, role, encoding)


def _check_text(path: Path, start: bytes, encoding: str) -> None:
    """Refuse what is no text: read as a table it would be one column of rubbish."""
    what, fix = next((said for magic, said in _BINARY.items() if start.startswith(magic)), (None, _AS_TABLE))
    strange = len(start) - len(start.translate(None, _CONTROLS))
    if what is None and encoding != "utf-16" and strange * _FEW > len(start):
        what, fix = "bytes that are no text", f"{_AS_TABLE} If it is UTF-16, say so (--encoding utf-16)."
    if what is not None:
        raise DataError(str(path), what, expected="text (CSV, TSV, JSON lines) or Parquet", fix=fix)


def first_names(path: Path, options: ReadOptions, stage: Stage) -> list[str]:
    """Return the first line's cells (or the keys, or the Parquet columns), for guessing what a file is for."""
    table = open_table(stage, path, options.model_copy(update={"header": True}), "item_attributes")
    return [column.name for column in table.columns]


def _parquet(stage: Stage, path: Path) -> Table:
    scan = scan_parquet(path)
    with translated(path):
        described = stage.connection.execute(f"DESCRIBE SELECT * FROM {scan.sql}").fetchall()
        own = {str(row[0]).casefold() for row in described}
        more = {name: text for name, text in _of_folders(path).items() if name.casefold() not in own}
        if more:
            scan = scan_parquet(path, more=more)
            described = stage.connection.execute(f"DESCRIBE SELECT * FROM {scan.sql}").fetchall()
    columns = [Column(str(row[0]), identifier(str(row[0])), str(row[1]), nested=_nested_type(str(row[1]))) for row in described]
    return Table(path, scan, columns, header=True)


def _of_folders(path: Path) -> dict[str, str | None]:
    """Return what Spark and Hive write into the path alone, of the folders right above: `date=2024-01-01/user=7/p.parquet`."""
    found = {}
    for folder in path.absolute().parents:
        name, sign, text = folder.name.partition("=")
        if not sign or not name:
            break
        found[unquote(name)] = None if text == "__HIVE_DEFAULT_PARTITION__" else unquote(text)
    return found


_NESTED: tuple[Nested | None, ...] = (None, "lists", "objects", "records")
"""What a cell may hold in the place of one value; what says more of a column stands later."""


def _nested_type(kind: str) -> Nested | None:
    """Return what cells of a DuckDB type hold in the place of one value."""
    objects = kind.startswith(("STRUCT", "MAP"))
    if kind.endswith("]"):
        return "records" if objects else "lists"
    return "objects" if objects else None


def _nested_value(cell: object) -> Nested | None:
    """Return the same of a value of a JSON line."""
    if isinstance(cell, list):
        return "records" if any(isinstance(one, dict) for one in cell) else "lists"
    return "objects" if isinstance(cell, dict) else None


def _json_lines(stage: Stage, path: Path, lines: Sequence[str], encoding: str) -> Table:
    if encoding == "utf-16":
        fix = "Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 FILE."
        raise DataError(str(path), "JSON lines in UTF-16", expected="JSON lines in UTF-8", fix=fix)
    seen = _objects(lines)
    shown = {key for value in seen for key, cell in value.items() if cell is not None and cell != []}
    keys: dict[str, Nested | None] = {}
    for value in [*seen, *_objects(_later_lines(stage, path, shown))]:
        for key, cell in value.items():
            keys[key] = max(keys.get(key), _nested_value(cell), key=_NESTED.index)
    if not keys:
        raise DataError(f"{path} line 1", repr(lines[0][:80]), expected="a JSON object", fix="Write one object a line.")
    # keys that differ in case alone would be one column to DuckDB
    once = {key.casefold(): key for key in reversed(keys)}
    names = [key for key in keys if once[key.casefold()] == key]
    columns = [Column(name, identifier(name), nested=keys[name]) for name in names]
    return Table(path, scan_json_lines(path, names), columns, header=True)


def _objects(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects that lines hold; those that cannot be read are counted later."""
    found = []
    for line in lines:
        with suppress(ValueError):
            found.append(json.loads(line))
    return [value for value in found if isinstance(value, dict)]


def _later_lines(stage: Stage, path: Path, shown: AbstractSet[str]) -> list[str]:
    """Return lines with all keys of the whole file and all kinds of their values, but for those keys that have been shown.

    What is rare may not be among the first lines.
    """
    if path in stage.lines:
        return stage.lines[path]
    whole = f"read_json_objects({path_literal(path)}, format='newline_delimited', ignore_errors=true, {json_limits(path)})"
    run, keys = stage.connection.execute, f"SELECT json, unnest(json_keys(json)) AS key FROM {whole}"
    with translated(path):
        late = sorted({str(row[0]) for row in run(f"SELECT DISTINCT key FROM ({keys})").fetchall()} - shown)
        if late:  # a second look, at their values
            kinds = "TRY(json_type(json -> key)) AS kind, TRY(json_type(json -> key, '$[0]')) AS first"
            chosen = f"SELECT * FROM ({keys}) WHERE key IN ({', '.join(map(literal, late))})"
            query = f"SELECT key, {kinds}, any_value(CAST(json AS VARCHAR)) FROM ({chosen}) GROUP BY ALL ORDER BY ALL"
            stage.lines[path] = [str(row[3]) for row in run(query).fetchall()]
        else:
            stage.lines[path] = []
    return stage.lines[path]


def _text(path: Path, lines: Sequence[str], options: ReadOptions, role: Role, encoding: str) -> Table:
    possible = sorted(_DELIMITERS, key=lambda d: d == options.decimal)  # a decimal comma parts no columns, if another does
    delimiter = options.delimiter or _named(lines[0], role, options, possible) or _delimiter(lines, possible)
    quote = options.quote if options.quote is not None else _quote(lines, delimiter)
    rows = _rows(lines, delimiter, quote)
    header = options.header if options.header is not None else _has_header(rows, role, options)
    _check_width(path, rows, delimiter, header=header)
    width = len(rows[0])
    names = [split_type(name) for name in rows[0]] if header else [(str(number), None) for number in range(1, width + 1)]
    sql = [f"c{number}" for number in range(width)]
    sequences = {"token_seq": " ", "float_seq": " "}
    columns = [
        Column(name, column, sequence=sequences.get(kind or ""), typed=kind is not None)
        for (name, kind), column in zip(names, sql, strict=True)
    ]
    scan = scan_csv(path, sql, delimiter=delimiter, header=header, quote=quote, encoding=encoding)
    return Table(path, scan, columns, header, rows[1:] if header else rows)


def _named(first: str, role: Role, options: ReadOptions, possible: Sequence[str]) -> str | None:
    """Return the delimiter that cuts the first line into all names that a table needs, if they are several.

    Then the rows may be uneven: those that do not fit are rejected one by one.
    """
    needed = NEEDS[role]
    if len(needed) < 2:
        return None
    fitting = (d for d in possible if fits(_cells(first, d, '"'), needed, options) == len(needed))
    return next(fitting, None)


def _delimiter(lines: Sequence[str], possible: Sequence[str]) -> str:
    """Return the first delimiter that cuts all rows into equally many cells, more than one; else the likeliest."""
    likeliest, best = ",", 0.0
    for delimiter in possible:
        rows = _rows(lines, delimiter, '"')
        widths = Counter(map(len, rows))
        widths.pop(1, None)
        if not widths:
            continue
        share = widths.most_common(1)[0][1] / len(rows)
        if share == 1:
            return delimiter
        if share > best:
            likeliest, best = delimiter, share
    return likeliest


def _quote(lines: Sequence[str], delimiter: str) -> str:
    """Return the quote character: between tabs or blanks it is a quote only where cells are seen to be quoted whole."""
    if delimiter not in ("\t", " ", "::"):
        return '"'
    cells = [cell for line in lines for cell in line.split(delimiter) if cell.startswith('"')]
    if not cells:
        return ""
    if all(len(cell) > 1 and cell.endswith('"') for cell in cells):
        return '"'
    if len(delimiter) > 1 or _evenness(_rows(lines, delimiter, "")) == 1:
        return ""
    rows = _rows(lines, delimiter, '"')  # torn by line breaks inside quotes, perhaps
    return '"' if _evenness(rows) == 1 and any("\n" in cell for row in rows[:-1] for cell in row) else ""


def _rows(lines: Sequence[str], delimiter: str, quote: str) -> list[list[str]]:
    """Return the cells of each row. Line breaks inside quotes part no rows, where that makes rows of one width."""
    rows = [_cells(line, delimiter, quote) for line in lines]
    if len(delimiter) > 1 or not quote or _evenness(rows) == 1:
        return rows
    records = list(csv.reader([line + "\n" for line in lines], delimiter=delimiter, quotechar=quote))
    if len(records) > 1 and len(records[-1]) != len(records[0]):
        del records[-1]  # the sample may end within it
    return records if len(records) > 1 and _evenness(records) > _evenness(rows) else rows


def _evenness(rows: Sequence[Sequence[str]]) -> float:
    return Counter(map(len, rows)).most_common(1)[0][1] / len(rows)


def _cells(line: str, delimiter: str, quote: str) -> list[str]:
    if len(delimiter) > 1 or not quote:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, quotechar=quote), [])


def _has_header(rows: Sequence[Sequence[str]], role: Role, options: ReadOptions) -> bool:
    """Return whether the first line holds names: names that the role knows, or words above numbers."""
    first = rows[0]
    needed = ("named", "label") if role == "labels" else NEEDS[role]
    known = fits(first, needed, options)
    if known == len(needed) or all(split_type(cell)[1] for cell in first):
        return True
    if any(_is_number(cell if options.decimal == "." else cell.replace(options.decimal, ".")) for cell in first):
        return False
    if role in _POSITIONAL:
        return known >= 2 or (known == 1 and role == "triples" and _stands_apart(rows))
    return True  # words in the first line of such a table are names, known or not; "--no-header" says otherwise


def _stands_apart(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether no cell of the first row occurs again below it, among some rows."""
    below = [set(column) for column in zip(*rows[1:], strict=False)]
    return len(rows) > _ENOUGH and not any(cell in column for cell, column in zip(rows[0], below, strict=False))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_width(path: Path, rows: Sequence[Sequence[str]], delimiter: str, *, header: bool) -> None:
    if not header or len(rows) < 2:
        return
    width, lines = Counter(len(row) for row in rows[1:]).most_common(1)[0]
    if width != len(rows[0]) and lines * 2 > len(rows) - 1:
        raise DataError(
            f"{path} line 1",
            f"{len(rows[0])} column names above {width} cells, parted by {delimiter!r}",
            expected="one name for each cell",
            fix="Correct the first line, or say what parts the columns (--delimiter).",
        )
