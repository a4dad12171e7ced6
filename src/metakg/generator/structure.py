"""Who made what, in which style, and when it came out: the skeleton that facts, names and clicks hang on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from metakg import rng as random
from metakg.data.scenario import rank_within
from metakg.generator.plan import Plan
from metakg.generator.quotas import Counts, Reals, shares
from metakg.generator.sampling import cumulated, power_law, weighted_position
from metakg.generator.schema import WORK
from metakg.types import Rows

BACKLIST = 0.3
"""Share of the works that came out before the first click."""
LAST_RELEASE = 0.985
"""The last work comes out at this part of the time with clicks, so that it still meets somebody."""


@dataclass(frozen=True)
class Structure:
    """The skeleton. Works are rows 0..W-1, the items first; every other kind counts from 0 as well.

    Attributes:
        family: (n_sub,) family number of each sub-style; families are numbered as in `family_names`.
        family_names: the families in use.
        style_weight: (n_sub,) how many creators a sub-style attracts.
        styles: kind -> (n,) home sub-style of each of its entities, works included.
        creator: (W,) creator of each work.
        collection: (W,) collection of each work, -1 for none.
        collection_creator: (n_collections,) who a collection belongs to; ascending.
        fame: (n_creators,) weight of a creator.
        release: (W,) when a work came out: negative before the first click, 1 = the last day.
    """

    family: Rows
    family_names: tuple[str, ...]
    style_weight: Reals
    styles: Mapping[str, Rows]
    creator: Rows
    collection: Rows
    collection_creator: Rows
    fame: Reals
    release: Reals


def build(plan: Plan, seed: int) -> Structure:
    """Build the skeleton."""
    rng = random.generator(seed, "structure")
    domain, counts, n_works = plan.domain, plan.counts, plan.works
    n_sub, n_creators, n_collections = plan.sub_styles, counts[domain.creator], counts[domain.collection]
    family_names = tuple(sorted(rng.permutation(list(domain.styles))[: plan.families].tolist(), key=list(domain.styles).index))
    family = (np.arange(n_sub) % plan.families).astype(np.int32)
    style_weight = power_law(n_sub, 0.7, rng)

    def some_style(n: int) -> Rows:
        total = cumulated(style_weight)
        return weighted_position(total, np.zeros(n, np.int64), np.full(n, n_sub), rng).astype(np.int32)

    creator_style = some_style(n_creators)
    first = min(n_sub, n_creators)
    creator_style[:first] = rng.permutation(n_sub)[:first]  # every style has somebody
    fame = power_law(n_creators, 0.8, rng)

    # Works of one creator stand together here; positions 0.. within a creator are in order of release.
    n_of = shares(fame, n_works, 1)
    creator = np.repeat(np.arange(n_creators, dtype=np.int32), n_of)
    position = rank_within(creator)
    collections_of = _collections_of(n_of, n_collections)
    most = np.where(collections_of > 0, n_of, 0)
    total = min(max(n_collections, round(domain.in_collection * n_works)), int(most.sum()))
    in_collection = shares(n_of, total, collections_of, most)
    first_collection = np.cumsum(collections_of) - collections_of
    inside = position < in_collection[creator]
    step = position * collections_of[creator] // np.maximum(in_collection[creator], 1)
    collection = np.where(inside, first_collection[creator] + step, -1).astype(np.int32)
    style = np.where(rng.random(n_works) < domain.loyalty, creator_style[creator], some_style(n_works)).astype(np.int32)
    release = _releases(plan, creator, collection, rng)

    order = rng.permutation(n_works)  # which works are items, and their rows, tell nothing
    styles = {WORK: style[order], domain.creator: creator_style}
    collection_creator = np.repeat(np.arange(n_creators, dtype=np.int32), collections_of)
    styles[domain.collection] = creator_style[collection_creator]
    styles[domain.style] = np.concatenate(  # a family is at home in one of its sub-styles; the others in themselves
        [np.arange(plan.families, dtype=np.int32) % n_sub, np.arange(n_sub, dtype=np.int32)]
    )
    for kind in domain.kinds:
        if kind.name in counts and kind.name not in styles and kind.name != domain.unlisted:
            styles[kind.name] = _home_styles(kind.names, counts[kind.name], family_names, family, rng)
    return Structure(
        family,
        family_names,
        style_weight,
        styles,
        creator[order],
        collection[order],
        collection_creator,
        fame,
        release[order],
    )


def _collections_of(n_of: Counts, total: int) -> Counts:
    """Divide the collections among the creators: as many as works at most, and nobody without as long as they last."""
    return shares(n_of, total, (total >= len(n_of)) * 1, n_of)


def _releases(plan: Plan, creator: Rows, collection: Rows, rng: np.random.Generator) -> Reals:
    """Return when each work came out. A creator has a first year; his works follow in order until the end."""
    n = len(creator)
    debut = rng.random(int(creator.max()) + 1)
    raw = debut[creator] + (1 - debut[creator]) * rng.random(n)
    raw = raw[np.lexsort((raw, creator))]
    if plan.domain.release == "together":
        opening = np.r_[True, (collection[1:] != collection[:-1]) | (creator[1:] != creator[:-1])] | (collection < 0)
        raw = raw[np.maximum.accumulate(np.where(opening, np.arange(n), 0))]
    elif plan.domain.release == "independent":
        raw = rng.random(n)
    _, same, count = np.unique(raw, return_inverse=True, return_counts=True)
    part = ((np.cumsum(count) - count / 2) / n)[same]  # 0..1, evenly
    return np.where(part < BACKLIST, part / BACKLIST - 1, LAST_RELEASE * (part - BACKLIST) / (1 - BACKLIST))


def _home_styles(names: object, n: int, family_names: tuple[str, ...], family: Rows, rng: np.random.Generator) -> Rows:
    """Return the style in which each entity of a kind is at home; no family gets more than it has names for."""
    n_families = len(family_names)
    if isinstance(names, Mapping):
        room = np.array([min(n, names[name].size) for name in family_names])
        n_named = shares(np.ones(n_families), min(n, int(room.sum())), 0, room)
        of_family = np.repeat(np.arange(n_families), n_named)
        of_family = np.concatenate([of_family, rng.integers(0, n_families, n - len(of_family))])
    else:
        of_family = np.arange(n) % n_families
    of_family = rng.permutation(of_family)
    n_sub = np.bincount(family, minlength=n_families)
    return (of_family + n_families * rng.integers(0, n_sub[of_family])).astype(np.int32)
