"""Each part is read once: its rows are cleaned, typed and judged, and every one that cannot be used is counted.

A part becomes a DuckDB table with the columns of its kind and `code`: 0 for a usable row, else the number of a reason. Rows
stand in file order, so the `rowid` of the table is the row of the scan, and the few rows that a message quotes are looked up
again instead of carrying file and line through a scan of fifty million rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metakg.errors import DataError
from metakg.read.duck import translated
from metakg.read.options import ReadOptions
from metakg.read.report import SHOWN, Place
from metakg.read.scan import EmptyFileError, as_text, compression, identifier, read_through
from metakg.read.staging import KINDS, Part, Stage

LATEST_S = 4_102_444_800
"""2100-01-01: a later time is a mistake of the unit, not a time."""
_UNIT = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SAMPLE = 10_000
_LARGEST = "3.4e38"  # of a 32-bit float
BROKEN = "a line that cannot be read"
_PROBLEM, _SKIP = 100, 101
_TEXT = 160
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")


@dataclass(frozen=True)
class Checked:
    """One part after reading.

    Attributes:
        part: where it comes from.
        table: the DuckDB table; usable rows are those with `code = 0`.
        read: rows read, lines that gave no row included.
        good: usable rows.
        rejected: reason -> rows.
        skipped: reason -> rows left out on request.
        places: reason -> first places.
    """

    part: Part
    table: str
    read: int
    good: int
    rejected: dict[str, int]
    skipped: dict[str, int]
    places: dict[str, list[Place]]


def take_in(stage: Stage, part: Part, options: ReadOptions) -> Checked:
    """Read one part into a table.

    Raises:
        DataError: the file is damaged or empty, none of its rows can be used, or `on_bad` is "fail" and one cannot.
    """
    connection = stage.connection
    table = part.view.replace("stage_", "part_")
    path = part.scan.path if part.scan else None
    reasons, columns = _judge(stage, part, options)
    cases = " ".join(f"WHEN {condition} THEN {code}" for code, (_, condition) in enumerate(reasons, start=1))
    problem = f"WHEN problem IS NOT NULL THEN {_PROBLEM} " if "problem" in part.columns else ""
    skip = f"WHEN skip IS NOT NULL THEN {_SKIP} " if "skip" in part.columns else ""
    kept = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in columns.items())
    with translated(path or _anonymous(part)), _whole(stage, path):
        connection.execute(
            f"CREATE TABLE {table} AS SELECT {kept}, CAST(CASE {problem}{skip}{cases} ELSE 0 END AS UTINYINT) AS code "
            f"FROM (SELECT * FROM {part.view})"
        )
    broken = part.scan.rejected(connection) if part.scan else []
    counts = dict(connection.execute(f"SELECT code, count(*) FROM {table} GROUP BY code").fetchall())
    rejected = {reason: counts[code] for code, (reason, _) in enumerate(reasons, start=1) if code in counts}
    if broken:
        rejected[BROKEN] = len(broken)
    skipped: dict[str, int] = {}
    for column, code, tally in (("problem", _PROBLEM, rejected), ("skip", _SKIP, skipped)):
        if code in counts:
            why = f"SELECT {column}, count(*) FROM {part.view} WHERE {column} IS NOT NULL GROUP BY 1"
            for reason, count in connection.execute(why).fetchall():
                tally[reason] = tally.get(reason, 0) + count
    if skipped and _PROBLEM in counts:  # a row with both is a problem
        both = f"SELECT skip, count(*) FROM {part.view} WHERE skip IS NOT NULL AND problem IS NOT NULL GROUP BY 1"
        for reason, count in connection.execute(both).fetchall():
            skipped[reason] -= count
    places = _places(stage, part, table, [reason for reason, _ in reasons], broken)
    good = counts.get(0, 0)
    checked = Checked(part, table, sum(counts.values()) + len(broken), good, rejected, skipped, places)
    _refuse(checked, options, broken)
    return checked


def locate(stage: Stage, part: Part, rows: Sequence[int]) -> dict[int, Place]:
    """Return the places of rows of a part's table, counted from 0."""
    if not rows:
        return {}
    names = [name for name in (*KINDS[part.kind][0], *KINDS[part.kind][1]) if name in part.columns]
    text = ", ".join(f"'{name}=' || coalesce(CAST({identifier(name)} AS VARCHAR), '(none)')" for name in names)
    extra = [name for name in ("problem", "file", "line", "ordinal") if name in part.columns]
    chosen = ", ".join(str(row) for row in sorted(set(rows)))
    query = (
        f"SELECT n, left(concat_ws(', ', {text}), {_TEXT}) AS found {''.join(', ' + name for name in extra)} "
        f"FROM (SELECT *, row_number() OVER () - 1 AS n FROM {part.view}) WHERE n IN ({chosen}) LIMIT {len(set(rows))}"
    )
    cursor = stage.connection.execute(query)
    header = [column[0] for column in cursor.description or []]
    found = [dict(zip(header, row, strict=True)) for row in cursor.fetchall()]
    ordinals = [int(row["n"] if row.get("ordinal") is None else row["ordinal"]) for row in found]
    lines = part.scan.lines(ordinals)[0] if part.scan is not None else {}
    unit: Literal["line", "row"] = "row" if part.scan is not None and part.scan.format == "parquet" else "line"
    places = {}
    for row, ordinal in zip(found, ordinals, strict=True):
        file = row.get("file") or (str(part.scan.path) if part.scan else part.kind)
        line = row.get("line") or lines.get(ordinal)
        places[int(row["n"])] = Place(str(file), None if line is None else int(line), unit, row["found"])
    return places


