"""RDF: N-Triples and Turtle, plain or compressed, through pyoxigraph (extra `rdf`), streamed in batches.

Facts are triples between resources. Names (rdfs:label, skos:prefLabel, schema:name, foaf:name, dc:title) become labels, in the
first of the preferred languages that there is. Other literals are left out and counted, or become entities on request.
A line of N-Triples that is no triple is rejected and counted; Turtle has no such thing as one bad line, so an error ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from metakg.errors import DataError, missing_extra
from metakg.readers.atomic import suffix
from metakg.readers.options import ReadOptions
from metakg.readers.scan import check_file, literal, open_bytes
from metakg.readers.staging import Stage

if TYPE_CHECKING:
    import pyoxigraph

NTRIPLES, TURTLE = (".nt", ".ntriples"), (".ttl", ".turtle")
LABELS = (
    "http://www.w3.org/2000/01/rdf-schema#label",
    "http://www.w3.org/2004/02/skos/core#prefLabel",
    "http://schema.org/name",
    "https://schema.org/name",
    "http://xmlns.com/foaf/0.1/name",
    "http://purl.org/dc/terms/title",
    "http://purl.org/dc/elements/1.1/title",
)
"""Predicates whose literals are names, the most telling first."""
_BATCH = 50_000
_BLOCK_LINES = 20_000
_NOT = "not an N-Triples statement"


class _Row(NamedTuple):
    """One statement: ids, and for a literal its text and language; `line` where the format has one statement a line."""

    subject: str | None
    predicate: str | None
    object: str | None
    text: str | None = None
    language: str | None = None
    line: int | None = None
    problem: str | None = None


def looks_like_rdf(path: Path) -> bool:
    """Return whether the name is that of an N-Triples or Turtle file."""
    return suffix(path) in (*NTRIPLES, *TURTLE)


def stage_rdf(stage: Stage, path: Path, options: ReadOptions) -> None:
    """Stage the facts and labels of an RDF file, or of all RDF files of a folder.

    Raises:
        ConfigError: pyoxigraph is not installed.
        DataError: a file is missing, damaged, or no Turtle.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if looks_like_rdf(file))
        if not files:
            raise DataError(str(path), "no .nt or .ttl file", expected="RDF", fix="Check the folder.")
        for file in files:
            stage_rdf(stage, file, options)
        return
    check_file(path)
    number = sum(source["format"] == "rdf" for source in stage.sources)
    stage.note("rdf", [path])
    table = f"rdf_{number}"
    _load(stage, table, _statements(path, f"{number}." if number else ""))
    at = f"{literal(str(path))} AS file, line"
    named = f"predicate IN ({', '.join(map(literal, LABELS))}) AND text IS NOT NULL"
    skip = "" if options.literals == "entities" else "WHEN text IS NOT NULL THEN 'a literal'"
    stage.add(
        "triples",
        "SELECT subject AS head, predicate AS relation, object AS tail, problem, "
        f"CASE WHEN {named} THEN 'a label' {skip} END AS skip, {at} FROM {table}",
    )
    if not stage.connection.execute(f"SELECT 1 FROM {table} WHERE text IS NOT NULL LIMIT 1").fetchall():
        return
    by_language = " ".join(
        f"WHEN language = {literal(language)} THEN {rank}" for rank, language in enumerate(options.languages)
    )
    by_predicate = " ".join(f"WHEN {literal(name)} THEN {rank}" for rank, name in enumerate(LABELS))
    last = len(options.languages)
    rank = f"CASE {by_language} WHEN language IS NULL THEN {last} ELSE {last + 1} END"
    order = f"{rank}, CASE predicate {by_predicate} END, rowid"
    if stage.connection.execute(f"SELECT 1 FROM {table} WHERE {named} LIMIT 1").fetchall():
        stage.add(
            "labels",
            f"SELECT 'entity' AS kind, subject AS id, text AS label, {at} FROM {table} WHERE {named} ORDER BY {order}",
        )
        of_relation = f"{named} AND subject IN (SELECT predicate FROM {table})"
        if stage.connection.execute(f"SELECT 1 FROM {table} WHERE {of_relation} LIMIT 1").fetchall():
            stage.add(
                "labels",
                f"SELECT 'relation' AS kind, subject AS id, text AS label, {at} FROM {table} "
                f"WHERE {of_relation} ORDER BY {order}",
            )
    if options.literals == "entities":
        stage.add(
            "labels",
            f"SELECT DISTINCT 'entity' AS kind, object AS id, text AS label, {literal(str(path))} AS file, "
            f"NULL::BIGINT AS line FROM {table} WHERE text IS NOT NULL AND text <> '' AND NOT ({named})",
        )


