"""Planted data on disk: the tables of `planted`, whole or not at all, in memory that does not grow with the clicks."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.generator import PlantedConfig, generate, generate_plain, planted

CONFIG = PlantedConfig(users=50, items=60, interactions=900, noise=0.2)


@pytest.fixture
def many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metakg.generator.world.BLOCK", 200)


@pytest.mark.usefixtures("many_blocks")
@pytest.mark.parametrize("domain", ["books", "music", "places"])
def test_the_folder_holds_what_is_planted(tmp_path: Path, domain: str) -> None:
    config = CONFIG.model_copy(update={"domain": domain})
    told: list[tuple[int, int]] = []
    made = generate(tmp_path / "data", config, 7, truth=True, progress=lambda done, total: told.append((done, total)))
    stored, memory = Dataset.load(tmp_path / "data", verify=True), planted(config, 7)
    a, b = stored.interactions, memory.dataset.interactions
    assert a.times_s is not None
    assert b.times_s is not None
    for left, right in ((a.users, b.users), (a.items, b.items), (a.times_s, b.times_s)):
        assert left.tolist() == right.tolist()
    for name in ("users", "items", "entities", "relations"):
        left, right = getattr(stored.vocabulary, name), getattr(memory.dataset.vocabulary, name)
        assert left == right
        assert left.labels.equals(right.labels)
    for part in ("entity", "user"):
        left, right = getattr(stored.graph, part), getattr(memory.dataset.graph, part)
        assert [column.tolist() for column in vars(left).values()] == [column.tolist() for column in vars(right).values()]
    assert pq.read_metadata(tmp_path / "data" / "interactions.parquet").num_row_groups > 2
    assert len(told) > 2
    assert told[-1] == (900, 900)
    assert made["noise"] == (memory.truth.reason_relations < 0).mean()
    assert made["interactions"] == 900
    assert stored.manifest["options"]["seed"] == 7
    assert {"users", "items", "interactions", "domain", "noise"} <= stored.manifest["options"].keys()
    reasons = pq.read_table(tmp_path / "data" / "truth" / "reasons.parquet")
    tastes = pq.read_table(tmp_path / "data" / "truth" / "tastes.parquet")
    assert reasons["relation"].to_pylist() == memory.truth.reason_relations.tolist()
    assert reasons["entity"].to_pylist() == memory.truth.reason_entities.tolist()
    assert tastes["entity"].to_pylist() == memory.truth.taste_entities.tolist()
    assert tastes["weight"].to_numpy() == pytest.approx(memory.truth.taste_weights)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, CONFIG, seed)
    a, b, c = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("a", "b", "c"))
    assert a == b
    assert a["interactions.parquet"] != c["interactions.parquet"]


def test_an_earlier_result_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    generate(tmp_path / "data", CONFIG, 1)
    before = (tmp_path / "data" / "manifest.json").read_bytes()
    with pytest.raises(DataError, match="found an earlier result"):
        generate(tmp_path / "data", CONFIG, 2)
    assert (tmp_path / "data" / "manifest.json").read_bytes() == before
    generate(tmp_path / "data", CONFIG, 2, overwrite=True)
    assert Dataset.load(tmp_path / "data", verify=True).manifest["options"]["seed"] == 2


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def full_disk(done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="a full disk"):
        generate(tmp_path / "data", CONFIG, 1, progress=full_disk)
    with pytest.raises(DataError, match="a full disk"):
        generate_plain(tmp_path / "plain", CONFIG, 1, progress=full_disk)
    with pytest.raises(ConfigError, match="preset"):
        generate(tmp_path / "data", "no-such-preset", 1)
    assert list(tmp_path.iterdir()) == []


def rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle, delimiter=delimiter))


@pytest.mark.usefixtures("many_blocks")
def test_plain_files(tmp_path: Path) -> None:
    generate_plain(tmp_path / "plain", CONFIG, 7)
    data = planted(CONFIG, 7).dataset
    v, pairs, graph = data.vocabulary, data.interactions, data.graph
    assert sorted(file.name for file in (tmp_path / "plain").iterdir()) == [
        "interactions.csv", "items.csv", "names.csv", "triples.tsv", "users.csv",
    ]  # fmt: skip
    assert pairs.times_s is not None
    clicks = rows(tmp_path / "plain" / "interactions.csv")
    assert [row["user_id"] for row in clicks] == v.users.ids(pairs.users)
    assert [row["item_id"] for row in clicks] == v.items.ids(pairs.items)
    assert [int(row["timestamp"]) for row in clicks] == pairs.times_s.tolist()
    facts = rows(tmp_path / "plain" / "triples.tsv", "\t")
    assert [row["head_id"] for row in facts] == v.entities.ids(graph.entity.heads)
    assert [row["relation_id"] for row in facts] == v.relations.ids(graph.entity.relations)
    assert [row["tail_id"] for row in facts] == v.entities.ids(graph.entity.tails)
    items = rows(tmp_path / "plain" / "items.csv")
    assert [(row["item_id"], row["title"]) for row in items] == [(v.items.id(i), v.items.label(i)) for i in range(60)]
    users = rows(tmp_path / "plain" / "users.csv")
    about = {(int(h), v.relations.id(r)): v.entities.label(t) for h, r, t in zip(*vars(graph.user).values(), strict=True)}
    for row, user in enumerate(users):
        expected = (v.users.id(row), v.users.label(row), about[row, "aged"], about[row, "at_home_in"])
        assert (user["user_id"], user["name"], user["age"], user["town"]) == expected
    names = {(row["kind"], row["id"]): row["label"] for row in rows(tmp_path / "plain" / "names.csv")}
    assert names[("relation", "written_by")] == "written by"
    assert names[("entity", v.entities.id(70))] == v.entities.label(70)
    assert len(names) == v.n_entities - 60 + v.n_relations


def test_users_without_facts_have_a_name_only(tmp_path: Path) -> None:
    generate_plain(tmp_path / "plain", CONFIG.model_copy(update={"user_facts": False}), 7)
    assert rows(tmp_path / "plain" / "users.csv")[0].keys() == {"user_id", "name"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clicks(tmp_path: Path) -> None:
    """Ten times the clicks of the same users and items: the peak grows by less than the clicks themselves would take."""
    code = """
