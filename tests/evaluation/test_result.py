"""`Evaluation` on disk: what is read equals what was written, and damage is named."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metakg.data import tables
from metakg.errors import DataError
from metakg.evaluation import Evaluation, ScenarioResult
from metakg.evaluation.metrics import compute


def scenario_result(scenario: str, shots: int | None, n_users: int) -> ScenarioResult:
    rng = np.random.default_rng(n_users)
    hits = rng.random((n_users, 5)) < 0.4
    relevant = hits.sum(axis=1) + rng.integers(1, 9, n_users)
    return ScenarioResult(
        scenario=scenario,
        shots=shots,
        users=pa.array([f"ü {n}" for n in range(n_users)], pa.string()),
        hits=hits,
        values=compute(hits, relevant, [2, 5], ["recall", "ndcg"]),
        relevant=relevant,
        revealed=rng.integers(0, 9, n_users),
        tied=rng.random(n_users).astype(np.float32),
        coverage={2: 0.125, 5: 0.25},
        n_ranked=40,
        adapt_s=0.5,
        rank_s=0.25,
    )


@pytest.fixture
def evaluation():
    results = (scenario_result("user_cold", None, 4), scenario_result("user_cold", 0, 3), scenario_result("warm", None, 2))
    return Evaluation("kg-knn", "strict", 3, "support+train", "all", results)


def test_save_and_load(evaluation, tmp_path):
    evaluation.save(tmp_path / "run")
    loaded = Evaluation.load(tmp_path / "run")
    assert loaded.rows == evaluation.rows
    assert loaded.notes == evaluation.notes
    for ours, theirs in zip(evaluation.results, loaded.results, strict=True):
        assert theirs.about == ours.about
        assert theirs.users.equals(ours.users)
        assert list(theirs.values) == list(ours.values)
        for key, values in ours.values.items():
            np.testing.assert_array_equal(theirs.values[key], values)
        for name in ("hits", "relevant", "revealed", "tied"):
            np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
        assert (theirs.coverage, theirs.n_ranked, theirs.adapt_s) == (ours.coverage, ours.n_ranked, ours.adapt_s)
    assert loaded.ties == "lot"
    lines = (tmp_path / "run" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == evaluation.rows


def test_an_evaluation_of_before_says_that_the_order_of_the_data_broke_ties(evaluation, tmp_path):
    evaluation.save(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["ties"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    loaded = Evaluation.load(tmp_path / "run")
    assert loaded.ties == "row"
    tied = [replace(result, tied=np.ones_like(result.tied)) for result in loaded.results]
    assert "the order of items in the data decides" in replace(loaded, results=tuple(tied)).notes[-1]


def test_results_are_found_by_name(evaluation):
    assert evaluation.result("user_cold", 0) is evaluation.results[1]
    with pytest.raises(KeyError, match="there are user_cold, user_cold at 0 shots, warm"):
        evaluation.result("warm", 0)


def test_what_was_judged_is_said_in_one_line(evaluation):
    result = evaluation.results[2]
    assert result.about == (
        f"warm: 2 users, {result.revealed.mean():.1f} revealed clicks each ({result.revealed.min()} to "
        f"{result.revealed.max()}), {result.relevant.mean():.1f} query items each ({result.relevant.min()} to "
        f"{result.relevant.max()}), 40 items ranked"
    )


def test_an_earlier_result_is_kept_unless_allowed(evaluation, tmp_path):
    evaluation.save(tmp_path / "run")
    with pytest.raises(DataError, match="an earlier result"):
        evaluation.save(tmp_path / "run")
    evaluation.save(tmp_path / "run", overwrite=True)
    damaged(tmp_path / "run", lambda manifest: manifest.update(kind="dataset"))
    with pytest.raises(DataError, match="a folder of kind 'dataset'; expected a new folder, or one of kind 'evaluation'"):
        evaluation.save(tmp_path / "run", overwrite=True)


def test_an_evaluation_of_nothing(tmp_path):
    nothing = Evaluation("kg-knn", "strict", None, "support", "all", ())
    nothing.save(tmp_path / "run")
    assert Evaluation.load(tmp_path / "run").rows == []


def damaged(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=99), "found kind 'evaluation', format 99; expected kind 'evaluation', format 1 or 2"),
        (lambda m: m.update(kind="dataset"), "kind 'dataset'"),
        (lambda m: m.pop("results"), "KeyError.*results"),
        (lambda m: m["results"].pop(), "9 rows of users, 7 in its results"),
        (lambda m: m["results"][0].pop("coverage"), "KeyError.*coverage"),
        (lambda m: m["metrics"].append(["mop", 5]), "unknown metric 'mop'"),
        (lambda m: m.update(metrics=[]), "no metrics"),
        (lambda m: m.update(metrics=[["recall", 1]]), "a hit at place . of 1"),
        (lambda m: m.update(format=1), "expected also recall@2"),
        (lambda m: m.pop("tables"), "no list of tables"),
        (lambda m: m["tables"]["users"].update(sha256="0" * 64), "SHA-256"),
    ],
)
def test_a_damaged_manifest_is_named(evaluation, tmp_path, change, message):
    evaluation.save(tmp_path / "run")
    damaged(tmp_path / "run", change)
    with pytest.raises(DataError, match=message):
        Evaluation.load(tmp_path / "run")


@pytest.mark.parametrize(("places", "message"), [([0], "a hit at place 0 of 5"), ([3, 3], "a place that is given twice")])
def test_hits_that_cannot_be_are_named(evaluation, tmp_path, places, message):
    evaluation.save(tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "users.parquet")
    lists = pa.array([places, *table["hits"].to_pylist()[1:]], pa.list_(pa.uint16()))
    replace_users(tmp_path / "run", table.set_column(table.column_names.index("hits"), "hits", lists))
    with pytest.raises(DataError, match=message):
        Evaluation.load(tmp_path / "run")


def replace_users(folder, table, **changes):
    pq.write_table(table, folder / "users.parquet")
    damaged(folder, lambda manifest: manifest.update(tables=tables.describe(folder, ["users"]), **changes))


def test_format_1_is_read_and_stays_format_1(evaluation, tmp_path):
    evaluation.save(tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "users.parquet").drop_columns(["hits"])
    for metric, k in evaluation.results[0].values:
        values = np.concatenate([result.values[metric, k] for result in evaluation.results])
        table = table.append_column(f"{metric}@{k}", pa.array(values))
    replace_users(tmp_path / "run", table, format=1)
    loaded = Evaluation.load(tmp_path / "run")
    assert loaded.rows == evaluation.rows
    loaded.at(2).save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "manifest.json").read_text(encoding="utf-8"))["format"] == 1
    assert Evaluation.load(tmp_path / "again").rows == evaluation.at(2).rows


def test_one_cut_off_alone_is_saved_with_the_hits_before_it(evaluation, tmp_path):
    evaluation.at(2).save(tmp_path / "run")
    loaded = Evaluation.load(tmp_path / "run")
    assert loaded.rows == evaluation.at(2).rows
    assert loaded.results[0].hits.shape == (4, 2)


@pytest.mark.parametrize("k", [65_535, 65_536, 70_000])
def test_places_in_very_long_lists_are_kept(tmp_path, k):
    hits = np.zeros((2, k), np.bool_)
    hits[0, [0, 65_534, k - 1]] = True
    relevant = np.array([3, 1])
    parts = {"hits": hits, "relevant": relevant, "values": compute(hits, relevant, [k], ["recall"]), "coverage": {k: 0.5}}
    result = replace(scenario_result("warm", None, 2), **parts)
    Evaluation("walk", "strict", None, "support+train", "all", (result,)).save(tmp_path / "run")
    np.testing.assert_array_equal(Evaluation.load(tmp_path / "run").results[0].hits, hits)


def test_a_truncated_table_is_named(evaluation, tmp_path):
    evaluation.save(tmp_path / "run")
    path = tmp_path / "run" / "users.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"users\.parquet"):
        Evaluation.load(tmp_path / "run")
    with pytest.raises(DataError, match="no such file"):
        Evaluation.load(tmp_path / "nowhere")
