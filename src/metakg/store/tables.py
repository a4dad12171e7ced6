"""The tables as they are now (version 2). `migrations.py` makes them; a test compares both."""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

VERSION = sa.Table(
    "metakg_version",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("applied_s", sa.BigInteger, nullable=False),
)

EVENTS = sa.Table(
    "metakg_events",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("item_id", sa.Text),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("time_s", sa.BigInteger, nullable=False),
    sa.Column("received_s", sa.BigInteger, nullable=False),
    sa.Column("client_id", sa.Text),
    sa.Index("metakg_events_user", "user_id"),
    sa.Index("metakg_events_client", "client_id", unique=True),
)

# One row. Whoever appends locks it first, so numbers are given in the order of commits and nobody who reads "all after
# n" can miss one that commits late, as with a database's own sequence.
COUNTER = sa.Table(
    "metakg_counter",
    METADATA,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)

# Keys are kept as digests: clients like to build them from ids, and a forgotten user must not live on here.
ANSWERS = sa.Table(
    "metakg_answers",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("time_s", sa.BigInteger, nullable=False),
    sa.Index("metakg_answers_time", "time_s"),
)
