"""`metakg report`: a run folder as one page for a browser, or as Markdown with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUNS", help="A run folder of `metakg experiment`.")],
    out: Annotated[
        Path, typer.Option(help="Where to write: .html for one page that needs nothing else, .md for Markdown with pictures.")
    ] = Path("report.html"),
    pictures: Annotated[str, typer.Option(help="With .md: 'svg' or 'png' (extra 'plot').")] = "svg",
) -> None:
    """Show what experiments found: leaderboard, tests, ablation, costs, curves, the leak; what was not run is named."""
    from metakg.errors import ConfigError

    if out.suffix not in (".html", ".md"):
        raise ConfigError(f"--out {out}", f"the ending {out.suffix!r}", expected=".html or .md", fix="Rename the page.")
    if pictures not in ("svg", "png"):
        raise ConfigError("--pictures", repr(pictures), expected="svg or png", fix="Choose one of them.")
    from metakg.report import collect, write_markdown, write_page

    runs = collect(folder)
    if out.suffix == ".html":
        write_page(runs, out)
        typer.echo(f"{out} ({out.stat().st_size / 1e3:,.0f} kB)")
    else:
        for path in write_markdown(runs, out, pictures=pictures):  # type: ignore[arg-type]  # checked above
            typer.echo(str(path))
    for note in runs.notes:
        typer.echo(f"note: {note}")
