"""The report says what the rows say, in every form, and nothing that they do not."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from metakg import files
from metakg.cli.main import app
from metakg.errors import ConfigError, DataError
from metakg.evaluation.report import aggregate, stars
from metakg.evaluation.significance import compare
from metakg.experiments.rows import Done, Record, key_of, read
from metakg.report import collect, write_markdown, write_page
from metakg.report.blocks import SCENARIO_NAMES, Table
from metakg.report.collect import Runs
from metakg.report.figures import Figure
from metakg.report.missing import missing
from metakg.report.page import page
from metakg.report.sections import sections
from metakg.report.sensitivity import _otherwise_set

SECTIONS = (
    "table3", "gains", "cost", "ablation", "leak", "shots", "sensitivity", "efficiency", "scalability", "curves", "parameters",
)  # fmt: skip


class Tables(HTMLParser):
    """Reads the cells of all tables with a class."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted, self.tables, self.inside, self.cell = wanted, [], False, None

    def handle_starttag(self, tag, attrs) -> None:
        if tag == "table":
            self.inside = dict(attrs).get("class") == self.wanted
            self.tables += [[]] if self.inside else []
        elif self.inside and tag == "tr":
            self.tables[-1].append([])
        elif self.inside and tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.cell = tag
        elif tag == "small":
            self.cell = None

    def handle_endtag(self, tag) -> None:
        if tag in ("td", "th"):
            self.cell = None
        self.inside = self.inside and tag != "table"

    def handle_data(self, data) -> None:
        if self.inside and self.cell:
            self.tables[-1][-1][-1] += data


def test_every_experiment_has_its_section(runs) -> None:
    assert tuple(section.name for section in sections(collect(runs))) == SECTIONS


def test_the_leaderboard_is_the_rows(runs) -> None:
    parser = Tables("scores")
    parser.feed(page(collect(runs)))
    rows = aggregate(r for r in read(runs / "table3.jsonl").rows if r["what"] == "quality")
    for metric, table in zip(("recall", "ndcg"), parser.tables, strict=True):
        head, *body = table
        names = [name for name in SCENARIO_NAMES if any(r["scenario"] == name for r in rows)]
        assert [cell.rpartition(" (")[0] for cell in head[1:]] == [SCENARIO_NAMES[name] for name in names]
        assert [line[0] for line in body] == ["popularity", "walk", "metakg"]
        for line in body:
            for name, cell in zip(names, line[1:], strict=True):
                (row,) = [r for r in rows if (r["model"], r["scenario"], r["metric"]) == (line[0], name, metric)]
                deviation = "" if row["std"] is None else f" ± {row['std']:.4f}"
                assert cell.rstrip("*") == f"{row['mean']:.4f}{deviation}"


def test_tests_and_gains_are_those_of_the_users_values(runs) -> None:
    found = collect(runs)
    from metakg.evaluation import Evaluation

    kept = {(e.model, e.seed): e for e in (Evaluation.load(folder) for folder in (runs / "kept").iterdir())}
    for test in found.tests["table3"]:
        if (test["model"], test["metric"], test["scenario"]) == ("metakg", "recall", "user_cold"):
            values = [kept[name].result("user_cold").values["recall", 20] for name in (("metakg", 1), (test["against"], None))]
            alone = compare(*values)
            assert test["difference"] == pytest.approx(alone.difference)
            assert (test["wins"], test["losses"]) == (alone.wins, alone.losses)
            (gain,) = [g for g in found.gains if (g["model"], g["scenario"]) == ("metakg", "user_cold")]
            assert (gain["better"], gain["worse"]) == (alone.wins, alone.losses)
            assert gain["better"] + gain["worse"] + gain["equal"] == alone.n_users
            break
    else:
        pytest.fail("no test of metakg")


def test_without_the_users_values_the_written_tests_are_used(runs, tmp_path) -> None:
    first = collect(runs)
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy, ignore=shutil.ignore_patterns("kept"))
    assert page(collect(copy)) == page(first)
    (copy / "tests.json").unlink()
    bare = collect(copy)
    assert not bare.tests.get("table3")
    assert any("not here" in note for note in bare.notes)
    assert "gains" not in [section.name for section in sections(bare)]


