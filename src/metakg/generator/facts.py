"""The facts: the skeleton spelt out, then details hung on it until every relation has its exact number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metakg import rng as random
from metakg.data.graph import Triples
from metakg.generator.plan import Plan, mentions_first
from metakg.generator.quotas import Counts, distinct_pairs
from metakg.generator.sampling import Groups, power_law
from metakg.generator.schema import WORK, Relation
from metakg.generator.structure import Structure
from metakg.types import Rows


@dataclass(frozen=True)
class Layout:
    """Where each kind of entity lies: items first, then the kinds in the order of the plan.

    Attributes:
        first: kind -> its first entity row.
        n_entities: number of entities E, items included.
    """

    first: dict[str, int]
    n_entities: int

    @staticmethod
    def of(plan: Plan) -> Layout:
        """Return the layout of a plan."""
        first, row = {}, plan.config.items
        for kind, n in plan.counts.items():
            first[kind] = row
            row += n
        return Layout(first, row)

    def rows(self, plan: Plan, kind: str, numbers: npt.NDArray[np.integer]) -> Rows:
        """Return the entity rows of a kind's entities, or of works: (n,) -> (n,)."""
        if kind == WORK:
            n_items = plan.config.items
            unlisted = self.first.get(plan.domain.unlisted, 0) - n_items
            return np.where(numbers < n_items, numbers, numbers + unlisted).astype(np.int32)
        return (numbers + self.first[kind]).astype(np.int32)


def build(plan: Plan, structure: Structure, seed: int) -> Triples:
    """Build all facts about entities, sorted by relation, head and tail."""
    layout = Layout.of(plan)
    columns: list[tuple[Rows, Rows, Rows]] = []
    for number, relation in enumerate(plan.relations):
        keys = np.sort(_pairs(plan, structure, relation, random.generator(seed, f"facts/{relation.id}")))
        n_tails = plan.size(relation.tail)
        heads = layout.rows(plan, relation.head, keys // n_tails)
        tails = layout.rows(plan, relation.tail, keys % n_tails)
        columns.append((heads, np.full(len(keys), number, np.int32), tails))
    return Triples(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _pairs(plan: Plan, structure: Structure, relation: Relation, rng: np.random.Generator) -> Counts:
    """Return the facts of one relation as keys head * n_tails + tail, in numbers of their kinds."""
    n_heads, n_tails = plan.size(relation.head), plan.size(relation.tail)
    quota, loops = plan.quotas[relation.id], relation.head != relation.tail
    tail_for = _tail_rule(plan, structure, relation, rng)

    def draw(k: int) -> tuple[Rows, Rows]:
        heads = rng.integers(0, n_heads, k).astype(np.int32)
        return heads, tail_for(heads)

    given = _skeleton(plan, structure, relation)
    if given is None:
        given = _mentions(plan, structure, relation, rng) if mentions_first(plan, relation) else np.empty(0, np.int64)
        if relation.per_head >= 1 and quota >= n_heads:  # nobody has two before everybody has one
            without = np.setdiff1d(np.arange(n_heads, dtype=np.int32), given // n_tails)[: quota - len(given)]
            tails = tail_for(without)
            fresh = without.astype(np.int64) * n_tails + tails
            given = np.concatenate([given, fresh[loops | (without != tails)]])
    return distinct_pairs(given, quota, (n_heads, n_tails), draw, rng, loops=loops)


def _skeleton(plan: Plan, structure: Structure, relation: Relation) -> Counts | None:
    """Return the facts that spell out the skeleton, or None for a relation that hangs details on it."""
    n_tails = plan.size(relation.tail)
    works = np.arange(plan.works, dtype=np.int64)
    if relation.role == "creator":
        return works * n_tails + structure.creator
    if relation.role == "style":
        return works * n_tails + plan.families + structure.styles[WORK]
    if relation.role == "collection":
        inside = np.flatnonzero(structure.collection >= 0)
        return inside * n_tails + structure.collection[inside]
    if relation.role == "collection_creator":
        return np.arange(len(structure.collection_creator), dtype=np.int64) * n_tails + structure.collection_creator
    if relation.role == "style_parent":
        return (np.arange(plan.sub_styles, dtype=np.int64) + plan.families) * n_tails + structure.family
    return None


def _mentions(plan: Plan, structure: Structure, relation: Relation, rng: np.random.Generator) -> Counts:
    """Return one fact for every tail, its head of the same style or near it; heads are used evenly."""
    n_heads, n_tails = plan.size(relation.head), plan.size(relation.tail)
    heads = np.lexsort((rng.random(n_heads), structure.styles[relation.head]))
    tails = np.lexsort((rng.random(n_tails), structure.styles[relation.tail]))
    beside = heads[np.arange(n_tails, dtype=np.int64) * n_heads // n_tails]
    if relation.head == relation.tail:
        beside = np.where(beside == tails, heads[(np.arange(n_tails) + 1) % n_heads], beside)
    return beside.astype(np.int64) * n_tails + tails


def _tail_rule(plan: Plan, structure: Structure, relation: Relation, rng: np.random.Generator) -> Callable[[Rows], Rows]:
    """Return what chooses tails for heads: of the head's style at the rate of the relation's affinity, else any tail."""
    ranked = any(kind.ranked for kind in plan.domain.kinds if kind.name == relation.tail)
    popular = power_law(plan.size(relation.tail), relation.skew, None if ranked else rng)
    if relation.role == "style":  # a further genre of the same family; families themselves are nobody's genre
        families = Groups(structure.family, structure.style_weight, plan.families)

        def further(heads: Rows) -> Rows:
            family = structure.family[structure.styles[WORK][heads]]
            return plan.families + _mixed(families, family, relation.affinity, rng)

        return further
    by_style = Groups(structure.styles[relation.tail], popular, plan.sub_styles)

    def similar(heads: Rows) -> Rows:
        return _mixed(by_style, structure.styles[relation.head][heads], relation.affinity, rng)

    if relation.role == "collection":  # another edition: by the same creator, or at least of the same style
        by_creator = Groups(structure.collection_creator, popular, plan.counts[plan.domain.creator])

        def edition(heads: Rows) -> Rows:
            own = by_creator.draw(structure.creator[heads], rng)
            return np.where((own >= 0) & (rng.random(len(heads)) < relation.affinity), own, similar(heads))

        return edition
    return similar


def _mixed(groups: Groups, wanted: Rows, affinity: float, rng: np.random.Generator) -> Rows:
    """Return a row of the wanted group at the rate `affinity`, otherwise (or where it is empty) any row by weight."""
    chosen = groups.draw(wanted, rng)
    stray = (chosen < 0) | (rng.random(len(wanted)) >= affinity)
    n = int(stray.sum())
    chosen[stray] = groups.draw_between(np.zeros(n, np.int64), np.full(n, len(groups.rows)), rng)
    return chosen
