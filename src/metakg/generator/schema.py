"""What a story consists of: kinds of entities, relations between them, and who plays which part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from metakg.generator.grammar import Grammar

WORK = "work"
"""The kind of the items: books, tracks, places to go."""

Role = Literal["creator", "collection", "style", "collection_creator", "style_parent", ""]


@dataclass(frozen=True)
class Kind:
    """One kind of entity.

    Attributes:
        name: also the prefix of the ids ("author-00012").
        names: how one of them is called; by family of styles where that matters to the ear.
        share: how many there are for one item, where nobody asks for a total; with a total, the proportion.
        most: never more of them than this; nor more than items, unless the total that is asked for needs more.
        least: never fewer.
        people: their names are unique among all people of the data set, users included.
        ranked: a closed list in order of how common its names are; the first are the hubs of the graph.
    """

    name: str
    names: Grammar | Mapping[str, Grammar]
    share: float
    most: int = 1 << 31
    least: int = 1
    people: bool = False
    ranked: bool = False


@dataclass(frozen=True)
class Relation:
    """One relation.

    Attributes:
        id: snake case, in files.
        label: for people; reads well between a head and a tail ("The Silent Alibi" *written by* "Ada Okafor").
        head: kind of its heads.
        tail: kind of its tails.
        per_head: usual number of facts for one head; stretched or shrunk to meet the total that is asked for.
        most: never more facts for one head, on average.
        role: the part it plays in the structure, see `Domain`.
        taste: how often users have tastes over it, relative to the others; 0 = never.
        affinity: share of its facts whose tail belongs to the style of the head; the rest is at random.
        skew: exponent of the power law over tails; 0 = all tails alike, above 1 = one hub holds most.
    """

    id: str
    label: str
    head: str
    tail: str
    per_head: float
    most: float = 0.0
    role: Role = ""
    taste: float = 0.0
    affinity: float = 0.7
    skew: float = 0.6


@dataclass(frozen=True)
class Domain:
    """A story: a bookshop, a record collection, a city guide.

    Its structure: a style (sub-style of a family) has creators, a creator has collections and works, and the works of a
    collection belong together. The relations with a role carry that structure; all others hang details on it.

    Attributes:
        name: as in the settings.
        work: id prefix of an item ("book").
        title: names of items, by family.
        styles: family -> its sub-styles. Families and sub-styles are entities of kind `style`.
        style, creator, collection: names of the kinds that play these parts.
        unlisted: kind of works that the graph knows and the shop does not sell, or "".
        kinds: all kinds of entities except the items.
        relations: in order of importance; a smaller graph takes the first few.
        core: how many of them are the least.
        usual: how many of them are taken where nobody asks for a number.
        in_collection: share of works that belong to a collection.
        loyalty: share of works in the home style of their creator.
        release: works of a collection come out one after another, together, or independently of each other.
        binge: the part whose items people take one after another.
        burst: clicks in one go, mean.
        burst_gap_s: seconds between two clicks of one go, mean.
        clicks_per_taste: a user has one more taste for so many clicks.
        home: kind that a user's home town is one of, or "" where no fact names towns.
    """

    name: str
    work: str
    title: Mapping[str, Grammar]
    styles: Mapping[str, tuple[str, ...]]
    style: str
    creator: str
    collection: str
    kinds: tuple[Kind, ...]
    relations: tuple[Relation, ...]
    core: int
    usual: int
    in_collection: float
    loyalty: float
    release: Literal["serial", "together", "independent"]
    binge: Literal["creator", "collection"]
    burst: float
    burst_gap_s: float
    clicks_per_taste: float
    unlisted: str = ""
    home: str = ""
