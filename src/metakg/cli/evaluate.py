"""`metakg evaluate`: judge one bundle in the scenarios of a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metakg.cli.common import JsonOption, SplitArgument, check_rules, chosen, open_split, print_json, shots_from
from metakg.cli.recommend import BundleArgument

ScenariosOption = Annotated[str, typer.Option(help="Names with commas between, or 'all'.")]
ShotsOption = Annotated[
    str | None,
    typer.Option(help="Numbers of revealed support pairs with commas between, as 0,1,2,5,all; default: the scenario's own."),
]
MaskOption = Annotated[
    str | None,
    typer.Option(help="What is left out of a user's list: 'support+train' (default), or 'support', as the authors' code does."),
]
CandidatesOption = Annotated[str, typer.Option(help="Rank 'all' items, or only those that can be right in the 'scenario'.")]


def evaluate(
    bundle: BundleArgument,
    folder: SplitArgument,
    k: Annotated[list[int] | None, typer.Option("-k", "--k", min=1, help="Cut-off; repeat for more. Default 20.")] = None,
    scenarios: ScenariosOption = "all",
    shots: ShotsOption = None,
    mask: MaskOption = None,
    candidates: CandidatesOption = "all",
    out: Annotated[Path | None, typer.Option(help="Keep the results, per user, in this folder.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace earlier results.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle in the scenarios of a split: all items ranked, every user kept."""
    from metakg import files
    from metakg.engine import load
    from metakg.evaluation import evaluate as judge

    check_rules(mask, candidates)
    if out is not None:
        files.check_folder(out, overwrite=overwrite, kind="evaluation")
    found = judge(
        load(bundle),
        open_split(folder),
        k=k or [20],
        scenarios=chosen(scenarios),
        shots=shots_from(shots),
        mask=mask,  # type: ignore[arg-type]  # checked by evaluate
        candidates=candidates,  # type: ignore[arg-type]
    )
    if out is not None:
        found.save(out, overwrite=overwrite)
    if as_json:
        for row in found.rows:
            print_json(row)
        return
    typer.echo(str(found))
    for note in found.notes:
        typer.echo(f"note: {note}")
