"""`metakg generate`: planted data with readable names, whose right answers are known, at any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metakg.cli import screen
from metakg.cli.common import JsonOption, SeedOption, print_json

if TYPE_CHECKING:
    from metakg.generator.folder import OnProgress
    from metakg.types import Json

_SIZES = "Sizes (each comes out exactly)"
_STORY = "Story"


def generate(
    out: Annotated[Path, typer.Option("--out", help="The folder to write.", show_default=False)],
    preset: Annotated[
        str | None,
        typer.Option(help="demo, last-fm, amazon-book, yelp2018, or scale (with --interactions).", show_default="demo"),
    ] = None,
    users: Annotated[int | None, typer.Option(help="Users.", show_default=False, rich_help_panel=_SIZES)] = None,
    items: Annotated[int | None, typer.Option(help="Items.", show_default=False, rich_help_panel=_SIZES)] = None,
    interactions: Annotated[
        int | None, typer.Option(help="Distinct pairs of user and item.", show_default=False, rich_help_panel=_SIZES)
    ] = None,
    triples: Annotated[
        int | None, typer.Option(help="Distinct facts about items and entities.", show_default=False, rich_help_panel=_SIZES)
    ] = None,
    entities: Annotated[
        int | None, typer.Option(help="Entities that are not items.", show_default=False, rich_help_panel=_SIZES)
    ] = None,
    relations: Annotated[int | None, typer.Option(help="Relations.", show_default=False, rich_help_panel=_SIZES)] = None,
    domain: Annotated[
        str | None, typer.Option(help="books, music or places.", show_default=False, rich_help_panel=_STORY)
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="Share of clicks without a reason, 0..1.", show_default="0.15", rich_help_panel=_STORY),
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days with clicks.", show_default="1461", rich_help_panel=_STORY)] = None,
    user_facts: Annotated[
        bool | None,
        typer.Option("--user-facts/--no-user-facts", help="Age and home town of users.", rich_help_panel=_STORY),
    ] = None,
    seed: SeedOption = 1,
    csv: Annotated[
        bool, typer.Option("--csv", help="Write plain CSV and TSV files, as a user would have, instead of a data set folder.")
    ] = False,
    truth: Annotated[bool, typer.Option("--truth", help="Also write the tastes and the reason of every click.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in the folder.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write planted data: a bookshop, a record collection or a city guide whose users have reasons for what they click."""
    from metakg import generator
    from metakg.errors import ConfigError

    if csv and (truth or overwrite):
        raise ConfigError(
            "--csv",
            "--truth" if truth else "--overwrite",
            expected="neither with --csv",
            fix="Plain files hold no truth, and a folder of them is never replaced: name a new folder.",
        )
    asked = {
        "users": users,
        "items": items,
        "interactions": interactions,
        "triples": triples,
        "entities": entities,
        "relations": relations,
        "domain": domain,
        "noise": noise,
        "days": days,
        "user_facts": user_facts,
    }
    config = generator.choose(preset, **{name: value for name, value in asked.items() if value is not None})
    with _bar(quiet=as_json) as progress:
        if csv:
            made = generator.generate_plain(out, config, seed, progress=progress)
        else:
            made = generator.generate(out, config, seed, overwrite=overwrite, truth=truth, progress=progress)
    if as_json:
        print_json({"out": str(out), **made})
        return
    _tell(out, made, plain=csv)


def _tell(out: Path, made: Json, *, plain: bool) -> None:
    for name in ("users", "items", "interactions", "triples", "user_triples", "entities", "relations"):
        typer.echo(f"{name.replace('_', ' '):<13}{made[name]:>14,}")
    typer.echo(f"{'noise':<13}{made['noise']:>14.1%}")
    follow_up = f"metakg prepare {out} --out DIR" if plain else f"metakg split {out} --out DIR"
    typer.echo(f"\nwritten to {out}\nnext: {follow_up}")


@contextmanager
def _bar(*, quiet: bool) -> Iterator[OnProgress | None]:
    """Yield a callback that draws a bar on a terminal, and None where there is none to draw on."""
    console = screen.console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("interactions", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
