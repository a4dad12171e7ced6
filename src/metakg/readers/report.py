"""What `prepare` and `validate` found: every row accounted for, and the first places of each problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from metakg.types import Json

SHOWN = 5
"""How many places are kept for each reason."""


@dataclass(frozen=True)
class Place:
    """Where something was found.

    Attributes:
        file: the file.
        line: the line counted from 1 (the row in a file without lines), or None where it is not known.
        unit: "line" or "row".
        found: what stands there.
    """

    file: str
    line: int | None
    unit: Literal["line", "row"]
    found: str

    @property
    def where(self) -> str:
        """Return file and line."""
        return self.file if self.line is None else f"{self.file} {self.unit} {self.line}"

    def __str__(self) -> str:
        return f"{self.where}: {self.found}"

    def to_json(self) -> Json:
        """Return the place as a JSON object; of the path only the name, since a manifest travels."""
        where = {"file": Path(self.file).name} | ({} if self.line is None else {self.unit: self.line})
        return {**where, "found": self.found}


@dataclass(frozen=True)
class Tally:
    """The rows of one kind: read = kept + rejected + merged + skipped + filtered.

    Attributes:
        kind: "interactions", "triples", "links", ...
        read: rows (and lines that no row could be made of) that the files hold.
        kept: rows in the result.
        rejected: reason -> rows that cannot be used.
        merged: reason -> rows that say again what an earlier row said.
        skipped: reason -> rows left out because an option says so.
        filtered: filter -> rows that a filter removed.
        places: reason -> the first places where it occurs.
    """

    kind: str
    read: int
    kept: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    merged: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    filtered: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Return how many rows are not in the result."""
        return sum(sum(part.values()) for part in (self.rejected, self.merged, self.skipped, self.filtered))

    def to_json(self) -> Json:
        """Return the tally as a JSON object; empty parts are left out."""
        parts = {"rejected": self.rejected, "merged": self.merged, "skipped": self.skipped, "filtered": self.filtered}
        entry: Json = {"read": self.read, "kept": self.kept}
        entry |= {name: dict(sorted(part.items())) for name, part in parts.items() if part}
        if self.places:
            entry["places"] = {reason: [place.to_json() for place in places] for reason, places in sorted(self.places.items())}
        return entry


@dataclass(frozen=True)
class FilterStep:
    """What one filter removed: interactions, users and items, and after how many rounds it was stable."""

    name: str
    interactions: int
    users: int
    items: int
    rounds: int = 1

    def to_json(self) -> Json:
        """Return the step as a JSON object."""
        return {
            "filter": self.name,
            "interactions": self.interactions,
            "users": self.users,
            "items": self.items,
            "rounds": self.rounds,
        }


@dataclass(frozen=True)
class Finding:
    """Something that a person should know about the data.

    Attributes:
        level: "problem" (rows are lost or contradict each other) or "note" (sound data may look like this).
        kind: the kind of row, or "data".
        what: the reason, in words.
        count: how often.
        places: the first of them: rows of a file, or ids.
    """

    level: Literal["problem", "note"]
    kind: str
    what: str
    count: int
    places: Sequence[Place | str] = ()

    @staticmethod
    def from_json(told: Json) -> Finding:
        """Return what `to_json` told."""
        places = [place if isinstance(place, str) else _place(place) for place in told["places"]]
        return Finding(told["level"], told["kind"], told["what"], told["count"], places)

    def to_json(self) -> Json:
        """Return the finding as a JSON object."""
        return {
            "level": self.level,
            "kind": self.kind,
            "what": self.what,
            "count": self.count,
            "places": [place.to_json() if isinstance(place, Place) else place for place in self.places],
        }


def _place(told: Json) -> Place:
    unit: Literal["line", "row"] = "row" if "row" in told else "line"
    return Place(told["file"], told.get(unit), unit, told["found"])


@dataclass(frozen=True)
class PrepareReport:
    """The account of one preparation.

    Attributes:
        out: the data set folder, or None if nothing was written (`validate`).
        sources: format, files and options of each source.
        options: options that differ from their defaults.
        counts: rows of each table of the result, and "linked_items".
        tallies: the account of each kind of row.
        filters: what each filter removed.
        findings: problems and notes.
        times: first and last time of the kept interactions as ISO 8601, or None.
    """

    out: Path | None
    sources: Sequence[Json]
    options: Json
    counts: Mapping[str, int]
    tallies: Sequence[Tally]
    filters: Sequence[FilterStep]
    findings: Sequence[Finding]
    times: tuple[str, str] | None = None

    @property
    def clean(self) -> bool:
        """Return whether there is no problem (notes do not count)."""
        return not any(finding.level == "problem" for finding in self.findings)

    def to_json(self) -> Json:
        """Return the report as a JSON object; the same is kept in the manifest of the data set."""
        return {
            "source": list(self.sources),
            "options": dict(self.options),
            "counts": dict(self.counts),
            "rows": {tally.kind: tally.to_json() for tally in self.tallies},
            "filters": [step.to_json() for step in self.filters],
            "findings": [finding.to_json() for finding in self.findings],
            "times": list(self.times) if self.times else None,
        }