import json, resource, sys
from metakg.generator import PlantedConfig, generate
config = PlantedConfig(users=20_000, items=8_000, interactions=int(sys.argv[1]), triples=80_000)
made = generate(sys.argv[2], config, 1)
print(json.dumps([made["interactions"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
    peaks = {}
    for n in (300_000, 3_000_000):
        command = [sys.executable, "-c", code, str(n), str(tmp_path / str(n))]
        made, peaks[n] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert made == pq.read_metadata(tmp_path / str(n) / "interactions.parquet").num_rows == n
    taken = 2_700_000 * (4 + 4 + 8 + 4) / 2**20  # what the further clicks and their reasons take as bare columns
    assert peaks[3_000_000] - peaks[300_000] < 0.75 * taken


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last-fm", "amazon-book", "yelp2018"])
def test_large_presets_come_out_exactly(tmp_path: Path, name: str) -> None:
    made = generate(tmp_path / "data", name, 1)
    data = Dataset.load(tmp_path / "data", verify=True)
    config = PlantedConfig.model_validate({k: v for k, v in made["options"].items() if k != "seed"})
    v, pairs, facts = data.vocabulary, data.interactions, data.graph.entity
    assert len(np.unique(pairs.keys(v.n_items))) == config.interactions
    keys = (facts.heads.astype(np.int64) * v.n_relations + facts.relations) * v.n_entities + facts.tails
    assert len(np.unique(keys)) == config.triples
    assert (v.n_users, v.n_items, v.n_relations) == (config.users, config.items, config.relations)
    assert v.n_entities == config.items + (config.entities or 0)
    assert np.bincount(pairs.users, minlength=v.n_users).min() >= 1
    assert np.bincount(pairs.items, minlength=v.n_items).min() >= 1
