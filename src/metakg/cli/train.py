"""`metakg train`: fit one model on the training part of a split and write a bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from metakg.cli.common import (
    JsonOption,
    SeedOption,
    SetOption,
    SettingsOption,
    SplitArgument,
    merged,
    model_settings,
    open_split,
    print_json,
    settings_from,
)


def train(
    folder: SplitArgument,
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    model: Annotated[str, typer.Option(help="Name of the model; `metakg doctor` lists them.")] = "metakg",
    seed: SeedOption = 1,
    settings_file: SettingsOption = None,
    settings: SetOption = None,
    log: Annotated[Path | None, typer.Option(help="Folder for the training's log and checkpoints.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --log.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier bundle.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a model on the training part of a split and write it as a bundle."""
    from rich.console import Console

    from metakg.engine import fit

    begin = time.perf_counter()
    cut = open_split(folder, seed)
    chosen = model_settings(settings_file, None).get(model, {})
    with Console(stderr=True).status("training") as status:
        fitted = fit(
            model,
            cut.train,
            seed=seed,
            folder=log,
            resume=resume,
            report=status.update,
            **merged(chosen, settings_from(settings)),
        )
    seconds = time.perf_counter() - begin
    fitted.save(out, overwrite=overwrite)
    view = cut.train
    if as_json:
        print_json({"model": model, "bundle": str(out), "protocol": cut.protocol, "seed": seed, "seconds": round(seconds, 3)})
        return
    typer.echo(
        f"{model}: {view.n_users:,} users, {view.n_items:,} items, {len(view.interactions):,} clicks, "
        f"{len(view.graph.entity) + len(view.graph.user):,} facts; {seconds:.1f} s"
    )
    typer.echo(f"bundle: {out}\nnext: metakg evaluate {out} {folder}    metakg recommend {out} USER --liked ITEM")
