"""Staged parts become one data set: the only place that joins, numbers and writes.

Rules, all independent of the number of threads and (but for ties that only the file order can decide) of the row order:

- Users are those with an interaction, with a fact of their own, or listed (`ids`); items alike. Filters by counts remove.
- Row numbers follow the format's own where it has them (KGAT), else the length and then the letters of the id ("2" < "10").
- Items are the entities 0..I-1. A linked item takes its entity's id; without any links file an item is the entity of the same
  id if there is one; any other item becomes `item:<id>`. Facts about a linked entity are so facts about the item.
- An item linked twice keeps its first entity, an entity linked twice its first item; both are reported.
- Repeated pairs collapse to their first time (the value by `value_rule`), repeated facts to one.
- Interactions are stored by user, time and item; facts by head, relation and tail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir

from metakg import files
from metakg.data.dataset import TABLES, write_manifest
from metakg.errors import ConfigError, DataError, EmptyFileError
from metakg.readers.columns import plain
from metakg.readers.duck import connect, spill_folder
from metakg.readers.facts import build_facts
from metakg.readers.findings import findings
from metakg.readers.intake import Checked, take_in
from metakg.readers.job import Job, Step
from metakg.readers.options import ReadOptions
from metakg.readers.pairs import build_pairs
from metakg.readers.report import Finding, PrepareReport
from metakg.readers.scan import literal
from metakg.readers.staging import Part, Stage

Source = Callable[[Stage], None]
"""A source module's function with its files and options bound: it adds parts to the stage."""

_NAME = "(SELECT id, label FROM names WHERE kind = '{kind}')"
_CONTENT = {
    "users": f"SELECT t.id, n.label FROM users t LEFT JOIN {_NAME.format(kind='user')} n USING (id) ORDER BY t.row",
    "items": (
        "SELECT t.id, coalesce(n.label, e.label) AS label FROM item_nodes t "
        f"LEFT JOIN {_NAME.format(kind='item')} n ON t.id = n.id "
        f"LEFT JOIN {_NAME.format(kind='entity')} e ON t.entity = e.id ORDER BY t.row"
    ),
    "entities": (
        "SELECT t.id, coalesce(n.label, i.label) AS label FROM entities t "
        f"LEFT JOIN {_NAME.format(kind='entity')} n ON t.id = n.id LEFT JOIN item_nodes m ON t.id = m.entity "
        f"LEFT JOIN {_NAME.format(kind='item')} i ON m.id = i.id ORDER BY t.row"
    ),
    "relations": f"SELECT t.id, n.label FROM relations t LEFT JOIN {_NAME.format(kind='relation')} n USING (id) ORDER BY t.row",
    "triples": "SELECT head, relation, tail FROM triples ORDER BY ALL",
    "user_triples": "SELECT head, relation, tail FROM user_triples ORDER BY ALL",
}


def prepare(sources: list[Source], options: ReadOptions, out: Path, step: Step = lambda _: None) -> PrepareReport:
    """Run the sources and write one data set folder, whole or not at all.

    Raises:
        DataError: the files cannot be used, or the folder cannot be written.
        ConfigError: an option does not fit the files.
    """
    with files.atomic_folder(out, overwrite=options.overwrite, kind="dataset") as folder:
        with spill_folder(options, folder) as spill, connect(options, spill) as connection:
            job, times = _build(sources, Stage(connection), options, step)
            tables = _tables(job)
            _refuse_empty(job)
            step("writing the tables")
            for name in TABLES:
                target = literal(str(folder / f"{name}.parquet"))
                job.run(f"COPY ({tables[name]}) TO {target} (FORMAT parquet, COMPRESSION zstd)")
            report = _report(job, times, out, places=False)
        write_manifest(folder, report.to_json())
    return report


def validate(sources: list[Source], options: ReadOptions, step: Step = lambda _: None) -> PrepareReport:
    """Do all that `prepare` does but write, and look up where repeated rows stand."""
    with spill_folder(options, Path(gettempdir())) as spill, connect(options, spill) as connection:
        empty: list[EmptyFileError] = []
        job, times = _build(sources, Stage(connection), options, step, empty)
        report = _report(job, times, None, places=True)
    gone = [Finding("problem", "data", f"{err.found} ({err.where})", 1) for err in empty]
    return replace(report, findings=[*gone, *report.findings])


