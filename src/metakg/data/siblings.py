"""Which items belong together: those that share a rare entity, such as one release or one artist.

New items arrive as whole releases: on the published Last-FM scenarios 94 % of the siblings (in the sense below) of a new item
are new too, while 20 % of all items are. A validation split that made single items new at random would show models a new item
whose siblings are all well known, which hardly happens.
"""

from __future__ import annotations

import numpy as np

from metakg.data.graph import KnowledgeGraph
from metakg.data.ids import place_by_id
from metakg.data.vocabulary import Vocabulary
from metakg.types import Rows


def sibling_groups(vocabulary: Vocabulary, graph: KnowledgeGraph, limit: int) -> Rows:
    """Return a group number for each item: (I,) int32.

    Items are in one group if the rarest entity that they share with any other item is the same one; ties go to the entity
    whose id is first. Items without a shared entity are groups of their own.

    Args:
        vocabulary: the items.
        graph: their facts.
        limit: an entity of more items than this does not make them siblings.
    """
    v, facts = vocabulary, graph.entity
    n_items = v.n_items
    forth, back = facts.heads < n_items, facts.tails < n_items
    items = np.concatenate([facts.heads[forth], facts.tails[back]]).astype(np.int64)
    others = np.concatenate([facts.tails[forth], facts.heads[back]])
    links = np.unique(items * v.n_entities + others)
    items, others = links // v.n_entities, (links % v.n_entities).astype(np.int32)
    degree = np.bincount(others, minlength=v.n_entities)
    shared = (degree[others] >= 2) & (degree[others] <= limit)
    items, others = items[shared], others[shared]
    # Sort by item, then rarity, then the entity's place by id; the first link of each item names its group.
    rarity = degree[others].astype(np.int64) * v.n_entities + place_by_id(v.entities)[others]
    order = np.lexsort((rarity, items))
    _, first = np.unique(items[order], return_index=True)
    chosen = order[first]
    group = np.arange(v.n_entities, v.n_entities + n_items, dtype=np.int64)
    group[items[chosen]] = others[chosen]
    return np.unique(group, return_inverse=True)[1].astype(np.int32)
