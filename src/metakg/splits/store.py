"""A split on disk (format 1).

manifest.json                                     protocol, settings, counts, overlap report, hashes, the data set's fingerprint
new_users.parquet new_items.parquet               rows that do not exist before adaptation
pairs.parquet                                     user, item [, value] [, time_s]     training pairs O_tr
meta_training/{support,query}.parquet             the tasks, if there are any
<scenario>/{support,query,candidates}.parquet     with a manifest each: rule, counts, hashes, overlap
validation/                                       the same again

Rows are those of the data set that was split (in a strict validation split, of its training part), so a split is of use only
with that data set: a fingerprint of its contents is kept, and another data set is refused.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from metakg import files
from metakg.data import Dataset, IdMap, Interactions, Scenario, Split, Tasks, tables
from metakg.data.scenario import SCENARIOS
from metakg.errors import DataError
from metakg.splits import leakage
from metakg.splits.strict import training_data
from metakg.types import Json, Mask

FORMAT = 1
FIX = 'Run "metakg split" again.'
_PAIRS = {"user": pa.int32(), "item": pa.int32(), "value": pa.float32(), "time_s": pa.int64()}
_TOP = ("new_users", "new_items", "pairs")


def fingerprint(dataset: Dataset) -> str:
    """Return a SHA-256 of a data set's ids, interactions and facts; the same however and by whom its files were written."""
    digest = hashlib.sha256()
    v, pairs, graph = dataset.vocabulary, dataset.interactions, dataset.graph
    for ids in (v.users, v.items, v.entities, v.relations):
        _feed_ids(digest, ids)
    columns = [pairs.users, pairs.items, pairs.values, pairs.times_s]
    for triples in (graph.entity, graph.user):
        columns += [triples.heads, triples.relations, triples.tails]
    for column in columns:
        digest.update(b"-" if column is None else f"{len(column)}:".encode())
        if column is not None:
            digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def save(split: Split, folder: Path | str, *, dataset_folder: Path | str | None = None, overwrite: bool = False) -> None:
    """Write a split as a folder, whole or not at all.

    Args:
        split: what to write.
        folder: a new folder.
        dataset_folder: where the data set lies; kept (relative to `folder`) so that `load` finds it.
        overwrite: whether an earlier split may be replaced.

    Raises:
        DataError: the folder exists (and `overwrite` is off), or cannot be written.
        LeakageError: a query pair is visible somewhere.
    """
    leakage.refuse(split)
    folder = Path(folder)
    dataset: Json = {"fingerprint": fingerprint(split.dataset)}
    if dataset_folder is not None:
        dataset["folder"] = os.path.relpath(Path(dataset_folder).resolve(), folder.resolve())
    with files.atomic_folder(folder, overwrite=overwrite, kind="split") as temporary:
        _write(split, temporary, dataset)


def load(folder: Path | str, dataset: Dataset | None = None, *, verify: bool = False) -> Split:
    """Read a split folder.

    Args:
        folder: a folder written by `save` or `metakg split`.
        dataset: the data set that was split; by default it is read from where it lay when the split was made.
        verify: also compare every file's SHA-256 with its manifest (slower).

    Raises:
        DataError: a table is missing or damaged, the folder has another format, or the data set is another one.
        LeakageError: a query pair is visible somewhere.
    """
    folder = Path(folder)
    manifest = _manifest(folder, "split")
    if dataset is None:
        if "folder" not in manifest["dataset"]:
            raise DataError(
                str(folder), "no note of its data set's folder", expected="the data set", fix="Name the data set's folder too."
            )
        dataset = Dataset.load(folder / manifest["dataset"]["folder"], verify=verify)
    found, expected = fingerprint(dataset), str(manifest["dataset"].get("fingerprint"))
    if found != expected:
        raise DataError(
            str(folder),
            f"a split of another data set (fingerprint {expected[:12]}...)",
            expected=f"a split of this one ({found[:12]}...)",
            fix='Name the data set that was split, or split this one ("metakg split").',
        )
    split = _read(folder, dataset, manifest, verify=verify)
    leakage.refuse(split)
    return split


def _write(split: Split, folder: Path, dataset: Json) -> None:
    for name, known in (("new_users", split.known_users), ("new_items", split.known_items)):
        tables.write(folder, name, {"row": np.flatnonzero(~known).astype(np.int32)})
    _write_pairs(folder, "pairs", split.pairs)
    parts: list[str] = []
    if split.tasks is not None:
        parts.append("meta_training")
        _write_part(folder / "meta_training", {"support": split.tasks.support, "query": split.tasks.query}, {})
    report = leakage.overlap(split)
    for name, scenario in split.scenarios.items():
        parts.append(name)
        extra = {
            "shots_by": scenario.shots_by,
            "default_shots": scenario.default_shots,
            "candidates": len(scenario.candidates),
            "overlap": report[name],
            **scenario.manifest,
        }
        (folder / name).mkdir()
        tables.write(folder / name, "candidates", {"item": scenario.candidates})
        _write_part(folder / name, {"support": scenario.support, "query": scenario.query}, extra)
    if split.validation is not None:
        (folder / "validation").mkdir()
        own_data = split.validation.dataset is not split.dataset
        _write(split.validation, folder / "validation", {"training_part": own_data})
    manifest = {
        **split.manifest,
        "kind": "split",
        "format": FORMAT,
        "protocol": split.protocol,
        "dataset": dataset,
        "parts": parts,
        "validation": split.validation is not None,
        "tables": tables.describe(folder, _TOP),
        "overlap": report,
    }
    files.write_json(folder / "manifest.json", manifest)


