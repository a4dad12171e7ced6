"""Checkpoints: what goes in comes out, and a damaged or foreign one is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from metakg.data import IdMap, Vocabulary
from metakg.errors import CheckpointError, DataError
from metakg.train import checkpoint
from metakg.train.log import JsonLines

STATE = {
    "model": {"w": torch.arange(3.0), "steps": torch.tensor(2)},
    "order": np.array([2, 0, 1]),
    "rng": {"state": 2**100, "name": "PCG64"},
    "none": None,
    "empty": {},
}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", STATE, identity={"seed": 1})
    state = checkpoint.load(tmp_path / "c", identity={"seed": 1})
    assert torch.equal(state["model"]["w"], STATE["model"]["w"])
    assert state["model"]["steps"].shape == ()
    assert state["order"].tolist() == [2, 0, 1]
    assert (state["rng"], state["none"], state["empty"]) == (STATE["rng"], None, {})
    checkpoint.save(tmp_path / "c", STATE, identity={"seed": 2})
    with pytest.raises(CheckpointError, match="seed: found 2; expected 1"):
        checkpoint.load(tmp_path / "c", identity={"seed": 1})
    assert not [p for p in tmp_path.iterdir() if p.name != "c"], "nothing is left behind"


def test_tied_tensors_are_kept(tmp_path: Path) -> None:
    w = torch.zeros(2)
    checkpoint.save(tmp_path / "c", {"a": w, "b": w}, identity={})
    assert torch.equal(checkpoint.load(tmp_path / "c", identity={})["b"], w)


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(tmp_path / "absent", identity={})
    folder = tmp_path / "c"
    checkpoint.save(folder, STATE, identity={})
    (folder / "tensors.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="another SHA-256"):
        checkpoint.load(folder, identity={})
    manifest = json.loads((folder / "manifest.json").read_text())
    for change, message in (({"format": 99}, "format 99"), ({"identity": None}, "no identity"), ({"kind": "x"}, "kind 'x'")):
        (folder / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(CheckpointError, match=message):
            checkpoint.load(folder, identity={})


def test_a_fingerprint_tells_vocabularies_apart() -> None:
    def of(*users: str) -> str:
        items = IdMap(["i"], kind="item")
        return checkpoint.fingerprint(Vocabulary(IdMap(list(users), kind="user"), items, items, IdMap([], kind="relation")))

    assert of("a", "b") == of("a", "b")
    assert len({of("a", "b"), of("b", "a"), of("ab"), of("a"), of("a", "b", "c"), of("1:b")}) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_disk_that_takes_no_more_leaves_the_older_checkpoint_and_says_so(tmp_path: Path) -> None:
    import resource

    checkpoint.save(tmp_path / "c", STATE, identity={"seed": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # a longer file is refused, as on a full disk
    try:
        with pytest.raises(DataError, match=r"writing .*: found .*too large"):
            checkpoint.save(tmp_path / "c", {**STATE, "more": torch.zeros(100_000)}, identity={"seed": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.load(tmp_path / "c", identity={"seed": 1})["rng"] == STATE["rng"]
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_what_the_system_says_of_tensors_is_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(DataError, match="found a full disk"):
        checkpoint.save(tmp_path / "c", STATE, identity={"seed": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_says_which(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    log = JsonLines(tmp_path / "log.jsonl")
    log.write({"event": "step", "step": 1})
    log._handle.close()
    log._handle = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    with pytest.raises(DataError, match=r"writing .*log.jsonl: found a full disk"):
        log.write({"event": "step", "step": 2})
    log.close()  # nothing is left to be written, so this does not fail again
    assert (tmp_path / "log.jsonl").read_text() == '{"event": "step", "step": 1}\n'
