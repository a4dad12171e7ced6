"""The report as one HTML file: no network, light and dark, phone and paper. Works without its few lines of script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files as resources
from pathlib import Path

from metakg import files
from metakg.report.blocks import SCENARIO_NAMES, Cell, Section, Table, scenario_names
from metakg.report.collect import Runs
from metakg.report.colours import variables
from metakg.report.figures import Figure, legend_html
from metakg.report.missing import missing
from metakg.report.sections import sections

_LONG = 16
"""Tables with more rows than this are folded on the screen; never on paper."""


def write_page(runs: Runs, path: Path) -> None:
    """Write the report, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    text = page(runs)
    with files.atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(runs: Runs) -> str:
    """Return the report as HTML."""
    made = sections(runs)
    static = resources("metakg.report")
    css, script = ((static / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    colours = (
        f":root{{{variables(dark=False)}}}@media screen and (prefers-color-scheme:dark){{:root{{{variables(dark=True)}}}}}"
    )
    name = html.escape(str(runs.manifest.get("name", runs.folder.name)))
    contents = "".join(f'<a href="#{s.name}">{html.escape(s.title)}</a>' for s in made)
    body = "".join(_section(s) for s in made)
    lacking = missing(runs)
    gaps = "" if not lacking else f'<section id="missing"><h2>Not here</h2>{_list(lacking)}</section>'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>metakg: {name}</title><style>{colours}{css}</style></head><body>"
        f'<header><p class="brand">metakg report</p><h1>{name}</h1><p>{html.escape(_what(runs))}</p>'
        f'<nav aria-label="Sections">{contents}</nav>{_filters(runs)}</header>'
        f"<main>{body}{gaps}</main>{_footer(runs)}<script>{script}</script></body></html>\n"
    )


def _what(runs: Runs) -> str:
    counts = {name: len(record.units) for name, record in runs.records.items()}
    ran = ", ".join(f"{name} ({n:,} unit{'s' * (n != 1)})" for name, n in counts.items())
    return f"Protocol {runs.manifest['protocol']}, lists of {runs.k}. {ran}."


def _filters(runs: Runs) -> str:
    rows = [row for name in runs.records for row in runs.rows(name, "quality")]
    names = scenario_names(rows)
    if len(names) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" data-filter="{name}" aria-pressed="false">{SCENARIO_NAMES[name]}</button>' for name in names
    )
    kinds = "".join(
        f'<button type="button" data-group="{group}" aria-pressed="true">{word}</button>'
        for group, word in (("floor", "floors"), ("learnt", "baselines"), ("ours", "MetaKG"))
    )
    everything = '<button type="button" data-filter="" aria-pressed="true">all scenarios</button>'
    kinds = f'<div role="group" aria-label="Models in the leaderboard">{kinds}</div>'
    kinds = kinds if runs.rows("table3", "quality") else ""
    return f'<div class="filters"><div role="group" aria-label="Scenario">{everything}{buttons}</div>{kinds}</div>'


def _section(section: Section) -> str:
    parts = [f'<section id="{section.name}"><h2>{html.escape(section.title)}</h2><p>{html.escape(section.lead)}</p>']
    parts += [_table(block) if isinstance(block, Table) else _figure(block) for block in section.blocks]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in section.notes]
    return "".join(parts) + "</section>"


def _figure(figure: Figure) -> str:
    panels = "".join(f'<div class="panel"{_tag(panel.tag)}>{panel.svg()}</div>' for panel in figure.panels)
    caption = f"<figcaption>{html.escape(figure.caption)}</figcaption>" if figure.caption else ""
    legend = legend_html(figure.legend)
    return f'<figure id="fig-{figure.name}">{legend}<div class="panels">{panels}</div>{caption}</figure>'


def _table(table: Table) -> str:
    tags = list(table.tags) or [""] * len(table.header)
    head = "".join(f'<th scope="col"{_tag(tag)}>{html.escape(name)}</th>' for name, tag in zip(table.header, tags, strict=True))
    lines = []
    for place, row in enumerate(table.rows):
        tag = table.row_tags[place] if table.row_tags else ""
        group = f' data-model-group="{table.groups[place]}"' if table.groups else ""
        lines.append(f"<tr{_tag(tag)}{group}>{_cells(row, tags)}</tr>")
    foot = "".join(f"<tr>{_cells(row, tags)}</tr>" for row in table.foreign)
    foot = f'<tfoot class="foreign">{foot}</tfoot>' if foot else ""
    kind = f' class="{table.kind}"' if table.kind else ""
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    if len(table.rows) > _LONG:
        summary, caption = html.escape(table.caption), ""
    whole = f"<table{kind}>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>{foot}</table>"
    whole = f'<div class="scroll">{whole}</div>'
    return f"<details><summary>{summary}</summary>{whole}</details>" if len(table.rows) > _LONG else whole


def _cells(row: Sequence[Cell], tags: Sequence[str]) -> str:
    parts = [f'<th scope="row">{html.escape(row[0].text)}</th>']
    for cell, tag in zip(row[1:], tags[1:], strict=True):
        small = "".join(f"<small>{html.escape(line)}</small>" for line in cell.small.splitlines())
        value = "" if cell.value is None else f' data-value="{cell.value!r}"'
        best = ' class="best"' if cell.best else ""
        parts.append(f"<td{best}{value}{_tag(tag)}><span>{html.escape(cell.text)}</span>{small}</td>")
    return "".join(parts)


def _tag(scenario: str) -> str:
    return f' data-scenario="{scenario}"' if scenario else ""


def _footer(runs: Runs) -> str:
    made = "".join(f"<li><code>{html.escape(command)}</code><br>{html.escape(about)}</li>" for command, about in runs.sessions)
    notes = _list(runs.notes) if runs.notes else ""
    return f"<footer><h2>Where the numbers come from</h2>{_list(runs.facts)}<ul>{made}</ul>{notes}</footer>"


def _list(entries: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(entry)}</li>" for entry in entries) + "</ul>"
