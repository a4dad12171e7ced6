"""The users: who they are, when they come, how much they click, and what they like."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from metakg import rng as random
from metakg.data.graph import Triples
from metakg.generator.facts import Layout
from metakg.generator.plan import AGE_KIND, Plan
from metakg.generator.quotas import Counts, Reals, shares
from metakg.generator.sampling import Groups, cumulated, power_law, weighted_position
from metakg.generator.schema import WORK
from metakg.generator.structure import Structure
from metakg.types import Rows

EARLY = 0.2
"""Share of the users who come in the first twentieth of the time."""
LAST_ARRIVAL = 0.97
"""The last user comes at this part of the time, so that he still clicks."""
AT_HOME = 0.7
"""Chance that a taste lies in the user's own style, and as much of the rest in its family."""
STYLE_WEIGHT = 0.12
"""Weight of the user's style as a whole among his tastes."""
ROOM = 4.0
"""Tastes are added until they cover so many items for each click, so that they do not wear out."""
TASTE_ROUNDS = 6


@dataclass(frozen=True)
class Topics:
    """What one can have a taste for: an entity that at least one item leads to by a relation with tastes.

    Attributes:
        relations: (k,) relation row of each topic, ascending.
        entities: (k,) entity row.
        items: items of each topic one after another, ordered by release.
        starts: (k + 1,) where each topic's items start.
        styles: (k,) home sub-style of the entity; -1 for a family.
    """

    relations: Rows
    entities: Rows
    items: Rows
    starts: Counts
    styles: Rows

    def __len__(self) -> int:
        return len(self.relations)


@dataclass(frozen=True)
class Audience:
    """The users.

    Attributes:
        clicks: (U,) number of interactions of each.
        arrival: (U,) when each comes, 0..1.
        facts: age band and home town as user triples, or none.
        starts: (U + 1,) where each user's tastes start.
        topics: (n,) topic of each taste; distinct within a user.
        weights: (n,) share of the taste among the user's; they sum to 1.
    """

    clicks: Counts
    arrival: Reals
    facts: Triples
    starts: Counts
    topics: Rows
    weights: Reals


