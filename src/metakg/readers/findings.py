"""What a person should know before training on the data: lost rows, contradictions, and the odd corners of the graph."""

from __future__ import annotations

from metakg.readers.facts import places_of
from metakg.readers.job import Job
from metakg.readers.pairs import partial_columns
from metakg.readers.report import SHOWN, Finding, Place, Tally

_ENDS = "SELECT head FROM triples UNION SELECT tail FROM triples"
_USED = "SELECT relation FROM triples UNION ALL SELECT relation FROM user_triples"
_NOTHING = ", ".join(f"'{word}'" for word in ("null", "nan", "none", "n/a", "nil", "undefined", r"\n", "#n/a"))
"""What other programs write for a missing value, in small letters; MySQL's is a backslash and an N."""
_SEVERAL = 20
_NEARLY_ALL = 0.9
"""Of so many items or more, a share that tells none from another; `metakg.models.channels` draws the same line."""
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
    found = [
        *_apart(job),
        *_strangers(job),
        *(Finding("problem", "interactions", what, rows) for what, rows in partial_columns(job)),
        *found,
        *_unread(job),
        *_values(job),
        *_lists(job),
        *_everywhere(job),
        *_missing(job),
    ]
    for what, query in _ODD.items():
        if "fact" in what and not has_graph:
            continue
        count = job.number(f"SELECT count(*) FROM ({query})")
        if count:
            examples = [str(row[0]) for row in job.run(f"{query} LIMIT {SHOWN}")]
            found.append(Finding("note", "data", what, count, examples))
    return found


def _apart(job: Job) -> list[Finding]:
    """Return a problem where the graph and the clicks have no item in common: their ids are written otherwise."""
    of_items = f"SELECT id, row, row IN ({_ENDS}) AS told, code IN (SELECT item FROM pairs) AS clicked FROM items"
    both = job.number(f"SELECT count(*) FROM ({of_items}) WHERE told AND clicked")
    first = f"SELECT id FROM ({of_items}) WHERE {{}} ORDER BY row LIMIT 1"
    told, clicked = (job.run(first.format(which)) for which in ("told", "clicked"))
    if both or not told or not clicked:
        return []
    what = f"no item with a click has a fact (ids look like {clicked[0][0]!r} there and {told[0][0]!r} here)"
    return [Finding("problem", "data", what, job.number(f"SELECT count(*) FROM ({of_items}) WHERE told"))]


def _strangers(job: Job) -> list[Finding]:
    """Return a problem where facts about users are about none who clicked, or links lead to nothing that has a fact."""
    found = []
    about = "SELECT id, row FROM users WHERE row IN (SELECT head FROM user_triples)"
    clicked = "SELECT id, row FROM users WHERE code IN (SELECT user FROM pairs)"
    told, acting = (job.run(f"SELECT id FROM ({query}) ORDER BY row LIMIT 1") for query in (about, clicked))
    if told and acting and not job.number(f"SELECT count(*) FROM ({about}) a JOIN ({clicked}) c USING (row)"):
        what = f"no user with a click has a fact (ids look like {acting[0][0]!r} there and {told[0][0]!r} here)"
        found.append(Finding("problem", "data", what, job.number(f"SELECT count(*) FROM ({about})")))
    linked = job.number("SELECT count(*) FROM item_nodes WHERE linked")
    if linked and job.number("SELECT count(*) FROM triples"):
        with_facts = job.number(f"SELECT count(*) FROM item_nodes WHERE linked AND row IN ({_ENDS})")
        if not with_facts:
            entity = job.run("SELECT entity FROM item_nodes WHERE linked ORDER BY row LIMIT 1")[0][0]
            other = job.run("SELECT id FROM entities WHERE row = (SELECT min(head) FROM triples)")[0][0]
            what = f"no linked item has a fact (links name entities like {entity!r}, facts like {other!r})"
            found.append(Finding("problem", "data", what, linked))
    return found


def _everywhere(job: Job) -> list[Finding]:
    """Return a note of facts that nearly every item has: they tell no item from another, and still are reasons."""
    items = job.number("SELECT count(*) FROM items")
    if items < _SEVERAL:
        return []
    per_fact = f"SELECT tail, relation, count(*) AS n FROM triples WHERE head < {items} GROUP BY tail, relation"
    common = f"SELECT e.id, n FROM ({per_fact}) f JOIN entities e ON f.tail = e.row WHERE n >= {_NEARLY_ALL} * {items}"
    found = job.run(f"{common} ORDER BY n DESC, e.row")
    if not found:
        return []
    what = "facts that nearly every item has, which tell no item from another (leave them out)"
    return [Finding("note", "data", what, len(found), [str(row[0]) for row in found[:SHOWN]])]


def _missing(job: Job) -> list[Finding]:
    """Return notes of ids that stand for a missing value in other programs."""
    found = []
    for table, what in (("users", "users"), ("items", "items"), ("entities", "attribute values")):
        name = "regexp_replace(id, '^[^:]*:', '')" if table == "entities" else "id"
        own = " AND row >= (SELECT count(*) FROM items)" if table == "entities" else ""
        looks = f"FROM {table} WHERE lower({name}) IN ({_NOTHING}){own}"
        count = job.number(f"SELECT count(*) {looks}")
        if count:
            examples = [str(row[0]) for row in job.run(f"SELECT id {looks} ORDER BY row LIMIT {SHOWN}")]
            text = f"{what} whose ids are elsewhere words for a missing value (leave such cells empty)"
            found.append(Finding("note", "data", text, count, examples))
    return found


def _unread(job: Job) -> list[Finding]:
    found = []
    for source in job.stage.sources:
        name = source["files"][0]["name"]
        if others := source["options"].get("left_out"):
            what = f"{name} is not read, since another file is called as clicks are (--interactions {name} reads it too)"
            found.append(Finding("note", "interactions", what, 1, [f"it also has {', '.join(others)}"]))
        if left := source["options"].get("not_read"):
            what = f"columns of {name} that are not read"
            kind = "attributes" if source["format"] == "attributes" else "interactions"
            found.append(Finding("note", kind, what, len(left), left))
    return found


def _values(job: Job) -> list[Finding]:
    """Return a note where clicks have values, all of which count alike."""
    has = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'pairs' AND column_name = 'value'"
    if not job.number(has) or job.options.min_value is not None:
        return []
    (low, high, rows), *_ = job.run("SELECT min(value), max(value), count(value) FROM pairs")
    if low is None or low == high:
        return []
    what = f"values from {low:g} to {high:g}, where each row counts as a like, the low ones too (--min-value N leaves them out)"
    return [Finding("note", "interactions", what, rows)]


def _lists(job: Job) -> list[Finding]:
    """Return a note where attribute values look like lists that were not taken apart."""
    if job.options.separator is not None or not any(source["format"] == "attributes" for source in job.stage.sources):
        return []
    looks = "FROM entities WHERE row >= (SELECT count(*) FROM items) AND contains(id, '|')"
    count = job.number(f"SELECT count(*) {looks}")
    if not count:
        return []
    examples = [str(row[0]) for row in job.run(f"SELECT id {looks} ORDER BY row LIMIT {SHOWN}")]
    return [Finding("note", "data", 'values that look like lists (--separator "|" takes them apart)', count, examples)]


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
