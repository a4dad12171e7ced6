"""Links, entities, relations, facts and labels: the graph's side of the data set, in rows."""

from __future__ import annotations

from collections.abc import Mapping

from metakg.errors import DataError
from metakg.readers.duck import translated
from metakg.readers.intake import Checked, locate
from metakg.readers.job import ORDER, Job
from metakg.readers.report import SHOWN, Place
from metakg.readers.scan import literal

UNKNOWN_ITEM = "an item that occurs nowhere else"
SECOND_ENTITY = "a second entity of one item"
SECOND_ITEM = "a second item of one entity"
FILTERED_ITEM = "an item that a filter removed"
FILTERED_USER = "a user that a filter removed"
_SWAPPED_FROM = 30
_SWAPPED_RATIO = 5
"""Relations are few and entities many. Without a header, a "relation" column with at least 30 values and five times as many as
the head or the tail column is taken for a swapped one."""


def build_facts(job: Job) -> None:
    """Build the tables `item_nodes`, `entities`, `relations`, `triples`, `user_triples` and `names`.

    Needs `all_items`, `items` and `users` of `pairs.build_pairs`.

    Raises:
        DataError: columns look swapped, nothing links items and facts, two items would be one entity, or a link is wrong and
            `on_bad` is "fail".
    """
    for checked in job.of("triples"):
        _check_order(job, checked)
    job.step("linking items and entities")
    _link(job)
    _number_nodes(job)
    _check_links(job)
    job.step("writing facts as rows")
    _resolve(job)
    _label(job)


def _check_order(job: Job, checked: Checked) -> None:
    if not checked.part.guessed_order:
        return
    counts = job.run(
        f"SELECT count(DISTINCT head), count(DISTINCT relation), count(DISTINCT tail) FROM {checked.table} WHERE code = 0"
    )[0]
    heads, relations, tails = (int(count) for count in counts)
    if relations < _SWAPPED_FROM or relations < _SWAPPED_RATIO * min(heads, tails):
        return
    where = str(checked.part.scan.path) if checked.part.scan else "triples"
    likely = "rht" if heads < tails else "htr"
    raise DataError(
        where,
        f"{relations} different relations, but only {heads} heads and {tails} tails",
        expected="the columns head, relation, tail, with fewer relations than entities",
        fix=f"The columns are probably in another order: try --triple-order {likely}; if they are right, --triple-order hrt.",
    )


def _link(job: Job) -> None:
    """Create `links`: every usable link with its verdict ('' if it is kept), and account for it."""
    job.run(
        f"""
        CREATE TABLE links AS
        WITH known AS (
            SELECT l.*, a.code AS code, i.row AS row FROM {job.rows("links", "item", "entity")} l
            LEFT JOIN all_items a ON l.item = a.id LEFT JOIN items i ON l.item = i.id),
        alive AS (
            SELECT *, row_number() OVER (PARTITION BY item ORDER BY seq) AS turn,
                first_value(entity) OVER (PARTITION BY item ORDER BY seq) AS first_entity
            FROM known WHERE row IS NOT NULL),
        firsts AS (SELECT seq, row_number() OVER (PARTITION BY entity ORDER BY seq) AS turn FROM alive WHERE turn = 1)
        SELECT k.item, k.entity, k.seq, CASE
            WHEN k.code IS NULL THEN '{UNKNOWN_ITEM}' WHEN k.row IS NULL THEN '{FILTERED_ITEM}'
            WHEN a.turn > 1 AND a.entity = a.first_entity THEN 'a repeated link' WHEN a.turn > 1 THEN '{SECOND_ENTITY}'
            WHEN f.turn > 1 THEN '{SECOND_ITEM}' ELSE '' END AS verdict
        FROM known k LEFT JOIN alive a ON k.seq = a.seq LEFT JOIN firsts f ON k.seq = f.seq
        """
    )
    account = job.account("links")
    for verdict, count in job.run("SELECT verdict, count(*) FROM links GROUP BY 1"):
        if not verdict:
            account.kept = count
        elif verdict == "a repeated link":
            account.merged[verdict] = count
        elif verdict == FILTERED_ITEM:
            account.filtered[verdict] = count
        else:
            account.rejected[verdict] = count
            query = f"SELECT seq FROM links WHERE verdict = '{verdict}' ORDER BY seq LIMIT {SHOWN}"
            account.places[verdict] = places_of(job, "links", [row[0] for row in job.run(query)])
    if account.rejected and job.options.on_bad == "fail":
        verdict = next(iter(account.rejected))
        place = account.places[verdict][0]
        raise DataError(
            place.where,
            f"{verdict} ({place.found})",
            expected="one known item and one entity, each linked once",
            fix="Correct the link. To leave such links out and count them: --on-bad reject.",
        )


