"""`metakg recommend`: the best items for one user, known or new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metakg.cli import screen
from metakg.cli.common import JsonOption, print_json, warn_of_unknown

BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder (metakg train).")]
UserArgument = Annotated[str, typer.Argument(help="User id; an unknown one is a new user.")]
LikedOption = Annotated[
    list[str] | None, typer.Option(help="An item that the user has just clicked; repeat for more. Unknown ids are ignored.")
]
DislikedOption = Annotated[
    list[str] | None, typer.Option(help="An item that he refuses: never shown, and what is close to it falls; repeat for more.")
]


def recommend(
    bundle: BundleArgument,
    user: UserArgument,
    liked: LikedOption = None,
    disliked: DislikedOption = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    allow: Annotated[list[str] | None, typer.Option(help="Show only this item; repeat for more.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="Never show this item; repeat for more.")] = None,
    diversity: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Weigh each item against its likeness to those before it.")
    ] = 0.0,
    filter_seen: Annotated[bool, typer.Option(help="Leave out what the user has already clicked.")] = True,
    why: Annotated[bool, typer.Option(help="Add the heaviest reason of each item.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Recommend items to a user, who may be new, and say why."""
    from metakg.engine import load

    engine = load(bundle)
    clicks = {"liked": liked or (), "disliked": disliked or ()}
    warn_of_unknown(engine.unknown([*clicks["liked"], *clicks["disliked"], *(allow or ()), *(deny or ())]))
    found = engine.recommend(user, k, **clicks, filter_seen=filter_seen, allow=allow, deny=deny or (), diversity=diversity)
    why = why and engine.explains
    reasons = [engine.explain(user, entry.item, limit=1, **clicks).paths if why else () for entry in found]
    if as_json:
        for entry, paths in zip(found, reasons, strict=True):
            told = {"item": entry.item, "label": entry.label, "score": entry.score, "way": entry.way}
            print_json({**told, "why": [path.as_json() for path in paths]})
        return
    if not found:
        typer.echo(f"nothing is left to show to {user}")
        return
    rows, named = [], any(entry.label != entry.item for entry in found)  # other commands take ids, so they stand here
    for place, (entry, paths) in enumerate(zip(found, reasons, strict=True), 1):
        because = [f"{paths[0]} ({paths[0].share:.0%})" if paths else entry.way] if why else []
        rows.append((str(place), *([entry.item] if named else []), entry.label, *because))
    headers = ("", *(["id"] if named else []), "item", *(["why"] if why else []))
    screen.print_table(headers, rows, title=f"for {user} ({found[0].way})")
