"""`Vocabulary`: the four id maps that give row numbers their meaning."""

from __future__ import annotations

from dataclasses import dataclass

from metakg.data.ids import IdMap
from metakg.errors import DataError


@dataclass(frozen=True)
class Vocabulary:
    """Users, items, entities and relations of one data set.

    Items *are* the entities 0..I-1: row i of `items` (the shop's id and the item's title) and row i of `entities` (the
    knowledge graph's id of the same thing) are one node. An item that the graph does not know is an entity without facts.
    """

    users: IdMap
    items: IdMap
    entities: IdMap
    relations: IdMap

    def __post_init__(self) -> None:
        if len(self.entities) < len(self.items):
            raise DataError(
                "vocabulary",
                f"{len(self.items)} items but {len(self.entities)} entities",
                expected="every item to be an entity",
                fix="Write one entity row for each item, in the same order, before the other entities.",
            )

    @property
    def n_users(self) -> int:
        """Number of users U."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return len(self.items)

    @property
    def n_entities(self) -> int:
        """Number of entities E, the items included."""
        return len(self.entities)

    @property
    def n_relations(self) -> int:
        """Number of relations R, inverses not counted."""
        return len(self.relations)

    def sizes(self) -> str:
        """Return how many there are of each, in words."""
        counts = {"users": self.n_users, "items": self.n_items, "entities": self.n_entities, "relations": self.n_relations}
        return ", ".join(f"{count:,} {name}" for name, count in counts.items())

    def entity_label(self, row: int) -> str:
        """Return the readable name of an entity; an item is named as the shop names it."""
        return self.items.label(row) if row < self.n_items else self.entities.label(row)
