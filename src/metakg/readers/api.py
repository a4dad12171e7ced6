"""The public functions. They are light to import: DuckDB, Arrow and the rest are loaded when one is called."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from metakg.errors import DataError, MetakgError

if TYPE_CHECKING:
    from metakg.data import Dataset
    from metakg.readers.report import PrepareReport
    from metakg.readers.sniff import Role

Paths = str | PathLike[str] | Sequence[str | PathLike[str]] | None
"""No path, one, or several."""


@runtime_checkable
class ArrowTable(Protocol):
    """A table in memory that hands itself out as an Arrow stream: of pandas (2.2 or later), polars, pyarrow, DuckDB ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule with the stream."""


Given = Paths | ArrowTable
"""Files, or a table in memory."""


def read(
    path: Paths = None,
    *,
    interactions: Given = None,
    triples: Given = None,
    links: Given = None,
    labels: Given = None,
    item_attributes: Given = None,
    user_attributes: Given = None,
    format: str = "auto",  # noqa: A002 - the name users expect
    out: str | PathLike[str] | None = None,
    paper: bool = False,
    **options: Any,
) -> Dataset:
    """Read data of any known format. Tables may be files, or data frames in memory (`ArrowTable`).

    Args:
        path: a folder or file whose format is found: a prepared data set, a KGAT folder, RecBole atomic files, a folder of
            tables, RDF, or the raw files of Amazon, LFM-1b or Yelp.
        interactions: table of user, item[, value][, time]. Here and below a folder is one table in parts: all files in it.
        triples: table of head, relation, tail; or N-Triples or Turtle.
        links: table of item, entity: which entity an item is.
        labels: table of id, label.
        item_attributes: table with one row an item; its columns become facts.
        user_attributes: table with one row a user; its columns become facts.
        format: "auto", or kgat, atomic, table, rdf, amazon, lfm1b, yelp.
        out: a folder to keep the data set in; without it nothing stays on disk.
        paper: use the MetaKG paper's rules for the raw files of Amazon, LFM-1b or Yelp, as far as no option says otherwise.
        **options: see `metakg.readers.options.ReadOptions`.

    What is lost or contradicts itself is a `UserWarning`; the whole account is the result's `manifest`.

    Raises:
        DataError: a file cannot be used; nothing is written then.
        ConfigError: an option is unknown or contradicts another.
        TypeError: an argument is neither paths nor a table.
    """
    from metakg.data import Dataset
    from metakg.readers.detect import is_prepared

    single = _paths(path)
    with _roles(interactions, triples, links, labels, item_attributes, user_attributes) as tables:
        if len(single) == 1 and not tables and out is None and not options and is_prepared(single[0]):
            return Dataset.load(single[0])
        options = _with_paper(single, options, format) if paper else options
        if out is not None:
            _warn(_prepare(single, tables, format, options, Path(out)))
            return Dataset.load(Path(out))
        with TemporaryDirectory(prefix="metakg-") as folder:
            _warn(_prepare(single, tables, format, options, Path(folder) / "dataset"))
            return Dataset.load(Path(folder) / "dataset")


def prepare(
    path: Paths = None,
    *,
    out: str | PathLike[str],
    interactions: Given = None,
    triples: Given = None,
    links: Given = None,
    labels: Given = None,
    item_attributes: Given = None,
    user_attributes: Given = None,
    format: str = "auto",  # noqa: A002 - the name users expect
    paper: bool = False,
    step: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> PrepareReport:
    """Write a data set folder without loading it, and return the account of every row.

    Arguments as `read`; `step` is called with a few words at each new step.

    Raises:
        DataError: a file cannot be used, or the folder cannot be written.
        ConfigError: an option is unknown or contradicts another.
    """
    options = _with_paper(_paths(path), options, format) if paper else options
    with _roles(interactions, triples, links, labels, item_attributes, user_attributes) as tables:
        return _prepare(_paths(path), tables, format, options, Path(out), step)


def validate(
    path: Paths = None,
    *,
    interactions: Given = None,
    triples: Given = None,
    links: Given = None,
    labels: Given = None,
    item_attributes: Given = None,
    user_attributes: Given = None,
    format: str = "auto",  # noqa: A002 - the name users expect
    step: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> PrepareReport:
    """Check data without writing anything: what `prepare` would keep and lose, and what looks odd (arguments as `read`).

    Of a data set that is already prepared the checksums and the row numbers are checked.

    Raises:
        DataError: a file cannot be read at all.
        ConfigError: an option is unknown or contradicts another.
    """
    from metakg.readers import assemble
    from metakg.readers.detect import find_sources, is_prepared
    from metakg.readers.options import ReadOptions

    chosen = ReadOptions.parse(options)
    single = _paths(path)
    with _roles(interactions, triples, links, labels, item_attributes, user_attributes) as tables:
        if len(single) == 1 and not tables and is_prepared(single[0]):
            return _verify(single[0])
        return assemble.validate(find_sources(single, tables, chosen, format), chosen, step)


def read_kgat(folder: str | PathLike[str], *, out: str | PathLike[str] | None = None, **options: Any) -> Dataset:
    """Read a KGAT folder: kg_final.txt, the id lists, and train.txt, test.txt or test_scenario/ (see `readers.kgat`)."""
    return read(folder, format="kgat", out=out, **options)


def read_atomic(path: str | PathLike[str], *, out: str | PathLike[str] | None = None, **options: Any) -> Dataset:
    """Read RecBole atomic files: a folder, or its .inter file (see `readers.atomic`)."""
    return read(path, format="atomic", out=out, **options)


def read_rdf(
    path: Paths, *, interactions: Paths, links: Paths = None, out: str | PathLike[str] | None = None, **options: Any
) -> Dataset:
    """Read N-Triples or Turtle and the interactions that go with it (see `readers.rdf`)."""
    return read(interactions=interactions, triples=path, links=links, out=out, **options)


def _warn(report: PrepareReport) -> None:
    """Warn whoever called `read` of what `metakg prepare` would print as problems."""
    problems = [finding for finding in report.findings if finding.level == "problem"]
    if problems:
        told = "; ".join(
            f"{finding.kind}: {finding.what}: {finding.count:,}" + (f" (first: {finding.places[0]})" if finding.places else "")
            for finding in problems
        )
        warnings.warn(f"{told}. The manifest of the data has the whole account.", stacklevel=3)


def _prepare(
    paths: Sequence[Path],
    tables: Mapping[Role, Sequence[Path]],
    form: str,
    options: Mapping[str, Any],
    out: Path,
    step: Callable[[str], None] = lambda _: None,
) -> PrepareReport:
    from metakg.readers import assemble
    from metakg.readers.detect import find_sources
    from metakg.readers.options import ReadOptions

    chosen = ReadOptions.parse(options)
    return assemble.prepare(find_sources(paths, tables, chosen, form), chosen, out, step)


@contextmanager
def _roles(*given: Given) -> Iterator[dict[Role, list[Path]]]:
    """Yield the files of each role; a table in memory is a file as long as it is read, and errors call it by its role."""
    names: tuple[Role, ...] = ("interactions", "triples", "links", "labels", "item_attributes", "user_attributes")
    found: dict[Role, list[Path]] = {}
    with TemporaryDirectory(prefix="metakg-") as folder:
        for name, value in zip(names, given, strict=True):
            if isinstance(value, ArrowTable):
                found[name] = [_written(value, Path(folder) / f"{name} in memory")]
            elif paths := _paths(value, name):
                found[name] = [file for path in paths for file in _files(path)]
        try:
            yield found
        except MetakgError as err:
            if folder not in err.where:
                raise
            where = err.where.replace(f"{folder}{os.sep}", "")
            raise type(err)(where, err.found, expected=err.expected, fix=err.fix) from None


def _written(table: ArrowTable, path: Path) -> Path:
    """Write a table as Parquet, without what pandas adds for an index that has no name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = pa.table(table)
    pq.write_table(whole.select([name for name in whole.column_names if not name.startswith("__index_level_")]), path)
    return path


