"""`metakg split`: cut a data set folder into what a model may see and the scenarios it is judged on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metakg.cli import screen
from metakg.cli.common import JsonOption, SeedOption, print_json, settings_from

if TYPE_CHECKING:
    from metakg.data import Split


def split(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data set folder (see `metakg prepare`).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the split to.", show_default=False)],
    protocol: Annotated[
        str, typer.Option(help="'strict' (new ids are unknown until they arrive) or 'paper' (the published rule).")
    ] = "strict",
    published: Annotated[
        Path | None, typer.Option(help="Import these scenario files (a folder test_scenario) instead of cutting.")
    ] = None,
    seed: SeedOption = 1,
    validation: Annotated[bool, typer.Option(help="Cut a validation split from the training part.")] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another setting, as min_support=5 (strict) or rule.min_items=10 (paper); repeatable.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier split.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Cut a data set into a training part, four scenarios, and a validation split; print sizes, thresholds and overlap."""
    from metakg.data import Dataset
    from metakg.errors import ConfigError
    from metakg.splits import save, split_with
    from metakg.splits.config import configure

    options = settings_from(settings)
    for name, flag in (("seed", "--seed"), ("validation", "--validation, --no-validation")):
        if name in options:
            raise ConfigError(f"--set {name}", repr(options[name]), expected="another setting", fix=f"Say it by {flag}.")
    options |= {"seed": seed, "validation": validation}
    config = configure(protocol, published, options)
    result = split_with(Dataset.load(folder), config)
    save(result, out, dataset_folder=folder, overwrite=overwrite)
    if as_json:
        print_json(_as_json(result, out))
    else:
        _print(result, out)


def _as_json(result: Split, out: Path) -> dict[str, Any]:
    from metakg.splits import summary

    left_out = {"test": result.manifest["left_out"]}
    if result.validation is not None:
        left_out["validation"] = result.validation.manifest["left_out"]
    return {"split": str(out), "protocol": result.protocol, "scenarios": summary(result), "left_out": left_out}


def _print(result: Split, out: Path) -> None:
    report = _as_json(result, out)
    names = ("", "users", "items", "support", "query", "per user", "per item", "overlap")
    rows: list[tuple[str, ...]] = []
    part = None
    for row in report["scenarios"]:
        if row["part"] != part:
            part = row["part"]
            rows.append((part, *[""] * (len(names) - 1)))
        counts = [f"{row[column]:,}" for column in ("users", "items", "support_pairs", "query_pairs")]
        quartiles = [_quartiles(row[column]) for column in ("support_of_user", "support_of_item")]
        rows.append((f"  {row['scenario']}", *counts, *quartiles, "" if "overlap" not in row else f"{row['overlap']:.0%}"))
    screen.print_table(names, rows, right=names[1:])
    typer.echo("per user, per item: quartiles of their support pairs. overlap: answers that something else shows.")
    for name, rules in _rules(report["scenarios"]).items():
        typer.echo(f"{name}: " + "; ".join(f"{', '.join(scenarios)}: {rule}" for rule, scenarios in rules.items()))
    for name, reasons in report["left_out"].items():
        for scenario, reason in reasons.items():
            typer.echo(f"left out: {name} {scenario}: {reason}")
    for remark in result.manifest.get("remarks", []):
        typer.echo(f"note: {remark}")
    typer.echo(f"{result.protocol} split written to {out}")


def _rules(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """Return the scenarios of every rule, for each part of the split."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        found.setdefault(row["part"], {}).setdefault(_rule(row), []).append(row["scenario"])
    return found


def _quartiles(values: list[float] | None) -> str:
    return "-" if values is None else " ".join(f"{value:.0f}" for value in values)


def _rule(row: dict[str, Any]) -> str:
    if "pairs" in row:
        return f"{row['pairs']:,} training pairs of {row['pair_users']:,} users"
    rule = row["rule"]
    if isinstance(rule, dict):
        asked = f"{rule['n_query']} asked" if rule["query_share"] is None else f"{rule['query_share']:.0%} asked"
        return f"{rule['min_items']}..{rule['max_items']} items, {asked}"
    if rule is not None:
        return str(rule)
    return "nothing revealed by default" if row["default_shots"] == 0 else "latest asked"
