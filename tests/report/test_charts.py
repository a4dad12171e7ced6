"""Pictures are sound SVG, and their scales and looks are what a reader expects."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from metakg.report import charts
from metakg.report.axes import Axis, scale
from metakg.report.charts import Bar
from metakg.report.colours import Look, fixed, looks
from metakg.report.figures import Figure


def test_scales_by_hand() -> None:
    linear = scale([0.0, 0.31], Axis("x", zero=True), 0, 100)
    assert list(linear.ticks) == [0, 0.2, 0.4]
    assert linear(0.2) == 50
    log = scale([1, 1000], Axis("x", log=True), 0, 90)
    assert list(log.ticks) == [1, 10, 100, 1000]
    assert log(10) == pytest.approx(30)
    assert scale([0.0, 0.0], Axis("x", zero=True), 0, 100)(0.0) == 0
    assert scale([5.0], Axis("x", log=True), 0, 100)(5.0) == pytest.approx(50)


def test_pictures_stand_alone_and_escape_names() -> None:
    legend = {"a<b": Look("--c0")}
    panel = charts.lines("t", {"a<b": [(1, 2, 1.5, 2.5), (2, 3, None, None)]}, legend, Axis("x"), Axis("y"))
    bars = charts.bars("b", [Bar("a&b", 0.5, 0.4, 0.6), Bar("paper", 0.7, foreign=True)], Axis("x"))
    svg = Figure("f", [panel, bars], legend).svg()
    ElementTree.fromstring(svg)
    assert "var(" not in fixed(svg)
    assert "a&lt;b: 2 at 1" in svg


def test_looks_keep_ours_first_and_floors_muted() -> None:
    names = ["popularity", *(f"m{n}" for n in range(14)), "metakg"]
    found = looks(names, ["popularity"], ["metakg"])
    assert list(found) == names
    assert found["metakg"] == Look("--c0")
    assert found["popularity"].colour == "--f0"
    assert len(set(found.values())) == len(names)
