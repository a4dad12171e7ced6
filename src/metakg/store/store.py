"""`Store`: an append-only log of events in SQLite (a path) or PostgreSQL (a URL).

Durable: `append` returns after the commit is on disk (SQLite: WAL with synchronous=FULL; PostgreSQL: its default).
In one order: appenders take turns, so the numbers of events follow their commits without a gap, whoever wrote them.
Once: a request with a key, or an event with its sender's id, has one effect however often it is sent.
Forgetting: `forget` removes every earlier event of a user and keeps his bare id, since the bundle may still know him.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import exc

from metakg.errors import ConfigError, StoreError, missing_extra
from metakg.store import migrations
from metakg.store.events import CLICKS, Draft, Event, Kind
from metakg.store.tables import ANSWERS, COUNTER, EVENTS
from metakg.types import Json

LOG = logging.getLogger("metakg.store")
ANSWERS_KEPT_S = 30 * 24 * 3600
"""A key of a request is remembered for so long."""
_PATIENCE_S = 5
"""Longest wait for a connection or another writer's turn."""
_LOOKUP = 500
"""Values in one IN list."""
_LOG_WAIT_MS = 100
"""How long forgetting waits for those who read SQLite's log; whoever reads longer makes `tidy` come back."""
_LOG_AGAIN_S = 1.0
"""How often `tidy` tries again."""


@dataclass(frozen=True)
class Append:
    """One request to keep all of these or none.

    Attributes:
        drafts: in order.
        key: the sender's key of the whole request, or None.
    """

    drafts: tuple[Draft, ...]
    key: str | None = None


@dataclass(frozen=True)
class Accepted:
    """What a request came to.

    Attributes:
        accepted: events that were added.
        duplicates: events left out since one of the same client id was there.
        events: those that were added now; empty if the whole request had been answered before.
    """

    accepted: int
    duplicates: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Conflict:
    """A request that contradicts an earlier one; nothing of it was kept.

    Attributes:
        place: the draft whose client id stands for another event; None: the key stands for another request.
    """

    place: int | None


Outcome = Accepted | Conflict