def places_of(job: Job, kind: str, seqs: list[int]) -> list[Place]:
    """Return the places of rows of one kind, by their number over all its parts."""
    wanted: dict[str, tuple[Checked, list[int]]] = {}
    for seq in seqs:
        checked, row = job.part_of(kind, seq)
        wanted.setdefault(checked.table, (checked, []))[1].append(row)
    found = []
    for checked, rows in wanted.values():  # one look at each file, however many places are asked for
        with translated(checked.part.scan.path if checked.part.scan else None):
            places = locate(job.stage, checked.part, rows)
        found += [places[row] for row in rows]
    return found


def _number_nodes(job: Job) -> None:
    """Create `graph_ids`, `item_nodes` (id, row, entity), `entities` (id, row) and `relations` (id, row)."""
    ids = job.rows("ids", "kind", "id", "row")
    item_facts = f"SELECT * FROM {job.rows('item_triples', 'item', 'relation', 'entity')} SEMI JOIN items ON item = items.id"
    user_facts = f"SELECT * FROM {job.rows('user_triples', 'user', 'relation', 'entity')} SEMI JOIN users ON user = users.id"
    job.run(f"CREATE VIEW item_facts AS {item_facts}")
    job.run(f"CREATE VIEW user_facts AS {user_facts}")
    job.run(f"CREATE VIEW entity_facts AS SELECT * FROM {job.rows('triples', 'head', 'relation', 'tail')}")
    entities = {"entity_facts": ("head", "tail"), "item_facts": ("entity",), "user_facts": ("entity",)}
    job.run(
        f"CREATE TABLE graph_ids AS SELECT id, min(given) AS given FROM ({_distinct(entities)} {_listed(ids, 'entity')}) "
        "GROUP BY id"
    )
    same = "" if job.of("links") else "LEFT JOIN graph_ids g ON i.id = g.id"
    own = "l.entity" if job.of("links") else "g.id"
    job.run(
        f"CREATE TABLE item_nodes AS SELECT i.id, i.row, coalesce({own}, 'item:' || i.id) AS entity, "
        f"{own} IS NOT NULL AS linked FROM items i "
        f"LEFT JOIN (SELECT item, entity FROM links WHERE verdict = '') l ON i.id = l.item {same}"
    )
    job.run(
        "CREATE TABLE entities AS SELECT entity AS id, row FROM item_nodes UNION ALL "
        f"SELECT id, CAST((SELECT count(*) FROM item_nodes) + row_number() OVER (ORDER BY {ORDER}) - 1 AS INTEGER) "
        "FROM graph_ids WHERE id NOT IN (SELECT entity FROM item_nodes)"
    )
    relations = dict.fromkeys(entities, ("relation",))
    job.run(
        f"CREATE TABLE relations AS SELECT id, CAST(row_number() OVER (ORDER BY {ORDER}) - 1 AS INTEGER) AS row FROM "
        f"(SELECT id, min(given) AS given FROM ({_distinct(relations)} {_listed(ids, 'relation')}) GROUP BY id)"
    )


def _distinct(columns: Mapping[str, tuple[str, ...]]) -> str:
    """Return SQL for the distinct ids (id, given) of some columns of some views."""
    return " UNION ALL ".join(
        f"SELECT DISTINCT {column} AS id, NULL::INTEGER AS given FROM {view}"
        for view, names in columns.items()
        for column in names
    )


def _listed(ids: str, kind: str) -> str:
    return f"UNION ALL SELECT id, CAST(row AS INTEGER) FROM {ids} WHERE kind = '{kind}'"


