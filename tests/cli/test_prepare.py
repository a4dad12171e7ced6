from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from metakg.cli.prepare import prepare
from metakg.cli.validate import validate
from metakg.data import Dataset
from metakg.errors import ConfigError, DataError
from metakg.readers.options import ReadOptions

CLICKS = "user,item,rating,time\nu,a,1,100\nv,b,2,200\nv,a,5,300\nu,a,4,400\n,a,1,100\n"
KG = "head,relation,tail\na,by,p\nb,by,p\n"


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(prepare)
    app.command()(validate)
    runner = CliRunner()

    def run(*arguments, code=0):
        result = runner.invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def clicks(tmp_path):
    (tmp_path / "clicks.csv").write_text(CLICKS)
    return tmp_path / "clicks.csv"


@pytest.fixture
def kg(tmp_path):
    (tmp_path / "kg.csv").write_text(KG)
    return tmp_path / "kg.csv"


def test_prepare_writes_a_folder_and_prints_the_account(run, clicks, kg, tmp_path):
    out = run("prepare", "--interactions", clicks, "--triples", kg, "--out", tmp_path / "out").output
    assert "interactions     5     3         1       1" in out
    assert "problem interactions: no user: 1" in out
    assert f"{clicks} line 6: user=(none), item=a, value=1, time=100" in out
    assert "2 users, 2 items, 3 entities, 1 relations, 3 interactions, 2 triples; 2 items linked" in out
    assert "from 1970-01-01T00:01:40Z to 1970-01-01T00:05:00Z" in out
    assert len(Dataset.load(tmp_path / "out").interactions) == 3


def test_prepare_as_json_prints_one_object_and_nothing_else(run, clicks, tmp_path):
    found = json.loads(run("prepare", clicks, "--out", tmp_path / "out", "--json").output)
    assert found["counts"]["interactions"] == 3
    assert found["rows"]["interactions"]["rejected"] == {"no user": 1}
    assert found["out"] == str(tmp_path / "out")


def test_every_option_has_a_flag_that_reaches_it(run, clicks, kg, tmp_path, monkeypatch):
    seen = {}

    def remember(path=None, *, out, step, **given):
        assert given.pop("format") == "auto"
        seen.update(given)
        raise DataError("here", "enough", expected="no more", fix="Stop.")

    monkeypatch.setattr("metakg.readers.prepare", remember)
    flags = {
        "on_bad": "fail", "time_unit": "auto", "time_format": "%Y", "decimal": ",",
        "value_rule": "max", "min_value": 3.5, "from_time": "2020-01-01",
        "to_time": "2021-01-01", "k_core": 5, "min_items_per_user": 2, "max_items_per_user": 50, "min_users_per_item": 3,
        "user_column": "u", "item_column": "i", "value_column": "none", "time_column": "t", "delimiter": "tab", "header": False,
        "quote": "none", "encoding": "latin-1", "triple_order": "htr", "label_column": "title", "attributes": ("genre", "year"),
        "separator": "|", "bins": {"age": 5, "a=b": 2}, "labels_of": "item", "languages": ("de", "en"), "literals": "entities",
        "kgat": tmp_path, "follow": "pairs", "network": "kgat", "user_facts": True, "memory": "3GB", "threads": 2,
        "spill_to": tmp_path, "overwrite": True,
    }  # fmt: skip
    assert set(flags) == set(ReadOptions.model_fields), "a new option needs a flag"
    words = []
    for name, value in flags.items():
        flag = "--" + {"languages": "language"}.get(name, name).replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is False:
            words.append(flag.replace("--", "--no-"))
        elif name == "attributes":
            words += [flag, ",".join(value)]
        elif name == "bins":
            words += [word for column, count in value.items() for word in (flag, f"{column}={count}")]
        elif name == "languages":
            words += [word for language in value for word in (flag, language)]
        else:
            words += [flag, value]
    with pytest.raises(DataError, match="here"):
        run("prepare", clicks, "--out", tmp_path / "out", "--triples", kg, *words)
    assert seen.pop("triples") == [kg]
    assert {name: value for name, value in seen.items() if value is not None} == flags
    ReadOptions.parse(flags)  # and they are all valid together


def test_errors_are_ours_and_nothing_is_written(run, clicks, tmp_path):
    with pytest.raises(ConfigError, match="option k_core"):
        run("prepare", clicks, "--out", tmp_path / "out", "--k-core", -1)
    with pytest.raises(ConfigError, match="option --bins: found 'age'; expected COLUMN=N"):
        run("prepare", clicks, "--out", tmp_path / "out", "--bins", "age")
    with pytest.raises(DataError, match="no such file"):
        run("prepare", tmp_path / "gone", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_validate_exit_codes(run, clicks, kg, tmp_path):
    out = run("validate", clicks, kg, code=1).output
    assert "problem interactions: no user: 1" in out
    assert "note interactions: a repeated pair of user and item: 1" in out
    assert f"{clicks} line 5: user=u, item=a" in out
    assert out.rstrip().endswith("there are problems")
    clean = tmp_path / "clean.csv"
    clean.write_text("user,item\nu,a\nu,a\n")
    assert run("validate", clean).output.rstrip().endswith("no problems")
    run("validate", clean, "--strict", code=1)
    with pytest.raises(DataError, match="no such file"):  # the program turns this into exit code 2
        run("validate", tmp_path / "gone.csv")


def test_validate_as_json(run, clicks):
    found = json.loads(run("validate", clicks, "--json", code=1).output)
    assert found["clean"] is False
    assert found["findings"][0] == {
        "level": "problem",
        "kind": "interactions",
        "what": "no user",
        "count": 1,
        "places": [{"file": "clicks.csv", "line": 6, "found": "user=(none), item=a, value=1, time=100"}],
    }
    assert found["rows"]["interactions"]["places"]["no user"] == found["findings"][0]["places"]


def test_help_shows_the_groups(run):
    text = run("prepare", "--help").output
    for group in ("Files by role", "Columns and text", "Facts and labels", "Filters", "The paper's raw data", "How to work"):
        assert group in text


def test_a_zero_is_a_value(run, tmp_path):
    """Where -1 says "seen, not rated", 0 is the least rating."""
    (tmp_path / "c.csv").write_text("user,item,rating\nu,a,-1\nu,b,0\nv,b,7\n")
    found = json.loads(run("prepare", tmp_path / "c.csv", "--out", tmp_path / "out", "--min-value", 0, "--json").output)
    assert found["counts"]["interactions"] == 2
    for flag in ("--threads", "--max-items-per-user"):
        with pytest.raises(ConfigError, match=f"option {flag[2:].replace('-', '_')}: found 0"):
            run("prepare", tmp_path / "c.csv", "--out", tmp_path / "other", flag, 0)