def _build(
    sources: list[Source], stage: Stage, options: ReadOptions, step: Step, empty: list[EmptyFileError] | None = None
) -> tuple[Job, tuple[str, str] | None]:
    """Run the sources and build every table of the result; with a list for them, empty files are collected, not raised."""

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
        except EmptyFileError as err:
            if empty is None:
                raise
            empty.append(err)

    for source in sources:
        attempt(partial(source, stage))
    _check_attributes(stage, options)
    checked: list[Checked] = []
    for part in stage.parts:
        step(f"reading {part.scan.path.name}" if part.scan else f"reading {part.kind}")
        attempt(partial(_take, checked, stage, part, options))
    job = Job(stage, options, checked, step)
    times = build_pairs(job)
    build_facts(job)
    return job, times


def _take(checked: list[Checked], stage: Stage, part: Part, options: ReadOptions) -> None:
    checked.append(take_in(stage, part, options))


def _check_attributes(stage: Stage, options: ReadOptions) -> None:
    asked = {"attributes": options.attributes if isinstance(options.attributes, tuple) else (), "bins": tuple(options.bins)}
    for option, names in asked.items():
        for name in names:
            if plain(name) not in stage.attributes:
                raise ConfigError(
                    f"option {option}",
                    repr(name),
                    expected=f"one of {', '.join(sorted(stage.attributes)) or 'no column: there is no attribute table'}",
                    fix="Name a column of an attribute table.",
                )
    facts = [source["options"]["columns"] for source in stage.sources if source["format"] == "attributes"]
    used = {plain(name) for columns in facts for name in columns}
    for name in options.bins:
        if plain(name) not in used:
            raise ConfigError(
                "option bins",
                f"{name!r}, which --attributes leaves out",
                expected="a column that becomes facts",
                fix="Name it in --attributes too, or leave it out of --bins.",
            )


def _tables(job: Job) -> dict[str, str]:
    """Return the SQL of every table of the result."""
    columns = {row[0] for row in job.run("DESCRIBE pairs")}
    extra = [name for name in ("value", "time_s") if name in columns]
    order = ", ".join(["user", *["time_s"] * ("time_s" in extra), "item"])
    removed = any(
        job.number(f"SELECT count(*) FROM all_{name}") > job.number(f"SELECT count(*) FROM {name}")
        for name in ("users", "items")
    )
    source = "pairs"
    if removed:  # else the codes are the rows, and two joins over all interactions can be spared
        rows = ", ".join(["u.row AS user", "i.row AS item", *extra])
        source = f"(SELECT {rows} FROM pairs p JOIN users u ON p.user = u.code JOIN items i ON p.item = i.code)"
    chosen = ", ".join(["user", "item", *extra])
    return {**_CONTENT, "interactions": f"SELECT {chosen} FROM {source} ORDER BY {order}"}


def _refuse_empty(job: Job) -> None:
    if job.number("SELECT count(*) FROM pairs"):
        return
    tallies = [tally for tally in job.tallies() if tally.kind == "interactions"]
    raise DataError(
        "interactions",
        f"none left of {tallies[0].read} rows" if tallies else "no interactions file",
        expected="at least one pair of user and item",
        fix="Loosen the filters." if tallies else "Name the file with the interactions (--interactions).",
    )


def _report(job: Job, times: tuple[str, str] | None, out: Path | None, *, places: bool) -> PrepareReport:
    tallies = job.tallies()
    counts = {name: job.number(f"SELECT count(*) FROM {'pairs' if name == 'interactions' else name}") for name in TABLES}
    counts["linked_items"] = job.number("SELECT count(*) FROM item_nodes WHERE linked")
    found = findings(job, tallies, places=places)
    return PrepareReport(out, job.stage.sources, job.options.changed(), counts, tallies, list(job.filters), found, times)
