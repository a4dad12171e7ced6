"""Figures as files, SVG or PNG, and the picture of a comparison: a panel of bars for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metakg import files
from metakg.errors import ConfigError, missing_extra
from metakg.experiments.lab import OURS
from metakg.models.registry import FLOORS
from metakg.report import charts
from metakg.report.axes import Axis
from metakg.report.blocks import SCENARIO_NAMES
from metakg.report.charts import Bar
from metakg.report.colours import Look, fixed, looks
from metakg.report.figures import Figure
from metakg.types import Json

_PIXELS_PER_POINT = 2.0


def check(path: Path) -> None:
    """Refuse, before the work, a picture that could not be drawn after it.

    Raises:
        ConfigError: the ending is neither .svg nor .png, or PNG was asked for and the extra `plot` is not installed.
    """
    if path.suffix not in (".svg", ".png"):
        raise ConfigError(f"plot {path}", f"the ending {path.suffix!r}", expected=".svg or .png", fix="Rename the picture.")
    if path.suffix == ".png":
        try:
            import vl_convert  # noqa: F401
        except ImportError as err:
            raise missing_extra("pictures", "plot", err) from err


def write(figure: Figure, path: Path) -> None:
    """Write a figure to a file that stands alone; the ending decides the format.

    Raises:
        ConfigError: as `check`.
        DataError: the file cannot be written.
    """
    check(path)
    data = figure.svg().encode()
    if path.suffix == ".png":
        import vl_convert

        data = vl_convert.svg_to_png(fixed(figure.svg()), scale=_PIXELS_PER_POINT)
    with files.atomic_file(path) as temporary:
        temporary.write_bytes(data)


def compared(rows: Sequence[Json], *, metric: str = "recall", k: int = 20) -> Figure:
    """Return a bar for each model in each scenario, with the deviation between seeds as a whisker.

    Args:
        rows: of `metakg.evaluation.report.aggregate`, for one protocol and one number of shots per scenario.
        metric: which metric.
        k: at which cut-off.

    Raises:
        ConfigError: the rows cannot be told apart, or there are none.
    """
    rows = [row for row in rows if (row["metric"], row["k"]) == (metric, k)]
    if not rows or len({(row["model"], row["scenario"]) for row in rows}) != len(rows):
        raise ConfigError(
            f"plot of {metric}@{k}",
            f"{len(rows)} rows" + (", some for the same model and scenario" if rows else ""),
            expected="one row for each model and scenario",
            fix="Choose a metric that was judged, and one protocol and number of shots.",
        )
    legend = looks(list(dict.fromkeys(row["model"] for row in rows)), FLOORS, OURS)
    axis = Axis(f"{metric}@{k}, {' and '.join(dict.fromkeys(row['protocol'] for row in rows))} protocol")
    panels = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        entries = [_bar(row, legend[row["model"]]) for row in rows if row["scenario"] == scenario]
        panels.append(charts.bars(SCENARIO_NAMES[scenario], entries, axis, tag=scenario))
    return Figure("compared", panels)


def _bar(row: Json, look: Look) -> Bar:
    mean, std = row["mean"], row["std"]
    low, high = (None, None) if std is None else (max(0.0, mean - std), mean + std)
    return Bar(row["model"], mean, low, high, look)
