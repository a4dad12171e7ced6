"""`Dataset`: everything known, and its folder on disk (format 1).

users.parquet items.parquet entities.parquet relations.parquet    id, label      (row number = internal id)
interactions.parquet                                              user, item [, value] [, time_s]
triples.parquet user_triples.parquet                              head, relation, tail
manifest.json                                                     format, counts, hashes, source, options, rejected rows
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metakg import files
from metakg.data.graph import KnowledgeGraph, Triples
from metakg.data.ids import IdMap
from metakg.data.interactions import Interactions
from metakg.data.vocabulary import Vocabulary
from metakg.errors import DataError
from metakg.types import Json, Rows

FORMAT = 1
TABLES = ("users", "items", "entities", "relations", "interactions", "triples", "user_triples")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Users, items, entities and relations, their interactions and their facts.

    Models never see a `Dataset`; they get a `TrainView`, which holds training data only.

    Attributes:
        vocabulary: what the row numbers mean.
        interactions: every observed pair once, with its first time where times are known.
        graph: the facts.
        manifest: where the data come from: source, options, counts, rejected rows by reason.
    """

    vocabulary: Vocabulary
    interactions: Interactions
    graph: KnowledgeGraph
    manifest: Json = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        v, pairs = self.vocabulary, self.interactions
        for name, rows, size in (("user", pairs.users, v.n_users), ("item", pairs.items, v.n_items)):
            if len(rows) and rows.max() >= size:
                raise DataError(
                    f"interactions, column {name}",
                    f"row {rows.max()}",
                    expected=f"rows 0..{size - 1}",
                    fix="The tables belong to different data; prepare the data set again.",
                )
        self.graph.check(v.n_users, v.n_entities, v.n_relations)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the data set as a folder, whole or not at all.

        Raises:
            DataError: the folder exists (and `overwrite` is off), or cannot be written.
        """
        v, pairs, graph = self.vocabulary, self.interactions, self.graph
        with files.atomic_folder(Path(folder), overwrite=overwrite) as temporary:
            for name in ("users", "items", "entities", "relations"):
                ids: IdMap = getattr(v, name)
                labels = ids.labels if ids.labels is not None else pa.nulls(len(ids), pa.string())
                _write(temporary, name, {"id": ids.array, "label": labels})
            columns = {"user": pairs.users, "item": pairs.items}
            optional = {"value": pairs.values, "time_s": pairs.times_s}
            _write(temporary, "interactions", columns | {k: c for k, c in optional.items() if c is not None})
            for name, triples in (("triples", graph.entity), ("user_triples", graph.user)):
                _write(temporary, name, {"head": triples.heads, "relation": triples.relations, "tail": triples.tails})
            write_manifest(temporary, self.manifest)

    @staticmethod
    def load(folder: Path | str, *, verify: bool = False) -> Dataset:
        """Read a data set folder.

        Args:
            folder: a folder written by `save` or `metakg prepare`.
            verify: also compare every file's SHA-256 with the manifest (slower).

        Raises:
            DataError: a table is missing or damaged, or the folder has another format version.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, verify=verify)
        maps = {}
        for name, kind in (("users", "user"), ("items", "item"), ("entities", "entity"), ("relations", "relation")):
            table = _read(folder, name, ("id", "label"))
            label = table["label"]
            maps[name] = IdMap(table["id"], None if label.null_count == len(label) else label, kind=kind)
        pairs = _read(folder, "interactions", ("user", "item"))
        triples = [_read(folder, name, ("head", "relation", "tail")) for name in ("triples", "user_triples")]
        return Dataset(
            Vocabulary(**maps),
            Interactions(
                _rows(pairs, "user"),
                _rows(pairs, "item"),
                _column(pairs, "value", np.float32),
                _column(pairs, "time_s", np.int64),
            ),
            KnowledgeGraph(*(Triples(_rows(t, "head"), _rows(t, "relation"), _rows(t, "tail")) for t in triples)),
            manifest,
        )


def write_manifest(folder: Path, extra: Mapping[str, object]) -> None:
    """Write `manifest.json` of the tables that lie in `folder`: format, row counts and SHA-256, plus `extra`."""
    tables = {}
    for name in TABLES:
        path = folder / f"{name}.parquet"
        tables[name] = {"rows": pq.read_metadata(path).num_rows, "sha256": files.sha256(path)}
    files.write_json(folder / "manifest.json", {**extra, "kind": "dataset", "format": FORMAT, "tables": tables})


def read_manifest(folder: Path, *, verify: bool = False) -> Json:
    """Read and check the manifest of a data set folder (see `Dataset.load`)."""
    manifest = files.read_json(folder / "manifest.json", what="data set manifest (a folder made by `metakg prepare`)")
    if manifest.get("kind") != "dataset" or manifest.get("format") != FORMAT:
        raise DataError(
            str(folder / "manifest.json"),
            f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}",
            expected=f"kind 'dataset', format {FORMAT}",
            fix='Prepare the data again with this version ("metakg prepare").',
        )
    if verify:
        for name, entry in manifest["tables"].items():
            found = files.sha256(folder / f"{name}.parquet")
            if found != entry["sha256"]:
                raise DataError(
                    str(folder / f"{name}.parquet"),
                    f"SHA-256 {found[:12]}...",
                    expected=f"{entry['sha256'][:12]}... as the manifest says",
                    fix='The file changed after it was written; run "metakg prepare" again.',
                )
    return manifest


def _write(folder: Path, name: str, columns: Mapping[str, object]) -> None:
    pq.write_table(pa.table(dict(columns)), folder / f"{name}.parquet", compression="zstd")


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pa.Table:
    path = folder / f"{name}.parquet"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as err:
        raise DataError(
            str(path), f"no readable Parquet table ({err})", expected="a whole table", fix='Run "metakg prepare" again.'
        ) from err
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise DataError(
            str(path),
            f"columns {', '.join(table.column_names)}",
            expected=f"also {', '.join(missing)}",
            fix='Run "metakg prepare" again.',
        )
    return table


def _rows(table: pa.Table, name: str) -> Rows:
    column = _column(table, name, np.int32)
    assert column is not None
    return column


def _column(table: pa.Table, name: str, dtype: type) -> np.ndarray | None:
    if name not in table.column_names:
        return None
    return np.asarray(table[name].combine_chunks().to_numpy(zero_copy_only=False), dtype=dtype)
