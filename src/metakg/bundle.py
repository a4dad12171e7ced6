"""A servable recommender as a folder (format 1): JSON, Parquet and safetensors; nothing in it is ever executed.

manifest.json        format, model settings, seed, SHA-256 of every file
data/                the training view, as a data set folder
weights.safetensors  tensors of the model
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from metakg import files
from metakg.data import Dataset, TrainView
from metakg.errors import CheckpointError, MetakgError
from metakg.models.base import Recommender
from metakg.train.fit import restore, settings_for
from metakg.types import Json

FORMAT = 1
_FIX = "Save the bundle again (metakg train, or Engine.save)."


def save(recommender: Recommender, settings: Json, folder: Path, *, overwrite: bool = False) -> None:
    """Write a bundle, whole or not at all."""
    view = recommender.view
    with files.atomic_folder(folder, overwrite=overwrite, kind="bundle") as temporary:
        Dataset(view.vocabulary, view.interactions, view.graph, {"source": "training view"}).save(temporary / "data")
        save_file(
            {name: tensor.contiguous() for name, tensor in recommender.tensors().items()}, temporary / "weights.safetensors"
        )
        hashes = {str(p.relative_to(temporary)): files.sha256(p) for p in sorted(temporary.rglob("*")) if p.is_file()}
        files.write_json(
            temporary / "manifest.json",
            {"kind": "bundle", "format": FORMAT, **settings, "sha256": hashes},
        )


def load(folder: Path) -> tuple[Recommender, Json]:
    """Open a bundle; return the recommender and its resolved settings.

    Raises:
        CheckpointError: the bundle is damaged, of another version, or no bundle.
    """
    try:
        manifest = files.read_json(folder / "manifest.json", what="bundle manifest")
    except MetakgError as err:
        raise CheckpointError(err.where, err.found, expected=err.expected, fix=_FIX) from err
    if manifest.get("kind") != "bundle" or manifest.get("format") != FORMAT:
        raise CheckpointError(
            str(folder / "manifest.json"),
            f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}",
            expected=f"kind 'bundle', format {FORMAT}",
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
    resolved = {"model": settings, "training": how, "seed": seed, "adapted": manifest.get("adapted", [])}
    return restore(config, training, view, tensors, seed), resolved


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
