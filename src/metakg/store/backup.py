"""A whole store as JSON lines, made while the service goes on, restored by either database.

    {"metakg_store": 1, "version": 2, "last": 1843, "made_s": 1764000000}
    {"event": {"seq": 1, "kind": "click", ...}}
    {"answer": {"key": "...", ...}}
    {"end": {"events": 1790, "answers": 55, "sha256": "... of all bytes above"}}

One file, one state: all is read in one transaction. A cut or changed file is refused whole; one of an older version is brought
up to date line by line.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from metakg import files
from metakg.errors import DataError, StoreError
from metakg.store import migrations
from metakg.store.events import Draft, Event
from metakg.store.store import Append, Store, event_of, row_of
from metakg.store.tables import ANSWERS, COUNTER, EVENTS
from metakg.types import Json

FORMAT = 1
_CHUNK = 5_000
_COLUMNS = {"event": {field.name for field in fields(Event)}, "answer": {column.name for column in ANSWERS.columns}}
_FIX = "Use another backup, or copy this one again from where it was made."


def backup(store: Store, path: Path) -> Json:
    """Write everything kept to a new file, whole or not at all; return its counts.

    Returns:
        `events`, `answers`, `last` (number of the newest event) and `bytes`.

    Raises:
        DataError: the file exists or cannot be written.
        StoreError: the store cannot be read.
    """
    if path.exists():
        raise DataError(str(path), "a file", expected="a new path", fix="Name another file; this one was left as it is.")
    digest, counts = hashlib.sha256(), {"events": 0, "answers": 0}
    with files.atomic_file(path) as temporary, temporary.open("xb") as sink, store.reading() as connection:
        temporary.chmod(0o600)

        def line(value: Json) -> None:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(text)
            sink.write(text)

        last = int(connection.scalar(sa.select(COUNTER.c.last)) or 0)
        line({"metakg_store": FORMAT, "version": migrations.CURRENT, "last": last, "made_s": int(time.time())})
        rows = connection.execution_options(yield_per=_CHUNK)
        for row in rows.execute(sa.select(EVENTS).order_by(EVENTS.c.seq)).mappings():
            line({"event": asdict(event_of(row))})
            counts["events"] += 1
        for row in rows.execute(sa.select(ANSWERS).order_by(ANSWERS.c.key)).mappings():
            line({"answer": dict(row)})
            counts["answers"] += 1
        line({"end": {**counts, "sha256": digest.hexdigest()}})
    return {**counts, "last": last, "bytes": path.stat().st_size}


def restore(store: Store, path: Path, *, overwrite: bool = False, forget: Collection[str] = ()) -> Json:
    """Fill a store from a backup, whole or not at all; return its counts.

    Args:
        store: an empty store.
        path: a file that `backup` wrote.
        overwrite: drop what the store holds instead of refusing.
        forget: users who asked to be forgotten after the backup was made.

    Raises:
        DataError: the file cannot be read, or is not whole.
        StoreError: the store is not empty (and `overwrite` is off), or cannot be written.
    """
    last, version, counts = verified(path)
    with store.writing() as connection:
        found = connection.scalar(sa.select(COUNTER.c.last).with_for_update())
        if found and not overwrite:
            fix = "Name an empty store, or drop what is there with --overwrite."
            raise StoreError(f"store {store.name}", f"{found} events accepted", expected="an empty store", fix=fix)
        for table in (EVENTS, ANSWERS):
            connection.execute(table.delete())
        for table, rows in _chunks(path, version):
            connection.execute(table.insert(), rows)
        connection.execute(COUNTER.update().values(last=last))
        drafts = [Append((Draft("forget", user=user),)) for user in forget]
        if drafts:  # in the same breath: nobody must ever see again who asked to be forgotten
            store.within(connection, drafts)
    return {**counts, "last": last, "forgotten": len(drafts)}


def verified(path: Path) -> tuple[int, int, Json]:
    """Read a backup once without using it; return the number of its newest event, its version, and its counts.

    Raises:
        DataError: the file cannot be read, or is not whole.
    """
    digest, counts = hashlib.sha256(), {"events": 0, "answers": 0}
    head: Json | None = None
    version = 0
    end: Json | None = None
    for number, (text, value) in enumerate(_lines(path), 1):
        if end is not None:
            raise DataError(f"{path} line {number}", "more lines behind the end", expected="nothing", fix=_FIX)
        if head is None:
            head = value
            version = _version(path, value)
        elif isinstance(value.get("end"), dict):
            end = value["end"]
            if end != {**counts, "sha256": digest.hexdigest()}:
                raise DataError(str(path), "other lines than were written", expected="an unchanged file", fix=_FIX)
        else:
            counts["events" if _line(path, number, value, version)[0] == "event" else "answers"] += 1
        digest.update(text)
    if head is None or end is None:
        raise DataError(str(path), "no end", expected="a whole file", fix=_FIX)
    return head["last"], version, {**counts}


def _version(path: Path, head: Json) -> int:
    """Return the version that a backup's first line names."""
    last, version = head.get("last"), head.get("version")
    if head.get("metakg_store") != FORMAT or not isinstance(last, int) or not isinstance(version, int) or version < 1:
        found = f"format {head.get('metakg_store')!r}, version {version!r}"
        raise DataError(f"{path} line 1", found, expected=f"format {FORMAT} and a version", fix=_FIX)
    if version > migrations.CURRENT:
        fix = "A newer metakg made it: restore it with that one."
        raise DataError(f"{path} line 1", f"version {version}", expected=f"at most {migrations.CURRENT}", fix=fix)
    return version


def _line(path: Path, number: int, value: Json, version: int) -> tuple[str, Json]:
    """Return what a line holds ("event" or "answer"), as the tables are now."""
    kind = next(iter(value)) if len(value) == 1 else ""
    if kind not in _COLUMNS or not isinstance(value[kind], dict):
        raise DataError(f"{path} line {number}", "neither event nor answer", expected="one of both", fix=_FIX)
    made = migrations.line(kind, value[kind], version)
    if made.keys() != _COLUMNS[kind]:
        found = f"an {kind} with {', '.join(map(repr, value[kind]))}"
        raise DataError(f"{path} line {number}", found, expected=", ".join(sorted(_COLUMNS[kind])), fix=_FIX)
    return kind, made


def _chunks(path: Path, version: int) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    """Yield the rows of a verified backup by table, in chunks."""
    waiting: dict[str, list[dict[str, Any]]] = {"event": [], "answer": []}
    tables = {"event": EVENTS, "answer": ANSWERS}
    for number, (_, value) in enumerate(_lines(path), 1):
        if number == 1 or "end" in value:
            continue
        name, row = _line(path, number, value, version)
        rows = waiting[name]
        rows.append(row_of(Event(**row)) if name == "event" else row)
        if len(rows) >= _CHUNK:
            yield tables[name], rows
            waiting[name] = []
    yield from ((tables[name], rows) for name, rows in waiting.items() if rows)


def _lines(path: Path) -> Iterator[tuple[bytes, Json]]:
    try:
        with path.open("rb") as source:
            for number, text in enumerate(source, 1):
                try:
                    value = json.loads(text)
                except (ValueError, RecursionError) as err:
                    raise DataError(
                        f"{path} line {number}", "text that is not JSON", expected="a whole line", fix=_FIX
                    ) from err
                if not isinstance(value, dict):
                    raise DataError(f"{path} line {number}", "no JSON object", expected="one on each line", fix=_FIX)
                yield text, value
    except OSError as err:
        raise DataError(str(path), str(err), expected="a backup that can be read", fix="Check the path.") from err