def _load(stage: Stage, table: str, rows: Iterable[_Row]) -> None:
    """Put statements into a DuckDB table, a batch at a time."""
    import pyarrow as pa

    text, integer = pa.string(), pa.int64()
    schema = pa.schema([(name, integer if name == "line" else text) for name in _Row._fields])
    columns = ", ".join(f"{name} {'BIGINT' if name == 'line' else 'VARCHAR'}" for name in _Row._fields)
    stage.connection.execute(f"CREATE TABLE {table} ({columns})")
    pending = iter(rows)
    while batch := list(islice(pending, _BATCH)):
        arrays = [pa.array(values, kind.type) for values, kind in zip(zip(*batch, strict=True), schema, strict=True)]
        stage.connection.register("statements", pa.Table.from_arrays(arrays, schema=schema))
        stage.connection.execute(f"INSERT INTO {table} SELECT * FROM statements")
        stage.connection.unregister("statements")


def _statements(path: Path, prefix: str) -> Iterator[_Row]:
    ox = _pyoxigraph()
    with open_bytes(path) as handle:
        if suffix(path) in NTRIPLES:
            yield from _ntriples(ox, handle, prefix)
        else:
            yield from _turtle(ox, handle, path, prefix)


def _ntriples(ox: Any, handle: IO[bytes], prefix: str) -> Iterator[_Row]:
    """Yield the statements of N-Triples, a block of lines at a time; a block with an error is read again line by line."""
    first = 1
    while lines := list(islice(handle, _BLOCK_LINES)):
        if first == 1:
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        numbers = [
            number for number, line in enumerate(lines, start=first) if line.strip() and not line.lstrip().startswith(b"#")
        ]
        try:
            quads = list(ox.parse(b"".join(lines), format=ox.RdfFormat.N_TRIPLES, lenient=True))
        except SyntaxError:
            quads = []
        if len(quads) == len(numbers):
            yield from (_row(ox, quad, prefix, line) for quad, line in zip(quads, numbers, strict=True))
        else:
            yield from (_line(ox, lines[number - first], prefix, number) for number in numbers)
        first += len(lines)


def _line(ox: Any, text: bytes, prefix: str, number: int) -> _Row:
    try:
        quads = list(ox.parse(text, format=ox.RdfFormat.N_TRIPLES, lenient=True))
    except SyntaxError:
        quads = []
    if len(quads) != 1:
        return _Row(text.decode("utf-8", errors="replace").strip()[:200], None, None, line=number, problem=_NOT)
    return _row(ox, quads[0], prefix, number)


def _turtle(ox: Any, handle: IO[bytes], path: Path, prefix: str) -> Iterator[_Row]:
    names: dict[str, str] = {}  # pyoxigraph names anonymous nodes at random; in order of appearance they repeat
    try:
        for quad in ox.parse(handle, format=ox.RdfFormat.TURTLE, lenient=True):
            row = _row(ox, quad, prefix, None)
            if isinstance(quad.subject, ox.BlankNode):
                row = row._replace(subject=names.setdefault(quad.subject.value, f"_:{prefix}b{len(names)}"))
            if isinstance(quad.object, ox.BlankNode):
                row = row._replace(object=names.setdefault(quad.object.value, f"_:{prefix}b{len(names)}"))
            yield row
    except SyntaxError as err:
        where = f"{path} line {err.lineno}" if err.lineno else str(path)
        raise DataError(where, str(err.msg), expected="Turtle", fix="Correct the file, or restore it.") from err


def _row(ox: Any, quad: pyoxigraph.Quad, prefix: str, line: int | None) -> _Row:
    subject, object_ = quad.subject, quad.object
    if isinstance(object_, ox.Literal):
        return _Row(_id(ox, subject, prefix), quad.predicate.value, str(object_), object_.value, object_.language, line)
    return _Row(_id(ox, subject, prefix), quad.predicate.value, _id(ox, object_, prefix), line=line)


def _id(ox: Any, node: Any, prefix: str) -> str:
    if isinstance(node, ox.NamedNode):
        return str(node.value)
    return f"_:{prefix}{node.value}" if isinstance(node, ox.BlankNode) else str(node)


def _pyoxigraph() -> Any:
    try:
        import pyoxigraph
    except ImportError as err:
        raise missing_extra("RDF input", "rdf", err) from err
    return pyoxigraph
