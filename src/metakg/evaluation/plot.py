"""Models by scenarios as a picture. Needs the extra `plot` (altair, vl-convert); drawn without a browser or a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metakg import files
from metakg.errors import ConfigError, missing_extra
from metakg.types import Json

_PIXELS_PER_POINT = 2.0

_GROUPED = 8
"""Models whose bars stand side by side in one panel, told apart by colour."""


def check(path: Path) -> None:
    """Refuse, before the work, a picture that could not be drawn after it.

    Raises:
        ConfigError: the extra `plot` is not installed, or the ending is another one.
    """
    if path.suffix not in (".svg", ".png"):
        raise ConfigError(f"plot {path}", f"the ending {path.suffix!r}", expected=".svg or .png", fix="Rename the picture.")
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as err:
        raise missing_extra("plot", "plot", err) from err


def bars(report: Sequence[Json], path: Path | str, *, metric: str = "recall", k: int = 20, title: str | None = None) -> None:
    """Draw a bar for each model in each scenario, with the deviation between seeds as an error bar.

    Args:
        report: rows of `metakg.evaluation.report.aggregate`, for one protocol and one number of shots per scenario.
        path: where to write; the ending .svg or .png decides the format.
        metric: which metric.
        k: at which cut-off.
        title: of the picture; metric, cut-off and protocol by default.

    Raises:
        ConfigError: the extra `plot` is not installed, the ending is another one, or the rows cannot be told apart.
        DataError: the file cannot be written.
    """
    path = Path(path)
    check(path)
    rows = [row for row in report if (row["metric"], row["k"]) == (metric, k)]
    if not rows or len({(row["model"], row["scenario"]) for row in rows}) != len(rows):
        raise ConfigError(
            f"plot of {metric}@{k}",
            f"{len(rows)} rows" + (", some for the same model and scenario" if rows else ""),
            expected="one row for each model and scenario",
            fix="Choose a metric that was judged, and one protocol and number of shots.",
        )
    spec = _spec(rows, title or f"{metric}@{k}, {' and '.join(dict.fromkeys(row['protocol'] for row in rows))} protocol")
    import vl_convert

    if path.suffix == ".svg":
        picture = vl_convert.vegalite_to_svg(spec).encode()
    else:
        picture = vl_convert.vegalite_to_png(spec, scale=_PIXELS_PER_POINT)
    with files.atomic_file(path) as temporary:
        temporary.write_bytes(picture)


def _spec(rows: Sequence[Json], title: str) -> Json:
    """Return the Vega-Lite description of the picture."""
    import altair

    data = [
        {
            "model": row["model"],
            "scenario": row["scenario"].replace("_", " "),
            "mean": row["mean"],
            "low": max(0.0, row["mean"] - (row["std"] or 0.0)),
            "high": row["mean"] + (row["std"] or 0.0),
        }
        for row in rows
    ]
    models = list(dict.fromkeys(point["model"] for point in data))
    scenarios = list(dict.fromkeys(point["scenario"] for point in data))
    metric = f"{rows[0]['metric']}@{rows[0]['k']}"
    given = altair.InlineData(values=data)
    if len(models) > _GROUPED:  # a panel for each scenario, and names at the bars: colours would no longer tell them apart
        base = altair.Chart().encode(y=altair.Y("model:N", sort=models, title=None))
        drawn = base.mark_bar().encode(x=altair.X("mean:Q", title=metric))
        deviation = base.mark_rule().encode(x=altair.X("low:Q", title=metric), x2="high:Q")
        panel = altair.layer(drawn, deviation, data=given).properties(width=340, height=15 * len(models))
        chart = panel.facet(altair.Facet("scenario:N", sort=scenarios, title=None), columns=2)
        chart = chart.properties(title=title, padding={"left": 20, "right": 5, "top": 5, "bottom": 5})  # names are set wider
    else:
        base = altair.Chart(given).encode(
            x=altair.X("scenario:N", sort=scenarios, title=None, axis=altair.Axis(labelAngle=0)),
            xOffset=altair.XOffset("model:N", sort=models),
        )
        drawn = base.mark_bar().encode(
            y=altair.Y("mean:Q", title=metric),
            color=altair.Color("model:N", sort=models, title=None, scale=altair.Scale(scheme="tableau20")),
        )
        deviation = base.mark_rule().encode(y=altair.Y("low:Q", title=metric), y2="high:Q")
        chart = (drawn + deviation).properties(title=title, width=max(320, 24 * len(data)), height=280)
    description: Json = chart.to_dict()
    return description
