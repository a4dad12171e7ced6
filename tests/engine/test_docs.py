"""The examples of the documentation run."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from metakg.cli.main import app
from metakg.engine import fit
from metakg.testing import toy_view

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_example_of_the_online_page_runs(tmp_path, monkeypatch, capsys) -> None:
    fit("blend", toy_view()).save(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", (DOCS / "online.md").read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(first, "online.md", "exec"), scope)
    assert "The Quiet Sea (place" in capsys.readouterr().out
    assert scope["rec"].way("u-new") == "popular"
    exec(compile(second, "online.md", "exec"), scope)
    assert scope["rec"].way("u-new") == "adapted"
    assert [fact.entity for fact in scope["rec"].facts("n1")] == ["genre:jazz"]


def test_the_way_through_of_the_command_line_page_works(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "cli.md").read_text(encoding="utf-8").partition("A way through:")[2]
    (block,) = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines():
        words, _, target = line.partition(" > ")
        result = CliRunner().invoke(app, words.split()[1:], catch_exceptions=False)
        assert result.exit_code == 0, line
        if target:
            Path(target).write_text(result.stdout, encoding="utf-8")
