"""`metakg generate`: the files written, the lines for people, the JSON, and the refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from metakg.cli.generate import generate
from metakg.cli.main import app as everything
from metakg.data import Dataset
from metakg.errors import ConfigError, DataError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(generate)
SMALL = ("--users", 30, "--items", 40, "--interactions", 500)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"}, catch_exceptions=False)


def test_a_data_set_folder(tmp_path: Path) -> None:
    result = run("--out", tmp_path / "shop", *SMALL, "--seed", 3)
    assert result.exit_code == 0
    data = Dataset.load(tmp_path / "shop", verify=True)
    assert (data.vocabulary.n_users, data.vocabulary.n_items, len(data.interactions)) == (30, 40, 500)
    assert data.manifest["options"]["seed"] == 3
    assert "interactions            500" in result.output
    assert f"next: metakg split {tmp_path / 'shop'} --out DIR" in result.output


def test_one_json_object(tmp_path: Path) -> None:
    result = run("--out", tmp_path / "shop", *SMALL, "--domain", "music", "--noise", 0, "--no-user-facts", "--json")
    made = json.loads(result.stdout)
    assert (made["users"], made["items"], made["interactions"]) == (30, 40, 500)
    assert (made["options"]["domain"], made["options"]["noise"], made["user_triples"]) == ("music", 0.0, 0)
    assert made["out"] == str(tmp_path / "shop")


def test_plain_files(tmp_path: Path) -> None:
    result = run("--out", tmp_path / "shop", *SMALL, "--csv")
    assert (tmp_path / "shop" / "interactions.csv").read_text().startswith('"user_id","item_id","timestamp"\n')
    assert "next: metakg prepare" in result.output


def test_plain_files_are_what_prepare_reads(tmp_path: Path) -> None:
    """The way of a user with files of his own: every click and fact arrives, with its names."""
    run("--out", tmp_path / "plain", *SMALL, "--csv")
    run("--out", tmp_path / "shop", *SMALL)
    arguments = ["prepare", str(tmp_path / "plain"), "--out", str(tmp_path / "read")]
    assert CliRunner().invoke(everything, arguments, catch_exceptions=False).exit_code == 0
    made, read = Dataset.load(tmp_path / "shop"), Dataset.load(tmp_path / "read")
    assert clicks_of(read) == clicks_of(made)
    assert facts_of(made) <= facts_of(read)
    assert read.vocabulary.items.label(read.vocabulary.items.row("book-00007")) == made.vocabulary.items.label(7)
    author = read.vocabulary.entities.row("author-003")
    assert read.vocabulary.entity_label(author) == made.vocabulary.entity_label(made.vocabulary.entities.row("author-003"))


def clicks_of(data: Dataset) -> set[tuple[str, str, int]]:
    v, pairs = data.vocabulary, data.interactions
    assert pairs.times_s is not None
    return set(zip(v.users.ids(pairs.users), v.items.ids(pairs.items), pairs.times_s.tolist(), strict=True))


def facts_of(data: Dataset) -> set[tuple[str, str, str]]:
    v, facts = data.vocabulary, data.graph.entity
    return set(zip(v.entities.ids(facts.heads), v.relations.ids(facts.relations), v.entities.ids(facts.tails), strict=True))


def test_truth_on_request(tmp_path: Path) -> None:
    run("--out", tmp_path / "a", *SMALL)
    run("--out", tmp_path / "b", *SMALL, "--truth")
    assert not (tmp_path / "a" / "truth").exists()
    assert {file.name for file in (tmp_path / "b" / "truth").iterdir()} == {"tastes.parquet", "reasons.parquet"}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="preset: found 'bookshop'; expected one of demo"):
        run("--out", tmp_path / "shop", "--preset", "bookshop")
    with pytest.raises(ConfigError, match="--csv: found --truth"):
        run("--out", tmp_path / "shop", "--csv", "--truth")
    with pytest.raises(ConfigError, match="interactions: found 5; expected 40 to 1,200"):
        run("--out", tmp_path / "shop", "--users", 30, "--items", 40, "--interactions", 5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="something that metakg did not write"):
        run("--out", tmp_path / "mine", *SMALL, "--overwrite")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["letter.txt", "mine"]
