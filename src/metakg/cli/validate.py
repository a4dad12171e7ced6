"""`metakg validate`: what `prepare` would lose, and what looks odd, without writing anything."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from metakg.cli.prepare import (
    Attributes,
    Bins,
    Decimal,
    Delimiter,
    Encoding,
    Format,
    Given,
    Header,
    Interactions,
    ItemAttributes,
    ItemColumn,
    Kgat,
    LabelColumn,
    Labels,
    LabelsOf,
    Languages,
    Links,
    Literals,
    Memory,
    Quote,
    Separator,
    SpillTo,
    Threads,
    TimeColumn,
    TimeFormat,
    TimeUnit,
    TripleOrder,
    Triples,
    UserAttributes,
    UserColumn,
    ValueColumn,
    print_account,
    progress,
    split_flags,
)


def validate(
    paths: Given = None,
    format: Format = "auto",  # noqa: A002 - the flag's name
    interactions: Interactions = None,
    triples: Triples = None,
    links: Links = None,
    labels: Labels = None,
    item_attributes: ItemAttributes = None,
    user_attributes: UserAttributes = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    value_column: ValueColumn = None,
    time_column: TimeColumn = None,
    time_unit: TimeUnit = None,
    time_format: TimeFormat = None,
    decimal: Decimal = None,
    delimiter: Delimiter = None,
    header: Header = None,
    quote: Quote = None,
    encoding: Encoding = None,
    triple_order: TripleOrder = None,
    label_column: LabelColumn = None,
    labels_of: LabelsOf = None,
    attributes: Attributes = None,
    separator: Separator = None,
    bins: Bins = None,
    languages: Languages = None,
    literals: Literals = None,
    kgat: Kgat = None,
    memory: Memory = None,
    threads: Threads = None,
    spill_to: SpillTo = None,
    strict: Annotated[bool, typer.Option("--strict", help="Let notes count as problems too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the account as one JSON object, for machines.")] = False,
) -> None:
    """Check files, or a prepared data set, and write nothing.

    Exit code 0: nothing wrong. 1: problems (rows that would be lost, contradictions, empty files). 2: a file cannot be read.
    """
    given = dict(locals())
    from metakg.readers import validate as run

    files, options = split_flags(given, without=("strict", "as_json"))
    with progress() as step:
        report = run(step=step, **files, **options)
    clean = report.clean and not (strict and report.findings)
    if as_json:
        typer.echo(json.dumps({"clean": clean, **report.to_json()}, ensure_ascii=False))
    else:
        print_account(report)
        typer.echo("no problems" if clean else "there are problems")
    if not clean:
        raise typer.Exit(1)