@contextmanager
def _whole(stage: Stage, path: Path | None) -> Iterator[None]:
    """Check a gzip file's checksum on a second thread meanwhile: DuckDB inflates damaged bytes to rubbish without a word."""
    if path is None or path in stage.whole or compression(path) != "gzip":
        yield
        return
    with ThreadPoolExecutor(1) as thread:
        check = thread.submit(read_through, path)
        yield
        check.result()
    stage.whole.add(path)


def _judge(stage: Stage, part: Part, options: ReadOptions) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the reasons to reject a row as (words, SQL condition), and the cleaned columns as SQL."""
    required, _ = KINDS[part.kind]
    texts = {name: _clean(name, part.columns[name]) for name in required}
    reasons = [(f"no {name}", f"{sql} IS NULL") for name, sql in texts.items() if name != "kind"]
    columns = dict(texts)
    if part.kind == "ids" and "row" in part.columns:
        columns["row"] = "TRY_CAST(row AS INTEGER)"
        reasons.append(
            (
                "a row number that is none",
                "row IS NOT NULL AND (TRY_CAST(row AS INTEGER) IS NULL OR TRY_CAST(row AS INTEGER) < 0)",
            )
        )
    if part.kind == "interactions":
        if "value" in part.columns:
            number = _number("value", part.columns["value"])
            columns["value"] = f"CASE WHEN abs({number}) <= {_LARGEST} THEN TRY_CAST({number} AS FLOAT) END"
            reasons += [
                ("no value", _absent("value", part.columns["value"])),
                ("a bad value", f"({number} IS NULL OR NOT isfinite({number}) OR abs({number}) > {_LARGEST})"),
            ]
        if "time" in part.columns:
            seconds = _seconds(part.columns["time"], _unit(stage, part, options))
            columns["time_s"] = seconds
            reasons += [
                ("no time", _absent("time", part.columns["time"])),
                ("a bad time", f"({seconds} IS NULL OR {seconds} < 0 OR {seconds} > {LATEST_S})"),
            ]
    return reasons, columns


def _clean(name: str, kind: str) -> str:
    """Return an id column as SQL text: trimmed, NULL if empty."""
    return f"nullif(trim({as_text(identifier(name), kind)}, ' \t\r\n'), '')"


def _absent(name: str, kind: str) -> str:
    column = identifier(name)
    return f"({column} IS NULL OR trim({column}, ' \t\r\n') = '')" if kind == "VARCHAR" else f"{column} IS NULL"


def _number(name: str, kind: str) -> str:
    column = identifier(name)
    return f"TRY_CAST(trim({column}, ' \t\r\n') AS DOUBLE)" if kind == "VARCHAR" else f"TRY_CAST({column} AS DOUBLE)"


def _seconds(kind: str, unit: str) -> str:
    """Return a time column as SQL: whole UTC seconds since 1970, NULL where it cannot be read as a time."""
    factor = _UNIT[unit]
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "CASE WHEN isfinite(time) THEN TRY_CAST(floor(epoch(time)) AS BIGINT) END"
    if kind in _NUMBERS:
        return f"CASE WHEN time >= 0 AND time < {1 << 62} THEN TRY_CAST(time AS BIGINT) // {factor} END"
    number = _number("time", kind)
    of_number = (
        f"CASE WHEN {number} >= 0 AND {number} < {float(1 << 62)} THEN TRY_CAST(floor({number} / {factor}) AS BIGINT) END"
    )
    if kind != "VARCHAR":
        return of_number
    moment = "TRY_CAST(trim(time, ' \t\r\n') AS TIMESTAMPTZ)"
    of_text = f"CASE WHEN {number} IS NULL AND isfinite({moment}) THEN TRY_CAST(floor(epoch({moment})) AS BIGINT) END"
    return f"coalesce({of_number}, {of_text})"


def _unit(stage: Stage, part: Part, options: ReadOptions) -> str:
    """Return the unit of numeric times: the one that most of the first rows are plausible in."""
    if options.time_unit != "auto":
        return options.time_unit
    kind = part.columns["time"]
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "s"
    number = _number("time", kind)
    query = (
        "SELECT CASE WHEN n < 1e11 THEN 's' WHEN n < 1e14 THEN 'ms' WHEN n < 1e17 THEN 'us' ELSE 'ns' END AS unit, count(*) "
        f"FROM (SELECT {number} AS n FROM (SELECT time FROM {part.view} LIMIT {_SAMPLE})) WHERE n >= 0 GROUP BY 1"
    )
    with translated(part.scan.path if part.scan else _anonymous(part)):
        counts = dict(stage.connection.execute(query).fetchall())
    return max(_UNIT, key=lambda unit: counts.get(unit, 0))


def _places(
    stage: Stage, part: Part, table: str, reasons: Sequence[str], broken: Sequence[tuple[str, str]]
) -> dict[str, list[Place]]:
    """Return the first places of every reason."""
    run = stage.connection.execute
    ranked = f"SELECT code, rowid AS n, row_number() OVER (PARTITION BY code ORDER BY rowid) AS k FROM {table} WHERE code > 0"
    judged = run(f"SELECT code, n FROM ({ranked}) WHERE k <= {SHOWN} AND code <= {len(reasons)} ORDER BY n").fetchall()
    first: list[tuple[str, int]] = [(reasons[code - 1], n) for code, n in judged]
    if "problem" in part.columns and run(f"SELECT 1 FROM {table} WHERE code = {_PROBLEM} LIMIT 1").fetchall():
        first += run(
            "SELECT problem, n FROM (SELECT problem, n, row_number() OVER (PARTITION BY problem ORDER BY n) AS k "
            f"FROM (SELECT problem, row_number() OVER () - 1 AS n FROM {part.view}) WHERE problem IS NOT NULL) "
            f"WHERE k <= {SHOWN} ORDER BY n"
        ).fetchall()
    found = locate(stage, part, [row for _, row in first])
    places: dict[str, list[Place]] = {}
    for reason, row in first:
        places.setdefault(reason, []).append(found[row])
    if broken and part.scan is not None:
        shown = broken[:SHOWN]
        _, lines = part.scan.lines([], broken=len(shown))
        numbers: list[int | None] = [*lines, *[None] * (len(shown) - len(lines))]
        places[BROKEN] = [
            Place(str(part.scan.path), line, "line", f"{text.strip()[:_TEXT]!r} ({why})")
            for line, (text, why) in zip(numbers, shown, strict=True)
        ]
    return places


_EXPECTED = {
    BROKEN: ("the same columns in every line", "Correct the line; for another encoding or quote see --encoding and --quote."),
    "a bad value": ("a finite number", 'Name the right column (--value-column), or ignore values (--value-column "none").'),
    "no value": ("a number in every row", 'Fill the gap, or ignore values (--value-column "none").'),
    "a bad time": (
        "ISO 8601, or seconds, milli-, micro- or nanoseconds since 1970, between 1970 and 2100",
        'Name the right column (--time-column) or unit (--time-unit), or ignore times (--time-column "none").',
    ),
    "no time": ("a time in every row", 'Fill the gap, or ignore times (--time-column "none").'),
}


def _refuse(checked: Checked, options: ReadOptions, broken: Sequence[tuple[str, str]]) -> None:
    """Raise for a part that cannot be used as a whole, or for its first bad row if bad rows are not allowed."""
    part = checked.part
    where = str(part.scan.path) if part.scan else part.kind
    if not checked.read:
        raise EmptyFileError(where, "no rows", expected=f"{part.kind}", fix="Restore the file, or leave it out.")
    open_quotes = [index for index, (_, why) in enumerate(broken) if "unterminated quote" in why]
    if open_quotes:
        place = checked.places[BROKEN][min(open_quotes[0], SHOWN - 1)]
        raise DataError(
            place.where,
            "a quote that is never closed, so that everything after it would be one cell",
            expected="a closing quote",
            fix="Close the quote; if quotes are plain text in this file, say so (--quote none).",
        )
    if not checked.rejected:
        return
    hopeless = sum(checked.rejected.values()) == checked.read
    if not hopeless and options.on_bad == "reject":
        return
    if hopeless:
        reason = max(checked.rejected, key=lambda name: checked.rejected[name])
    else:
        reason = min(checked.places, key=lambda name: checked.places[name][0].line or 0)
    place = checked.places[reason][0]
    expected, fix = _EXPECTED.get(reason, ("a value in every column", "Correct the row."))
    rows = f"; the same in {checked.rejected[reason]} of {checked.read} rows" if checked.rejected[reason] > 1 else ""
    instead = "" if hopeless else " To leave such rows out and count them: --on-bad reject."
    raise DataError(place.where, f"{reason} ({place.found}){rows}", expected=expected, fix=fix + instead)


def _anonymous(part: Part) -> Path:
    """Return a name for the errors of a part that reads several files."""
    return Path(part.kind)
