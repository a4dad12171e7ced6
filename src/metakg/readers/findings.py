"""What a person should know before training on the data: lost rows, contradictions, and the odd corners of the graph."""

from __future__ import annotations

from metakg.readers.facts import places_of
from metakg.readers.job import Job
from metakg.readers.report import SHOWN, Finding, Place, Tally

_ENDS = "SELECT head FROM triples UNION SELECT tail FROM triples"
_USED = "SELECT relation FROM triples UNION ALL SELECT relation FROM user_triples"
_ODD = {
    "items without a fact": f"SELECT id FROM items WHERE row NOT IN ({_ENDS}) ORDER BY row",
    "items linked to an entity without a fact": f"SELECT id FROM item_nodes WHERE linked AND row NOT IN ({_ENDS}) ORDER BY row",
    "items without an interaction": "SELECT id FROM items WHERE code NOT IN (SELECT item FROM pairs) ORDER BY row",
    "users without an interaction": "SELECT id FROM users WHERE code NOT IN (SELECT user FROM pairs) ORDER BY row",
    "entities without a fact": (
        "SELECT id FROM entities WHERE row >= (SELECT count(*) FROM items) "
        f"AND row NOT IN ({_ENDS} UNION SELECT tail FROM user_triples) ORDER BY row"
    ),
    "relations with a single fact": (
        f"SELECT id FROM relations JOIN ({_USED}) f ON relations.row = f.relation "
        "GROUP BY id, row HAVING count(*) = 1 ORDER BY row"
    ),
    "relations without a fact": f"SELECT id FROM relations WHERE row NOT IN ({_USED}) ORDER BY row",
}


def findings(job: Job, tallies: list[Tally], *, places: bool) -> list[Finding]:
    """Return problems first, then notes.

    Args:
        job: the preparation, its tables built.
        tallies: its accounts.
        places: also look up file and line of the first repeated rows and self loops, which takes another look at the files.
    """
    found = []
    for tally in tallies:
        for reason, count in sorted(tally.rejected.items()):
            found.append(Finding("problem", tally.kind, reason, count, list(tally.places.get(reason, ()))))
    for tally in tallies:
        for reason, count in sorted({**tally.merged, **tally.skipped}.items()):
            where = _repeats(job, tally.kind) if places and reason in tally.merged else []
            found.append(Finding("note", tally.kind, reason, count, where))
    loops = job.number("SELECT count(*) FROM triples WHERE head = tail")
    if loops:
        found.append(Finding("note", "triples", "a fact that links an entity to itself", loops, _loops(job) if places else []))
    has_graph = job.number("SELECT count(*) FROM relations") > 0
    for what, query in _ODD.items():
        if "fact" in what and not has_graph:
            continue
        count = job.number(f"SELECT count(*) FROM ({query})")
        if count:
            examples = [str(row[0]) for row in job.run(f"{query} LIMIT {SHOWN}")]
            found.append(Finding("note", "data", what, count, examples))
    return found


def _repeats(job: Job, kind: str) -> list[Place]:
    """Return the places of the first rows that repeat an earlier one."""
    keys = {
        "interactions": "user, item",
        "triples": "head, relation, tail",
        "item_triples": "item, relation, entity",
        "user_triples": "user, relation, entity",
        "links": "item, entity",
        "labels": "kind, id",
    }[kind]
    rows = job.rows(kind, *keys.split(", "))
    again = f"SELECT {keys}, seq, min(seq) OVER (PARTITION BY {keys}) AS first FROM {rows}"
    query = f"SELECT seq FROM ({again}) WHERE seq > first ORDER BY seq LIMIT {SHOWN}"
    return places_of(job, kind, [row[0] for row in job.run(query)])


def _loops(job: Job) -> list[Place]:
    query = (
        "SELECT f.seq FROM entity_facts f JOIN entities h ON f.head = h.id JOIN entities t ON f.tail = t.id "
        f"WHERE h.row = t.row ORDER BY f.seq LIMIT {SHOWN}"
    )
    return places_of(job, "triples", [row[0] for row in job.run(query)])
