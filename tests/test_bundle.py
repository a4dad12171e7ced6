"""Opening a stranger's bundle is safe: whatever is wrong with it is said, and nothing in it runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import metakg
from metakg.data import IdMap, Interactions, KnowledgeGraph, TrainView, Vocabulary
from metakg.engine import fit
from metakg.errors import CheckpointError, DataError


@pytest.fixture
def bundle(tmp_path):
    vocabulary = Vocabulary(IdMap(["u"]), IdMap(["a", "b"]), IdMap(["a", "b"]), IdMap([]))
    pairs = Interactions(np.zeros(1, np.int32), np.ones(1, np.int32))
    fit("walk", TrainView(vocabulary, pairs, KnowledgeGraph.empty()), steps=3).save(tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(bundle, **changes):
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(changes)
    path.write_text(json.dumps(manifest))


def test_a_bundle_keeps_the_settings(bundle) -> None:
    assert metakg.load(bundle).recommender.config.steps == 3


def test_a_bundle_holds_no_pickle(bundle) -> None:
    assert {path.suffix for path in bundle.rglob("*") if path.is_file()} == {".json", ".parquet", ".safetensors"}


@pytest.mark.parametrize("name", ["weights.safetensors", "data/users.parquet", "data/manifest.json"])
def test_a_changed_file_is_refused(bundle, name) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(CheckpointError, match="SHA-256"):
        metakg.load(bundle)


def test_a_missing_file_is_refused(bundle) -> None:
    (bundle / "data" / "items.parquet").unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        metakg.load(bundle)


def test_a_path_out_of_the_bundle_is_refused(bundle) -> None:
    hashes = json.loads((bundle / "manifest.json").read_text())["sha256"]
    edit(bundle, sha256={**hashes, "../../etc/passwd": "0"})
    with pytest.raises(CheckpointError, match="expected a file inside the bundle"):
        metakg.load(bundle)


def test_a_list_without_the_needed_files_is_refused(bundle) -> None:
    edit(bundle, sha256={})
    with pytest.raises(CheckpointError, match="no list of files"):
        metakg.load(bundle)


def test_another_version_or_kind_is_refused(bundle) -> None:
    edit(bundle, format=99)
    with pytest.raises(CheckpointError, match="format 99"):
        metakg.load(bundle)
    edit(bundle, format=1, kind="dataset")
    with pytest.raises(CheckpointError, match="kind 'dataset'"):
        metakg.load(bundle)


def test_no_bundle_at_all_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="bundle manifest"):
        metakg.load(tmp_path)


def test_a_bundle_never_replaces_something_else(bundle, tmp_path) -> None:
    engine = metakg.load(bundle)
    with pytest.raises(DataError):
        engine.save(bundle)
    engine.save(bundle, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="metakg did not write"):
        engine.save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
