"""`metakg explain`: the paths that carry one recommendation."""

from __future__ import annotations

from typing import Annotated

import typer

from metakg.cli.common import JsonOption, print_json, warn_of_unknown
from metakg.cli.recommend import BundleArgument, DislikedOption, LikedOption, UserArgument


def explain(
    bundle: BundleArgument,
    user: UserArgument,
    item: Annotated[str, typer.Argument(help="Item id.")],
    liked: LikedOption = None,
    disliked: DislikedOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many paths.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show the paths from a user's own items to a recommended one, with their share of its score."""
    from metakg.engine import load

    engine = load(bundle)
    warn_of_unknown(engine.unknown([*(liked or ()), *(disliked or ())]))
    found = engine.explain(user, item, limit, liked=liked or (), disliked=disliked or ())
    if as_json:
        print_json(found.as_json())
    else:
        typer.echo(str(found))
