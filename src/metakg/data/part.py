"""`Part`: some of the users and entities of a vocabulary, renumbered, and what is left of pairs and facts among them."""

from __future__ import annotations

import numpy as np

from metakg.data.graph import KnowledgeGraph, Triples
from metakg.data.interactions import Interactions
from metakg.data.vocabulary import Vocabulary
from metakg.types import Mask, Rows


class Part:
    """A closed part of a vocabulary: whatever is not in it has no row.

    Args:
        vocabulary: the whole, of U users and E entities.
        users: (U,) which users stay.
        entities: (E,) which entities stay; an item stays with its entity.

    Attributes:
        vocabulary: the ids that stay, in their order; all relations.
        users: (U,) new row of each old one, -1 where it is gone.
        entities: (E,) likewise; an item's is that of its entity.
    """

    def __init__(self, vocabulary: Vocabulary, users: Mask, entities: Mask) -> None:
        v = vocabulary
        kept, nodes = _places(users), _places(entities)
        self.vocabulary = Vocabulary(
            v.users.select(kept), v.items.select(nodes[nodes < v.n_items]), v.entities.select(nodes), v.relations
        )
        self.users = _renumbered(kept, v.n_users)
        self.entities = _renumbered(nodes, v.n_entities)

    def pairs(self, old: Interactions) -> Interactions:
        """Return the pairs of which both ends stay, with their values and times."""
        users, items = self.users[old.users], self.entities[old.items]
        stays = (users >= 0) & (items >= 0)
        left = old.select(stays)
        return Interactions(users[stays], items[stays], left.values, left.times_s)

    def graph(self, old: KnowledgeGraph) -> KnowledgeGraph:
        """Return the facts of which both ends stay."""
        return KnowledgeGraph(
            _facts(old.entity, self.entities, self.entities),
            _facts(old.user, self.users, self.entities),
        )


def _facts(old: Triples, heads: Rows, tails: Rows) -> Triples:
    head, tail = heads[old.heads], tails[old.tails]
    stays = (head >= 0) & (tail >= 0)
    return Triples(head[stays], old.relations[stays], tail[stays])


def _places(kept: Mask) -> Rows:
    return np.flatnonzero(kept).astype(np.int32)


def _renumbered(kept: Rows, size: int) -> Rows:
    """Return old row -> new row, -1 for rows that are not kept."""
    new = np.full(size, -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    return new
