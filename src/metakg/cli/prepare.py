"""`metakg prepare`: files of any known format become one data set folder, and every row is accounted for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metakg.cli import screen
from metakg.errors import ConfigError

if TYPE_CHECKING:
    from metakg.readers.report import PrepareReport

_FILES = "Files by role (repeatable)"
_COLUMNS = "Columns and text"
_FACTS = "Facts and labels"
_FILTERS = "Filters"
_RAW = "The paper's raw data"
_WORK = "How to work"


def _option(*names: str, panel: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002 - typer's own name
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False)


Given = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", help="A folder or files whose format is found by looking at them.", show_default=False),
]
Format = Annotated[
    str, typer.Option("--format", help="auto, kgat, atomic, table, rdf, amazon, lfm1b or yelp.", show_default="auto")
]
Interactions = Annotated[
    list[Path] | None,
    _option(
        "--interactions",
        panel=_FILES,
        help="Table: user, item[, value][, time]; here and below a folder is one table in parts.",
    ),
]
Triples = Annotated[list[Path] | None, _option("--triples", panel=_FILES, help="Table: head, relation, tail; or .nt, .ttl.")]
Links = Annotated[list[Path] | None, _option("--links", panel=_FILES, help="Table: item, entity (which entity an item is).")]
Labels = Annotated[list[Path] | None, _option("--labels", panel=_FILES, help="Table: id, label.")]
ItemAttributes = Annotated[
    list[Path] | None, _option("--item-attributes", panel=_FILES, help="Table, one row an item; its columns become facts.")
]
UserAttributes = Annotated[
    list[Path] | None, _option("--user-attributes", panel=_FILES, help="Table, one row a user; its columns become facts.")
]

UserColumn = Annotated[str | None, _option("--user-column", panel=_COLUMNS, help="Name of the user column.")]
ItemColumn = Annotated[str | None, _option("--item-column", panel=_COLUMNS, help="Name of the item column.")]
ValueColumn = Annotated[
    str | None, _option("--value-column", panel=_COLUMNS, help='Name of the rating column; "none" ignores it.')
]
TimeColumn = Annotated[str | None, _option("--time-column", panel=_COLUMNS, help='Name of the time column; "none" ignores it.')]
TimeUnit = Annotated[str | None, _option("--time-unit", panel=_COLUMNS, help="auto, s, ms, us or ns; auto goes by size.")]
TimeFormat = Annotated[
    str | None, _option("--time-format", panel=_COLUMNS, help="How times are written: %d.%m.%Y %H:%M reads 16.11.2024 12:34.")
]
Decimal = Annotated[str | None, _option("--decimal", panel=_COLUMNS, help='What stands before decimals: . (default) or ",".')]
ValueRule = Annotated[
    str | None, _option("--value-rule", panel=_COLUMNS, help="Value of a repeated pair: last (default), first or max.")
]
Delimiter = Annotated[str | None, _option("--delimiter", panel=_COLUMNS, help="What parts the columns: , or tab or :: ...")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="The first line holds names, or data.", rich_help_panel=_COLUMNS)
]
Quote = Annotated[str | None, _option("--quote", panel=_COLUMNS, help='Quote character; "none" where quotes are plain text.')]
Encoding = Annotated[str | None, _option("--encoding", panel=_COLUMNS, help="utf-8, utf-16 or latin-1.")]
TripleOrder = Annotated[
    str | None, _option("--triple-order", panel=_COLUMNS, help="Columns of triples without a header: hrt, htr, rht, ...")
]

LabelColumn = Annotated[str | None, _option("--label-column", panel=_FACTS, help="Column with the readable name.")]
LabelsOf = Annotated[
    str | None, _option("--labels-of", panel=_FACTS, help="What a label file names: user, item, entity (default), relation.")
]
Attributes = Annotated[
    str | None, _option("--attributes", panel=_FACTS, metavar="A,B|all", help="Attribute columns that become facts.")
]
Separator = Annotated[str | None, _option("--separator", panel=_FACTS, help='What parts several values in one cell, as "|".')]
Bins = Annotated[
    list[str] | None,
    _option("--bins", panel=_FACTS, metavar="COLUMN=N", help="Cut a numeric attribute into N bins; repeatable."),
]
Languages = Annotated[
    list[str] | None, _option("--language", panel=_FACTS, help="Language of RDF labels; repeatable, preferred first.")
]
Literals = Annotated[str | None, _option("--literals", panel=_FACTS, help="RDF literals: skip (default) or entities.")]

MinValue = Annotated[float | None, _option("--min-value", panel=_FILTERS, help="Keep ratings from this one on.")]
FromTime = Annotated[
    str | None, _option("--from-time", panel=_FILTERS, help="Keep interactions from here (ISO 8601 or seconds).")
]
ToTime = Annotated[str | None, _option("--to-time", panel=_FILTERS, help="Keep interactions before this time.")]
KCore = Annotated[
    int | None, _option("--k-core", panel=_FILTERS, help="Every user at least K items, every item at least K users.")
]
MinItems = Annotated[int | None, _option("--min-items-per-user", panel=_FILTERS, help="Keep users with this many items.")]
MaxItems = Annotated[int | None, _option("--max-items-per-user", panel=_FILTERS, help="Keep users with no more items.")]
MinUsers = Annotated[int | None, _option("--min-users-per-item", panel=_FILTERS, help="Keep items with this many users.")]

Kgat = Annotated[Path | None, _option("--kgat", panel=_RAW, help="KGAT release folder whose graph is joined.")]
Follow = Annotated[
    str | None, _option("--follow", panel=_RAW, help="What the release decides: items (default), users or pairs.")
]
Network = Annotated[str | None, _option("--network", panel=_RAW, help="Yelp's own graph: plain (default) or kgat.")]
UserFacts = Annotated[bool, _option("--user-facts", panel=_RAW, help="Add country, age, gender, year of joining.")]
Paper = Annotated[bool, _option("--paper", panel=_RAW, help="Use the paper's rules (10-core and the release's users).")]

OnBad = Annotated[
    str | None, _option("--on-bad", panel=_WORK, help="A row that cannot be used: reject (count it; default) or fail.")
]
Memory = Annotated[str | None, _option("--memory", panel=_WORK, help="Memory before spilling to disk (default 2GB).")]
Threads = Annotated[int | None, _option("--threads", panel=_WORK, help="Threads (default: all cores).")]
SpillTo = Annotated[Path | None, _option("--spill-to", panel=_WORK, help="Folder for what does not fit into memory.")]


def prepare(
    paths: Given = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)] = ...,  # type: ignore[assignment]
    format: Format = "auto",  # noqa: A002 - the flag's name
    interactions: Interactions = None,
    triples: Triples = None,
    links: Links = None,
    labels: Labels = None,
    item_attributes: ItemAttributes = None,
    user_attributes: UserAttributes = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    value_column: ValueColumn = None,
    time_column: TimeColumn = None,
    time_unit: TimeUnit = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    value_rule: ValueRule = None,
    delimiter: Delimiter = None,
    header: Header = None,
    quote: Quote = None,
    encoding: Encoding = None,
    triple_order: TripleOrder = None,
    label_column: LabelColumn = None,
    labels_of: LabelsOf = None,
    attributes: Attributes = None,
    separator: Separator = None,
    bins: Bins = None,
    languages: Languages = None,
    literals: Literals = None,
    min_value: MinValue = None,
    from_time: FromTime = None,
    to_time: ToTime = None,
    k_core: KCore = None,
    min_items_per_user: MinItems = None,
    max_items_per_user: MaxItems = None,
    min_users_per_item: MinUsers = None,
    kgat: Kgat = None,
    follow: Follow = None,
    network: Network = None,
    user_facts: UserFacts = False,
    paper: Paper = False,
    on_bad: OnBad = None,
    memory: Memory = None,
    threads: Threads = None,
    spill_to: SpillTo = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the account as one JSON object, for machines.")] = False,
) -> None:
    """Turn interactions and a knowledge graph into one data set folder.

    Nothing is dropped in silence: the account says how many rows were read, kept, and left out for which reason.
    """
    given = dict(locals())
    from metakg.readers import prepare as run

    files, options = split_flags(given, without=("out", "as_json"))
    with progress() as step:
        report = run(out=out, step=step, **files, **options)
    if as_json:
        typer.echo(json.dumps({"out": str(out), **report.to_json()}, ensure_ascii=False))
    else:
        print_account(report)


def split_flags(given: dict[str, Any], *, without: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the files and the options among a command's arguments; what was not given is left out.

    Raises:
        ConfigError: `--bins` is not COLUMN=N.
    """
    given = {name: value for name, value in given.items() if name not in without}
    names = ("interactions", "triples", "links", "labels", "item_attributes", "user_attributes")
    files: dict[str, Any] = {"path": given.pop("paths") or None, "format": given.pop("format")}
    files |= {name: given.pop(name) or None for name in names}
    options = {name: value for name, value in given.items() if value is not None and value is not False and value != []}
    if given.get("header") is False:
        options["header"] = False
    if "attributes" in options and options["attributes"] != "all":
        options["attributes"] = tuple(name.strip() for name in options["attributes"].split(",") if name.strip())
    if "bins" in options:
        options["bins"] = _bins(options["bins"])
    if "languages" in options:
        options["languages"] = tuple(options["languages"])
    return files, options


