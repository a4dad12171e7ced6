"""From settings to exact numbers: how many entities of each kind, how many facts of each relation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from metakg.errors import ConfigError
from metakg.generator import books, music, places
from metakg.generator.config import PlantedConfig
from metakg.generator.quotas import shares
from metakg.generator.schema import WORK, Domain, Relation
from metakg.generator.words import AGE_BANDS

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (books.DOMAIN, music.DOMAIN, places.DOMAIN)}
AGED = "aged"
AT_HOME_IN = "at_home_in"
USER_RELATIONS = {AGED: "is aged", AT_HOME_IN: "is at home in"}
AGE_KIND = "age"
TOWN_KIND = "home"
TOWNS_OF_USERS = 12
"""Number of home towns in a story whose graph has no towns."""


@dataclass(frozen=True)
class Plan:
    """Exact numbers.

    Attributes:
        config: what was asked for.
        domain: the story.
        counts: kind -> number of entities, in row order; items are not among them.
        families: number of style entities that are families; the other styles are sub-styles.
        relations: the relations of the graph, in row order.
        quotas: relation id -> number of facts.
    """

    config: PlantedConfig
    domain: Domain
    counts: Mapping[str, int]
    families: int
    relations: tuple[Relation, ...]
    quotas: Mapping[str, int]

    @property
    def works(self) -> int:
        """Number of works W: the items, and what the graph knows and the shop does not sell."""
        return self.config.items + self.counts.get(self.domain.unlisted, 0)

    @property
    def sub_styles(self) -> int:
        """Number of sub-styles."""
        return self.counts[self.domain.style] - self.families

    def size(self, kind: str) -> int:
        """Return the number of entities of a kind, or of works."""
        return self.works if kind == WORK else self.counts[kind]

    @property
    def home(self) -> str:
        """The kind that users' home towns are of."""
        return self.domain.home if self.domain.home in self.counts else TOWN_KIND


def plan(config: PlantedConfig) -> Plan:
    """Settle all numbers.

    Raises:
        ConfigError: the graph that was asked for cannot be: too few facts to mention every entity, more than there are
            pairs, an unknown number of relations.
    """
    domain = DOMAINS[config.domain]
    relations = _relations(config, domain)
    counts = _counts(config, domain, relations)
    styles = counts[domain.style]
    families = max(ceil(styles / 9), min(len(domain.styles), round(styles / 5)))
    if config.user_facts:
        counts[AGE_KIND] = len(AGE_BANDS)
        if domain.home not in counts:
            counts[TOWN_KIND] = TOWNS_OF_USERS
    draft = Plan(config, domain, counts, families, relations, {})
    return Plan(config, domain, counts, families, relations, _quotas(draft))


def _relations(config: PlantedConfig, domain: Domain) -> tuple[Relation, ...]:
    n = domain.usual if config.relations is None else config.relations
    if not domain.core <= n <= len(domain.relations):
        raise ConfigError(
            "relations",
            str(n),
            expected=f"{domain.core} to {len(domain.relations)} relations for {domain.name}",
            fix="Change the number of relations or the domain.",
        )
    return domain.relations[:n]


def _counts(config: PlantedConfig, domain: Domain, relations: tuple[Relation, ...]) -> dict[str, int]:
    used = {domain.unlisted, *(r.head for r in relations), *(r.tail for r in relations)}
    kinds = [kind for kind in domain.kinds if kind.name in used]
    share = np.array([kind.share for kind in kinds])
    least = np.array([kind.least for kind in kinds])
    most = np.array([min(kind.most, max(kind.least, config.items)) for kind in kinds])
    for at, kind in enumerate(kinds):
        if kind.name not in (domain.creator, domain.collection, domain.style):  # these are bounded by the works
            most[at] = max(most[at], min(kind.most, config.entities or 0))
    if config.entities is None:
        counts = np.clip(np.rint(share * config.items).astype(np.int64), least, most)
    elif least.sum() <= config.entities <= most.sum():
        counts = shares(share, config.entities, least, most)
    else:
        raise ConfigError(
            "entities",
            f"{config.entities:,}",
            expected=f"{least.sum():,} to {most.sum():,} with {config.items:,} items and {len(relations)} relations",
            fix="Change the number of entities, items or relations.",
        )
    return {kind.name: int(n) for kind, n in zip(kinds, counts, strict=True)}


def _quotas(draft: Plan) -> dict[str, int]:
    """Divide the facts among the relations, so that each entity is mentioned and no relation is fuller than it can be."""
    config, domain = draft.config, draft.domain
    usual, low, high = [], [], []
    for relation in draft.relations:
        n_heads, n_tails = draft.size(relation.head), draft.size(relation.tail)
        room = n_heads * n_tails - (n_heads if relation.head == relation.tail else 0)
        at_most = int((relation.most or 3 * relation.per_head) * n_heads)
        at_least = n_tails if mentions_first(draft, relation) else 0
        if relation.role == "creator":
            at_least = n_heads
        elif relation.role == "style":
            at_least, room = n_heads, n_heads * draft.sub_styles
        elif relation.role == "collection":
            at_least = max(n_tails, round(domain.in_collection * n_heads))
        elif relation.role == "collection_creator":
            at_least = at_most = n_heads
        elif relation.role == "style_parent":
            at_least = at_most = draft.sub_styles
        usual.append(relation.per_head * n_heads)
        low.append(min(at_least, room))
        high.append(max(low[-1], min(at_most, room)))
    total = int(np.clip(np.rint(usual), low, high).sum()) if config.triples is None else config.triples
    if not sum(low) <= total <= sum(high):
        raise ConfigError(
            "triples",
            f"{total:,}",
            expected=f"{sum(low):,} to {sum(high):,} with {config.items:,} items, {sum(draft.counts.values()):,} other entities"
            f" and {len(draft.relations)} relations",
            fix="Change the number of triples, entities or relations.",
        )
    quotas = shares(usual, total, low, high)
    return {relation.id: int(n) for relation, n in zip(draft.relations, quotas, strict=True)}


def mentions_first(draft: Plan, relation: Relation) -> bool:
    """Return whether it falls to this relation to mention every entity of its tail's kind."""
    if relation.tail == WORK:
        return False
    return next(r for r in draft.relations if r.tail == relation.tail) is relation
