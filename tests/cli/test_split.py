"""`metakg split`: the files written, the table, the JSON, and the refusals."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from metakg.cli.split import split as command
from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Vocabulary
from metakg.errors import ConfigError, DataError
from metakg.splits import load

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of 60 users and 40 items on disk."""
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(60) for i in rng.choice(40, 25, replace=False)]
    users, items = np.array(pairs, np.int32).T
    times = (np.maximum(users * 20, items * 25) + rng.integers(0, 500, len(pairs))).astype(np.int64)
    v = Vocabulary(IdMap([f"u{k}" for k in range(60)]), IdMap(ids := [f"i{k}" for k in range(40)]), IdMap(ids), IdMap([]))
    path = tmp_path_factory.mktemp("cli") / "data"
    Dataset(v, Interactions(users.copy(), items.copy(), None, times), KnowledgeGraph.empty()).save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"}, catch_exceptions=False)


def test_a_table_for_people(folder, tmp_path):
    result = run(folder, "--out", tmp_path / "s", "--set", "min_support=4")
    assert result.exit_code == 0
    for word in (
        "user_cold",
        "item_cold",
        "user_item_cold",
        "warm",
        "validation",
        "meta_training",
        "0%",
        "strict split written to",
    ):
        assert word in result.stdout
    cut = load(tmp_path / "s")
    assert cut.protocol == "strict"
    assert cut.manifest["options"]["min_support"] == 4
    assert f"{len(cut.pairs):,} training pairs" in result.stdout


def test_json_for_machines(folder, tmp_path):
    result = run(folder, "--out", tmp_path / "s", "--json", "--no-validation", "--seed", 3)
    report = json.loads(result.stdout)
    assert report["protocol"] == "strict"
    cut = load(tmp_path / "s", Dataset.load(folder))
    rows = {row["scenario"]: row for row in report["scenarios"]}
    assert {row["part"] for row in report["scenarios"]} == {"test"}
    assert set(rows) == {"meta_training", *cut.scenarios}
    for name, scenario in cut.scenarios.items():
        assert rows[name]["users"] == len(scenario.users)
        assert rows[name]["query_pairs"] == len(scenario.query)
        assert rows[name]["overlap"] == 0
    assert cut.manifest["options"]["seed"] == 3


def test_what_is_left_out_is_said(folder, tmp_path):
    result = run(folder, "--out", tmp_path / "s", "--set", "min_support=24", "--no-validation")
    assert (
        "left out: test user_cold: no new user has 25 pairs with old items (min_support=24, and one to ask for)"
        in result.stdout
    )


def test_a_cut_that_lots_decided_is_said(folder, tmp_path):
    made = Dataset.load(folder)
    pairs = made.interactions
    Dataset(made.vocabulary, Interactions(pairs.users, pairs.items, None, np.full(len(pairs), 7, np.int64)), made.graph).save(
        tmp_path / "one"
    )

    def notes(data):
        words = ["--out", tmp_path / f"{data.name}-split", "--set", "min_support=2", "--no-validation"]
        return [line for line in run(data, *words).stdout.splitlines() if line.startswith("note: ")]

    assert notes(folder) == []
    first, second = notes(tmp_path / "one")
    assert (
        first
        == "note: 100% of the users have one first time, the one where the new ones begin: which of them are new, lots decided"
    )
    assert second.startswith("note: 100% of the items")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--set", "min_suport=3"], ConfigError, "min_suport: found an unknown option"),
        (["--set", "min_support"], ConfigError, "--set: found 'min_support'; expected KEY=VALUE"),
        (["--protocol", "loose"], ConfigError, "expected 'paper' or 'strict'"),
        (["--published", "nowhere"], ConfigError, "expected protocol 'paper'"),
        (["--protocol", "paper", "--published", "nowhere"], DataError, "no meta_training_support.txt"),
        (["--set", "new_users=2"], ConfigError, "new_users: found 2"),
        (["--set", "seed=7"], ConfigError, "--set seed: found 7; expected another setting. Say it by --seed"),
        (["--set", "validation=false"], ConfigError, "--set validation: .*--no-validation"),
    ],
)
def test_refusals_write_nothing(folder, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        run(folder, "--out", tmp_path / "s", *arguments)
    assert not (tmp_path / "s").exists()


def test_an_earlier_split_is_replaced_only_when_told(folder, tmp_path):
    run(folder, "--out", tmp_path / "s")
    with pytest.raises(DataError, match="an earlier result"):
        run(folder, "--out", tmp_path / "s")
    assert run(folder, "--out", tmp_path / "s", "--overwrite").exit_code == 0


def test_the_data_set_is_never_replaced(folder):
    with pytest.raises(DataError, match="kind 'dataset'"):
        run(folder, "--out", folder, "--overwrite")
    Dataset.load(folder, verify=True)


def test_a_missing_data_set_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        run(tmp_path / "nowhere", "--out", tmp_path / "s")
