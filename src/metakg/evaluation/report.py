"""Rows over seeds, and the same rows for people: plain text, Markdown, JSON lines.

A row of a report is {model, scenario, protocol, shots, mask, candidates, metric, k, mean, std, n_users, seeds}: the mean of
the users' mean over seeds, and its standard deviation between seeds (n - 1; null for a single seed).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from metakg import files
from metakg.errors import DataError
from metakg.types import Json

_Column: TypeAlias = tuple[str, int | None, str, str, str]
"""Scenario, shots, protocol, mask and candidates."""

_NO_SIDE = ("coverage", "tied")
"""Shares of which neither more nor less is simply better."""
DAGGER = " †"
"""Behind the name of a model that a note speaks of."""
_WIDE = 6
"""Tables with more columns than this are turned."""
_COMPARED = ("model", "scenario", "shots", "metric", "k")
_GROUP = ("model", "scenario", "protocol", "shots", "mask", "candidates", "metric", "k")


def aggregate(rows: Iterable[Json]) -> list[Json]:
    """Return one row for each model, scenario, switch, metric and cut-off: the rows of evaluations, over their seeds.

    Args:
        rows: `Evaluation.rows` of any number of evaluations.

    Raises:
        DataError: one seed is there twice, or seeds were judged on different numbers of users.
    """
    groups: dict[tuple[Any, ...], list[Json]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in _GROUP), []).append(row)
    report = []
    for key, members in groups.items():
        named = dict(zip(_GROUP, key, strict=True))
        seeds = [row["seed"] for row in members]
        if len(set(seeds)) != len(seeds):
            raise DataError(
                f"results of {named['model']} in {named['scenario']}",
                f"seeds {', '.join(map(str, seeds))}",
                expected="each seed once",
                fix="Leave out the repeated evaluation, or give the models different names.",
            )
        n_users = {row["n_users"] for row in members}
        if len(n_users) > 1:
            raise DataError(
                f"results of {named['model']} in {named['scenario']}",
                f"{' and '.join(map(str, sorted(n_users)))} users",
                expected="all seeds to be judged on the same users",
                fix="Evaluate every seed on one split.",
            )
        means = np.array([row["mean"] for row in members], np.float64)
        report.append(
            {
                **named,
                "mean": float(means.mean()),
                "std": float(means.std(ddof=1)) if len(means) > 1 else None,
                "n_users": n_users.pop(),
                "seeds": sorted(seed for seed in seeds if seed is not None),
            }
        )
    return report


def best_floor(report: Iterable[Json], floors: Collection[str], metric: str = "recall") -> str | None:
    """Return the floor with the highest mean over the scenarios of rows of `aggregate`, or None if there is none.

    Args:
        report: the rows, in each metric of one cut-off.
        floors: names of the training-free models.
        metric: by which one.
    """
    means = means_of((row for row in report if row["model"] in floors), metric)
    return max(means, key=lambda name: means[name], default=None)


def means_of(report: Iterable[Json], metric: str) -> dict[str, float]:
    """Return each model's mean over the scenarios of rows of `aggregate`, in order of appearance."""
    found: dict[str, list[float]] = {}
    for row in report:
        if row["metric"] == metric:
            found.setdefault(row["model"], []).append(row["mean"])
    return {name: sum(means) / len(means) for name, means in found.items()}


def against_best_floor(report: Sequence[Json], floors: Sequence[str]) -> list[Json]:
    """Return for every row of a model that is no floor how it compares with the best floor there.

    Args:
        report: rows of `aggregate`.
        floors: names of the training-free models.

    Returns:
        the rows with `floor` (the best one's name), `floor_mean`, and `gain` = mean / floor_mean - 1 (null if the floor
        has 0); rows for which no floor was judged are left out.
    """
    best: dict[tuple[Any, ...], Json] = {}
    for row in report:
        key = tuple(row[name] for name in _GROUP[1:])
        if row["model"] in floors and (key not in best or row["mean"] > best[key]["mean"]):
            best[key] = row
    compared = []
    for row in report:
        floor = best.get(tuple(row[name] for name in _GROUP[1:]))
        if floor is not None and row["model"] not in floors:
            gain = row["mean"] / floor["mean"] - 1 if floor["mean"] else None
            compared.append({**row, "floor": floor["model"], "floor_mean": floor["mean"], "gain": gain})
    return compared


