"""How an older store becomes a current one: numbered steps, forward only, each in the transaction that records it.

A step is plain SQL that both databases read, and is never changed once released: a new need is a new step. Beside each stands
what it means for the lines of a backup, so that one made by an older metakg is restored as if it had been migrated then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from metakg.errors import StoreError
from metakg.store.tables import VERSION
from metakg.types import Json

STEPS: dict[int, tuple[str, ...]] = {
    1: (
        "CREATE TABLE metakg_events (seq BIGINT PRIMARY KEY NOT NULL, kind TEXT NOT NULL, user_id TEXT, item_id TEXT,"
        " body TEXT NOT NULL, time_s BIGINT NOT NULL, received_s BIGINT NOT NULL)",
        "CREATE TABLE metakg_counter (one INTEGER PRIMARY KEY NOT NULL, last BIGINT NOT NULL)",
        "INSERT INTO metakg_counter (one, last) VALUES (1, 0)",
        "CREATE TABLE metakg_answers (key VARCHAR(64) PRIMARY KEY NOT NULL, request VARCHAR(64) NOT NULL,"
        " answer TEXT NOT NULL, time_s BIGINT NOT NULL)",
    ),
    2: (  # a sender's own ids of events; and what forgetting a user and ageing answers look up
        "ALTER TABLE metakg_events ADD COLUMN client_id TEXT",
        "CREATE UNIQUE INDEX metakg_events_client ON metakg_events (client_id)",
        "CREATE INDEX metakg_events_user ON metakg_events (user_id)",
        "CREATE INDEX metakg_answers_time ON metakg_answers (time_s)",
    ),
}
LINES: dict[int, Callable[[str, Json], Json]] = {
    2: lambda kind, line: {**line, "client_id": None} if kind == "event" else line,
}
"""What each step but the first makes of a line of a backup: ("event" or "answer", the line) -> the line."""
CURRENT = max(STEPS)
_LOCK = 0x6D65_7461_6B67
"""PostgreSQL's advisory lock while migrating: several processes may start at once."""


def version(connection: sa.Connection) -> int:
    """Return the version of the store behind a connection; 0 where there is none yet."""
    if not sa.inspect(connection).has_table(VERSION.name):
        return 0
    return int(connection.scalar(sa.select(sa.func.max(VERSION.c.version))) or 0)


def line(kind: str, value: Json, found: int) -> Json:
    """Return a line of a backup made at version `found` as one of now."""
    for number in range(found + 1, CURRENT + 1):
        value = LINES[number](kind, value)
    return value


def migrate(connection: sa.Connection, target: int | None = None) -> tuple[int, int]:
    """Bring the store to `target` within the connection's transaction; return the versions before and after.

    Without a target, to the tables as they are now.

    Raises:
        StoreError: the store is newer than this metakg.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    target = CURRENT if target is None else target
    before = version(connection)
    if before > CURRENT:
        raise StoreError(
            f"store {connection.engine.url.render_as_string(hide_password=True)}",
            f"version {before}",
            expected=f"at most {CURRENT}",
            fix="A newer metakg wrote it: install that one, or restore a backup made by this one.",
        )
    if before == 0:
        VERSION.create(connection, checkfirst=True)
    for number in range(before + 1, target + 1):
        for statement in STEPS[number]:
            connection.exec_driver_sql(statement)
        connection.execute(VERSION.insert().values(version=number, applied_s=int(time.time())))
    return before, max(before, target)
