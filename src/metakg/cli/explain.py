"""`metakg explain`: the paths that carry one recommendation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from metakg.cli.common import JsonOption, print_json
from metakg.cli.recommend import BundleArgument, LikedOption


def explain(
    bundle: BundleArgument,
    user: Annotated[str, typer.Argument(help="User id; an unknown one is a new user.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
    liked: LikedOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many paths.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show the paths from a user's own items to a recommended one, with their share of its score."""
    from metakg.engine import load

    engine = load(bundle)
    if liked:
        engine = engine.adapt(user, liked)
    found = engine.explain(user, item, limit)
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(str(found))
