"""`metakg metapaths`: which meta-paths a data set has, and which the models take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import ValidationError

from metakg.cli import screen
from metakg.cli.common import JsonOption, SplitArgument, open_split, print_json, settings_from
from metakg.errors import ConfigError, complaint

if TYPE_CHECKING:
    from metakg.data import Vocabulary
    from metakg.models.metapaths import Candidate, MetaPathConfig
    from metakg.models.pathfinder import Example


def metapaths(
    folder: SplitArgument,
    model: Annotated[
        Literal["mcrec", "metahin", "melu"],
        typer.Option(
            help="For which model: metahin and melu leave the tasks' query pairs out, and take no path over two entities."
        ),
    ] = "mcrec",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the search, such as one_hop=3; repeat for more."),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Instances shown of each path that is taken.")] = 3,
    dropped: Annotated[bool, typer.Option("--dropped/--no-dropped", help="Show the paths that are not taken too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Print the meta-paths that a model finds in the training part: coverage, lift, fate, and instances with their labels.

    Coverage is the share of the items from which a path leads to another item. Lift is how many more users clicked both of two
    items that it joins than would if clicks were independent.
    """
    from metakg.models.learnt import Learnt
    from metakg.models.nn.ckg import training_edges
    from metakg.models.pathfinder import PathFinder
    from metakg.models.registry import MODELS

    view, kind = open_split(Path(folder)).train, MODELS[model]
    assert issubclass(kind, Learnt)
    pairs = training_edges(view) if kind.feed == "tasks" else view.interactions.pairs_only()
    finder = PathFinder(view, pairs, _config(model, settings))
    found = finder.find()
    shown = {path: finder.examples(path, examples) for path in found.chosen}
    kept = [c for c in found.candidates if dropped or c.path in shown]
    if as_json:
        print_json([_entry(c, shown.get(c.path, []), view.vocabulary) for c in kept])
        return
    _table(kept, view.vocabulary)
    for path, instances in shown.items():
        if instances:
            typer.echo(f"\n{path.text(view.vocabulary)}")
        for instance in instances:
            clicked = f"   ({instance.users} users clicked both)" if path.links else ""
            typer.echo(f"    {instance.text(path, view.vocabulary)}{clicked}")


def _config(model: str, settings: list[str] | None) -> MetaPathConfig:
    from metakg.models.metapaths import MetaPathConfig
    from metakg.models.registry import config_for

    default: MetaPathConfig = config_for(model, {}).paths  # type: ignore[attr-defined]
    try:
        return MetaPathConfig.model_validate(default.model_dump() | settings_from(settings))
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = ", ".join(MetaPathConfig.model_fields)
        found, expected = complaint(first)
        raise ConfigError(f"setting {place} of metapaths", found, expected=expected, fix=f"Settings are {known}.") from err


def _table(candidates: list[Candidate], v: Vocabulary) -> None:
    lifts = ["-" if c.lift is None else f"{c.lift:,.1f}" for c in candidates]
    rows = [(f"{c.coverage:.1%}", lift, c.path.text(v), c.fate) for c, lift in zip(candidates, lifts, strict=True)]
    screen.print_table(("coverage", "lift", "path", "taken?"), rows, right=("coverage", "lift"))


def _entry(c: Candidate, examples: list[Example], v: Vocabulary) -> dict[str, object]:
    entry: dict[str, object] = {
        "path": c.path.text(v),
        "links": [{"relation": v.relations.id(link.relation), "inverse": link.inverse} for link in c.path.links],
        "coverage": c.coverage,
        "lift": c.lift,
        "pairs": c.pairs,
        "fate": c.fate,
    }
    return entry | {"examples": [example.text(c.path, v) for example in examples]}
