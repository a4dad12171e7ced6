"""`metakg export`: a bundle made ready to serve: in the present format, with its evaluation beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

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
    from metakg.bundle import FORMAT
    from metakg.engine import load

    engine = load(source)
    if figures is not None:
        rows = [row for row in rows_of(figures) if row.get("model") == engine.model]
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


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an evaluation, from a file of JSON lines or the folder that holds it.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    file = path / "rows.jsonl" if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(str(file), str(err), expected="rows of an evaluation", fix="Make it: metakg evaluate --out.") from err
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as err:
            raise DataError(f"{file} line {number}", "no JSON", expected="a JSON object a line", fix="Make it again.") from err
        if not isinstance(row, dict):
            raise DataError(f"{file} line {number}", f"a {type(row).__name__}", expected="a JSON object", fix="Make it again.")
        rows.append(row)
    return rows
