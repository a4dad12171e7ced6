"""`metakg compare`: several models, several seeds, one table; as text, JSON lines, Markdown and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metakg.cli import screen
from metakg.cli.common import SetOption, SettingsOption, SplitArgument, check_rules, chosen, open_split, settings_of, shots_from
from metakg.cli.evaluate import CandidatesOption, MaskOption, ScenariosOption, ShotsOption

if TYPE_CHECKING:
    from metakg.evaluation.evaluator import Shots

BEGIN, END = "<!-- written by metakg compare: begin -->", "<!-- written by metakg compare: end -->"


def compare(
    folder: SplitArgument,
    models: Annotated[
        str,
        typer.Option(
            help="Registry names with commas between; 'floors' for all that need no training, 'fm:1' for its first seed alone."
        ),
    ] = "floors",
    seeds: Annotated[int, typer.Option(min=1, help="So many seeds, from 1.")] = 1,
    scenarios: ScenariosOption = "all",
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Cut-off of the tables.")] = 20,
    shots: ShotsOption = None,
    mask: MaskOption = None,
    candidates: CandidatesOption = "all",
    settings_files: SettingsOption = None,
    settings: SetOption = None,
    reference: Annotated[str | None, typer.Option(help="Published figures to print beside, as 'last-fm'.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Model that the others are tested against too, beside the best floor.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file as JSON lines.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the tables into this page, between its two markers; the rest of it stays.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the recall as .svg, or as .png (extra 'plot').")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep every finished run in this folder, and the BPR vectors that models share; skip what is there."),
    ] = None,
    searched: Annotated[
        Path | None,
        typer.Option(help="Folder with the logs of `metakg tune`: adds what the searches took, and marks models still rising."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where networks are trained, adapted and judged: 'cpu' or 'cuda'.")] = "cpu",
) -> None:
    """Compare models under one protocol. Settings of a model: --set walk.steps=4."""
    from metakg import files
    from metakg.comparison import check_reference
    from metakg.comparison import compare as run
    from metakg.errors import ConfigError
    from metakg.models.registry import FLOORS
    from metakg.train.trials import searches

    counts = shots_from(shots)
    _check_outputs(plot, markdown, json_file, counts)
    check_rules(mask, candidates)
    if reference is not None:
        check_reference(reference)
    entries = [entry.strip() for entry in models.split(",")]
    asked = [name for entry in entries for name in (FLOORS if entry == "floors" else [entry])]
    names, fewer = _seeds_of(asked)
    if against is not None and against not in names:
        raise ConfigError("--against", repr(against), expected=f"one of {', '.join(names)}", fix="Add it to --models.")
    with screen.status("opening the split") as tell:
        cut = open_split(folder)
        board = run(
            cut,
            list(dict.fromkeys(names)),
            seeds=range(1, seeds + 1),
            fewer=fewer,
            scenarios=chosen(scenarios),
            k=k,
            shots=counts,
            mask=mask,  # type: ignore[arg-type]  # checked by evaluate
            candidates=candidates,  # type: ignore[arg-type]
            settings=settings_of(names, settings_files, settings),
            keep=keep,
            progress=tell,
            device=device,
            searched=None if searched is None else searches(searched, names),
        )
    typer.echo(board.text(reference=reference, against=against))
    typer.echo(board.footer())
    if json_file is not None:
        from metakg.evaluation.report import write_rows

        write_rows(json_file, board.rows)
    if markdown is not None:
        picture = f"\n![Recall@{k}]({plot.name})\n" if plot is not None and plot.parent == markdown.parent else ""
        text = f"{board.text(markdown=True, reference=reference, against=against)}{picture}\n{board.footer()}"
        files.write_between(markdown, BEGIN, END, text)
    if plot is not None:
        from metakg.report.pictures import compared, write

        write(compared(board.rows, metric="recall", k=k), plot)


def _seeds_of(asked: list[str]) -> tuple[list[str], dict[str, int]]:
    """Return the names, and of how many seeds those are judged that stand as NAME:NUMBER.

    Raises:
        ConfigError: what stands behind the colon is no number of seeds.
    """
    from metakg.errors import ConfigError

    names, fewer = [], {}
    for entry in asked:
        name, colon, number = entry.partition(":")
        names.append(name)
        if colon:
            if not number.isdecimal() or int(number) < 1:
                raise ConfigError("--models", repr(entry), expected="a number of seeds behind the colon", fix=f"{name}:1, say.")
            fewer[name] = int(number)
    return names, fewer


def _check_outputs(plot: Path | None, page: Path | None, rows: Path | None, shots: Sequence[Shots] | None) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        ConfigError: the picture has another ending, would have to show several numbers of shots, or cannot be drawn here.
        DataError: the page exists and lacks a marker, or a place cannot be written.
    """
    from metakg import files
    from metakg.errors import ConfigError

    for path in (plot, page, rows):
        if path is not None:
            files.check_file(path, overwrite=True)
    if plot is not None:
        from metakg.report.pictures import check

        check(plot)
    if plot is not None and shots is not None and len(shots) > 1:
        raise ConfigError("--plot", f"{len(shots)} numbers of shots", expected="one", fix="Draw them one by one.")
    if page is not None and page.exists():
        files.around(page, BEGIN, END)
