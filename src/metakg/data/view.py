"""`TrainView`: all that a model may see; `Tasks`: what a meta-learner learns from; `Support`: what arrives later.

A view is closed: it has its own vocabulary, and an id that is not in it does not exist for the model. New users, items and
entities come in through `extend`, which returns a larger view and leaves the old one as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

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
from metakg.types import Rows


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


@dataclass(frozen=True, eq=False)
class Support:
    """What arrives after training, in the outside world's ids. Unknown ids are normal input.

    Attributes:
        users: (n,) user ids of the new clicks.
        items: (n,) item ids of the new clicks.
        arrivals: new items as (item id, entity id, label); the entity id ties the item to its facts.
        triples: new facts as (head, relation, tail) ids; an item's entity id stands for the item.
        user_triples: new facts about users as (user id, relation, entity id).
    """

    users: pa.Array
    items: pa.Array
    arrivals: pa.Table = field(default_factory=lambda: _strings_table("item", "entity", "label"))
    triples: pa.Table = field(default_factory=lambda: _strings_table("head", "relation", "tail"))
    user_triples: pa.Table = field(default_factory=lambda: _strings_table("head", "relation", "tail"))

    def __post_init__(self) -> None:
        if len(self.users) != len(self.items):
            raise DataError(
                "support",
                f"{len(self.users)} users and {len(self.items)} items",
                expected="one item for each user",
                fix="Give pairs.",
            )

    def __len__(self) -> int:
        return len(self.users)

    @staticmethod
    def clicks(user: str, items: Sequence[str]) -> Support:
        """Return the support of one user who liked these items."""
        return Support(pa.array([user] * len(items), pa.string()), pa.array(list(items), pa.string()))


@dataclass(frozen=True, eq=False)
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

    def extend(self, support: Support) -> TrainView:
        """Return a view that also knows what arrived; parts that do not change are shared, nothing is mutated.

        Rows of known users and relations stay. A new item takes the next item row, so entities behind the items move:
        `origin(old, new)` tells where each entity row came from. `tasks` are kept only while item rows stay.
        """
        vocabulary = _extend_vocabulary(self.vocabulary, support)
        graph = self.graph
        if vocabulary.entities is not self.vocabulary.entities:
            moved = vocabulary.entities.rows(self.vocabulary.entities.array)
            old = self.graph
            graph = KnowledgeGraph(
                Triples(moved[old.entity.heads], old.entity.relations, moved[old.entity.tails]),
                Triples(old.user.heads, old.user.relations, moved[old.user.tails]),
            )
        if len(support.triples) or len(support.user_triples):
            graph = KnowledgeGraph(
                _with_facts(graph.entity, support.triples, vocabulary.entities, vocabulary),
                _with_facts(graph.user, support.user_triples, vocabulary.users, vocabulary),
            )
        pairs = Interactions(vocabulary.users.rows(support.users), vocabulary.items.rows(support.items))
        keys, first = np.unique(pairs.keys(vocabulary.n_items), return_index=True)
        known = np.isin(keys, self.interactions.keys(vocabulary.n_items))
        fresh = pairs.select(np.sort(first[~known]).astype(np.int32))
        interactions = Interactions.concat(self.interactions.pairs_only(), fresh)
        return TrainView(vocabulary, interactions, graph, self.tasks)


def origin(old: Vocabulary, new: Vocabulary) -> Rows:
    """Return for each entity row of `new` its row in `old`, -1 where it is new: (E_new,) int32."""
    if new.entities is old.entities:
        return np.arange(old.n_entities, dtype=np.int32)
    return old.entities.rows(new.entities.array)


def unlinked_entity(item_id: str) -> str:
    """Return the entity id of an item that no knowledge graph names."""
    return f"item:{item_id}"


def _extend_vocabulary(old: Vocabulary, support: Support) -> Vocabulary:
    users = old.users.extend(_unknown(old.users, support.users, support.user_triples["head"]))
    relations = old.relations.extend(_unknown(old.relations, support.triples["relation"], support.user_triples["relation"]))
    arriving = {
        row["item"]: (row["entity"], row["label"]) for row in support.arrivals.to_pylist() if row["item"] not in old.items
    }
    for item_id in _unknown(old.items, support.items):
        arriving.setdefault(item_id, (unlinked_entity(item_id), None))
    items, entities = old.items, old.entities
    if arriving:
        labels = [label for _, label in arriving.values()]
        items = old.items.extend(arriving, labels if any(labels) else None)
        nodes = [entity for entity, _ in arriving.values()]
        behind = np.arange(old.n_items, old.n_entities, dtype=np.int32)
        behind = behind[~np.isin(behind, old.entities.rows(nodes))]  # an entity that turns out to be an item moves
        fronts = old.entities.select(np.arange(old.n_items, dtype=np.int32)).extend(nodes)
        rest = old.entities.select(behind)
        labels_behind = None if rest.labels is None else rest.labels.to_pylist()
        entities = fronts.extend(rest.array.to_pylist(), labels_behind)
    facts, user_facts = support.triples, support.user_triples
    entities = entities.extend(_unknown(entities, facts["head"], facts["tail"], user_facts["tail"]))
    if users is old.users and relations is old.relations and items is old.items and entities is old.entities:
        return old
    return Vocabulary(users, items, entities, relations)


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
    both = Triples.concat(old, added)
    stacked = np.stack([both.heads, both.relations, both.tails], axis=1)
    _, first = np.unique(stacked, axis=0, return_index=True)
    fresh = np.sort(first[first >= len(old)])
    return Triples.concat(old, both.select(fresh.astype(np.int32)))


def _strings_table(*names: str) -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in names})
