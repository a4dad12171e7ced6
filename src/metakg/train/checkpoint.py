"""Checkpoints of a training run: safetensors and JSON in one folder, whole or absent; nothing that runs when read.

manifest.json         format, identity of the data, settings, and everything of the state that is not a tensor
tensors.safetensors   every tensor of the state, under its path ("model/node", "optimizer/exp_avg/node" ...)

The state is a nested dict; `save` and `load` keep its shape, so that a loop can hand over whatever it must remember.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from metakg import files
from metakg.data import TrainView
from metakg.data.vocabulary import Vocabulary
from metakg.errors import CheckpointError, MetakgError
from metakg.types import Json

FORMAT = 2
_KIND = "training checkpoint"


def fingerprint(vocabulary: Vocabulary) -> str:
    """Return a hash of all ids in row order: what a checkpoint's rows mean."""
    digest = hashlib.blake2b(digest_size=16)
    for ids in (vocabulary.users, vocabulary.items, vocabulary.entities, vocabulary.relations):
        digest.update(f"{ids.kind}:{len(ids)};".encode())
        for text in ids.array.to_pylist():
            digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()


def view_fingerprint(view: TrainView) -> str:
    """Return a hash of everything that a model sees: ids, pairs, facts, tasks."""
    digest = hashlib.blake2b(fingerprint(view.vocabulary).encode(), digest_size=16)
    facts, about = view.graph.entity, view.graph.user
    columns = [view.interactions.users, view.interactions.items]
    columns += [facts.heads, facts.relations, facts.tails, about.heads, about.relations, about.tails]
    if view.tasks is not None:
        support, query = view.tasks.support, view.tasks.query
        columns += [view.tasks.users, support.users, support.items, query.users, query.items]
    for column in columns:
        digest.update(len(column).to_bytes(8, "little"))
        digest.update(column.tobytes())
    return digest.hexdigest()


def save(folder: Path, state: Json, *, identity: Json) -> None:
    """Write a checkpoint in the place of an older one.

    Args:
        folder: where; replaced as a whole.
        state: nested dicts of tensors, numpy arrays and JSON values.
        identity: what the checkpoint belongs to (data, model, settings); `load` compares it.

    Raises:
        DataError: the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    plain = _split(state, "", tensors)
    with files.atomic_folder(folder, overwrite=True) as temporary:
        files.save_tensors(tensors, temporary / "tensors.safetensors")
        manifest = {
            "kind": _KIND,
            "format": FORMAT,
            "identity": identity,
            "state": plain,
            "sha256": files.sha256(temporary / "tensors.safetensors"),
        }
        files.write_json(temporary / "manifest.json", manifest)


def load(folder: Path, *, identity: Json) -> Json:
    """Read the state back.

    Raises:
        CheckpointError: the checkpoint is damaged, of another version, or belongs to other data or settings.
    """
    try:
        manifest = files.read_json(folder / "manifest.json", what=_KIND)
    except MetakgError as err:
        raise CheckpointError(err.where, err.found, expected=err.expected, fix=_FIX) from err
    if manifest.get("kind") != _KIND or manifest.get("format") != FORMAT:
        found = f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}"
        raise CheckpointError(str(folder), found, expected=f"kind {_KIND!r}, format {FORMAT}", fix=_FIX)
    _compare(folder, manifest.get("identity"), identity)
    path = folder / "tensors.safetensors"
    try:
        if files.sha256(path) != manifest.get("sha256"):
            raise CheckpointError(str(path), "another SHA-256", expected="the one in manifest.json", fix=_FIX)
        tensors = load_file(path)
    except (OSError, SafetensorError) as err:
        raise CheckpointError(str(path), str(err), expected="readable tensors", fix=_FIX) from err
    state = _join(manifest["state"], tensors)
    assert isinstance(state, dict)
    return state


_FIX = "Start the run again without resuming, or name the folder of another run."


def _compare(folder: Path, found: object, expected: Json) -> None:
    if not isinstance(found, dict):
        raise CheckpointError(str(folder / "manifest.json"), "no identity", expected="the entry 'identity'", fix=_FIX)
    for key in {**expected, **found}:  # what only one of the two has is a difference as well
        if found.get(key) != expected.get(key):
            raise CheckpointError(
                f"checkpoint {folder}, {key}",
                _short(found.get(key)),
                expected=_short(expected.get(key)),
                fix="It belongs to another run (other data, settings, version or number of threads). " + _FIX,
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Move tensors into `tensors` and leave their path in their place."""
    if isinstance(value, dict):
        if any("/" in str(key) for key in value):
            raise ValueError(f"a key of the state at {path!r} contains '/'")
        return {str(key): _split(inner, f"{path}/{key}" if path else str(key), tensors) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        tensors[path] = torch.from_numpy(np.ascontiguousarray(value))
        return {"$array": path}
    if isinstance(value, Tensor):
        # Tensors that share memory (tied weights) would be refused; a copy is small beside the wait for the disk.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {"$tensor": path}
    return value


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        if "$array" in value:
            return tensors[value["$array"]].numpy()
        return {key: _join(inner, tensors) for key, inner in value.items()}
    return value
