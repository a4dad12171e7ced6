"""The screen: text stands there as it is; names of people's items hold brackets and colons, which rich takes for its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn

_UNBROKEN = 1 << 16
"""Characters of a line where there is no terminal: a file is as wide as its lines."""


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints what it is given, and wraps lines only on a terminal."""
    from rich.console import Console

    found = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not found.is_terminal:
        found.width = _UNBROKEN
    return found


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = (), title: str = "") -> None:
    """Print a table; columns named in `right` are aligned there. Cells are folded where a terminal is too narrow."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out = console()
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as caught:
        out.print(table)
    for line in caught.get().splitlines():
        typer.echo(line.rstrip())


def text_column(template: str) -> TextColumn:
    """Return the column of a progress bar with words in it."""
    from rich.progress import TextColumn

    return TextColumn(template, markup=False)


@contextmanager
def status(first: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done; yield what takes a few words at each new step."""
    from rich.text import Text

    with console(stderr=True).status(Text(first)) as shown:
        yield lambda now: shown.update(Text(now))
