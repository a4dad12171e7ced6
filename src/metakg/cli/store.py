"""`metakg store`: what a service was told.

metakg store migrate STORE                bring it up to date, or make a new one
metakg store backup STORE FILE            all of it as JSON lines, while the service goes on
metakg store restore FILE STORE           into an empty store, of either database
metakg store rebuild BUNDLE STORE         what a service would know; with --out, as a bundle of its own
metakg store collect DATA STORE --out NEW what was trained on and what came since, as data for the next training
metakg store forgotten STORE              whom the next training must leave out

STORE is a path (SQLite) or a postgresql:// address; METAKG_STORE keeps a password off the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metakg.cli.common import JsonOption, ids_in, print_json

if TYPE_CHECKING:
    from metakg.store import Store

store = typer.Typer(name="store", help="Keep, move and mend what a service was told.", no_args_is_help=True)

StoreArgument = Annotated[
    str, typer.Argument(envvar="METAKG_STORE", help="A path (SQLite) or a postgresql:// address.", show_default=False)
]


@store.command("migrate")
def migrate(address: StoreArgument, as_json: JsonOption = False) -> None:
    """Bring a store up to date, or make a new one. Forward only: back it up first."""
    with _opened(address, migrate=True) as opened:
        before, after = opened.versions
        if as_json:
            print_json({"before": before, "after": after})
        else:
            typer.echo(f"{opened.name}: version {after}" + (f" (was {before})" if before != after else ", as before"))


@store.command("backup")
def backup(
    address: StoreArgument,
    file: Annotated[Path | None, typer.Argument(help="A new file.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Write everything a store holds to one file, as of one moment, while the service goes on.

    Where METAKG_STORE names the store, the file alone is said.
    """
    import os

    from metakg.store import backup as run

    if file is None:
        named = os.environ.get("METAKG_STORE")
        if not named or address == named:
            raise typer.BadParameter("no file to write to", param_hint="'FILE'")
        address, file = named, Path(address)
    with _opened(address) as opened:
        made = run(opened, file)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{file}: {made['events']:,} events up to number {made['last']:,}, {made['bytes']:,} bytes")


@store.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `metakg store backup` wrote.", show_default=False)],
    address: StoreArgument,
    overwrite: Annotated[bool, typer.Option(help="Drop what the store holds instead of refusing.")] = False,
    forget: Annotated[
        Path | None, typer.Option(help="File of user ids, one a line, who asked to be forgotten after the backup.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fill an empty store from a backup, whole or not at all. Stop the service first."""
    from metakg.store import restore as run
    from metakg.store.backup import verified

    verified(file)  # before a store is made for it
    users = [] if forget is None else ids_in(forget, some=False)
    with _opened(address, migrate=True) as opened:
        made = run(opened, file, overwrite=overwrite, forget=users)
        if as_json:
            print_json(made)
        else:
            typer.echo(f"{opened.name}: {made['events']:,} events up to number {made['last']:,}; forgot {made['forgotten']:,}")


@store.command("rebuild")
def rebuild(
    bundle: Annotated[Path, typer.Argument(help="The bundle that the service was started with.", show_default=False)],
    address: StoreArgument,
    out: Annotated[Path | None, typer.Option(help="Write it all as a new bundle folder.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier bundle.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Apply every event of a store to a bundle, as a service does when it starts, and show what it comes to."""
    from metakg import files
    from metakg.serve.live import Live

    if out is not None:
        files.check_folder(out, overwrite=overwrite, kind="bundle")
    with _opened(address) as opened:
        live = Live(opened)
        live.swap(bundle)
        state = live.settle()  # what arrived while it was loaded is in as well, and whoever was forgotten is out
    if out is not None:
        state.engine.save(out, overwrite=overwrite)
    made = {
        "version": state.version,
        **state.engine.counts,
        "adapted_users": len(state.engine.adapted),
        "left_out": live.refused,
    }
    if as_json:
        print_json(made)
        return
    typer.echo("  ".join(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in made.items()))
    if out is not None:
        typer.echo(f"bundle: {out}")


@store.command("collect")
def collect(
    data: Annotated[
        Path, typer.Argument(help="The data set folder that the service's bundle was trained on.", show_default=False)
    ],
    address: StoreArgument,
    out: Annotated[Path, typer.Option(help="Folder for the data of the next training.", show_default=False)],
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier data set.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a data set as it is after everything that a store holds: clicks, users, items, facts, and without who is gone."""
    from metakg import files
    from metakg.data import Dataset
    from metakg.serve.collect import collected

    files.check_folder(out, overwrite=overwrite, kind="dataset")
    before = Dataset.load(data)
    with _opened(address) as opened:
        made = collected(before, chain.from_iterable(opened.portions()))
    made.save(out, overwrite=overwrite)
    told = made.manifest["collected"]
    if as_json:
        print_json(told)
        return
    typer.echo(f"{out}: {made.vocabulary.sizes()}, {len(made.interactions):,} interactions")
    for name in ("interactions", "users", "items", "entities"):
        typer.echo(f"{name}: {told[name]['before']:,} + {told[name]['added']:,} - {told[name]['taken_out']:,}")
    typer.echo(f"facts: {told['facts']['before']:,}, now {told['facts']['after']:,}")
    for what, count in told["left_out"].items():
        if count:
            typer.echo(f"left out, {what.replace('_', ' ')}: {count:,}")


@store.command("forgotten")
def forgotten(address: StoreArgument) -> None:
    """List the users who were forgotten, one a line: leave them out of the next training, and of a restored backup."""
    with _opened(address) as opened:
        for user in opened.forgotten():
            typer.echo(user)


@contextmanager
def _opened(address: str, *, migrate: bool = False) -> Iterator[Store]:
    from metakg.errors import StoreError
    from metakg.store import Store

    if not migrate and "://" not in address and not Path(address).exists():
        raise StoreError(f"store {address}", "no such file", expected="a store", fix="Check the path.")
    opened = Store(address, migrate=migrate)
    try:
        yield opened
    finally:
        opened.close()