def _write_part(folder: Path, pairs: dict[str, Interactions], extra: Json) -> None:
    folder.mkdir(exist_ok=True)
    for name, table in pairs.items():
        _write_pairs(folder, name, table)
    names = [*pairs, *(["candidates"] if "candidates" in extra else [])]
    counts = {
        name: {"pairs": len(table), "users": len(np.unique(table.users)), "items": len(np.unique(table.items))}
        for name, table in pairs.items()
    }
    manifest = {**extra, "kind": "scenario", "format": FORMAT, "counts": counts, "tables": tables.describe(folder, names)}
    files.write_json(folder / "manifest.json", manifest)


def _write_pairs(folder: Path, name: str, pairs: Interactions) -> None:
    columns = {"user": pairs.users, "item": pairs.items, "value": pairs.values, "time_s": pairs.times_s}
    tables.write(folder, name, {column: values for column, values in columns.items() if values is not None})


def _read(folder: Path, dataset: Dataset, manifest: Json, *, verify: bool) -> Split:
    path = folder / "manifest.json"
    listed = _listed(folder, manifest, _TOP, verify=verify)
    parts = manifest.get("parts")
    if (
        not isinstance(parts, list)
        or not set(parts) <= {"meta_training", *SCENARIOS}
        or manifest.get("protocol")
        not in (
            "paper",
            "strict",
        )
    ):
        raise DataError(str(path), "no list of its parts or no protocol", expected="a whole manifest", fix=FIX)
    v = dataset.vocabulary
    tasks, scenarios = None, {}
    for name in parts:
        inner = _manifest(folder / name, "scenario")
        names = ("support", "query") if name == "meta_training" else ("support", "query", "candidates")
        inner_listed = _listed(folder / name, inner, names, verify=verify)
        support, query = (_read_pairs(folder / name, part, inner_listed) for part in ("support", "query"))
        if name == "meta_training":
            tasks = Tasks(np.unique(query.users), support, query)
            continue
        candidates = tables.read(folder / name, "candidates", {"item": pa.int32()}, listed=inner_listed, fix=FIX)
        shots_by, default_shots = inner.pop("shots_by", None), inner.pop("default_shots", None)
        if shots_by not in ("user", "item") or not (default_shots is None or isinstance(default_shots, int)):
            raise DataError(str(folder / name / "manifest.json"), "no rule for shots", expected="a whole manifest", fix=FIX)
        rows = tables.array(candidates, "item")
        scenarios[name] = Scenario(name, support, query, rows, shots_by, default_shots, _own(inner))
    split = Split(
        manifest["protocol"],
        dataset,
        ~_mask(folder, "new_users", v.n_users, listed),
        ~_mask(folder, "new_items", v.n_items, listed),
        _read_pairs(folder, "pairs", listed),
        tasks,
        scenarios,
        None,
        _own(manifest),
    )
    if not manifest.get("validation"):
        return split
    inner = _manifest(folder / "validation", "split")
    part = training_data(split) if inner["dataset"].get("training_part") else dataset
    validation = _read(folder / "validation", part, inner, verify=verify)
    return replace(split, validation=validation)


def _own(manifest: Json) -> Json:
    """Return what a split's or scenario's maker wrote into its manifest, without what `save` adds."""
    added = {"kind", "format", "protocol", "dataset", "parts", "validation", "tables", "overlap", "counts", "candidates"}
    return {key: value for key, value in manifest.items() if key not in added}


def _manifest(folder: Path, kind: str) -> Json:
    path = folder / "manifest.json"
    manifest = files.read_json(path, what=f"{kind} manifest (a folder made by `metakg split`)")
    if manifest.get("kind") != kind or manifest.get("format") != FORMAT:
        raise DataError(
            str(path),
            f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}",
            expected=f"kind {kind!r}, format {FORMAT}",
            fix='Split the data again with this version ("metakg split").',
        )
    if kind == "split" and not isinstance(manifest.get("dataset"), dict):
        raise DataError(str(path), "no fingerprint of a data set", expected="a whole manifest", fix=FIX)
    return manifest


def _listed(folder: Path, manifest: Json, names: tuple[str, ...], *, verify: bool) -> Json:
    listed = tables.listed(manifest, folder / "manifest.json", names, fix=FIX)
    if verify:
        tables.verify(folder, listed, fix=FIX)
    return listed


def _read_pairs(folder: Path, name: str, listed: Json) -> Interactions:
    optional = ("value", "time_s")
    table = tables.read(folder, name, _PAIRS, listed=listed, fix=FIX, optional=optional, nullable=("value",))
    values, times_s = (tables.array(table, column) if column in table.column_names else None for column in optional)
    return Interactions(tables.array(table, "user"), tables.array(table, "item"), values, times_s)


def _mask(folder: Path, name: str, size: int, listed: Json) -> Mask:
    rows = tables.array(tables.read(folder, name, {"row": pa.int32()}, listed=listed, fix=FIX), "row")
    if len(rows) and (rows.min() < 0 or rows.max() >= size):
        found = f"rows {rows.min()}..{rows.max()}"
        raise DataError(str(folder / f"{name}.parquet"), found, expected=f"rows 0..{size - 1}", fix=FIX)
    mask = np.zeros(size, np.bool_)
    mask[rows] = True
    return mask


def _feed_ids(digest: hashlib._Hash, ids: IdMap) -> None:
    """Feed ids into a digest: their number, the length of each, and their bytes."""
    array = ids.array
    _, offsets, data = array.buffers()
    if offsets is None or not len(array):
        digest.update(b"0:")
        return
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    digest.update(f"{len(array)}:".encode())
    digest.update(np.diff(ends).data)
    if data is not None:
        digest.update(memoryview(data)[int(ends[0]) : int(ends[-1])])