def test_tests_of_one_experiment_stay_when_another_has_grown(runs, tmp_path) -> None:
    """The users' values may be long gone; what was worked out of the results that are still the same holds."""
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy, ignore=shutil.ignore_patterns("kept"))
    before = collect(copy)
    assert before.tests["table3"]
    assert before.tests["ablation"]
    rows = copy / "ablation.jsonl"
    mean = next(row["mean"] for row in read(rows).rows if row["what"] == "quality")
    rows.write_text(rows.read_text().replace(f'"mean": {mean}', f'"mean": {mean + 0.001}', 1))
    known = (copy / "tests.json").read_bytes()
    after = collect(copy)
    assert after.tests["table3"] == before.tests["table3"]
    assert after.intervals == before.intervals
    assert after.gains == before.gains
    assert not after.tests.get("ablation"), "of other results, and there is nothing to work them out from"
    assert any("not here" in note for note in after.notes)
    assert (copy / "tests.json").read_bytes() == known


def test_a_cell_without_an_interval_begins_with_what_it_has(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy, ignore=shutil.ignore_patterns("kept", "tests.json"))
    out = tmp_path / "report.md"
    write_markdown(collect(copy), out)
    assert "on the best floor" in out.read_text()
    assert "(;" not in out.read_text()


def test_a_scenario_too_small_for_a_test_says_so(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    collect(copy)
    tests = json.loads((copy / "tests.json").read_text())
    few = {**tests["tests"]["table3"][0], "t_p": None, "wilcoxon_p": None, "low": None, "high": None, "effect": None}
    few["remark"] = "only 7 users; no test with fewer than 10"
    tests["tests"]["table3"] = [few]
    (copy / "tests.json").write_text(json.dumps(tests))
    text = page(collect(copy))
    assert "only 7 users; no test with fewer than 10" in text
    assert "no test</span>" in text
    assert stars(few) == ""


def test_growth_has_its_exponent_and_its_end(runs) -> None:
    (section,) = [s for s in sections(collect(runs)) if s.name == "scalability"]
    table = section.blocks[-1]
    assert isinstance(table, Table)
    (line,) = table.rows
    by_name = dict(zip(table.header, line, strict=True))
    assert by_name["exponent, ranking"].text == "2.00"
    assert by_name["exponent, epoch"].text == ""  # nothing is trained
    assert by_name["300 M edges"].text == "refused"
    assert by_name["one machine ends at"].text == "about 195 M"  # 0.5 GB + 0.1 GB a million, 20 GB free
    assert "20 GB free" in by_name["one machine ends at"].small


def test_stars_need_both_tests() -> None:
    assert stars({"t_p": 0.0001, "wilcoxon_p": 0.03}) == "*"
    assert stars({"t_p": 0.0001, "wilcoxon_p": 0.0002}) == "***"
    assert [stars({"t_p": p, "wilcoxon_p": p}) for p in (0.051, 0.049, 0.011, 0.009, 0.0011, 0.0009)] == [
        "", "*", "*", "**", "**", "***",
    ]  # fmt: skip
    assert stars({"t_p": 0.06, "wilcoxon_p": 0.001}) == ""


def test_what_saw_answers_stands_in_no_leaderboard(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    path = copy / "table3.jsonl"
    path.write_text(
        path.read_text().replace('"what": "quality", "model": "walk"', '"leaked": true, "what": "quality", "model": "walk"')
    )
    with pytest.raises(DataError, match="saw answers"):
        sections(collect(copy))
    text = page(collect(runs))
    leaderboard = text[text.index('id="table3"') : text.index('id="gains"')]
    assert "saw" not in re.sub(r'<p class="note">.*?</p>', "", leaderboard)


def test_seconds_of_a_card_are_named_and_not_compared(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    path = copy / "table3.jsonl"
    changed = path.read_text().replace(
        '"what": "cost", "model": "metakg"', '"device": "SOME CARD", "what": "cost", "model": "metakg"'
    )
    assert changed != path.read_text()
    path.write_text(changed)
    (section,) = [s for s in sections(collect(copy)) if s.name == "cost"]
    assert section.lead.endswith("Made on SOME CARD, and so not here: metakg.")
    assert [line[0].text for line in section.blocks[1].rows] == ["popularity", "walk"]


def test_the_papers_row_stands_apart(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    for path in (*copy.glob("*.jsonl"), copy / "manifest.json"):
        path.write_text(
            path.read_text()
            .replace('"protocol": "strict"', '"protocol": "paper"')
            .replace('"name": "small <shop>"', '"reference": "last-fm"')
        )
    found = collect(copy)
    assert found.reference is not None
    table = next(b for b in sections(found)[0].blocks if isinstance(b, Table))
    assert [line[0].text for line in table.rows] == ["popularity", "walk", "metakg"]
    assert table.foreign[0][1].text == "0.3927"
    assert '<tfoot class="foreign">' in page(found)
    assert collect(runs).reference is None


def test_what_was_not_run_is_named_with_its_command(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    (copy / "leak.jsonl").unlink()
    found = collect(copy)
    command = "metakg experiment leak DIR --data SPLIT --resume, with the other options of the commands below"
    assert f"leak: not run ({command})" in missing(found)
    assert any("without a row" in line and "item-knn" in line for line in missing(found))
    assert "ablation, variants of metakg not run: no-collaborative" in missing(found)
    assert "sensitivity, local updates of metakg not run: 2, 3, 4" in missing(found)
    assert "sensitivity, embedding size of metakg-paper not run: all values" in missing(found)
    assert not any("embedding size of kgat" in line for line in missing(found)), "it need not take part"
    (here,) = [line for line in missing(found) if line.startswith("efficiency, not timed on this data: ")]
    assert "kgat" in here
    assert "metakg," not in here
    assert "efficiency, not timed at yelp2018's size: all models" in missing(found)
    absent = "metakg-paper not run: user_cold that saw nothing"
    assert any(line.startswith(f"leak, {absent}") for line in missing(collect(runs))), "the vectors alone were run"
    assert "leak" not in [section.name for section in sections(found)]
    assert "leak: not run" in page(found)


@pytest.mark.parametrize("what", ["protocol", "data"])
def test_rows_of_another_protocol_are_refused(runs, tmp_path, what) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    header, rest = (copy / "ablation.jsonl").read_text().split("\n", 1)
    (copy / "ablation.jsonl").write_text(json.dumps({**json.loads(header), what: "other"}) + "\n" + rest)
    with pytest.raises(DataError, match=rf"ablation.jsonl line 1: found rows of {what} 'other'"):
        collect(copy)


def test_a_torn_end_is_left_out_and_said_and_damage_is_named(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    whole = (copy / "table3.jsonl").read_text()
    (copy / "table3.jsonl").write_text(whole + '{"unit": "half')
    assert any("torn" in note for note in collect(copy).notes)
    (copy / "table3.jsonl").write_text(whole.replace('{"key"', '{"key', 1))
    with pytest.raises(DataError, match=r"table3.jsonl line 4"):
        collect(copy)
    with pytest.raises(DataError, match="run manifest"):
        collect(tmp_path)


def test_the_page_needs_nothing_else_and_is_small(runs) -> None:
    text = page(collect(runs))
    assert not re.search(r"""(?:src|href)=["'](?!#)|url\(|@import|https?://(?!www\.w3\.org)""", text)
    assert len(text.encode()) < 1_500_000
    assert "small &lt;shop&gt;" in text
    assert "<shop>" not in text
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text


def test_markdown_and_pictures(runs, tmp_path) -> None:
    pytest.importorskip("vl_convert", reason="pictures as PNG need the extra 'plot'")
    written = write_markdown(collect(runs), tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    for path in written[1:]:
        assert f"]({path.name})" in text
        ElementTree.parse(path)
    rows = aggregate(r for r in read(runs / "table3.jsonl").rows if r["what"] == "quality")
    assert all(f"{row['mean']:.4f}" in text for row in rows)
    assert "## What a leak is worth" in text
    pictures = write_markdown(collect(runs), tmp_path / "png" / "report.md", pictures="png")[1:]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_the_command(runs, tmp_path) -> None:
    result = CliRunner().invoke(app, ["report", str(runs), "--out", str(tmp_path / "r.html")], catch_exceptions=False)
    assert "r.html" in result.stdout
    assert (tmp_path / "r.html").stat().st_size > 10_000
    for words in (["--out", "r.pdf"], ["--out", str(tmp_path / "r.md"), "--pictures", "gif"]):
        with pytest.raises(ConfigError):
            CliRunner().invoke(app, ["report", str(runs), *words], catch_exceptions=False)


def test_the_page_is_written_whole_or_not_at_all(runs, tmp_path, monkeypatch) -> None:
    target = tmp_path / "r.html"
    target.write_text("earlier")

    def full(self, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    found = collect(runs)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="full disk"):
        write_page(found, target)
    monkeypatch.undo()
    assert target.read_text() == "earlier"


def test_a_folder_that_may_only_be_read_is_reported_with_a_note(runs, tmp_path, monkeypatch) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    (copy / "tests.json").unlink(missing_ok=True)

    def refused(path: Path, content: object) -> None:
        raise DataError(f"writing {path}", "a read-only file system", expected="a folder that can be written", fix="")

    monkeypatch.setattr(files, "write_json", refused)
    found = collect(copy)
    assert found.tests["table3"]
    assert any("could not be kept for next time: a read-only file system" in note for note in found.notes)


def test_tests_are_worked_out_again_where_they_are_damaged_or_of_other_results(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    before = collect(copy).tests
    (copy / "tests.json").write_text('{"keys": {')
    assert collect(copy).tests == before
    known = json.loads((copy / "tests.json").read_text())
    (copy / "tests.json").write_text(json.dumps({"keys": known["keys"]}))
    assert collect(copy).tests == before
    known["tests"]["table3"][0]["difference"] = 17.0
    (copy / "tests.json").write_text(json.dumps(known))
    assert collect(copy).tests["table3"][0]["difference"] == 17.0, "taken as they are, since they are of these results"
    rows = copy / "table3.jsonl"
    mean = next(row["mean"] for row in read(rows).rows if row["what"] == "quality")
    rows.write_text(rows.read_text().replace(f'"mean": {mean}', f'"mean": {mean + 0.001}', 1))
    assert collect(copy).tests["table3"][0]["difference"] != 17.0, "the results are others"


def test_rows_files_that_do_not_belong_together_are_refused(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    shutil.copy(copy / "table3.jsonl", copy / "sensitivity.jsonl")
    with pytest.raises(DataError, match="rows of experiment 'table3'; expected experiment 'sensitivity'"):
        collect(copy)
    (copy / "sensitivity.jsonl").unlink()
    leak = copy / "leak.jsonl"
    leak.write_text(leak.read_text().replace('"k": 20, "protocol"', '"k": 10, "protocol"', 1))
    with pytest.raises(DataError, match="cut-offs 20"):
        collect(copy)


def test_rows_that_saw_answers_are_refused_in_studies_too(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    path = copy / "sensitivity.jsonl"
    path.write_text(path.read_text().replace('"study": "embedding size"', '"study": "embedding size", "leaked": true'))
    with pytest.raises(DataError, match="rows of a model that saw answers"):
        sections(collect(copy))


def test_variants_of_two_models_keep_apart_in_whatever_order_they_ran(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    path = copy / "ablation.jsonl"
    units = read(path).units
    text = path.read_text()
    for n, name in enumerate(("metakg-paper full", "metakg full", "metakg-paper base")):
        text = text.replace(units[n].rows[0]["model"] + '"', name + '"')
    path.write_text(text)
    (ablation,) = [section for section in sections(collect(copy)) if section.name == "ablation"]
    figures = [block.name for block in ablation.blocks if isinstance(block, Figure)]
    assert figures == ["ablation-metakg-paper", "ablation-metakg"]


def test_a_board_without_floors_or_costs_of_this_machine_is_shown_all_the_same(runs, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs, copy)
    path = copy / "table3.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    ours = {unit.key for unit in read(path).units if unit.name.startswith("metakg")}
    kept = [line for n, line in enumerate(lines) if n < 2 or json.loads(line)["key"] in ours]
    path.write_text("".join(kept).replace('"what": "cost"', '"what": "cost", "device": "a card"'))
    text = page(collect(copy))
    assert "No floor was judged" in text
    assert "best floor, None" not in text


def test_nothing_is_tested_against_another_floor_than_the_best(runs, tmp_path) -> None:
    """Where its users' values are lost, there is no test, and not one against whichever floor is left."""
    best, copy = collect(runs).best_floor(), tmp_path / "copy"
    shutil.copytree(runs, copy)
    (copy / "tests.json").unlink()
    shutil.rmtree(copy / "kept" / key_of({"unit": best}))
    found = collect(copy)
    assert found.best_floor() == best
    assert not found.tests.get("table3")
    assert not found.gains
    assert {model for model, _, _ in found.intervals} == {"popularity", "walk", "metakg"} - {best}


def test_a_study_on_other_settings_than_the_leaderboard_says_so(tmp_path) -> None:
    def rule(**model: int) -> dict:
        return {"model": {"kind": "metakg", "inner_steps": 1, "hidden": 8, **model}, "training": {"loop": {"epochs": 3}}}

    def unit(rule: dict, **more: object) -> Done:
        return Done("u", "k", rule, 1.0, 0, ({"what": "quality", "model": "metakg", **more},))

    def runs_of(*studies: dict) -> Runs:
        units = [unit(one, study="local updates", value=0) for one in studies]
        records = {"table3": Record({}, units=[unit(rule())]), "sensitivity": Record({}, units=units)}
        return Runs(tmp_path, {}, records, {}, {}, (), ())

    assert _otherwise_set(runs_of(rule(inner_steps=0), rule(inner_steps=5))) == []
    assert _otherwise_set(runs_of(rule(inner_steps=0), rule(inner_steps=5, max_items=3))) == ["metakg"]
    assert _otherwise_set(runs_of({**rule(), "training": {"loop": {"epochs": 4}}})) == ["metakg"]
