"""`TrainView`: all that a model may see; `Tasks`: what a meta-learner learns from; `Support`: what arrives later.

A view is closed: it has its own vocabulary, and an id that is not in it does not exist for the model. New users, items and
entities come in through `extend`, which returns a larger view and leaves the old one as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from metakg.data.graph import KnowledgeGraph, Triples
from metakg.data.ids import IdMap
from metakg.data.interactions import Interactions
from metakg.data.vocabulary import Vocabulary
from metakg.errors import DataError
from metakg.types import Floats, Rows


@dataclass(frozen=True, eq=False)
class Tasks:
    """One small learning problem per user: adapt on the support items, be judged on the query items (M tasks).

    Attributes:
        users: (M,) user rows.
        support: pairs of these users that a learner may adapt on (and use as graph edges).
        query: pairs of these users that it must then rank high; training labels, never graph edges.
    """

    users: Rows
    support: Interactions
    query: Interactions

    def __len__(self) -> int:
        return len(self.users)


_SUPPORT_TABLES = {
    "arrivals": ("item", "entity", "label"),
    "triples": ("head", "relation", "tail"),
    "user_triples": ("head", "relation", "tail"),
    "labels": ("entity", "label"),
}
_MAY_BE_NULL = {("arrivals", "entity"), ("arrivals", "label"), ("labels", "label")}


@dataclass(frozen=True, eq=False)
class Support:
    """What arrives after training, in the outside world's ids. Unknown ids are normal input.

    Attributes:
        users: (n,) user ids of the new clicks.
        items: (n,) item ids of the new clicks.
        arrivals: new items as (item id, entity id, label); the entity id ties the item to its facts, and is null where the
            graph does not name the item.
        triples: new facts as (head, relation, tail) ids; an item's entity id stands for the item.
        user_triples: new facts about users as (user id, relation, entity id).
        labels: readable names of new entities as (entity id, label).
        newcomers: ids of users who arrive whether or not they clicked anything, so that even those without a click or a fact
            get a row and can be ranked for.
    """

    users: pa.Array
    items: pa.Array
    arrivals: pa.Table = field(default_factory=lambda: _empty("arrivals"))
    triples: pa.Table = field(default_factory=lambda: _empty("triples"))
    user_triples: pa.Table = field(default_factory=lambda: _empty("user_triples"))
    labels: pa.Table = field(default_factory=lambda: _empty("labels"))
    newcomers: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))

    def __post_init__(self) -> None:
        if len(self.users) != len(self.items):
            raise DataError(
                "support",
                f"{len(self.users)} users and {len(self.items)} items",
                expected="one item for each user",
                fix="Give pairs.",
            )
        _check_ids("support, users", self.users)
        _check_ids("support, items", self.items)
        _check_ids("support, newcomers", self.newcomers)
        for name, columns in _SUPPORT_TABLES.items():
            table: pa.Table = getattr(self, name)
            if table.column_names != list(columns):
                raise DataError(
                    f"support, table {name}",
                    f"columns {', '.join(table.column_names) or 'none'}",
                    expected=f"columns {', '.join(columns)}",
                    fix="Name the columns so, in this order.",
                )
            for column in columns:
                _check_ids(f"support, table {name}, column {column}", table[column], nullable=(name, column) in _MAY_BE_NULL)

    def __len__(self) -> int:
        return len(self.users)

    @staticmethod
    def of(
        *,
        clicks: Iterable[tuple[str, str]] = (),
        items: Mapping[str, str | None] | None = None,
        facts: Iterable[tuple[str, str, str]] = (),
    ) -> Support:
        """Return what arrived, from plain Python values.

        Args:
            clicks: (user id, item id).
            items: new items, id -> title or None. The knowledge graph has not heard of them.
            facts: (head, relation, tail); an end that is one of `items` is that item, every other the id of an entity.

        Raises:
            TypeError: a click is no pair of ids, or a fact no three.
        """
        new, clicks, facts = dict(items or {}), list(clicks), list(facts)
        for what, parts, rows in (("a click is (user, item)", 2, clicks), ("a fact is (head, relation, tail)", 3, facts)):
            for row in rows:
                if isinstance(row, str) or len(row) != parts or not all(isinstance(part, str) for part in row):
                    raise TypeError(f"{what}, all of them texts, not {row!r}")

        def node(name: str) -> str:
            return unlinked_entity(name) if name in new else name

        told = [(node(head), relation, node(tail)) for head, relation, tail in facts]
        return Support(
            pa.array([user for user, _ in clicks], pa.string()),
            pa.array([item for _, item in clicks], pa.string()),
            _table("arrivals", [(name, None, title) for name, title in new.items()]),
            _table("triples", told),
        )

    @staticmethod
    def clicks(user: str, items: Sequence[str]) -> Support:
        """Return the support of one user who liked these items."""
        return Support(pa.array([user] * len(items), pa.string()), pa.array(list(items), pa.string()))


@dataclass(frozen=True, eq=False, repr=False)
class TrainView:
    """Training data and nothing else, over its own vocabulary.

    Attributes:
        vocabulary: the ids that exist for the model.
        interactions: every pair that may be trained on (O_tr); with `tasks`, their support and query pairs and the
            background pairs of users without a task.
        graph: the facts.
        tasks: meta-training tasks over the same rows, or None.
    """

    vocabulary: Vocabulary
    interactions: Interactions
    graph: KnowledgeGraph
    tasks: Tasks | None = None

    def __repr__(self) -> str:
        pairs, facts = len(self.interactions), len(self.graph.entity) + len(self.graph.user)
        return f"TrainView({self.vocabulary.sizes()}, {pairs:,} training pairs, {facts:,} facts)"

    @property
    def n_users(self) -> int:
        """Number of users U."""
        return self.vocabulary.n_users

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return self.vocabulary.n_items

    @property
    def n_entities(self) -> int:
        """Number of entities E, the items included."""
        return self.vocabulary.n_entities

    @property
    def n_relations(self) -> int:
        """Number of relations R, inverses not counted."""
        return self.vocabulary.n_relations

    @cached_property
    def history(self) -> sparse.csr_array:
        """The (U, I) float32 matrix of all training pairs, built once."""
        return self.interactions.csr(self.n_users, self.n_items)

    @cached_property
    def popularity(self) -> npt.NDArray[np.int64]:
        """(I,) number of users of each item, from training pairs only."""
        return np.bincount(self.history.indices, minlength=self.n_items)

    @cached_property
    def popularity_share(self) -> Floats:
        """(I,) float32 popularity as a share of the most popular item's: the scores for somebody nothing is known of."""
        return (self.popularity / max(1, int(self.popularity.max(initial=0)))).astype(np.float32)

    def extend(self, support: Support) -> TrainView:
        """Return a view that also knows what arrived; parts that do not change are shared, nothing is mutated.

        Rows of known users, items and relations stay, so `tasks` stay as they are. A new item takes the next item row, which
        moves the entities behind the items: `origin(old, new)` tells where each entity row came from. An entity that turns
        out to be an item becomes that item, with its facts. An item that was known without a link to the graph takes the
        entity id that an arrival names for it, and the facts of that entity.

        Raises:
            DataError: two items claim one entity, or an item is linked to another entity than before.
        """
        items, entities, rows = _extend_items(self.vocabulary, support)
        graph = self.graph if entities is self.vocabulary.entities else _move(self.graph, rows)
        vocabulary = _extend_vocabulary(self.vocabulary, items, entities, support)
        if len(support.triples):
            entity = _with_facts(graph.entity, support.triples, vocabulary.entities, vocabulary)
            graph = KnowledgeGraph(entity, graph.user)
        if len(support.user_triples):
            user = _with_facts(graph.user, support.user_triples, vocabulary.users, vocabulary)
            graph = KnowledgeGraph(graph.entity, user)
        pairs = Interactions(vocabulary.users.rows(support.users), vocabulary.items.rows(support.items))
        first = np.sort(np.unique(pairs.keys(vocabulary.n_items), return_index=True)[1])
        fresh = pairs.select(first[~self.interactions.has(pairs.users, pairs.items)[first]].astype(np.int32))
        interactions = Interactions.concat(self.interactions.pairs_only(), fresh) if len(fresh) else self.interactions
        return TrainView(vocabulary, interactions, graph, self.tasks)


