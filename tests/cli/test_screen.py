"""What people's names hold stands on the screen as it is: brackets, colons and slashes are nobody's markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from metakg.cli import screen
from metakg.cli.main import app

NAMES = ("Song [live]", "[/b] closes nothing", "[bold red]loud[/]", "Mission :rocket: 3", "C:\\[x]")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_prints_names_as_they_are(capsys, monkeypatch, terminal) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "70")
    screen.print_table(("", "item"), [(str(n), name) for n, name in enumerate(NAMES)], right=("",), title="for [i]me")
    shown = capsys.readouterr().out
    for text in (*NAMES, "for [i]me"):
        assert text in shown
    assert terminal or all(line == line.rstrip() for line in shown.splitlines())


def test_lines_are_folded_on_a_terminal_alone(capsys, monkeypatch) -> None:
    long = "word " * 100
    screen.print_table(("what",), [(long,)])
    assert long.strip() in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    screen.print_table(("what",), [(long,)])
    assert max(len(line) for line in capsys.readouterr().out.splitlines() if "word" in line) <= 40


def test_bars_and_words_of_progress_show_names_as_they_are(capsys, monkeypatch) -> None:
    out = io.StringIO()
    with Progress(screen.text_column("{task.description}"), console=Console(file=out, width=200, force_terminal=True)) as bar:
        for name in NAMES:
            bar.update(bar.add_task(""), description=name)
    assert all(name in out.getvalue() for name in NAMES)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")
    with screen.status("opening [/x]") as tell:
        for name in NAMES:
            tell(name)
    assert NAMES[-1] in capsys.readouterr().err


def test_titles_with_brackets_go_from_files_to_recommendations(tmp_path) -> None:
    clicks = [f"u{u},i{i},{u * 50 + i}" for u in range(30) for i in range(40) if (u * 7 + i * 3) % 5 == 0]
    (tmp_path / "clicks.csv").write_text("user,item,time\n" + "\n".join([*clicks, ",i[/i],1"]) + "\n")
    titles = [f"i{i},[/b] Title {i} [live],[red]genre {i % 4}" for i in range(40)]
    (tmp_path / "items.csv").write_text("item,title,genre\n" + "\n".join(titles) + "\n")

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    clicks_file, items_file = tmp_path / "clicks.csv", tmp_path / "items.csv"
    told = run("prepare", "--interactions", clicks_file, "--item-attributes", items_file, "--out", tmp_path / "[data]")
    assert "item=i[/i]" in told, "the place of a row that is rejected"
    assert f"written to {tmp_path / '[data]'}" in told
    run("train", tmp_path / "[data]", "--model", "blend", "--out", tmp_path / "bundle")
    found = run("recommend", tmp_path / "bundle", "[/me]", "--liked", "i3", "-k", "3", "--why")
    assert "for [/me]" in found
    assert found.count("[/b] Title") >= 3
    assert found.count("[live]") >= 3
