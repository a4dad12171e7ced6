"""What arrived, kept: an append-only log of events that are on disk before they are acknowledged.

events.py      what can happen, as frozen objects
tables.py      the tables as they are now
migrations.py  how older stores become so
store.py       `Store`: append, read, forget; SQLite without set-up, PostgreSQL for several processes
writer.py      `Writer`: many requests, one transaction
backup.py      JSON lines that either database can restore

Nothing here knows models or the web. Needs the extra `serve` (SQLAlchemy), and `postgres` for PostgreSQL.
"""

from metakg.errors import missing_extra

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401 - only to say early, and by name, what is missing
except ModuleNotFoundError as err:
    raise missing_extra("the store", "serve", err) from err

from metakg.store.backup import backup, restore
from metakg.store.events import Draft, Event, Kind
from metakg.store.store import Accepted, Append, Conflict, Outcome, Store
from metakg.store.writer import Writer

__all__ = ["Accepted", "Append", "Conflict", "Draft", "Event", "Kind", "Outcome", "Store", "Writer", "backup", "restore"]
