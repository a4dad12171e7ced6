"""`metakg data`: public data sets by name.

metakg data list                       what there is
metakg data show last-fm               one of them: files, checksums, licence, what to cite
metakg data fetch last-fm --out DIR    bring it here, verified; run again to go on where it stopped

Progress goes to the terminal, results to stdout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metakg.cli import screen

if TYPE_CHECKING:
    from metakg.catalogue import Entry, FetchReport
    from metakg.catalogue.fetch import OnProgress

data = typer.Typer(name="data", help="Public data sets by name: list, show, fetch.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for machines.")]
NameArgument = Annotated[str, typer.Argument(help="Name of the data set, as in `metakg data list`.", show_default=False)]


@data.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the data sets that metakg knows by name."""
    from metakg.catalogue import catalogue

    entries = catalogue().values()
    if as_json:
        for entry in entries:
            typer.echo(entry.model_dump_json())
        return
    rows = [(e.name, _bytes(e.known_size), "by hand" if e.manual else "fetch", e.purpose) for e in entries]
    screen.print_table(("name", "size", "how", "what for"), rows)
    typer.echo("\nmetakg data show NAME: files, licence, what to cite.   metakg data fetch NAME --out DIR")


@data.command("show")
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one data set: its files with sizes and checksums, its licence, what to cite, how to read it."""
    from metakg.catalogue import find

    entry = find(name)
    if as_json:
        typer.echo(entry.model_dump_json())
        return
    for label, text in (
        ("", entry.title),
        ("for", entry.purpose),
        ("page", entry.page),
        ("licence", entry.licence),
        ("cite", entry.citation),
        ("read with", entry.next_step("FOLDER")),
        ("note", entry.note),
    ):
        if text:
            typer.echo(f"{label + ':':<11}{text}" if label else text)
    for source in entry.sources:
        typer.echo("")
        typer.echo(f"from {source.url}" if source.url else "by hand:")
        for number, step in enumerate(source.steps, 1):
            typer.echo(f"  {number}. {step}")
        for file in source.files:
            checksum = file.checksum + (f" (recorded by {file.recorded_by})" if file.recorded_by else "")
            notes = ["optional"] * file.optional + [file.note] * (file.note is not None)
            note = f"  [{'; '.join(str(text) for text in notes)}]" if notes else ""
            typer.echo(f"  {file.name}  {_bytes(file.expected_size)}  {checksum}{note}")


@data.command("fetch")
def fetch(
    name: NameArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; made if it does not exist.", show_default=False)],
    only: Annotated[list[str] | None, typer.Option("--only", help="Fetch just this file; may be repeated.")] = None,
    optional: Annotated[bool, typer.Option("--optional", help="Fetch the optional files too.")] = False,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Base URL to use instead of the publisher's: files at URL/NAME/FILE.", metavar="URL"),
    ] = None,
    accept_new: Annotated[
        bool, typer.Option("--accept-new", help="Where nobody published a checksum: trust what the publisher has now.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a data set to a folder, verified. A run that was cut off goes on where it stopped."""
    from metakg import catalogue
    from metakg.errors import DataError

    entry = catalogue.find(name)
    with _bars(quiet=as_json) as progress:
        report = catalogue.fetch(
            entry, out, only=only or (), optional=optional, mirror=mirror, accept_new=accept_new, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(report.to_json(), sort_keys=True))
    else:
        _tell(report)
    if report.missing:
        raise DataError(
            str(out),
            f"no {', '.join(report.missing)}",
            expected="the files that have to be got by hand",
            fix=f"Follow the steps (metakg data show {name}), then run the same command to check the files.",
        )


def _tell(report: FetchReport) -> None:
    """Print what became of each file, the terms, and what is left for a person to do."""
    entry = report.entry
    for file in report.files:
        detail = "get it by hand, see below" if file.status == "missing" else f"{_bytes(file.size)}, {file.vouched_by}"
        typer.echo(f"{file.status:<9} {file.name}  ({detail})")
    if report.unverified:
        typer.echo(
            f"\nNot verified, since nobody published a checksum: {', '.join(report.unverified)}. What was seen is written"
            " down in the folder, and a later fetch compares with it."
        )
    waiting = {file.name for file in report.files if file.status == "missing"}
    for source in entry.sources:
        names = [file.name for file in source.files if file.name in waiting]
        if names:
            _steps(entry, source.steps, names, report)
    typer.echo(f"\nlicence: {entry.licence}\ncite:    {entry.citation}")
    if not report.missing:
        typer.echo(f"\nnext:    {entry.next_step(str(report.folder))}")


def _steps(entry: Entry, steps: tuple[str, ...], names: list[str], report: FetchReport) -> None:
    optional = {file.name for file in entry.files if file.optional}
    typer.echo(f"\nBy hand, into {report.folder}:")
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. {step}")
    for name in names:
        typer.echo(f"  -> {report.folder / name}{'  (optional)' if name in optional else ''}")


@contextmanager
def _bars(*, quiet: bool) -> Iterator[OnProgress | None]:
    """Yield a progress callback that draws bars on a terminal, and None where there is none to draw on."""
    console = screen.console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        screen.text_column("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as bars:

        def told(name: str, have: int, whole: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=whole)
            bars.update(tasks[name], completed=have, total=whole)

        yield told


def _bytes(size: int | None) -> str:
    """Return a size for people: "6.5 MB"."""
    if size is None:
        return "unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