def _files(path: Path) -> list[Path]:
    """Return a file, or all in a folder and its folders, in order of their names: a table that is kept in parts.

    What begins with a point or an underscore is no part (`_SUCCESS`, `.crc`, `_temporary/`).

    Raises:
        DataError: a folder holds no file.
    """
    if not path.is_dir():
        return [path]
    inside = [file for file in sorted(path.rglob("*")) if file.is_file()]
    parts = [file for file in inside if not any(name.startswith((".", "_")) for name in file.relative_to(path).parts)]
    if not parts:
        raise DataError(str(path), "a folder without a file", expected="files of one table", fix="Check the path.")
    return parts


def _paths(paths: Paths, name: str = "path") -> list[Path]:
    if paths is None:
        return []
    if isinstance(paths, str | PathLike):
        return [Path(paths)]
    if isinstance(paths, Sequence) and all(isinstance(path, str | PathLike) for path in paths):
        return [Path(path) for path in paths]
    hint = "give paths, or a data frame of pandas (2.2 or later), polars, pyarrow or DuckDB"
    if isinstance(paths, ArrowTable):
        hint = "say what it is: read(interactions=...)"
    raise TypeError(f"{name} cannot be read from a {type(paths).__name__}; {hint}")


def _with_paper(paths: Sequence[Path], options: Mapping[str, Any], form: str) -> dict[str, Any]:
    from metakg.readers.detect import paper_options

    return paper_options(paths, options, form)


def _verify(folder: Path) -> PrepareReport:
    from metakg.data import Dataset
    from metakg.readers.pairs import iso
    from metakg.readers.report import Finding, PrepareReport

    data = Dataset.load(folder, verify=True)
    manifest, times_s = data.manifest, data.interactions.times_s
    counts = {name: entry["rows"] for name, entry in manifest["tables"].items()}
    found = [Finding.from_json(told) for told in manifest.get("findings", [])]  # what was said of the files still holds
    times = None if times_s is None or not len(times_s) else (iso(int(times_s.min())), iso(int(times_s.max())))
    return PrepareReport(None, manifest.get("source", []), manifest.get("options", {}), counts, [], [], found, times)
