"""Protocol `paper`: the MetaKG paper's scenarios, cut from data with times by the rule of the published files.

Users and items are each split 80/20 by their first time. Old users with old items are the training part (meta_training), and
the four scenarios are the other corners: UC new users x old items, IC old x new, UIC new x new, and warm, a random 10 % of
the old users, whose old pairs leave the training part. A user enters a scenario with 13..100 items there; 10 of them, drawn
by lot, are the query and the rest is the support (MeLU's rule; in the authors' code, not in the paper).

Every id and the whole graph are known from the start, as in the paper. The split is by *first* time only: an old user's
training pair may be later than a new user's query pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from metakg import rng
from metakg.data import Dataset, Interactions, Scenario, Split, Tasks
from metakg.data.scenario import rank_within
from metakg.splits import order
from metakg.splits.config import ItemRule, PaperConfig, PaperRules
from metakg.types import Json, Mask, Rows


@dataclass(frozen=True)
class Corners:
    """Who and what is new.

    Attributes:
        new_users: (U,) users who are new.
        new_items: (I,) items that are new.
        warm_users: (U,) old users who may enter the warm scenario.
    """

    new_users: Mask
    new_items: Mask
    warm_users: Mask


@dataclass(frozen=True)
class Parts:
    """What a split is put together from.

    Attributes:
        pairs: training pairs.
        tasks: meta-training tasks, or None.
        scenarios: by name.
        left_out: why a scenario is left out, by its name.
    """

    pairs: Interactions
    tasks: Tasks | None
    scenarios: Mapping[str, Scenario]
    left_out: Json


def split_by_time(dataset: Dataset, config: PaperConfig) -> Split:
    """Cut a data set with times by the paper's rule.

    Raises:
        DataError: the data have no times, or repeated pairs.
    """
    options = config.model_dump(mode="json")
    pairs = order.in_time(dataset, config.seed)
    corners = _corners_by_time(dataset, pairs, config.new_users, config.new_items, config, "warm users")
    parts = cut(dataset, pairs, corners, config, relax=False)
    validation = None
    if config.validation:
        by_time = {"options": options, "cut_from": "the training pairs, by time"}
        inner = _corners_by_time(
            dataset, parts.pairs, config.validation_users, config.validation_items, config, "validation warm users"
        )
        validation = assemble(dataset, cut(dataset, parts.pairs, inner, config, relax=True), by_time)
    return assemble(dataset, parts, {"options": options}, validation)


def assemble(dataset: Dataset, parts: Parts, manifest: Json, validation: Split | None = None) -> Split:
    """Return the split of the paper's protocol that these parts make: all ids are known."""
    v = dataset.vocabulary
    return Split(
        "paper",
        dataset,
        np.ones(v.n_users, np.bool_),
        np.ones(v.n_items, np.bool_),
        parts.pairs,
        parts.tasks,
        parts.scenarios,
        validation,
        manifest | {"left_out": parts.left_out},
    )


def cut(
    dataset: Dataset, pairs: Interactions, corners: Corners, config: PaperRules, *, relax: bool, given: Tasks | None = None
) -> Parts:
    """Cut pairs into training pairs, tasks and scenarios.

    Args:
        dataset: what the rows mean.
        pairs: all pairs to cut, in an order that depends on ids only; of each user in the order of revelation.
        corners: who and what is new.
        config: the rules.
        relax: whether a scenario that few users can enter is cut by the rule scaled down.
        given: tasks that are to be kept as far as their items are old, instead of drawing new ones.
    """
    lots = rng.generator(config.seed, "split/query").random(len(pairs))
    new_user, new_item = corners.new_users[pairs.users], corners.new_items[pairs.items]
    warm = corners.warm_users[pairs.users]
    areas = {
        "user_cold": new_user & ~new_item,
        "item_cold": ~new_user & new_item,
        "user_item_cold": new_user & new_item,
        "warm": ~new_user & ~new_item & warm,
    }
    scenarios, left_out = {}, {}
    for name, area in areas.items():
        rule = _rule_for(pairs.users[area], config, relax=relax)
        support, query = _by_rule(pairs.select(area), lots[area], rule)
        if not len(query):
            left_out[name] = f"no user has {rule.min_items}..{rule.max_items} items there"
            continue
        manifest = {"rule": rule.model_dump(), "users_before_rule": len(np.unique(pairs.users[area]))}
        scenarios[name] = Scenario(name, support, query, np.empty(0, np.int32), manifest=manifest)
    in_warm = np.zeros(dataset.vocabulary.n_users, np.bool_)
    if "warm" in scenarios:
        in_warm[scenarios["warm"].users] = True
    old = ~new_user & ~new_item & ~in_warm[pairs.users]
    if given is None:
        support, query = _by_rule(pairs.select(old & ~warm), lots[old & ~warm], config.rule)
        tasks = Tasks(np.unique(query.users), support, query)
    else:
        tasks = _restrict(given, ~corners.new_users & ~in_warm, ~corners.new_items)
    if config.background_old_pairs:
        training = pairs.select(old)
    else:
        has_task = np.zeros(dataset.vocabulary.n_users, np.bool_)
        has_task[tasks.users] = True
        training = pairs.select(old & has_task[pairs.users])
    return Parts(training, tasks if len(tasks) else None, with_candidates(scenarios, training), left_out)


