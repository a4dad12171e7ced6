"""`metakg lists`: the lists that an engine would give one by one, as one table, whole or not at all."""

from __future__ import annotations

import json

import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from metakg.cli.main import app
from metakg.engine import Engine, fit, load
from metakg.errors import ConfigError, DataError
from metakg.testing import toy_view


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of somebody new, somebody forgotten, and an item that is gone."""
    engine = fit("blend", toy_view()).adapt("new", ["i03"]).forget("ben", everywhere=True).remove_item("i09")
    folder = tmp_path_factory.mktemp("lists") / "bundle"
    engine.save(folder)
    return folder


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["lists", *(str(word) for word in words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_everybody_gets_the_list_that_he_would_be_given_alone(bundle, tmp_path) -> None:
    engine = load(bundle)
    assert sorted(engine.users) == ["ann", "cleo", "dan", "eve", "finn", "gus", "hal", "new"]
    shown = run(bundle, "--out", tmp_path / "a.parquet", "-k", 4)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    expected = [
        {"user": user, "place": place, "item": e.item, "label": e.label, "score": pytest.approx(e.score), "way": e.way}
        for user in engine.users
        for place, e in enumerate(engine.recommend(user, 4), 1)
    ]
    assert rows == expected
    assert f"{len(rows)} rows, lists of 8 users" in shown


@pytest.mark.parametrize("end", ["csv", "tsv", "jsonl"])
def test_every_format_says_the_same(bundle, tmp_path, end) -> None:
    out = tmp_path / f"a.{end}"
    run(bundle, "--out", tmp_path / "a.parquet")
    run(bundle, "--out", out)
    wanted = pq.read_table(tmp_path / "a.parquet").to_pylist()
    if end == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        found = csv.read_csv(out, parse_options=csv.ParseOptions(delimiter="," if end == "csv" else "\t")).to_pylist()
    assert [{**row, "score": pytest.approx(row["score"], rel=1e-5)} for row in found] == wanted


def test_users_of_a_file_known_or_new_with_options_and_reasons(bundle, tmp_path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfann\r\nnobody\r\n\r\nann\r\n")
    (tmp_path / "deny.txt").write_text("i05\n")
    words = (bundle, "--out", tmp_path / "a.jsonl", "--users", tmp_path / "ids.txt", "--deny", tmp_path / "deny.txt", "-k", 3)
    told = json.loads(run(*words, "--why", "--no-filter-seen", "--diversity", 0.5, "--json"))
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert told == {"file": str(tmp_path / "a.jsonl"), "lists": 2, "rows": 6, "empty": 0}
    engine = load(bundle)
    for user in ("ann", "nobody"):
        theirs = [row for row in rows if row["user"] == user]
        alone = engine.recommend(user, 3, deny=["i05"], filter_seen=False, diversity=0.5)
        assert [row["item"] for row in theirs] == [entry.item for entry in alone]
        for row in theirs:
            paths = engine.explain(user, row["item"], limit=1).paths
            assert row["why"] == (str(paths[0]) if paths else None)
    assert any(row["why"] for row in rows)


def test_blanks_around_ids_do_not_matter_and_unknown_ones_are_named(bundle, tmp_path) -> None:
    def best(deny: str) -> list[str]:
        (tmp_path / "deny.txt").write_text(deny)
        (tmp_path / "users.txt").write_text("  ann \t\n\n")
        words = ["--users", tmp_path / "users.txt", "--deny", tmp_path / "deny.txt", "-k", "2", "--overwrite"]
        run(bundle, "--out", tmp_path / "lists.jsonl", *words)
        rows = [json.loads(line) for line in (tmp_path / "lists.jsonl").read_text().splitlines()]
        assert {row["user"] for row in rows} == {"ann"}
        return [row["item"] for row in rows]

    first, second = best("nothing\n")
    assert second == best(f" {first}\t\n")[0]
    (tmp_path / "deny.txt").write_text(f"strange\n{first}\n")
    words = ["lists", bundle, "--deny", tmp_path / "deny.txt", "--out", tmp_path / "b.csv"]
    told = CliRunner().invoke(app, [str(word) for word in words]).stderr
    assert told == "ignored, since the bundle does not know them: strange\n"


def test_neighbours_of_every_item(bundle, tmp_path) -> None:
    engine = load(bundle)
    run(bundle, "--of", "items", "--out", tmp_path / "a.parquet", "-k", 2)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    expected = [
        (item, place, near.item, near.label) for item in engine.items for place, near in enumerate(engine.similar(item, 2), 1)
    ]
    assert [(row["item"], row["place"], row["neighbour"], row["label"]) for row in rows] == expected
    assert "i09" not in {row["item"] for row in rows} | {row["neighbour"] for row in rows}


def test_nothing_is_left_of_a_run_that_failed(bundle, tmp_path, monkeypatch) -> None:
    (tmp_path / "a.csv").write_text("what was there")
    lists = Engine.lists

    def failing(*given, **more):
        for user, found in lists(*given, **more):
            if user == "gus":
                raise KeyboardInterrupt
            yield user, found

    monkeypatch.setattr(Engine, "lists", failing)
    result = CliRunner().invoke(app, ["lists", str(bundle), "--out", str(tmp_path / "a.csv"), "--overwrite"])
    assert result.exit_code != 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "what was there"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--out", "a.xlsx"), ConfigError, r"a name that ends in .parquet, .csv, .tsv, .jsonl"),
        (("--out", "there.csv"), DataError, "an earlier file"),
        (("--out", "a.csv", "--users", "none.txt"), DataError, "ids, one a line"),
        (("--out", "a.csv", "--users", "there.csv"), DataError, "no id"),
        (("--out", "a.csv", "--of", "items", "--why"), ConfigError, "an option of users' lists"),
        (("--out", "a.csv", "--deny", "there.csv"), DataError, "no id"),
        (("--out", "there.csv/a.csv"), DataError, "there.csv"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_worked_out(bundle, tmp_path, monkeypatch, words, error, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("\n")
    monkeypatch.setattr("metakg.engine.load", lambda _: pytest.fail("loaded"))
    with pytest.raises(error, match=message):
        run(bundle, *words)


def test_reasons_of_a_model_that_gives_none_are_refused(tmp_path) -> None:
    fit("fm", toy_view(), training={"loop": {"epochs": 1}}).save(tmp_path / "fm")
    with pytest.raises(ConfigError, match="a model that explains"):
        run(tmp_path / "fm", "--out", tmp_path / "a.csv", "--why")
    assert "lists of 8 users" in run(tmp_path / "fm", "--out", tmp_path / "a.csv")