def topics(plan: Plan, structure: Structure, facts: Triples) -> Topics:
    """Collect the topics of a graph."""
    layout = Layout.of(plan)
    tasty = np.array([relation.taste > 0 for relation in plan.relations])
    about = facts.select(tasty[facts.relations] & (facts.heads < plan.config.items))
    keys = about.relations.astype(np.int64) * layout.n_entities + about.tails
    distinct, topic = np.unique(keys, return_inverse=True)
    order = np.lexsort((structure.release[about.heads], topic))
    starts = np.concatenate([[0], np.cumsum(np.bincount(topic, minlength=len(distinct)))])
    relations = (distinct // layout.n_entities).astype(np.int32)
    entities = (distinct % layout.n_entities).astype(np.int32)
    home = np.full(layout.n_entities, -1, np.int32)
    for kind, first in layout.first.items():
        if kind in structure.styles and kind != WORK:
            home[first : first + plan.counts[kind]] = structure.styles[kind]
    families = layout.first[plan.domain.style]
    home[families : families + plan.families] = -1
    return Topics(relations, entities, about.heads[order], starts, home[entities])


def build(plan: Plan, structure: Structure, topics: Topics, seed: int) -> Audience:
    """Invent the users."""
    n = plan.config.users
    clicks = _activity(plan, random.generator(seed, "users/clicks"))
    arriving = random.generator(seed, "users/arrival")
    arrival = np.where(arriving.random(n) < EARLY, 0.05, LAST_ARRIVAL) * arriving.random(n)
    who = random.generator(seed, "users/facts")
    style_weights = structure.style_weight[None, :]
    facts = Triples.empty()
    group = np.zeros(n, np.int64)
    if plan.config.user_facts:
        ages, towns = plan.counts[AGE_KIND], plan.counts[plan.home]
        age = weighted_position(cumulated(_AGE_WEIGHTS), *_everywhere(n, ages), who)
        town = weighted_position(cumulated(power_law(towns, 0.6, who)), *_everywhere(n, towns), who)
        lean = np.exp(who.normal(0, 0.8, (ages, 1, plan.sub_styles)) + who.normal(0, 0.5, (1, towns, plan.sub_styles)))
        style_weights = (structure.style_weight * lean).reshape(ages * towns, plan.sub_styles)
        group = age * towns + town
        facts = _user_facts(plan, age, town)
    starts, liked, weights = _tastes(plan, structure, topics, clicks, style_weights, group, seed)
    return Audience(clicks, arrival, facts, starts, liked, weights)


_AGE_WEIGHTS = (0.06, 0.16, 0.22, 0.19, 0.15, 0.12, 0.10)


def _everywhere(n: int, size: int) -> tuple[Counts, Counts]:
    """Return n ranges 0..size-1."""
    return np.zeros(n, np.int64), np.full(n, size, np.int64)


def _activity(plan: Plan, rng: np.random.Generator) -> Counts:
    """Return how much each user clicks: a common floor and a heavy tail, in the exact sum."""
    config = plan.config
    floor, mean = minimum(config.interactions, config.users, 0.4), config.interactions / config.users
    most = min(config.items, max(config.items // 3, 2 * ceil(mean)))  # nobody reads half the shop, unless all must
    eager = rng.lognormal(0.0, 1.0, config.users)
    return floor + shares(eager, config.interactions - floor * config.users, 0, most - floor)


def minimum(interactions: int, rows: int, part: float) -> int:
    """Return how many interactions every user (or item) has at least: ten, as in the originals, or `part` of the mean."""
    return max(1, min(10, int(part * interactions / rows)))


def _user_facts(plan: Plan, age: npt.NDArray[np.integer], town: npt.NDArray[np.integer]) -> Triples:
    layout, n = Layout.of(plan), plan.config.users
    relation = len(plan.relations)
    users = np.arange(n, dtype=np.int32)
    return Triples(
        np.concatenate([users, users]),
        np.repeat(np.array([relation, relation + 1], np.int32), n),
        np.concatenate([layout.rows(plan, AGE_KIND, age), layout.rows(plan, plan.home, town)]),
    )


def _tastes(
    plan: Plan,
    structure: Structure,
    topics: Topics,
    clicks: Counts,
    style_weights: Reals,
    group: npt.NDArray[np.integer],
    seed: int,
) -> tuple[Counts, Rows, Reals]:
    """Return starts, topics and weights of everybody's tastes: a few things, mostly of one style, and that style itself."""
    rng = random.generator(seed, "users/tastes")
    n, n_sub = plan.config.users, plan.sub_styles
    by_style = np.full(n_sub, -1, np.int32)  # the topic that is a sub-style itself, where an item has it
    is_style = np.array([r.role == "style" for r in plan.relations])[topics.relations] & (topics.styles >= 0)
    by_style[topics.styles[is_style]] = np.flatnonzero(is_style)
    style = _choose_styles(style_weights * (by_style >= 0), group, rng)
    size = np.diff(topics.starts)
    user, liked, weight = np.arange(n), by_style[style], np.zeros(n)  # everybody likes his style as a whole, a little
    number = 2 + rng.poisson(np.minimum(clicks, 400) / plan.domain.clicks_per_taste)
    for _ in range(TASTE_ROUNDS):
        more = np.repeat(np.arange(n), number)
        user = np.concatenate([user, more])
        liked = np.concatenate([liked, _choose_topics(plan, structure, topics, style[more], by_style, rng)])
        weight = np.concatenate([weight, rng.gamma(2.0, 1.0, len(more))])
        _, first = np.unique(user * np.int64(len(topics)) + liked, return_index=True)
        user, liked, weight = user[first], liked[first], weight[first]
        held = np.bincount(user, size[liked], n)
        number = np.where(held < ROOM * clicks, np.clip((ROOM * clicks - held) / 15, 1, 6), 0).astype(np.int64)
    others = np.bincount(user, weight, n)
    at_large = liked == by_style[style][user]
    weight[at_large] = np.where(others > 0, STYLE_WEIGHT / (1 - STYLE_WEIGHT) * others, 1.0)[user[at_large]]
    starts = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n))])
    return starts, liked.astype(np.int32), weight / np.bincount(user, weight, n)[user]


def _choose_topics(
    plan: Plan, structure: Structure, topics: Topics, own: Rows, by_style: Rows, rng: np.random.Generator
) -> Rows:
    """Return a topic for each taste of users with these styles: (n,) -> (n,).

    First along which relation, then in which style (mostly the user's own), then which topic, large ones more often.
    """
    n, n_sub = len(own), plan.sub_styles
    rates = np.array([relation.taste for relation in plan.relations])
    relation = weighted_position(cumulated(rates), *_everywhere(n, len(rates)), rng)
    near, chance = own.copy(), rng.random(n)
    in_family = (chance >= AT_HOME) & (chance < 1 - (1 - AT_HOME) ** 2)
    siblings = Groups(structure.family, structure.style_weight, plan.families)
    near[in_family] = siblings.draw(structure.family[own[in_family]], rng)
    abroad = chance >= 1 - (1 - AT_HOME) ** 2
    near[abroad] = weighted_position(cumulated(structure.style_weight), *_everywhere(int(abroad.sum()), n_sub), rng)
    shelf = np.where(topics.styles >= 0, topics.relations.astype(np.int64) * n_sub + topics.styles, -1)
    size = np.diff(topics.starts).astype(np.float64)
    liked = Groups(shelf, size**0.7, len(rates) * n_sub).draw(relation * n_sub + near, rng)
    return np.where(liked >= 0, liked, by_style[own])


def _choose_styles(weights: Reals, group: npt.NDArray[np.integer], rng: np.random.Generator) -> Rows:
    """Return one style a user, by the weights of his group: (groups, n_sub), (U,) -> (U,)."""
    n_sub = weights.shape[1]
    position = weighted_position(cumulated(weights.ravel()), group * n_sub, (group + 1) * n_sub, rng)
    return np.asarray(position % n_sub, np.int32)