def _check_links(job: Job) -> None:
    twice = job.run("SELECT entity, min(id), max(id) FROM item_nodes GROUP BY entity HAVING count(*) > 1 ORDER BY 1 LIMIT 1")
    if twice:
        entity, first, second = twice[0]
        raise DataError(
            "links",
            f"items {first!r} and {second!r} both standing for entity {entity!r}",
            expected="one item for one entity",
            fix='Rename the entity; ids that begin with "item:" belong to items without a link.',
        )
    facts = job.run("SELECT head FROM entity_facts ORDER BY seq LIMIT 1")
    if not job.of("interactions") or not facts or job.number("SELECT count(*) FROM items") == 0:
        return
    if job.number("SELECT count(*) FROM item_nodes WHERE linked") == 0:
        item = job.run("SELECT id FROM items ORDER BY row LIMIT 1")[0][0]
        how = "a link to a known item" if job.of("links") else "an item that is also a head or tail of a triple"
        raise DataError(
            "interactions and triples",
            f"nothing in common: items such as {item!r}, entities such as {facts[0][0]!r}",
            expected=how,
            fix="Give a links file (item, entity) in the ids of both files, and look at the column names.",
        )


def _resolve(job: Job) -> None:
    """Create `triples` and `user_triples` (head, relation, tail; rows), each fact once, and account for them."""
    after = sum(checked.read for checked in job.of("triples"))
    job.run(
        "CREATE TABLE triples AS SELECT head, relation, tail, min(seq) AS seq FROM ("
        "SELECT h.row AS head, r.row AS relation, t.row AS tail, f.seq AS seq FROM entity_facts f "
        "JOIN entities h ON f.head = h.id JOIN relations r ON f.relation = r.id JOIN entities t ON f.tail = t.id "
        f"UNION ALL SELECT i.row, r.row, t.row, f.seq + {after} FROM item_facts f "
        "JOIN items i ON f.item = i.id JOIN relations r ON f.relation = r.id JOIN entities t ON f.entity = t.id"
        ") GROUP BY head, relation, tail"
    )
    job.run(
        "CREATE TABLE user_triples AS SELECT u.row AS head, r.row AS relation, t.row AS tail, min(f.seq) AS seq "
        "FROM user_facts f JOIN users u ON f.user = u.id JOIN relations r ON f.relation = r.id "
        "JOIN entities t ON f.entity = t.id GROUP BY u.row, r.row, t.row"
    )
    for kind, view, kept, removed in (
        ("triples", "entity_facts", f"SELECT count(*) FROM triples WHERE seq < {after}", FILTERED_ITEM),
        ("item_triples", "item_facts", f"SELECT count(*) FROM triples WHERE seq >= {after}", FILTERED_ITEM),
        ("user_triples", "user_facts", "SELECT count(*) FROM user_triples", FILTERED_USER),
    ):
        account = job.account(kind)
        account.kept = job.number(kept)
        usable, alive = sum(checked.good for checked in job.of(kind)), job.number(f"SELECT count(*) FROM {view}")
        if usable > alive:
            account.filtered[removed] = usable - alive
        if alive > account.kept:
            account.merged["a repeated fact"] = alive - account.kept


def _label(job: Job) -> None:
    """Create `names` (kind, id, label): the first label of every id that exists."""
    known = " UNION ALL ".join(
        f"SELECT {literal(kind)} AS kind, id FROM {table}"
        for kind, table in (("user", "users"), ("item", "items"), ("entity", "entities"), ("relation", "relations"))
    )
    job.run(
        f"CREATE TABLE names AS SELECT l.kind, l.id, arg_min(l.label, l.seq) AS label, count(*) AS n "
        f"FROM {job.rows('labels', 'kind', 'id', 'label')} l SEMI JOIN ({known}) k ON l.kind = k.kind AND l.id = k.id "
        "GROUP BY l.kind, l.id"
    )
    for kind in ("ids", "labels"):
        if not job.of(kind):
            continue
        account, usable = job.account(kind), sum(checked.good for checked in job.of(kind))
        if kind == "ids":
            account.kept = usable
            continue
        account.kept, known_rows = job.number("SELECT count(*) FROM names"), job.number("SELECT sum(n) FROM names")
        if known_rows > account.kept:
            account.merged["a further label of the same id"] = known_rows - account.kept
        if usable > known_rows:
            account.skipped["a label of an id that is not in the data"] = usable - known_rows
