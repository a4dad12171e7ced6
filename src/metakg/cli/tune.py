"""`metakg tune`: search for a model's settings on the validation scenarios of a split."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from metakg.cli import screen
from metakg.cli.common import (
    JsonOption,
    SeedOption,
    SetOption,
    SettingsOption,
    SplitArgument,
    chosen,
    model_settings,
    open_split,
    print_json,
    settings_from,
    value_of,
)
from metakg.errors import ConfigError, DataError
from metakg.nesting import merged
from metakg.session import invocation


def tune(
    folder: SplitArgument,
    out: Annotated[Path, typer.Option(help="TOML file for the best settings.")],
    model: Annotated[str, typer.Option(help="Name of a model that learns by gradient; `metakg doctor` lists them.")] = "metakg",
    minutes: Annotated[float, typer.Option(min=0.0, help="Budget of the whole search.")] = 30.0,
    trials: Annotated[int | None, typer.Option(min=1, help="Stop after so many trials.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Epochs between two validations.")] = 5,
    seed: SeedOption = 1,
    settings_files: SettingsOption = None,
    settings: SetOption = None,
    scenarios: Annotated[
        str, typer.Option(help="Validation scenarios to choose by (their mean), names with commas between, or 'all'.")
    ] = "all",
    enqueue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Settings to try before the search looks for itself, the others at their defaults; repeat for more.",
        ),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="File that gets one JSON line a trial.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the trials in --log.")] = False,
    device: Annotated[str, typer.Option(help="Where networks are trained and judged: 'cpu' or 'cuda'.")] = "cpu",
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier settings file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Search for good settings, by what they reach on the validation scenarios. Settings that are given are not searched."""
    from metakg import files
    from metakg.train.trials import as_toml
    from metakg.train.tune import tune as run

    files.check_file(out, overwrite=overwrite)
    if resume and log is None:
        raise ConfigError("--resume", "no --log", expected="the log of the search to go on with", fix="Name it: --log FILE.")
    fixed = merged(model_settings(settings_files, None).get(model, {}), settings_from(settings))
    as_toml(model, fixed)  # what could not be written in the end is refused before the search
    with files.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise DataError(f"writing {out}", "no permission", expected="a folder that can be written", fix="Name another file.")
    cut = open_split(folder)
    with screen.status("searching") as tell:
        found = run(
            cut,
            model,
            minutes=minutes,
            trials=trials,
            every=every,
            seed=seed,
            settings=fixed,
            scenarios=chosen(scenarios),
            enqueue=[_dotted(entry) for entry in enqueue or ()],
            log=log,
            resume=resume,
            report=tell,
            device=device,
        )
    command = invocation("metakg.train.tune.tune")
    about = (
        f"# Chosen on the validation scenarios by: {command}\n"
        f"# trial {found.best.number} of {len(found.trials)}, mean of Recall@20 and NDCG@20 {found.best.score:.4f}\n\n"
    )
    with files.atomic_file(out) as temporary:
        temporary.write_text(about + as_toml(model, found.settings), encoding="utf-8")
    if as_json:
        print_json({"model": model, "settings": found.settings, "score": found.best.score, "trials": len(found.trials)})
        return
    for trial in found.trials:
        score = "-" if trial.score is None else f"{trial.score:.4f}"
        values = "  ".join(f"{name}={_short(value)}" for name, value in trial.values.items())
        typer.echo(
            f"{trial.number:3d}  {score:>6}  {trial.state:<6}  {trial.seconds:6.0f} s  {values}  {trial.remark}".rstrip()
        )
    typer.echo(f"best: trial {found.best.number}, {found.best.score:.4f}; settings in {out}")


def _dotted(entry: str) -> dict[str, Any]:
    """Return "a.b=1,c=x" as {"a.b": 1, "c": "x"}.

    Raises:
        ConfigError: a part has no `=`.
    """
    found = {}
    for part in re.split(r",(?![^\[]*\])", entry):  # a comma inside [...] belongs to a value
        key, equals, text = part.strip().partition("=")
        if not equals or not key:
            raise ConfigError("--enqueue", repr(part), expected="KEY=VALUE", fix='Say "training.adapt.epochs=28".')
        found[key] = value_of(text)
    return found


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