def tables(
    report: Sequence[Json],
    shown: Sequence[tuple[str, int]] | None = None,
    *,
    floors: Sequence[str] = (),
    comparisons: Sequence[Json] = (),
    marked: Collection[str] = (),
    printed: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    markdown: bool = False,
) -> str:
    """Return one table for each metric and cut-off: models down, scenarios across, the best of a scenario marked.

    With more than six scenarios (k-shot curves) the table is turned.

    Args:
        report: rows of `aggregate`.
        shown: which (metric, k); all by default.
        floors: names of training-free models; the gain of the others over the best of them is added where there are both.
        comparisons: rows of `metakg.evaluation.significance.compare_models`; a mean is marked with *, ** or *** where it
            differs from the baseline with p below 0.05, 0.01 or 0.001 in the t-test and in Wilcoxon's test.
        marked: models whose name gets a dagger, for a note that the caller writes.
        printed: figures that others printed, name -> scenario -> metric -> mean, for a line each below the models: no rival
            for the best of a scenario, since they were not made here.
        markdown: for a Markdown page (best in bold) or a terminal (best with a "<").
    """
    marks = {tuple(row[name] for name in _COMPARED): stars(row) for row in comparisons}
    keys = list(dict.fromkeys((row["metric"], row["k"]) for row in report)) if shown is None else list(shown)
    made = (marks, marked, printed or {})
    return "\n".join(_table(report, metric, k, floors, *made, markdown=markdown) for metric, k in keys)


