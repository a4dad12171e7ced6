"""The demo from end to end, and the README that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metakg.cli.main import app

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, ["demo"], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, folder / "demo"


NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?%?")
MARKS = re.compile(r"[*<]| {2,}")
SAYS_WHY = "recommends, and says why:"


def assert_alike(shown: str, printed: str) -> None:
    """Words to the letter; what a learnt model says may differ a little between processors, whose sums round differently."""
    before, why, after = shown.partition(SAYS_WHY)
    now, still, later = printed.partition(SAYS_WHY)
    assert why == still
    learnt = before.rstrip().endswith("metakg, the best on the validation scenarios,")
    for one, other in zip(before.splitlines(), now.splitlines(), strict=True):
        if not one.startswith("metakg"):
            assert MARKS.sub(" ", one) == MARKS.sub(" ", other) if "0." in one else one == other
            continue
        assert NUMBER.sub("", MARKS.sub("", one)).split() == NUMBER.sub("", MARKS.sub("", other)).split()
        for number, again in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
            near = 10.0 if number.endswith("%") else 0.03
            assert float(number.rstrip("%")) == pytest.approx(float(again.rstrip("%")), abs=near)
    listed, rest = after.split("\n\n", 1)
    listed_now, rest_now = later.split("\n\n", 1)
    assert rest == rest_now
    if not learnt:
        assert listed == listed_now
        return
    titles = [{line[5:] for line in text.splitlines() if re.match(r"  \d\. ", line)} for text in (listed, listed_now)]
    assert len(titles[0] & titles[1]) >= len(titles[0]) - 1, "near-equal scores may change places, no more"
    for line in (*listed.splitlines(), *listed_now.splitlines()):
        assert re.fullmatch(r"|  \d\. .+|     liked .+ -> .+ \(\d+% of the score\)", line), line


def test_the_readme_shows_what_the_demo_prints(demo) -> None:
    _, _, rest = README.read_text(encoding="utf-8").partition("<!-- demo: begin -->\n```text\n")
    shown, end, _ = rest.partition("```\n<!-- demo: end -->")
    assert end
    assert_alike(shown, demo[0])


def test_the_comparison_notices_what_matters(demo) -> None:
    for old, new in (
        ("A generated bookshop", "A bookshop"),
        ("kg-knn  ", "kgknn   "),
        ("0.1459 ***", "0.1460 ***"),
        (" of the score)", " of it)"),
        ("is new. The first", "is old. The first"),
    ):
        assert old in demo[0]
        with pytest.raises((AssertionError, ValueError)):
            assert_alike(demo[0], demo[0].replace(old, new, 1))


def test_the_demo_leaves_a_bundle_to_go_on_with(demo) -> None:
    command = demo[0].rpartition("metakg recommend demo/bundle ")[2].splitlines()[0].split()
    result = CliRunner().invoke(app, ["recommend", str(demo[1] / "bundle"), *command], catch_exceptions=False)
    assert result.exit_code == 0
    assert "(adapted)" in result.stdout


def test_the_demo_s_bundle_carries_the_figures_that_were_printed(demo) -> None:
    import metakg

    engine = metakg.load(demo[1] / "bundle")
    figures = {(row["scenario"], row["metric"]): row["mean"] for row in engine.figures if row["k"] == 20}
    line = next(text for text in demo[0].splitlines() if text.startswith(engine.model))
    assert f"{figures['user_cold', 'recall']:.4f}" in line
    assert {scenario for scenario, _ in figures} == {"user_cold", "item_cold", "user_item_cold", "warm"}


@pytest.mark.slow
def test_a_second_demo_replaces_the_first_and_nothing_else(demo, monkeypatch) -> None:
    monkeypatch.chdir(demo[1].parent)
    (demo[1] / "mine.txt").write_text("keep me")
    result = CliRunner().invoke(app, ["demo"], catch_exceptions=False)
    assert result.stdout == demo[0]
    assert (demo[1] / "mine.txt").read_text() == "keep me"
