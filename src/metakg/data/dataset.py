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

import pyarrow as pa

from metakg import files
from metakg.data import tables
from metakg.data.graph import KnowledgeGraph, Triples
from metakg.data.ids import IdMap
from metakg.data.interactions import Interactions
from metakg.data.vocabulary import Vocabulary
from metakg.errors import DataError
from metakg.types import Json

FORMAT = 1
TABLES = ("users", "items", "entities", "relations", "interactions", "triples", "user_triples")
FIX = 'Run "metakg prepare" again.'


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        about_users = f", {len(self.graph.user):,} about users" if len(self.graph.user) else ""
        pairs, facts = len(self.interactions), len(self.graph.entity)
        return f"Dataset({self.vocabulary.sizes()}, {pairs:,} interactions, {facts:,} facts{about_users})"

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the data set as a folder, whole or not at all.

        Raises:
            DataError: the folder exists (and `overwrite` is off), or cannot be written.
        """
        v, pairs, graph = self.vocabulary, self.interactions, self.graph
        with files.atomic_folder(Path(folder), overwrite=overwrite, kind="dataset") as temporary:
            for name in ("users", "items", "entities", "relations"):
                ids: IdMap = getattr(v, name)
                labels = ids.labels if ids.labels is not None else pa.nulls(len(ids), pa.string())
                tables.write(temporary, name, {"id": ids.array, "label": labels})
            columns = {"user": pairs.users, "item": pairs.items}
            optional = {"value": pairs.values, "time_s": pairs.times_s}
            tables.write(temporary, "interactions", columns | {k: c for k, c in optional.items() if c is not None})
            for name, triples in (("triples", graph.entity), ("user_triples", graph.user)):
                columns = {"head": triples.heads, "relation": triples.relations, "tail": triples.tails}
                tables.write(temporary, name, columns)
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
        listed = manifest["tables"]
        maps = {}
        for name, kind in (("users", "user"), ("items", "item"), ("entities", "entity"), ("relations", "relation")):
            columns = {"id": pa.string(), "label": pa.string()}
            table = tables.read(folder, name, columns, listed=listed, fix=FIX, nullable=("label",))
            label = table["label"]
            maps[name] = IdMap(table["id"], None if label.null_count == len(label) else label, kind=kind)
        columns = {"user": pa.int32(), "item": pa.int32(), "value": pa.float32(), "time_s": pa.int64()}
        pairs = tables.read(
            folder, "interactions", columns, listed=listed, fix=FIX, optional=("value", "time_s"), nullable=("value",)
        )
        return Dataset(
            Vocabulary(**maps),
            Interactions(
                tables.array(pairs, "user"),
                tables.array(pairs, "item"),
                tables.array(pairs, "value") if "value" in pairs.column_names else None,
                tables.array(pairs, "time_s") if "time_s" in pairs.column_names else None,
            ),
            KnowledgeGraph(_read_triples(folder, "triples", listed), _read_triples(folder, "user_triples", listed)),
            manifest,
        )


def write_manifest(folder: Path, extra: Mapping[str, object]) -> None:
    """Write `manifest.json` of the tables that lie in `folder`: format, row counts and SHA-256, plus `extra`."""
    manifest = {**extra, "kind": "dataset", "format": FORMAT, "tables": tables.describe(folder, TABLES)}
    files.write_json(folder / "manifest.json", manifest)


def read_manifest(folder: Path, *, verify: bool = False) -> Json:
    """Read and check the manifest of a data set folder (see `Dataset.load`)."""
    path = folder / "manifest.json"
    manifest = files.read_json(path, what="data set manifest (a folder made by `metakg prepare`)")
    if manifest.get("kind") != "dataset" or manifest.get("format") != FORMAT:
        older = manifest.get("kind") == "dataset"
        raise DataError(
            str(path),
            f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}",
            expected=f"kind 'dataset', format {FORMAT}",
            fix='Prepare the data again with this version ("metakg prepare").' if older else "Name a data set folder.",
        )
    listed = tables.listed(manifest, path, TABLES, fix=FIX)
    if verify:
        tables.verify(folder, listed, fix=FIX)
    return manifest


def _read_triples(folder: Path, name: str, listed: Json) -> Triples:
    columns = {"head": pa.int32(), "relation": pa.int32(), "tail": pa.int32()}
    table = tables.read(folder, name, columns, listed=listed, fix=FIX)
    return Triples(*(tables.array(table, column) for column in columns))
