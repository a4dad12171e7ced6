"""KGAT folders (Wang et al., KDD 2019), as the MetaKG authors publish them too.

    kg_final.txt                                 head relation tail, row numbers
    entity_list.txt relation_list.txt user_list.txt    org_id remap_id
    item_list.txt                                org_id remap_id freebase_id; items are the entities 0..I-1
    train.txt test.txt valid1.txt                user item item ..., row numbers
    test_scenario/*.txt                          the same, by scenario (MetaKG)

Interactions are all pairs of all files that are there: of train and test, or the union of every scenario's support and query.
The files fix the row numbers, and they are kept. A list that is missing leaves row numbers as ids. There are no times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metakg.errors import DataError
from metakg.readers.duck import translated
from metakg.readers.options import ReadOptions
from metakg.readers.scan import Scan, check_file, head, literal, scan_csv
from metakg.readers.staging import Stage

GRAPH = "kg_final.txt"
LISTS = {"user": "user_list.txt", "item": "item_list.txt", "entity": "entity_list.txt", "relation": "relation_list.txt"}
ADJACENCY = ("train.txt", "test.txt", "valid.txt", "valid1.txt")
SCENARIOS = "test_scenario"


@dataclass(frozen=True)
class IdList:
    """One list file as a table (row, id, other, line), checked to number 0..n-1.

    Attributes:
        path: the file.
        table: the DuckDB table; `other` is the third column (an item's entity), NULL where there is none.
        size: n.
        has_other: whether every line has a third column.
    """

    path: Path
    table: str
    size: int
    has_other: bool

    def name(self, row: str) -> str:
        """Return SQL for the id of a row number; NULL if the list does not have it."""
        return f"(SELECT list(id ORDER BY row) FROM {self.table})[CAST({row} AS BIGINT) + 1]"


def looks_like_kgat(folder: Path) -> bool:
    """Return whether this is a KGAT folder."""
    return (folder / GRAPH).is_file() or (folder / SCENARIOS).is_dir() or (folder / LISTS["item"]).is_file()


def stage_kgat(stage: Stage, folder: Path, options: ReadOptions) -> None:
    """Stage a whole KGAT folder.

    Raises:
        DataError: a file is damaged, a list does not number its rows 0..n-1, or the graph's columns look swapped.
    """
    del options  # the format leaves nothing to choose
    names = [*ADJACENCY, *(f"{SCENARIOS}/{path.name}" for path in sorted((folder / SCENARIOS).glob("*.txt")))]
    pairs = [folder / name for name in names if (folder / name).is_file()]
    used = [folder / name for name in (GRAPH, *LISTS.values()) if (folder / name).is_file()]
    stage.note("kgat", [*used, *pairs])
    lists = {kind: read_list(stage, folder, kind) for kind in LISTS}
    for kind, found in lists.items():
        if found is not None:
            at = f"{literal(str(found.path))} AS file, line"
            stage.add("ids", f"SELECT {literal(kind)} AS kind, id, row, {at} FROM {found.table}")
    _add_links(stage, lists)
    for path in pairs:
        _add_pairs(stage, path, lists["user"], lists["item"])
    if (folder / GRAPH).is_file():
        _add_triples(stage, folder / GRAPH, lists["entity"], lists["item"], lists["relation"])


def open_graph(stage: Stage, folder: Path) -> dict[str, IdList | None]:
    """Read the lists of a KGAT folder whose graph is to be joined with interactions from elsewhere.

    Returns:
        The lists "entity", "item" and "relation"; None for one that the folder does not have.

    Raises:
        DataError: a list is damaged, or there is no graph.
    """
    if not (folder / GRAPH).is_file():
        packed = (folder / f"{GRAPH}.zip").is_file()
        raise DataError(
            str(folder),
            f"{GRAPH}.zip, but no {GRAPH}" if packed else f"no {GRAPH}",
            expected="the graph of a KGAT release",
            fix="Unpack it." if packed else "Check the folder.",
        )
    stage.note("kgat-graph", [folder / name for name in (GRAPH, *LISTS.values()) if (folder / name).is_file()])
    return {kind: read_list(stage, folder, kind) for kind in ("entity", "item", "relation")}


def stage_graph(stage: Stage, folder: Path, lists: dict[str, IdList | None], occurring: str) -> None:
    """Stage only the facts of a KGAT folder, which entity each item is, and what its relations are called.

    Args:
        stage: where to.
        folder: the KGAT folder.
        lists: its lists, from `open_graph`.
        occurring: SELECT of the ids (without NULL) of items that occur in the interactions; other items need no link.

    Raises:
        DataError: as `stage_kgat`.
    """
    _add_links(stage, lists, skip=f"CASE WHEN id NOT IN ({occurring}) THEN 'an item without an interaction' END")
    _add_triples(stage, folder / GRAPH, lists["entity"], lists["item"], lists["relation"])


def read_list(stage: Stage, folder: Path, kind: str) -> IdList | None:
    """Read one list file, or return None if the folder does not have it.

    Raises:
        DataError: a line does not read `org_id remap_id`, or the numbers are not 0..n-1, each once.
    """
    path = folder / LISTS[kind]
    if not path.is_file():
        return None
    check_file(path)
    first = head(path, lines=1)[0].split()
    has_header = first[:2] == ["org_id", "remap_id"]
    width = min(len(first), 3)
    scan = _lines(path)
    table = f"kgat_{kind}_list"
    # In the Yelp2018 release the last two columns of item_list.txt stand together, and the third repeats the first:
    # "jD7tkMdKp5lwGSuHSChx_w 27669jD7tkMdKp5lwGSuHSChx_w".
    pattern = r"^(.*\S)\s+(\d+)\s+(\S+)$" if width == 3 else r"^(.*\S)\s+(\d+)$"
    with translated(path):
        stage.connection.execute(
            f"""
            CREATE TABLE {table} AS
            WITH texts AS (SELECT trim(text, ' \t\r') AS text, row_number() OVER () AS line FROM {scan.sql}),
            data AS (SELECT * FROM texts WHERE line > {int(has_header)} AND text <> ''),
            cells AS (SELECT *, split_part(text, ' ', 1) AS first, split_part(text, ' ', 2) AS rest FROM data),
            glued AS (
                SELECT *, {width} = 3 AND text = first || ' ' || rest AND length(rest) > length(first)
                    AND ends_with(rest, first) AS glued
                FROM cells)
            SELECT line, text,
                CASE WHEN glued THEN first ELSE nullif(regexp_extract(text, '{pattern}', 1), '') END AS id,
                TRY_CAST(CASE WHEN glued THEN left(rest, length(rest) - length(first))
                    ELSE regexp_extract(text, '{pattern}', 2) END AS INTEGER) AS row,
                CASE WHEN glued THEN first WHEN {width} = 3 THEN regexp_extract(text, '{pattern}', 3) END AS other
            FROM glued
            """
        )
    _check_list(stage, table, path, width)
    size = stage.connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    return IdList(path, table, int(size), width == 3)


def _check_list(stage: Stage, table: str, path: Path, width: int) -> None:
    numbered = f"(SELECT *, row_number() OVER (ORDER BY line) - 1 AS due FROM {table})"
    ranked = f"(SELECT *, row_number() OVER (PARTITION BY id ORDER BY line) AS turn FROM {table})"
    checks = {
        "org_id remap_id freebase_id" if width == 3 else "org_id remap_id": f"{table} WHERE id IS NULL OR row IS NULL",
        "the rows 0, 1, 2, ... in order": f"{numbered} WHERE row <> due",
        "every id once": f"{ranked} WHERE turn > 1",
    }
    for expected, source in checks.items():
        bad = stage.connection.execute(f"SELECT line, text FROM {source} ORDER BY line LIMIT 1").fetchall()
        if bad:
            line, text = bad[0]
            raise DataError(f"{path} line {line}", repr(text[:99]), expected=expected, fix="Restore the file from the release.")


def _add_links(stage: Stage, lists: dict[str, IdList | None], skip: str = "NULL::VARCHAR") -> None:
    """Stage which entity each item is: the entity of the same row, which the third column of item_list.txt repeats."""
    items, entities = lists["item"], lists["entity"]
    if items is None:
        return
    entity = entities.name("i.row") if entities else "i.other" if items.has_other else "CAST(i.row AS VARCHAR)"
    if entities and items.has_other:
        bad = stage.connection.execute(
            f"SELECT i.line, i.other, e.id FROM {items.table} i LEFT JOIN {entities.table} e ON i.row = e.row "
            "WHERE i.other IS DISTINCT FROM e.id ORDER BY i.line LIMIT 1"
        ).fetchall()
        if bad:
            line, found, expected = bad[0]
            raise DataError(
                f"{items.path} line {line}",
                f"entity {found!r}",
                expected=f"{expected!r}, as {entities.path.name} has for the same row",
                fix="The two lists belong to different data; restore both from one release.",
            )
    at = f"{literal(str(items.path))} AS file, line"
    stage.add("links", f"SELECT id AS item, {entity} AS entity, {skip} AS skip, {at} FROM {items.table} i")


def _add_pairs(stage: Stage, path: Path, users: IdList | None, items: IdList | None) -> None:
    check_file(path)
    scan = _lines(path)
    texts = f"SELECT string_split_regex(trim(text, ' \t\r'), '[ \t]+') AS cells, row_number() OVER () AS line FROM {scan.sql}"
    pairs = f"SELECT line, cells[1] AS u, unnest(cells[2:]) AS i FROM ({texts})"
    rows = f"SELECT line, u, i, TRY_CAST(u AS INTEGER) AS user_row, TRY_CAST(i AS INTEGER) AS item_row FROM ({pairs})"
    cases = "WHEN user_row IS NULL OR item_row IS NULL OR user_row < 0 OR item_row < 0 THEN 'no row numbers' "
    for listed, row in ((users, "user_row"), (items, "item_row")):
        if listed is not None:
            cases += f"WHEN {row} >= {listed.size} THEN 'a row that {listed.path.name} does not have' "
    user = f"coalesce({users.name('user_row')}, u)" if users else "u"
    item = f"coalesce({items.name('item_row')}, i)" if items else "i"
    stage.add(
        "interactions",
        f"SELECT {user} AS user, {item} AS item, CASE {cases}END AS problem, {literal(str(path))} AS file, line FROM ({rows})",
    )


def _add_triples(stage: Stage, path: Path, entities: IdList | None, items: IdList | None, relations: IdList | None) -> None:
    """Stage kg_final.txt in external ids, and the relations' labels."""
    check_file(path)
    delimiter = "\t" if "\t" in head(path, lines=1)[0] else " "
    scan = scan_csv(path, ["h", "r", "t"], delimiter=delimiter, quote="")
    rows = f"SELECT h, r, t, {', '.join(f'TRY_CAST({name} AS INTEGER) AS {name}_row' for name in 'hrt')} FROM {scan.sql}"
    cases = "WHEN h_row IS NULL OR r_row IS NULL OR t_row IS NULL OR least(h_row, r_row, t_row) < 0 THEN 'no row numbers' "
    for listed, columns in ((entities, "ht"), (relations, "r")):
        if listed is None:
            continue
        for column in columns:
            cases += f"WHEN {column}_row >= {listed.size} THEN 'a row that {listed.path.name} does not have' "
    if relations is not None:
        _check_columns(stage, path, rows, relations)
    relation = f"coalesce({relations.name('r_row')}, r)" if relations else "r"
    head_id, tail_id = (_entity(f"{column}_row", column, entities, items) for column in "ht")
    stage.add(
        "triples",
        f"SELECT {head_id} AS head, {relation} AS relation, {tail_id} AS tail, CASE {cases}END AS problem FROM ({rows})",
        scan=scan,
        guessed_order=relations is None,
    )
    if relations is not None:
        at = f"{literal(str(relations.path))} AS file, line"
        label = "regexp_extract(id, '([^/#]+)[/#]*$', 1)"
        stage.add("labels", f"SELECT 'relation' AS kind, id, {label} AS label, {at} FROM {relations.table}")


def _entity(row: str, text: str, entities: IdList | None, items: IdList | None) -> str:
    if entities is not None:
        return f"coalesce({entities.name(row)}, {text})"
    if items is not None and items.has_other:
        return f"coalesce((SELECT list(other ORDER BY row) FROM {items.table})[CAST({row} AS BIGINT) + 1], {text})"
    return text


def _check_columns(stage: Stage, path: Path, rows: str, relations: IdList) -> None:
    """Raise if the relation column mostly holds what no relation is."""
    known = f"r_row BETWEEN 0 AND {relations.size - 1}"
    with translated(path):
        count, fitting, line = stage.connection.execute(
            f"SELECT count(*), count(*) FILTER ({known}), min(line) FILTER (NOT ({known})) "
            f"FROM (SELECT *, row_number() OVER () AS line FROM ({rows}))"
        ).fetchall()[0]
    if count and fitting * 2 < count:
        raise DataError(
            f"{path} line {line}",
            f"in the second column, as in {count - fitting} of {count} lines, a number that no relation has",
            expected=f"head relation tail, with relations 0..{relations.size - 1} as in {relations.path.name}",
            fix="The columns look swapped, or the files belong to different data; restore both from one release.",
        )


def _lines(path: Path) -> Scan:
    """Return a scan of whole lines (column `text`, NULL for a blank line): no character delimits or quotes."""
    return scan_csv(path, ["text"], delimiter="\x01", quote="")
