"""A servable recommender as a folder (format 2): JSON, Parquet and safetensors; nothing in it is ever executed.

manifest.json        format, versions, model settings, seed, removed items, evaluation rows, SHA-256 of every file
data/                the training view, as a data set folder
weights.safetensors  tensors of the model
clicks.parquet       what users did since training: user, item, kind ("like", "dislike"; "arrived" by a support)

Format 1 had no `clicks.parquet`: it listed the users who had adapted, whose clicks were in the view.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from metakg import __version__, files
from metakg.data import Dataset, TrainView, tables
from metakg.errors import CheckpointError, MetakgError
from metakg.models.base import Recommender
from metakg.train.fit import restore, settings_for
from metakg.types import Json

FORMAT = 2
_READABLE = (1, 2)
_KINDS = ("like", "dislike", "arrived")
_DATA = ("users", "items", "entities", "relations", "interactions", "triples", "user_triples")
_FILES = frozenset({"weights.safetensors", "data/manifest.json", *(f"data/{name}.parquet" for name in _DATA)})
_FIX = "Save the bundle again (metakg train, or Engine.save)."


@dataclass(frozen=True)
class State:
    """What an engine knows beside its recommender.

    Attributes:
        clicks: (user, item, kind) of all that was done since training, in external ids.
        removed: items that are never shown again.
        figures: rows of an evaluation.
    """

    clicks: tuple[tuple[str, str, str], ...] = ()
    removed: tuple[str, ...] = ()
    figures: tuple[Json, ...] = ()


def save(recommender: Recommender, settings: Json, state: State, folder: Path, *, overwrite: bool = False) -> None:
    """Write a bundle, whole or not at all.

    What can be worked out from the data is not kept: for `metakg` on Last-FM that would be thirty times as much to store and
    to check (benchmarks/serving.py open).
    """
    view = recommender.view
    with files.atomic_folder(folder, overwrite=overwrite, kind="bundle") as temporary:
        Dataset(view.vocabulary, view.interactions, view.graph, {"source": "training view"}).save(temporary / "data")
        weights = {name: tensor.contiguous() for name, tensor in recommender.tensors().items()}
        files.save_tensors(weights, temporary / "weights.safetensors")
        columns = zip(*state.clicks, strict=True) if state.clicks else ((), (), ())
        names = ("user", "item", "kind")
        tables.write(
            temporary, "clicks", {name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)}
        )
        hashes = {str(p.relative_to(temporary)): files.sha256(p) for p in sorted(temporary.rglob("*")) if p.is_file()}
        files.write_json(
            temporary / "manifest.json",
            {
                **settings,
                "kind": "bundle",
                "format": FORMAT,
                "versions": {"metakg": __version__, "torch": torch.__version__},
                "clicks": len(state.clicks),
                "removed": sorted(state.removed),
                "figures": [_figures(row) for row in state.figures],
                "sha256": hashes,
            },
        )


def _figures(row: Json) -> Json:
    """Return a row as JSON can hold it: a mean over nobody is no number, which JSON calls null."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}


def check_manifest(folder: Path) -> Json:
    """Return the manifest of a bundle, and refuse a folder that cannot be one, without reading the rest.

    Raises:
        CheckpointError: the manifest is missing, damaged, of another version, or that of no bundle.
    """
    path = folder / "manifest.json"
    try:
        manifest = files.read_json(path, what="bundle manifest")
    except MetakgError as err:
        fix = _FIX if path.exists() else err.fix
        raise CheckpointError(err.where, err.found, expected=err.expected, fix=fix) from err
    _check_manifest(path, manifest)
    return manifest


def load(folder: Path) -> tuple[Recommender, Json, State]:
    """Open a bundle; return the recommender, its resolved settings, and what is known beside it.

    Every file is read whole, once to compare its hash and once for what it holds; tables are compressed, so they are unpacked
    into memory, while tensors are mapped. Everything is checked before it is used: the files are those of a bundle and nothing
    else, plain files under its folder, unchanged since they were written; every number fits its place, and no weight is NaN or
    infinite. No hash covers the manifest itself, so each of its entries is checked.

    Raises:
        CheckpointError: the bundle is damaged, of another version, or no bundle.
    """
    try:
        manifest = check_manifest(folder)
        _verify(folder, manifest)
        return _read(folder, manifest)
    except CheckpointError:
        raise
    except MetakgError as err:
        raise CheckpointError(err.where, err.found, expected=err.expected, fix=_FIX) from err
    except pa.ArrowException as err:
        raise CheckpointError(str(folder), str(err), expected="the tables of a bundle", fix=_FIX) from err
    except (ValueError, RuntimeError, OverflowError, MemoryError) as err:
        # settings that no memory could hold, or values that contradict each other: numpy, scipy and torch say so in many ways
        found = f"contents that make no recommender ({type(err).__name__}: {str(err)[:200]})"
        raise CheckpointError(str(folder), found, expected="those of a bundle", fix=_FIX) from err


def _read(folder: Path, manifest: Json) -> tuple[Recommender, Json, State]:
    data = Dataset.load(folder / "data")
    view = TrainView(data.vocabulary, data.interactions, data.graph)
    settings, how, seed = manifest["model"], manifest.get("training"), manifest.get("seed", 0)
    config, training = settings_for(settings["kind"], settings if how is None else {**settings, "training": how})
    tensors = _tensors(folder / "weights.safetensors")
    recommender = restore(config, training, view, tensors, seed)
    state = _state_of_format_1(recommender, manifest) if manifest["format"] == 1 else _state(folder, manifest)
    return recommender, {"model": settings, "training": how, "seed": seed}, state


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError) as err:
        raise CheckpointError(str(path), str(err), expected="readable tensors", fix=_FIX) from err
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            wrong = int((~tensor.isfinite()).sum())
            raise CheckpointError(f"{path}, tensor {name}", f"{wrong} values NaN or infinite", expected="numbers", fix=_FIX)
    return tensors


