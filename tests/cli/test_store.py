"""`metakg store`: make, back up, restore, list the forgotten."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from metakg.cli.main import app
from metakg.data import Dataset
from metakg.engine import fit, load
from metakg.errors import DataError, StoreError
from metakg.store import Append, Draft, Store
from metakg.testing import toy, toy_view


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["store", *(str(word) for word in words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_way_of_a_store(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    assert "version 2 (was 0)" in run("migrate", path)
    assert json.loads(run("migrate", path, "--json")) == {"before": 2, "after": 2}
    opened = Store(str(path))
    opened.append([Append((Draft("like", "ann", "i1"), Draft("like", "ben", "i1"), Draft("forget", "ann")))])
    opened.close()
    assert json.loads(run("backup", path, tmp_path / "b.jsonl", "--json"))["events"] == 2
    (tmp_path / "gone.txt").write_text("ben\n")
    found = json.loads(
        run("restore", tmp_path / "b.jsonl", tmp_path / "new.sqlite", "--forget", tmp_path / "gone.txt", "--json")
    )
    assert (found["events"], found["forgotten"]) == (2, 1)
    assert run("forgotten", tmp_path / "new.sqlite") == "ann\nben\n"
    with pytest.raises(StoreError, match="expected an empty store"):
        run("restore", tmp_path / "b.jsonl", tmp_path / "new.sqlite")


def test_a_backup_says_the_file_alone_where_the_variable_names_the_store(tmp_path, monkeypatch) -> None:
    """An address with a password never stands on a command line, where every user of the machine can read it."""
    path = tmp_path / "store.sqlite"
    run("migrate", path)
    refused = CliRunner().invoke(app, ["store", "backup", str(path)])
    assert refused.exit_code == 2
    assert "no file to write to" in refused.stderr
    monkeypatch.setenv("METAKG_STORE", str(path))
    assert json.loads(run("backup", tmp_path / "b.jsonl", "--json"))["events"] == 0
    assert json.loads(run("backup", path, tmp_path / "c.jsonl", "--json"))["events"] == 0
    assert CliRunner().invoke(app, ["store", "backup"]).exit_code == 2


def test_rebuilding_leads_to_a_bundle_that_knows_what_was_clicked(tmp_path) -> None:
    fit("kg-knn", toy_view()).save(tmp_path / "bundle")
    opened = Store(str(tmp_path / "store.sqlite"))
    opened.append([Append((Draft("like", "new", "i03"), Draft("drop-item", item="i04")))])
    opened.close()
    made = json.loads(run("rebuild", tmp_path / "bundle", tmp_path / "store.sqlite", "--out", tmp_path / "next", "--json"))
    assert (made["adapted_users"], made["items"], made["left_out"], made["version"][-2:]) == (1, 11, 0, ".2")
    engine = load(tmp_path / "next")
    assert engine.recommend("new", 1)[0].item == "i05"
    assert engine.unknown(["i03", "i04"]) == ["i04"]


def test_what_comes_while_a_bundle_is_rebuilt_is_in_it(tmp_path, monkeypatch) -> None:
    """Above all, whoever is forgotten in these moments is not in it."""
    from metakg.serve import live

    fit("kg-knn", toy_view()).save(tmp_path / "bundle")
    opened, warm = Store(str(tmp_path / "store.sqlite")), live.warm
    opened.append([Append((Draft("like", "new", "i03"),))])
    late = [(Draft("forget", "ann"), Draft("item", item="n1", body={"label": "N", "entity": None, "facts": []}))]

    def warm_slowly(engine) -> None:
        warm(engine)
        while late:
            opened.append([Append(late.pop())])

    monkeypatch.setattr(live, "warm", warm_slowly)
    made = json.loads(run("rebuild", tmp_path / "bundle", tmp_path / "store.sqlite", "--out", tmp_path / "next", "--json"))
    opened.close()
    assert made["version"].endswith(".3")
    engine = load(tmp_path / "next")
    assert "ann" not in engine.users
    assert engine.unknown(["n1"]) == []


def test_what_came_joins_the_data_for_the_next_training(tmp_path) -> None:
    toy().save(tmp_path / "data")
    opened = Store(str(tmp_path / "store.sqlite"))
    told = (
        Draft("like", "new", "i03"),
        Draft("like", "new", "no-such"),
        Draft("drop-item", item="i04"),
        Draft("forget", "hal"),
    )
    opened.append([Append(told)])
    opened.close()
    words = ("collect", tmp_path / "data", tmp_path / "store.sqlite", "--out", tmp_path / "next")
    shown = run(*words).splitlines()
    assert shown[0].endswith("next: 8 users, 11 items, 19 entities, 7 relations, 23 interactions")
    assert shown[1:3] == ["interactions: 24 + 1 - 2", "users: 8 + 1 - 1"]
    assert shown[-1] == "left out, clicks on unknown items: 1"
    with pytest.raises(DataError, match="earlier result"):
        run(*words)
    told_again = json.loads(run(*words, "--overwrite", "--json"))
    assert told_again == Dataset.load(tmp_path / "next", verify=True).manifest["collected"]


def test_commands_that_only_read_make_nothing(tmp_path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        run("forgotten", tmp_path / "no.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_backup_that_is_not_whole_leaves_no_store_behind(tmp_path) -> None:
    Store(str(tmp_path / "s.sqlite")).close()
    run("backup", tmp_path / "s.sqlite", tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").write_text((tmp_path / "b.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="no end"):
        run("restore", tmp_path / "b.jsonl", tmp_path / "new.sqlite")
    assert not (tmp_path / "new.sqlite").exists()
