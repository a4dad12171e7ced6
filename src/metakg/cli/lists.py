"""`metakg lists`: lists made ahead, for many users or for every item, as one table.

metakg lists BUNDLE --out lists.parquet                      the best items of every user
metakg lists BUNDLE --users ids.txt --out lists.csv          of these, known or new
metakg lists BUNDLE --of items --out similar.jsonl           the neighbours of every item

One row an entry: user, place (from 1), item, label, score, way; with --why the heaviest reason too. Of items: item, place,
neighbour, label, score. The name's end says the format: .parquet, .csv, .tsv, .jsonl.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metakg.cli import screen
from metakg.cli.common import JsonOption, ids_in, print_json, warn_of_unknown
from metakg.cli.recommend import BundleArgument
from metakg.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from metakg.engine import Engine

Rows = list[tuple[Any, ...]]

_AT_ONCE = 1_000
"""Lists that are written together."""


def lists(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option(help="The table: .parquet, .csv, .tsv or .jsonl.")],
    of: Annotated[
        Literal["users", "items"], typer.Option(help="Whose lists: each user's best items, or each item's neighbours.")
    ] = "users",
    users: Annotated[
        Path | None, typer.Option(help="File of user ids, one a line, known or new; by default all that the bundle knows.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many entries a list.")] = 20,
    deny: Annotated[Path | None, typer.Option(help="File of item ids, one a line, that are never shown.")] = None,
    diversity: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Weigh each item against its likeness to those before it.")
    ] = 0.0,
    filter_seen: Annotated[bool, typer.Option(help="Leave out what the user has already clicked.")] = True,
    why: Annotated[bool, typer.Option(help="Add the heaviest reason of each entry, which takes longer.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the lists of all users, or the neighbours of all items, to a file: whole or not at all."""
    from metakg import files
    from metakg.engine import load

    if of == "items" and (users is not None or deny is not None or why or diversity or not filter_seen):
        raise ConfigError("--of items", "an option of users' lists", expected="-k alone", fix="Leave the others out.")
    if out.suffix not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise ConfigError("--out", f"{out.name!r}", expected=f"a name that ends in {known}", fix="Name the format so.")
    files.check_file(out, overwrite=overwrite)
    names, hidden = None if users is None else ids_in(users), () if deny is None else ids_in(deny)
    engine = load(bundle)
    if why and not engine.explains:
        raise ConfigError("--why", f"a bundle of {engine.model}", expected="a model that explains", fix="Leave it out.")
    warn_of_unknown(engine.unknown(hidden))
    if of == "users":
        names = engine.users if names is None else list(dict.fromkeys(names))
        columns = ["user", "place", "item", "label", "score", "way", *(["why"] if why else [])]
        made = (
            _entries(engine, user, found, why=why)
            for user, found in engine.lists(names, k, filter_seen=filter_seen, deny=hidden, diversity=diversity)
        )
    else:
        names, columns = engine.items, ["item", "place", "neighbour", "label", "score"]
        made = (
            [(item, place, near.item, near.label, near.score) for place, near in enumerate(engine.similar(item, k), 1)]
            for item in names
        )
    count = empty = 0
    with _table(out, columns) as write, _bar(len(names)) as advance:
        while some := list(itertools.islice(made, _AT_ONCE)):
            rows = [row for part in some for row in part]
            write(rows)
            count, empty = count + len(rows), empty + sum(not part for part in some)
            advance(len(some))
    told = {"lists": len(names) - empty, "rows": count, "empty": empty}
    if as_json:
        print_json({"file": str(out), **told})
    else:
        typer.echo(
            f"{out}: {count:,} rows, lists of {len(names) - empty:,} {of}" + (f"; nothing for {empty:,}" if empty else "")
        )


def _entries(engine: Engine, user: str, found: list[Any], *, why: bool) -> Rows:
    """Return the rows of one user's list."""
    rows: Rows = [(user, place, e.item, e.label, e.score, e.way) for place, e in enumerate(found, 1)]
    if not why:
        return rows
    reasons = engine.reasons(user, [entry.item for entry in found], 1)
    return [(*row, str(paths[0]) if paths else None) for row, paths in zip(rows, reasons, strict=True)]


@contextmanager
def _table(out: Path, columns: list[str]) -> Iterator[Callable[[Rows], None]]:
    """Yield what writes some rows; the file is there when all of them are."""
    import pyarrow as pa

    from metakg import files

    kinds = {"place": pa.int32(), "score": pa.float32()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    with files.atomic_file(out) as temporary, _WRITERS[out.suffix](temporary, schema) as write:

        def write_rows(rows: Rows) -> None:
            values = list(zip(*rows, strict=True)) or [()] * len(columns)
            write(pa.table([pa.array(column, kind) for column, kind in zip(values, schema.types, strict=True)], schema=schema))

        yield write_rows


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield writer.write_table


@contextmanager
def _text(path: Path, schema: pa.Schema, delimiter: str) -> Iterator[Callable[[pa.Table], None]]:
    from pyarrow import csv

    options = csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
    with csv.CSVWriter(path, schema, write_options=options) as writer:
        yield writer.write_table


@contextmanager
def _json_lines(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    with path.open("x", encoding="utf-8") as file:

        def write(table: pa.Table) -> None:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())

        yield write


_WRITERS: dict[str, Callable[[Path, pa.Schema], Any]] = {
    ".parquet": _parquet,
    ".csv": lambda path, schema: _text(path, schema, ","),
    ".tsv": lambda path, schema: _text(path, schema, "\t"),
    ".jsonl": _json_lines,
}


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Draw a bar on a terminal; yield what moves it on."""
    console = screen.console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bars:
        task = bars.add_task("", total=total)
        yield lambda count: bars.advance(task, count)
