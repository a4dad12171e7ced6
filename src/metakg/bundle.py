"""A servable recommender as a folder (format 2): JSON, Parquet and safetensors; nothing in it is ever executed.

manifest.json        format, versions, model settings, seed, removed items, evaluation rows, SHA-256 of every file
data/                the training view, as a data set folder
weights.safetensors  tensors of the model
clicks.parquet       what users did since training: user, item, kind ("like", "dislike"; "arrived" by a support)

Format 1 had no `clicks.parquet`: it listed the users who had adapted, whose clicks were in the view.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from metakg import __version__, files
from metakg.data import Dataset, TrainView, tables
from metakg.errors import CheckpointError, MetakgError
from metakg.models.base import Recommender
from metakg.train.fit import restore, settings_for
from metakg.types import Json

FORMAT = 2
_READABLE = (1, 2)
_KINDS = ("like", "dislike", "arrived")
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
    """Write a bundle, whole or not at all."""
    view = recommender.view
    with files.atomic_folder(folder, overwrite=overwrite, kind="bundle") as temporary:
        Dataset(view.vocabulary, view.interactions, view.graph, {"source": "training view"}).save(temporary / "data")
        save_file(
            {name: tensor.contiguous() for name, tensor in recommender.tensors().items()}, temporary / "weights.safetensors"
        )
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
                "figures": list(state.figures),
                "sha256": hashes,
            },
        )


def load(folder: Path) -> tuple[Recommender, Json, State]:
    """Open a bundle; return the recommender, its resolved settings, and what is known beside it.

    Raises:
        CheckpointError: the bundle is damaged, of another version, or no bundle.
    """
    try:
        manifest = files.read_json(folder / "manifest.json", what="bundle manifest")
    except MetakgError as err:
        raise CheckpointError(err.where, err.found, expected=err.expected, fix=_FIX) from err
    if manifest.get("kind") != "bundle" or manifest.get("format") not in _READABLE:
        raise CheckpointError(
            str(folder / "manifest.json"),
            f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}",
            expected=f"kind 'bundle', format {' or '.join(map(str, _READABLE))}",
            fix=_FIX,
        )
    _verify(folder, manifest.get("sha256"))
    settings = manifest.get("model")
    if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
        raise CheckpointError(str(folder / "manifest.json"), "no model settings", expected="the entry 'model'", fix=_FIX)
    data = Dataset.load(folder / "data")
    view = TrainView(data.vocabulary, data.interactions, data.graph)
    how = manifest.get("training")
    config, training = settings_for(settings["kind"], settings if how is None else {**settings, "training": how})
    try:
        tensors = load_file(folder / "weights.safetensors")
    except (OSError, SafetensorError) as err:
        raise CheckpointError(str(folder / "weights.safetensors"), str(err), expected="readable tensors", fix=_FIX) from err
    seed = manifest.get("seed", 0)
    resolved = {"model": settings, "training": how, "seed": seed}
    recommender = restore(config, training, view, tensors, seed)
    state = _state_of_format_1(recommender, manifest) if manifest["format"] == 1 else _state(folder, manifest)
    return recommender, resolved, state


def _state(folder: Path, manifest: Json) -> State:
    columns = {name: pa.string() for name in ("user", "item", "kind")}
    listed = {"clicks": {"rows": manifest.get("clicks")}}
    table = tables.read(folder, "clicks", columns, listed=listed, fix=_FIX)
    clicks = tuple(zip(*(table[name].to_pylist() for name in columns), strict=True))
    return State(clicks, tuple(manifest["removed"]), tuple(manifest["figures"]))


def _state_of_format_1(recommender: Recommender, manifest: Json) -> State:
    """Return the clicks of the users that the manifest lists; a profile model tells which of theirs came after training."""
    view = recommender.view
    came = getattr(recommender, "recent", None)
    pairs = (view.history if came is None else came).tocoo()
    adapted = view.vocabulary.users.rows(manifest.get("adapted", []))
    theirs = np.isin(pairs.row, adapted)
    users = view.vocabulary.users.ids(pairs.row[theirs].astype(np.int32))
    items = view.vocabulary.items.ids(pairs.col[theirs].astype(np.int32))
    return State(tuple((user, item, "arrived") for user, item in zip(users, items, strict=True)))


def _verify(folder: Path, hashes: object) -> None:
    """Compare every file with the manifest: all that is named is there and unchanged, and nothing else is read."""
    if not isinstance(hashes, dict) or not {"weights.safetensors", "data/manifest.json"} <= hashes.keys():
        raise CheckpointError(str(folder / "manifest.json"), "no list of files", expected="the entry 'sha256'", fix=_FIX)
    root = folder.resolve()
    for name, expected in hashes.items():
        path = (folder / str(name)).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise CheckpointError(str(folder / str(name)), "no such file", expected="a file inside the bundle", fix=_FIX)
        found = files.sha256(path)
        if found != expected:
            raise CheckpointError(str(path), f"SHA-256 {found[:12]}...", expected=f"{str(expected)[:12]}...", fix=_FIX)