def grid(header: Sequence[str], body: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Return cells as an aligned table: the first column to the left, the others to the right.

    Text keeps its characters; only in Markdown a vertical bar is escaped.
    """
    cells = [list(header), *(list(row) for row in body)]
    if markdown:
        cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    widths = [max(3, *(len(row[j]) for row in cells)) for j in range(len(header))]
    aligned = [
        [cell.ljust(width) if j == 0 else cell.rjust(width) for j, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in cells
    ]
    rule = ["-" * width if j == 0 or not markdown else "-" * (width - 1) + ":" for j, width in enumerate(widths)]
    lines = [aligned[0], rule, *aligned[1:]]
    return "".join(f"| {' | '.join(line)} |\n" if markdown else f"{'  '.join(line).rstrip()}\n" for line in lines)


def _table(
    report: Sequence[Json],
    metric: str,
    k: int,
    floors: Sequence[str],
    marks: Mapping[tuple[Any, ...], str],
    marked: Collection[str],
    printed: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    markdown: bool,
) -> str:
    rows = [row for row in report if (row["metric"], row["k"]) == (metric, k)]
    if not rows:
        raise DataError(
            "report",
            f"no {metric}@{k}",
            expected="a metric and cut-off that was judged",
            fix="Evaluate with it, or show another.",
        )
    columns = list(dict.fromkeys(_column(row) for row in rows))
    lines = _means(rows, columns, marks, marked, markdown=markdown)
    for name, figures in printed.items():
        values = [figures.get(column[0], {}).get(metric) if column[1] is None else None for column in columns]
        lines.append([name, *("" if value is None else f"{value:.4f}" for value in values)])
    lines += [*_gains(rows, columns, floors), _users(rows, columns)]
    header = ["model", *(_heading(column, columns) for column in columns)]
    if len(columns) > _WIDE:  # k-shot curves: scenarios down, models across
        header, *lines = (list(line) for line in zip(header, *lines, strict=True))
        header[0] = "scenario"
    return f"{'### ' if markdown else ''}{metric}@{k}\n\n{grid(header, lines, markdown=markdown)}"


def _means(
    rows: Sequence[Json],
    columns: Sequence[_Column],
    marks: Mapping[tuple[Any, ...], str],
    marked: Collection[str],
    *,
    markdown: bool,
) -> list[list[str]]:
    """Return a line for each model, with the best of every column marked."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    cells = {(row["model"], _column(row)): row for row in rows}
    best = {}
    if rows[0]["metric"] not in _NO_SIDE:
        best = {column: max(cells[m, column]["mean"] for m in models if (m, column) in cells) for column in columns}
    widest = max(len(_deviation(row)) for row in rows)
    lines = []
    for model in models:
        line = [model + DAGGER * (model in marked)]
        for column in columns:
            row = cells.get((model, column))
            if row is None:
                line.append("")
                continue
            mark = marks.get(tuple(row[name] for name in _COMPARED), "")
            text, is_best = f"{row['mean']:.4f}{_deviation(row)}", 0 < row["mean"] == best.get(column)
            if markdown:
                line.append((f"**{text}**" if is_best else text) + mark.replace("*", "\\*"))
            else:
                line.append(f"{text:<{6 + widest}} {mark:<{3 if marks else 0}}{'<' if is_best else ' '}")
        lines.append(line)
    return lines


def _gains(rows: Sequence[Json], columns: Sequence[_Column], floors: Sequence[str]) -> list[list[str]]:
    """Return a line for each model that is no floor, with its gain over the best floor."""
    gains = [] if rows[0]["metric"] in _NO_SIDE else against_best_floor(rows, floors)
    by_cell = {(row["model"], _column(row)): row["gain"] for row in gains}
    lines = []
    for model in dict.fromkeys(row["model"] for row in gains):
        found = [by_cell.get((model, column)) for column in columns]
        lines.append([f"{model} over the best floor", *("" if gain is None else f"{gain:+.1%}" for gain in found)])
    return lines


def _users(rows: Sequence[Json], columns: Sequence[_Column]) -> list[str]:
    """Return the line with the number of users; more than one number in a column means that models were judged on others."""
    counts: dict[_Column, dict[int, None]] = {column: {} for column in columns}
    for row in rows:
        if row["n_users"] is not None:
            counts[_column(row)][row["n_users"]] = None
    return ["users", *(" / ".join(f"{n:,}" for n in sorted(counts[column])) for column in columns)]


def _column(row: Json) -> _Column:
    return row["scenario"], row["shots"], row["protocol"], row["mask"], row["candidates"]


def _heading(column: _Column, columns: Sequence[_Column]) -> str:
    """Name a column by its scenario, and by whatever else tells it from the others."""
    shots = "all shots" if column[1] is None else f"{column[1]} shot{'s' * (column[1] != 1)}"
    parts = [column[0], shots, column[2], f"mask {column[3]}", f"{column[4]} items"]
    varies = [len({other[j] for other in columns}) > 1 for j in range(len(column))]
    return ", ".join(part for j, part in enumerate(parts) if j == 0 or varies[j])


def _deviation(row: Json) -> str:
    return "" if row["std"] is None else f" ± {row['std']:.4f}"


def stars(comparison: Json) -> str:
    """Return *, ** or *** where a paired test finds a difference with p below 0.05, 0.01 or 0.001 both ways; "" elsewhere."""
    if comparison["t_p"] is None or comparison["wilcoxon_p"] is None:
        return ""
    p = float(max(comparison["t_p"], comparison["wilcoxon_p"]))
    return "*" * sum(p < level for level in (0.05, 0.01, 0.001))


def rules_of(report: Sequence[Json]) -> str:
    """Return one line that says under which rules the rows were made: protocol, mask, candidates, seeds."""

    def each(name: str) -> str:
        return " and ".join(dict.fromkeys(str(row[name]) for row in report))

    seeds = sorted({seed for row in report for seed in row["seeds"]})
    named = f", seeds {', '.join(map(str, seeds))}" if seeds else ""
    return f"protocol {each('protocol')}, {each('candidates')} items ranked, mask {each('mask')}{named}"


def write_rows(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    with files.atomic_file(Path(path)) as temporary:
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path | str) -> list[Json]:
    """Read rows that `write_rows` wrote.

    Raises:
        DataError: the file is missing, or a line is no JSON object.
    """
    path = Path(path)
    fix = 'Make the file again ("metakg compare --json").'
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(str(path), str(err), expected="rows as JSON lines", fix=fix) from err
    rows = []
    lines = text.removesuffix("\n").split("\n") if text else []  # a name may hold what `splitlines` takes for the end of a line
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as err:
            raise DataError(f"{path} line {number}", "text that is not JSON", expected="a row", fix=fix) from err
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number}", f"a JSON {type(row).__name__}", expected="a row", fix=fix)
        rows.append(row)
    return rows