def with_candidates(scenarios: Mapping[str, Scenario], training: Interactions) -> dict[str, Scenario]:
    """Return the scenarios with the items that can be right there at all.

    Those are, for UC and warm, the items of these two scenarios and of the training pairs; for IC and UIC the items of these
    two.
    """
    olds = [training.items]
    news: list[Rows] = [np.empty(0, np.int32)]
    for name, scenario in scenarios.items():
        (olds if name in ("user_cold", "warm") else news).extend([scenario.support.items, scenario.query.items])
    old, new = np.unique(np.concatenate(olds)), np.unique(np.concatenate(news))
    return {
        name: replace(scenario, candidates=old if name in ("user_cold", "warm") else new)
        for name, scenario in scenarios.items()
    }


def _corners_by_time(
    dataset: Dataset, pairs: Interactions, users: float, items: float, config: PaperConfig, lot: str
) -> Corners:
    v, seed = dataset.vocabulary, config.seed
    assert pairs.times_s is not None
    first_user, seen_user = order.first_times(pairs.users, pairs.times_s, v.n_users)
    first_item, seen_item = order.first_times(pairs.items, pairs.times_s, v.n_items)
    new_users = order.latest(first_user, seen_user, v.users, users, seed)
    return Corners(
        new_users,
        order.latest(first_item, seen_item, v.items, items, seed),
        order.draw(seen_user & ~new_users, v.users, config.warm_users, seed, lot),
    )


def _rule_for(users: Rows, config: PaperRules, *, relax: bool) -> ItemRule:
    """Return the rule, or, where it may be relaxed and too few of these users pass, the rule scaled down."""
    sizes = np.bincount(users)
    passing = (sizes >= config.rule.min_items) & (sizes <= config.rule.max_items)
    if relax and passing.sum() < config.relax_below * (sizes > 0).sum():
        return config.relaxed
    return config.rule


def _by_rule(pairs: Interactions, lots: np.ndarray, rule: ItemRule) -> tuple[Interactions, Interactions]:
    """Return support and query of the users who pass the rule; the pairs with the lowest lots are the query."""
    sizes = np.bincount(pairs.users)
    passes = (sizes >= rule.min_items) & (sizes <= rule.max_items)
    keep = passes[pairs.users]
    pairs, lots = pairs.select(keep), lots[keep]
    n_query = np.full(len(sizes), rule.n_query)
    if rule.query_share is not None:
        n_query = np.clip((sizes * rule.query_share).astype(np.int64), 1, rule.n_query)
    by_lot = np.argsort(lots, kind="stable")
    place = np.empty(len(pairs), np.int32)
    place[by_lot] = rank_within(pairs.users[by_lot])
    in_query = place < n_query[pairs.users]
    return pairs.select(~in_query), pairs.select(in_query)


def _restrict(tasks: Tasks, users: Mask, items: Mask) -> Tasks:
    """Return the tasks of these users with these items only; a task left without support or query is dropped."""
    support, query = (p.select(users[p.users] & items[p.items]) for p in (tasks.support, tasks.query))
    kept = np.intersect1d(support.users, query.users).astype(np.int32)
    return Tasks(kept, *(p.select(np.isin(p.users, kept)) for p in (support, query)))
