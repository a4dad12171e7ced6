r"""The contract between the modules that know a file format and `readers.assemble`, which knows everything else.

A *source module* (tables, atomic, kgat, rdf, amazon, ...) exports one function `stage_<format>(stage, path, ...)`. It looks at
its files, raises `DataError` for what makes a file unusable as a whole (a missing column, an empty file), and adds *parts*:

    def stage_clicks(stage: Stage, path: Path) -> None:
        stage.note("clicks", [path])
        scan = scan_csv(path, ["uid", "product", "at"], delimiter="\t", header=True)     # readers.scan
        stage.add("interactions", f"SELECT uid AS user, product AS item, at AS time FROM {scan.sql}", scan=scan)

A part is one SELECT over one file (DuckDB SQL; it becomes a view, so nothing is read yet and nothing becomes a Python
object). Several parts of one kind add up. `assemble` runs each SELECT once, checks every row, counts what it rejects and
numbers what it keeps. Kinds and their columns (`?` = optional; ids are text, trimmed by `assemble`):

    interactions   user, item, value?, time?      value: number or text; time: number, text, DATE or TIMESTAMP
    triples        head, relation, tail           entity ids
    item_triples   item, relation, entity         the head is an *item* id, whatever entity it is linked to
    user_triples   user, relation, entity
    links          item, entity                   this item is that entity
    labels         kind, id, label                kind is 'user', 'item', 'entity' or 'relation'
    ids            kind, id, row?                 ids that exist even without an interaction or a fact (a catalogue); `row`
                                                  fixes the row number where the format does (KGAT files), else leave it out

Every kind may have these columns too:

    problem        VARCHAR: why the source itself rejects this row ("not JSON"), NULL for a good row. Prefer this over a
                   WHERE that would drop the row in silence: rows read = kept + rejected, always.
    skip           VARCHAR: why this sound row is left out on the user's request ("a literal"); counted apart, never an error.
    file, line     VARCHAR, BIGINT: where the row stands, where the source knows. Elsewhere (see `scan` below) the n-th row
                   of the part is taken for the n-th row of its scan, and its line is found again by counting.
    ordinal        BIGINT: the row of the scan, from 0, where the SELECT gives several rows for one (an unnested list):
                   `row_number() OVER () - 1` in an inner SELECT.

If the KG has its own ids, say so with `links`; without any `links` part, an item *is* the entity with the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metakg.readers.scan import Scan, compression, read_through
from metakg.types import Json

if TYPE_CHECKING:
    import duckdb

KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "interactions": (("user", "item"), ("value", "time")),
    "triples": (("head", "relation", "tail"), ()),
    "item_triples": (("item", "relation", "entity"), ()),
    "user_triples": (("user", "relation", "entity"), ()),
    "links": (("item", "entity"), ()),
    "labels": (("kind", "id", "label"), ()),
    "ids": (("kind", "id"), ("row",)),
}
"""Kind -> (required columns, optional columns)."""
Tallied = Literal["rejected", "skipped", "merged", "filtered"]
"""What became of rows that are not in the result; see `report.Tally`."""
ANYWHERE = ("problem", "skip", "file", "line", "ordinal")
"""Columns that a part of any kind may have."""


@dataclass(frozen=True)
class Part:
    """One SELECT of a source module, as a view.

    Attributes:
        kind: a key of `KINDS`.
        view: the view's name.
        columns: column name -> DuckDB type.
        scan: how the n-th row is found again in a file; None if the rows carry `file` and `line` themselves.
        guessed_order: nobody said which column of these triples is which (no header, no option).
    """

    kind: str
    view: str
    columns: Mapping[str, str]
    scan: Scan | None
    guessed_order: bool = False


@dataclass
class Stage:
    """What the source modules have found so far.

    Attributes:
        connection: the DuckDB connection that the views live in.
        parts: in the order in which they were added.
        counted: (kind, tally, reason) -> rows that a source has counted itself and not passed on.
        attributes: plain names of all attribute columns seen, so that an option that names none of them is an error.
        whole: packed files that were read to their end.
        lines: JSON lines files -> a line for each of their keys.
        sources: one entry for each source: its name, files with their sizes, and options, for the manifest.
    """

    connection: duckdb.DuckDBPyConnection
    parts: list[Part] = field(default_factory=list)
    sources: list[Json] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    whole: set[Path] = field(default_factory=set)
    lines: dict[Path, list[str]] = field(default_factory=dict)
    counted: dict[tuple[str, Tallied, str], int] = field(default_factory=dict)

    def note(self, source: str, files: Iterable[Path], options: Json | None = None) -> None:
        """Record where parts come from: the source's name, its files and the options that shaped them."""
        entries = [{"name": path.name, "bytes": path.stat().st_size} for path in files]
        self.sources.append({"format": source, "files": entries, "options": options or {}})

    def add(self, kind: str, select: str, *, scan: Scan | None = None, guessed_order: bool = False) -> None:
        """Add one SELECT as a part of `kind`.

        Args:
            kind: a key of `KINDS`.
            select: DuckDB SQL with the columns of the kind, in any order, and no others.
            scan: the scan whose rows the SELECT returns one to one and in order (no WHERE, no ORDER BY, no join), or that its
                `ordinal` column counts. Leave it out only if the SELECT has `file` and `line` columns.
            guessed_order: triples whose columns were taken in their usual order because nothing names them; if the relation
                column looks like another one, `assemble` refuses them.

        Raises:
            ValueError: the columns are not those of the kind (a mistake in the source module, not in the data).
        """
        required, optional = KINDS[kind]
        described = self.connection.execute(f"DESCRIBE {select}").fetchall()
        columns = {str(row[0]): str(row[1]) for row in described}
        unknown = set(columns) - set(required) - set(optional) - set(ANYWHERE)
        missing = set(required) - set(columns)
        if unknown or missing:
            raise ValueError(f"a part of kind {kind!r} lacks {sorted(missing)} and has unknown columns {sorted(unknown)}")
        if scan is None and not {"file", "line"} <= set(columns):
            raise ValueError(f"a part of kind {kind!r} needs a scan, or columns file and line")
        view = f"stage_{len(self.parts)}_{kind}"
        self.connection.execute(f"CREATE VIEW {view} AS {select}")
        self.parts.append(Part(kind, view, columns, scan, guessed_order))

    def count(self, kind: str, tally: Tallied, reason: str, rows: int) -> None:
        """Account for rows that the source has counted itself and does not pass on.

        For files so large that their rows are collapsed or left out while they are read; everywhere else pass the rows on, with
        `problem` or `skip`.
        """
        if rows:
            key = (kind, tally, reason)
            self.counted[key] = self.counted.get(key, 0) + rows

    @contextmanager
    def intact(self, path: Path | None) -> Iterator[None]:
        """Read a packed file to its end on a second thread meanwhile, once a job.

        DuckDB unpacks damaged bytes to rubbish and takes a cut-off Zstandard file for whole, both without a word.

        Raises:
            DataError: the file is damaged or cut off.
        """
        if path is None or path in self.whole or compression(path) == "none":
            yield
            return
        with ThreadPoolExecutor(1) as thread:
            check = thread.submit(read_through, path)
            yield
            check.result()
        self.whole.add(path)

    def of(self, kind: str) -> list[Part]:
        """Return the parts of one kind."""
        return [part for part in self.parts if part.kind == kind]
