"""`metakg recommend`: the best items for one user, known or new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metakg.cli.common import JsonOption, print_json

BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder (metakg train).")]
LikedOption = Annotated[
    list[str] | None, typer.Option(help="An item that the user has just clicked; repeat for more. Unknown ids are fine.")
]


def recommend(
    bundle: BundleArgument,
    user: Annotated[str, typer.Argument(help="User id; an unknown one is a new user.")],
    liked: LikedOption = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    why: Annotated[bool, typer.Option(help="Add the heaviest reason of each item.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Recommend items to a user, who may be new, and say why."""
    from metakg.engine import load

    engine = load(bundle)
    if liked:
        engine = engine.adapt(user, liked)
    why = why and engine.explains
    found = engine.recommend(user, k)
    reasons = [engine.explain(user, entry.item, limit=1).paths if why else () for entry in found]
    if as_json:
        for entry, paths in zip(found, reasons, strict=True):
            print_json(
                {
                    "item": entry.item,
                    "label": entry.label,
                    "score": entry.score,
                    "way": entry.way,
                    "why": [{"path": str(path), "share": path.share} for path in paths],
                }
            )
        return
    from rich.console import Console
    from rich.table import Table

    way = found[0].way if found else "popular"
    table = Table(
        "", "item", *(["why"] if why else []), box=None, pad_edge=False, title=f"for {user} ({way})", title_justify="left"
    )
    for place, (entry, paths) in enumerate(zip(found, reasons, strict=True), 1):
        because = [f"{paths[0]} ({paths[0].share:.0%})" if paths else "popular"] if why else []
        table.add_row(str(place), entry.label, *because)
    Console().print(table)
