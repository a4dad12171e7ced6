"""Each part is read once: its rows are cleaned, typed and judged, and every one that cannot be used is counted.

A part becomes a DuckDB table with the columns of its kind and `code`: 0 for a usable row, else the number of a reason. Rows
stand in file order, so the `rowid` of the table is the row of the scan, and the few rows that a message quotes are looked up
again instead of carrying file and line through a scan of fifty million rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metakg.errors import ConfigError, DataError, EmptyFileError
from metakg.readers.duck import translated
from metakg.readers.options import ReadOptions
from metakg.readers.report import SHOWN, Place
from metakg.readers.scan import as_number, as_text, identifier, literal
from metakg.readers.staging import KINDS, Part, Stage

LATEST_S = 4_102_444_800
"""2100-01-01: a later time is a mistake of the unit, not a time."""
_UNIT = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SAMPLE = 10_000
_LAST_NS = 4.3e18
"""The year 2106 in nanoseconds; no unit makes a later time plausible."""
_DAYS = (19000101, 21001231)
"""Days as numbers are written in this range, and few clicks are of the summer of 1970."""
_LARGEST = "3.4e38"  # of a 32-bit float
BROKEN = "a line that cannot be read"
_PROBLEM, _SKIP = 100, 101
_TEXT = 160
_BLANKS = "' \t\r\n'"
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
    select, reasons = _judged(stage, part, options)
    with translated(path or _anonymous(part)), stage.intact(path):
        connection.execute(f"CREATE TABLE {table} AS {select}")
    broken = part.scan.rejected(connection) if part.scan else []
    counts = dict(connection.execute(f"SELECT code, count(*) FROM {table} GROUP BY code").fetchall())
    rejected = {reason: counts[code] for code, reason in enumerate(reasons, start=1) if code in counts}
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
    places = _places(stage, part, table, reasons, broken)
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


def _judged(stage: Stage, part: Part, options: ReadOptions) -> tuple[str, list[str]]:
    """Return the SELECT that cleans and judges a part, and the reasons in the order of their codes, from 1.

    Every cell is parsed once, in the inner SELECT; the CASE in the outer one looks at the outcome only. (One CASE over the
    raw cells would parse them again for every condition, and take five times as long.)
    """
    required, _ = KINDS[part.kind]
    inner = {name: f"nullif(trim({as_text(identifier(name), part.columns[name])}), '')" for name in required}
    inner |= {name: name for name in ("problem", "skip") if name in part.columns}
    outer = {name: identifier(name) for name in required}
    bare = part.scan is not None and part.scan.format == "json" and "problem" not in part.columns
    torn = " (or a line that is no JSON object)" if bare else ""
    reasons = [(f"no {name}{torn}", f"{identifier(name)} IS NULL") for name in required if name != "kind"]
    if "row" in part.columns:
        inner |= {"row": "TRY_CAST(row AS INTEGER)", "given": "row IS NOT NULL"}
        outer["row"] = "row"
        reasons.append(("a row number that is none", "given AND (row IS NULL OR row < 0)"))
    if "value" in part.columns:
        decimal = options.decimal_in("" if part.scan is None else part.scan.format)
        inner |= {"value": as_number("value", part.columns["value"], decimal), "raw_value": "value"}
        outer["value"] = f"CASE WHEN abs(value) <= {_LARGEST} THEN TRY_CAST(value AS FLOAT) END"
        reasons.append(("no value", f"value IS NULL AND {_absent('raw_value', part.columns['value'])}"))
        reasons.append(("a bad value", f"value IS NULL OR NOT isfinite(value) OR abs(value) > {_LARGEST}"))
    if "time" in part.columns:
        inner |= {"time_s": _time(stage, part, options), "raw_time": "time"}
        outer["time_s"] = "time_s"
        reasons.append(("no time", f"time_s IS NULL AND {_absent('raw_time', part.columns['time'])}"))
        reasons.append(("a bad time", f"time_s IS NULL OR time_s < 0 OR time_s > {LATEST_S}"))
    cases = "".join(
        f"WHEN {name} IS NOT NULL THEN {code} " for name, code in (("problem", _PROBLEM), ("skip", _SKIP)) if name in inner
    )
    cases += " ".join(f"WHEN {condition} THEN {code}" for code, (_, condition) in enumerate(reasons, start=1))
    cleaned = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in inner.items())
    kept = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in outer.items())
    select = f"SELECT {kept}, CAST(CASE {cases} ELSE 0 END AS UTINYINT) AS code FROM (SELECT {cleaned} FROM {part.view})"
    return select, [reason for reason, _ in reasons]


def _absent(column: str, kind: str) -> str:
    return f"({column} IS NULL OR trim({column}, {_BLANKS}) = '')" if kind == "VARCHAR" else f"{column} IS NULL"


def _time(stage: Stage, part: Part, options: ReadOptions) -> str:
    """Return the time column as SQL of whole UTC seconds since 1970.

    Raises:
        ConfigError: the format that the options give is none.
    """
    import duckdb

    kind, given = part.columns["time"], options.time_format
    if given is None or kind.startswith(("TIMESTAMP", "DATE")):
        return _seconds(kind, _unit(stage, part, options))
    try:
        stage.connection.execute("SELECT try_strptime('', ?)", [given]).fetchall()
    except duckdb.InvalidInputException as err:
        raise ConfigError(
            "option time_format",
            f"{given!r} ({str(err).rpartition(': ')[2]})",
            expected="a format as for strptime",
            fix="Write for example %d.%m.%Y, %m/%d/%Y or %Y%m%d%H%M%S; a per cent sign itself is %%.",
        ) from err
    text = f"trim({as_text('time', kind)}, {_BLANKS})"
    return f"TRY_CAST(floor(epoch(try_strptime({text}, {literal(given)}))) AS BIGINT)"


def _seconds(kind: str, unit: str) -> str:
    """Return a time column as SQL: whole UTC seconds since 1970; NULL or negative where it cannot be read as a time.

    TRY_CAST throughout, and nothing twice: what occurs twice in an expression, the engine works out for every row, whether or
    not its branch is taken.
    """
    factor = _UNIT[unit]
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "TRY_CAST(floor(epoch(time)) AS BIGINT)"
    if kind in _NUMBERS:
        return f"CASE WHEN time >= 0 THEN TRY_CAST(time AS BIGINT) // {factor} ELSE -1 END"
    number = "TRY_CAST(time AS DOUBLE)"
    if kind != "VARCHAR":  # else the engine might conclude from a file's statistics, which leave NaN out, that all is well
        number = f"CASE WHEN isfinite({number}) THEN {number} END"
    scaled = f"floor({number} / {factor})" if factor > 1 else f"floor({number})"
    seconds = f"TRY_CAST({scaled} AS BIGINT)"
    if kind != "VARCHAR":
        return seconds
    return f"coalesce({seconds}, TRY_CAST(floor(epoch(TRY_CAST(trim(time) AS TIMESTAMPTZ))) AS BIGINT))"


def _unit(stage: Stage, part: Part, options: ReadOptions) -> str:
    """Return the unit of numeric times: the one that most of the first rows are plausible in."""
    if options.time_unit != "auto":
        return options.time_unit
    kind = part.columns["time"]
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "s"
    query = (
        "SELECT CASE WHEN n < 1e11 THEN 's' WHEN n < 1e14 THEN 'ms' WHEN n < 1e17 THEN 'us' ELSE 'ns' END AS unit, count(*) "
        f"FROM (SELECT TRY_CAST(time AS DOUBLE) AS n FROM (SELECT time FROM {part.view} LIMIT {_SAMPLE})) "
        f"WHERE n BETWEEN 0 AND {_LAST_NS} GROUP BY 1"  # a NaN is above all numbers here
    )
    with translated(part.scan.path if part.scan else _anonymous(part)):
        counts = dict(stage.connection.execute(query).fetchall())
        unit = max(_UNIT, key=lambda unit: counts.get(unit, 0))
        if unit == "s":
            _refuse_days(stage, part)
    return unit


def _refuse_days(stage: Stage, part: Part) -> None:
    """Refuse numbers such as 20240131: as seconds they would all lie in one week of 1970, which nobody notices.

    Raises:
        DataError: most of the first rows are such.
    """
    days = f"n BETWEEN {_DAYS[0]} AND {_DAYS[1]} AND try_strptime(CAST(TRY_CAST(n AS BIGINT) AS VARCHAR), '%Y%m%d') IS NOT NULL"
    query = (
        f"SELECT count(n), count(*) FILTER ({days}), min(n) FILTER ({days}) "
        f"FROM (SELECT TRY_CAST(time AS DOUBLE) AS n FROM (SELECT time FROM {part.view} LIMIT {_SAMPLE}))"
    )
    numbers, found, first = stage.connection.execute(query).fetchall()[0]
    if found * 2 > numbers:
        raise DataError(
            str(part.scan.path if part.scan else _anonymous(part)),
            f"times such as {first:.0f}, which look like days",
            expected="seconds (or milliseconds, ...) since 1970, or ISO 8601",
            fix="Say --time-format %Y%m%d if they are days, --time-unit s if they are seconds.",
        )


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
    "a bad value": (
        "a finite number",
        'Name the right column (--value-column), say that decimals stand behind a comma (--decimal ","), '
        'or ignore values (--value-column "none").',
    ),
    "no value": ("a number in every row", 'Fill the gap, or ignore values (--value-column "none").'),
    "a bad time": (
        "ISO 8601, or seconds, milli-, micro- or nanoseconds since 1970, between 1970 and 2100",
        "Name the right column (--time-column) or unit (--time-unit), say how times are written "
        '(--time-format "%d.%m.%Y %H:%M"), or ignore times (--time-column "none").',
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
        before = open_quotes[0] + 1
        lines = part.scan.lines([], broken=before)[1] if part.scan else []
        raise DataError(
            f"{where} line {lines[-1]}" if len(lines) == before else where,
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
    if reason == "a bad time" and options.time_format is not None:
        expected = f"a time as {options.time_format} writes it, between 1970 and 2100"
        fix = (
            'Correct the format (--time-format), name the right column (--time-column), or ignore times (--time-column "none").'
        )
    rows = f"; the same in {checked.rejected[reason]} of {checked.read} rows" if checked.rejected[reason] > 1 else ""
    instead = "" if hopeless else " To leave such rows out and count them: --on-bad reject."
    raise DataError(place.where, f"{reason} ({place.found}){rows}", expected=expected, fix=fix + instead)


def _anonymous(part: Part) -> Path:
    """Return a name for the errors of a part that reads several files."""
    return Path(part.kind)
