"""`metakg export`: a bundle made ready to serve: in the present format, with its evaluation beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metakg.cli.common import JsonOption, print_json
from metakg.errors import DataError


def export(
    source: Annotated[Path, typer.Argument(help="A bundle folder (metakg train), of this format or an earlier one.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle to serve.")],
    figures: Annotated[
        Path | None,
        typer.Option(help="The evaluation to carry: JSON lines of evaluate or compare --json, or a folder of evaluate --out."),
    ] = None,
    clicks: Annotated[bool, typer.Option(help="Keep what users did since training.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier bundle.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle and write it anew, in the present format and with its cold-start figures."""
    from metakg import files
    from metakg.bundle import FORMAT
    from metakg.engine import load
    from metakg.evaluation.report import read_rows

    files.check_folder(out, overwrite=overwrite, kind="bundle")
    engine = load(source)
    if figures is not None:
        file = figures / "rows.jsonl" if figures.is_dir() else figures
        rows = [row for row in read_rows(file) if row.get("model") == engine.model]
        if not rows:
            found = f"no row of {engine.model}"
            raise DataError(str(figures), found, expected="figures of this model", fix="Judge this bundle: metakg evaluate.")
        engine = engine.with_figures(rows)
    if not clicks:
        for user in sorted(engine.adapted):
            engine = engine.forget(user)
    engine.save(out, overwrite=overwrite)
    told = {"model": engine.model, "bundle": str(out), "format": FORMAT, "figures": len(engine.figures), **engine.counts}
    if as_json:
        print_json({**told, "adapted_users": len(engine.adapted)})
        return
    typer.echo(
        f"{engine.model}: {told['users']:,} users, {told['items']:,} items; {len(engine.adapted):,} users have clicked since "
        f"training; {len(engine.figures):,} rows of figures\nbundle: {out} (format {FORMAT})"
    )