def _bins(texts: list[str]) -> dict[str, int]:
    bins = {}
    for text in texts:
        column, equals, count = text.rpartition("=")
        if not equals or not column or not count.strip().isdigit():
            raise ConfigError("option --bins", repr(text), expected="COLUMN=N, for example age=5", fix="Correct it.")
        bins[column.strip()] = int(count)
    return bins


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show the current step and the time it takes on a terminal; elsewhere show nothing."""
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    console = screen.console(stderr=True)
    if not console.is_terminal or not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (SpinnerColumn(), screen.text_column("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("opening files", total=None)
        yield lambda words: bar.update(task, description=words)


def print_account(report: PrepareReport) -> None:
    """Print what became of every row, what the data set holds, and what to look at."""
    if report.tallies:
        names = ("rows", "read", "kept", "rejected", "merged", "left out", "filtered")
        rows = []
        for tally in report.tallies:
            parts = (tally.rejected, tally.merged, tally.skipped, tally.filtered)
            counts = [tally.read, tally.kept, *(sum(part.values()) for part in parts)]
            rows.append((tally.kind.replace("_", " "), *(f"{count:,}" if count else "-" for count in counts)))
        screen.print_table(names, rows, right=names[1:])
        typer.echo()
    for step in report.filters:
        rounds = f" in {step.rounds} rounds" if step.rounds > 1 else ""
        left = f"{step.interactions:,} interactions, {step.users:,} users, {step.items:,} items left"
        typer.echo(f"filter {step.name}: {left}{rounds}")
    _print_findings(report)
    held = report.counts
    names = ("users", "items", "entities", "relations", "interactions", "triples", "user_triples")
    sizes = ", ".join(f"{held[name]:,} {name.replace('_', ' ')}" for name in names if held.get(name))
    linked = f"; {held['linked_items']:,} items linked" if held.get("linked_items") else ""
    typer.echo(f"{sizes}{linked}")
    if report.times:
        typer.echo(f"from {report.times[0]} to {report.times[1]}")
    elif held.get("interactions"):
        typer.echo('no times: cut them by lot ("metakg split --set arrival=lot"), or learn from all ("metakg train --all")')
    if report.out is not None:
        typer.echo(f"data set written to {report.out}")


def _print_findings(report: PrepareReport) -> None:
    """Print problems and notes, each with its first places."""
    for finding in report.findings:
        mark = typer.style("problem", fg="red", bold=True) if finding.level == "problem" else typer.style("note", dim=True)
        kind = "" if finding.kind == "data" else f"{finding.kind.replace('_', ' ')}: "
        typer.echo(f"{mark} {kind}{finding.what}: {finding.count:,}")
        ids = [place for place in finding.places if isinstance(place, str)]
        for line in [*(place for place in finding.places if place not in ids), *([", ".join(ids)] if ids else [])]:
            typer.echo(f"    {line}")
    if report.findings:
        typer.echo()