def origin(old: Vocabulary, new: Vocabulary) -> Rows:
    """Return for each entity row of `new` its row in `old`, -1 where it is new: (E_new,) int32.

    An item is looked up by its item id first, so that one which was linked to the graph later keeps what was learnt of it.
    """
    if new.entities is old.entities:
        return np.arange(old.n_entities, dtype=np.int32)
    rows = old.entities.rows(new.entities.array).copy()  # Arrow may lend its own memory, which is read-only
    as_items = old.items.rows(new.items.array)
    rows[: new.n_items] = np.where(as_items >= 0, as_items, rows[: new.n_items])
    return rows


def unlinked_entity(item_id: str) -> str:
    """Return the entity id of an item that no knowledge graph names."""
    return f"item:{item_id}"


def _move(graph: KnowledgeGraph, rows: Rows) -> KnowledgeGraph:
    entity, user = graph.entity, graph.user
    return KnowledgeGraph(
        Triples(rows[entity.heads], entity.relations, rows[entity.tails]),
        Triples(user.heads, user.relations, rows[user.tails]),
    )


def _extend_vocabulary(old: Vocabulary, items: IdMap, entities: IdMap, support: Support) -> Vocabulary:
    """Return the vocabulary with these items and entities, and all other ids that `support` names."""
    facts, user_facts = support.triples, support.user_triples
    users = old.users.extend(_unknown(old.users, support.users, user_facts["head"], support.newcomers))
    relations = old.relations.extend(_unknown(old.relations, facts["relation"], user_facts["relation"]))
    added = _unknown(entities, facts["head"], facts["tail"], user_facts["tail"])
    entities = entities.extend(added, _labels_of(added, support.labels))
    if users is old.users and relations is old.relations and items is old.items and entities is old.entities:
        return old
    return Vocabulary(users, items, entities, relations)


