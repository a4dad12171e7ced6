"""The picture of a comparison, and figures as files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from metakg.errors import ConfigError
from metakg.report.pictures import check, compared, write


def row(model: str, scenario: str = "warm", mean: float = 0.25, std: float | None = None, **changes: Any) -> dict[str, Any]:
    given = {"model": model, "scenario": scenario, "protocol": "paper", "shots": None, "metric": "recall", "k": 20}
    return {**given, "mean": mean, "std": std, **changes}


def test_a_comparison_has_a_panel_for_each_scenario_and_bars_to_scale() -> None:
    rows = [row(model, scenario, mean) for scenario in ("user_cold", "warm") for model, mean in (("walk", 0.2), ("fm", 0.1))]
    figure = compared([*rows, row("fm", metric="ndcg"), row("fm", k=40)])
    assert [panel.tag for panel in figure.panels] == ["user_cold", "warm"]
    for panel in figure.panels:
        widths = [float(width) for width in re.findall(r'<rect [^>]*width="([0-9.]+)"', panel.body)]
        assert widths[0] == pytest.approx(2 * widths[1], abs=0.2), "in the order given, twice the recall twice as wide"
        for words in ("walk", "fm", "0.2000", "0.1000", "recall@20, paper protocol"):
            assert f">{words}</text>" in panel.body


def test_the_deviation_between_seeds_is_a_whisker_and_one_seed_has_none() -> None:
    (panel,) = compared([row("fm", mean=0.1, std=0.05), row("walk", mean=0.2)]).panels
    assert "fm: 0.1 (0.05 to 0.15)" in panel.body
    assert "walk: 0.2<" in panel.body
    (low,) = compared([row("fm", mean=0.01, std=0.05)]).panels
    assert "(0 to 0.06)" in low.body, "a recall is not below zero"


@pytest.mark.parametrize(
    ("rows", "found"),
    [([], "0 rows"), ([row("fm", metric="ndcg")], "0 rows"), ([row("fm"), row("fm", shots=1)], "some for the same model")],
)
def test_a_comparison_needs_rows_that_can_be_told_apart(rows: list[dict[str, Any]], found: str) -> None:
    with pytest.raises(ConfigError, match=rf"plot of recall@20: found .*{found}"):
        compared(rows)


def test_a_figure_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = compared([row("fm")])
    write(figure, tmp_path / "models.svg")
    assert (tmp_path / "models.svg").read_text(encoding="utf-8") == figure.svg()
    with pytest.raises(ConfigError, match=r"the ending '.pdf'; expected .svg or .png"):
        check(tmp_path / "models.pdf")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "vl_convert", None)
        write(figure, tmp_path / "models.svg")  # needs nothing
        with pytest.raises(ConfigError, match=r"expected the extra `plot`. In the clone of metakg: pip install \".\[plot\]\""):
            write(figure, tmp_path / "models.png")
    assert [path.name for path in tmp_path.iterdir()] == ["models.svg"]
    pytest.importorskip("vl_convert", reason="pictures as PNG need the extra 'plot'")
    write(figure, tmp_path / "models.png")
    assert (tmp_path / "models.png").read_bytes().startswith(b"\x89PNG")
