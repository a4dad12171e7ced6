"""`metakg train`: fit one model on the training part of a split and write a bundle."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metakg.cli import screen
from metakg.cli.common import (
    JsonOption,
    SeedOption,
    SetOption,
    SettingsOption,
    SplitArgument,
    model_settings,
    open_data,
    open_split,
    print_json,
    settings_from,
)
from metakg.nesting import merged

if TYPE_CHECKING:
    from metakg.train.log import Sink


def train(
    folder: SplitArgument,
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    model: Annotated[str, typer.Option(help="Name of the model; `metakg doctor` lists them.")] = "metakg",
    seed: SeedOption = 1,
    settings_files: SettingsOption = None,
    settings: SetOption = None,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="Find the number of epochs on the validation scenarios first (anew with --resume too), then train so long "
            "(metakg: at most).",
        ),
    ] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Learn from the whole data set, to serve it; nothing is left to judge by. (--validate judges on a split.)",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="Where a network is trained: 'cpu' or 'cuda'; it answers on the CPU.")] = "cpu",
    log: Annotated[Path | None, typer.Option(help="Folder for the training's log and checkpoints.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --log.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Log to this TensorBoard folder too (extra 'tensorboard').")] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log to MLflow too, where its variables say (extra 'mlflow').")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier bundle.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a model on the training part of a split, or on all data, and write it as a bundle."""
    from metakg import files
    from metakg.engine import fit
    from metakg.errors import ConfigError
    from metakg.splits import whole as all_of

    files.check_folder(out, overwrite=overwrite, kind="bundle")
    if resume and log is None:
        raise ConfigError("--resume", "no --log", expected="the folder of what is to go on", fix="Name it: --log DIR.")
    begin = time.perf_counter()
    cut = None if whole and not validate else open_split(folder)  # data without times are not cut for nothing
    data = open_data(folder) if cut is None else cut.dataset
    view = all_of(data, seed=seed) if cut is None or whole else cut.train
    chosen = merged(model_settings(settings_files, None).get(model, {}), settings_from(settings))
    sinks = _sinks(tensorboard, mlflow)
    epochs = None
    with _progress() as report, _terminated():
        if validate:
            assert cut is not None
            from metakg.train.fit import epochs_by_validation, settings_for

            config, how = settings_for(model, chosen)
            epochs = epochs_by_validation(config, how, cut, seed, report=report, device=device)
            chosen = merged(chosen, {"training": {"loop": {"epochs": epochs}}})
        way: dict[str, Any] = {"folder": log, "resume": resume, "report": report, "sinks": sinks, "device": device}
        fitted = fit(model, view, seed=seed, **way, **chosen)
    seconds = time.perf_counter() - begin
    fitted.save(out, overwrite=overwrite)
    if as_json:
        protocol = None if whole or cut is None else cut.protocol
        made: dict[str, Any] = {"model": model, "bundle": str(out), "protocol": protocol, "seed": seed}
        print_json({**made, "seconds": round(seconds, 3), **({} if epochs is None else {"epochs": epochs})})
        return
    typer.echo(
        f"{model}: {view.n_users:,} users, {view.n_items:,} items, {len(view.interactions):,} clicks, "
        f"{len(view.graph.entity) + len(view.graph.user):,} facts; {seconds:.1f} s"
    )
    if epochs is not None:
        typer.echo(f"epochs: {epochs}, best on the validation scenarios")
    judge = f"metakg serve {out}" if whole else f"metakg evaluate {out} {folder}"
    typer.echo(f"bundle: {out}\nnext: {judge}    metakg recommend {out} USER --liked ITEM")


def _sinks(tensorboard: Path | None, mlflow: bool) -> list[Sink]:
    """Return where to log beside the JSON lines.

    Raises:
        ConfigError: the extra is not installed.
    """
    from metakg.train.log import MLflow, TensorBoard

    found: list[Sink] = [] if tensorboard is None else [TensorBoard(tensorboard)]
    return [*found, MLflow()] if mlflow else found


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show how far a training is, as a bar with the time left; yield what takes a few words at each new step of the work."""
    from rich.progress import BarColumn, Progress, SpinnerColumn

    from metakg.train.loop import Loop, watching
    from metakg.train.loop import Progress as Step

    columns = (SpinnerColumn(), BarColumn(bar_width=24), screen.text_column("{task.description}"))
    with Progress(*columns, console=screen.console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=None)

        def see(_: Loop, step: Step) -> None:
            bar.update(task, completed=step.step, total=step.total)

        with watching(see):
            yield lambda words: bar.update(task, description=words)


@contextmanager
def _terminated() -> Iterator[None]:
    """Let a termination signal end the work as an interrupt does, so that the last state is kept."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
