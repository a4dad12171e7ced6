"""`metakg demo`: the main job from nothing to a recommendation with its reason, on generated data whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from metakg.cli.common import SeedOption

_SETTINGS: dict[str, dict[str, Any]] = {"metakg": {"training": {"worlds": 2, "tasks_each": 300}}}
"""A shorter practice than the default, so that the demo, which trains three times, takes less than a minute."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes; an earlier demo is replaced.")] = Path(
        "demo"
    ),
    seed: SeedOption = 1,
    clicks: Annotated[int, typer.Option(min=1, max=10, help="How many first clicks of a new reader are revealed.")] = 3,
) -> None:
    """Make a small bookshop, measure cold start honestly, and recommend to a brand-new reader, with reasons."""
    from metakg.comparison import compare
    from metakg.data import Dataset
    from metakg.engine import fit
    from metakg.generator import planted
    from metakg.models.registry import FLOORS
    from metakg.splits import save, split

    say = typer.echo
    made = planted("demo", seed=seed)
    v = made.dataset.vocabulary
    made.dataset.save(out / "data", overwrite=True)
    data = Dataset.load(out / "data")
    cut = split(data, protocol="strict", seed=seed)
    save(cut, out / "split", dataset_folder=out / "data", overwrite=True)
    say(
        f"A generated bookshop: {v.n_users:,} readers, {v.n_items:,} books, {len(data.interactions):,} clicks, "
        f"{len(data.graph.entity) + len(data.graph.user):,} facts.\n"
        "The latest readers and books are unknown to every model until they arrive (strict protocol).\n"
    )

    models = (*FLOORS, "metakg")
    board = compare(cut, models, seeds=[seed], settings=_SETTINGS)
    say(board.table("recall"))
    say(board.table("ndcg"))
    say(f"{board.legend()}\n")

    assert cut.validation is not None  # split() cuts one unless told otherwise
    best = compare(cut.validation, models, seeds=[seed], settings=_SETTINGS).best("ndcg")
    figures = [row for judged in board.evaluations if judged.model == best for row in judged.rows]
    engine = fit(best, cut.train, seed=seed, **_SETTINGS.get(best, {})).with_figures(figures)
    engine.save(out / "bundle", overwrite=True)

    newcomer = cut.scenarios["user_cold"]
    reader = int(newcomer.users[0])
    first = newcomer.support.items[newcomer.support.users == reader][:clicks]
    liked = [v.items.id(row) for row in first.tolist()]
    name = v.users.label(reader)
    say(f"{name} is new. The first {len(liked)} clicks:")
    for row in first.tolist():
        say(f"  {v.items.label(row)}")
    adapted = engine.adapt(v.users.id(reader), liked)
    say(f"\n{best}, the best on the validation scenarios, recommends, and says why:")
    answers = set(newcomer.query.items[newcomer.query.users == reader].tolist())
    for place, entry in enumerate(adapted.recommend(v.users.id(reader), k=5), 1):
        later = " (clicked later, which no model has seen)" if v.items.row(entry.item) in answers else ""
        say(f"  {place}. {entry.label}{later}")
        for path in adapted.explain(v.users.id(reader), entry.item, limit=1).paths:
            say(f"     {path} ({path.share:.0%} of the score)")
    say(f"\nWhat the generator knows and no model is told: {name} likes")
    for taste in made.tastes(v.users.id(reader))[:4]:
        say(f"  {taste.label} ({taste.weight:.0%})")
    liked_options = " ".join(f"--liked {item}" for item in liked)
    say(
        f"\nGo on with\n  metakg recommend {out / 'bundle'} somebody {liked_options}\n"
        f"  metakg compare {out / 'split'} --shots 0,1,2,5,10 --scenarios user_cold\n"
        f"or see it in a browser: {'make serve, or ' if out == Path('demo') else ''}metakg serve {out / 'bundle'}, then open\n"
        f"  http://127.0.0.1:8000/#/recommend?{'&'.join(f'like={quote(item)}' for item in liked)}"
    )
