"""The report as a Markdown page with its pictures beside it, as SVG or PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from metakg import files
from metakg.evaluation.report import grid
from metakg.report.blocks import Cell, Section, Table
from metakg.report.collect import Runs
from metakg.report.figures import Figure
from metakg.report.missing import missing
from metakg.report.pictures import write
from metakg.report.sections import sections


def write_markdown(runs: Runs, path: Path, *, pictures: Literal["svg", "png"] = "svg") -> list[Path]:
    """Write the report and its pictures; return all files written.

    Raises:
        ConfigError: PNG was asked for and the extra `plot` is not installed.
        DataError: a file cannot be written.
    """
    made = sections(runs)
    figures = [block for section in made for block in section.blocks if isinstance(block, Figure)]
    written = [_picture(figure, path, pictures) for figure in figures]
    text = _text(runs, made, path, pictures)
    with files.atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [path, *written]


def _place(figure: Figure, page: Path, pictures: str) -> Path:
    return page.with_name(f"{page.stem}-{figure.name}.{pictures}")


def _picture(figure: Figure, page: Path, pictures: str) -> Path:
    place = _place(figure, page, pictures)
    write(figure, place)
    return place


def _text(runs: Runs, made: list[Section], page: Path, pictures: str) -> str:
    parts = [f"# {runs.manifest.get('name', runs.folder.name)}: report", f"Protocol {runs.manifest['protocol']}."]
    for section in made:
        parts += [f"## {section.title}", section.lead.replace("*", "\\*")]
        for block in section.blocks:
            if isinstance(block, Table):
                parts.append(_table(block))
            else:
                parts.append(f"![{section.title}]({_place(block, page, pictures).name})")
                parts += [block.caption] if block.caption else []
        parts += section.notes
    lacking = missing(runs)
    if lacking:
        parts += ["## Not here", "\n".join(f"- {line}" for line in lacking)]
    parts += ["## Where the numbers come from", "\n".join(f"- {line}" for line in _facts(runs))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _table(table: Table) -> str:
    body = [[_cell(cell) for cell in row] for row in (*table.rows, *table.foreign)]
    caption = f"{table.caption}:\n\n" if table.caption else ""
    return caption + grid(table.header, body, markdown=True)


def _cell(cell: Cell) -> str:
    text = cell.text.replace("*", "\\*")
    text = f"**{text}**" if cell.best else text
    small = cell.small.replace("\n", "; ")
    return f"{text} ({small})" if small else text


def _facts(runs: Runs) -> list[str]:
    return [*runs.facts, *(f"`{command}`: {about}" for command, about in runs.sessions), *runs.notes]
