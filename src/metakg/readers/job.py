"""What the steps of one preparation share: the connection, the checked parts, and the growing account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from metakg.readers.duck import translated
from metakg.readers.intake import Checked
from metakg.readers.options import ReadOptions
from metakg.readers.report import SHOWN, FilterStep, Place, Tally
from metakg.readers.staging import Stage

if TYPE_CHECKING:
    import duckdb

Step = Callable[[str], None]
"""Called with a few words whenever a new step begins."""
ORDER = "given NULLS LAST, length(id), id"
"""How ids are numbered: as the format says (`given`), else 2 before 10 and "a" before "b"."""


@dataclass
class Account:
    """A `Tally` while it grows."""

    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    merged: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[Place]] = field(default_factory=dict)


@dataclass
class Job:
    """One preparation.

    Attributes:
        stage: the staged parts.
        options: how to treat them.
        checked: the parts after reading, in the order of the stage.
        step: told about every new step.
        accounts: kind -> what became of its rows, beyond what reading rejected.
        filters: what each filter removed.
    """

    stage: Stage
    options: ReadOptions
    checked: list[Checked]
    step: Step
    accounts: dict[str, Account] = field(default_factory=dict)
    filters: list[FilterStep] = field(default_factory=list)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB connection."""
        return self.stage.connection

    def run(self, sql: str) -> list[Any]:
        """Run SQL and return its rows."""
        with translated():
            return self.connection.execute(sql).fetchall()

    def number(self, sql: str) -> int:
        """Return the single integer that SQL yields (0 for NULL)."""
        return int(self.run(sql)[0][0] or 0)

    def account(self, kind: str) -> Account:
        """Return the growing account of one kind."""
        return self.accounts.setdefault(kind, Account())

    def of(self, kind: str) -> list[Checked]:
        """Return the checked parts of one kind."""
        return [checked for checked in self.checked if checked.part.kind == kind]

    def rows(self, kind: str, *columns: str) -> str:
        """Return SQL for the usable rows of one kind: the columns, and `seq`, their number over all parts.

        A column that a part lacks is NULL there.
        """
        selects = []
        offset = 0
        for checked in self.of(kind):
            stored = {row[0] for row in self.run(f"DESCRIBE {checked.table}")}
            chosen = ", ".join(name if name in stored else f"NULL AS {name}" for name in columns)
            selects.append(f"SELECT {chosen}, rowid + {offset} AS seq FROM {checked.table} WHERE code = 0")
            offset += checked.read
        if not selects:
            empty = ", ".join(f"NULL::VARCHAR AS {name}" for name in columns)
            selects.append(f"SELECT {empty}, 0::BIGINT AS seq WHERE false")
        return "(" + " UNION ALL ".join(selects) + ")"

    def part_of(self, kind: str, seq: int) -> tuple[Checked, int]:
        """Return the part that holds row number `seq` of a kind, and the row within it."""
        for checked in self.of(kind):
            if seq < checked.read:
                return checked, seq
            seq -= checked.read
        raise IndexError(f"{kind} have no row {seq}")

    def tallies(self) -> list[Tally]:
        """Return the final account of every kind that was read."""
        result = []
        counted = self.stage.counted
        kinds = [checked.part.kind for checked in self.checked] + [kind for kind, _, _ in counted]
        for kind in dict.fromkeys(kinds):
            account, parts = self.account(kind), self.of(kind)
            rejected, skipped = dict(account.rejected), dict(account.skipped)
            merged, filtered = dict(account.merged), dict(account.filtered)
            places = {reason: list(found) for reason, found in account.places.items()}
            for checked in parts:
                for target, source in ((rejected, checked.rejected), (skipped, checked.skipped)):
                    for reason, count in source.items():
                        target[reason] = target.get(reason, 0) + count
                for reason, found in checked.places.items():
                    places[reason] = (places.get(reason, []) + found)[:SHOWN]
            tallied = {"rejected": rejected, "skipped": skipped, "merged": merged, "filtered": filtered}
            for (which, name, reason), count in counted.items():
                if which == kind:
                    tallied[name][reason] = tallied[name].get(reason, 0) + count
            read = sum(checked.read for checked in parts) + sum(n for (which, _, _), n in counted.items() if which == kind)
            tally = Tally(kind, read, account.kept, rejected, merged, skipped, filtered, places)
            assert tally.read == tally.kept + tally.lost, f"{kind}: {tally}"
            result.append(tally)
        return result