def _check_manifest(path: Path, manifest: Json) -> None:
    """Check the manifest's own entries.

    Raises:
        CheckpointError: one is missing or of another type.
    """
    if manifest.get("kind") != "bundle" or manifest.get("format") not in _READABLE:
        later = f"{_FIX} One of a later format needs a later metakg."
        raise CheckpointError(
            str(path),
            f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}",
            expected=f"kind 'bundle', format {' or '.join(map(str, _READABLE))}",
            fix=later if manifest.get("kind") == "bundle" else "Name a bundle folder.",
        )
    model = manifest.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("kind"), str):
        raise CheckpointError(str(path), "no model settings", expected="the entry 'model'", fix=_FIX)
    try:
        json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as err:  # half a letter (a lone surrogate) is a ValueError too
        raise CheckpointError(str(path), f"no plain JSON ({err})", expected="finite numbers and whole texts", fix=_FIX) from err
    wanted: dict[str, type] = {"seed": int}
    wanted |= {"adapted": list} if manifest["format"] == 1 else {"clicks": int, "removed": list, "figures": list}
    for name, kind in wanted.items():
        if not isinstance(manifest.get(name), kind):
            found = f"entry {name!r}: {str(manifest.get(name))[:60]!r}"
            raise CheckpointError(str(path), found, expected=f"a JSON {kind.__name__}", fix=_FIX)
    seed = manifest["seed"]
    if isinstance(seed, bool) or seed < 0:
        raise CheckpointError(str(path), f"entry 'seed': {seed!r}"[:80], expected="a whole number, 0 or more", fix=_FIX)
    if any(
        isinstance(value, list | dict) for row in manifest.get("figures", []) if isinstance(row, dict) for value in row.values()
    ):
        raise CheckpointError(str(path), "entry 'figures' of nested rows", expected="numbers and texts by name", fix=_FIX)
    parts = {"adapted": str, "removed": str, "figures": dict}
    for name, kind in parts.items():
        if not all(isinstance(entry, kind) for entry in manifest.get(name, [])):
            raise CheckpointError(str(path), f"entry {name!r} of other things", expected=f"a list of {kind.__name__}", fix=_FIX)
    how = manifest.get("training")
    if how is not None and not isinstance(how, dict):
        raise CheckpointError(str(path), f"entry 'training': {how!r}"[:80], expected="settings or null", fix=_FIX)


def _state(folder: Path, manifest: Json) -> State:
    columns = {name: pa.string() for name in ("user", "item", "kind")}
    table = tables.read(folder, "clicks", columns, listed={"clicks": {"rows": manifest["clicks"]}}, fix=_FIX)
    unknown = set(table["kind"].unique().to_pylist()) - set(_KINDS)
    if unknown:
        where, expected = str(folder / "clicks.parquet"), f"clicks of kind {', '.join(_KINDS)}"
        raise CheckpointError(where, f"kind {min(unknown)!r}", expected=expected, fix=_FIX)
    clicks = tuple(zip(*(table[name].to_pylist() for name in columns), strict=True))
    return State(clicks, tuple(manifest["removed"]), tuple(manifest["figures"]))


def _state_of_format_1(recommender: Recommender, manifest: Json) -> State:
    """Return the clicks of the users that the manifest lists; a profile model tells which of theirs came after training."""
    view = recommender.view
    came = getattr(recommender, "recent", None)
    pairs = (view.history if came is None else came).tocoo()
    adapted = view.vocabulary.users.rows(manifest["adapted"])
    theirs = np.isin(pairs.row, adapted)
    users = view.vocabulary.users.ids(pairs.row[theirs].astype(np.int32))
    items = view.vocabulary.items.ids(pairs.col[theirs].astype(np.int32))
    return State(tuple((user, item, "arrived") for user, item in zip(users, items, strict=True)))


def _verify(folder: Path, manifest: Json) -> None:
    """Check that the listed files are those of a bundle, plain files inside its folder, and unchanged.

    Raises:
        CheckpointError: a file is missing, is one that no bundle has, leads elsewhere, or was changed.
    """
    where, hashes = folder / "manifest.json", manifest.get("sha256")
    wanted = _FILES if manifest["format"] == 1 else _FILES | {"clicks.parquet"}
    if not isinstance(hashes, dict) or not wanted <= hashes.keys():
        missing = sorted(wanted - set(hashes if isinstance(hashes, dict) else ()))
        found = f"no hash of {', '.join(missing[:3])}" + (" and others" if len(missing) > 3 else "")
        raise CheckpointError(str(where), found, expected="the entry 'sha256' to list every file", fix=_FIX)
    foreign = sorted(hashes.keys() - wanted)
    if foreign:
        raise CheckpointError(str(where), f"a file {foreign[0]!r}", expected="a file of a bundle, inside it", fix=_FIX)
    for name in sorted(wanted):
        path = folder / name
        if path.is_symlink() or (path.parent.is_symlink() and path.parent != folder):
            raise CheckpointError(str(path), "a link to somewhere else", expected="a file inside the bundle", fix=_FIX)
        if not path.is_file():
            raise CheckpointError(str(path), "no such file", expected="a file inside the bundle", fix=_FIX)
        try:
            found = files.sha256(path)
        except OSError as err:
            raise CheckpointError(str(path), str(err), expected="a readable file", fix=_FIX) from err
        if found != hashes[name]:
            raise CheckpointError(str(path), f"SHA-256 {found[:12]}...", expected=f"{str(hashes[name])[:12]}...", fix=_FIX)
