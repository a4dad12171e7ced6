"""A bookshop small enough to know by heart: 8 users, 12 items, 20 entities. Its odd corners are on purpose.

- "hal" has never clicked; only his age and town are known.
- "i10" has facts and no click; "i11" has clicks and no fact (the graph does not know it); "e4" (the place) is also a home town.
- Item ids and entity ids differ, so that mixing them up is noticed.
- Every call builds it anew, so a test that spoils its copy spoils nothing else.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, Support, Tasks, TrainView, Triples, Vocabulary
from metakg.data.view import unlinked_entity
from metakg.types import Rows

USERS = ("ann", "ben", "cleo", "dan", "eve", "finn", "gus", "hal")
ITEMS = (
    "The Quiet House",
    "The Quiet Bell",
    "The Quiet Sea",
    "Tin Moon Rising",
    "Tin Moon Waning",
    "Tin Moon Falling",
    "Letters to Vesta",
    "The Clockmaker's Ghost",
    "A Garden in Orbit",
    "Salt and Lanterns",
    "The Unread Star",
    "A Loose Pamphlet",
)
ENTITIES = ("Mira Voss", "Otto Lind", "Pearl Okafor", "Ghost story", "Space opera", "Tin Moon", "Lisbon", "25 to 34")
RELATIONS = {
    "written_by": "written by",
    "genre": "has the genre",
    "part_of": "is part of",
    "set_in": "is set in",
    "influenced_by": "influenced by",
    "aged": "is aged",
    "at_home_in": "is at home in",
}
MIRA, OTTO, PEARL, GHOST, SPACE, TIN_MOON, LISBON, AGE = range(12, 20)

CLICKS = (  # user, item; one an hour, in this order
    (0, 0), (1, 3), (2, 0), (0, 1), (1, 4), (3, 3), (4, 1), (2, 2), (0, 2), (1, 5), (5, 4), (3, 5),
    (6, 9), (2, 7), (4, 7), (5, 6), (0, 7), (1, 6), (3, 8), (6, 0), (5, 8), (4, 11), (2, 9), (6, 11),
)  # fmt: skip
FACTS = (  # head, relation, tail
    (0, 0, MIRA), (1, 0, MIRA), (2, 0, MIRA), (3, 0, OTTO), (4, 0, OTTO), (5, 0, OTTO), (6, 0, OTTO), (10, 0, OTTO),
    (7, 0, PEARL), (8, 0, PEARL), (9, 0, PEARL),
    (0, 1, GHOST), (1, 1, GHOST), (2, 1, GHOST), (7, 1, GHOST),
    (3, 1, SPACE), (4, 1, SPACE), (5, 1, SPACE), (6, 1, SPACE), (8, 1, SPACE), (10, 1, SPACE),
    (3, 2, TIN_MOON), (4, 2, TIN_MOON), (5, 2, TIN_MOON),
    (0, 3, LISBON), (7, 3, LISBON), (9, 3, LISBON),
    (PEARL, 4, MIRA), (PEARL, 4, OTTO),
)  # fmt: skip
USER_FACTS = ((0, 5, AGE), (7, 5, AGE), (7, 6, LISBON))
START_S = 1_704_067_200
"""2024-01-01 00:00 UTC."""


def toy() -> Dataset:
    """Return the toy bookshop, the same every time."""
    items = [f"i{number:02d}" for number in range(len(ITEMS))]
    nodes = [f"e:{item}" for item in items[:-1]] + [unlinked_entity(items[-1])]
    nodes += [f"e{number}" for number in range(len(ENTITIES))]
    vocabulary = Vocabulary(
        IdMap(USERS, [name.title() for name in USERS], kind="user"),
        IdMap(items, ITEMS, kind="item"),
        IdMap(nodes, [*ITEMS, *ENTITIES], kind="entity"),
        IdMap(list(RELATIONS), list(RELATIONS.values()), kind="relation"),
    )
    users, clicked = _columns(CLICKS)
    times = START_S + 3600 * np.arange(len(CLICKS), dtype=np.int64)
    graph = KnowledgeGraph(Triples(*_columns(FACTS)), Triples(*_columns(USER_FACTS)))
    return Dataset(vocabulary, Interactions(users, clicked, times_s=times), graph, {"source": [{"format": "toy"}]})


def toy_view(*, tasks: bool = False) -> TrainView:
    """Return the toy bookshop as training data; with `tasks`, one for each of seven users: the last click is the query."""
    data = toy()
    pairs = data.interactions.pairs_only()
    if not tasks:
        return TrainView(data.vocabulary, pairs, data.graph)
    last = {user: at for at, user in enumerate(pairs.users.tolist())}
    query = np.zeros(len(pairs), np.bool_)
    query[list(last.values())] = True
    users = np.array(sorted(last), np.int32)
    return TrainView(data.vocabulary, pairs, data.graph, Tasks(users, pairs.select(~query), pairs.select(query)))


def arriving() -> Support:
    """Return what arrives at the toy bookshop: every kind of unknown at once.

    "iris" clicks known and new books, "joy" only has an age, "kim" clicks a book that nobody has heard of; "ann" is known.
    "i90" comes with facts (one about a new author, "e90"), "i91" without, "i92" is only ever clicked. A fact about a known
    book and the relation "translated_by" are new as well.
    """
    clicks = [
        ("iris", "i00"),
        ("iris", "i07"),
        ("iris", "i90"),
        ("kim", "i92"),
        ("ann", "i03"),
        ("ann", "i91"),
        ("iris", "i00"),
    ]
    users, items = zip(*clicks, strict=True)

    return Support(
        pa.array(users, pa.string()),
        pa.array(items, pa.string()),
        _table(("item", "entity", "label"), ("i90", "e:i90", "The Quiet Tide"), ("i91", None, "Nobody's Diary")),
        _table(
            ("head", "relation", "tail"),
            ("e:i90", "written_by", "e90"),
            ("e:i90", "genre", "e3"),
            ("e:i05", "set_in", "e6"),
            ("e:i90", "translated_by", "e1"),
        ),
        _table(("head", "relation", "tail"), ("joy", "aged", "e7"), ("iris", "at_home_in", "e6")),
        _table(("entity", "label"), ("e90", "Vera Lumen")),
    )


def _table(names: tuple[str, ...], *rows: tuple[str | None, ...]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})


def _columns(rows: tuple[tuple[int, ...], ...]) -> list[Rows]:
    return [np.array(column, np.int32) for column in zip(*rows, strict=True)]
