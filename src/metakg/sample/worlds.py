"""Worlds: the training data as they would look if some users and items were still new.

A learner that is to serve new users and new items must practise on them. A world hides, for the time of its tasks, a share
of the users and whole groups of sibling items (new items arrive as releases), and asks the questions of the real scenarios
again: what will a new user click among old items, an old user among new ones, a new user among new ones? It is drawn from
the training view alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metakg.data import Interactions, TrainView
from metakg.data.scenario import rank_within
from metakg.data.siblings import sibling_groups
from metakg.types import Mask


@dataclass(frozen=True, eq=False)
class Situation:
    """Tasks of one kind in one world.

    Attributes:
        kind: `user_cold`, `item_cold`, `user_item_cold`, `known`, or one of the middle two with `_unclicked`, where nobody has
            clicked the new items yet.
        clicks: pairs that are known before; graph edges and history.
        support: pairs that arrive; they are edges too.
        query: what must then be ranked high; visible to nobody.
    """

    kind: str
    clicks: Interactions
    support: Interactions
    query: Interactions

    def of_some(self, limit: int, rng: np.random.Generator) -> Situation:
        """Return this situation with the questions to so many users at most, drawn by lot."""
        users = np.unique(self.query.users)
        if len(users) <= limit:
            return self
        chosen = rng.permutation(users)[:limit]
        return replace(self, query=self.query.select(np.isin(self.query.users, chosen)))

    @property
    def unclicked(self) -> bool:
        """Whether nobody has clicked the new items yet."""
        return self.kind.endswith("_unclicked")


@dataclass(frozen=True)
class WorldRules:
    """How a world is drawn.

    Attributes:
        new_users: share of the users who are new.
        new_items: share of the clicked items that are new.
        known_users: share of the other users who are asked about their own old items.
        min_items: a user takes part in a situation with at least so many items there.
        query_share: share of these that becomes the query, at least 1 and at most `n_query`.
        n_query: most query items of a task.
        sibling_limit: an entity of more items than this makes no siblings.
    """

    new_users: float = 0.2
    new_items: float = 0.2
    known_users: float = 0.2
    min_items: int = 4
    query_share: float = 0.3
    n_query: int = 10
    sibling_limit: int = 100


def draw_world(
    view: TrainView, rng: np.random.Generator, rules: WorldRules, without: Interactions | None = None
) -> list[Situation]:
    """Draw one world and its situations; a kind without a single task is left out.

    Args:
        view: what is known.
        rng: the source of all draws.
        rules: how it is drawn.
        without: pairs that do not occur in it; None for none.
    """
    pairs = view.interactions.pairs_only()
    if without is not None:
        pairs = pairs.select(~np.isin(pairs.keys(view.n_items), without.keys(view.n_items)))
    if not len(pairs):
        return []
    _, first = np.unique(pairs.keys(view.n_items), return_index=True)
    pairs = pairs.select(np.sort(first))  # a pair that stands twice could be clicked and asked for at once
    order = rng.permutation(len(pairs)).astype(np.int32)
    pairs = pairs.select(order)
    new_user = _share_of(np.unique(pairs.users), view.n_users, rules.new_users, rng)
    groups = sibling_groups(view.vocabulary, view.graph, rules.sibling_limit)
    clicked = np.unique(pairs.items)
    new_item = _groups_until(groups, clicked, rules.new_items, rng)
    on_new_user, on_new_item = new_user[pairs.users], new_item[pairs.items]

    old = pairs.select(~on_new_user & ~on_new_item)
    asked = _share_of(np.unique(old.users), view.n_users, rules.known_users, rng)
    of_asked = asked[old.users]
    support, query = _cut(old.select(of_asked), rules)
    known = Situation("known", Interactions.concat(old.select(~of_asked), support), Interactions.empty(), query)

    newcomers = pairs.select(on_new_user & ~on_new_item)
    visitors = pairs.select(~on_new_user & on_new_item)
    strangers = pairs.select(on_new_user & on_new_item)
    situations = [known]
    for kind, them in (("user_cold", newcomers), ("item_cold", visitors), ("user_item_cold", strangers)):
        situations.append(Situation(kind, old, *_cut(them, rules)))
    _, late = _cut(visitors, rules)
    situations.append(Situation("item_cold_unclicked", old, Interactions.empty(), _of_users(late, old)))
    _, late = _cut(strangers, rules)
    situations.append(Situation("user_item_cold_unclicked", old, newcomers, _of_users(late, newcomers)))
    return [situation for situation in situations if len(situation.query)]


def _share_of(rows: np.ndarray, size: int, share: float, rng: np.random.Generator) -> Mask:
    chosen = np.zeros(size, np.bool_)
    chosen[rng.permutation(rows)[: round(share * len(rows))]] = True
    return chosen


def _groups_until(groups: np.ndarray, clicked: np.ndarray, share: float, rng: np.random.Generator) -> Mask:
    """Return (I,) the members of groups drawn at random; the group that would reach `share` of the clicked items stays out."""
    size = np.bincount(groups[clicked], minlength=int(groups.max(initial=0)) + 1)
    order = rng.permutation(np.flatnonzero(size))
    taken = order[: int(np.searchsorted(np.cumsum(size[order]), share * len(clicked)))]
    return np.isin(groups, taken)


def _cut(pairs: Interactions, rules: WorldRules) -> tuple[Interactions, Interactions]:
    """Cut shuffled pairs into support and query by user; users with too few pairs there are left out of both."""
    count = np.bincount(pairs.users)
    enough = count[pairs.users] >= rules.min_items if len(pairs) else np.zeros(0, np.bool_)
    pairs = pairs.select(enough)
    count = np.bincount(pairs.users, minlength=1)
    n_query = np.clip((count * rules.query_share).astype(np.int64), 1, rules.n_query)
    is_query = rank_within(pairs.users) < n_query[pairs.users]
    return pairs.select(~is_query), pairs.select(is_query)


def _of_users(pairs: Interactions, others: Interactions) -> Interactions:
    """Return the pairs of users who occur in `others` too: without a click of their own there is nothing to judge by."""
    return pairs.select(np.isin(pairs.users, others.users))