def _extend_items(old: Vocabulary, support: Support) -> tuple[IdMap, IdMap, Rows]:
    """Return items and entities with each arriving item's node at the item's own row, and where the old nodes went.

    Returns:
        the items, the entities, and for each old entity row its new one: (E_old,) int32.
    """
    linked, arriving = _read_arrivals(old, support)
    moved = np.arange(old.n_entities, dtype=np.int32)
    if not linked and not arriving:
        return old.items, old.entities, moved
    nodes = [node for node, _ in arriving.values()]
    found = old.entities.rows(nodes + list(linked.values()))
    # Both an item that is new and one that was known without a link may turn out to be an entity that we have.
    targets = np.r_[np.arange(old.n_items, old.n_items + len(nodes)), list(linked)].astype(np.int32)
    behind = np.ones(old.n_entities, np.bool_)
    behind[: old.n_items] = behind[found[found >= 0]] = False
    rest = np.flatnonzero(behind).astype(np.int32)
    moved[found[found >= 0]] = targets[found >= 0]
    moved[rest] = old.n_items + len(nodes) + np.arange(len(rest), dtype=np.int32)

    names = [_own_label(old.entities, row) for row in found[: len(nodes)].tolist()]
    item_labels = [label or name for (_, label), name in zip(arriving.values(), names, strict=True)]
    items = old.items.extend(list(arriving), item_labels if any(item_labels) else None)
    front = old.entities.array[: old.n_items]
    if linked:
        renamed = front.to_pylist()
        for row, node in linked.items():
            renamed[row] = node
        front = pa.array(renamed, pa.string())
    labels = old.entities.labels
    if labels is not None:
        labels = pa.concat_arrays([labels[: old.n_items], pa.array(names, pa.string()), labels.take(pa.array(rest))])
    ids = pa.concat_arrays([front, pa.array(nodes, pa.string()), old.entities.take(rest)])
    return items, IdMap(ids, labels, kind=old.entities.kind), moved


def _own_label(ids: IdMap, row: int) -> str | None:
    """Return the label of a row, or None if it has none (`IdMap.label` would fall back to the id)."""
    return None if row < 0 or ids.labels is None else ids.labels[row].as_py()


