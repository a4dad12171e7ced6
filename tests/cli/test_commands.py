"""train, evaluate, compare, recommend, explain, doctor: what they write, what they print, how they refuse."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from metakg.cli import doctor
from metakg.cli.compare import BEGIN, END
from metakg.cli.main import app
from metakg.cli.main import run as main_run
from metakg.errors import ConfigError, DataError
from metakg.evaluation.report import read_rows
from metakg.generator import PlantedConfig, planted
from metakg.models.registry import build, config_for
from metakg.splits import load, save, split


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small data set and its strict split."""
    place = tmp_path_factory.mktemp("shop")
    made = planted(PlantedConfig(users=150, items=200, interactions=4000), seed=3)
    made.dataset.save(place / "data")
    save(split(made.dataset, protocol="strict", seed=1, min_support=5), place / "split", dataset_folder=place / "data")
    return place


@pytest.fixture(scope="module")
def bundle(folder) -> Path:
    run("train", folder / "split", "--model", "kg-knn", "--set", "rarity=0.5", "--out", folder / "bundle")
    return folder / "bundle"


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_train_writes_a_bundle_with_the_settings(bundle) -> None:
    model = json.loads((bundle / "manifest.json").read_text())["model"]
    assert (model["kind"], model["rarity"]) == ("kg-knn", 0.5)


