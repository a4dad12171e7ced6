"""Filters on interactions, in SQL and out of core; each says what it removed.

Order: rows by value and time; then repeated pairs collapse; then users with too many items leave, counted once; then users
with too few items and items with too few users leave, again and again until nothing changes (that result does not depend on
the order of removal). With k-core both minima are k.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metakg.errors import ConfigError
from metakg.readers.options import ReadOptions
from metakg.readers.report import FilterStep

if TYPE_CHECKING:
    import duckdb


_DAY = len("20140723")


@dataclass(frozen=True)
class RowFilter:
    """A filter that looks at one row: its name for people, and the SQL condition of the rows that stay."""

    name: str
    keep: str


def row_filters(options: ReadOptions, *, has_value: bool, has_time: bool) -> list[RowFilter]:
    """Return the filters on single interactions that the options ask for.

    Raises:
        ConfigError: a filter needs a column that the interactions lack, or a time cannot be read.
    """
    filters = []
    if options.min_value is not None:
        _need(has_value, "min_value", "value (rating)", "--value-column")
        filters.append(RowFilter(f"value below {options.min_value:g}", f"value >= {options.min_value!r}"))
    for name, words, sign in (("from_time", "before", ">="), ("to_time", "from", "<")):
        text = getattr(options, name)
        if text is not None:
            _need(has_time, name, "time", "--time-column")
            filters.append(RowFilter(f"time {words} {text}", f"time_s {sign} {seconds(text, name)}"))
    return filters


def seconds(text: str, name: str) -> int:
    """Return UTC seconds since 1970 of an ISO 8601 time (UTC unless it says otherwise) or a whole number of seconds.

    Eight digits are a day (20140723), since as seconds they would lie within a year of 1970.
    """
    digits = text.strip()
    if digits.lstrip("-").isdecimal() and not (digits.isdecimal() and len(digits) == _DAY):
        return int(digits)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as err:
        raise ConfigError(
            f"option {name}",
            repr(text),
            expected="ISO 8601 such as 2014-07-23 or 2014-07-23T12:00:00Z, or seconds since 1970",
            fix="Correct the time.",
        ) from err
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1)


def minima(options: ReadOptions) -> tuple[int, int]:
    """Return (least items of a user, least users of an item); 0 where there is no such filter."""
    return max(options.k_core, options.min_items_per_user), max(options.k_core, options.min_users_per_item)


def apply_counts(connection: duckdb.DuckDBPyConnection, options: ReadOptions) -> list[FilterStep]:
    """Apply the filters that work by counts to the table `pairs` (user, item, ...: each pair once).

    Returns:
        What each filter removed, in the order of application.
    """
    steps = []
    if options.max_items_per_user is not None:
        limit = options.max_items_per_user
        steps.append(
            _remove(connection, f"users with more than {limit} items", [_groups("user", f"> {limit}")], until_stable=False)
        )
    items, users = minima(options)
    if items > 1 or users > 1:
        name = f"{items}-core" if items == users else f"users with under {items} items, items with under {users} users"
        conditions = [_groups("user", f"< {items}"), _groups("item", f"< {users}")]
        steps.append(_remove(connection, name, conditions, until_stable=True))
    return steps


def _groups(column: str, bound: str) -> str:
    return f"{column} IN (SELECT {column} FROM pairs GROUP BY {column} HAVING count(*) {bound})"


def _remove(connection: duckdb.DuckDBPyConnection, name: str, conditions: list[str], *, until_stable: bool) -> FilterStep:
    before = _sizes(connection)
    stored = alive = before[0]
    rounds = 0
    while True:
        rounds += 1
        removed = 0
        for condition in conditions:
            removed += connection.execute(f"DELETE FROM pairs WHERE {condition}").fetchall()[0][0]
        alive -= removed
        if alive * 2 < stored:  # deleted rows are only marked: store what is left anew before they dominate each round
            connection.execute("CREATE TABLE alive AS SELECT * FROM pairs")
            connection.execute("DROP TABLE pairs")
            connection.execute("ALTER TABLE alive RENAME TO pairs")
            stored = alive
        if not removed or not until_stable:
            break
    after = _sizes(connection)
    lost = [old - new for old, new in zip(before, after, strict=True)]
    return FilterStep(name, lost[0], lost[1], lost[2], rounds)


def _sizes(connection: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    query = "SELECT count(*), count(DISTINCT user), count(DISTINCT item) FROM pairs"
    found = connection.execute(query).fetchall()[0]
    return int(found[0]), int(found[1]), int(found[2])


def _need(present: bool, option: str, column: str, flag: str) -> None:
    if not present:
        raise ConfigError(
            f"option {option}",
            f"a filter by {column}, but the interactions have no such column",
            expected=f"a {column} column in every interactions file",
            fix=f"Name the column ({flag}), or leave the filter out.",
        )
