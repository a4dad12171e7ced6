"""The demo from end to end, and the README that shows it."""

from __future__ import annotations

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


def test_the_readme_shows_what_the_demo_prints(demo) -> None:
    _, _, rest = README.read_text(encoding="utf-8").partition("<!-- demo: begin -->\n```text\n")
    shown, end, _ = rest.partition("```\n<!-- demo: end -->")
    assert end
    assert shown == demo[0]


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


def test_a_second_demo_replaces_the_first_and_nothing_else(demo, monkeypatch) -> None:
    monkeypatch.chdir(demo[1].parent)
    (demo[1] / "mine.txt").write_text("keep me")
    result = CliRunner().invoke(app, ["demo"], catch_exceptions=False)
    assert result.stdout == demo[0]
    assert (demo[1] / "mine.txt").read_text() == "keep me"