def test_settings_files_are_read_and_overruled(folder, tmp_path) -> None:
    (tmp_path / "s.toml").write_text("[walk]\nsteps = 3\ndecay = 0.25\nhistory_weight = 0.5\n")
    (tmp_path / "later.toml").write_text("[walk]\nhistory_weight = 0.75\nsteps = 2\n")
    words = ["--settings", tmp_path / "s.toml", "--settings", tmp_path / "later.toml", "--set", "steps=4"]
    run("train", folder / "split", "--model", "walk", *words, "--out", tmp_path / "b")
    model = json.loads((tmp_path / "b" / "manifest.json").read_text())["model"]
    assert (model["steps"], model["decay"], model["history_weight"]) == (4, 0.25, 0.75)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[walkk]\nsteps = 3\n", "a model 'walkk'"),
        ("steps = 3\n", "a model 'steps'"),
        ("walk = 3\n", "expected MODEL.KEY=VALUE"),
        ("[walk\n", "TOML with one table a model"),
    ],
)
def test_bad_settings_files_are_refused(folder, tmp_path, text, message) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        run("train", folder / "split", "--model", "walk", "--settings", tmp_path / "s.toml", "--out", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_evaluate_prints_a_table_and_json_rows(folder, bundle) -> None:
    assert "recall@20" in run("evaluate", bundle, folder / "split", "--scenarios", "user_cold")
    rows = [json.loads(line) for line in run("evaluate", bundle, folder / "split", "--json", "-k", "5").splitlines()]
    assert {row["k"] for row in rows} == {5}
    assert {row["model"] for row in rows} == {"kg-knn"}


def test_evaluate_keeps_every_user(folder, bundle, tmp_path) -> None:
    from metakg.evaluation import Evaluation

    run("evaluate", bundle, folder / "split", "--out", tmp_path / "kept")
    kept = Evaluation.load(tmp_path / "kept")
    assert {result.scenario for result in kept.results} == {"user_cold", "item_cold", "user_item_cold", "warm"}


def test_compare_writes_rows_and_page_and_keeps_the_prose(folder, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Mine\n\nprose\n\n{BEGIN}\nstale words\n{END}\n\nmore prose\n")
    words = ["--models", "popularity,kg-knn", "--json", tmp_path / "rows.jsonl", "--markdown", page]
    printed = run("compare", folder / "split", *words, "--shots", "0,2", "--scenarios", "user_cold")
    assert "user_cold" in printed
    rows = read_rows(tmp_path / "rows.jsonl")
    wanted = {"model", "scenario", "metric", "k", "mean", "std", "n_users", "seeds", "protocol"}
    assert all(wanted <= row.keys() for row in rows)
    assert {row["shots"] for row in rows} == {0, 2}
    text = page.read_text()
    assert text.startswith("# Mine\n\nprose\n")
    assert text.endswith("more prose\n")
    assert "stale words" not in text
    assert "Made on" in text


def test_compare_tests_against_a_model_too(folder) -> None:
    words = ["compare", folder / "split", "--models", "popularity,item-knn,kg-knn"]
    plain, more = run(*words), run(*words, "--against", "popularity")
    assert "against popularity" not in plain
    assert more.count("against ") == plain.count("against ") + 1
    assert "against popularity" in more
    with pytest.raises(ConfigError, match="--against"):
        run(*words, "--against", "metakg")


def test_compare_prints_tests_of_both_metrics_epochs_and_what_the_paper_printed(folder) -> None:
    words = ["compare", folder / "split", "--models", "popularity,walk,fm", "--scenarios", "user_cold", "--seeds", "2"]
    words += [w for s in ("start=xavier", "loop.epochs=2", "adapt.epochs=1") for w in ("--set", f"fm.training.{s}")]
    lines = [line.split() for line in run(*words, "--reference", "last-fm", "--against", "popularity").splitlines()]
    assert sum(line[:4] == ["the", "paper's", "MetaKG,", "as"] for line in lines) == 2
    assert next(line[-1] for line in lines if line[:2] == ["the", "paper's"]) == "0.3927"
    tested = next(line for line in lines if line[:2] == ["against", "popularity"])
    assert tested[-6:] == ["NDCG", "gained", "p", "(t)", "p", "(Wilcoxon)"]
    costs = next(number for number, line in enumerate(lines) if line[:2] == ["seconds", "seed"])
    assert [(line[0], line[1], line[-2:]) for line in lines[costs + 4 : costs + 6]] == [
        ("fm", "1", ["2", "1"]),
        ("fm", "2", ["2", "1"]),
    ]
    with pytest.raises(ConfigError, match="'last-gm'; expected one of last-fm"):
        run(*words[:3], "popularity", "--reference", "last-gm")


def test_compare_takes_fewer_seeds_of_a_model_and_says_so(folder, tmp_path) -> None:
    quick = [f"{m}.training.{s}" for m in ("fm", "cfkg") for s in ("start=xavier", "loop.epochs=1", "adapt.epochs=0")]
    words = ["compare", folder / "split", "--seeds", "2", "--scenarios", "warm", *(w for s in quick for w in ("--set", s))]
    text = run(*words, "--models", "walk,fm,cfkg:1", "--keep", tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"walk-1", "fm-1", "fm-2", "cfkg-1"}
    assert "cfkg: 1 of 2 seeds." in text
    assert "fm: " not in text
    with pytest.raises(ConfigError, match="'cfkg:none'; expected a number of seeds behind the colon"):
        run(*words, "--models", "fm,cfkg:none")


def test_compare_tells_of_the_searches_and_marks_what_still_rose(folder, tmp_path) -> None:
    from metakg.train.trials import Trial, log_trial, open_log

    scores = {"fm": [0.1, 0.3, 0.2], "cfkg": [0.1, 0.2, 0.3], "nfm": []}
    for name, found in scores.items():
        log = tmp_path / "logs" / f"{name}.jsonl"
        log.parent.mkdir(exist_ok=True)
        open_log(log, {"event": "search", "model": name}, resume=False)
        log_trial(log, Trial(0, {}, scores=[0.05], epochs=[4], seconds=60))
        log_trial(log, Trial(1, {}, scores=found, epochs=[4, 8, 10][: len(found)], seconds=120))
    words = ["compare", folder / "split", "--models", "walk,fm,cfkg", "--scenarios", "warm"]
    words += [w for m in ("fm", "cfkg") for s in ("start=xavier", "loop.epochs=1") for w in ("--set", f"{m}.training.{s}")]
    text = run(*words, "--searched", tmp_path / "logs")
    lines = [line.split() for line in text.splitlines()]
    assert ["fm", "2", "3", "0.3000", "8", "10", "yes"] in lines
    assert ["cfkg", "2", "3", "0.3000", "10", "10", "no"] in lines
    assert "nfm" not in text, "it is not compared"
    assert sum(line[:2] == ["cfkg", "†"] for line in lines) == 2, "in both tables"
    assert not any(line[:2] == ["fm", "†"] for line in lines)
    assert "note: † not converged" in text
    with pytest.raises(DataError, match="no log of these models"):
        run(*words[:2], "--models", "walk", "--searched", tmp_path / "logs")
    (tmp_path / "logs" / "rows.jsonl").write_text('{"model": "fm", "mean": 0.1}\n')
    with pytest.raises(DataError, match=r"rows.jsonl.*no search in its first line"):
        run(*words, "--searched", tmp_path / "logs")


def test_compare_names_the_card_of_a_kept_run_and_refuses_one_that_is_not_there(folder, tmp_path) -> None:
    words = ["compare", folder / "split", "--models", "walk,fm", "--scenarios", "warm", "--keep", tmp_path]
    words += [w for s in ("start=xavier", "loop.epochs=1", "adapt.epochs=0") for w in ("--set", f"fm.training.{s}")]
    assert "Trained, adapted and ranked" not in run(*words)
    manifest = tmp_path / "fm-1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"device": "SOME CARD"}))
    assert "ranked on SOME CARD, which their seconds are of: fm." in run(*words)
    with pytest.raises(ConfigError, match="'tpu'"):
        run("compare", folder / "split", "--models", "walk", "--device", "tpu")


def test_compare_draws_one_number_of_shots(folder, tmp_path) -> None:
    run("compare", folder / "split", "--models", "popularity", "--plot", tmp_path / "p.svg", "--scenarios", "warm")
    assert (tmp_path / "p.svg").read_text().startswith("<svg")


def test_compare_refuses_before_the_work_a_picture_that_cannot_be_drawn_or_a_place_that_cannot_be_written(
    folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("metakg.comparison.fit", lambda *_, **__: pytest.fail("it began"))
    words = ["compare", folder / "split", "--models", "popularity"]
    (tmp_path / "file").write_text("x")
    for option in ("--json", "--plot", "--markdown"):
        with pytest.raises(DataError, match="writing"):
            run(*words, option, tmp_path / "file" / "p.svg")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match="expected the extra `plot`"):
        run(*words, "--plot", tmp_path / "p.png")


def test_compare_says_its_rules_and_judges_once_what_is_named_twice(folder) -> None:
    text = run("compare", folder / "split", "--models", "walk", "--scenarios", "warm,warm", "--mask", "support")
    assert "protocol strict, all items ranked, mask support" in text
    assert text.count("\nwarm: ") == 1
    assert "*, **, ***" not in text  # one model: nothing was tested


def test_compare_names_the_floor_that_its_marks_are_against(folder, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- written by metakg compare: begin -->\n<!-- written by metakg compare: end -->\n")
    text = run("compare", folder / "split", "--models", "popularity,walk", "--markdown", page)
    assert "\n*, **, ***: different from walk, the floor with the highest mean recall" in text
    assert "\n- \\*, \\*\\*, \\*\\*\\*: different from walk, " in page.read_text()


def test_train_resumes_only_what_has_a_log(folder, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--resume: found no --log"):
        run("train", folder / "split", "--model", "fm", "--out", tmp_path / "b", "--resume")


def test_compare_refuses_a_page_without_markers(folder, tmp_path) -> None:
    (tmp_path / "page.md").write_text("# Mine\n")
    with pytest.raises(DataError, match="a page without markers"):
        run("compare", folder / "split", "--models", "popularity", "--markdown", tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == "# Mine\n"


def test_compare_resumes_what_is_kept_and_refuses_other_rules(folder, tmp_path) -> None:
    words = ["compare", folder / "split", "--models", "walk", "--keep", tmp_path / "runs", "--scenarios", "warm"]
    first = run(*words, "--json", tmp_path / "one.jsonl")
    assert "walk" in first
    run(*words, "--json", tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    with pytest.raises(DataError, match="a run with another model"):
        run(*words, "--set", "walk.steps=4")


@pytest.mark.skipif("sys.platform != 'linux'", reason="a limit on memory that holds everywhere is one of Linux")
@pytest.mark.parametrize("setting", ["training.negatives=2000000000", "dim=200000000", "memory=100000000"])
def test_too_little_memory_is_one_line_that_says_what_to_lower(folder, tmp_path, setting: str) -> None:
    """numpy, torch and a model's own sizes, each beyond any room, in a process that may have 6 GB."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from metakg.cli.main import run
run()
"""
    words = ["train", folder / "split", "--model", "ripplenet", "--set", "training.start=xavier", "--set", setting]
    command = [sys.executable, "-c", code, *map(str, words), "--out", str(tmp_path / "bundle")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "metakg: memory: found too little" in done.stderr
    assert "Lower training.batch_size or the sizes that the model's settings name" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_compare_goes_on_in_the_middle_of_a_training_and_keeps_its_log(folder, tmp_path) -> None:
    from metakg.train.loop import watching

    place = tmp_path / "runs"
    settings = [
        "fm.dim=4",
        "fm.training.start=xavier",
        "fm.training.batch_size=512",
        "fm.training.loop.epochs=2",
        "fm.training.loop.log_every=1",
    ]
    words = ["compare", folder / "split", "--models", "fm", "--scenarios", "warm", *(w for s in settings for w in ("--set", s))]

    def kill(loop, progress) -> None:
        if progress.step == 5:
            raise MemoryError

    with watching(kill), pytest.raises(MemoryError):
        run(*words, "--keep", place)
    assert (place / "fm-1.training" / "checkpoint").exists()
    steps: list[int] = []
    with watching(lambda loop, progress: steps.append(progress.step)):
        run(*words, "--keep", place, "--json", tmp_path / "resumed.jsonl")
    assert steps[0] == 6
    assert not (place / "fm-1.training").exists()
    logged = [json.loads(line) for line in (place / "fm-1" / "log" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in logged if record["event"] == "step"] == list(range(1, logged[-1]["step"] + 1))
    run(*words, "--json", tmp_path / "whole.jsonl")
    assert (tmp_path / "resumed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_recommend_and_explain_speak_of_the_same_paths(folder, bundle) -> None:
    from metakg.data import Dataset

    liked = Dataset.load(folder / "data").vocabulary.items.id(0)
    lines = [json.loads(line) for line in run("recommend", bundle, "me", "--liked", liked, "--json", "-k", "3").splitlines()]
    assert len(lines) == 3
    assert {line["way"] for line in lines} == {"adapted"}
    told = json.loads(run("explain", bundle, "me", lines[0]["item"], "--liked", liked, "--json", "--limit", "1"))
    assert told["reasons"] == lines[0]["why"]
    assert told["reasons"][0]["path"][0]["id"] == liked
    assert "for me (adapted)" in run("recommend", bundle, "me", "--liked", liked)


def test_metapaths_are_printed_for_people_and_machines(folder) -> None:
    text = run("metapaths", folder / "split", "--examples", "1")
    assert "item <-clicked- user -clicked-> item" in text
    assert " users clicked both)" in text
    entries = json.loads(run("metapaths", folder / "split", "--set", "one_hop=1", "--set", "two_hop=0", "--json"))
    taken = [entry for entry in entries if entry["fate"] == "chosen"]
    assert [len(entry["links"]) for entry in taken] == [0, 1]
    assert len(taken[1]["examples"]) == 3
    assert all(entry["examples"] == [] for entry in entries if entry["fate"] != "chosen")
    only = json.loads(run("metapaths", folder / "split", "--json", "--no-dropped"))
    assert {entry["fate"] for entry in only} == {"chosen"}


@pytest.mark.parametrize("name", ["mcrec", "metahin"])
def test_the_printed_meta_paths_are_those_that_the_model_takes(folder, name) -> None:
    taken = json.loads(run("metapaths", folder / "split", "--model", name, "--json", "--no-dropped", "--examples", "0"))
    view = load(folder / "split").train
    chosen = build(config_for(name, {"dim": 4}), view, seed=1).chosen
    paths = chosen.paths if name == "metahin" else chosen
    assert [entry["path"] for entry in taken] == [path.text(view.vocabulary) for path in paths]


def test_a_list_of_nothing_is_a_sentence(bundle) -> None:
    assert run("recommend", bundle, "nobody", "--allow", "zzz").strip().endswith("nothing is left to show to nobody")


def test_an_unknown_user_gets_the_popular_items(bundle) -> None:
    lines = [json.loads(line) for line in run("recommend", bundle, "nobody", "--json").splitlines()]
    assert {line["way"] for line in lines} == {"popular"}
    assert all(line["why"] == [] for line in lines)


def test_doctor_knows_every_extra_of_the_package() -> None:
    told = importlib.metadata.metadata("metakg").get_all("Provides-Extra") or []
    assert set(doctor.EXTRAS) == set(told) - {"dev", "docs", "test"}


def test_doctor_tells_versions_models_and_settings() -> None:
    state = json.loads(run("doctor", "--json"))
    assert {"torch", "duckdb"} <= state["versions"].keys()
    assert "blend" in state["models"]
    assert "rarity = 1.0" in run("doctor", "kg-knn")
    told = run("doctor", "fm")
    assert 'training.start = "bpr"   (or "xavier", "transr", "fm")' in told
    assert 'training.adapt.mode = "finetune_replay"   (or "none", "finetune", "joint")' in told
    assert json.loads(run("doctor", "walk", "--json"))["properties"]["steps"]["description"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "SPLIT", "--model", "blendd", "--out", "B"], "expected one of blend"),
        (["train", "SPLIT", "--model", "walk", "--set", "steps", "--out", "B"], "expected KEY=VALUE"),
        (["train", "SPLIT", "--model", "walk", "--set", "steps=1", "--set", "steps=2", "--out", "B"], "'steps' twice"),
        (["compare", "SPLIT", "--shots", "many"], "numbers from 0"),
        (["compare", "SPLIT", "--shots", "0,1", "--plot", "p.svg"], "2 numbers of shots"),
        (["compare", "SPLIT", "--plot", "p.gif"], "the ending '.gif'"),
        (["compare", "SPLIT", "--scenarios", "lukewarm"], "lukewarm"),
        (["metapaths", "SPLIT", "--set", "hops=3"], "Settings are one_hop"),
        (["evaluate", "SPLIT", "SPLIT"], "kind 'bundle'"),
        (["compare", "NOWHERE"], "no such file"),
    ],
)
def test_refusals_are_one_line_on_stderr_and_exit_code_2(folder, tmp_path, words, message, monkeypatch, capsys) -> None:
    places = {"SPLIT": str(folder / "split"), "B": str(tmp_path / "b"), "NOWHERE": str(tmp_path / "nowhere")}
    monkeypatch.setattr(sys, "argv", ["metakg", *(places.get(word, word) for word in words)])
    with pytest.raises(SystemExit) as stop:
        main_run()
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert message in printed.err
    assert len([line for line in printed.err.splitlines() if line.startswith("metakg: ")]) == 1
    assert "Traceback" not in printed.err
    assert not (tmp_path / "b").exists()


def test_a_model_trained_on_a_data_folder_is_judged_on_the_split_it_was_trained_on(folder, tmp_path) -> None:
    run("train", folder / "data", "--model", "popularity", "--seed", "2", "--out", tmp_path / "b")
    assert "user_cold" in run("evaluate", tmp_path / "b", folder / "data")


def test_help_answers_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from metakg.cli.main import app\n"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'duckdb', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_a_command_that_is_stopped_while_it_is_imported_ends_without_a_word() -> None:
    code = (
        "import runpy, sys\n"
        "class Stopped:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'metakg.cli.split':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stopped())\n"
        "runpy.run_module('metakg', run_name='__main__')\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


def test_tune_writes_settings_that_train_takes(folder, tmp_path) -> None:
    pytest.importorskip("optuna", reason="extra `tune`")
    out, log = tmp_path / "best.toml", tmp_path / "trials.jsonl"
    small = ["--set", "dim=4", "--set", "training.loop.epochs=2", "--set", "training.batch_size=512"]
    command = ["tune", folder / "split", "--model", "fm", "--trials", "2", "--every", "1", "--out", out, "--log", log, *small]
    said = run(*command)
    assert "best: trial" in said
    assert "training.loop.learning_rate=0.001" in said, "the defaults are tried first"
    found = tomllib.loads(out.read_text())["fm"]
    assert found["dim"] == 4
    assert found["training"]["loop"]["epochs"] in (1, 2)
    assert len(log.read_text().splitlines()) == 3
    run("train", folder / "split", "--model", "fm", "--settings", out, "--out", tmp_path / "bundle")
    with pytest.raises(DataError, match="--overwrite"):
        run(*command)
    with pytest.raises(DataError, match="--resume"):
        run(*command, "--overwrite")
    assert json.loads(run(*command, "--overwrite", "--resume", "--json"))["trials"] == 2


def test_tune_refuses_before_the_search_what_it_could_not_write_or_go_on_with(folder, tmp_path) -> None:
    pytest.importorskip("optuna", reason="extra `tune`")
    words = ["tune", folder / "split", "--model", "metakg", "--trials", "1"]
    with pytest.raises(ConfigError, match=r"metakg.training.scheduler = null"):
        run(*words, "--out", tmp_path / "best.toml", "--set", "training.scheduler=null")
    with pytest.raises(ConfigError, match="--resume: found no --log"):
        run(*words, "--out", tmp_path / "best.toml", "--resume")
    with pytest.raises(DataError, match="scenario 'lukewarm': found no such scenario"):
        run(*words, "--out", tmp_path / "best.toml", "--scenarios", "warm,lukewarm")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="writing"):
        run(*words, "--out", tmp_path / "file" / "best.toml")


def test_compare_refuses_words_before_it_fits_anything(folder, monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr("metakg.comparison.fit", never)
    words = ["compare", folder / "split", "--models", "walk"]
    for more, match in (
        (["--reference", "last-gm"], "'last-gm'; expected one of last-fm"),
        (["--mask", "train"], "--mask: found 'train'"),
        (["--candidates", "some"], "--candidates: found 'some'"),
        (["--set", "blend.trust_unclicked=0.5"], "a setting of blend"),
    ):
        with pytest.raises(ConfigError, match=match):
            run(*words, *more)
    with pytest.raises(DataError, match="scenario 'cold': found no such scenario"):
        run(*words, "--scenarios", "cold")
    monkeypatch.undo()
    assert "item-knn" in run(*words[:3], "popularity, floors", "--scenarios", "warm")


SMALL = ("--set", "dim=4", "--set", "training.batch_size=512")


def test_settings_may_lie_in_a_folder(folder, tmp_path) -> None:
    place = tmp_path / "settings"
    place.mkdir()
    with pytest.raises(ConfigError, match="found no settings"):
        run("train", folder / "split", "--model", "walk", "--settings", place, "--out", tmp_path / "b")
    (place / "walk.toml").write_text("[walk]\nsteps = 3\n")
    (place / "blend.toml").write_text("[blend]\ntrust_unclicked = 0.5\n")
    run("train", folder / "split", "--model", "walk", "--settings", place, "--out", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["model"]["steps"] == 3
    (place / "more.toml").write_text("[walk]\nsteps = 4\n")
    with pytest.raises(ConfigError, match=r"walk\.toml: found walk again|more\.toml: found walk again"):
        run("train", folder / "split", "--model", "walk", "--settings", place, "--out", tmp_path / "c")


def test_train_finds_its_epochs_on_the_validation_scenarios(folder, tmp_path, monkeypatch) -> None:
    scores = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr("metakg.train.fit.scenario_mean", lambda recommender, split: next(scores))
    words = ("train", folder / "split", "--model", "fm", *SMALL, "--set", "training.loop.epochs=3", "--validate")
    said = json.loads(run(*words, "--out", tmp_path / "b", "--log", tmp_path / "log", "--json"))
    assert said["epochs"] == 2
    steps = [json.loads(line) for line in (tmp_path / "log" / "log.jsonl").read_text().splitlines()]
    assert steps[-1]["event"] == "end"
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["training"]["loop"]["epochs"] == 2
    with pytest.raises(ConfigError, match="validation: found the model walk; expected one that is trained"):
        run("train", folder / "split", "--model", "walk", "--validate", "--out", tmp_path / "w")


def test_train_logs_to_tensorboard_and_mlflow_where_they_are_installed(folder, tmp_path, monkeypatch) -> None:
    written: list[tuple[str, float, int]] = []
    logged: list[dict[str, float]] = []

    class SummaryWriter:
        def __init__(self, place: str) -> None:
            assert place == str(tmp_path / "tb")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed", 0.0, 0))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(log_metrics=lambda values, step: logged.append(values)))
    words = ("train", folder / "split", "--model", "fm", *SMALL, "--set", "training.loop.epochs=1")
    run(*words, "--tensorboard", tmp_path / "tb", "--mlflow", "--out", tmp_path / "b")
    assert any(name == "step/losses.rank" for name, _, _ in written)
    assert written[-1][0] == "closed"
    assert any("step.losses.rank" in values for values in logged)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r'expected the extra `mlflow`. In the clone of metakg: pip install ".\[mlflow\]"'):
        run(*words, "--mlflow", "--out", tmp_path / "c")


def test_a_training_that_is_terminated_leaves_a_state_to_go_on_from(folder, tmp_path) -> None:
    words = ["train", folder / "split", "--model", "fm", *SMALL, "--set", "training.loop.epochs=400", "--log", tmp_path / "log"]
    command = [sys.executable, "-m", "metakg.cli.main", *map(str, words), "--out", str(tmp_path / "b")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        log = tmp_path / "log" / "log.jsonl"
        while not (log.exists() and '"event": "step"' in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        _, told = process.communicate(timeout=30)
    assert process.returncode != 0
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "log" / "checkpoint").exists(), told
    state = json.loads((tmp_path / "log" / "checkpoint" / "manifest.json").read_text())["state"]["loop"]
    assert state["step"] > 0


def test_recommend_takes_every_option_of_the_engine(folder, bundle) -> None:
    from metakg.data import Dataset

    first, second, third = (Dataset.load(folder / "data").vocabulary.items.id(row) for row in range(3))

    def listed(*options: str) -> list[str]:
        lines = run("recommend", bundle, "me", "--json", "-k", "5", "--liked", first, *options).splitlines()
        return [json.loads(line)["item"] for line in lines]

    best = listed()
    assert len(best) == 5
    assert best[0] not in listed("--deny", best[0])
    assert best[1] not in listed("--disliked", best[1])
    assert set(listed("--allow", best[2], "--allow", best[3])) == {best[2], best[3]}
    assert listed("--diversity", "0.9")[0] == best[0]
    assert first not in listed("--allow", first, "--allow", second)
    assert first in listed("--allow", first, "--allow", second, "--no-filter-seen")
    assert listed("--disliked", "unheard-of", "--deny", third) == listed("--deny", third)


def test_explain_says_what_the_item_would_lose(folder, bundle) -> None:
    from metakg.data import Dataset

    liked = Dataset.load(folder / "data").vocabulary.items.id(0)
    best = json.loads(run("recommend", bundle, "me", "--json", "-k", "1", "--liked", liked).splitlines()[0])
    told = json.loads(run("explain", bundle, "me", best["item"], "--liked", liked, "--json"))
    assert 0 < told["faithfulness"] <= 1 + 1e-6
    assert told["rank"] == 1 <= told["rank_without"]
    assert "Without these paths it would lose" in run("explain", bundle, "me", best["item"], "--liked", liked)


def test_export_carries_the_figures_of_the_model(folder, bundle, tmp_path) -> None:
    import metakg

    rows = run("evaluate", bundle, folder / "split", "--json")
    (tmp_path / "rows.jsonl").write_text(rows + json.dumps({"model": "another", "mean": 1.0}) + "\n")
    told = json.loads(run("export", bundle, "--out", tmp_path / "ready", "--figures", tmp_path / "rows.jsonl", "--json"))
    assert told["figures"] == len(rows.splitlines())
    figures = metakg.load(tmp_path / "ready").figures
    assert {row["model"] for row in figures} == {told["model"]}
    metakg.load(bundle).adapt("zoe", [metakg.load(bundle).search("the")[0].id]).save(tmp_path / "clicked")
    assert json.loads(run("export", tmp_path / "clicked", "--out", tmp_path / "kept", "--json"))["adapted_users"] == 1
    assert "0 users have clicked since training" in run(
        "export", tmp_path / "clicked", "--out", tmp_path / "bare", "--no-clicks"
    )
    (tmp_path / "other.jsonl").write_text(json.dumps({"model": "another", "mean": 1.0}) + "\n")
    for wrong, says in (("other.jsonl", "no row of"), ("nowhere.jsonl", "rows as JSON lines")):
        result = CliRunner().invoke(
            app, ["export", str(bundle), "--out", str(tmp_path / "x"), "--figures", str(tmp_path / wrong)]
        )
        assert says in str(result.exception)


def test_python_m_metakg_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "metakg", "doctor"], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    assert "metakg-paper" in done.stdout


def test_train_on_all_data_serves_what_a_split_would_hide(folder, tmp_path) -> None:
    from metakg.data import Dataset

    data = Dataset.load(folder / "data")
    told = run("train", folder / "data", "--all", "--model", "blend", "--out", tmp_path / "all")
    assert f"{data.vocabulary.n_users:,} users, {data.vocabulary.n_items:,} items, {len(data.interactions):,} clicks" in told
    assert f"next: metakg serve {tmp_path / 'all'}" in told
    run("train", folder / "split", "--all", "--model", "blend", "--out", tmp_path / "same")
    first, second = (json.loads(run("recommend", tmp_path / name, "u", "--json", "-k", "1")) for name in ("all", "same"))
    assert first == second
    words = ("--model", "fm", *SMALL, "--set", "training.loop.epochs=2", "--validate", "--json")
    made = json.loads(run("train", folder / "split", "--all", *words, "--out", tmp_path / "fm"))
    assert made["protocol"] is None
    assert 1 <= made["epochs"] <= 2
    timeless = Dataset(data.vocabulary, data.interactions.pairs_only(), data.graph)
    timeless.save(tmp_path / "timeless")
    run("train", tmp_path / "timeless", "--all", "--model", "blend", "--out", tmp_path / "b")
    with pytest.raises(DataError, match="metakg train --all"):
        run("train", tmp_path / "timeless", "--model", "blend", "--out", tmp_path / "c")


def test_train_looks_at_where_to_write_before_it_trains(folder, bundle, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("metakg.engine.fit", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").touch()
    (tmp_path / "file").touch()
    for out, found in (
        (bundle, "an earlier result"),
        (tmp_path / "notes", "metakg did not write"),
        (tmp_path / "file" / "b", "a file"),
    ):
        with pytest.raises(DataError, match=found):
            run("train", folder / "split", "--model", "blend", "--out", out)