def _read_arrivals(old: Vocabulary, support: Support) -> tuple[dict[int, str], dict[str, tuple[str, str | None]]]:
    """Return known items that are linked to the graph only now (row -> entity id), and new items (id -> entity id, label)."""
    linked: dict[int, str] = {}
    arriving: dict[str, tuple[str, str | None]] = {}
    owner: dict[str, str] = {}  # entity id -> the item that claims it
    table = support.arrivals
    rows = old.items.rows(table["item"])
    for row, arrival in zip(rows.tolist(), table.to_pylist(), strict=True):
        item, node = arrival["item"], arrival["entity"]
        if row >= 0 and (node is None or node == old.entities.id(row)):
            continue
        if row >= 0 and old.entities.id(row) != unlinked_entity(item):
            _refuse_link(item, node, f"entity {old.entities.id(row)!r}, as before")
        node = node or unlinked_entity(item)
        if owner.setdefault(node, item) != item:
            _refuse_link(item, node, f"an entity of its own; item {owner[node]!r} has this one")
        if linked.setdefault(row, node) != node if row >= 0 else arriving.setdefault(item, (node, arrival["label"]))[0] != node:
            _refuse_link(item, node, "one entity for each item")
    for item in _unknown(old.items, support.items):
        arriving.setdefault(item, (unlinked_entity(item), None))
    nodes = [node for node, _ in arriving.values()] + list(linked.values())
    for node, row in zip(nodes, old.entities.rows(nodes).tolist(), strict=True):
        if 0 <= row < old.n_items:
            _refuse_link(owner.get(node, node), node, f"an entity of its own; item {old.items.id(row)!r} has this one")
    return linked, arriving


def _refuse_link(item: str, node: str | None, expected: str) -> NoReturn:
    raise DataError(
        f"support, table arrivals, item {item!r}",
        f"entity {node!r}",
        expected=expected,
        fix="Correct the link, or leave the entity empty where the graph does not know the item.",
    )


def _labels_of(names: list[str], table: pa.Table) -> list[str | None] | None:
    """Return the labels that `table` (entity, label) holds for these ids, or None if it holds none."""
    if not len(table) or not names:
        return None
    position = pc.index_in(pa.array(names, pa.string()), value_set=table["entity"].combine_chunks())
    labels: list[str | None] = table["label"].combine_chunks().take(position).to_pylist()
    return labels if any(labels) else None


def _unknown(known: IdMap, *columns: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return the ids that `known` lacks, each once, in order of appearance."""
    chunks = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
    seen = pc.unique(pa.concat_arrays(chunks))
    if not len(seen):
        return []
    return [str(name) for name in seen.filter(pa.array(known.rows(seen) < 0)).to_pylist()]


def _with_facts(old: Triples, table: pa.Table, heads: IdMap, vocabulary: Vocabulary) -> Triples:
    """Return `old` plus the facts of `table` that it lacks."""
    added = Triples(
        heads.rows(table["head"]), vocabulary.relations.rows(table["relation"]), vocabulary.entities.rows(table["tail"])
    )
    arriving = np.zeros(len(heads), np.bool_)  # only facts with the same head can be the same fact again
    arriving[added.heads] = True
    theirs = old.select(arriving[old.heads])
    both = Triples.concat(theirs, added)
    stacked = np.stack([both.heads, both.relations, both.tails], axis=1)
    _, first = np.unique(stacked, axis=0, return_index=True)
    fresh = np.sort(first[first >= len(theirs)])
    return Triples.concat(old, both.select(fresh.astype(np.int32)))


def _check_ids(where: str, column: pa.Array | pa.ChunkedArray, *, nullable: bool = False) -> None:
    if column.type != pa.string() and not (nullable and column.type == pa.null()):
        raise TypeError(f"{where} must be Arrow strings, not {column.type}")
    if column.null_count and not nullable:
        raise DataError(where, f"{column.null_count} missing", expected="an id in every row", fix="Remove the empty rows.")


def _table(name: str, rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = _SUPPORT_TABLES[name]
    return pa.table({column: pa.array([row[at] for row in rows], pa.string()) for at, column in enumerate(columns)})


def _empty(table: str) -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in _SUPPORT_TABLES[table]})
