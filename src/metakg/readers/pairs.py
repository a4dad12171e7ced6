"""Interactions: filtered rows, collapsed pairs, and the users and items that remain."""

from __future__ import annotations

from datetime import UTC, datetime

from metakg.errors import DataError
from metakg.readers.filters import apply_counts, minima, row_filters
from metakg.readers.job import ORDER, Job

_KEY_ROWS = 1 << 31
"""With fewer rows than this, (time, row) fits into one 64-bit key, since times end in 2100 (below 2^32)."""


def build_pairs(job: Job) -> tuple[str, str] | None:
    """Build the tables `pairs` (user, item[, time_s][, value]; codes), `users` and `items` (id, code, row).

    Returns:
        The first and last time of the kept interactions as ISO 8601, or None where there are no times.
    """
    parts = job.of("interactions")
    if job.options.on_bad == "fail" and (partly := partial_columns(job)):
        what, _ = partly[0]
        fix = "Give every part the same columns, or leave the column out (--time-column none, --value-column none)."
        raise DataError("the interactions", what, expected="the same columns in every part", fix=fix)
    has_value = bool(parts) and all("value" in checked.part.columns for checked in parts)
    has_time = bool(parts) and all("time" in checked.part.columns for checked in parts)
    columns = ["user", "item", *["value"] * has_value, *["time_s"] * has_time]
    account = job.account("interactions")
    job.run(f"CREATE VIEW good_events AS SELECT * FROM {job.rows('interactions', *columns)}")
    conditions = row_filters(job.options, has_value=has_value, has_time=has_time)
    for number, condition in enumerate(conditions):
        earlier = " AND ".join([other.keep for other in conditions[:number]] or ["true"])
        removed = job.number(f"SELECT count(*) FROM good_events WHERE {earlier} AND NOT ({condition.keep})")
        account.filtered[condition.name] = removed
    keep = " AND ".join([condition.keep for condition in conditions] or ["true"])
    job.run(f"CREATE VIEW events AS SELECT * FROM good_events WHERE {keep}")
    job.step("numbering users and items")
    _name(job, "user")
    _name(job, "item")
    job.step("collapsing repeated pairs")
    _collapse(job, has_value=has_value, has_time=has_time)
    events, distinct = job.number("SELECT sum(n) FROM pairs"), job.number("SELECT count(*) FROM pairs")
    if events > distinct:
        account.merged["a repeated pair of user and item"] = events - distinct
    if job.options.max_items_per_user is not None or max(minima(job.options)) > 1:
        job.step("filtering by counts")
        job.filters += apply_counts(job.connection, job.options)
        for step in job.filters:
            account.filtered[step.name] = step.interactions
    account.kept = job.number("SELECT count(*) FROM pairs")
    least_items, least_users = minima(job.options)
    _survivors(job, "user", unclicked=least_items == 0)
    _survivors(job, "item", unclicked=least_users == 0)
    if not has_time or not account.kept:
        return None
    first, last = job.run("SELECT min(time_s), max(time_s) FROM pairs")[0]
    return iso(first), iso(last)


def partial_columns(job: Job) -> list[tuple[str, int]]:
    """Return what is not used of interactions in parts because some have none: words for people, and the rows concerned."""
    found = []
    for column, name in (("time", "times"), ("value", "values")):
        having = [checked for checked in job.of("interactions") if column in checked.part.columns]
        others = [checked for checked in job.of("interactions") if column not in checked.part.columns]
        if having and others:
            one, other = (checked[0].part.scan.path.name if checked[0].part.scan else "a part" for checked in (having, others))
            more = f" and {len(having) - 1} more" if len(having) > 1 else ""
            found.append((f"{name} of {one}{more} are not used, since {other} has none", sum(part.read for part in having)))
    return found


def _name(job: Job, kind: str) -> None:
    """Create `all_users` or `all_items`: every id that occurs, its code, and whether an interaction has it."""
    sources = [
        f"SELECT {kind} AS id, NULL::INTEGER AS given, true AS clicked FROM (SELECT DISTINCT {kind} FROM events)",
        f"SELECT id, CAST(row AS INTEGER), false FROM {job.rows('ids', 'kind', 'id', 'row')} WHERE kind = '{kind}'",
        f"SELECT DISTINCT {kind}, NULL::INTEGER, false FROM {job.rows(f'{kind}_triples', kind)}",
    ]
    if kind == "item" and not job.of("interactions"):  # validating links alone: nobody else names the items
        sources.append(f"SELECT DISTINCT item, NULL::INTEGER, false FROM {job.rows('links', 'item')}")
    job.run(
        f"CREATE TABLE all_{kind}s AS SELECT id, clicked, CAST(row_number() OVER (ORDER BY {ORDER}) - 1 AS INTEGER) AS code "
        "FROM (SELECT id, min(given) AS given, bool_or(clicked) AS clicked "
        f"FROM ({' UNION ALL '.join(sources)}) GROUP BY id)"
    )


def _collapse(job: Job, *, has_value: bool, has_time: bool) -> None:
    chosen = ["u.code AS user", "i.code AS item", "CAST(count(*) AS BIGINT) AS n"]
    if has_time:
        chosen.append("min(time_s) AS time_s")
    if has_value:
        rows = sum(checked.read for checked in job.of("interactions"))
        wide = "CAST(time_s AS HUGEINT)" if rows >= _KEY_ROWS else "time_s"
        order = f"{wide} * {_KEY_ROWS} + seq" if has_time else "seq"
        rule = {"last": f"arg_max(value, {order})", "first": f"arg_min(value, {order})", "max": "max(value)"}
        chosen.append(f"{rule[job.options.value_rule]} AS value")
    job.run(
        f"CREATE TABLE pairs AS SELECT {', '.join(chosen)} FROM events e "
        "JOIN all_users u ON e.user = u.id JOIN all_items i ON e.item = i.id GROUP BY u.code, i.code"
    )


def _survivors(job: Job, kind: str, *, unclicked: bool) -> None:
    """Create `users` or `items`: the ids that remain, renumbered without gaps."""
    alive = f"code IN (SELECT {kind} FROM pairs)"
    if unclicked:
        alive = f"(NOT clicked OR {alive})"
    job.run(
        f"CREATE TABLE {kind}s AS SELECT id, code, CAST(row_number() OVER (ORDER BY code) - 1 AS INTEGER) AS row "
        f"FROM all_{kind}s WHERE {alive}"
    )


def iso(time_s: int) -> str:
    """Return UTC seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
