"""`metakg experiment`: the paper's experiments on any split, resumable, within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metakg.cli import screen
from metakg.cli.common import JsonOption, SetOption, SettingsOption, open_split, print_json, settings_of

if TYPE_CHECKING:
    from metakg.data import Split
    from metakg.experiments.runner import Bar


def experiment(
    names: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="table3, ablation, efficiency, scalability, sensitivity, leak, parameters; several with commas, or 'all'.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run folder: rows, per-user results.")],
    data: Annotated[
        Path | None,
        typer.Option(help="A split folder, or a data set folder to cut strictly; by default data are generated into DIR."),
    ] = None,
    models: Annotated[str, typer.Option(help="Registry names with commas between; 'floors', or 'all'.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="So many seeds, from 1.")] = 3,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Cut-off of the lists.")] = 20,
    settings_files: SettingsOption = None,
    settings: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on: skip what is done, run what is not.")] = False,
    budget: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="MINUTES", help="Stop after so long; seeds are cut first, then trials, then sizes."),
    ] = None,
    compared: Annotated[
        Path | None,
        typer.Option(help="Folder of `metakg compare --keep`: its runs of the same settings and seed are taken over."),
    ] = None,
    millions: Annotated[str, typer.Option(help="Sizes for `scalability`, in millions of edges.")] = "1,3,10,30,100",
    places: Annotated[
        str, typer.Option(help="Data for `efficiency`, with commas between: 'here' for DIR's own, and generated sizes.")
    ] = "here,amazon-book,yelp2018",
    as_json: JsonOption = False,
) -> None:
    """Run the paper's experiments. Rows go to DIR/NAME.jsonl as they are found; show them with `metakg report DIR`."""
    from metakg.comparison import identify
    from metakg.errors import ConfigError
    from metakg.experiments.lab import Lab, ordered
    from metakg.experiments.suite import chosen
    from metakg.experiments.suite import experiment as run
    from metakg.models.registry import FLOORS, MODELS

    asked = chosen(names)
    groups = {"floors": list(FLOORS), "all": list(MODELS)}
    picked = ordered([name for entry in models.split(",") for name in groups.get(entry.strip(), [entry.strip()])])
    overrides = settings_of(picked, settings_files, settings)
    sizes, where = _numbers(millions), _places(places)
    if compared is not None and not compared.is_dir():
        raise ConfigError("--compared", str(compared), expected="a folder of `metakg compare --keep`", fix="Check the path.")
    cut, about = _open(folder, data)
    lab = Lab(
        folder,
        cut,
        picked,
        overrides,
        tuple(range(1, seeds + 1)),
        k,
        identify(cut),
        {"millions": sizes, "places": where},
        compared,
    )
    with _bar(quiet=as_json) as bar:
        report, mended = run(lab, asked, about=about, resume=resume, budget_s=None if budget is None else 60 * budget, bar=bar)
    if as_json:
        failed = {f"{unit.experiment}: {unit.name}": text for unit, text in report.failed}
        print_json(
            {
                "done": len(report.done),
                "kept": len(report.kept),
                "cut": [f"{u.experiment}: {u.name}" for u in report.cut],
                "failed": failed,
                "mended": mended,
                "remarks": report.remarks,
            }
        )
    else:
        for line in mended:
            typer.echo(f"mended: {line}")
        for line in report.remarks:
            typer.echo(f"note: {line}")
        typer.echo(f"{len(report.done)} units done, {len(report.kept)} were done before.")
        for line in report.cuts():
            typer.echo(f"cut by the budget: {line}")
        if report.cut:
            typer.echo("The same command with --resume goes on with what was cut.")
        for unit, text in report.failed:
            typer.echo(f"failed: {unit.experiment}: {unit.name}: {text}")
        if report.done or report.kept:
            typer.echo(f"next: metakg report {folder} --out report.html")
    if report.failed:
        raise typer.Exit(1)


def _open(folder: Path, data: Path | None) -> tuple[Split, dict[str, object]]:
    """Return the split, and where it comes from; without a data set, plant the demo's data in the run folder.

    Raises:
        DataError: the folder holds something else, or runs of data that were named with --data.
    """
    from metakg import files
    from metakg.comparison import reference_of
    from metakg.data import Dataset
    from metakg.errors import DataError
    from metakg.experiments.lab import DEMO
    from metakg.generator import planted
    from metakg.splits import save, split
    from metakg.splits.store import load

    if data is not None:
        cut, path = open_split(data), data.resolve()
        about: dict[str, object] = {"name": path.parent.name if path.name == "split" else path.name}
        reference = reference_of(cut)
        return cut, about if reference is None else {**about, "reference": reference}
    if (folder / "manifest.json").exists():
        manifest = files.read_json(folder / "manifest.json", what="run manifest")
        if manifest.get("kind") != "experiments" or manifest.get("name") != DEMO:
            raise DataError(
                str(folder),
                f"a folder of kind {manifest.get('kind')!r}, data {manifest.get('name')!r}",
                expected="a new folder, or runs on the generated data",
                fix="Name the data of these runs with --data, or another folder for the results.",
            )
    place = folder / "generated"
    if not (place / "split" / "manifest.json").exists():
        planted("demo", seed=1).dataset.save(place / "data", overwrite=True)
        cut = split(Dataset.load(place / "data"), protocol="strict", seed=1)
        save(cut, place / "split", dataset_folder=place / "data", overwrite=True)
    return load(place / "split"), {"name": DEMO}


def _places(text: str) -> list[str]:
    from metakg.errors import ConfigError
    from metakg.experiments.efficiency import PLACES

    found = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in found:
        if word not in PLACES:
            raise ConfigError("--places", repr(word), expected=f"some of {', '.join(PLACES)}", fix="Check the spelling.")
    return found


def _numbers(text: str) -> list[float]:
    from metakg.errors import ConfigError

    try:
        found = sorted({f"{size:g}": size for size in map(float, text.split(","))}.values())  # one for each name of a unit
    except ValueError:
        found = []
    if not found or not all(0 < size < float("inf") for size in found):
        raise ConfigError("--millions", repr(text), expected="positive numbers with commas between", fix="For example: 1,3,10.")
    return found


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Bar | None]:
    """Yield a bar on a terminal, a line for each unit where there is none, and nothing for machines."""
    if quiet:
        yield None
        return
    console = screen.console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), screen.text_column("{task.fields[left]}"), TimeElapsedColumn())
    with Progress(*columns, screen.text_column("{task.description}"), console=console) as bars:
        task = bars.add_task("", total=None, left="")

        class Drawn:
            def update(self, done: int, total: int, words: str, seconds_left: float | None) -> None:
                left = "" if seconds_left is None else f"about {duration(seconds_left)} left"
                bars.update(task, completed=done, total=total, description=words, left=left)

        yield Drawn()


class _Lines:
    """One line on stderr for each unit, for logs."""

    def __init__(self) -> None:
        self.last = ""

    def update(self, done: int, total: int, words: str, seconds_left: float | None) -> None:
        """Print what starts, and how much is left."""
        unit = ": ".join(words.split(": ")[:2])
        if unit != self.last:
            self.last = unit
            left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
            typer.echo(f"[{done}/{total}{left}] {unit}", err=True)


def duration(seconds: float) -> str:
    """Return a time in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