class Store:
    """An open store. Safe for threads; several processes may share one.

    Args:
        url: a path, `sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/DATABASE`.
        migrate: bring an older store up to date, and make a new one; otherwise both are errors.

    Raises:
        ConfigError: the URL is of another database, or a package is missing.
        StoreError: the store cannot be opened, or is of another version.
    """

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        self._url = _parsed(url)
        self.name = self._url.render_as_string(hide_password=True)
        self.sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = self._sqlite() if self.sqlite else self._postgresql()
        # SQLite lets whoever waits ask again now and then, so that of many threads one may never be in luck: ours queue here.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.sqlite else nullcontext()
        self._pruned_s = 0.0
        self._log_due = self.sqlite  # a process that was killed may have left something
        self._log_tried_s = 0.0
        try:
            with self._errors("opening"):
                self.versions = self._opened(migrate)
                """Of the tables: as they were found, and as they are."""
        except StoreError:
            self._engine.dispose()
            raise

    def _opened(self, migrate: bool) -> tuple[int, int]:
        if migrate:
            with self._engine.begin() as connection:
                return migrations.migrate(connection)
        with self.reading() as connection:
            found = migrations.version(connection)
        if found != migrations.CURRENT:
            fix = "Run `metakg store migrate`." if found < migrations.CURRENT else "Use the newer metakg that wrote it."
            raise StoreError(f"store {self.name}", f"version {found}", expected=f"version {migrations.CURRENT}", fix=fix)
        return found, found

    def append(self, requests: Sequence[Append]) -> list[Outcome]:
        """Keep these requests in one transaction and return what each came to, in their order.

        Raises:
            StoreError: nothing was kept, or the connection broke while it was (then sending again under the same key is safe).

        Whatever fails behind the commit is no error of it: these requests are kept, and whoever heard otherwise would send them
        again.
        """
        with self._errors("appending"), self._turn, self._engine.begin() as connection:
            outcomes, forgotten = self.within(connection, requests)
            self._prune(connection)
        if forgotten:
            self._erased()
        return outcomes

    def within(self, connection: sa.Connection, requests: Sequence[Append]) -> tuple[list[Outcome], bool]:
        """Add requests in a transaction of `writing`; return what each came to, and whether anything was erased.

        Raises:
            StoreError: the store lost its counter.
        """
        # The row is locked before anything is looked up: whoever waited here sees what the others committed.
        last = connection.scalar(sa.select(COUNTER.c.last).with_for_update())
        if last is None:
            raise StoreError(self.name, "no counter", expected="one row in metakg_counter", fix="Restore a backup.")
        batch = _Batch(connection, int(last), int(time.time()))
        return batch.add(requests), batch.forgotten

    def read(self, after: int = 0, limit: int = 10_000) -> list[Event]:
        """Return the events behind number `after`, at most `limit`, in order."""
        query = sa.select(EVENTS).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(limit)
        with self.reading() as connection:
            return [event_of(row) for row in connection.execute(query).mappings()]

    def portions(self, after: int = 0) -> Iterator[list[Event]]:
        """Yield what is behind a number in order, in portions: no more than one of them is held at once."""
        while events := self.read(after):
            yield events
            after = events[-1].seq

    def of_user(self, user: str, after: int = 0, limit: int = 10_000) -> list[Event]:
        """Return what is kept of one user behind number `after`, at most `limit`, in order."""
        query = sa.select(EVENTS).where(EVENTS.c.user_id == user, EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(limit)
        with self.reading() as connection:
            return [event_of(row) for row in connection.execute(query).mappings()]

    def last(self) -> int:
        """Return the number of the newest event; 0 where nothing has happened yet."""
        with self.reading() as connection:
            return int(connection.scalar(sa.select(COUNTER.c.last)) or 0)

    def count(self) -> int:
        """Return how many events are kept."""
        with self.reading() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(EVENTS)) or 0)

    def forgotten(self) -> list[str]:
        """Return the ids of users who were forgotten, of those too who have come back since.

        What the next training has of them from before must be left out.
        """
        query = sa.select(EVENTS.c.user_id).where(EVENTS.c.kind == "forget").order_by(EVENTS.c.seq)
        with self.reading() as connection:
            return [str(user) for user in connection.scalars(query)]

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the store, whatever others commit meanwhile."""
        options: dict[str, Any] = {"metakg_reads": True} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        with (
            self._errors("reading"),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Yield a connection within a transaction; for `backup.restore`."""
        with self._errors("writing"), self._turn, self._engine.begin() as connection:
            yield connection
        self._erased()

    @property
    def untidy(self) -> bool:
        """Whether SQLite's log may still hold the bytes of what was erased."""
        return self._log_due

    def tidy(self) -> None:
        """Empty SQLite's log if that is still due; whoever keeps a store open calls this now and then.

        Whoever reads for long (a backup) keeps the log busy, and the checkpoints that SQLite makes by itself never empty it.
        """
        if self._log_due and time.monotonic() - self._log_tried_s > _LOG_AGAIN_S:
            self._empty_log(0)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn a database's errors into one line that holds no parameters, since those are people's data."""
        try:
            yield
        except exc.SQLAlchemyError as err:
            cause = getattr(err, "orig", None) or err
            found = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            fix = "See that the database runs, the disk has space, and the address and permissions are right; then try again."
            raise StoreError(f"{doing}, store {self.name}", found, expected="a database that answers", fix=fix) from err

    def _prune(self, connection: sa.Connection) -> None:
        """Forget old keys, once an hour."""
        if time.monotonic() - self._pruned_s > 3600 or not self._pruned_s:
            self._pruned_s = time.monotonic()
            connection.execute(ANSWERS.delete().where(ANSWERS.c.time_s < int(time.time()) - ANSWERS_KEPT_S))

    def _erased(self) -> None:
        """See to it that SQLite's log loses the pages of what was just erased. It is erased: nothing here may fail."""
        if self.sqlite:
            self._log_due = True
            self._empty_log(_LOG_WAIT_MS)

    def _empty_log(self, wait_ms: int) -> None:
        """Try to empty SQLite's log: `_log_due` stays where readers are in the way or the disk does not let us."""
        self._log_tried_s = time.monotonic()
        self._log_due = False  # before the try: what another thread erases meanwhile is due again
        try:
            with self._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert raw is not None
                cursor = raw.cursor()
                try:
                    cursor.execute(f"PRAGMA busy_timeout={wait_ms}")
                    busy = bool(cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
                finally:
                    cursor.execute(f"PRAGMA busy_timeout={1000 * _PATIENCE_S}")
                    cursor.close()
        except (sqlite3.Error, exc.SQLAlchemyError) as err:
            self._log_due = True
            LOG.warning("the log of the store still holds what was erased; tried again", extra={"error": str(err)})
        else:
            self._log_due |= busy

    def _sqlite(self) -> sa.Engine:
        path = self._url.database
        if not path or path == ":memory:":
            raise ConfigError("--store", "a store in memory", expected="a file", fix="Nothing would be durable: name a file.")
        if not Path(path).parent.is_dir():
            raise StoreError(f"store {path}", "no such folder", expected="a folder that exists", fix="Make it first.")
        if not Path(path).exists():  # people's data: for the owner's eyes, whatever the umask is
            try:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            except OSError as err:
                raise StoreError(f"store {path}", str(err), expected="a file that can be written", fix="Name another.") from err
        engine = sa.create_engine(
            self._url, hide_parameters=True, connect_args={"timeout": _PATIENCE_S, "check_same_thread": False}
        )

        @sa.event.listens_for(engine, "connect")
        def _connected(raw: Any, _: Any) -> None:
            raw.isolation_level = None  # we begin transactions ourselves, below
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=1", "secure_delete=ON"):
                raw.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(engine, "begin")
        def _begun(connection: sa.Connection) -> None:
            reads = connection.get_execution_options().get("metakg_reads")
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine

    def _postgresql(self) -> sa.Engine:
        try:
            return sa.create_engine(
                self._url,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_timeout=_PATIENCE_S,
                connect_args={
                    "connect_timeout": _PATIENCE_S,
                    # a database that is cut off says nothing at all; without these, TCP would wait for it for hours
                    "keepalives_idle": _PATIENCE_S,
                    "keepalives_interval": 2,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 2000 * _PATIENCE_S,
                    "options": f"-c statement_timeout={2000 * _PATIENCE_S} -c lock_timeout={1000 * _PATIENCE_S}",
                },
            )
        except ModuleNotFoundError as err:
            raise missing_extra("--store", "postgres", err) from err


def unreachable(err: StoreError) -> bool:
    """Return whether the database is the trouble, and not what it was asked to keep."""
    return not isinstance(err.__cause__, (exc.DataError, exc.IntegrityError, exc.ProgrammingError)) and isinstance(
        err.__cause__, (exc.DBAPIError, exc.TimeoutError)
    )


class _Batch:
    """The requests of one transaction, against the store and against each other."""

    def __init__(self, connection: sa.Connection, last: int, now_s: int) -> None:
        self.connection = connection
        self.last = last
        self.now_s = now_s
        self.forgotten = False
        self.rows: list[Event] = []
        self.answers: dict[str, tuple[str, Json]] = {}
        self.by_client: dict[str, Event] = {}

    def add(self, requests: Sequence[Append]) -> list[Outcome]:
        """Decide on each request in turn, then write what was accepted."""
        keys = [_digest(request.key) for request in requests if request.key is not None]
        self.answers = {
            row.key: (row.request, json.loads(row.answer)) for row in self._where(ANSWERS, ANSWERS.c.key, sorted(set(keys)))
        }
        known = set(self.answers)
        ids = {draft.client_id for request in requests for draft in request.drafts if draft.client_id is not None}
        self.by_client = {row.client_id: event_of(row._mapping) for row in self._where(EVENTS, EVENTS.c.client_id, sorted(ids))}
        start = self.last
        outcomes = [self._one(request) for request in requests]
        if self.rows:
            self.connection.execute(EVENTS.insert(), [row_of(event) for event in self.rows])
        fresh = [
            {"key": key, "request": request, "answer": json.dumps(answer), "time_s": self.now_s}
            for key, (request, answer) in self.answers.items()
            if key not in known
        ]
        if fresh:
            self.connection.execute(ANSWERS.insert(), fresh)
        if self.last != start:
            self.connection.execute(COUNTER.update().values(last=self.last))
        return outcomes

    def _one(self, request: Append) -> Outcome:
        key = None if request.key is None else _digest(request.key)
        fingerprint = _fingerprint(request.drafts)
        if key is not None and key in self.answers:
            same, answer = self.answers[key]
            return Accepted(answer["accepted"], answer["duplicates"], ()) if same == fingerprint else Conflict(None)
        fresh: list[Draft] = []
        mine: dict[str, Draft] = {}
        for place, draft in enumerate(request.drafts):
            if draft.client_id is None:
                fresh.append(draft)
                continue
            earlier = self.by_client.get(draft.client_id) or mine.get(draft.client_id)
            if earlier is None:
                mine[draft.client_id] = draft
                fresh.append(draft)
            elif not _same(earlier, draft):
                return Conflict(place)
        events = tuple(self._keep(draft) for draft in fresh)
        duplicates = len(request.drafts) - len(events)
        if key is not None:
            self.answers[key] = (fingerprint, {"accepted": len(events), "duplicates": duplicates})
        return Accepted(len(events), duplicates, events)

    def _keep(self, draft: Draft) -> Event:
        self.last += 1
        event = Event(
            self.last,
            draft.kind,
            draft.user,
            draft.item,
            draft.body,
            self.now_s if draft.time_s is None else draft.time_s,
            self.now_s,
            draft.client_id,
        )
        if draft.kind == "forget":
            self.forgotten = True
            self.connection.execute(EVENTS.delete().where(EVENTS.c.user_id == draft.user))
            self.rows = [row for row in self.rows if row.user != draft.user]
            self.by_client = {name: row for name, row in self.by_client.items() if row.user != draft.user}
        self.rows.append(event)
        if event.client_id is not None:
            self.by_client[event.client_id] = event
        return event

    def _where(self, table: sa.Table, column: sa.Column[Any], values: Sequence[Any]) -> Iterator[Any]:
        for start in range(0, len(values), _LOOKUP):
            yield from self.connection.execute(sa.select(table).where(column.in_(values[start : start + _LOOKUP])))


def _parsed(url: str) -> sa.URL:
    if "://" not in url:
        return sa.URL.create("sqlite", database=url)
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as err:
        raise ConfigError("--store", "an address that does not read as one", expected=_EXPECTED, fix="Check it.") from err
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed
    raise ConfigError("--store", f"a {parsed.drivername} address", expected=_EXPECTED, fix="Other databases are not supported.")


_EXPECTED = "a path, or postgresql://USER:PASSWORD@HOST/DATABASE"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _fingerprint(drafts: tuple[Draft, ...]) -> str:
    parts = [[d.kind, d.user, d.item, d.body, d.time_s, d.client_id] for d in drafts]
    return _digest(json.dumps(parts, sort_keys=True))


def _same(earlier: Event | Draft, draft: Draft) -> bool:
    """Return whether a second event of one client id says the same; a click may come again without its time."""
    alike = (earlier.kind, earlier.user, earlier.item) == (draft.kind, draft.user, draft.item)
    return alike and (draft.kind in CLICKS or earlier.body == draft.body)


def row_of(event: Event) -> dict[str, Any]:
    """Return an event as the columns of its row."""
    return {
        "seq": event.seq,
        "kind": event.kind,
        "user_id": event.user,
        "item_id": event.item,
        "body": json.dumps(event.body, ensure_ascii=False, separators=(",", ":")),
        "time_s": event.time_s,
        "received_s": event.received_s,
        "client_id": event.client_id,
    }


def event_of(row: Any) -> Event:
    """Return the event that a row holds."""
    return Event(
        row["seq"],
        cast(Kind, row["kind"]),
        row["user_id"],
        row["item_id"],
        json.loads(row["body"]),
        row["time_s"],
        row["received_s"],
        row["client_id"],
    )
