"""What an engine answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metakg.explain import Way

Kind = Literal["item", "entity", "relation", "user"]
"""What can be searched for by name."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item: external id.
        label: readable name.
        score: the model's score; comparable within one list only.
        way: how it was made; "popular" also where the list is filled up because nothing else speaks for an item.
    """

    item: str
    label: str
    score: float
    way: Way


@dataclass(frozen=True)
class Reached:
    """A user whom an item would reach.

    Attributes:
        id: external id.
        label: readable name.
        score: how close the item is to what he clicked; 1 for the user it is closest to.
    """

    id: str
    label: str
    score: float


@dataclass(frozen=True)
class Found:
    """Something that a search found.

    Attributes:
        id: external id.
        label: readable name.
        popularity: clicks of an item or a user, facts of an entity or a relation.
    """

    id: str
    label: str
    popularity: int


@dataclass(frozen=True)
class Fact:
    """A fact about an item.

    Attributes:
        relation: external id.
        relation_label: readable name of the relation.
        inverse: whether the item is the tail of the fact.
        entity: external id of the other end; the item's own id where that is an item.
        entity_label: readable name of the other end.
        is_item: whether the other end is an item.
    """

    relation: str
    relation_label: str
    inverse: bool
    entity: str
    entity_label: str
    is_item: bool
